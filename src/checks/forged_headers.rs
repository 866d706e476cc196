//! # What it does
//! Matches when a message from a stranger has header fields that only our own programs
//! may write: what scanners found, what gatepost says, and `Authentication-Results` in
//! the name of one of `local.hostnames`.
//!
//! # Why
//! The filters of our readers believe these fields: a stranger writes
//! `X-Spam-Status: No`, or that DKIM was fine, and is believed too (RFC 8601, section 5).
//!
//! # Options
//! - `names`: patterns for the names of fields that count beside `X-Gatepost-*` and
//!   `Authentication-Results`, or `{in: LISTS}`. Without it: `X-Spam-*`, `X-Virus-*`,
//!   `X-Amavis-*`, `X-Rspamd-*`, `X-Quarantine-ID` and `X-MS-Exchange-Organization-*`.
//!
//! A stranger is whoever is neither in `local.networks` nor in `local.relays`; for a
//! scanner in front of Postfix that writes such fields, put it there. `remove_header:
//! matched` takes out exactly the fields that were found: of `Authentication-Results`
//! only those in our name. A text may say `{headers}`, up to 20 of their names. Of a message with more than 2,000
//! fields the rest is not read: ask `header_count` beside it.
//!
//! # Example
//! ```yaml
//! - forged_headers: {names: [X-Spam-*, X-Our-Filter]}
//! ```
//!
//! # Unknown when
//! Never.

use super::Bindings;
use super::Check;
use super::Context;
use super::Needs;
use super::Truth;
use crate::facts::Fact;
use crate::lists::List;
use crate::lists::Query;
use crate::lists::Subject;
use crate::message::Header;
use crate::message::Wants;
use crate::message::comment;
use crate::values::Loader;
use crate::values::TextTest;
use crate::yaml::Entry;
use std::sync::Arc;

/// Names that a text tells; found are as many fields as are read of a message.
const MAX_SHOWN: usize = 20;

/// In lower case; what begins so, or is so.
const ALWAYS: &str = "x-gatepost-";
const SCANNERS: &[&str] =
    &["x-spam-", "x-virus-", "x-amavis-", "x-rspamd-", "x-quarantine-id", "x-ms-exchange-organization-"];

#[derive(Clone, Debug)]
pub struct ForgedHeaders {
    /// None: those of the usual scanners.
    names: Option<TextTest>,
    /// Who may write them.
    trusted: Vec<Arc<List>>,
    /// In whose name results are ours.
    hostnames: Option<Arc<List>>,
}

impl Check for ForgedHeaders {
    const OPTIONS: &'static [&'static str] = &["names"];
    const MAY_STAND_BARE: bool = true;

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let is_bare = node.as_word() == Some("true");
        let Some(options) = node.as_map().or(is_bare.then_some(&[])) else {
            cx.mistake(node.place, "forged_headers stands alone, or with {names: PATTERNS}");
            return None;
        };
        let fine = cx.only_keys(options, Self::OPTIONS, "forged_headers");
        let names = match node.get("names") {
            Some(names) => Some(TextTest::parse(names, "names", Subject::Text, cx)?),
            None => None,
        };
        if let (Some(TextTest::Absent | TextTest::Present), Some(at)) = (&names, node.get("names")) {
            cx.mistake(at.place, "`names` is patterns for names of header fields, such as X-Spam-*");
            return None;
        }
        let trusted = ["local.networks", "local.relays"].into_iter();
        let trusted = trusted.filter_map(|name| cx.lists.get(name).ok().cloned()).collect();
        let hostnames = cx.lists.get("local.hostnames").ok().cloned();
        fine.then_some(Self { names, trusted, hostnames })
    }

    fn needs(&self) -> Needs {
        Needs::of_message(Wants::NOTHING)
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        self.found(cx).next().is_some().into()
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let names = self.shown(cx);
        match names.is_empty() {
            true if !self.is_stranger(cx) => "the client may write such header fields".into(),
            true => "no header field is forged".into(),
            false => format!("only we may write {names}"),
        }
    }

    fn variables(&self) -> Vec<String> {
        vec!["headers".into()]
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        bindings.push(("headers".into(), self.shown(cx)));
    }
}

impl ForgedHeaders {
    /// Name and number of each field that was found.
    pub fn lines(&self, cx: &Context<'_>) -> Vec<(String, u32)> {
        self.found(cx).map(|field| (field.name.clone(), field.occurrence)).collect()
    }

    /// Which facts the patterns are compared with or looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        self.names.as_ref().map(TextTest::reads).unwrap_or_default()
    }

    fn found<'m>(&'m self, cx: &'m Context<'_>) -> impl Iterator<Item = &'m Header> {
        let message = cx.facts.message.as_ref().filter(|_| self.is_stranger(cx));
        let fields = message.into_iter().flat_map(|message| message.headers().iter());
        fields.filter(|field| self.is_ours(field, cx))
    }

    /// Mail of sendmail(1) and bounces of ours come from no network.
    fn is_stranger(&self, cx: &Context<'_>) -> bool {
        if matches!(cx.facts.text(Fact::Direction), Some("local" | "bounce")) {
            return false;
        }
        let client = crate::values::query(cx.facts, Fact::ClientAddress);
        !client.is_some_and(|client| self.trusted.iter().any(|list| list.contains(&client)))
    }

    fn is_ours(&self, field: &Header, cx: &Context<'_>) -> bool {
        let folded = field.name.to_ascii_lowercase();
        if folded.starts_with(ALWAYS) {
            return true;
        }
        if folded == "authentication-results" {
            return self.hostnames.as_ref().is_some_and(|ours| is_in_name_of(&field.raw, ours));
        }
        match &self.names {
            None => SCANNERS.iter().any(|name| folded.starts_with(name)),
            Some(test) => {
                test.matches(Some(&Query { text: &field.name, folded: &folded, ip: None }), cx.facts)
            }
        }
    }

    /// Each name once.
    fn shown(&self, cx: &Context<'_>) -> String {
        let mut names: Vec<&str> = Vec::new();
        for field in self.found(cx) {
            if names.len() < MAX_SHOWN && !names.iter().any(|known| known.eq_ignore_ascii_case(&field.name)) {
                names.push(&field.name);
            }
        }
        names.join(", ")
    }
}

/// Whether the field begins with one of these as the server that says it (RFC 8601,
/// 2.2): comments and blanks may stand before, and the name may be in quotes.
fn is_in_name_of(value: &str, ours: &List) -> bool {
    let mut rest = value.trim_start();
    while rest.starts_with('(') {
        rest = comment(rest).map_or("", |(_, behind)| behind.trim_start());
    }
    let name = match rest.strip_prefix('"') {
        Some(quoted) => unquoted(quoted),
        // What ends a token (RFC 2045, 5.1).
        None => {
            let ends = |c: char| c.is_whitespace() || "()<>@,;:\\\"/[]?=".contains(c);
            rest.split(ends).next().unwrap_or_default().to_owned()
        }
    };
    let name = name.trim();
    let folded = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    ours.contains(&Query { text: &folded, folded: &folded, ip: None })
}

/// What stands before the closing quote, each character for itself.
fn unquoted(quoted: &str) -> String {
    let (mut name, mut escaped) = (String::new(), false);
    // A host's name has 253, each may be escaped.
    for c in quoted.chars().take(1_000) {
        match c {
            _ if escaped => escaped = false,
            '\\' => {
                escaped = true;
                continue;
            }
            '"' => break,
            _ => {}
        }
        name.push(c);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::testing::check;
    use super::super::testing::facts;
    use super::super::testing::load;
    use super::super::testing::wrong;
    use super::*;
    use crate::checks::AnyCheck;
    use crate::facts::Known;
    use crate::facts::Stage;

    #[test]
    fn a_field_that_only_we_may_write_is_forged() {
        for (value, field, expected) in [
            ("true", "X-Spam-Status: No", Match),
            ("true", "x-spam-flag: YES", Match),
            ("true", "X-Virus-Scanned: clean", Match),
            ("true", "X-Spamtrap: x", NoMatch),
            ("true", "X-Gatepost-Score: 0", Match),
            ("true", "Subject: X-Spam-Status: No", NoMatch),
            ("true", "Authentication-Results: mx.example.com; dkim=pass", Match),
            ("true", "Authentication-Results: MX.Example.com 1; none", Match),
            ("true", "Authentication-Results: (a (b) \\)) \"mx.example.com\"; none", Match),
            ("true", "Authentication-Results:\n mx.example.com(x);\n none", Match),
            ("true", "Authentication-Results: \"mx\\.example.co\\m\" 1; none", Match),
            ("true", "Authentication-Results: \" mx.example.com \"; none", Match),
            ("true", "Authentication-Results: mx.example.com/1; none", Match),
            ("true", "Authentication-Results: mx.example.com=1; none", Match),
            ("true", "Authentication-Results: \"mx\\\"example.com\"; none", NoMatch),
            ("true", "Authentication-Results: mx.sender.example; spf=pass", NoMatch),
            ("true", "Authentication-Results: mx.example.com.evil.test; spf=pass", NoMatch),
            ("true", "Authentication-Results: (mx.example.com", NoMatch),
            ("true", "Authentication-Results:", NoMatch),
            ("{names: [X-Our-Filter]}", "X-Our-Filter: fine", Match),
            ("{names: [X-Our-Filter]}", "X-Spam-Status: No", NoMatch),
            ("{names: [X-Our-Filter]}", "X-Gatepost-Score: 0", Match),
            ("{names: X-Our-*}", "X-Our-Filter: fine", Match),
        ] {
            let given = |client: &str| format!("client_address={client} recipients=a@b.test\n\n{field}\n\nx");
            check(&format!("forged_headers: {value}"), &given("198.51.100.7"), expected);
            check(&format!("forged_headers: {value}"), &given("127.0.0.1"), NoMatch);
        }
        for (direction, expected) in [("local", NoMatch), ("bounce", NoMatch), ("outbound", Match)] {
            let given =
                format!("client_address=198.51.100.7 direction={direction}\n\nX-Spam-Status: No\n\nx");
            check("forged_headers: true", &given, expected);
        }
    }

    #[test]
    fn exactly_what_was_found_is_named() {
        let check = load("forged_headers: true").0.unwrap();
        let facts = facts(
            "client_address=198.51.100.7\n\nAuthentication-Results: other.example; none\n\
             X-Spam-Flag: NO\nAuthentication-Results: mx.example.com; spf=pass\nX-SPAM-Flag: NO\n\nx",
        );
        let known = Known::default();
        let cx = Context::new(&facts, &known, Stage::Message);
        assert_eq!(check.because(&cx), "only we may write X-Spam-Flag, Authentication-Results");
        let AnyCheck::ForgedHeaders(check) = check else { panic!() };
        let lines = check.lines(&cx);
        let lines: Vec<_> = lines.iter().map(|(name, number)| (name.as_str(), *number)).collect();
        assert_eq!(lines, [("X-Spam-Flag", 1), ("Authentication-Results", 2), ("X-SPAM-Flag", 2)]);
        let mut bindings = Vec::new();
        check.bind(&cx, &mut bindings);
        assert_eq!(bindings, [("headers".to_owned(), "X-Spam-Flag, Authentication-Results".to_owned())]);
    }

    #[test]
    fn nothing_hides_behind_many() {
        let many: String = (0..1_500).map(|number| format!("X-Spam-{number}: x\n")).collect();
        let facts = facts(&format!("client_address=198.51.100.7\n\n{many}X-Spam-Status: No\n\nx"));
        let known = Known::default();
        let cx = Context::new(&facts, &known, Stage::Message);
        let Some(AnyCheck::ForgedHeaders(check)) = load("forged_headers: true").0 else { panic!() };
        assert_eq!(check.lines(&cx).len(), 1_501);
        assert_eq!(check.shown(&cx).split(", ").count(), MAX_SHOWN);
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        wrong("forged_headers: X-Spam-*", &["forged_headers stands alone, or with {names: PATTERNS}"]);
        wrong(
            "forged_headers: {name: X-Spam-*}",
            &["unknown option `name` of forged_headers; did you mean `names`?"],
        );
        wrong(
            "forged_headers: {names: present}",
            &["`names` is patterns for names of header fields, such as X-Spam-*"],
        );
    }
}
