//! The rules are asked here: a function of (policy, facts, what was found out
//! before, answers, now).
//!
//! Each decision is made twice: with the enforced rules alone, which is what
//! happens, and with all of them, which is what would happen. What a limit counts
//! is charged only when nothing refuses.

mod act;
mod charge;
mod direction;
mod events;
mod listing;
mod lookup;
mod memo;
mod memory;
mod rehearse;
mod settle;
mod size;
mod walk;

pub use direction::usual_direction;
pub use events::Event;
pub use events::Happened;
pub use events::count_event;
pub use rehearse::Failure;
pub use rehearse::Rehearsed;
pub use rehearse::rehearse;
pub use settle::Outcome;
pub use settle::settle;
pub use settle::settle_count;
pub use settle::settle_recipient;
pub use size::settle_size;
pub use walk::Trace;

use crate::checks::Answered;
use crate::checks::Count;
use crate::checks::Question;
use crate::dns::Resolver;
use crate::facts::Facts;
use crate::facts::Known;
use crate::facts::Marks;
use crate::facts::Stage;
use crate::lookup::Findings;
use crate::lookup::Given;
use crate::lookup::Lookups;
use crate::policy::Mode;
use crate::policy::Policy;
use crate::state::Memory;
use crate::state::Nanos;
use crate::state::Remembered;
use crate::state::State;
use crate::verdict::Verdict;
use charge::Due;
use charge::charge;
use charge::due;
use memo::Asked;
use memo::Once;
use settle::Held;
use smallvec::SmallVec;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use walk::Walk;

/// With enforced rules alone, or with all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum World {
    Enforced,
    All,
}

impl World {
    const BOTH: [Self; 2] = [Self::Enforced, Self::All];
}

/// What a decision is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    pub policy: &'a Policy,
    pub facts: &'a Facts,
    /// The stage that is answered; rules of earlier ones are caught up with.
    pub stage: Stage,
    /// Whether rules of the envelope may refuse here, or only mark: the milter
    /// leaves the envelope to delegation.
    pub decides_envelope: bool,
    /// The decision's short id, for texts.
    pub id: &'a str,
    /// Actions that fail, so that a chain goes on to its next.
    pub impossible: &'a [String],
    /// What a test says that checks come to.
    pub given: &'a [Given],
    /// One rule alone, as its own tests have it.
    pub only: Option<u32>,
    pub trace: bool,
}

impl<'a> Ask<'a> {
    /// As mail is decided, up to DATA: nothing is given or left out, and nobody looks on.
    pub fn new(policy: &'a Policy, facts: &'a Facts, stage: Stage) -> Self {
        let (decides_envelope, id, only, trace) = (true, "", None, false);
        Self { policy, facts, stage, decides_envelope, id, impossible: &[], given: &[], only, trace }
    }
}

/// What was found out about one thing (a connection, a message) in each world.
#[derive(Clone, Debug, Default)]
pub struct Found {
    all: FoundIn,
    /// None: the same as among all rules, as it is while no rule in observe applies.
    enforced: Option<Box<FoundIn>>,
}

#[derive(Clone, Debug, Default)]
struct FoundIn {
    marks: Marks,
    asked: Asked,
}

impl Found {
    pub fn marks(&self, world: World) -> &Marks {
        &self.within(world).marks
    }

    /// In both worlds.
    fn set_marks(&mut self, marks: &Marks) {
        for found in [Some(&mut self.all), self.enforced.as_deref_mut()].into_iter().flatten() {
            found.marks.clone_from(marks);
        }
    }

    fn within(&self, world: World) -> &FoundIn {
        self.enforced.as_deref().filter(|_| world == World::Enforced).unwrap_or(&self.all)
    }
}

/// What holds beyond one request: of the connection, of the transaction, and of
/// its accepted recipients.
#[derive(Clone, Debug, Default)]
pub struct Recall {
    pub connection: Found,
    pub message: Found,
    /// Of each accepted recipient, in each world.
    pub recipients: Vec<[Marks; 2]>,
    /// Limits that count messages, bytes or connections and have been charged, with
    /// the answer, which holds for the other recipients too.
    charged: Vec<Charged>,
    /// What is reserved for this transaction.
    held: Vec<Held>,
    /// The last stage of the transaction that was decided and let through: from
    /// `data` on, the rules up to it have had their turn, also those that a rule
    /// above them kept from being asked.
    through: Option<Stage>,
    /// What was found out of the world.
    findings: Findings,
}

/// Charges kept of one connection: Postfix takes 1,000 recipients a transaction,
/// each of which may be a key. What is not kept is charged again for each recipient.
const MAX_CHARGED: usize = 5_000;

/// A charge that is made once.
#[derive(Clone, Debug)]
struct Charged {
    question: Question,
    answer: Answered,
    counts_attempts: bool,
}

impl Recall {
    /// The transaction is over; the connection goes on.
    pub fn end_transaction(&mut self) {
        self.message = Found::default();
        self.findings.end_transaction();
        self.recipients.clear();
        self.through = None;
        self.charged.retain(|charged| charged.question.count == Count::Connections);
        // What has not been settled is left to the store's timer.
        self.held.clear();
    }

    /// Whether all that is marked is marked in both worlds.
    fn worlds_agree(&self) -> bool {
        let agree =
            |found: &Found| found.enforced.as_ref().is_none_or(|enforced| enforced.marks == found.all.marks);
        agree(&self.connection)
            && agree(&self.message)
            && self.recipients.iter().all(|[enforced, all]| enforced == all)
    }

    fn charged_as(&self, question: &Question) -> impl Iterator<Item = &Charged> {
        self.charged.iter().filter(|charged| {
            charged.question.bucket == question.bucket && charged.question.key == question.key
        })
    }

    /// What was said when as much was charged under these limits, by whichever rule.
    fn answered_before(&self, question: &Question) -> Option<&Answered> {
        let same = |charged: &&Charged| {
            charged.question.limits == question.limits && charged.question.n >= question.n
        };
        self.charged_as(question).find(same).map(|charged| &charged.answer)
    }

    /// How much of it was charged before, under whichever limits.
    fn counted(&self, question: &Question) -> u64 {
        self.charged_as(question).map(|charged| charged.question.n).max().unwrap_or(0)
    }

    /// A recipient is counted each; a message and a connection once.
    fn note_charged(&mut self, due: Due) {
        let Due { question, answer, counts_attempts, .. } = due;
        if question.count != Count::Recipients && self.charged.len() < MAX_CHARGED {
            self.charged.push(Charged { question, answer, counts_attempts });
        }
    }

    fn known(&self, world: World, stage: Stage) -> Known {
        let recipients = match stage {
            Stage::Data | Stage::Message => {
                self.recipients.iter().map(|marks| marks[world as usize].clone()).collect()
            }
            _ => Vec::new(),
        };
        Known {
            connection: self.connection.marks(world).clone(),
            message: self.message.marks(world).clone(),
            recipient: Marks::default(),
            recipients,
            listed: Vec::new(),
        }
    }
}

/// What was decided.
#[derive(Clone, Debug)]
pub struct Decided {
    /// What happens.
    pub verdict: Verdict,
    /// What would happen if every rule were enforced; None when there is no
    /// rule in observe.
    pub would: Option<Verdict>,
    /// Rules that applied for the first time, with what they did.
    pub hits: Vec<Hit>,
    /// Actions of enforced rules that could not be done, outside a chain that
    /// found another: who, and which.
    pub failed: Vec<(u32, &'static str)>,
    /// Why the rule that decided did so.
    pub because: String,
    /// Why the rule that would have decided would have done so.
    pub would_because: String,
    /// Rules whose condition could not be answered.
    pub unknown: u32,
    /// Of these, for want of an answer about the world.
    pub unanswered: u32,
    /// The marks in the world of all rules, for the log.
    pub known: Known,
    pub trace: Vec<Trace>,
    /// What was found out now of who vouches for the mail: by which method, and the result.
    pub told: Vec<(&'static str, &'static str)>,
    /// With `trace`, what is to be charged: who asked, and what.
    pub due: Vec<(u32, Question)>,
    /// With `trace`, what is to be remembered otherwise.
    pub shown: Vec<(u32, Memory)>,
}

/// A rule applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    pub rule: u32,
    pub mode: Mode,
    /// The first of its actions that was done.
    pub action: &'static str,
}

/// So many questions of a request, mostly.
type Few<T> = SmallVec<[T; 4]>;

/// How often a decision is made anew because others took the tokens meanwhile,
/// or an answer led to a further question. Rules with limits are few.
const MAX_ROUNDS: usize = 16;

/// Answers to questions, by rule and level.
#[derive(Clone, Debug, Default)]
struct Answers {
    said: Vec<(u32, Question, Answered)>,
    /// By rule; None: the store did not answer in time.
    recalled: Vec<(u32, Memory, Option<Remembered>)>,
}

impl Answers {
    /// Of a rule's levels the one that decides.
    fn of(&self, rule: u32) -> Option<(&Question, &Answered)> {
        let own = self.said.iter().filter(|(asker, _, _)| *asker == rule);
        let own = own.map(|(_, question, answer)| (question, answer));
        own.reduce(|one, other| if other.1.is_graver(one.1) { other } else { one })
    }

    fn set(&mut self, rule: u32, question: Question, answer: Answered) {
        self.said.retain(|(asker, asked, _)| *asker != rule || asked.level != question.level);
        self.said.push((rule, question, answer));
    }
}

/// The store and the time by which it must have answered.
#[derive(Clone, Copy, Debug)]
pub struct Store<'a> {
    pub state: &'a State,
    /// Who is asked about the world.
    pub resolver: &'a Resolver,
    pub now: Nanos,
    pub deadline: Duration,
    /// `explain` looks without charging.
    pub charges: bool,
}

/// The pass over all rules and, where that would come to something else, the one
/// over the enforced rules alone.
struct Passes {
    /// Over the enforced rules if no rule is in observe.
    all: Walk,
    /// None: the same as `all`, because no rule in observe applied.
    enforced: Option<Walk>,
}

impl Passes {
    fn make(ask: &Ask<'_>, recall: &Recall, answers: &Answers, once: &Once<'_>) -> Self {
        if !ask.policy.observes {
            return Self { all: walk::walk(ask, World::Enforced, recall, answers, once), enforced: None };
        }
        let all = walk::walk(ask, World::All, recall, answers, once);
        let [enforced, observed] = &once.listed;
        let differs = all.observed || !recall.worlds_agree() || enforced != observed;
        let enforced = differs.then(|| walk::walk(ask, World::Enforced, recall, answers, once));
        Self { all, enforced }
    }

    fn enforced(&self) -> &Walk {
        self.enforced.as_ref().unwrap_or(&self.all)
    }

    /// What would happen, if any rule is in observe.
    fn observed(&self, policy: &Policy) -> Option<&Walk> {
        policy.observes.then_some(&self.all)
    }

    fn refuse(&self) -> bool {
        self.all.verdict.refuses() || self.enforced().verdict.refuses()
    }

    /// What both passes want to know.
    fn take_questions(&mut self) -> Vec<(u32, Question)> {
        let mut questions = std::mem::take(&mut self.all.questions);
        for question in
            self.enforced.as_mut().map(|walk| std::mem::take(&mut walk.questions)).unwrap_or_default()
        {
            if !questions.iter().any(|(rule, asked)| *rule == question.0 && asked.level == question.1.level) {
                questions.push(question);
            }
        }
        questions
    }
}

/// Decides, charges, and remembers in `recall` what holds for later requests.
pub async fn decide(ask: Ask<'_>, recall: &mut Recall, store: Store<'_>) -> Decided {
    let mut answers = Answers::default();
    let mut findings = std::mem::take(&mut recall.findings);
    if ask.stage == Stage::Message {
        findings.try_again();
    }
    let mut once = Once::new(Lookups::new(store.resolver, ask.given, findings));
    once.listed = listing::listed(&ask, store).await;
    let mut until = None;
    let mut passes = lookup::passes(&ask, recall, &answers, &mut once, store, &mut until).await;
    for round in 0..MAX_ROUNDS {
        let questions = passes.take_questions();
        let memories = passes.take_memories();
        let changed = if !memories.is_empty() {
            memory::recall(memories, &mut answers, store).await;
            answer(questions, recall, &mut answers, store).await;
            true
        } else if questions.is_empty() {
            let (enforced, all) = (passes.enforced(), passes.observed(ask.policy));
            !memory::learn(&ask, enforced, all, &mut answers, store).await
                || !charge(&ask, enforced, all, recall, &mut answers, store).await
        } else if round == 0 && store.charges && !passes.refuse() {
            // Mostly all of them are within their limits: then this was all there
            // is to do, since a limit that lets through is as if it had not been asked.
            !charge::at_once(&ask, questions, recall, &mut answers, store).await
        } else {
            answer(questions, recall, &mut answers, store).await;
            true
        };
        if !changed {
            break;
        }
        passes = lookup::passes(&ask, recall, &answers, &mut once, store, &mut until).await;
    }
    let due = match (ask.trace, store.charges) {
        (true, false) => due(&ask, passes.enforced(), passes.observed(ask.policy), recall, &answers),
        _ => Vec::new(),
    };
    let shown = match (ask.trace, store.charges) {
        (true, false) => memory::shown(&ask, passes.enforced(), passes.observed(ask.policy), &answers),
        _ => Vec::new(),
    };
    if store.charges {
        listing::list(&ask, &passes, store).await;
    }
    let told = std::mem::take(&mut once.told);
    recall.findings = once.lookups.into_findings();
    remember(&ask, recall, &mut passes);
    let due = due.into_iter().map(|due| (due.rule, due.question)).collect();
    Decided { told, due, shown, ..conclude(&ask, passes) }
}

/// Has the store answer all questions at once. What was charged for this
/// transaction already is answered as it was then.
async fn answer(questions: Vec<(u32, Question)>, recall: &Recall, answers: &mut Answers, store: Store<'_>) {
    let mut open = Vec::with_capacity(questions.len());
    for (rule, question) in questions {
        match recall.answered_before(&question).cloned() {
            Some(answer) => answers.set(rule, question, answer),
            None => open.push((rule, question)),
        }
    }
    let batch: Vec<_> = open.iter().map(|(_, question)| in_store(question)).collect();
    let said = within(store.deadline, store.state.peek(&batch, store.now)).await;
    let said = said.unwrap_or_else(|| vec![None; batch.len()]);
    drop(batch);
    for ((rule, question), answer) in open.into_iter().zip(said) {
        answers.set(rule, question, answer.map_or(Answered::Unknown, Answered::Said));
    }
}

/// None when it takes longer. Most is ready at once, and needs no timer.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let first = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await;
    match first {
        Poll::Ready(value) => Some(value),
        Poll::Pending => tokio::time::timeout(limit, work).await.ok(),
    }
}

fn in_store(question: &Question) -> crate::state::Question<'_> {
    crate::state::Question {
        bucket: question.bucket,
        key: &question.key,
        coarse: question.coarse,
        limits: &question.limits,
        n: question.n,
        counted: 0,
        must_fit: true,
    }
}

/// Keeps the answers and marks that hold for the connection and the message.
fn remember(ask: &Ask<'_>, recall: &mut Recall, passes: &mut Passes) {
    let [connection, message] = passes.all.take_found();
    let enforced = passes.enforced.as_mut().map(|walk| walk.take_found().map(Box::new));
    let [enforced_connection, enforced_message] = match enforced {
        Some(found) => found.map(Some),
        None => [None, None],
    };
    recall.connection = Found { all: connection, enforced: enforced_connection };
    recall.message = Found { all: message, enforced: enforced_message };
    let (enforced, all) = (passes.enforced(), &passes.all);
    if enforced.verdict.refuses() {
        return;
    }
    recall.through = recall.through.max(Some(ask.stage));
    if ask.stage == Stage::Rcpt {
        recall.recipients.push([enforced.known.recipient.clone(), all.known.recipient.clone()]);
    }
}

/// What would happen tells of all rules, what happens only of its verdict.
fn conclude(ask: &Ask<'_>, passes: Passes) -> Decided {
    let hit = |(rule, action): (u32, &'static str)| {
        let mode = ask.policy.rules.get(rule as usize)?.mode;
        Some(Hit { rule, mode, action })
    };
    let Passes { mut all, mut enforced } = passes;
    if let Some(enforced) = &mut enforced {
        // What an enforced rule did is what it did among its own.
        let observed =
            |rule: u32| ask.policy.rules.get(rule as usize).is_some_and(|r| r.mode == Mode::Observe);
        all.hits.retain(|(rule, _)| observed(*rule));
        all.hits.append(&mut enforced.hits);
        all.unknown = all.unknown.max(enforced.unknown);
        all.unanswered = all.unanswered.max(enforced.unanswered);
    }
    let (verdict, because, failed) = match enforced {
        Some(enforced) => (enforced.verdict, enforced.because, enforced.failed),
        None => (all.verdict.clone(), all.because.clone(), all.failed),
    };
    let (would, would_because) = match ask.policy.observes {
        true => (Some(all.verdict), all.because),
        false => (None, String::new()),
    };
    Decided {
        told: Vec::new(),
        verdict,
        would,
        hits: all.hits.into_iter().filter_map(hit).collect(),
        failed,
        because,
        would_because,
        unknown: all.unknown,
        unanswered: all.unanswered,
        known: all.known,
        trace: all.trace,
        due: Vec::new(),
        shown: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
