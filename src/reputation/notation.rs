//! postscreen's notation: `ZONE[=FILTER][*WEIGHT]`; and entries of one zone put
//! together, so that it is asked once.

use super::filter::Filter;
use super::site::Kind;
use super::site::MAX_PARTS;
use super::site::Part;
use super::site::Site;
use crate::dns::Name;

/// What nobody needs, and what would make sums that mean nothing.
const MAX_WEIGHT: f64 = 1000.0;

impl Site {
    /// Reads `ZONE[=FILTER][*WEIGHT]`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, weight) = match text.rsplit_once('*') {
            Some((rest, weight)) => (rest, self::weight(weight)?),
            None => (text, 1.0),
        };
        let (zone, filter) = match rest.split_once('=') {
            Some((zone, filter)) => (zone, Filter::parse(filter)?),
            None => (rest, Filter::Any),
        };
        Ok(Self::new(self::zone(zone)?, None, None, vec![Part { filter, weight }]))
    }
}

/// The name of a zone.
pub fn zone(text: &str) -> Result<Name, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let name = Name::parse(text).filter(|name| name.as_str().contains('.') && text.bytes().all(plain));
    let name =
        name.filter(|name| name.as_str().rsplit('.').next().is_some_and(|end| end.parse::<u32>().is_err()));
    name.ok_or_else(|| {
        format!("`{text}` is not a zone: a domain such as bl.example, or bl.example=127.0.0.[2..11]*3")
    })
}

/// How many points an answer gives.
pub fn weight(text: &str) -> Result<f64, String> {
    let plain = |b: u8| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.');
    let weight = text.parse::<f64>().ok().filter(|w| text.bytes().all(plain) && w.abs() <= MAX_WEIGHT);
    match weight {
        Some(0.0) => Err("a weight of 0 changes nothing: leave the zone out".to_owned()),
        Some(weight) => Ok(weight),
        None => Err(format!("`{text}` is not a weight such as 3, -4 or 1.5, up to {MAX_WEIGHT}")),
    }
}

/// Zones that many ask, by their ends, and what they have: asked for the rest they
/// answer with errors, or with nothing at all.
const KNOWN: &[(&str, Kind)] = &[
    ("b.barracudacentral.org", Kind::Ip),
    ("bl.mailspike.net", Kind::Ip),
    ("bl.spamcop.net", Kind::Ip),
    ("dbl.dq.spamhaus.net", Kind::Domain),
    ("dbl.spamhaus.org", Kind::Domain),
    ("ebl.msbl.org", Kind::Sha1),
    ("list.dnswl.org", Kind::Ip),
    ("multi.surbl.org", Kind::Domain),
    ("multi.uribl.com", Kind::Domain),
    ("psbl.surriel.com", Kind::Ip),
    ("wl.mailspike.net", Kind::Ip),
    ("zen.dq.spamhaus.net", Kind::Ip),
    ("zen.spamhaus.org", Kind::Ip),
    ("zrd.dq.spamhaus.net", Kind::Domain),
];

/// What everybody knows that a zone has.
pub(super) fn usual_kind(name: &str) -> Option<Kind> {
    let within = |end: &str| {
        let before = name.strip_suffix(end);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    KNOWN.iter().find(|(end, _)| within(end)).map(|(_, kind)| *kind)
}

impl Site {
    /// Takes in another entry of the same zone.
    pub fn join(&mut self, other: Self) -> Result<(), String> {
        for part in other.parts {
            if self.parts.iter().any(|known| known.filter == part.filter) {
                return Err(format!("`{}` with {} is there twice", self.name, part.filter));
            }
            if self.parts.len() >= MAX_PARTS {
                return Err(format!("`{}` has more than {MAX_PARTS} filters", self.name));
            }
            self.parts.push(part);
        }
        self.test = self.test.take().or(other.test);
        self.is_tested &= other.is_tested;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notation_is_postscreens() {
        for (text, name, filter, weight) in [
            ("zen.spamhaus.org", "zen.spamhaus.org", "any answer", 1.0),
            ("Zen.Spamhaus.org*3", "zen.spamhaus.org", "any answer", 3.0),
            ("zen.spamhaus.org=127.0.0.[2..11]*8", "zen.spamhaus.org", "127.0.0.[2..11]", 8.0),
            (
                "list.dnswl.org=127.[0..255].[0..255].[1..3]*-2",
                "list.dnswl.org",
                "127.[0..255].[0..255].[1..3]",
                -2.0,
            ),
            ("bl.example=127.0.0.4", "bl.example", "127.0.0.4", 1.0),
            ("bl.example*0.5", "bl.example", "any answer", 0.5),
        ] {
            let site = Site::parse(text).unwrap();
            assert_eq!(site.name, name, "{text}");
            let parts: Vec<_> =
                site.parts.iter().map(|part| (part.filter.to_string(), part.weight)).collect();
            assert_eq!(parts, [(filter.to_owned(), weight)], "{text}");
        }
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        let no_zone = |text: &str| {
            format!("`{text}` is not a zone: a domain such as bl.example, or bl.example=127.0.0.[2..11]*3")
        };
        for (text, expected) in [
            ("zen..spamhaus.org", no_zone("zen..spamhaus.org")),
            ("zen,spamhaus.org", no_zone("zen,spamhaus.org")),
            ("zen", no_zone("zen")),
            ("192.0.2.1", no_zone("192.0.2.1")),
            ("", no_zone("")),
            ("bl.example:127.0.0.2", no_zone("bl.example:127.0.0.2")),
            ("bl.example*0", "a weight of 0 changes nothing: leave the zone out".into()),
            ("bl.example*-0", "a weight of 0 changes nothing: leave the zone out".into()),
            ("bl.example*x", "`x` is not a weight such as 3, -4 or 1.5, up to 1000".into()),
            ("bl.example*", "`` is not a weight such as 3, -4 or 1.5, up to 1000".into()),
            ("bl.example*1e3", "`1e3` is not a weight such as 3, -4 or 1.5, up to 1000".into()),
            ("bl.example*1001", "`1001` is not a weight such as 3, -4 or 1.5, up to 1000".into()),
            ("bl.example*nan", "`nan` is not a weight such as 3, -4 or 1.5, up to 1000".into()),
            ("bl.example=127.0.0.[3..2]", "`127.0.0.[3..2]` can't match: 3 is above 2".into()),
        ] {
            assert_eq!(Site::parse(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn entries_of_one_zone_are_asked_once() {
        let mut site = Site::parse("bl.example=127.0.0.2*3").unwrap();
        site.join(Site::parse("bl.example=127.0.0.3*1").unwrap()).unwrap();
        assert_eq!(site.bounds(), (0.0, 4.0));
        let twice = site.join(Site::parse("bl.example=127.0.0.3*2").unwrap());
        assert_eq!(twice.unwrap_err(), "`bl.example` with 127.0.0.3 is there twice");
        for byte in 4..=65 {
            site.join(Site::parse(&format!("bl.example=127.0.0.{byte}")).unwrap()).unwrap();
        }
        let many = site.join(Site::parse("bl.example=127.0.0.66").unwrap());
        assert_eq!(many.unwrap_err(), "`bl.example` has more than 64 filters");
    }

    #[test]
    fn what_everybody_knows_of_a_zone_is_known() {
        for (zone, expected) in [
            ("dbl.spamhaus.org", Some(Kind::Domain)),
            ("abcdefgh.zen.dq.spamhaus.net", Some(Kind::Ip)),
            ("xdbl.spamhaus.org", None),
            ("bl.example", None),
        ] {
            assert_eq!(Site::parse(zone).unwrap().known_kind(), expected, "{zone}");
        }
    }
}
