//! What the command line and the running daemon say to each other on the control
//! socket: one request as a line of JSON, then answers, a line each, the last of
//! which ends it.
//!
//! Only root and the daemon's own user are heard; a line is bounded all the same.

use serde::Deserialize;
use serde::Serialize;

/// A key and a reason are far below.
pub const MAX_REQUEST_BYTES: usize = 16 * 1024;

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "ask", deny_unknown_fields)]
pub enum Request {
    /// Greylisted mail of a pool waits no more.
    GreylistPass { pool: String },
    /// Puts a key on a timed list.
    ListedAdd { key: String, reason: String, seconds: u64 },
    /// Takes it off all of them, or one.
    ListedDel { key: String, reason: Option<String> },
    /// What a key, or everything, is listed for.
    ListedShow { key: Option<String> },
    /// What a key has used of every limit.
    LimitsShow { key: String },
    /// Sets it back.
    LimitsReset { key: String },
    /// The entries of lists, or of one; those that found nothing for so long.
    ListsShow { list: Option<String>, idle_seconds: Option<u64> },
    /// The keys nearest their limits.
    LimitsTop { count: usize },
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum Answer {
    Entry(EntryRow),
    Listed(ListedRow),
    Limit(LimitRow),
    /// The last: how many were changed or shown.
    Done {
        count: u64,
    },
    /// The last: why nothing was done.
    Refused {
        why: String,
    },
}

/// Times are seconds since 1970.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ListedRow {
    pub key: String,
    pub reason: String,
    pub by: String,
    pub since: u64,
    pub until: u64,
    /// Which time in a row.
    pub times: u32,
    /// Holds for rules in observe alone.
    pub observed: bool,
}

/// An entry of a list. Times are seconds since 1970.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct EntryRow {
    pub list: String,
    pub entry: String,
    pub count: u64,
    pub first: Option<u64>,
    pub last: Option<u64>,
}

/// One window of one key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LimitRow {
    pub key: String,
    /// The rules that count here; none if no rule does any more.
    pub rules: Vec<String>,
    /// As an operator writes it.
    pub window: String,
    pub used: u64,
    pub allowed: u64,
    /// Until one more would be let through.
    pub next_millis: u64,
}

/// A line, with its end.
pub fn line(message: &impl Serialize) -> String {
    // Texts and numbers can always be written.
    let mut line = serde_json::to_string(message).unwrap_or_default();
    line.push('\n');
    line
}

/// The message in a line; what is wrong with it if it is none.
pub fn read<'l, T: Deserialize<'l>>(line: &'l str) -> Result<T, String> {
    serde_json::from_str(line.trim_end()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        for request in [
            Request::GreylistPass { pool: "b.test".into() },
            Request::ListedAdd { key: "a b\n\"c".into(), reason: "x".into(), seconds: 5 },
            Request::ListedDel { key: "a".into(), reason: None },
            Request::ListedShow { key: Some("ü".into()) },
            Request::ListsShow { list: Some("a".into()), idle_seconds: None },
            Request::LimitsShow { key: "a".into() },
            Request::LimitsReset { key: "a".into() },
            Request::LimitsTop { count: 7 },
        ] {
            let line = line(&request);
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(read::<Request>(&line), Ok(request));
        }
        let row = ListedRow {
            key: "k".into(),
            reason: "r".into(),
            by: "b".into(),
            since: 1,
            until: 2,
            times: 3,
            observed: true,
        };
        let entry = EntryRow { list: "l".into(), entry: "e".into(), count: 1, first: Some(2), last: None };
        for answer in [
            Answer::Entry(entry),
            Answer::Listed(row),
            Answer::Done { count: 7 },
            Answer::Refused { why: "no".into() },
        ] {
            assert_eq!(read::<Answer>(&line(&answer)), Ok(answer));
        }
    }

    #[test]
    fn what_is_no_request_is_told() {
        for text in ["", "{}", "[]", "{\"ask\":\"listed_all\"}", "{\"ask\":\"listed_show\",\"kee\":\"x\"}"] {
            assert!(read::<Request>(text).is_err(), "{text}");
        }
    }
}
