//! The policy delegation codec: bytes in, requests out; answers are written by
//! `reply::PolicyAction`.
//!
//! Postfix sends these bytes, and whoever else can connect to the socket. It is
//! `name=value` LF …, LF, without any escaping (`util/attr_print_plain.c`), so
//! values may hold anything but LF. A request is bounded by
//! [`MAX_REQUEST_BYTES`], [`MAX_ATTRIBUTE_BYTES`] and [`MAX_ATTRIBUTES`]; the
//! worst a stranger can do is to fill one buffer of that size a connection.

use crate::facts::Attribute;
use crate::facts::Name;
use memchr::memchr;
use std::fmt;

/// The longest request Postfix was seen to send has 6,383 bytes.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// Name and value together; Postfix cuts an SMTP command at 2,048 bytes.
pub const MAX_ATTRIBUTE_BYTES: usize = 8 * 1024;

/// Lines of a request; Postfix 3.12 sends 31 attributes.
pub const MAX_ATTRIBUTES: usize = 256;

/// Holds any usual request, so that an idle connection costs no more.
const INITIAL_BYTES: usize = 4 * 1024;

/// The only kind of request there is: SMTPD_POLICY_README.
const POLICY_REQUEST: &str = "smtpd_access_policy";

/// One request, borrowed from the connection's buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Request<'a> {
    text: &'a str,
    spans: &'a [Span],
    /// What the names of the first spans say, as far as that is known already.
    names: &'a [Name],
}

impl<'a> Request<'a> {
    /// Names and values in the order sent, what is no UTF-8 replaced by `U+FFFD`; of
    /// several with one name only the first is here, as Postfix's own reader would
    /// have it.
    pub fn attributes(self) -> impl Iterator<Item = Attribute<'a>> + Clone {
        self.spans.iter().map(move |span| (self.name(span), self.value(span)))
    }

    /// The same with what each name says, which is found out when names are new.
    pub fn values(self) -> impl Iterator<Item = (Name, &'a str)> + Clone {
        self.spans.iter().enumerate().map(move |(number, span)| {
            let known = self.names.get(number).copied();
            (known.unwrap_or_else(|| self.name(span).into()), self.value(span))
        })
    }

    fn name(self, span: &Span) -> &'a str {
        self.text.get(span.start..span.equals).unwrap_or_default()
    }

    fn value(self, span: &Span) -> &'a str {
        self.text.get(span.equals + 1..span.end).unwrap_or_default()
    }
}

/// What Postfix never sends. Those that break a connection are said there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Oddity {
    /// An attribute beyond its limit: the connection ends.
    AttributeTooLong,
    /// A CR anywhere; one before LF is taken off.
    CarriageReturn,
    /// A name sent again; the first stands.
    Duplicate,
    /// No `request=smtpd_access_policy`: the request is not evaluated.
    NoRequest,
    /// A line without a name or without `=`; it is ignored.
    NotAnAttribute,
    /// A NUL in a name or value; it is kept.
    Nul,
    /// A request beyond its limit: the connection ends.
    RequestTooLong,
    /// More lines than the limit: the connection ends.
    TooManyAttributes,
    /// A request begun and not finished in time: the connection ends.
    TooSlow,
}

impl Oddity {
    pub const ALL: [Self; 9] = [
        Self::AttributeTooLong,
        Self::CarriageReturn,
        Self::Duplicate,
        Self::NoRequest,
        Self::NotAnAttribute,
        Self::Nul,
        Self::RequestTooLong,
        Self::TooManyAttributes,
        Self::TooSlow,
    ];

    /// The word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::AttributeTooLong => "attribute_too_long",
            Self::CarriageReturn => "carriage_return",
            Self::Duplicate => "duplicate",
            Self::NoRequest => "no_request",
            Self::NotAnAttribute => "not_an_attribute",
            Self::Nul => "nul",
            Self::RequestTooLong => "request_too_long",
            Self::TooManyAttributes => "too_many_attributes",
            Self::TooSlow => "too_slow",
        }
    }

    fn bit(self) -> u16 {
        1 << self as u8
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AttributeTooLong => {
                write!(f, "an attribute of more than {MAX_ATTRIBUTE_BYTES} bytes, answered DUNNO and closed")
            }
            Self::CarriageReturn => f.write_str("a carriage return, expected lines to end with LF alone"),
            Self::Duplicate => f.write_str("an attribute sent twice, the first one stands"),
            Self::NoRequest => f.write_str("no `request=smtpd_access_policy`, answered DUNNO"),
            Self::NotAnAttribute => f.write_str("a line that is not `name=value`, ignored"),
            Self::Nul => f.write_str("a NUL in an attribute"),
            Self::RequestTooLong => {
                write!(f, "a request of more than {MAX_REQUEST_BYTES} bytes, answered DUNNO and closed")
            }
            Self::TooManyAttributes => {
                write!(f, "a request of more than {MAX_ATTRIBUTES} attributes, answered DUNNO and closed")
            }
            Self::TooSlow => f.write_str("a request begun and not finished in time, closed"),
        }
    }
}

/// A set of oddities.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Oddities(u16);

impl Oddities {
    pub fn contains(self, oddity: Oddity) -> bool {
        self.0 & oddity.bit() != 0
    }

    pub fn insert(&mut self, oddity: Oddity) {
        self.0 |= oddity.bit();
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Oddity> {
        Oddity::ALL.into_iter().filter(move |oddity| self.contains(*oddity))
    }
}

/// What the bytes so far amount to.
#[derive(Debug)]
pub enum Decoded<'a> {
    /// A limit was passed; nothing more is decoded on this connection.
    Broken(Oddity),
    /// No whole request yet.
    More,
    Request(Request<'a>, Oddities),
}

/// One connection's buffer: fill [`Decoder::space`], say how much by
/// [`Decoder::filled`], then [`Decoder::decode`] until it wants more.
#[derive(Debug)]
pub struct Decoder {
    /// Zeroes behind `end`; its length is what may be used.
    buffer: Vec<u8>,
    /// Where the current request begins; the offsets below count from here.
    start: usize,
    end: usize,
    line: usize,
    scanned: usize,
    /// Lines of the current request, the ignored ones too.
    lines: usize,
    spans: Vec<Span>,
    /// The names of the request before this one; Postfix sends the same each time.
    layout: Layout,
    /// Whether this one has had the same so far.
    follows: bool,
    /// Up to where the request has neither CR nor NUL.
    clean: usize,
    seen: Seen,
    /// In the place of a request that is no UTF-8.
    repaired: String,
    oddities: Oddities,
    /// The length of the request handed out last; it goes with the next call.
    finished: usize,
    broken: Option<Oddity>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    equals: usize,
    end: usize,
}

enum Step {
    Broken(Oddity),
    Complete,
    More,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            buffer: vec![0; INITIAL_BYTES],
            start: 0,
            end: 0,
            line: 0,
            scanned: 0,
            lines: 0,
            spans: Vec::with_capacity(48),
            layout: Layout::default(),
            follows: true,
            clean: 0,
            repaired: String::new(),
            seen: Seen::default(),
            oddities: Oddities::default(),
            finished: 0,
            broken: None,
        }
    }
}

impl Decoder {
    /// Where to read into; empty only after [`Decoded::Broken`].
    pub fn space(&mut self) -> &mut [u8] {
        self.forget_finished();
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            self.shrink();
        }
        if self.end == self.buffer.len() {
            self.make_room();
        }
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// That many bytes of the space now hold what was read.
    pub fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.buffer.len());
    }

    /// Whether a request has begun and not ended.
    pub fn is_partial(&self) -> bool {
        self.start.saturating_add(self.finished) < self.end
    }

    pub fn decode(&mut self) -> Decoded<'_> {
        self.forget_finished();
        if let Some(oddity) = self.broken {
            return Decoded::Broken(oddity);
        }
        match self.advance() {
            Step::Broken(oddity) => {
                self.broken = Some(oddity);
                Decoded::Broken(oddity)
            }
            Step::Complete => self.complete(),
            Step::More => Decoded::More,
        }
    }

    fn advance(&mut self) -> Step {
        if self.scanned == 0 {
            self.follow();
        }
        let Self { buffer, start, end, layout, spans, seen, oddities, follows, .. } = self;
        let unread = buffer.get(*start..*end).unwrap_or_default();
        // In registers while there are lines.
        let (mut line, mut scanned, mut lines) = (self.line, self.scanned, self.lines);
        let step = loop {
            let expected = if *follows { layout.name(lines) } else { None };
            // What was scanned of this line is behind its name already.
            let known = expected.filter(|name| unread.get(line..).is_some_and(|rest| rest.starts_with(name)));
            if let Some(name) = known {
                scanned = scanned.max(line + name.len());
            }
            let Some(length) = memchr(b'\n', unread.get(scanned..).unwrap_or_default()) else {
                scanned = unread.len();
                break wants_more(line, scanned);
            };
            let from = line;
            let text = unread.get(from..scanned + length).unwrap_or_default();
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            line = scanned + length + 1;
            scanned = line;
            if text.is_empty() {
                break Step::Complete;
            }
            // The `=` comes on top of name and value.
            if text.len() > MAX_ATTRIBUTE_BYTES + 1 {
                break Step::Broken(Oddity::AttributeTooLong);
            }
            // The ignored lines count as well, or they would be free work.
            if lines == MAX_ATTRIBUTES {
                break Step::Broken(Oddity::TooManyAttributes);
            }
            lines += 1;
            if let Some(name) = known {
                // None of the names before it is the same: that was seen last time.
                spans.push(Span { start: from, equals: from + name.len() - 1, end: from + text.len() });
                continue;
            }
            if std::mem::take(follows) {
                for span in &*spans {
                    seen.insert(span.name(unread));
                }
            }
            // Names are short: a search in large steps would not pay.
            let Some(equals) = text.iter().position(|byte| *byte == b'=').filter(|at| *at > 0) else {
                oddities.insert(Oddity::NotAnAttribute);
                continue;
            };
            let span = Span { start: from, equals: from + equals, end: from + text.len() };
            let name = text.get(..equals).unwrap_or_default();
            if seen.insert(name) && spans.iter().any(|span| span.name(unread) == name) {
                oddities.insert(Oddity::Duplicate);
                continue;
            }
            spans.push(span);
        };
        (self.line, self.scanned, self.lines) = (line, scanned, lines);
        step
    }

    /// Takes the lines that have the names of the request before and values without
    /// control characters, up to the first that is another: mostly, all.
    fn follow(&mut self) {
        let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
        let mut line = 0;
        let mut before = 0;
        for &end in &self.layout.ends {
            let name = self.layout.names.get(before..end).unwrap_or_default();
            before = end;
            let Some(value) = unread.get(line..).and_then(|rest| rest.strip_prefix(name)) else { break };
            let Some(length) = clean_value(value).filter(|length| name.len() + length <= MAX_ATTRIBUTE_BYTES)
            else {
                break;
            };
            let equals = line + name.len() - 1;
            let end = equals + 1 + length;
            self.spans.push(Span { start: line, equals, end });
            line = end + 1;
        }
        self.lines = self.spans.len();
        (self.line, self.scanned, self.clean) = (line, line, line);
    }

    fn complete(&mut self) -> Decoded<'_> {
        self.finished = self.scanned;
        let bytes = self.buffer.get(self.start..self.start + self.finished).unwrap_or_default();
        let mut oddities = self.oddities;
        let doubtful = bytes.get(self.clean..).unwrap_or_default();
        if memchr(b'\r', doubtful).is_some() {
            oddities.insert(Oddity::CarriageReturn);
        }
        if memchr(0, doubtful).is_some() {
            oddities.insert(Oddity::Nul);
        }
        // Lines that were left out would be out of step.
        let in_step = self.lines == self.spans.len();
        if !self.follows && in_step {
            self.layout = Layout::of(self.spans.iter().map(|span| span.name(bytes)));
        }
        let text = match str::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => {
                repair(bytes, &mut self.spans, &mut self.repaired);
                &self.repaired
            }
        };
        let names = if in_step { self.layout.meanings.as_slice() } else { Default::default() };
        let request = Request { text, spans: &self.spans, names };
        if !request.attributes().any(|attribute| attribute == ("request", POLICY_REQUEST)) {
            oddities.insert(Oddity::NoRequest);
        }
        Decoded::Request(request, oddities)
    }

    fn forget_finished(&mut self) {
        if self.finished == 0 {
            return;
        }
        self.start += self.finished;
        self.finished = 0;
        self.line = 0;
        self.scanned = 0;
        self.lines = 0;
        self.clean = 0;
        self.spans.clear();
        if !std::mem::replace(&mut self.follows, true) {
            self.seen = Seen::default();
        }
        self.repaired = String::new();
        self.oddities = Oddities::default();
    }

    /// Gives back what one large request took: connections are kept for hours.
    fn shrink(&mut self) {
        if self.buffer.len() > INITIAL_BYTES {
            self.buffer.truncate(INITIAL_BYTES);
            self.buffer.shrink_to_fit();
        }
    }

    fn make_room(&mut self) {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            return;
        }
        let length = (self.buffer.len() * 2).min(MAX_REQUEST_BYTES);
        self.buffer.resize(length, 0);
    }
}

impl Span {
    fn name(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start..self.equals).unwrap_or_default()
    }
}

/// No line end in sight: within the limits?
fn wants_more(line: usize, scanned: usize) -> Step {
    // A CR that will be taken off may be the last byte.
    if scanned.saturating_sub(line) > MAX_ATTRIBUTE_BYTES + 2 {
        return Step::Broken(Oddity::AttributeTooLong);
    }
    if scanned >= MAX_REQUEST_BYTES {
        return Step::Broken(Oddity::RequestTooLong);
    }
    Step::More
}

/// The length of a value up to its line end; None if there is none in sight, or another
/// control character before it. Most values have a few bytes, for which large steps do
/// not pay: eight at a time, by the bit that a byte below 16 leaves when 16 is taken off.
fn clean_value(rest: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let (eights, tail) = rest.as_chunks::<8>();
    for (number, eight) in eights.iter().enumerate() {
        let eight = u64::from_le_bytes(*eight);
        let below = eight.wrapping_sub(ONES << 4) & !eight & (ONES << 7);
        if below != 0 {
            let at = number * 8 + below.trailing_zeros() as usize / 8;
            return (rest.get(at) == Some(&b'\n')).then_some(at);
        }
    }
    let at = tail.iter().position(|byte| *byte < 16).filter(|at| tail.get(*at) == Some(&b'\n'))?;
    Some(eights.len() * 8 + at)
}

/// Writes the attributes anew with `U+FFFD` for what is no UTF-8; the spans are then
/// those of `text`.
fn repair(bytes: &[u8], spans: &mut [Span], text: &mut String) {
    for span in spans {
        let line = bytes.get(span.start..span.end).unwrap_or_default();
        let (name, value) = line.split_at(span.equals - span.start);
        let start = text.len();
        text.push_str(&String::from_utf8_lossy(name));
        let equals = text.len();
        // It begins with the `=`.
        text.push_str(&String::from_utf8_lossy(value));
        *span = Span { start, equals, end: text.len() };
    }
}

/// The names of a request with their `=`, one behind the other.
#[derive(Debug, Default)]
struct Layout {
    names: Vec<u8>,
    ends: Vec<usize>,
    /// What each of them says.
    meanings: Vec<Name>,
}

/// Names of a request that are kept: Postfix's, not what somebody made to fill memory.
const MAX_LAYOUT_BYTES: usize = 1_024;

impl Layout {
    /// Empty if they are more than is kept, or odd.
    fn of<'a>(each: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut layout = Self::default();
        for name in each {
            if name.iter().any(|byte| matches!(byte, 0 | b'\r')) {
                return Self::default();
            }
            layout.names.extend_from_slice(name);
            layout.names.push(b'=');
            layout.ends.push(layout.names.len());
            layout.meanings.push(str::from_utf8(name).map_or(Name::Other, Name::from));
            if layout.names.len() > MAX_LAYOUT_BYTES {
                return Self::default();
            }
        }
        layout
    }

    fn name(&self, number: usize) -> Option<&[u8]> {
        let start = number.checked_sub(1).map_or(0, |before| self.ends.get(before).copied().unwrap_or(0));
        self.names.get(start..*self.ends.get(number)?)
    }
}

/// Which names may have been there already: spares comparing each attribute
/// with all before it. Twice the bits of [`MAX_ATTRIBUTES`].
#[derive(Debug, Default)]
struct Seen([u64; 8]);

impl Seen {
    /// Whether the name may have been there.
    fn insert(&mut self, name: &[u8]) -> bool {
        let hash = Self::hash(name);
        let bit = 1_u64 << (hash % 64);
        let Some(word) = self.0.get_mut((hash / 64 % 8) as usize) else { return true };
        let was = *word & bit != 0;
        *word |= bit;
        was
    }

    /// Names differ in their length, their first or their last bytes. Who makes
    /// them collide gains some comparisons, bounded by the limits above.
    fn hash(name: &[u8]) -> u64 {
        let ends = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                u64::from_le_bytes(*first).rotate_left(32) ^ u64::from_le_bytes(*last)
            }
            _ => name.iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte)),
        };
        // The golden ratio's bits, as in Fibonacci hashing; the high ones mix best.
        (ends ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 55
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Owned = (Vec<(Vec<u8>, Vec<u8>)>, Oddities);

    /// Feeds the pieces; the whole requests, and what broke the connection.
    fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Owned>, Option<Oddity>) {
        let mut decoder = Decoder::default();
        let mut requests = Vec::new();
        for mut piece in pieces {
            while !piece.is_empty() {
                let space = decoder.space();
                let count = space.len().min(piece.len());
                space[..count].copy_from_slice(&piece[..count]);
                decoder.filled(count);
                piece = &piece[count..];
                loop {
                    assert!(decoder.buffer.capacity() <= MAX_REQUEST_BYTES);
                    match decoder.decode() {
                        Decoded::Broken(oddity) => return (requests, Some(oddity)),
                        Decoded::More => break,
                        Decoded::Request(request, oddities) => {
                            let owned = request
                                .attributes()
                                .map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
                            requests.push((owned.collect(), oddities));
                        }
                    }
                }
            }
        }
        (requests, None)
    }

    fn one(bytes: &[u8]) -> Owned {
        let (mut requests, broken) = decoded([bytes]);
        assert_eq!((requests.len(), broken), (1, None), "{}", bytes.escape_ascii());
        requests.remove(0)
    }

    #[test]
    fn lines_become_attributes() {
        let head = (b"request".to_vec(), b"smtpd_access_policy".to_vec());
        for (line, name, value, odd) in [
            (&b"helo_name=a=b"[..], &b"helo_name"[..], &b"a=b"[..], None),
            (b"sender=a b=c\" x\"@d", b"sender", b"a b=c\" x\"@d", None),
            (b"sender=", b"sender", b"", None),
            (b"sender=a\xff\xc3", b"sender", "a\u{fffd}\u{fffd}".as_bytes(), None),
            (b"sender=a\0b", b"sender", b"a\0b", Some(Oddity::Nul)),
            (b"sender=a\r", b"sender", b"a", Some(Oddity::CarriageReturn)),
            (b"sender=a\rb", b"sender", b"a\rb", Some(Oddity::CarriageReturn)),
            (b"a=1\na=2", b"a", b"1", Some(Oddity::Duplicate)),
            (b"nothing\na=1", b"a", b"1", Some(Oddity::NotAnAttribute)),
            (b"=x\na=1", b"a", b"1", Some(Oddity::NotAnAttribute)),
        ] {
            let mut bytes = b"request=smtpd_access_policy\n".to_vec();
            bytes.extend_from_slice(line);
            bytes.extend_from_slice(b"\n\n");
            let (attributes, oddities) = one(&bytes);
            assert_eq!(
                attributes,
                [head.clone(), (name.to_vec(), value.to_vec())],
                "{}",
                line.escape_ascii()
            );
            assert_eq!(oddities.iter().collect::<Vec<_>>(), odd.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_request_that_is_none_is_flagged() {
        for bytes in
            [&b"\n"[..], b"\r\n", b"a=b\n\n", b"request=other\n\n", b"Request=smtpd_access_policy\n\n"]
        {
            assert!(one(bytes).1.contains(Oddity::NoRequest), "{}", bytes.escape_ascii());
        }
        assert!(!one(b"a=b\nrequest=smtpd_access_policy\n\n").1.contains(Oddity::NoRequest));
    }

    #[test]
    fn each_limit_holds_to_the_byte() {
        let attribute = |length: usize| format!("a={}\n\n", "x".repeat(length - 1)).into_bytes();
        let many = |count: usize| {
            let mut bytes: Vec<u8> = (0..count).flat_map(|n| format!("a{n}=\n").into_bytes()).collect();
            bytes.push(b'\n');
            bytes
        };
        // Nine bytes a line up to the last one, which fills up, and the end.
        let long = |length: usize| {
            let mut bytes = Vec::new();
            for n in 0..8 {
                bytes.extend_from_slice(format!("{n}={}\n", "x".repeat(8_180)).as_bytes());
            }
            let rest = length - bytes.len() - 4;
            bytes.extend_from_slice(format!("z={}\n\n", "x".repeat(rest)).as_bytes());
            assert_eq!(bytes.len(), length);
            bytes
        };
        for (bytes, broken) in [
            (attribute(MAX_ATTRIBUTE_BYTES), None),
            (attribute(MAX_ATTRIBUTE_BYTES + 1), Some(Oddity::AttributeTooLong)),
            (many(MAX_ATTRIBUTES), None),
            (many(MAX_ATTRIBUTES + 1), Some(Oddity::TooManyAttributes)),
            (b"x\n".repeat(MAX_ATTRIBUTES + 1), Some(Oddity::TooManyAttributes)),
            (long(MAX_REQUEST_BYTES), None),
            (long(MAX_REQUEST_BYTES + 1), Some(Oddity::RequestTooLong)),
            (vec![b'x'; 1 << 20], Some(Oddity::AttributeTooLong)),
        ] {
            for size in [1, 7, 4_096, usize::MAX] {
                assert_eq!(decoded(bytes.chunks(size)).1, broken, "{} bytes by {size}", bytes.len());
            }
        }
    }

    #[test]
    fn the_buffer_is_small_again_after_a_large_request() {
        let mut decoder = Decoder::default();
        let bytes = format!("a={0}\nb={0}\n\n", "x".repeat(8_000));
        let mut rest = bytes.as_bytes();
        while !rest.is_empty() {
            let space = decoder.space();
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            decoder.filled(count);
            rest = &rest[count..];
            let _ = decoder.decode();
        }
        assert!(!decoder.is_partial());
        assert_eq!(decoder.space().len(), INITIAL_BYTES);
        assert!(decoder.buffer.capacity() < 2 * INITIAL_BYTES);
    }

    fn any_line() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[a-d]{0,2}=[ -~]{0,12}".prop_map(String::into_bytes),
            Just(b"request=smtpd_access_policy".to_vec()),
            Just(Vec::new()),
            prop::collection::vec(any::<u8>(), 0..9),
            (8_180_usize..8_200).prop_map(|n| [b"l=".to_vec(), vec![b'x'; n]].concat()),
        ]
    }

    proptest! {
        /// Names are expected to be those of the request before: it must not show.
        #[test]
        fn what_came_before_changes_nothing(
            requests in prop::collection::vec(prop::collection::vec("[ab]{1,2}=[a=\r]{0,2}|[ab]", 0..5), 1..6),
        ) {
            let requests: Vec<Vec<u8>> = requests.iter().map(|lines| {
                let lines = lines.iter().flat_map(|line| [line.as_bytes(), b"\n"].concat());
                lines.chain(*b"\n").collect()
            }).collect();
            let alone: Vec<Owned> = requests.iter().map(|bytes| one(bytes)).collect();
            prop_assert_eq!(decoded(requests.iter().map(Vec::as_slice)), (alone.clone(), None));
            prop_assert_eq!(decoded(requests.concat().chunks(1)), (alone, None));
        }

        #[test]
        fn any_split_gives_the_same_requests(
            lines in prop::collection::vec(any_line(), 0..40),
            sizes in prop::collection::vec(1_usize..3_000, 1..20),
        ) {
            let bytes: Vec<u8> = lines.iter().flat_map(|line| [line, &b"\n"[..]].concat()).collect();
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*size).min(rest.len()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(decoded(pieces), decoded([&bytes[..]]));
        }

        #[test]
        fn random_bytes_neither_panic_nor_pass_the_cap(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
            decoded(bytes.chunks(13));
            let noisy: Vec<u8> = bytes.iter().map(|b| b"=\n\r\0ab="[usize::from(b % 7)]).collect();
            decoded(noisy.chunks(5));
        }
    }
}
