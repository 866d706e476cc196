//! # What it does
//! Matches when the message has a part whose file name fits.
//!
//! # Why
//! Most malware still travels as a file whose name says what it is, once all the
//! ways of hiding a name are undone: every name that any mail program might show
//! is tried.
//!
//! # Options
//! Patterns for the file name (`.exe` is an ending, `*invoice*`, `/regex/`), or:
//! - `name`: the same patterns.
//! - `in`: lists of file names.
//!
//! A text may say `{file}`: the name that fitted; of lists `{entry}`, and
//! `(?<name>…)` of expressions.
//!
//! # Example
//! ```yaml
//! - attachment: [.exe, .scr, '*.pdf.*']
//! ```
//!
//! # Unknown when
//! Never. A message with more parts than are read (10,000) is judged by those
//! that were.

use super::Bindings;
use super::Check;
use super::Context;
use super::Needs;
use super::Truth;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::lists::Hit;
use crate::lists::List;
use crate::lists::Query;
use crate::lists::Subject;
use crate::lists::To;
use crate::message::Wants;
use crate::values::Loader;
use crate::values::TextTest;
use crate::values::Way;
use crate::yaml::Entry;
use std::iter;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Attachment {
    /// Any of them may fit.
    names: Vec<TextTest>,
}

impl Check for Attachment {
    const OPTIONS: &'static [&'static str] = &["name", "in"];

    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
        let node = &entry.value;
        let Some(options) = node.as_map() else {
            return TextTest::parse(node, "attachment", Subject::Filename, cx)
                .map(|test| Self { names: vec![test] });
        };
        let fine = cx.only_keys(options, Self::OPTIONS, "attachment");
        if options.is_empty() {
            cx.mistake(node.place, "attachment needs patterns, name or in");
            return None;
        }
        let mut names = Vec::new();
        for option in options {
            match option.key.as_str() {
                "name" => names.push(TextTest::parse(&option.value, "name", Subject::Filename, cx)?),
                "in" => {
                    let lists = crate::values::lists(&option.value, Subject::Filename, cx)?;
                    names.push(TextTest::in_lists(lists));
                }
                _ => {}
            }
        }
        fine.then_some(Self { names })
    }

    fn needs(&self) -> Needs {
        Needs::of_message(Wants { parts: true, ..Wants::NOTHING })
    }

    fn evaluate(&self, cx: &Context<'_>) -> Truth {
        self.found(cx.facts).is_some().into()
    }

    fn because(&self, cx: &Context<'_>) -> String {
        let parts = cx.facts.message.as_ref().map_or(0, |message| message.parts().len());
        match self.found(cx.facts) {
            Some((name, _)) => format!("a part is named `{name}`"),
            None => format!("none of {parts} parts"),
        }
    }

    fn variables(&self) -> Vec<String> {
        // Any of the tests may be the one that fits.
        let mut each = self.names.iter().map(TextTest::variables);
        let first = each.next().unwrap_or_default();
        let shared = each.fold(first, |kept, next| kept.into_iter().filter(|it| next.contains(it)).collect());
        iter::once("file".to_owned()).chain(shared).collect()
    }

    fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
        let Some((name, way)) = self.found(cx.facts) else {
            return;
        };
        bindings.push(("file".into(), name.to_owned()));
        if let Some(way) = way {
            way.bind(&Query { text: name, folded: &name.to_ascii_lowercase(), ip: None }, bindings);
        }
    }
}

impl Attachment {
    pub fn lists(&self) -> Vec<Arc<List>> {
        self.names.iter().flat_map(TextTest::lists).cloned().collect()
    }

    /// Which facts its values are compared with or looked up by.
    pub fn reads(&self) -> Vec<Fact> {
        self.names.iter().flat_map(TextTest::reads).collect()
    }

    /// The entry that matched, of a list with such values.
    pub fn hit(&self, to: To, cx: &Context<'_>) -> Option<Hit> {
        let message = cx.facts.message.as_ref()?;
        message.parts().iter().flat_map(|part| &part.names).find_map(|name| {
            let query = Query { text: name, folded: &name.to_ascii_lowercase(), ip: None };
            self.names.iter().find_map(|test| test.hit(to, &query))
        })
    }

    /// Each part with a file that fits, and the name of the file.
    pub fn parts(&self, cx: &Context<'_>) -> Vec<(u32, String)> {
        let Some(message) = cx.facts.message.as_ref() else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for (part, number) in message.parts().iter().zip(0..) {
            let fits = part.names.iter().find(|name| {
                let query = Query { text: name, folded: &name.to_ascii_lowercase(), ip: None };
                self.names.iter().any(|test| test.matches(Some(&query), cx.facts))
            });
            found.extend(fits.map(|name| (number, name.clone())));
        }
        found
    }

    /// The first file name that fits, and how.
    fn found<'a>(&'a self, facts: &'a Facts) -> Option<(&'a str, Option<&'a Way>)> {
        let message = facts.message.as_ref()?;
        if self.names.iter().any(|test| matches!(test, TextTest::Absent)) {
            let none = message.parts().iter().all(|part| part.names.is_empty());
            return none.then_some(("", None));
        }
        for name in message.parts().iter().flat_map(|part| &part.names) {
            let folded = name.to_ascii_lowercase();
            let query = Query { text: name, folded: &folded, ip: None };
            if let Some(test) = self.names.iter().find(|test| test.matches(Some(&query), facts)) {
                return Some((name, test.way(&query, facts)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::Truth::Match;
    use super::super::Truth::NoMatch;
    use super::super::testing::check;
    use super::super::testing::wrong;

    const MAIL: &str = "\n\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\
                        Content-Disposition: attachment; filename=\"Invoice.PDF.exe\"\n\nx\n--b\n\
                        Content-Type: text/plain; name=notes.txt\n\ny\n--b--\n";

    #[test]
    fn file_names_are_found_in_the_parts() {
        for (yaml, expected) in [
            ("attachment: .exe", Match),
            ("attachment: [.scr, .pdf]", NoMatch),
            ("attachment: '*.pdf.*'", Match),
            ("attachment: {name: notes.txt}", Match),
            ("attachment: /^invoice/", Match),
            ("attachment: present", Match),
            ("attachment: absent", NoMatch),
        ] {
            check(yaml, MAIL, expected);
        }
    }

    #[test]
    fn mistakes_name_the_options() {
        wrong("attachment: {nane: x}", &["unknown option `nane` of attachment; did you mean `name`?"]);
        wrong("attachment: {}", &["attachment needs patterns, name or in"]);
    }
}
