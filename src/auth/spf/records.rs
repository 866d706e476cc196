//! Records that have been read, for as long as the DNS answers with them: reading takes
//! longer than all that follows.
//!
//! Strangers choose whose record is asked for: the memory is bounded in bytes, and what
//! is asked again and again stays.

use super::macros::may_be_name;
use crate::dns::Name;
use crate::dns::Record;
use foldhash::fast::RandomState;
use quick_cache::OptionsBuilder;
use quick_cache::Weighter;
use quick_cache::sync;
use std::sync::Arc;
use viaspf_record::DomainSpec;
use viaspf_record::Mechanism;
use viaspf_record::Modifier;
use viaspf_record::SpfRecord;
use viaspf_record::Term;

/// Some 10,000 domains; a server has mail from fewer in an hour.
const MAX_BYTES: u64 = 16 << 20;

/// The longest records in use have a few thousand bytes; a macro of four bytes may stand
/// for 300.
const MAX_RECORD_BYTES: usize = 16 * 1024;

/// Of what is kept of a domain beside its texts.
const ENTRY_BYTES: usize = 300;

/// The one record of a domain (RFC 7208, 4.5), or what is wrong with it.
pub(super) type Read = Result<Option<Arc<SpfRecord>>, &'static str>;

#[derive(Clone)]
struct Kept {
    /// What it was read from.
    answer: Arc<[Record]>,
    read: Read,
}

pub(super) struct Records {
    kept: sync::Cache<Name, Kept, Bytes, RandomState>,
}

impl Records {
    pub(super) fn new() -> Self {
        let items = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX) / ENTRY_BYTES / 4;
        let options =
            OptionsBuilder::new().estimated_items_capacity(items).weight_capacity(MAX_BYTES).build();
        // Both numbers are given: that is all it can miss.
        let Ok(options) = options else { unreachable!("a capacity is given") };
        Self { kept: sync::Cache::with_options(options, Bytes, RandomState::default(), Default::default()) }
    }

    /// As it was read before, if the answer is the same.
    pub(super) fn read(&self, name: &Name, answer: &Arc<[Record]>) -> Read {
        if let Some(kept) = self.kept.get(name).filter(|kept| Arc::ptr_eq(&kept.answer, answer)) {
            return kept.read;
        }
        let read = read(answer);
        self.kept.insert(name.clone(), Kept { answer: Arc::clone(answer), read: read.clone() });
        read
    }
}

pub(super) fn read(answer: &[Record]) -> Read {
    let mut records = answer.iter().filter_map(|record| match record {
        Record::Txt(bytes) if is_spf(bytes) => Some(bytes),
        _ => None,
    });
    let Some(bytes) = records.next() else {
        return Ok(None);
    };
    if records.next().is_some() {
        return Err("more than one SPF record");
    }
    if bytes.len() > MAX_RECORD_BYTES {
        return Err("SPF record too long");
    }
    let record: Option<SpfRecord> = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
    let record = record.filter(names_are_names).ok_or("SPF record can't be read")?;
    let count = |which: fn(&Modifier) -> bool| record.modifiers().filter(|modifier| which(modifier)).count();
    // Either may stand once (RFC 7208, 6).
    if count(|it| matches!(it, Modifier::Redirect(_))) > 1
        || count(|it| matches!(it, Modifier::Explanation(_))) > 1
    {
        return Err("redirect= or exp= stands twice");
    }
    Ok(Some(Arc::new(record)))
}

/// Exactly this version, at the end or before a blank (RFC 7208, 4.5).
fn is_spf(bytes: &[u8]) -> bool {
    let version = b"v=spf1";
    let starts = bytes.get(..version.len()).is_some_and(|start| start.eq_ignore_ascii_case(version));
    starts && bytes.get(version.len()).is_none_or(|byte| *byte == b' ')
}

/// The grammar of all macros is one; some must not stand in names.
fn names_are_names(record: &SpfRecord) -> bool {
    let of_terms = record.directives().filter_map(|directive| spec_of(&directive.mechanism));
    let of_modifiers = record.modifiers().filter_map(|modifier| match modifier {
        Modifier::Redirect(redirect) => Some(&redirect.domain_spec),
        Modifier::Explanation(explanation) => Some(&explanation.domain_spec),
        Modifier::Unknown(_) => None,
    });
    of_terms.chain(of_modifiers).all(|spec| may_be_name(spec.as_ref()))
}

/// The name in a term, if it has one.
pub(super) fn spec_of(mechanism: &Mechanism) -> Option<&DomainSpec> {
    match mechanism {
        Mechanism::A(a) => a.domain_spec.as_ref(),
        Mechanism::Exists(exists) => Some(&exists.domain_spec),
        Mechanism::Include(include) => Some(&include.domain_spec),
        Mechanism::Mx(mx) => mx.domain_spec.as_ref(),
        Mechanism::Ptr(ptr) => ptr.domain_spec.as_ref(),
        Mechanism::All | Mechanism::Ip4(_) | Mechanism::Ip6(_) => None,
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Name, Kept> for Bytes {
    fn weight(&self, name: &Name, kept: &Kept) -> u64 {
        let texts: usize = kept
            .answer
            .iter()
            .map(|record| match record {
                Record::Txt(bytes) => 48 + bytes.len(),
                _ => 48,
            })
            .sum();
        let terms = kept.read.as_ref().ok().and_then(Option::as_ref).map_or(0, |record| record.terms.len());
        // What stands in terms is a part of the text.
        let bytes = ENTRY_BYTES + name.as_str().len() + 2 * texts + terms * (size_of::<Term>() + 32);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txt(text: &str) -> Arc<[Record]> {
        [Record::Txt(text.as_bytes().into())].into()
    }

    #[test]
    fn a_record_is_read_once_for_each_answer() {
        let records = Records::new();
        let name = Name::parse("a.test").unwrap();
        let (one, other) = (txt("v=spf1 -all"), txt("v=spf1 -all"));
        let ask = |answer| records.read(&name, answer).unwrap().unwrap();
        let first = ask(&one);
        assert!(Arc::ptr_eq(&first, &ask(&one)));
        assert!(!Arc::ptr_eq(&first, &ask(&other)));
        let none = txt("v=spf10 -all");
        assert_eq!(records.read(&name, &none), Ok(None));
        assert_eq!(records.read(&name, &txt("v=spf1 a:%{c}.b.test")), Err("SPF record can't be read"));
    }

    #[test]
    fn what_strangers_have_read_is_bounded() {
        let records = Records::new();
        let long = "a ".repeat(8_000);
        for number in 0..200 {
            let name = Name::parse(&format!("n{number}.test")).unwrap();
            assert!(records.read(&name, &txt(&format!("v=spf1 {long}"))).is_ok());
        }
        assert!(records.kept.weight() <= MAX_BYTES, "{}", records.kept.weight());
        assert!(records.kept.len() < 100, "{}", records.kept.len());
    }
}
