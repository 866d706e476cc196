//! Entries of one list of which one hides the other, where an entry decides how much
//! somebody may send: lists `to: limits` and `to: parent`. Which of two equals was
//! meant can't be guessed, and what can never apply is a mistake.

use super::glob::Glob;
use super::pattern::Subject;
use super::pattern::literal;
use crate::names::Mailbox;
use std::collections::HashSet;

/// What has been added so far.
#[derive(Debug, Default)]
pub(super) struct Overlaps {
    subdomains: bool,
    /// Of the rule file, which goes before the list's own.
    given: HashSet<String>,
    /// Domains and, with a dot before them, what is below them.
    domains: HashSet<String>,
    globs: Vec<(String, Glob)>,
    expressions: HashSet<String>,
}

impl Overlaps {
    pub(super) fn new(subdomains: bool) -> Self {
        Self { subdomains, ..Self::default() }
    }

    /// An entry of the rule file is about to be added.
    pub(super) fn given(&mut self, text: &str, subject: Subject) -> Result<(), String> {
        self.given.insert(text.to_ascii_lowercase());
        self.entry(text, subject)
    }

    /// Whether a line may repeat what it repeats: the rule file goes first.
    pub(super) fn may_repeat(&self, text: &str) -> bool {
        self.given.contains(&text.to_ascii_lowercase())
    }

    /// Any entry is about to be added.
    pub(super) fn entry(&mut self, text: &str, subject: Subject) -> Result<(), String> {
        let folded = text.to_ascii_lowercase();
        if folded.starts_with('/') {
            let is_new = self.expressions.insert(text.to_owned());
            return if is_new { Ok(()) } else { Err(format!("`{text}` is given twice")) };
        }
        if literal(&folded, subject).is_none() {
            return self.glob(text, folded);
        }
        let mailbox = Mailbox::parse(&folded);
        if subject == Subject::Address && mailbox.base() != mailbox.local {
            let plain = folded.replacen(mailbox.local, mailbox.base(), 1);
            return Err(format!(
                "`{text}` can't differ from `{plain}`: a mailbox counts without its `+extension`"
            ));
        }
        let has_parents = matches!(subject, Subject::Address | Subject::Client | Subject::Domain);
        if self.subdomains && has_parents && mailbox.domain.is_none() {
            let twin = match folded.strip_prefix('.') {
                Some(domain) => domain.to_owned(),
                None => format!(".{folded}"),
            };
            if self.domains.contains(&twin) {
                let domain = folded.trim_start_matches('.');
                return Err(format!(
                    "`.{domain}` and `{domain}` are the same in a list with `subdomains: true`: leave one out"
                ));
            }
            self.domains.insert(folded);
        }
        Ok(())
    }

    fn glob(&mut self, text: &str, folded: String) -> Result<(), String> {
        let Some(glob) = Glob::parse(&folded) else {
            return Ok(());
        };
        // What matches the stars of a glob as if they were a text matches all of it.
        if let Some((wider, _)) = self.globs.iter().find(|(_, wider)| wider.matches(&folded)) {
            return Err(hidden(text, wider));
        }
        self.globs.push((folded, glob));
        Ok(())
    }
}

/// What is said of an entry that another leaves nothing to.
pub(super) fn hidden(text: &str, wider: &str) -> String {
    format!("`{text}` never applies: `{wider}` above it has all of it; put the narrower one first")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_another_hides_is_told() {
        let wide = |text: &str, wider: &str| Some(hidden(text, wider));
        let twins = |name: &str| {
            Some(format!(
                "`.{name}` and `{name}` are the same in a list with `subdomains: true`: leave one out"
            ))
        };
        for (subject, subdomains, first, second, expected) in [
            (Subject::Address, false, "ann@x.test", "x.test", None),
            (Subject::Address, false, "x.test", ".x.test", None),
            (Subject::Address, true, "x.test", ".X.test", twins("x.test")),
            (Subject::Domain, true, ".x.test", "x.test", twins("x.test")),
            (Subject::Address, true, "ann@x.test", "x.test", None),
            (Subject::Address, false, "*@x.test", "a*@X.test", wide("a*@X.test", "*@x.test")),
            (Subject::Address, false, "*@x.test", "*@x.test", wide("*@x.test", "*@x.test")),
            (Subject::Address, false, "a*@x.test", "*@x.test", None),
            (Subject::Address, false, "a*@x.test", "*b@x.test", None),
            (Subject::Address, false, "*@x.test", "ann@x.test", None),
            (Subject::Address, false, "/^a/", "/^a/", Some("`/^a/` is given twice".to_owned())),
            (Subject::Client, false, "10.*", "10.1.*", None),
            (Subject::Text, true, "a", ".a", None),
            (
                Subject::Address,
                false,
                "x.test",
                "Ann+news@x.test",
                Some(
                    "`Ann+news@x.test` can't differ from `ann@x.test`: a mailbox counts without its `+extension`"
                        .to_owned(),
                ),
            ),
        ] {
            let mut overlaps = Overlaps::new(subdomains);
            assert_eq!(overlaps.entry(first, subject), Ok(()), "{first}");
            assert_eq!(overlaps.entry(second, subject).err(), expected, "{first}, {second}");
        }
    }
}
