//! What is remembered over a restart, by whatever means it came about: the program
//! itself, its folder, and disks that fail.

use crate::rig::*;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

const LIMIT: usize = 3_000;

/// So seldom does one come back that none does while we look.
const RULES: &[(&str, &str)] = &[(
    "10-test.yaml",
    "rules:\n  - {name: busy, when: {rate: {key: sender, limits: [3000/365d, 5000/365d strict]}}, then: defer}\n\
     \x20 - {name: suspended, when: {listed: {key: sender}}, then: {defer: \"4.7.1 {reason}\"}}\n",
)];

const EVERY: Duration = Duration::from_secs(1);

fn start(dir: &str) -> Gatepost {
    let more = format!("state: {{dir: \"{dir}\", snapshot_every: 1s}}");
    Gatepost::start(RULES, &more, Sockets::Inet)
}

/// Asks about one recipient more of a new session.
fn asks(policy: &mut Delegation, sender: &str, number: usize) -> String {
    let (instance, port) = (format!("1.{number:x}.0"), (1_024 + number % 60_000).to_string());
    policy.asks(&[("instance", &instance), ("client_port", &port), ("sender", sender)])
}

fn used(gatepost: &Gatepost, sender: &str) -> usize {
    let (_, shown, _) = gatepost.command(&["limits", "show", sender]);
    let used = shown.split_whitespace().find_map(|word| word.strip_prefix("used="));
    used.map_or(0, |used| used.parse().unwrap())
}

/// Waits until all that happened until now is on the disk.
fn wait_written(gatepost: &Gatepost) {
    let count = || gatepost.metric("gatepost_state_write_duration_seconds_count", &["journal"]);
    let before = count().unwrap();
    // The next writing may have been under way.
    until("two writings", || count().filter(|count| *count >= before + 2.0));
}

#[test]
fn limits_and_listings_survive_an_end_in_good_order() {
    let mut gatepost = start("state");
    let mut policy = Delegation::connect(&gatepost.policy);
    for number in 0..50 {
        assert_eq!(asks(&mut policy, ALICE, number), "DUNNO");
    }
    assert_eq!(gatepost.command(&["listed", "add", "eve@x.example", "cracked"]).0, 0);
    let shown = gatepost.command(&["listed", "show"]);
    drop(policy);
    // At once: nothing but the end itself writes it.
    gatepost.signal("TERM");
    assert!(gatepost.wait_exit(PATIENCE).success());
    gatepost.start_again();
    gatepost.wait_log("goes on from where it was .*keys=1 listed=1 distinct=0 greylisted=0");
    assert_eq!(used(&gatepost, ALICE), 50);
    assert_eq!(gatepost.command(&["listed", "show"]), shown);
    let mut policy = Delegation::connect(&gatepost.policy);
    assert!(asks(&mut policy, "eve@x.example", 1_000).contains("cracked"));
    let timestamp = gatepost.metric("gatepost_state_snapshot_timestamp_seconds", &[]).unwrap();
    assert!(timestamp > 1.7e9, "{timestamp}");
}

#[test]
fn counters_stay_with_their_rules_when_others_come_and_go() {
    let rules = |names: &[&str]| {
        let rule = |name: &&str| {
            format!("  - {{name: {name}, when: {{rate: {{key: sender, limits: [50/365d]}}}}, then: defer}}\n")
        };
        format!("rules:\n{}", names.iter().map(rule).collect::<String>())
    };
    let more = "state: {dir: state, snapshot_every: 1s}";
    let mut gatepost = Gatepost::start(&[("10-test.yaml", &rules(&["a", "b"]))], more, Sockets::Inet);
    let mut policy = Delegation::connect(&gatepost.policy);
    (0..5).for_each(|number| assert_eq!(asks(&mut policy, ALICE, number), "DUNNO"));
    drop(policy);
    for (names, expected) in [
        (&["new", "b", "a"][..], "a b"),
        (&["b"], "b"),
        // It comes back before what it had counted has gone.
        (&["a", "b"], "a b"),
    ] {
        gatepost.signal("TERM");
        assert!(gatepost.wait_exit(PATIENCE).success());
        gatepost.write_rules("10-test.yaml", &rules(names));
        gatepost.start_again();
        let (_, shown, _) = gatepost.command(&["limits", "show", ALICE]);
        let mut rules: Vec<_> = shown
            .lines()
            .filter(|line| line.contains("used=5 "))
            .filter_map(|line| line.split("rules=").nth(1))
            .collect();
        rules.sort_unstable();
        assert_eq!(rules.join(" "), expected, "{shown}");
    }
}

/// Killed at any time it has lost at most what the last interval brought.
#[test]
fn killed_again_and_again_it_forgets_no_more_than_an_interval() {
    let mut gatepost = start("state");
    let (mut number, mut passed, mut lost) = (0, 0, 0);
    for round in 0..10_u32 {
        let mut policy = Delegation::connect(&gatepost.policy);
        let (began, before) = (Instant::now(), passed);
        let mut times = Vec::new();
        // At another place of the interval each time.
        while began.elapsed() < EVERY * 2 + EVERY * round / 10 {
            number += 1;
            if asks(&mut policy, ALICE, number) == "DUNNO" {
                passed += 1;
                times.push(began.elapsed());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let end = began.elapsed();
        gatepost.kill();
        gatepost.start_again();
        let used = used(&gatepost, ALICE);
        // Half a second for writing it on a machine that has other work.
        let certain = times.iter().filter(|time| **time + EVERY + EVERY / 2 < end).count();
        let held = before - lost;
        assert!(used >= held + certain, "round {round}: {used} of {held} and {certain}");
        assert!(used <= passed - lost, "round {round}: {used} of {passed}, {lost} lost");
        lost = passed - used;
    }
    assert!(passed <= LIMIT + lost, "{passed} passed, {lost} lost");
    assert_eq!(gatepost.count_log("could be read"), gatepost.count_log("it was cut, the rest kept"));
}

/// So that the mail that waits can only pass if it was seen before the end.
const MEMORY: &str = r#"
rules:
  - {name: wait, when: {recipient: slow@, greylist: {delay: 1s, auto_allow: none}}, then: {defer_if_permit: "4.2.0 wait"}}
  - {name: senders, when: {distinct: {key: client_address, count: sender, limits: [3/365d]}}, then: {defer: "4.7.1 {used} senders"}}
"#;

#[test]
fn who_has_waited_and_what_was_shown_is_known_after_a_kill() {
    let more = "state: {dir: state, snapshot_every: 1s}";
    let mut gatepost = Gatepost::start(&[("10-test.yaml", MEMORY)], more, Sockets::Inet);
    let slow = |policy: &mut Delegation, sender: &str, number: &str| {
        policy.asks(&[
            ("instance", &format!("2.{number}.0")),
            ("client_port", &format!("2{number}")),
            ("client_address", "198.51.100.7"),
            ("sender", sender),
            ("recipient", "slow@test.example"),
        ])
    };
    let mut policy = Delegation::connect(&gatepost.policy);
    assert!(slow(&mut policy, ALICE, "001").contains("4.2.0 wait"));
    let senders = ["a@x.example", "b@x.example", "c@x.example", "d@x.example"];
    for (number, sender) in senders.into_iter().enumerate() {
        let answer = asks(&mut policy, sender, number);
        assert_eq!((answer == "DUNNO", answer.contains("4 senders")), (number < 3, number == 3), "{answer}");
    }
    wait_written(&gatepost);
    for round in 1..3 {
        drop(policy);
        gatepost.kill();
        gatepost.start_again();
        gatepost.wait_log("goes on from where it was .*distinct=[12] greylisted=[12]");
        policy = Delegation::connect(&gatepost.policy);
        let number = |place: usize| round * 100 + place;
        assert_eq!(slow(&mut policy, ALICE, &number(1).to_string()), "DUNNO", "{round}");
        let other = format!("other{round}@sender.example");
        assert!(slow(&mut policy, &other, &number(2).to_string()).contains("4.2.0 wait"), "{round}");
        assert!(asks(&mut policy, senders[3], number(3)).contains("4 senders"), "{round}");
        assert_eq!(asks(&mut policy, senders[0], number(4)), "DUNNO", "{round}");
        let (_, shown, _) = gatepost.command(&["limits", "show", "192.0.2.1"]);
        assert!(shown.contains("used=3 allowed=3"), "{shown}");
        wait_written(&gatepost);
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_named() {
    let config = |dir: &Path, state: &str| {
        let socket = || format!("inet:127.0.0.1:{}", port::free());
        let file = dir.join("file");
        fs::write(&file, "").unwrap();
        format!(
            "listen: {{policy: [\"{}\"], milter: [\"{}\"], http: none}}\npolicy_dir: policy.d\nstate: {{dir: \"{state}\"}}\n",
            socket(),
            socket()
        )
    };
    for (state, why) in [
        ("file", "file can't be made: "),
        ("file/below", "file/below can't be made: "),
        ("/proc/nowhere", "/proc/nowhere can't be made: "),
        ("/proc/sys", "/proc/sys can't be written in: "),
    ] {
        let (code, said) = Gatepost::refused(RULES, |dir| config(dir, state));
        assert!(code == 3 && said.contains("state.dir ") && said.contains(why), "{state}: {code} {said}");
    }
    let first = start("state");
    let taken = first.path("state").display().to_string();
    let (code, said) = Gatepost::refused(RULES, |dir| config(dir, &taken));
    assert!(
        code == 3 && said.contains(&format!("state.dir {taken} is in use by another gatepost (process ")),
        "{said}"
    );
    assert_eq!(asks(&mut Delegation::connect(&first.policy), ALICE, 1), "DUNNO");
}

#[test]
fn what_is_none_of_ours_is_set_aside_and_the_rest_is_read() {
    let mut gatepost = start("state");
    // So that the snapshot has nothing, and the journal all of it.
    wait_written(&gatepost);
    let mut policy = Delegation::connect(&gatepost.policy);
    (0..20).for_each(|number| assert_eq!(asks(&mut policy, ALICE, number), "DUNNO"));
    drop(policy);
    gatepost.signal("TERM");
    assert!(gatepost.wait_exit(PATIENCE).success());
    let snapshot = gatepost.path("state/snapshot");
    fs::write(&snapshot, "somebody has put something here that is none of ours").unwrap();
    gatepost.start_again();
    gatepost.wait_log("warn .*could be read.*snapshot: it is no file of gatepost's state; it was set aside as .*snapshot.bad-");
    assert_eq!(used(&gatepost, ALICE), 20);
    until("a snapshot of our own", || {
        fs::read(&snapshot).ok().filter(|bytes| bytes.starts_with(b"gatepost"))
    });
}

/// A small disk of its own, as long as it lives.
struct Disk(PathBuf);

impl Disk {
    /// None where we may not mount.
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=4m", "tmpfs"];
        let done = Command::new("mount").args(mount).arg(path).status().is_ok_and(|status| status.success());
        done.then(|| Self(path.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_told_once_and_written_when_there_is_room_again() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("disk");
    let Some(_disk) = Disk::mount(&path) else {
        eprintln!("skipped: no small disk can be mounted here");
        return;
    };
    let mut gatepost = start(&path.display().to_string());
    let mut policy = Delegation::connect(&gatepost.policy);
    assert_eq!(asks(&mut policy, ALICE, 0), "DUNNO");
    wait_written(&gatepost);
    // All but a few bytes of the page that the journal has begun.
    let filler = path.join("filler");
    assert!(fs::write(&filler, vec![0; 8 << 20]).is_err());
    for number in 1..500 {
        let sender = format!("{number}@{}.example", "x".repeat(100));
        assert_eq!(asks(&mut policy, &sender, number), "DUNNO");
    }
    until("a second failure", || {
        gatepost.metric("gatepost_state_write_failures_total", &[]).filter(|count| *count >= 2.0)
    });
    assert_eq!(asks(&mut policy, ALICE, 500), "DUNNO");
    gatepost.wait_lines(1, "error .*can't be written down.*No space left");
    fs::remove_file(&filler).unwrap();
    gatepost.wait_log("what is remembered is written down again");
    drop(policy);
    gatepost.kill();
    gatepost.start_again();
    assert_eq!(used(&gatepost, ALICE), 2);
    assert_eq!(gatepost.count_log("could be read"), 0);
}

#[test]
fn a_folder_that_is_removed_is_told_and_made_anew() {
    let mut gatepost = start("state");
    let mut policy = Delegation::connect(&gatepost.policy);
    (0..5).for_each(|number| assert_eq!(asks(&mut policy, ALICE, number), "DUNNO"));
    wait_written(&gatepost);
    fs::remove_dir_all(gatepost.path("state")).unwrap();
    gatepost.wait_log("error .*can't be written down");
    gatepost.wait_log("what is remembered is written down again");
    drop(policy);
    gatepost.kill();
    gatepost.start_again();
    assert_eq!(used(&gatepost, ALICE), 5);
}
