//! A milter's events → facts, in the form in which a policy request has them.
//!
//! The arguments are raw commands and macros: with brackets, quotes and source
//! routes. Macros that Postfix rewrites (`{rcpt_addr}`) are never used to tell
//! who somebody is.

use super::Fact;
use super::Facts;
use super::NULL_SENDER;
use super::UNKNOWN_NAME;
use super::kept_helo;
use crate::names::internal_form;
use std::net::SocketAddr;

/// What a milter event's macros say; asked by name, without braces.
pub type Macros<'a> = &'a (dyn Fn(&str) -> Option<String> + Send + Sync);

/// The macros that carry a fact, by the event at which they are read.
const AT_MAIL: &[(&str, Fact)] = &[
    ("auth_authen", Fact::SaslUsername),
    ("auth_type", Fact::SaslMethod),
    ("tls_version", Fact::EncryptionProtocol),
    ("cipher", Fact::EncryptionCipher),
    ("cipher_bits", Fact::EncryptionKeysize),
    ("cert_subject", Fact::CcertSubject),
    ("cert_issuer", Fact::CcertIssuer),
];

const AT_CONNECT: &[(&str, Fact)] = &[
    ("daemon_name", Fact::DaemonName),
    ("client_ptr", Fact::ReverseClientName),
    ("daemon_addr", Fact::ServerAddress),
    ("daemon_port", Fact::ServerPort),
];

/// Of transactions that are over, kept until there is more: some ten of them.
const MAX_OLD_BYTES: usize = 2 * 1024;

/// What the milter knows of the session and of the transaction in it.
#[derive(Clone, Debug, Default)]
pub struct MilterFacts {
    pub facts: Facts,
}

impl MilterFacts {
    /// The macros to be asked for at CONNECT and MAIL, beside the queue id.
    pub fn macros_at_connect() -> impl Iterator<Item = &'static str> {
        AT_CONNECT.iter().map(|&(name, _)| name)
    }

    pub fn macros_at_mail() -> impl Iterator<Item = &'static str> {
        AT_MAIL.iter().map(|&(name, _)| name)
    }

    /// `host` is a verified name, `[address]`, or `unknown`.
    pub fn connect(&mut self, host: &[u8], address: Option<SocketAddr>, macros: Macros<'_>) {
        let host = String::from_utf8_lossy(host);
        let name = if host.starts_with('[') { UNKNOWN_NAME } else { &*host };
        self.facts.set(Fact::ClientName, name);
        if let Some(address) = address {
            self.facts.set(Fact::ClientAddress, &address.ip().to_canonical().to_string());
            if address.port() != 0 {
                self.facts.set_number(Fact::ClientPort, address.port().into());
            }
        }
        self.read(AT_CONNECT, macros);
    }

    pub fn helo(&mut self, name: &[u8]) {
        self.facts.set(Fact::HeloName, &kept_helo(&String::from_utf8_lossy(name)));
    }

    /// Forgets the transaction before this one.
    pub fn mail(&mut self, sender: &[u8], parameters: &[&[u8]], macros: Macros<'_>) {
        self.end_transaction();
        let sender = internal_form(&String::from_utf8_lossy(sender));
        self.facts.set(Fact::Sender, if sender.is_empty() { NULL_SENDER } else { &sender });
        for parameter in parameters {
            let parameter = String::from_utf8_lossy(parameter);
            if let Some((name, value)) = parameter.split_once('=')
                && name.eq_ignore_ascii_case("size")
                && value != "0"
            {
                self.facts.set(Fact::AnnouncedSize, value);
            }
        }
        self.read(AT_MAIL, macros);
        // Postfix leaves these macros out in plaintext; a policy request says 0.
        if !self.facts.is_known(Fact::EncryptionProtocol) {
            self.facts.set(Fact::EncryptionKeysize, "0");
        }
        self.queue_id(macros);
    }

    pub fn queue_id(&mut self, macros: Macros<'_>) {
        if let Some(id) = macros("i").filter(|id| !id.is_empty()) {
            self.facts.set(Fact::QueueId, &id);
        }
    }

    pub fn end_transaction(&mut self) {
        for fact in Fact::all() {
            if fact.info().scope != super::Scope::Connection {
                self.facts.unset(fact);
            }
        }
        self.facts.recipients.clear();
        self.facts.message = None;
        self.compact();
    }

    /// The buffer only grows: begin anew when a few mails have gone by.
    fn compact(&mut self) {
        if self.facts.text.len() < MAX_OLD_BYTES {
            return;
        }
        let mut fresh = Facts::default();
        fresh.complete_from(&self.facts);
        self.facts = fresh;
    }

    fn read(&mut self, names: &[(&str, Fact)], macros: Macros<'_>) {
        for &(name, fact) in names {
            match macros(name) {
                Some(value) if !value.is_empty() && value != "0" => {
                    let value = value.strip_prefix("IPv6:").unwrap_or(&value);
                    self.facts.set(fact, value);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macros(name: &str) -> Option<String> {
        match name {
            "i" => Some("4XyZ".into()),
            "auth_authen" => Some("bob".into()),
            "daemon_addr" => Some("IPv6:::1".into()),
            _ => None,
        }
    }

    #[test]
    fn events_say_the_same_as_a_policy_request() {
        let mut milter = MilterFacts::default();
        milter.connect(b"[192.0.2.1]", Some("192.0.2.1:5566".parse().unwrap()), &macros);
        milter.helo(b"mail(er).example");
        milter.mail(b"<\"q u\"@Example.com>", &[b"SIZE=77", b"BODY=8BITMIME"], &macros);
        let facts = &milter.facts;
        for (fact, expected) in [
            (Fact::ClientName, Some("unknown")),
            (Fact::ClientAddress, Some("192.0.2.1")),
            (Fact::ClientPort, Some("5566")),
            (Fact::ServerAddress, Some("::1")),
            (Fact::HeloName, Some("mail?er?.example")),
            (Fact::Sender, Some("q u@Example.com")),
            (Fact::SenderDomain, Some("Example.com")),
            (Fact::AnnouncedSize, Some("77")),
            (Fact::SaslUsername, Some("bob")),
            (Fact::QueueId, Some("4XyZ")),
            (Fact::EncryptionProtocol, None),
            (Fact::EncryptionKeysize, Some("0")),
        ] {
            assert_eq!(facts.text(fact), expected, "{}", fact.name());
        }
    }

    #[test]
    fn bits_of_a_key_are_those_of_the_connection() {
        let mut milter = MilterFacts::default();
        milter.mail(b"<>", &[], &|name| match name {
            "tls_version" => Some("TLSv1.3".into()),
            "cipher_bits" => Some("256".into()),
            _ => None,
        });
        assert_eq!(milter.facts.number(Fact::EncryptionKeysize), Some(256));
        milter.mail(b"<>", &[], &|_| None);
        assert_eq!(milter.facts.number(Fact::EncryptionKeysize), Some(0));
    }

    #[test]
    fn a_new_transaction_forgets_the_last_but_not_the_connection() {
        let mut milter = MilterFacts::default();
        milter.connect(b"a.example", Some("192.0.2.1:5566".parse().unwrap()), &macros);
        milter.mail(b"<a@b.test>", &[b"SIZE=77"], &macros);
        milter.mail(b"<>", &[], &|_| None);
        assert_eq!(milter.facts.text(Fact::Sender), Some("<>"));
        assert_eq!(milter.facts.text(Fact::AnnouncedSize), None);
        assert_eq!(milter.facts.text(Fact::SaslUsername), None);
        assert_eq!(milter.facts.text(Fact::ClientName), Some("a.example"));
    }
}
