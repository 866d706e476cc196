//! What a mail turned out to be larger than its client announced: a limit in bytes is
//! asked at RCPT, and a client may announce less there, or nothing.

use super::Recall;
use super::Store;
use super::in_store;
use super::within;
use crate::checks::Count;

/// Charges what is missing, now that the size is known; of a mail that is refused
/// only where a rule counts attempts. Once for each bucket, however often it is told.
pub async fn settle_size(recall: &mut Recall, size: u64, is_refused: bool, store: Store<'_>) {
    if !store.charges {
        return;
    }
    let is_short = |question: &crate::checks::Question| recall.counted(question) < size;
    let short: Vec<_> = recall
        .charged
        .iter()
        .map(|charged| {
            charged.question.count == Count::Bytes
                && is_short(&charged.question)
                && (charged.counts_attempts || !is_refused)
        })
        .collect();
    let rest = recall.charged.iter().zip(&short).filter(|(_, is_short)| **is_short).map(|(charged, _)| {
        let counted = recall.counted(&charged.question);
        crate::state::Question { n: size, counted, ..in_store(&charged.question) }
    });
    let batch: Vec<_> = rest.collect();
    if batch.is_empty() {
        return;
    }
    // Uncounted if the store is away.
    let _ = within(store.deadline, store.state.charge(&batch, store.now)).await;
    drop(batch);
    for (charged, is_short) in recall.charged.iter_mut().zip(short) {
        if is_short {
            charged.question.n = size;
        }
    }
}
