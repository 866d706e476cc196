//! Timed listings: looked up before the rules are asked, made once they have
//! decided, whatever they decided.

use super::Ask;
use super::Passes;
use super::Store;
use super::World;
use super::walk::Walk;
use super::within;
use crate::facts::Fact;
use crate::facts::Listed;
use crate::facts::Suspicion;
use crate::policy::Mode;
use crate::state::NewListing;
use crate::values::canonical_key;

/// What the attributes that rules ask about are listed for, in each world.
pub(super) async fn listed(ask: &Ask<'_>, store: Store<'_>) -> [Vec<(Fact, Listed)>; 2] {
    let key = |fact: &Fact| Some((*fact, canonical_key(ask.facts, *fact)?));
    let keys: Vec<(Fact, String)> = ask.policy.listed_by.iter().filter_map(key).collect();
    if keys.is_empty() {
        return Default::default();
    }
    let texts: Vec<&str> = keys.iter().map(|(_, key)| key.as_str()).collect();
    let found = within(store.deadline, store.state.listed(&texts, store.now)).await;
    World::BOTH.map(|world| {
        let observed = world == World::All;
        let each = keys.iter().enumerate().map(|(at, (fact, key))| {
            let reasons = found.as_ref().and_then(|found| found.get(at)).map(|listings| {
                let holding = listings.iter().filter(|listing| listing.holds(observed, store.now));
                let suspicion = |listing: &crate::state::Listing| Suspicion {
                    reason: listing.reason.clone(),
                    until: listing.holds_until(observed),
                };
                holding.map(suspicion).collect()
            });
            (*fact, Listed { key: key.clone(), reasons })
        });
        each.collect()
    })
}

/// Lists what the rules that applied say; what only rules in observe say is listed
/// for them alone.
pub(super) async fn list(ask: &Ask<'_>, passes: &Passes, store: Store<'_>) {
    make(ask, passes.enforced(), Mode::Enforce, store).await;
    if let Some(all) = passes.observed(ask.policy) {
        make(ask, all, Mode::Observe, store).await;
    }
}

async fn make(ask: &Ask<'_>, walk: &Walk, mode: Mode, store: Store<'_>) {
    for (index, listing) in &walk.listings {
        let rule = ask.policy.rules.get(*index as usize).filter(|rule| rule.mode == mode);
        let (Some(rule), Some(key)) = (rule, canonical_key(ask.facts, listing.key)) else {
            continue;
        };
        let new = NewListing {
            key: &key,
            reason: &listing.reason,
            periods: &listing.periods,
            by: &rule.name,
            observed: mode == Mode::Observe,
        };
        let listed = within(store.deadline, store.state.list(new, store.now)).await;
        if listed != Some(true) {
            tracing::warn!(
                rule = rule.name,
                key,
                reason = listing.reason,
                "no room for another timed listing"
            );
        }
    }
}
