//! What the rules above have found out: tags and points, each belonging to the
//! connection, the message or one recipient.

use super::Fact;
use super::Scope;

/// A tag's number within one policy.
pub type TagId = u16;

/// Points that one rule gave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reason {
    /// The rule's number within its policy.
    pub rule: u32,
    pub points: f64,
}

/// Tags and points of one thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marks {
    pub tags: Vec<TagId>,
    pub reasons: Vec<Reason>,
}

impl Marks {
    pub fn add_tag(&mut self, tag: TagId) {
        if !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
    }

    pub fn score(&self) -> f64 {
        self.reasons.iter().map(|reason| reason.points).sum()
    }
}

/// What the value of an attribute is listed for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    pub key: String,
    /// None: nobody could say in time.
    pub reasons: Option<Vec<Suspicion>>,
}

/// One reason of a timed listing.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspicion {
    pub reason: String,
    /// Nanoseconds since 1970.
    pub until: u64,
}

/// The marks that hold where a rule is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    pub connection: Marks,
    pub message: Marks,
    /// Of the recipient in question; unused once there are several.
    pub recipient: Marks,
    /// At `data` and `message`: of each accepted recipient.
    pub recipients: Vec<Marks>,
    /// Of each attribute that a rule asks about and that the mail has.
    pub listed: Vec<(Fact, Listed)>,
}

impl Known {
    pub fn marks_mut(&mut self, scope: Scope) -> &mut Marks {
        match scope {
            Scope::Connection => &mut self.connection,
            Scope::Message => &mut self.message,
            Scope::Recipient => &mut self.recipient,
        }
    }

    /// Tags of the connection, the message and the recipient in question.
    pub fn has_tag(&self, tag: TagId) -> bool {
        [&self.connection, &self.message, &self.recipient].iter().any(|marks| marks.tags.contains(&tag))
    }

    /// The connection's and the message's points with the recipient's; where
    /// there are several, the one with most counts.
    pub fn score(&self) -> f64 {
        let shared = self.connection.score() + self.message.score() + self.recipient.score();
        shared + self.worst_recipient().map_or(0.0, Marks::score)
    }

    /// Who gave the points that make the score, in the order in which they did.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> {
        let worst = self.worst_recipient().map(|marks| marks.reasons.as_slice()).unwrap_or_default();
        [&*self.connection.reasons, &*self.message.reasons, &*self.recipient.reasons, worst]
            .into_iter()
            .flatten()
            .copied()
    }

    fn worst_recipient(&self) -> Option<&Marks> {
        self.recipients.iter().max_by(|a, b| a.score().total_cmp(&b.score()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(rule: u32, points: f64) -> Marks {
        Marks { tags: Vec::new(), reasons: vec![Reason { rule, points }] }
    }

    #[test]
    fn of_several_recipients_the_highest_counts() {
        let known = Known {
            connection: points(0, 1.0),
            message: points(1, 2.0),
            recipients: vec![points(2, 0.5), points(3, 3.0)],
            ..Known::default()
        };
        assert_eq!(known.score(), 6.0);
        assert_eq!(known.reasons().map(|r| r.rule).collect::<Vec<_>>(), [0, 1, 3]);
    }
}
