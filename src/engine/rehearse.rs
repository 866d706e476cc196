//! Runs the tests inside rule files: each on a store and a clock of its own, by
//! the engine that decides on real mail.
//!
//! The policy must have been loaded for it ([`Policy::as_enforced`]): tests ask
//! what the rules mean, not which of them are switched on. Nothing here waits,
//! and nothing but the messages that tests name is read.

mod mail;
mod outcome;

use super::Ask;
use super::Decided;
use super::Event;
use super::Happened;
use super::Outcome as End;
use super::Recall;
use super::Store;
use super::count_event;
use super::decide;
use super::settle;
use crate::checks::Context;
use crate::checks::Count;
use crate::dns::Resolver;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Known;
use crate::facts::Moment;
use crate::facts::Stage;
use crate::lookup::Given as Answer;
use crate::policy::Given;
use crate::policy::Policy;
use crate::policy::Step;
use crate::policy::Trial;
use crate::state::Fate;
use crate::state::Lesson;
use crate::state::Memory;
use crate::state::Nanos;
use crate::state::NewListing;
use crate::state::State;
use crate::values::canonical_key;
use crate::yaml::Place;
use mail::Mail;
use outcome::Outcome;
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// When every test begins unless it says `at:`: an ordinary Wednesday at noon.
const NOON: jiff::civil::DateTime = jiff::civil::datetime(2026, 11, 18, 12, 0, 0, 0);

/// The same for limits, which only count on.
const START: Nanos = 1_800_000_000 * 1_000_000_000;

/// Keys of limits in one test: as many as it can send mails.
const MAX_KEYS: usize = 1_000_000;

/// What a test gives as listed stays so until it is over.
const LISTED_FOR: Duration = Duration::from_secs(10 * 366 * 86_400);

/// The store is in memory and answers at once.
const DEADLINE: Duration = Duration::from_secs(60);

/// What the tests of a policy came to.
#[derive(Debug, Default)]
pub struct Rehearsed {
    pub tests: usize,
    pub failures: Vec<Failure>,
}

/// A test that did not come out as expected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    pub file: String,
    pub place: Place,
    /// `of rule helo-is-us`, or `of the whole policy`.
    pub about: String,
    pub expected: String,
    pub happened: String,
    /// Why each rule concerned applied or did not.
    pub because: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, col } = self.place;
        write!(f, "{}:{line}:{col}: the test {} fails", self.file, self.about)?;
        write!(f, "\n    expected: {}\n    happened: {}", self.expected, self.happened)?;
        for because in &self.because {
            write!(f, "\n    because:  {because}")?;
        }
        Ok(())
    }
}

/// Runs every test of the policy. `folder` is where its files are, for the
/// messages that tests name.
pub async fn rehearse(policy: &Policy, folder: &Path) -> Rehearsed {
    let mut rehearsed = Rehearsed::default();
    for (file, number) in policy.files.iter().zip(0..) {
        let base = folder.join(&file.name).parent().map(Path::to_owned).unwrap_or_default();
        let of_file = policy.rules.iter().zip(0..).filter(|(rule, _)| rule.file == number);
        for (rule, index) in of_file.filter(|(rule, _)| !rule.disabled) {
            let stage = last_stage(policy, Some(index));
            let about = format!("of rule `{}`", rule.name);
            let set = Setting { policy, base: &base, file: &file.name, about, only: Some(index), stage };
            for trial in &rule.trials {
                rehearsed.tests += 1;
                rehearsed.failures.extend(set.run(trial).await);
            }
        }
        let stage = last_stage(policy, None);
        let about = "of the whole policy".to_owned();
        let set = Setting { policy, base: &base, file: &file.name, about, only: None, stage };
        for trial in &file.trials {
            rehearsed.tests += 1;
            rehearsed.failures.extend(set.run(trial).await);
        }
    }
    rehearsed
}

/// The last stage at which a rule is asked: there is no need to go further.
fn last_stage(policy: &Policy, only: Option<u32>) -> Stage {
    let asked = |stage: &Stage| match only {
        Some(only) => policy.stages[*stage as usize].iter().any(|section| section.rules.contains(&only)),
        None => !policy.stages[*stage as usize].is_empty(),
    };
    Stage::ALL.into_iter().filter(asked).max().unwrap_or_default()
}

/// What all steps of a test share.
struct Setting<'a> {
    policy: &'a Policy,
    /// The folder of the rule file.
    base: &'a Path,
    file: &'a str,
    about: String,
    /// One rule alone.
    only: Option<u32>,
    /// No rule is asked behind it.
    stage: Stage,
}

/// The clock of one test.
struct Clock {
    now: Nanos,
    civil: jiff::civil::DateTime,
    /// Whether `at:` was said: from then on another `at:` moves the limits too.
    is_set: bool,
}

impl Clock {
    fn advance(&mut self, by: Duration) {
        self.now = self.now.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX));
        if let Ok(civil) = self.civil.checked_add(by) {
            self.civil = civil;
        }
    }

    fn set(&mut self, at: jiff::civil::DateTime) {
        if self.is_set {
            let later = Duration::try_from(self.civil.duration_until(at)).unwrap_or_default();
            self.advance(later);
        }
        self.civil = at;
        self.is_set = true;
    }
}

impl Setting<'_> {
    /// The first step that fails, if one does.
    async fn run(&self, trial: &Trial) -> Option<Failure> {
        let state = State::in_memory(MAX_KEYS);
        let mut resolver = Resolver::default();
        let mut clock = Clock { now: START, civil: NOON, is_set: false };
        let mut given = Given::default();
        let mut sent = 0;
        for step in &trial.steps {
            given.add(&step.given);
            if let Some(at) = step.at {
                clock.set(at);
            }
            if let Some(after) = step.after {
                clock.advance(after);
            }
            let mail = match Mail::make(&given, clock.civil, self.policy, self.base) {
                Ok(mail) => mail,
                Err(why) => return Some(self.failure(step, "a mail to try".into(), why, Vec::new())),
            };
            if let Some(zone) = &step.dns {
                resolver = Resolver::of_zone(zone.clone());
            }
            let around = Around { state: &state, resolver: &resolver, now: clock.now };
            if let Some(failure) = self.step(step, &mail, around, &mut sent).await {
                return Some(failure);
            }
        }
        None
    }

    /// Sends the mail as often as the step says; only the last may do what is
    /// expected, and what must not happen must not happen at any.
    async fn step(&self, step: &Step, mail: &Mail, around: Around<'_>, sent: &mut u64) -> Option<Failure> {
        for number in 1..=step.times {
            *sent += 1;
            let is_last = number == step.times;
            // Of thousands of mails only these are told about with their reasons.
            let trace = is_last || number == 1;
            let answers = mail.answers.as_slice();
            let sending = Sending { set: self, step, around, answers, number: *sent, trace };
            if number == 1 {
                sending.happened(mail).await;
            }
            let outcome = sending.send(mail).await;
            let wrong = outcome.judge(step, self.policy, self.only, is_last);
            if let Some(expected) = wrong {
                let which =
                    if step.times > 1 { format!("mail {number} of {}: ", step.times) } else { String::new() };
                let happened = format!("{which}{}", outcome.describe(self.policy, self.only));
                return Some(self.failure(step, expected, happened, outcome.because));
            }
        }
        None
    }

    fn failure(&self, step: &Step, expected: String, happened: String, because: Vec<String>) -> Failure {
        let (file, about) = (self.file.to_owned(), self.about.clone());
        Failure { file, place: step.place, about, expected, happened, because }
    }
}

/// What a mail finds.
#[derive(Clone, Copy)]
struct Around<'a> {
    state: &'a State,
    /// Names that the test gives no records for do not exist.
    resolver: &'a Resolver,
    now: Nanos,
}

/// One mail on its way.
struct Sending<'a> {
    set: &'a Setting<'a>,
    step: &'a Step,
    around: Around<'a>,
    /// What the test says that checks come to.
    answers: &'a [Answer],
    /// Counts the mails of the test: each is a session of its own.
    number: u64,
    trace: bool,
}

impl Sending<'_> {
    /// RCPT for each recipient, then DATA and the message with those accepted.
    async fn send(&self, mail: &Mail) -> Outcome {
        let mut recall = Recall::default();
        let (outcome, end) = self.converse(mail, &mut recall).await;
        settle(&mut recall, end, self.store()).await;
        outcome
    }

    async fn converse(&self, mail: &Mail, recall: &mut Recall) -> (Outcome, End) {
        let mut facts = mail.facts.clone();
        mail.number(&mut facts, self.number);
        recall.connection.set_marks(&mail.marks);
        self.list(mail, &facts).await;
        let mut outcome = Outcome::new(mail);
        let mut accepted = Vec::new();
        for recipient in &mail.recipients {
            facts.set(Fact::Recipient, recipient);
            if mail.has_waited {
                self.wait(&facts).await;
            }
            let decided = self.decide(Stage::Rcpt, &facts, recall).await;
            if !decided.verdict.refuses() {
                accepted.push(recipient.clone());
            }
            for (count, happened) in decided.refusals() {
                let event = self.event(&facts, Stage::Rcpt, (count, 1), happened);
                count_event(&event, recall, self.store()).await;
            }
            outcome.take(decided, Stage::Rcpt, self.set.policy);
        }
        if accepted.is_empty() || self.set.stage < Stage::Data {
            return (outcome, End::Accepted);
        }
        mail.accepted(&mut facts, accepted);
        let decided = self.decide(Stage::Data, &facts, recall).await;
        let refused = decided.verdict.refuses();
        outcome.take(decided, Stage::Data, self.set.policy);
        if refused || self.set.stage < Stage::Message {
            return (outcome, if refused { End::Refused } else { End::Accepted });
        }
        mail.content(&mut facts, self.set.policy);
        let decided = self.decide(Stage::Message, &facts, recall).await;
        let end = if decided.verdict.refuses() { End::Refused } else { End::Accepted };
        outcome.take(decided, Stage::Message, self.set.policy);
        (outcome, end)
    }

    /// Counts what the test says to have happened before.
    async fn happened(&self, mail: &Mail) {
        let mut recall = Recall::default();
        let mut facts = mail.facts.clone();
        mail.number(&mut facts, self.number);
        recall.connection.set_marks(&mail.marks);
        self.list(mail, &facts).await;
        for (count, n) in &self.step.given.happened {
            let stage = if *count == Count::Probes { Stage::Data } else { Stage::Rcpt };
            facts.recipients = mail.recipients.clone();
            if let Some(recipient) = mail.recipients.first() {
                facts.set(Fact::Recipient, recipient);
            }
            let event = self.event(&facts, stage, (*count, *n), [Happened::ByOthers; 2]);
            count_event(&event, &recall, self.store()).await;
        }
    }

    fn event<'e>(
        &'e self,
        facts: &'e Facts,
        stage: Stage,
        (count, n): (Count, u64),
        happened: [Happened; 2],
    ) -> Event<'e> {
        let given = self.answers;
        Event { policy: self.set.policy, facts, stage, count, n, happened, only: self.set.only, given }
    }

    /// Puts the keys on the lists that the test says.
    async fn list(&self, mail: &Mail, facts: &Facts) {
        for key in self.set.policy.listed_by.iter().filter_map(|fact| canonical_key(facts, *fact)) {
            for reason in &mail.listed {
                let new =
                    NewListing { key: &key, reason, periods: &[LISTED_FOR], by: "test", observed: false };
                self.around.state.list(new, self.around.now).await;
            }
        }
    }

    /// Lets the rules have seen a mail so long ago that it need not wait any more.
    async fn wait(&self, facts: &Facts) {
        let known = Known::default();
        let cx = Context::new(facts, &known, Stage::Rcpt);
        for rule in &self.set.policy.rules {
            let asked = rule.memory.as_ref().and_then(|it| it.check.memory(it.bucket, &cx));
            let Some(memory @ Memory::Greylist(attempt)) = &asked else {
                continue;
            };
            let earlier = u64::try_from(attempt.terms.delay.as_nanos()).unwrap_or(u64::MAX);
            let lesson = Lesson { memory, fate: Fate::Deferred, must_fit: false };
            self.around.state.learn(&[lesson], self.around.now.saturating_sub(earlier)).await;
        }
    }

    async fn decide(&self, stage: Stage, facts: &Facts, recall: &mut Recall) -> Decided {
        let ask = Ask {
            policy: self.set.policy,
            facts,
            stage,
            decides_envelope: stage < Stage::Message,
            id: "test",
            impossible: &self.step.fails,
            given: self.answers,
            only: self.set.only,
            trace: self.trace,
        };
        decide(ask, recall, self.store()).await
    }

    fn store(&self) -> Store<'_> {
        let Around { state, resolver, now } = self.around;
        Store { state, resolver, now, deadline: DEADLINE, charges: true }
    }
}

/// The wall clock of a test, in whichever zone a rule asks for.
fn moment(civil: jiff::civil::DateTime) -> Moment {
    Moment { timestamp: None, civil: Some(civil) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Options;
    use crate::policy::load_texts;

    /// Each failure's first lines, without the reasons.
    async fn failures(text: &str) -> Vec<String> {
        let local =
            crate::config::Local { networks: vec!["127.0.0.0/8".parse().unwrap()], ..Default::default() };
        let options = Options { local, ..Options::default() };
        let loaded = load_texts(&[("p.yaml", text)], Path::new(""), &options);
        let policy = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).policy.as_enforced();
        let rehearsed = rehearse(&policy, Path::new("")).await;
        rehearsed
            .failures
            .into_iter()
            .map(|failure| format!("{}: {} / {}", failure.place.line, failure.expected, failure.happened))
            .collect()
    }

    fn rule(when: &str, then: &str, tests: &str) -> String {
        format!("rules:\n  - name: a\n    when: {when}\n    then: {then}\n    tests:\n      - {tests}\n")
    }

    #[tokio::test]
    async fn one_rule_does_what_its_test_says_or_not() {
        for (when, then, test, fails) in [
            ("{sender: x@y.test}", "reject", "{given: {sender: x@y.test}, expect: reject}", false),
            ("{sender: x@y.test}", "reject", "{expect: no_match}", false),
            ("{sender: x@y.test}", "reject", "{expect: reject}", true),
            ("{sender: x@y.test}", "reject", "{given: {sender: x@y.test}, expect: no_match}", true),
            ("{sender: present}", "reject", "{expect: defer}", true),
            (
                "{sender: present}",
                "{reject: \"550 5.1.1 {sender}\"}",
                "{expect: {reject: \"550 5.1.1 someone@\"}}",
                false,
            ),
            (
                "{sender: present}",
                "{reject: \"550 5.1.1 {sender}\"}",
                "{expect: {reject: /^550 .*example/}}",
                false,
            ),
            ("{sender: present}", "{reject: \"550 5.1.1 {sender}\"}", "{expect: {reject: other}}", true),
            ("{sender: present}", "{tag: t}", "{expect: {tags: [t]}}", false),
            ("{sender: present}", "{tag: t}", "{expect: tag}", false),
            ("{sender: present}", "{tag: t}", "{expect: pass}", false),
            ("{sender: present}", "{score: 2}", "{given: {score: 1}, expect: {score: 3}}", false),
            ("{sender: present}", "{score: 2}", "{expect: {score: 3}}", true),
            ("{sender: present}", "{hold: x}", "{expect: pass}", true),
            (
                "{sender: present}",
                "{first_of: [{hold: x}, discard]}",
                "{fails: [hold], expect: discard}",
                false,
            ),
            ("{direction: outbound}", "reject", "{given: {sasl_username: a@b.test}, expect: reject}", false),
            (
                "{direction: outbound}",
                "reject",
                "{given: {client_address: 127.0.0.1}, expect: reject}",
                false,
            ),
            ("{direction: inbound}", "reject", "{expect: match}", false),
            ("{size: {over: 50M}}", "reject", "{given: {size: 60M}, expect: reject}", false),
            ("{size: {over: 50M}}", "reject", "{expect: no_match}", false),
            (
                "{attachment: [.exe]}",
                "reject",
                "{given: {attachments: [a.txt, \"a b.exe\"]}, expect: reject}",
                false,
            ),
            ("{attachment: [.exe]}", "reject", "{given: {attachments: [ä.exe]}, expect: reject}", false),
            ("{attachment: [.exe]}", "reject", "{given: {attachments: [a.txt]}, expect: no_match}", false),
            ("{recipient_count: {over: 1}}", "reject", "{given: {recipients: 2}, expect: reject}", false),
            ("{time: {hours: 03:00-04:00}}", "reject", "{at: 2026-11-21 03:30, expect: reject}", false),
            (
                "{time: {hours: 03:00-04:00}}",
                "reject",
                "[{at: 2026-11-21 02:30, expect: no_match}, {after: 1h, expect: match}]",
                false,
            ),
            ("{sender: present}", "reject", "{given: {message: nowhere.eml}, expect: reject}", true),
        ] {
            let found = failures(&rule(when, then, test)).await;
            assert_eq!(!found.is_empty(), fails, "{when} {then} {test}: {found:?}");
        }
    }

    #[tokio::test]
    async fn steps_share_clock_and_counters_and_only_the_last_mail_may_match() {
        let when = "{rate: {key: sender, count: messages, limits: [2/1h strict]}}";
        for (test, expected) in [
            ("{times: 3, expect: defer_if_permit}", None),
            ("[{times: 3, expect: match}, {expect: match}, {after: 61m, expect: no_match}]", None),
            ("[{times: 2, expect: no_match}, {given: {sender: b@c.test}, times: 2, expect: no_match}]", None),
            (
                "{times: 4, expect: match}",
                Some(
                    "6: match, but only by the last of 4 mails / mail 3 of 4: match, defer_if_permit `450 4.7.1 refused by rule a [test]` by a",
                ),
            ),
            (
                "{times: 3, expect: no_match}",
                Some(
                    "6: no match / mail 3 of 3: match, defer_if_permit `450 4.7.1 refused by rule a [test]` by a",
                ),
            ),
        ] {
            let found = failures(&rule(when, "defer_if_permit", test)).await;
            assert_eq!(found.first().map(String::as_str), expected, "{test}");
        }
    }

    #[tokio::test]
    async fn headers_are_those_the_next_hop_would_see() {
        let text = r#"
rules:
  - {name: one, then: {add_header: {X-A: "1"}}}
  - {name: two, then: {add_header: {X-B: "2", X-C: {text: "3", at: end}}}}
  - {name: gone, then: {remove_header: {X-Old: /bad/}}}
  - {name: new, then: {change_header: {Subject: "[x] {old}"}}}
tests:
  - given: {recipients: [a@b.test, c@d.test], attachments: [a.txt], headers: ["X-Old: bad", "Subject: hi", "X-Old: good"]}
    expect: {headers: ["X-A: 1", "X-B: 2", "Subject: [x] hi", "X-Old: good", "X-C: 3"]}
  - {given: {headers: ["Subject: hi"]}, expect: remove_header, by: gone}
  - {given: {headers: ["Subject: hi"]}, expect: change_header, by: gone}
"#;
        let found = failures(text).await;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("11: change_header, by gone / "), "{found:?}");
    }

    #[tokio::test]
    async fn a_file_is_tested_as_a_whole_and_as_if_enforced() {
        let text = r#"
mode: observe
rules:
  - {name: suspect, when: {helo_name: /^bad/}, then: {score: 3}}
  - {name: threshold, when: {score: {at_least: 3}}, then: {reject: "5.7.1 {reasons}"}}
  - {name: never, when: {sender: "<>"}, then: {hold: x}}
tests:
  - {expect: pass}
  - {given: {helo_name: bad.test}, expect: {reject: suspect}, by: threshold}
  - {given: {helo_name: bad.test}, expect: reject, by: never}
  - {given: {sender: "<>"}, expect: hold, by: never}
"#;
        let found = failures(text).await;
        assert_eq!(
            found,
            [
                "10: reject, by never / score by suspect, reject `554 5.7.1 suspect [test]` by threshold, score 3"
            ]
        );
    }
}
