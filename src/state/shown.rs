//! What an operator may see of the table of limits, and change: one key's windows, the
//! fullest keys, and a key set back. Never on the way of a request.

use super::buckets::Table;
use super::clock::Nanos;
use super::limits::Window;
use super::shard::KeyRef;
use super::slots::Slot;
use super::weigh;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// What one key has used of its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyUse {
    pub bucket: u32,
    pub key: String,
    pub windows: Vec<WindowUse>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowUse {
    pub window: Window,
    /// What is reserved included.
    pub used: u64,
    /// Until one more would be let through.
    pub next: Duration,
}

impl KeyUse {
    /// How near its limits it is: the fullest window decides.
    pub(super) fn load(&self) -> u64 {
        self.windows.iter().map(|it| weigh::load(&it.window, it.used)).max().unwrap_or(0)
    }
}

impl Table {
    /// What a key has used in each of the buckets it is in.
    pub(super) fn look(&self, buckets: &[u32], key: &str, now: Nanos) -> Vec<KeyUse> {
        let each = buckets.iter().filter_map(|bucket| {
            let key = KeyRef::of(*bucket, key, self.hasher());
            let shard = self.shard_of(&key).lock();
            shard.find(key).and_then(|at| shard.get(at)).map(|slot| shown(slot, now))
        });
        each.collect()
    }

    /// Forgets a key, but for what is reserved of it; in how many buckets it was.
    pub(super) fn reset(&self, buckets: &[u32], text: &str) -> usize {
        let reset = |bucket: &&u32| {
            let key = KeyRef::of(**bucket, text, self.hasher());
            let mut shard = self.shard_of(&key).lock();
            let Some(at) = shard.find(key) else {
                return false;
            };
            let Some(slot) = shard.get_mut(at) else {
                return false;
            };
            slot.uses.clear();
            drop(shard);
            self.set_back.note(**bucket, text);
            true
        };
        buckets.iter().filter(reset).count()
    }

    /// The keys nearest their limits, the nearest first. Looks at all of them, a shard
    /// at a time.
    pub(super) fn fullest(&self, most: usize, now: Nanos) -> Vec<KeyUse> {
        let mut heap: BinaryHeap<Reverse<(u64, usize, u32)>> = BinaryHeap::new();
        for (number, shard) in self.shards().iter().enumerate() {
            let shard = shard.lock();
            for at in 0..shard.end() {
                let Some(load) = shard.get(at).map(|slot| slot.load(now)).filter(|load| *load > 0) else {
                    continue;
                };
                heap.push(Reverse((load, number, at)));
                if heap.len() > most {
                    heap.pop();
                }
            }
        }
        // Some may have gone meanwhile.
        let found = heap.into_sorted_vec().into_iter().filter_map(|Reverse((_, number, at))| {
            self.shards().get(number).and_then(|shard| shard.lock().get(at).map(|slot| shown(slot, now)))
        });
        found.collect()
    }
}

fn shown(slot: &Slot, now: Nanos) -> KeyUse {
    let (bucket, text) = slot.key();
    KeyUse {
        bucket,
        key: String::from_utf8_lossy(text).into_owned(),
        windows: slot.uses.windows(slot.held, now),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Question;
    use super::super::limits::Limits;
    use super::*;

    const NOW: Nanos = 1_800_000_000_000_000_000;

    fn ask<'a>(bucket: u32, key: &'a str, limits: &'a Limits, n: u64) -> Question<'a> {
        Question { bucket, key, coarse: None, limits, n, counted: 0, must_fit: true }
    }

    #[test]
    fn a_key_is_shown_in_each_of_its_windows_and_set_back() {
        let table = Table::new(1_000);
        let (two, strict) =
            ("10/10m, 100/1h".parse::<Limits>().unwrap(), "5/1h strict".parse::<Limits>().unwrap());
        table.admit(&[ask(1, "ann", &two, 10)], NOW);
        table.admit(&[ask(2, "ann", &strict, 3)], NOW);
        table.admit(&[ask(1, "bob", &two, 1)], NOW);
        let found = table.look(&[1, 2, 3], "ann", NOW);
        let of = |found: &[KeyUse]| -> Vec<(u32, Vec<(u64, u64)>)> {
            let windows = |it: &KeyUse| it.windows.iter().map(|w| (w.used, w.next.as_secs())).collect();
            found.iter().map(|it| (it.bucket, windows(it))).collect()
        };
        assert_eq!(of(&found), [(1, vec![(10, 60), (10, 0)]), (2, vec![(3, 0)])]);
        assert_eq!(
            table.fullest(2, NOW).iter().map(|it| it.key.as_str()).collect::<Vec<_>>(),
            ["ann", "ann"]
        );
        assert_eq!((table.reset(&[1, 2, 3], "ann"), table.reset(&[1], "eve")), (2, 0));
        assert_eq!(of(&table.look(&[1], "ann", NOW)), [(1, vec![(0, 0), (0, 0)])]);
        assert!(table.admit(&[ask(1, "ann", &two, 10)], NOW)[0].allowed);
        assert_eq!(table.fullest(9, NOW).len(), 2);
    }
}
