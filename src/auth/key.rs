//! Keys of signers as the DNS has them (RFC 6376, 3.6), asked for all at once; and
//! whether a signature was made with one.
//!
//! The records are a stranger's. A key that is too weak to prove anything, or so long
//! that it is a burden, is refused before it is used.

use super::dkim::DkimResult;
use super::tags::tag;
use crate::dns::Answer;
use crate::dns::Kind;
use crate::dns::Name;
use crate::dns::Question;
use crate::dns::Record;
use crate::dns::Resolver;
use futures_util::future::join_all;
use mail_auth::AuthenticatedMessage;
use mail_auth::Error;
use mail_auth::common::crypto::Algorithm;
use mail_auth::common::crypto::CryptoError;
use mail_auth::common::crypto::HashAlgorithm;
use mail_auth::common::parse::TxtRecordParser as _;
use mail_auth::common::to_a_label;
use mail_auth::common::verify::DomainKey;
use mail_auth::dkim::Canonicalization;
use mail_auth::dkim::DkimError;

/// RFC 8301, 3.2: shorter ones prove nothing.
const MIN_RSA_BITS: usize = 1_024;

/// What ring uses at most; 4,096 is the longest that signers have to use.
const MAX_RSA_BITS: usize = 8_192;

/// Header fields that a signature may name: each is looked for. Signers name a few dozen.
const MAX_NAMED_FIELDS: usize = 500;

/// Longer ones are no names of the DNS, in whichever spelling.
const MAX_NAME_BYTES: usize = 1_000;

/// Why a signature is not valid.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Flaw {
    pub result: DkimResult,
    pub reason: &'static str,
}

impl Flaw {
    pub(super) const fn fail(reason: &'static str) -> Self {
        Self { result: DkimResult::Fail, reason }
    }

    pub(super) const fn permerror(reason: &'static str) -> Self {
        Self { result: DkimResult::Permerror, reason }
    }

    pub(super) const fn policy(reason: &'static str) -> Self {
        Self { result: DkimResult::Policy, reason }
    }

    pub(super) const fn temperror(reason: &'static str) -> Self {
        Self { result: DkimResult::Temperror, reason }
    }
}

/// What a signature says of itself, of whichever kind it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'s> {
    pub algorithm: Algorithm,
    pub canonicalization: Canonicalization,
    pub signature: &'s [u8],
    pub domain: &'s str,
    pub selector: &'s str,
}

impl Claim<'_> {
    /// None if it names nothing that could be asked for.
    pub(super) fn key_name(&self) -> Option<Name> {
        if self.domain.len() + self.selector.len() > MAX_NAME_BYTES {
            return None;
        }
        let (selector, domain) = (to_a_label(self.selector), to_a_label(self.domain));
        Name::parse(&format!("{selector}._domainkey.{domain}"))
    }

    /// Whether the key has signed these fields.
    pub(super) fn is_proved<'f>(
        &self,
        key: &Key,
        fields: &mut dyn Iterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Result<(), Flaw> {
        let bits = key.key.p.public_key_bits();
        // Of a key of another kind the algorithm is told apart below.
        let is_rsa = self.algorithm == Algorithm::RsaSha256 && bits != usize::MAX;
        match bits {
            0 if is_rsa => return Err(Flaw::permerror("its key can't be read")),
            1..MIN_RSA_BITS if is_rsa => return Err(Flaw::permerror("its key has less than 1024 bits")),
            bits if is_rsa && bits > MAX_RSA_BITS => {
                return Err(Flaw::permerror("its key has more than 8192 bits"));
            }
            _ => {}
        }
        match key.key.p.verify(fields, self.signature, self.canonicalization, self.algorithm) {
            Ok(()) => Ok(()),
            Err(Error::Crypto(CryptoError::IncompatibleAlgorithms)) => {
                Err(Flaw::permerror("its key is for another algorithm"))
            }
            Err(_) => Err(Flaw::fail("its header was changed, or its key is another")),
        }
    }
}

/// RFC 8301, 3.1 for SHA-1.
pub(super) fn is_usable(algorithm: Algorithm) -> Result<(), Flaw> {
    match algorithm {
        Algorithm::RsaSha1 => Err(Flaw::permerror("rsa-sha1 proves nothing any more")),
        Algorithm::Ed25519Sha256 | Algorithm::RsaSha256 => Ok(()),
    }
}

/// What every signature over fields of a header must name.
pub(super) fn are_named(fields: &[String]) -> Result<(), Flaw> {
    if fields.len() > MAX_NAMED_FIELDS {
        return Err(Flaw::policy("it names more header fields than are looked for"));
    }
    let has_from = fields.iter().any(|name| name.eq_ignore_ascii_case("from"));
    if has_from { Ok(()) } else { Err(Flaw::permerror("it does not sign the field From")) }
}

/// The fields of a message, from which signatures pick theirs.
pub(super) fn fields_of<'m>(fields: impl Iterator<Item = (&'m [u8], &'m [u8])>) -> AuthenticatedMessage<'m> {
    AuthenticatedMessage { headers: fields.collect(), ..AuthenticatedMessage::default() }
}

/// One key with what its owner allows.
pub(super) struct Key {
    key: DomainKey,
    /// Not for users of subdomains (`t=s`).
    pub is_strict: bool,
}

impl Key {
    fn parse(record: &[u8]) -> Result<Self, Flaw> {
        let key = DomainKey::parse(record).map_err(|error| match error {
            Error::Dkim(DkimError::RevokedPublicKey) => Flaw::permerror("its key was withdrawn"),
            Error::Dkim(DkimError::UnsupportedKeyType) => Flaw::permerror("its key is of an unknown kind"),
            _ => Flaw::permerror("its key can't be read"),
        })?;
        let text = String::from_utf8_lossy(record);
        let has = |name: &str, words: &[&str]| {
            let value = tag(&text, name)?;
            Some(value.split(':').any(|word| words.iter().any(|it| it.eq_ignore_ascii_case(word.trim()))))
        };
        if has("s", &["*", "email"]) == Some(false) {
            return Err(Flaw::permerror("its key is not for mail"));
        }
        if has("h", &[HashAlgorithm::Sha256.name()]) == Some(false) {
            return Err(Flaw::permerror("its key is not for SHA-256"));
        }
        Ok(Self { key, is_strict: has("t", &["s"]) == Some(true) })
    }
}

/// What the DNS says of all the keys of a message.
#[derive(Debug, Default)]
pub(super) struct Keys {
    answers: Vec<(Name, Answer)>,
}

impl Keys {
    pub(super) async fn ask(names: impl IntoIterator<Item = Name>, resolver: &Resolver) -> Self {
        let mut wanted: Vec<Name> = Vec::new();
        for name in names {
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        let asked = wanted.into_iter().map(|name| async move {
            let answer = resolver.ask(&Question::new(name.clone(), Kind::Txt)).await;
            (name, answer)
        });
        Self { answers: join_all(asked).await }
    }

    pub(super) fn of(&self, claim: &Claim<'_>) -> Result<Key, Flaw> {
        let name = claim.key_name().ok_or(Flaw::permerror("its key has no possible name"))?;
        let answer = self.answers.iter().find(|(asked, _)| *asked == name).map(|(_, answer)| answer);
        match answer {
            Some(Answer::Records(records)) => {
                let texts = records.iter().filter_map(|record| match record {
                    Record::Txt(text) => Some(Key::parse(text)),
                    _ => None,
                });
                // Of several, one that can be used (RFC 6376, 3.6.2.2 leaves it open).
                let mut best = Err(Flaw::permerror("its key can't be read"));
                for key in texts {
                    let is_fine = key.is_ok();
                    best = key;
                    if is_fine {
                        break;
                    }
                }
                best
            }
            Some(Answer::Absent(_)) => Err(Flaw::permerror("there is no such key")),
            Some(Answer::Failed(_)) => Err(Flaw::temperror("the DNS can't say what its key is")),
            Some(Answer::Silent) | None => Err(Flaw::temperror("nobody answers what its key is")),
        }
    }
}
