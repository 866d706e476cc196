//! What became of the mail of a test, and whether that is what was expected.

use super::mail::Mail;
use crate::checks::Truth;
use crate::checks::show_score;
use crate::engine::Decided;
use crate::facts::Known;
use crate::facts::Marks;
use crate::facts::Stage;
use crate::lists::Query;
use crate::policy::Action;
use crate::policy::Expected;
use crate::policy::ExpectedText;
use crate::policy::Policy;
use crate::policy::Step;
use crate::verdict::Effect;

/// Rules told about in one failure: the rest says the same or nothing.
const MAX_BECAUSE: usize = 12;

/// An action that was done.
#[derive(Clone, Debug, PartialEq)]
struct Act {
    rule: u32,
    word: &'static str,
    /// None where it has none of its own, or where it did nothing that shows.
    text: Option<String>,
}

/// All that happened to one mail.
pub(super) struct Outcome {
    /// Of the gravest answer: a rule that matches at one recipient matches.
    truth: Truth,
    acts: Vec<Act>,
    /// The rules that refused or held, in order.
    deciders: Vec<u32>,
    stopped: bool,
    tags: Vec<String>,
    score: f64,
    header: Header,
    pub(super) because: Vec<String>,
}

impl Outcome {
    pub(super) fn new(mail: &Mail) -> Self {
        Self {
            truth: Truth::NoMatch,
            acts: Vec::new(),
            deciders: Vec::new(),
            stopped: false,
            tags: Vec::new(),
            score: 0.0,
            header: Header::of(mail),
            because: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, decided: Decided, stage: Stage, policy: &Policy) {
        for hit in &decided.hits {
            self.truth = Truth::Match;
            self.act(hit.rule, hit.action, None);
            for action in
                policy.rules.get(hit.rule as usize).map(|rule| rule.actions.as_slice()).unwrap_or(&[])
            {
                if let Action::Accept | Action::List(_) | Action::Score(_) | Action::Tag(_) = action {
                    self.act(hit.rule, action.word(), None);
                }
            }
        }
        if decided.unknown > 0 {
            self.truth = self.truth.max(Truth::Unknown);
        }
        for trace in &decided.trace {
            self.truth = self.truth.max(trace.truth);
            self.tell(trace, policy);
        }
        self.score =
            if stage == Stage::Rcpt { self.score.max(decided.known.score()) } else { decided.known.score() };
        self.note_tags(&decided.known, policy);
        let verdict = decided.verdict;
        for done in verdict.effects {
            self.act(done.rule, done.effect.word(), Some(done.effect.text().to_owned()));
            if matches!(done.effect, Effect::Hold(_)) {
                self.deciders.push(done.rule);
                self.stopped = true;
            }
            self.header.apply(done.rule, &done.effect);
        }
        if let Some((rule, refusal)) = verdict.refusal {
            self.act(rule, refusal.word(), Some(refusal.text()));
            self.deciders.push(rule);
            self.stopped = true;
        }
    }

    fn act(&mut self, rule: u32, word: &'static str, text: Option<String>) {
        let act = Act { rule, word, text };
        if !self.acts.contains(&act) {
            self.acts.push(act);
        }
    }

    fn tell(&mut self, trace: &crate::engine::Trace, policy: &Policy) {
        let Some(rule) = policy.rules.get(trace.rule as usize) else {
            return;
        };
        let line = format!("{}: {}: {}", rule.name, trace.truth.word(), trace.because);
        if !self.because.contains(&line) && self.because.len() < MAX_BECAUSE {
            self.because.push(line);
        }
    }

    fn note_tags(&mut self, known: &Known, policy: &Policy) {
        let mut note = |marks: &Marks| {
            for tag in &marks.tags {
                let name = policy.tag_name(*tag);
                if !self.tags.iter().any(|known| known == name) {
                    self.tags.push(name.to_owned());
                }
            }
        };
        [&known.connection, &known.message, &known.recipient].into_iter().for_each(&mut note);
        known.recipients.iter().for_each(&mut note);
    }

    /// What was expected, if it is not what happened. Of several mails only the
    /// last may do it; what must not happen must not happen at any.
    pub(super) fn judge(
        &self,
        step: &Step,
        policy: &Policy,
        only: Option<u32>,
        is_last: bool,
    ) -> Option<String> {
        let by = step.by.as_deref();
        let rule = match by {
            Some(by) => {
                policy.rules.iter().position(|rule| rule.name == by).and_then(|at| u32::try_from(at).ok())
            }
            None => None,
        };
        let who = if only.is_some() { only } else { rule };
        let wrong = step.expect.iter().find(|expected| {
            let must_stay = matches!(expected, Expected::NoMatch | Expected::Pass);
            let holds = self.holds(expected, who);
            match (is_last, must_stay) {
                (true, _) | (false, true) => !holds,
                // Points, tags and headers may well be the same each time.
                (false, false) => holds && matches!(expected, Expected::Match | Expected::Action(..)),
            }
        })?;
        let expected = describe(wrong);
        let by = by.map(|by| format!(", by {by}")).unwrap_or_default();
        if is_last || matches!(wrong, Expected::NoMatch | Expected::Pass) {
            return Some(format!("{expected}{by}"));
        }
        Some(format!("{expected}{by}, but only by the last of {} mails", step.times))
    }

    fn holds(&self, expected: &Expected, who: Option<u32>) -> bool {
        match expected {
            Expected::Action(word, text) => self.did(word, text.as_ref(), who),
            Expected::Headers(lines) => self.header.lines() == *lines,
            Expected::Match => match who {
                Some(who) => self.truth == Truth::Match || self.acts.iter().any(|act| act.rule == who),
                None => self.truth == Truth::Match,
            },
            Expected::NoMatch => self.truth == Truth::NoMatch,
            Expected::Pass => !self.stopped,
            Expected::Score(score) => (self.score - score).abs() < 1e-6,
            Expected::Tags(tags) => tags.iter().all(|tag| self.tags.contains(tag)),
            Expected::Unknown => self.truth == Truth::Unknown,
        }
    }

    fn did(&self, word: &str, text: Option<&ExpectedText>, who: Option<u32>) -> bool {
        self.acts.iter().any(|act| {
            act.word == word
                && who.is_none_or(|who| act.rule == who)
                && text.is_none_or(|text| act.text.as_deref().is_some_and(|done| says(text, done)))
        })
    }

    /// What happened, for a failure.
    pub(super) fn describe(&self, policy: &Policy, only: Option<u32>) -> String {
        let mut parts = Vec::new();
        if only.is_some() {
            parts.push(self.truth.word().to_owned());
        }
        for act in &self.acts {
            // A hit says what its effect says again with its text.
            let told = act.text.is_none()
                && self
                    .acts
                    .iter()
                    .any(|other| (other.rule, other.word) == (act.rule, act.word) && other.text.is_some());
            if told {
                continue;
            }
            let name = policy.rules.get(act.rule as usize).map(|rule| rule.name.as_str()).unwrap_or_default();
            let text = act.text.as_deref().map(|text| format!(" `{text}`")).unwrap_or_default();
            parts.push(format!("{}{text} by {name}", act.word));
        }
        if only.is_none() && !self.stopped {
            parts.push("the mail goes on".into());
        }
        if !self.tags.is_empty() {
            parts.push(format!("tags {}", self.tags.join(" ")));
        }
        if self.score != 0.0 {
            parts.push(format!("score {}", show_score(self.score)));
        }
        if self.header.is_changed {
            parts.push(format!("headers {:?}", self.header.lines()));
        }
        parts.join(", ")
    }
}

fn says(expected: &ExpectedText, done: &str) -> bool {
    match expected {
        ExpectedText::Part(part) => done.contains(part.as_str()),
        ExpectedText::Pattern(pattern) => {
            pattern.matches(&Query { text: done, folded: &done.to_ascii_lowercase(), ip: None })
        }
    }
}

fn describe(expected: &Expected) -> String {
    match expected {
        Expected::Action(word, None) => word.clone(),
        Expected::Action(word, Some(ExpectedText::Part(part))) => format!("{word} with `{part}`"),
        Expected::Action(word, Some(ExpectedText::Pattern(pattern))) => {
            format!("{word} with `{}`", pattern.text())
        }
        Expected::Headers(lines) => format!("headers {lines:?}"),
        Expected::Match => "match".into(),
        Expected::NoMatch => "no match".into(),
        Expected::Pass => "pass".into(),
        Expected::Score(score) => format!("score {}", show_score(*score)),
        Expected::Tags(tags) => format!("tags {}", tags.join(" ")),
        Expected::Unknown => "unknown".into(),
    }
}

/// The header as the next hop would see it.
struct Header {
    /// Name, number among those of the name, line.
    fields: Vec<(String, u32, Option<String>)>,
    /// The first that was added stands highest.
    above: Vec<(u32, String)>,
    below: Vec<(u32, String)>,
    /// With the number of the field that it is above.
    between: Vec<(u32, String)>,
    is_changed: bool,
}

impl Header {
    fn of(mail: &Mail) -> Self {
        let fields = mail.lines().map(|(name, number, line)| (name, number, Some(line))).collect();
        Self { fields, above: Vec::new(), below: Vec::new(), between: Vec::new(), is_changed: false }
    }

    fn apply(&mut self, rule: u32, effect: &Effect) {
        match effect {
            Effect::AddHeader { name, value, at_end } => {
                let line = (rule, format!("{name}: {value}"));
                let added = if *at_end { &mut self.below } else { &mut self.above };
                // Each recipient says it again; it is done once a transaction.
                if !added.contains(&line) {
                    added.push(line);
                }
            }
            Effect::ChangeHeader { name, occurrence, value } => {
                self.replace(name, *occurrence, Some(format!("{name}: {value}")));
            }
            Effect::InsertHeader { place, name, value } => {
                let line = (*place, format!("{name}: {value}"));
                if !self.between.contains(&line) {
                    self.between.push(line);
                }
            }
            Effect::RemoveHeader { name, occurrence } => self.replace(name, *occurrence, None),
            _ => return,
        }
        self.is_changed = true;
    }

    fn replace(&mut self, name: &str, occurrence: u32, line: Option<String>) {
        let field = self
            .fields
            .iter_mut()
            .find(|(known, number, _)| known.eq_ignore_ascii_case(name) && *number == occurrence);
        if let Some((_, _, old)) = field {
            *old = line;
        }
    }

    fn lines(&self) -> Vec<String> {
        let own = self.fields.iter().zip(1..).flat_map(|((_, _, line), place)| {
            let added = self.between.iter().filter(move |(below, _)| *below == place);
            added.map(|(_, line)| line.clone()).chain(line.clone())
        });
        let above = self.above.iter().map(|(_, line)| line.clone());
        above.chain(own).chain(self.below.iter().map(|(_, line)| line.clone())).collect()
    }
}
