//! Name servers of others on free ports of the loopback: nsd(8), which serves a zone,
//! unbound(8), which asks it, and nobody.

use super::port;
use super::program::start;
use super::until;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Child;
use tempfile::TempDir;

const NSD: &str = "/usr/sbin/nsd";
const UNBOUND: &str = "/usr/sbin/unbound";

/// True when one of them is not there.
pub(crate) fn dns_is_missing() -> bool {
    let missing = [NSD, UNBOUND].into_iter().find(|program| !Path::new(program).exists());
    if let Some(program) = missing {
        // Not through the macro, whose output the test harness keeps for failures.
        let _ = writeln!(std::io::stderr(), "skipped what needs {program}: it is not installed");
    }
    missing.is_some()
}

/// Takes packets and answers none.
pub(crate) struct BlackHole {
    pub port: u16,
    _socket: UdpSocket,
}

impl BlackHole {
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self { port: socket.local_addr().unwrap().port(), _socket: socket }
    }
}

pub(crate) struct NameServer {
    pub port: u16,
    child: Child,
    _dir: TempDir,
}

impl NameServer {
    /// Serves these records, each line relative to `zone`.
    pub(crate) fn nsd(zone: &str, records: &str) -> Self {
        let port = port::free();
        let dir = tempfile::Builder::new().prefix("gatepost-nsd-").tempdir().unwrap();
        let path = dir.path().display();
        let head = format!(
            "$ORIGIN {zone}.\n$TTL 300\n@ SOA ns.{zone}. root.{zone}. 1 3600 600 86400 60\n@ NS ns.{zone}.\nns A 127.0.0.1\n"
        );
        fs::write(dir.path().join("zone"), head + records).unwrap();
        let config = format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{path}\"\n\
             \x20 database: \"\"\n  zonelistfile: \"{path}/list\"\n  xfrdfile: \"{path}/state\"\n  xfrdir: \"{path}\"\n\
             \x20 pidfile: \"{path}/pid\"\n  logfile: \"{path}/log\"\n  server-count: 1\n  rrl-ratelimit: 0\n\
             remote-control:\n  control-enable: no\nzone:\n  name: {zone}\n  zonefile: zone\n"
        );
        Self::run(NSD, &["-d", "-c"], &config, port, dir)
    }

    /// Asks the servers of these zones, and knows nothing else.
    pub(crate) fn unbound(zones: &[(&str, u16)]) -> Self {
        let port = port::free();
        let dir = tempfile::Builder::new().prefix("gatepost-unbound-").tempdir().unwrap();
        let path = dir.path().display();
        let mut config = format!(
            "server:\n  interface: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{path}\"\n\
             \x20 pidfile: \"{path}/pid\"\n  logfile: \"{path}/log\"\n  use-syslog: no\n  do-daemonize: no\n\
             \x20 num-threads: 1\n  module-config: \"iterator\"\n  do-not-query-localhost: no\n\
             \x20 local-zone: \".\" refuse\n"
        );
        for (zone, server) in zones {
            config += &format!("  local-zone: \"{zone}.\" transparent\n");
            config += &format!("stub-zone:\n  name: {zone}\n  stub-addr: 127.0.0.1@{server}\nserver:\n");
        }
        config += "remote-control:\n  control-enable: no\n";
        Self::run(UNBOUND, &["-d", "-c"], &config, port, dir)
    }

    fn run(program: &str, words: &[&str], config: &str, port: u16, dir: TempDir) -> Self {
        let file = dir.path().join("conf");
        fs::write(&file, config).unwrap();
        let words = words.iter().map(OsStr::new).chain([file.as_os_str()]);
        let child = start(program, words, &dir.path().join("err"));
        let mut server = Self { port, child, _dir: dir };
        until(program, || {
            let path = server._dir.path();
            let said = |name| fs::read_to_string(path.join(name)).unwrap_or_default();
            assert!(server.child.try_wait().unwrap().is_none(), "{program}: {}{}", said("err"), said("log"));
            TcpStream::connect(server.address()).ok()
        });
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn stop(&mut self) {
        super::program::signal("TERM", self.child.id());
        let _ = self.child.wait();
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        // nsd has children, which only end when it is asked to.
        self.stop();
    }
}
