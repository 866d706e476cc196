//! What the rules want to know of the world is found out here: all that one pass has
//! missed at once, then the rules are asked again.

use super::Answers;
use super::Ask;
use super::Passes;
use super::Recall;
use super::Store;
use super::memo::Once;
use crate::auth::ArcChain;
use crate::auth::verify_arc;
use crate::auth::verify_dkim;
use crate::facts::Facts;
use crate::lookup::Finding;
use crate::lookup::Lookup;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use std::sync::Arc;
use tokio::time::Instant;
use tokio::time::timeout_at;

/// How often an answer may lead to a further question: points to a threshold, that to a
/// lookup, that to points.
const MAX_ROUNDS: usize = 8;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Asks the rules until nothing is missing, or nobody will answer any more: then what
/// is missing is unknown. `until` is set when first somebody is waited for.
pub(super) async fn passes(
    ask: &Ask<'_>,
    recall: &Recall,
    answers: &Answers,
    once: &mut Once<'_>,
    store: Store<'_>,
    until: &mut Option<Instant>,
) -> Passes {
    for _ in 0..MAX_ROUNDS {
        let passes = Passes::make(ask, recall, answers, once);
        let wanted = once.lookups.take_wanted();
        if wanted.is_empty() {
            return passes;
        }
        let until = *until.get_or_insert_with(|| Instant::now() + store.deadline);
        let mut asked: FuturesUnordered<_> =
            wanted.iter().cloned().map(|lookup| find_out(lookup, ask.facts, store)).collect();
        while let Ok(Some((lookup, finding))) = timeout_at(until, asked.next()).await {
            once.told.extend(finding.results());
            once.lookups.add(lookup, finding);
        }
        if Instant::now() >= until {
            once.lookups.give_up(wanted);
            break;
        }
    }
    once.lookups.end();
    Passes::make(ask, recall, answers, once)
}

async fn find_out(lookup: Lookup, facts: &Facts, store: Store<'_>) -> (Lookup, Finding) {
    let signed = facts.message.as_ref().and_then(|message| message.signed());
    let now = store.now / NANOS_PER_SECOND;
    let finding = match &lookup {
        Lookup::Arc => Finding::Arc(Arc::new(match signed {
            Some(signed) => verify_arc(signed, store.resolver, now).await,
            None => ArcChain::NONE,
        })),
        Lookup::Dkim => Finding::Dkim(match signed {
            Some(signed) => verify_dkim(signed, store.resolver, now).await.into(),
            None => Arc::new([]),
        }),
        Lookup::Dns(question) => Finding::Dns(store.resolver.ask(question).await),
        Lookup::Spf(question) => Finding::Spf(Arc::new(question.answer(store.resolver).await)),
        Lookup::Site(question) => Finding::Site(question.ask(store.resolver).await),
    };
    (lookup, finding)
}
