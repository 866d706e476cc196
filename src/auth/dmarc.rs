//! DMARC (RFC 9989): whether the domain that a reader sees, that of the field From, has
//! vouched for the message, and what it wants done with one for which it has not.
//!
//! A function of what DKIM and SPF came to and of answers of the DNS: one that is still
//! to come is told by None, after all that are needed have been asked for. The records
//! are a stranger's; a walk asks for [`MAX_STEPS`] of them.

use super::dkim::DkimResult;
use super::dkim::DkimSignature;
use super::spf::SpfAnswer;
use super::spf::SpfResult;
use super::tags::tag;
use super::tags::tags;
use crate::dns::Absence;
use crate::dns::Answer;
use crate::dns::Kind;
use crate::dns::Name;
use crate::dns::Question;
use crate::dns::Record;
use crate::message::Message;
use crate::names::Mailbox;
use crate::names::is_within;
use crate::names::with_parents;
use mail_auth::common::to_a_label;

/// Names that one walk up the tree asks for (RFC 9989, 4.10).
const MAX_STEPS: usize = 8;

/// What the DNS takes.
const MAX_NAME_BYTES: usize = 253;

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DmarcResult {
    Fail,
    None,
    Pass,
    /// There is not one author whose domain could be asked.
    Permerror,
    Temperror,
}

impl DmarcResult {
    pub fn word(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::None => "none",
            Self::Pass => "pass",
            Self::Permerror => "permerror",
            Self::Temperror => "temperror",
        }
    }
}

/// What a domain wants done with a message that fails.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum DmarcPolicy {
    None,
    Quarantine,
    Reject,
}

impl DmarcPolicy {
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    pub fn from_word(word: &str) -> Option<Self> {
        let fits = |policy: &Self| policy.word().eq_ignore_ascii_case(word);
        [Self::None, Self::Quarantine, Self::Reject].into_iter().find(fits)
    }

    /// RFC 9989, 4.7: in test mode one step less is done.
    fn lowered(self) -> Self {
        match self {
            Self::Reject => Self::Quarantine,
            Self::None | Self::Quarantine => Self::None,
        }
    }
}

/// What DMARC comes to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dmarc {
    pub result: DmarcResult,
    /// None where no policy applies.
    pub policy: Option<DmarcPolicy>,
    /// The author's domain; empty if there is not one.
    pub domain: String,
    pub reason: &'static str,
}

impl Dmarc {
    pub fn plain(result: DmarcResult, domain: &str, reason: &'static str) -> Self {
        Self { result, policy: None, domain: domain.to_owned(), reason }
    }
}

/// What SPF says of the domain of the envelope's sender.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Sender {
    /// It was not asked, for the client's address is not that of who sent it.
    Hidden(String),
    Passes(String),
    /// The DNS would not say.
    Unclear(String),
    Unproved,
}

/// The domain of who wrote the message, in the DNS's spelling and lower case; or why
/// there is not one. Where mail programs might show one or another, nobody's is taken.
pub fn author(message: &Message) -> Result<String, &'static str> {
    if message.headers().beyond() > 0 {
        return Err("the header is larger than is read");
    }
    let mut fields = message.headers().named("From");
    let Some(field) = fields.next() else {
        return Err("there is no field From");
    };
    if fields.next().is_some() {
        return Err("there are several fields From");
    }
    let mut found: Option<String> = None;
    for address in field.addresses() {
        let domain = Mailbox::parse(&address).domain.unwrap_or_default().to_lowercase();
        if found.as_ref().is_some_and(|found| *found != domain) {
            return Err("the field From has addresses of several domains");
        }
        found = Some(domain);
    }
    let found = found.filter(|domain| domain.len() <= MAX_NAME_BYTES).unwrap_or_default();
    match Name::parse(&to_a_label(&found)) {
        Some(name) => Ok(name.as_str().to_owned()),
        None => Err("the field From has no address with a domain"),
    }
}

/// What it comes to for the author's domain. `dkim` and `sender` are None while they are
/// not known; `ask` gives an answer of the DNS, None while it is to come.
pub fn evaluate(
    author: &str,
    dkim: Option<&[DkimSignature]>,
    sender: Option<&Sender>,
    ask: &dyn Fn(Question) -> Option<Answer>,
) -> Option<Dmarc> {
    let asking = Asking { ask };
    let walk = asking.walk(author);
    // Those that may turn out to be of one organization are asked about at once.
    let may_be_near = |domain: &str| domain != author && last_two(domain) == last_two(author);
    let signers = dkim.unwrap_or_default().iter().map(|signature| signature.domain.as_str());
    let senders = sender.and_then(Sender::domain);
    for domain in signers.chain(senders).filter(|domain| may_be_near(domain)) {
        asking.walk(domain);
    }
    let (dkim, sender) = (dkim?, sender?);
    let Walk { found, is_troubled } = walk?;
    // Where the DNS fails nearer to the author, another record may apply.
    let Some((at, record)) = applies(&found, author).filter(|(at, _)| !is_troubled || *at == author) else {
        let (result, reason) = match is_troubled {
            true => (DmarcResult::Temperror, "the DNS can't say what the policy is"),
            false => (DmarcResult::None, "the domain has no policy"),
        };
        return Some(Dmarc::plain(result, author, reason));
    };
    let Some(policy) = asking.policy(author, at, record)? else {
        return Some(Dmarc::plain(DmarcResult::None, author, "the policy can't be read"));
    };
    let organization = organization(&found, author);
    let aligned = |domain: &str, is_strict: bool| -> Option<Aligned> {
        if domain == author {
            return Some(Aligned::Yes);
        }
        if is_strict {
            return Some(Aligned::No);
        }
        if is_troubled {
            // How far up its organization reaches is not known.
            return Some(if may_be_near(domain) { Aligned::Unclear } else { Aligned::No });
        }
        if !is_within(domain, organization) {
            return Some(Aligned::No);
        }
        let theirs = asking.walk(domain)?;
        let is_same = self::organization(&theirs.found, domain) == organization;
        Some(match (is_same, theirs.is_troubled) {
            (_, true) => Aligned::Unclear,
            (true, false) => Aligned::Yes,
            (false, false) => Aligned::No,
        })
    };
    let mut best = DmarcResult::Fail;
    let signed = dkim.iter().filter_map(|signature| match signature.result {
        DkimResult::Pass => Some((signature.domain.as_str(), DmarcResult::Pass, record.is_dkim_strict)),
        DkimResult::Temperror => {
            Some((signature.domain.as_str(), DmarcResult::Temperror, record.is_dkim_strict))
        }
        _ => None,
    });
    let sent = match sender {
        Sender::Hidden(domain) => Some((domain.as_str(), DmarcResult::None, record.is_spf_strict)),
        Sender::Passes(domain) => Some((domain.as_str(), DmarcResult::Pass, record.is_spf_strict)),
        Sender::Unclear(domain) => Some((domain.as_str(), DmarcResult::Temperror, record.is_spf_strict)),
        Sender::Unproved => None,
    };
    let mut is_missing = false;
    for (domain, says, is_strict) in signed.chain(sent).filter(|(domain, ..)| !domain.is_empty()) {
        match (aligned(domain, is_strict), says) {
            (Some(Aligned::Yes), DmarcResult::Pass) => best = DmarcResult::Pass,
            (Some(Aligned::Yes), says) if best == DmarcResult::Fail => best = says,
            (Some(Aligned::Unclear), _) if best == DmarcResult::Fail => best = DmarcResult::Temperror,
            (Some(_), _) => {}
            (None, _) => is_missing = true,
        }
    }
    if is_missing && best != DmarcResult::Pass {
        return None;
    }
    let reason = match best {
        DmarcResult::Pass => "",
        DmarcResult::Temperror => "the DNS can't say who vouches for it",
        DmarcResult::None => "the client's address is not that of who sent it",
        _ => "neither a signature nor the sender's domain vouches for it",
    };
    Some(Dmarc { result: best, policy: Some(policy), domain: author.to_owned(), reason })
}

impl From<&SpfAnswer> for Sender {
    fn from(answer: &SpfAnswer) -> Self {
        let domain = to_a_label(answer.domain.trim_end_matches('.')).into_owned();
        match answer.result {
            SpfResult::Pass => Self::Passes(domain),
            SpfResult::Temperror => Self::Unclear(domain),
            _ => Self::Unproved,
        }
    }
}

impl Sender {
    fn domain(&self) -> Option<&str> {
        match self {
            Self::Hidden(domain) | Self::Passes(domain) | Self::Unclear(domain) => Some(domain),
            Self::Unproved => None,
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Aligned {
    No,
    Unclear,
    Yes,
}

/// One record (RFC 9989, 4.7). mail-auth refuses a record for any tag that it can't
/// read; such a tag is to be ignored, but for the policies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Policies {
    own: Option<DmarcPolicy>,
    below: Option<DmarcPolicy>,
    missing: Option<DmarcPolicy>,
    is_damaged: bool,
    is_reported: bool,
    is_dkim_strict: bool,
    is_spf_strict: bool,
    is_test: bool,
    /// Whether names below it belong to others (`psd=`).
    is_public: Option<bool>,
}

impl Policies {
    fn parse(text: &str) -> Option<Self> {
        let (name, version) = tags(text).next()?;
        // The first tag, exactly so.
        if !name.eq_ignore_ascii_case("v") || version != "DMARC1" || text.trim_start().starts_with(';') {
            return None;
        }
        let is = |name: &str, word: &str| tag(text, name).is_some_and(|it| it.eq_ignore_ascii_case(word));
        let policy = |name: &str| tag(text, name).map(DmarcPolicy::from_word);
        let (own, below, missing) = (policy("p"), policy("sp"), policy("np"));
        let reports = tag(text, "rua").unwrap_or_default().to_ascii_lowercase();
        Some(Self {
            own: own.flatten(),
            below: below.flatten(),
            missing: missing.flatten(),
            is_damaged: !matches!(own, Some(Some(_))) || below == Some(None) || missing == Some(None),
            is_reported: reports.split(',').any(|uri| uri.trim().starts_with("mailto:") && uri.contains('@')),
            is_dkim_strict: is("adkim", "s"),
            is_spf_strict: is("aspf", "s"),
            is_test: is("t", "y"),
            is_public: if is("psd", "y") { Some(true) } else { is("psd", "n").then_some(false) },
        })
    }
}

/// The records above a name, from itself upwards.
struct Walk<'d> {
    found: Vec<(&'d str, Policies)>,
    /// Not everything that was asked for could be found out.
    is_troubled: bool,
}

struct Asking<'a> {
    ask: &'a dyn Fn(Question) -> Option<Answer>,
}

impl Asking<'_> {
    /// RFC 9989, 4.10. None: something is still to come.
    fn walk<'d>(&self, domain: &'d str) -> Option<Walk<'d>> {
        let answers: Vec<_> = steps(domain)
            .map(|at| {
                let name = Name::parse(&format!("_dmarc.{at}"));
                // What can't be asked for is not there.
                let answer = match name {
                    Some(name) => (self.ask)(Question::new(name, Kind::Txt)),
                    None => Some(Answer::Absent(Absence::NoName)),
                };
                (at, answer)
            })
            .collect();
        let mut walk = Walk { found: Vec::new(), is_troubled: false };
        for (at, answer) in answers {
            match answer? {
                Answer::Records(records) => {
                    let mut policies = records.iter().filter_map(|record| match record {
                        Record::Txt(text) => Policies::parse(&String::from_utf8_lossy(text)),
                        _ => None,
                    });
                    // Of several none counts.
                    if let (Some(policies), None) = (policies.next(), policies.next()) {
                        walk.found.push((at, policies));
                        if policies.is_public.is_some() {
                            break;
                        }
                    }
                }
                Answer::Absent(_) => {}
                Answer::Failed(_) | Answer::Silent => walk.is_troubled = true,
            }
        }
        Some(walk)
    }

    /// What the record at `at` wants for mail of `author`; `Some(None)`: it says nothing.
    fn policy(&self, author: &str, at: &str, record: &Policies) -> Option<Option<DmarcPolicy>> {
        if record.is_damaged {
            return Some(record.is_reported.then_some(DmarcPolicy::None));
        }
        let own = record.own.unwrap_or(DmarcPolicy::None);
        let below = record.below.unwrap_or(own);
        let missing = record.missing.unwrap_or(below);
        let policy = if at == author {
            own
        } else if missing == below {
            below
        } else {
            let name = Name::parse(author)?;
            match (self.ask)(Question::new(name, Kind::A))? {
                Answer::Absent(Absence::NoName) => missing,
                _ => below,
            }
        };
        Some(Some(if record.is_test { policy.lowered() } else { policy }))
    }
}

/// The names that are asked about: itself, and those above it, of long names only the
/// last seven.
fn steps(domain: &str) -> impl Iterator<Item = &str> {
    let count = domain.split('.').count();
    // A name of one label has nobody who could speak for it.
    let names = with_parents(domain)
        .enumerate()
        .filter(move |(number, _)| count > 1 && (*number == 0 || count - number < MAX_STEPS));
    names.map(|(_, name)| name)
}

/// Which record applies to an author: its own, else that of its organization, else
/// what stands above both.
fn applies<'w>(found: &'w [(&str, Policies)], author: &str) -> Option<(&'w str, &'w Policies)> {
    let organization = organization(found, author);
    let named = |name: &str| found.iter().find(|(at, _)| *at == name);
    let one = named(author).or_else(|| named(organization)).or_else(|| found.last());
    one.map(|(at, policies)| (*at, policies))
}

/// RFC 9989, 4.10.2: of the records found upwards from `start`.
fn organization<'d>(found: &[(&'d str, Policies)], start: &'d str) -> &'d str {
    for (at, policies) in found {
        match policies.is_public {
            Some(false) => return at,
            Some(true) if *at != start => {
                let above = |name: &&str| name.split_once('.').is_some_and(|(_, parent)| parent == *at);
                return with_parents(start).find(above).unwrap_or(start);
            }
            _ => {}
        }
    }
    found.last().map_or(start, |(at, _)| at)
}

fn last_two(domain: &str) -> &str {
    let mut dots = memchr::memrchr_iter(b'.', domain.as_bytes());
    dots.next();
    dots.next().and_then(|dot| domain.get(dot + 1..)).unwrap_or(domain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Resolver;
    use crate::dns::Zone;
    use std::cell::Cell;

    const ZONE: &str = "
        _dmarc.example.com        TXT \"v=DMARC1; p=reject; sp=quarantine; np=reject\"
        _dmarc.strict.test        TXT \"v=DMARC1; p=reject; adkim=s; aspf=s\"
        _dmarc.twice.test         TXT \"v=DMARC1; p=reject\"
        _dmarc.twice.test         TXT \"v=DMARC1; p=none\"
        _dmarc.beside.test        TXT \"other\"
        _dmarc.beside.test        TXT \"v=DMARC1; p=quarantine; pct=0; x=y; adkim=z\"
        _dmarc.trial.test         TXT \"v=DMARC1;p=reject;t=y\"
        _dmarc.nop.test           TXT \"v=DMARC1; rua=mailto:a@nop.test\"
        _dmarc.badp.test          TXT \"v=DMARC1; p=rejct; rua=mailto:a@badp.test\"
        _dmarc.silentp.test       TXT \"v=DMARC1; p=rejct\"
        _dmarc.late.test          TXT \"p=reject; v=DMARC1\"
        _dmarc.other.test         TXT \"v=DMARC12; p=reject\"
        _dmarc.psd                TXT \"v=DMARC1; p=reject; psd=y\"
        _dmarc.one.psd            TXT \"v=DMARC1; p=quarantine\"
        _dmarc.bad.test           SERVFAIL
        _dmarc.own.broken.test    SERVFAIL
        _dmarc.broken.test        TXT \"v=DMARC1; p=reject\"
        _dmarc.sub.trouble.test   TXT \"v=DMARC1; p=reject\"
        _dmarc.trouble.test       TIMEOUT
        _dmarc.cut.example.org    TXT \"v=DMARC1; p=reject; psd=n\"
        _dmarc.example.org        TXT \"v=DMARC1; p=none\"
        there.example.com         A 192.0.2.1
    ";

    fn passes(domain: &str) -> Sender {
        Sender::Passes(domain.into())
    }

    fn resolver() -> Resolver {
        Resolver::of_zone(Zone::parse(ZONE).unwrap())
    }

    fn signed(result: DkimResult, domain: &str) -> Vec<DkimSignature> {
        let (domain, none) = (domain.to_owned(), String::new());
        vec![DkimSignature { result, reason: "", domain, selector: none.clone(), prefix: none }]
    }

    #[test]
    fn a_domain_vouches_by_a_signature_or_by_its_sender() {
        let resolver = resolver();
        let ask = |question: Question| resolver.known(&question);
        use DkimResult as D;
        for (author, dkim, sender, expected) in [
            // Aligned: itself, and what is of one organization.
            ("example.com", Some((D::Pass, "example.com")), Sender::Unproved, "pass reject"),
            ("example.com", Some((D::Pass, "mail.example.com")), Sender::Unproved, "pass reject"),
            ("a.example.com", Some((D::Pass, "b.example.com")), Sender::Unproved, "pass reject"),
            ("there.example.com", Some((D::Pass, "example.com")), Sender::Unproved, "pass quarantine"),
            ("example.com", None, passes("bounce.example.com"), "pass reject"),
            ("example.com", Some((D::Fail, "example.com")), passes("example.com"), "pass reject"),
            // Not aligned.
            ("example.com", Some((D::Pass, "example.net")), passes("bad-example.com"), "fail reject"),
            ("example.com", Some((D::Fail, "example.com")), Sender::Unproved, "fail reject"),
            ("example.com", Some((D::Policy, "example.com")), Sender::Unproved, "fail reject"),
            ("example.com", None, Sender::Unproved, "fail reject"),
            ("strict.test", Some((D::Pass, "mail.strict.test")), passes("b.strict.test"), "fail reject"),
            ("strict.test", Some((D::Pass, "strict.test")), Sender::Unproved, "pass reject"),
            // What the DNS can't say.
            ("example.com", Some((D::Temperror, "example.com")), Sender::Unproved, "temperror reject"),
            ("example.com", Some((D::Temperror, "example.net")), Sender::Unproved, "fail reject"),
            ("example.com", None, Sender::Unclear("example.com".into()), "temperror reject"),
            ("bad.test", None, Sender::Unproved, "temperror"),
            ("own.broken.test", None, Sender::Unproved, "temperror"),
            ("own.broken.test", Some((D::Pass, "own.broken.test")), Sender::Unproved, "temperror"),
            ("x.own.broken.test", None, Sender::Unproved, "temperror"),
            ("broken.test", None, Sender::Unproved, "fail reject"),
            // What SPF was not asked.
            ("example.com", None, Sender::Hidden("mail.example.com".into()), "none reject"),
            ("example.com", None, Sender::Hidden("example.net".into()), "fail reject"),
            ("example.com", None, Sender::Hidden(String::new()), "fail reject"),
            ("strict.test", None, Sender::Hidden("mail.strict.test".into()), "fail reject"),
            (
                "example.com",
                Some((D::Pass, "example.com")),
                Sender::Hidden("example.com".into()),
                "pass reject",
            ),
            (
                "example.com",
                Some((D::Temperror, "example.com")),
                Sender::Hidden("example.com".into()),
                "temperror reject",
            ),
            ("sub.trouble.test", None, Sender::Unproved, "fail reject"),
            ("sub.trouble.test", Some((D::Pass, "sub.trouble.test")), Sender::Unproved, "pass reject"),
            ("sub.trouble.test", Some((D::Pass, "trouble.test")), Sender::Unproved, "temperror reject"),
            ("sub.trouble.test", Some((D::Pass, "example.com")), Sender::Unproved, "fail reject"),
            // Which policy.
            ("there.example.com", None, Sender::Unproved, "fail quarantine"),
            ("nowhere.example.com", None, Sender::Unproved, "fail reject"),
            ("trial.test", None, Sender::Unproved, "fail quarantine"),
            ("beside.test", None, Sender::Unproved, "fail quarantine"),
            ("nop.test", None, Sender::Unproved, "fail none"),
            ("badp.test", None, Sender::Unproved, "fail none"),
            ("a.b.c.d.e.f.g.h.i.example.com", None, Sender::Unproved, "fail reject"),
            // None at all.
            ("silentp.test", None, Sender::Unproved, "none"),
            ("twice.test", None, Sender::Unproved, "none"),
            ("late.test", None, Sender::Unproved, "none"),
            ("other.test", None, Sender::Unproved, "none"),
            ("nothing.test", Some((D::Pass, "nothing.test")), Sender::Unproved, "none"),
            ("localhost", None, Sender::Unproved, "none"),
            // Names that belong to many, and a branch that is its own.
            ("two.psd", None, passes("three.psd"), "fail reject"),
            ("one.psd", None, passes("a.one.psd"), "pass quarantine"),
            ("cut.example.org", None, passes("example.org"), "fail reject"),
            ("example.org", None, passes("cut.example.org"), "fail none"),
            ("example.org", None, passes("x.example.org"), "pass none"),
        ] {
            let dkim = dkim.map(|(result, domain)| signed(result, domain)).unwrap_or_default();
            let found = evaluate(author, Some(&dkim), Some(&sender), &ask).unwrap();
            let policy = found.policy.map(|policy| format!(" {}", policy.word())).unwrap_or_default();
            assert_eq!(format!("{}{policy}", found.result.word()), expected, "{author} {dkim:?} {sender:?}");
            assert_eq!(found.domain, author);
        }
    }

    #[test]
    fn all_is_asked_for_before_anything_is_known() {
        let asked = Cell::new(0);
        let ask = |_: Question| {
            asked.set(asked.get() + 1);
            None
        };
        assert_eq!(evaluate("a.example.com", None, None, &ask), None);
        assert_eq!(asked.take(), 3);
        let signers =
            [signed(DkimResult::Pass, "b.example.com"), signed(DkimResult::Pass, "x.test")].concat();
        assert_eq!(evaluate("example.com", Some(&signers), None, &ask), None);
        assert_eq!(asked.take(), 2 + 3);
        let long = ["a"; 100].join(".");
        assert_eq!(evaluate(&long, None, None, &ask), None);
        assert_eq!(asked.take(), MAX_STEPS);
    }

    #[test]
    fn only_one_author_has_a_domain() {
        for (header, expected) in [
            ("From: A <a@Example.COM>\n", Ok("example.com")),
            ("From: a@example.com, b@example.com\n", Ok("example.com")),
            ("from:a@example.com.\n", Ok("example.com")),
            ("From: a@b\u{fc}cher.example\n", Ok("xn--bcher-kva.example")),
            ("From: \"x@bank.example\" <a@example.com>\n", Ok("example.com")),
            ("From: a@example.com, b@example.net\n", Err("the field From has addresses of several domains")),
            ("From: a@example.com\nFrom: a@example.com\n", Err("there are several fields From")),
            ("To: a@example.com\n", Err("there is no field From")),
            ("From: undisclosed:;\n", Err("the field From has no address with a domain")),
            ("From: <a@b..c>\n", Err("the field From has no address with a domain")),
        ] {
            let message = Message::from_eml(format!("{header}\nx").as_bytes());
            assert_eq!(author(&message), expected.map(str::to_owned), "{header}");
        }
        let hidden = format!("From: a@example.com\n{}From: a@example.net\n\nx", "X: y\n".repeat(2_000));
        assert_eq!(author(&Message::from_eml(hidden.as_bytes())), Err("the header is larger than is read"));
    }
}
