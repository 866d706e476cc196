//! What Prometheus is told: counters that answering touches, values that are
//! looked up when somebody asks, and the exposition of both.
//!
//! An answer costs an addition to a counter found by index: no label is hashed
//! and no lock taken. Rules and lists get their counters when a policy is loaded,
//! and lose them when they have left it. Labels are never strangers' to choose.

mod catalogue;
mod labels;

pub use catalogue::CATALOGUE;
pub use catalogue::Family;
pub use catalogue::Kind;
pub use catalogue::Values;
pub use catalogue::reference;
pub use labels::Action;
pub use labels::Direction;
pub use labels::DnsResult;
pub use labels::FailOpen;
pub use labels::Interface;
pub use labels::Mode;
pub use labels::Reload;
pub use labels::Stage;
pub use labels::StateFile;
pub use labels::Verdict;

use crate::reputation::Health;
use crate::reputation::Outcome;
use catalogue as table;
use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::MetricEncoder;
use prometheus_client::encoding::NoLabelSet;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// From what an in-process decision takes to well above the deadlines' usual.
const DURATION_BOUNDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

const INTERFACES: usize = Interface::ALL.len();
const STAGES: usize = Stage::ALL.len();
const ACTIONS: usize = Action::ALL.len();
const VERDICTS: usize = Verdict::ALL.len();
const STATE_FILES: usize = StateFile::ALL.len();
const DIRECTIONS: usize = Direction::ALL.len();

type ByVerdict = [[AtomicU64; DIRECTIONS]; VERDICTS];

/// Every counter and gauge of the process.
#[derive(Debug)]
pub struct Metrics {
    requests: [[[AtomicU64; ACTIONS]; STAGES]; INTERFACES],
    durations: [DurationHistogram; INTERFACES],
    messages: ByVerdict,
    recipients: ByVerdict,
    fail_open: [AtomicU64; FailOpen::ALL.len()],
    /// What others count; replaced at each scrape.
    sampled_fail_open: [AtomicU64; FailOpen::ALL.len()],
    dns_queries: [AtomicU64; DnsResult::ALL.len()],
    connections: [AtomicI64; INTERFACES],
    accepted: [AtomicU64; INTERFACES],
    log_dropped: AtomicU64,
    /// None: there is no folder for the state.
    state_timestamp: Mutex<Option<f64>>,
    state_bytes: [AtomicU64; STATE_FILES],
    state_durations: [DurationHistogram; STATE_FILES],
    state_failures: AtomicU64,
    http_unauthorized: AtomicU64,
    config_successful: AtomicI64,
    config_timestamp: Mutex<f64>,
    start_timestamp: f64,
    rules: Mutex<Arc<RuleCounters>>,
    lists: Mutex<Arc<ListCounters>>,
    /// Bounded by the words in our source.
    protocol_errors: Mutex<BTreeMap<(Interface, &'static str), u64>>,
    /// Bounded likewise.
    authentication: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    findings: Mutex<BTreeMap<&'static str, u64>>,
    tables: Mutex<BTreeMap<&'static str, Table>>,
    /// By the names under which zones are shown, which several may share.
    zones: Mutex<BTreeMap<String, Vec<Arc<Health>>>>,
}

/// A table's sizes at the time of a scrape.
#[derive(Clone, Copy, Debug, Default)]
pub struct Table {
    pub entries: u64,
    pub capacity: u64,
    pub evictions: u64,
}

/// How metrics are written down.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exposition {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Text,
}

impl Metrics {
    /// `started` is Unix time.
    pub fn new(started: jiff::Timestamp) -> Self {
        Self {
            requests: Default::default(),
            durations: Default::default(),
            messages: Default::default(),
            recipients: Default::default(),
            fail_open: Default::default(),
            sampled_fail_open: Default::default(),
            dns_queries: Default::default(),
            connections: Default::default(),
            accepted: Default::default(),
            log_dropped: AtomicU64::default(),
            state_timestamp: Mutex::default(),
            state_bytes: Default::default(),
            state_durations: Default::default(),
            state_failures: AtomicU64::default(),
            http_unauthorized: AtomicU64::default(),
            config_successful: AtomicI64::default(),
            config_timestamp: Mutex::default(),
            start_timestamp: started.as_millisecond() as f64 / 1000.0,
            rules: Mutex::default(),
            lists: Mutex::default(),
            protocol_errors: Mutex::default(),
            authentication: Mutex::default(),
            findings: Mutex::default(),
            tables: Mutex::default(),
            zones: Mutex::default(),
        }
    }

    /// One answer given, and how long it took.
    pub fn answered(&self, interface: Interface, stage: Stage, action: Action, took: Duration) {
        // The indices are those of the arrays' own enums.
        let by_stage = &self.requests[interface.index()];
        by_stage[stage.index()][action.index()].fetch_add(1, Relaxed);
        self.durations[interface.index()].observe(took);
    }

    pub fn message(&self, verdict: Verdict, direction: Direction) {
        self.messages[verdict.index()][direction.index()].fetch_add(1, Relaxed);
    }

    pub fn recipients(&self, verdict: Verdict, direction: Direction, count: u64) {
        self.recipients[verdict.index()][direction.index()].fetch_add(count, Relaxed);
    }

    pub fn fail_open(&self, reason: FailOpen) {
        self.fail_open[reason.index()].fetch_add(1, Relaxed);
    }

    /// What one method said of who vouches for a mail.
    pub fn authentication(&self, method: &'static str, result: &'static str) {
        *self.authentication.lock().entry((method, result)).or_default() += 1;
    }

    /// What was found in one message, each once.
    pub fn content(&self, findings: &[&'static str]) {
        if findings.is_empty() {
            return;
        }
        let mut counts = self.findings.lock();
        for finding in findings {
            *counts.entry(finding).or_default() += 1;
        }
    }

    /// Failures counted elsewhere since the start; they add to those told here.
    pub fn set_fail_open_elsewhere(&self, reason: FailOpen, total: u64) {
        self.sampled_fail_open[reason.index()].store(total, Relaxed);
    }

    /// Questions to the DNS since the start that came to this.
    pub fn set_dns_queries(&self, result: DnsResult, total: u64) {
        self.dns_queries[result.index()].store(total, Relaxed);
    }

    /// The connections now open, and all since the start.
    pub fn set_connections(&self, interface: Interface, open: u64, total: u64) {
        self.connections[interface.index()].store(i64::try_from(open).unwrap_or(i64::MAX), Relaxed);
        self.accepted[interface.index()].store(total, Relaxed);
    }

    /// Breaches of the protocol since the start, by kind.
    pub fn set_protocol_errors(&self, interface: Interface, kind: &'static str, total: u64) {
        self.protocol_errors.lock().insert((interface, kind), total);
    }

    pub fn set_table(&self, name: &'static str, sizes: Table) {
        self.tables.lock().insert(name, sizes);
    }

    pub fn set_log_lines_dropped(&self, total: u64) {
        self.log_dropped.store(total, Relaxed);
    }

    /// What is remembered is kept in a folder, which at this time has all of it.
    pub fn state_kept(&self, at: jiff::Timestamp) {
        *self.state_timestamp.lock() = Some(at.as_millisecond() as f64 / 1000.0);
    }

    /// So much was written of it, which took so long.
    pub fn state_written(&self, file: StateFile, bytes: u64, took: Duration) {
        self.state_bytes[file.index()].fetch_add(bytes, Relaxed);
        self.state_durations[file.index()].observe(took);
    }

    pub fn state_failed(&self) {
        self.state_failures.fetch_add(1, Relaxed);
    }

    /// Somebody asked by HTTP without the right token.
    pub fn http_unauthorized(&self) {
        self.http_unauthorized.fetch_add(1, Relaxed);
    }

    /// A policy was loaded at this time, or could not be.
    pub fn reloaded(&self, result: Reload, at: jiff::Timestamp) {
        self.config_successful.store(i64::from(result == Reload::Ok), Relaxed);
        if result == Reload::Ok {
            *self.config_timestamp.lock() = at.as_millisecond() as f64 / 1000.0;
        }
    }

    /// Counters for the rules of a new policy, by their place in it. A rule whose
    /// labels are the same goes on counting; those not named here are forgotten.
    pub fn load_rules(&self, rules: impl IntoIterator<Item = RuleLabels>) -> Arc<RuleCounters> {
        let mut current = self.rules.lock();
        let mut known: BTreeMap<&RuleLabels, &Arc<AtomicU64>> =
            current.rules.iter().map(|rule| (&rule.labels, &rule.hits)).collect();
        let resolve = |labels: RuleLabels| {
            let hits = known.remove(&labels).map(Arc::clone).unwrap_or_default();
            RuleCounter { labels, hits }
        };
        let loaded = Arc::new(RuleCounters { rules: rules.into_iter().map(resolve).collect() });
        *current = Arc::clone(&loaded);
        loaded
    }

    /// The same for lists, by name.
    pub fn load_lists(&self, names: impl IntoIterator<Item = String>) -> Arc<ListCounters> {
        let mut current = self.lists.lock();
        let mut known: BTreeMap<&str, &Arc<ListCounter>> =
            current.lists.iter().map(|(name, counter)| (name.as_str(), counter)).collect();
        let resolve = |name: String| {
            let counter = known.remove(name.as_str()).map(Arc::clone).unwrap_or_default();
            (name, counter)
        };
        let loaded = Arc::new(ListCounters { lists: names.into_iter().map(resolve).collect() });
        *current = Arc::clone(&loaded);
        loaded
    }

    /// The zones that rules ask; those not named here are forgotten.
    pub fn load_zones(&self, zones: impl IntoIterator<Item = (String, Arc<Health>)>) {
        let mut loaded: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (name, health) in zones {
            loaded.entry(name).or_default().push(health);
        }
        *self.zones.lock() = loaded;
    }

    /// All of it as text.
    pub fn encode(self: &Arc<Self>, exposition: Exposition) -> String {
        let mut registry = Registry::with_prefix(table::PREFIX);
        registry.register_collector(Box::new(Arc::clone(self)));
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &registry) {
            tracing::error!(%error, "metrics can't be written down");
        }
        match exposition {
            Exposition::OpenMetrics => text,
            Exposition::Text => as_plain_text(&text),
        }
    }
}

/// What a rule's counter is called by.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct RuleLabels {
    pub rule: String,
    pub mode: Mode,
    /// Its first action: a word of the rule language.
    pub action: &'static str,
    pub enabled: bool,
}

#[derive(Debug)]
struct RuleCounter {
    labels: RuleLabels,
    hits: Arc<AtomicU64>,
}

/// The counters of one policy's rules. A policy that is still at work after it
/// was replaced counts into the same ones, as far as its rules live on.
#[derive(Debug, Default)]
pub struct RuleCounters {
    rules: Vec<RuleCounter>,
}

impl RuleCounters {
    /// The rule at this place of the policy applied.
    pub fn hit(&self, rule: usize) {
        if let Some(counter) = self.rules.get(rule) {
            counter.hits.fetch_add(1, Relaxed);
        }
    }
}

#[derive(Debug, Default)]
struct ListCounter {
    entries: AtomicU64,
    reloads: [AtomicU64; Reload::ALL.len()],
}

/// The counters of one policy's lists.
#[derive(Debug, Default)]
pub struct ListCounters {
    lists: Vec<(String, Arc<ListCounter>)>,
}

impl ListCounters {
    /// The list at this place was read again.
    pub fn reloaded(&self, list: usize, result: Reload) {
        if let Some((_, counter)) = self.lists.get(list) {
            counter.reloads[result.index()].fetch_add(1, Relaxed);
        }
    }

    pub fn set_entries(&self, list: usize, entries: u64) {
        if let Some((_, counter)) = self.lists.get(list) {
            counter.entries.store(entries, Relaxed);
        }
    }
}

#[derive(Debug, Default)]
struct DurationHistogram {
    /// The last is for what is above all bounds.
    counts: [AtomicU64; DURATION_BOUNDS.len() + 1],
    sum_nanos: AtomicU64,
}

impl DurationHistogram {
    fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = DURATION_BOUNDS.iter().take_while(|bound| seconds > **bound).count();
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Relaxed);
        }
        // A u64 of nanoseconds holds 584 years.
        self.sum_nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let bounds = DURATION_BOUNDS.iter().copied().chain([f64::INFINITY]);
        let buckets: Vec<_> =
            bounds.zip(&self.counts).map(|(bound, count)| (bound, count.load(Relaxed))).collect();
        // Summed here, so that it agrees with the buckets whatever happens meanwhile.
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.sum_nanos.load(Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        self.encode_requests(out)?;
        by_verdict(out, &table::MESSAGES, &self.messages)?;
        by_verdict(out, &table::RECIPIENTS, &self.recipients)?;
        self.encode_rules(out)?;
        family(out, &table::FAIL_OPEN, |series| {
            FailOpen::ALL.iter().try_for_each(|reason| {
                let here = self.fail_open[reason.index()].load(Relaxed);
                let elsewhere = self.sampled_fail_open[reason.index()].load(Relaxed);
                series.counter(&[reason.word()], here.saturating_add(elsewhere))
            })
        })?;
        family(out, &table::DNS_QUERIES, |series| {
            DnsResult::ALL.iter().try_for_each(|result| {
                series.counter(&[result.word()], self.dns_queries[result.index()].load(Relaxed))
            })
        })?;
        self.encode_listeners(out)?;
        self.encode_tables(out)?;
        self.encode_lists(out)?;
        self.encode_zones(out)?;
        self.encode_state(out)?;
        let successful = self.config_successful.load(Relaxed);
        single(out, &table::CONFIG_SUCCESSFUL, successful as f64)?;
        single(out, &table::CONFIG_TIMESTAMP, *self.config_timestamp.lock())?;
        family(out, &table::LOG_DROPPED, |series| series.counter(&[], self.log_dropped.load(Relaxed)))?;
        let unauthorized = self.http_unauthorized.load(Relaxed);
        family(out, &table::HTTP_UNAUTHORIZED, |series| series.counter(&[], unauthorized))?;
        single(out, &table::START_TIMESTAMP, self.start_timestamp)?;
        family(out, &table::BUILD_INFO, |series| series.gauge(&[env!("CARGO_PKG_VERSION")], 1))
    }
}

impl Metrics {
    /// Answers that were never given are left out, but for the usual: all of them
    /// would be some two hundred series of zero, most of them impossible.
    fn encode_requests(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        family(out, &table::REQUESTS, |series| {
            for interface in Interface::ALL {
                for stage in Stage::ALL {
                    for action in Action::ALL {
                        let cell = &self.requests[interface.index()][stage.index()][action.index()];
                        let count = cell.load(Relaxed);
                        if count > 0 || *action == Action::Dunno {
                            series.counter(&[interface.word(), stage.word(), action.word()], count)?;
                        }
                    }
                }
            }
            Ok(())
        })?;
        family(out, &table::REQUEST_DURATION, |series| {
            Interface::ALL.iter().try_for_each(|interface| {
                let histogram = &self.durations[interface.index()];
                series.labelled(&[interface.word()], |encoder| histogram.encode(encoder))
            })
        })
    }

    fn encode_rules(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counters = Arc::clone(&self.rules.lock());
        family(out, &table::RULE_HITS, |series| {
            counters.rules.iter().try_for_each(|RuleCounter { labels, hits }| {
                series.counter(&[&labels.rule, labels.mode.word(), labels.action], hits.load(Relaxed))
            })
        })?;
        family(out, &table::RULE_ENABLED, |series| {
            counters.rules.iter().try_for_each(|RuleCounter { labels, .. }| {
                series.gauge(&[&labels.rule], i64::from(labels.enabled))
            })
        })
    }

    fn encode_listeners(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        family(out, &table::PROTOCOL_ERRORS, |series| {
            self.protocol_errors
                .lock()
                .iter()
                .try_for_each(|((interface, kind), total)| series.counter(&[interface.word(), kind], *total))
        })?;
        family(out, &table::AUTHENTICATION, |series| {
            let counts = self.authentication.lock();
            counts.iter().try_for_each(|((method, result), total)| series.counter(&[method, result], *total))
        })?;
        family(out, &table::CONTENT_FINDINGS, |series| {
            self.findings.lock().iter().try_for_each(|(finding, total)| series.counter(&[finding], *total))
        })?;
        family(out, &table::CONNECTIONS, |series| {
            Interface::ALL.iter().try_for_each(|interface| {
                series.gauge(&[interface.word()], self.connections[interface.index()].load(Relaxed))
            })
        })?;
        family(out, &table::ACCEPTED, |series| {
            Interface::ALL.iter().try_for_each(|interface| {
                series.counter(&[interface.word()], self.accepted[interface.index()].load(Relaxed))
            })
        })
    }

    fn encode_tables(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let tables = self.tables.lock().clone();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        family(out, &table::TABLE_ENTRIES, |series| {
            tables.iter().try_for_each(|(name, sizes)| series.gauge(&[name], gauge(sizes.entries)))
        })?;
        family(out, &table::TABLE_CAPACITY, |series| {
            tables.iter().try_for_each(|(name, sizes)| series.gauge(&[name], gauge(sizes.capacity)))
        })?;
        family(out, &table::TABLE_EVICTIONS, |series| {
            tables.iter().try_for_each(|(name, sizes)| series.counter(&[name], sizes.evictions))
        })
    }

    fn encode_state(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let timestamp = *self.state_timestamp.lock();
        family(out, &table::STATE_TIMESTAMP, |series| match timestamp {
            Some(seconds) => series.labelled(&[], |encoder| encoder.encode_gauge(&seconds)),
            None => Ok(()),
        })?;
        family(out, &table::STATE_BYTES, |series| {
            let bytes = |file: &StateFile| self.state_bytes[file.index()].load(Relaxed);
            StateFile::ALL.iter().try_for_each(|file| series.counter(&[file.word()], bytes(file)))
        })?;
        family(out, &table::STATE_DURATION, |series| {
            StateFile::ALL.iter().try_for_each(|file| {
                let histogram = &self.state_durations[file.index()];
                series.labelled(&[file.word()], |encoder| histogram.encode(encoder))
            })
        })?;
        family(out, &table::STATE_FAILURES, |series| series.counter(&[], self.state_failures.load(Relaxed)))
    }

    fn encode_zones(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let zones = self.zones.lock().clone();
        family(out, &table::DNSBL_ANSWERS, |series| {
            for (name, healths) in &zones {
                for outcome in Outcome::ALL {
                    let count: u64 = healths.iter().map(|health| health.counted(outcome)).sum();
                    // Errors that were never met are left out.
                    if count > 0 || !matches!(outcome, Outcome::Erred(_)) {
                        series.counter(&[name, outcome.word()], count)?;
                    }
                }
            }
            Ok(())
        })?;
        family(out, &table::DNSBL_SUSPENDED, |series| {
            zones.iter().try_for_each(|(name, healths)| {
                let suspended = healths.iter().any(|health| health.standing().is_suspended());
                series.gauge(&[name], i64::from(suspended))
            })
        })
    }

    fn encode_lists(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counters = Arc::clone(&self.lists.lock());
        family(out, &table::LIST_ENTRIES, |series| {
            counters.lists.iter().try_for_each(|(name, list)| {
                let entries = list.entries.load(Relaxed);
                series.gauge(&[name], i64::try_from(entries).unwrap_or(i64::MAX))
            })
        })?;
        family(out, &table::LIST_RELOADS, |series| {
            for (name, list) in &counters.lists {
                for result in Reload::ALL {
                    series.counter(&[name, result.word()], list.reloads[result.index()].load(Relaxed))?;
                }
            }
            Ok(())
        })
    }
}

fn by_verdict(out: &mut DescriptorEncoder<'_>, of: &'static Family, counts: &ByVerdict) -> fmt::Result {
    family(out, of, |series| {
        for verdict in Verdict::ALL {
            for direction in Direction::ALL {
                let count = counts[verdict.index()][direction.index()].load(Relaxed);
                series.counter(&[verdict.word(), direction.word()], count)?;
            }
        }
        Ok(())
    })
}

/// A gauge without labels.
fn single(out: &mut DescriptorEncoder<'_>, of: &'static Family, value: f64) -> fmt::Result {
    family(out, of, |series| series.labelled(&[], |encoder| encoder.encode_gauge(&value)))
}

/// Writes one family: its head from the catalogue, then its series.
fn family(
    out: &mut DescriptorEncoder<'_>,
    of: &'static Family,
    series: impl FnOnce(&mut Series<'_>) -> fmt::Result,
) -> fmt::Result {
    // The crate appends `_total` itself.
    let name = of.name.strip_suffix("_total").unwrap_or(of.name);
    let encoder = out.encode_descriptor(name, of.sentence, None, of.kind.metric_type())?;
    series(&mut Series { of, encoder })
}

/// The series of one family; label values stand in the order of the catalogue.
struct Series<'e> {
    of: &'static Family,
    encoder: MetricEncoder<'e>,
}

impl Series<'_> {
    fn counter(&mut self, values: &[&str], value: u64) -> fmt::Result {
        let none: Option<&Exemplar<NoLabelSet, u64>> = None;
        self.labelled(values, |encoder| encoder.encode_counter(&value, none))
    }

    fn gauge(&mut self, values: &[&str], value: i64) -> fmt::Result {
        self.labelled(values, |encoder| encoder.encode_gauge(&value))
    }

    fn labelled(
        &mut self,
        values: &[&str],
        encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        debug_assert_eq!(self.of.labels.len(), values.len(), "{}", self.of.name);
        let names = self.of.labels.iter().map(|(name, _)| *name);
        let labels: Vec<(&str, &str)> = names.zip(values.iter().copied()).collect();
        if labels.is_empty() {
            // An empty label set would show as `{}`.
            return encode(&mut self.encoder);
        }
        encode(&mut self.encoder.encode_family(&labels)?)
    }
}

/// OpenMetrics names a counter's family without `_total`, the older format with
/// it; and it has neither units nor an end.
fn as_plain_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    for line in open_metrics.lines() {
        let head = line.strip_prefix("# HELP ").map(|rest| ("# HELP ", rest));
        let head = head.or_else(|| line.strip_prefix("# TYPE ").map(|rest| ("# TYPE ", rest)));
        match head {
            Some((word, rest)) => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let total = if is_counter(name) { "_total" } else { "" };
                text += &format!("{word}{name}{total} {rest}\n");
            }
            None if line.starts_with("# EOF") || line.starts_with("# UNIT ") => {}
            None => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// Whether a family, with the prefix and without `_total`, is a counter's.
fn is_counter(name: &str) -> bool {
    let bare = name.strip_prefix(table::PREFIX).and_then(|rest| rest.strip_prefix('_')).unwrap_or(name);
    CATALOGUE.iter().any(|family| family.name.strip_suffix("_total") == Some(bare))
}

#[cfg(test)]
mod tests;
