//! What a message of a name server says about a name.
//!
//! Whoever owns the name wrote it, and the server passed it on: aliases are followed so
//! far and no further, records are taken up to a number, and what can't be a name is none.

use super::Absence;
use super::Answer;
use super::Failure;
use super::Kind;
use super::MAX_ALIASES;
use super::Name;
use super::Question;
use super::Record;
use hickory_net::proto::op::DnsResponse;
use hickory_net::proto::op::ResponseCode;
use hickory_net::proto::rr;
use hickory_net::proto::rr::DNSClass;
use hickory_net::proto::rr::RData;
use hickory_net::proto::rr::RecordType;

/// Records of one message. Honest names have dozens at most; a part of them would say
/// the wrong thing, such as an SPF record that lacks an address.
const MAX_RECORDS: usize = 256;

impl Kind {
    pub(super) fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Mx => RecordType::MX,
            Self::Ptr => RecordType::PTR,
            Self::Txt => RecordType::TXT,
        }
    }
}

/// An answer, and for how many seconds whoever wrote it lets it be kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) answer: Answer,
    pub(super) ttl: Option<u32>,
}

/// What nobody has given a time to.
impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self { answer, ttl: None }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Self {
        Answer::Failed(failure).into()
    }
}

/// A name on its way through its aliases.
#[derive(Debug)]
pub(super) struct Chain {
    kind: Kind,
    /// Whose records are looked for now.
    pub(super) name: rr::Name,
    ttl: u32,
    aliases: usize,
}

impl Chain {
    /// None for a name that can't be asked for.
    pub(super) fn new(question: &Question) -> Option<Self> {
        // By labels: in hickory's texts a backslash begins an escape.
        let name = rr::Name::from_labels(question.name.as_str().split('.').map(str::as_bytes)).ok()?;
        Some(Self { kind: question.kind, name, ttl: u32::MAX, aliases: 0 })
    }

    /// None: the message has only a part of the aliases, and their last has to be asked
    /// for.
    pub(super) fn read(&mut self, message: &DnsResponse) -> Option<Reply> {
        if message.answers.len() > MAX_RECORDS || message.truncation {
            return Some(Failure::Malformed.into());
        }
        let before = self.aliases;
        while let Some((target, ttl)) = alias(message, &self.name) {
            if self.aliases == MAX_ALIASES {
                return Some(Failure::Malformed.into());
            }
            self.aliases += 1;
            self.ttl = self.ttl.min(ttl);
            self.name = target.clone();
        }
        let of_kind = |record: &&rr::Record| {
            record.dns_class == DNSClass::IN
                && record.record_type() == self.kind.record_type()
                && record.name == self.name
        };
        let found = message.answers.iter().filter(of_kind);
        let ttl = found.clone().map(|record| record.ttl).fold(self.ttl, u32::min);
        let records: Vec<_> = found.clone().filter_map(|found| record(&found.data)).collect();
        if !records.is_empty() {
            return Some(Reply { answer: Answer::Records(records.into()), ttl: Some(ttl) });
        }
        let negative = message.negative_ttl().map(|ttl| ttl.min(self.ttl));
        let absent = |absence| Some(Reply { answer: Answer::Absent(absence), ttl: negative });
        if message.response_code == ResponseCode::NXDomain {
            return absent(Absence::NoName);
        }
        // There are some, and none can be used.
        if found.clone().next().is_some() {
            return Some(Reply { answer: Answer::Absent(Absence::NoRecord), ttl: Some(ttl) });
        }
        let has_soa = negative.is_some();
        if self.aliases > before && !has_soa {
            return None;
        }
        // "Ask those": a server that asks nobody for us.
        let refers = message.authorities.iter().any(|record| record.record_type() == RecordType::NS);
        if refers && !has_soa {
            return Some(Failure::Refused.into());
        }
        absent(Absence::NoRecord)
    }
}

/// What a server says instead of an answer.
pub(super) fn failure(message: &DnsResponse) -> Option<Failure> {
    match message.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => None,
        ResponseCode::Refused => Some(Failure::Refused),
        _ => Some(Failure::ServFail),
    }
}

fn alias<'m>(message: &'m DnsResponse, name: &rr::Name) -> Option<(&'m rr::Name, u32)> {
    message.answers.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *name && record.dns_class == DNSClass::IN => {
            Some((&target.0, record.ttl))
        }
        _ => None,
    })
}

fn record(data: &RData) -> Option<Record> {
    Some(match data {
        RData::A(ip) => Record::A(ip.0),
        RData::AAAA(ip) => Record::Aaaa(ip.0),
        RData::MX(mx) if mx.exchange.is_root() => Record::Mx { preference: mx.preference, exchange: None },
        RData::MX(mx) => Record::Mx { preference: mx.preference, exchange: Some(name(&mx.exchange)?) },
        RData::PTR(host) => Record::Ptr(name(&host.0)?),
        RData::TXT(text) => Record::Txt(text.txt_data.concat().into()),
        _ => return None,
    })
}

/// None for what is no name to us: the root, blanks, bytes that are not ASCII, a dot
/// inside a label.
fn name(wire: &rr::Name) -> Option<Name> {
    let mut text = String::new();
    for label in wire.iter() {
        let label = str::from_utf8(label).ok().filter(|label| !label.contains('.'))?;
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(label);
    }
    Name::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_net::proto::op::Message;
    use hickory_net::proto::op::OpCode;
    use hickory_net::proto::op::Query;
    use hickory_net::proto::rr::rdata;
    use proptest::prelude::*;

    fn packet() -> Vec<u8> {
        let name = rr::Name::from_labels(["a", "test"]).unwrap();
        let target = rr::Name::from_labels(["b", "a", "test"]).unwrap();
        let mut message = Message::response(7, OpCode::Query);
        message.add_query(Query::query(name.clone(), RecordType::MX));
        message.add_answer(rr::Record::from_rdata(name, 60, RData::CNAME(rdata::CNAME(target.clone()))));
        let mx = RData::MX(rdata::MX::new(10, target.clone()));
        message.add_answer(rr::Record::from_rdata(target, 60, mx));
        message.to_vec().unwrap()
    }

    proptest! {
        /// Whatever is in it, it is read to an end, and what it brings is bounded.
        #[test]
        fn any_packet_can_be_read(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
            let mut packet = packet();
            for (at, byte) in changes {
                *at.get_mut(&mut packet) = byte;
            }
            if let Ok(message) = DnsResponse::from_buffer(packet) {
                for kind in [Kind::A, Kind::Mx] {
                    let mut chain = Chain::new(&Question::new(Name::parse("a.test").unwrap(), kind)).unwrap();
                    let reply = chain.read(&message);
                    prop_assert!(chain.aliases <= MAX_ALIASES);
                    prop_assert!(reply.is_none_or(|reply| reply.answer.records().len() <= MAX_RECORDS));
                }
            }
        }
    }
}
