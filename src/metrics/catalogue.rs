//! The table of all metrics; the exposition and `docs/metrics.md` are made of it.

use super::labels::Action;
use super::labels::Direction;
use super::labels::DnsResult;
use super::labels::FailOpen;
use super::labels::Interface;
use super::labels::Mode;
use super::labels::Reload;
use super::labels::Stage;
use super::labels::StateFile;
use super::labels::Verdict;
use crate::reputation::Outcome;
use prometheus_client::metrics::MetricType;

/// Before every name.
pub(super) const PREFIX: &str = "gatepost";

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    pub(super) fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
        }
    }
}

/// What a label's values are taken from. There is no third way.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// These words, or some of them.
    Closed(&'static [&'static str]),
    /// Names that the operator or this program chose; the text says which.
    Named(&'static str),
}

/// One metric family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Whole, but for the prefix.
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [(&'static str, Values)],
    pub sentence: &'static str,
}

const INTERFACE: (&str, Values) = ("interface", Values::Closed(Interface::WORDS));
const VERDICT: (&str, Values) = ("verdict", Values::Closed(Verdict::WORDS));
const DIRECTION: (&str, Values) = ("direction", Values::Closed(Direction::WORDS));
const RULE: (&str, Values) = ("rule", Values::Named("rules of the policy"));
const TABLE: (&str, Values) = ("table", Values::Named("tables this program keeps, such as `sessions`"));
const STATE_FILE: (&str, Values) = ("file", Values::Closed(StateFile::WORDS));
const ZONE: (&str, Values) = ("zone", Values::Named("zones that rules ask, without their keys"));
const LIST: (&str, Values) = ("list", Values::Named("lists of the policy"));

const ANSWERS: &[&str] = &{
    let mut words = [""; Outcome::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = Outcome::ALL[at].word();
        at += 1;
    }
    words
};

macro_rules! families {
    ($($id:ident: $kind:ident $name:literal [$($label:expr),*] $sentence:literal;)+) => {
        $(pub(super) const $id: Family = Family {
            name: $name,
            kind: Kind::$kind,
            labels: &[$($label),*],
            sentence: $sentence,
        };)+

        /// Every family, in the order in which they are shown.
        pub const CATALOGUE: &[Family] = &[$($id),+];
    };
}

families! {
    REQUESTS: Counter "requests_total"
        [INTERFACE, ("stage", Values::Closed(Stage::WORDS)), ("action", Values::Closed(Action::WORDS))]
        "Answers given to Postfix";
    REQUEST_DURATION: Histogram "request_duration_seconds" [INTERFACE]
        "Time from a complete request to its answer";
    MESSAGES: Counter "messages_total" [VERDICT, DIRECTION]
        "Messages by what became of them";
    RECIPIENTS: Counter "recipients_total" [VERDICT, DIRECTION]
        "Recipients by what became of them";
    RULE_HITS: Counter "rule_hits_total"
        [RULE, ("mode", Values::Closed(Mode::WORDS)), ("action", Values::Named("first actions of the rules"))]
        "Times a rule applied; in observe its action did not happen";
    RULE_ENABLED: Gauge "rule_enabled" [RULE]
        "Whether a rule is asked: 0 for those under disable";
    FAIL_OPEN: Counter "fail_open_total" [("reason", Values::Closed(FailOpen::WORDS))]
        "Times mail went on because we could not decide";
    DNS_QUERIES: Counter "dns_queries_total" [("result", Values::Closed(DnsResult::WORDS))]
        "Questions to the DNS by what became of them: answered from the cache, answered, failed (malformed, refused, servfail, timeout), too many at once (full), no longer wanted (given_up)";
    PROTOCOL_ERRORS: Counter "protocol_errors_total"
        [INTERFACE, ("kind", Values::Named("oddities the readers of both protocols know"))]
        "Requests that broke the protocol";
    AUTHENTICATION: Counter "authentication_results_total"
        [("method", Values::Closed(&["arc", "dkim", "spf"])), ("result", Values::Named("results of the check of that name"))]
        "What was found of who vouches for mail, where rules ask: once a signature, chain or identity";
    CONTENT_FINDINGS: Counter "content_findings_total"
        [("finding", Values::Named("kinds of files that are out of the ordinary, and what readers of a message disagree about: the words of `attachment` and `ambiguous_mime`"))]
        "Messages in which this was found, of those that rules asked about";
    CONNECTIONS: Gauge "connections" [INTERFACE]
        "Connections from Postfix now open";
    ACCEPTED: Counter "accepted_connections_total" [INTERFACE]
        "Connections from Postfix since the start";
    TABLE_ENTRIES: Gauge "table_entries" [TABLE]
        "Entries in a table of bounded size";
    TABLE_CAPACITY: Gauge "table_capacity" [TABLE]
        "Entries that a table may have";
    TABLE_EVICTIONS: Counter "table_evictions_total" [TABLE]
        "Entries that left a full table before their time";
    LIST_ENTRIES: Gauge "list_entries" [LIST]
        "Entries of a list";
    LIST_RELOADS: Counter "list_reloads_total" [LIST, ("result", Values::Closed(Reload::WORDS))]
        "Times a list was read again; one that failed keeps its entries";
    DNSBL_ANSWERS: Counter "dnsbl_answers_total" [ZONE, ("answer", Values::Closed(ANSWERS))]
        "What zones said of what they were asked about; from `foreign` on these are errors of the zone and count nothing";
    DNSBL_SUSPENDED: Gauge "dnsbl_suspended" [ZONE]
        "Whether a zone is not asked, because it fails its test";
    STATE_TIMESTAMP: Gauge "state_snapshot_timestamp_seconds" []
        "When what is remembered was last on disk, in Unix time; only with `state.dir`";
    STATE_BYTES: Counter "state_written_bytes_total" [STATE_FILE]
        "Bytes written to `state.dir`";
    STATE_DURATION: Histogram "state_write_duration_seconds" [STATE_FILE]
        "Time that writing took from its first byte to the disk's word, rests included";
    STATE_FAILURES: Counter "state_write_failures_total" []
        "Times that writing to `state.dir` failed; decisions go on";
    CONFIG_SUCCESSFUL: Gauge "config_last_reload_successful" []
        "Whether the policy now on disk is the one in use";
    CONFIG_TIMESTAMP: Gauge "config_last_reload_timestamp_seconds" []
        "When the policy in use was loaded, in Unix time";
    LOG_DROPPED: Counter "log_lines_dropped_total" []
        "Log lines lost because their reader did not keep up";
    HTTP_UNAUTHORIZED: Counter "http_unauthorized_total" []
        "HTTP requests for what needs the token, without the right one";
    START_TIMESTAMP: Gauge "start_timestamp_seconds" []
        "When the program was started, in Unix time";
    BUILD_INFO: Gauge "build_info" [("version", Values::Named("the version of the program"))]
        "Always 1; the version is in the label";
}

/// `docs/metrics.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         This page is generated. `GET /metrics` gives them in OpenMetrics or in Prometheus' text format. No label\n\
         ever holds a sender, a user or a client's address; their values are the words below, or names from the\n\
         configuration.\n\n\
         | name | kind | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for family in CATALOGUE {
        let labels: Vec<_> = family.labels.iter().map(|(name, values)| label(name, *values)).collect();
        page += &format!(
            "| `{PREFIX}_{}` | {} | {} | {} |\n",
            family.name,
            family.kind.word(),
            if labels.is_empty() { "–".to_owned() } else { labels.join("; ") },
            family.sentence
        );
    }
    page
}

fn label(name: &str, values: Values) -> String {
    match values {
        Values::Closed(words) => format!("`{name}`: {}", words.join(", ")),
        Values::Named(what) => format!("`{name}`: {what}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for (index, family) in CATALOGUE.iter().enumerate() {
            let Family { name, kind, .. } = family;
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(*kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
            assert!(
                !family.sentence.contains(['\n', '\\', '"']) && !family.sentence.ends_with('.'),
                "{name}"
            );
            // OpenMetrics knows a counter without its `_total`.
            let bare = |name: &'static str| name.strip_suffix("_total").unwrap_or(name);
            assert!(CATALOGUE[..index].iter().all(|other| bare(other.name) != bare(name)), "{name}");
        }
    }

    #[test]
    fn the_reference_has_a_row_for_each() {
        let page = reference();
        for family in CATALOGUE {
            assert!(page.contains(&format!("| `gatepost_{}` |", family.name)), "{}", family.name);
        }
        assert!(page.contains(
            "| `gatepost_list_reloads_total` | counter | `list`: lists of the policy; `result`: failed, ok |"
        ));
    }
}
