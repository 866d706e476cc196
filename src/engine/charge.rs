//! What a decision costs: the limits that are charged once it is found, in each
//! world what its rules count.

use super::Answers;
use super::Ask;
use super::Recall;
use super::Store;
use super::in_store;
use super::walk::Walk;
use crate::checks::Answered;
use crate::checks::Question;
use crate::policy::Mode;

/// Charges what was let through; false when others took the tokens meanwhile, so
/// that the decision has to be made anew.
pub(super) async fn charge(
    ask: &Ask<'_>,
    enforced: &Walk,
    all: Option<&Walk>,
    recall: &mut Recall,
    answers: &mut Answers,
    paid: &mut Vec<u32>,
    store: Store<'_>,
) -> bool {
    if !store.charges {
        return true;
    }
    for mut group in due(ask, enforced, all, recall, answers) {
        // One world may be charged and the other sent back to think again.
        group.retain(|due| !paid.contains(&due.rule));
        let (attempts, group): (Vec<_>, Vec<_>) = group.into_iter().partition(|due| due.is_attempt);
        count_attempts(attempts, recall, paid, store).await;
        if group.is_empty() {
            continue;
        }
        let batch: Vec<_> = group.iter().map(|due| in_store(&due.question)).collect();
        let Ok(said) = tokio::time::timeout(store.deadline, store.state.admit(&batch, store.now)).await
        else {
            // The mail goes on uncounted: our own trouble never refuses.
            continue;
        };
        drop(batch);
        let admitted = said.iter().all(|answer| answer.allowed);
        for (due, answer) in group.into_iter().zip(said) {
            let answer = Answered::Said(answer);
            if admitted {
                paid.push(due.rule);
                recall.note_charged(Due { answer, ..due });
            } else {
                answers.set(due.rule, due.question, answer);
            }
        }
        if !admitted {
            return false;
        }
    }
    true
}

/// Asks and charges in one step, where nothing refuses: each world's limits as a
/// group. False when one of them is used up, so that the rules must be asked again
/// with what was said.
pub(super) async fn at_once(
    ask: &Ask<'_>,
    questions: Vec<(u32, Question)>,
    recall: &mut Recall,
    answers: &mut Answers,
    paid: &mut Vec<u32>,
    store: Store<'_>,
) -> bool {
    let mode = |rule: u32| ask.policy.rules.get(rule as usize).map(|rule| rule.mode).unwrap_or_default();
    let (enforced, observed): (Vec<_>, Vec<_>) =
        questions.into_iter().partition(|(rule, _)| mode(*rule) == Mode::Enforce);
    let mut all_allowed = true;
    for mut group in [enforced, observed] {
        // What was charged for this mail before is answered as it was then.
        group.retain(|(rule, question)| {
            let before = recall.charged_before(*rule, question).map(|charged| charged.answer.clone());
            all_allowed &= !matches!(&before, Some(Answered::Said(answer)) if !answer.allowed);
            if let Some(answer) = &before {
                answers.set(*rule, question.clone(), answer.clone());
            }
            before.is_none()
        });
        if group.is_empty() {
            continue;
        }
        let batch: Vec<_> = group.iter().map(|(_, question)| in_store(question)).collect();
        let said = tokio::time::timeout(store.deadline, store.state.admit(&batch, store.now)).await;
        drop(batch);
        let Ok(said) = said else {
            group.into_iter().for_each(|(rule, question)| answers.set(rule, question, Answered::Unknown));
            all_allowed = false;
            continue;
        };
        let admitted = said.iter().all(|answer| answer.allowed);
        all_allowed &= admitted;
        for ((rule, question), answer) in group.into_iter().zip(said) {
            let answer = Answered::Said(answer);
            if admitted {
                paid.push(rule);
                recall.note_charged(Due {
                    rule,
                    question: question.clone(),
                    answer: answer.clone(),
                    is_attempt: false,
                });
            }
            answers.set(rule, question, answer);
        }
        if !admitted {
            // What the enforced rules refuse is refused in both worlds.
            return false;
        }
    }
    all_allowed
}

/// Counts what was refused, where a rule wants that: whatever its limit says.
async fn count_attempts(attempts: Vec<Due>, recall: &mut Recall, paid: &mut Vec<u32>, store: Store<'_>) {
    if attempts.is_empty() {
        return;
    }
    let batch: Vec<_> = attempts.iter().map(|due| in_store(&due.question)).collect();
    // Uncounted if the store is away.
    let _ = tokio::time::timeout(store.deadline, store.state.charge(&batch, store.now)).await;
    drop(batch);
    for due in attempts {
        paid.push(due.rule);
        recall.note_charged(due);
    }
}

/// A limit that is to be charged: who asked, what, and what was said.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) rule: u32,
    pub(super) question: Question,
    pub(super) answer: Answered,
    /// Refused, by this limit or something else, and counted all the same.
    pub(super) is_attempt: bool,
}

/// What is to be charged in each world: all that was let through, where nothing
/// else refuses, and attempts where a rule says so.
pub(super) fn due(
    ask: &Ask<'_>,
    enforced: &Walk,
    all: Option<&Walk>,
    recall: &Recall,
    answers: &Answers,
) -> Vec<Vec<Due>> {
    let of = |walk: &Walk, mode: Mode| -> Vec<Due> {
        let refused = walk.verdict.refuses();
        let due = |(rule, question, answer): &(u32, Question, Answered)| {
            let asker = ask.policy.rules.get(*rule as usize)?;
            let limit = asker.limit.as_ref()?;
            let Answered::Said(said) = answer else {
                return None;
            };
            let is_attempt = refused || !said.allowed;
            let is_due = asker.mode == mode
                && walk.passed.contains(rule)
                && !recall.is_charged(*rule, question)
                && (limit.rate.charge_attempts || !is_attempt);
            is_due.then(|| Due {
                rule: *rule,
                question: question.clone(),
                answer: answer.clone(),
                is_attempt,
            })
        };
        answers.said.iter().filter_map(due).collect()
    };
    let mut groups = vec![of(enforced, Mode::Enforce)];
    groups.extend(all.map(|all| of(all, Mode::Observe)));
    groups
}
