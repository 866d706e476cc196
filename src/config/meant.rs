//! `gatepost.yaml` as meant: each text becomes what it stands for, or a mistake
//! at its place; then what only shows when keys are seen together.

use super::Address;
use super::Config;
use super::Deadline;
use super::Decides;
use super::Dns;
use super::GeoIpFiles;
use super::GivenPath;
use super::Http;
use super::Listener;
use super::Local;
use super::Log;
use super::LogFormat;
use super::LogLevel;
use super::MilterListener;
use super::Relay;
use super::Selector;
use super::State;
use super::written::Text;
use super::written::Written;
use super::written::WrittenHttp;
use super::written::WrittenListener;
use super::written::WrittenRelay;
use super::written::complain;
use crate::near::did_you_mean;
use crate::quantity::parse_duration;
use crate::quantity::parse_size;
use crate::quantity::show_duration;
use crate::yaml::Mistakes;
use crate::yaml::Place;
use ipnet::IpNet;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// `sun_path` has 108 bytes with its end (unix(7)).
const MAX_SOCKET_PATH: usize = 107;

/// Below, honest traffic of a small server already pushes keys out.
const MIN_KEYS: u64 = 1_000;
/// Above, 20 GB of memory: a mistake rather than a wish.
const MAX_KEYS: u64 = 100_000_000;

/// Of a name server that is given without one.
const DNS_PORT: u16 = 53;

/// Below, answers from the other side of the earth come too late.
const MIN_DNS_TIMEOUT: Duration = Duration::from_millis(100);
/// Above, two tries would fill most deadlines.
const MAX_DNS_TIMEOUT: Duration = Duration::from_secs(10);

/// Below, a disk would do little else.
const MIN_EVERY: Duration = Duration::from_secs(1);
/// Above, a crash would forget what a limit is for.
const MAX_EVERY: Duration = Duration::from_secs(3_600);

/// Below, a busy machine alone would reach it.
const MIN_DEADLINE: Duration = Duration::from_millis(100);
/// Below Postfix's `milter_command_timeout` of 30 s.
const MAX_ENVELOPE: Duration = Duration::from_secs(25);
/// Below Postfix's `milter_content_timeout` of 300 s.
const MAX_MESSAGE: Duration = Duration::from_secs(250);

/// RFC 1035, 2.3.4.
const MAX_DOMAIN: usize = 253;

/// The configuration that is meant; of no use if `mistakes` has any.
pub(super) fn config(written: Written, folder: &Path, mistakes: &mut Mistakes) -> Config {
    let source = Arc::clone(&mistakes.source);
    let mut reader = Reader { mistakes, taken: Vec::new() };
    let policy = written.policy.iter().filter_map(|listener| reader.listener(listener, "listen.policy"));
    let policy = policy.collect();
    let mut milter = Vec::new();
    for listener in &written.milter {
        let decides = reader.decides(listener.decides.as_ref());
        let listener = reader.listener(listener, "listen.milter");
        milter.extend(listener.map(|listener| MilterListener { listener, decides }));
    }
    let state_dir = written.state_dir.as_ref().map(|text| reader.state_dir(text, folder));
    let control = match (&written.control, &written.state_dir, &state_dir) {
        (Some(text), _, _) => reader.control(text),
        (None, Some(text), Some(dir)) => reader.control_in(text, dir),
        _ => None,
    };
    Config {
        policy,
        milter,
        http: written.http.and_then(|http| reader.http(&http, folder)),
        control,
        policy_dir: reader.folder(&written.policy_dir, folder),
        enforce: reader.selectors(&written.enforce, "enforce"),
        disable: reader.selectors(&written.disable, "disable"),
        local: Local {
            networks: written.networks.iter().filter_map(|text| reader.network(text)).collect(),
            domains: written.domains.iter().filter_map(|text| reader.domain(text)).collect(),
            hostnames: written.hostnames.iter().filter_map(|text| reader.hostname(text)).collect(),
            relays: written.relays.iter().filter_map(|relay| reader.relay(relay)).collect(),
        },
        geoip: GeoIpFiles {
            country: written.geoip_country.as_ref().map(|text| reader.file(text, folder)),
            asn: written.geoip_asn.as_ref().map(|text| reader.file(text, folder)),
        },
        dns: Dns {
            nameservers: written.nameservers.iter().filter_map(|text| reader.nameserver(text)).collect(),
            timeout: reader.duration_in(&written.dns_timeout, MIN_DNS_TIMEOUT, MAX_DNS_TIMEOUT),
        },
        state: State {
            snapshot_every: reader.duration_in(&written.snapshot_every, MIN_EVERY, MAX_EVERY),
            max_keys: reader.max_keys(&written.max_keys),
            dir: state_dir,
        },
        deadline: Deadline {
            envelope: reader.deadline(&written.envelope, MAX_ENVELOPE, "milter_command_timeout"),
            message: reader.deadline(&written.message, MAX_MESSAGE, "milter_content_timeout"),
        },
        log: Log {
            format: reader.one_of(
                &written.log_format,
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                LogFormat::Text,
            ),
            level: reader.one_of(
                &written.log_level,
                &[
                    ("error", LogLevel::Error),
                    ("warn", LogLevel::Warn),
                    ("info", LogLevel::Info),
                    ("debug", LogLevel::Debug),
                ],
                LogLevel::Info,
            ),
        },
        source,
    }
}

struct Reader<'m> {
    mistakes: &'m mut Mistakes,
    taken: Vec<Taken>,
}

/// An address that a listener is to have.
struct Taken {
    address: Address,
    place: Option<Place>,
    section: &'static str,
}

impl Taken {
    fn name(&self) -> String {
        match self.place {
            Some(place) => format!("`{}` in line {}", self.section, place.line),
            None => format!("the default of `{}`", self.section),
        }
    }
}

impl Reader<'_> {
    fn wrong(&mut self, text: &Text, message: impl Into<String>) {
        complain(self.mistakes, text.place, message.into());
    }

    /// One of a few words; `fallback` beside a mistake.
    fn one_of<T: Copy>(&mut self, text: &Text, words: &[(&str, T)], fallback: T) -> T {
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.text) {
            return *value;
        }
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let hint = did_you_mean(&text.text, known.iter().copied());
        self.wrong(text, format!("`{}` is not one of {}{hint}", text.text, known.join(", ")));
        fallback
    }

    fn decides(&mut self, text: Option<&Text>) -> Decides {
        let words = [("message", Decides::Message), ("envelope", Decides::Envelope)];
        text.map_or(Decides::Message, |text| self.one_of(text, &words, Decides::Message))
    }

    fn listener(&mut self, written: &WrittenListener, section: &'static str) -> Option<Listener> {
        let address = address(&written.address.text);
        let mode = self.mode(&written.mode);
        let name = self.name(&written.name);
        let group = written.group.as_ref();
        if let Some(text) = group.filter(|text| text.text.is_empty()) {
            self.wrong(text, "a group's name is expected, such as postfix");
        }
        let address = match address {
            Ok(address) => address,
            Err(why) => {
                self.wrong(&written.address, why);
                return None;
            }
        };
        if matches!(address, Address::Inet(_)) {
            for (key, text) in [("mode", Some(&written.mode)), ("group", group)] {
                if let Some(text) = text.filter(|text| text.place.is_some()) {
                    self.wrong(text, format!("`{key}` is for unix sockets, and {address} is none"));
                }
            }
        }
        self.take(&written.address, &address, section);
        Some(Listener { address, name, mode, group: group.map(|text| text.text.clone()) })
    }

    /// Notes an address, so that none is bound twice.
    fn take(&mut self, text: &Text, address: &Address, section: &'static str) {
        let taken = Taken { address: address.clone(), place: text.place, section };
        if let Some(other) = self.taken.iter().find(|other| overlap(&other.address, address)) {
            // Of a pair with a default, the one that was written has the place to show.
            let (shown, by) = if taken.place.is_some() { (&taken, other) } else { (other, &taken) };
            let message =
                format!("{} is already taken by {}; give each listener its own", shown.address, by.name());
            complain(self.mistakes, shown.place, message);
        }
        self.taken.push(taken);
    }

    fn name(&mut self, text: &Text) -> Arc<str> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if text.text.is_empty() || !text.text.chars().all(plain) {
            let message = format!("`{}` is not a name of letters, digits, `-`, `_` and `.`", text.text);
            self.wrong(text, message);
        }
        text.text.as_str().into()
    }

    fn mode(&mut self, text: &Text) -> u32 {
        let octal = matches!(text.text.len(), 3 | 4) && text.text.bytes().all(|b| matches!(b, b'0'..=b'7'));
        let mode = u32::from_str_radix(&text.text, 8).ok().filter(|mode| octal && *mode <= 0o777);
        mode.unwrap_or_else(|| {
            self.wrong(text, format!("`{}` is not a mode from 0000 to 0777, such as 0660", text.text));
            0
        })
    }

    fn http(&mut self, written: &WrittenHttp, folder: &Path) -> Option<Http> {
        if let Some(text) = written.token_file.as_ref().filter(|text| text.text.is_empty()) {
            self.wrong(text, "a file is expected, such as /etc/gatepost/token");
        }
        let token_file = written.token_file.as_ref().map(|text| folder.join(&text.text));
        let text = &written.address;
        let bare = text.text.strip_prefix("inet:").unwrap_or(&text.text);
        match inet(bare) {
            Ok(address) => {
                self.take(text, &Address::Inet(address), "listen.http");
                Some(Http { address, token_file })
            }
            Err(why) => {
                self.wrong(text, why);
                None
            }
        }
    }

    fn control(&mut self, text: &Text) -> Option<PathBuf> {
        let path = match address(&text.text) {
            Ok(Address::Unix(path)) => path,
            Ok(Address::Inet(_)) => {
                self.wrong(text, "`control` is a unix socket, such as unix:/run/gatepost/control.sock: who asks must be known");
                return None;
            }
            Err(why) => {
                self.wrong(text, why);
                return None;
            }
        };
        self.take(text, &Address::Unix(path.clone()), "control");
        Some(path)
    }

    fn folder(&mut self, text: &Text, folder: &Path) -> PathBuf {
        if text.text.is_empty() {
            self.wrong(text, "a folder is expected, such as policy.d");
        }
        folder.join(&text.text)
    }

    fn state_dir(&mut self, text: &Text, folder: &Path) -> PathBuf {
        if text.text.is_empty() {
            self.wrong(text, "a folder is expected, such as /var/lib/gatepost");
        }
        folder.join(&text.text)
    }

    /// The socket that stands in the folder of the state, unless it is told where.
    fn control_in(&mut self, text: &Text, dir: &Path) -> Option<PathBuf> {
        let path = dir.join("control.sock");
        let length = path.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            let message = format!(
                "the path of its control.sock has {length} bytes; a unix socket's may have {MAX_SOCKET_PATH}: say `control: unix:/run/gatepost/control.sock`, or take a shorter one"
            );
            self.wrong(text, message);
            return None;
        }
        self.take(text, &Address::Unix(path.clone()), "state.dir");
        Some(path)
    }

    fn nameserver(&mut self, text: &Text) -> Option<SocketAddr> {
        let bare = text.text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let alone = bare.unwrap_or(&text.text).parse::<IpAddr>();
        let address = match alone {
            Ok(ip) => Some(SocketAddr::new(ip, DNS_PORT)),
            Err(_) => text.text.parse().ok().filter(|address: &SocketAddr| address.port() != 0),
        };
        if address.is_none() {
            let message = format!(
                "`{}` is not an address such as 127.0.0.1, 127.0.0.1:5353 or [::1]:5353; names are not looked up here",
                text.text
            );
            self.wrong(text, message);
        }
        address
    }

    fn duration_in(&mut self, text: &Text, least: Duration, most: Duration) -> Duration {
        let duration = parse_duration(&text.text);
        duration.filter(|duration| (least..=most).contains(duration)).unwrap_or_else(|| {
            let (shortest, longest) = (show_duration(least), show_duration(most));
            self.wrong(text, format!("`{}` is not a duration from {shortest} to {longest}", text.text));
            least
        })
    }

    fn selectors(&mut self, texts: &[Text], path: &str) -> Vec<Selector> {
        for text in texts.iter().filter(|text| text.text.is_empty()) {
            self.wrong(text, format!("an item of `{path}` is the name of a rule or of a rule file"));
        }
        let selector =
            |text: &Text| Selector { pattern: text.text.clone(), place: text.place.unwrap_or_default() };
        texts.iter().map(selector).collect()
    }

    fn network(&mut self, text: &Text) -> Option<IpNet> {
        let network = match text.text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => {
                let Ok(network) = text.text.parse::<IpNet>() else {
                    let message = format!(
                        "`{}` is not an address or network such as 192.0.2.0/24 or 2001:db8::/32",
                        text.text
                    );
                    self.wrong(text, message);
                    return None;
                };
                network
            }
        };
        if network != network.trunc() {
            let message =
                format!("`{network}` has bits set behind its prefix; did you mean `{}`?", network.trunc());
            self.wrong(text, message);
            return None;
        }
        Some(network)
    }

    fn domain(&mut self, text: &Text) -> Option<String> {
        let lower = text.text.to_lowercase();
        let (dot, name) = lower.strip_prefix('.').map_or(("", lower.as_str()), |name| (".", name));
        let name = name.strip_suffix('.').unwrap_or(name);
        if let Some((_, domain)) = name.rsplit_once('@') {
            self.wrong(text, format!("`{}` is an address; the domain alone is `{domain}`", text.text));
            return None;
        }
        if !is_domain(name) {
            self.wrong(text, format!("`{}` is not a domain such as example.com or .example.com", text.text));
            return None;
        }
        Some(format!("{dot}{name}"))
    }

    fn hostname(&mut self, text: &Text) -> Option<String> {
        let lower = text.text.to_lowercase();
        let name = lower.strip_suffix('.').unwrap_or(&lower);
        if !is_domain(name) {
            self.wrong(text, format!("`{}` is not a host name such as mail.example.com", text.text));
            return None;
        }
        Some(name.to_owned())
    }

    fn relay(&mut self, relay: &WrittenRelay) -> Option<Relay> {
        let network = self.network(&relay.address)?;
        if let Some(header) = relay.header.as_ref().filter(|header| !is_field_name(&header.text)) {
            self.wrong(header, format!("`{}` is not the name of a header field", header.text));
            return None;
        }
        Some(Relay { network, header: relay.header.as_ref().map(|header| header.text.clone()) })
    }

    /// What it holds is looked at by whoever opens it.
    fn file(&mut self, text: &Text, folder: &Path) -> GivenPath {
        if text.text.is_empty() {
            self.wrong(text, "a file is expected, such as /var/lib/GeoIP/GeoLite2-Country.mmdb");
        }
        GivenPath { path: folder.join(&text.text), place: text.place.unwrap_or_default() }
    }

    fn max_keys(&mut self, text: &Text) -> usize {
        let number = parse_size(&text.text).filter(|number| (MIN_KEYS..=MAX_KEYS).contains(number));
        number.and_then(|number| usize::try_from(number).ok()).unwrap_or_else(|| {
            self.wrong(text, format!("`{}` is not a number from {MIN_KEYS} to {MAX_KEYS}", text.text));
            0
        })
    }

    fn deadline(&mut self, text: &Text, most: Duration, parameter: &str) -> Duration {
        let Some(duration) = parse_duration(&text.text) else {
            self.wrong(text, format!("`{}` is not a duration with its unit, such as 500ms or 5s", text.text));
            return most;
        };
        if !(MIN_DEADLINE..=most).contains(&duration) {
            let message = format!(
                "`{}` is not from {} to {}, which Postfix's {parameter} allows",
                text.text,
                show_duration(MIN_DEADLINE),
                show_duration(most)
            );
            self.wrong(text, message);
        }
        duration
    }
}

/// `inet:ADDRESS:PORT` or `unix:/PATH`.
fn address(text: &str) -> Result<Address, String> {
    if let Some(bare) = text.strip_prefix("inet:") {
        return inet(bare).map(Address::Inet);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path).map(Address::Unix);
    }
    if text.starts_with('/') {
        return Err(format!("`{text}` lacks its kind; did you mean `unix:{text}`?"));
    }
    if inet(text).is_ok() {
        return Err(format!("`{text}` lacks its kind; did you mean `inet:{text}`?"));
    }
    Err(format!(
        "`{text}` is not an address such as inet:127.0.0.1:12040, inet:[::1]:12040 or unix:/run/gatepost/policy"
    ))
}

fn unix(path: &str) -> Result<PathBuf, String> {
    if !path.starts_with('/') {
        return Err(format!("the path of a unix socket begins with `/`, not `{path}`"));
    }
    if path.len() > MAX_SOCKET_PATH {
        return Err(format!("the path has {} bytes; a unix socket's may have {MAX_SOCKET_PATH}", path.len()));
    }
    Ok(path.into())
}

/// Names are not looked up: what a listener is bound to must not depend on DNS.
fn inet(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.port() == 0 {
            return Err(
                "port 0 is any free one, which Postfix could not know; give one from 1 to 65535".into()
            );
        }
        return Ok(address);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(format!("`{text}` has no port; an address is such as 127.0.0.1:12040 or [::1]:12040"));
    };
    if text.parse::<Ipv6Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("an IPv6 address stands in brackets: did you mean `[{host}]:{port}`?"));
    }
    if host.eq_ignore_ascii_case("localhost") {
        return Err("`localhost` is a name, an IP address is expected: say 127.0.0.1 or [::1]".into());
    }
    if matches!(host, "" | "*") {
        return Err(format!("`{host}` is not an IP address; all interfaces are 0.0.0.0 or [::]"));
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_err() {
        return Err(format!("`{host}` is not an IP address; names are not looked up here"));
    }
    Err(format!("`{port}` is not a port from 1 to 65535"))
}

/// Whether the second of the two could not be bound beside the first.
fn overlap(one: &Address, other: &Address) -> bool {
    let (Address::Inet(one), Address::Inet(other)) = (one, other) else { return one == other };
    // `[::]` takes IPv4 as well, unless the system says otherwise.
    let covers = |a: IpAddr, b: IpAddr| a.is_unspecified() && (a.is_ipv6() || b.is_ipv4());
    let (a, b) = (one.ip(), other.ip());
    one.port() == other.port() && (a == b || covers(a, b) || covers(b, a))
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && !label.contains(not_of_a_label);
    name.len() <= MAX_DOMAIN && name.split('.').all(label) && name.parse::<IpAddr>().is_err()
}

/// RFC 5322, 2.2: printable ASCII but the colon.
fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 76 && name.bytes().all(|b| b.is_ascii_graphic() && b != b':')
}

/// Letters of any script, digits, `-` and the `_` of DNS.
fn not_of_a_label(c: char) -> bool {
    !(c.is_alphanumeric() || matches!(c, '-' | '_'))
}
