//! `gatepost lists`: which entries of lists have found anything in the running daemon.

use super::Exit;
use super::complain;
use super::control::tell;
use crate::journal::quote;
use crate::quantity::parse_duration;
use crate::wire::control::Answer;
use crate::wire::control::EntryRow;
use crate::wire::control::Request;
use clap::Subcommand;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::path::Path;

#[derive(Debug, Subcommand)]
pub(super) enum Lists {
    /// Shows how often each entry of a list, or of all, has found somebody: one line each.
    Show { list: Option<String> },
    /// Shows the entries that have found nobody for so long.
    Unused {
        list: Option<String>,
        /// For how long.
        #[arg(long = "for", value_name = "TIME", default_value = "30d")]
        period: String,
    },
}

pub(super) fn run(lists: Lists, config: Option<&Path>) -> Exit {
    let request = match lists {
        Lists::Show { list } => Request::ListsShow { list, idle_seconds: None },
        Lists::Unused { list, period } => {
            let Some(period) = parse_duration(&period) else {
                complain(&format!("`{period}` is not a time such as 30d"));
                return Exit::Usage;
            };
            Request::ListsShow { list, idle_seconds: Some(period.as_secs()) }
        }
    };
    tell(&request, config, None, |answer| match answer {
        Answer::Entry(row) => Some(shown(&row)),
        _ => None,
    })
}

fn shown(row: &EntryRow) -> String {
    let time = |seconds: Option<u64>| {
        let Some(seconds) = seconds else {
            return "never".to_owned();
        };
        let time = Timestamp::from_second(seconds.try_into().unwrap_or(i64::MAX)).unwrap_or(Timestamp::MAX);
        time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    };
    let (entry, list) = (quote(&row.entry), quote(&row.list));
    format!("{entry} list={list} count={} first={} last={}", row.count, time(row.first), time(row.last))
}
