//! What is remembered other than by tokens: which values a key has shown, and who has
//! come back. All questions of a request are asked in one batch, as those of limits.

use super::Answer;
use super::State;
use super::clock::Nanos;
use super::distinct::Showing;
use super::greylist::Attempt;
use super::greylist::Fate;
use super::greylist::GreylistSizes;
use super::greylist::Standing;
use super::greylist::Terms;

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub enum Memory {
    Distinct(Showing),
    Greylist(Attempt),
}

/// Its answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Remembered {
    /// None: there is no room for one more key.
    Distinct(Option<Answer>),
    Greylist(Standing),
}

/// Something to be remembered.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'a> {
    pub memory: &'a Memory,
    /// What became of the mail.
    pub fate: Fate,
    /// Whether nothing of its batch is remembered if it is above its limit. Else it is
    /// remembered whatever its limits say.
    pub must_fit: bool,
}

impl State {
    /// What is remembered; remembers nothing new.
    pub async fn recall(&self, asked: &[&Memory], now: Nanos) -> Vec<Remembered> {
        self.reached().await;
        let answer = |memory: &&Memory| match memory {
            Memory::Distinct(showing) => Remembered::Distinct(self.distinct.peek(showing, now)),
            Memory::Greylist(attempt) => Remembered::Greylist(self.greylist.peek(attempt, now)),
        };
        asked.iter().map(answer).collect()
    }

    /// Remembers all of it, unless a value that must be within its limits is not: then
    /// nothing, and that is said. Values of a mail that was not let through are not
    /// shown to anybody, and not remembered.
    pub async fn learn(&self, lessons: &[Lesson<'_>], now: Nanos) -> Vec<Option<Remembered>> {
        self.reached().await;
        let shown: Vec<(&Showing, bool)> = lessons.iter().filter_map(Lesson::shown).collect();
        let answers = if shown.is_empty() { Vec::new() } else { self.distinct.show(&shown, now) };
        let fits = |((_, must_fit), answer): (&(&Showing, bool), &Option<Answer>)| {
            !must_fit || answer.is_none_or(|answer| answer.allowed)
        };
        let fit = shown.iter().zip(&answers).all(fits);
        let mut answers = answers.into_iter();
        let each = lessons.iter().map(|lesson| match lesson.memory {
            Memory::Distinct(_) => lesson.shown().and_then(|_| answers.next()).map(Remembered::Distinct),
            Memory::Greylist(attempt) => {
                if fit {
                    self.greylist.note(attempt, lesson.fate, now);
                }
                None
            }
        });
        each.collect()
    }

    /// Has a pool waited long enough for a rule that greylists; false when there is no
    /// room.
    pub async fn pass(&self, bucket: u32, pool: &str, terms: &Terms, now: Nanos) -> bool {
        self.reached().await;
        self.greylist.pass(bucket, pool, terms, now)
    }

    /// How many keys have shown values, and how many were forgotten to make room.
    pub fn distinct_sizes(&self) -> (u64, u64) {
        self.distinct.sizes()
    }

    pub fn greylist_sizes(&self) -> GreylistSizes {
        self.greylist.sizes()
    }
}

impl<'a> Lesson<'a> {
    /// The value it shows, and whether it must fit.
    fn shown(&self) -> Option<(&'a Showing, bool)> {
        match self.memory {
            Memory::Distinct(showing) if self.fate == Fate::LetThrough => Some((showing, self.must_fit)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    const NOW: Nanos = 1_800_000_000_000_000_000;

    #[tokio::test(start_paused = true)]
    async fn what_is_above_its_limit_keeps_the_rest_from_being_remembered() {
        let state = State::in_memory(1);
        let showing = |value: &str| {
            let (value, limits) = (value.into(), Arc::new("1/1h".parse().unwrap()));
            Memory::Distinct(Showing { bucket: 1, key: "k".into(), value, limits })
        };
        let hour = Duration::from_secs(3_600);
        let terms = Terms { delay: hour, retry_window: 2 * hour, auto_allow: None, remember: hour };
        let attempt = Memory::Greylist(Attempt {
            bucket: 2,
            network: "n".into(),
            pool: "p".into(),
            sender: "s".into(),
            recipient: "r".into(),
            terms,
        });
        let (first, second) = (showing("a"), showing("b"));
        let learn = async |memory: &Memory, must_fit, fate| {
            let both = [memory, &attempt].map(|memory| Lesson { memory, fate, must_fit });
            let allowed = match state.learn(&both, NOW).await[0] {
                Some(Remembered::Distinct(answer)) => answer.map(|answer| answer.allowed),
                _ => None,
            };
            (allowed, state.greylist_sizes().waiting)
        };
        assert_eq!(learn(&first, true, Fate::Refused).await, (None, 0));
        assert_eq!(state.distinct_sizes().0, 0);
        state.learn(&[Lesson { memory: &first, fate: Fate::LetThrough, must_fit: true }], NOW).await;
        assert_eq!(learn(&second, true, Fate::LetThrough).await, (Some(false), 0));
        assert_eq!(learn(&first, true, Fate::LetThrough).await, (Some(true), 1));
        assert_eq!(learn(&second, false, Fate::LetThrough).await, (Some(false), 1));
        let found = state.recall(&[&second, &attempt], NOW).await;
        assert!(matches!(found[0], Remembered::Distinct(Some(answer)) if answer.used == 2));
        assert!(matches!(found[1], Remembered::Greylist(Standing::Waits { is_new: false, .. })));
    }
}
