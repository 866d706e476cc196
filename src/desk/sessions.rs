//! The table that joins both protocols' views of a session: bounded, expiring.
//!
//! Keys are what Postfix says of both ends of the client's connection (address and
//! port), or the process id of the smtpd on a unix socket. A client chooses its
//! port, and with XCLIENT a trusted one its address: a wrong join costs a wrong
//! tag, never a lost mail, and a milter's CONNECT always begins anew.

use super::session::Session;
use crate::facts::Fact;
use crate::facts::Facts;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::hash::BuildHasher;
use std::hash::Hash;
use std::hash::Hasher;
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

#[derive(Clone, Debug)]
pub(super) enum Key {
    /// A client may use one port of its own for several of ours, so that the
    /// server's end tells them apart; a milter that is sent few macros lacks it.
    Client {
        address: IpAddr,
        port: u16,
        server: Option<(IpAddr, u16)>,
    },
    /// One transaction of a client whose port Postfix does not know.
    Instance(Box<str>),
    Pid(u32),
}

impl Key {
    /// None where the client's port is not known. A number that is no port would
    /// make one session of all who have it.
    pub(super) fn of_client(facts: &Facts) -> Option<Self> {
        let port =
            |fact| facts.number(fact).and_then(|port| u16::try_from(port).ok()).filter(|&port| port != 0);
        let server = facts.ip(Fact::ServerAddress).zip(port(Fact::ServerPort));
        Some(Self::Client { address: facts.ip(Fact::ClientAddress)?, port: port(Fact::ClientPort)?, server })
    }

    /// Whether both may name one session: a server's end that is not told could be
    /// any, which is why this is no equality.
    fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Client { address, port, server },
                Self::Client { address: other_address, port: other_port, server: other_server },
            ) => {
                let differs = server.is_some() && other_server.is_some() && server != other_server;
                address == other_address && port == other_port && !differs
            }
            (Self::Instance(one), Self::Instance(other)) => one == other,
            (Self::Pid(one), Self::Pid(other)) => one == other,
            _ => false,
        }
    }
}

impl Hash for Key {
    /// Of what keys that meet have in common.
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::Client { address, port, .. } => (address, port).hash(state),
            Self::Instance(instance) => instance.hash(state),
            Self::Pid(pid) => pid.hash(state),
        }
    }
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
    young: HashTable<(Key, Handle)>,
    old: HashTable<(Key, Handle)>,
    turned: Instant,
}

impl Default for Sessions {
    fn default() -> Self {
        let now = Instant::now();
        let shard = |_| Mutex::new(Shard { young: HashTable::new(), old: HashTable::new(), turned: now });
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
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).lock();
        if let Some((_, session)) = shard.young.find(hash, |(known, _)| known.meets(key)) {
            return Some(Arc::clone(session));
        }
        let entry = take(&mut shard.old, hash, key)?;
        let session = Arc::clone(&entry.1);
        self.insert(&mut shard, hash, entry);
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
        self.put_or(key, session, false).unwrap_or_default()
    }

    /// The same unless there is one by now, which is then returned: two connections may
    /// ask about one session at once, as Postfix does that asks again.
    pub(super) fn put_first(&self, key: Key, session: Handle) -> Result<Vec<Handle>, Handle> {
        self.put_or(key, session, true)
    }

    fn put_or(&self, key: Key, session: Handle, only_first: bool) -> Result<Vec<Handle>, Handle> {
        if matches!(key, Key::Pid(_)) {
            self.has_pids.store(true, Ordering::Relaxed);
        }
        let hash = self.hasher.hash_one(&key);
        let mut shard = self.shard(hash).lock();
        let Shard { young, old, .. } = &mut *shard;
        let mut gone = Vec::new();
        if only_first {
            let find = |generation: &HashTable<(Key, Handle)>| {
                generation.find(hash, |(known, _)| known.meets(&key)).map(|(_, session)| Arc::clone(session))
            };
            if let Some(known) = find(young).or_else(|| find(old)) {
                return Err(known);
            }
        } else {
            let before = [old, young].into_iter().filter_map(|generation| take(generation, hash, &key));
            gone.extend(before.map(|(_, session)| session));
        }
        self.insert(&mut shard, hash, (key, session));
        if shard.young.len() > CAPACITY / SHARDS / 2 {
            let pushed_out = shard.turn();
            pushed_out.iter().for_each(|(_, session)| cut(session));
            self.pushed_out.fetch_add(pushed_out.len() as u64, Ordering::Relaxed);
            gone.extend(pushed_out.into_iter().map(|(_, session)| session));
        }
        Ok(gone)
    }

    /// Forgets a session, if it is still the one under this key.
    pub(super) fn remove(&self, key: &Key, session: &Handle) {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).lock();
        let Shard { young, old, .. } = &mut *shard;
        for generation in [young, old] {
            if let Ok(known) = generation.find_entry(hash, |(_, known)| Arc::ptr_eq(known, session)) {
                known.remove();
            }
        }
    }

    /// The sessions whose time is over and that nobody else holds.
    pub(super) fn sweep(&self) -> Vec<Handle> {
        let mut over = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            if shard.turned.elapsed() >= LIFE {
                over.extend(shard.turn().into_iter().map(|(_, session)| session));
            }
        }
        // One session may stand under two keys.
        over.sort_by_key(|session| Arc::as_ptr(session) as usize);
        over.dedup_by(|one, other| Arc::ptr_eq(one, other));
        over.retain(|session| Arc::strong_count(session) == 1);
        over
    }

    /// All there are, each once.
    pub(super) fn drain(&self) -> Vec<Handle> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            let Shard { young, old, .. } = &mut *shard;
            all.extend(young.drain().chain(old.drain()).map(|(_, session)| session));
        }
        all.sort_by_key(|session| Arc::as_ptr(session) as usize);
        all.dedup_by(|one, other| Arc::ptr_eq(one, other));
        all
    }

    /// How many there are, and how many were pushed out since the start.
    pub(super) fn sizes(&self) -> (u64, u64) {
        let count = self.shards.iter().map(|shard| {
            let shard = shard.lock();
            shard.young.len() + shard.old.len()
        });
        (count.sum::<usize>() as u64, self.pushed_out.load(Ordering::Relaxed))
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    fn insert(&self, shard: &mut Shard, hash: u64, entry: (Key, Handle)) {
        shard.young.insert_unique(hash, entry, |(key, _)| self.hasher.hash_one(key));
    }
}

/// Marks a session that has to go though it may not be over. A milter that has it keeps it,
/// and hears of its end.
pub(super) fn cut(session: &Handle) {
    if let Ok(mut session) = session.try_lock() {
        session.is_cut = session.milter.is_none();
    }
}

fn take(generation: &mut HashTable<(Key, Handle)>, hash: u64, key: &Key) -> Option<(Key, Handle)> {
    let found = generation.find_entry(hash, |(known, _)| known.meets(key)).ok()?;
    Some(found.remove().0)
}

impl Shard {
    fn turn(&mut self) -> HashTable<(Key, Handle)> {
        self.turned = Instant::now();
        let young = std::mem::take(&mut self.young);
        std::mem::replace(&mut self.old, young)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> Key {
        Key::Client { address: "192.0.2.1".parse().unwrap(), port, server: None }
    }

    /// Port 1000 of a client's, at some port of ours.
    fn at(server: u16) -> Key {
        Key::Client {
            address: "192.0.2.1".parse().unwrap(),
            port: 1000,
            server: Some(("192.0.2.25".parse().unwrap(), server)),
        }
    }

    fn is(found: Option<Handle>, expected: &Handle) -> bool {
        found.is_some_and(|found| Arc::ptr_eq(&found, expected))
    }

    #[tokio::test]
    async fn who_is_pushed_out_is_cut_unless_a_milter_has_him() {
        for has_milter in [false, true] {
            let milter = has_milter.then(Box::default);
            let session = Handle::new(tokio::sync::Mutex::new(Session { milter, ..Session::default() }));
            cut(&session);
            assert_eq!(session.lock().await.is_cut, !has_milter);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_port_of_a_client_has_a_session_at_each_of_ours() {
        let sessions = Sessions::default();
        let (mx, submission) = (Handle::default(), Handle::default());
        assert!(sessions.put(at(25), Arc::clone(&mx)).is_empty());
        assert!(sessions.put(at(587), Arc::clone(&submission)).is_empty());
        for _ in 0..3 {
            assert!(is(sessions.get(&at(25)), &mx) && is(sessions.get(&at(587)), &submission));
            assert!(sessions.get(&at(465)).is_none());
            tokio::time::advance(LIFE).await;
            sessions.sweep();
        }
        sessions.remove(&at(25), &mx);
        assert!(sessions.get(&at(25)).is_none() && is(sessions.get(&at(587)), &submission));
    }

    #[tokio::test]
    async fn a_side_that_does_not_tell_our_end_joins_all_the_same() {
        for (told, asked) in [(at(25), key(1000)), (key(1000), at(25))] {
            let sessions = Sessions::default();
            let (first, second) = (Handle::default(), Handle::default());
            sessions.put(told.clone(), Arc::clone(&first));
            assert!(is(sessions.get(&asked), &first));
            let gone = sessions.put(asked, Arc::clone(&second));
            assert!(gone.len() == 1 && Arc::ptr_eq(&gone[0], &first));
            assert!(is(sessions.get(&told), &second));
        }
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
    async fn of_two_that_are_made_at_once_the_first_counts() {
        let sessions = Sessions::default();
        let (first, second) = (Handle::default(), Handle::default());
        assert_eq!(sessions.put_first(key(1), Arc::clone(&first)).map(|gone| gone.len()).ok(), Some(0));
        let known = sessions.put_first(key(1), second).err();
        assert!(is(known, &first) && is(sessions.get(&key(1)), &first));
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
