//! The test rig: everything that stands around gatepost, started and ended by
//! the test that needs it. Nothing here waits for a fixed time: [`until`] looks
//! again and again until an event is there or a deadline has passed.

pub(crate) mod delegation;
pub(crate) mod dns;
pub(crate) mod gatepost;
pub(crate) mod http;
pub(crate) mod ip_files;
pub(crate) mod milter;
pub(crate) mod port;
pub(crate) mod postfix;
pub(crate) mod program;
pub(crate) mod rbldnsd;
pub(crate) mod sasl;
pub(crate) mod sink;
pub(crate) mod smtp;
pub(crate) mod tls;
pub(crate) mod zone;

pub(crate) use delegation::Delegation;
pub(crate) use gatepost::Gatepost;
pub(crate) use gatepost::Sockets;
pub(crate) use milter::Milter;
pub(crate) use postfix::Postfix;
pub(crate) use postfix::Setup;
pub(crate) use sink::Sink;
pub(crate) use smtp::Answer;
pub(crate) use smtp::Smtp;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

/// Long enough for a machine that compiles something else at the same time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Our own mail: from outside `mynetworks`, for a domain we relay to.
pub(crate) const ALICE: &str = "alice@sender.example";
pub(crate) const BOB: &str = "bob@test.example";
pub(crate) const CAROL: &str = "carol@test.example";
pub(crate) const MAIL: &str =
    "From: alice@sender.example\r\nTo: bob@test.example\r\nSubject: an ordinary mail\r\n\r\nHello.\r\n";

/// gatepost, Postfix in front of it and the next hop behind.
pub(crate) struct Rig {
    pub postfix: Postfix,
    pub gatepost: Gatepost,
    pub sink: Sink,
}

impl Rig {
    /// With these rules, and Postfix asking at RCPT, DATA and END-OF-MESSAGE.
    pub(crate) fn start(rules: &str) -> Option<Self> {
        Self::with(rules, Sockets::Inet, Setup::default())
    }

    /// With lines of one's own for main.cf.
    pub(crate) fn with_main(rules: &str, main: &str) -> Option<Self> {
        Self::with(rules, Sockets::Inet, Setup { main: main.to_owned(), ..Setup::default() })
    }

    pub(crate) fn with(rules: &str, sockets: Sockets, setup: Setup) -> Option<Self> {
        Self::start_all(rules, "", sockets, setup)
    }

    /// With keys of one's own for gatepost.yaml.
    pub(crate) fn configured(rules: &str, more: &str) -> Option<Self> {
        Self::start_all(rules, more, Sockets::Inet, Setup::default())
    }

    fn start_all(rules: &str, more: &str, sockets: Sockets, setup: Setup) -> Option<Self> {
        if skipped() {
            return None;
        }
        let sink = Sink::start();
        let gatepost = Gatepost::start(&[("10-test.yaml", rules)], more, sockets);
        let setup = Setup {
            next_hop: sink.port,
            policy: Some(gatepost.policy.clone()),
            milter: Some(gatepost.milter.clone()),
            ..setup
        };
        Some(Self { postfix: Postfix::start(setup), gatepost, sink })
    }

    /// A client from outside `mynetworks` that has said EHLO.
    pub(crate) fn client(&self) -> Smtp {
        Smtp::greeted(self.postfix.ports.mx)
    }

    /// Sends one ordinary mail to bob; the answer to its end.
    pub(crate) fn send(&self, message: &str) -> Answer {
        self.client().deliver(ALICE, &[BOB], message)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut err = std::io::stderr();
            let _ = writeln!(err, "---- maillog\n{}", self.postfix.log());
            let _ = writeln!(err, "---- gatepost\n{}", self.gatepost.log());
        }
    }
}

/// True when there is no Postfix and the caller has said that this is known
/// (GATEPOST_SKIP_POSTFIX). Absence alone is a failure: a suite that tests
/// nothing must not be green.
pub(crate) fn skipped() -> bool {
    let found = Path::new("/usr/sbin/postfix").exists();
    if found {
        return false;
    }
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    assert!(
        std::env::var_os("GATEPOST_SKIP_POSTFIX").is_some(),
        "Postfix is not installed: run `tests/run`, or set GATEPOST_SKIP_POSTFIX to do without"
    );
    // Not through the macro, whose output the test harness keeps for failures.
    let _ = writeln!(std::io::stderr(), "skipped {name}: Postfix is not installed");
    true
}

/// Looks until `look` finds something; fails the test after [`PATIENCE`].
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    match within(PATIENCE, look) {
        Some(found) => found,
        None => panic!("waited {} s in vain for {what}", PATIENCE.as_secs()),
    }
}

/// The same with a deadline of one's own, and None after it.
pub(crate) fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
