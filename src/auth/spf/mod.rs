//! SPF (RFC 7208): whether a host may send for a domain, as the domain says itself.
//!
//! The records are a stranger's, and may name further strangers. What they can ask for
//! is bounded in `evaluation.rs`; what is told of them is cleaned and cut here.

mod evaluation;
mod macros;
mod records;

use crate::dns::Resolver;
use crate::names::split_address;
use evaluation::Evaluation;
use evaluation::Patience;
use futures_util::FutureExt as _;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;

/// In UTF-8; the longest name of 253 bytes in ASCII has fewer than four times as many.
const MAX_DOMAIN_BYTES: usize = 1_000;

/// What is quoted of a stranger's record in logs and header fields.
const MAX_TERM_BYTES: usize = 120;

/// An explanation goes into a reply, which has 450 bytes.
const MAX_TEXT_BYTES: usize = 250;

/// A value in a header field: an address has at most 254 (RFC 5321), and the whole field
/// must stay below the 998 of RFC 5322.
const MAX_VALUE_BYTES: usize = 254;

/// Whose word is asked for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SpfIdentity {
    Helo,
    MailFrom,
}

impl SpfIdentity {
    pub fn word(self) -> &'static str {
        match self {
            Self::Helo => "helo",
            Self::MailFrom => "mailfrom",
        }
    }
}

/// What SPF comes to (RFC 7208, 2.6).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum SpfResult {
    Pass,
    Fail,
    Softfail,
    Neutral,
    None,
    Temperror,
    Permerror,
}

impl SpfResult {
    pub const ALL: [Self; 7] =
        [Self::Pass, Self::Fail, Self::Softfail, Self::Neutral, Self::None, Self::Temperror, Self::Permerror];

    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Softfail => "softfail",
            Self::Neutral => "neutral",
            Self::None => "none",
            Self::Temperror => "temperror",
            Self::Permerror => "permerror",
        }
    }
}

/// Whether this host may say so.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct SpfQuestion {
    pub ip: IpAddr,
    pub identity: SpfIdentity,
    /// As given; empty if there was none.
    pub helo: String,
    /// In internal form, `<>` for none; empty where only HELO is asked about.
    pub sender: String,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SpfAnswer {
    pub result: SpfResult,
    pub identity: SpfIdentity,
    /// Whose record was asked for, in lower case.
    pub domain: String,
    /// The term of the record that decided.
    pub mechanism: Option<String>,
    /// What the domain has to say to a client that fails: a stranger's text, in ASCII.
    pub text: Option<String>,
    /// Why there is no better result.
    pub problem: Option<&'static str>,
}

impl SpfQuestion {
    /// Postmaster speaks for a host that names no sender (RFC 7208, 2.4 and 4.3).
    fn local_and_domain(&self) -> (&str, &str) {
        let helo = ("", self.helo.as_str());
        let (local, domain) = match self.identity {
            SpfIdentity::Helo => helo,
            SpfIdentity::MailFrom if self.sender == "<>" => helo,
            SpfIdentity::MailFrom => split_address(&self.sender).unwrap_or((&self.sender, "")),
        };
        let local = if local.is_empty() { "postmaster" } else { local };
        (local, domain.strip_suffix('.').unwrap_or(domain))
    }

    /// What can be said at once, without waiting for anybody.
    pub fn known(&self, resolver: &Resolver) -> Option<SpfAnswer> {
        self.ask(resolver, Patience::None).now_or_never()
    }

    /// The answer; how long it may take is the caller's to bound.
    pub async fn answer(&self, resolver: &Resolver) -> SpfAnswer {
        self.ask(resolver, Patience::Endless).await
    }

    async fn ask(&self, resolver: &Resolver, patience: Patience) -> SpfAnswer {
        let (local, domain) = self.local_and_domain();
        let Some(domain) = in_ascii(domain) else {
            // RFC 7208, 4.3: what is no name of a domain has no policy.
            return SpfAnswer { problem: Some("not the name of a domain"), ..self.plain(SpfResult::None) };
        };
        let evaluation = Evaluation::new(self.ip, (local, &domain), &self.helo, resolver, patience);
        let found = evaluation.run(&domain).await;
        SpfAnswer {
            result: found.result,
            identity: self.identity,
            mechanism: found.mechanism.map(|mechanism| clean(&mechanism, MAX_TERM_BYTES)),
            text: found.text.map(|text| clean(&text, MAX_TEXT_BYTES)).filter(|text| !text.is_empty()),
            problem: found.problem,
            domain: domain.into_owned(),
        }
    }

    /// An answer that says nothing but the result.
    pub fn plain(&self, result: SpfResult) -> SpfAnswer {
        let (_, domain) = self.local_and_domain();
        let domain = clean(domain, MAX_VALUE_BYTES).to_ascii_lowercase();
        SpfAnswer { result, identity: self.identity, domain, mechanism: None, text: None, problem: None }
    }
}

impl SpfAnswer {
    /// What made the result, in a few words.
    pub fn reason(&self) -> String {
        match (self.problem, &self.mechanism, self.result) {
            (Some(problem), ..) => problem.into(),
            (None, Some(mechanism), _) => format!("matched {mechanism}"),
            (None, None, SpfResult::None) => "no record".into(),
            (None, None, _) => "nothing matched".into(),
        }
    }

    /// The value of a field `Received-SPF` (RFC 7208, 9.1). Whatever strangers say in it
    /// stands in quotes.
    pub fn received(&self, question: &SpfQuestion) -> String {
        let mut value = self.result.word().to_owned();
        let mut pair = |start: &str, key: &str, text: &str| {
            let _ = write!(value, "{start} {key}={}", word_or_quoted(text));
        };
        pair("", "client-ip", &question.ip.to_string());
        if self.identity == SpfIdentity::MailFrom {
            pair(";", "envelope-from", &question.sender);
        }
        pair(";", "helo", &question.helo);
        pair(";", "identity", self.identity.word());
        if let Some(mechanism) = &self.mechanism {
            pair(";", "mechanism", mechanism);
        }
        if let Some(problem) = self.problem {
            pair(";", "problem", problem);
        }
        value
    }
}

/// A name with several labels, as it is asked for (RFC 7208, 4.3). Underscores stand in
/// no host's name, but in some senders'.
fn in_ascii(domain: &str) -> Option<Cow<'_, str>> {
    if domain.len() > MAX_DOMAIN_BYTES {
        return None;
    }
    let domain = match domain.is_ascii() {
        true => Cow::from(domain),
        false => Cow::from(idna::domain_to_ascii(domain).ok()?),
    };
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    let fits = domain.len() <= 253 && domain.contains('.') && domain.split('.').all(is_label);
    let is_folded = !domain.bytes().any(|b| b.is_ascii_uppercase());
    fits.then(|| if is_folded { domain } else { domain.to_ascii_lowercase().into() })
}

/// Printable ASCII; what is not becomes `?`.
fn clean(text: &str, max: usize) -> String {
    let printable = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    text.trim().chars().take(max).map(printable).collect()
}

/// A dot-atom where the text is one, else a quoted-string (RFC 5322, 3.2.3 and 3.2.4).
fn word_or_quoted(text: &str) -> String {
    let is_atom = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&c);
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(is_atom);
    if text.len() <= MAX_VALUE_BYTES && text.split('.').all(is_word) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in clean(text, MAX_VALUE_BYTES).chars() {
        let escape = if matches!(c, '"' | '\\') { "\\" } else { "" };
        if quoted.len() + escape.len() >= MAX_VALUE_BYTES {
            break;
        }
        quoted.push_str(escape);
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
