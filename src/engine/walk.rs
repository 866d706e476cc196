//! One pass over the rules, in one world. Pure: whatever must be asked of the
//! store is noted as a question, and the pass is made again once it is answered.

use super::Answers;
use super::Ask;
use super::FoundIn;
use super::Recall;
use super::World;
use super::act::Acting;
use super::memo::Asked;
use super::memo::For;
use super::memo::Once;
use crate::checks::Check as _;
use crate::checks::Context;
use crate::checks::Question;
use crate::checks::Truth;
use crate::facts::Known;
use crate::facts::Scope;
use crate::facts::Stage;
use crate::policy::Condition;
use crate::policy::Listing;
use crate::policy::Mode;
use crate::policy::OnUnknown;
use crate::policy::Remembering;
use crate::policy::Rule;
use crate::policy::RuleFile;
use crate::policy::Section;
use crate::state::Memory;
use crate::verdict::Verdict;

/// What a pass came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Walk {
    pub verdict: Verdict,
    pub known: Known,
    /// Rules whose limit would let the mail through, were nothing else in the way.
    pub passed: Vec<u32>,
    pub questions: Vec<(u32, Question)>,
    /// The same of what is remembered other than by tokens.
    pub memories: Vec<(u32, Memory)>,
    /// What rules put on a timed list: who, and which of its actions.
    pub listings: Vec<(u32, Listing)>,
    /// Answers that hold for the connection.
    pub connection: Asked,
    /// Answers that hold for the message.
    pub message: Asked,
    /// Rules that applied, with the word of their first action.
    pub hits: Vec<(u32, &'static str)>,
    /// Actions of these that could not be done.
    pub failed: Vec<(u32, &'static str)>,
    /// Of the rule that decided.
    pub because: String,
    pub unknown: u32,
    /// Of these, for want of an answer about the world.
    pub unanswered: u32,
    /// Whether a rule in observe applied, or could not be answered.
    pub observed: bool,
    pub trace: Vec<Trace>,
}

/// What became of one rule, for `explain`.
#[derive(Clone, Debug)]
pub struct Trace {
    pub rule: u32,
    pub stage: Stage,
    /// Of the file's guard, then of the rule itself.
    pub guard: Truth,
    pub truth: Truth,
    pub because: String,
}

/// How a rule of an earlier stage is to be treated.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Ask it and do what it says.
    Full,
    /// Ask it, but let it only mark.
    MarksOnly,
    /// It has had its turn.
    Skip,
}

pub(super) fn walk(ask: &Ask<'_>, world: World, recall: &Recall, answers: &Answers, once: &Once<'_>) -> Walk {
    let known = Known { listed: once.listed[world as usize].clone(), ..recall.known(world, ask.stage) };
    let mut walk = Walk {
        known,
        connection: recall.connection.within(world).asked.clone(),
        message: recall.message.within(world).asked.clone(),
        ..Walk::default()
    };
    let sections = Stage::ALL.into_iter().filter(|stage| *stage <= ask.stage);
    let sections = sections.flat_map(|stage| &ask.policy.stages[stage as usize]);
    // What is only observed has no part in the world of the enforced rules.
    let is_of_world = |section: &&Section| world == World::All || section.enforces || ask.only.is_some();
    let pass = Pass { ask, world, recall, answers, once };
    for section in sections.filter(is_of_world) {
        if let Next::Nothing = pass.section(section, &mut walk) {
            break;
        }
    }
    walk
}

/// What one pass is made with.
#[derive(Clone, Copy)]
struct Pass<'a> {
    ask: &'a Ask<'a>,
    world: World,
    recall: &'a Recall,
    answers: &'a Answers,
    once: &'a Once<'a>,
}

impl<'a> Pass<'a> {
    /// Asks the rules of one file; its guard is asked for the first of them that has a
    /// turn, and then no more than it has to be.
    fn section(&self, section: &Section, walk: &mut Walk) -> Next {
        let Self { ask, once, .. } = *self;
        let Some(file) = ask.policy.files.get(section.file) else {
            return Next::Rule;
        };
        let mut is_open = file.guard.is_empty();
        for &index in &section.rules {
            let Some(turn) = self.turn(index, file, walk) else {
                continue;
            };
            let guard = if is_open { For::Good(Truth::Match) } else { turn.guard(walk) };
            let guard = match guard {
                For::Good(guard) => guard,
                For::Now(missed) => {
                    once.lookups.want(missed);
                    continue;
                }
            };
            is_open = guard == Truth::Match && !file.guard_reads_known;
            match turn.take(walk, self.answers, guard) {
                Next::Rule => {}
                next => return next,
            }
        }
        Next::Rule
    }

    /// None: the rule is not asked.
    fn turn(&self, index: u32, file: &'a RuleFile, walk: &Walk) -> Option<Turn<'a>> {
        let Self { ask, world, once, .. } = *self;
        let rule = ask.policy.rules.get(index as usize)?;
        let asked_for = match ask.only {
            Some(only) => only == index,
            None => world == World::All || rule.mode == Mode::Enforce,
        };
        if !asked_for {
            return None;
        }
        let before = walk.earlier_answer(rule, index);
        let manner = manner(ask, rule, file, before, self.recall);
        (manner != Manner::Skip).then_some(Turn { ask, rule, file, index, before, manner, once })
    }
}

impl Walk {
    /// What it found out about the connection and the message. The marks are still told.
    pub(super) fn take_found(&mut self) -> [FoundIn; 2] {
        let connection =
            FoundIn { marks: self.known.connection.clone(), asked: std::mem::take(&mut self.connection) };
        let message = FoundIn { marks: self.known.message.clone(), asked: std::mem::take(&mut self.message) };
        [connection, message]
    }

    /// The answer that a rule of the connection or message has already given.
    fn earlier_answer(&self, rule: &Rule, index: u32) -> Option<Truth> {
        match rule.holds_for {
            _ if rule.is_asked_each_time() => None,
            Scope::Connection => self.connection.get(index),
            Scope::Message => self.message.get(index),
            Scope::Recipient => None,
        }
    }

    fn remember(&mut self, rule: &Rule, index: u32, truth: Truth) {
        match rule.holds_for {
            Scope::Connection => self.connection.set(index, truth),
            _ => self.message.set(index, truth),
        }
    }
}

fn manner(ask: &Ask<'_>, rule: &Rule, file: &RuleFile, before: Option<Truth>, recall: &Recall) -> Manner {
    if rule.stage == ask.stage {
        return Manner::Full;
    }
    let now_is_envelope = ask.stage <= Stage::Rcpt;
    if now_is_envelope {
        // What such a rule does is done to each recipient.
        return Manner::Full;
    }
    // From `data` on there is no single recipient any more; and a rule that was
    // not asked before, behind an `accept`, must not be asked now.
    if recall.through >= Some(rule.stage) {
        return Manner::Skip;
    }
    if before.is_some() || (rule.is_asked_each_time() && rule.stage <= Stage::Rcpt) {
        return Manner::Skip;
    }
    // Which recipient would its file's guard be asked about?
    if file.guard_asks_one_recipient && rule.stage <= Stage::Rcpt {
        return Manner::Skip;
    }
    if rule.stage >= Stage::Data || ask.decides_envelope { Manner::Full } else { Manner::MarksOnly }
}

enum Next {
    Rule,
    /// The rest of this file at this stage is done.
    File,
    Nothing,
}

/// One rule's turn.
struct Turn<'a> {
    ask: &'a Ask<'a>,
    rule: &'a Rule,
    file: &'a RuleFile,
    index: u32,
    before: Option<Truth>,
    manner: Manner,
    once: &'a Once<'a>,
}

impl Turn<'_> {
    fn take(&self, walk: &mut Walk, answers: &Answers, guard: Truth) -> Next {
        if guard == Truth::NoMatch {
            if self.ask.trace {
                self.trace(walk, guard, Truth::NoMatch, answers);
                return Next::Rule;
            }
            // Nothing happens before the file's next rule that could change its guard.
            return Next::File;
        }
        let truth = match self.before {
            Some(truth) => truth,
            None => match self.evaluate(walk, answers) {
                For::Good(truth) => truth,
                // The rules are asked again once it is found out.
                For::Now(missed) => {
                    self.once.lookups.want(missed);
                    return Next::Rule;
                }
            },
        };
        if self.ask.trace {
            self.trace(walk, guard, truth, answers);
        }
        // What the DNS did not say now it may say to the next mail.
        let lasts = truth != Truth::Unknown || !self.rule.asks_world;
        if self.before.is_none() && !self.rule.is_asked_each_time() && lasts {
            walk.remember(self.rule, self.index, truth);
        }
        let truth = truth.min(guard);
        walk.observed |= truth != Truth::NoMatch && self.rule.mode == Mode::Observe;
        match truth {
            Truth::NoMatch => Next::Rule,
            Truth::Match => self.act(walk, answers, false),
            Truth::Unknown => {
                walk.unknown += 1;
                walk.unanswered += u32::from(self.lacks_answer(walk));
                match self.rule.on_unknown {
                    OnUnknown::Skip => Next::Rule,
                    OnUnknown::Match => self.act(walk, answers, true),
                    OnUnknown::Defer if self.manner == Manner::Full => self.defer(walk),
                    OnUnknown::Defer => Next::Rule,
                }
            }
        }
    }

    fn guard(&self, walk: &Walk) -> For {
        let evaluate = || self.come_to(&self.file.guard, self.file.guard_asks_world, walk);
        match self.file.guard_reads_known {
            true => evaluate(),
            false => self.once.guard(self.file.same_guard, evaluate),
        }
    }

    /// Whether it, or its file's guard, is unknown because of something that nobody told.
    fn lacks_answer(&self, walk: &Walk) -> bool {
        let cx = self.context(walk);
        let own = (&self.rule.condition, self.rule.asks_world);
        [own, (&self.file.guard, self.file.guard_asks_world)].into_iter().any(|(condition, asks_world)| {
            asks_world && self.once.lookups.lacks(|| condition.evaluate(&cx) == Truth::Unknown)
        })
    }

    fn come_to(&self, condition: &Condition, asks_world: bool, walk: &Walk) -> For {
        let evaluate = || condition.evaluate(&self.context(walk));
        if asks_world { self.once.watched(evaluate) } else { For::Good(evaluate()) }
    }

    fn context<'c>(&'c self, walk: &'c Walk) -> Context<'c> {
        let lookups = Some(&self.once.lookups);
        Context { lookups, ..Context::new(self.ask.facts, &walk.known, self.ask.stage) }
    }

    /// With what the store has answered.
    fn answered<'c>(&'c self, walk: &'c Walk, answers: &'c Answers) -> Context<'c> {
        let (answer, memory) = (answers.of(self.index), answers.memory_of(self.index));
        Context { answer, memory, ..self.context(walk) }
    }

    /// The rule's own condition, and last its limit.
    fn evaluate(&self, walk: &mut Walk, answers: &Answers) -> For {
        let condition = || self.come_to(&self.rule.condition, self.rule.asks_world, walk);
        let came_to = match self.rule.reads_known {
            true => condition(),
            false => self.once.condition(self.index, condition),
        };
        match came_to {
            For::Good(truth) => self.counted(truth, walk, answers),
            now => now,
        }
    }

    /// What has memory is asked last.
    fn counted(&self, truth: Truth, walk: &mut Walk, answers: &Answers) -> For {
        if let Some(memory) = self.rule.memory.as_ref().filter(|_| truth != Truth::NoMatch) {
            return match self.remembered(memory, truth, walk, answers) {
                For::Good(remembered) => For::Good(truth.min(remembered)),
                now => now,
            };
        }
        let Some(limit) = self.rule.limit.as_ref().filter(|_| truth != Truth::NoMatch) else {
            return For::Good(truth);
        };
        let cx = self.answered(walk, answers);
        let limited = match cx.answer {
            Some(_) => limit.rate.evaluate(&cx),
            None => {
                let questions = limit.rate.questions(limit.buckets, &cx);
                walk.questions.extend(questions.map(|question| (self.index, question)));
                return For::Good(Truth::NoMatch);
            }
        };
        if truth == Truth::Match {
            walk.passed.push(self.index);
        }
        For::Good(truth.min(limited))
    }

    /// What a check says that remembers other than by tokens.
    fn remembered(&self, memory: &Remembering, truth: Truth, walk: &mut Walk, answers: &Answers) -> For {
        let cx = self.answered(walk, answers);
        if cx.memory.is_none() {
            // As what it is remembered may depend on the world.
            let ask = || memory.check.memory(memory.bucket, &cx);
            let (question, missed) = self.once.lookups.watch(ask);
            if !missed.is_empty() {
                return For::Now(missed);
            }
            walk.memories.extend(question.map(|question| (self.index, question)));
            return For::Good(Truth::NoMatch);
        }
        let remembered = memory.check.evaluate(&cx);
        if truth == Truth::Match {
            walk.passed.push(self.index);
        }
        For::Good(remembered)
    }

    fn act(&self, walk: &mut Walk, answers: &Answers, doubtful: bool) -> Next {
        let newly = self.before.is_none();
        let mut acting = Acting {
            ask: self.ask,
            rule: self.rule,
            index: self.index,
            answer: answers.of(self.index),
            memory: answers.memory_of(self.index),
            marks_only: self.manner == Manner::MarksOnly,
            doubtful,
            newly,
            lookups: &self.once.lookups,
            bindings: None,
        };
        let next = acting.all(walk);
        match next {
            super::act::After::GoOn => Next::Rule,
            super::act::After::EndFile => Next::File,
            super::act::After::End => Next::Nothing,
        }
    }

    /// It can't be answered, and its author would rather have the mail wait.
    fn defer(&self, walk: &mut Walk) -> Next {
        let text =
            format!("rule {} can't be answered now, try again later [{}]", self.rule.name, self.ask.id);
        let reply = crate::reply::Reply::new(451, [4, 4, 3], &text);
        walk.verdict.refusal = Some((self.index, crate::verdict::Refusal::Defer(reply)));
        walk.because = "its condition could not be answered".into();
        Next::Nothing
    }

    fn trace(&self, walk: &mut Walk, guard: Truth, truth: Truth, answers: &Answers) {
        let cx = self.answered(walk, answers);
        let because = if guard == Truth::NoMatch {
            format!("not for this file: {}", self.file.guard.because(&cx))
        } else {
            super::act::because(self.rule, &cx)
        };
        walk.trace.push(Trace {
            rule: self.index,
            stage: self.rule.stage,
            guard,
            truth: truth.min(guard),
            because,
        });
    }
}
