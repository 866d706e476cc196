//! A private Postfix: its own configuration, queue, log and ports below one
//! temporary folder. The system's `/etc/postfix` is neither read nor written.

use super::port;
use super::program;
use super::sasl;
use super::until;
use regex::Regex;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use tempfile::TempDir;

/// What differs from test to test.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// `inet:…` or `unix:…`; None: nobody is asked.
    pub policy: Option<String>,
    pub milter: Option<String>,
    /// With the `default_action`s we recommend. Otherwise Postfix's own, so that
    /// where gatepost doesn't answer the test fails.
    pub fail_open: bool,
    /// Port of the next hop on 127.0.0.1.
    pub next_hop: u16,
    /// Lines for main.cf, below the rig's own and so winning over them.
    pub main: String,
    /// Services for master.cf.
    pub master: String,
    /// Local parts of `test.example` that may log in; none: AUTH is not offered.
    pub logins: &'static [&'static str],
}

/// One port of 127.0.0.1 for each smtpd service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// Everything as Postfix has it by default.
    pub mx: u16,
    /// `smtpd_delay_reject = no`, and the service asked in each list.
    pub early: u16,
    /// Wants a PROXY line first.
    pub haproxy: u16,
    pub postscreen: u16,
    /// Known by its `policy_context` and `{daemon_name}`.
    pub submission: u16,
}

pub(crate) struct Postfix {
    pub ports: Ports,
    dir: TempDir,
}

/// One entry of `postqueue -j`.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub id: String,
    /// `hold`, `deferred`, `active`, `incoming`.
    pub queue: String,
    pub sender: String,
    pub recipients: Vec<String>,
}

impl Postfix {
    pub(crate) fn start(setup: Setup) -> Self {
        let dir = tempfile::Builder::new().prefix("gatepost-postfix-").tempdir().unwrap();
        // User postfix must be able to search it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for folder in ["etc", "log", "spool", "lib"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        program::run("chown", [OsStr::new("postfix"), dir.path().join("lib").as_os_str()]);
        let ports = Ports {
            mx: port::free(),
            early: port::free(),
            haproxy: port::free(),
            postscreen: port::free(),
            submission: port::free(),
        };
        let postfix = Self { ports, dir };
        if !setup.logins.is_empty() {
            sasl::write(&postfix.etc(), setup.logins);
        }
        fs::write(postfix.etc().join("main.cf"), postfix.main_cf(&setup)).unwrap();
        fs::write(postfix.etc().join("master.cf"), postfix.master_cf(&setup)).unwrap();
        program::run("/usr/sbin/postfix", [OsStr::new("-c"), postfix.etc().as_os_str(), OsStr::new("start")]);
        postfix
    }

    /// The configuration's folder, always absolute: Postfix fails without a
    /// word for a relative one.
    pub(crate) fn etc(&self) -> PathBuf {
        self.dir.path().join("etc")
    }

    fn main_cf(&self, setup: &Setup) -> String {
        let dir = self.dir.path().display();
        let next_hop = setup.next_hop;
        let mut text = format!(
            "compatibility_level = 3.6\nqueue_directory = {dir}/spool\ndata_directory = {dir}/lib\n\
             maillog_file = {dir}/log/maillog\nmaillog_file_prefixes = {dir}\n\
             inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmyhostname = mx.test.example\nmydestination =\n\
             local_recipient_maps =\nalias_maps =\nalias_database =\nrelay_domains = test.example\n\
             mynetworks = 127.0.0.1/32\nrelayhost = [127.0.0.1]:{next_hop}\nsmtp_dns_support_level = disabled\n\
             default_database_type = texthash\nsmtpd_authorized_xclient_hosts = 127.0.0.0/8\n\
             smtpd_client_connection_rate_limit = 0\nsmtpd_client_connection_count_limit = 0\n\
             smtpd_error_sleep_time = 0\nsmtpd_peername_lookup = no\npostscreen_greet_wait = 1s\n\
             smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n\
             internal_mail_filter_classes = bounce\n"
        );
        let (dunno, accept) =
            if setup.fail_open { (", default_action=DUNNO", ", default_action=accept") } else { ("", "") };
        // The services in master.cf name them in any case.
        text.push_str("ask =\nask_submission =\n");
        if let Some(policy) = &setup.policy {
            let _ = write!(
                text,
                "service = {policy}{dunno}\nask = check_policy_service {{ $service }}\n\
                 ask_submission = check_policy_service {{ $service, policy_context=submission }}\n\
                 smtpd_recipient_restrictions = $ask\nsmtpd_data_restrictions = $ask\n\
                 smtpd_end_of_data_restrictions = $ask\n"
            );
        }
        if let Some(milter) = &setup.milter {
            let _ = writeln!(
                text,
                "smtpd_milters = {{ {milter}{accept} }}\nnon_smtpd_milters = {{ {milter}{accept} }}"
            );
        }
        if !setup.logins.is_empty() {
            text.push_str(&sasl::main_cf(&self.etc()));
        }
        text.push_str(&setup.main);
        text.push('\n');
        one_entry_a_name(&text)
    }

    fn master_cf(&self, setup: &Setup) -> String {
        let Ports { mx, early, haproxy, postscreen, submission } = self.ports;
        format!(
            "127.0.0.1:{mx} inet n - n - - smtpd\n\
             127.0.0.1:{early} inet n - n - - smtpd -o smtpd_delay_reject=no\n\
             \x20 -o smtpd_client_restrictions=$ask -o smtpd_helo_restrictions=$ask\n\
             \x20 -o smtpd_sender_restrictions=$ask\n\
             127.0.0.1:{haproxy} inet n - n - - smtpd -o smtpd_upstream_proxy_protocol=haproxy\n\
             127.0.0.1:{postscreen} inet n - n - 1 postscreen\n\
             127.0.0.1:{submission} inet n - n - - smtpd -o syslog_name=postfix/submission\n\
             \x20 -o milter_macro_daemon_name=SUBMISSION -o smtpd_recipient_restrictions=$ask_submission\n\
             \x20 -o smtpd_data_restrictions=$ask_submission -o smtpd_end_of_data_restrictions=$ask_submission\n\
             {SERVICES}{}\n",
            setup.master
        )
    }

    /// Everything in the mail log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log/maillog")).unwrap_or_default()
    }

    /// Waits for a line that matches, and gives it.
    #[track_caller]
    pub(crate) fn wait_log(&self, pattern: &str) -> String {
        wait_line(pattern, || self.log())
    }

    /// How many lines match now.
    pub(crate) fn count_log(&self, pattern: &str) -> usize {
        let pattern = Regex::new(pattern).unwrap();
        self.log().lines().filter(|line| pattern.is_match(line)).count()
    }

    pub(crate) fn queue(&self) -> Vec<Queued> {
        let text = program::run("/usr/sbin/postqueue", ["-c", &self.etc().to_string_lossy(), "-j"]);
        text.lines().map(|line| queued(&serde_json::from_str(line).unwrap())).collect()
    }

    /// Waits until the hold queue holds exactly one message.
    #[track_caller]
    pub(crate) fn held(&self) -> Queued {
        until("one held message", || {
            let held: Vec<_> = self.queue().into_iter().filter(|queued| queued.queue == "hold").collect();
            assert!(held.len() < 2, "more than one held: {held:?}");
            held.into_iter().next()
        })
    }

    /// Waits until nothing is queued any more.
    #[track_caller]
    pub(crate) fn wait_empty(&self) {
        until("an empty queue", || self.queue().is_empty().then_some(()));
    }

    /// Envelope, header and body of a queued message.
    pub(crate) fn postcat(&self, id: &str) -> String {
        program::run("/usr/sbin/postcat", ["-c", &self.etc().to_string_lossy(), "-q", "-e", "-h", "-b", id])
    }

    /// Mail from this machine's own users, as `mail` and PHP send it.
    pub(crate) fn sendmail(&self, sender: &str, recipients: &[&str], message: &str) {
        let etc = self.etc();
        let mut args = vec!["-C", etc.to_str().unwrap(), "-i", "-f", sender, "--"];
        args.extend(recipients);
        let output = program::try_run("/usr/sbin/sendmail", args, message);
        assert!(output.status.success(), "sendmail: {}", program::both(&output));
    }

    fn master_pid(&self) -> Option<u32> {
        fs::read_to_string(self.dir.path().join("spool/pid/master.pid")).ok()?.trim().parse().ok()
    }
}

/// main.cf with the last entry of each name only. Postfix would take the last one
/// too, but warn of it in every process it starts; postlogd's own warning waits
/// for postlogd once ten others do.
fn one_entry_a_name(text: &str) -> String {
    let mut entries: Vec<(String, String)> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        match line.split_once('=').filter(|_| !line.starts_with(char::is_whitespace)) {
            Some((name, _)) => {
                let name = name.trim().to_owned();
                entries.retain(|(known, _)| *known != name);
                entries.push((name, format!("{line}\n")));
            }
            None => {
                if let Some((_, entry)) = entries.last_mut() {
                    entry.push_str(line);
                    entry.push('\n');
                }
            }
        }
    }
    entries.into_iter().map(|(_, entry)| entry).collect()
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // master passes TERM on to its children; they finish at once.
        let Some(pid) = self.master_pid() else { return };
        program::signal("TERM", pid);
        let ended = super::within(super::PATIENCE, || (!program::is_running(pid)).then_some(()));
        if ended.is_none() {
            program::signal("KILL", pid);
        }
    }
}

/// Waits for a line of `text()` that matches, and gives it.
#[track_caller]
pub(crate) fn wait_line(pattern: &str, text: impl Fn() -> String) -> String {
    let wanted = Regex::new(pattern).unwrap();
    until(&format!("a log line that matches `{pattern}`"), || {
        text().lines().find(|line| wanted.is_match(line)).map(str::to_owned)
    })
}

fn queued(entry: &serde_json::Value) -> Queued {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
    Queued {
        id: text(&entry["queue_id"]),
        queue: text(&entry["queue_name"]),
        sender: text(&entry["sender"]),
        recipients: entry["recipients"].as_array().unwrap().iter().map(|r| text(&r["address"])).collect(),
    }
}

const SERVICES: &str = "\
smtpd pass - - n - - smtpd
dnsblog unix - - n - 0 dnsblog
tlsproxy unix - - n - 0 tlsproxy
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
other unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";
