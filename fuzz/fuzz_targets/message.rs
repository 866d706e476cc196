//! A message through the milter's side of the desk, with rules that look at all
//! of it: its fields as they are and decoded, its addresses, its file names.

#![no_main]

mod rules;

use gatepost::config::Decides;
use gatepost::message::Message;
use gatepost::message::declared_address;
use gatepost::message::received_from;
use gatepost::reply::Edit;
use gatepost::reply::MilterAnswer;
use gatepost::reply::is_unsafe;
use gatepost::wire::milter::header_value;
use libfuzzer_sys::fuzz_target;
use rules::Room;
use rules::peer;
use std::sync::LazyLock;

const RULES: &str = r#"
rules:
  - name: say-back
    when: {header: {Subject: '/(?<word>\w+)/', From: {address: present}}}
    then: {add_header: {X-Said: "{subject} {from} {word}"}}
  - name: change
    when: {header: {Subject: {raw: '/=\?/'}}}
    then: {change_header: {Subject: "[{rule}] {old}"}}
  - name: remove
    when: {header: '/^X-.*a/'}
    then: {remove_header: {X-Old: /b/}}
  - name: count
    when: {header: {Received: {count: {over: 1}}}}
    then: {hold: "{size}"}
  - name: forged
    when: forged_headers
    then: {remove_header: matched}
  - name: origin
    when: {origin_ip: 192.0.2.0/24}
    then: {log: "{origin_ip}"}
  - name: ambiguous
    when: {ambiguous_mime: any}
    then: {add_header: {X-Tricks: "{tricks}"}}
  - name: files
    when: {attachment: '/(?<end>[.]\w+)$/'}
    then: {reject: "550 5.7.1 {file} {end}"}
"#;

static ROOM: LazyLock<Room> = LazyLock::new(|| Room::with(RULES));

fuzz_target!(|bytes: &[u8]| {
    let message = Message::from_eml(bytes);
    let body = message.raw_body().len();
    for (part, at) in message.parts().iter().zip(0..) {
        assert!(part.within.is_none_or(|within| within < at));
        if let Some(place) = &part.place {
            assert!(place.whole.start <= place.content.start && place.content.start <= place.content.end);
            assert!(place.content.end <= place.whole.end && place.whole.end <= body);
        }
    }
    for (file, _) in message.files() {
        assert!(file.names.iter().all(|name| !name.contains(char::is_control)));
    }
    assert!(message.text().len() <= 1 << 20);
    for field in message.headers().iter() {
        field.decoded();
        field.addresses();
        field.line();
        received_from(&field.raw);
        declared_address(&field.raw);
    }
    let macros = |name: &str| (name == "i").then(|| "4abc".to_owned());
    ROOM.wait(async {
        let mut session = ROOM.desk.milter(peer(Decides::Message));
        session.connect(b"mx.test", "192.0.2.1:25".parse().ok(), &macros).await;
        session.mail(b"<a@sender.test>", &[], &macros).await;
        session.rcpt(b"<b@recipient.test>", &[], &macros).await;
        session.data(&macros).await;
        for field in message.headers().iter() {
            session.header(field.name.as_bytes(), field.raw.as_bytes());
        }
        session.end_of_header();
        let body = bytes.iter().zip(&bytes[bytes.len().min(1)..]).position(|pair| pair == (&b'\n', &b'\n'));
        session.body(&bytes[body.unwrap_or(0)..]);
        let ending = session.end_of_message(&macros).await;
        for edit in &ending.edits {
            if let Edit::PrependHeader { value, .. } | Edit::ChangeHeader { value, .. } = edit {
                let ends_header =
                    header_value(value).split('\n').skip(1).any(|line| !line.starts_with([' ', '\t']));
                assert!(!ends_header, "{value:?}");
            }
        }
        if let MilterAnswer::Reject(reply) | MilterAnswer::Tempfail(reply) = &ending.answer {
            assert!(!reply.text().contains(is_unsafe), "{reply}");
        }
        session.abort().await;
        session.close().await;
    });
});
