//! `policy.d` → [`Policy`], or all the mistakes in it.
//!
//! A policy is immutable and shared; a reload makes a new one. Nothing here
//! knows sockets, sessions or the state of limits.

mod action;
mod condition;
mod derived;
mod lists;
mod load;
mod review;
mod rule;
mod template;
mod then;
mod trial;
mod zones;

pub use action::Action;
pub use action::Change;
pub use action::Listing;
pub use action::ReplyText;
pub use condition::Condition;
pub use derived::Derived;
pub use load::Loaded;
pub use load::Options;
pub use load::load;
pub use load::load_texts;
pub use template::Template;
pub use trial::Expected;
pub use trial::ExpectedText;
pub use trial::Given;
pub use trial::GivenFile;
pub use trial::Step;
pub use trial::Trial;

pub use action::reference;

use crate::checks::AnyCheck;
use crate::checks::Buckets;
use crate::checks::Rate;
use crate::facts::Fact;
use crate::facts::Scope;
use crate::facts::Stage;
use crate::facts::TagId;
use crate::lists::List;
use crate::lists::Registry;
use crate::message::Wants;
use crate::reputation::Kind;
use crate::reputation::Site;
use crate::yaml::Place;
use std::sync::Arc;

/// Everything that was loaded from `policy.d`.
#[derive(Debug, Default)]
pub struct Policy {
    /// Counts the loads of this process: 1 for the first.
    pub generation: u64,
    pub files: Vec<RuleFile>,
    /// In reading order.
    pub rules: Vec<Rule>,
    /// By stage, in reading order: what is run when.
    pub stages: [Vec<Section>; 6],
    pub lists: Registry,
    /// The names of tags, by [`TagId`].
    pub tags: Vec<String>,
    /// What the milter must be asked for.
    pub milter: MilterWants,
    /// Whether there is any difference between what is enforced and what is observed.
    pub observes: bool,
    /// The rules whose limits count events, such as a refused recipient.
    pub events: Vec<u32>,
    /// The attributes by which timed listings are asked.
    pub listed_by: Vec<Fact>,
    /// The rules that ask for hashes of files.
    hashing: Vec<u32>,
    /// Facts that are found out because the rules speak of them.
    pub derived: Derived,
}

/// What the loaded rules want of a message.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MilterWants {
    pub helo: bool,
    pub header: bool,
    pub body: bool,
    /// Whether any rule is asked at the end of a message.
    pub message: bool,
    /// What signatures need of both.
    pub signatures: bool,
    /// What must be found out of the body.
    pub content: Wants,
}

/// The rules of one file that are asked at one stage, in reading order.
#[derive(Debug)]
pub struct Section {
    pub file: usize,
    pub rules: Vec<u32>,
    /// Whether any of them is enforced.
    pub enforces: bool,
}

/// A rule file's own part.
#[derive(Debug)]
pub struct RuleFile {
    pub name: String,
    /// Holds for all of its rules.
    pub guard: Condition,
    /// The first file whose guard asks the same: it is answered once for both.
    pub same_guard: usize,
    /// Whether the guard may come to something else once a rule has marked.
    pub guard_reads_known: bool,
    /// Whether the guard may have to ask the world.
    pub guard_asks_world: bool,
    /// Whether it asks about a recipient without saying of how many.
    pub guard_asks_one_recipient: bool,
    /// Of the whole policy.
    pub trials: Vec<Trial>,
}

#[derive(Debug)]
pub struct Rule {
    pub name: String,
    pub why: Option<String>,
    /// Its file, by number.
    pub file: usize,
    pub place: Place,
    /// Without the file's guard and without the limit.
    pub condition: Condition,
    /// Asked last, and only if all else lets the rule apply.
    pub limit: Option<Limit>,
    /// The same, of what is remembered other than by tokens. A rule has one of both.
    pub memory: Option<Remembering>,
    pub actions: Vec<Action>,
    pub stage: Stage,
    /// What its own checks looked at: this is shown.
    pub scope: Scope,
    /// What its tags and points belong to, and for how long its answer holds:
    /// the scope, widened by what set the tags and points it reads.
    pub holds_for: Scope,
    pub mode: Mode,
    /// Switched off by the configuration: it is read, but never asked.
    pub disabled: bool,
    pub on_unknown: OnUnknown,
    /// Whether its answer may differ between what is enforced and what is observed.
    pub reads_known: bool,
    /// Whether its condition may have to ask the world.
    pub asks_world: bool,
    pub trials: Vec<Trial>,
}

impl Rule {
    /// `ends` or `goes on`.
    pub fn ends(&self) -> bool {
        self.actions.iter().any(Action::ends)
    }

    /// Asked again for every recipient: what it finds belongs to none but them.
    pub fn is_asked_each_time(&self) -> bool {
        self.limit.is_some() || self.memory.is_some() || self.holds_for == Scope::Recipient
    }
}

/// A rule's limit with the numbers of its counters, which a reload does not change.
#[derive(Clone, Debug)]
pub struct Limit {
    pub rate: Rate,
    pub buckets: Buckets,
    pub too_large: TooLarge,
}

/// A check that remembers, with the number under which it does.
#[derive(Clone, Debug)]
pub struct Remembering {
    pub check: AnyCheck,
    pub bucket: u32,
}

/// What is said to a mail that is larger than its limit could ever allow.
#[derive(Clone, Debug)]
pub struct TooLarge {
    pub reply: ReplyText,
    /// It was given: then it also takes the place of a `reject`.
    pub is_own: bool,
}

#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Mode {
    #[default]
    Enforce,
    /// Decides, logs and counts; lets the mail go on.
    Observe,
}

impl Mode {
    pub fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

/// What becomes of a rule whose condition can't be answered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OnUnknown {
    /// The mail waits: 4.4.3.
    Defer,
    /// As if it matched, but a `reject` is temporary.
    Match,
    #[default]
    Skip,
}

impl Policy {
    /// What must be found out of a message's body, with its lists as they are now: a
    /// list of bad files that has none yet costs nothing.
    pub fn wanted_now(&self) -> Wants {
        let mut wants = self.milter.content;
        if wants.content.hashes {
            let mut asks = false;
            let mut ask = |check: &AnyCheck| {
                // Nobody else asks for hashes.
                if let AnyCheck::Attachment(check) = check {
                    asks |= check.asks_hashes();
                }
            };
            for rule in self.hashing.iter().filter_map(|rule| self.rules.get(*rule as usize)) {
                rule.condition.each_check(&mut ask);
                self.files[rule.file].guard.each_check(&mut ask);
            }
            wants.content.hashes = asks;
        }
        wants
    }

    pub fn tag_name(&self, tag: TagId) -> &str {
        self.tags.get(usize::from(tag)).map(String::as_str).unwrap_or_default()
    }

    /// The policy as its own tests see it: every rule enforced.
    pub fn as_enforced(mut self) -> Self {
        self.rules.iter_mut().for_each(|rule| rule.mode = Mode::Enforce);
        self.stages.iter_mut().flatten().for_each(|section| section.enforces = true);
        self.observes = false;
        self
    }

    /// Each zone that a rule asks, with what it asks it for; one may be asked by several.
    pub fn each_site(&self, visit: &mut dyn FnMut(&Arc<Site>, Kind)) {
        for rule in self.rules.iter().filter(|rule| !rule.disabled) {
            let guard = self.files.get(rule.file).map(|file| &file.guard);
            for condition in guard.into_iter().chain([&rule.condition]) {
                condition.each_check(&mut |check| {
                    if let AnyCheck::Dnsbl(check) = check {
                        check.each_site(visit);
                    }
                });
            }
        }
    }

    /// Each list that a rule asks for in its `when`, or its file's.
    pub fn each_asked_list(&self, visit: &mut dyn FnMut(&Arc<List>)) {
        for rule in self.rules.iter().filter(|rule| !rule.disabled) {
            let guard = self.files.get(rule.file).map(|file| &file.guard);
            for condition in guard.into_iter().chain([&rule.condition]) {
                condition.each_positive(&mut |check| {
                    if let AnyCheck::Fact(check) = check {
                        check.lists().iter().for_each(&mut *visit);
                    }
                });
            }
        }
    }

    /// What `check --rules` prints: name, stage, what it belongs to, whether it
    /// ends, and its actions.
    pub fn table(&self) -> String {
        let width = self.rules.iter().map(|rule| rule.name.chars().count()).max().unwrap_or_default().max(26);
        let mut table = String::new();
        for rule in &self.rules {
            let actions: Vec<_> = rule.actions.iter().map(Action::word).collect();
            let ends = if rule.ends() { "ends" } else { "goes on" };
            table += &format!(
                "{:width$} {:8} {:10} {ends:7}  {}\n",
                rule.name,
                rule.stage.word(),
                rule.scope.word(),
                actions.join(", ")
            );
        }
        table
    }
}
