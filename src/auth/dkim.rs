//! DKIM (RFC 6376): which domains have signed a message, and whether it is still what
//! they signed.
//!
//! Signatures and keys are strangers'. mail-auth reads both, brings the header into its
//! canonical form and does the arithmetic; what it does otherwise than the RFC says is
//! decided here. Of a message [`MAX_SIGNATURES`] signatures are looked at; each costs one
//! question, all asked at once, and one operation with a key.

use super::key::Claim;
use super::key::Flaw;
use super::key::Key;
use super::key::Keys;
use super::key::are_named;
use super::key::fields_of;
use super::key::is_usable;
use super::tags::have_doubles;
use super::tags::tag;
use super::tags::without_signature;
use crate::dns::Resolver;
use crate::message::DKIM_SIGNATURE;
use crate::message::MAX_SIGNATURES;
use crate::message::Signed;
use mail_auth::AuthenticatedMessage;
use mail_auth::common::to_a_label;
use mail_auth::dkim::Signature;

/// Of a selector or domain, in texts and header fields: what the DNS takes has 253.
const MAX_NAME_BYTES: usize = 253;

/// Of a signature's value, to tell it from others (RFC 6008, 2).
const MAX_PREFIX_BYTES: usize = 8;

const UNREADABLE: Flaw = Flaw { result: DkimResult::Neutral, reason: "it can't be read" };

/// What became of a signature (RFC 8601, 2.7.1), the most telling first.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum DkimResult {
    Pass,
    /// The DNS would not say whether it is valid.
    Temperror,
    Fail,
    /// It is valid, but covers too little to mean anything.
    Policy,
    Permerror,
    Neutral,
}

impl DkimResult {
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Temperror => "temperror",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Permerror => "permerror",
            Self::Neutral => "neutral",
        }
    }
}

/// One signature, as it was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DkimSignature {
    pub result: DkimResult,
    /// Why it is not valid; empty if it is.
    pub reason: &'static str,
    /// In the DNS's spelling and in lower case; empty if it can't be read.
    pub domain: String,
    pub selector: String,
    /// How the signature begins.
    pub prefix: String,
}

/// All signatures of a message, from the top. `now` in seconds.
pub async fn verify(signed: &Signed, resolver: &Resolver, now: u64) -> Vec<DkimSignature> {
    let fields: Vec<_> = signed.named(DKIM_SIGNATURE).take(MAX_SIGNATURES).collect();
    let signatures: Vec<_> = fields.iter().map(|(_, value)| parse(value)).collect();
    let looked_at: Vec<_> = signatures
        .iter()
        .map(|signature| match signature {
            Some(signature) => is_worth_a_question(signature, signed, now),
            None => Err(UNREADABLE),
        })
        .collect();
    let asked = signatures.iter().zip(&looked_at).filter(|(_, came_to)| came_to.is_ok());
    let names = asked.filter_map(|(signature, _)| claim(signature.as_ref()?).key_name());
    let keys = Keys::ask(names, resolver).await;
    let message = fields_of(signed.fields());
    let mut found = Vec::with_capacity(signatures.len());
    for (((name, value), signature), came_to) in fields.into_iter().zip(&signatures).zip(looked_at) {
        let came_to = came_to.and_then(|()| {
            let signature = signature.as_ref().ok_or(UNREADABLE)?;
            let key = keys.of(&claim(signature))?;
            is_valid(signature, &key, &message, (name, value), signed)
        });
        found.push(described(came_to, signature.as_ref(), value));
        // Others live on this thread.
        tokio::task::yield_now().await;
    }
    found
}

/// Of a tag that is there twice mail-auth takes the last, and others the first.
fn parse(value: &[u8]) -> Option<Signature> {
    Signature::parse(value).ok().filter(|_| !have_doubles(&String::from_utf8_lossy(value)))
}

fn claim(signature: &Signature) -> Claim<'_> {
    Claim {
        algorithm: signature.a,
        canonicalization: signature.ch,
        signature: &signature.b,
        domain: &signature.d,
        selector: &signature.s,
    }
}

/// All that is wrong without knowing the key.
fn is_worth_a_question(signature: &Signature, signed: &Signed, now: u64) -> Result<(), Flaw> {
    if signed.is_too_large() {
        return Err(Flaw::policy("the header is larger than is read"));
    }
    if signature.v != 1 {
        return Err(Flaw { result: DkimResult::Neutral, reason: "it is of no known version" });
    }
    is_usable(signature.a)?;
    are_named(&signature.h)?;
    if signature.x != 0 && (signature.x <= signature.t || signature.x <= now) {
        return Err(Flaw { result: DkimResult::Neutral, reason: "it has expired" });
    }
    let (user_domain, domain) = (user_domain(signature), signature.d.as_str());
    let is_within = user_domain.is_none_or(|user| {
        let before = user.to_ascii_lowercase();
        before.strip_suffix(domain).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    });
    if !is_within {
        return Err(Flaw::permerror("its user is of another domain"));
    }
    match signed.body_hash(signature.cb, signature.l) {
        Some(body) if body.hash == signature.bh => Ok(()),
        Some(_) => Err(Flaw::fail("the body was changed")),
        None => Err(Flaw::policy("the message is not whole")),
    }
}

fn is_valid(
    signature: &Signature,
    key: &Key,
    message: &AuthenticatedMessage<'_>,
    (name, value): (&[u8], &[u8]),
    signed: &Signed,
) -> Result<(), Flaw> {
    if key.is_strict && user_domain(signature).is_some_and(|user| !user.eq_ignore_ascii_case(&signature.d)) {
        return Err(Flaw::permerror("its key is not for subdomains"));
    }
    let bare = without_signature(value);
    claim(signature).is_proved(key, &mut message.signed_headers(&signature.h, name, &bare))?;
    let body = signed.body_hash(signature.cb, signature.l);
    // Whatever was put behind it, the signature would be valid.
    let is_part = signature.l != 0 && body.is_none_or(|body| body.bytes > signature.l);
    if is_part { Err(Flaw::policy("it signs only a part of the body")) } else { Ok(()) }
}

/// The domain of the user for whom it was signed.
fn user_domain(signature: &Signature) -> Option<&str> {
    if signature.i.is_empty() {
        return None;
    }
    Some(signature.i.rsplit_once('@').map_or("", |(_, domain)| domain))
}

fn described(came_to: Result<(), Flaw>, signature: Option<&Signature>, value: &[u8]) -> DkimSignature {
    let (result, reason) = match came_to {
        Ok(()) => (DkimResult::Pass, ""),
        Err(flaw) => (flaw.result, flaw.reason),
    };
    let name = |name: &str| match name.len() <= MAX_NAME_BYTES {
        true => to_a_label(name).into_owned(),
        false => String::new(),
    };
    let text = String::from_utf8_lossy(value);
    let prefix = tag(&text, "b").unwrap_or_default().chars();
    let prefix = prefix.filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '='));
    DkimSignature {
        result,
        reason,
        domain: signature.map(|signature| name(&signature.d)).unwrap_or_default(),
        selector: signature.map(|signature| name(&signature.s)).unwrap_or_default(),
        prefix: prefix.take(MAX_PREFIX_BYTES).collect(),
    }
}
