//! What checks have to ask the world about a mail, beyond its facts, and what they
//! were told.
//!
//! Evaluation waits for nobody: a check that misses an answer is unknown for now, and
//! what it missed is noted. Where the rule depends on it, the engine has it found out,
//! all that a stage needs at once, and asks the rules again. What was found out holds
//! as long as the session, so that nothing is asked twice, not by the other protocol
//! either.

use crate::auth::ArcChain;
use crate::auth::ArcResult;
use crate::auth::DkimResult;
use crate::auth::DkimSignature;
use crate::auth::SpfAnswer;
use crate::auth::SpfIdentity;
use crate::auth::SpfQuestion;
use crate::auth::SpfResult;
use crate::dns::Answer;
use crate::dns::Name;
use crate::dns::Question;
use crate::dns::Resolver;
use crate::reputation::Says;
use crate::reputation::Site;
use crate::reputation::SiteQuestion;
use std::cell::Cell;
use std::cell::RefCell;
use std::sync::Arc;

/// Answers kept of one session: a mail with a thousand recipients may ask about each.
const MAX_FOUND: usize = 1_000;

/// Questions of one decision; what is more stays unknown.
const MAX_WANTED: usize = 500;

/// One thing to be found out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// Who has forwarded the message.
    Arc,
    /// Who has signed the message.
    Dkim,
    Dns(Question),
    Site(SiteQuestion),
    Spf(SpfQuestion),
}

impl Lookup {
    fn is_of_message(&self) -> bool {
        match self {
            Self::Arc | Self::Dkim => true,
            Self::Dns(_) | Self::Site(_) => false,
            Self::Spf(question) => question.identity == SpfIdentity::MailFrom,
        }
    }
}

/// What was found out.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    Arc(Arc<ArcChain>),
    Dkim(Arc<[DkimSignature]>),
    Dns(Answer),
    Site(Says),
    Spf(Arc<SpfAnswer>),
}

impl Finding {
    /// What it says of who vouches for the mail: by which method, and the result.
    pub fn results(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Arc(chain) => vec![("arc", chain.result.word())],
            Self::Dkim(signatures) => {
                signatures.iter().map(|signature| ("dkim", signature.result.word())).collect()
            }
            Self::Spf(answer) => vec![("spf", answer.result.word())],
            Self::Dns(_) | Self::Site(_) => Vec::new(),
        }
    }

    /// Whether it says something, rather than that nobody could.
    fn is_known(&self) -> bool {
        match self {
            Self::Arc(chain) => chain.result != ArcResult::Temperror,
            Self::Dkim(signatures) => {
                !signatures.iter().any(|signature| signature.result == DkimResult::Temperror)
            }
            Self::Dns(answer) => answer.is_known(),
            Self::Site(says) => !matches!(says, Says::Unknown(_)),
            Self::Spf(answer) => answer.result != SpfResult::Temperror,
        }
    }
}

/// What is known of one session, kept from one decision to the next.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    found: Vec<(Lookup, Finding)>,
    given_up: Vec<Lookup>,
}

impl Findings {
    /// There is little of a message, and signatures can't be had from the cache.
    pub fn add(&mut self, lookup: Lookup, finding: Finding) {
        if self.found.len() < MAX_FOUND || lookup.is_of_message() {
            self.found.push((lookup, finding));
        }
    }

    /// Nobody answered in time: no further recipient waits for it.
    fn give_up(&mut self, lookup: Lookup) {
        if self.given_up.len() < MAX_WANTED && !self.given_up.contains(&lookup) {
            self.given_up.push(lookup);
        }
    }

    /// At the end of a message there is more time than for its envelope.
    pub fn try_again(&mut self) {
        self.given_up.clear();
    }

    /// Forgets what only one message was about, and what nobody would say: a session may
    /// last for hours. The rest is true of the next one as well, but must leave it room.
    pub fn end_transaction(&mut self) {
        self.given_up.clear();
        self.found.retain(|(lookup, finding)| !lookup.is_of_message() && finding.is_known());
        if self.found.len() > MAX_FOUND / 2 {
            self.found.clear();
        }
    }

    /// The same as `get`, for what is asked most, without a lookup made for it.
    fn site(&self, site: &Arc<Site>, key: &Name) -> Option<Says> {
        self.found.iter().find_map(|(known, finding)| match (known, finding) {
            (Lookup::Site(question), Finding::Site(says)) if question.is(site, key) => Some(*says),
            _ => None,
        })
    }

    fn get(&self, lookup: &Lookup) -> Option<&Finding> {
        self.found.iter().find(|(known, _)| known == lookup).map(|(_, finding)| finding)
    }
}

/// The answer of a check that a test gives: the check's name and words.
pub type Given = (&'static str, Vec<String>);

/// What the checks may ask while one decision is made.
#[derive(Debug)]
pub struct Lookups<'a> {
    resolver: &'a Resolver,
    given: &'a [Given],
    found: RefCell<Findings>,
    wanted: RefCell<Vec<Lookup>>,
    /// What was missed while somebody watched.
    missed: RefCell<Vec<Lookup>>,
    /// Nothing more will be found out: what is missing is unknown for good.
    is_over: Cell<bool>,
    /// Something was asked for that nobody told.
    lacked: Cell<bool>,
}

impl<'a> Lookups<'a> {
    pub fn new(resolver: &'a Resolver, given: &'a [Given], found: Findings) -> Self {
        let (wanted, missed) = (RefCell::default(), RefCell::default());
        let (is_over, lacked) = Default::default();
        Self { resolver, given, found: RefCell::new(found), wanted, missed, is_over, lacked }
    }

    /// What a test says that a check comes to.
    pub fn given(&self, check: &str) -> Option<&'a [String]> {
        let found = self.given.iter().find(|(name, _)| *name == check);
        found.map(|(_, words)| words.as_slice())
    }

    /// None: not known yet, or not any more.
    pub fn dns(&self, question: &Question) -> Option<Answer> {
        let lookup = Lookup::Dns(question.clone());
        let finding = self.find(lookup, || self.resolver.known(question).map(Finding::Dns))?;
        match finding {
            Finding::Dns(answer) => Some(answer),
            _ => None,
        }
    }

    /// The same for the chain of who forwarded the message.
    pub fn arc(&self) -> Option<Arc<ArcChain>> {
        match self.find(Lookup::Arc, || None)? {
            Finding::Arc(chain) => Some(chain),
            _ => None,
        }
    }

    /// The same for the signatures of the message.
    pub fn dkim(&self) -> Option<Arc<[DkimSignature]>> {
        match self.find(Lookup::Dkim, || None)? {
            Finding::Dkim(signatures) => Some(signatures),
            _ => None,
        }
    }

    /// The same for what SPF says.
    pub fn spf(&self, question: &SpfQuestion) -> Option<Arc<SpfAnswer>> {
        let at_once = || question.known(self.resolver).map(|answer| Finding::Spf(Arc::new(answer)));
        match self.find(Lookup::Spf(question.clone()), at_once)? {
            Finding::Spf(answer) => Some(answer),
            _ => None,
        }
    }

    /// What a zone says of a key; None as above.
    pub fn site(&self, site: &Arc<Site>, key: &Name) -> Option<Says> {
        let known = self.found.borrow().site(site, key).map(Finding::Site);
        let finding = match known {
            Some(finding) => self.told(finding),
            None => {
                let question = SiteQuestion { site: Arc::clone(site), key: key.clone() };
                let at_once = question.known(self.resolver).map(Finding::Site);
                self.first(Lookup::Site(question), at_once)?
            }
        };
        match finding {
            Finding::Site(says) => Some(says),
            _ => None,
        }
    }

    /// What is known of it, or can be known at once; else it is missed.
    fn find(&self, lookup: Lookup, at_once: impl FnOnce() -> Option<Finding>) -> Option<Finding> {
        let known = self.found.borrow().get(&lookup).cloned();
        match known {
            Some(finding) => Some(self.told(finding)),
            None => self.first(lookup, at_once()),
        }
    }

    /// The same for what has not been found out before.
    fn first(&self, lookup: Lookup, at_once: Option<Finding>) -> Option<Finding> {
        if let Some(finding) = at_once {
            self.found.borrow_mut().add(lookup, finding.clone());
            return Some(self.told(finding));
        }
        self.lacked.set(true);
        if !self.is_over.get() && !self.found.borrow().given_up.contains(&lookup) {
            self.missed.borrow_mut().push(lookup);
        }
        None
    }

    fn told(&self, finding: Finding) -> Finding {
        if !finding.is_known() {
            self.lacked.set(true);
        }
        finding
    }

    /// Whether this is so, and something was lacking for it.
    pub fn lacks(&self, is_so: impl FnOnce() -> bool) -> bool {
        self.lacked.set(false);
        is_so() && self.lacked.get()
    }

    /// What `ask` comes to, and the answers that it missed.
    pub fn watch<T>(&self, ask: impl FnOnce() -> T) -> (T, Vec<Lookup>) {
        self.missed.borrow_mut().clear();
        let came_to = ask();
        (came_to, self.missed.take())
    }

    /// Something depends on these.
    pub fn want(&self, missed: Vec<Lookup>) {
        let mut wanted = self.wanted.borrow_mut();
        for lookup in missed {
            if wanted.len() < MAX_WANTED && !wanted.contains(&lookup) {
                wanted.push(lookup);
            }
        }
    }

    /// What is to be found out before the rules are asked again.
    pub fn take_wanted(&self) -> Vec<Lookup> {
        self.wanted.take()
    }

    pub fn add(&self, lookup: Lookup, finding: Finding) {
        self.found.borrow_mut().add(lookup, finding);
    }

    /// These were not answered in time, unless they have been meanwhile.
    pub fn give_up(&self, asked: Vec<Lookup>) {
        let mut found = self.found.borrow_mut();
        for lookup in asked {
            if found.get(&lookup).is_some() {
                continue;
            }
            if let Lookup::Site(question) = &lookup {
                question.give_up();
            }
            found.give_up(lookup);
        }
    }

    /// From now on nothing is asked any more.
    pub fn end(&self) {
        self.is_over.set(true);
    }

    pub fn into_findings(self) -> Findings {
        self.found.into_inner()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Kind;
    use crate::dns::Zone;
    use crate::reputation::Health;
    use crate::reputation::Outcome;

    #[test]
    fn what_one_message_was_about_is_forgotten_with_it() {
        let of = |identity| {
            let (helo, sender) = ("a.test".to_owned(), "x@a.test".to_owned());
            SpfQuestion { ip: [192, 0, 2, 1].into(), identity, helo, sender }
        };
        let (helo, sender) = (of(SpfIdentity::Helo), of(SpfIdentity::MailFrom));
        let mut findings = Findings::default();
        for question in [&helo, &sender] {
            let answer = Arc::new(question.plain(SpfResult::Pass));
            findings.add(Lookup::Spf(question.clone()), Finding::Spf(answer));
        }
        let silent = Lookup::Dns(Question::new(Name::parse("a.example").unwrap(), Kind::A));
        findings.add(silent.clone(), Finding::Dns(Answer::Silent));
        findings.end_transaction();
        assert!(findings.get(&Lookup::Spf(helo)).is_some());
        assert!(findings.get(&Lookup::Spf(sender)).is_none());
        // It may be known by then.
        assert!(findings.get(&silent).is_none());
    }

    #[test]
    fn what_nobody_answered_in_time_is_not_waited_for_again_in_a_transaction() {
        let resolver = Resolver::default();
        let lookup = Lookup::Dns(Question::new(Name::parse("a.example").unwrap(), Kind::A));
        let lookups = Lookups::new(&resolver, &[], Findings::default());
        lookups.give_up(vec![lookup.clone()]);
        let findings = lookups.into_findings();
        let missed = |findings: &Findings| {
            let lookups = Lookups::new(&resolver, &[], findings.clone());
            let (found, missed) = lookups.watch(|| lookups.find(lookup.clone(), || None));
            assert!(found.is_none() && lookups.lacked.get());
            missed.len()
        };
        assert_eq!(missed(&findings), 0);
        for forget in [Findings::try_again, Findings::end_transaction] {
            let mut findings = findings.clone();
            forget(&mut findings);
            assert_eq!(missed(&findings), 1);
        }
    }

    #[test]
    fn what_a_zone_does_not_say_is_lacking_each_time_it_is_asked() {
        let site = Arc::new(Site::parse("bl.example").unwrap());
        let key = Name::parse("7.2.0.192").unwrap();
        for (says, lacks) in [("SERVFAIL", true), ("A 127.0.0.2", false)] {
            let zone = Zone::parse(&format!("7.2.0.192.bl.example {says}")).unwrap();
            let resolver = Resolver::of_zone(zone);
            let lookups = Lookups::new(&resolver, &[], Findings::default());
            for _ in 0..2 {
                assert_eq!(lookups.lacks(|| lookups.site(&site, &key).is_some()), lacks, "{says}");
            }
        }
    }

    #[test]
    fn a_zone_is_told_that_nobody_waits_for_it_any_more() {
        let site = Arc::new(Site::parse("bl.example").unwrap());
        let health = Arc::new(Health::default());
        site.adopt(&health);
        let question = SiteQuestion { site, key: Name::parse("7.2.0.192").unwrap() };
        let (found, silent) = (Lookup::Site(question.clone()), Lookup::Site(question));
        let resolver = Resolver::default();
        let lookups = Lookups::new(&resolver, &[], Findings::default());
        lookups.give_up(vec![silent]);
        assert_eq!(health.counted(Outcome::Unknown), 1);
        // One that has answered at last.
        lookups.add(found.clone(), Finding::Site(Says::NotListed));
        lookups.give_up(vec![found]);
        assert_eq!(health.counted(Outcome::Unknown), 1);
    }

    #[test]
    fn many_recipients_leave_room_for_what_the_message_is_about() {
        let mut findings = Findings::default();
        for number in 0..=MAX_FOUND {
            let name = Name::parse(&format!("n{number}.example")).unwrap();
            findings.add(Lookup::Dns(Question::new(name, Kind::A)), Finding::Dns(Answer::Silent));
        }
        assert_eq!(findings.found.len(), MAX_FOUND);
        findings.add(Lookup::Dkim, Finding::Dkim(Arc::new([])));
        assert!(findings.get(&Lookup::Dkim).is_some());
    }

    #[test]
    fn an_answer_that_is_missed_is_wanted_once() {
        let (resolver, given) = (Resolver::default(), [("spf", vec!["fail".to_owned()])]);
        let lookups = Lookups::new(&resolver, &given, Findings::default());
        let lookup = Lookup::Dns(Question::new(Name::parse("a.example").unwrap(), Kind::A));
        let miss = || lookups.find(lookup.clone(), || None);
        for _ in 0..2 {
            let (answer, missed) = lookups.watch(miss);
            assert_eq!((answer, missed.as_slice()), (None, std::slice::from_ref(&lookup)));
            lookups.want(missed);
        }
        assert_eq!(lookups.watch(|| ()), ((), Vec::new()));
        assert_eq!(lookups.take_wanted(), std::slice::from_ref(&lookup));
        lookups.end();
        assert_eq!(lookups.watch(miss), (None, Vec::new()));
        lookups.add(lookup.clone(), Finding::Dns(Answer::Silent));
        assert_eq!(miss(), Some(Finding::Dns(Answer::Silent)));
        assert!(lookups.lacks(|| miss().is_some()));
        assert!(!lookups.lacks(|| miss().is_none()));
        assert!(!lookups.lacks(|| true));
        assert_eq!(lookups.given("spf"), Some(&["fail".to_owned()][..]));
        assert_eq!(lookups.given("dkim"), None);
    }
}
