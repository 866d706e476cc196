//! Who gave a message to us or to the servers that we trust: the address behind our own
//! relays, filters and web mail.
//!
//! What a server that we trust has written is believed, and nothing below it: there
//! the stranger may have written what they like.

use crate::message::Headers;
use crate::message::ReceivedFrom;
use crate::message::declared_address;
use crate::message::received_from;
use std::net::IpAddr;

/// Postfix returns mail that has come by more (hopcount_limit is 50).
const MAX_HOPS: usize = 50;

/// How far a server is believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Trust<'a> {
    /// Its `Received` field.
    Relay,
    /// This field of its, which says the address alone; else its `Received` field.
    Declares(&'a str),
    Stranger,
}

/// None where a server that we trust does not say from whom it had the message.
pub fn origin<'t>(client: IpAddr, headers: &Headers, trust: impl Fn(IpAddr) -> Trust<'t>) -> Option<IpAddr> {
    let mut hop = client;
    // Each server puts its field on top. Postfix does not show us its own.
    for field in headers.named("Received").take(MAX_HOPS) {
        match trust(hop) {
            Trust::Stranger => return Some(hop),
            Trust::Declares(name) => {
                if let Some(declared) = headers.named(name).next() {
                    return declared_address(&declared.raw);
                }
            }
            Trust::Relay => {}
        }
        match received_from(&field.raw) {
            ReceivedFrom::Address(ip) => hop = ip,
            ReceivedFrom::Here => return Some(hop),
            ReceivedFrom::Somewhere => return None,
        }
    }
    match trust(hop) {
        Trust::Declares(name) => match headers.named(name).next() {
            Some(declared) => declared_address(&declared.raw),
            None => Some(hop),
        },
        Trust::Relay | Trust::Stranger => Some(hop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn found(client: &str, header: &str) -> Option<String> {
        let message = Message::from_eml(format!("{header}\n\nx").as_bytes());
        let trust = |ip: IpAddr| match ip.to_string().as_str() {
            "127.0.0.1" | "192.0.2.1" | "192.0.2.2" => Trust::Relay,
            "192.0.2.80" => Trust::Declares("X-Originating-IP"),
            _ => Trust::Stranger,
        };
        origin(client.parse().unwrap(), message.headers(), trust).map(|ip| ip.to_string())
    }

    #[test]
    fn the_first_that_is_not_trusted_is_the_origin() {
        let from = |ip: &str| format!("Received: from x (y [{ip}]) by z");
        let two = [from("192.0.2.2"), from("198.51.100.7"), from("203.0.113.9")].join("\n");
        let forged = [from("198.51.100.7"), from("192.0.2.1"), from("203.0.113.9")].join("\n");
        for (client, header, expected) in [
            ("198.51.100.1", "Subject: x", Some("198.51.100.1")),
            ("198.51.100.1", &two, Some("198.51.100.1")),
            ("192.0.2.1", &two, Some("198.51.100.7")),
            ("192.0.2.1", &forged, Some("198.51.100.7")),
            ("192.0.2.1", "Subject: x", Some("192.0.2.1")),
            ("192.0.2.1", "Received: by relay (Postfix, from userid 33)", Some("192.0.2.1")),
            ("192.0.2.1", "Received: from x by y\nReceived: from x (y [198.51.100.7]) by z", None),
            ("192.0.2.80", "X-Originating-IP: [198.51.100.7]", Some("198.51.100.7")),
            (
                "192.0.2.80",
                "X-Originating-IP: [198.51.100.7]\nX-Originating-IP: 203.0.113.9",
                Some("198.51.100.7"),
            ),
            ("192.0.2.80", "X-Originating-IP: nobody\nReceived: from x (y [198.51.100.7]) by z", None),
            ("192.0.2.80", "Received: from x (y [198.51.100.7]) by z", Some("198.51.100.7")),
            ("198.51.100.1", "X-Originating-IP: [198.51.100.7]", Some("198.51.100.1")),
            ("192.0.2.1", "X-Originating-IP: [198.51.100.7]", Some("192.0.2.1")),
            (
                "192.0.2.1",
                "X-Originating-IP: 198.51.100.7\nReceived: from x (y [192.0.2.80]) by z\nReceived: from x (y [203.0.113.9]) by z",
                Some("198.51.100.7"),
            ),
        ] {
            assert_eq!(found(client, header).as_deref(), expected, "{client} {header}");
        }
    }

    #[test]
    fn a_loop_of_our_own_comes_to_an_end() {
        let header = "Received: from x (y [127.0.0.1]) by z\n".repeat(1_000);
        assert_eq!(found("127.0.0.1", header.trim_end()).as_deref(), Some("127.0.0.1"));
    }
}
