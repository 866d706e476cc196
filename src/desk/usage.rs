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
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// A larger list was not written by hand.
const MAX_ENTRIES: usize = 1_000;

/// One entry of a list. Times are nanoseconds since 1970.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EntryUse {
    pub list: String,
    pub entry: String,
    pub count: u64,
    pub first: Option<Nanos>,
    pub last: Option<Nanos>,
}

impl Desk {
    /// A rule applied: its entries that found something are counted.
    pub(super) fn note_use(&self, policy: &Policy, rule: &Rule, facts: &Facts) {
        let guard = policy.files.get(rule.file).map(|file| &file.guard);
        for condition in guard.into_iter().chain([&rule.condition]) {
            condition.each_listed(facts, &mut |list, entry| {
                if list.entries() <= MAX_ENTRIES {
                    self.state.add_use(list.name(), &entry, self.clock.now());
                }
            });
        }
    }

    /// Every entry of these lists; what has left them is forgotten.
    fn uses(&self, lists: &BTreeMap<String, Arc<List>>) -> Vec<EntryUse> {
        let mut found = Vec::new();
        let mut there: HashMap<&str, HashSet<String>> = HashMap::new();
        for (name, list) in lists {
            for entry in list.texts(MAX_ENTRIES).unwrap_or_default() {
                let known = self.state.uses_of(name, &entry);
                there.entry(name).or_default().insert(entry.clone());
                found.push(EntryUse {
                    list: name.clone(),
                    count: known.map_or(0, |used| used.count),
                    first: known.map(|used| used.first),
                    last: known.map(|used| used.last),
                    entry,
                });
            }
        }
        self.state.keep_uses(|list, entry| there.get(list).is_some_and(|entries| entries.contains(entry)));
        found
    }

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
        let found = self.uses(&lists);
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
            Some(idle) if now.saturating_sub(self.state.count_uses(now)) < idle => {
                return Err("gatepost has not counted for so long yet".to_owned());
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

    #[test]
    fn an_entry_is_counted_when_the_rule_that_found_it_applied() {
        let desk = testing::desk(&[("10-test.yaml", RULES)]);
        let policy = &desk.active().policy;
        for (address, name) in
            [("192.0.2.9", "mx.good.example"), ("192.0.2.9", "unknown"), ("203.0.113.1", "out-7.example")]
        {
            let mut facts = Facts::default();
            facts.set(Fact::ClientAddress, address);
            facts.set(Fact::ClientName, name);
            facts.set(Fact::Sender, "a@b.test");
            desk.note_use(policy, &policy.rules[0], &facts);
        }
        let mut lists = BTreeMap::new();
        policy.each_asked_list(&mut |list| drop(lists.insert(list.name().to_owned(), Arc::clone(list))));
        assert_eq!(lists.keys().collect::<Vec<_>>(), ["idle", "known"]);
        let row = |found: EntryUse| (found.entry, found.count, found.last.is_some());
        let found: Vec<_> = desk.uses(&lists).into_iter().map(row).collect();
        let expected = [
            ("x.test".to_owned(), 0, false),
            (".good.example".to_owned(), 0, false),
            ("192.0.2.0/28".to_owned(), 2, true),
            ("198.51.100.7".to_owned(), 0, false),
            ("out-*.example".to_owned(), 1, true),
        ];
        assert_eq!(found, expected);
        assert_eq!(desk.state.used_entries(), 2);
        // What no rule asks for any more is forgotten.
        lists.remove("known");
        desk.uses(&lists);
        assert_eq!(desk.state.used_entries(), 0);
    }

    #[test]
    fn what_cannot_be_told_is_said() {
        let desk = testing::desk(&[("10-test.yaml", RULES)]);
        let told = |list, idle: Option<u64>| desk.entries(list, idle.map(Duration::from_secs));
        assert_eq!(told(Some("known"), None).unwrap().len(), 4);
        assert_eq!(told(None, None).unwrap().len(), 5);
        for (list, idle, expected) in [
            (Some("excused"), None, "no rule asks for list `excused` in its `when`"),
            (None, Some(86_400), "gatepost has not counted for so long yet"),
        ] {
            assert_eq!(told(list, idle).unwrap_err(), expected);
        }
    }
}
