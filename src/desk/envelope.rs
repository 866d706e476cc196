//! One step of the envelope, whichever protocol asks: decided, written down, and
//! kept in the transaction. Only the words of the reply differ.

use super::Desk;
use super::Inquiry;
use super::report::marks;
use super::report::ruling;
use super::session::Transaction;
use crate::decision::About;
use crate::engine::Outcome;
use crate::engine::Recall;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Stage;
use crate::verdict::Refusal;
use std::time::Duration;

/// What became of the step.
#[derive(Debug)]
pub(super) enum Settled {
    GoesOn {
        /// A rule says `permit`.
        permits: bool,
    },
    Refused(Refusal),
}

impl Desk {
    /// MAIL, RCPT or DATA, with all facts set.
    pub(super) async fn settle_envelope(
        &self,
        facts: &Facts,
        stage: Stage,
        transaction: &mut Transaction,
        recall: &mut Recall,
        seen_by: &'static str,
    ) -> Settled {
        let (active, id) = (&transaction.active, &transaction.id);
        let asked = Inquiry { active, facts, stage, decides_envelope: true, id, spent: Duration::ZERO };
        let decided = self.decide(asked, recall).await;
        let (now, would) = ruling(&active.policy, &decided);
        let refusal = decided.verdict.refusal.as_ref().map(|(_, refusal)| refusal.clone());
        if stage == Stage::Rcpt {
            let recipient = facts.text(Fact::Recipient).unwrap_or_default();
            if refusal.is_some() {
                transaction.refuse(recipient);
            } else if !transaction.accept(recipient) {
                recall.recipients.pop();
            }
        }
        if stage == Stage::Rcpt && !transaction.active.policy.events.is_empty() {
            self.count_own_refusal(facts, &decided, transaction, recall).await;
        }
        if refusal.is_some() || would.is_some() {
            let about = if stage == Stage::Rcpt { About::Recipient } else { About::Message };
            let marks = marks(&decided.known);
            self.tell(about, transaction, facts, &marks, now.clone(), would.clone(), seen_by);
        }
        if let Some(refusal) = refusal {
            if stage == Stage::Data {
                self.settle(recall, Outcome::Refused).await;
            }
            if matches!(refusal, Refusal::Discard(_)) {
                // It is the whole message that goes, and Postfix tells no more of it.
                transaction.had_data = true;
                transaction.note(Some(now), None);
            }
            // What a refused recipient would have brought about concerns nobody else.
            self.count_recipient(&decided, facts.text(Fact::Direction).unwrap_or_default());
            return Settled::Refused(refusal);
        }
        transaction.note(Some(now), would);
        let permits = decided.verdict.permits();
        let added = transaction.outbox.add(decided.verdict.effects);
        self.log_effects(&transaction.active.policy, &added, &transaction.id);
        Settled::GoesOn { permits }
    }
}
