//! The table that joins both protocols' views of a session: bounded, expiring.
//!
//! Keys are what Postfix says of the client (address and port), or the process
//! id of the smtpd on a unix socket. A client chooses its port, and with XCLIENT
//! a trusted one its address: a wrong join costs a wrong tag, never a lost mail,
//! and a milter's CONNECT always begins anew.

use super::session::Session;
use crate::facts::Fact;
use crate::facts::Facts;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// A session as it is shared by both protocols.
pub(super) type Handle = Arc<tokio::sync::Mutex<Session>>;

/// Above Postfix's smtpd_timeout of 300 s with slack: a session is forgotten
/// after one to two of these without a request.
const LIFE: Duration = Duration::from_secs(360);

/// Sessions at most; ten times the smtpd processes of a large site, each with
/// one session. What comes beyond pushes the oldest half out.
pub(super) const CAPACITY: usize = 65_536;

const SHARDS: usize = 16;

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Key {
    Client(IpAddr, u16),
    /// One transaction of a client whose port Postfix does not know.
    Instance(Box<str>),
    Pid(u32),
}

#[derive(Debug)]
pub(super) struct Sessions {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    pushed_out: AtomicU64,
    /// Most set-ups never use process ids: then they need not be looked for.
    has_pids: AtomicBool,
}

/// Two generations: what is asked for is young; when the young have had their
/// time the old are forgotten and the young are old.
#[derive(Debug)]
struct Shard {
    young: HashMap<Key, Handle, RandomState>,
    old: HashMap<Key, Handle, RandomState>,
    turned: Instant,
}

impl Default for Sessions {
    fn default() -> Self {
        let now = Instant::now();
        let shard = |_| Mutex::new(Shard { young: HashMap::default(), old: HashMap::default(), turned: now });
        Self {
            shards: std::array::from_fn(shard),
            hasher: RandomState::default(),
            pushed_out: AtomicU64::default(),
            has_pids: AtomicBool::default(),
        }
    }
}

impl Sessions {
    pub(super) fn get(&self, key: &Key) -> Option<Handle> {
        if matches!(key, Key::Pid(_)) && !self.has_pids.load(Ordering::Relaxed) {
            return None;
        }
        let mut shard = self.shard(key).lock();
        if let Some(session) = shard.young.get(key) {
            return Some(Arc::clone(session));
        }
        let (key, session) = shard.old.remove_entry(key)?;
        shard.young.insert(key, Arc::clone(&session));
        Some(session)
    }

    /// The session of a process, if it is also one of the same client.
    pub(super) fn get_of_process(&self, pid: Option<u32>, facts: &Facts) -> Option<Handle> {
        let handle = self.get(&Key::Pid(pid?))?;
        let same = handle.try_lock().is_ok_and(|session| {
            let milter = session.milter.as_ref().and_then(|milter| milter.ip(Fact::ClientAddress));
            let asked = facts.ip(Fact::ClientAddress);
            milter.is_none() || asked.is_none() || milter == asked
        });
        same.then_some(handle)
    }

    /// Puts a session under a key. Returned are the one that was there and those
    /// that had to go.
    pub(super) fn put(&self, key: Key, session: Handle) -> Vec<Handle> {
        if matches!(key, Key::Pid(_)) {
            self.has_pids.store(true, Ordering::Relaxed);
        }
        let mut shard = self.shard(&key).lock();
        let before = shard.old.remove(&key);
        let before = shard.young.insert(key, session).or(before);
        let mut gone: Vec<_> = before.into_iter().collect();
        if shard.young.len() > CAPACITY / SHARDS / 2 {
            let pushed_out = shard.turn();
            self.pushed_out.fetch_add(pushed_out.len() as u64, Ordering::Relaxed);
            gone.extend(pushed_out.into_values());
        }
        gone
    }

    /// Forgets a session, if it is still the one under this key.
    pub(super) fn remove(&self, key: &Key, session: &Handle) {
        let mut shard = self.shard(key).lock();
        let Shard { young, old, .. } = &mut *shard;
        for generation in [young, old] {
            if generation.get(key).is_some_and(|known| Arc::ptr_eq(known, session)) {
                generation.remove(key);
            }
        }
    }

    /// The sessions whose time is over and that nobody else holds.
    pub(super) fn sweep(&self) -> Vec<Handle> {
        let mut over = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            if shard.turned.elapsed() >= LIFE {
                over.extend(shard.turn().into_values());
            }
        }
        // One session may stand under two keys.
        over.sort_by_key(|session| Arc::as_ptr(session) as usize);
        over.dedup_by(|one, other| Arc::ptr_eq(one, other));
        over.retain(|session| Arc::strong_count(session) == 1);
        over
    }

    /// How many there are, and how many were pushed out since the start.
    pub(super) fn sizes(&self) -> (u64, u64) {
        let count = self.shards.iter().map(|shard| {
            let shard = shard.lock();
            shard.young.len() + shard.old.len()
        });
        (count.sum::<usize>() as u64, self.pushed_out.load(Ordering::Relaxed))
    }

    fn shard(&self, key: &Key) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(key);
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

impl Shard {
    fn turn(&mut self) -> HashMap<Key, Handle, RandomState> {
        self.turned = Instant::now();
        let young = std::mem::take(&mut self.young);
        std::mem::replace(&mut self.old, young)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> Key {
        Key::Client("192.0.2.1".parse().unwrap(), port)
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_lives_while_it_is_asked_for_and_is_then_forgotten() {
        let sessions = Sessions::default();
        sessions.put(key(1), Handle::default());
        sessions.put(key(2), Handle::default());
        for _ in 0..5 {
            tokio::time::advance(LIFE).await;
            sessions.sweep();
            assert!(sessions.get(&key(1)).is_some());
        }
        assert!(sessions.get(&key(2)).is_none());
    }

    #[tokio::test]
    async fn there_are_never_more_than_the_capacity() {
        let sessions = Sessions::default();
        for n in 0..(CAPACITY as u32 * 2) {
            sessions.put(Key::Pid(n), Handle::default());
        }
        let (count, pushed_out) = sessions.sizes();
        assert!(count <= CAPACITY as u64 && pushed_out > 0, "{count} {pushed_out}");
    }

    #[tokio::test]
    async fn only_the_session_that_is_there_is_removed() {
        let sessions = Sessions::default();
        let (first, second) = (Handle::default(), Handle::default());
        sessions.put(key(1), Arc::clone(&first));
        sessions.put(key(1), Arc::clone(&second));
        sessions.remove(&key(1), &first);
        assert!(sessions.get(&key(1)).is_some());
        sessions.remove(&key(1), &second);
        assert!(sessions.get(&key(1)).is_none());
    }
}
