//! What is written, stopped at any moment and read again; and what is read of files that
//! nobody wrote.

mod memory;

use super::*;
use crate::state::Listing;
use crate::state::NewListing;
use crate::state::Question;
use crate::state::clock::Reading;
use crate::state::holds::Part;
use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

const NOW: Nanos = 1_800_000_000_000_000_000;
const SECOND: Nanos = 1_000_000_000;
const EVERY: Duration = Duration::from_secs(10);
const HOUR: [Duration; 2] = [Duration::from_secs(3_600), Duration::from_secs(4 * 3_600)];

/// What all clocks say so many seconds later, if nobody sets one.
fn at(seconds: u64) -> Reading {
    Reading {
        nanos: NOW + seconds * SECOND,
        wall: NOW + seconds * SECOND,
        uptime: (1_000 + seconds) * SECOND,
        boot: 1,
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[track_caller]
fn open(path: &Path, state: &State, now: Reading) -> (Keeper, Loaded) {
    Keeper::open(path, EVERY, state, now).unwrap()
}

/// A state that has what is in the folder, and who was warned of what.
#[track_caller]
fn restored(path: &Path, now: Reading) -> (State, Vec<String>) {
    let state = State::in_memory(10_000);
    let (_, loaded) = open(path, &state, now);
    (state, loaded.warnings)
}

fn limits(text: &str) -> Limits {
    text.parse().unwrap()
}

fn ask<'a>(bucket: u32, key: &'a str, limits: &'a Limits, n: u64) -> Question<'a> {
    Question { bucket, key, coarse: None, limits, n, counted: 0, must_fit: true }
}

fn used(state: &State, key: &str, limits: &Limits, now: Reading) -> u64 {
    state.table.peek(&ask(1, key, limits, 0), now.nanos).used
}

fn listed(state: &State, key: &str, now: Reading) -> Vec<Listing> {
    state.listings.of(key, now.nanos)
}

fn list(state: &State, key: &str, now: Reading) {
    let new = NewListing { key, reason: "bot", periods: &HOUR, by: "rule", observed: false };
    assert!(state.listings.add(new, now.nanos));
}

#[test]
fn everything_is_there_again_after_a_restart() {
    let (dir, state) = (folder(), State::in_memory(10_000));
    let (mut keeper, loaded) = open(dir.path(), &state, at(0));
    assert_eq!(loaded, Loaded::default());
    let long = "x".repeat(300);
    let all = ["100/1h", "10/1m, 100/1h, 500/1d", "10/1m strict", "5/1d burst 3, 7/1h strict", "1G/1d"];
    let all: Vec<Limits> = all.into_iter().map(limits).collect();
    let keys = ["ann", "", "ä€", &long];
    for (round, key) in keys.into_iter().enumerate() {
        for (bucket, limits) in (0_u32..).zip(&all) {
            state.table.admit(&[ask(bucket, key, limits, 1 + round as u64)], at(0).nanos);
        }
    }
    list(&state, "eve", at(0));
    let events = keeper.finish(&state, || at(1));
    assert!(
        matches!(events[..], [Event::Journal(_), Event::Snapshot { is_relief: false, .. }]),
        "{events:?}"
    );
    // These are in the journal alone.
    state.table.admit(&[ask(0, "later", &all[0], 3)], at(2).nanos);
    list(&state, "mallory", at(2));
    let events = keeper.finish(&state, || at(3));
    assert!(matches!(events[..], [Event::Journal(_)]), "{events:?}");
    drop(keeper);
    let other = State::in_memory(10_000);
    let (_, loaded) = open(dir.path(), &other, at(4));
    // Of a gigabyte a few bytes have come back, and one mail was too large.
    assert_eq!(loaded, Loaded { keys: 16, listed_keys: 2, ..Loaded::default() });
    for seconds in [4, 30, 61, 1_000, 3_605, 90_000] {
        let now = at(seconds).nanos;
        for key in keys {
            for (bucket, limits) in (0_u32..).zip(&all) {
                let question = ask(bucket, key, limits, 1);
                assert_eq!(
                    other.table.peek(&question, now),
                    state.table.peek(&question, now),
                    "{key} {limits}"
                );
            }
        }
        for key in ["eve", "mallory"] {
            assert_eq!(listed(&other, key, at(seconds)), listed(&state, key, at(seconds)));
        }
    }
}

#[test]
fn what_entries_of_lists_have_found_is_counted_on() {
    let (dir, state) = (folder(), State::in_memory(100));
    state.count_uses(at(0).nanos);
    for number in 0..600 {
        state.add_use("known", &number.to_string(), at(1).nanos);
    }
    let (mut keeper, _) = open(dir.path(), &state, at(2));
    keeper.finish(&state, || at(3));
    // These are in the journal alone.
    state.add_use("known", "7", at(4).nanos);
    state.keep_uses(|_, entry| entry != "8");
    keeper.finish(&state, || at(5));
    drop(keeper);
    let (other, warnings) = restored(dir.path(), at(6));
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(other.count_uses(at(9).nanos), at(0).nanos);
    assert_eq!(other.used_entries(), 599);
    for entry in ["0", "7", "8", "599", "600"] {
        assert_eq!(other.uses_of("known", entry), state.uses_of("known", entry), "{entry}");
    }
    assert_eq!(other.uses_of("known", "7").unwrap().count, 2);
    assert_eq!(other.uses_of("other", "7"), None);
}

#[test]
fn a_repeat_is_remembered_after_the_listing_is_over() {
    let (dir, state) = (folder(), State::in_memory(1_000));
    list(&state, "eve", at(0));
    open(dir.path(), &state, at(0)).0.finish(&state, || at(3_700));
    let (other, _) = restored(dir.path(), at(3_800));
    assert!(listed(&other, "eve", at(3_800)).is_empty());
    list(&other, "eve", at(3_800));
    assert_eq!(listed(&other, "eve", at(3_800))[0].times, 2);
}

#[test]
fn networks_that_share_are_kept_too() {
    let (dir, state, limits) = (folder(), State::in_memory(1), limits("2/1h"));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    let from = |key| Question { coarse: "192.0.2.0/24".parse().ok(), ..ask(1, key, &limits, 1) };
    for key in ["full", "full", "a", "b"] {
        assert!(state.table.admit(&[from(key)], at(0).nanos)[0].allowed);
    }
    keeper.finish(&state, || at(1));
    drop(keeper);
    let other = State::in_memory(1);
    open(dir.path(), &other, at(2));
    assert!(!other.table.peek(&from("c"), at(2).nanos).allowed);
}

/// What becomes of mail in transit can't be known: time alone gives nothing back.
#[test]
fn what_is_reserved_counts_as_charged() {
    for text in ["10/1h", "10/1h strict", "10/1h, 20/1d strict"] {
        let (dir, state, limits) = (folder(), State::in_memory(1_000), limits(text));
        let (mut keeper, _) = open(dir.path(), &state, at(0));
        // Of a key that has used something, and of one that has not.
        state.table.admit(&[ask(1, "ann", &limits, 2)], at(0).nanos);
        let (_, of_ann) = state.table.reserve(&[ask(1, "ann", &limits, 3)], at(0).nanos);
        state.table.reserve(&[ask(1, "bob", &limits, 4)], at(0).nanos);
        keeper.finish(&state, || at(1));
        let part = |parts: &[Option<Part>]| parts[0].clone().unwrap();
        state.table.release(&part(&of_ann), 3);
        drop(keeper);
        let (other, _) = restored(dir.path(), at(2));
        assert_eq!(
            (used(&other, "ann", &limits, at(2)), used(&other, "bob", &limits, at(2))),
            (5, 4),
            "{text}"
        );
        // Not again at the next start, and nothing if it was given back before.
        let (other, _) = restored(dir.path(), at(3_000));
        assert_eq!(used(&other, "bob", &limits, at(3_000)), 4, "{text}");
        let dir = folder();
        let (mut keeper, _) = open(dir.path(), &state, at(2));
        keeper.finish(&state, || at(2));
        drop(keeper);
        let (other, _) = restored(dir.path(), at(2));
        assert_eq!(used(&other, "ann", &limits, at(2)), 2, "{text}");
    }
}

/// When the wall clock and the machine say so much, the limit of ten an hour that was
/// used up has got so many back.
#[test]
fn a_clock_that_is_set_neither_frees_nor_locks() {
    let limits = limits("10/1h");
    let later = |seconds: u64, wall: i64, boot| Reading {
        // The next process begins at the wall clock.
        nanos: NOW.saturating_add_signed(wall * SECOND as i64),
        wall: NOW.saturating_add_signed(wall * SECOND as i64),
        uptime: (1_000 + seconds) * SECOND,
        boot,
    };
    for (now, expected) in [
        (later(5, 5, 1), 10),
        (later(360, 360, 1), 9),
        (later(3_600, 3_600, 1), 0),
        // Set forward and back by a year while the machine ran.
        (later(360, 31_536_000, 1), 9),
        (later(360, -31_536_000, 1), 9),
        // It was started anew.
        (later(7, 360, 2), 9),
        (later(7, -360, 2), 10),
        (later(7, -31_536_000, 2), 10),
        (later(7, 31_536_000, 2), 0),
    ] {
        let (dir, state) = (folder(), State::in_memory(1_000));
        let (mut keeper, _) = open(dir.path(), &state, at(0));
        state.table.admit(&[ask(1, "ann", &limits, 10)], at(0).nanos);
        list(&state, "eve", at(0));
        keeper.finish(&state, || at(0));
        drop(keeper);
        let (other, warnings) = restored(dir.path(), now);
        assert_eq!((used(&other, "ann", &limits, now), warnings), (expected, vec![]), "{now:?}");
        let after = Reading { nanos: now.nanos + 3_600 * SECOND, ..now };
        assert_eq!(used(&other, "ann", &limits, after), 0, "{now:?}");
        assert!(listed(&other, "eve", after).is_empty(), "{now:?}");
    }
}

/// Each process has its own clock; what the first wrote is still right for the third.
#[test]
fn times_are_right_over_several_processes() {
    let (dir, limits) = (folder(), limits("10/1h"));
    let jumps = [0_i64, 500_000, -900_000];
    let reading = |process: usize, seconds: u64| Reading {
        nanos: at(seconds).nanos.saturating_add_signed(jumps[process] * SECOND as i64),
        wall: at(seconds).wall.saturating_add_signed(jumps[process] * SECOND as i64),
        ..at(seconds)
    };
    for process in [0, 1] {
        let state = State::in_memory(1_000);
        let begin = reading(process, 720 * process as u64);
        let (mut keeper, _) = open(dir.path(), &state, begin);
        if process == 0 {
            state.table.admit(&[ask(1, "ann", &limits, 10)], begin.nanos);
        }
        state.table.admit(&[ask(1, "bob", &limits, 4)], begin.nanos);
        // No time for a snapshot: the journals of both follow upon each other.
        while keeper.turn(&state, Reading { nanos: begin.nanos + 11 * SECOND, ..begin }).event.is_none() {}
    }
    let (other, warnings) = restored(dir.path(), reading(2, 1_440));
    let now = reading(2, 1_440);
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!((used(&other, "ann", &limits, now), used(&other, "bob", &limits, now)), (6, 4));
}

#[test]
fn what_the_operator_took_back_stays_so() {
    let (dir, state, limits) = (folder(), State::in_memory(1_000), limits("10/1d"));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    for key in ["ann", "bob", "eve"] {
        state.table.admit(&[ask(1, key, &limits, 10)], at(0).nanos);
        list(&state, key, at(0));
    }
    keeper.finish(&state, || at(1));
    for key in ["ann", "bob"] {
        assert_eq!(state.table.reset(&[1], key), 1);
        assert_eq!(state.listings.remove(key, None, at(1).nanos), 1);
    }
    state.table.admit(&[ask(1, "bob", &limits, 3)], at(1).nanos);
    // They have used nothing: the table forgets one of them on its own.
    for number in 0..10_000 {
        state.table.admit(&[ask(2, &number.to_string(), &limits, 1)], at(1).nanos);
    }
    state.listings.sweep(at(2).nanos);
    keeper.finish(&state, || at(2));
    drop(keeper);
    let (other, _) = restored(dir.path(), at(3));
    let found = ["ann", "bob", "eve"].map(|key| used(&other, key, &limits, at(3)));
    assert_eq!(found, [0, 3, 10]);
    let found = ["ann", "bob", "eve"].map(|key| listed(&other, key, at(3)).len());
    assert_eq!(found, [0, 0, 1]);
}

#[test]
fn only_what_changed_is_written_and_a_refusal_changes_nothing() {
    let (dir, state, limits) = (folder(), State::in_memory(100_000), limits("1/1d"));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    for number in 0..2_000 {
        state.table.admit(&[ask(1, &number.to_string(), &limits, 1)], at(0).nanos);
    }
    let bytes = |events: &[Event]| match events {
        [Event::Journal(written), ..] => written.bytes,
        other => panic!("{other:?}"),
    };
    assert!(bytes(&keeper.finish(&state, || at(1))) > 2_000 * 10);
    assert_eq!(bytes(&keeper.finish(&state, || at(2))), 0);
    for number in 0..2_000 {
        assert!(!state.table.admit(&[ask(1, &number.to_string(), &limits, 1)], at(3).nanos)[0].allowed);
    }
    assert_eq!(bytes(&keeper.finish(&state, || at(4))), 0);
    state.table.charge(&[ask(1, "7", &limits, 1)], at(5).nanos);
    assert!((1..200).contains(&bytes(&keeper.finish(&state, || at(6)))));
}

/// Keys with as much to say as there may be: a block takes only some of them.
#[test]
fn the_largest_of_keys_fit_into_blocks() {
    let (dir, state) = (folder(), State::in_memory(10_000));
    let windows: Vec<String> = (1..=8).map(|size| format!("{size}G/8d strict")).collect();
    let limits = limits(&windows.join(", "));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    let key = |number: u64| format!("{number}{}", "x".repeat(400));
    for step in 0..70 {
        for number in 0..100 {
            state.table.admit(&[ask(1, &key(number), &limits, 1 << 20)], at(step * 11_600).nanos);
        }
    }
    for number in 0..100 {
        for reason in 0..32 {
            let (key, reason) = (key(number), format!("{reason:064}"));
            let by = "r".repeat(64);
            let new = NewListing { key: &key, reason: &reason, periods: &HOUR, by: &by, observed: false };
            assert!(state.listings.add(new, at(812_000).nanos));
        }
    }
    keeper.finish(&state, || at(812_000));
    drop(keeper);
    let other = State::in_memory(10_000);
    let (_, loaded) = open(dir.path(), &other, at(812_000));
    assert_eq!(loaded, Loaded { keys: 100, listed_keys: 100, ..Loaded::default() });
    for number in 0..100 {
        let (key, now) = (key(number), at(812_000).nanos);
        let question = ask(1, &key, &limits, 1 << 20);
        assert_eq!(other.table.peek(&question, now), state.table.peek(&question, now));
        assert_eq!(listed(&other, &key, at(812_000)), listed(&state, &key, at(812_000)));
    }
}

#[test]
fn an_end_in_the_midst_of_writing_writes_what_came_behind_it_too() {
    let (dir, state, limits) = (folder(), State::in_memory(10_000), limits("1000/365d"));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    keeper.finish(&state, || at(1));
    let keys: Vec<String> = (0..5_000).map(|number| format!("{number:0100}")).collect();
    let charge = || keys.iter().for_each(|key| state.table.charge(&[ask(1, key, &limits, 1)], at(2).nanos));
    charge();
    assert!(keeper.turn(&state, at(20)).is_busy);
    charge();
    assert!(keeper.turn(&state, at(20)).is_busy);
    keeper.finish(&state, || at(20));
    drop(keeper);
    let (other, _) = restored(dir.path(), at(20));
    assert!(keys.iter().all(|key| used(&other, key, &limits, at(20)) == 2));
}

#[test]
fn a_long_journal_becomes_a_snapshot() {
    let (dir, state, limits) = (folder(), State::in_memory(100_000), limits("1000/365d"));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    let long = "x".repeat(300);
    let (mut seconds, mut snapshots) = (0, 0);
    for round in 0..15 {
        for number in 0..2_000 {
            state.table.admit(&[ask(1, &format!("{long}{number}"), &limits, 1)], at(seconds).nanos);
        }
        seconds += 11;
        loop {
            let turned = keeper.turn(&state, at(seconds));
            snapshots += usize::from(matches!(turned.event, Some(Event::Snapshot { .. })));
            if !turned.is_busy {
                break;
            }
        }
        let size: u64 =
            fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(size < 7 << 20, "{round}: {size}");
    }
    assert!((2..5).contains(&snapshots), "{snapshots}");
    drop(keeper);
    let (other, _) = restored(dir.path(), at(seconds));
    assert_eq!(used(&other, &format!("{long}7"), &limits, at(seconds)), 15);
}

/// A copy of the folder is what a process that is killed leaves.
fn copy(from: &Path) -> TempDir {
    let to = folder();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.path().join(path.file_name().unwrap())).unwrap();
    }
    to
}

#[test]
fn killed_at_any_step_it_has_what_was_written_before() {
    let (dir, limits) = (folder(), limits("1000/1d"));
    let state = State::in_memory(10_000);
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    let keys: Vec<String> = (0..3_000).map(|number| format!("{number:0300}")).collect();
    let (mut seconds, mut certain, mut steps) = (0, 0, 0);
    for round in 1..=5 {
        for key in &keys {
            state.table.admit(&[ask(1, key, &limits, 1)], at(seconds).nanos);
        }
        seconds += 11;
        // As if the journal had grown, so that snapshots are killed too.
        keeper.needs_snapshot |= round % 2 == 0;
        loop {
            let turned = keeper.turn(&state, at(seconds));
            if matches!(turned.event, Some(Event::Journal(_))) {
                certain = round;
            }
            steps += 1;
            let killed = copy(dir.path());
            let (other, warnings) = restored(killed.path(), at(seconds));
            assert_eq!(warnings, Vec::<String>::new());
            for key in [&keys[0], &keys[777], &keys[2_999]] {
                let found = used(&other, key, &limits, at(seconds));
                assert!((certain..=round).contains(&found), "{found} of {round} in step {steps}");
            }
            if !turned.is_busy {
                break;
            }
        }
    }
    assert!(steps > 60, "{steps}");
}

#[test]
fn a_second_process_is_refused_and_told_by_whom() {
    let (dir, state) = (folder(), State::in_memory(1_000));
    let first = open(dir.path(), &state, at(0));
    let refused = Keeper::open(dir.path(), EVERY, &state, at(0)).unwrap_err();
    let expected =
        format!("is in use by another gatepost (process {}); give each its own", std::process::id());
    assert!(refused.ends_with(&expected), "{refused}");
    drop(first);
    open(dir.path(), &state, at(0));
}

#[test]
fn a_folder_that_is_none_is_refused() {
    let (dir, state) = (folder(), State::in_memory(1_000));
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for (path, expected) in [(file.clone(), "can't be made"), (file.join("below"), "can't be made")] {
        let refused = Keeper::open(&path, EVERY, &state, at(0)).unwrap_err();
        assert!(refused.starts_with("state.dir /") && refused.contains(expected), "{refused}");
    }
}

#[test]
fn a_folder_that_vanishes_is_told_once_and_written_anew() {
    let (dir, state, limits) = (folder(), State::in_memory(1_000), limits("10/1d"));
    let path = dir.path().join("state");
    let (mut keeper, _) = open(&path, &state, at(0));
    state.table.admit(&[ask(1, "ann", &limits, 5)], at(0).nanos);
    keeper.finish(&state, || at(1));
    fs::remove_dir_all(&path).unwrap();
    // A file in its place: it can't be made anew either.
    fs::write(&path, "").unwrap();
    let mut news = Vec::new();
    for seconds in 12..300 {
        if let Some(Event::Failed { is_news, .. }) = keeper.turn(&state, at(seconds)).event {
            news.push(is_news);
        }
    }
    // Ever more seldom, up to once a minute.
    assert!(
        (5..10).contains(&news.len()) && news[0] && news.iter().filter(|news| **news).count() <= 2,
        "{news:?}"
    );
    fs::remove_file(&path).unwrap();
    let mut seconds = 300;
    loop {
        match keeper.turn(&state, at(seconds)).event {
            Some(Event::Snapshot { is_relief: true, .. }) => break,
            Some(Event::Failed { why, .. }) => panic!("{why}"),
            _ => seconds += 1,
        }
    }
    drop(keeper);
    let (other, _) = restored(&path, at(seconds));
    assert_eq!(used(&other, "ann", &limits, at(seconds)), 5);
}

/// They have addresses of people in them.
#[test]
fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, state) = (folder(), State::in_memory(1_000));
    let path = dir.path().join("parent/state");
    let (mut keeper, _) = open(&path, &state, at(0));
    // One under way that somebody has opened to all, as a copy may be.
    fs::write(path.join("snapshot.new"), "").unwrap();
    fs::set_permissions(path.join("snapshot.new"), fs::Permissions::from_mode(0o666)).unwrap();
    list(&state, "eve", at(1));
    keeper.finish(&state, || at(1));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    let names = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let modes: Vec<_> = names.map(|name| mode(&name)).collect();
    assert_eq!(modes, [0o600; 3], "lock, snapshot, journal");
}

/// Names of the journals there are.
fn journals(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("journal-")).collect()
}

/// A disk that is tried again and again, and a process that is started again and again.
#[test]
fn tries_that_came_to_nothing_leave_no_files() {
    let (dir, state, limits) = (written(), State::in_memory(1_000), limits("10/1d, 20/7d strict"));
    let before = journals(dir.path()).len();
    for seconds in 10..100 {
        restored(dir.path(), at(seconds));
    }
    assert!(journals(dir.path()).len() <= before + 1, "{:?}", journals(dir.path()));
    let mut keeper = open(dir.path(), &state, at(100)).0;
    // A file that can't be: the snapshot under way.
    keeper.needs_snapshot = true;
    fs::create_dir(dir.path().join("snapshot.new")).unwrap();
    for seconds in 0..90 {
        let events = keeper.finish(&state, || at(101 + seconds));
        assert!(matches!(events.last(), Some(Event::Failed { .. })), "{events:?}");
    }
    assert!(journals(dir.path()).len() <= before + 1, "{:?}", journals(dir.path()));
    fs::remove_dir(dir.path().join("snapshot.new")).unwrap();
    let events = keeper.finish(&state, || at(200));
    assert!(matches!(events.last(), Some(Event::Snapshot { is_relief: true, .. })), "{events:?}");
    drop(keeper);
    assert_eq!(used(&restored(dir.path(), at(200)).0, "ann", &limits, at(10)), 7);
}

/// Whoever may write in the folder could else have us write over what he may not.
#[test]
fn no_link_is_written_through() {
    let (dir, state, limits) = (folder(), State::in_memory(1_000), limits("10/1h"));
    let other = dir.path().join("other");
    fs::write(&other, "somebody else's").unwrap();
    let link = |name: &str| std::os::unix::fs::symlink(&other, dir.path().join(name)).unwrap();
    link("lock");
    let why = Keeper::open(dir.path(), EVERY, &state, at(0)).unwrap_err();
    assert!(why.ends_with("can't be locked: `lock` in it is not a file"), "{why}");
    fs::remove_file(dir.path().join("lock")).unwrap();
    let mut keeper = open(dir.path(), &state, at(0)).0;
    ["journal-2", "snapshot.new"].into_iter().for_each(link);
    state.table.admit(&[ask(1, "ann", &limits, 7)], at(1).nanos);
    keeper.finish(&state, || at(1));
    drop(keeper);
    assert_eq!(fs::read_to_string(&other).unwrap(), "somebody else's");
    assert_eq!(used(&restored(dir.path(), at(2)).0, "ann", &limits, at(2)), 7);
}

/// The files of a state in which ann has used 5, then 7, and eve is listed.
fn written() -> TempDir {
    let (dir, state, limits) = (folder(), State::in_memory(1_000), limits("10/1d, 20/7d strict"));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    for (n, seconds) in [(5, 1), (2, 3)] {
        state.table.admit(&[ask(1, "ann", &limits, n)], at(seconds).nanos);
        list(&state, "eve", at(seconds));
        keeper.finish(&state, || at(seconds + 1));
    }
    dir
}

fn snapshot_and_journal(dir: &Path) -> [PathBuf; 2] {
    [dir.join("snapshot"), dir.join("journal-2")]
}

#[test]
fn damaged_files_are_told_and_what_is_good_of_them_is_kept() {
    let (whole, limits) = (written(), limits("10/1d, 20/7d strict"));
    for (which, path) in snapshot_and_journal(whole.path()).into_iter().enumerate() {
        let bytes = fs::read(&path).unwrap();
        let flipped = (0..bytes.len()).map(|at| {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            (true, bytes)
        });
        let cut = (0..bytes.len()).map(|length| (false, bytes[..length].to_vec()));
        for (is_flipped, bad) in flipped.chain(cut) {
            let dir = copy(whole.path());
            let damaged = dir.path().join(path.file_name().unwrap());
            fs::write(&damaged, &bad).unwrap();
            let (state, warnings) = restored(dir.path(), at(10));
            let found = used(&state, "ann", &limits, at(10));
            // The one has 5, the other 7: what is good is there.
            assert!(found == 7 || found == 5 && which == 1, "{found} of {path:?} with {} bytes", bad.len());
            // A journal may end behind each block.
            assert!(warnings.len() == 1 || which == 1 && !is_flipped && found > 0, "{warnings:?}");
            assert_eq!(listed(&state, "eve", at(10)).len(), 1);
            let aside = fs::read_dir(dir.path()).unwrap().filter(|entry| {
                entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".bad-1800000010")
            });
            let is_cut = warnings.is_empty() || warnings[0].contains("it was cut");
            assert!(!is_cut || which == 1, "{warnings:?}");
            let expected = usize::from(!is_cut);
            assert_eq!(aside.count(), expected, "{warnings:?}");
            // The next start finds nothing bad.
            assert_eq!(restored(dir.path(), at(11)).1, Vec::<String>::new());
        }
    }
}

#[test]
fn files_of_others_and_newer_ones_are_set_aside_by_name() {
    let limits = limits("10/1d, 20/7d strict");
    let mut newer = fs::read(written().path().join("snapshot")).unwrap();
    newer[8] = 9;
    for (bytes, expected) in [
        (
            b"somebody else's, and long enough to be a file of ours".to_vec(),
            "it is no file of gatepost's state",
        ),
        (newer, "it is of version 9, written by a newer gatepost"),
    ] {
        let dir = written();
        fs::write(dir.path().join("snapshot"), &bytes).unwrap();
        let (state, warnings) = restored(dir.path(), at(10));
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{warnings:?}");
        assert_eq!(used(&state, "ann", &limits, at(10)), 7);
        assert_eq!(fs::read(dir.path().join("snapshot.bad-1800000010")).unwrap(), bytes);
    }
    // What is no file at all keeps nobody waiting.
    let dir = written();
    fs::remove_file(dir.path().join("snapshot")).unwrap();
    fs::create_dir(dir.path().join("snapshot")).unwrap();
    let (_, warnings) = restored(dir.path(), at(10));
    assert!(warnings.len() == 1 && warnings[0].contains("it is not a file"), "{warnings:?}");
}

#[test]
fn few_bad_files_are_left_lying() {
    let dir = written();
    for seconds in 0..10 {
        fs::write(dir.path().join("snapshot"), "foreign and long enough to be looked at closely").unwrap();
        restored(dir.path(), at(10 + seconds));
    }
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().contains(".bad-")).count(), 3);
}

/// Puts a block of these records behind the journal.
fn append(dir: &Path, records: impl FnOnce(&mut Output)) {
    let path = snapshot_and_journal(dir)[1].clone();
    let mut bytes = fs::read(&path).unwrap();
    let mut out = Output::begin(at(5).nanos);
    records(&mut out);
    bytes.extend(file::block(at(5), &out));
    fs::write(&path, bytes).unwrap();
}

#[test]
fn records_of_newer_kinds_and_nonsense_are_passed_over() {
    let (dir, limits) = (written(), limits("10/1d, 20/7d strict"));
    let longest = u64::MAX;
    append(dir.path(), |out| {
        out.record(200, |out| out.text(b"of a later version"));
        // A key's text is cut, a window is unsound, something is left over.
        out.record(Kind::Bucket as u8, |out| out.number(1));
        out.record(Kind::Bucket as u8, |out| {
            out.number(1);
            out.text(b"ann");
            [0, 1, 0, 0, 0].into_iter().for_each(|number| out.number(number));
        });
        out.record(Kind::Listings as u8, |out| {
            out.text(b"eve");
            out.number(0);
            out.number(0);
        });
        out.record(Kind::Listings as u8, |out| {
            out.text(b"mallory");
            out.number(1);
            out.text(b"bot");
            out.text(b"nobody");
            (0..5).for_each(|_| out.number(longest));
        });
    });
    let (state, warnings) = restored(dir.path(), at(10));
    assert_eq!(
        warnings,
        [
            "the saved state has 1 records of a kind that only a newer gatepost knows: they were left out",
            "the saved state has 4 records that make no sense: they were left out"
        ]
    );
    assert_eq!(used(&state, "ann", &limits, at(10)), 7);
    assert_eq!(listed(&state, "eve", at(10)).len(), 1);
}

/// A hostile file's keys count for no longer than a bucket takes to fill.
#[test]
fn nobody_is_locked_out_for_longer_than_a_limit_says() {
    let (dir, limits) = (written(), limits("10/1h"));
    append(dir.path(), |out| {
        out.record(Kind::Bucket as u8, |out| {
            out.number(1);
            out.text(b"bob");
            [0, 1].into_iter().for_each(|number| out.number(number));
            limits.windows()[0].write(out);
            out.number(0);
            out.number(u64::MAX);
        });
        out.record(Kind::Listings as u8, |out| {
            out.text(b"bob");
            out.number(1);
            out.text(b"bot");
            out.text(b"nobody");
            [0, u64::MAX, u64::MAX, u64::MAX, 1].into_iter().for_each(|number| out.number(number));
        });
    });
    let (state, warnings) = restored(dir.path(), at(10));
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(used(&state, "bob", &limits, at(10)), 10);
    assert_eq!(used(&state, "bob", &limits, at(3_610)), 0);
    assert_eq!(listed(&state, "bob", at(10)).len(), 1);
    assert!(listed(&state, "bob", at(10 + 366 * 86_400)).is_empty());
}

#[test]
fn no_more_keys_are_taken_than_the_table_may_have() {
    let (dir, state, limits) = (folder(), State::in_memory(20_000), limits("5/1d"));
    let (mut keeper, _) = open(dir.path(), &state, at(0));
    for number in 0..5_000 {
        let n = if number < 300 { 5 } else { 1 };
        state.table.admit(&[ask(1, &number.to_string(), &limits, n)], at(0).nanos);
    }
    keeper.finish(&state, || at(1));
    drop(keeper);
    for (max_keys, is_told) in [(1_000, false), (200, true)] {
        let copied = copy(dir.path());
        let small = State::in_memory(max_keys);
        let (_, loaded) = open(copied.path(), &small, at(2));
        assert_eq!(loaded.keys, max_keys as u64);
        assert_eq!(loaded.warnings.len(), usize::from(is_told), "{:?}", loaded.warnings);
        let full = (0..300).filter(|number| used(&small, &number.to_string(), &limits, at(2)) == 5);
        assert_eq!(full.count(), max_keys.min(300));
    }
}

#[derive(Clone, Debug)]
enum Act {
    Admit(usize, u64),
    Attempt(usize, u64),
    Reserve(usize, u64),
    Reset(usize),
    Restart,
    Settle(usize, bool),
    Write,
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let (key, n) = (0..3_usize, 0..5_u64);
    let act = prop_oneof![
        4 => (key.clone(), n.clone()).prop_map(|(key, n)| Act::Admit(key, n)),
        1 => (key.clone(), n.clone()).prop_map(|(key, n)| Act::Attempt(key, n)),
        3 => (key.clone(), n).prop_map(|(key, n)| Act::Reserve(key, n)),
        3 => (0..8_usize, any::<bool>()).prop_map(|(hold, commit)| Act::Settle(hold, commit)),
        1 => key.prop_map(Act::Reset),
        1 => Just(Act::Restart),
        2 => Just(Act::Write),
    ];
    prop::collection::vec((0..90 * SECOND, act), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Written and read again it says the same as the one that was never stopped, if all
    /// that was reserved is charged when it stops.
    #[test]
    fn a_restart_changes_no_answer(which in 0..4_usize, acts in acts()) {
        let limits = limits(["7/1m", "7/1m, 20/10m", "9/1m burst 3, 20/10m, 40/1h", "7/1m strict"][which]);
        let keys = ["a", "b", "c"];
        let dir = folder();
        let reading = |now: Nanos| Reading { nanos: now, wall: now, uptime: now, boot: 1 };
        let (mut kept, plain) = (State::in_memory(100), State::in_memory(100));
        let mut keeper = open(dir.path(), &kept, reading(NOW)).0;
        let mut now = NOW;
        let mut parts: Vec<[Part; 2]> = Vec::new();
        for (gap, act) in acts {
            now += gap;
            match act {
                Act::Admit(key, n) => {
                    let question = [ask(1, keys[key], &limits, n)];
                    prop_assert_eq!(kept.table.admit(&question, now), plain.table.admit(&question, now));
                }
                Act::Attempt(key, n) => {
                    let question = [ask(1, keys[key], &limits, n)];
                    [&kept, &plain].into_iter().for_each(|state| state.table.charge(&question, now));
                }
                Act::Reserve(key, n) => {
                    let question = [ask(1, keys[key], &limits, n)];
                    let found = [&kept, &plain].map(|state| state.table.reserve(&question, now).1.remove(0));
                    if let [Some(one), Some(other)] = found {
                        parts.push([one, other]);
                    }
                }
                Act::Reset(key) => {
                    [&kept, &plain].into_iter().for_each(|state| { state.table.reset(&[1], keys[key]); });
                }
                Act::Restart => {
                    keeper.finish(&kept, || reading(now));
                    parts.drain(..).for_each(|[_, part]| plain.table.commit(&part, now));
                    drop(keeper);
                    kept = State::in_memory(100);
                    let (again, loaded) = open(dir.path(), &kept, reading(now));
                    prop_assert_eq!(loaded.warnings, Vec::<String>::new());
                    keeper = again;
                }
                Act::Settle(hold, commit) if hold < parts.len() => {
                    let both = parts.swap_remove(hold);
                    for (state, part) in [&kept, &plain].into_iter().zip(&both) {
                        if commit { state.table.commit(part, now) } else { state.table.release(part, part.n) }
                    }
                }
                Act::Settle(..) => {}
                Act::Write => {
                    keeper.finish(&kept, || reading(now));
                }
            }
            for key in keys {
                let question = ask(1, key, &limits, 1);
                prop_assert_eq!(kept.table.peek(&question, now), plain.table.peek(&question, now));
            }
        }
    }
}
