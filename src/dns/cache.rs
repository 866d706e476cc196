//! What was answered, for as long as it holds. Strangers choose what is asked: the
//! memory is bounded in bytes, and what is asked again and again stays.

use super::Answer;
use super::Question;
use super::Record;
use super::reply::Reply;
use foldhash::fast::RandomState;
use quick_cache::Lifecycle;
use quick_cache::OptionsBuilder;
use quick_cache::Weighter;
use quick_cache::sync;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

/// Some 200,000 answers of DNS lists, which are what a mail server asks most.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// Of an answer without records and without its name, with its place in the table; measured.
const ENTRY_BYTES: usize = 260;

/// A smaller TTL does not let a mail's two protocols ask twice.
const MIN_TTL: Duration = Duration::from_secs(5);
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

/// What is new, such as a name made a minute ago or a client just listed, is seen after that.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(15 * 60);

/// For somebody's trouble: the mails that wait now need not each find out, the next ones
/// may (RFC 2308, 7).
const FAILURE_TTL: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
struct Kept {
    answer: Answer,
    until: Instant,
}

#[derive(Debug)]
pub(super) struct Cache {
    kept: sync::Cache<Question, Kept, Bytes, RandomState, Leaving>,
    left: Arc<AtomicU64>,
}

impl Cache {
    pub(super) fn new(bytes: u64) -> Self {
        let left = Arc::new(AtomicU64::new(0));
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(bytes).unwrap_or(usize::MAX) / ENTRY_BYTES)
            .weight_capacity(bytes)
            .build();
        // Both numbers are given: that is all it can miss.
        let Ok(options) = options else { unreachable!("a capacity is given") };
        let leaving = Leaving(Arc::clone(&left));
        Self { kept: sync::Cache::with_options(options, Bytes, RandomState::default(), leaving), left }
    }

    pub(super) fn get(&self, question: &Question) -> Option<Answer> {
        let kept = self.kept.get(question)?;
        (Instant::now() < kept.until).then_some(kept.answer)
    }

    pub(super) fn set(&self, question: Question, reply: Reply) {
        let until = Instant::now() + holds_for(&reply);
        self.kept.insert(question, Kept { answer: reply.answer, until });
    }

    pub(super) fn clear(&self) {
        self.kept.clear();
    }

    /// Bytes in use, and how many have left before their time.
    pub(super) fn sizes(&self) -> (u64, u64) {
        (self.kept.weight(), self.left.load(Relaxed))
    }
}

fn holds_for(reply: &Reply) -> Duration {
    let ttl = Duration::from_secs(reply.ttl.unwrap_or_default().into());
    match reply.answer {
        Answer::Records(_) => ttl.clamp(MIN_TTL, MAX_TTL),
        Answer::Absent(_) => ttl.clamp(MIN_TTL, MAX_NEGATIVE_TTL),
        Answer::Failed(_) | Answer::Silent => FAILURE_TTL,
    }
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Question, Kept> for Bytes {
    fn weight(&self, question: &Question, kept: &Kept) -> u64 {
        let records = kept.answer.records();
        let beside: usize = records.iter().map(beside).sum();
        let bytes = ENTRY_BYTES + question.name.as_str().len() + size_of_val(records) + beside;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// What a record has on the heap, with what the allocator adds.
fn beside(record: &Record) -> usize {
    match record {
        Record::Mx { exchange: Some(name), .. } | Record::Ptr(name) => 32 + name.as_str().len(),
        Record::Txt(text) => 16 + text.len(),
        _ => 0,
    }
}

/// Counts who has to go.
#[derive(Clone, Debug)]
struct Leaving(Arc<AtomicU64>);

impl Lifecycle<Question, Kept> for Leaving {
    type RequestState = ();

    fn on_evict(&self, _: &mut (), _: Question, kept: Kept) {
        if Instant::now() < kept.until {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Absence;
    use super::super::Failure;
    use super::super::Kind;
    use super::super::Name;
    use super::*;

    fn question(name: &str) -> Question {
        Question::new(Name::parse(name).unwrap(), Kind::A)
    }

    fn found() -> Answer {
        Answer::Records([Record::A("127.0.0.2".parse().unwrap())].into())
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_is_kept_as_long_as_it_holds() {
        let none = Answer::Absent(Absence::NoRecord);
        for (answer, ttl, holds) in [
            (found(), Some(300), 300),
            (found(), Some(0), 5),
            (found(), Some(u32::MAX), 86_400),
            (none.clone(), Some(60), 60),
            (none.clone(), Some(86_400), 900),
            (none, None, 5),
            (Answer::Failed(Failure::ServFail), None, 5),
            (Answer::Silent, None, 5),
        ] {
            let cache = Cache::new(1 << 20);
            let name = question("a.test");
            cache.set(name.clone(), Reply { answer: answer.clone(), ttl });
            tokio::time::advance(Duration::from_millis(holds * 1000 - 1)).await;
            assert_eq!(cache.get(&name), Some(answer), "{ttl:?}");
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(cache.get(&name), None, "{ttl:?}");
        }
    }

    #[test]
    fn memory_is_bounded_whatever_is_asked() {
        let cache = Cache::new(1 << 20);
        let ours = question("ours.test");
        for number in 0..20_000 {
            // Long texts among names that are asked once.
            let answer = match number % 10 {
                0 => Answer::Records([Record::Txt(vec![b'x'; 5_000].into())].into()),
                _ => found(),
            };
            cache.set(question(&format!("n{number}.test")), Reply { answer, ttl: Some(300) });
            if cache.get(&ours).is_none() {
                cache.set(ours.clone(), Reply { answer: found(), ttl: Some(300) });
            }
            assert!(cache.sizes().0 <= 1 << 20);
        }
        let (bytes, left) = cache.sizes();
        assert!(bytes > 900_000 && left > 10_000, "{bytes} {left}");
        assert_eq!(cache.get(&ours), Some(found()));
    }
}
