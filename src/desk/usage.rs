//! Which entries of lists have found anything, how often and when last, so that those
//! which are of no use any more can be told.
//!
//! Counted is what a rule that applied had asked for in its `when`, or its file's. What
//! strangers send decides only which of the operator's entries are counted.

use super::Desk;
use crate::facts::Facts;
use crate::lists::List;
use crate::policy::Policy;
use crate::policy::Rule;
use crate::state::Nanos;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// A larger list was not written by hand.
const MAX_ENTRIES: usize = 1_000;

/// Of all lists: some 200 bytes each.
pub(super) const MAX_NOTED: usize = 20_000;

/// What is known of the entries of lists since the start.
#[derive(Debug)]
pub(super) struct Usage {
    since: Nanos,
    noted: Mutex<Noted>,
}

#[derive(Debug, Default)]
struct Noted {
    /// By list and entry.
    lists: HashMap<String, HashMap<String, Used>>,
    entries: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Used {
    count: u64,
    first: Nanos,
    last: Nanos,
}

/// One entry of a list. Times are nanoseconds since 1970.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EntryUse {
    pub list: String,
    pub entry: String,
    pub count: u64,
    pub first: Option<Nanos>,
    pub last: Option<Nanos>,
}

impl Usage {
    pub(super) fn new(since: Nanos) -> Self {
        Self { since, noted: Mutex::default() }
    }

    /// How many entries are noted.
    pub(super) fn len(&self) -> usize {
        self.noted.lock().entries
    }

    /// A rule applied.
    pub(super) fn note(&self, policy: &Policy, rule: &Rule, facts: &Facts, now: impl Fn() -> Nanos) {
        let guard = policy.files.get(rule.file).map(|file| &file.guard);
        for condition in guard.into_iter().chain([&rule.condition]) {
            condition.each_listed(facts, &mut |list, entry| self.add(list, entry, now()));
        }
    }

    fn add(&self, list: &List, entry: String, now: Nanos) {
        if list.entries() > MAX_ENTRIES {
            return;
        }
        let mut noted = self.noted.lock();
        if let Some(used) = noted.lists.get_mut(list.name()).and_then(|entries| entries.get_mut(&entry)) {
            used.count += 1;
            used.last = now;
            return;
        }
        // An entry that has left its list makes room.
        if noted.entries >= MAX_NOTED {
            return;
        }
        noted.entries += 1;
        let entries = noted.lists.entry(list.name().to_owned()).or_default();
        entries.insert(entry, Used { count: 1, first: now, last: now });
    }

    /// Every entry of these lists; what has left them is forgotten.
    fn look(&self, lists: &BTreeMap<String, Arc<List>>) -> Vec<EntryUse> {
        let mut found = Vec::new();
        let mut noted = self.noted.lock();
        noted.lists.retain(|name, _| lists.contains_key(name));
        for (name, list) in lists {
            let entries = list.texts(MAX_ENTRIES).unwrap_or_default();
            let mut used = noted.lists.remove(name).unwrap_or_default();
            let still: HashSet<_> = entries.iter().collect();
            used.retain(|entry, _| still.contains(entry));
            for entry in entries {
                let known = used.get(&entry).copied();
                found.push(EntryUse {
                    list: name.clone(),
                    count: known.map_or(0, |used| used.count),
                    first: known.map(|used| used.first),
                    last: known.map(|used| used.last),
                    entry,
                });
            }
            noted.lists.insert(name.clone(), used);
        }
        noted.entries = noted.lists.values().map(HashMap::len).sum();
        found
    }
}

impl Desk {
    /// The entries of lists that rules ask for in `when`, or of one of these lists. With
    /// `idle`, those that have found nothing for so long. The error says why that can't
    /// be told.
    pub fn entries(&self, list: Option<&str>, idle: Option<Duration>) -> Result<Vec<EntryUse>, String> {
        let active = self.active();
        let mut lists = BTreeMap::new();
        active.policy.each_asked_list(&mut |list| {
            lists.insert(list.name().to_owned(), Arc::clone(list));
        });
        let now = self.clock.now();
        let found = self.usage.look(&lists);
        if let Some(name) = list {
            match lists.get(name) {
                None => return Err(format!("no rule asks for list `{name}` in its `when`")),
                Some(list) if list.entries() > MAX_ENTRIES => {
                    return Err(format!(
                        "`{name}` has more than {MAX_ENTRIES} entries, which are not counted"
                    ));
                }
                Some(_) => {}
            }
        }
        let before = match idle.map(|idle| u64::try_from(idle.as_nanos()).unwrap_or(u64::MAX)) {
            None => None,
            Some(idle) if now.saturating_sub(self.usage.since) < idle => {
                return Err("gatepost has not run for so long: it counts since its start".to_owned());
            }
            Some(idle) => Some(now.saturating_sub(idle)),
        };
        let asked = |found: &EntryUse| list.is_none_or(|list| found.list == list);
        let is_idle =
            |found: &EntryUse| before.is_none_or(|before| found.last.is_none_or(|last| last <= before));
        Ok(found.into_iter().filter(|found| asked(found) && is_idle(found)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::facts::Fact;

    const RULES: &str = "
lists:
  known: {of: client, entries: [192.0.2.0/28, 198.51.100.7, .Good.example, 'out-*.example']}
  excused: {of: address, entries: [a@b.test]}
  idle: {of: domain, entries: [x.test]}
when: {sender_domain: {in: idle}}
rules:
  - {name: a, when: {client: {in: known}}, unless: {sender: {in: excused}}, then: {tag: x}}
";

    fn row(entry: &str, count: u64, last: Option<u64>) -> (String, u64, Option<u64>) {
        (entry.to_owned(), count, last)
    }

    #[test]
    fn an_entry_is_counted_when_the_rule_that_found_it_applied() {
        let desk = testing::desk(&[("10-test.yaml", RULES)]);
        let policy = &desk.active().policy;
        let usage = &desk.usage;
        for (at, address, name) in [
            (5, "192.0.2.9", "mx.good.example"),
            (7, "192.0.2.9", "unknown"),
            (9, "203.0.113.1", "out-7.example"),
        ] {
            let mut facts = Facts::default();
            facts.set(Fact::ClientAddress, address);
            facts.set(Fact::ClientName, name);
            facts.set(Fact::Sender, "a@b.test");
            usage.note(policy, &policy.rules[0], &facts, || at);
        }
        let mut lists = BTreeMap::new();
        policy.each_asked_list(&mut |list| drop(lists.insert(list.name().to_owned(), Arc::clone(list))));
        assert_eq!(lists.keys().collect::<Vec<_>>(), ["idle", "known"]);
        let found: Vec<_> =
            usage.look(&lists).into_iter().map(|found| (found.entry, found.count, found.last)).collect();
        let expected = [
            row("x.test", 0, None),
            row(".good.example", 0, None),
            row("192.0.2.0/28", 2, Some(7)),
            row("198.51.100.7", 0, None),
            row("out-*.example", 1, Some(9)),
        ];
        assert_eq!(found, expected);
        assert_eq!(usage.len(), 2);
        // What no rule asks for any more is forgotten.
        lists.remove("known");
        usage.look(&lists);
        assert_eq!(usage.len(), 0);
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let desk = testing::desk(&[("10-test.yaml", RULES)]);
        let told = |list, idle: Option<u64>| desk.entries(list, idle.map(Duration::from_secs));
        assert_eq!(told(Some("known"), None).unwrap().len(), 4);
        assert_eq!(told(None, None).unwrap().len(), 5);
        for (list, idle, expected) in [
            (Some("excused"), None, "no rule asks for list `excused` in its `when`"),
            (None, Some(86_400), "gatepost has not run for so long: it counts since its start"),
        ] {
            assert_eq!(told(list, idle).unwrap_err(), expected);
        }
    }
}
