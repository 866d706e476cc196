//! The table: a line as soon as it is known, and at the end what was not met.

use crate::compare::Comparison;
use std::io;
use std::io::Write as _;

/// What is wanted of a ratio or number.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// For information.
    None,
}

#[derive(Debug, Default)]
pub struct Report {
    judged: usize,
    missed: Vec<String>,
    skipped: Vec<String>,
}

impl Report {
    pub fn head(&self, text: &str) {
        line(&format!("\n{text}"));
        line(&format!(
            "{:<44} {:>10} {:>10} {:>7} {:>13} {:>8}  met?",
            "name", "ours", "reference", "ratio", "spread", "target"
        ));
    }

    pub fn ratio(&mut self, name: &str, found: &Comparison, target: Target) {
        let (low, middle, high) = found.ratio;
        let (wanted, met) = self.judge(name, middle, target);
        line(&format!(
            "{name:<44} {:>10} {:>10} {middle:>7.2} {:>13} {wanted:>8}  {met}",
            number(found.ours),
            number(found.reference),
            format!("{low:.2}..{high:.2}"),
        ));
    }

    /// A number that is measured against nothing but its target.
    pub fn value(&mut self, name: &str, value: f64, unit: &str, target: Target) {
        let (wanted, met) = self.judge(name, value, target);
        let shown = format!("{}{unit}", number(value));
        line(&format!("{name:<44} {shown:>10} {:>10} {:>7} {:>13} {wanted:>8}  {met}", "", "", ""));
    }

    pub fn note(&self, text: &str) {
        line(&format!("  ({text})"));
    }

    pub fn skip(&mut self, name: &str, why: &str) {
        line(&format!("{name:<44} SKIPPED: {why}"));
        self.skipped.push(name.to_owned());
    }

    pub fn end(&self) {
        line("");
        if !self.skipped.is_empty() {
            line(&format!("SKIPPED: {}", self.skipped.join("; ")));
        }
        match (self.judged, self.missed.is_empty()) {
            (0, _) => line("nothing was judged"),
            (judged, true) => line(&format!("all {judged} targets of what was run are met")),
            (judged, false) => {
                line(&format!("NOT MET ({} of {judged}): {}", self.missed.len(), self.missed.join("; ")));
            }
        }
    }

    fn judge(&mut self, name: &str, value: f64, target: Target) -> (String, &'static str) {
        let (wanted, met) = match target {
            Target::AtLeast(least) => (format!(">= {least}"), value >= least),
            Target::AtMost(most) => (format!("<= {most}"), value <= most),
            Target::None => return ("-".to_owned(), "-"),
        };
        self.judged += 1;
        if !met {
            self.missed.push(name.to_owned());
        }
        (wanted, if met { "yes" } else { "NOT MET" })
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// A reader who has gone (`| head`) ends nothing.
pub fn line(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
