//! ARC (RFC 8617): what those who forwarded a message say it was like when it reached
//! them, each under seal.
//!
//! The chain is a stranger's. It has [`MAX_ARC_SETS`] sets at most; the keys are asked for
//! all at once, and each seal costs one operation with a key. A chain that holds says
//! who forwarded the message, and nothing of whether they are to be believed.

use super::dkim::DkimResult;
use super::key::Claim;
use super::key::Flaw;
use super::key::Keys;
use super::key::are_named;
use super::key::fields_of;
use super::key::is_usable;
use super::tags::without_signature;
use crate::dns::Resolver;
use crate::message::ARC_SIGNATURE;
use crate::message::MAX_ARC_SETS;
use crate::message::Signed;
use mail_auth::arc::ChainValidation;
use mail_auth::arc::Results;
use mail_auth::arc::Seal;
use mail_auth::arc::Signature;
use mail_auth::common::to_a_label;
use mail_auth::dkim::Canonicalization;

const SEAL: &str = "ARC-Seal";
const RESULTS: &str = "ARC-Authentication-Results";

/// What the DNS takes.
const MAX_NAME_BYTES: usize = 253;

/// What became of a chain (RFC 8617, 4.4); for a failing DNS it has no word.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum ArcResult {
    Fail,
    None,
    Pass,
    Temperror,
}

impl ArcResult {
    pub fn word(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::None => "none",
            Self::Pass => "pass",
            Self::Temperror => "temperror",
        }
    }
}

/// The whole chain of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ArcChain {
    pub result: ArcResult,
    /// Why it does not hold; empty if it does, or there is none.
    pub reason: &'static str,
    /// Who has sealed it, the newest first; empty if it does not hold.
    pub sealers: Vec<String>,
}

impl ArcChain {
    pub const NONE: Self = Self { result: ArcResult::None, reason: "", sealers: Vec::new() };

    /// Whether a message has anything of a chain.
    pub fn may_be_in(signed: &Signed) -> bool {
        [SEAL, ARC_SIGNATURE, RESULTS].iter().any(|name| signed.named(name).next().is_some())
    }
}

type Field<'m> = (&'m [u8], &'m [u8]);

/// What one forwarder has added.
struct Set<'m> {
    seal: Seal,
    seal_field: Field<'m>,
    signature: Signature,
    signature_field: Field<'m>,
    results_field: Field<'m>,
}

/// `now` in seconds.
pub async fn verify(signed: &Signed, resolver: &Resolver, now: u64) -> ArcChain {
    if !ArcChain::may_be_in(signed) {
        return ArcChain::NONE;
    }
    match chain(signed, resolver, now).await {
        Ok(sets) => {
            let name = |name: &str| match name.len() <= MAX_NAME_BYTES {
                true => to_a_label(name).into_owned(),
                false => String::new(),
            };
            let sealers = sets.iter().rev().map(|set| name(&set.seal.d)).collect();
            ArcChain { result: ArcResult::Pass, reason: "", sealers }
        }
        Err(flaw) => {
            let is_temporary = flaw.result == DkimResult::Temperror;
            let result = if is_temporary { ArcResult::Temperror } else { ArcResult::Fail };
            ArcChain { result, reason: flaw.reason, sealers: Vec::new() }
        }
    }
}

/// The sets, the oldest first, if the chain holds (RFC 8617, 5.2).
async fn chain<'m>(signed: &'m Signed, resolver: &Resolver, now: u64) -> Result<Vec<Set<'m>>, Flaw> {
    let sets = sets(signed)?;
    let Some(newest) = sets.last() else {
        return Err(Flaw::fail("it has no set"));
    };
    is_current(newest, signed, now)?;
    let names = sets.iter().filter_map(|set| seal_claim(&set.seal).key_name());
    let names = names.chain(signature_claim(&newest.signature).key_name());
    let keys = Keys::ask(names, resolver).await;
    let message = fields_of(signed.fields());
    {
        let claim = signature_claim(&newest.signature);
        let (name, value) = newest.signature_field;
        let bare = without_signature(value);
        let mut fields = message.signed_headers(&newest.signature.h, name, &bare);
        claim.is_proved(&keys.of(&claim)?, &mut fields)?;
    }
    for (number, set) in sets.iter().enumerate().rev() {
        let claim = seal_claim(&set.seal);
        let key = keys.of(&claim)?;
        let bare = without_signature(set.seal_field.1);
        let before = sets.iter().take(number);
        let before = before.flat_map(|set| [set.results_field, set.signature_field, set.seal_field]);
        let own = [set.results_field, set.signature_field, (set.seal_field.0, bare.as_slice())];
        claim.is_proved(&key, &mut before.chain(own))?;
        // Others live on this thread.
        tokio::task::yield_now().await;
    }
    drop(message);
    Ok(sets)
}

fn seal_claim(seal: &Seal) -> Claim<'_> {
    Claim {
        algorithm: seal.a,
        canonicalization: Canonicalization::Relaxed,
        signature: &seal.b,
        domain: &seal.d,
        selector: &seal.s,
    }
}

fn signature_claim(signature: &Signature) -> Claim<'_> {
    Claim {
        algorithm: signature.a,
        canonicalization: signature.ch,
        signature: &signature.b,
        domain: &signature.d,
        selector: &signature.s,
    }
}

/// One field of each kind for every number from 1 on.
fn sets(signed: &Signed) -> Result<Vec<Set<'_>>, Flaw> {
    if signed.is_too_large() {
        return Err(Flaw::fail("the header is larger than is read"));
    }
    const UNREADABLE: Flaw = Flaw::fail("a field of it can't be read");
    const BROKEN: Flaw = Flaw::fail("a set of it is missing, or there twice");
    let [mut seals, mut signatures, mut results] = [SEAL, ARC_SIGNATURE, RESULTS]
        .map(|name| signed.named(name).take(MAX_ARC_SETS + 1).collect::<Vec<_>>().into_iter());
    let count = seals.len();
    if count > MAX_ARC_SETS {
        return Err(Flaw::fail("it has more than 50 sets"));
    }
    if signatures.len() != count || results.len() != count {
        return Err(BROKEN);
    }
    let read = |field: Field<'_>| Seal::parse(field.1).map_err(|_| UNREADABLE);
    let mut seals: Vec<_> = seals.by_ref().map(|it| Ok((read(it)?, it))).collect::<Result<_, Flaw>>()?;
    let read = |field: Field<'_>| Signature::parse(field.1).map_err(|_| UNREADABLE);
    let mut signatures: Vec<_> =
        signatures.by_ref().map(|it| Ok((read(it)?, it))).collect::<Result<_, Flaw>>()?;
    let read = |field: Field<'_>| Results::parse(field.1).map_err(|_| UNREADABLE);
    let mut results: Vec<_> = results.by_ref().map(|it| Ok((read(it)?, it))).collect::<Result<_, Flaw>>()?;
    seals.sort_by_key(|(seal, _)| seal.i);
    signatures.sort_by_key(|(signature, _)| signature.i);
    results.sort_by_key(|(results, _)| results.i);
    let mut sets = Vec::with_capacity(count);
    for (((seal, seal_field), (signature, signature_field)), (results, results_field)) in
        seals.into_iter().zip(signatures).zip(results)
    {
        let number = u32::try_from(sets.len() + 1).unwrap_or(u32::MAX);
        if [seal.i, signature.i, results.i] != [number; 3] {
            return Err(BROKEN);
        }
        let expected = if number == 1 { ChainValidation::None } else { ChainValidation::Pass };
        if seal.cv != expected {
            return Err(Flaw::fail("one of its forwarders found it broken"));
        }
        is_usable(seal.a).map_err(|flaw| Flaw::fail(flaw.reason))?;
        sets.push(Set { seal, seal_field, signature, signature_field, results_field });
    }
    Ok(sets)
}

/// Whether the newest set is about this body.
fn is_current(newest: &Set<'_>, signed: &Signed, now: u64) -> Result<(), Flaw> {
    let signature = &newest.signature;
    is_usable(signature.a)?;
    are_named(&signature.h)?;
    if signature.x != 0 && (signature.x <= signature.t || signature.x <= now) {
        return Err(Flaw::fail("it has expired"));
    }
    match signed.body_hash(signature.cb, signature.l) {
        Some(body) if body.hash == signature.bh && (signature.l == 0 || body.bytes <= signature.l) => Ok(()),
        Some(_) => Err(Flaw::fail("the body was changed since it was last forwarded")),
        None => Err(Flaw::fail("the message is not whole")),
    }
}
