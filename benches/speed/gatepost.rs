//! The program that is measured: the release binary with the rules we ship or
//! others, on TCP and unix sockets, its log in a file.

use crate::milter;
use crate::milter::Agreed;
use crate::nameserver;
use crate::processes::Server;
use crate::processes::with_all_files;
use crate::roles::on_threads;
use crate::socket::Address;
use gatepost::policy;
use gatepost::policy::Options;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_gatepost");
const SHIPPED_RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/policy.d");

/// How much of the log is told when it does not start.
const LOG_LINES: usize = 6;

/// What stands in the column `ours`.
pub struct Ours {
    /// TCP and unix.
    pub policy: [Address; 2],
    pub milter: [Address; 2],
    servers: Vec<Server>,
    log: File,
    /// From the start to the first answer that it is ready.
    pub started_in: Duration,
    _dir: TempDir,
}

/// What it decides by.
#[derive(Clone, Copy, Debug)]
pub enum Rules<'a> {
    /// But for those that ask the DNS.
    Shipped,
    /// All of them, with eight zones of lists and SPF. Its answers have to be warmed.
    World,
    /// As `Shipped`, of which these are enforced.
    Enforced(&'a str),
    /// Files of `policy.d`.
    These(&'a [(&'a str, &'a str)]),
}

impl Ours {
    /// With `null` the references stand in its place: what then differs from 1
    /// is noise.
    pub fn start(rules: Rules<'_>, null: bool) -> io::Result<Self> {
        if null { Self::nothing() } else { Self::gatepost(rules) }
    }

    fn gatepost(rules: Rules<'_>) -> io::Result<Self> {
        let dir = folder()?;
        let (policy, milter) = addresses(dir.path());
        let mut disable = String::new();
        let policy_dir = match rules {
            Rules::Shipped | Rules::Enforced(_) => {
                disable = asking_the_dns()?.join(", ");
                SHIPPED_RULES.to_owned()
            }
            Rules::World => world(dir.path())?,
            Rules::These(files) => {
                let folder = dir.path().join("policy.d");
                fs::create_dir(&folder)?;
                for (name, text) in files {
                    fs::write(folder.join(name), text)?;
                }
                folder.display().to_string()
            }
        };
        let Address::Inet(http) = Address::free() else { unreachable!("always a port") };
        let listen = |kind: &str, [inet, unix]: &[Address; 2]| {
            format!("  {kind}: [{{address: \"{inet}\"}}, {{address: \"{unix}\", mode: \"0666\"}}]\n")
        };
        let dns = nameserver::start()?;
        let enforce = if let Rules::Enforced(rules) = rules { rules } else { "" };
        let config = format!(
            "listen:\n{}{}  http: {{address: \"127.0.0.1:{http}\"}}\npolicy_dir: \"{policy_dir}\"\nenforce: [{enforce}]\ndisable: [{disable}]\ndns: {{nameservers: [\"{dns}\"]}}\n",
            listen("policy", &policy),
            listen("milter", &milter),
        );
        let config_file = dir.path().join("gatepost.yaml");
        fs::write(&config_file, config)?;
        let path = dir.path().join("log");
        let log = File::options().create(true).append(true).open(&path)?;
        let start = Instant::now();
        let mut server = Server::new(
            with_all_files(BINARY.into())
                .args(["serve", "--config"])
                .arg(&config_file)
                .current_dir(dir.path())
                .stdout(log.try_clone()?)
                .stderr(log.try_clone()?)
                .spawn()?,
        );
        let is_ready =
            || get(http, "/readyz").filter(|answer| answer.starts_with("HTTP/1.1 200")).map(|_| ());
        server.wait_until(is_ready).map_err(|error| {
            let log = fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = log.lines().take(LOG_LINES).collect();
            io::Error::other(format!("`gatepost serve` {error}\n{}", lines.join("\n")))
        })?;
        let started_in = start.elapsed();
        Ok(Self { policy, milter, servers: vec![server], log, started_in, _dir: dir })
    }

    fn nothing() -> io::Result<Self> {
        let dir = folder()?;
        let (policy, milter) = addresses(dir.path());
        let mut servers = Vec::new();
        for address in &policy {
            servers.push(Server::echo(address, 1)?);
        }
        for address in &milter {
            servers.push(Server::noop(address, 2, &usual())?);
        }
        let log = tempfile::tempfile()?;
        Ok(Self { policy, milter, servers, log, started_in: Duration::ZERO, _dir: dir })
    }

    /// What it agrees on with Postfix.
    pub fn agreed(&self) -> io::Result<Agreed> {
        on_threads(1, milter::negotiate(&self.milter[0]))
    }

    pub fn cpu(&self) -> Duration {
        self.servers.iter().map(Server::cpu).sum()
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        self.servers.iter().map(Server::resident).sum()
    }

    /// A line for every request fills a disk in the long run.
    pub fn empty_log(&self) {
        let _ = self.log.set_len(0);
    }
}

/// The shipped rules whose conditions ask the DNS.
pub fn asking_the_dns() -> io::Result<Vec<String>> {
    let loaded = policy::load(Path::new(SHIPPED_RULES), &Options::default())
        .map_err(|_| io::Error::other("`gatepost check policy.d` tells what is wrong with them"))?;
    let asks = |rule: &&policy::Rule| {
        let mut asks = false;
        rule.condition.each_check(&mut |check| asks |= !check.asks_nobody());
        asks
    };
    Ok(loaded.policy.rules.iter().filter(asks).map(|rule| rule.name.clone()).collect())
}

/// The shipped rules with four more zones and SPF.
fn world(dir: &Path) -> io::Result<String> {
    let (shipped, folder) = (Path::new(SHIPPED_RULES), dir.join("policy.d"));
    for (from, to) in [(shipped.to_owned(), folder.clone()), (shipped.join("lists"), folder.join("lists"))] {
        fs::create_dir(&to)?;
        for entry in fs::read_dir(from)? {
            let path = entry?.path();
            if let Some(name) = path.file_name().filter(|_| path.is_file()) {
                fs::copy(&path, to.join(name))?;
            }
        }
    }
    fs::write(
        folder.join("lists/zones"),
        "a.zone.example*1\nb.zone.example*1\nc.zone.example*1\nd.zone.example*1\n",
    )?;
    let spf = "when: {direction: inbound}\nmode: observe\nrules: [{name: bench-spf, when: {spf: fail}, then: {score: 1}}]\n";
    fs::write(folder.join("26-bench.yaml"), spf)?;
    Ok(folder.display().to_string())
}

/// The steps that filters with content rules agree on.
fn usual() -> Agreed {
    let (rejected_rcpt, leading_space, no_unknown) = (0x800, 0x10_0000, 0x100);
    let quiet = 0x80 | 0x4_0000 | 0x8_0000;
    let options = rejected_rcpt | leading_space | no_unknown | quiet;
    Agreed { actions: 0x1ff, options, macros: vec![(4, "i".to_owned())] }
}

fn addresses(dir: &Path) -> ([Address; 2], [Address; 2]) {
    let of = |name: &str| [Address::free(), Address::Unix(dir.join(name).display().to_string())];
    (of("policy"), of("milter"))
}

/// Searchable for user postfix.
pub fn folder() -> io::Result<TempDir> {
    let dir = tempfile::Builder::new().prefix("gatepost-bench-").tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    Ok(dir)
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
