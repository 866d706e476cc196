//! The resolver on the network: the cache, one question under way for all who ask it,
//! and how many there may be at once.
//!
//! Nothing runs here by itself: who waits for an answer drives the question, together
//! with all others who wait for it, and when nobody waits any more it ends.

use super::Answer;
use super::Question;
use super::Settings;
use super::cache::Cache;
use super::cache::MAX_BYTES;
use super::network::Network;
use super::reply::Reply;
use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::future::Shared;
use futures_util::future::WeakShared;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::Instant;

/// Each has two sockets at most. A busy server has some dozens under way; with half its
/// lists dead, a few hundred.
pub(super) const MAX_UNDER_WAY: usize = 2_000;

/// What became of questions, in words for metrics: those of [`Answer::word`] and these.
const FROM_CACHE: &str = "cache";
const FULL: &str = "full";
const GIVEN_UP: &str = "given_up";

const RESULTS: [&str; 10] = [
    FROM_CACHE,
    "found",
    FULL,
    GIVEN_UP,
    "malformed",
    "no_name",
    "no_record",
    "refused",
    "servfail",
    "timeout",
];

/// Of the resolver, for metrics.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Questions since the start by what became of them.
    pub results: Vec<(&'static str, u64)>,
    pub cache_bytes: u64,
    pub cache_capacity: u64,
    /// Answers that left the cache before their time.
    pub evicted: u64,
    pub under_way: u64,
    pub most_under_way: u64,
}

type UnderWay = BoxFuture<'static, Answer>;

pub(super) struct Live {
    network: ArcSwap<Network>,
    cache: Cache,
    /// With a number, so that who ends late does not take another's place away.
    under_way: Mutex<HashMap<Question, (u64, WeakShared<UnderWay>), foldhash::fast::RandomState>>,
    asked: AtomicU64,
    results: [AtomicU64; RESULTS.len()],
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("network", &self.network).finish_non_exhaustive()
    }
}

impl Live {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            network: ArcSwap::from_pointee(Network::new(settings)),
            cache: Cache::new(MAX_BYTES),
            under_way: Mutex::default(),
            asked: AtomicU64::default(),
            results: Default::default(),
        }
    }

    pub(super) fn change(&self, settings: Settings) {
        let before = self.network.load();
        if *before.settings() == settings {
            return;
        }
        // Others may be asked because what these said was wrong.
        let others = before.settings().servers != settings.servers;
        self.network.store(Arc::new(Network::new(settings)));
        if others {
            self.cache.clear();
        }
    }

    pub(super) fn known(&self, question: &Question) -> Option<Answer> {
        let answer = self.cache.get(question)?;
        self.count(FROM_CACHE);
        Some(answer)
    }

    pub(super) async fn ask(self: &Arc<Self>, question: &Question) -> Answer {
        if let Some(answer) = self.known(question) {
            return answer;
        }
        self.ask_anew(question).await
    }

    /// Without a look at the cache.
    pub(super) async fn ask_anew(self: &Arc<Self>, question: &Question) -> Answer {
        let Some(under_way) = self.join(question) else {
            self.count(FULL);
            return Answer::Silent;
        };
        under_way.await
    }

    /// The question as it is under way, or put on its way; None when there are too many.
    fn join(self: &Arc<Self>, question: &Question) -> Option<Shared<UnderWay>> {
        let mut under_way = self.under_way.lock();
        if let Some(other) = under_way.get(question).and_then(|(_, other)| other.upgrade()) {
            return Some(other);
        }
        if under_way.len() >= MAX_UNDER_WAY {
            return None;
        }
        let number = self.asked.fetch_add(1, Relaxed);
        // It leaves even if it is never polled.
        let turn = Turn {
            live: Arc::clone(self),
            network: self.network.load_full(),
            question: question.clone(),
            number,
            began: Instant::now(),
            is_answered: false,
        };
        let shared = turn.answer().boxed().shared();
        if let Some(weak) = shared.downgrade() {
            under_way.insert(question.clone(), (number, weak));
        }
        Some(shared)
    }

    fn count(&self, result: &str) {
        let at = RESULTS.iter().position(|known| *known == result);
        if let Some(count) = at.and_then(|at| self.results.get(at)) {
            count.fetch_add(1, Relaxed);
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let (cache_bytes, evicted) = self.cache.sizes();
        let count = |(word, count): (&&'static str, &AtomicU64)| (*word, count.load(Relaxed));
        Stats {
            results: RESULTS.iter().zip(&self.results).map(count).collect(),
            cache_bytes,
            cache_capacity: MAX_BYTES,
            evicted,
            under_way: self.under_way.lock().len() as u64,
            most_under_way: MAX_UNDER_WAY as u64,
        }
    }
}

/// A question under way, until it is answered or nobody waits for it.
struct Turn {
    live: Arc<Live>,
    network: Arc<Network>,
    question: Question,
    number: u64,
    began: Instant,
    is_answered: bool,
}

impl Turn {
    async fn answer(mut self) -> Answer {
        let reply = self.network.find_out(&self.question).await;
        self.is_answered = true;
        self.live.count(reply.answer.word());
        let answer = reply.answer.clone();
        self.keep(reply);
        answer
    }

    /// Unless others are asked by now.
    fn keep(&self, reply: Reply) {
        if Arc::ptr_eq(&self.network, &self.live.network.load()) {
            self.live.cache.set(self.question.clone(), reply);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut under_way = self.live.under_way.lock();
        if under_way.get(&self.question).is_some_and(|(number, _)| *number == self.number) {
            under_way.remove(&self.question);
        }
        drop(under_way);
        if self.is_answered {
            return;
        }
        // Whoever hangs up early must not make an answer about himself missing: a try
        // has to have failed before the next mail need not wait.
        if self.began.elapsed() < self.network.settings().timeout {
            self.live.count(GIVEN_UP);
            return;
        }
        let reply = Reply::from(Answer::Silent);
        self.live.count(reply.answer.word());
        self.keep(reply);
    }
}
