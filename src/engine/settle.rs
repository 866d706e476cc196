//! What becomes of what was reserved for a mail: charged when it was accepted, given
//! back only on evidence that it, or a recipient of it, was not.
//!
//! A client may hang up or dribble at any point; what nobody settles the store's timer
//! charges, so that time alone gives nothing back.

use super::Recall;
use super::Store;
use super::within;
use crate::state::Hold;
use crate::state::Nanos;
use std::collections::HashMap;

/// A mail that takes longer from RCPT to its end is charged before it ends.
const HELD_FOR: Nanos = 600 * 1_000_000_000;

/// Reservations kept of one transaction; what comes beyond is charged at once.
pub(super) const MAX_HELD: usize = 5_000;

/// How a mail ended, as far as we know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// By the last who was asked; or nobody said how.
    Accepted,
    /// Refused by us, or given up by the client.
    Refused,
}

/// What was reserved for one question.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) hold: Hold,
    pub(super) bucket: u32,
    pub(super) key: String,
    /// The recipient it is for; None: the message as a whole.
    pub(super) recipient: Option<String>,
}

pub(super) fn until(now: Nanos) -> Nanos {
    now.saturating_add(HELD_FOR)
}

/// The mail is over.
pub async fn settle(recall: &mut Recall, outcome: Outcome, store: Store<'_>) {
    if recall.held.is_empty() {
        return;
    }
    let holds: Vec<Hold> = recall.held.drain(..).map(|held| held.hold).collect();
    // If the store is away its own timer will charge them.
    let _ = match outcome {
        Outcome::Accepted => within(store.deadline, store.state.commit(&holds, store.now)).await,
        Outcome::Refused => within(store.deadline, store.state.give_back(&holds)).await,
    };
}

/// A recipient was rejected by somebody behind us.
pub async fn settle_recipient(recall: &mut Recall, recipient: &str, store: Store<'_>) {
    give_back(recall, |held| held.recipient.as_deref() == Some(recipient), store).await;
}

/// Fewer recipients were accepted than we let through, and nobody said which: a key
/// that all of them share is charged no more than there are.
pub async fn settle_count(recall: &mut Recall, accepted: usize, store: Store<'_>) {
    let mut seen: HashMap<(u32, String), usize> = HashMap::new();
    let surplus = |held: &mut Held| {
        if held.recipient.is_none() {
            return false;
        }
        let count = seen.entry((held.bucket, held.key.clone())).or_default();
        *count += 1;
        *count > accepted
    };
    give_back(recall, surplus, store).await;
}

async fn give_back(recall: &mut Recall, which: impl FnMut(&mut Held) -> bool, store: Store<'_>) {
    let holds: Vec<Hold> = recall.held.extract_if(.., which).map(|held| held.hold).collect();
    if !holds.is_empty() {
        // If the store is away its own timer will charge them.
        let _ = within(store.deadline, store.state.give_back(&holds)).await;
    }
}
