//! What a list gives for an entry: limits, a number, a text, names, an action.

use super::action::TableAction;
use super::action::Template;
use super::parents;
use super::pattern::Literal;
use super::pattern::Pattern;
use super::pattern::Query;
use super::pattern::Subject;
use super::pattern::literal;
use super::pattern::literal_matches;
use crate::near::did_you_mean;
use crate::quantity::parse_size;
use crate::state::Limits;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// What the values of a list are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum To {
    Action,
    Limits,
    Names,
    Number,
    Parent,
    Text,
}

impl To {
    pub const WORDS: &[&str] = &["action", "limits", "names", "number", "parent", "text"];

    pub fn word(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Limits => "limits",
            Self::Names => "names",
            Self::Number => "number",
            Self::Parent => "parent",
            Self::Text => "text",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "action" => Self::Action,
            "limits" => Self::Limits,
            "names" => Self::Names,
            "number" => Self::Number,
            "parent" => Self::Parent,
            "text" => Self::Text,
            _ => return None,
        })
    }
}

/// An entry's value. Cheap to clone.
#[derive(Clone, Debug)]
pub enum ListValue {
    Action(Arc<TableAction>),
    /// With the class of `named:` that stands for them, if one was given.
    Limits(Arc<Limits>, Option<Arc<str>>),
    Names(Arc<Names>),
    /// The word `none`: the key is excused.
    None,
    Number(f64),
    /// Whose limits also hold.
    Parent(Arc<str>),
    Text(Arc<str>),
}

/// As a text shows it.
impl fmt::Display for ListValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Action(action) => write!(f, "{:?}", action.verb),
            Self::Limits(limits, _) => limits.fmt(f),
            Self::Names(names) => f.write_str(&names.texts().collect::<Vec<_>>().join(", ")),
            Self::None => f.write_str("none"),
            Self::Number(number) => number.fmt(f),
            Self::Parent(text) | Self::Text(text) => f.write_str(text),
        }
    }
}

/// Patterns for whoever asks: addresses for a sender, domains for its domain.
#[derive(Debug)]
pub struct Names {
    names: Vec<Name>,
}

#[derive(Debug)]
struct Name {
    text: String,
    folded: String,
    form: NameForm,
}

#[derive(Debug)]
enum NameForm {
    /// Came out of an expression's group, hence from a stranger: no pattern.
    Exact,
    /// Its form depends on the asker.
    Literal,
    /// A glob or an expression.
    Pattern(Pattern),
}

impl Names {
    /// Reads the names; those that no asker could match are refused.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let mut names = Vec::with_capacity(texts.len());
        for text in texts {
            names.push(Name {
                text: text.clone(),
                folded: text.to_ascii_lowercase(),
                form: name_form(text)?,
            });
        }
        Ok(Self { names })
    }

    fn exact(texts: Vec<String>) -> Self {
        let name = |text: String| Name { folded: text.to_ascii_lowercase(), text, form: NameForm::Exact };
        Self { names: texts.into_iter().map(name).collect() }
    }

    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| name.text.as_str())
    }

    /// Whether one of the names, read for the subject, matches.
    pub fn matches(&self, subject: Subject, query: &Query<'_>) -> bool {
        self.names.iter().any(|name| match &name.form {
            NameForm::Exact => !name.folded.is_empty() && name.folded == query.folded,
            NameForm::Literal => {
                literal(&name.folded, subject).is_some_and(|form| literal_matches(form, subject, query))
            }
            NameForm::Pattern(pattern) => pattern.matches_as(subject, query),
        })
    }
}

fn name_form(text: &str) -> Result<NameForm, String> {
    let pattern = Pattern::parse(text, true, Subject::Text)?;
    if pattern.is_regex() || text.contains('*') {
        return Ok(NameForm::Pattern(pattern));
    }
    let folded = text.to_ascii_lowercase();
    let subjects = [Subject::Address, Subject::Client, Subject::Domain];
    let fits = subjects.iter().any(|&subject| {
        literal(&folded, subject)
            .is_some_and(|form| !matches!(form, Literal::Name(_, name) if name.contains(' ')))
    });
    if fits { Ok(NameForm::Literal) } else { Err(format!("`{text}` is not an address, domain or network")) }
}

/// A value as a list keeps it.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// Text or names with `$1`: made anew for each match.
    Built(To, Arc<Template>),
    Ready(ListValue),
}

impl Stored {
    /// The value for what an entry's groups matched.
    pub(super) fn value(&self, captures: &[(String, String)]) -> ListValue {
        match self {
            Self::Ready(value) => value.clone(),
            Self::Built(To::Names, template) => {
                let text = template.expand(captures);
                // A stranger's blank or comma must not make one name two.
                ListValue::Names(Arc::new(Names::exact(vec![text])))
            }
            Self::Built(_, template) => ListValue::Text(template.expand(captures).into()),
        }
    }

    /// The highest group that it needs.
    pub(super) fn highest_group(&self) -> usize {
        match self {
            Self::Built(_, template) => template.highest_group(),
            Self::Ready(ListValue::Action(action)) => action.highest_group(),
            Self::Ready(_) => 0,
        }
    }
}

/// Reads values of one list. Equal ones are read, and kept, once.
#[derive(Debug)]
pub(super) struct Reader {
    pub to: To,
    /// The classes of `named:`.
    pub named: HashMap<String, Vec<String>>,
    /// In a table of expressions `$1` stands for a group.
    pub expands: bool,
    pub stored: Vec<Stored>,
    pub known: HashMap<String, u32>,
}

impl Reader {
    /// The number of a value from a file's line.
    pub(super) fn line(&mut self, raw: &str) -> Result<u32, String> {
        if let Some(&number) = self.known.get(raw) {
            return Ok(number);
        }
        let number = self.several(&[raw.to_owned()], true)?;
        self.known.insert(raw.to_owned(), number);
        Ok(number)
    }

    /// The number of a value from a rule file: one text or several.
    pub(super) fn several(&mut self, raw: &[String], is_line: bool) -> Result<u32, String> {
        let expands = self.expands && is_line;
        let stored = match raw {
            [word] if word == "none" && self.to != To::Action => Stored::Ready(ListValue::None),
            _ => self.read(raw, is_line, expands)?,
        };
        let number = u32::try_from(self.stored.len()).map_err(|_| "too many values".to_owned())?;
        self.stored.push(stored);
        Ok(number)
    }

    fn read(&self, raw: &[String], is_line: bool, expands: bool) -> Result<Stored, String> {
        if let (To::Names | To::Text, [text]) = (self.to, raw)
            && expands
        {
            let template = Template::parse(text)?;
            if template.highest_group() > 0 {
                return Ok(Stored::Built(self.to, Arc::new(template)));
            }
        }
        Ok(Stored::Ready(match self.to {
            To::Action => ListValue::Action(Arc::new(TableAction::parse(&one(raw)?, expands)?)),
            To::Limits => {
                let class = self.class(raw).map(|(class, _)| class.as_str().into());
                ListValue::Limits(Arc::new(self.limits(raw)?), class)
            }
            To::Names => ListValue::Names(Arc::new(Names::parse(&if is_line {
                split_names(raw)
            } else {
                raw.to_vec()
            })?)),
            To::Number => ListValue::Number(number(&one(raw)?)?),
            To::Parent => parents::read(&one(raw)?)?,
            To::Text => ListValue::Text(one(raw)?.into()),
        }))
    }

    fn limits(&self, raw: &[String]) -> Result<Limits, String> {
        let class = self.class(raw);
        let text = class.map_or(raw, |(_, limits)| limits).join(", ");
        text.parse().map_err(|error| match raw {
            [word] if class.is_none() => self.no_class(word).unwrap_or(error),
            _ => error,
        })
    }

    fn class(&self, raw: &[String]) -> Option<(&String, &Vec<String>)> {
        match raw {
            [word] => self.named.get_key_value(word),
            _ => None,
        }
    }

    /// A word instead of limits can only have been meant as a class.
    fn no_class(&self, word: &str) -> Option<String> {
        if !word.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        let hint = did_you_mean(word, self.named.keys().map(String::as_str));
        Some(format!("`{word}` is neither limits such as 100/10m nor a class of `named`{hint}"))
    }
}

fn one(raw: &[String]) -> Result<String, String> {
    match raw {
        [text] => Ok(text.clone()),
        _ => Err(format!("one value expected, not {}", raw.len())),
    }
}

/// Postfix's way: commas, blanks, or both.
fn split_names(raw: &[String]) -> Vec<String> {
    let split = raw.iter().flat_map(|text| text.split(|c: char| c == ',' || c.is_ascii_whitespace()));
    split.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn number(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a number such as 5, -1.5 or 10M");
    if !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'K' | b'M' | b'G')) {
        return Err(wrong());
    }
    // Sizes are below 2^53, so that nothing is lost.
    let size = || parse_size(text).map(|size| size as f64);
    text.parse::<f64>().ok().or_else(size).filter(|number| number.is_finite()).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(to: To, expands: bool) -> Reader {
        let named = HashMap::from([("bulk".to_owned(), vec!["5/1h".to_owned(), "9/1d".to_owned()])]);
        Reader { to, named, expands, stored: Vec::new(), known: HashMap::new() }
    }

    fn shown(to: To, raw: &str) -> String {
        let mut reader = reader(to, false);
        match reader.line(raw).map(|number| reader.stored[number as usize].value(&[])) {
            Ok(ListValue::Action(action)) => format!("{:?}", action.verb),
            Ok(ListValue::Limits(limits, _)) => limits.to_string(),
            Ok(ListValue::Parent(text) | ListValue::Text(text)) => text.to_string(),
            Ok(ListValue::Names(names)) => names.texts().collect::<Vec<_>>().join("|"),
            Ok(ListValue::None) => "none".to_owned(),
            Ok(ListValue::Number(number)) => number.to_string(),
            Err(error) => error,
        }
    }

    #[test]
    fn values_are_read_by_what_the_list_gives() {
        for (to, raw, expected) in [
            (To::Limits, "bulk", "5/1h, 9/1d"),
            (To::Limits, "1/1m, 2/1h", "1/1m, 2/1h"),
            (To::Limits, "none", "none"),
            (
                To::Limits,
                "bulc",
                "`bulc` is neither limits such as 100/10m nor a class of `named`; did you mean `bulk`?",
            ),
            (To::Limits, "100", "`100` is not a limit such as 100/10m or 500/1d burst 50"),
            (To::Number, "-1.5", "-1.5"),
            (To::Number, "10K", "10240"),
            (To::Number, "inf", "`inf` is not a number such as 5, -1.5 or 10M"),
            (To::Names, "a@b.test, .c.test  d", "a@b.test|.c.test|d"),
            (To::Parent, "Acme+x@B.test.", "acme@b.test"),
            (
                To::Parent,
                "*.b.test",
                "`*.b.test` is not the name of a parent: a domain or one word, without patterns",
            ),
            (To::Text, "cost $1, all", "cost $1, all"),
            (To::Action, "OK", "Accept"),
        ] {
            assert_eq!(shown(to, raw), expected, "{raw}");
        }
    }

    #[test]
    fn names_are_read_for_whoever_asks() {
        let texts =
            ["bob@b.test", "sunwave.test", ".sunwave.test", "*@c.test", "10.0.0.0/8"].map(str::to_owned);
        let names = Names::parse(&texts).unwrap();
        for (subject, text, expected) in [
            (Subject::Address, "Bob@b.test", true),
            (Subject::Address, "x@sunwave.test", true),
            (Subject::Address, "x@c.test", true),
            (Subject::Address, "x@d.test", false),
            (Subject::Domain, "mail.sunwave.test", true),
            (Subject::Domain, "b.test", false),
            (Subject::Network, "10.9.9.9", true),
        ] {
            let folded = text.to_ascii_lowercase();
            assert_eq!(
                names.matches(subject, &Query { text, folded: &folded, ip: None }),
                expected,
                "{text}"
            );
        }
        assert!(Names::parse(&["a b".to_owned()]).is_err());
    }

    #[test]
    fn a_name_built_from_mail_is_no_pattern() {
        let mut reader = reader(To::Names, true);
        let number = reader.line("$1@b.test").unwrap();
        let stored = &reader.stored[number as usize];
        for (captured, text, expected) in [
            ("bob", "bob@b.test", true),
            ("*", "eve@b.test", false),
            ("", "eve@b.test", false),
            ("x,eve", "eve@b.test", false),
        ] {
            let ListValue::Names(names) = stored.value(&[("1".to_owned(), captured.to_owned())]) else {
                panic!("names expected");
            };
            assert_eq!(names.matches(Subject::Address, &Query { text, folded: text, ip: None }), expected);
        }
    }
}
