//! A private Postfix with two smtpd services that differ only in whom they ask,
//! and smtp-source(1) as the world. Mail is discarded after the queue: the next
//! hop would cost both the same.

use crate::gatepost::folder;
use crate::socket::Address;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;
use tempfile::TempDir;

const POSTFIX: &str = "/usr/sbin/postfix";
const SMTP_SOURCE: &str = "/usr/sbin/smtp-source";

/// Parallel sessions, and bytes of a message.
const SESSIONS: &str = "10";
const MESSAGE_BYTES: &str = "4096";

const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

pub struct Postfix {
    ports: [u16; 2],
    dir: TempDir,
}

impl Postfix {
    /// Each pair is a policy service and a milter.
    pub fn start(services: [(&Address, &Address); 2]) -> io::Result<Self> {
        for program in [POSTFIX, SMTP_SOURCE] {
            if !PathBuf::from(program).exists() {
                return Err(io::Error::other(format!("{program} is not installed")));
            }
        }
        let dir = folder()?;
        for name in ["etc", "log", "spool", "lib"] {
            fs::create_dir(dir.path().join(name))?;
        }
        run("chown", [OsStr::new("postfix"), dir.path().join("lib").as_os_str()])?;
        let mut ports = [0; 2];
        let mut master = String::new();
        for ((policy, milter), port) in services.iter().zip(&mut ports) {
            let Address::Inet(free) = Address::free() else { unreachable!("always a port") };
            *port = free;
            let _ = write!(
                master,
                "127.0.0.1:{free} inet n - n - - smtpd\n  -o {{ ask = check_policy_service {policy} }}\n  \
                 -o {{ smtpd_milters = {milter} }}\n"
            );
        }
        let postfix = Self { ports, dir };
        fs::write(postfix.etc().join("main.cf"), postfix.main_cf())?;
        fs::write(postfix.etc().join("master.cf"), master + SERVICES)?;
        run(POSTFIX, [OsStr::new("-c"), postfix.etc().as_os_str(), OsStr::new("start")])?;
        Ok(postfix)
    }

    fn etc(&self) -> PathBuf {
        self.dir.path().join("etc")
    }

    fn main_cf(&self) -> String {
        let dir = self.dir.path().display();
        format!(
            "compatibility_level = 3.6\nqueue_directory = {dir}/spool\ndata_directory = {dir}/lib\n\
             maillog_file = {dir}/log/maillog\nmaillog_file_prefixes = {dir}\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = mx.test.example\nmydestination =\n\
             local_recipient_maps =\nalias_maps =\nalias_database =\nrelay_domains = test.example\n\
             mynetworks = 127.0.0.1/32\nrelay_transport = discard:\ndefault_transport = discard:\n\
             default_database_type = texthash\nsmtpd_client_connection_rate_limit = 0\n\
             smtpd_client_connection_count_limit = 0\nsmtpd_peername_lookup = no\n\
             smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n\
             ask =\nsmtpd_recipient_restrictions = $ask\nsmtpd_data_restrictions = $ask\n\
             smtpd_end_of_data_restrictions = $ask\n"
        )
    }

    /// Messages a second through the service of this number, until accepted.
    pub fn send(&self, service: usize, messages: usize) -> io::Result<f64> {
        let start = Instant::now();
        let (count, to) = (messages.to_string(), format!("127.0.0.1:{}", self.ports[service]));
        let fixed = ["-N", "-s", SESSIONS, "-l", MESSAGE_BYTES, "-f", "a@sender.example"];
        let rest = ["-t", "b@test.example", "-m", &count, &to];
        run(SMTP_SOURCE, fixed.iter().chain(&rest).map(OsStr::new))?;
        let rate = messages as f64 / start.elapsed().as_secs_f64();
        self.drain()?;
        Ok(rate)
    }

    /// What is still in the queue would slow down who comes next.
    fn drain(&self) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < DRAIN_TIMEOUT {
            let args = [OsStr::new("-c"), self.etc().as_os_str(), OsStr::new("-j")].map(OsStr::to_owned);
            if run("/usr/sbin/postqueue", args)?.stdout.is_empty() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(io::Error::other("the queue is not empty after a minute"))
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let _ = run(POSTFIX, [OsStr::new("-c"), self.etc().as_os_str(), OsStr::new("stop")]);
    }
}

fn run(program: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> io::Result<Output> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(io::Error::other(format!("{program} ended with {}: {text}", output.status)))
}

const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";
