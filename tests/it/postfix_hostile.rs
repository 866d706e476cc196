//! Whatever else is thrown at the sockets, real mail flows. Only Postfix should
//! ever reach them, but a port scan or a wrong `smtpd_milters` line does too.

use crate::rig::*;
use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

const RULES: &str =
    "rules:\n  - {name: seen, when: {header: {Subject: present}}, then: {add_header: {X-Seen: \"yes\"}}}\n";

/// What a stranger might send; to each socket in turn.
fn garbage() -> Vec<Vec<u8>> {
    let mut noise = Vec::new();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.push((state >> 32) as u8);
    }
    vec![
        Vec::new(),
        b"\n\n\n\n".to_vec(),
        b"request=smtpd_access_policy\nprotocol_state=RC".to_vec(),
        b"request=smtpd_access_policy\r\nprotocol_state=RCPT\r\n\r\n".to_vec(),
        b"request=somebody_else\n\n=\n=\n\n".to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        b"\x00\x00\x00\x0dO\x00\x00\x00\x06".to_vec(),
        b"\xff\xff\xff\xffO".to_vec(),
        b"\x00\x00\x00\x00".to_vec(),
        b"\x00\x00\x00\x01Q\x00\x00\x00\x01Z".to_vec(),
        b"EHLO client.example\r\n".to_vec(),
        vec![b'a'; 300_000],
        noise,
    ]
}

fn address(socket: &str) -> String {
    socket.trim_start_matches("inet:").to_owned()
}

#[test]
fn garbage_on_every_socket_while_mail_flows() {
    let Some(rig) = Rig::start(RULES) else { return };
    let sockets = [
        address(&rig.gatepost.policy),
        address(&rig.gatepost.milter),
        format!("127.0.0.1:{}", rig.gatepost.http),
    ];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for socket in &sockets {
            let done = &done;
            scope.spawn(move || {
                // Left open: half a request must block nobody else.
                let mut open = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    for bytes in garbage() {
                        let Ok(mut stream) = TcpStream::connect(socket) else { continue };
                        stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
                        let _ = stream.write_all(&bytes);
                        if open.len() < 60 {
                            open.push(stream);
                        }
                    }
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
        }
        // Set even when an assertion below fails, or the scope would never end.
        let _guard = SetOnDrop(&done);
        for _ in 0..10 {
            rig.send(MAIL).expect(250);
        }
    });
    for message in rig.sink.messages(10) {
        assert_eq!(message.header("X-Seen"), ["yes"]);
    }
    assert_eq!(http::get(rig.gatepost.http, "/healthz").unwrap().0, 200);
    assert_eq!(rig.gatepost.count_log("panicked at"), 0);
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_endless_request_is_answered_and_closed() {
    let Some(rig) = Rig::start(RULES) else { return };
    let mut stream = TcpStream::connect(address(&rig.gatepost.policy)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // More than a request may be; the rest may meet a closed connection.
    let _ = stream.write_all(&b"attribute=value\n".repeat(10_000));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    // A reset may overtake the answer, so none is fine; anything else is not.
    assert!(answer.is_empty() || answer == b"action=DUNNO\n\n", "{:?}", String::from_utf8_lossy(&answer));
    assert!(rig.gatepost.metric("gatepost_protocol_errors_total", &["interface=\"policy\""]).unwrap() >= 1.0);
}

#[test]
fn a_request_in_single_bytes_is_a_request() {
    let Some(rig) =
        Rig::start("rules: [{name: no, when: {recipient: no@test.example}, then: {reject: 5.7.1 no}}]\n")
    else {
        return;
    };
    let mut stream = TcpStream::connect(address(&rig.gatepost.policy)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=192.0.2.1\nclient_port=unknown\n\
                   sender=a@sender.example\nrecipient=no@test.example\ninstance=1.2.3.0\nfuture_attribute=x\n\n";
    for byte in request.bytes() {
        stream.write_all(&[byte]).unwrap();
    }
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n\n") {
        let mut chunk = [0; 512];
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend(&chunk[..count]);
    }
    assert!(answer.starts_with(b"action=554 5.7.1 no"), "{:?}", String::from_utf8_lossy(&answer));
}
