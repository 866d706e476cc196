//! What a decision is, in both worlds; what the tests inside rule files can't
//! see, because they ask as if every rule were enforced.

mod remembering;

use super::*;
use crate::dns::Zone;
use crate::facts::Fact;
use crate::message::Message;
use crate::policy::Options;
use crate::policy::load_texts;
use std::path::Path;
use std::sync::Arc;

/// A policy, its counters, and one session at a time.
struct Bench {
    policy: Policy,
    state: State,
    recall: Recall,
    resolver: Resolver,
    now: Nanos,
}

impl Bench {
    fn new(rules: &str) -> Self {
        let loaded = load_texts(&[("p.yaml", rules)], Path::new(""), &Options::default());
        let policy = loaded.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).policy;
        Self {
            policy,
            state: State::in_memory(100),
            recall: Recall::default(),
            resolver: Resolver::default(),
            now: 1_800_000_000_000_000_000,
        }
    }

    async fn ask(&mut self, stage: Stage, facts: &str, decides_envelope: bool) -> Decided {
        let facts = facts_of(stage, facts);
        let ask = Ask { decides_envelope, ..Ask::new(&self.policy, &facts, stage) };
        let mut recall = std::mem::take(&mut self.recall);
        let decided = decide(ask, &mut recall, self.store()).await;
        self.recall = recall;
        decided
    }

    /// A recipient of a mail; what happens and what would happen.
    async fn rcpt(&mut self, facts: &str) -> (&'static str, &'static str) {
        words(&self.ask(Stage::Rcpt, facts, true).await)
    }

    /// The same in a session of its own, whose mail is accepted as far as we refuse nothing.
    async fn mail(&mut self, facts: &str) -> (&'static str, &'static str) {
        self.recall = Recall::default();
        let words = self.rcpt(facts).await;
        self.settle(Outcome::Accepted).await;
        words
    }

    fn store(&self) -> Store<'_> {
        let (state, resolver, deadline) = (&self.state, &self.resolver, Duration::from_secs(5));
        Store { state, resolver, now: self.now, deadline, charges: true }
    }

    async fn settle(&mut self, outcome: Outcome) {
        let mut recall = std::mem::take(&mut self.recall);
        settle(&mut recall, outcome, self.store()).await;
        self.recall = recall;
    }
}

fn words(decided: &Decided) -> (&'static str, &'static str) {
    (decided.verdict.word(), decided.would.as_ref().unwrap_or(&decided.verdict).word())
}

fn facts_of(stage: Stage, text: &str) -> Facts {
    let mut facts = Facts::default();
    for (name, value) in text.split_whitespace().filter_map(|pair| pair.split_once('=')) {
        facts.set(Fact::named(name).expect("a fact"), value);
    }
    if stage >= Stage::Data {
        facts.recipients.extend(facts.text(Fact::Recipient).map(str::to_owned));
    }
    if stage == Stage::Message {
        facts.message = Some(Arc::new(Message::from_eml(b"Subject: hi\r\n\r\nx\r\n")));
    }
    facts
}

#[tokio::test]
async fn an_observed_score_does_not_make_an_enforced_threshold_bite() {
    let mut bench = Bench::new(
        "rules:
  - {name: points, mode: observe, when: {helo_name: x}, then: [{score: 5}, {tag: odd}]}
  - {name: threshold, when: {score: {at_least: 5}}, then: reject}
  - {name: tagged, when: {tag: odd}, then: defer}
",
    );
    assert_eq!(bench.mail("helo_name=x recipient=a@b.test").await, ("accept", "reject"));
    assert_eq!(bench.mail("helo_name=y recipient=a@b.test").await, ("accept", "accept"));
}

/// A program beside one that its author has signed.
const HALF_SIGNED: &str = "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\
    Content-Type: application/octet-stream; name=one.exe\r\n\r\nMZ\r\n--a\r\n\
    Content-Type: multipart/signed; protocol=\"application/pgp-signature\"; boundary=s\r\n\r\n--s\r\n\
    Content-Type: application/octet-stream; name=two.exe\r\n\r\nMZ\r\n--s\r\n\
    Content-Type: application/pgp-signature\r\n\r\nx\r\n--s--\r\n--a--\r\n";

#[tokio::test]
async fn parts_are_changed_all_or_none() {
    let rules = "rules:
  - {name: out, when: {attachment: .exe}, then: {first_of: [remove_parts, {hold: why}]}}
";
    for (mail, expected) in [
        (HALF_SIGNED.to_owned(), &["hold"][..]),
        (HALF_SIGNED.replace("name=two.exe", "name=two.txt"), &["remove_parts"]),
        (HALF_SIGNED.replace("multipart/signed", "multipart/mixed"), &["remove_parts", "remove_parts"]),
    ] {
        let bench = Bench::new(rules);
        let mut facts = facts_of(Stage::Message, "sender=s@b.test recipient=a@b.test");
        facts.message = Some(Arc::new(Message::from_eml(mail.as_bytes())));
        let ask = Ask::new(&bench.policy, &facts, Stage::Message);
        let decided = decide(ask, &mut Recall::default(), bench.store()).await;
        let done: Vec<_> = decided.verdict.effects.iter().map(|done| done.effect.word()).collect();
        assert_eq!(done, expected);
    }
}

#[tokio::test]
async fn an_observed_refusal_lets_the_enforced_rules_behind_speak() {
    let mut bench = Bench::new(
        "rules:
  - {name: seen, mode: observe, when: {helo_name: x}, then: reject}
  - {name: meant, when: {sender: s@b.test}, then: defer}
",
    );
    assert_eq!(bench.mail("helo_name=x sender=s@b.test recipient=a@b.test").await, ("defer", "reject"));
}

#[tokio::test]
async fn an_observed_limit_counts_as_if_it_had_refused() {
    let mut bench = Bench::new(
        "rules:
  - {name: limit, mode: observe, when: {rate: {key: sender, limits: [2/1h strict]}}, then: defer_if_permit}
",
    );
    let facts = "sender=s@b.test recipient=a@b.test";
    for would in ["accept", "accept", "defer_if_permit", "defer_if_permit"] {
        assert_eq!(bench.mail(facts).await, ("accept", would));
    }
    bench.now += 61 * 60 * 1_000_000_000;
    assert_eq!(bench.mail(facts).await, ("accept", "accept"));
}

#[tokio::test]
async fn a_request_is_charged_once_whatever_the_other_world_says() {
    let mut bench = Bench::new(
        "rules:
  - {name: meant, when: {rate: {key: sender, limits: [1/1h], bucket: shared}}, then: defer_if_permit}
  - {name: seen, mode: observe, when: {rate: {key: sender, limits: [1/1h], bucket: shared}}, then: defer_if_permit}
",
    );
    let facts = "sender=s@b.test recipient=a@b.test";
    assert_eq!(bench.mail(facts).await, ("accept", "accept"));
    assert_eq!(bench.mail(facts).await, ("defer_if_permit", "defer_if_permit"));
}

#[tokio::test]
async fn a_message_is_counted_once_whatever_its_recipients() {
    let mut bench = Bench::new(
        "rules:
  - {name: limit, when: {rate: {key: sender, count: messages, limits: [1/1h]}}, then: defer}
",
    );
    for recipient in ["a", "b", "c"] {
        let facts = format!("sender=s@b.test recipient={recipient}@b.test");
        assert_eq!(bench.rcpt(&facts).await.0, "accept");
    }
    bench.recall.end_transaction();
    assert_eq!(bench.rcpt("sender=s@b.test recipient=a@b.test").await.0, "defer");
}

#[tokio::test]
async fn refused_attempts_count_only_where_a_rule_says_so() {
    for (charge, expected) in [("accepted", "accept"), ("attempts", "defer")] {
        let mut bench = Bench::new(&format!(
            "rules:
  - {{name: limit, when: {{rate: {{key: client_address, limits: [2/1h], charge: {charge}}}}}, then: defer}}
  - {{name: unknown, when: {{recipient: nobody@}}, then: reject}}
"
        ));
        for _ in 0..2 {
            assert_eq!(bench.mail("client_address=192.0.2.1 recipient=nobody@b.test").await.0, "reject");
        }
        assert_eq!(bench.mail("client_address=192.0.2.1 recipient=a@b.test").await.0, expected, "{charge}");
    }
}

#[tokio::test]
async fn attempts_behind_a_used_up_limit_count_on() {
    for (charge, expected) in [("accepted", "accept"), ("attempts", "defer")] {
        let mut bench = Bench::new(&format!(
            "rules:
  - {{name: limit, when: {{rate: {{key: client_address, limits: [2/1h strict], charge: {charge}}}}}, then: defer}}
"
        ));
        let facts = "client_address=192.0.2.1 recipient=a@b.test";
        for words in ["accept", "accept", "defer"] {
            assert_eq!(bench.mail(facts).await.0, words);
        }
        bench.now += 40 * 60 * 1_000_000_000;
        assert_eq!(bench.mail(facts).await.0, "defer");
        assert_eq!(bench.mail(facts).await.0, "defer");
        // The first two are an hour old; only attempts have come since.
        bench.now += 21 * 60 * 1_000_000_000;
        assert_eq!(bench.mail(facts).await.0, expected, "{charge}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_gone_refuses_nothing_unless_a_rule_says_so() {
    for (on_unknown, expected) in [("skip", "accept"), ("match", "defer"), ("defer", "defer")] {
        let mut bench = Bench::new(&format!(
            "rules:
  - {{name: limit, on_unknown: {on_unknown}, when: {{rate: {{key: sender, limits: [1/1h]}}}}, then: reject}}
"
        ));
        bench.state = State::stuck();
        assert_eq!(bench.mail("sender=s@b.test recipient=a@b.test").await.0, expected, "{on_unknown}");
    }
}

#[tokio::test]
async fn a_milter_that_leaves_the_envelope_to_others_takes_its_marks_alone() {
    let rules = "rules:
  - {name: helo, when: {helo_name: x}, then: [{tag: odd}, reject]}
  - {name: content, when: {tag: odd, header: {Subject: hi}}, then: {hold: odd}}
";
    for (decides_envelope, expected) in [(false, "hold"), (true, "reject")] {
        let mut bench = Bench::new(rules);
        let decided = bench.ask(Stage::Message, "helo_name=x recipient=a@b.test", decides_envelope).await;
        assert_eq!(decided.verdict.word(), expected);
    }
}

#[tokio::test]
async fn what_was_accepted_at_rcpt_is_not_refused_by_its_rules_at_data() {
    let mut bench = Bench::new(
        "rules:
  - {name: friend, when: {recipient: abuse@}, then: accept}
  - {name: helo, when: {helo_name: x}, then: reject}
",
    );
    assert_eq!(bench.mail("helo_name=x recipient=abuse@b.test").await.0, "accept");
    for stage in [Stage::Data, Stage::Message] {
        let decided = bench.ask(stage, "helo_name=x recipient=abuse@b.test", true).await;
        assert_eq!(decided.verdict.word(), "accept", "{}", stage.word());
    }
    // Where nobody asked at RCPT, they have their turn at DATA.
    bench.recall = Recall::default();
    assert_eq!(bench.ask(Stage::Data, "helo_name=x", true).await.verdict.word(), "reject");
}

#[tokio::test]
async fn an_action_that_can_not_be_done_is_noted() {
    let mut bench = Bench::new(
        "rules:
  - {name: change, stage: message, when: {helo_name: x}, then: [{change_header: {X-Not-There: y}}, {log: z}]}
  - {name: chain, stage: message, then: {first_of: [{change_header: {X-Not-There: y}}, {tag: t}]}}
  - {name: broken, stage: message, then: {first_of: [{change_header: {X-Not-There: y}}]}}
  - {name: observed, stage: message, mode: observe, then: {change_header: {X-Not-There: y}}}
",
    );
    for (helo, expected) in [("x", &[(0, "change_header"), (2, "first_of")][..]), ("y", &[(2, "first_of")])] {
        bench.recall = Recall::default();
        let facts = format!("helo_name={helo} recipient=a@b.test");
        let decided = bench.ask(Stage::Message, &facts, true).await;
        assert_eq!(decided.failed, expected, "{helo}");
    }
}

/// Each text of a rule says the score as it is then.
#[tokio::test]
async fn texts_behind_points_say_the_new_score() {
    let mut bench = Bench::new(
        r#"rules:
  - {name: a, then: [{log: "{score} {reasons}"}, {score: 2}, {log: "{score} {reasons}"}]}
"#,
    );
    let decided = bench.ask(Stage::Rcpt, "recipient=a@b.test", true).await;
    let texts: Vec<_> = decided.verdict.effects.iter().map(|done| done.effect.text()).collect();
    assert_eq!(texts, ["0", "2 a"]);
}

#[tokio::test]
async fn rules_that_share_a_bucket_charge_it_once() {
    let rule = |name: &str, limits: &str, count: &str, more: &str| {
        format!(
            "  - {{name: {name}, when: {{rate: {{key: sender, bucket: b, limits: [{limits}], count: {count}}}{more}}}, then: defer}}\n"
        )
    };
    let to_c = ", recipient: c@b.test";
    for (what, rules, then) in [
        (
            "the same limits",
            [rule("x", "2/1h", "recipients", ""), rule("y", "2/1h", "recipients", "")],
            "aaD",
        ),
        ("another window", [rule("x", "9/1h", "recipients", ""), rule("y", "2/1d", "recipients", "")], "aaD"),
        // The rule that is asked seldom knows what the other counted.
        (
            "asked at the end",
            [rule("x", "9/1h", "recipients", ""), rule("y", "3/1h", "recipients", to_c)],
            "aaaaC",
        ),
        (
            "asked first too",
            [rule("x", "9/1h", "recipients", ""), rule("y", "3/1h", "recipients", to_c)],
            "caaaC",
        ),
        (
            "asked between",
            [rule("x", "9/1h", "recipients", ""), rule("y", "4/1h", "recipients", to_c)],
            "caacC",
        ),
        (
            "messages and recipients",
            [rule("x", "2/1h", "recipients", ""), rule("y", "1/1h", "messages", to_c)],
            "caD",
        ),
    ] {
        let mut bench = Bench::new(&format!("rules:\n{}", rules.concat()));
        for (at, mail) in then.chars().enumerate() {
            let to = if mail.eq_ignore_ascii_case(&'c') { "c" } else { "a" };
            let expected = if mail.is_uppercase() { "defer" } else { "accept" };
            let found = bench.mail(&format!("sender=s@b.test recipient={to}@b.test")).await.0;
            assert_eq!(found, expected, "{what}, mail {at}");
        }
    }
}

#[tokio::test]
async fn a_reload_leaves_each_limit_its_counters() {
    let rule = |name: &str| {
        format!("  - {{name: {name}, when: {{rate: {{key: sender, limits: [1/1h]}}}}, then: defer}}\n")
    };
    let facts = "sender=s@b.test recipient=a@b.test";
    for (before, after, expected) in [
        (vec!["kept"], vec!["new", "kept"], "defer"),
        (vec!["gone", "kept"], vec!["kept"], "defer"),
        (vec!["gone"], vec!["new"], "accept"),
    ] {
        let policy =
            |names: &[&str]| format!("rules:\n{}", names.iter().map(|name| rule(name)).collect::<String>());
        let mut bench = Bench::new(&policy(&before));
        assert_eq!(bench.mail(facts).await.0, "accept");
        let reloaded = Bench::new(&policy(&after));
        bench.policy = reloaded.policy;
        assert_eq!(bench.mail(facts).await.0, expected, "{before:?} to {after:?}");
    }
}

#[tokio::test]
async fn a_message_to_recipients_of_two_rules_with_one_bucket_is_one_message() {
    let mut bench = Bench::new(
        "rules:
  - {name: a, when: {recipient: a@b.test, rate: {key: sender, count: messages, limits: [2/1h strict], bucket: b}}, then: defer}
  - {name: c, when: {recipient: c@b.test, rate: {key: sender, count: messages, limits: [2/1h strict], bucket: b}}, then: defer}
",
    );
    for expected in ["accept", "accept", "defer"] {
        bench.recall = Recall::default();
        for to in ["a", "c"] {
            let found = bench.rcpt(&format!("sender=s@b.test recipient={to}@b.test")).await.0;
            assert_eq!(found, expected, "{to}");
        }
    }
}

#[tokio::test]
async fn a_size_that_is_told_late_is_charged_once_and_not_of_what_is_refused() {
    // charge, refused, the size then told: how much is used of each bucket.
    for (charge, is_refused, size, expected) in [
        ("accepted", false, 700, 700),
        ("accepted", false, 0, 1),
        ("accepted", true, 700, 1),
        ("attempts", true, 700, 700),
    ] {
        let mut bench = Bench::new(&format!(
            "rules:
  - {{name: a, when: {{rate: {{key: sender, count: bytes, limits: [1K/1h strict], bucket: b, charge: {charge}}}}}, then: {{log: \"{{used}}\"}}}}
  - {{name: b, when: {{rate: {{key: sender, count: bytes, limits: [1K/1d strict], bucket: b, charge: {charge}}}}}, then: {{log: \"{{used}}\"}}}}
"
        ));
        let facts = "sender=s@b.test recipient=a@b.test";
        bench.rcpt(facts).await;
        bench.rcpt(facts).await;
        let mut recall = std::mem::take(&mut bench.recall);
        for _ in 0..2 {
            settle_size(&mut recall, size, is_refused, bench.store()).await;
        }
        recall.end_transaction();
        bench.recall = recall;
        let decided = bench.ask(Stage::Rcpt, &format!("{facts} announced_size=1024"), true).await;
        let used: Vec<_> = decided.verdict.effects.iter().map(|done| format!("{:?}", done.effect)).collect();
        let with_this = expected + 1024;
        assert_eq!(
            used,
            [format!("Log(\"{with_this}\")"), format!("Log(\"{with_this}\")")],
            "{charge} {is_refused} {size}"
        );
    }
}

#[tokio::test]
async fn a_limit_that_refuses_nothing_counts_on() {
    for mode in ["enforce", "observe"] {
        let mut bench = Bench::new(&format!(
            "rules:
  - {{name: limit, mode: {mode}, when: {{rate: {{key: sender, limits: [2/1h strict]}}}}, then: {{log: \"{{used}}\"}}}}
"
        ));
        for used in [None, None, Some("3"), Some("4"), Some("5")] {
            bench.recall = Recall::default();
            let decided = bench.ask(Stage::Rcpt, "sender=s@b.test recipient=a@b.test", true).await;
            let verdict = decided.would.unwrap_or(decided.verdict);
            let logged = verdict.effects.iter().find_map(|done| match &done.effect {
                crate::verdict::Effect::Log(text) => Some(text.as_str()),
                _ => None,
            });
            assert_eq!(logged, used, "{mode}");
        }
    }
}

#[tokio::test]
async fn what_another_rule_refuses_is_not_counted_by_a_limit_that_refuses_nothing() {
    let mut bench = Bench::new(
        "rules:
  - {name: limit, when: {rate: {key: sender, limits: [1/1h strict]}}, then: {tag: busy}}
  - {name: unknown, when: {recipient: nobody@}, then: reject}
  - {name: busy, when: {tag: busy}, then: {hold: busy}}
",
    );
    for (to, expected) in [("a", "accept"), ("nobody", "reject"), ("a", "hold")] {
        let facts = format!("sender=s@b.test recipient={to}@b.test");
        assert_eq!(bench.mail(&facts).await.0, expected, "{to}");
    }
    bench.now += 61 * 60 * 1_000_000_000;
    assert_eq!(bench.mail("sender=s@b.test recipient=a@b.test").await.0, "accept");
}

const LISTING: &str = "rules:
  - {name: liar, when: {helo_name: me}, then: [{list: {key: client_address, reason: liar, for: 1h}}, reject]}
  - {name: seen, when: {listed: {key: client_address, reason: liar}}, then: {defer: \"{reason} until {until}\"}}
";

#[tokio::test]
async fn what_refuses_also_lists_and_another_connection_shows_it() {
    let mut bench = Bench::new(LISTING);
    let (liar, other) =
        ("client_address=192.0.2.1 recipient=a@b.test", "client_address=192.0.2.2 recipient=a@b.test");
    assert_eq!(bench.mail(&format!("helo_name=me {liar}")).await, ("reject", "reject"));
    assert_eq!(bench.mail(other).await, ("accept", "accept"));
    bench.recall = Recall::default();
    let decided = bench.ask(Stage::Rcpt, liar, true).await;
    let Some((_, refusal)) = decided.verdict.refusal else { panic!("refused") };
    assert_eq!(refusal.text(), "450 4.7.1 liar until 2027-01-15 09:00 UTC");
    bench.now += 3_600 * 1_000_000_000;
    assert_eq!(bench.mail(liar).await, ("accept", "accept"));
}

#[tokio::test]
async fn what_a_rule_in_observe_lists_would_be_refused() {
    let mut bench = Bench::new(&LISTING.replace("name: liar,", "name: liar, mode: observe,"));
    let liar = "client_address=192.0.2.1 recipient=a@b.test";
    assert_eq!(bench.mail(&format!("helo_name=me {liar}")).await, ("accept", "reject"));
    assert_eq!(bench.mail(liar).await, ("accept", "defer"));
}

#[tokio::test(start_paused = true)]
async fn listings_that_nobody_tells_are_unknown() {
    let mut bench = Bench::new(
        "rules:\n  - {name: seen, on_unknown: defer, when: {listed: {key: client_address}}, then: reject}",
    );
    bench.state = State::stuck();
    assert_eq!(bench.mail("client_address=192.0.2.1 recipient=a@b.test").await, ("defer", "defer"));
    // Without the key there is nothing to ask.
    assert_eq!(bench.mail("recipient=a@b.test").await, ("accept", "accept"));
}

const TWO: &str = "rules:
  - {name: limit, when: {rate: {key: sender, limits: [2/1h strict]}}, then: defer}
";

#[tokio::test]
async fn what_did_not_get_through_is_given_back_and_only_that() {
    let facts = |to: &str| format!("sender=s@b.test recipient={to}@b.test");
    for (outcome, expected) in [(Outcome::Refused, "accept"), (Outcome::Accepted, "defer")] {
        let mut bench = Bench::new(TWO);
        assert_eq!(bench.rcpt(&facts("a")).await.0, "accept");
        assert_eq!(bench.rcpt(&facts("b")).await.0, "accept");
        // Reserved is as good as used for all others.
        let recall = std::mem::take(&mut bench.recall);
        assert_eq!(bench.rcpt(&facts("c")).await.0, "defer");
        bench.recall = recall;
        bench.settle(outcome).await;
        assert_eq!(bench.mail(&facts("c")).await.0, expected, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_recipient_that_another_rejects_and_a_count_that_is_lower_give_back() {
    let facts = |to: &str| format!("sender=s@b.test recipient={to}@b.test");
    for by_name in [true, false] {
        let mut bench = Bench::new(TWO);
        assert_eq!(bench.rcpt(&facts("a")).await.0, "accept");
        assert_eq!(bench.rcpt(&facts("b")).await.0, "accept");
        let mut recall = std::mem::take(&mut bench.recall);
        match by_name {
            true => settle_recipient(&mut recall, "a@b.test", bench.store()).await,
            false => settle_count(&mut recall, 1, bench.store()).await,
        }
        bench.recall = recall;
        bench.settle(Outcome::Accepted).await;
        assert_eq!(bench.mail(&facts("c")).await.0, "accept", "{by_name}");
        assert_eq!(bench.mail(&facts("c")).await.0, "defer", "{by_name}");
    }
}

#[tokio::test]
async fn what_nobody_settles_the_timer_charges() {
    let mut bench = Bench::new(TWO);
    for _ in 0..2 {
        bench.recall = Recall::default();
        assert_eq!(bench.rcpt("sender=s@b.test recipient=a@b.test").await.0, "accept");
    }
    bench.now += 700 * 1_000_000_000;
    bench.state.settle(bench.now).await;
    assert_eq!((bench.state.stats().holds, bench.state.stats().overdue), (0, 2));
    assert_eq!(bench.mail("sender=s@b.test recipient=a@b.test").await.0, "defer");
    bench.now += 3_600 * 1_000_000_000;
    assert_eq!(bench.mail("sender=s@b.test recipient=a@b.test").await.0, "accept");
}

/// What was refused at one level counts at all of them, where attempts do.
#[tokio::test]
async fn all_levels_are_charged_or_none() {
    for (charge, expected) in [("accepted", 1), ("attempts", 6)] {
        let mut bench = Bench::new(&format!(
            "lists:
  owners: {{of: address, to: parent, entries: {{b.test: acme}}}}
  totals: {{of: address, to: limits, entries: {{b.test: [1/1h strict], acme: [100/1h strict]}}}}
rules:
  - name: limit
    when:
      rate:
        key: sender
        limits: [100/1h strict]
        charge: {charge}
        parents: {{list: owners, limits: {{list: totals, else: none}}}}
    then: {{reject: no}}
"
        ));
        let facts = "sender=a@b.test recipient=a@b.test";
        for _ in 0..6 {
            bench.mail(facts).await;
        }
        let limits = "100/1h strict".parse().unwrap();
        let limit = bench.policy.rules[0].limit.as_ref().unwrap().buckets;
        for (bucket, key) in [(limit.own, "a@b.test"), (limit.parents, "b.test"), (limit.parents, "acme")] {
            let question = crate::state::Question {
                bucket,
                key,
                coarse: None,
                limits: &limits,
                n: 0,
                counted: 0,
                must_fit: true,
            };
            let used = bench.state.peek(&[question], bench.now).await[0].unwrap().used;
            assert_eq!(used, expected, "{charge}: {key}");
        }
    }
}

#[tokio::test]
async fn what_the_dns_did_not_say_of_a_client_is_asked_again_for_its_next_mail() {
    let rules = "rules: [{name: listed, when: {dnsbl: [bl.example]}, then: reject}]";
    let zone = |says: &str| Resolver::of_zone(Zone::parse(&format!("7.2.0.203.bl.example {says}")).unwrap());
    let mail = "client_address=203.0.2.7 sender=a@b.test recipient=c@example.com";
    for (first, then, expected) in [
        ("TIMEOUT", "A 127.0.0.2", ["accept", "accept", "reject"]),
        ("SERVFAIL", "A 127.0.0.2", ["accept", "accept", "reject"]),
        // What it has said holds for the connection.
        ("A 127.0.0.2", "TIMEOUT", ["reject", "reject", "reject"]),
    ] {
        let mut bench = Bench::new(rules);
        bench.resolver = zone(first);
        let mut said = vec![bench.rcpt(mail).await.0];
        bench.resolver = zone(then);
        said.push(bench.rcpt(mail).await.0);
        bench.recall.end_transaction();
        said.push(bench.rcpt(mail).await.0);
        assert_eq!(said, expected, "{first}, {then}");
    }
}
