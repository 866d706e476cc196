//! `gatepost limits`: shows and sets back what the running daemon has counted.

use super::Exit;
use super::control::tell;
use crate::journal::quote;
use crate::quantity::show_wait;
use crate::wire::control::Answer;
use crate::wire::control::LimitRow;
use crate::wire::control::Request;
use clap::Subcommand;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(super) enum Limits {
    /// Shows what a key has used of each limit: a line for each window.
    Show {
        /// As `{key}` has it: a login, an address, `192.0.2.0/24`, or several with a blank between.
        key: String,
    },
    /// Sets a key back to unused in every limit; what mail in transit has reserved stays.
    Reset { key: String },
    /// Shows the keys nearest their limits.
    Top {
        /// How many keys.
        #[arg(default_value_t = 20)]
        count: usize,
    },
}

pub(super) fn run(limits: Limits, config: Option<&Path>) -> Exit {
    let request = match limits {
        Limits::Show { key } => Request::LimitsShow { key },
        Limits::Reset { key } => Request::LimitsReset { key },
        Limits::Top { count } => Request::LimitsTop { count },
    };
    let nothing = match request {
        Request::LimitsTop { .. } => None,
        _ => Some("nothing is counted under this key"),
    };
    tell(&request, config, nothing, |answer| match answer {
        Answer::Limit(row) => Some(shown(&row)),
        _ => None,
    })
}

fn shown(row: &LimitRow) -> String {
    let rules = if row.rules.is_empty() { "none".to_owned() } else { row.rules.join(",") };
    let next = match row.next_millis {
        0 => "now".to_owned(),
        millis => show_wait(Duration::from_millis(millis)),
    };
    format!(
        "{} used={} allowed={} window={} next={} rules={}",
        quote(&row.key),
        row.used,
        row.allowed,
        quote(&row.window),
        quote(&next),
        quote(&rules),
    )
}
