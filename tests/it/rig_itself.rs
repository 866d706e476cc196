//! The rig without gatepost: a policy responder and a milter that do next to
//! nothing. When this fails, no other failure here means anything.

use crate::rig;
use crate::rig::*;
use indymilter::Actions;
use indymilter::Callbacks;
use indymilter::Config;
use indymilter::ContextActions as _;
use indymilter::EomContext;
use indymilter::Status;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::TcpListener;
use std::net::TcpStream;

#[test]
fn postfix_asks_both_sides_and_delivers() {
    let Some((postfix, sink)) = instance() else { return };
    let mut client = Smtp::greeted(postfix.ports.mx);
    client.mail(ALICE).expect(250);
    client.rcpt("no@test.example").expect_text(554, "by the responder");
    client.rcpt(BOB).expect(250);
    client.rcpt(CAROL).expect(250);
    client.data(MAIL).expect(250);
    let message = sink.message();
    assert_eq!(message.sender, ALICE);
    assert_eq!(message.recipients, [BOB, CAROL]);
    assert_eq!(message.header("X-Milter"), ["was here"]);
    assert_eq!(message.header("Subject"), ["an ordinary mail"]);
    assert_eq!(message.body, "Hello.\n");
    postfix.wait_log("status=sent");
}

#[test]
fn held_mail_can_be_read_in_the_queue() {
    let Some((postfix, sink)) = instance() else { return };
    Smtp::greeted(postfix.ports.mx).deliver(ALICE, &["hold@test.example"], MAIL).expect(250);
    let held = postfix.held();
    assert_eq!(held.sender, ALICE);
    assert_eq!(held.recipients, ["hold@test.example"]);
    assert!(postfix.postcat(&held.id).contains("Subject: an ordinary mail"));
    assert_eq!(sink.count(), 0);
}

#[test]
fn all_ways_in_lead_to_the_sink() {
    let Some((postfix, sink)) = instance() else { return };
    Smtp::greeted(postfix.ports.early).deliver(ALICE, &[BOB], MAIL).expect(250);
    Smtp::greeted(postfix.ports.submission).deliver(ALICE, &[BOB], MAIL).expect(250);
    Smtp::greeted(postfix.ports.postscreen).deliver(ALICE, &[BOB], MAIL).expect(250);
    let mut proxied = Smtp::connect(rig::smtp::INSIDE, postfix.ports.haproxy);
    proxied.send("PROXY TCP4 198.51.100.77 203.0.113.25 5566 25\r\n");
    proxied.read().expect(220);
    proxied.say("EHLO client.example").expect(250);
    proxied.deliver(ALICE, &[BOB], MAIL).expect(250);
    postfix.sendmail(ALICE, &[BOB], "Subject: local\n\nHello.\n");
    sink.messages(5);
    postfix.wait_empty();
}

/// Postfix between a responder that refuses `no@` and holds `hold@`, and a
/// milter that adds a header.
fn instance() -> Option<(Postfix, Sink)> {
    if skipped() {
        return None;
    }
    let sink = Sink::start();
    let setup = Setup {
        policy: Some(format!("inet:127.0.0.1:{}", responder())),
        milter: Some(format!("inet:127.0.0.1:{}", milter())),
        next_hop: sink.port,
        ..Setup::default()
    };
    Some((Postfix::start(setup), sink))
}

fn responder() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(|| respond(stream.unwrap()));
        }
    });
    port
}

fn respond(mut stream: TcpStream) {
    let mut action = "DUNNO";
    for line in BufReader::new(stream.try_clone().unwrap()).lines() {
        let Ok(line) = line else { return };
        match line.as_str() {
            "recipient=no@test.example" => action = "REJECT 5.7.1 by the responder",
            "recipient=hold@test.example" => action = "HOLD",
            "" => {
                if write!(stream, "action={action}\n\n").is_err() {
                    return;
                }
                action = "DUNNO";
            }
            _ => {}
        }
    }
}

fn milter() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let callbacks = Callbacks::<()>::new().on_eom(|context: &mut EomContext<()>| {
                Box::pin(async {
                    context.actions.add_header("X-Milter", "was here").await.unwrap();
                    Status::Continue
                })
            });
            let config = Config { actions: Actions::ADD_HEADER, ..Config::default() };
            indymilter::run(listener, callbacks, config, std::future::pending::<()>()).await.unwrap();
        });
    });
    port
}
