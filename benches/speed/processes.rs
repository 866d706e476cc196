//! Servers and clients as processes of their own: this program again, in a role.

use crate::milter::Agreed;
use crate::socket::Address;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

/// How long a server may take to listen; a million entries are read before that.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// `sysconf(_SC_CLK_TCK)` on every Linux that we know.
const TICK_MICROS: u64 = 10_000;

/// A process that is ended with its value.
#[derive(Debug)]
pub struct Server {
    child: Child,
}

/// What a client measured.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub rate: f64,
    /// Answers other than `DUNNO` or continue.
    pub others: u64,
    pub count: u64,
}

impl Server {
    pub fn new(child: Child) -> Self {
        Self { child }
    }

    /// Answers every request with DUNNO.
    pub fn echo(address: &Address, threads: usize) -> io::Result<Self> {
        Self::in_role(address, &["echo".into(), address.to_string(), threads.to_string()])
    }

    /// gatepost's own, with a limit and so many keys in it.
    pub fn hold(address: &Address, keys: u32) -> io::Result<Self> {
        Self::in_role(address, &["hold".into(), address.to_string(), keys.to_string()])
    }

    /// A milter that does nothing.
    pub fn noop(address: &Address, threads: usize, agreed: &Agreed) -> io::Result<Self> {
        let mut words = vec!["noop".into(), address.to_string(), threads.to_string()];
        words.extend(agreed.to_words());
        Self::in_role(address, &words)
    }

    fn in_role(address: &Address, words: &[String]) -> io::Result<Self> {
        let mut server = Self::new(role(words)?.spawn()?);
        server.wait_until(|| address.is_open().then_some(()))?;
        Ok(server)
    }

    /// Waits for `ready`, and fails when the process ends or takes too long.
    pub fn wait_until<T>(&mut self, ready: impl Fn() -> Option<T>) -> io::Result<T> {
        let start = Instant::now();
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("ended at once with {status}")));
            }
            if start.elapsed() > START_TIMEOUT {
                return Err(io::Error::other("is not ready after a minute"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time used so far.
    pub fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // The name in parentheses may hold blanks; utime and stime are fields 14 and 15.
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 =
            after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
        Duration::from_micros(ticks * TICK_MICROS)
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shell raises the limit of open files to what the machine allows; the
/// process keeps its id.
pub fn with_all_files(program: PathBuf) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "ulimit -n \"$(ulimit -Hn)\"; exec \"$@\"", "sh"]).arg(program);
    command.stdin(Stdio::null());
    command
}

pub fn role(words: &[String]) -> io::Result<Command> {
    let mut command = with_all_files(std::env::current_exe()?);
    command.arg("role").args(words);
    Ok(command)
}

/// Policy requests over so many connections.
pub fn ask(address: &Address, connections: usize, window: Duration) -> io::Result<Sample> {
    ask_as(address, connections, window, 0)
}

/// The same from so many users, if not 0, and from nobody else.
pub fn ask_as(address: &Address, connections: usize, window: Duration, users: u32) -> io::Result<Sample> {
    let (connections, window) = (connections.to_string(), window.as_millis().to_string());
    sample(&["ask", &address.to_string(), &connections, &window, &users.to_string()])
}

/// Messages through a milter, `per_session` in each session.
pub fn mail(
    address: &Address,
    connections: usize,
    per_session: usize,
    window: Duration,
) -> io::Result<Sample> {
    let (connections, window) = (connections.to_string(), window.as_millis().to_string());
    sample(&["mail", &address.to_string(), &connections, &per_session.to_string(), &window])
}

fn sample(words: &[&str]) -> io::Result<Sample> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let output = role(&words)?.stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [count, others, nanos] = numbers[..] else {
        return Err(io::Error::other(format!("the client `{}` failed", words.join(" "))));
    };
    Ok(Sample { rate: count as f64 / Duration::from_nanos(nanos).as_secs_f64(), others, count })
}
