//! What is known of a session, a message and a recipient, whichever protocol
//! told it. Read-only for the rules.
//!
//! The values were sent by strangers through Postfix. They are bounded by the
//! limits of the listeners and are only compared, counted and, cleaned, shown.

mod delegation;
mod known;
mod milter;
mod origin;
mod table;

pub use delegation::Attribute;
pub use delegation::Name;
pub use known::Known;
pub use known::Listed;
pub use known::Marks;
pub use known::Reason;
pub use known::Suspicion;
pub use known::TagId;
pub use milter::Macros;
pub use milter::MilterFacts;
pub use origin::Trust;
pub use origin::origin;
pub use table::FACT_COUNT;
pub use table::FACTS;
pub use table::Fact;
pub use table::FactInfo;
pub use table::Kind;
pub use table::Scope;
pub use table::Stage;
pub use table::reference;

use crate::message::Message;
use crate::names::Mailbox;
use std::borrow::Cow;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The null sender as it is written in rules, logs and replies.
pub const NULL_SENDER: &str = "<>";

/// Postfix's word for a client name that could not be verified.
pub const UNKNOWN_NAME: &str = "unknown";

/// Postfix cuts an SMTP command at 2,048 bytes, and so all that clients say; what is
/// longer comes from whoever else speaks to our sockets, and is cut.
pub const MAX_VALUE_BYTES: usize = 8 * 1024;

/// Beyond it the values that are no longer known are dropped.
const MAX_TEXT_BYTES: usize = 64 * 1024;

/// Where a value stands in the text.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    len: u32,
}

/// Of a value that is not known.
const UNKNOWN: Span = Span { start: u32::MAX, len: 0 };

impl Span {
    fn is_known(self) -> bool {
        self.start != UNKNOWN.start
    }

    fn of(self, text: &str) -> Option<&str> {
        text.get(self.start as usize..self.start as usize + self.len as usize)
    }
}

/// Values by fact, in one text: a request costs two allocations, not forty.
#[derive(Clone, Debug)]
pub struct Facts {
    text: String,
    /// The same in ASCII lower-case, byte for byte; empty where that is the text.
    folded: String,
    spans: [Span; FACT_COUNT],
    client_ip: Option<IpAddr>,
    /// These three need no place in the text; one that stands there goes before.
    direction: Option<&'static str>,
    hour: Option<&'static str>,
    weekday: Option<&'static str>,
    /// At `data` and `message`: the accepted recipients, in internal form.
    pub recipients: Vec<String>,
    /// At `message`, by the milter.
    pub message: Option<Arc<Message>>,
    pub moment: Moment,
}

/// Which wall clock time it is: for `time`, `hour` and `weekday`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// None only where nothing asks.
    pub timestamp: Option<jiff::Timestamp>,
    /// In a rehearsal the time was written without a zone: it is that time in
    /// whichever zone a rule asks for.
    pub civil: Option<jiff::civil::DateTime>,
}

impl Moment {
    pub fn at(timestamp: jiff::Timestamp) -> Self {
        Self { timestamp: Some(timestamp), civil: None }
    }

    /// Date and time of day in a zone.
    pub fn in_zone(&self, zone: &jiff::tz::TimeZone) -> Option<jiff::civil::DateTime> {
        self.civil.or_else(|| Some(zone.to_datetime(self.timestamp?)))
    }
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const HOURS: [&str; 24] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18",
    "19", "20", "21", "22", "23",
];

/// Hour and day of the week.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct DayTime {
    pub hour: usize,
    /// Days since Monday.
    pub weekday: usize,
}

impl DayTime {
    /// Of a moment in a zone; midnight on a Monday if nothing is known.
    pub fn of(moment: &Moment, zone: &jiff::tz::TimeZone) -> Self {
        let Some(now) = moment.in_zone(zone) else {
            return Self::default();
        };
        Self {
            hour: usize::try_from(now.hour()).unwrap_or_default(),
            weekday: usize::try_from(now.weekday().to_monday_zero_offset()).unwrap_or_default(),
        }
    }
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            // A request of Postfix 3.10 has some 400 bytes of values.
            text: String::with_capacity(480),
            folded: String::new(),
            spans: [UNKNOWN; FACT_COUNT],
            client_ip: None,
            direction: None,
            hour: None,
            weekday: None,
            recipients: Vec::new(),
            message: None,
            moment: Moment::default(),
        }
    }
}

impl Facts {
    /// The value as it came; None when it is not known.
    pub fn text(&self, fact: Fact) -> Option<&str> {
        let span = self.spans[fact as usize];
        if span.is_known() { span.of(&self.text) } else { self.derived(fact) }
    }

    /// The value for a text. Where there is no single recipient any more, it is
    /// the one that was accepted, or says how many they are.
    pub fn shown(&self, fact: Fact) -> Cow<'_, str> {
        if let Some(text) = self.text(fact) {
            return Cow::from(text);
        }
        if !fact.is_of_recipient() || self.is_known(Fact::Recipient) {
            return Cow::default();
        }
        match self.recipients.as_slice() {
            [] => Cow::default(),
            [only] if fact == Fact::RecipientDomain => {
                Cow::from(Mailbox::parse(only).domain.unwrap_or_default())
            }
            [only] => Cow::from(only),
            several => Cow::from(format!("{} recipients", several.len())),
        }
    }

    /// The value in ASCII lower-case.
    pub fn folded(&self, fact: Fact) -> Option<&str> {
        let span = self.spans[fact as usize];
        if !span.is_known() {
            return self.derived(fact);
        }
        span.of(if self.folded.is_empty() { &self.text } else { &self.folded })
    }

    /// The value as it came and in ASCII lower-case.
    pub fn both(&self, fact: Fact) -> Option<(&str, &str)> {
        let span = self.spans[fact as usize];
        if !span.is_known() {
            return self.derived(fact).map(|word| (word, word));
        }
        let text = span.of(&self.text)?;
        Some((text, if self.folded.is_empty() { text } else { span.of(&self.folded)? }))
    }

    /// What has no text of its own, in lower-case.
    fn derived(&self, fact: Fact) -> Option<&str> {
        match fact {
            Fact::Direction => self.direction,
            Fact::Hour => self.hour,
            Fact::Weekday => self.weekday,
            Fact::ClientFamily | Fact::ServerFamily => {
                let of = if fact == Fact::ClientFamily { Fact::ClientAddress } else { Fact::ServerAddress };
                self.ip(of).map(|ip| if ip.is_ipv4() { "ipv4" } else { "ipv6" })
            }
            _ => None,
        }
    }

    pub fn is_known(&self, fact: Fact) -> bool {
        self.has_text(fact) || self.derived(fact).is_some()
    }

    fn has_text(&self, fact: Fact) -> bool {
        self.spans[fact as usize].is_known()
    }

    pub fn number(&self, fact: Fact) -> Option<u64> {
        self.text(fact)?.parse().ok()
    }

    /// The address behind `client_address`, `client` or `server_address`.
    pub fn ip(&self, fact: Fact) -> Option<IpAddr> {
        match fact {
            Fact::Client | Fact::ClientAddress => self.client_ip,
            Fact::OriginIp | Fact::ServerAddress => parse_ip(self.text(fact)?),
            _ => None,
        }
    }

    /// Sets or replaces a value, and what is derived from it. Said again, as the
    /// milter says macros with each command, it costs nothing.
    pub fn set(&mut self, fact: Fact, value: &str) {
        let span = self.spans[fact as usize];
        if span.is_known() && span.of(&self.text) == Some(value) {
            return;
        }
        if self.text.len() > MAX_TEXT_BYTES {
            self.compact();
        }
        self.put(fact, value);
        self.fold();
    }

    /// Drops the values that others have replaced.
    fn compact(&mut self) {
        let mut text = String::with_capacity(480);
        for span in &mut self.spans {
            if let Some(value) = span.of(&self.text).filter(|_| span.is_known()) {
                let start = u32::try_from(text.len()).unwrap_or(UNKNOWN.start);
                text.push_str(value);
                span.start = start;
            }
        }
        self.text = text;
        self.folded = String::new();
        self.fold();
    }

    /// The same, to be followed by [`fold`](Self::fold).
    fn put(&mut self, fact: Fact, value: &str) {
        let value = match value.len() {
            ..=MAX_VALUE_BYTES => value,
            _ => value.get(..value.floor_char_boundary(MAX_VALUE_BYTES)).unwrap_or_default(),
        };
        let offset = |at: usize| u32::try_from(at).unwrap_or(UNKNOWN.start);
        let span = Span { start: offset(self.text.len()), len: offset(value.len()) };
        self.text.push_str(value);
        self.spans[fact as usize] = span;
        match fact {
            Fact::ClientAddress => self.client_ip = parse_ip(value),
            Fact::Sender => self.set_domain(Fact::SenderDomain, span),
            Fact::Recipient => self.set_domain(Fact::RecipientDomain, span),
            _ => {}
        }
    }

    /// Brings the lower-case text up to the other's end.
    fn fold(&mut self) {
        let done = self.folded.len();
        let new = self.text.get(done..).unwrap_or_default();
        if done == 0 {
            if !has_uppercase(new) {
                return;
            }
            // What is set later has room as well.
            self.folded.reserve(self.text.capacity());
        }
        self.folded.push_str(new);
        if let Some(copy) = self.folded.get_mut(done..) {
            copy.make_ascii_lowercase();
        }
    }

    /// Which way the mail goes: one of the words of `direction`.
    pub fn set_direction(&mut self, direction: &'static str) {
        self.spans[Fact::Direction as usize] = UNKNOWN;
        self.direction = Some(direction);
    }

    pub fn set_number(&mut self, fact: Fact, value: u64) {
        // Facts are set a handful of times a message; the allocation is no matter.
        self.set(fact, &value.to_string());
    }

    pub fn unset(&mut self, fact: Fact) {
        self.spans[fact as usize] = UNKNOWN;
        match fact {
            Fact::ClientAddress => self.client_ip = None,
            Fact::Direction => self.direction = None,
            Fact::Hour => self.hour = None,
            Fact::Sender => self.unset(Fact::SenderDomain),
            Fact::Recipient => self.unset(Fact::RecipientDomain),
            Fact::Weekday => self.weekday = None,
            _ => {}
        }
    }

    /// Takes over what `other` knows and these do not: the other protocol's view.
    pub fn complete_from(&mut self, other: &Self) {
        for fact in Fact::all() {
            let derived = matches!(
                fact,
                Fact::ClientFamily | Fact::ServerFamily | Fact::SenderDomain | Fact::RecipientDomain
            );
            if !derived
                && !self.is_known(fact)
                && let Some(value) = other.text(fact)
            {
                self.set(fact, value);
            }
        }
    }

    /// The same for what belongs to the connection alone.
    pub fn complete_connection_from(&mut self, other: &Self) {
        for fact in [Fact::DaemonName, Fact::ReverseClientName, Fact::ServerAddress, Fact::ServerPort] {
            if !self.is_known(fact)
                && let Some(value) = other.text(fact)
            {
                self.set(fact, value);
            }
        }
    }

    /// Whether both say the same of the connection: if not, what was found out
    /// about the connection no longer holds (a second HELO, XCLIENT).
    pub fn same_connection(&self, other: &Self) -> bool {
        let of_connection = [Fact::ClientAddress, Fact::ClientName, Fact::HeloName, Fact::ProtocolName];
        of_connection.into_iter().all(|fact| {
            match (self.folded(fact), other.folded(fact)) {
                (Some(one), Some(another)) => one == another,
                // Not known yet, or not to the other protocol.
                _ => true,
            }
        })
    }

    /// Sets the time, with `hour` and `weekday` by the server's own zone.
    pub fn set_moment(&mut self, moment: Moment, day: &DayTime) {
        self.moment = moment;
        self.unset(Fact::Hour);
        self.unset(Fact::Weekday);
        self.hour = HOURS.get(day.hour).copied();
        self.weekday = DAYS.get(day.weekday).copied();
    }

    /// A domain is a part of its address: no copy is needed.
    fn set_domain(&mut self, fact: Fact, address: Span) {
        let text = address.of(&self.text).unwrap_or_default();
        let mailbox = Mailbox::parse(text);
        self.spans[fact as usize] = match mailbox.domain {
            Some(domain) if text != NULL_SENDER => {
                let offset = |at: usize| u32::try_from(at).unwrap_or_default();
                let before = offset(mailbox.local.len() + 1);
                Span { start: address.start + before, len: offset(domain.len()) }
            }
            _ => UNKNOWN,
        };
    }
}

/// Without an early end within a part, so that it is done in steps of many bytes.
fn has_uppercase(text: &str) -> bool {
    let mut parts = text.as_bytes().chunks(64);
    parts.any(|part| part.iter().fold(false, |found, byte| found | byte.is_ascii_uppercase()))
}

/// An address as Postfix writes it, or as its macros do (`IPv6:…`).
pub fn parse_ip(text: &str) -> Option<IpAddr> {
    if let Some(usual) = parse_dotted(text) {
        return Some(IpAddr::V4(usual));
    }
    let bare = text.strip_prefix("IPv6:").or_else(|| text.strip_prefix("ipv6:")).unwrap_or(text);
    let address: IpAddr = bare.parse().ok()?;
    Some(address.to_canonical())
}

/// An address that means another host in each network: nobody outside knows anything of
/// it, and asking would tell how we are made inside.
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // RFC 6598: between a provider and its customers.
            let is_shared = first == 100 && second & 0xc0 == 64;
            let is_local = ip.is_private() || ip.is_loopback() || ip.is_link_local();
            is_local || is_shared || first == 0 || ip.is_multicast()
        }
        IpAddr::V6(ip) => {
            let is_local = ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local();
            is_local || ip.is_unspecified() || ip.is_multicast()
        }
    }
}

/// Four numbers without leading zeros, as nearly every address is: the parser of the
/// standard library takes three times as long. None: it shall have a look.
fn parse_dotted(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = octets.iter_mut();
    let mut octet: Option<u8> = None;
    for byte in text.bytes() {
        octet = match (byte, octet) {
            (b'0'..=b'9', None) => Some(byte - b'0'),
            (b'0'..=b'9', Some(1..)) => Some(octet?.checked_mul(10)?.checked_add(byte - b'0')?),
            (b'.', Some(whole)) => {
                *parts.next()? = whole;
                None
            }
            _ => return None,
        };
    }
    *parts.next()? = octet?;
    parts.next().is_none().then(|| octets.into())
}

/// A greeting's name as Postfix keeps it: what could be taken for syntax becomes
/// `?`. The milter, and delegation at HELO itself, are told it raw.
fn kept_helo(name: &str) -> Cow<'_, str> {
    let is_odd = |c: char| c.is_ascii_control() || " <>()\\\";@".contains(c);
    if name.contains(is_odd) { Cow::from(name.replace(is_odd, "?")) } else { Cow::from(name) }
}

/// Undoes xtext (RFC 3461, section 4): `client+20name` → `client name`. What
/// is not xtext stays as it is.
pub fn decode_xtext(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (byte, hex(0), hex(1)) {
            (b'+', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = after.get(2..).unwrap_or_default();
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_facts_follow_their_source() {
        let mut facts = Facts::default();
        facts.set(Fact::Sender, "Bob+x@Example.COM");
        assert_eq!(facts.text(Fact::SenderDomain), Some("Example.COM"));
        assert_eq!(facts.folded(Fact::SenderDomain), Some("example.com"));
        facts.set(Fact::Sender, NULL_SENDER);
        assert_eq!(facts.text(Fact::SenderDomain), None);
        facts.set(Fact::ClientAddress, "::ffff:192.0.2.1");
        assert_eq!(facts.text(Fact::ClientFamily), Some("ipv4"));
        facts.set(Fact::ClientAddress, "2001:db8::1");
        assert_eq!(facts.text(Fact::ClientFamily), Some("ipv6"));
        facts.unset(Fact::ClientAddress);
        assert_eq!((facts.ip(Fact::Client), facts.text(Fact::ClientFamily)), (None, None));
    }

    #[test]
    fn an_address_is_what_the_standard_library_says_it_is() {
        for text in [
            "192.0.2.1",
            "0.0.0.0",
            "255.255.255.255",
            "256.0.0.1",
            "1.2.3.1000",
            "01.2.3.4",
            "1.2.3.00",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.4.",
            ".1.2.3.4",
            "1..2.3",
            "1.2.3.4 ",
            "",
            "2001:db8::1",
            "unknown",
        ] {
            assert_eq!(parse_ip(text), text.parse().ok(), "{text}");
        }
        assert_eq!(parse_dotted("192.0.2.1"), Some(Ipv4Addr::new(192, 0, 2, 1)));
    }

    #[test]
    fn offsets_hold_for_text_that_is_not_ascii() {
        let mut facts = Facts::default();
        facts.set(Fact::HeloName, "BÜRO.example");
        facts.set(Fact::Sender, "Ä@B.test");
        assert_eq!(facts.folded(Fact::HeloName), Some("bÜro.example"));
        assert_eq!(facts.folded(Fact::SenderDomain), Some("b.test"));
    }

    #[test]
    fn values_that_are_set_again_and_again_take_no_more_room() {
        let mut facts = Facts::default();
        facts.set(Fact::Sender, "Ann@Example.com");
        for number in 0..10_000 {
            facts.set(Fact::QueueId, &format!("{number}{}", "Ab".repeat(10_000)));
            facts.set(Fact::HeloName, "same");
        }
        assert!(facts.text.len() <= MAX_TEXT_BYTES + MAX_VALUE_BYTES, "{}", facts.text.len());
        assert_eq!(facts.text(Fact::QueueId).map(str::len), Some(MAX_VALUE_BYTES));
        assert_eq!(facts.folded(Fact::SenderDomain), Some("example.com"));
        assert_eq!(
            (facts.text(Fact::Sender), facts.text(Fact::HeloName)),
            (Some("Ann@Example.com"), Some("same"))
        );
    }

    #[test]
    fn xtext_is_undone() {
        assert_eq!(decode_xtext("client+20name"), "client name");
        assert_eq!(decode_xtext("a+b"), "a+b");
        assert_eq!(decode_xtext("+2"), "+2");
    }
}
