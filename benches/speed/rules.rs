//! How cost grows: with the number of rules, and with the size of lists.
//!
//! No rule and no entry matches a request, so that all of them are asked.

use crate::areas::Bench;
use crate::areas::Cost;
use crate::compare::Comparison;
use crate::compare::Measure;
use crate::compare::compare;
use crate::gatepost::Ours;
use crate::gatepost::Rules;
use crate::gatepost::folder;
use crate::processes;
use crate::report::Target;
use crate::requests::mix;
use std::fmt::Write as _;
use std::io;

const CONNECTIONS: usize = 16;
const FEW: usize = 10;
const MANY_RULES: usize = 1_000;
const MANY_ENTRIES: usize = 1_000_000;
/// A look-up that is flat in the size of the list is lost in the noise.
const LISTS_TARGET: Target = Target::AtLeast(0.9);

pub fn rules(bench: &mut Bench) -> io::Result<()> {
    only_gatepost(bench)?;
    let [few, many] = [FEW, MANY_RULES].map(written);
    let few = Ours::start(Rules::These(&[("50-few.yaml", &few)]), false)?;
    let many = Ours::start(Rules::These(&[("50-many.yaml", &many)]), false)?;
    let (found, [dear, cheap]) = against(bench, &many, &few)?;
    bench.report.ratio("rules: 1,000 against 10", &found, Target::None);
    let each = (dear - cheap) * 1000.0 / (MANY_RULES - FEW) as f64;
    bench
        .report
        .note(&format!("cpu {dear:.1} µs a request, with {FEW} rules {cheap:.1}; {each:.0} ns a rule"));
    Ok(())
}

pub fn lists(bench: &mut Bench) -> io::Result<()> {
    only_gatepost(bench)?;
    let dir = folder()?;
    for (name, line) in [("network", network as fn(u64) -> String), ("domain", domain)] {
        let start = |entries: usize| {
            let path = dir.path().join(format!("{name}-{entries}"));
            let mut text = String::new();
            for number in 0..entries as u64 {
                let _ = writeln!(text, "{}", line(number));
            }
            std::fs::write(&path, text)?;
            let fact = if name == "network" { "client_address" } else { "sender_domain" };
            let rules = format!(
                "lists:\n  big: {{of: {name}, file: \"{}\"}}\nrules:\n  \
                 - {{name: big, when: {{{fact}: {{in: big}}}}, then: {{reject: 5.7.1 listed}}}}\n",
                path.display()
            );
            Ours::start(Rules::These(&[("50-lists.yaml", &rules)]), false)
        };
        let (small, large) = (start(FEW)?, start(MANY_ENTRIES)?);
        let (found, [dear, cheap]) = against(bench, &large, &small)?;
        let title = format!("lists: {name}, 1,000,000 against 10");
        bench.report.ratio(&title, &found, LISTS_TARGET);
        bench.report.note(&format!("cpu {dear:.1} µs a request, with {FEW} entries {cheap:.1}"));
        let [took, base] = [&large, &small].map(|ours| ours.started_in.as_secs_f64());
        bench.report.value(&format!("lists: {name}, start with 1,000,000"), took - base, " s", Target::None);
        let memory = large.resident().saturating_sub(small.resident()) as f64 / 1024.0;
        bench.report.value(&format!("lists: {name}, memory of 1,000,000"), memory, " MiB", Target::None);
    }
    Ok(())
}

fn only_gatepost(bench: &Bench) -> io::Result<()> {
    if bench.null { Err(io::Error::other("it has no reference but gatepost itself")) } else { Ok(()) }
}

/// The rates, and the processor time of a request in µs.
fn against(bench: &Bench, first: &Ours, second: &Ours) -> io::Result<(Comparison, [f64; 2])> {
    let window = bench.scale.window;
    let costs = [Cost::default(), Cost::default()];
    let measure = |ours: &Ours, cost: &Cost| {
        ours.empty_log();
        cost.measure(|| ours.cpu(), || processes::ask(&ours.policy[0], CONNECTIONS, window))
    };
    let mut of_first: Measure<'_> = Box::new(|| measure(first, &costs[0]));
    let mut of_second: [Measure<'_>; 1] = [Box::new(|| measure(second, &costs[1]))];
    let found = compare(bench.scale.rounds, &mut of_first, &mut of_second)?;
    Ok((found, [costs[0].each(), costs[1].each()]))
}

/// So many rules of the usual kinds.
fn written(count: usize) -> String {
    let mut text = "rules:\n".to_owned();
    for number in 0..count {
        let when = match number % 5 {
            0 => format!("{{sender: nobody-{number}@blocked.example}}"),
            1 => format!("{{client_address: 10.{}.{}.0/24}}", number / 200, number % 200),
            2 => format!("{{helo_name: \"bot-{number}-*.example\"}}"),
            3 => format!("{{recipient_domain: .below-{number}.example, sender_domain: absent}}"),
            _ => format!("{{sender: \"/^spam-{number}[0-9]+@/\"}}"),
        };
        let _ = writeln!(text, "  - {{name: rule-{number}, when: {when}, then: {{reject: 5.7.1 no}}}}");
    }
    text
}

/// An address or network, none with a client of ours (193…).
pub fn network(number: u64) -> String {
    let bits = mix(number + 1) as u32;
    let [first, second, third, fourth] = bits.to_be_bytes();
    let first = if first == 193 || first == 0 { 194 } else { first };
    match number % 10 {
        0 => format!("{first}.{second}.{}.0/20", third & 0xf0),
        1 | 2 => format!("{first}.{second}.{third}.0/24"),
        _ => format!("{first}.{second}.{third}.{fourth}"),
    }
}

/// A name, every tenth with all below it.
pub fn domain(number: u64) -> String {
    let dot = if number.is_multiple_of(10) { "." } else { "" };
    format!("{dot}host-{:x}.listed-{}.example", mix(number), number % 100_000)
}
