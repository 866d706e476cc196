//! From where a `Received` field says that a server had the message.
//!
//! A server that we trust has written the field, but what stands in it was partly said
//! by its client: the greeting, and the name that the address points to. The address is
//! what the server saw itself. What is not sure to be that is not taken: a client may
//! greet with `[192.0.2.1]`. One pass, nothing nests, at most [`MAX_BYTES`] are read.

use std::net::IpAddr;

/// Servers write a few hundred bytes.
const MAX_BYTES: usize = 2_000;

/// Who handed it over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum From {
    Address(IpAddr),
    /// Nobody: the message began on that server.
    Here,
    /// Somebody, but the field does not say at which address.
    Somewhere,
}

/// Reads the value of one field (RFC 5321, 4.4, and what is written instead).
pub fn received_from(value: &str) -> From {
    let value = value.get(..value.floor_char_boundary(MAX_BYTES)).unwrap_or_default();
    let mut rest = value.trim_start();
    let first = rest.split_whitespace().next().unwrap_or_default();
    if !first.eq_ignore_ascii_case("from") {
        return From::Here;
    }
    rest = rest.get(first.len()..).unwrap_or_default().trim_start();
    // Exim writes `[192.0.2.1] (helo=name)`, others the greeting here.
    let word = rest.split(|c: char| c.is_whitespace() || c == '(').next().unwrap_or_default();
    rest = rest.get(word.len()..).unwrap_or_default();
    let mut says_helo = false;
    while let Some((comment, behind)) = comment(rest) {
        let found = address_in(comment);
        if let Some(ip) = found.address {
            return From::Address(ip);
        }
        says_helo |= found.says_helo;
        rest = behind;
    }
    // Where the greeting stands elsewhere, this is the address.
    match bracketed(word).filter(|_| says_helo) {
        Some(ip) => From::Address(ip),
        None => From::Somewhere,
    }
}

/// The next comment, if one stands before anything else, and what follows. None also
/// where it never ends.
pub fn comment(text: &str) -> Option<(&str, &str)> {
    let inner = text.trim_start().strip_prefix('(')?;
    let mut depth = 1_usize;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((inner.get(..at)?, inner.get(at + 1..)?));
        }
    }
    None
}

#[derive(Default)]
struct Said {
    address: Option<IpAddr>,
    says_helo: bool,
}

/// The last address in it that is no greeting: before the address stand names, which the
/// client may have chosen.
fn address_in(comment: &str) -> Said {
    let mut said = Said::default();
    let mut is_greeting = false;
    for word in comment.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',')) {
        if std::mem::take(&mut is_greeting) {
            continue;
        }
        let is = |name: &str| word.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        if is("helo=") || is("ehlo=") {
            said.says_helo = true;
        } else if word.eq_ignore_ascii_case("helo") || word.eq_ignore_ascii_case("ehlo") {
            said.says_helo = true;
            is_greeting = true;
        } else if is("ident=") || is("port=") {
            // Exim's, and the first is the client's own.
        } else if let Some(ip) = bracketed(word).or_else(|| bare(word)) {
            said.address = Some(ip);
        }
    }
    said
}

/// `[192.0.2.1]`, `[IPv6:2001:db8::1]`, `[192.0.2.1]:25`, `user@[192.0.2.1]`; of
/// several the last.
fn bracketed(word: &str) -> Option<IpAddr> {
    let (_, inner) = word.rsplit_once('[')?;
    let (inner, _) = inner.split_once(']')?;
    address(inner)
}

/// `192.0.2.1`, `user@192.0.2.1` as qmail and Exchange write it.
fn bare(word: &str) -> Option<IpAddr> {
    let word = word.rsplit_once('@').map_or(word, |(_, host)| host);
    address(word)
}

fn address(text: &str) -> Option<IpAddr> {
    let is_v6 = text.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("ipv6:"));
    let text = if is_v6 { text.get(5..)? } else { text };
    // A zone is of one machine alone.
    let text = text.split('%').next()?;
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// The address in a field such as `X-Originating-IP: [192.0.2.1]`: it alone.
pub fn declared_address(value: &str) -> Option<IpAddr> {
    let value = value.trim();
    let inner = value.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(value);
    address(inner.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_address_that_the_server_saw_is_read() {
        let ip = |text: &str| From::Address(text.parse().unwrap());
        for (value, expected) in [
            // Postfix
            (
                " from mail.a.example (mail.a.example [192.0.2.1])\n\tby mx.b.example (Postfix) with ESMTP id 4",
                ip("192.0.2.1"),
            ),
            (
                "from a (unknown [IPv6:2001:db8::1])\n (using TLSv1.3 with cipher X (256/256 bits))\n by mx",
                ip("2001:db8::1"),
            ),
            (
                "from [192.0.2.9] (pc.a.example [192.0.2.1])\n\t(Authenticated sender: bob) by mx",
                ip("192.0.2.1"),
            ),
            ("from localhost (localhost [127.0.0.1]) by mx (Postfix)", ip("127.0.0.1")),
            ("by mx.b.example (Postfix, from userid 1000) id 4; Sat, 21 Nov 2026", From::Here),
            // Sendmail
            (
                "from a.example (IDENT:[192.0.2.9]@a.example [192.0.2.1] (may be forged)) by mx",
                ip("192.0.2.1"),
            ),
            ("(from bob@localhost) by mx (8.17.1)", From::Here),
            // Exim
            ("from [192.0.2.1] (helo=[192.0.2.9]) by mx with esmtp (Exim 4.97)", ip("192.0.2.1")),
            ("from [192.0.2.1] (port=4711 helo=a.example) by mx", ip("192.0.2.1")),
            ("from a.example ([192.0.2.1] helo=[192.0.2.9]) by mx", ip("192.0.2.1")),
            ("from a.example ([192.0.2.1]:4711 ident=[192.0.2.9]) by mx", ip("192.0.2.1")),
            ("from bob by mx with local (Exim 4.97)", From::Somewhere),
            // qmail
            ("from unknown (HELO [192.0.2.9]) (192.0.2.1) by 0 with SMTP", ip("192.0.2.1")),
            ("from unknown (HELO 192.0.2.9) (bob@192.0.2.1) by 0", ip("192.0.2.1")),
            ("from unknown (HELO 192.0.2.9) by 0", From::Somewhere),
            // Exchange, Google
            ("from EX1.a.example (10.0.0.1) by EX2.a.example (10.0.0.2) with Microsoft SMTP", ip("10.0.0.1")),
            ("from A (2603:10a6:1::1) by B (2603:10a6:2::2)", ip("2603:10a6:1::1")),
            (
                "from mail-wm1-f41.google.com (mail-wm1-f41.google.com. [209.85.128.41]) by mx.google.com",
                ip("209.85.128.41"),
            ),
            // A greeting alone proves nothing.
            ("from [192.0.2.9] by mx with SMTP", From::Somewhere),
            ("from [192.0.2.9] (unknown) by mx (mx [192.0.2.25])", From::Somewhere),
            ("from a.example by mx (mx [192.0.2.25])", From::Somewhere),
            ("FROM a (b [192.0.2.1", From::Somewhere),
            ("from a (b [192.0.2.999]) by mx", From::Somewhere),
            ("from a (b [::ffff:192.0.2.1]) by mx", ip("192.0.2.1")),
            ("from a (b [fe80::1%eth0]) by mx", ip("fe80::1")),
            ("fromage (b [192.0.2.1])", From::Here),
            ("from", From::Somewhere),
            ("", From::Here),
        ] {
            assert_eq!(received_from(value), expected, "{value}");
        }
    }

    #[test]
    fn a_declared_address_stands_alone() {
        for (value, expected) in [
            (" [192.0.2.1]", Some("192.0.2.1")),
            ("192.0.2.1", Some("192.0.2.1")),
            ("[IPv6:2001:db8::1]", Some("2001:db8::1")),
            ("192.0.2.1, 192.0.2.2", None),
            ("a.example", None),
            ("", None),
        ] {
            assert_eq!(declared_address(value), expected.map(|ip| ip.parse().unwrap()), "{value}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_to_an_end(value in "(from |[a-z\\[\\]().: ;@0-9\\\\é]){0,60}") {
            let _ = received_from(&value);
            let _ = declared_address(&value);
        }
    }
}
