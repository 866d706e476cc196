//! A table of header_checks(5) or body_checks(5), and lines that it is asked about: what
//! stands before the first NUL is the table, each line behind it a text.
//!
//! Many expressions are asked by a way of their own. It must find what each for itself
//! finds, and in the same order; and texts that matched bring in no second line.

#![no_main]

use gatepost::lists::Kind;
use gatepost::lists::List;
use gatepost::lists::ListValue;
use gatepost::lists::Query;
use gatepost::lists::Spec;
use gatepost::lists::To;
use gatepost::yaml::Place;
use gatepost::yaml::Source;
use libfuzzer_sys::Corpus;
use libfuzzer_sys::fuzz_target;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::LazyLock;

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("gatepost-fuzz-checks-{}", std::process::id())));

/// Enough that expressions are asked together, and none of them matches these texts.
const MORE: &str = "/needle one/ WARN\n/needle two/ WARN\n/^needle(three|four)/ WARN\n/n{9}needle/ WARN\n\
                    /five needles/ WARN\n/needle six/ WARN\n/needle seven/ WARN\n/needle eight/ WARN\n";

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Some(end) = bytes.iter().position(|byte| *byte == 0) else { return Corpus::Reject };
    let (table, texts) = bytes.split_at(end);
    let Ok(texts) = std::str::from_utf8(texts.get(1..).unwrap_or_default()) else { return Corpus::Reject };
    for kind in [Kind::Header, Kind::Text] {
        for format in ["pcre:", "regexp:"] {
            let Some(alone) = load(kind, format, table) else { continue };
            let together = load(kind, format, &[table, b"\n", MORE.as_bytes()].concat());
            for text in texts.lines().filter(|text| !text.contains("needle")) {
                let found = ask(&alone, text);
                if let Some(together) = &together {
                    assert_eq!(found, ask(together, text), "{text:?}");
                }
            }
        }
    }
    Corpus::Keep
});

fn load(kind: Kind, format: &str, table: &[u8]) -> Option<List> {
    std::fs::write(&*FILE, table).unwrap();
    let source = Arc::new(Source { name: "rules.yaml".into(), text: String::new() });
    let file = Some((format!("{format}{}", FILE.display()), Place { line: 1, col: 1 }));
    let to = Some(To::Action);
    match List::build(Spec { to, file, ..Spec::new("x", kind, source) }) {
        Err(mistakes) => {
            assert!(mistakes.iter().all(|mistake| !mistake.to_string().is_empty()));
            None
        }
        Ok(list) => Some(list),
    }
}

/// The entry that decides, and what its line says.
fn ask(list: &List, text: &str) -> Option<(String, String)> {
    let folded = text.to_ascii_lowercase();
    let query = Query { text, folded: &folded, ip: None };
    let first = list.lookup(&query);
    assert_eq!(list.contains(&query), first.is_some());
    let all = list.all_hits(&query);
    assert_eq!(first.as_ref().map(|hit| &hit.entry), all.first().map(|hit| &hit.entry));
    let hit = first?;
    let Some(ListValue::Action(action)) = &hit.value else { panic!("an action") };
    let said = action.expand(&hit.captures);
    assert!(said.len() <= 8 << 10);
    Some((hit.entry, format!("{:?} {said}", action.verb)))
}
