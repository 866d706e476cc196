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

/// Keys looked at under one lock: some 100 µs. A shard may have a hundred times as many.
const LOOKED_AT: u32 = 4_096;

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
        fullest(&self.windows)
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
        // A key that was only asked about, and refused by another, may have no window yet.
        each.filter(|used| !used.windows.is_empty()).collect()
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
            let was_counted = slot.uses.is_counted();
            slot.uses.clear();
            drop(shard);
            self.set_back.note(**bucket, text);
            was_counted
        };
        buckets.iter().filter(reset).count()
    }

    /// The keys nearest their limits, the nearest first. Looks at all of them, a few
    /// thousand at a time.
    pub(super) fn fullest(&self, most: usize, now: Nanos) -> Vec<KeyUse> {
        let mut heap: BinaryHeap<Reverse<(u64, usize, u32)>> = BinaryHeap::new();
        for (number, shard) in self.shards().iter().enumerate() {
            let mut from = 0;
            loop {
                let shard = shard.lock();
                let end = shard.end().min(from + LOOKED_AT);
                for at in from..end {
                    let Some(load) = shard.get(at).map(|slot| load(slot, now)).filter(|load| *load > 0)
                    else {
                        continue;
                    };
                    heap.push(Reverse((load, number, at)));
                    if heap.len() > most {
                        heap.pop();
                    }
                }
                if end == shard.end() {
                    break;
                }
                from = end;
            }
        }
        // Some may have gone meanwhile.
        let found = heap.into_sorted_vec().into_iter().filter_map(|Reverse((_, number, at))| {
            self.shards().get(number).and_then(|shard| shard.lock().get(at).map(|slot| shown(slot, now)))
        });
        found.collect()
    }
}

/// How near its limits a key is. Something promised makes it none that is at a limit, as
/// it is where keys are forgotten: a mail under way would be told before a key that is full.
fn load(slot: &Slot, now: Nanos) -> u64 {
    match slot.held {
        0 => slot.uses.load(now),
        held => fullest(&slot.uses.windows(held, now)),
    }
}

fn fullest(windows: &[WindowUse]) -> u64 {
    windows.iter().map(|it| weigh::load(&it.window, it.used)).max().unwrap_or(0)
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

    #[test]
    fn what_is_promised_is_shown_as_used_and_no_more() {
        let table = Table::new(1_000);
        let (strict, plain) = ("10/1h strict".parse::<Limits>().unwrap(), "10/1h".parse::<Limits>().unwrap());
        table.reserve(&[ask(1, "ann", &strict, 1)], NOW);
        table.reserve(&[ask(2, "bob", &plain, 1)], NOW);
        table.admit(&[ask(2, "eve", &plain, 9)], NOW);
        for (bucket, key) in [(1, "ann"), (2, "bob")] {
            let found = table.look(&[bucket], key, NOW);
            let used: Vec<u64> = found.iter().flat_map(|it| &it.windows).map(|it| it.used).collect();
            assert_eq!(used, [1], "{key}");
        }
        let nearest: Vec<String> = table.fullest(1, NOW).into_iter().map(|it| it.key).collect();
        assert_eq!(nearest, ["eve"]);
    }

    #[test]
    fn the_fullest_are_found_wherever_they_are() {
        let (table, limits) = (Table::new(600_000), "10/1h".parse::<Limits>().unwrap());
        // More in each shard than are looked at at once.
        let keys = 64 * u64::from(LOOKED_AT) + 50_000;
        for key in 0..keys {
            let n = if key == keys - 1 { 9 } else { 1 + key % 8 };
            table.admit(&[ask(1, &key.to_string(), &limits, n)], NOW);
        }
        let found = table.fullest(600_000, NOW);
        assert_eq!(found.len() as u64, keys);
        assert!(found.iter().zip(found.iter().skip(1)).all(|(one, next)| one.load() >= next.load()));
        assert_eq!(table.fullest(1, NOW)[0].key, (keys - 1).to_string());
    }

    #[test]
    fn a_key_that_another_kept_from_being_counted_is_in_no_limit() {
        let table = Table::new(1_000);
        let (strict, none_left) =
            ("10/1h strict".parse::<Limits>().unwrap(), "1/1h".parse::<Limits>().unwrap());
        table.admit(&[ask(2, "x", &none_left, 1)], NOW);
        table.reserve(&[ask(1, "ann", &strict, 1), ask(2, "x", &none_left, 1)], NOW);
        assert_eq!(table.look(&[1], "ann", NOW), []);
        assert_eq!(table.reset(&[1], "ann"), 0);
    }
}
