//! Different values and greylisted mail, written and read again.

use super::*;
use crate::state::Attempt;
use crate::state::Fate;
use crate::state::MAX_GREYLISTED_NETWORKS;
use crate::state::Showing;
use crate::state::Standing;
use crate::state::Terms;
use std::sync::Arc;

const TERMS: Terms = Terms {
    delay: Duration::from_secs(300),
    retry_window: Duration::from_secs(2 * 86_400),
    auto_allow: Some(2),
    remember: Duration::from_secs(35 * 86_400),
};

fn showing(key: &str, value: impl ToString, limits: &str) -> Showing {
    let limits = Arc::new(limits.parse().unwrap());
    Showing { bucket: 1, key: key.into(), value: value.to_string(), limits }
}

fn show(state: &State, showing: &Showing, now: Reading) -> bool {
    state.distinct.show(&[(showing, true)], now.nanos)[0].unwrap().allowed
}

/// How many values a key has shown in the last hour.
fn shown(state: &State, key: &str, now: Reading) -> u64 {
    state.distinct.peek(&showing(key, "never shown", "1000/1h"), now.nanos).unwrap().used - 1
}

fn attempt(network: &str, sender: &str) -> Attempt {
    Attempt {
        bucket: 1,
        network: network.into(),
        pool: network.into(),
        sender: sender.into(),
        recipient: "user@example.com".into(),
        terms: TERMS,
    }
}

/// Asks and notes what became of it, as if nothing else had a say.
fn comes(state: &State, attempt: &Attempt, now: Reading) -> Standing {
    let standing = state.greylist.peek(attempt, now.nanos);
    let fate = if standing.passes() { Fate::LetThrough } else { Fate::Deferred };
    state.greylist.note(attempt, fate, now.nanos);
    standing
}

#[test]
fn everything_is_there_again_after_a_restart() {
    let (dir, state) = (folder(), State::in_memory(1_000));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    let long = "x".repeat(1_000);
    let all = [("full", 3, "3/1h, 9/1d"), ("few", 2, "9/1h"), ("", 1, "9/7d"), (&long, 5, "9/1h")];
    let mut values = 0..;
    for round in 0..2 {
        // The second time only the journal has them.
        for (key, count, limits) in all {
            values.by_ref().take(count).for_each(|value| {
                show(&state, &showing(key, value, limits), at(round * 1_000));
            });
        }
        // More than are kept: an estimate, and the same one.
        for value in 0..2_000 {
            let many = showing("many", round * 2_000 + value, "9/1h, 9/1d");
            state.distinct.show(&[(&many, false)], at(round * 2_000 + value).nanos);
        }
        comes(&state, &attempt(&format!("waits{round}"), "a@b.test"), at(4_000));
        for number in 0..=2 {
            let back = attempt("back", &format!("a{number}@b.test"));
            comes(&state, &back, at(round * 8_000 + number * 1_000));
            comes(&state, &back, at(round * 8_000 + number * 1_000 + 400));
        }
        keeper.finish(&state, || at(round * 12_000));
    }
    drop(keeper);
    let other = State::in_memory(1_000);
    let (_, loaded) = open(dir.path(), &other, at(12_000));
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let sizes = other.greylist_sizes();
    assert_eq!((sizes.waiting, sizes.proved, sizes.networks), (2, 3, 1));
    assert_eq!((loaded.greylisted, sizes), (5, state.greylist_sizes()));
    for seconds in [12_000, 13_000, 15_000, 100_000, 1_000_000, 10_000_000] {
        let now = at(seconds).nanos;
        for (key, _, limits) in all.into_iter().chain([("many", 0, "9/1h, 9/1d")]) {
            for value in [0, 1, 3, 5, 7, 11, 15, 3_999, 9_999] {
                let asked = showing(key, value, limits);
                assert_eq!(
                    other.distinct.peek(&asked, now),
                    state.distinct.peek(&asked, now),
                    "{key} {value} at {seconds}"
                );
            }
            let look = |state: &State| state.distinct.look(&[1], key, now);
            assert!(look(&other) == look(&state) || look(&state)[0].load() == 0, "{key} at {seconds}");
        }
        for network in ["waits0", "waits1", "back", "new"] {
            for sender in ["a@b.test", "a0@b.test", "a2@b.test", "new@b.test"] {
                let asked = attempt(network, sender);
                assert_eq!(other.greylist.peek(&asked, now), state.greylist.peek(&asked, now));
            }
        }
    }
}

#[test]
fn what_is_over_is_not_kept() {
    let (dir, state) = (folder(), State::in_memory(1_000));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    show(&state, &showing("ann", 1, "9/1h"), at(0));
    comes(&state, &attempt("n", "a@b.test"), at(0));
    keeper.finish(&state, || at(1));
    show(&state, &showing("bob", 1, "9/1h"), at(4_000));
    keeper.finish(&state, || at(4_001));
    drop(keeper);
    for (seconds, expected) in [(4_002, (1, 1)), (180_000, (0, 0))] {
        let (_, loaded) = open(copy(dir.path()).path(), &State::in_memory(1_000), at(seconds));
        assert_eq!((loaded.distinct_keys, loaded.greylisted), expected, "{seconds}");
    }
}

#[test]
fn what_the_operator_took_back_stays_so() {
    let (dir, state) = (folder(), State::in_memory(1_000));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    for key in ["ann", "bob", "eve"] {
        (0..3).for_each(|value| assert!(show(&state, &showing(key, value, "3/1h"), at(0))));
    }
    keeper.finish(&state, || at(1));
    for key in ["ann", "bob"] {
        assert_eq!(state.distinct.reset(&[1], key), 1);
    }
    show(&state, &showing("bob", 7, "3/1h"), at(1));
    keeper.finish(&state, || at(2));
    drop(keeper);
    let (other, _) = restored(dir.path(), at(3));
    assert_eq!(["ann", "bob", "eve"].map(|key| shown(&other, key, at(3))), [0, 1, 3]);
}

#[test]
fn only_what_changed_is_written_and_a_refusal_changes_nothing() {
    let (dir, state) = (folder(), State::in_memory(1_000));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    let network = |number: u64| attempt(&format!("n{number}"), "a@b.test");
    for number in 0..2_000 {
        show(&state, &showing(&number.to_string(), 1, "1/1h"), at(0));
        comes(&state, &network(number), at(0));
    }
    let mut bytes = |seconds| match keeper.finish(&state, || at(seconds))[..] {
        [Event::Journal(written), ..] => written.bytes,
        ref other => panic!("{other:?}"),
    };
    assert!(bytes(1) > 4_000 * 10);
    for number in 0..2_000 {
        assert!(!show(&state, &showing(&number.to_string(), 2, "1/1h"), at(2)));
        assert!(!comes(&state, &network(number), at(2)).passes());
    }
    assert_eq!(bytes(3), 0);
    show(&state, &showing("7", 1, "1/1h"), at(4));
    assert!((1..200).contains(&bytes(5)));
    comes(&state, &network(7), at(1_000));
    assert!((1..300).contains(&bytes(1_001)));
}

/// When the wall clock and the machine say so much, this has been shown in the last hour,
/// and the mail has waited its five minutes or not.
#[test]
fn a_clock_that_is_set_neither_frees_nor_locks() {
    let later = |seconds: u64, wall: i64, boot| Reading {
        nanos: NOW.saturating_add_signed(wall * SECOND as i64),
        wall: NOW.saturating_add_signed(wall * SECOND as i64),
        uptime: (1_000 + seconds) * SECOND,
        boot,
    };
    for (now, expected) in [
        (later(5, 5, 1), (2, false)),
        (later(300, 300, 1), (2, true)),
        (later(3_601, 3_601, 1), (0, true)),
        // Set forward and back by a year while the machine ran.
        (later(299, 31_536_000, 1), (2, false)),
        (later(299, -31_536_000, 1), (2, false)),
        (later(300, -31_536_000, 1), (2, true)),
        // It was started anew.
        (later(7, 360, 2), (2, true)),
        (later(7, -31_536_000, 2), (2, false)),
    ] {
        let (dir, state) = (folder(), State::in_memory(1_000));
        let (mut keeper, _) = open(dir.path(), &state, at(0));
        (0..2).for_each(|value| assert!(show(&state, &showing("ann", value, "9/1h"), at(0))));
        let asked = attempt("n", "a@b.test");
        comes(&state, &asked, at(0));
        keeper.finish(&state, || at(0));
        drop(keeper);
        let (other, warnings) = restored(dir.path(), now);
        let passes = other.greylist.peek(&asked, now.nanos).passes();
        assert_eq!(
            ((shown(&other, "ann", now), passes), warnings),
            (expected, Vec::<String>::new()),
            "{now:?}"
        );
        let after = Reading { nanos: now.nanos + 3_601 * SECOND, ..now };
        assert_eq!(shown(&other, "ann", after), 0, "{now:?}");
        assert!(other.greylist.peek(&asked, after.nanos).passes(), "{now:?}");
    }
}

/// As if its clock had been ahead while it lived, and was set right.
#[test]
fn what_was_seen_in_the_future_is_seen_now() {
    let (dir, state, day) = (folder(), State::in_memory(1_000), 86_400);
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    let asked = attempt("n", "a@b.test");
    let back = attempt("back", "a@b.test");
    (0..2_000).for_each(|value| {
        state.distinct.show(&[(&showing("ann", value, "9/1h"), false)], at(day + value / 10).nanos);
    });
    comes(&state, &asked, at(day));
    comes(&state, &back, at(day));
    comes(&state, &back, at(day + 400));
    keeper.finish(&state, || at(0));
    drop(keeper);
    let counted = shown(&state, "ann", at(day));
    let (other, warnings) = restored(dir.path(), at(5));
    assert_eq!(warnings, Vec::<String>::new());
    for (seconds, expected) in [(5, counted), (3_604, counted), (3_606, 0)] {
        assert_eq!(shown(&other, "ann", at(seconds)), expected, "{seconds}");
    }
    for (seconds, passes) in [(5, false), (304, false), (305, true)] {
        assert_eq!(other.greylist.peek(&asked, at(seconds).nanos).passes(), passes, "{seconds}");
    }
    // Its second proof comes an hour later.
    let new = attempt("back", "new@b.test");
    for (seconds, passes) in [(3_000, false), (3_605, true)] {
        comes(&other, &back, at(seconds));
        assert_eq!(other.greylist.peek(&new, at(seconds).nanos).passes(), passes, "{seconds}");
    }
}

/// Of each file bytes are flipped or cut off: here and there, since each start waits for
/// the disk.
#[test]
fn damaged_files_are_told_and_what_is_good_of_them_is_kept() {
    let (whole, state) = (folder(), State::in_memory(1_000));
    let asked = attempt("n", "a@b.test");
    let (mut keeper, _) = open(whole.path(), &state, at(0));
    for (round, seconds) in [(0, 1), (1, 400)] {
        (0..2)
            .for_each(|value| assert!(show(&state, &showing("ann", round * 2 + value, "9/1h"), at(seconds))));
        comes(&state, &asked, at(seconds));
        keeper.finish(&state, || at(seconds + 1));
    }
    drop(keeper);
    for (which, path) in snapshot_and_journal(whole.path()).into_iter().enumerate() {
        let bytes = fs::read(&path).unwrap();
        let flipped = (0..bytes.len()).step_by(5).map(|at| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            bytes
        });
        let cut = (0..bytes.len()).step_by(5).map(|length| bytes[..length].to_vec());
        for bad in flipped.chain(cut) {
            let dir = copy(whole.path());
            fs::write(dir.path().join(path.file_name().unwrap()), &bad).unwrap();
            let (state, _) = restored(dir.path(), at(410));
            let found = (shown(&state, "ann", at(410)), state.greylist.peek(&asked, at(410).nanos));
            match which {
                0 => assert_eq!(found, (4, Standing::Known)),
                _ => assert!(
                    matches!(found, (4, Standing::Known) | (2, Standing::CameBack { .. })),
                    "{found:?}"
                ),
            }
        }
    }
}

/// A folder in which ann has shown one value and one mail waits.
fn written() -> TempDir {
    let (dir, state) = (folder(), State::in_memory(1_000));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    assert!(show(&state, &showing("ann", 1, "9/1h"), at(0)));
    comes(&state, &attempt("n", "a@b.test"), at(0));
    keeper.finish(&state, || at(1));
    dir
}

fn values(out: &mut Output, key: &str, limits: &str, values: &[(u64, u64, u64)]) {
    out.record(Kind::Distinct as u8, |out| {
        out.number(1);
        out.text(key.as_bytes());
        let limits: Limits = limits.parse().unwrap();
        out.number(limits.windows().len() as u64);
        limits.windows().iter().for_each(|window| window.write(out));
        out.number(values.len() as u64);
        out.time(at(4).nanos);
        for (later, hash, level) in values {
            [*later, *hash, *level].into_iter().for_each(|number| out.number(number));
        }
    });
}

fn attempts(out: &mut Output, kind: Kind, hash: u64, numbers: &[u64]) {
    out.record(kind as u8, |out| {
        out.number(hash);
        numbers.iter().for_each(|number| out.number(*number));
    });
}

/// What writes it.
type Nonsense = Box<dyn Fn(&mut Output)>;

#[test]
fn records_of_nonsense_are_passed_over() {
    let longest = u64::MAX;
    let many = vec![(0, 1, 0); 1_025];
    let cases: [(&str, Nonsense); 8] = [
        ("more values than a key keeps", Box::new(move |out| values(out, "ann", "9/1h", &many))),
        ("a hash that would have been left out", Box::new(|out| values(out, "ann", "9/1h", &[(0, 1, 1)]))),
        ("levels that rise", Box::new(|out| values(out, "ann", "9/1h", &[(0, 1, 0), (0, 2, 1)]))),
        ("a level above all", Box::new(|out| values(out, "ann", "9/1h", &[(0, 0, 21)]))),
        ("a long hash", Box::new(move |out| values(out, "ann", "9/1h", &[(0, longest, 0)]))),
        ("a cut record", Box::new(|out| attempts(out, Kind::Waiting, 1, &[5]))),
        ("something left over", Box::new(|out| attempts(out, Kind::Proved, 1, &[5, 5]))),
        ("many proofs", Box::new(move |out| attempts(out, Kind::Network, 1, &[5, 5, longest]))),
    ];
    for (what, records) in cases {
        let dir = written();
        append(dir.path(), records);
        let (state, warnings) = restored(dir.path(), at(10));
        let expected = "the saved state has 1 records that make no sense: they were left out";
        assert_eq!(warnings, [expected], "{what}");
        let sizes = state.greylist_sizes();
        assert_eq!(
            (shown(&state, "ann", at(10)), sizes.waiting, sizes.proved, sizes.networks),
            (1, 1, 0, 0),
            "{what}"
        );
    }
}

#[test]
fn what_is_hashed_with_another_seed_is_left_out() {
    let (dir, other) = (written(), written());
    // As if two states had been put together.
    fs::copy(snapshot_and_journal(other.path())[0].clone(), snapshot_and_journal(dir.path())[0].clone())
        .unwrap();
    append(dir.path(), |out| values(out, "bob", "9/1h", &[(0, 1, 0)]));
    let (state, warnings) = restored(dir.path(), at(10));
    assert_eq!(warnings, ["the saved state has 2 records that make no sense: they were left out"]);
    assert_eq!((shown(&state, "ann", at(10)), shown(&state, "bob", at(10))), (1, 0));
    assert_eq!(restored(dir.path(), at(11)).1.len(), 1);
}

/// Of a hostile file nothing counts for longer than a window, or than a rule may say.
#[test]
fn nobody_is_locked_out_or_let_in_for_longer_than_a_rule_says() {
    let (dir, longest) = (written(), u64::MAX);
    append(dir.path(), |out| {
        values(out, "eve", "9/1h", &[(0, 0, 20), (longest, 0, 20), (longest, 4, 0)]);
        (0..4).for_each(|kind| {
            let kind = [Kind::Waiting, Kind::Proved, Kind::Network, Kind::Waiting][kind];
            attempts(
                out,
                kind,
                7,
                match kind {
                    Kind::Waiting => &[u64::MAX, u64::MAX - 1],
                    Kind::Proved => &[u64::MAX],
                    _ => &[u64::MAX, 0, u32::MAX as u64],
                },
            );
        });
    });
    let (state, warnings) = restored(dir.path(), at(10));
    assert_eq!(warnings, Vec::<String>::new());
    assert!(shown(&state, "eve", at(10)) > 2_000_000);
    assert_eq!(shown(&state, "eve", at(3_611)), 0);
    let sizes = state.greylist_sizes();
    assert_eq!((sizes.waiting, sizes.proved, sizes.networks), (2, 1, 1));
    let later = at(10 + 10 * 366 * 86_400).nanos;
    (0..16).for_each(|_| state.greylist.sweep(later));
    let sizes = state.greylist_sizes();
    assert_eq!((sizes.waiting, sizes.proved, sizes.networks), (0, 0, 0));
}

#[test]
fn no_more_is_taken_than_the_tables_may_have() {
    let dir = written();
    for block in 0..80_u64 {
        append(dir.path(), |out| {
            for number in 0..1_000 {
                let hash = (block * 1_000 + number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                attempts(out, Kind::Network, hash, &[10 * SECOND, 0, 1]);
            }
        });
    }
    let (state, warnings) = restored(dir.path(), at(6));
    assert_eq!(warnings, Vec::<String>::new());
    assert!(state.greylist_sizes().networks <= MAX_GREYLISTED_NETWORKS as u64);
}

#[derive(Clone, Debug)]
enum Act {
    Comes(usize, usize),
    Refused(usize),
    Reset(usize),
    Restart,
    Show(usize, u64, bool),
    Sweep,
    Write,
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let key = 0..3_usize;
    let act = prop_oneof![
        5 => (key.clone(), key.clone()).prop_map(|(network, sender)| Act::Comes(network, sender)),
        1 => key.clone().prop_map(Act::Refused),
        1 => key.clone().prop_map(Act::Reset),
        2 => Just(Act::Restart),
        5 => (key, 0..8_u64, any::<bool>()).prop_map(|(key, value, fit)| Act::Show(key, value, fit)),
        1 => Just(Act::Sweep),
        2 => Just(Act::Write),
    ];
    prop::collection::vec((0..400 * SECOND, act), 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Written and read again it says the same as the one that was never stopped.
    #[test]
    fn a_restart_changes_no_answer(which in 0..3_usize, acts in acts()) {
        let limits = ["3/10m", "3/10m, 6/1h", "5/1s"][which];
        let dir = folder();
        let reading = |now: Nanos| Reading { nanos: now, wall: now, uptime: now, boot: 1 };
        let (mut kept, plain) = (State::in_memory(100), State::in_memory(100));
        let mut keeper = open(dir.path(), &kept, reading(NOW)).0;
        let terms = Terms {
            delay: Duration::from_secs(300),
            retry_window: Duration::from_secs(1_200),
            auto_allow: Some(2),
            remember: Duration::from_secs([900, 4_000, 9_000][which]),
        };
        let attempt = |network: usize, sender: usize| Attempt {
            terms, ..attempt(["n", "m", "o"][network], ["a", "b", "c"][sender])
        };
        let keys = ["a", "b", "c"];
        let mut now = NOW;
        for (gap, act) in acts {
            now += gap;
            match act {
                Act::Comes(network, sender) => {
                    let attempt = attempt(network, sender);
                    prop_assert_eq!(comes(&kept, &attempt, reading(now)), comes(&plain, &attempt, reading(now)));
                }
                Act::Refused(network) => {
                    let refused = attempt(network, 0);
                    [&kept, &plain].into_iter().for_each(|state| state.greylist.note(&refused, Fate::Refused, now));
                }
                Act::Reset(key) => {
                    [&kept, &plain].into_iter().for_each(|state| { state.distinct.reset(&[1], keys[key]); });
                }
                Act::Restart => {
                    keeper.finish(&kept, || reading(now));
                    drop(keeper);
                    kept = State::in_memory(100);
                    let (again, loaded) = open(dir.path(), &kept, reading(now));
                    prop_assert_eq!(loaded.warnings, Vec::<String>::new());
                    keeper = again;
                }
                Act::Show(key, value, must_fit) => {
                    let showing = showing(keys[key], value, limits);
                    let question = [(&showing, must_fit)];
                    prop_assert_eq!(kept.distinct.show(&question, now), plain.distinct.show(&question, now));
                }
                Act::Sweep => kept.sweep(now),
                Act::Write => {
                    keeper.finish(&kept, || reading(now));
                }
            }
            for (one, key) in keys.iter().enumerate() {
                let asked = showing(key, 3, limits);
                prop_assert_eq!(kept.distinct.peek(&asked, now), plain.distinct.peek(&asked, now));
                for other in 0..3 {
                    let asked = attempt(one, other);
                    prop_assert_eq!(kept.greylist.peek(&asked, now), plain.greylist.peek(&asked, now));
                }
            }
        }
    }
}
