//! The table of limits through the library: what one decision costs on a bucket in
//! use, what a bucket costs in memory, and both as the number of keys grows.
//!
//! Each size is a process of its own, so that its memory is that of its table. The
//! clock is a number that counts on.

use crate::areas::Bench;
use crate::compare::median;
use crate::processes;
use crate::report::Target;
use crate::requests::mix;
use gatepost::state::Limits;
use gatepost::state::Question;
use gatepost::state::State;
use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::io;
use std::time::Instant;

const SIZES: [u64; 3] = [1_000, 1_000_000, 10_000_000];
const DECISIONS: u64 = 200_000;
const START: u64 = 1_800_000_000_000_000_000;
/// Between two decisions, in nanoseconds.
const STEP: u64 = 10_000;
const HOT_TARGET: Target = Target::AtMost(300.0);
const BYTES_TARGET: Target = Target::AtMost(120.0);
const GROWTH_TARGET: Target = Target::AtMost(1.5);

/// What a table of some size was found to cost.
struct Found {
    hot: f64,
    refused: f64,
    any: f64,
    /// Resident memory for each key.
    bytes: f64,
}

pub fn table(bench: &mut Bench) -> io::Result<()> {
    let mut all = Vec::new();
    for keys in SIZES {
        let found = measured(keys, bench.scale.rounds)?;
        let name = format!("table: {keys} keys");
        bench.report.value(&format!("{name}, a hot bucket"), found.hot, " ns", HOT_TARGET);
        bench.report.value(&format!("{name}, refused by it"), found.refused, " ns", HOT_TARGET);
        bench.report.value(&format!("{name}, any bucket"), found.any, " ns", Target::None);
        // Of a few it is the memory of empty chunks.
        let target = if keys >= 1_000_000 { BYTES_TARGET } else { Target::None };
        bench.report.value(&format!("{name}, a bucket"), found.bytes, " B", target);
        all.push(found);
    }
    if let [few, .., many] = &all[..] {
        bench.report.value("table: hot bucket, 10^7 keys to 10^3", many.hot / few.hot, "", GROWTH_TARGET);
        bench.report.value("table: any bucket, 10^7 keys to 10^3", many.any / few.any, "", Target::None);
    }
    Ok(())
}

fn measured(keys: u64, rounds: usize) -> io::Result<Found> {
    let words = ["table".to_owned(), keys.to_string(), rounds.to_string()];
    let said = processes::role(&words)?.output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    match numbers[..] {
        [hot, refused, any, bytes] => Ok(Found { hot, refused, any, bytes }),
        _ => Err(io::Error::other(format!("the process said `{said}`"))),
    }
}

/// Fills a table and measures it: nanoseconds of a hot decision, of a refusal, of one
/// on any key, and bytes a key.
pub async fn measure(keys: u64, rounds: usize) -> io::Result<[f64; 4]> {
    let limits = |text: &str| text.parse::<Limits>().map_err(io::Error::other);
    let (three, hot) = (limits("1000/1h, 5000/1d, 20000/7d")?, limits("1M/10m, 4M/1h")?);
    let tight = limits("1/1d, 2/7d")?;
    let mut clock = START;
    let mut text = String::with_capacity(64);
    let before = resident();
    // Shards fill unevenly.
    let state = State::in_memory((keys + keys / 8) as usize + 64);
    for number in 0..keys {
        name(&mut text, number);
        clock += 1;
        black_box(state.admit(&[about(&text, &three)], clock).await);
    }
    let bytes = resident().saturating_sub(before) as f64 / keys as f64;
    let (mut hot_times, mut refused_times, mut any_times) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds as u64 {
        for (key, limits, times) in
            [("hot@example.com", &hot, &mut hot_times), ("full@example.com", &tight, &mut refused_times)]
        {
            let start = Instant::now();
            for _ in 0..DECISIONS {
                clock += STEP;
                black_box(state.admit(&[about(key, limits)], clock).await);
            }
            times.push(each(start));
        }
        // Made before, so that writing them is not measured.
        let names: Vec<String> = (0..DECISIONS).map(|at| any_name(round * DECISIONS + at, keys)).collect();
        let start = Instant::now();
        for key in &names {
            clock += STEP;
            black_box(state.admit(&[about(key, &three)], clock).await);
        }
        any_times.push(each(start));
    }
    Ok([median(&hot_times), median(&refused_times), median(&any_times), bytes])
}

pub fn about<'a>(key: &'a str, limits: &'a Limits) -> Question<'a> {
    Question { bucket: 1, key, coarse: None, limits, n: 1, counted: 0, must_fit: true }
}

/// 32 bytes.
pub fn name(text: &mut String, number: u64) {
    text.clear();
    let _ = write!(text, "us{number:08}@customers.example.com");
}

fn any_name(at: u64, keys: u64) -> String {
    let mut text = String::new();
    name(&mut text, mix(at) % keys);
    text
}

fn each(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / DECISIONS as f64
}

/// Bytes of this process.
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    kib * 1024
}
