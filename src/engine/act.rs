//! What a rule that applies does: its actions, one after another.

use super::Ask;
use super::walk::Walk;
use crate::checks::Answered;
use crate::checks::Bindings;
use crate::checks::Check as _;
use crate::checks::Context;
use crate::checks::ListedHit;
use crate::checks::Question;
use crate::checks::Rate;
use crate::checks::Spot;
use crate::checks::Truth;
use crate::checks::show_score;
use crate::facts::Reason;
use crate::facts::Stage;
use crate::lists::ListValue;
use crate::lists::To;
use crate::lists::Verb;
use crate::lookup::Lookups;
use crate::message::Change as PartChange;
use crate::policy::Action;
use crate::policy::Change;
use crate::policy::ReplyText;
use crate::policy::Rule;
use crate::policy::Template;
use crate::reply::MAX_TEXT_BYTES;
use crate::reply::Reply;
use crate::reply::clean_line;
use crate::state::Memory;
use crate::state::Remembered;
use crate::verdict::Done;
use crate::verdict::Effect;
use crate::verdict::Refusal;

/// How many lines of one message a table may only say something about: what it does is
/// done for all.
const MAX_LISTED_LINES: usize = 100;

/// Bytes of a part's new name.
const MAX_NAME_BYTES: usize = 200;

/// What becomes of the rules behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum After {
    GoOn,
    EndFile,
    End,
}

/// A rule while it acts.
pub(super) struct Acting<'a> {
    pub ask: &'a Ask<'a>,
    pub rule: &'a Rule,
    pub index: u32,
    pub answer: Option<(&'a Question, &'a Answered)>,
    pub memory: Option<(&'a Memory, Option<Remembered>)>,
    /// Of an earlier stage that is another's to decide: tags and points only.
    pub marks_only: bool,
    /// Its condition was unknown and is taken for a match: nothing final.
    pub doubtful: bool,
    /// It had not applied before to this connection or message.
    pub newly: bool,
    pub lookups: &'a Lookups<'a>,
    /// Made when the first text is filled.
    pub bindings: Option<Bindings>,
}

impl<'a> Acting<'a> {
    pub(super) fn all(&mut self, walk: &mut Walk) -> After {
        let mut first = None;
        let mut after = After::GoOn;
        for action in &self.rule.actions {
            let (done, next) = self.one(action, walk);
            if done {
                first.get_or_insert(action.word());
            } else if self.newly && !self.marks_only && !matches!(action, Action::AsListed) {
                // A list may well say nothing for what it has.
                walk.failed.push((self.index, action.word()));
            }
            after = next;
            if next != After::GoOn {
                break;
            }
        }
        if self.newly
            && let Some(word) = first
        {
            walk.hits.push((self.index, word));
        }
        after
    }

    /// Does one action; false when it can't be done here.
    fn one(&mut self, action: &Action, walk: &mut Walk) -> (bool, After) {
        if let Action::FirstOf(actions) = action {
            for action in actions {
                let (done, after) = self.one(action, walk);
                if done {
                    return (true, after);
                }
            }
            return (false, After::GoOn);
        }
        match action {
            Action::Tag(tags) => {
                let marks = walk.known.marks_mut(self.scope());
                tags.iter().for_each(|tag| marks.add_tag(*tag));
                return (true, After::GoOn);
            }
            Action::Score(change) => {
                self.score(*change, walk);
                // They say another score and other reasons now.
                self.bindings = None;
                return (true, After::GoOn);
            }
            Action::List(listing) => {
                // Once for the connection or message, not again for each recipient.
                if self.newly {
                    walk.listings.push((self.index, listing.clone()));
                }
                return (true, After::GoOn);
            }
            _ => {}
        }
        if self.marks_only {
            return (false, self.ends_file(action, walk));
        }
        if self.ask.impossible.iter().any(|word| word == action.word()) {
            return (false, After::GoOn);
        }
        if let Some(reply) = self.too_large(action) {
            return self.refuse(reply, walk, Refusal::Reject);
        }
        match action {
            Action::Accept => (true, After::EndFile),
            Action::Permit => {
                self.effect(Effect::Permit, walk);
                (true, After::EndFile)
            }
            Action::Reject(text) => self.refuse(text, walk, Refusal::Reject),
            Action::Defer(text) => self.refuse(text, walk, Refusal::Defer),
            Action::DeferIfPermit(text) => {
                self.defer_if_permit(text, walk);
                (true, After::GoOn)
            }
            Action::Discard(text) => {
                let text = self.fill(text, walk);
                self.end(Refusal::Discard(clean_line(&text, MAX_TEXT_BYTES)), walk)
            }
            Action::AsListed => self.as_listed(walk),
            action => (self.change(action, walk), After::GoOn),
        }
    }

    /// What is said instead of an action to a mail that would never be let through,
    /// however often it came back.
    fn too_large(&self, action: &Action) -> Option<&'a ReplyText> {
        let (limit, (question, answered)) = self.rule.limit.as_ref().zip(self.answer)?;
        let is_replaced = match action {
            Action::Defer(_) | Action::DeferIfPermit(_) => true,
            Action::Reject(_) => limit.too_large.is_own,
            _ => false,
        };
        (is_replaced && Rate::can_never_fit(question, answered)).then_some(&limit.too_large.reply)
    }

    /// A rule that only marks still ends its file where it accepts.
    fn ends_file(&self, action: &Action, walk: &Walk) -> After {
        let accepts = match action {
            Action::Accept | Action::Permit => true,
            Action::AsListed => {
                let first = self.listed(To::Action, walk, 1).pop().and_then(|listed| listed.hit.value);
                matches!(first, Some(ListValue::Action(action)) if matches!(action.verb, Verb::Accept | Verb::Pass))
            }
            _ => false,
        };
        if accepts { After::EndFile } else { After::GoOn }
    }

    /// Where its tags and points go: those of a rule asked at the end of a
    /// message are the message's.
    fn scope(&self) -> crate::facts::Scope {
        match self.ask.stage {
            Stage::Data | Stage::Message => self.rule.holds_for.min(crate::facts::Scope::Message),
            _ => self.rule.holds_for,
        }
    }

    fn score(&mut self, change: Change, walk: &mut Walk) {
        let points = match change {
            Change::Points(points) => points,
            Change::AsListed => {
                match self.listed(To::Number, walk, 1).pop().and_then(|listed| listed.hit.value) {
                    Some(ListValue::Number(points)) => points,
                    _ => return,
                }
            }
        };
        let index = self.index;
        let marks = walk.known.marks_mut(self.scope());
        if !marks.reasons.iter().any(|reason| reason.rule == index) {
            marks.reasons.push(Reason { rule: index, points });
        }
    }

    /// Everything that changes the message and lets the rules go on.
    fn change(&mut self, action: &Action, walk: &mut Walk) -> bool {
        match action {
            Action::AddHeader(additions) => {
                for addition in additions {
                    let value = self.fill(&addition.value, walk);
                    let value = clean_line(&value, crate::reply::MAX_HEADER_BYTES);
                    let name = addition.name.clone();
                    self.effect(Effect::AddHeader { name, value, at_end: addition.at_end }, walk);
                }
                true
            }
            Action::Bcc(address) => self.effect(Effect::Bcc(address.clone()), walk),
            Action::ChangeHeader(changes) => {
                let mut changed = false;
                for (name, text) in changes {
                    changed |= self.change_header(name, text, walk);
                }
                changed
            }
            Action::ChangeSender(address) => self.effect(Effect::ChangeSender(address.clone()), walk),
            Action::Filter(target) => self.effect(Effect::Filter(target.clone()), walk),
            Action::Hold(text) => {
                let text = self.fill(text, walk);
                self.note_because(walk);
                self.effect(Effect::Hold(clean_line(&text, MAX_TEXT_BYTES)), walk)
            }
            Action::Log(text) => {
                let text = self.fill(text, walk);
                self.effect(Effect::Log(clean_line(&text, MAX_TEXT_BYTES)), walk)
            }
            Action::Redirect(address) => self.effect(Effect::Redirect(address.clone()), walk),
            Action::RemoveHeader(removals) => {
                for (name, pattern) in removals {
                    for (occurrence, value) in self.fields(name) {
                        let query = crate::lists::Query {
                            text: &value,
                            folded: &value.to_ascii_lowercase(),
                            ip: None,
                        };
                        if pattern.as_ref().is_none_or(|pattern| pattern.matches(&query)) {
                            self.effect(Effect::RemoveHeader { name: name.clone(), occurrence }, walk);
                        }
                    }
                }
                true
            }
            Action::RemoveMatched => {
                let cx = self.context(walk);
                let checks = self.rule.condition.certain();
                let lines: Vec<_> = checks.into_iter().flat_map(|check| check.lines(&cx)).collect();
                for (name, occurrence) in lines {
                    self.effect(Effect::RemoveHeader { name, occurrence }, walk);
                }
                true
            }
            Action::RemoveParts => self.change_parts(walk, |_, _, _| PartChange::Remove),
            Action::RenameParts(text) => self.change_parts(walk, |acting, walk, file| {
                let name = acting.fill_for(text, file, walk);
                PartChange::Rename(clean_line(&name, MAX_NAME_BYTES))
            }),
            Action::ReplaceBody(text) => {
                let text = self.fill(text, walk);
                self.effect(Effect::ReplaceBody(text), walk)
            }
            Action::ReplaceParts(text) => self.change_parts(walk, |acting, walk, file| {
                PartChange::Replace(acting.fill_for(text, file, walk))
            }),
            _ => false,
        }
    }

    fn change_header(&mut self, name: &str, text: &Template, walk: &mut Walk) -> bool {
        let fields = self.fields(name);
        for (occurrence, old) in &fields {
            let mut bindings = self.bindings(walk);
            bindings.push(("old".into(), old.clone()));
            let value = clean_line(&text.fill(self.ask.facts, &bindings), crate::reply::MAX_HEADER_BYTES);
            self.effect(Effect::ChangeHeader { name: name.to_owned(), occurrence: *occurrence, value }, walk);
        }
        !fields.is_empty()
    }

    /// Changes all parts that the rule's checks found, or, where one of them can't be,
    /// none.
    fn change_parts(
        &mut self,
        walk: &mut Walk,
        change: impl Fn(&mut Self, &Walk, &str) -> PartChange,
    ) -> bool {
        let cx = self.context(walk);
        let checks = self.rule.condition.certain();
        let mut parts: Vec<_> = checks.into_iter().flat_map(|check| check.parts(&cx)).collect();
        parts.sort_by_key(|(part, _)| *part);
        parts.dedup_by_key(|(part, _)| *part);
        let may_change = |part| match &self.ask.facts.message {
            Some(message) => message.may_change(part).is_ok(),
            None => false,
        };
        if parts.is_empty() || !parts.iter().all(|(part, _)| may_change(*part)) {
            return false;
        }
        for (part, file) in parts {
            let change = change(self, walk, &file);
            self.effect(Effect::ChangePart { part, file, change }, walk);
        }
        true
    }

    /// A text about one of several files.
    fn fill_for(&mut self, template: &Template, file: &str, walk: &Walk) -> String {
        let mut bindings = self.bindings(walk);
        bindings.iter_mut().filter(|(name, _)| name == "file").for_each(|(_, value)| file.clone_into(value));
        template.fill(self.ask.facts, &bindings)
    }

    /// The fields of a name with their number and value.
    fn fields(&self, name: &str) -> Vec<(u32, String)> {
        let Some(message) = &self.ask.facts.message else {
            return Vec::new();
        };
        message.headers().named(name).map(|field| (field.occurrence, field.unfolded().into_owned())).collect()
    }

    fn effect(&self, effect: Effect, walk: &mut Walk) -> bool {
        walk.verdict.effects.push(Done { rule: self.index, effect });
        true
    }

    fn refuse(&mut self, text: &ReplyText, walk: &mut Walk, refusal: fn(Reply) -> Refusal) -> (bool, After) {
        let reply = self.reply(text, walk);
        if self.doubtful {
            return self.end(Refusal::Defer(reply.temporary()), walk);
        }
        self.end(refusal(reply), walk)
    }

    /// The first reason counts, as in Postfix; a refusal behind it still wins.
    fn defer_if_permit(&mut self, text: &ReplyText, walk: &mut Walk) {
        if walk.verdict.refusal.is_none() {
            let reply = self.reply(text, walk);
            self.note_because(walk);
            walk.verdict.refusal = Some((self.index, Refusal::DeferIfPermit(reply)));
        }
    }

    fn end(&mut self, refusal: Refusal, walk: &mut Walk) -> (bool, After) {
        walk.because.clear();
        self.note_because(walk);
        walk.verdict.refusal = Some((self.index, refusal));
        (true, After::End)
    }

    fn note_because(&self, walk: &mut Walk) {
        if walk.because.is_empty() {
            walk.because = because(self.rule, &self.context(walk));
        }
    }

    fn context<'c>(&'c self, walk: &'c Walk) -> Context<'c> {
        let (facts, stage) = (self.ask.facts, self.ask.stage);
        let (answer, memory, lookups) = (self.answer, self.memory, Some(self.lookups));
        Context { facts, known: &walk.known, stage, answer, memory, lookups }
    }

    fn reply(&mut self, text: &ReplyText, walk: &Walk) -> Reply {
        let filled = self.fill(&text.text, walk);
        let filled = if text.text.mentions("id") { filled } else { with_id(&filled, self.ask.id) };
        Reply::new(text.code, text.enhanced, &filled)
    }

    fn fill(&mut self, template: &Template, walk: &Walk) -> String {
        if let Some(fixed) = template.as_fixed() {
            return fixed.to_owned();
        }
        let bindings = self.bindings(walk);
        template.fill(self.ask.facts, &bindings)
    }

    fn bindings(&mut self, walk: &Walk) -> Bindings {
        if let Some(bindings) = &self.bindings {
            return bindings.clone();
        }
        let cx = self.context(walk);
        let mut bindings = Vec::new();
        self.rule.condition.bind(&cx, &mut bindings);
        if let Some(limit) = &self.rule.limit {
            limit.rate.bind(&cx, &mut bindings);
        }
        if let Some(memory) = &self.rule.memory {
            memory.check.bind(&cx, &mut bindings);
        }
        let name =
            |reason: Reason| self.ask.policy.rules.get(reason.rule as usize).map(|rule| rule.name.as_str());
        let reasons: Vec<_> = walk.known.reasons().filter_map(name).collect();
        bindings.push(("id".into(), self.ask.id.to_owned()));
        bindings.push(("rule".into(), self.rule.name.clone()));
        bindings.push(("reasons".into(), reasons.join(", ")));
        bindings.push(("score".into(), show_score(walk.known.score())));
        self.bindings = Some(bindings.clone());
        bindings
    }

    /// The entries that the rule's checks matched in lists with such values.
    fn listed(&self, to: To, walk: &Walk, max: usize) -> Vec<ListedHit> {
        let cx = self.context(walk);
        let checks = self.rule.condition.certain();
        let asking =
            checks.into_iter().filter(|check| check.listed().iter().any(|list| list.to() == Some(to)));
        asking.flat_map(|check| check.hits(to, &cx, max)).collect()
    }

    /// What each matched line of a table says, until one ends.
    fn as_listed(&mut self, walk: &mut Walk) -> (bool, After) {
        let mut done = false;
        for listed in self.listed(To::Action, walk, MAX_LISTED_LINES) {
            let Some(ListValue::Action(action)) = &listed.hit.value else {
                continue;
            };
            let text = action.expand(&listed.hit.captures);
            let text = clean_line(&text, crate::reply::MAX_HEADER_BYTES);
            done = true;
            let codes = (action.code, action.enhanced);
            let after = self.table_line(action.verb, codes, &text, &listed.spot, walk);
            if after != After::GoOn {
                return (true, after);
            }
        }
        (done, After::GoOn)
    }

    fn table_line(
        &mut self,
        verb: Verb,
        (code, enhanced): (Option<u16>, Option<[u16; 3]>),
        text: &str,
        spot: &Spot,
        walk: &mut Walk,
    ) -> After {
        let reply = |default: (u16, [u16; 3])| {
            let shown =
                if text.is_empty() { format!("refused by rule {}", self.rule.name) } else { text.to_owned() };
            let code = code.unwrap_or(default.0);
            let enhanced = enhanced.unwrap_or(default.1);
            Reply::new(code, enhanced, &with_id(&shown, self.ask.id))
        };
        match verb {
            Verb::Accept => return After::EndFile,
            Verb::Reject => {
                // As cleanup(8) and smtpd(8) have it.
                let code = match (spot, enhanced) {
                    (Spot::Whole, _) => 554,
                    (_, Some([4, ..])) => 451,
                    _ => 550,
                };
                let reply = reply((code, [5, 7, 1]));
                let reply = if self.doubtful { reply.temporary() } else { reply };
                let refusal =
                    if reply.is_permanent() { Refusal::Reject(reply) } else { Refusal::Defer(reply) };
                return self.end(refusal, walk).1;
            }
            Verb::Defer => return self.end(Refusal::Defer(reply((450, [4, 7, 1]))), walk).1,
            Verb::Discard => return self.end(Refusal::Discard(text.to_owned()), walk).1,
            Verb::DeferIfPermit => {
                if walk.verdict.refusal.is_none() {
                    self.note_because(walk);
                    walk.verdict.refusal =
                        Some((self.index, Refusal::DeferIfPermit(reply((450, [4, 7, 1])))));
                }
            }
            Verb::Dunno => {}
            Verb::Bcc => drop(self.effect(Effect::Bcc(text.to_owned()), walk)),
            Verb::Filter => drop(self.effect(Effect::Filter(text.to_owned()), walk)),
            Verb::Redirect => drop(self.effect(Effect::Redirect(text.to_owned()), walk)),
            Verb::Hold => {
                self.note_because(walk);
                self.effect(Effect::Hold(text.to_owned()), walk);
            }
            Verb::Info | Verb::Warn => self.say_of("", spot, text, walk),
            Verb::Pass => {
                self.say_of("pass: ", spot, text, walk);
                return After::EndFile;
            }
            Verb::Prepend => {
                if let Some((name, value)) = header_of(text) {
                    self.effect(
                        match spot {
                            Spot::Field { place, .. } => Effect::InsertHeader { place: *place, name, value },
                            _ => Effect::AddHeader { name, value, at_end: false },
                        },
                        walk,
                    );
                }
            }
            Verb::Remove => self.remove_line(spot, walk),
            Verb::Replace => self.replace_line(spot, text, walk),
            Verb::Strip => {
                self.say_of("strip: ", spot, text, walk);
                self.remove_line(spot, walk);
            }
        }
        After::GoOn
    }

    /// What a table line that only speaks puts into the log.
    fn say_of(&self, what: &str, spot: &Spot, text: &str, walk: &mut Walk) {
        let line = match spot {
            Spot::BodyLine(line) => format!("body line `{line}`"),
            Spot::Field { name, .. } => format!("{name} line"),
            Spot::Whole => String::new(),
        };
        let shown = match (line.is_empty(), text.is_empty()) {
            (_, true) => line,
            (true, _) => text.to_owned(),
            _ => format!("{line}: {text}"),
        };
        self.effect(Effect::Log(clean_line(&format!("{what}{shown}"), MAX_TEXT_BYTES)), walk);
    }

    fn remove_line(&self, spot: &Spot, walk: &mut Walk) {
        if let Spot::Field { name, occurrence, .. } = spot {
            let (name, occurrence) = (name.clone(), *occurrence);
            self.effect(Effect::RemoveHeader { name, occurrence }, walk);
        }
    }

    fn replace_line(&self, spot: &Spot, text: &str, walk: &mut Walk) {
        let (Spot::Field { name, occurrence, place }, Some((new, value))) = (spot, header_of(text)) else {
            return;
        };
        if new.eq_ignore_ascii_case(name) {
            let occurrence = *occurrence;
            self.effect(Effect::ChangeHeader { name: new, occurrence, value }, walk);
            return;
        }
        // No milter can give a field another name.
        self.remove_line(spot, walk);
        self.effect(Effect::InsertHeader { place: *place, name: new, value }, walk);
    }
}

/// Name and value of a line.
fn header_of(text: &str) -> Option<(String, String)> {
    text.split_once(':').map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
}

/// The id stands at the end of a refusal, whatever has to be cut for it.
fn with_id(text: &str, id: &str) -> String {
    if id.is_empty() {
        return text.to_owned();
    }
    let room = MAX_TEXT_BYTES.saturating_sub(id.len() + 3);
    format!("{} [{id}]", clean_line(text, room))
}

/// Why a rule applies or does not.
pub(super) fn because(rule: &Rule, cx: &Context<'_>) -> String {
    let mut because = rule.condition.because(cx);
    let holds = rule.condition.evaluate(cx) != Truth::NoMatch;
    let limited = rule.limit.as_ref().map(|limit| limit.rate.because(cx));
    let limited = limited.or_else(|| rule.memory.as_ref().map(|memory| memory.check.because(cx)));
    if let Some(limited) = limited.filter(|_| holds) {
        because = if because.is_empty() { limited } else { format!("{because}, {limited}") };
    }
    if because.is_empty() { "it asks nothing".into() } else { because }
}
