//! `gatepost.yaml`, the daemon's file: as written → as meant, or all the
//! mistakes at once. Nothing is opened, bound or resolved here but the file itself.
//!
//! The operator writes it; the bound on its size is that of `yaml`.

mod keys;
mod meant;
mod written;

pub use keys::reference;

use crate::yaml::MAX_BYTES;
use crate::yaml::Mistake;
use crate::yaml::Mistakes;
use crate::yaml::Place;
use crate::yaml::Source;
use ipnet::IpNet;
use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use written::Written;

/// All that the file says, with defaults where it says nothing.
#[derive(Clone, Debug)]
pub struct Config {
    pub policy: Vec<Listener>,
    pub milter: Vec<MilterListener>,
    /// None when there is to be no endpoint.
    pub http: Option<Http>,
    /// The socket on which the running daemon can be asked; None for none.
    pub control: Option<PathBuf>,
    /// Joined to the folder of the file.
    pub policy_dir: PathBuf,
    pub enforce: Vec<Selector>,
    pub disable: Vec<Selector>,
    pub local: Local,
    pub dns: Dns,
    pub geoip: GeoIpFiles,
    pub state: State,
    pub deadline: Deadline,
    pub log: Log,
    /// For mistakes found later, such as a selector that selects nothing.
    pub source: Arc<Source>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Listener {
    pub address: Address,
    /// For `listener:` in rules.
    pub name: Arc<str>,
    /// Of a unix socket's file.
    pub mode: u32,
    pub group: Option<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MilterListener {
    pub listener: Listener,
    pub decides: Decides,
}

/// The HTTP endpoint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Http {
    pub address: SocketAddr,
    /// Joined to the folder of the file; without it nothing but health and metrics is told.
    pub token_file: Option<PathBuf>,
}

/// At which events a milter listener refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decides {
    /// At the recipients too: for set-ups without policy delegation.
    Envelope,
    /// At the end of the message; delegation decides what comes before.
    Message,
}

/// Shown as it is written: `inet:127.0.0.1:12040`, `unix:/run/gatepost/policy`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Address {
    Inet(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(f, "inet:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Who "we" are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Local {
    pub networks: Vec<IpNet>,
    /// In lower case; `.example.com` is everything below it.
    pub domains: Vec<String>,
    /// In lower case.
    pub hostnames: Vec<String>,
    pub relays: Vec<Relay>,
}

/// Servers whose word on the origin of a mail is taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Relay {
    pub network: IpNet,
    /// The field in which they say the client's address; None: their `Received`.
    pub header: Option<String>,
}

/// Files with what is known of addresses; none is opened here.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GeoIpFiles {
    pub country: Option<GivenPath>,
    pub asn: Option<GivenPath>,
}

/// A file that is opened later, when what is wrong with it has a place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GivenPath {
    /// Joined to the folder of the file.
    pub path: PathBuf,
    pub place: Place,
}

/// Who is asked about names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dns {
    /// None: those of the system.
    pub nameservers: Vec<SocketAddr>,
    /// For one of them.
    pub timeout: Duration,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct State {
    /// Joined to the folder of the file; None: in memory alone.
    pub dir: Option<PathBuf>,
    pub snapshot_every: Duration,
    pub max_keys: usize,
}

/// How long a decision may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadline {
    pub envelope: Duration,
    pub message: Duration,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogFormat {
    Json,
    Text,
}

/// From the least that is written to the most.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
}

/// Names of rules or of rule files: `reject-helo`, `20-mx.yaml`, `content-*`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Selector {
    pub pattern: String,
    pub place: Place,
}

impl Selector {
    /// Whether it means this name: `*` stands for any characters, `?` for one.
    pub fn selects(&self, name: &str) -> bool {
        let (pattern, name) = (self.pattern.as_bytes(), name.as_bytes());
        let (mut p, mut n) = (0, 0);
        // Where the last `*` stood and how far the name was: it takes one more each time.
        let mut star = None;
        while let Some(&byte) = name.get(n) {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, n));
                    p += 1;
                }
                Some(&wanted) if wanted == b'?' || wanted == byte => {
                    p += 1;
                    n += 1;
                }
                _ => {
                    let Some((at, taken)) = star else { return false };
                    star = Some((at, taken + 1));
                    p = at + 1;
                    n = taken + 1;
                }
            }
        }
        pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
    }
}

impl Config {
    /// Reads the file, or takes the defaults where none is named.
    pub fn load(path: Option<&Path>) -> Result<Self, Vec<Mistake>> {
        let Some(path) = path else {
            let source = Source { name: "defaults".into(), text: String::new() };
            return Self::read(Arc::new(source), Path::new("."));
        };
        let name = path.display().to_string();
        let text = text_of(path).map_err(|why| vec![Mistake::whole(&name, why)])?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self::read(Arc::new(Source { name, text }), folder.unwrap_or(Path::new(".")))
    }

    /// The same from a text; `folder` is where relative paths begin.
    pub fn read(source: Arc<Source>, folder: &Path) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Mistakes::new(Arc::clone(&source));
        let config =
            Written::read(&mut mistakes).map(|written| meant::config(written, folder, &mut mistakes));
        match config {
            Some(config) if mistakes.found.is_empty() => Ok(config),
            _ => {
                let mut found = mistakes.found;
                found.sort_by_key(|mistake| mistake.place);
                Err(found)
            }
        }
    }
}

/// The text of the file, or why it can't be had.
fn text_of(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("can't be opened: {error}"))?;
    // One byte more than is allowed, so that the parser can say it is too long.
    let limit = MAX_BYTES as u64 + 1;
    file.take(limit).read_to_end(&mut bytes).map_err(|error| format!("can't be read: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8; save the file in that encoding")
    })
}

#[cfg(test)]
mod tests;
