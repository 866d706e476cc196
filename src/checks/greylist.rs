//! # What it does
//! Matches when a mail is seen for the first time, and until its client has waited for
//! a while: bots seldom come back, servers do. A mail is a network, a sender and a
//! recipient. What came back passes from then on, and a network that came back often
//! enough passes with all of its mail.
//!
//! # Why
//! It costs the suspicious a few minutes, and a bot its only try. Asked of everybody it
//! delays what people wait for, such as a code to log in: ask it beside something
//! suspicious.
//!
//! # Options
//! - `delay` (default `5m`): how long a mail waits. To come too soon does not start the
//!   wait anew.
//! - `retry_window` (default `2d`): a mail that does not come back until then is new
//!   again.
//! - `auto_allow` (default `5`): a network waits no more once mail of it that had come back
//!   was let in in so many different hours; `none` for never.
//! - `spf` (default `false`): whether hosts that may send for the sender's domain are a
//!   pool.
//! - `remember` (default `35d`): for how long what came back is known, from its last use.
//!
//! The next try may come from another host of the same pool. If the client's name is
//! verified, a pool is all hosts of the name's domain, else its /24, of IPv6 its /64. A
//! name made of the address says nothing of the domain's other hosts: such a client's
//! pool is its /24, and it proves nothing for its neighbours. Of the sender case and
//! `+extension` never count, nor numbers that stand as words of their own, as in the
//! senders of mailing lists.
//!
//! With `spf: true` all hosts for which SPF passes are one pool of the sender's domain,
//! whatever their names and networks: large providers send the same mail from hundreds. It is asked
//! for only when the rest of the rule lets it apply; where there is no answer, or no
//! sender, the pool is as above.
//!
//! Each rule remembers its own. In observe nothing is delayed, and so nothing comes back
//! before there is another mail: what a rule would have delayed is counted at its most,
//! and what it learns meanwhile holds when it is enforced. A mail that is refused for
//! good by another rule is not remembered. There is room for 262,144 mails that wait,
//! each for at least four hours, and as many that came back. When three quarters of the
//! first are taken, all new mail of a pool waits together, and passes together for four
//! hours; when all are, new mail passes, and is counted
//! (`gatepost_fail_open_total{reason="full"}`).
//!
//! A text may say `{retry_after}`. In a test, `after:` lets time pass; what is given as
//! `greylist: false` has waited.
//!
//! # Example
//! ```yaml
//! - greylist: {delay: 10m}
//! ```
//!
//! # Unknown when
//! The store does not answer in time.

use super::Bindings;
use super::Check;
use super::Context;
use super::Needs;
use super::Spf;
use super::Truth;
use crate::auth::SpfResult;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::NULL_SENDER;
use crate::facts::Stage;
use crate::facts::parse_ip;
use crate::quantity::parse_duration;
use crate::quantity::show_wait;
use crate::state::Attempt;
use crate::state::Memory;
use crate::state::Remembered;
use crate::state::Standing;
use crate::state::Terms;
use crate::values::IPV6_PREFIX;
use crate::values::Loader;
use crate::values::key_text;
use crate::values::network;
use crate::yaml::Entry;
use crate::yaml::Node;
use std::net::IpAddr;
use std::time::Duration;

/// Servers that send the same mail from several addresses have them in one of these.
const IPV4_PREFIX: u8 = 24;

/// Before a pool that is a sender's domain: no client's name has a colon.
const OF_SPF: &str = "spf:";

const DELAY: Duration = Duration::from_secs(300);
const RETRY_WINDOW: Duration = Duration::from_secs(2 * 86_400);
const AUTO_ALLOW: u32 = 5;
const REMEMBER: Duration = Duration::from_secs(35 * 86_400);

#[derive(Clone, Debug)]
pub struct Greylist {
    pub terms: Terms,
    /// If who may send for a domain is a pool.
    by_spf: Option<Spf>,
}

impl Check for Greylist {
    const OPTIONS: &'static [&'static str] = &["delay", "retry_window", "auto_allow", "spf", "remember"];

    const MAY_STAND_BARE: bool = true;

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        if node.as_map().is_none() && node.as_word() != Some("true") {
            cx.mistake(node.place, "greylist is true, or a map of options such as {delay: 10m}");
            return None;
        }
        let fine = cx.only_keys(node.as_map().unwrap_or_default(), Self::OPTIONS, "greylist");
        let mut time = |name: &str, default| match node.get(name) {
            Some(node) => time(node, name, cx),
            None => Some(default),
        };
        let delay = time("delay", DELAY);
        let retry_window = time("retry_window", RETRY_WINDOW);
        let remember = time("remember", REMEMBER);
        let auto_allow = match node.get("auto_allow") {
            Some(node) => auto_allow(node, cx),
            None => Some(Some(AUTO_ALLOW)),
        };
        let by_spf = match node.get("spf") {
            Some(node) => yes_or_no(node, cx),
            None => Some(false),
        };
        let terms = Terms {
            delay: delay?,
            retry_window: retry_window?,
            auto_allow: auto_allow?,
            remember: remember?,
        };
        if terms.delay >= terms.retry_window {
            let place = node.get("retry_window").or(node.get("delay")).map_or(node.place, |node| node.place);
            cx.mistake(place, "nothing comes back in time: `retry_window` must be longer than `delay`");
            return None;
        }
        let by_spf = by_spf?.then(|| Spf::of_sender(cx));
        fine.then_some(Self { terms, by_spf })
    }

    fn needs(&self) -> Needs {
        Needs { stage: Stage::Rcpt, ..Needs::default() }
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        match cx.memory {
            Some((_, Some(Remembered::Greylist(standing)))) => (!standing.passes()).into(),
            Some(_) => Truth::Unknown,
            None => Truth::NoMatch,
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let (attempt, standing) = match cx.memory {
            Some((Memory::Greylist(attempt), Some(Remembered::Greylist(standing)))) => (attempt, standing),
            Some(_) => return "the store of greylisted mail did not answer".into(),
            None => return "there is no address to greylist".into(),
        };
        let Attempt { network, pool, .. } = attempt;
        match standing {
            Standing::Allowed => format!("`{network}` has come back often"),
            Standing::CameBack { after } => format!("`{pool}` came back after {}", show_wait(after)),
            Standing::Full => "there is no room to remember one more".into(),
            Standing::Known => format!("`{pool}` has come back with such a mail before"),
            Standing::Waits { left, is_new: true } => {
                format!("`{pool}` sends such a mail for the first time, and waits for {}", show_wait(left))
            }
            Standing::Waits { left, .. } => format!("`{pool}` waits for another {}", show_wait(left)),
        }
    }

    fn variables(&self) -> Vec<String> {
        vec!["retry_after".into()]
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        if let Some((_, Some(Remembered::Greylist(Standing::Waits { left, .. })))) = cx.memory {
            bindings.push(("retry_after".into(), show_wait(left)));
        }
    }
}

impl Greylist {
    pub fn reads(&self) -> Vec<Fact> {
        vec![Fact::ClientAddress, Fact::HeloName, Fact::Sender, Fact::Recipient]
    }

    /// What the store is to be asked; nothing of a mail without a client's address.
    pub fn question(&self, bucket: u32, cx: &Context<'_>) -> Option<Memory> {
        let facts = cx.facts;
        let text = |fact| key_text(facts, fact, |_| 128);
        let (network, pool) = origin(facts)?;
        let domain = self.by_spf.as_ref().and_then(|spf| vouching(spf, cx));
        let pool = domain.map_or(pool, |domain| format!("{OF_SPF}{domain}"));
        Some(Memory::Greylist(Attempt {
            bucket,
            network,
            pool,
            sender: without_numbers(&text(Fact::Sender)?),
            recipient: text(Fact::Recipient)?.into_owned(),
            terms: self.terms,
        }))
    }
}

/// The sender's domain, if SPF passes.
fn vouching(spf: &Spf, cx: &Context<'_>) -> Option<String> {
    cx.facts.text(Fact::Sender).filter(|sender| *sender != NULL_SENDER)?;
    let (_, answer) = spf.said(cx)??;
    (answer.result == SpfResult::Pass).then(|| answer.domain.clone())
}

/// The client's network, and where the same mail may come from again.
fn origin(facts: &Facts) -> Option<(String, String)> {
    let ip = facts.ip(Fact::ClientAddress)?;
    let name = facts.folded(Fact::ClientName).filter(|name| *name != "unknown");
    let is_numbered = name.is_some_and(|name| is_made_of(name, ip));
    let own = if ip.is_ipv4() && is_numbered { 32 } else { around(ip) };
    // Large senders number their hosts too, and send the same mail from the next one.
    let pool = match name.filter(|_| !is_numbered).and_then(domain_of) {
        Some(domain) => domain.to_owned(),
        None => network(ip, around(ip))?,
    };
    Some((network(ip, own)?, pool))
}

/// What an operator means: an address for its network, or a domain as the log has it.
pub fn pool_of(text: &str) -> Option<String> {
    let (address, length) = text.split_once('/').unwrap_or((text, ""));
    if let Some(pool) = parse_ip(address).and_then(|ip| network(ip, around(ip))) {
        let is_meant = length.is_empty() || pool.ends_with(&format!("/{length}"));
        return is_meant.then_some(pool);
    }
    let domain = text.trim_end_matches('.').to_ascii_lowercase();
    let name = domain.strip_prefix(OF_SPF).unwrap_or(&domain);
    let is_one = name.contains('.') && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    is_one.then_some(domain)
}

/// As wide as the hosts of one owner often are.
fn around(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { IPV4_PREFIX } else { IPV6_PREFIX }
}

/// The domain in which a host is. Where that is as wide as `co.uk`, its hosts can do
/// each other no harm: whoever comes back must know sender and recipient of the first.
fn domain_of(name: &str) -> Option<&str> {
    let (_, domain) = name.trim_end_matches('.').split_once('.')?;
    if domain.contains('.') { Some(domain) } else { Some(name) }
}

/// Whether a name has the last two bytes of its address, as decimal numbers or in hex, or of
/// an IPv6 address three groups: such hosts have the same domain, and nothing else in
/// common. One group alone is how large senders number their hosts.
fn is_made_of(name: &str, ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [.., third, last] = ip.octets();
            let mut numbers = name.split(|c: char| !c.is_ascii_digit()).filter_map(|text| text.parse().ok());
            let all: Vec<u8> = numbers.by_ref().take(32).collect();
            let has = |byte: u8| all.contains(&byte);
            let both = if third == last {
                all.iter().filter(|number| **number == last).count() > 1
            } else {
                has(third) && has(last)
            };
            both || name.contains(&format!("{:08x}", u32::from(ip)))
        }
        IpAddr::V6(ip) => {
            let telling = ip.segments().into_iter().filter(|group| *group > 0xff);
            telling.filter(|group| name.contains(&format!("{group:x}"))).count() >= 3
        }
    }
}

/// Mailing lists number their mails in the sender, so that they know whose bounced:
/// `list-bounces-1234@` is one with `list-bounces-1235@`.
fn without_numbers(sender: &str) -> String {
    let (local, domain) = sender.rsplit_once('@').unwrap_or((sender, ""));
    let mut text = String::with_capacity(sender.len());
    for word in local.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let is_number = digits > 0 && word.chars().nth(digits).is_none_or(|c| !c.is_ascii_alphanumeric());
        if is_number {
            text.push('#');
            text.push_str(word.get(digits..).unwrap_or_default());
        } else {
            text.push_str(word);
        }
    }
    if !domain.is_empty() {
        text.push('@');
        text.push_str(domain);
    }
    text
}

fn yes_or_no(node: &Node, cx: &mut Loader<'_>) -> Option<bool> {
    match node.as_word() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => {
            cx.mistake(node.place, "`spf` of greylist is true or false");
            None
        }
    }
}

fn time(node: &Node, name: &str, cx: &mut Loader<'_>) -> Option<Duration> {
    let text = cx.text(node, name)?;
    let time = parse_duration(text);
    if time.is_none() {
        cx.mistake(node.place, format!("`{text}` is not a time such as 5m or 2d"));
    }
    time
}

fn auto_allow(node: &Node, cx: &mut Loader<'_>) -> Option<Option<u32>> {
    let text = cx.text(node, "auto_allow")?;
    if node.as_word() == Some("none") {
        return Some(None);
    }
    let number = text.parse().ok().filter(|number| (1..=1_000).contains(number));
    if number.is_none() {
        cx.mistake(node.place, format!("`{text}` is not a number from 1 to 1000, nor `none`"));
    }
    number.map(Some)
}

#[cfg(test)]
mod tests {
    use super::super::testing::facts;
    use super::super::testing::load;
    use super::super::testing::wrong;
    use super::*;
    use crate::checks::AnyCheck;
    use crate::dns::Resolver;
    use crate::dns::Zone;
    use crate::facts::Known;
    use crate::lookup::Findings;
    use crate::lookup::Lookups;

    fn greylist(yaml: &str) -> Greylist {
        match load(yaml) {
            (Some(AnyCheck::Greylist(greylist)), _) => greylist,
            (_, mistakes) => panic!("{yaml}: {mistakes:?}"),
        }
    }

    fn asked(given: &str) -> Option<Attempt> {
        let facts = facts(given);
        let known = Known::default();
        let cx = Context::new(&facts, &known, Stage::Rcpt);
        greylist("greylist: true").question(1, &cx).map(|memory| match memory {
            Memory::Greylist(attempt) => attempt,
            Memory::Distinct(_) => panic!("{given}"),
        })
    }

    #[test]
    fn hosts_of_a_pool_are_one_and_dynamic_ones_are_not() {
        // Address, verified name, network, pool.
        for (address, name, network, pool) in [
            ("192.0.2.7", "unknown", "192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.7", "mail.b.test", "192.0.2.0/24", "b.test"),
            ("192.0.2.7", "MAIL-3.Out.B.test", "192.0.2.0/24", "out.b.test"),
            ("192.0.2.7", "b.test", "192.0.2.0/24", "b.test"),
            ("192.0.2.7", "dsl-192-0-2-7.isp.test", "192.0.2.7", "192.0.2.0/24"),
            ("192.0.2.7", "007.002.isp.test", "192.0.2.7", "192.0.2.0/24"),
            ("192.0.2.7", "c0000207.isp.test", "192.0.2.7", "192.0.2.0/24"),
            ("192.0.2.7", "mail-7.b.test", "192.0.2.0/24", "b.test"),
            ("192.0.7.7", "mail-7.b.test", "192.0.7.0/24", "b.test"),
            ("192.0.7.7", "p7-7.isp.test", "192.0.7.7", "192.0.7.0/24"),
            ("192.0.8.31", "a8-31.out.b.test", "192.0.8.31", "192.0.8.0/24"),
            ("2001:db8::1", "mail.b.test", "2001:db8::/64", "b.test"),
            ("2001:db8:4864:20::531", "mail-ed1-x531.b.test", "2001:db8:4864:20::/64", "b.test"),
            (
                "2001:db8:f403:2614::700",
                "db8eur05on20700.out.b.test",
                "2001:db8:f403:2614::/64",
                "out.b.test",
            ),
            ("2001:db8::a1b2", "ip-2001-db8--a1b2.isp.test", "2001:db8::/64", "2001:db8::/64"),
            ("2001:db8:1a2b::1", "p20010db81a2b0000.isp.test", "2001:db8:1a2b::/64", "2001:db8:1a2b::/64"),
            ("2001:db8::a1b2", "unknown", "2001:db8::/64", "2001:db8::/64"),
        ] {
            let given =
                format!("client_address={address} client_name={name} sender=a@b.test recipient=c@d.test");
            let attempt = asked(&given).unwrap();
            assert_eq!(
                (attempt.network.as_str(), attempt.pool.as_str()),
                (network, pool),
                "{address} {name}"
            );
        }
        assert_eq!(asked("sender=a@b.test recipient=c@d.test"), None);
        assert_eq!(asked("client_address=192.0.2.7 sender=a@b.test"), None);
    }

    #[test]
    fn who_may_send_for_a_domain_is_a_pool() {
        let zone = "big.test TXT \"v=spf1 ip4:192.0.2.0/24 ip4:203.0.113.0/24 -all\"\nslow.test TIMEOUT";
        let resolver = Resolver::of_zone(Zone::parse(zone).unwrap());
        let lookups = Lookups::new(&resolver, &[], Findings::default());
        for (yaml, address, sender, expected) in [
            ("greylist: {spf: true}", "192.0.2.7", "a@Big.test", "spf:big.test"),
            ("greylist: {spf: true}", "203.0.113.9", "a@big.test", "spf:big.test"),
            ("greylist: {spf: true}", "198.51.100.9", "a@big.test", "198.51.100.0/24"),
            ("greylist: {spf: true}", "192.0.2.7", "a@other.test", "192.0.2.0/24"),
            ("greylist: {spf: true}", "192.0.2.7", "a@slow.test", "192.0.2.0/24"),
            ("greylist: {spf: true}", "192.0.2.7", "<>", "192.0.2.0/24"),
            ("greylist: {spf: false}", "192.0.2.7", "a@big.test", "192.0.2.0/24"),
            ("greylist: true", "192.0.2.7", "a@big.test", "192.0.2.0/24"),
        ] {
            let facts = facts(&format!("client_address={address} sender={sender} recipient=c@d.test"));
            let known = Known::default();
            let cx = Context { lookups: Some(&lookups), ..Context::new(&facts, &known, Stage::Rcpt) };
            let Some(Memory::Greylist(attempt)) = greylist(yaml).question(1, &cx) else { panic!("{sender}") };
            assert_eq!(attempt.pool, expected, "{yaml} {address} {sender}");
        }
    }

    #[test]
    fn an_operator_names_a_pool() {
        for (text, expected) in [
            ("192.0.2.7", Some("192.0.2.0/24")),
            ("192.0.2.7/24", Some("192.0.2.0/24")),
            ("192.0.2.0/16", None),
            ("2001:DB8::7", Some("2001:db8::/64")),
            ("::ffff:192.0.2.7", Some("192.0.2.0/24")),
            ("Out.B.test.", Some("out.b.test")),
            ("spf:Big.test", Some("spf:big.test")),
            ("spf:", None),
            ("ann", None),
            ("ann@b.test", None),
            ("", None),
        ] {
            assert_eq!(pool_of(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn senders_that_only_number_their_mails_are_one() {
        for (sender, expected) in [
            ("<>", "<>"),
            ("Bob+news@B.test", "bob@b.test"),
            ("list-bounces-1234@b.test", "list-bounces-#@b.test"),
            ("1234@b.test", "#@b.test"),
            ("bounce-12-34=user@b.test", "bounce-#-#=user@b.test"),
            ("user7@b.test", "user7@b.test"),
            ("7up@b7.12.test", "7up@b7.12.test"),
        ] {
            let given = format!("client_address=192.0.2.7 sender={sender} recipient=C+x@D.test");
            let attempt = asked(&given).unwrap();
            assert_eq!((attempt.sender.as_str(), attempt.recipient.as_str()), (expected, "c@d.test"));
        }
    }

    #[test]
    fn how_it_stands_is_told() {
        let check = greylist("greylist: true");
        let facts = facts("client_address=192.0.2.7 sender=a@b.test recipient=c@d.test");
        let memory =
            Memory::Greylist(asked("client_address=192.0.2.7 sender=a@b.test recipient=c@d.test").unwrap());
        let left = Duration::from_millis(61_500);
        for (standing, truth, because) in [
            (Standing::Allowed, Truth::NoMatch, "`192.0.2.0/24` has come back often"),
            (Standing::CameBack { after: left }, Truth::NoMatch, "`192.0.2.0/24` came back after 1m2s"),
            (Standing::Full, Truth::NoMatch, "there is no room to remember one more"),
            (Standing::Known, Truth::NoMatch, "`192.0.2.0/24` has come back with such a mail before"),
            (
                Standing::Waits { left, is_new: true },
                Truth::Match,
                "`192.0.2.0/24` sends such a mail for the first time, and waits for 1m2s",
            ),
            (Standing::Waits { left, is_new: false }, Truth::Match, "`192.0.2.0/24` waits for another 1m2s"),
        ] {
            let remembered = Some(Remembered::Greylist(standing));
            let known = Known::default();
            let cx =
                Context { memory: Some((&memory, remembered)), ..Context::new(&facts, &known, Stage::Rcpt) };
            assert_eq!((check.evaluate(&cx), check.because(&cx).as_str()), (truth, because));
            let mut bindings = Vec::new();
            check.bind(&cx, &mut bindings);
            assert_eq!(bindings.len(), usize::from(truth == Truth::Match), "{because}");
        }
        let known = Known::default();
        let cx = Context { memory: Some((&memory, None)), ..Context::new(&facts, &known, Stage::Rcpt) };
        assert_eq!(check.evaluate(&cx), Truth::Unknown);
    }

    #[test]
    fn options_are_read_and_mistakes_show_the_remedy() {
        let terms =
            greylist("greylist: {delay: 90s, retry_window: 6h, auto_allow: none, remember: 1d}").terms;
        assert_eq!((terms.delay.as_secs(), terms.retry_window.as_secs()), (90, 21_600));
        assert_eq!((terms.auto_allow, terms.remember.as_secs()), (None, 86_400));
        assert_eq!(greylist("greylist: true").terms, greylist("greylist: {}").terms);
        for (yaml, expected) in [
            ("greylist: yes", "greylist is true, or a map of options such as {delay: 10m}"),
            ("greylist: [a]", "greylist is true, or a map of options such as {delay: 10m}"),
            ("greylist: {delay: 5}", "`5` is not a time such as 5m or 2d"),
            (
                "greylist: {delay: 2d}",
                "nothing comes back in time: `retry_window` must be longer than `delay`",
            ),
            ("greylist: {spf: pass}", "`spf` of greylist is true or false"),
            ("greylist: {auto_allow: 0}", "`0` is not a number from 1 to 1000, nor `none`"),
            ("greylist: {dely: 5m}", "unknown option `dely` of greylist; did you mean `delay`?"),
        ] {
            wrong(yaml, &[expected]);
        }
    }
}
