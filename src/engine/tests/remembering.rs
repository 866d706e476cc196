//! Rules that remember, in both worlds.

use super::*;

const HOUR: Nanos = 3_600_000_000_000;

const SENDERS: &str = "distinct: {key: client_address, count: sender, limits: [2/1h]}";

fn from(number: u64) -> String {
    format!("client_address=192.0.2.7 sender=a{number}@b.test recipient=c@d.test")
}

#[tokio::test]
async fn a_value_is_shown_by_what_is_let_through_and_in_its_own_world() {
    let rules = |mode: &str| {
        format!(
            "rules:
  - {{name: bad, when: {{recipient: bad@d.test}}, then: reject}}
  - {{name: senders, mode: {mode}, when: {{{SENDERS}}}, then: defer}}
"
        )
    };
    for (mode, refused) in [("enforce", ("defer", "defer")), ("observe", ("accept", "defer"))] {
        let mut bench = Bench::new(&rules(mode));
        let bad = from(9).replace("c@", "bad@");
        assert_eq!(bench.mail(&bad).await, ("reject", "reject"));
        for (number, expected) in [
            (1, ("accept", "accept")),
            (2, ("accept", "accept")),
            (3, refused),
            (4, refused),
            (1, ("accept", "accept")),
        ] {
            assert_eq!(bench.mail(&from(number)).await, expected, "{mode} {number}");
        }
        bench.now += HOUR + 1_000_000_000;
        assert_eq!(bench.mail(&from(4)).await, ("accept", "accept"));
    }
}

#[tokio::test]
async fn where_the_rule_does_not_refuse_values_are_counted_on() {
    let mut bench = Bench::new(&format!(
        "rules:
  - {{name: senders, when: {{{SENDERS}}}, then: {{hold: \"{{used}} senders\"}}}}
"
    ));
    for (number, expected) in [(1, "accept"), (2, "accept"), (3, "hold"), (4, "hold"), (1, "hold")] {
        assert_eq!(bench.mail(&from(number)).await.0, expected, "{number}");
    }
    let found = bench.state.look(&[bucket(&bench)], "192.0.2.7", bench.now).await;
    assert_eq!(found[0].windows[0].used, 4);
}

fn bucket(bench: &Bench) -> u32 {
    bench.policy.rules.iter().find_map(|rule| rule.memory.as_ref()).map(|memory| memory.bucket).unwrap()
}

/// Else a mail that is refused would be remembered because a rule in observe would have
/// let it in, or one of a rule that a limit keeps from being asked.
#[tokio::test]
async fn only_what_decided_in_its_own_world_is_remembered() {
    let mut bench = Bench::new(&format!(
        "rules:
  - {{name: senders, when: {{{SENDERS}}}, then: {{log: x}}}}
  - {{name: friend, mode: observe, when: {{recipient: c@d.test}}, then: accept}}
  - {{name: bad, when: {{recipient: c@d.test}}, then: reject}}
"
    ));
    assert_eq!(bench.mail(&from(1)).await, ("reject", "accept"));
    assert_eq!(bench.state.distinct_sizes().0, 0);
    let mut bench = Bench::new(&format!(
        "rules:
  - {{name: busy, when: {{rate: {{key: client_address, limits: [1/1h strict]}}}}, then: accept}}
  - {{name: senders, when: {{{SENDERS}}}, then: reject}}
"
    ));
    for number in [1, 2, 3, 4] {
        assert_eq!(bench.mail(&from(number)).await.0, "accept");
        assert_eq!(bench.state.look(&[bucket(&bench)], "192.0.2.7", bench.now).await[0].windows[0].used, 1);
    }
}

/// Else whoever is refused by a limit would show a new value each time.
#[tokio::test]
async fn what_a_limit_refuses_shows_nothing_and_charges_nothing() {
    let mut bench = Bench::new(&format!(
        "rules:
  - {{name: limit, when: {{rate: {{key: client_address, limits: [3/1h strict]}}}}, then: defer_if_permit}}
  - {{name: senders, when: {{{SENDERS}}}, then: reject}}
"
    ));
    for (number, expected) in [
        (1, "accept"),
        (2, "accept"),
        // Refused by the second, so it costs nothing of the first.
        (3, "reject"),
        (1, "accept"),
        (1, "defer_if_permit"),
        (3, "reject"),
    ] {
        assert_eq!(bench.mail(&from(number)).await.0, expected, "{number}");
    }
}

#[tokio::test]
async fn of_several_recipients_each_waits_for_itself_and_the_mail_is_one_value() {
    let mut bench = Bench::new(&format!(
        "rules:
  - {{name: wait, when: greylist, then: defer_if_permit}}
  - {{name: senders, when: {{{SENDERS}}}, then: reject}}
"
    ));
    for (hour, recipients, expected) in [
        (0, ["a@d.test", "b@d.test"], ["defer_if_permit", "defer_if_permit"]),
        (1, ["b@d.test", "a@d.test"], ["accept", "accept"]),
        (2, ["a@d.test", "c@d.test"], ["accept", "defer_if_permit"]),
    ] {
        bench.now += hour * HOUR;
        bench.recall = Recall::default();
        for (recipient, expected) in recipients.into_iter().zip(expected) {
            let facts = from(1).replace("c@d.test", recipient);
            for _ in 0..2 {
                assert_eq!(bench.rcpt(&facts).await.0, expected, "{hour} {recipient}");
            }
        }
    }
}

/// What a rule in observe has learned is there when it is enforced, and nobody else's.
#[tokio::test]
async fn a_greylist_in_observe_tells_what_it_would_delay_and_learns() {
    let rules = |mode: &str| {
        format!(
            "rules:
  - {{name: seen, mode: {mode}, when: greylist, then: defer_if_permit}}
  - {{name: meant, when: [{{sender: <>}}, greylist], then: defer_if_permit}}
"
        )
    };
    let mut bench = Bench::new(&rules("observe"));
    let bounce = from(0).replace("a0@b.test", "<>");
    assert_eq!(bench.mail(&from(1)).await, ("accept", "defer_if_permit"));
    assert_eq!(bench.mail(&bounce).await, ("defer_if_permit", "defer_if_permit"));
    bench.now += HOUR;
    assert_eq!(bench.mail(&from(1)).await, ("accept", "accept"));
    assert_eq!(bench.mail(&from(2)).await, ("accept", "defer_if_permit"));
    assert_eq!(bench.mail(&bounce).await, ("accept", "accept"));
    bench.policy = Bench::new(&rules("enforce")).policy;
    assert_eq!(bench.mail(&from(1)).await.0, "accept");
    assert_eq!(bench.mail(&from(3)).await.0, "defer_if_permit");
}

#[tokio::test]
async fn what_is_refused_for_good_is_not_remembered_and_what_is_deferred_is() {
    let mut bench = Bench::new(
        "rules:
  - {name: wait, when: greylist, then: defer_if_permit}
  - {name: bad, when: {recipient: bad@d.test}, then: reject}
  - {name: busy, when: {recipient: busy@d.test}, then: defer}
",
    );
    for (recipient, expected, waiting) in
        [("bad@", "reject", 0), ("busy@", "defer", 1), ("c@", "defer_if_permit", 2)]
    {
        assert_eq!(bench.mail(&from(1).replace("c@", recipient)).await.0, expected);
        assert_eq!(bench.state.greylist_sizes().waiting, waiting, "{recipient}");
    }
    bench.now += HOUR;
    assert_eq!(bench.mail(&from(1).replace("c@", "busy@")).await.0, "defer");
    assert_eq!(bench.state.greylist_sizes().proved, 0);
    assert_eq!(bench.mail(&from(1)).await.0, "accept");
    assert_eq!(bench.state.greylist_sizes().proved, 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_gone_delays_nobody_unless_a_rule_says_so() {
    for (on_unknown, expected) in [("skip", "accept"), ("defer", "defer")] {
        for check in ["greylist: true", SENDERS] {
            let mut bench = Bench::new(&format!(
                "rules:\n  - {{name: a, when: {{{check}}}, on_unknown: {on_unknown}, then: reject}}\n"
            ));
            bench.state = State::stuck();
            let decided = bench.ask(Stage::Rcpt, &from(1), true).await;
            assert_eq!((decided.verdict.word(), decided.unknown), (expected, 1), "{check}");
        }
    }
}

#[tokio::test]
async fn explain_remembers_nothing() {
    let mut bench = Bench::new(&format!(
        "rules:
  - {{name: senders, when: {{{SENDERS}}}, then: {{log: x}}}}
  - {{name: wait, when: greylist, then: defer_if_permit}}
"
    ));
    let facts = facts_of(Stage::Rcpt, &from(1));
    let ask = Ask { trace: true, ..Ask::new(&bench.policy, &facts, Stage::Rcpt) };
    let store = Store { charges: false, ..bench.store() };
    let decided = decide(ask, &mut Recall::default(), store).await;
    assert_eq!((decided.verdict.word(), decided.shown.len()), ("defer_if_permit", 1));
    assert_eq!((bench.state.distinct_sizes().0, bench.state.greylist_sizes().waiting), (0, 0));
    bench.now += HOUR;
    assert_eq!(bench.mail(&from(1)).await.0, "defer_if_permit");
    assert_eq!((bench.state.distinct_sizes().0, bench.state.greylist_sizes().waiting), (0, 1));
}

#[tokio::test]
async fn sessions_at_once_show_no_more_than_allowed() {
    let bench = Bench::new(&format!("rules:\n  - {{name: senders, when: {{{SENDERS}}}, then: defer}}\n"));
    let accepted = |number: u64| {
        let bench = &bench;
        async move {
            let facts = facts_of(Stage::Rcpt, &from(number));
            let ask = Ask::new(&bench.policy, &facts, Stage::Rcpt);
            let mut recall = Recall::default();
            !decide(ask, &mut recall, bench.store()).await.verdict.refuses()
        }
    };
    // What the first has asked, another takes before it decides.
    let first = bench.policy.rules[0].memory.as_ref().unwrap();
    let known = Known::default();
    let facts = facts_of(Stage::Rcpt, &from(1));
    let cx = crate::checks::Context::new(&facts, &known, Stage::Rcpt);
    let asked = first.check.memory(first.bucket, &cx).unwrap();
    let before = bench.state.recall(&[&asked], bench.now).await[0];
    assert!(accepted(2).await && accepted(3).await);
    let policy = &bench.policy;
    let ask = Ask::new(policy, &facts, Stage::Rcpt);
    let mut answers = Answers { recalled: vec![(0, asked, Some(before))], ..Answers::default() };
    let walk = Walk { passed: vec![0], ..Walk::default() };
    assert!(!memory::learn(&ask, &walk, None, &mut answers, bench.store()).await);
    let told = answers.memory_of(0).and_then(|(_, told)| told);
    assert!(matches!(told, Some(Remembered::Distinct(Some(answer))) if !answer.allowed && answer.used == 3));
    assert!(!accepted(1).await && accepted(2).await);
}
