//! Questions to the DNS: what is asked, what may come back, and who answers, the
//! network or the text of a zone.
//!
//! "There is no such record", "the server would not or could not say" and "nobody
//! answered" are three things: the first is a fact about the sender, the others are
//! somebody's trouble and decide nothing.

mod cache;
mod live;
mod made;
mod name;
mod network;
mod reply;
mod system;
mod zone;

pub use live::Stats;
pub use name::Name;
pub use zone::Zone;

use live::Live;
use made::Made;
use std::any::Any;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Aliases of one name that are followed; most resolvers stop about there.
const MAX_ALIASES: usize = 8;

/// Which records are asked for; an alias (CNAME) is followed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    A,
    Aaaa,
    Mx,
    Ptr,
    Txt,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Mx => "MX",
            Self::Ptr => "PTR",
            Self::Txt => "TXT",
        }
    }

    /// The kind that has a client's own family.
    pub fn of_address(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::A } else { Self::Aaaa }
    }
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Question {
    pub name: Name,
    pub kind: Kind,
}

impl Question {
    pub fn new(name: Name, kind: Kind) -> Self {
        Self { name, kind }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Mx {
        preference: u16,
        /// None: the root, which says that there is no mail here (RFC 7505).
        exchange: Option<Name>,
    },
    Ptr(Name),
    /// Its strings joined, as SPF and DKIM read them; any bytes.
    Txt(Box<[u8]>),
}

impl Record {
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::A(ip) => Some((*ip).into()),
            Self::Aaaa(ip) => Some((*ip).into()),
            _ => None,
        }
    }
}

/// What is known not to be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Absence {
    /// NXDOMAIN: nothing of that name nor below it.
    NoName,
    /// The name is there, without records of that kind.
    NoRecord,
}

/// Why somebody answered without saying anything about the name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    ServFail,
    Refused,
    /// What came could not be read, or runs in circles.
    Malformed,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// At least one, all of the kind that was asked for.
    Records(Arc<[Record]>),
    Absent(Absence),
    Failed(Failure),
    /// Nobody answered in time.
    Silent,
}

impl Answer {
    pub fn records(&self) -> &[Record] {
        match self {
            Self::Records(records) => records,
            _ => &[],
        }
    }

    /// Whether it says something about the name: that it has records, or has none.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Records(_) | Self::Absent(_))
    }

    /// In a few words, for explanations and metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Records(_) => "found",
            Self::Absent(Absence::NoName) => "no_name",
            Self::Absent(Absence::NoRecord) => "no_record",
            Self::Failed(Failure::ServFail) => "servfail",
            Self::Failed(Failure::Refused) => "refused",
            Self::Failed(Failure::Malformed) => "malformed",
            Self::Silent => "timeout",
        }
    }
}

/// Whom to ask over the network.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Settings {
    pub servers: Vec<SocketAddr>,
    /// How long one server may take. A question is put twice at most, so that it has an
    /// answer, or none, after twice that.
    pub timeout: Duration,
}

impl Settings {
    /// With the system's servers where none are named.
    pub fn new(servers: Vec<SocketAddr>, timeout: Duration) -> Self {
        let servers = if servers.is_empty() { system::servers() } else { servers };
        Self { servers, timeout }
    }
}

/// Who is asked. Cheap to clone: its cache is shared.
#[derive(Clone, Debug)]
pub struct Resolver {
    source: Source,
    made: Arc<Made>,
}

#[derive(Clone, Debug)]
enum Source {
    Live(Arc<Live>),
    Zone(Arc<Zone>),
}

/// Knows no name.
impl Default for Resolver {
    fn default() -> Self {
        Self::of_zone(Zone::default())
    }
}

impl Resolver {
    fn of(source: Source) -> Self {
        Self { source, made: Arc::default() }
    }

    /// Answers from a text alone: for tests, and for `explain`.
    pub fn of_zone(zone: Zone) -> Self {
        Self::of(Source::Zone(Arc::new(zone)))
    }

    /// Asks the network.
    pub fn live(settings: Settings) -> Self {
        Self::of(Source::Live(Arc::new(Live::new(settings))))
    }

    /// Asks others from now on.
    pub fn change(&self, settings: Settings) {
        if let Source::Live(live) = &self.source {
            live.change(settings);
        }
    }

    /// What can be said at once, without asking anybody.
    pub fn known(&self, question: &Question) -> Option<Answer> {
        match &self.source {
            Source::Live(live) => live.known(question),
            Source::Zone(zone) => Some(zone.answer(question)),
        }
    }

    /// The answer, as soon as it is there or nobody will answer any more.
    pub async fn ask(&self, question: &Question) -> Answer {
        match &self.source {
            Source::Live(live) => live.ask(question).await,
            Source::Zone(zone) => zone.answer(question),
        }
    }

    /// The same, whatever is known: what is asked for shows whether anybody still answers.
    pub async fn ask_anew(&self, question: &Question) -> Answer {
        match &self.source {
            Source::Live(live) => live.ask_anew(question).await,
            Source::Zone(zone) => zone.answer(question),
        }
    }

    /// What somebody makes of answers and keeps beside them: one value of each type.
    pub fn made<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Arc<T> {
        self.made.of(make)
    }

    pub fn stats(&self) -> Stats {
        match &self.source {
            Source::Live(live) => live.stats(),
            Source::Zone(_) => Stats::default(),
        }
    }
}

#[cfg(test)]
mod tests;
