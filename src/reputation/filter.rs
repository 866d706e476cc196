//! Which answers of a zone are meant: `127.0.0.[2..11;14]` as in postscreen, or bits of
//! the answer.

use smallvec::SmallVec;
use std::fmt;
use std::net::Ipv4Addr;

/// What is said of an answer without a filter: any that is one at all.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Filter {
    Any,
    /// Counted once, however many of them fit.
    AnyOf(Vec<Self>),
    /// Any of these bits of the last three octets.
    Bits(u32),
    Octets([Octet; 4]),
}

/// From and to of each range; a number alone is a range of one.
type Octet = SmallVec<[(u8, u8); 2]>;

const FORM: &str = "is not a filter such as 127.0.0.2 or 127.0.[0..255].[1;3]";

impl Filter {
    /// Reads octets; says what is wrong, or that no answer could ever fit.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` {FORM}");
        let mut octets: [Octet; 4] = Default::default();
        let mut rest = text;
        for (index, octet) in octets.iter_mut().enumerate() {
            let (part, behind) = split_octet(rest).ok_or_else(wrong)?;
            rest = match (index, behind.strip_prefix('.')) {
                (3, None) if behind.is_empty() => "",
                (0..=2, Some(behind)) => behind,
                _ => return Err(wrong()),
            };
            *octet = ranges(part, text)?;
        }
        let [first, second, third, _] = &octets;
        if !has(first, 127) {
            return Err(format!("`{text}` can't match: answers of such zones are within 127.0.0.0/8"));
        }
        let only = |octet: &Octet, byte| octet.iter().all(|range| *range == (byte, byte));
        if octets.iter().zip([127, 0, 0, 1]).all(|(octet, byte)| only(octet, byte)) {
            return Err(format!(
                "`{text}` can't match: 127.0.0.1 is how a zone refuses to answer, and never counts"
            ));
        }
        if only(second, 255) && only(third, 255) {
            return Err(format!(
                "`{text}` can't match: answers in 127.255.255.0/24 are errors of the zone and never count"
            ));
        }
        Ok(Self::Octets(octets))
    }

    /// Reads a mask: what stands in decimal or as `0x…`.
    pub fn bits(text: &str) -> Option<Self> {
        let mask = match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => text.parse().ok()?,
        };
        (1..1 << 24).contains(&mask).then_some(Self::Bits(mask))
    }

    pub fn fits(&self, answer: Ipv4Addr) -> bool {
        match self {
            Self::Any => true,
            Self::AnyOf(filters) => filters.iter().any(|filter| filter.fits(answer)),
            Self::Bits(mask) => u32::from(answer) & mask != 0,
            Self::Octets(octets) => octets.iter().zip(answer.octets()).all(|(octet, byte)| has(octet, byte)),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any answer"),
            Self::AnyOf(filters) => {
                let each: Vec<_> = filters.iter().map(Self::to_string).collect();
                f.write_str(&each.join(", "))
            }
            Self::Bits(mask) => write!(f, "bits {mask}"),
            Self::Octets(octets) => {
                for (octet, dot) in octets.iter().zip(["", ".", ".", "."]) {
                    f.write_str(dot)?;
                    match octet.as_slice() {
                        [(from, to)] if from == to => write!(f, "{from}")?,
                        several => {
                            for ((from, to), before) in several.iter().zip("[;;;;;;;;;;;;;;;".chars()) {
                                write!(f, "{before}{from}")?;
                                if to > from {
                                    write!(f, "..{to}")?;
                                }
                            }
                            f.write_str("]")?;
                        }
                    }
                }
                Ok(())
            }
        }
    }
}

fn has(octet: &Octet, byte: u8) -> bool {
    octet.iter().any(|(from, to)| (*from..=*to).contains(&byte))
}

/// The first octet without its brackets, and what stands behind it.
fn split_octet(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(inner) => inner.split_once(']'),
        None => Some(text.split_at(text.find('.').unwrap_or(text.len()))),
    }
}

/// Ranges of one octet; more say nothing that fewer could not.
const MAX_RANGES: usize = 16;

fn ranges(part: &str, whole: &str) -> Result<Octet, String> {
    let mut octet = Octet::new();
    for range in part.split(';') {
        let (from, to) = range.split_once("..").unwrap_or((range, range));
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            if digits { text.parse::<u8>().ok() } else { None }
        };
        let (Some(low), Some(high)) = (number(from), number(to)) else {
            return Err(format!("`{whole}` {FORM}"));
        };
        if low > high {
            return Err(format!("`{whole}` can't match: {low} is above {high}"));
        }
        octet.push((low, high));
    }
    if octet.len() > MAX_RANGES {
        return Err(format!("`{whole}` has {} ranges in one octet, {MAX_RANGES} are allowed", octet.len()));
    }
    Ok(octet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_chosen_as_postscreen_does() {
        for (filter, fits, does_not) in [
            ("127.0.0.2", "127.0.0.2", "127.0.0.3"),
            ("127.0.0.[2..11]", "127.0.0.11", "127.0.0.12"),
            ("127.0.0.[10;11;12]", "127.0.0.12", "127.0.0.13"),
            ("127.[0..255].[0..255].[1..3]", "127.9.200.1", "127.9.200.4"),
            ("127.0.[0..4;6].[1;3..5]", "127.0.6.4", "127.0.5.4"),
            ("127.0.0.[1..2]", "127.0.0.2", "127.0.0.3"),
            ("[126..127].0.0.2", "127.0.0.2", "127.0.1.2"),
        ] {
            let read = Filter::parse(filter).unwrap();
            assert!(read.fits(fits.parse().unwrap()), "{filter} {fits}");
            assert!(!read.fits(does_not.parse().unwrap()), "{filter} {does_not}");
            assert_eq!(read.to_string(), filter);
        }
        let bits = Filter::bits("0x0c").unwrap();
        assert_eq!(Filter::bits("12"), Some(bits.clone()));
        assert!(bits.fits("127.0.0.4".parse().unwrap()));
        assert!(!bits.fits("127.0.0.3".parse().unwrap()));
        assert_eq!(bits.to_string(), "bits 12");
        for odd in ["0", "x", "-1", "0x", "16777216"] {
            assert_eq!(Filter::bits(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_cannot_match_is_told() {
        for (filter, expected) in [
            ("127.0.0", "is not a filter such as 127.0.0.2 or 127.0.[0..255].[1;3]"),
            ("127.0.0.2.1", "is not a filter such as 127.0.0.2 or 127.0.[0..255].[1;3]"),
            ("127.0.0.256", "is not a filter such as 127.0.0.2 or 127.0.[0..255].[1;3]"),
            ("127.0.0.[2..]", "is not a filter such as 127.0.0.2 or 127.0.[0..255].[1;3]"),
            ("127.0.0.[2", "is not a filter such as 127.0.0.2 or 127.0.[0..255].[1;3]"),
            ("127.0.0.[2]1", "is not a filter such as 127.0.0.2 or 127.0.[0..255].[1;3]"),
            ("127.0.0.+2", "is not a filter such as 127.0.0.2 or 127.0.[0..255].[1;3]"),
            ("", "is not a filter such as 127.0.0.2 or 127.0.[0..255].[1;3]"),
            ("127.0.0.[11..2]", "can't match: 11 is above 2"),
            ("10.0.0.1", "can't match: answers of such zones are within 127.0.0.0/8"),
            ("127.0.0.1", "can't match: 127.0.0.1 is how a zone refuses to answer, and never counts"),
            (
                "127.255.255.254",
                "can't match: answers in 127.255.255.0/24 are errors of the zone and never count",
            ),
        ] {
            assert_eq!(Filter::parse(filter).unwrap_err(), format!("`{filter}` {expected}"));
        }
        let many = format!("127.0.0.[{}]", ["2"; 17].join(";"));
        assert_eq!(
            Filter::parse(&many).unwrap_err(),
            format!("`{many}` has 17 ranges in one octet, 16 are allowed")
        );
    }
}
