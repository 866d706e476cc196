//! What is known of a zone itself: whether it can be believed, how it answered, and
//! which errors it told. Shared by all policies that name it.

use std::net::Ipv4Addr;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// An answer that is no answer, by what is to be done about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trouble {
    Foreign,
    PublicResolver,
    Refused,
    Reserved,
    Typo,
    Volume,
    WrongKind,
}

impl Trouble {
    pub const ALL: &[Self] = &[
        Self::Foreign,
        Self::PublicResolver,
        Self::Refused,
        Self::Reserved,
        Self::Typo,
        Self::Volume,
        Self::WrongKind,
    ];

    /// What an answer tells that is none. `name` is the zone's: some have an error of
    /// their own where others have an entry.
    pub fn of(answer: Ipv4Addr, name: &str) -> Option<Self> {
        let within = |suffix: &str| name == suffix || name.ends_with(suffix) && has_dot(name, suffix);
        Some(match answer.octets() {
            [127, 255, 255, 252] => Self::Typo,
            [127, 255, 255, 254] => Self::PublicResolver,
            [127, 255, 255, 255] => Self::Volume,
            [127, 255, 255, _] => Self::Reserved,
            // What URIBL and others say to whom they don't serve; RFC 5782, 5 keeps it
            // from being an entry.
            [127, 0, 0, 1] => Self::Refused,
            [127, 0, 0, 255] if within("dnswl.org") => Self::Refused,
            [127, 0, 1 | 2, 255] if within("spamhaus.org") || within("spamhaus.net") => Self::WrongKind,
            [127, ..] => return None,
            _ => Self::Foreign,
        })
    }

    pub const fn word(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::PublicResolver => "public_resolver",
            Self::Refused => "refused",
            Self::Reserved => "reserved",
            Self::Typo => "typo",
            Self::Volume => "volume",
            Self::WrongKind => "wrong_kind",
        }
    }

    /// What happened, and what to do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Foreign => {
                "its answers are outside 127.0.0.0/8: the zone was closed or sold, or the resolver makes answers up; take the zone out"
            }
            Self::PublicResolver => {
                "it was asked through a public resolver, which it does not answer: use a resolver of your own (dns.nameservers), or a key"
            }
            Self::Refused => {
                "it refuses to answer this resolver: use a resolver of your own (dns.nameservers), register, or take the zone out"
            }
            Self::Reserved => "it says that it can't answer: see what its operator writes about this answer",
            Self::Typo => "it says that there is no such zone: look at how its name is written",
            Self::Volume => {
                "more is asked than is free: register for a key of your own, or take the zone out"
            }
            Self::WrongKind => {
                "it was asked for what it does not have: say `key:` and `kind:` as its operator has it"
            }
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

fn has_dot(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|before| before.ends_with('.'))
}

/// What its test entries say of a zone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Standing {
    /// Or not known to be otherwise.
    #[default]
    Fine,
    /// Lists nobody, not even its test entry.
    Dead,
    /// Answers its test entry with an error.
    Erring,
    /// Did not answer, twice in a row.
    Silent,
    /// Lists everybody.
    Wildcard,
}

impl Standing {
    const ALL: [Self; 5] = [Self::Fine, Self::Dead, Self::Erring, Self::Silent, Self::Wildcard];

    pub fn is_suspended(self) -> bool {
        self != Self::Fine
    }

    /// Why it is not asked.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Fine => "is asked",
            Self::Dead => "has lost its test entry, and so lists nobody",
            Self::Erring => "answers its test entry with an error",
            Self::Silent => "did not answer for its test entry, twice in a row",
            Self::Wildcard => "lists what it must not list, and so everybody",
        }
    }
}

/// What became of one question to a zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Erred(Trouble),
    Listed,
    NotListed,
    /// Nobody answered, or somebody without saying anything.
    Unknown,
}

/// Outcomes that are no trouble.
const PLAIN: usize = 3;

const OUTCOMES: usize = PLAIN + Trouble::ALL.len();

impl Outcome {
    pub const ALL: [Self; OUTCOMES] = [
        Self::Listed,
        Self::NotListed,
        Self::Unknown,
        Self::Erred(Trouble::Foreign),
        Self::Erred(Trouble::PublicResolver),
        Self::Erred(Trouble::Refused),
        Self::Erred(Trouble::Reserved),
        Self::Erred(Trouble::Typo),
        Self::Erred(Trouble::Volume),
        Self::Erred(Trouble::WrongKind),
    ];

    pub const fn word(self) -> &'static str {
        match self {
            Self::Erred(trouble) => trouble.word(),
            Self::Listed => "listed",
            Self::NotListed => "not_listed",
            Self::Unknown => "unknown",
        }
    }
}

#[derive(Debug, Default)]
pub struct Health {
    standing: AtomicU8,
    counts: [AtomicU64; OUTCOMES],
    /// Questions in a row that it listed what was asked for, and that nobody answered.
    listed: AtomicU32,
    unknown: AtomicU32,
}

/// Questions in a row that nobody answered before a zone is taken for silent: each may be
/// a mail that has waited.
const MAX_UNKNOWN: u32 = 5;

/// Entries in a row before a zone may have come to list everybody. Those who send spam come
/// in swarms; a test costs a few questions.
const MAX_LISTED: u32 = 30;

/// What its answers look like since it was last tested.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Looks {
    Fine,
    Silent,
    Wildcard,
}

impl Health {
    pub fn standing(&self) -> Standing {
        let number = usize::from(self.standing.load(Relaxed));
        Standing::ALL.get(number).copied().unwrap_or_default()
    }

    pub fn stand(&self, standing: Standing) {
        self.standing.store(standing as u8, Relaxed);
    }

    pub fn count(&self, outcome: Outcome) {
        if let Some(count) = self.counts.get(place(outcome)) {
            count.fetch_add(1, Relaxed);
        }
        match outcome {
            Outcome::Listed => {
                self.listed.fetch_add(1, Relaxed);
                forget(&self.unknown);
            }
            Outcome::Unknown => {
                self.unknown.fetch_add(1, Relaxed);
            }
            Outcome::Erred(_) | Outcome::NotListed => {
                forget(&self.listed);
                forget(&self.unknown);
            }
        }
    }

    pub fn looks(&self) -> Looks {
        if self.unknown.load(Relaxed) >= MAX_UNKNOWN {
            Looks::Silent
        } else if self.listed.load(Relaxed) >= MAX_LISTED {
            Looks::Wildcard
        } else {
            Looks::Fine
        }
    }

    /// It was tested: what it looked like before is settled.
    pub fn settle_looks(&self) {
        forget(&self.listed);
        forget(&self.unknown);
    }

    pub fn counted(&self, outcome: Outcome) -> u64 {
        self.counts.get(place(outcome)).map_or(0, |count| count.load(Relaxed))
    }
}

/// Mostly there is nothing to write, which would take the line from other threads.
fn forget(count: &AtomicU32) {
    if count.load(Relaxed) != 0 {
        count.store(0, Relaxed);
    }
}

fn place(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Listed => 0,
        Outcome::NotListed => 1,
        Outcome::Unknown => 2,
        Outcome::Erred(trouble) => PLAIN + trouble.index(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_answer_has_a_name() {
        for (answer, name, expected) in [
            ("127.0.0.2", "bl.example", None),
            ("127.255.254.255", "bl.example", None),
            ("127.255.255.252", "bl.example", Some(Trouble::Typo)),
            ("127.255.255.254", "bl.example", Some(Trouble::PublicResolver)),
            ("127.255.255.255", "bl.example", Some(Trouble::Volume)),
            ("127.255.255.7", "bl.example", Some(Trouble::Reserved)),
            ("192.0.2.1", "bl.example", Some(Trouble::Foreign)),
            ("128.0.0.2", "bl.example", Some(Trouble::Foreign)),
            ("0.0.0.0", "bl.example", Some(Trouble::Foreign)),
            ("127.0.0.1", "bl.example", Some(Trouble::Refused)),
            ("127.0.0.255", "bl.example", None),
            ("127.0.0.255", "list.dnswl.org", Some(Trouble::Refused)),
            ("127.0.0.255", "notdnswl.org", None),
            ("127.0.1.255", "dbl.spamhaus.org", Some(Trouble::WrongKind)),
            ("127.0.2.255", "zrd.dq.spamhaus.net", Some(Trouble::WrongKind)),
            ("127.0.1.255", "bl.example", None),
        ] {
            assert_eq!(Trouble::of(answer.parse().unwrap(), name), expected, "{answer} {name}");
        }
    }

    #[test]
    fn each_outcome_is_counted_apart() {
        let health = Health::default();
        let all = Outcome::ALL;
        for (at, outcome) in all.iter().enumerate() {
            assert_eq!(place(*outcome), at, "{outcome:?}");
        }
        for (outcome, times) in all.iter().zip(1..) {
            (0..times).for_each(|_| health.count(*outcome));
        }
        for (outcome, times) in all.iter().zip(1..) {
            assert_eq!(health.counted(*outcome), times, "{outcome:?}");
        }
        for standing in Standing::ALL {
            health.stand(standing);
            assert_eq!(health.standing(), standing);
        }
    }
}
