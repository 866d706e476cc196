//! Bytes on the policy socket, through rules that say back what they were told,
//! to the answer: always one line, whatever stands in the request.

#![no_main]

mod rules;

use gatepost::config::Decides;
use gatepost::reply::is_unsafe;
use gatepost::wire::delegation::Decoded;
use gatepost::wire::delegation::Decoder;
use libfuzzer_sys::fuzz_target;
use rules::Room;
use rules::peer;
use std::sync::LazyLock;

/// `action=`, a verb, the name of a header field and the longest value.
const MAX_ANSWER_BYTES: usize = 1_000;

const RULES: &str = r#"
rules:
  - name: prepend
    when: {protocol_name: esmtp}
    then: {add_header: {X-Said: "{helo_name} [{client_name}] {reverse_client_name} {id}"}}
  - name: warn
    when: {helo_name: '/w(?<rest>.*)/'}
    then: {log: "{rest} {client_address} {ccert_subject} {ccert_issuer}"}
  - name: hold
    when: {sender: '/h(?<rest>.*)/'}
    then: {hold: "{rest} {sender} {sender_domain} {sasl_username} {sasl_sender}"}
  - name: points
    when: {size: {over: 1000}}
    then: [{score: 2}, {tag: large}]
  - name: limit
    when:
      - client_address: present
      - rate: {key: [client_address, sender], count: messages, limits: 3/1h}
    then: {defer: "{key} {used} {allowed} {window} {retry_after}"}
  - name: discard
    when: {recipient: '/d(?<rest>.*)/'}
    then: {discard: "{rest} {recipient} {recipient_domain} {queue_id}"}
  - name: reject
    when: {recipient: '/r(?<rest>.*)/'}
    then: {reject: "{rest} {recipient} {encryption_cipher} {score}"}
  - name: late
    when: {any: [{tag: large}, {score: {over: 1}}]}
    then: {reject: "521 5.7.0 {sender} {size} {score} {reasons}"}
"#;

static ROOM: LazyLock<Room> = LazyLock::new(|| Room::with(RULES));

fuzz_target!(|bytes: &[u8]| {
    let peer = peer(Decides::Envelope);
    let mut decoder = Decoder::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let space = decoder.space();
        let count = space.len().min(rest.len());
        space[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        decoder.filled(count);
        loop {
            match decoder.decode() {
                Decoded::Broken(_) => return,
                Decoded::More => break,
                Decoded::Request(request, _) => {
                    let action = ROOM.wait(ROOM.desk.delegation(&peer, request.values()));
                    let mut answer = Vec::new();
                    action.write_to(&mut answer);
                    check(&answer);
                }
            }
        }
    }
});

fn check(answer: &[u8]) {
    let text = std::str::from_utf8(answer).expect("an answer is UTF-8");
    let action = text.strip_prefix("action=").and_then(|text| text.strip_suffix("\n\n"));
    let action = action.expect("an answer begins with `action=` and ends with an empty line");
    assert!(!action.is_empty() && !action.contains(is_unsafe), "{action:?}");
    assert!(answer.len() <= MAX_ANSWER_BYTES, "{} bytes", answer.len());
}
