//! What a decision costs: the limits that are charged once it is found, in each
//! world what its rules count. What rules of both worlds count in one bucket is
//! charged once.

use super::Answers;
use super::Ask;
use super::Few;
use super::Recall;
use super::Store;
use super::answer;
use super::events;
use super::in_store;
use super::settle;
use super::settle::Held;
use super::walk::Walk;
use super::within;
use crate::checks::Answered;
use crate::checks::Count;
use crate::checks::Question;
use crate::facts::Fact;
use crate::facts::Stage;
use crate::policy::Mode;
use crate::state::Hold;
use crate::state::Reserved;

/// Charges what was let through; false when others took the tokens meanwhile, so
/// that the decision has to be made anew.
pub(super) async fn charge(
    ask: &Ask<'_>,
    enforced: &Walk,
    all: Option<&Walk>,
    recall: &mut Recall,
    answers: &mut Answers,
    store: Store<'_>,
) -> bool {
    let due = match store.charges {
        true => due(ask, enforced, all, recall, answers),
        false => Vec::new(),
    };
    if due.is_empty() {
        return true;
    }
    // If the store is away the mail goes on uncounted: our own trouble never refuses.
    charge_due(due, ask, recall, answers, store).await.unwrap_or(true)
}

/// Asks and charges in one step, where nothing refuses. False when a limit is used
/// up, so that the rules must be asked again with what was said; then nothing is
/// charged.
pub(super) async fn at_once(
    ask: &Ask<'_>,
    questions: Vec<(u32, Question)>,
    recall: &mut Recall,
    answers: &mut Answers,
    store: Store<'_>,
) -> bool {
    match events::are_few(&questions, store).await {
        Some(true) => {}
        Some(false) => {
            answer(questions, recall, answers, store).await;
            return false;
        }
        None => {
            questions.into_iter().for_each(|(rule, asked)| answers.set(rule, asked, Answered::Unknown));
            return false;
        }
    }
    // Events are none of this mail's.
    let of_mail = |(_, question): &&(u32, Question)| !question.count.is_event();
    let used_up = |(_, question): &(u32, Question)| matches!(recall.answered_before(question), Some(Answered::Said(answer)) if !answer.allowed);
    if questions.iter().filter(of_mail).any(used_up) {
        answer(questions.into_iter().filter(|asked| of_mail(&asked)).collect(), recall, answers, store).await;
        return false;
    }
    let mut open = Vec::with_capacity(questions.len());
    for (rule, question) in questions.into_iter().filter(|asked| of_mail(&asked)) {
        // What was charged for this mail before is answered as it was then.
        if let Some(answer) = recall.answered_before(&question).cloned() {
            answers.set(rule, question, answer);
            continue;
        }
        let counts_attempts = counts_attempts(ask, rule);
        open.push(Due { rule, question, answer: Answered::Unknown, must_fit: true, counts_attempts });
    }
    if open.is_empty() {
        return true;
    }
    // A limit that lets through is asked no more.
    charge_due(open, ask, recall, answers, store).await.unwrap_or_else(|away| {
        away.into_iter().for_each(|due| answers.set(due.rule, due.question, due.answer));
        false
    })
}

/// Charges all, and says true, or nothing, and notes what was said of each. What is due
/// comes back if the store does not answer.
async fn charge_due(
    mut due: Vec<Due>,
    ask: &Ask<'_>,
    recall: &mut Recall,
    answers: &mut Answers,
    store: Store<'_>,
) -> Result<bool, Vec<Due>> {
    let batch: Few<_> = due.iter().map(|due| due.in_batch(recall)).collect();
    let taken = take(&batch, due.iter().all(Due::is_final), store).await;
    drop(batch);
    let Some(Reserved { answers: said, holds }) = taken else {
        return Err(due);
    };
    let admitted = due.iter().zip(&said).all(|(due, answer)| answer.allowed || !due.must_fit);
    let mut final_ones = Vec::new();
    for ((due, answer), hold) in due.iter_mut().zip(said).zip(holds) {
        if due.must_fit {
            due.answer = Answered::Said(answer);
        }
        if admitted {
            final_ones.extend(recall.note_held(due, hold, ask));
        }
    }
    for due in due {
        match admitted {
            true => recall.note_charged(due),
            false => answers.set(due.rule, due.question, due.answer),
        }
    }
    commit(&final_ones, store).await;
    Ok(admitted)
}

/// Reserves, or charges at once where nothing of it can be given back.
async fn take(batch: &[crate::state::Question<'_>], is_final: bool, store: Store<'_>) -> Option<Reserved> {
    if is_final {
        let answers = within(store.deadline, store.state.admit(batch, store.now)).await?;
        return Some(Reserved { holds: answers.iter().map(|_| None).collect(), answers });
    }
    let until = settle::until(store.now);
    within(store.deadline, store.state.reserve(batch, until, store.now)).await
}

/// Charges now what nothing can give back.
async fn commit(holds: &[Hold], store: Store<'_>) {
    if !holds.is_empty() {
        let _ = within(store.deadline, store.state.commit(holds, store.now)).await;
    }
}

impl Recall {
    /// Keeps what was reserved until the mail's end is known. Returned is what is to be
    /// charged at once: connections, attempts, and what is more than is kept.
    fn note_held(&mut self, due: &Due, hold: Option<Hold>, ask: &Ask<'_>) -> Option<Hold> {
        let hold = hold?;
        if due.is_final() || self.held.len() >= settle::MAX_HELD {
            return Some(hold);
        }
        // Behind RCPT a charge is the message's, for all of its recipients.
        let of_one = due.question.count == Count::Recipients && ask.stage == Stage::Rcpt;
        let recipient = ask.facts.text(Fact::Recipient).filter(|_| of_one);
        self.held.push(Held {
            hold,
            bucket: due.question.bucket,
            key: due.question.key.clone(),
            recipient: recipient.map(str::to_owned),
        });
        None
    }
}

/// A limit that is to be charged: who asked, what, and what was said.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) rule: u32,
    pub(super) question: Question,
    pub(super) answer: Answered,
    /// It was found to be within its limits, so it is charged only if it still is.
    /// What goes on though it is above them, and attempts, are charged in any case.
    pub(super) must_fit: bool,
    /// Charged even if the mail is refused.
    pub(super) counts_attempts: bool,
}

impl Due {
    /// Attempts count whatever becomes of them, and a connection has been made.
    fn is_final(&self) -> bool {
        self.counts_attempts || self.question.count == Count::Connections
    }

    fn in_batch(&self, recall: &Recall) -> crate::state::Question<'_> {
        let counted = recall.counted(&self.question);
        crate::state::Question { counted, must_fit: self.must_fit, ..in_store(&self.question) }
    }
}

/// What is to be charged in each world: all that was let through, above its limit
/// or not, and attempts where a rule says so.
pub(super) fn due(
    ask: &Ask<'_>,
    enforced: &Walk,
    all: Option<&Walk>,
    recall: &Recall,
    answers: &Answers,
) -> Vec<Due> {
    let of = |walk: &Walk, mode: Mode| -> Vec<Due> {
        let refused = walk.verdict.refuses();
        let due = |(rule, question, answer): &(u32, Question, Answered)| {
            let asker = ask.policy.rules.get(*rule as usize)?;
            let Answered::Said(said) = answer else {
                return None;
            };
            let counts_attempts = counts_attempts(ask, *rule);
            let is_due = asker.mode == mode
                && !question.count.is_event()
                && walk.passed.contains(rule)
                && recall.answered_before(question).is_none()
                && (counts_attempts || !refused);
            is_due.then(|| Due {
                rule: *rule,
                question: question.clone(),
                answer: answer.clone(),
                must_fit: said.allowed && !refused,
                counts_attempts,
            })
        };
        answers.said.iter().filter_map(due).collect()
    };
    let mut found = of(enforced, Mode::Enforce);
    found.extend(all.map(|all| of(all, Mode::Observe)).unwrap_or_default());
    found
}

fn counts_attempts(ask: &Ask<'_>, rule: u32) -> bool {
    let limit = ask.policy.rules.get(rule as usize).and_then(|rule| rule.limit.as_ref());
    limit.is_some_and(|limit| limit.rate.charge_attempts)
}
