//! What writing the state down costs those who decide: the 99.9th percentile of a decision
//! at a fifth of the load, without writing and while a million keys are written, all of
//! them and those that change.
//!
//! A process of its own, as the daemon has it: threads that decide, and one that writes.

use crate::areas::Bench;
use crate::compare::median;
use crate::processes;
use crate::report::Target;
use crate::requests::mix;
use crate::roles::on_threads;
use crate::table::about;
use crate::table::name;
use gatepost::state::Event;
use gatepost::state::Keeper;
use gatepost::state::Limits;
use gatepost::state::Nanos;
use gatepost::state::Reading;
use gatepost::state::State;
use std::hint::black_box;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;
use std::time::Instant;

const KEYS: u64 = 1_000_000;
const START: u64 = 1_800_000_000_000_000_000;
/// Of each of these so much is spent with deciding.
const TURN: Duration = Duration::from_millis(1);
const BUSY: Duration = Duration::from_micros(200);
const EVERY: Duration = Duration::from_secs(1);
const ADDED_TARGET: Target = Target::AtMost(5_000.0);

pub fn snapshot(bench: &mut Bench) -> io::Result<()> {
    let rounds = bench.scale.rounds.min(5);
    let said = processes::role(&["snapshot".to_owned(), rounds.to_string()])?.output()?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [without, with, longest, seconds, bytes, loading] = numbers[..] else {
        return Err(io::Error::other(format!("the process said `{said}`")));
    };
    let report = &mut bench.report;
    report.value("snapshot: 99.9 % of decisions, none written", without, " us", Target::None);
    report.value("snapshot: the same while it is written", with, " us", Target::None);
    report.value("snapshot: added by writing", with - without, " us", ADDED_TARGET);
    report.value("snapshot: the longest decision", longest, " us", Target::None);
    report.value("snapshot: all of 10^6 keys", seconds, " s", Target::None);
    report.value("snapshot: bytes a key", bytes, " B", Target::None);
    report.value("snapshot: reading 10^6 keys", loading, " s", Target::None);
    Ok(())
}

/// The percentile without and with, the longest with (µs), a whole snapshot (s), bytes a
/// key, and reading it (s).
pub fn measure(rounds: usize) -> io::Result<[f64; 6]> {
    let began = Instant::now();
    let limits = "1000/1h, 5000/1d, 20000/7d".parse::<Limits>().map_err(io::Error::other)?;
    let state = State::in_memory((KEYS + KEYS / 8) as usize);
    let mut text = String::new();
    on_threads(1, async {
        for number in 0..KEYS {
            name(&mut text, number);
            black_box(state.admit(&[about(&text, &limits)], now(began)).await);
        }
        Ok(())
    })?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let (mut longest, mut seconds, mut bytes, mut loading) = (0.0_f64, Vec::new(), 0.0, Vec::new());
    for _ in 0..rounds {
        without.push(while_idle(&state, &limits, began)?.0);
        let dir = tempfile::tempdir()?;
        let (percentile, most, took, written) = while_written(&state, &limits, began, dir.path())?;
        with.push(percentile);
        longest = longest.max(most);
        seconds.push(took);
        bytes = written / KEYS as f64;
        let start = Instant::now();
        let other = State::in_memory((KEYS + KEYS / 8) as usize);
        Keeper::open(dir.path(), EVERY, &other, reading(began)).map_err(io::Error::other)?;
        loading.push(start.elapsed().as_secs_f64());
    }
    Ok([median(&without), median(&with), longest, median(&seconds), bytes, median(&loading)])
}

fn while_idle(state: &State, limits: &Limits, began: Instant) -> io::Result<(f64, f64)> {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let deciding = scope.spawn(|| decide(state, limits, began, &stop));
        thread::sleep(Duration::from_secs(2));
        stop.store(true, Ordering::Relaxed);
        joined(deciding.join())
    })
}

/// Beside the percentile and the longest: how long a snapshot took, and its bytes.
fn while_written(
    state: &State,
    limits: &Limits,
    began: Instant,
    dir: &std::path::Path,
) -> io::Result<(f64, f64, f64, f64)> {
    let (mut keeper, _) = Keeper::open(dir, EVERY, state, reading(began)).map_err(io::Error::other)?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let deciding = scope.spawn(|| decide(state, limits, began, &stop));
        let written = loop {
            let turned = keeper.turn(state, reading(began));
            match turned.event {
                Some(Event::Snapshot { written, .. }) => break Ok(written),
                Some(Event::Failed { why, .. }) => break Err(io::Error::other(why)),
                _ => thread::sleep(turned.pause),
            }
        };
        stop.store(true, Ordering::Relaxed);
        let (percentile, longest) = joined(deciding.join())?;
        let written = written?;
        Ok((percentile, longest, written.took.as_secs_f64(), written.bytes as f64))
    })
}

/// Decides for a fifth of the time; µs of the 99.9th percentile, and of the longest.
fn decide(state: &State, limits: &Limits, began: Instant, stop: &AtomicBool) -> io::Result<(f64, f64)> {
    let mut times: Vec<u64> = Vec::with_capacity(10_000_000);
    let mut text = String::new();
    let mut at = 0;
    on_threads(1, async {
        while !stop.load(Ordering::Relaxed) {
            let turn = Instant::now();
            while turn.elapsed() < BUSY {
                at += 1;
                name(&mut text, mix(at) % KEYS);
                let start = Instant::now();
                black_box(state.admit(&[about(&text, limits)], now(began)).await);
                times.push(start.elapsed().as_nanos() as u64);
            }
            thread::sleep(TURN.saturating_sub(turn.elapsed()));
        }
        Ok(())
    })?;
    times.sort_unstable();
    let micros = |at: usize| times.get(at).map_or(f64::NAN, |nanos| *nanos as f64 / 1e3);
    Ok((micros(times.len() * 999 / 1_000), micros(times.len().saturating_sub(1))))
}

fn joined<T>(ended: thread::Result<io::Result<T>>) -> io::Result<T> {
    ended.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

fn now(began: Instant) -> Nanos {
    START + began.elapsed().as_nanos() as u64
}

fn reading(began: Instant) -> Reading {
    Reading { nanos: now(began), wall: now(began), uptime: now(began), boot: 1 }
}
