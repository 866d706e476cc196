//! What the desk writes down: decisions in the log, counts in the metrics.

use super::Active;
use super::Desk;
use super::session::Session;
use super::session::Transaction;
use super::sessions;
use super::sessions::Handle;
use crate::content::Kind;
use crate::content::Kinds;
use crate::decision::About;
use crate::decision::Decision;
use crate::decision::Ruling;
use crate::engine::Decided;
use crate::engine::Outcome;
use crate::engine::World;
use crate::engine::usual_direction;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Known;
use crate::facts::Marks;
use crate::facts::Stage;
use crate::message::Change;
use crate::message::Message;
use crate::metrics;
use crate::metrics::Direction;
use crate::metrics::DnsResult;
use crate::metrics::RuleLabels;
use crate::metrics::Table;
use crate::metrics::Verdict as Word;
use crate::policy::Action;
use crate::policy::Policy;
use crate::state::MAX_DISTINCT_KEYS;
use crate::state::MAX_GREYLISTED_NETWORKS;
use crate::state::MAX_LISTED_KEYS;
use crate::state::MAX_NOTED;
use crate::state::MAX_PROVED;
use crate::state::MAX_WAITING;
use crate::verdict::Done;
use crate::verdict::Effect;
use crate::verdict::Verdict;
use std::sync::Arc;

/// The labels of a policy's rules, in their order.
pub(super) fn labels(policy: &Policy) -> impl Iterator<Item = RuleLabels> {
    policy.rules.iter().map(|rule| RuleLabels {
        rule: rule.name.clone(),
        mode: match rule.mode {
            crate::policy::Mode::Enforce => metrics::Mode::Enforce,
            crate::policy::Mode::Observe => metrics::Mode::Observe,
        },
        action: rule.actions.first().map_or("tag", Action::word),
        enabled: !rule.disabled,
    })
}

pub(super) fn metric_stage(stage: Stage) -> metrics::Stage {
    match stage {
        Stage::Connect => metrics::Stage::Connect,
        Stage::Helo => metrics::Stage::Helo,
        Stage::Mail => metrics::Stage::Mail,
        Stage::Rcpt => metrics::Stage::Rcpt,
        Stage::Data => metrics::Stage::Data,
        Stage::Message => metrics::Stage::Message,
    }
}

/// What happens, and what would happen if that is something else.
pub(super) fn ruling(policy: &Policy, decided: &Decided) -> (Ruling, Option<Ruling>) {
    let now = ruling_of(policy, &decided.verdict, &decided.because);
    let would = decided.would.as_ref().filter(|would| would.rule().is_some());
    let would = would.map(|would| ruling_of(policy, would, &decided.would_because));
    let would =
        would.filter(|would| !would.is_plain() && (would.verdict, &would.rule) != (now.verdict, &now.rule));
    (now, would)
}

fn ruling_of(policy: &Policy, verdict: &Verdict, because: &str) -> Ruling {
    let rule = verdict.rule().and_then(|rule| policy.rules.get(rule as usize)).map(|rule| rule.name.clone());
    let held = verdict.effects.iter().find_map(|done| match &done.effect {
        Effect::Hold(text) => Some(text.clone()),
        _ => None,
    });
    let text = verdict.refusal.as_ref().map(|(_, refusal)| refusal.text()).or(held).unwrap_or_default();
    let because = if rule.is_some() { because.to_owned() } else { String::new() };
    Ruling { verdict: verdict.word(), rule, because, text }
}

fn word(verdict: &str) -> Word {
    match verdict {
        "aborted" => Word::Aborted,
        "defer" | "defer_if_permit" => Word::Defer,
        "discard" => Word::Discard,
        "hold" => Word::Hold,
        "reject" => Word::Reject,
        _ => Word::Accept,
    }
}

fn direction(text: &str) -> Direction {
    match text {
        "bounce" => Direction::Bounce,
        "local" => Direction::Local,
        "outbound" => Direction::Outbound,
        _ => Direction::Inbound,
    }
}

/// Sizes of the tables, for the metrics.
pub(super) fn sample(desk: &Desk) {
    let (entries, evictions) = desk.sessions.sizes();
    desk.metrics.set_table("sessions", Table { entries, capacity: sessions::CAPACITY as u64, evictions });
    let stats = desk.state.stats();
    let (entries, evictions) = (stats.keys, stats.evicted);
    desk.metrics.set_table("buckets", Table { entries, capacity: desk.state.capacity() as u64, evictions });
    let (entries, capacity) = (desk.state.listed_keys() as u64, MAX_LISTED_KEYS as u64);
    desk.metrics.set_table("listings", Table { entries, capacity, evictions: 0 });
    let (entries, evictions) = desk.state.distinct_sizes();
    let capacity = MAX_DISTINCT_KEYS as u64;
    desk.metrics.set_table("distinct", Table { entries, capacity, evictions });
    let sizes = desk.state.greylist_sizes();
    for (name, entries, capacity, evictions) in [
        ("greylist_networks", sizes.networks, MAX_GREYLISTED_NETWORKS, sizes.evicted_networks),
        ("greylist_proved", sizes.proved, MAX_PROVED, sizes.evicted_proved),
        ("greylist_waiting", sizes.waiting, MAX_WAITING, sizes.evicted_waiting),
    ] {
        desk.metrics.set_table(name, Table { entries, capacity: capacity as u64, evictions });
    }
    let (entries, capacity) = (desk.state.used_entries() as u64, MAX_NOTED as u64);
    desk.metrics.set_table("list_usage", Table { entries, capacity, evictions: 0 });
    desk.metrics.set_fail_open_elsewhere(metrics::FailOpen::Full, sizes.full);
    let dns = desk.resolver.stats();
    for result in DnsResult::ALL {
        let count = dns.results.iter().find(|(word, _)| *word == result.word());
        desk.metrics.set_dns_queries(*result, count.map_or(0, |(_, count)| *count));
    }
    for (name, entries, capacity, evictions) in [
        ("dns_cache_bytes", dns.cache_bytes, dns.cache_capacity, dns.evicted),
        ("dns_under_way", dns.under_way, dns.most_under_way, 0),
    ] {
        desk.metrics.set_table(name, Table { entries, capacity, evictions });
    }
    if let Some(journal) = &desk.journal {
        desk.metrics.set_log_lines_dropped(journal.lines_dropped());
    }
}

impl Desk {
    /// Begins a transaction; one that was under way has ended without a word.
    pub(super) async fn begin_transaction(&self, session: &mut Session) {
        self.end_unseen(session).await;
        let active = self.active();
        self.settle_generation(session, &active);
        session.had_transaction = true;
        session.transaction = Some(Transaction::new(self.next_id(), active));
    }

    /// Tags are numbers of one policy: what an older one found out about the
    /// connection is found out again.
    pub(super) fn settle_generation(&self, session: &mut Session, active: &Active) {
        if session.generation != active.policy.generation {
            session.generation = active.policy.generation;
            session.recall = Default::default();
        }
    }

    /// Ends the transaction, if there is one, and writes its line unless that is
    /// done. Where only policy saw it and never its end, it is told as `verdict`.
    pub(super) async fn end_transaction(&self, session: &mut Session, verdict: &'static str) {
        if session.transaction.is_none() {
            return;
        }
        // It was given up before its end: that is known only where a milter hears of it.
        let outcome = if verdict == "aborted" { Outcome::Refused } else { Outcome::Accepted };
        self.settle(&mut session.recall, outcome).await;
        self.count_probe(session).await;
        self.close_transaction(session, verdict);
    }

    /// The same without a word on what was reserved for it.
    pub(super) fn close_transaction(&self, session: &mut Session, verdict: &'static str) {
        self.tell_message(session, verdict);
        session.transaction = None;
        session.recall.end_transaction();
    }

    /// A session whose place was taken by another. False while a milter has it, or
    /// somebody is at work on it: the mail goes on there.
    pub(super) async fn end_replaced(&self, before: &Handle) -> bool {
        match before.try_lock() {
            Ok(mut session) if session.milter.is_none() => {
                self.end_unseen(&mut session).await;
                true
            }
            _ => false,
        }
    }

    /// Ends a transaction whose end nobody told: where there is a milter it was
    /// given up, else it went on without us.
    async fn end_unseen(&self, session: &mut Session) {
        let by_milter = session.transaction.as_ref().is_some_and(|transaction| transaction.by_milter);
        self.end_transaction(session, if by_milter { "aborted" } else { "accept" }).await;
    }

    /// The one line of a message, with both sides.
    pub(super) fn tell_message(&self, session: &mut Session, verdict: &'static str) {
        let Session { transaction: Some(transaction), milter, recall, .. } = session else {
            return;
        };
        if std::mem::replace(&mut transaction.is_told, true) {
            return;
        }
        let facts = match (&transaction.facts, milter) {
            (Some(facts), None) if facts.is_known(Fact::Direction) => Arc::clone(facts),
            (facts, milter) => {
                let mut facts = facts.as_deref().cloned().unwrap_or_default();
                if let Some(milter) = milter {
                    facts.complete_from(milter);
                }
                if !facts.is_known(Fact::Direction) {
                    facts.set_direction(usual_direction(&facts, &transaction.active.policy.lists));
                }
                Arc::new(facts)
            }
        };
        // A message none of whose recipients was accepted never began for anybody.
        let nothing = transaction.recipients.is_empty() && transaction.refused.is_empty();
        let verdict = if nothing || (transaction.recipients.is_empty() && verdict == "accept") {
            "aborted"
        } else {
            verdict
        };
        for done in transaction.outbox.left() {
            let rule = transaction.active.policy.rules.get(done.rule as usize);
            let rule = rule.map(|rule| rule.name.as_str()).unwrap_or_default();
            tracing::warn!(id = %transaction.id, rule, action = done.effect.word(), "an action could not be told to Postfix any more");
        }
        let direction = direction(facts.text(Fact::Direction).unwrap_or_default());
        let ruling = transaction.ruling.clone().unwrap_or_default();
        let ruling = match verdict {
            "accept" | "aborted" if matches!(ruling.verdict, "hold" | "discard") => ruling,
            _ if ruling.verdict == verdict => ruling,
            _ => Ruling { verdict, ..Ruling::default() },
        };
        self.metrics.message(word(ruling.verdict), direction);
        let accepted = if verdict == "aborted" { 0 } else { transaction.recipients.len() as u64 };
        self.metrics.recipients(word(ruling.verdict), direction, accepted);
        let would = transaction.would.clone();
        let side = match (transaction.by_policy, transaction.by_milter) {
            (true, true) => "both",
            (false, true) => "milter",
            _ => "policy",
        };
        let transaction = &*transaction;
        let marks = [recall.connection.marks(World::All), recall.message.marks(World::All)];
        self.tell(About::Message, transaction, &facts, &marks, ruling, would, side);
    }

    /// Writes one decision down.
    #[expect(clippy::too_many_arguments, reason = "each is one column of the line")]
    pub(super) fn tell(
        &self,
        about: About,
        transaction: &Transaction,
        facts: &Facts,
        marks: &[&Marks],
        ruling: Ruling,
        would: Option<Ruling>,
        seen_by: &'static str,
    ) {
        let Some(journal) = self.journal.as_ref().filter(|journal| journal.takes_decisions()) else {
            return;
        };
        let policy = &transaction.active.policy;
        let text = |fact: Fact| facts.text(fact).unwrap_or_default();
        let tags = marks.iter().flat_map(|marks| &marks.tags).map(|tag| policy.tag_name(*tag));
        let recipient = match about {
            About::Recipient => text(Fact::Recipient),
            _ => one(&transaction.recipients),
        };
        let decision = Decision {
            about,
            id: &transaction.id,
            queue_id: text(Fact::QueueId),
            ruling,
            would,
            client_address: text(Fact::ClientAddress),
            client_name: text(Fact::ClientName),
            helo_name: text(Fact::HeloName),
            sasl_username: text(Fact::SaslUsername),
            sender: text(Fact::Sender),
            recipient,
            recipients: transaction.recipients.len(),
            refused: transaction.refused.len(),
            size: transaction.size,
            found: &transaction.found,
            changed: &transaction.changed,
            direction: text(Fact::Direction),
            listener: text(Fact::Listener),
            tags: tags.collect(),
            score: marks.iter().map(|marks| marks.score()).sum(),
            seen_by,
        };
        journal.decision(&decision, |line| decision.write_to(line));
    }

    /// What a rule's `log` says also stands in our own log, once.
    pub(super) fn log_effects(&self, policy: &Policy, added: &[Done], id: &str) {
        for done in added {
            if let Effect::Log(text) = &done.effect {
                let rule =
                    policy.rules.get(done.rule as usize).map(|rule| rule.name.as_str()).unwrap_or_default();
                tracing::info!(id, rule, text, "log");
            }
        }
    }

    pub(super) fn count_recipient(&self, decided: &Decided, towards: &str) {
        self.metrics.recipients(word(decided.verdict.word()), direction(towards), 1);
    }

    /// An action that nobody can do where it was decided.
    pub(super) fn tell_impossible(&self, transaction: &Transaction, left: &[Done]) {
        for done in left {
            let rule = transaction.active.policy.rules.get(done.rule as usize);
            let rule = rule.map(|rule| rule.name.as_str()).unwrap_or_default();
            tracing::warn!(id = %transaction.id, rule, action = done.effect.word(), "a milter can't do this; the mail goes on without");
        }
    }
}

/// What a message holds that is out of the ordinary: kinds of its files, and what its
/// readers disagree about.
pub(super) fn findings(message: &Message) -> Vec<&'static str> {
    let mut kinds = Kinds::NONE;
    message.files().for_each(|(file, _)| kinds.join(file.kinds));
    let kinds = kinds.iter().filter(|kind| !ORDINARY.has(*kind)).map(Kind::word);
    kinds.chain(message.tricks().iter().map(|trick| trick.word())).collect()
}

/// What any mail may hold.
const ORDINARY: Kinds = Kinds::NONE
    .with(Kind::Audio)
    .with(Kind::Binary)
    .with(Kind::Certificate)
    .with(Kind::Document)
    .with(Kind::Empty)
    .with(Kind::Html)
    .with(Kind::Image)
    .with(Kind::Message)
    .with(Kind::Pdf)
    .with(Kind::Signature)
    .with(Kind::Text)
    .with(Kind::Video);

/// What was done to the parts of a message, in a few words.
pub(super) fn changed(added: &[Done], breaks: bool) -> String {
    let mut done = Vec::new();
    for effect in added {
        if let Effect::ChangePart { file, change, .. } = &effect.effect {
            done.push(match change {
                Change::Remove => format!("removed {file}"),
                Change::Rename(name) => format!("renamed {file} to {name}"),
                Change::Replace(_) => format!("replaced {file}"),
            });
        }
    }
    let more = done.len().saturating_sub(MAX_CHANGES_TOLD);
    done.truncate(MAX_CHANGES_TOLD);
    if more > 0 {
        done.push(format!("{more} more"));
    }
    if breaks && !done.is_empty() {
        done.push("signatures no longer fit".into());
    }
    done.join("; ")
}

/// Parts named in one line of the log.
const MAX_CHANGES_TOLD: usize = 5;

/// All marks that count for one recipient or message.
pub(super) fn marks(known: &Known) -> [&Marks; 3] {
    [&known.connection, &known.message, &known.recipient]
}

/// The only recipient, or nothing: a list would be no single value.
fn one(recipients: &[String]) -> &str {
    match recipients {
        [only] => only,
        _ => "",
    }
}
