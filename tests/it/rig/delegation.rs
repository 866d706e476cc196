//! A policy client: the requests Postfix would send, and those it never would.

use super::PATIENCE;
use super::gatepost::tcp_address;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::net::TcpStream;

pub(crate) struct Delegation {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Delegation {
    /// To an inet socket as Postfix writes it.
    pub(crate) fn connect(policy: &str) -> Self {
        let stream = TcpStream::connect(tcp_address(policy)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// Bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next answer's action, which must be well-formed; None at the end.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Option<String> {
        let mut text = String::new();
        while !text.ends_with("\n\n") {
            if self.reader.read_line(&mut text).ok()? == 0 {
                assert!(text.is_empty(), "half an answer: {text:?}");
                return None;
            }
        }
        let action = text.strip_prefix("action=").and_then(|rest| rest.strip_suffix("\n\n"));
        let action = action.unwrap_or_else(|| panic!("not an answer: {text:?}"));
        assert!(!action.is_empty() && !action.contains(['\n', '\r', '\0']), "{action:?}");
        Some(action.to_owned())
    }

    /// One request; what it is answered, without the decision's id behind a
    /// refusal's text.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: &str) -> String {
        self.send(request);
        without_id(self.answer().expect("an answer"))
    }

    /// A request as Postfix 3.7 sends it, with some attributes changed.
    #[track_caller]
    pub(crate) fn asks(&mut self, changes: &[(&str, &str)]) -> String {
        self.ask(&request(changes))
    }
}

/// All attributes of Postfix 3.7 at RCPT, in its order.
const RCPT: &[(&str, &str)] = &[
    ("request", "smtpd_access_policy"),
    ("protocol_state", "RCPT"),
    ("protocol_name", "ESMTP"),
    ("client_address", "192.0.2.1"),
    ("client_name", "unknown"),
    ("client_port", "4321"),
    ("reverse_client_name", "unknown"),
    ("server_address", "127.0.0.1"),
    ("server_port", "25"),
    ("helo_name", "client.example"),
    ("sender", "alice@sender.example"),
    ("recipient", "bob@test.example"),
    ("recipient_count", "0"),
    ("queue_id", ""),
    ("instance", "5b95.6b00f7ac.90922.0"),
    ("size", "0"),
    ("etrn_domain", ""),
    ("stress", ""),
    ("sasl_method", ""),
    ("sasl_username", ""),
    ("sasl_sender", ""),
    ("ccert_subject", ""),
    ("ccert_issuer", ""),
    ("ccert_fingerprint", ""),
    ("ccert_pubkey_fingerprint", ""),
    ("encryption_protocol", ""),
    ("encryption_cipher", ""),
    ("encryption_keysize", "0"),
    ("policy_context", ""),
];

/// The same with some attributes changed; one that is not there is added.
pub(crate) fn request(changes: &[(&str, &str)]) -> String {
    let mut attributes = RCPT.to_vec();
    for &(name, value) in changes {
        match attributes.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => attributes.push((name, value)),
        }
    }
    let lines: String = attributes.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    lines + "\n"
}

/// `554 5.7.1 no [1k0raew1cnf]` → `554 5.7.1 no`.
pub(crate) fn without_id(action: String) -> String {
    match action.strip_suffix(']').and_then(|rest| rest.rsplit_once(" [")) {
        Some((text, _)) => text.to_owned(),
        None => action,
    }
}
