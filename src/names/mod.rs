//! Names that strangers give: domains and mail addresses, taken apart once.
//!
//! Nothing here judges whether a name exists or is well formed; it only says
//! which part is which, without allocating, and never fails on odd input.

pub mod generic;

use memchr::memchr;
use memchr::memrchr;
use std::borrow::Cow;

/// An address in internal form (no `<>`, unquoted), split at its last `@`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mailbox<'a> {
    pub local: &'a str,
    /// Without a trailing dot. None for an address that has no domain.
    pub domain: Option<&'a str>,
}

impl<'a> Mailbox<'a> {
    pub fn parse(address: &'a str) -> Self {
        match split_address(address) {
            Some((local, domain)) => Self { local, domain: Some(domain.strip_suffix('.').unwrap_or(domain)) },
            None => Self { local: address, domain: None },
        }
    }

    /// The local part without its extension: `user` of `user+lists`
    /// (Postfix's `recipient_delimiter = +`). A leading `+` starts no extension.
    pub fn base(&self) -> &'a str {
        match memchr(b'+', self.local.as_bytes()) {
            Some(at) if at > 0 => &self.local[..at],
            _ => self.local,
        }
    }
}

/// What is before the last `@` and behind it.
pub fn split_address(address: &str) -> Option<(&str, &str)> {
    let at = memrchr(b'@', address.as_bytes())?;
    Some((address.get(..at)?, address.get(at + 1..)?))
}

/// The mailbox that an address is one of: without its extension and the root's dot.
pub fn without_extension(address: &str) -> Cow<'_, str> {
    let mailbox = Mailbox::parse(address);
    let base = mailbox.base();
    match mailbox.domain {
        None => Cow::from(base),
        Some(domain) if base.len() + 1 + domain.len() == address.len() => Cow::from(address),
        Some(domain) => Cow::from(format!("{base}@{domain}")),
    }
}

/// The name and then each domain above it: `a.b.c`, `b.c`, `c`.
pub fn with_parents(domain: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(domain), |name| name.split_once('.').map(|(_, parent)| parent))
        .filter(|name| !name.is_empty())
}

/// Whether `name` is `domain` or stands below it. Case counts: fold both first.
pub fn is_within(name: &str, domain: &str) -> bool {
    !domain.is_empty() && name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The internal form of an address in a MAIL or RCPT argument: brackets and
/// source route gone, quotes of the local part undone (RFC 5321, 4.1.2), so that
/// it compares equal to what Postfix sends in a policy request.
pub fn internal_form(argument: &str) -> String {
    let inner = argument.strip_prefix('<').and_then(|a| a.strip_suffix('>')).unwrap_or(argument);
    let inner = match inner.strip_prefix('@') {
        // A source route: `@relay1,@relay2:user@example.com`.
        Some(_) => inner.split_once(':').map_or(inner, |(_, address)| address),
        None => inner,
    };
    if !inner.contains(['"', '\\']) {
        return inner.to_owned();
    }
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {}
            '\\' => plain.extend(chars.next()),
            c => plain.push(c),
        }
    }
    plain
}

/// The form in which a command has it, without brackets: the local part is quoted
/// unless it is a dot-atom (RFC 5321, 4.1.2).
pub fn external_form(address: &str) -> String {
    let is_atom = |c: char| c.is_ascii_alphanumeric() || !c.is_ascii() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let mailbox = Mailbox::parse(address);
    let Some(domain) = mailbox.domain else {
        return address.to_owned();
    };
    let local = mailbox.local;
    let dotted = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    if !local.is_empty() && !dotted && local.chars().all(is_atom) {
        return format!("{local}@{domain}");
    }
    let quoted: String = local
        .chars()
        .flat_map(|c| ['\\', c].into_iter().skip(usize::from(!matches!(c, '"' | '\\'))))
        .collect();
    format!("\"{quoted}\"@{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_at_the_last_at() {
        for (text, local, domain, base) in [
            ("bob@example.com", "bob", Some("example.com"), "bob"),
            ("bob+lists@example.com.", "bob+lists", Some("example.com"), "bob"),
            ("a@b@example.com", "a@b", Some("example.com"), "a@b"),
            ("+x@example.com", "+x", Some("example.com"), "+x"),
            ("postmaster", "postmaster", None, "postmaster"),
            ("", "", None, ""),
            ("@", "", Some(""), ""),
        ] {
            let mailbox = Mailbox::parse(text);
            assert_eq!((mailbox.local, mailbox.domain, mailbox.base()), (local, domain, base), "{text}");
        }
    }

    #[test]
    fn an_extension_is_of_no_other_mailbox() {
        for (text, expected) in [
            ("bob+lists@example.com", "bob@example.com"),
            ("bob@example.com.", "bob@example.com"),
            ("bob@example.com", "bob@example.com"),
            ("bob+lists", "bob"),
            ("+x@example.com", "+x@example.com"),
            ("<>", "<>"),
            ("bob+@", "bob@"),
        ] {
            assert_eq!(without_extension(text), expected, "{text}");
        }
    }

    #[test]
    fn a_name_is_within_itself_and_what_is_above_it() {
        assert!(is_within("a.example.com", "example.com"));
        assert!(is_within("example.com", "example.com"));
        assert!(!is_within("anexample.com", "example.com"));
        assert!(!is_within("example.com", ""));
        assert_eq!(with_parents("a.b.c").collect::<Vec<_>>(), ["a.b.c", "b.c", "c"]);
    }

    #[test]
    fn arguments_become_what_a_policy_request_says() {
        for (argument, expected) in [
            ("<bob@example.com>", "bob@example.com"),
            ("<>", ""),
            ("bob@example.com", "bob@example.com"),
            ("<\"q u\"@example.com>", "q u@example.com"),
            ("<\"a\\\"b\"@example.com>", "a\"b@example.com"),
            ("<@relay.test,@other.test:bob@example.com>", "bob@example.com"),
        ] {
            assert_eq!(internal_form(argument), expected, "{argument}");
        }
    }

    #[test]
    fn a_local_part_is_quoted_where_it_must_be() {
        for (address, expected) in [
            ("bob+x@example.com", "bob+x@example.com"),
            ("q u@example.com", "\"q u\"@example.com"),
            ("a\"b\\c@example.com", "\"a\\\"b\\\\c\"@example.com"),
            ("a..b@example.com", "\"a..b\"@example.com"),
            ("postmaster", "postmaster"),
        ] {
            assert_eq!(external_form(address), expected, "{address}");
            assert_eq!(internal_form(&format!("<{expected}>")), address);
        }
    }
}
