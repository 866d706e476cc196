//! Whether a host's name looks as if a provider's script had made it, and for a line
//! that is given to one customer today and to another tomorrow.
//!
//! Points for and against, from what the name is made of: its own address in any
//! spelling, words of access lines in many languages, words of servers and of lines
//! that stay. The name is a stranger's: at most 253 bytes of it are read, once, and
//! nothing is allocated. Words of the domain itself, which says who the provider is
//! and not what the line is, do not count.

mod words;

use memchr::memmem;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

/// From here on a name is taken for that of an access line, unless a rule says
/// another number.
pub const DYNAMIC_FROM: i32 = 5;

/// The longest name the DNS has.
const MAX_BYTES: usize = 253;

/// Numbers looked at in one name: an IPv6 address by nibbles has 32.
const MAX_NUMBERS: usize = 32;

/// The address itself is in the name.
const WHOLE_ADDRESS: i32 = 5;

/// Something that looks like another address.
const LIKE_AN_ADDRESS: i32 = 4;

/// Three of the four numbers of the address, one behind the other.
const MOST_OF_ADDRESS: i32 = 3;

/// Two, as in `12-34.broadband`.
const HALF_OF_ADDRESS: i32 = 2;

/// The number of a network card, as cable modems are named by.
const CARD: i32 = 3;

/// A provider of such lines says so in its domain: `shawcable.net`.
const DOMAIN_OF_LINES: i32 = 2;

/// A provider of servers says so in its domain: `your-server.de`.
const DOMAIN_OF_SERVERS: i32 = -3;

/// However many words there are, they are not worth more than this.
const MOST_FOR_WORDS: i32 = 8;

/// What was found in a name, in the order of the name: for explanations.
pub type Note<'n> = &'n mut dyn FnMut(&str, i32);

/// How much speaks for a dynamic line: 0 and less for a name that somebody has chosen,
/// from [`DYNAMIC_FROM`] on for a line's. `name` is folded.
pub fn points(name: &str, ip: Option<IpAddr>, note: Note<'_>) -> i32 {
    let name = name.get(..name.floor_char_boundary(MAX_BYTES)).unwrap_or_default();
    let name = name.strip_suffix('.').unwrap_or(name);
    let (host, domain) = split(name);
    let mut sum = 0;
    let mut add = |what: &str, points: i32| {
        note(what, points);
        points
    };
    sum += match address(host, domain, ip) {
        0 => 0,
        found if found == WHOLE_ADDRESS => add("its address", found),
        found if found < LIKE_AN_ADDRESS => add("a part of its address", found),
        found => add("an address", found),
    };
    let (mut lines, mut others) = (0, 0);
    for word in runs(host, u8::is_ascii_alphabetic) {
        let points = words::points(word);
        match points.signum() {
            1 => lines += add(word, points),
            -1 => others += add(word, points),
            _ => {}
        }
    }
    sum += lines.min(MOST_FOR_WORDS) + others.max(-MOST_FOR_WORDS);
    let is_outweighed = others <= words::OUTWEIGHS;
    if has_card(host) {
        sum += add("the number of a network card", CARD);
    }
    if let Some(word) = words::in_domain_of_lines(domain) {
        sum += add(word, DOMAIN_OF_LINES);
    }
    if let Some(word) = words::in_domain_of_servers(domain) {
        sum += add(word, DOMAIN_OF_SERVERS);
    }
    // A line that stays, or a mail server, may well be one of many of its kind.
    if is_outweighed { sum.min(DYNAMIC_FROM - 1) } else { sum }
}

/// The labels before the domain that somebody has registered, and that domain: two
/// labels, or three below `co.uk` and its like.
fn split(name: &str) -> (&str, &str) {
    let mut dots = memchr::memrchr_iter(b'.', name.as_bytes());
    let (last, second, third) = (dots.next(), dots.next(), dots.next());
    let Some((last, second)) = last.zip(second) else {
        return ("", name);
    };
    let below = name.get(second + 1..last).unwrap_or_default();
    let is_country = name.len() - last - 1 == 2;
    let is_shared = is_country && words::is_shared_below_country(below);
    let at = match (is_shared, third) {
        (true, Some(third)) => third,
        (true, None) => return ("", name),
        (false, _) => second,
    };
    (name.get(..at).unwrap_or_default(), name.get(at + 1..).unwrap_or_default())
}

/// The longest pieces of such bytes, which are ASCII.
fn runs(text: &str, is_part: fn(&u8) -> bool) -> impl Iterator<Item = &str> {
    let pieces = text.as_bytes().split(move |byte| !is_part(byte));
    pieces.filter(|piece| !piece.is_empty()).filter_map(|piece| str::from_utf8(piece).ok())
}

/// Whether so many letters and digits stand together anywhere.
fn has_run(text: &str, length: usize) -> bool {
    text.len() >= length
        && text.as_bytes().split(|byte| !byte.is_ascii_alphanumeric()).any(|run| run.len() >= length)
}

fn address(host: &str, domain: &str, ip: Option<IpAddr>) -> i32 {
    match ip {
        Some(IpAddr::V4(ip)) => address_v4(host, domain, ip),
        Some(IpAddr::V6(ip)) if has_v6(host, ip) => WHOLE_ADDRESS,
        Some(IpAddr::V6(_)) | None => numbers(host).like_address(),
    }
}

/// Decimal with or without zeros before, forwards or backwards, as one number, or hex.
fn address_v4(host: &str, domain: &str, ip: Ipv4Addr) -> i32 {
    let octets = ip.octets();
    let numbers = numbers(host);
    let forwards @ [a, b, c, d] = octets.map(u32::from);
    let backwards = [d, c, b, a];
    // The last as in `34.red-198-51-100`.
    let is_whole = [forwards, backwards, [d, a, b, c]].iter().any(|four| numbers.has(four));
    if is_whole || has_hex(host, octets) || has_padded(host, octets) {
        return WHOLE_ADDRESS;
    }
    // As one number; smaller ones are somebody's customer number or year.
    let whole = u32::from(ip);
    if whole > 99_999_999 && numbers.has(&[whole]) {
        return WHOLE_ADDRESS;
    }
    // The rest may stand in the domain, as in `ip50.ip-198-51-100.eu`.
    let three = [[a, b, c], [b, c, d], [d, c, b], [c, b, a]];
    if three.iter().any(|three| numbers.has(three)) || self::numbers(domain).has(&[a, b, c]) {
        return MOST_OF_ADDRESS;
    }
    match numbers.like_address() {
        0 if numbers.has(&[c, d]) || numbers.has(&[d, c]) => HALF_OF_ADDRESS,
        like => like,
    }
}

/// `c0a80001`, or its bytes backwards.
fn has_hex(host: &str, octets: [u8; 4]) -> bool {
    let [a, b, c, d] = octets;
    let spelled = |octets: [u8; 4]| {
        let mut text = [0; 8];
        for (pair, octet) in text.chunks_exact_mut(2).zip(octets) {
            pair.copy_from_slice(&[hex(octet >> 4), hex(octet & 15)]);
        }
        memmem::find(host.as_bytes(), &text).is_some()
    };
    has_run(host, 8) && (spelled(octets) || spelled([d, c, b, a]))
}

fn hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// `192000002001`, three digits each without anything between them.
fn has_padded(host: &str, octets: [u8; 4]) -> bool {
    let [a, b, c, d] = octets;
    let spelled = |octets: [u8; 4]| {
        let mut text = [0; 12];
        for (three, octet) in text.chunks_exact_mut(3).zip(octets) {
            three.copy_from_slice(&[b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10]);
        }
        memmem::find(host.as_bytes(), &text).is_some()
    };
    has_run(host, 12) && (spelled(octets) || spelled([d, c, b, a]))
}

/// The numbers of a name, in their order.
struct Numbers {
    /// With what stands between it and the one before.
    each: [(u32, u8); MAX_NUMBERS],
    count: usize,
}

fn numbers(host: &str) -> Numbers {
    let mut numbers = Numbers { each: [(0, 0); MAX_NUMBERS], count: 0 };
    let mut value: Option<u32> = None;
    let mut gap = 0_u8;
    for byte in host.bytes().chain([b'.']) {
        if byte.is_ascii_digit() {
            let digit = u32::from(byte - b'0');
            value = Some(value.unwrap_or(0).saturating_mul(10).saturating_add(digit));
            continue;
        }
        if let Some(value) = value.take()
            && let Some(slot) = numbers.each.get_mut(numbers.count)
        {
            *slot = (value, gap);
            numbers.count += 1;
            gap = 0;
        }
        let step = if matches!(byte, b'.' | b'-' | b'_') { 1 } else { 2 };
        gap = gap.saturating_add(step);
    }
    numbers
}

impl Numbers {
    fn known(&self) -> &[(u32, u8)] {
        self.each.get(..self.count).unwrap_or_default()
    }

    /// Whether these stand there, one behind the other.
    fn has(&self, wanted: &[u32]) -> bool {
        self.known().windows(wanted.len()).any(|some| some.iter().map(|(number, _)| number).eq(wanted))
    }

    /// Four numbers of a byte each, with nothing but one dot or dash between them.
    fn like_address(&self) -> i32 {
        let looks = |four: &[(u32, u8)]| {
            let joined = four.iter().skip(1).all(|(_, gap)| *gap == 1);
            joined && four.iter().all(|(number, _)| *number < 256)
        };
        if self.known().windows(4).any(looks) { LIKE_AN_ADDRESS } else { 0 }
    }
}

/// Four of its groups, one behind the other, or 16 of its digits, forwards or as in
/// `ip6.arpa`.
fn has_v6(host: &str, ip: Ipv6Addr) -> bool {
    const GROUPS: usize = 4;
    let groups = ip.segments();
    let mut matched = 0;
    // One state for each place where the row may begin would be exact; names have the
    // address from its beginning or its end on.
    for start in [0, groups.len() - GROUPS] {
        let wanted = groups.get(start..).unwrap_or_default();
        for label in runs(host, u8::is_ascii_alphanumeric) {
            let short = Some(label).filter(|label| label.len() <= 4);
            let group = short.and_then(|label| u16::from_str_radix(label, 16).ok());
            matched = if group.is_some() && group == wanted.get(matched).copied() { matched + 1 } else { 0 };
            if matched == GROUPS {
                return true;
            }
        }
        matched = 0;
    }
    let mut digits = [0; 32];
    for (pair, octet) in digits.chunks_exact_mut(2).zip(ip.octets()) {
        pair.copy_from_slice(&[hex(octet >> 4), hex(octet & 15)]);
    }
    let mut backwards = digits;
    backwards.reverse();
    let mut compact = [0; MAX_BYTES];
    let kept = host.bytes().filter(|byte| byte.is_ascii_alphanumeric());
    let len = compact.iter_mut().zip(kept).map(|(slot, byte)| *slot = byte).count();
    let compact = compact.get(..len).unwrap_or_default();
    [&digits, &backwards].into_iter().any(|all| {
        // The first half is the network's, the second the host's.
        let (one, other) = all.split_at(16);
        memmem::find(compact, one).is_some() || memmem::find(compact, other).is_some()
    })
}

/// Twelve digits of hex, some of them letters, as in `cpe-00a0c9b1d2e3`; with another
/// number before it as in `s0106001122334455`.
fn has_card(host: &str) -> bool {
    runs(host, u8::is_ascii_alphanumeric).any(|run| {
        if run.len() < 12 {
            return false;
        }
        let bytes = run.as_bytes();
        let digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
        let tail = bytes.len().saturating_sub(12);
        let card = bytes.get(tail..).unwrap_or_default();
        let is_hex = card.iter().all(u8::is_ascii_hexdigit) && card.iter().any(u8::is_ascii_alphabetic);
        (12..=20).contains(&bytes.len()) && digits >= 6 && is_hex
    })
}

#[cfg(test)]
mod tests;
