//! The program under test: the built binary with a configuration of its own.

use super::http;
use super::port;
use super::program;
use super::until;
use super::within;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

/// What Postfix and gatepost speak over.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Sockets {
    #[default]
    Inet,
    Unix,
}

pub(crate) struct Gatepost {
    /// As Postfix writes them: `inet:127.0.0.1:13001`, `unix:/…/policy`.
    pub policy: String,
    pub milter: String,
    pub http: u16,
    child: Child,
    dir: TempDir,
}

impl Gatepost {
    /// Writes the rule files, runs `serve` and waits until it is ready. `more`
    /// are top-level keys for `gatepost.yaml` beside `listen` and `policy_dir`.
    pub(crate) fn start(files: &[(&str, &str)], more: &str, sockets: Sockets) -> Self {
        let dir = folder();
        let (policy, milter) = match sockets {
            Sockets::Inet => {
                (format!("inet:127.0.0.1:{}", port::free()), format!("inet:127.0.0.1:{}", port::free()))
            }
            Sockets::Unix => {
                let path = dir.path().display();
                (format!("unix:{path}/policy"), format!("unix:{path}/milter"))
            }
        };
        let http = port::free();
        // smtpd connects as user postfix.
        let mode = if sockets == Sockets::Unix { ", mode: \"0666\"" } else { "" };
        let config = format!(
            "listen:\n  policy: [{{address: \"{policy}\"{mode}}}]\n  milter: [{{address: \"{milter}\"{mode}}}]\n  \
             http: {{address: \"127.0.0.1:{http}\"}}\npolicy_dir: policy.d\n\
             control: \"unix:{}/control\"\n{more}\n",
            dir.path().display()
        );
        Self::run(dir, files, &config, policy, milter, http)
    }

    /// With a whole `gatepost.yaml`, whose first sockets are `policy` and `milter`.
    pub(crate) fn configured(
        files: &[(&str, &str)],
        config: &str,
        policy: &str,
        milter: &str,
        http: u16,
    ) -> Self {
        Self::run(folder(), files, config, policy.to_owned(), milter.to_owned(), http)
    }

    /// On free TCP ports, started by a command line of one's own: its first word,
    /// then others, in front of `gatepost serve …`; and with nobody who reads what
    /// it writes, if `unread`.
    pub(crate) fn launched(files: &[(&str, &str)], before: &[&str], unread: bool) -> Self {
        let dir = folder();
        let [policy, milter] = [(); 2].map(|()| format!("inet:127.0.0.1:{}", port::free()));
        let http = port::free();
        let config = format!(
            "listen:\n  policy: [\"{policy}\"]\n  milter: [\"{milter}\"]\n  \
             http: {{address: \"127.0.0.1:{http}\"}}\npolicy_dir: policy.d\n"
        );
        let mut command = written(&dir, files, &config, before);
        if unread {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        Self::spawn(dir, &mut command, policy, milter, http)
    }

    /// Where it must not start: its exit code and all it has written. `config`
    /// is given the folder everything is in.
    pub(crate) fn refused(files: &[(&str, &str)], config: impl FnOnce(&Path) -> String) -> (i32, String) {
        let dir = folder();
        let config = config(dir.path());
        let mut child = written(&dir, files, &config, &[]).spawn().unwrap();
        let status = within(Duration::from_secs(10), || child.try_wait().unwrap());
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = fs::read_to_string(dir.path().join("log")).unwrap();
        let status = status.unwrap_or_else(|| panic!("gatepost started, and should not:\n{log}"));
        (status.code().expect("an exit code"), log)
    }

    fn run(
        dir: TempDir,
        files: &[(&str, &str)],
        config: &str,
        policy: String,
        milter: String,
        http: u16,
    ) -> Self {
        let mut command = written(&dir, files, config, &[]);
        Self::spawn(dir, &mut command, policy, milter, http)
    }

    fn spawn(dir: TempDir, command: &mut Command, policy: String, milter: String, http: u16) -> Self {
        let child = command.spawn().unwrap();
        let mut gatepost = Self { policy, milter, http, child, dir };
        gatepost.wait_ready();
        gatepost
    }

    fn wait_ready(&mut self) {
        until("gatepost to be ready", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("gatepost ended with {status} instead of serving:\n{}", self.log());
            }
            http::get(self.http, "/readyz").filter(|(status, _)| *status == 200)
        });
    }

    /// Starts it again with the same files, when it has ended; the log goes on.
    pub(crate) fn start_again(&mut self) {
        let log = fs::File::options().append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatepost"));
        command.args(["serve", "--config"]).arg(self.dir.path().join("gatepost.yaml"));
        command
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.child = command.spawn().unwrap();
        self.wait_ready();
    }

    /// Kills it, so that it can't do one thing more.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        self.wait_exit(Duration::from_secs(10));
    }

    /// A file or folder beside its configuration.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The control socket, where `start` made one.
    pub(crate) fn control(&self) -> PathBuf {
        self.dir.path().join("control")
    }

    /// Runs another command of the program with the same configuration: exit code,
    /// what it says, what it complains of.
    pub(crate) fn command(&self, words: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(words)
            .arg("--config")
            .arg(self.dir.path().join("gatepost.yaml"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// All it has written so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Waits for a line that matches, and gives it.
    #[track_caller]
    pub(crate) fn wait_log(&self, pattern: &str) -> String {
        super::postfix::wait_line(pattern, || self.log())
    }

    /// Waits until `count` lines match; fails when there are more.
    #[track_caller]
    pub(crate) fn wait_lines(&self, count: usize, pattern: &str) {
        until(&format!("{count} log lines that match `{pattern}`"), || {
            (self.count_log(pattern) >= count).then_some(())
        });
        assert_eq!(self.count_log(pattern), count, "lines that match `{pattern}`");
    }

    /// How many lines match now.
    pub(crate) fn count_log(&self, pattern: &str) -> usize {
        let pattern = regex::Regex::new(pattern).unwrap();
        self.log().lines().filter(|line| pattern.is_match(line)).count()
    }

    /// Replaces or adds a rule file; nothing notices before a reload.
    pub(crate) fn write_rules(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join("policy.d").join(name), text).unwrap();
    }

    /// Sum of a metric over those series whose line contains every one of `labels`.
    pub(crate) fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let (_, body) = http::get(self.http, "/metrics")?;
        let lines = body.lines().filter(|line| {
            let rest = line.strip_prefix(name).unwrap_or("");
            rest.starts_with([' ', '{']) && labels.iter().all(|label| rest.contains(label))
        });
        let values: Vec<f64> = lines.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        (!values.is_empty()).then(|| values.iter().sum())
    }

    /// `TERM`, `HUP`, `KILL`.
    pub(crate) fn signal(&self, name: &str) {
        program::signal(name, self.child.id());
    }

    /// Sends HUP and waits until the metrics know a rule of this name.
    #[track_caller]
    pub(crate) fn reload_until_rule(&self, name: &str) {
        self.signal("HUP");
        let label = format!("rule=\"{name}\"");
        until(&format!("rule {name} after the reload"), || {
            let (_, body) = http::get(self.http, "/metrics")?;
            body.contains(&label).then_some(())
        });
    }

    /// From now on it may have so many files open.
    pub(crate) fn allow_files(&self, count: u32) {
        program::run("prlimit", [format!("--pid={}", self.child.id()), format!("--nofile={count}")]);
    }

    /// The most memory it ever had, in MiB.
    pub(crate) fn peak_mib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        within(limit, || self.child.try_wait().unwrap()).expect("gatepost to exit in time")
    }
}

impl Drop for Gatepost {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the files and gives the command that serves them.
fn written(dir: &TempDir, files: &[(&str, &str)], config: &str, before: &[&str]) -> Command {
    let rules = dir.path().join("policy.d");
    fs::create_dir_all(&rules).unwrap();
    for (name, text) in files {
        fs::write(rules.join(name), text).unwrap();
    }
    let config_file = dir.path().join("gatepost.yaml");
    fs::write(&config_file, config).unwrap();
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let binary = env!("CARGO_BIN_EXE_gatepost");
    let mut command = match before {
        [] => Command::new(binary),
        [program, args @ ..] => {
            let mut command = Command::new(program);
            command.args(args).arg(binary);
            command
        }
    };
    command
        .args(["serve", "--config"])
        .arg(&config_file)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    command
}

/// Searchable for user postfix.
fn folder() -> TempDir {
    let dir = tempfile::Builder::new().prefix("gatepost-").tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// `inet:127.0.0.1:13001` as std wants it.
pub(crate) fn tcp_address(socket: &str) -> &str {
    socket.strip_prefix("inet:").unwrap_or(socket)
}
