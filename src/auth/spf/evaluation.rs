//! `check_host()` of RFC 7208, section 4: the terms of a record, one after another.
//!
//! Whoever owns a sender's domain writes the records, and other records that these
//! include. Terms that ask the DNS are counted, over all records, to [`MAX_TERMS`], each with at most
//! [`MAX_HOSTS`] hosts; the client's own names are looked up once. So the worst they can do is to
//! have some 120 questions asked, one after another, until the caller's deadline.

use super::SpfResult;
use super::macros::Told;
use super::macros::expand;
use super::macros::expand_text;
use super::macros::wants_validated;
use super::records::Records;
use super::records::spec_of;
use crate::dns::Answer;
use crate::dns::Kind;
use crate::dns::Name;
use crate::dns::Question;
use crate::dns::Record;
use crate::dns::Resolver;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use viaspf_record::DomainSpec;
use viaspf_record::DualCidrLength;
use viaspf_record::ExplainString;
use viaspf_record::Explanation;
use viaspf_record::MacroString;
use viaspf_record::Mechanism;
use viaspf_record::Modifier;
use viaspf_record::Qualifier;
use viaspf_record::Redirect;
use viaspf_record::SpfRecord;

/// Terms that ask the DNS (RFC 7208, 4.6.4); also how deep records may include others.
const MAX_TERMS: u32 = 10;

/// Of these, such that ask for what is not there.
const MAX_VOID_TERMS: u32 = 2;

/// Hosts that are looked up for one `mx`, and names of the client.
const MAX_HOSTS: usize = 10;

/// Of an explanation, which is then cut.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// That somebody fails is not held up by what the domain has to say about it.
const EXPLAINED_WITHIN: Duration = Duration::from_millis(500);

/// Of what a client says that macros repeat; no label of a name is as long.
const MAX_TOLD_BYTES: usize = 255;

/// Whether answers that are still to come are waited for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Patience {
    Endless,
    None,
}

/// What an evaluation came to.
#[derive(Debug)]
pub(super) struct Found {
    pub result: SpfResult,
    pub mechanism: Option<String>,
    pub text: Option<String>,
    pub problem: Option<&'static str>,
}

/// Why there is nothing more to evaluate.
enum Stop {
    /// Somebody in the DNS is in trouble.
    Temporary(&'static str),
    /// The records are wrong.
    Permanent(&'static str),
}

type Checked<T> = Result<T, Stop>;

/// Whose record it is.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Included,
    Sender,
}

/// The client's names that lead back to it.
#[derive(Default)]
struct Names {
    validated: Vec<Name>,
    /// It has none at all.
    is_void: bool,
}

/// One way through the records.
pub(super) struct Evaluation<'a> {
    resolver: &'a Resolver,
    records: Arc<Records>,
    patience: Patience,
    told: Told<'a>,
    terms: u32,
    void_terms: u32,
    /// Once they were asked for.
    names: Option<Names>,
    mechanism: Option<String>,
    text: Option<String>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(
        ip: IpAddr,
        (local, domain): (&'a str, &'a str),
        helo: &'a str,
        resolver: &'a Resolver,
        patience: Patience,
    ) -> Self {
        let cut = |text: &'a str| text.get(..text.floor_char_boundary(MAX_TOLD_BYTES)).unwrap_or_default();
        let told = Told { ip: ip.to_canonical(), local: cut(local), domain, helo: cut(helo) };
        let records = resolver.made(Records::new);
        let (names, mechanism, text) = (None, None, None);
        Self { resolver, records, patience, told, terms: 0, void_terms: 0, names, mechanism, text }
    }

    pub(super) async fn run(mut self, domain: &str) -> Found {
        let (result, problem) = match self.check_host(domain, Of::Sender).await {
            Ok(result) => (result, None),
            Err(Stop::Temporary(problem)) => (SpfResult::Temperror, Some(problem)),
            Err(Stop::Permanent(problem)) => (SpfResult::Permerror, Some(problem)),
        };
        let (mechanism, text) = (self.mechanism, self.text);
        Found { result, mechanism: mechanism.filter(|_| problem.is_none()), text, problem }
    }

    async fn check_host(&mut self, domain: &str, of: Of) -> Checked<SpfResult> {
        let Some(record) = self.record(domain).await? else {
            return Ok(SpfResult::None);
        };
        let (redirect, explanation) = modifiers(&record);
        for directive in record.directives() {
            if !self.matches(&directive.mechanism, domain).await? {
                continue;
            }
            if of == Of::Sender {
                self.mechanism = Some(directive.mechanism.to_string());
            }
            return Ok(match directive.qualifier.unwrap_or_default() {
                Qualifier::Pass => SpfResult::Pass,
                Qualifier::Fail => {
                    // Those of included records are never used (RFC 7208, 6.2).
                    if let Some(explanation) = explanation.filter(|_| of == Of::Sender) {
                        self.text = self.explain_in_time(&explanation.domain_spec, domain).await;
                    }
                    SpfResult::Fail
                }
                Qualifier::Neutral => SpfResult::Neutral,
                Qualifier::Softfail => SpfResult::Softfail,
            });
        }
        let Some(redirect) = redirect else {
            return Ok(SpfResult::Neutral);
        };
        self.count_term()?;
        let Some(target) = self.target(&redirect.domain_spec, domain).await else {
            return Err(Stop::Permanent("invalid name of a domain in redirect="));
        };
        match self.check_other(&target, of).await? {
            SpfResult::None => Err(Stop::Permanent("no SPF record at the domain of redirect=")),
            result => Ok(result),
        }
    }

    /// The record of another domain. On the heap, for one record leads to the next.
    fn check_other<'s>(
        &'s mut self,
        target: &'s Name,
        of: Of,
    ) -> Pin<Box<dyn Future<Output = Checked<SpfResult>> + Send + 's>> {
        Box::pin(self.check_host(target.as_str(), of))
    }

    async fn record(&self, domain: &str) -> Checked<Option<Arc<SpfRecord>>> {
        let Some(name) = Name::parse_any(domain) else {
            return Ok(None);
        };
        let question = Question::new(name, Kind::Txt);
        let Answer::Records(answer) = self.put(&question).await? else {
            return Ok(None);
        };
        self.records.read(&question.name, &answer).map_err(Stop::Permanent)
    }

    async fn matches(&mut self, mechanism: &Mechanism, domain: &str) -> Checked<bool> {
        match mechanism {
            Mechanism::All => return Ok(true),
            Mechanism::Ip4(ip4) => {
                let length = ip4.prefix_len.map_or(32, |length| length.get());
                return Ok(is_in(self.told.ip, ip4.addr.into(), length));
            }
            Mechanism::Ip6(ip6) => {
                let length = ip6.prefix_len.map_or(128, |length| length.get());
                return Ok(is_in(self.told.ip, ip6.addr.into(), length));
            }
            _ => self.count_term()?,
        }
        // A name that can't be asked for matches nothing (RFC 7208, 4.8).
        let Some(target) = self.target_of(mechanism, domain).await else {
            return Ok(false);
        };
        match mechanism {
            Mechanism::Include(_) => match self.check_other(&target, Of::Included).await? {
                SpfResult::Pass => Ok(true),
                SpfResult::None => Err(Stop::Permanent("no SPF record at an included domain")),
                _ => Ok(false),
            },
            Mechanism::A(a) => {
                let hosts = self.addresses(target, self.family()).await?;
                self.count_void(hosts.is_empty())?;
                Ok(self.is_among(&hosts, a.prefix_len))
            }
            Mechanism::Mx(mx) => self.matches_mx(target, mx.prefix_len).await,
            Mechanism::Ptr(_) => {
                self.find_names().await;
                self.count_void(self.names.as_ref().is_some_and(|names| names.is_void))?;
                Ok(self.validated().iter().any(|name| name.is_within(target.as_str())))
            }
            // Of type A whatever the client's family (RFC 7208, 5.7).
            _ => {
                let hosts = self.addresses(target, Kind::A).await?;
                self.count_void(hosts.is_empty())?;
                Ok(!hosts.is_empty())
            }
        }
    }

    async fn matches_mx(&mut self, target: Name, length: Option<DualCidrLength>) -> Checked<bool> {
        let answer = self.ask(target, Kind::Mx).await?;
        let exchanges = answer.records().iter().filter_map(|record| match record {
            Record::Mx { preference, exchange: Some(exchange) } => Some((*preference, exchange)),
            _ => None,
        });
        let mut exchanges: Vec<_> = exchanges.collect();
        exchanges.sort_by_key(|(preference, _)| *preference);
        let mut is_void = true;
        for (number, (_, exchange)) in exchanges.into_iter().enumerate() {
            if number >= MAX_HOSTS {
                return Err(Stop::Permanent("too many hosts of one mx"));
            }
            let hosts = self.addresses(exchange.clone(), self.family()).await?;
            if self.is_among(&hosts, length) {
                return Ok(true);
            }
            is_void &= hosts.is_empty();
        }
        self.count_void(is_void)?;
        Ok(false)
    }

    fn count_term(&mut self) -> Checked<()> {
        self.terms += 1;
        if self.terms > MAX_TERMS { Err(Stop::Permanent("too many terms that ask the DNS")) } else { Ok(()) }
    }

    /// Terms are counted, not questions (RFC 7208, 4.6.4): that some hosts of an `mx` have no address
    /// of the client's family is nobody's mistake.
    fn count_void(&mut self, is_void: bool) -> Checked<()> {
        self.void_terms += u32::from(is_void);
        match self.void_terms > MAX_VOID_TERMS {
            true => Err(Stop::Permanent("too many terms that ask for what is not there")),
            false => Ok(()),
        }
    }

    fn family(&self) -> Kind {
        Kind::of_address(self.told.ip)
    }

    fn is_among(&self, hosts: &[IpAddr], length: Option<DualCidrLength>) -> bool {
        let length = match self.told.ip {
            IpAddr::V4(_) => length.and_then(DualCidrLength::ip4).map_or(32, |length| length.get()),
            IpAddr::V6(_) => length.and_then(DualCidrLength::ip6).map_or(128, |length| length.get()),
        };
        hosts.iter().any(|host| is_in(self.told.ip, *host, length))
    }

    /// The name that a term is about; None for what is none.
    async fn target_of(&mut self, mechanism: &Mechanism, domain: &str) -> Option<Name> {
        match spec_of(mechanism) {
            Some(spec) => self.target(spec, domain).await,
            None => Name::parse_any(domain),
        }
    }

    async fn target(&mut self, spec: &DomainSpec, domain: &str) -> Option<Name> {
        let macros: &MacroString = spec.as_ref();
        let validated = self.validated_for(wants_validated(macros), domain).await;
        Name::parse_any(cut_to_name(&expand(macros, &self.told, domain, &validated)))
    }

    pub(super) async fn explain_in_time(&mut self, spec: &DomainSpec, domain: &str) -> Option<String> {
        match self.patience {
            Patience::Endless => timeout(EXPLAINED_WITHIN, self.explain(spec, domain)).await.ok()?,
            Patience::None => self.explain(spec, domain).await,
        }
    }

    /// What the domain has to say; nothing if anything is wrong with it (RFC 7208, 6.2).
    async fn explain(&mut self, spec: &DomainSpec, domain: &str) -> Option<String> {
        let target = self.target(spec, domain).await?;
        let answer = self.ask(target, Kind::Txt).await.ok()?;
        let [Record::Txt(bytes)] = answer.records() else {
            return None;
        };
        let bytes = Some(bytes).filter(|bytes| bytes.len() <= MAX_TEXT_BYTES)?;
        let text: ExplainString = std::str::from_utf8(bytes).ok()?.parse().ok()?;
        let wants = text.segments.iter().any(|segment| match segment {
            viaspf_record::ExplainStringSegment::MacroString(macros) => wants_validated(macros),
            viaspf_record::ExplainStringSegment::Space => false,
        });
        let validated = self.validated_for(wants, domain).await;
        Some(expand_text(&text, &self.told, domain, &validated))
    }

    /// The name that the macro `%{p}` stands for (RFC 7208, 7.3).
    async fn validated_for(&mut self, is_wanted: bool, domain: &str) -> String {
        if is_wanted {
            self.find_names().await;
        }
        let names = self.validated();
        let same = names.iter().find(|name| name.as_str() == domain);
        let below = names.iter().find(|name| name.is_within(domain));
        let best = same.or(below).or(names.first());
        best.map_or_else(|| "unknown".into(), |name| name.as_str().to_owned())
    }

    /// Finds out which of the client's names lead back to it (RFC 7208, 5.5).
    async fn find_names(&mut self) {
        if self.names.is_none() {
            // Where the DNS fails it has none, as RFC 7208 has it.
            let names = self.names_of_client().await.unwrap_or_default();
            self.names = Some(names);
        }
    }

    fn validated(&self) -> &[Name] {
        self.names.as_ref().map(|names| names.validated.as_slice()).unwrap_or_default()
    }

    async fn names_of_client(&self) -> Checked<Names> {
        let Some(pointer) = Name::of_pointer(self.told.ip) else {
            return Ok(Names::default());
        };
        let answer = self.ask(pointer, Kind::Ptr).await?;
        let names = answer.records().iter().filter_map(|record| match record {
            Record::Ptr(name) => Some(name),
            _ => None,
        });
        let mut validated = Vec::new();
        for name in names.take(MAX_HOSTS) {
            // One that fails is left out.
            let hosts = self.addresses(name.clone(), self.family()).await.unwrap_or_default();
            if hosts.contains(&self.told.ip) {
                validated.push(name.clone());
            }
        }
        Ok(Names { validated, is_void: answer.records().is_empty() })
    }

    async fn addresses(&self, name: Name, kind: Kind) -> Checked<Vec<IpAddr>> {
        let answer = self.ask(name, kind).await?;
        Ok(answer.records().iter().filter_map(Record::ip).collect())
    }

    async fn ask(&self, name: Name, kind: Kind) -> Checked<Answer> {
        self.put(&Question::new(name, kind)).await
    }

    async fn put(&self, question: &Question) -> Checked<Answer> {
        let answer = match (self.resolver.known(question), self.patience) {
            (Some(answer), _) => answer,
            (None, Patience::Endless) => self.resolver.ask(question).await,
            (None, Patience::None) => std::future::pending().await,
        };
        match answer {
            Answer::Records(_) | Answer::Absent(_) => Ok(answer),
            Answer::Failed(_) => Err(Stop::Temporary("the DNS failed")),
            Answer::Silent => Err(Stop::Temporary("the DNS did not answer")),
        }
    }
}

/// Each stands once at most.
fn modifiers(record: &SpfRecord) -> (Option<&Redirect>, Option<&Explanation>) {
    let (mut redirect, mut explanation) = (None, None);
    for modifier in record.modifiers() {
        match modifier {
            Modifier::Redirect(found) => redirect = Some(found),
            Modifier::Explanation(found) => explanation = Some(found),
            Modifier::Unknown(_) => {}
        }
    }
    (redirect, explanation)
}

/// Whether two addresses of one family begin with the same bits.
fn is_in(ip: IpAddr, network: IpAddr, length: u8) -> bool {
    let differs = match (ip, network) {
        (IpAddr::V4(ip), IpAddr::V4(network)) => (ip.to_bits() ^ network.to_bits()).leading_zeros(),
        (IpAddr::V6(ip), IpAddr::V6(network)) => (ip.to_bits() ^ network.to_bits()).leading_zeros(),
        _ => return false,
    };
    differs >= u32::from(length)
}

/// A name that is too long loses labels on its left (RFC 7208, 7.3).
fn cut_to_name(text: &str) -> &str {
    let text = text.strip_suffix('.').unwrap_or(text);
    let Some(excess) = text.len().checked_sub(253).filter(|excess| *excess > 0) else {
        return text;
    };
    // The first dot behind which the rest fits.
    let dots = text.bytes().enumerate().skip(excess - 1);
    let cut = dots.filter(|(_, byte)| *byte == b'.').map(|(at, _)| at + 1).next();
    cut.and_then(|cut| text.get(cut..)).unwrap_or_default()
}
