//! `gatepost listed`: shows and changes the timed listings of the running daemon.

use super::Exit;
use super::complain;
use super::control::tell;
use crate::journal::quote;
use crate::quantity::parse_duration;
use crate::wire::control::Answer;
use crate::wire::control::ListedRow;
use crate::wire::control::Request;
use clap::Subcommand;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::path::Path;

#[derive(Debug, Subcommand)]
pub(super) enum Listed {
    /// Puts an address, a login or any other key on a list.
    Add {
        key: String,
        /// The word that rules ask for.
        reason: String,
        /// For how long.
        #[arg(long = "for", value_name = "TIME", default_value = "24h")]
        period: String,
    },
    /// Takes a key off all lists, or off one. Its repeats are forgotten.
    Del { key: String, reason: Option<String> },
    /// Shows what a key, or everything, is listed for: one line each.
    Show { key: Option<String> },
}

pub(super) fn run(listed: Listed, config: Option<&Path>) -> Exit {
    let request = match listed {
        Listed::Add { key, reason, period } => {
            let Some(period) = parse_duration(&period) else {
                complain(&format!("`{period}` is not a time such as 4h"));
                return Exit::Usage;
            };
            Request::ListedAdd { key, reason, seconds: period.as_secs() }
        }
        Listed::Del { key, reason } => Request::ListedDel { key, reason },
        Listed::Show { key } => Request::ListedShow { key },
    };
    let nothing = match request {
        Request::ListedShow { .. } => None,
        _ => Some("it was on no list"),
    };
    tell(&request, config, nothing, |answer| match answer {
        Answer::Listed(row) => Some(shown(&row)),
        _ => None,
    })
}

fn shown(row: &ListedRow) -> String {
    let time = |seconds: u64| {
        let time = Timestamp::from_second(seconds.try_into().unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
        time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    };
    let observed = if row.observed { " (rules in observe only)" } else { "" };
    format!(
        "{} reason={} since={} until={} times={} by={}{observed}",
        quote(&row.key),
        quote(&row.reason),
        time(row.since),
        time(row.until),
        row.times,
        quote(&row.by),
    )
}
