//! What is counted when it happens, whatever becomes of the mail: recipients that were
//! refused, users that don't exist, transactions given up before DATA.
//!
//! Clients choose how often it happens. What it costs is one look at the rules that
//! count it, and their keys in the store, which is bounded.

use super::Answers;
use super::Ask;
use super::Decided;
use super::Few;
use super::Recall;
use super::Store;
use super::World;
use super::in_store;
use super::listing;
use super::memo::Once;
use super::walk::walk;
use super::within;
use crate::checks::Context;
use crate::checks::Count;
use crate::checks::Question;
use crate::checks::Truth;
use crate::facts::Facts;
use crate::facts::Stage;
use crate::lookup::Given;
use crate::lookup::Lookups;
use crate::policy::Limit;
use crate::policy::Mode;
use crate::policy::Policy;
use crate::policy::Rule;
use crate::verdict::Refusal;
use crate::verdict::Verdict;

/// Whether something happened, in one world.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Happened {
    #[default]
    No,
    /// If this rule counts the same, it means nothing: two that do would keep each other
    /// refusing for as long as somebody tries.
    ByRule(u32),
    ByOthers,
}

/// Something that rules may count.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    pub policy: &'a Policy,
    pub facts: &'a Facts,
    /// `Rcpt` for what concerns one recipient, `Data` for several.
    pub stage: Stage,
    pub count: Count,
    pub n: u64,
    /// Among the enforced rules, and among all.
    pub happened: [Happened; 2],
    /// One rule alone, as its own tests have it.
    pub only: Option<u32>,
    /// What a test says that checks come to.
    pub given: &'a [Given],
}

impl Event<'_> {
    /// The limit of a rule that counts this, in its own world.
    fn limit_of<'r>(&self, rule: &'r Rule) -> Option<&'r Limit> {
        let limit = rule.limit.as_ref().filter(|limit| limit.rate.count == self.count)?;
        let by = match rule.mode {
            Mode::Enforce => self.happened[World::Enforced as usize],
            Mode::Observe => self.happened[World::All as usize],
        };
        let feeds_itself = match by {
            Happened::No => return None,
            Happened::ByOthers => false,
            Happened::ByRule(by) => {
                let by = self.policy.rules.get(by as usize).and_then(|rule| rule.limit.as_ref());
                by.is_some_and(|by| by.rate.count == self.count)
            }
        };
        (!feeds_itself).then_some(limit)
    }

    fn ask(&self) -> Ask<'_> {
        let (given, only) = (self.given, self.only);
        Ask { given, only, ..Ask::new(self.policy, self.facts, self.stage) }
    }
}

impl Decided {
    /// What a refusal means to rules that count: a recipient was refused, and perhaps
    /// because there is none. A mail that is discarded was not refused.
    pub fn refusals(&self) -> Vec<(Count, [Happened; 2])> {
        let enforced = &self.verdict;
        let worlds = [enforced, self.would.as_ref().unwrap_or(enforced)];
        if !worlds.iter().any(|verdict| verdict.refuses()) {
            return Vec::new();
        }
        let happened = |verdict: &Verdict, fits: fn(&Refusal) -> bool| match &verdict.refusal {
            Some((rule, refusal)) if fits(refusal) => Happened::ByRule(*rule),
            _ => Happened::No,
        };
        vec![
            (Count::Refused, worlds.map(|verdict| happened(verdict, Refusal::is_told))),
            (Count::UnknownUsers, worlds.map(|verdict| happened(verdict, Refusal::is_of_unknown_user))),
        ]
    }
}

/// Counts it for each key of the rules that ask about it, and whose conditions hold.
pub async fn count_event(event: &Event<'_>, recall: &Recall, store: Store<'_>) {
    let rules = event.policy.events.iter().filter_map(|index| event.policy.rules.get(*index as usize));
    let asking: Vec<_> = rules.filter_map(|rule| Some((rule, event.limit_of(rule)?))).collect();
    if asking.is_empty() || !store.charges {
        return;
    }
    let ask = event.ask();
    // Nothing is found out for it: what the mail's own decision asked is known.
    let lookups = Lookups::new(store.resolver, event.given, recall.findings.clone());
    lookups.end();
    let mut once = Once::new(lookups);
    once.listed = listing::listed(&ask, store).await;
    let mut questions = Vec::new();
    for (world, mode) in [(World::Enforced, Mode::Enforce), (World::All, Mode::Observe)] {
        let mut asking = asking.iter().filter(|(rule, _)| rule.mode == mode).peekable();
        if asking.peek().is_none() {
            continue;
        }
        // Postfix may have refused before anybody asked the rules that mark.
        let known = walk(&ask, world, recall, &Answers::default(), &once).known;
        let lookups = Some(&once.lookups);
        let cx = Context { lookups, ..Context::new(event.facts, &known, event.stage) };
        for (rule, limit) in asking {
            let file = event.policy.files.get(rule.file);
            let guard = file.map_or(Truth::Match, |file| file.guard.evaluate(&cx));
            if guard.min(rule.condition.evaluate(&cx)) == Truth::Match {
                questions.extend(limit.rate.questions(limit.buckets, &cx));
            }
        }
    }
    let charge = |question| crate::state::Question { n: event.n, must_fit: false, ..in_store(question) };
    let batch: Vec<_> = questions.iter().map(charge).collect();
    if !batch.is_empty() {
        // Uncounted if the store is away.
        let _ = within(store.deadline, store.state.charge(&batch, store.now)).await;
    }
}

/// Whether all events that are asked about are within their limits: most often they are,
/// and a limit that lets through is as if it had not been asked. None: nobody could say.
pub(super) async fn are_few(questions: &[(u32, Question)], store: Store<'_>) -> Option<bool> {
    let events = questions.iter().filter(|(_, question)| question.count.is_event());
    let batch: Few<_> = events.map(|(_, question)| in_store(question)).collect();
    if batch.is_empty() {
        return Some(true);
    }
    within(store.deadline, store.state.have_room(&batch, store.now)).await
}
