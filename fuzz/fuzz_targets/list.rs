//! A list's file in each format, and a question to it. The first line says which:
//! `KIND TO FORMAT QUESTION`, as in `network - cidr: 192.0.2.1`.

#![no_main]

use gatepost::lists::Kind;
use gatepost::lists::List;
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
    LazyLock::new(|| std::env::temp_dir().join(format!("gatepost-fuzz-{}", std::process::id())));

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, content) = bytes.split_at(end);
    let Ok(line) = std::str::from_utf8(line) else { return Corpus::Reject };
    let mut words = line.splitn(4, ' ');
    let Some(kind) = words.next().and_then(Kind::parse) else { return Corpus::Reject };
    let Some(word) = words.next() else { return Corpus::Reject };
    let to = To::parse(word);
    if to.is_none() && word != "-" {
        return Corpus::Reject;
    }
    let Some(format) = words.next() else { return Corpus::Reject };
    std::fs::write(&*FILE, content).unwrap();
    let source = Arc::new(Source { name: "rules.yaml".into(), text: String::new() });
    let file = format!("{}{}", format.trim_start_matches('/'), FILE.display());
    let spec = Spec { to, file: Some((file, Place { line: 1, col: 1 })), ..Spec::new("x", kind, source) };
    match List::build(spec) {
        Err(mistakes) => assert!(mistakes.iter().all(|mistake| !mistake.to_string().is_empty())),
        Ok(list) => ask(&list, words.next().unwrap_or_default()),
    }
    Corpus::Keep
});

fn ask(list: &List, text: &str) {
    let folded = text.to_lowercase();
    let query = Query { text, folded: &folded, ip: text.parse().ok() };
    let first = list.lookup(&query);
    let all = list.all_hits(&query);
    assert_eq!(list.contains(&query), first.is_some());
    assert_eq!(first.as_ref().map(|hit| &hit.entry), all.first().map(|hit| &hit.entry));
    for hit in all {
        hit.bind(&mut Vec::new());
    }
}
