//! What the README claims about speed, measured: `benches/run [--quick] [NAME…]`.
//!
//! Every claim is a ratio to something bare, taken in rounds that alternate in
//! one run, since absolute numbers say more of a machine than of a program.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test or bench that can't go on says so and ends"
)]
#![allow(unreachable_pub, reason = "a program's modules say `pub` for what others use")]

// As the program itself has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod areas;
mod compare;
mod content;
mod count;
mod dns;
mod dnsbl;
mod gatepost;
mod keys;
mod lookup;
mod milter;
mod names;
mod nameserver;
mod noop;
mod patterns;
mod policy;
mod postfix;
mod processes;
mod report;
mod requests;
mod roles;
mod rules;
mod snapshot;
mod socket;
mod table;

use areas::Bench;
use areas::Scale;
use report::Report;
use report::complain;
use report::line;
use std::process::ExitCode;

const USAGE: &str = "usage: benches/run [--quick] [--null] [NAME…]
  --quick  few and short rounds: does it run at all, is it roughly so
  --null   the references against themselves: what differs from 1 is noise
names:";

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "role") {
        if let Err(error) = roles::run(&words[1..]) {
            complain(&format!("{}: {error}", words[1..].join(" ")));
            return ExitCode::FAILURE;
        }
        return ExitCode::SUCCESS;
    }
    // `cargo test` runs benches too, without this word.
    let is_bench = words.iter().any(|word| word == "--bench");
    words.retain(|word| word != "--bench");
    let mut take = |name: &str| {
        let before = words.len();
        words.retain(|word| word != name);
        words.len() < before
    };
    let (quick, null, help) = (take("--quick"), take("--null"), take("--help"));
    let unknown = words.iter().find(|word| !areas::AREAS.iter().any(|(name, _, _)| name == word));
    if help || unknown.is_some() || !is_bench {
        line(USAGE);
        for (name, what, _) in areas::AREAS {
            line(&format!("  {name:<10} {what}"));
        }
        let wrong = unknown.map(|word| complain(&format!("no bench `{word}`")));
        return if wrong.is_some() { ExitCode::from(2) } else { ExitCode::SUCCESS };
    }
    let mut bench = Bench { report: Report::default(), scale: Scale::new(quick), null };
    for (name, what, run) in areas::AREAS {
        if words.is_empty() || words.iter().any(|word| word == name) {
            bench.report.head(&format!("{name}: {what}"));
            if let Err(error) = run(&mut bench) {
                bench.report.skip(name, &error.to_string());
            }
        }
    }
    bench.report.end();
    ExitCode::SUCCESS
}
