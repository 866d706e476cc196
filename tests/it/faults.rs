//! The world going wrong around a running gatepost: no descriptors left, nobody
//! who reads its log, peers without end or manners. What is asked is answered.

use crate::rig::delegation::request;
use crate::rig::gatepost::tcp_address;
use crate::rig::milter::negotiation;
use crate::rig::*;
use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;
use std::time::Instant;

const RULES: &[(&str, &str)] = &[(
    "10-test.yaml",
    "rules:\n  - {name: no, when: {recipient: no@test.example}, then: {reject: 5.7.1 no such person}}\n\
     \x20 - {name: long, when: {recipient: long@test.example}, then: {reject: \"5.7.1 {sender} {sender} {sender}\"}}\n\
     \x20 - {name: seen, when: {header: {Subject: present}}, then: {add_header: {X-Seen: \"yes\"}}}\n",
)];

const NO: &[(&str, &str)] = &[("recipient", "no@test.example")];

/// As much as a process with some threads and tables needs, with room.
const MODEST_MIB: u64 = 150;

fn connected(socket: &str) -> TcpStream {
    let stream = TcpStream::connect(tcp_address(socket)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[track_caller]
fn serves(gatepost: &Gatepost) {
    let began = Instant::now();
    assert_eq!(Delegation::connect(&gatepost.policy).asks(NO), "554 5.7.1 no such person");
    let mut milter = Milter::of_client(&gatepost.milter, "192.0.2.77:77");
    assert_eq!(milter.mail("<a@sender.example>"), 'c');
    assert_eq!(milter.rcpt(&format!("<{BOB}>")).kind, 'c');
    let (edits, answer) = milter.message();
    assert_eq!((edits.len(), answer.kind), (1, 'c'));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_gibibyte_without_a_line_end_is_cut_off() {
    let gatepost = Gatepost::launched(RULES, &[], false);
    let chunk = vec![b'a'; 1 << 20];
    for socket in [gatepost.policy.clone(), gatepost.milter.clone(), format!("127.0.0.1:{}", gatepost.http)] {
        let mut stream = connected(&socket);
        let taken = (0..1024).take_while(|_| stream.write_all(&chunk).is_ok()).count();
        // What fits into the kernel's buffers, and no more.
        assert!(taken < 64, "{socket} took {taken} MiB");
    }
    serves(&gatepost);
    assert!(gatepost.peak_mib() < MODEST_MIB, "{} MiB", gatepost.peak_mib());
}

#[test]
fn frames_that_promise_gibibytes_cost_nothing() {
    let gatepost = Gatepost::launched(RULES, &[], false);
    let mut open = Vec::new();
    for kind in *b"OCHMRTLNBEAQDU\xff" {
        for length in [u32::MAX, 1 << 30, 1 << 20] {
            let mut stream = connected(&gatepost.milter);
            let _ = stream.write_all(&length.to_be_bytes());
            let _ = stream.write_all(&[kind]);
            let _ = stream.write_all(&[0; 5000]);
            open.push(stream);
        }
    }
    serves(&gatepost);
    assert!(gatepost.peak_mib() < MODEST_MIB, "{} MiB", gatepost.peak_mib());
}

#[test]
fn who_asks_and_never_reads_blocks_nobody() {
    let gatepost = Gatepost::launched(RULES, &[], false);
    // Long answers fill the kernel's buffers sooner.
    let sender = format!("{}@sender.example", "a".repeat(300));
    let many = request(&[("recipient", "long@test.example"), ("sender", &sender)]).repeat(1000);
    let mut stuck = Vec::new();
    for _ in 0..2 {
        let mut stream = connected(&gatepost.policy);
        stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        // Until its answers, and then its requests, have nowhere to go.
        for _ in 0..100 {
            if stream.write_all(many.as_bytes()).is_err() {
                break;
            }
        }
        stuck.push(stream);
    }
    serves(&gatepost);
    assert!(gatepost.peak_mib() < MODEST_MIB, "{} MiB", gatepost.peak_mib());
}

#[test]
fn connections_that_say_nothing_or_half_of_it_block_nobody() {
    let gatepost = Gatepost::launched(RULES, &[], false);
    let mut open = Vec::new();
    for n in 0..300 {
        let socket = if n % 2 == 0 { &gatepost.policy } else { &gatepost.milter };
        let mut stream = connected(socket);
        let half: &[u8] =
            if n % 2 == 0 { b"request=smtpd_access_policy\nprotocol_st" } else { b"\0\0\0\x0dO\0\0" };
        if n % 4 < 2 {
            stream.write_all(half).unwrap();
        }
        open.push(stream);
    }
    serves(&gatepost);
    until("all to be counted", || {
        let count = gatepost.metric("gatepost_connections", &[])?;
        (count >= 300.0).then_some(())
    });
    drop(open);
    until("all to be forgotten", || {
        (gatepost.metric("gatepost_connections", &[]) == Some(0.0)).then_some(())
    });
}

/// More clients than there are descriptors, on both sockets in turn; each has asked.
fn crowd(gatepost: &Gatepost) -> Vec<TcpStream> {
    let asks = [(&gatepost.policy, request(NO).into_bytes()), (&gatepost.milter, negotiation())];
    let come = |(socket, question): &(&String, Vec<u8>)| {
        let mut stream = connected(socket);
        stream.write_all(question).unwrap();
        stream
    };
    asks.iter().cycle().take(100).map(come).collect()
}

#[test]
fn without_descriptors_open_connections_are_answered_and_new_ones_wait() {
    let gatepost = Gatepost::launched(RULES, &["prlimit", "--nofile=48:1000"], false);
    let mut policy = Delegation::connect(&gatepost.policy);
    assert_eq!(policy.asks(NO), "554 5.7.1 no such person");
    let crowd = crowd(&gatepost);
    gatepost.wait_log("cannot accept connections");
    for n in 0..20 {
        assert_eq!(policy.asks(&[("instance", &format!("1.1.1.{n}")), NO[0]]), "554 5.7.1 no such person");
    }
    gatepost.allow_files(1_000);
    for (n, mut stream) in crowd.iter().enumerate() {
        let mut begin = [0; 6];
        let answered = stream.read_exact(&mut begin);
        assert!(answered.is_ok(), "number {n}: {answered:?}");
    }
    serves(&gatepost);
    until("the end to be told", || {
        drop(connected(&gatepost.policy));
        (gatepost.count_log("connections are accepted again") > 0).then_some(())
    });
    // Said, but not once for each attempt.
    assert!(gatepost.count_log("cannot accept") < 10, "{}", gatepost.log());
    assert!(gatepost.metric("gatepost_protocol_errors_total", &["accept_failed"]).unwrap() >= 1.0);
}

#[test]
fn while_descriptors_stay_short_new_clients_are_turned_away_after_a_wait() {
    let gatepost = Gatepost::launched(RULES, &["prlimit", "--nofile=48:1000"], false);
    let crowd = crowd(&gatepost);
    gatepost.wait_log("cannot accept connections");
    let began = Instant::now();
    crowd.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
    // What was answered stays to be read; who waits has nothing; who was closed has an end.
    let turned_away = |stream: &TcpStream| match stream.peek(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    };
    until("somebody to be turned away", || crowd.iter().any(turned_away).then_some(()));
    assert!(began.elapsed() > Duration::from_secs(5), "{:?}", began.elapsed());
    drop(crowd);
    serves(&gatepost);
}

#[test]
fn when_nobody_reads_the_log_answers_go_on() {
    let mut gatepost = Gatepost::launched(RULES, &[], true);
    let mut policy = Delegation::connect(&gatepost.policy);
    // Some 6 KB each, into a pipe of 64 KiB and a queue of at most 40 MiB behind it.
    let (began, long) = (Instant::now(), "x".repeat(5_000));
    for n in 0..12_000 {
        let instance = format!("1.1.1.{n:x}");
        let asked = [("instance", &*instance), ("helo_name", &*long), NO[0]];
        assert_eq!(policy.asks(&asked), "554 5.7.1 no such person");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    serves(&gatepost);
    assert!(gatepost.metric("gatepost_log_lines_dropped_total", &[]).unwrap() > 0.0);
    assert!(gatepost.peak_mib() < MODEST_MIB, "{} MiB", gatepost.peak_mib());
    drop(policy);
    gatepost.signal("TERM");
    assert!(gatepost.wait_exit(Duration::from_secs(10)).success());
}

#[test]
fn what_is_asked_while_it_ends_is_answered() {
    let mut gatepost = Gatepost::launched(RULES, &[], false);
    let mut policy = Delegation::connect(&gatepost.policy);
    let mut half = connected(&gatepost.policy);
    let whole = request(NO);
    let (first, second) = whole.split_at(100);
    half.write_all(first.as_bytes()).unwrap();
    assert_eq!(policy.asks(NO), "554 5.7.1 no such person");
    gatepost.signal("TERM");
    gatepost.wait_log("stopping");
    half.write_all(second.as_bytes()).unwrap();
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("action=554 5.7.1 no such person"), "{answer:?}");
    assert!(gatepost.wait_exit(Duration::from_secs(10)).success());
}
