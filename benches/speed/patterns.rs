//! Patterns through the library: reading thousands of them, and asking them about the
//! lines of a mail of 4 KB, beside asking ten.

use crate::areas::Bench;
use crate::compare::median;
use crate::gatepost::folder;
use crate::report::Target;
use crate::requests::mix;
use gatepost::lists::Kind;
use gatepost::lists::List;
use gatepost::lists::Query;
use gatepost::lists::Spec;
use gatepost::lists::To;
use gatepost::yaml::Place;
use gatepost::yaml::Source;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const FEW: u64 = 10;
const MANY: u64 = 5_000;
const TEXT_BYTES: usize = 4096;
const ASKED: u32 = 200;
const LOAD_TARGET: Target = Target::AtMost(1.0);
/// Many against few.
const RATIO_TARGET: Target = Target::AtMost(2.0);

/// A line of a table, by its number.
type Line = fn(u64) -> String;

pub fn patterns(bench: &mut Bench) -> io::Result<()> {
    let dir = folder()?;
    let body = text(|line| line);
    let header = text(|line| format!("X-Line-{}: {line}", line.len()));
    for (what, kind, text, line) in [
        ("body", Kind::Text, &body, plain as Line),
        ("body, in if and endif", Kind::Text, &body, grouped),
        ("header", Kind::Header, &header, of_subject),
    ] {
        let mut times = Vec::new();
        for count in [FEW, MANY] {
            let path = dir.path().join(format!("{}-{count}", what.len()));
            write_table(&path, count, line)?;
            let start = Instant::now();
            let list = load(kind, &path)?;
            let loaded = start.elapsed().as_secs_f64();
            let mut rounds = Vec::new();
            let mut hits = 0;
            for _ in 0..bench.scale.rounds {
                let start = Instant::now();
                for _ in 0..ASKED {
                    hits = text.iter().filter(|line| black_box(found(&list, line))).count();
                }
                rounds.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(ASKED));
            }
            times.push(median(&rounds));
            let name = format!("patterns: {what}, {count}");
            if count == MANY {
                bench.report.value(&format!("{name}, load"), loaded, " s", LOAD_TARGET);
            }
            bench.report.value(&name, median(&rounds), " ns", Target::None);
            bench.report.note(&format!("{hits} of {} lines are listed", text.len()));
        }
        if let [few, many] = times.as_slice() {
            bench.report.value(
                &format!("patterns: {what}, {MANY} against {FEW}"),
                many / few,
                "",
                RATIO_TARGET,
            );
        }
    }
    Ok(())
}

/// Like a word of no language.
fn word(number: u64) -> String {
    const SOUNDS: [&str; 16] =
        ["ba", "de", "ki", "lo", "mu", "na", "po", "ri", "sa", "te", "vi", "xo", "zu", "chi", "gra", "tro"];
    let mut rest = mix(number);
    let sounds = (0..4).map(|_| {
        rest >>= 4;
        SOUNDS.get((rest % 16) as usize).copied().unwrap_or_default()
    });
    sounds.collect()
}

fn plain(number: u64) -> String {
    let (one, other) = (word(number), word(number + MANY));
    match number % 4 {
        0 => format!("/\\b{one} {other}\\b/ REJECT {one}"),
        1 => format!("/^ *{one}.*{other}/ WARN {one}"),
        2 => format!("/({one}|{other}) +now/ HOLD"),
        _ => format!("/https?:[^ ]*{one}\\.(top|zip)/ REJECT"),
    }
}

fn grouped(number: u64) -> String {
    match number % 10 {
        0 => format!("if /{}/\n{}", word(number + 2 * MANY), plain(number)),
        5 => format!("if !/^{}/\n{}", word(number + 2 * MANY), plain(number)),
        4 | 9 => format!("{}\nendif", plain(number)),
        _ => plain(number),
    }
}

fn of_subject(number: u64) -> String {
    let (one, other) = (word(number), word(number + MANY));
    match number % 3 {
        0 => format!("/^Subject: .*{one}/ REJECT"),
        1 => format!("/^(From|Reply-To): .*@{one}\\.{other}/ REJECT"),
        _ => format!("/^X-[a-z-]+: {one} {other}/ IGNORE"),
    }
}

fn write_table(path: &Path, count: u64, line: Line) -> io::Result<()> {
    let mut text = String::new();
    for number in 0..count {
        let _ = writeln!(text, "{}", line(number));
    }
    std::fs::write(path, text)
}

fn load(kind: Kind, path: &Path) -> io::Result<List> {
    let source = Arc::new(Source { name: "bench.yaml".into(), text: String::new() });
    let file = Some((format!("pcre:{}", path.display()), Place::default()));
    let to = Some(To::Action);
    List::build(Spec { to, file, ..Spec::new("bench", kind, source) }).map_err(|mistakes| {
        let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
        io::Error::other(format!("{} mistakes, the first: {first}", mistakes.len()))
    })
}

/// Lines of words, of which one in a hundred stands in some pattern.
fn text(line: fn(String) -> String) -> Vec<String> {
    const COMMON: [&str; 16] = [
        "the",
        "meeting",
        "please",
        "attached",
        "you",
        "for",
        "invoice",
        "regards",
        "tomorrow",
        "and",
        "we",
        "of",
        "https://www.example.com/a",
        "report",
        "is",
        "now",
    ];
    let mut lines = Vec::new();
    let mut bytes = 0;
    let mut number = 0;
    while bytes < TEXT_BYTES {
        let mut words = Vec::new();
        for _ in 0..10 {
            number += 1;
            let common = COMMON.get((mix(number) >> 7) as usize % COMMON.len()).copied().unwrap_or_default();
            words.push(if number.is_multiple_of(100) { word(number) } else { common.to_owned() });
        }
        let line = line(words.join(" "));
        bytes += line.len() + 1;
        lines.push(line);
    }
    lines
}

fn found(list: &List, line: &str) -> bool {
    let folded = line.to_ascii_lowercase();
    list.contains(&Query { text: line, folded: &folded, ip: None })
}
