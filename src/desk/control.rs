//! What an operator asks of the running daemon: what is listed, and to change it.

use super::Desk;
use crate::checks::AnyCheck;
use crate::state::KeyUse;
use crate::state::Listing;
use crate::state::NewListing;
use crate::values::canonical_text;
use std::collections::BTreeMap;
use std::time::Duration;

/// Who made a listing that no rule made.
const OPERATOR: &str = "operator";

/// One key in the counters of some rules.
#[derive(Clone, Debug)]
pub struct LimitUse {
    /// None if no rule counts there any more.
    pub rules: Vec<String>,
    pub used: KeyUse,
}

impl Desk {
    /// What a key has used of each limit.
    pub async fn limits_of(&self, key: &str) -> Vec<LimitUse> {
        let buckets = self.buckets();
        let numbers: Vec<u32> = buckets.keys().copied().collect();
        let found = self.state.look(&numbers, &canonical_text(key), self.clock.now()).await;
        named(found, &buckets)
    }

    /// Sets a key back in all limits; in how many it was.
    pub async fn reset_limits(&self, key: &str) -> usize {
        let key = canonical_text(key);
        tracing::info!(key, "its limits are set back by the operator");
        let numbers: Vec<u32> = self.buckets().into_keys().collect();
        self.state.reset(&numbers, &key).await
    }

    /// The keys nearest their limits.
    pub async fn fullest(&self, most: usize) -> Vec<LimitUse> {
        named(self.state.fullest(most, self.clock.now()).await, &self.buckets())
    }

    /// Has a pool waited long enough for every rule that greylists; for how many. None:
    /// there is no room.
    pub async fn pass_greylist(&self, pool: &str) -> Option<usize> {
        tracing::info!(pool, "its greylisted mail is let pass by the operator");
        let active = self.active();
        let mut passed = 0;
        for memory in active.policy.rules.iter().filter_map(|rule| rule.memory.as_ref()) {
            let AnyCheck::Greylist(greylist) = &memory.check else {
                continue;
            };
            if !self.state.pass(memory.bucket, pool, &greylist.terms, self.clock.now()).await {
                return None;
            }
            passed += 1;
        }
        Some(passed)
    }

    /// The rules that count in each bucket.
    fn buckets(&self) -> BTreeMap<u32, Vec<String>> {
        let active = self.active();
        let mut buckets: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for rule in &active.policy.rules {
            let of_limit = rule.limit.iter().flat_map(|limit| [limit.buckets.own, limit.buckets.parents]);
            let of_memory = rule.memory.iter().map(|memory| memory.bucket);
            for bucket in of_limit.chain(of_memory) {
                buckets.entry(bucket).or_default().push(rule.name.clone());
            }
        }
        buckets
    }

    /// Lists a key from now on; false when there is no room.
    pub async fn list(&self, key: &str, reason: &str, period: Duration) -> bool {
        let key = canonical_text(key);
        tracing::info!(key, reason, seconds = period.as_secs(), "listed by the operator");
        let new = NewListing { key: &key, reason, periods: &[period], by: OPERATOR, observed: false };
        self.state.list(new, self.clock.now()).await
    }

    /// Takes a key off all lists, or one; how many it was on.
    pub async fn unlist(&self, key: &str, reason: Option<&str>) -> usize {
        let key = canonical_text(key);
        tracing::info!(key, reason, "taken off the lists by the operator");
        self.state.unlist(&key, reason, self.clock.now()).await
    }

    /// What a key, or everything, is listed for.
    pub async fn listed(&self, key: Option<&str>) -> Vec<(String, Listing)> {
        let now = self.clock.now();
        let Some(key) = key.map(canonical_text) else {
            return self.state.all_listed(now).await;
        };
        let found = self.state.listed(&[&key], now).await.pop().unwrap_or_default();
        found.into_iter().map(|listing| (key.clone(), listing)).collect()
    }
}

fn named(found: Vec<KeyUse>, buckets: &BTreeMap<u32, Vec<String>>) -> Vec<LimitUse> {
    let rules = |used: &KeyUse| buckets.get(&used.bucket).cloned().unwrap_or_default();
    found.into_iter().map(|used| LimitUse { rules: rules(&used), used }).collect()
}
