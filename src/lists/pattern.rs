//! One pattern, told by its form: literal, `.below.example`, `user@`, `<>`,
//! network, `glob*`, `/regex/`, `/Regex/c`. What a form means depends on what
//! it is asked about, the [`Subject`].
//!
//! Patterns are the operator's; the texts are strangers'. Matching takes time
//! proportional to the text, does not allocate, and cannot fail.

use super::glob::Glob;
use super::network;
use super::pcre;
use super::pcre::Expression;
use super::pcre::Flags;
use crate::names::Mailbox;
use ipnet::IpNet;
use std::fmt::Write as _;
use std::net::IpAddr;

/// What a pattern is asked about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Subject {
    /// A mail address, or the name somebody logged in with.
    Address,
    /// A host's address or its verified name; `unknown` is no name.
    Client,
    Domain,
    Filename,
    /// A whole `Name: value` line.
    Header,
    /// An IP address.
    Network,
    Text,
}

impl Subject {
    /// As in `of:` of a list, for messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Client => "client",
            Self::Domain => "domain",
            Self::Filename => "filename",
            Self::Header => "header",
            Self::Network => "network",
            Self::Text => "text",
        }
    }

    /// What is expected of a pattern, for a message.
    fn expected(self) -> &'static str {
        match self {
            Self::Address => "a mail address, a domain, `user@` or `<>`",
            Self::Client => "an address, network or host name",
            Self::Domain => "a domain",
            Self::Filename => "a file name or `.ending`",
            Self::Header => "a header line",
            Self::Network => "an address or network",
            Self::Text => "a text",
        }
    }
}

/// One question: the text in the forms that matching needs.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// As it came. Of a header line there may be several forms, with a NUL between them:
    /// an expression fits it if it fits one.
    pub text: &'a str,
    /// The same in ASCII lower case; of a header line that which people read.
    pub folded: &'a str,
    /// For clients and networks; if absent, the text is tried as an address.
    pub ip: Option<IpAddr>,
}

impl<'a> Query<'a> {
    /// IPv4 in IPv6 is IPv4.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.ip.or_else(|| self.text.parse().ok()).map(|ip| ip.to_canonical())
    }

    /// The folded text without what does not count: the root's dot of a name,
    /// and what some systems drop from the end of a file's.
    pub(super) fn key(&self, subject: Subject) -> &'a str {
        match subject {
            Subject::Address | Subject::Client | Subject::Domain => without_root(self.folded),
            Subject::Filename => self.folded.trim_end_matches(['.', ' ']),
            Subject::Header | Subject::Network | Subject::Text => self.folded,
        }
    }
}

/// How a literal text is to be compared. `Mailbox`, `Domain` and `Local` are for addresses.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Kind {
    /// What ends in a dot and this text.
    Below,
    Domain,
    Local,
    Mailbox,
    Whole,
}

impl Kind {
    pub(super) const COUNT: usize = 5;
}

/// A pattern that is neither glob nor expression, borrowed from its folded text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Literal<'a> {
    Name(Kind, &'a str),
    Network(IpNet),
    Null,
}

#[derive(Clone, Debug)]
pub struct Pattern {
    subject: Subject,
    text: String,
    form: Form,
}

#[derive(Clone, Debug)]
pub(super) enum Form {
    Glob(Glob),
    Name(Kind, String),
    Network(IpNet),
    Null,
    Regex(Expression),
}

impl Pattern {
    /// Reads a pattern for a subject. `quoted`: the text stood in quotes, so
    /// slashes in it that cannot be a pattern's are a path's.
    pub fn parse(text: &str, quoted: bool, subject: Subject) -> Result<Self, String> {
        if let Some((body, flags)) = expression_of(text, quoted)? {
            return Self::expression(text, body, flags, subject);
        }
        let folded = text.to_ascii_lowercase();
        let form = match literal(&folded, subject) {
            Some(Literal::Name(kind, name)) => Form::Name(kind, name.to_owned()),
            Some(Literal::Network(network)) => Form::Network(network),
            Some(Literal::Null) => Form::Null,
            None => match Glob::parse(&folded) {
                Some(glob) if subject != Subject::Network => Form::Glob(glob),
                _ => return Err(misfit(text, subject)),
            },
        };
        Ok(Self { subject, text: text.to_owned(), form })
    }

    /// A pattern from a pcre table; `text` is how it is shown.
    pub(super) fn expression(text: &str, body: &str, flags: Flags, subject: Subject) -> Result<Self, String> {
        let expression = pcre::compile(body, flags)?;
        Ok(Self { subject, text: text.to_owned(), form: Form::Regex(expression) })
    }

    pub(super) fn network(text: &str, network: IpNet, subject: Subject) -> Self {
        Self { subject, text: text.to_owned(), form: Form::Network(network) }
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn form(&self) -> &Form {
        &self.form
    }

    pub fn is_regex(&self) -> bool {
        matches!(self.form, Form::Regex(_))
    }

    pub fn matches(&self, query: &Query<'_>) -> bool {
        self.matches_as(self.subject, query)
    }

    /// The same for another subject than it was read for.
    pub(super) fn matches_as(&self, subject: Subject, query: &Query<'_>) -> bool {
        match &self.form {
            Form::Glob(glob) => glob_matches(glob, &self.text, subject, query),
            Form::Name(kind, name) => literal_matches(Literal::Name(*kind, name), subject, query),
            Form::Network(network) => literal_matches(Literal::Network(*network), subject, query),
            Form::Null => literal_matches(Literal::Null, subject, query),
            Form::Regex(expression) => any_text(subject, query, |text| expression.regex.is_match(text)),
        }
    }

    /// What the groups of an expression matched, under their numbers and, if
    /// they have one, their names. Empty for other forms and if there is no match.
    pub fn captures(&self, query: &Query<'_>) -> Vec<(String, String)> {
        let Form::Regex(expression) = &self.form else {
            return Vec::new();
        };
        let mut found = Vec::new();
        any_text(self.subject, query, |text| {
            let Some(captures) = expression.regex.captures(text) else {
                return false;
            };
            for (number, name) in expression.regex.capture_names().enumerate().skip(1) {
                let value = captures.get(number).map_or("", |group| group.as_str());
                found.push((number.to_string(), value.to_owned()));
                found.extend(name.map(|name| (name.to_owned(), value.to_owned())));
            }
            true
        });
        found
    }

    /// The names of its groups: `(?<name>…)`.
    pub fn capture_names(&self) -> Vec<String> {
        let Form::Regex(expression) = &self.form else {
            return Vec::new();
        };
        expression.regex.capture_names().flatten().map(str::to_owned).collect()
    }

    /// How many groups it has, named or not.
    pub(super) fn group_count(&self) -> usize {
        match &self.form {
            Form::Regex(expression) => expression.regex.captures_len().saturating_sub(1),
            _ => 0,
        }
    }
}

/// Whether the text is an expression by its form, and its parts.
pub(super) fn expression_of(text: &str, quoted: bool) -> Result<Option<(&str, Flags)>, String> {
    let Some((body, letters)) = text.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')) else {
        return Ok(None);
    };
    match letters {
        "" => Ok(Some((body, Flags::default()))),
        "c" => Ok(Some((body, Flags { mind_case: true, ..Flags::default() }))),
        "i" => Err(
            "patterns ignore case already (in Postfix's tables an `i` would mean the opposite); `c` minds case"
                .to_owned(),
        ),
        _ if quoted => Ok(None),
        _ => Err(format!("`{letters}` is no flag of a pattern: `c` minds case; a text with slashes must be quoted")),
    }
}

/// Reads a folded text that is no expression. None if it does not fit the
/// subject, or is a glob.
pub(super) fn literal(folded: &str, subject: Subject) -> Option<Literal<'_>> {
    if folded.is_empty() {
        return None;
    }
    match subject {
        Subject::Address => address_literal(folded),
        Subject::Client => {
            network::parse(folded).map(Literal::Network).or_else(|| name_literal(folded, true))
        }
        Subject::Domain => name_literal(folded, false),
        Subject::Filename if folded.contains('*') => None,
        Subject::Filename => {
            let name = folded.trim_end_matches(['.', ' ']);
            let below = name.strip_prefix('.').filter(|ending| !ending.is_empty());
            (!name.is_empty())
                .then(|| below.map_or(Literal::Name(Kind::Whole, name), |e| Literal::Name(Kind::Below, e)))
        }
        Subject::Network => network::parse(folded).map(Literal::Network),
        Subject::Header | Subject::Text if folded.contains('*') => None,
        Subject::Header | Subject::Text => Some(Literal::Name(Kind::Whole, folded)),
    }
}

fn address_literal(folded: &str) -> Option<Literal<'_>> {
    if folded == "<>" {
        return Some(Literal::Null);
    }
    if folded.contains('*') || folded.starts_with('<') && folded.ends_with('>') {
        return None;
    }
    let text = without_root(folded);
    let named =
        |kind, name: &'_ str| -> Option<(Kind, usize)> { (!name.is_empty()).then_some((kind, name.len())) };
    let (kind, len) = match text.rsplit_once('@') {
        Some((local, "")) => named(Kind::Local, local),
        // As in smtpd_sender_login_maps.
        Some(("", domain)) => named(Kind::Domain, domain),
        Some(_) => named(Kind::Mailbox, text),
        None if text.contains('/') && network::parse(text).is_some() => None,
        None => match text.strip_prefix('.') {
            Some(parent) => named(Kind::Below, parent),
            None => named(Kind::Domain, text),
        },
    }?;
    let name = match kind {
        Kind::Local => text.get(..len),
        _ => text.get(text.len() - len..),
    };
    name.map(|name| Literal::Name(kind, name))
}

fn name_literal(folded: &str, is_host: bool) -> Option<Literal<'_>> {
    let stranger = |c: char| {
        c.is_ascii_whitespace()
            || matches!(c, '@' | '/' | '<' | '>' | '*')
            || is_host && matches!(c, ':' | '[' | ']' | '=' | ',')
    };
    if folded.contains(stranger) {
        return None;
    }
    let name = without_root(folded);
    let (kind, name) = name.strip_prefix('.').map_or((Kind::Whole, name), |parent| (Kind::Below, parent));
    (!name.is_empty()).then_some(Literal::Name(kind, name))
}

pub(super) fn literal_matches(literal: Literal<'_>, subject: Subject, query: &Query<'_>) -> bool {
    let (kind, name) = match literal {
        Literal::Name(kind, name) => (kind, name),
        Literal::Network(network) => {
            return matches!(subject, Subject::Client | Subject::Network)
                && query.address().is_some_and(|ip| network.contains(&ip));
        }
        Literal::Null => return subject == Subject::Address && is_null(query.text),
    };
    let key = query.key(subject);
    // Most patterns do not fit, and most of those show it at once: only then is the
    // address taken apart.
    let may_fit = match kind {
        Kind::Below | Kind::Domain => key.strip_suffix('.').unwrap_or(key).ends_with(name),
        Kind::Local => key.starts_with(name),
        Kind::Mailbox => key.as_bytes().first() == name.as_bytes().first(),
        Kind::Whole => return key == name,
    };
    if !may_fit {
        return false;
    }
    let mailbox = Mailbox::parse(key);
    let host = if subject == Subject::Address { mailbox.domain.unwrap_or_default() } else { key };
    let is_local = |local: &str| local == mailbox.local || local == mailbox.base();
    match kind {
        Kind::Below => is_below(host, name),
        Kind::Domain => mailbox.domain.unwrap_or(key) == name,
        Kind::Local => is_local(name),
        Kind::Mailbox => name
            .rsplit_once('@')
            .is_some_and(|(local, domain)| mailbox.domain == Some(domain) && is_local(local)),
        Kind::Whole => false,
    }
}

pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "<>")
}

fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// A glob without `@` is about the domain of an address; a login has none.
fn glob_matches(glob: &Glob, written: &str, subject: Subject, query: &Query<'_>) -> bool {
    match subject {
        Subject::Address => {
            let key = query.key(subject);
            let domain = if written.contains('@') { None } else { Mailbox::parse(key).domain };
            glob.matches(domain.unwrap_or(key))
        }
        Subject::Client => {
            has_name(query) && glob.matches(query.key(subject))
                || query.address().is_some_and(|ip| glob.matches(IpText::new(ip).as_str()))
        }
        _ => glob.matches(query.key(subject)),
    }
}

/// The texts that an expression is tried on: of a client, name and address; of a header
/// line its forms.
pub(super) fn any_text(subject: Subject, query: &Query<'_>, mut test: impl FnMut(&str) -> bool) -> bool {
    match subject {
        Subject::Client | Subject::Network => {
            subject == Subject::Client && has_name(query) && test(query.text)
                || query.address().is_some_and(|ip| test(IpText::new(ip).as_str()))
        }
        Subject::Filename => test(query.text.trim_end_matches(['.', ' '])),
        Subject::Header => query.text.split('\0').any(test),
        _ => test(query.text),
    }
}

fn has_name(query: &Query<'_>) -> bool {
    !matches!(query.folded, "" | "unknown")
}

/// An address as text, without the heap.
struct IpText {
    bytes: [u8; 48],
    len: usize,
}

impl IpText {
    fn new(ip: IpAddr) -> Self {
        let mut text = Self { bytes: [0; 48], len: 0 };
        // 45 bytes is the longest there is.
        let _ = write!(text, "{ip}");
        text
    }

    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl std::fmt::Write for IpText {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let place = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Why a text is no pattern for a subject.
pub(super) fn misfit(text: &str, subject: Subject) -> String {
    if text.is_empty() && subject != Subject::Network {
        return "an empty pattern; the null sender is `<>`, a missing value is `absent`".to_owned();
    }
    format!("`{text}` is not {}", subject.expected())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pattern: &str, subject: Subject, text: &str, ip: Option<&str>) -> bool {
        let pattern = Pattern::parse(pattern, false, subject).unwrap();
        let folded = text.to_ascii_lowercase();
        pattern.matches(&Query { text, folded: &folded, ip: ip.map(|ip| ip.parse().unwrap()) })
    }

    fn check(subject: Subject, cases: &[(&str, &str, &str)]) {
        for (pattern, hit, miss) in cases {
            assert!(ask(pattern, subject, hit, None), "{pattern} should match {hit}");
            assert!(!ask(pattern, subject, miss, None), "{pattern} should not match {miss}");
        }
    }

    #[test]
    fn addresses() {
        check(
            Subject::Address,
            &[
                ("Bob@Example.com", "bob@example.COM", "rob@example.com"),
                ("bob@example.com", "bob+lists@example.com", "bob@mail.example.com"),
                ("bob@example.com", "bob@example.com.", "bob@example.comm"),
                ("bob+x@example.com", "bob+x@example.com", "bob@example.com"),
                ("example.com", "bob@example.com", "bob@a.example.com"),
                ("@example.com", "bob@example.com", "bob@a.example.com"),
                (".example.com", "bob@a.b.example.com", "bob@example.com"),
                (".example.com", "bob@a.example.com", "bob@anexample.com"),
                ("abuse@", "ABUSE@any.test", "abused@any.test"),
                ("abuse@", "abuse+x@any.test", "x@abuse"),
                ("abuse@", "abuse", "x"),
                ("bob", "bob", "bobby"),
                ("<>", "", "a@b"),
                ("*@example.com", "x@example.com", "x@a.example.com"),
                ("mail-*.example.com", "x@mail-7.example.com", "mail-@example.com"),
                ("/^a.*@b/", "Ax@B", "xa@b"),
                ("/^A/c", "A@b", "a@b"),
                ("a/b@example.com", "a/b@example.com", "a@example.com"),
            ],
        );
    }

    #[test]
    fn domains_names_and_files() {
        check(
            Subject::Domain,
            &[
                ("example.com", "EXAMPLE.com.", "a.example.com"),
                ("example.com.", "example.com", "example.co"),
                (".local", "pc.local", "local"),
                ("[192.0.2.1]", "[192.0.2.1]", "192.0.2.1"),
                ("192.0.2.1", "192.0.2.1", "192.0.2.10"),
                ("mail*.x.test", "mail7.x.test", "amail7.x.test"),
            ],
        );
        check(
            Subject::Filename,
            &[
                (".exe", "a.EXE", "a.exe.txt"),
                (".exe", "a.exe. .", "exe"),
                (".tar.gz", "a.tar.gz", "a.gz"),
                ("setup.exe", "Setup.exe", "mysetup.exe"),
                ("inv*.pdf", "invoice.pdf", "pdf"),
                ("/\\.exe$/", "a.exe..", "a.exe1"),
            ],
        );
        check(Subject::Text, &[("A b", "a B", "a"), ("/a b/", "xA By", "ab")]);
        check(Subject::Header, &[("/^Subject: .*casino/", "subject: the Casino", "X: casino")]);
    }

    #[test]
    fn clients_and_networks() {
        for (pattern, subject, text, ip, expected) in [
            ("192.168.1.0/22", Subject::Network, "192.168.2.9", None, true),
            ("192.168.1.0/22", Subject::Network, "192.168.4.1", None, false),
            ("195.235.39", Subject::Client, "unknown", Some("195.235.39.7"), true),
            ("195.235.39", Subject::Client, "unknown", Some("195.235.3.97"), false),
            ("10.1.*", Subject::Network, "10.1.9.9", None, true),
            ("10.0.0.0/8", Subject::Network, "::ffff:10.1.2.3", None, true),
            ("::ffff:10.0.0.0/104", Subject::Network, "10.1.2.3", None, true),
            ("[2001:db8::]/32", Subject::Network, "2001:db8:1::1", None, true),
            ("2001:db8::1", Subject::Network, "2001:db8::2", None, false),
            ("10.0.0.0/8", Subject::Network, "no address", None, false),
            (".example.com", Subject::Client, "mx.example.com", Some("192.0.2.1"), true),
            ("*", Subject::Client, "unknown", None, false),
            ("unknown", Subject::Client, "unknown", Some("192.0.2.1"), true),
            ("/^192\\.0\\.2\\./", Subject::Client, "unknown", Some("192.0.2.1"), true),
            ("/known/", Subject::Client, "unknown", Some("192.0.2.1"), false),
            ("mailout-*.bigmail.example", Subject::Client, "mailout-7.bigmail.example", None, true),
        ] {
            assert_eq!(ask(pattern, subject, text, ip), expected, "{pattern} {text} {ip:?}");
        }
    }

    #[test]
    fn what_cannot_match_is_refused() {
        for (pattern, subject, expected) in [
            ("office", Subject::Network, "`office` is not an address or network"),
            ("", Subject::Domain, "an empty pattern; the null sender is `<>`, a missing value is `absent`"),
            ("10.0.0.0/33", Subject::Client, "`10.0.0.0/33` is not an address, network or host name"),
            ("10.0.0.256", Subject::Network, "`10.0.0.256` is not an address or network"),
            ("mail*", Subject::Network, "`mail*` is not an address or network"),
            ("a@b.test", Subject::Domain, "`a@b.test` is not a domain"),
            ("10.0.0.0/8", Subject::Address, "`10.0.0.0/8` is not a mail address, a domain, `user@` or `<>`"),
            (
                "/adsl/i",
                Subject::Domain,
                "patterns ignore case already (in Postfix's tables an `i` would mean the opposite); `c` minds case",
            ),
            (
                "/usr/sbin",
                Subject::Text,
                "`sbin` is no flag of a pattern: `c` minds case; a text with slashes must be quoted",
            ),
        ] {
            assert_eq!(Pattern::parse(pattern, false, subject).unwrap_err(), expected, "{pattern}");
        }
        assert!(!Pattern::parse("/usr/sbin", true, Subject::Text).unwrap().is_regex());
        assert!(Pattern::parse("/a/", true, Subject::Text).unwrap().is_regex());
    }

    #[test]
    fn groups_have_numbers_and_names() {
        let pattern = Pattern::parse("/^(?<host>[a-z]+)(-x)?\\.(test)$/", true, Subject::Domain).unwrap();
        let query = Query { text: "MX.test", folded: "mx.test", ip: None };
        let pairs: Vec<_> = pattern.captures(&query);
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(pairs, [("1", "MX"), ("host", "MX"), ("2", ""), ("3", "test")]);
        assert_eq!(pattern.capture_names(), ["host"]);
    }
}
