//! One zone with what its answers are worth, and what it says of one key.

use super::filter::Filter;
use super::health::Health;
use super::health::Outcome;
use super::health::Standing;
use super::health::Trouble;
use super::notation;
use crate::dns::Answer;
use crate::dns::Kind as RecordKind;
use crate::dns::Name;
use crate::dns::Question;
use crate::dns::Record;
use crate::dns::Resolver;
use crate::secret;
use data_encoding::BASE32_NOPAD;
use data_encoding::HEXLOWER;
use ring::digest;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::OnceLock;

/// Filters of one zone: which of them fit is kept as bits.
pub const MAX_PARTS: usize = 64;

/// Records of one answer that are looked at: zones answer with a handful.
const MAX_RECORDS: usize = 64;

/// What a zone has entries for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    Domain,
    Ip,
    Sha1,
    Sha256,
    Text,
}

impl Kind {
    pub const WORDS: [&str; 5] = ["ip", "domain", "text", "sha1", "sha256"];

    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "domain" => Self::Domain,
            "ip" => Self::Ip,
            "sha1" => Self::Sha1,
            "sha256" => Self::Sha256,
            "text" => Self::Text,
            _ => return None,
        })
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Ip => "ip",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Text => "text",
        }
    }

    /// As what a text stands in such a zone, in lower-case; None where it can't.
    pub fn key(self, folded: &str) -> Option<Name> {
        match self {
            Self::Domain => domain(folded),
            Self::Ip => folded.parse().ok().map(Name::backwards),
            Self::Sha1 => {
                let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, folded.as_bytes());
                Name::parse(&HEXLOWER.encode(hash.as_ref()))
            }
            // 64 hexadecimal digits are too long for a label.
            Self::Sha256 => {
                let hash = digest::digest(&digest::SHA256, folded.as_bytes());
                Name::parse(&BASE32_NOPAD.encode(hash.as_ref()))
            }
            Self::Text => Name::parse(folded),
        }
    }
}

/// Neither an address nor Postfix's word for no name.
fn domain(folded: &str) -> Option<Name> {
    let name = Name::parse(folded)?;
    let last = name.as_str().rsplit('.').next().unwrap_or_default();
    let is_host = name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let is_number = last.bytes().all(|b| b.is_ascii_digit());
    (is_host && !is_number && name.as_str() != "unknown").then_some(name)
}

/// Answers, and what they count.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub filter: Filter,
    pub weight: f64,
}

/// A zone as a list has it. What it is shown as never holds its key.
#[derive(Clone)]
pub struct Site {
    suffix: Name,
    pub name: String,
    /// None: of whatever it is asked about.
    pub kind: Option<Kind>,
    pub parts: Vec<Part>,
    /// What everybody knows that it has.
    usual: Option<Kind>,
    /// What must be listed in it; None where nothing is said of that.
    pub test: Option<Name>,
    /// Whether it is tested at all.
    pub is_tested: bool,
    /// Set once, where somebody looks after it.
    health: OnceLock<Arc<Health>>,
}

impl Site {
    /// `shown_as` instead of the name without its key.
    pub fn new(suffix: Name, shown_as: Option<String>, kind: Option<Kind>, parts: Vec<Part>) -> Self {
        let name = shown_as.unwrap_or_else(|| secret::shown(suffix.as_str()).to_owned());
        let usual = notation::usual_kind(suffix.as_str());
        Self { suffix, name, kind, parts, usual, test: None, is_tested: true, health: OnceLock::new() }
    }

    /// Whether both ask the same zone for the same.
    pub fn is_same_zone(&self, other: &Self) -> bool {
        self.suffix == other.suffix && self.kind == other.kind
    }

    /// What it has, where that was said or everybody knows.
    pub fn known_kind(&self) -> Option<Kind> {
        self.kind.or(self.usual)
    }

    /// By what it is known to whoever looks after it. Holds the key: for comparing only.
    pub fn suffix(&self) -> &Name {
        &self.suffix
    }

    /// From now on what it answers is counted there, and it is asked as that says.
    pub fn adopt(&self, health: &Arc<Health>) {
        let _ = self.health.set(Arc::clone(health));
    }

    /// Where what it answers is counted.
    pub fn health(&self) -> Option<&Arc<Health>> {
        self.health.get()
    }

    pub fn standing(&self) -> Standing {
        self.health.get().map_or(Standing::Fine, |health| health.standing())
    }

    /// What these parts count together.
    pub fn weight(&self, fitting: u64) -> f64 {
        let fits = |index: &usize| fitting & (1 << index) != 0;
        let parts = self.parts.iter().take(MAX_PARTS).enumerate();
        parts.filter(|(index, _)| fits(index)).map(|(_, part)| part.weight).sum()
    }

    /// The least and the most that an answer may count.
    pub fn bounds(&self) -> (f64, f64) {
        let weights = || self.parts.iter().map(|part| part.weight);
        (weights().filter(|w| *w < 0.0).sum(), weights().filter(|w| *w > 0.0).sum())
    }

    /// The key as the zone has it; None for what is too long to stand in it.
    pub(super) fn question(&self, key: &Name) -> Option<Question> {
        key.below(&self.suffix).map(|name| Question::new(name, RecordKind::A))
    }

    /// What an answer says of what was asked about.
    pub(super) fn says(&self, answer: &Answer) -> Says {
        if !answer.is_known() {
            return Says::Unknown(answer.word());
        }
        let mut fitting = 0;
        let mut first = None;
        let mut trouble = None;
        for record in answer.records().iter().take(MAX_RECORDS) {
            let Record::A(ip) = record else {
                continue;
            };
            if let Some(found) = Trouble::of(*ip, self.suffix.as_str()) {
                trouble.get_or_insert((found, *ip));
                continue;
            }
            first.get_or_insert(*ip);
            for (index, part) in self.parts.iter().take(MAX_PARTS).enumerate() {
                if part.filter.fits(*ip) {
                    fitting |= 1 << index;
                }
            }
        }
        match (first, trouble) {
            (Some(answer), _) => Says::Listed { parts: fitting, answer },
            (None, Some((trouble, answer))) => Says::Erred(trouble, answer),
            (None, None) => Says::NotListed,
        }
    }

    /// Counts it, where somebody looks after the zone.
    fn counted(&self, says: Says) -> Says {
        if let Some(health) = self.health.get() {
            health.count(match says {
                Says::Erred(trouble, _) => Outcome::Erred(trouble),
                Says::Listed { parts: 0, .. } | Says::NotListed => Outcome::NotListed,
                Says::Listed { .. } => Outcome::Listed,
                Says::Unknown(_) => Outcome::Unknown,
            });
        }
        says
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, parts, .. } = self;
        f.debug_struct("Site").field("name", name).field("kind", kind).field("parts", parts).finish()
    }
}

/// What a zone says of one key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Says {
    /// No answer of such a zone: it counts nothing.
    Erred(Trouble, Ipv4Addr),
    /// Listed with the first of its answers; which parts fit one of them, as bits.
    Listed {
        parts: u64,
        answer: Ipv4Addr,
    },
    NotListed,
    /// Nothing was said of it, and why.
    Unknown(&'static str),
}

/// What one zone is asked.
#[derive(Clone, Debug)]
pub struct SiteQuestion {
    pub site: Arc<Site>,
    pub key: Name,
}

impl PartialEq for SiteQuestion {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.site, &other.key)
    }
}

impl Eq for SiteQuestion {}

impl SiteQuestion {
    pub fn is(&self, site: &Arc<Site>, key: &Name) -> bool {
        Arc::ptr_eq(&self.site, site) && self.key == *key
    }

    /// What can be said at once.
    pub fn known(&self, resolver: &Resolver) -> Option<Says> {
        let Some(question) = self.site.question(&self.key) else {
            return Some(Says::NotListed);
        };
        resolver.known(&question).map(|answer| self.site.counted(self.site.says(&answer)))
    }

    /// Nobody waits for it any more.
    pub fn give_up(&self) {
        self.site.counted(Says::Unknown(Answer::Silent.word()));
    }

    pub async fn ask(&self, resolver: &Resolver) -> Says {
        match self.site.question(&self.key) {
            Some(question) => self.site.counted(self.site.says(&resolver.ask(&question).await)),
            None => Says::NotListed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Zone;

    fn site(parts: &[(&str, f64)]) -> Arc<Site> {
        let parts = parts.iter().map(|(filter, weight)| Part {
            filter: if filter.is_empty() { Filter::Any } else { Filter::parse(filter).unwrap() },
            weight: *weight,
        });
        Arc::new(Site::new(Name::parse("bl.example").unwrap(), None, None, parts.collect()))
    }

    #[test]
    fn keys_stand_in_a_zone_as_its_kind_has_it() {
        for (kind, text, expected) in [
            (Kind::Ip, "192.0.2.7", Some("7.2.0.192")),
            (Kind::Domain, "example.com.", Some("example.com")),
            (Kind::Domain, "unknown", None),
            (Kind::Domain, "192.0.2.7", None),
            (Kind::Domain, "[192.0.2.7]", None),
            (Kind::Domain, "bücher.example", None),
            (Kind::Text, "as64496", Some("as64496")),
            (Kind::Text, "two words", None),
            (Kind::Sha1, "a@example.com", Some("11a586cd1f7d573b856f94a619ae806a9a63f0a4")),
            (Kind::Sha256, "", Some("4oymiquy7qobjgx36tejs35zeqt24qpemsnzgtfeswmrw6csxbkq")),
        ] {
            let key = kind.key(text);
            assert_eq!(key.as_ref().map(Name::as_str), expected, "{text}");
            assert_eq!(Kind::parse(kind.word()), Some(kind));
        }
        assert_eq!(Kind::WORDS.map(|word| Kind::parse(word).unwrap().word()), Kind::WORDS);
    }

    #[test]
    fn an_answer_counts_once_for_each_filter_that_fits() {
        let zone = Zone::parse(
            "2.0.0.1.bl.example A 127.0.0.2\n2.0.0.1.bl.example A 127.0.0.3\n2.0.0.1.bl.example A 127.0.0.9\n\
             3.0.0.1.bl.example A 127.255.255.254\n4.0.0.1.bl.example A 127.255.255.254\n\
             4.0.0.1.bl.example A 127.0.0.3\n5.0.0.1.bl.example SERVFAIL\n7.0.0.1.bl.example A 127.0.0.200\n\
             8.0.0.1.bl.example TXT only a text\n9.0.0.1.bl.example A 192.0.2.1",
        );
        let resolver = Resolver::of_zone(zone.unwrap());
        let site = site(&[("127.0.0.[2..3]", 4.0), ("127.0.0.9", -1.0), ("127.0.0.4", 8.0)]);
        let health = Arc::new(Health::default());
        site.adopt(&health);
        for (ip, expected, weight) in [
            ("1.0.0.2", Says::Listed { parts: 0b011, answer: Ipv4Addr::new(127, 0, 0, 2) }, 3.0),
            ("1.0.0.3", Says::Erred(Trouble::PublicResolver, Ipv4Addr::new(127, 255, 255, 254)), 0.0),
            ("1.0.0.4", Says::Listed { parts: 0b001, answer: Ipv4Addr::new(127, 0, 0, 3) }, 4.0),
            ("1.0.0.5", Says::Unknown("servfail"), 0.0),
            ("1.0.0.6", Says::NotListed, 0.0),
            ("1.0.0.7", Says::Listed { parts: 0, answer: Ipv4Addr::new(127, 0, 0, 200) }, 0.0),
            ("1.0.0.8", Says::NotListed, 0.0),
            ("1.0.0.9", Says::Erred(Trouble::Foreign, Ipv4Addr::new(192, 0, 2, 1)), 0.0),
        ] {
            let key = Name::backwards(ip.parse().unwrap());
            let question = SiteQuestion { site: Arc::clone(&site), key };
            assert_eq!(question.known(&resolver), Some(expected), "{ip}");
            let parts = if let Says::Listed { parts, .. } = expected { parts } else { 0 };
            assert!((site.weight(parts) - weight).abs() < 1e-9, "{ip}");
        }
        assert_eq!(site.bounds(), (-1.0, 12.0));
        for (outcome, expected) in [
            (Outcome::Listed, 2),
            (Outcome::NotListed, 3),
            (Outcome::Unknown, 1),
            (Outcome::Erred(Trouble::PublicResolver), 1),
            (Outcome::Erred(Trouble::Foreign), 1),
        ] {
            assert_eq!(health.counted(outcome), expected, "{outcome:?}");
        }
    }

    #[test]
    fn what_is_too_long_for_the_zone_is_not_listed_in_it() {
        let site = site(&[("", 1.0)]);
        let key = Name::parse(&["a"; 123].join(".")).unwrap();
        assert_eq!(SiteQuestion { site, key }.known(&Resolver::default()), Some(Says::NotListed));
    }

    #[test]
    fn its_key_is_not_in_what_is_shown() {
        let suffix = Name::parse("abcdefgh.zen.dq.spamhaus.net").unwrap();
        let site = Site::new(suffix.clone(), None, None, Vec::new());
        assert_eq!(site.name, "zen.dq.spamhaus.net");
        assert!(!format!("{site:?}").contains("abcdefgh"));
        let site = Site::new(suffix, Some("zen".into()), None, Vec::new());
        assert_eq!(site.name, "zen");
    }
}
