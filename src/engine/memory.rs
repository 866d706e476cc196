//! What rules remember other than by tokens: asked before they are answered, and
//! learned once they have decided, in each world by what became of the mail there.
//! Each rule remembers its own, so what one in observe has learned decides nothing for
//! one that is enforced.

use super::Answers;
use super::Ask;
use super::Passes;
use super::Store;
use super::walk::Walk;
use super::within;
use crate::policy::Mode;
use crate::state::Fate;
use crate::state::Lesson;
use crate::state::Memory;
use crate::state::Remembered;
use crate::verdict::Refusal;
use crate::verdict::Verdict;

/// Has the store say all that was asked, and charges nothing.
pub(super) async fn recall(asked: Vec<(u32, Memory)>, answers: &mut Answers, store: Store<'_>) {
    let batch: Vec<&Memory> = asked.iter().map(|(_, memory)| memory).collect();
    let said = within(store.deadline, store.state.recall(&batch, store.now)).await;
    drop(batch);
    for (at, (rule, memory)) in asked.into_iter().enumerate() {
        let remembered = said.as_ref().and_then(|said| said.get(at)).copied();
        answers.set_memory(rule, memory, remembered);
    }
}

/// Has the store remember what was decided; false when others have taken the last room
/// within a limit meanwhile, so that the decision has to be made anew. It comes before
/// limits are charged: a value that is shown again is no other one, tokens would be.
pub(super) async fn learn(
    ask: &Ask<'_>,
    enforced: &Walk,
    all: Option<&Walk>,
    answers: &mut Answers,
    store: Store<'_>,
) -> bool {
    if answers.recalled.is_empty() || !store.charges {
        return true;
    }
    let due = due(ask, enforced, all, answers);
    let lessons: Vec<Lesson<'_>> = due.iter().map(|(_, lesson)| *lesson).collect();
    let Some(said) = within(store.deadline, store.state.learn(&lessons, store.now)).await else {
        // The mail goes on unremembered: our own trouble never refuses.
        return true;
    };
    let late = due.iter().zip(said).filter_map(|((rule, lesson), said)| {
        let is_above =
            matches!(said, Some(Remembered::Distinct(Some(answer))) if lesson.must_fit && !answer.allowed);
        is_above.then(|| (*rule, lesson.memory.clone(), said))
    });
    let late: Vec<_> = late.collect();
    let fits = late.is_empty();
    late.into_iter().for_each(|(rule, memory, said)| answers.set_memory(rule, memory, said));
    fits
}

/// For `explain`: what would be remembered.
pub(super) fn shown(
    ask: &Ask<'_>,
    enforced: &Walk,
    all: Option<&Walk>,
    answers: &Answers,
) -> Vec<(u32, Memory)> {
    let due = due(ask, enforced, all, answers).into_iter();
    let is_kept = |lesson: &Lesson<'_>| match lesson.memory {
        Memory::Distinct(_) => lesson.fate == Fate::LetThrough,
        Memory::Greylist(_) => lesson.fate != Fate::Refused,
    };
    due.filter(|(_, lesson)| is_kept(lesson)).map(|(rule, lesson)| (rule, lesson.memory.clone())).collect()
}

/// What rules of each world have to remember, whose conditions held.
fn due<'a>(
    ask: &Ask<'_>,
    enforced: &Walk,
    all: Option<&Walk>,
    answers: &'a Answers,
) -> Vec<(u32, Lesson<'a>)> {
    let mut found = Vec::new();
    for (walk, mode) in [(Some(enforced), Mode::Enforce), (all, Mode::Observe)] {
        let Some(walk) = walk else {
            continue;
        };
        let fate = fate(&walk.verdict);
        for (rule, memory, remembered) in &answers.recalled {
            let is_of_mode = ask.policy.rules.get(*rule as usize).is_some_and(|rule| rule.mode == mode);
            if !is_of_mode || !walk.passed.contains(rule) || remembered.is_none() {
                continue;
            }
            let fits = matches!(remembered, Some(Remembered::Distinct(Some(answer))) if answer.allowed);
            let must_fit = fits && fate == Fate::LetThrough;
            found.push((*rule, Lesson { memory, fate, must_fit }));
        }
    }
    found
}

fn fate(verdict: &Verdict) -> Fate {
    match &verdict.refusal {
        None => Fate::LetThrough,
        Some((_, Refusal::Defer(_) | Refusal::DeferIfPermit(_))) => Fate::Deferred,
        Some((_, Refusal::Discard(_) | Refusal::Reject(_))) => Fate::Refused,
    }
}

impl Answers {
    pub(super) fn memory_of(&self, rule: u32) -> Option<(&Memory, Option<Remembered>)> {
        let found = self.recalled.iter().find(|(asker, _, _)| *asker == rule);
        found.map(|(_, memory, remembered)| (memory, *remembered))
    }

    fn set_memory(&mut self, rule: u32, memory: Memory, remembered: Option<Remembered>) {
        self.recalled.retain(|(asker, _, _)| *asker != rule);
        self.recalled.push((rule, memory, remembered));
    }
}

impl Passes {
    /// What both passes want to know.
    pub(super) fn take_memories(&mut self) -> Vec<(u32, Memory)> {
        let mut memories = std::mem::take(&mut self.all.memories);
        let enforced = self.enforced.as_mut().map(|walk| std::mem::take(&mut walk.memories));
        for memory in enforced.unwrap_or_default() {
            if !memories.iter().any(|(rule, _)| *rule == memory.0) {
                memories.push(memory);
            }
        }
        memories
    }
}
