//! A name as it is asked for: absolute, in lower case, within the lengths of RFC
//! 1035.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// In text, without the dot at the end.
const MAX_BYTES: usize = 253;

const MAX_LABEL_BYTES: usize = 63;

/// Labels of printable ASCII: mail brings more than host names.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Arc<str>);

impl Name {
    /// None for what can't stand in a question: too long, an empty label, blanks and
    /// control bytes, a name that is not in ASCII.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_any(text).filter(|name| !name.0.contains(' '))
    }

    /// The same with blanks, which a macro of SPF may put into a name.
    pub fn parse_any(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let is_printable = |b: u8| b == b' ' || b.is_ascii_graphic();
        let fits =
            |label: &str| (1..=MAX_LABEL_BYTES).contains(&label.len()) && label.bytes().all(is_printable);
        if text.is_empty() || text.len() > MAX_BYTES || !text.split('.').all(fits) {
            return None;
        }
        Some(match text.bytes().any(|b| b.is_ascii_uppercase()) {
            true => Self(text.to_ascii_lowercase().into()),
            false => Self(text.into()),
        })
    }

    /// `7.2.0.192.ZONE`, or nibbles for IPv6 (RFC 5782, 2.1 and 2.4).
    pub fn reversed(ip: IpAddr, zone: &str) -> Option<Self> {
        Self::backwards(ip).below(&Self::parse(zone)?)
    }

    /// An address as it stands before the name of a zone.
    pub fn backwards(ip: IpAddr) -> Self {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        // 15 bytes, or 63 for IPv6.
        let mut text = String::with_capacity(64);
        match ip {
            IpAddr::V4(ip) => {
                let mut digits = itoa::Buffer::new();
                for (octet, dot) in ip.octets().into_iter().rev().zip(["", ".", ".", "."]) {
                    text.push_str(dot);
                    text.push_str(digits.format(octet));
                }
            }
            IpAddr::V6(ip) => {
                for nibble in ip.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]) {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push(char::from(HEX[usize::from(nibble)]));
                }
            }
        }
        Self(text.into())
    }

    /// Both as one name; None where that is too long. Neither is looked at again.
    pub fn below(&self, zone: &Self) -> Option<Self> {
        let bytes = self.0.len() + 1 + zone.0.len();
        if bytes > MAX_BYTES {
            return None;
        }
        let mut text = String::with_capacity(bytes);
        text.push_str(&self.0);
        text.push('.');
        text.push_str(&zone.0);
        Some(Self(text.into()))
    }

    /// Where the names of an address stand.
    pub fn of_pointer(ip: IpAddr) -> Option<Self> {
        Self::reversed(ip, if ip.is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is `other` or a name below it.
    pub fn is_within(&self, other: &str) -> bool {
        let before = self.0.strip_suffix(other);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_folded_and_bounded() {
        let long = ["a"; 127].join(".");
        for (text, expected) in [
            ("Mail.Example.COM.", Some("mail.example.com")),
            ("_dmarc.example.com", Some("_dmarc.example.com")),
            ("a", Some("a")),
            (&long, Some(&*long)),
            (&format!("{long}.b"), None),
            (&"a".repeat(63), Some(&*"a".repeat(63))),
            (&"a".repeat(64), None),
            ("", None),
            (".", None),
            ("a..b", None),
            (".a", None),
            ("a b.example", None),
            ("a\n.example", None),
            ("bücher.example", None),
        ] {
            assert_eq!(Name::parse(text).as_ref().map(Name::as_str), expected, "{text}");
        }
        assert_eq!(Name::parse_any("A b.example").unwrap().as_str(), "a b.example");
        assert_eq!(Name::parse_any("a\t.example"), None);
    }

    #[test]
    fn an_address_is_asked_backwards() {
        for (ip, zone, expected) in [
            ("192.0.2.7", "bl.example", "7.2.0.192.bl.example"),
            (
                "2001:db8::1",
                "bl.example",
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl.example",
            ),
        ] {
            assert_eq!(Name::reversed(ip.parse().unwrap(), zone).unwrap().as_str(), expected);
        }
        let pointer = Name::of_pointer("192.0.2.7".parse().unwrap());
        assert_eq!(pointer.unwrap().as_str(), "7.2.0.192.in-addr.arpa");
    }

    #[test]
    fn below_is_by_labels() {
        let name = Name::parse("a.example.com").unwrap();
        for (other, expected) in
            [("example.com", true), ("a.example.com", true), ("xample.com", false), ("b.example.com", false)]
        {
            assert_eq!(name.is_within(other), expected, "{other}");
        }
    }
}
