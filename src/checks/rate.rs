//! # What it does
//! Matches when a key has used up one of its limits: when this recipient, message
//! or byte would be one too many. Only what was let through is counted: also above
//! the limit, where the rule does not refuse. `refused`, `unknown_users` and `probes`
//! are counted when they happen instead, whatever becomes of the mail: with `25/1h`
//! it matches once there were 25, until time has worn off one of them; with `25/1h
//! strict` as long as the last hour has 25.
//!
//! # Why
//! A person seldom writes to 200 strangers an hour; a bot does it in minutes.
//!
//! # Options
//! - `key` (needed): what each has a limit of its own: an attribute; with a prefix
//!   length (`client_address/24`); several (`[sasl_username, recipient_domain]`);
//!   or `{first_of: [sasl_username, client_address]}`. Case never counts; a mailbox
//!   counts without its `+extension`, an IPv6 address as its /64. A mail without the
//!   key has no limit.
//! - `limits` (needed): `[100/10m, 200/1h]`, all of which must hold; `100/1h burst
//!   20` for a bucket smaller than the rate; `100/1h strict` for never more than
//!   100 in any hour; `none`; or `{list: NAME, of: ATTRIBUTE, else: …}`, where `of`
//!   may be left out: the key. The most specific entry wins; `gatepost explain` says
//!   which it was, and of which class. A limit of bytes has room for one message.
//! - `parents` (default: none): whose limits hold as well: `{list: NAME, limits: …}`,
//!   where the list `to: parent` says who is above whom. Above a mailbox is its domain,
//!   unless an entry is of the mailbox itself; above that, what the list says, up to
//!   eight of them. Without a list it is the domain alone. The limits are written as
//!   the key's, and looked up by the parent's name. All are asked before any is
//!   charged, and charged together; `{key}` is the one that refuses.
//! - `count` (default `recipients`): `recipients`, `messages`, `bytes`, `connections`,
//!   `refused`, `unknown_users` or `probes`. Bytes are those announced at MAIL, and the rest once the size is
//!   known: at END-OF-MESSAGE (`smtpd_end_of_data_restrictions`), or by the milter if
//!   a rule reads the body. Without the milter a
//!   client that comes again from the port it had before is taken for the same
//!   connection, so whoever keeps his port is not counted: `connections` is exact
//!   only where Postfix also asks the milter.
//!   - `refused`: recipients that were told 4xx or 5xx, by any rule but those that count the same, by Postfix,
//!     or by another service; each once in a transaction. Who was refused behind us is told by
//!     the milter; without it the count at DATA says how many.
//!   - `unknown_users`: of these the ones with 5.1.1, 5.1.10 or a text with `User unknown`: by a rule,
//!     or by Postfix, which takes the milter to hear of.
//!   - `probes`: transactions with an accepted recipient that the client gave up before DATA (RSET, QUIT,
//!     a new MAIL or EHLO, a lost connection): one each, however many recipients. Other servers that look
//!     whether a sender exists do so too. With the milter they are known at the next command or the end of the session.
//!     Without it they are counted only where Postfix asks at DATA (`smtpd_data_restrictions`; known once a mail got
//!     that far at that port), when the same smtpd asks about something else, or after six to twelve minutes; recipients
//!     that Postfix refused behind us then look accepted. A mail that `DISCARD` of an access table took looks like a
//!     probe, and so does one that Postfix refused at DATA before it asked us, such as with `reject_unauth_pipelining`.
//!
//!   They count for the keys of the rules that ask, if the rest of the rule, its file's head included, holds for that recipient
//!   or transaction; so they can't be combined with what is known only at `data` or `message`. A probe has no one recipient.
//! - `bucket` (default: the rule's own): a name; rules that give the same one and
//!   `count` the same share their counters: what one of them lets through counts
//!   for all of them, and once, however many of them asked about it.
//! - `charge` (default `accepted`): with `attempts`, what was refused counts too. Not for what is
//!   counted when it happens.
//! - `too_large`: a reply such as `"552 5.3.4 {key}: {burst} bytes at once"` for a mail
//!   that alone is more than the limit could ever allow. It takes the place of the
//!   rule's `defer`, `defer_if_permit` or `reject`. Without it such a mail is also
//!   refused for good, in words of our own, where the rule would have deferred it: it
//!   would come back for days.
//!
//! A text may say `{key}`, `{used}`, `{allowed}`, `{window}`, `{retry_after}`, `{rate}`
//! (`100/1h`), and `{burst}`: how many fit at once.
//!
//! # Example
//! ```yaml
//! - rate: {key: sasl_username, count: messages, limits: [100/10m, 500/1d]}
//! ```
//!
//! # Unknown when
//! The store of the counters does not answer in time.

mod parents;

use super::Answered;
use super::Bindings;
use super::Buckets;
use super::Check;
use super::Context;
use super::Count;
use super::Needs;
use super::Question;
use super::Truth;
use super::limit::Allowance;
use super::limit::Key;
use super::limit::bind_answer;
use crate::facts::Fact;
use crate::facts::Stage;
use crate::near::did_you_mean;
use crate::quantity::show_duration;
use crate::state::Answer;
use crate::state::Window;
use crate::values::Loader;
use crate::yaml::Entry;
use crate::yaml::Node;
use crate::yaml::Place;
use parents::Parents;

#[derive(Clone, Debug)]
pub struct Rate {
    key: Key,
    limits: Allowance,
    parents: Option<Parents>,
    pub count: Count,
    /// A name that several rules share.
    pub bucket: Option<String>,
    /// Refused attempts are counted too.
    pub charge_attempts: bool,
    /// What is said to a mail that could never fit, as it is written.
    pub too_large: Option<Node>,
}

impl Check for Rate {
    const OPTIONS: &'static [&'static str] =
        &["key", "limits", "parents", "count", "bucket", "charge", "too_large"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let options = node.as_map().unwrap_or_default();
        let fine = cx.only_keys(options, Self::OPTIONS, "rate");
        let (Some(key), Some(limits)) = (node.get("key"), node.get("limits")) else {
            cx.mistake(node.place, "rate needs key and limits");
            return None;
        };
        let key = Key::parse(key, cx);
        let limits_at = limits.place;
        let limits = Allowance::parse(limits, cx);
        let count = match node.get("count") {
            Some(count) => one_of(count, "count", COUNTS, cx),
            None => Some(Count::Recipients),
        };
        let charge_attempts = match node.get("charge") {
            Some(charge) => one_of(charge, "charge", &[("accepted", false), ("attempts", true)], cx),
            None => Some(false),
        };
        let bucket = match node.get("bucket") {
            Some(bucket) => Some(cx.text(bucket, "bucket")?.to_owned()),
            None => None,
        };
        let parents = match (node.get("parents"), &key) {
            (Some(parents), Some(key)) => Some(Parents::parse(parents, key, cx)?),
            _ => None,
        };
        let fine = fine & count.is_none_or(|count| only_asked(count, node, cx));
        if let (Some(limits), Some(Count::Bytes)) = (&limits, count) {
            below_one_message(limits, limits_at, cx);
            if let (Some(parents), Some(node)) = (&parents, node.get("parents")) {
                below_one_message(&parents.limits, node.place, cx);
            }
        }
        if !fine {
            return None;
        }
        let too_large = node.get("too_large").cloned();
        Some(Self {
            key: key?,
            limits: limits?,
            parents,
            count: count?,
            bucket,
            charge_attempts: charge_attempts?,
            too_large,
        })
    }

    /// The key says when it can be asked, but not what the rule belongs to: a
    /// limit is asked again each time.
    fn needs(&self) -> Needs {
        Needs::stage_of(self.reads())
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        match cx.answer {
            Some((_, Answered::Said(answer))) => (!answer.allowed).into(),
            Some((_, Answered::Unknown)) => Truth::Unknown,
            None => Truth::NoMatch,
        }
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let Some(key) = self.key.text(cx.facts) else {
            return "there is no key".into();
        };
        let parent = self.parents.as_ref().zip(cx.answer.filter(|(question, _)| question.level > 0));
        let (who, told) = match parent {
            Some((parents, (question, _))) => {
                (format!("`{}` above `{key}`", question.key), parents.limits.told_of_name(&question.key))
            }
            None => (format!("`{key}`"), self.limits.told(&key, &self.key, cx.facts)),
        };
        let told = if told.is_empty() { told } else { format!(" ({told})") };
        match cx.answer {
            Some((question, Answered::Said(answer))) => format!(
                "{who} has used {} of {} in {}{told}",
                counted(question, answer).used,
                answer.window.allowed,
                show_duration(answer.window.period)
            ),
            Some((_, Answered::Unknown)) => format!("the counters of {who} did not answer"),
            None => format!("{who} has no limit{told}"),
        }
    }

    fn variables(&self) -> Vec<String> {
        ["key", "used", "allowed", "window", "retry_after", "burst", "rate"].map(str::to_owned).into()
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let Some((question, answered)) = cx.answer else {
            bindings.push(("key".into(), self.key.text(cx.facts).unwrap_or_default()));
            return;
        };
        bindings.push(("key".into(), question.key.clone()));
        if let Answered::Said(answer) = answered {
            bind_answer(&counted(question, answer), bindings);
            let window = answer.window;
            bindings.push(("burst".into(), window.capacity().to_string()));
            let rate = Window { burst: None, strict: false, ..window };
            bindings.push(("rate".into(), rate.to_string()));
        }
    }
}

/// What counts against the limit: an event that has not happened does not.
fn counted(question: &Question, answer: &Answer) -> Answer {
    let used = if question.count.is_event() { answer.used.saturating_sub(question.n) } else { answer.used };
    Answer { used, ..*answer }
}

/// An empty mail has a header of about so many bytes.
const SMALLEST_MESSAGE: u64 = 500;

const COUNTS: &[(&str, Count)] = &[
    ("recipients", Count::Recipients),
    ("messages", Count::Messages),
    ("bytes", Count::Bytes),
    ("connections", Count::Connections),
    ("refused", Count::Refused),
    ("unknown_users", Count::UnknownUsers),
    ("probes", Count::Probes),
];

impl Rate {
    /// Whether this mail alone is more than its limit could ever allow.
    pub fn can_never_fit(question: &Question, answered: &Answered) -> bool {
        matches!(answered, Answered::Said(answer) if !answer.allowed && question.n > answer.window.capacity())
    }

    /// What the key is made of, and what its limits are looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        let listed = self.limits.lookup().and_then(|lookup| lookup.of);
        self.key.parts().iter().map(|part| part.fact).chain(listed).collect()
    }

    /// What the store is to be asked, of the key and then of its parents; nothing
    /// when no limit applies.
    pub fn questions(&self, buckets: Buckets, cx: &Context<'_>) -> impl Iterator<Item = Question> + use<> {
        let n = self.number(cx);
        let count = self.count;
        let own = self.key.text(cx.facts).and_then(|key| {
            let limits = self.limits.of(&key, &self.key, cx.facts)?;
            let coarse = self.key.coarse(cx.facts);
            Some(Question { bucket: buckets.own, level: 0, coarse, key, limits, n, count })
        });
        let parents =
            self.parents.as_ref().map(|parents| parents.of(&self.key, cx.facts)).unwrap_or_default();
        let parents = parents.into_iter().zip(1..).map(move |((key, limits), level)| Question {
            bucket: buckets.parents,
            level,
            coarse: None,
            key,
            limits,
            n,
            count,
        });
        own.into_iter().chain(parents)
    }

    fn number(&self, cx: &Context<'_>) -> u64 {
        let n = match self.count {
            Count::Bytes => cx.facts.number(Fact::Size).or(cx.facts.number(Fact::AnnouncedSize)).unwrap_or(1),
            Count::Recipients if cx.stage >= Stage::Data => cx.facts.recipients.len() as u64,
            _ => 1,
        };
        n.max(1)
    }
}

/// Of events the mail at hand is none, so nothing of it is charged or too large.
fn only_asked(count: Count, node: &Node, cx: &mut Loader<'_>) -> bool {
    let idle = ["charge", "too_large"].into_iter().filter_map(|name| Some((name, node.get(name)?)));
    let idle: Vec<_> = idle.filter(|_| count.is_event()).collect();
    for (name, node) in &idle {
        let word = count.word();
        cx.mistake(
            node.place,
            format!("`{name}` is about the mail at hand, which `count: {word}` does not count"),
        );
    }
    idle.is_empty()
}

/// A bucket into which no mail fits refuses all of it for good.
fn below_one_message(limits: &Allowance, place: Place, cx: &mut Loader<'_>) {
    let known = limits.known();
    let windows = known.iter().flat_map(|limits| limits.windows());
    if let Some(window) = windows.into_iter().find(|window| window.capacity() < SMALLEST_MESSAGE) {
        cx.mistake(
            place,
            format!(
                "`{window}` has room for {} bytes, which is below one message: give {SMALLEST_MESSAGE} or more, or count messages",
                window.capacity()
            ),
        );
    }
}

fn one_of<T: Copy>(node: &Node, name: &str, words: &[(&str, T)], cx: &mut Loader<'_>) -> Option<T> {
    let text = cx.text(node, name)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant);
    if found.is_none() {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let hint = did_you_mean(text, known.iter().copied());
        cx.mistake(node.place, format!("`{text}` is not a {name}: {}{hint}", known.join(" ")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::facts;
    use super::super::testing::load;
    use super::super::testing::wrong;
    use super::*;
    use crate::checks::AnyCheck;
    use crate::facts::Known;

    fn question(yaml: &str, given: &str) -> Option<(String, u64)> {
        let Some(AnyCheck::Rate(rate)) = load(yaml).0 else {
            panic!("{yaml}: {:?}", load(yaml).1);
        };
        let facts = facts(given);
        let stage = if facts.recipients.is_empty() { Stage::Rcpt } else { Stage::Data };
        let known = Known::default();
        let cx = Context::new(&facts, &known, stage);
        rate.questions(Buckets::default(), &cx).next().map(|question| (question.key, question.n))
    }

    #[test]
    fn keys_are_canonical() {
        for (key, given, expected) in [
            ("sasl_username", "sasl_username=Bob@X.test", Some("bob@x.test")),
            ("sasl_username", "", None),
            ("client_address", "client_address=192.0.2.7", Some("192.0.2.7")),
            ("client_address/24", "client_address=192.0.2.7", Some("192.0.2.0/24")),
            ("client_address", "client_address=2001:db8::7", Some("2001:db8::/64")),
            ("client_address/24", "client_address=2001:db8::7", Some("2001:db8::/64")),
            ("client_address/48", "client_address=2001:db8:1:2::7", Some("2001:db8:1::/48")),
            ("[sasl_username, recipient_domain]", "sasl_username=b recipient=a@x.test", Some("b x.test")),
            ("[sasl_username, recipient_domain]", "recipient=a@x.test", None),
            ("{first_of: [sasl_username, client_address]}", "client_address=192.0.2.7", Some("192.0.2.7")),
            ("sender", "sender=<>", Some("<>")),
            ("sender", "sender=Bob+news@X.test.", Some("bob@x.test")),
            ("sasl_username", "sasl_username=bob+phone", Some("bob")),
            ("recipient_domain", "recipient=a@X.test.", Some("x.test")),
            ("helo_name", "helo_name=mail+1.x.test", Some("mail+1.x.test")),
            ("client", "client_address=2001:db8::7 client_name=a.test", Some("2001:db8::/64")),
            ("client_address/64", "client_address=::ffff:192.0.2.7", Some("192.0.2.7")),
            (
                "[client_family, hour, direction]",
                "client_address=192.0.2.7 hour=3 direction=inbound",
                Some("ipv4 3 inbound"),
            ),
        ] {
            let yaml = format!("rate: {{key: {key}, limits: [1/1h]}}");
            assert_eq!(question(&yaml, given).map(|(key, _)| key).as_deref(), expected, "{key} of {given}");
        }
    }

    /// A stranger chooses how a value is cut.
    #[test]
    fn keys_of_several_can_not_be_confused() {
        let key = |sender: &str, recipient: &str| {
            let mut facts = facts("");
            facts.set(Fact::Sender, sender);
            facts.set(Fact::Recipient, recipient);
            let Some(AnyCheck::Rate(rate)) = load("rate: {key: [sender, recipient], limits: [1/1h]}").0
            else {
                panic!("it loads");
            };
            rate.key.text(&facts)
        };
        assert_eq!(key("a", "b c").as_deref(), Some(r#"a "b c""#));
        assert_ne!(key("a", "b c"), key("a b", "c"));
        assert_ne!(key("a", r#"" "b"#), key(r#"a """#, "b"));
    }

    #[test]
    fn what_is_counted_is_what_is_asked_for() {
        let asked = |count: &str, given: &str| {
            question(&format!("rate: {{key: sender, count: {count}, limits: [1K/1h]}}"), given).unwrap().1
        };
        assert_eq!(asked("recipients", "sender=a@b.test"), 1);
        assert_eq!(asked("recipients", "sender=a@b.test recipients=a@x.test,b@x.test"), 2);
        assert_eq!(asked("messages", "sender=a@b.test recipients=a@x.test,b@x.test"), 1);
        assert_eq!(asked("bytes", "sender=a@b.test announced_size=700"), 700);
    }

    #[test]
    fn mistakes_show_the_remedy() {
        wrong("rate: {key: sasl_username}", &["rate needs key and limits"]);
        wrong(
            "rate: {key: sasl_username, limits: [100/hour]}",
            &["`100/hour` is not a limit such as 100/10m or 500/1d burst 50"],
        );
        wrong(
            "rate: {key: sender, count: bytes, limits: [1M/1h, 1G/1d burst 100]}",
            &[
                "`1G/1d burst 100` has room for 100 bytes, which is below one message: give 500 or more, or count messages",
            ],
        );
        wrong("rate: {key: login, limits: [1/1h]}", &["no attribute `login`"]);
        wrong(
            "rate: {key: sender/24, limits: [1/1h]}",
            &["`sender/24` is not an address with a prefix length, such as client_address/24"],
        );
        wrong(
            "rate: {key: sender, count: mails, limits: [1/1h]}",
            &["`mails` is not a count: recipients messages bytes connections refused unknown_users probes"],
        );
        wrong(
            "rate: {key: sender, count: probes, limits: [1/1h], charge: attempts}",
            &["`charge` is about the mail at hand, which `count: probes` does not count"],
        );
    }
}
