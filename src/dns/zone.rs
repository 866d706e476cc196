//! Answers written down as text, a record a line: `NAME TYPE DATA`, or `NAME
//! SERVFAIL`, `REFUSED`, `TIMEOUT`. What is not written does not exist. In names and
//! in quoted strings `\DDD` is any byte, in decimal, and `\x` is x.
//!
//! `*.zone` stands for all names below it that are not written (RFC 4592); of a
//! name that fails every kind fails.

use super::Absence;
use super::Answer;
use super::Failure;
use super::Kind;
use super::MAX_ALIASES;
use super::Name;
use super::Question;
use super::Record;
use std::collections::BTreeMap;

const FORM: &str =
    "a line is NAME TYPE DATA with A AAAA CNAME MX PTR TXT, or NAME SERVFAIL, REFUSED or TIMEOUT";

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Zone {
    names: BTreeMap<String, Node>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    alias: Option<Name>,
    trouble: Option<Answer>,
    records: Vec<(Kind, Record)>,
}

impl Zone {
    /// Reads the text; what is wrong comes with the number of its line, from 1.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut zone = Self::default();
        for (line, number) in text.lines().zip(1..) {
            zone.line(line).map_err(|why| (number, why))?;
        }
        Ok(zone)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            return Ok(());
        }
        let (name, rest) = line.split_once(char::is_whitespace).ok_or(FORM)?;
        let (word, data) = rest.trim().split_once(char::is_whitespace).unwrap_or((rest.trim(), ""));
        let data = data.trim();
        let plain = String::from_utf8(strings(&format!("\"{name}\""))?).ok();
        let name =
            plain.and_then(|name| Name::parse_any(&name)).ok_or_else(|| format!("`{name}` is not a name"))?;
        let node = self.names.entry(name.as_str().to_owned()).or_default();
        let host = |text: &str| Name::parse(text).ok_or_else(|| format!("`{text}` is not a name"));
        let word = word.to_ascii_uppercase();
        let trouble = match word.as_str() {
            "SERVFAIL" => Some(Answer::Failed(Failure::ServFail)),
            "REFUSED" => Some(Answer::Failed(Failure::Refused)),
            "TIMEOUT" => Some(Answer::Silent),
            _ => None,
        };
        if trouble.is_some() {
            if !data.is_empty() {
                return Err(format!("nothing may stand behind {word}, but here is `{data}`"));
            }
            node.trouble = trouble;
            return Ok(());
        }
        if data.is_empty() {
            return Err(FORM.to_owned());
        }
        let record = match word.as_str() {
            "A" => {
                let ip = data.parse().map_err(|_| format!("`{data}` is not an IPv4 address"))?;
                (Kind::A, Record::A(ip))
            }
            "AAAA" => {
                let ip = data.parse().map_err(|_| format!("`{data}` is not an IPv6 address"))?;
                (Kind::Aaaa, Record::Aaaa(ip))
            }
            "CNAME" => {
                node.alias = Some(host(data)?);
                return Ok(());
            }
            "MX" => {
                let (preference, exchange) = data.split_once(char::is_whitespace).unwrap_or(("10", data));
                let preference =
                    preference.parse().map_err(|_| format!("`{preference}` is not a preference"))?;
                let exchange = exchange.trim();
                let exchange = if exchange == "." { None } else { Some(host(exchange)?) };
                (Kind::Mx, Record::Mx { preference, exchange })
            }
            "PTR" => (Kind::Ptr, Record::Ptr(host(data)?)),
            "TXT" => (Kind::Txt, Record::Txt(strings(data)?.into_boxed_slice())),
            _ => return Err(FORM.to_owned()),
        };
        node.records.push(record);
        Ok(())
    }

    pub fn answer(&self, question: &Question) -> Answer {
        let mut name = question.name.clone();
        for _ in 0..=MAX_ALIASES {
            let Some(node) = self.node(&name) else {
                return Answer::Absent(if self.has_below(&name) {
                    Absence::NoRecord
                } else {
                    Absence::NoName
                });
            };
            if let Some(trouble) = &node.trouble {
                return trouble.clone();
            }
            if let Some(alias) = &node.alias {
                name = alias.clone();
                continue;
            }
            let of_kind = node.records.iter().filter(|(kind, _)| *kind == question.kind);
            let records: Vec<_> = of_kind.map(|(_, record)| record.clone()).collect();
            return match records.is_empty() {
                true => Answer::Absent(Absence::NoRecord),
                false => Answer::Records(records.into()),
            };
        }
        Answer::Failed(Failure::Malformed)
    }

    fn node(&self, name: &Name) -> Option<&Node> {
        if let Some(node) = self.names.get(name.as_str()) {
            return Some(node);
        }
        if self.has_below(name) {
            return None;
        }
        let mut rest = name.as_str();
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(node) = self.names.get(&format!("*.{parent}")) {
                return Some(node);
            }
            // A name that is there is no part of a wider wildcard.
            if self.names.contains_key(parent) {
                return None;
            }
            rest = parent;
        }
        None
    }

    fn has_below(&self, name: &Name) -> bool {
        let below = format!(".{name}");
        self.names.keys().any(|known| known.ends_with(&below) && !known.starts_with("*."))
    }
}

/// `"one" "two"` joined, or the words as they stand.
fn strings(data: &str) -> Result<Vec<u8>, String> {
    if !data.starts_with('"') {
        return Ok(data.as_bytes().to_vec());
    }
    let mut joined = Vec::new();
    let mut rest = data;
    while let Some(inner) = rest.strip_prefix('"') {
        let mut bytes = inner.bytes().enumerate();
        let end = loop {
            match bytes.next() {
                Some((at, b'\\')) => match inner.get(at + 1..at + 4).and_then(|code| code.parse().ok()) {
                    Some(byte) => {
                        joined.push(byte);
                        bytes.nth(2);
                    }
                    None => joined.extend(bytes.next().map(|(_, byte)| byte)),
                },
                Some((at, b'"')) => break at,
                Some((_, byte)) => joined.push(byte),
                None => return Err("a string has no closing quote".to_owned()),
            }
        };
        rest = inner.get(end + 1..).unwrap_or_default().trim_start();
    }
    match rest {
        "" => Ok(joined),
        _ => Err(format!("`{rest}` stands behind the last string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: &str = r#"
# what a test would write
Mail.Example.com   A     192.0.2.1
mail.example.com   A     192.0.2.2
mail.example.com   AAAA  2001:db8::1
www.example.com    CNAME mail.example.com.
loop.example.com   CNAME loop.example.com
example.com        MX    10 mail.example.com
nomail.example     MX    0 .
example.com        TXT   "v=spf1 " "-all \"x\""
example.com        TXT   v=other with words
bytes.example.com  TXT   "\195\164\013\\\"\300"
7.2.0.192.in-addr.arpa PTR mail.example.com
a\032b.example.com A    192.0.2.3
bad.example        SERVFAIL
shy.example        REFUSED
slow.example       TIMEOUT
*.wild.example     A     127.0.0.2
own.wild.example   TXT   here
"#;

    fn ask(name: &str, kind: Kind) -> Answer {
        let zone = Zone::parse(ZONE).unwrap();
        zone.answer(&Question::new(Name::parse(name).unwrap(), kind))
    }

    #[test]
    fn what_is_written_is_answered() {
        let a = |ips: &[&str]| {
            let each = ips.iter().map(|ip| Record::A(ip.parse().unwrap()));
            Answer::Records(each.collect())
        };
        let none = Answer::Absent(Absence::NoRecord);
        let no_name = Answer::Absent(Absence::NoName);
        for (name, kind, expected) in [
            ("mail.example.com", Kind::A, a(&["192.0.2.1", "192.0.2.2"])),
            ("www.example.com", Kind::A, a(&["192.0.2.1", "192.0.2.2"])),
            ("loop.example.com", Kind::A, Answer::Failed(Failure::Malformed)),
            ("mail.example.com", Kind::Txt, none.clone()),
            ("com", Kind::A, none.clone()),
            ("nothing.example", Kind::A, no_name.clone()),
            ("bad.example", Kind::Txt, Answer::Failed(Failure::ServFail)),
            ("shy.example", Kind::Txt, Answer::Failed(Failure::Refused)),
            ("slow.example", Kind::A, Answer::Silent),
            ("any.wild.example", Kind::A, a(&["127.0.0.2"])),
            ("a.b.wild.example", Kind::A, a(&["127.0.0.2"])),
            ("own.wild.example", Kind::A, none),
            ("below.own.wild.example", Kind::A, no_name),
        ] {
            assert_eq!(ask(name, kind), expected, "{name}");
        }
        let texts: Vec<_> = ["v=spf1 -all \"x\"", "v=other with words"]
            .map(|text| Record::Txt(text.as_bytes().into()))
            .into();
        assert_eq!(ask("example.com", Kind::Txt), Answer::Records(texts.into()));
        let blank = Question::new(Name::parse_any("a b.example.com").unwrap(), Kind::A);
        assert_eq!(Zone::parse(ZONE).unwrap().answer(&blank), a(&["192.0.2.3"]));
        let bytes = Record::Txt(b"\xc3\xa4\r\\\"300".as_slice().into());
        assert_eq!(ask("bytes.example.com", Kind::Txt), Answer::Records([bytes].into()));
        let nomail = Record::Mx { preference: 0, exchange: None };
        assert_eq!(ask("nomail.example", Kind::Mx), Answer::Records([nomail].into()));
    }

    #[test]
    fn a_mistake_has_its_line() {
        for (text, expected) in [
            ("\na.example", (2, FORM)),
            ("a.example SRV 1", (1, FORM)),
            ("a.example A", (1, FORM)),
            ("a.example A 1.2.3", (1, "`1.2.3` is not an IPv4 address")),
            ("a..example A 1.2.3.4", (1, "`a..example` is not a name")),
            ("a.example TIMEOUT 3s", (1, "nothing may stand behind TIMEOUT, but here is `3s`")),
            ("a.example TXT \"x", (1, "a string has no closing quote")),
        ] {
            assert_eq!(Zone::parse(text), Err((expected.0, expected.1.to_owned())), "{text}");
        }
    }
}
