//! What an operator asks of the running daemon: what is listed, and to change it.

use super::Desk;
use crate::state::Listing;
use crate::state::NewListing;
use crate::values::canonical_text;
use std::time::Duration;

/// Who made a listing that no rule made.
const OPERATOR: &str = "operator";

impl Desk {
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
