//! The registry: every check that a rule may name.
//!
//! To add a check, write its file beside this one and add a line to `mod` and a
//! line to `checks!`. A test reports what was forgotten.
//!
//! A check has two phases. What it needs beyond the facts it says as a
//! [`Question`]; the engine has it answered; then evaluation is pure. So the
//! questions of a stage are asked together, and `explain` and the rules' own
//! tests need no network.

mod ambiguous_mime;
mod arc;
mod attachment;
mod authentication_results;
mod body;
mod client_fcrdns;
mod distinct;
mod dkim;
mod dmarc;
mod dnsbl;
mod dynamic_name;
mod fact;
mod forged_headers;
mod from_matches_login;
mod greylist;
mod header;
mod helo;
mod limit;
mod listed;
mod own_domain;
mod rate;
mod score;
mod spf;
mod tag;
mod time;

pub use ambiguous_mime::AmbiguousMime;
pub use arc::Arc as ArcCheck;
pub use attachment::Attachment;
pub use authentication_results::AuthenticationResults;
pub use body::Body;
pub use client_fcrdns::ClientFcrdns;
pub use distinct::Distinct;
pub use dkim::Dkim;
pub use dmarc::Dmarc;
pub use dnsbl::Dnsbl;
pub use dynamic_name::DynamicName;
pub use fact::FactCheck;
pub use forged_headers::ForgedHeaders;
pub use from_matches_login::FromMatchesLogin;
pub use greylist::Greylist;
pub use greylist::pool_of;
pub use header::Header;
pub use helo::Helo;
pub use listed::Listed;
pub use own_domain::OwnDomain;
pub use rate::Rate;
pub use score::Score;
pub use score::show_score;
pub use spf::Spf;
pub use tag::Tag;
pub use time::Time;

use crate::auth::ArcChain;
use crate::auth::DkimSignature;
use crate::auth::SpfAnswer;
use crate::auth::SpfQuestion;
use crate::dns;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Known;
use crate::facts::Scope;
use crate::facts::Stage;
use crate::facts::TagId;
use crate::lists::Hit;
use crate::lists::List;
use crate::lists::ListValue;
use crate::lists::To;
use crate::lists::Verb;
use crate::lookup::Lookups;
use crate::message::DKIM_SIGNATURE;
use crate::message::Wants;
use crate::near::did_you_mean;
use crate::reputation::Says;
use crate::reputation::Site;
use crate::state::Answer;
use crate::state::Memory;
use crate::state::Remembered;
use crate::values::Loader;
use crate::yaml::Entry;
use crate::yaml::Node;
use ipnet::IpNet;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// What a condition came to. Three-valued: all is the least, any the greatest,
/// `not` swaps.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Truth {
    NoMatch,
    /// Something that was asked could not be answered.
    Unknown,
    Match,
}

impl Truth {
    pub fn word(self) -> &'static str {
        match self {
            Self::Match => "match",
            Self::NoMatch => "no match",
            Self::Unknown => "unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Match } else { Self::NoMatch }
    }
}

impl std::ops::Not for Truth {
    type Output = Self;

    fn not(self) -> Self {
        match self {
            Self::Match => Self::NoMatch,
            Self::NoMatch => Self::Match,
            Self::Unknown => Self::Unknown,
        }
    }
}

/// What a check may look at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub facts: &'a Facts,
    pub known: &'a Known,
    /// The stage that is being decided: from `data` on there are several recipients.
    pub stage: Stage,
    /// This rule's [`Question`] with its answer; of several the one that decides.
    /// None while none was asked.
    pub answer: Option<(&'a Question, &'a Answered)>,
    /// The same for what is remembered other than by tokens; an answer of None: the
    /// store did not answer in time.
    pub memory: Option<(&'a Memory, Option<Remembered>)>,
    /// What must be asked of the world; None where nothing can be.
    pub lookups: Option<&'a Lookups<'a>>,
}

impl<'a> Context<'a> {
    /// While nothing was asked of the store, and nothing can be asked of the world.
    pub fn new(facts: &'a Facts, known: &'a Known, stage: Stage) -> Self {
        Self { facts, known, stage, answer: None, memory: None, lookups: None }
    }

    /// The answer of the DNS; None: it is still to come, or never will.
    pub fn dns(&self, question: &dns::Question) -> Option<dns::Answer> {
        self.lookups?.dns(question)
    }

    /// The same for who has forwarded the message.
    pub fn arc(&self) -> Option<Arc<ArcChain>> {
        let signed = self.facts.message.as_ref()?.signed()?;
        if !ArcChain::may_be_in(signed) {
            return Some(Arc::new(ArcChain::NONE));
        }
        self.lookups?.arc()
    }

    /// The same for who has signed the message.
    pub fn dkim(&self) -> Option<Arc<[DkimSignature]>> {
        let signed = self.facts.message.as_ref()?.signed()?;
        if signed.named(DKIM_SIGNATURE).next().is_none() {
            return Some(Arc::new([]));
        }
        self.lookups?.dkim()
    }

    /// The same for what SPF says.
    pub fn spf(&self, question: &SpfQuestion) -> Option<Arc<SpfAnswer>> {
        self.lookups?.spf(question)
    }

    /// What a zone says of a key; None as above.
    pub fn site(&self, site: &Arc<Site>, key: &dns::Name) -> Option<Says> {
        self.lookups?.site(site, key)
    }

    /// The words that a test gives as what a check comes to.
    pub fn given(&self, check: &str) -> Option<&'a [String]> {
        self.lookups?.given(check)
    }

    /// The same of a check that says yes or no.
    pub fn given_truth(&self, check: &str) -> Option<Truth> {
        Some(match self.given(check)?.first().map(String::as_str) {
            Some("true") => Truth::Match,
            Some("false") => Truth::NoMatch,
            _ => Truth::Unknown,
        })
    }
}

/// What a test may give as the answer of a check that is computed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Giveable {
    /// It follows from what else is given.
    Nothing,
    /// `true` or `false`.
    YesNo,
    /// Some of these.
    Words(&'static [&'static str]),
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Answered {
    /// The store did not answer in time.
    Unknown,
    Said(Answer),
}

impl Answered {
    /// Of two answers about one mail the graver decides: what refuses for longest,
    /// then what is not known, then the fullest.
    pub fn is_graver(&self, other: &Self) -> bool {
        let rank = |answered: &Self| match answered {
            Self::Said(answer) if !answer.allowed => (2, answer.never, answer.retry_after),
            Self::Said(_) => (0, false, Duration::ZERO),
            Self::Unknown => (1, false, Duration::ZERO),
        };
        match (rank(self).cmp(&rank(other)), self, other) {
            (Ordering::Equal, Self::Said(one), Self::Said(another)) => {
                u128::from(one.used) * u128::from(another.window.capacity())
                    > u128::from(another.used) * u128::from(one.window.capacity())
            }
            (order, ..) => order.is_gt(),
        }
    }
}

/// Under which numbers of the policy a rule counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Buckets {
    pub own: u32,
    /// Apart, so that no stranger can spell a customer's name.
    pub parents: u32,
}

/// What a check with memory wants to know of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Which counters, by number within the policy.
    pub bucket: u32,
    /// 0 for the rule's own key, above that its parents.
    pub level: u8,
    pub key: String,
    /// A wider key to share when the table is full.
    pub coarse: Option<IpNet>,
    pub limits: Arc<crate::state::Limits>,
    pub n: u64,
    pub count: Count,
}

/// How many of several recipients must fit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Quantifier {
    Every,
    Some,
}

impl Quantifier {
    /// Takes `every:` or `some:` off a value.
    fn split<'n>(node: &'n Node, name: &str, cx: &mut Loader<'_>) -> (&'n Node, Option<Self>) {
        for (word, meant) in [("every", Self::Every), ("some", Self::Some)] {
            if let Some(inner) = node.get(word) {
                cx.only_keys(node.as_map().unwrap_or_default(), &[word], name);
                return (inner, Some(meant));
            }
        }
        (node, None)
    }

    /// A mail without recipients fits neither.
    fn holds(self, mut each: impl Iterator<Item = bool>) -> bool {
        match self {
            Self::Every => each.next().is_some_and(|first| first && each.all(|fits| fits)),
            Self::Some => each.any(|fits| fits),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Every => "every",
            Self::Some => "some",
        }
    }
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Count {
    Bytes,
    Connections,
    Messages,
    /// Transactions that were given up before DATA.
    Probes,
    Recipients,
    /// Recipients that were refused, by whomever.
    Refused,
    /// Of these the ones that don't exist.
    UnknownUsers,
}

impl Count {
    pub fn word(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Connections => "connections",
            Self::Messages => "messages",
            Self::Probes => "probes",
            Self::Recipients => "recipients",
            Self::Refused => "refused",
            Self::UnknownUsers => "unknown_users",
        }
    }

    /// Counted when it happens, whatever becomes of the mail: a rule only looks how
    /// often it has. All else is counted by the rule that lets it through.
    pub fn is_event(self) -> bool {
        matches!(self, Self::Probes | Self::Refused | Self::UnknownUsers)
    }

    /// When there begins to be something to count.
    pub fn stage(self) -> Stage {
        match self {
            // Of events it is earlier mail's that are looked at.
            Self::Connections | Self::Probes | Self::Refused | Self::UnknownUsers => Stage::Connect,
            Self::Bytes | Self::Messages => Stage::Mail,
            Self::Recipients => Stage::Rcpt,
        }
    }
}

/// What a check says of itself when it has been read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Needs {
    pub stage: Stage,
    pub scope: Scope,
    /// The milter must be given the header.
    pub header: bool,
    /// The milter must be given the whole body.
    pub body: bool,
    /// What of it must be found out.
    pub message: Wants,
}

impl Needs {
    pub fn of(fact: Fact) -> Self {
        let info = fact.info();
        Self {
            stage: info.stage,
            scope: info.scope,
            header: matches!(
                fact,
                Fact::HeaderCount | Fact::HeaderSize | Fact::OriginCountry | Fact::OriginIp | Fact::Size
            ),
            body: fact == Fact::Size,
            message: Wants::NOTHING,
        }
    }

    /// To be asked once all of these are known, each time anew: it belongs to none of them.
    pub fn stage_of(facts: impl IntoIterator<Item = Fact>) -> Self {
        let all = facts.into_iter().map(Self::of).fold(Self::default(), Self::join);
        Self { scope: Scope::default(), ..all }
    }

    /// Of what the whole message says, and those who signed it.
    pub fn of_signatures() -> Self {
        let (stage, scope) = (Stage::Message, Scope::Message);
        Self { stage, scope, header: true, body: true, message: Wants::NOTHING }
    }

    /// Of what stands in the message.
    pub fn of_message(message: Wants) -> Self {
        let (stage, scope) = (Stage::Message, Scope::Message);
        Self { stage, scope, header: true, body: message.any(), message }
    }

    pub fn join(self, other: Self) -> Self {
        Self {
            stage: self.stage.max(other.stage),
            scope: self.scope.max(other.scope),
            header: self.header || other.header,
            body: self.body || other.body,
            message: self.message.join(other.message),
        }
    }
}

/// An entry of a list that was matched, for `as_listed`.
#[derive(Clone, Debug)]
pub struct ListedHit {
    pub hit: Hit,
    pub spot: Spot,
}

/// Where the text stands that is listed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Spot {
    /// With its beginning.
    BodyLine(String),
    /// A header line: its name, which of that name, and which of all, from 1.
    Field { name: String, occurrence: u32, place: u32 },
    /// It is no line of several.
    Whole,
}

/// What lists say of one line after the other. A table speaks until it ends; what goes on
/// is not lost behind lines that a stranger has put in front, and what is only said is
/// said so many times.
#[derive(Debug)]
pub struct ListedLines {
    pub hits: Vec<ListedHit>,
    is_table: bool,
    max: usize,
    said: usize,
    done: HashSet<String>,
}

impl ListedLines {
    pub fn new(to: Option<To>, max: usize) -> Self {
        let is_table = to == Some(To::Action);
        Self { hits: Vec::new(), is_table, max, said: 0, done: HashSet::new() }
    }

    /// Whether the lines below are asked too.
    pub fn add(&mut self, listed: ListedHit) -> bool {
        let verb = match &listed.hit.value {
            Some(ListValue::Action(action)) if self.is_table => action.verb,
            _ => {
                self.hits.push(listed);
                return self.hits.len() < self.max;
            }
        };
        let (is_wanted, goes_on) = match verb {
            // OK is DUNNO where there is one line after the other: header_checks(5).
            Verb::Accept | Verb::Dunno => (false, true),
            Verb::Defer | Verb::Discard | Verb::Pass | Verb::Reject => (true, false),
            // Once is enough for the whole message.
            Verb::Bcc | Verb::DeferIfPermit | Verb::Filter | Verb::Hold | Verb::Redirect => {
                (self.done.insert(listed.hit.entry.clone()), true)
            }
            // As many as there are fields, which is bounded.
            Verb::Remove | Verb::Replace | Verb::Strip if matches!(listed.spot, Spot::Field { .. }) => {
                (true, true)
            }
            Verb::Info | Verb::Prepend | Verb::Remove | Verb::Replace | Verb::Strip | Verb::Warn => {
                self.said += 1;
                (self.said <= self.max, true)
            }
        };
        if is_wanted {
            self.hits.push(listed);
        }
        goes_on
    }
}

/// Names and values for a rule's texts.
pub type Bindings = Vec<(String, String)>;

/// One check of a rule: its configuration, ready to be asked any number of times.
pub trait Check: Sized {
    /// The options that stand below its name, for hints and documents.
    const OPTIONS: &'static [&'static str];

    /// Whether it may be written as a word alone.
    const MAY_STAND_BARE: bool = false;

    /// What a test may give as its answer, beside `unknown`.
    const GIVEABLE: Giveable = Giveable::Nothing;

    /// What stands behind its page: a table of its words.
    const TABLE: fn() -> String = String::new;

    /// Reads the value below the check's name; None after a mistake was told.
    fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self>;

    fn needs(&self) -> Needs;

    fn evaluate(&self, cx: &Context<'_>) -> Truth;

    /// What was found, in a few words; rendered only when somebody reads it.
    fn because(&self, cx: &Context<'_>) -> String;

    /// The names it gives to the rule's texts when it matches.
    fn variables(&self) -> Vec<String> {
        Vec::new()
    }

    /// The values of these, for a match.
    fn bind(&self, _cx: &Context<'_>, _bindings: &mut Bindings) {}
}

/// One row of the reference documentation.
#[derive(Debug)]
pub struct CheckInfo {
    pub name: &'static str,
    pub options: &'static [&'static str],
    pub may_stand_bare: bool,
    pub giveable: Giveable,
    table: fn() -> String,
    source: &'static str,
}

impl CheckInfo {
    /// The `//!` header of the check's own file, as Markdown.
    pub fn docs(&self) -> String {
        self.source
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .map(|line| line.strip_prefix(' ').unwrap_or(line))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

macro_rules! checks {
    ($($module:ident => $type:ident,)+) => {
        /// A check as a rule has it.
        #[derive(Clone, Debug)]
        pub enum AnyCheck {
            /// A fact is asked by its own name.
            Fact(FactCheck),
            $($type($type),)+
        }

        /// Every check with a name of its own, in the order of the documents.
        pub const REGISTRY: &[CheckInfo] = &[
            $(CheckInfo {
                name: stringify!($module),
                options: <$type as Check>::OPTIONS,
                may_stand_bare: <$type as Check>::MAY_STAND_BARE,
                giveable: <$type as Check>::GIVEABLE,
                table: <$type as Check>::TABLE,
                source: include_str!(concat!(stringify!($module), ".rs")),
            },)+
        ];

        impl AnyCheck {
            /// Reads one entry of a rule's conditions.
            pub fn parse(entry: &Entry, cx: &mut Loader<'_>) -> Option<Self> {
                match entry.key.as_str() {
                    $(stringify!($module) => $type::parse(entry, cx).map(Self::$type),)+
                    name if Fact::named(name).is_some() => FactCheck::parse(entry, cx).map(Self::Fact),
                    name => {
                        cx.mistake(entry.key_place, unknown_check(name));
                        None
                    }
                }
            }

            /// Its name in rules, documents and metrics.
            pub fn name(&self) -> &'static str {
                match self {
                    Self::Fact(check) => check.fact.name(),
                    $(Self::$type(_) => stringify!($module),)+
                }
            }

            pub fn needs(&self) -> Needs {
                match self {
                    Self::Fact(check) => check.needs(),
                    $(Self::$type(check) => check.needs(),)+
                }
            }

            pub fn evaluate(&self, cx: &Context<'_>) -> Truth {
                match self {
                    Self::Fact(check) => check.evaluate(cx),
                    $(Self::$type(check) => check.evaluate(cx),)+
                }
            }

            pub fn because(&self, cx: &Context<'_>) -> String {
                match self {
                    Self::Fact(check) => check.because(cx),
                    $(Self::$type(check) => check.because(cx),)+
                }
            }

            pub fn variables(&self) -> Vec<String> {
                match self {
                    Self::Fact(check) => check.variables(),
                    $(Self::$type(check) => check.variables(),)+
                }
            }

            pub fn bind(&self, cx: &Context<'_>, bindings: &mut Bindings) {
                match self {
                    Self::Fact(check) => check.bind(cx, bindings),
                    $(Self::$type(check) => check.bind(cx, bindings),)+
                }
            }
        }
    };
}

checks! {
    ambiguous_mime => AmbiguousMime,
    arc => ArcCheck,
    attachment => Attachment,
    authentication_results => AuthenticationResults,
    body => Body,
    client_fcrdns => ClientFcrdns,
    distinct => Distinct,
    dkim => Dkim,
    dmarc => Dmarc,
    dnsbl => Dnsbl,
    dynamic_name => DynamicName,
    forged_headers => ForgedHeaders,
    from_matches_login => FromMatchesLogin,
    greylist => Greylist,
    header => Header,
    helo => Helo,
    listed => Listed,
    own_domain => OwnDomain,
    rate => Rate,
    score => Score,
    spf => Spf,
    tag => Tag,
    time => Time,
}

impl AnyCheck {
    /// Checks with memory are asked last, and only if all else lets the rule apply.
    pub fn has_memory(&self) -> bool {
        matches!(self, Self::Distinct(_) | Self::Greylist(_) | Self::Rate(_))
    }

    pub fn as_rate(&self) -> Option<&Rate> {
        match self {
            Self::Rate(rate) => Some(rate),
            _ => None,
        }
    }

    /// What is to be asked of the store beside limits, if this mail has it.
    pub fn memory(&self, bucket: u32, cx: &Context<'_>) -> Option<Memory> {
        match self {
            Self::Distinct(check) => check.question(bucket, cx),
            Self::Greylist(check) => check.question(bucket, cx),
            _ => None,
        }
    }

    /// Whether what the mail says and what the store has answered is enough for it. What
    /// is not named here is taken to miss answers of the world, and watched.
    pub fn asks_nobody(&self) -> bool {
        match self {
            Self::Helo(check) => !check.asks_dns(),
            check => matches!(
                check,
                Self::AmbiguousMime(_)
                    | Self::Attachment(_)
                    | Self::Body(_)
                    | Self::Distinct(_)
                    | Self::DynamicName(_)
                    | Self::Fact(_)
                    | Self::ForgedHeaders(_)
                    | Self::FromMatchesLogin(_)
                    | Self::Greylist(_)
                    | Self::Header(_)
                    | Self::Listed(_)
                    | Self::OwnDomain(_)
                    | Self::Rate(_)
                    | Self::Score(_)
                    | Self::Tag(_)
                    | Self::Time(_)
            ),
        }
    }

    /// Whether of header and body what signatures need must be kept.
    pub fn needs_signatures(&self) -> bool {
        matches!(self, Self::ArcCheck(_) | Self::AuthenticationResults(_) | Self::Dkim(_) | Self::Dmarc(_))
    }

    /// Whether its answer may differ between what is enforced and what is observed.
    pub fn reads_known(&self) -> bool {
        matches!(self, Self::Listed(_) | Self::Score(_) | Self::Tag(_))
    }

    /// Which other facts its values are compared with or looked up by, or its
    /// key is made of.
    pub fn reads(&self) -> Vec<Fact> {
        match self {
            Self::ArcCheck(check) => check.reads(),
            Self::Attachment(check) => check.reads(),
            Self::AuthenticationResults(_) => authentication_results::READS.to_vec(),
            Self::Body(check) => check.reads(),
            Self::ClientFcrdns(check) => check.reads(),
            Self::Dkim(check) => check.reads(),
            Self::Dmarc(_) => dmarc::READS.to_vec(),
            Self::Distinct(check) => check.reads(),
            Self::Dnsbl(check) => check.reads(),
            Self::ForgedHeaders(check) => check.reads(),
            Self::Greylist(check) => check.reads(),
            Self::Fact(check) => check.reads(),
            Self::Header(check) => check.reads(),
            Self::Listed(check) => vec![check.key],
            Self::Rate(check) => check.reads(),
            Self::Score(check) => check.reads(),
            Self::Spf(check) => check.reads(),
            Self::AmbiguousMime(_)
            | Self::DynamicName(_)
            | Self::FromMatchesLogin(_)
            | Self::Helo(_)
            | Self::OwnDomain(_)
            | Self::Tag(_)
            | Self::Time(_) => Vec::new(),
        }
    }

    /// The tags it asks for.
    pub fn tags(&self) -> &[TagId] {
        match self {
            Self::Tag(tag) => &tag.tags,
            _ => &[],
        }
    }

    /// The lists whose matched line a rule's `as_listed` may mean, with what they
    /// are asked.
    pub fn listed(&self) -> Vec<Arc<List>> {
        match self {
            Self::Fact(check) => check.lists(),
            Self::Header(check) => check.lists(),
            Self::Attachment(check) => check.lists(),
            Self::Body(check) => check.lists(),
            _ => Vec::new(),
        }
    }

    /// Whether it finds header fields for `remove_header: matched`.
    pub fn finds_lines(&self) -> bool {
        matches!(self, Self::ForgedHeaders(_))
    }

    /// Whether it finds parts for `remove_parts` and its like.
    pub fn finds_parts(&self) -> bool {
        matches!(self, Self::Attachment(_))
    }

    /// Each part that it found, or found something in, with the name of the file.
    pub fn parts(&self, cx: &Context<'_>) -> Vec<(u32, String)> {
        match self {
            Self::Attachment(check) => check.parts(cx),
            _ => Vec::new(),
        }
    }

    /// Name and number of each header field that it found.
    pub fn lines(&self, cx: &Context<'_>) -> Vec<(String, u32)> {
        match self {
            Self::ForgedHeaders(check) => check.lines(cx),
            _ => Vec::new(),
        }
    }

    /// The entries that this check matched, of lists with such values: of a
    /// header or body each line that is listed ([`ListedLines`]), of several recipients
    /// one each, up to `max`; else one at most.
    pub fn hits(&self, to: To, cx: &Context<'_>, max: usize) -> Vec<ListedHit> {
        let whole = |hit: Hit| ListedHit { hit, spot: Spot::Whole };
        match self {
            Self::Fact(check) => check.hits(to, cx, max).into_iter().map(whole).collect(),
            Self::Body(check) => check.hits(to, cx, max),
            Self::Header(check) => check.lines(Some(to), cx, max),
            Self::Attachment(check) => check.hit(to, cx).map(whole).into_iter().collect(),
            _ => Vec::new(),
        }
    }
}

fn unknown_check(name: &str) -> String {
    let known = REGISTRY.iter().map(|info| info.name).chain(Fact::all().map(Fact::name));
    let hint = did_you_mean(name, known);
    if !hint.is_empty() {
        return format!("no check `{name}`{hint}");
    }
    if REGISTRY.iter().any(|info| info.options.contains(&name)) {
        return format!("no check `{name}`; `{name}` is an option: indent it below its check");
    }
    format!("no check `{name}`")
}

/// The reference page of checks.
pub fn reference() -> String {
    let mut page = String::from(
        "# Checks\n\nWritten by `UPDATE=1 cargo test --test tidy`.\n\n\
         Conditions that need more than a fact. A fact (`docs/facts.md`) is asked by its own name, with the\n\
         values described in `docs/policy.md`.\n",
    );
    for info in REGISTRY {
        let docs = info.docs().replace("\n# ", "\n### ").replacen("# ", "### ", 1);
        page += &format!("\n## `{}`\n\n{docs}\n", info.name);
        let table = (info.table)();
        if !table.is_empty() {
            page += &format!("\n{table}");
        }
    }
    page
}

#[cfg(test)]
mod testing;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs;

    #[test]
    fn every_file_is_registered_and_documented() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/checks");
        let files: BTreeSet<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .filter(|stem| !matches!(stem.as_str(), "mod" | "testing" | "fact" | "limit"))
            .collect();
        let registered: BTreeSet<_> = REGISTRY.iter().map(|info| info.name.to_owned()).collect();
        assert_eq!(files, registered, "src/checks/*.rs and checks! differ");

        for info in REGISTRY {
            let docs = info.docs();
            for heading in ["# What it does", "# Why", "# Options", "# Example", "# Unknown when"] {
                assert!(docs.contains(heading), "{}: no `{heading}`", info.name);
            }
            assert!(docs.contains("Matches when"), "{}", info.name);
            for option in info.options {
                assert!(docs.contains(&format!("`{option}`")), "{}: `{option}`", info.name);
            }
            assert!(Fact::named(info.name).is_none(), "{} is a fact's name", info.name);
        }
    }

    #[test]
    fn every_example_in_the_documents_loads() {
        for info in REGISTRY {
            let docs = info.docs();
            let example = docs.split("```yaml\n").nth(1).expect("an example");
            let example = example.split("```").next().unwrap();
            let (check, mistakes) = testing::load(example);
            assert_eq!(mistakes, Vec::<String>::new(), "{}", info.name);
            assert_eq!(check.expect("a check").name(), info.name);
        }
    }

    #[test]
    fn an_unknown_check_gets_the_remedy() {
        assert_eq!(unknown_check("sasl_usrname"), "no check `sasl_usrname`; did you mean `sasl_username`?");
        assert_eq!(
            unknown_check("limits"),
            "no check `limits`; `limits` is an option: indent it below its check"
        );
        assert_eq!(unknown_check("frobnicate"), "no check `frobnicate`");
    }
}
