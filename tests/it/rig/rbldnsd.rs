//! rbldnsd(8) on a free port of the loopback, with zones that list, that list everybody,
//! that list nobody, and that answer with errors.

use super::port;
use super::program::start;
use super::until;
use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;
use tempfile::TempDir;

const RBLDNSD: &str = "/usr/sbin/rbldnsd";

/// True when it is not there.
pub(crate) fn rbldnsd_is_missing() -> bool {
    let missing = !Path::new(RBLDNSD).exists();
    if missing {
        // Not through the macro, whose output the test harness keeps for failures.
        let _ = writeln!(std::io::stderr(), "skipped what needs {RBLDNSD}: it is not installed");
    }
    missing
}

pub(crate) struct Rbldnsd {
    pub port: u16,
    child: Child,
    _dir: TempDir,
}

impl Rbldnsd {
    /// Serves zones, each with the kind of its data and the data.
    pub(crate) fn start(zones: &[(&str, &str, &str)]) -> Self {
        let port = port::free();
        let dir = tempfile::Builder::new().prefix("gatepost-rbldnsd-").tempdir().unwrap();
        // It becomes a user of its own.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut words = vec!["-n".to_owned(), "-q".into(), "-c".into(), "1".into()];
        words.extend([
            "-b".into(),
            format!("127.0.0.1/{port}"),
            "-w".into(),
            dir.path().display().to_string(),
        ]);
        for (zone, kind, data) in zones {
            write(&dir, zone, data);
            words.push(format!("{zone}:{kind}:{zone}"));
        }
        let child = start(RBLDNSD, words, &dir.path().join("err"));
        let mut server = Self { port, child, _dir: dir };
        until(RBLDNSD, || {
            let said = fs::read_to_string(server._dir.path().join("err")).unwrap_or_default();
            assert!(server.child.try_wait().unwrap().is_none(), "{said}");
            server.answers().then_some(())
        });
        server
    }

    fn answers(&self) -> bool {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        // A question for the root, which it refuses.
        let question = [7, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1];
        let _ = socket.send_to(&question, ("127.0.0.1", self.port));
        socket.recv(&mut [0; 512]).is_ok()
    }
}

fn write(dir: &TempDir, zone: &str, data: &str) {
    let head = format!("$SOA 60 ns.{zone} root.{zone} 0 600 300 86400 60\n$NS 60 ns.{zone}\n$TTL 60\n");
    fs::write(dir.path().join(zone), head + data).unwrap();
}

impl Drop for Rbldnsd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
