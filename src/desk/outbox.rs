//! What rules have done to a message and Postfix has not been told yet.
//!
//! A policy reply holds one action, and a rule may want several; what is over
//! waits for the next request of the transaction, and what the milter can do is
//! done at the end of the message.

use crate::facts::Stage;
use crate::message::ARC_SIGNATURE;
use crate::message::Change;
use crate::message::DKIM_SIGNATURE;
use crate::message::Message;
use crate::reply::Edit;
use crate::reply::PolicyAction;
use crate::verdict::Done;
use crate::verdict::Effect;
use std::collections::HashSet;

/// Effects kept of one transaction; rules are written by the operator, but a
/// table line may act once a header line. Removals and changed parts don't count: they
/// have the bound of the fields and parts that are read, and a stranger who sends many
/// shall displace nothing else, nor what comes last of them.
const MAX_EFFECTS: usize = 1_000;

/// The field that tells those behind us what was found of signatures.
const AUTHENTICATION_RESULTS: &str = "Authentication-Results";

/// The message that edits are made of, and the name under which we tell of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Whole<'a> {
    pub message: Option<&'a Message>,
    pub name: Option<&'a str>,
}

impl Whole<'_> {
    /// Whether somebody has signed the body as it came.
    pub(super) fn is_signed(self) -> bool {
        let has = |message: &Message, name| message.headers().named(name).next().is_some();
        self.message.is_some_and(|message| has(message, DKIM_SIGNATURE) || has(message, ARC_SIGNATURE))
    }
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Vec<Done>,
    /// So that nothing is done twice for a second recipient.
    told: Vec<Done>,
    /// Which fields go, in lower case: two rules may want the same one out, and asked
    /// twice, the MTA would take another one too.
    removed: HashSet<(String, u32)>,
    /// Which rule has changed which part.
    changed: HashSet<(u32, u32)>,
}

impl Outbox {
    /// Adds what is new, and returns it: each effect of a rule once a transaction.
    /// `permit` is an answer to each recipient and nothing that waits.
    pub(super) fn add(&mut self, effects: Vec<Done>) -> Vec<Done> {
        let mut added = Vec::new();
        for done in effects {
            if let Effect::RemoveHeader { name, occurrence } = &done.effect {
                if self.removed.insert((name.to_ascii_lowercase(), *occurrence)) {
                    added.push(done.clone());
                    self.waiting.push(done);
                }
                continue;
            }
            if let Effect::ChangePart { part, .. } = &done.effect {
                if self.changed.insert((done.rule, *part)) {
                    added.push(done.clone());
                    self.waiting.push(done);
                }
                continue;
            }
            let mut before = self.waiting.iter().chain(&self.told);
            let known = done.effect == Effect::Permit || before.any(|other| is_same(other, &done));
            let uncounted = self.removed.len() + self.changed.len();
            if !known && self.waiting.len() + self.told.len() - uncounted < MAX_EFFECTS {
                added.push(done.clone());
                self.waiting.push(done);
            }
        }
        added
    }

    /// The next that a policy reply can say at this stage: what protects first,
    /// what only informs last.
    pub(super) fn next_policy_action(&mut self, stage: Stage) -> PolicyAction {
        let rank = |done: &Done| rank(&done.effect, stage);
        let next = self.waiting.iter().enumerate().filter_map(|(at, done)| Some((rank(done)?, at))).min();
        let Some((_, at)) = next else {
            return PolicyAction::Dunno;
        };
        let done = self.waiting.remove(at);
        let action = match &done.effect {
            Effect::AddHeader { name, value, .. } => {
                PolicyAction::Prepend { name: name.clone(), value: value.clone() }
            }
            Effect::Bcc(address) => PolicyAction::Bcc(address.clone()),
            Effect::Filter(target) => PolicyAction::Filter(target.clone()),
            Effect::Hold(text) => PolicyAction::Hold(text.clone()),
            Effect::Log(text) => PolicyAction::Warn(text.clone()),
            Effect::Redirect(address) => PolicyAction::Redirect(address.clone()),
            _ => PolicyAction::Dunno,
        };
        self.told.push(done);
        action
    }

    /// All that the milter can do at the end of the message, in order; what it
    /// can't is returned beside.
    pub(super) fn edits(&mut self, recipients: &[String], whole: Whole<'_>) -> (Vec<Edit>, Vec<Done>) {
        let mut edits = Vec::new();
        let mut on_top = Vec::new();
        let mut impossible = Vec::new();
        let mut changes = Vec::new();
        let mut between = Vec::new();
        for done in std::mem::take(&mut self.waiting) {
            match done.effect.clone() {
                Effect::AddHeader { name, value, at_end: true } => {
                    edits.push(Edit::AppendHeader { name, value })
                }
                Effect::AddHeader { name, value, at_end: false } => {
                    on_top.push(Edit::PrependHeader { name, value })
                }
                Effect::Bcc(address) => edits.push(Edit::AddRecipient(address)),
                Effect::ChangeHeader { name, occurrence, value } => {
                    edits.push(Edit::ChangeHeader { name, occurrence, value });
                }
                Effect::ChangePart { part, change, .. } if whole.message.is_some() => {
                    changes.push((part, change));
                }
                Effect::ChangeSender(address) => edits.push(Edit::ChangeSender(address)),
                Effect::Hold(text) => edits.push(Edit::Quarantine(text)),
                Effect::InsertHeader { place, name, value } => between.push((place, name, value)),
                // Told in our own log when it was done; nothing of it is for the milter.
                Effect::Log(_) | Effect::Permit => {}
                Effect::Redirect(address) => {
                    edits.extend(recipients.iter().cloned().map(Edit::DeleteRecipient));
                    edits.push(Edit::AddRecipient(address));
                }
                Effect::RemoveHeader { name, occurrence } => {
                    edits.push(Edit::RemoveHeader { name, occurrence })
                }
                Effect::ReplaceBody(text) => edits.push(Edit::ReplaceBody(crlf(&text))),
                Effect::ChangePart { .. } | Effect::Filter(_) => {
                    impossible.push(done);
                    continue;
                }
            }
            self.told.push(done);
        }
        if !changes.is_empty() {
            self.change_parts(&changes, whole, &mut edits);
        }
        if edits.iter().any(|edit| matches!(edit, Edit::ReplaceBody(_))) && whole.is_signed() {
            tell_of_change(whole, &mut on_top);
        }
        insert_between(between, whole, &mut edits);
        // Each goes above the one before: the first added shall stand topmost.
        edits.extend(on_top.into_iter().rev());
        // A field's number is that among the fields as received. Removing from
        // the last to the first keeps it right whatever the MTA counts.
        edits.sort_by_key(|edit| match edit {
            Edit::RemoveHeader { occurrence, .. } => (1, u32::MAX - occurrence),
            Edit::InsertHeader { .. } => (2, 0),
            Edit::PrependHeader { .. } | Edit::AppendHeader { .. } => (3, 0),
            Edit::Quarantine(_) => (4, 0),
            _ => (0, 0),
        });
        (edits, impossible)
    }

    fn change_parts(&self, changes: &[(u32, Change)], whole: Whole<'_>, edits: &mut Vec<Edit>) {
        let Some(message) = whole.message else {
            return;
        };
        // A rule that wants another body altogether has it.
        if edits.iter().any(|edit| matches!(edit, Edit::ReplaceBody(_))) {
            return;
        }
        let edited = message.edited(changes);
        for (name, occurrence, value) in edited.fields {
            if self.removed.contains(&(name.to_ascii_lowercase(), occurrence)) {
                continue;
            }
            edits.push(match value {
                Some(value) => Edit::ChangeHeader { name, occurrence, value },
                None => Edit::RemoveHeader { name, occurrence },
            });
        }
        edits.extend(edited.added.into_iter().map(|(name, value)| Edit::AppendHeader { name, value }));
        edits.push(Edit::ReplaceBody(edited.body));
    }

    /// What can no longer be told to anybody.
    pub(super) fn left(&self) -> impl Iterator<Item = &Done> {
        self.waiting.iter().filter(|done| !matches!(done.effect, Effect::Log(_)))
    }
}

/// New fields above those of these places, once what is removed is gone: the MTA does not
/// count that. The lowest first, so that none moves another; of one place the first
/// topmost.
fn insert_between(mut between: Vec<(u32, String, String)>, whole: Whole<'_>, edits: &mut Vec<Edit>) {
    if between.is_empty() {
        return;
    }
    let removed: HashSet<(String, u32)> = edits
        .iter()
        .filter_map(|edit| match edit {
            Edit::RemoveHeader { name, occurrence } => Some((name.to_ascii_lowercase(), *occurrence)),
            _ => None,
        })
        .collect();
    let fields = whole.message.into_iter().flat_map(|message| message.headers().iter()).zip(1_u32..);
    let gone =
        fields.filter(|(field, _)| removed.contains(&(field.name.to_ascii_lowercase(), field.occurrence)));
    let gone: Vec<u32> = gone.map(|(_, place)| place).collect();
    between.sort_by_key(|(place, ..)| *place);
    edits.extend(between.into_iter().rev().map(|(place, name, value)| {
        let above = gone.iter().filter(|gone| **gone < place).count();
        let below = place.saturating_sub(1).saturating_sub(u32::try_from(above).unwrap_or(u32::MAX));
        Edit::InsertHeader { below, name, value }
    }));
}

/// Signatures that were fine when they were looked at no longer are.
fn tell_of_change(whole: Whole<'_>, on_top: &mut Vec<Edit>) {
    const WHY: &str = "(the body was changed here since: its signatures no longer fit)";
    let mut told = false;
    for edit in on_top.iter_mut() {
        if let Edit::PrependHeader { name, value } = edit
            && name.eq_ignore_ascii_case(AUTHENTICATION_RESULTS)
        {
            *value = format!("{value} {WHY}");
            told = true;
        }
    }
    if let (false, Some(name)) = (told, whole.name) {
        let value = format!("{name}; none {WHY}");
        on_top.push(Edit::PrependHeader { name: AUTHENTICATION_RESULTS.into(), value });
    }
}

/// Whether a rule has done this to the message already. Its text may be another for
/// another recipient; one header that names the first must not be joined by one that
/// names the second, for all to read.
fn is_same(one: &Done, other: &Done) -> bool {
    one.rule == other.rule
        && match (&one.effect, &other.effect) {
            (Effect::AddHeader { name, .. }, Effect::AddHeader { name: other, .. }) => name == other,
            (Effect::Hold(_), Effect::Hold(_)) => true,
            (effect, other) => effect == other,
        }
}

/// The order in which a policy reply tells effects; None: it can't, here.
fn rank(effect: &Effect, stage: Stage) -> Option<u8> {
    match effect {
        Effect::Hold(_) => Some(1),
        Effect::Redirect(_) => Some(2),
        Effect::Filter(_) => Some(3),
        Effect::Bcc(_) => Some(4),
        // Postfix skips PREPEND at END-OF-MESSAGE; a header below the others is
        // for the milter.
        Effect::AddHeader { at_end: false, .. } if stage != Stage::Message => Some(5),
        Effect::Log(_) => Some(6),
        _ => None,
    }
}

/// SMTP line ends, whatever the operator's editor made.
fn crlf(text: &str) -> Vec<u8> {
    let mut body = text.lines().collect::<Vec<_>>().join("\r\n");
    body.push_str("\r\n");
    body.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(rule: u32, effect: Effect) -> Done {
        Done { rule, effect }
    }

    fn header(name: &str) -> Effect {
        Effect::AddHeader { name: name.into(), value: "x".into(), at_end: false }
    }

    #[test]
    fn each_effect_is_told_once_and_one_a_request() {
        let mut outbox = Outbox::default();
        let effects = vec![done(0, header("X-A")), done(1, Effect::Hold("h".into()))];
        outbox.add(effects.clone());
        assert_eq!(outbox.next_policy_action(Stage::Rcpt), PolicyAction::Hold("h".into()));
        outbox.add(effects);
        assert!(matches!(outbox.next_policy_action(Stage::Data), PolicyAction::Prepend { .. }));
        assert_eq!(outbox.next_policy_action(Stage::Data), PolicyAction::Dunno);
        assert_eq!(outbox.left().count(), 0);
    }

    #[test]
    fn a_text_that_differs_by_recipient_is_told_once() {
        let mut outbox = Outbox::default();
        let named =
            |value: &str| Effect::AddHeader { name: "X-For".into(), value: value.into(), at_end: false };
        assert_eq!(outbox.add(vec![done(0, named("a@x.test"))]).len(), 1);
        assert_eq!(outbox.add(vec![done(0, named("b@x.test")), done(1, named("b@x.test"))]).len(), 1);
    }

    #[test]
    fn the_milter_does_what_is_left_and_the_first_header_stands_topmost() {
        let mut outbox = Outbox::default();
        outbox.add(vec![
            done(0, header("X-A")),
            done(1, header("X-B")),
            done(2, Effect::Filter("slow:".into())),
        ]);
        let (edits, impossible) = outbox.edits(&[], Whole::default());
        let names: Vec<_> = edits
            .iter()
            .map(|edit| match edit {
                Edit::PrependHeader { name, .. } => name.as_str(),
                _ => "?",
            })
            .collect();
        assert_eq!((names, impossible.len()), (vec!["X-B", "X-A"], 1));
    }

    #[test]
    fn fields_are_removed_from_the_last_to_the_first() {
        let mut outbox = Outbox::default();
        let remove = |occurrence| Effect::RemoveHeader { name: "X".into(), occurrence };
        outbox.add(vec![done(0, remove(1)), done(0, remove(2))]);
        let (edits, _) = outbox.edits(&[], Whole::default());
        assert_eq!(edits[0], Edit::RemoveHeader { name: "X".into(), occurrence: 2 });
        let mut outbox = Outbox::default();
        let other = Effect::RemoveHeader { name: "x".into(), occurrence: 1 };
        let apart = Effect::RemoveHeader { name: "Y".into(), occurrence: 1 };
        outbox.add(vec![done(1, remove(1)), done(1, apart), done(2, other), done(2, remove(2))]);
        let (edits, _) = outbox.edits(&[], Whole::default());
        let numbers: Vec<_> = edits
            .iter()
            .map(|edit| match edit {
                Edit::RemoveHeader { name, occurrence } => (name.as_str(), *occurrence),
                _ => ("?", 0),
            })
            .collect();
        assert_eq!(numbers, [("X", 2), ("X", 1), ("Y", 1)]);
    }

    #[test]
    fn many_fields_to_remove_displace_nothing_else() {
        let mut outbox = Outbox::default();
        let fields = 1..=3 * MAX_EFFECTS as u32;
        let remove = |occurrence| done(0, Effect::RemoveHeader { name: "X".into(), occurrence });
        outbox.add(fields.map(remove).chain([done(1, Effect::Hold("why".into()))]).collect());
        let (edits, _) = outbox.edits(&[], Whole::default());
        assert_eq!(edits.len(), 3 * MAX_EFFECTS + 1);
        assert_eq!(edits.last(), Some(&Edit::Quarantine("why".into())));
        let other = |number: usize| header(&format!("X-{number}"));
        let added = outbox.add((0..2 * MAX_EFFECTS).map(|number| done(2, other(number))).collect());
        assert_eq!(added.len(), MAX_EFFECTS - 1);
    }

    #[test]
    fn no_part_is_left_because_there_are_many() {
        let mut mail = String::from("Content-Type: multipart/mixed; boundary=b\n\n");
        let parts = 1..=2 * MAX_EFFECTS as u32;
        parts.clone().for_each(|_| mail += "--b\nContent-Type: x/y; name=a.exe\n\nMZ\n");
        let message = Message::from_eml(format!("{mail}--b--\n").as_bytes());
        let remove = |part| {
            done(0, Effect::ChangePart { part, file: "a.exe".into(), change: Change::Replace("gone".into()) })
        };
        let mut outbox = Outbox::default();
        let hold = done(1, Effect::Hold("why".into()));
        assert_eq!(outbox.add(parts.map(remove).chain([hold]).collect()).len(), 2 * MAX_EFFECTS + 1);
        let (edits, _) = outbox.edits(&[], Whole { message: Some(&message), name: None });
        let [Edit::ReplaceBody(body), Edit::Quarantine(_)] = edits.as_slice() else { panic!("{edits:?}") };
        assert!(!String::from_utf8_lossy(body).contains("MZ"));
    }

    #[test]
    fn a_redirect_takes_the_recipients_away() {
        let mut outbox = Outbox::default();
        outbox.add(vec![done(0, Effect::Redirect("n@x.test".into()))]);
        let (edits, _) = outbox.edits(&["a@x.test".into()], Whole::default());
        assert_eq!(edits, [Edit::DeleteRecipient("a@x.test".into()), Edit::AddRecipient("n@x.test".into())]);
    }

    fn message(fields: &str) -> Message {
        let eml = format!("From: a@x.test\nMIME-Version: 1.0\nContent-Type: x/y; name=a.exe\n{fields}\nMZ\n");
        Message::from_eml(eml.as_bytes())
    }

    fn remove(rule: u32) -> Done {
        let change = Change::Replace("gone".into());
        done(rule, Effect::ChangePart { part: 0, file: "a.exe".into(), change })
    }

    #[test]
    fn changed_parts_are_another_body_and_other_fields() {
        let message = message("Content-Disposition: attachment\n");
        let mut outbox = Outbox::default();
        let gone = Effect::RemoveHeader { name: "content-disposition".into(), occurrence: 1 };
        outbox.add(vec![done(0, gone), remove(1)]);
        let whole = Whole { message: Some(&message), name: Some("mx.example.com") };
        let (edits, impossible) = outbox.edits(&[], whole);
        assert!(impossible.is_empty());
        let change = |name: &str, value: &str| Edit::ChangeHeader {
            name: name.into(),
            occurrence: 1,
            value: value.into(),
        };
        let has = |edit: &Edit| edits.contains(edit);
        assert!(has(&change("Content-Type", "text/plain; charset=utf-8")), "{edits:?}");
        assert!(has(&Edit::ReplaceBody(b"gone\r\n".to_vec())), "{edits:?}");
        // A rule wanted it out altogether, and so it goes once.
        let of_disposition = |edit: &&Edit| format!("{edit:?}").to_ascii_lowercase().contains("disposition");
        assert_eq!(edits.iter().filter(of_disposition).count(), 1, "{edits:?}");
        assert!(!edits.iter().any(|edit| format!("{edit:?}").contains("Authentication-Results")));

        // Another body altogether goes before.
        let mut outbox = Outbox::default();
        outbox.add(vec![remove(1), done(2, Effect::ReplaceBody("all".into()))]);
        assert_eq!(outbox.edits(&[], whole).0, [Edit::ReplaceBody(b"all\r\n".to_vec())]);

        let mut outbox = Outbox::default();
        outbox.add(vec![remove(1)]);
        let (edits, impossible) = outbox.edits(&[], Whole::default());
        assert_eq!((edits.len(), impossible.len()), (0, 1));
    }

    #[test]
    fn a_signature_that_breaks_is_told_where_results_are_told() {
        let message = message("DKIM-Signature: v=1; d=x.test\n");
        let whole = Whole { message: Some(&message), name: Some("mx.example.com") };
        let results = |value: &str| Effect::AddHeader {
            name: AUTHENTICATION_RESULTS.into(),
            value: value.into(),
            at_end: false,
        };
        for (effects, expected) in [
            (vec![remove(0)], &["mx.example.com; none (the body was changed"][..]),
            (
                vec![done(1, results("mx.example.com; dkim=pass")), remove(0)],
                &["mx.example.com; dkim=pass (the body was changed"],
            ),
            (vec![done(1, results("mx.example.com; dkim=pass"))], &["mx.example.com; dkim=pass"]),
            (vec![done(1, Effect::ReplaceBody("x".into()))], &["mx.example.com; none (the body was changed"]),
            (vec![], &[]),
        ] {
            let mut outbox = Outbox::default();
            outbox.add(effects);
            let (edits, _) = outbox.edits(&[], whole);
            let told: Vec<_> = edits
                .iter()
                .filter_map(|edit| match edit {
                    Edit::PrependHeader { name, value } if name == AUTHENTICATION_RESULTS => {
                        Some(value.as_str())
                    }
                    _ => None,
                })
                .collect();
            assert_eq!(told.len(), expected.len(), "{told:?}");
            for (told, expected) in told.iter().zip(expected) {
                assert!(told.starts_with(expected), "{told}");
                assert_eq!(told.contains("changed"), expected.contains("changed"), "{told}");
            }
        }
    }
}
