//! A name server on a free port of the loopback that answers from a text, with what no
//! real one has: names that time out, and bytes that are no text.

use gatepost::dns::Absence;
use gatepost::dns::Answer;
use gatepost::dns::Failure;
use gatepost::dns::Kind;
use gatepost::dns::Name;
use gatepost::dns::Question;
use gatepost::dns::Record;
use gatepost::dns::Zone;
use std::net::SocketAddr;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

const HEADER_BYTES: usize = 12;

/// It ends with its socket, once nobody asks any more.
pub(crate) struct ZoneServer {
    pub address: SocketAddr,
}

impl ZoneServer {
    pub(crate) fn start(zone: &str) -> Self {
        let zone = Zone::parse(zone).unwrap_or_else(|(line, why)| panic!("{line}: {why}\n{zone}"));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut packet = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut packet) {
                if let Some(reply) = reply(&zone, &packet[..length]) {
                    let _ = socket.send_to(&reply, client);
                }
            }
        });
        Self { address }
    }
}

/// None: no answer at all.
fn reply(zone: &Zone, packet: &[u8]) -> Option<Vec<u8>> {
    let (name, end) = name_in(packet)?;
    let kind = match u16::from_be_bytes([packet[end], packet[end + 1]]) {
        1 => Kind::A,
        12 => Kind::Ptr,
        15 => Kind::Mx,
        16 => Kind::Txt,
        28 => Kind::Aaaa,
        _ => return None,
    };
    let answer = zone.answer(&Question::new(Name::parse_any(&name)?, kind));
    let code = match &answer {
        Answer::Silent => return None,
        Answer::Absent(Absence::NoName) => 3,
        Answer::Failed(Failure::Refused) => 5,
        Answer::Failed(_) => 2,
        Answer::Records(_) | Answer::Absent(Absence::NoRecord) => 0,
    };
    let count = u16::try_from(answer.records().len()).unwrap();
    let mut reply = packet[..2].to_vec();
    // An answer, with authority and recursion, of one question.
    reply.extend([0x85, 0x80 | code, 0, 1]);
    reply.extend(count.to_be_bytes());
    reply.extend([0; 4]);
    reply.extend(&packet[HEADER_BYTES..end + 4]);
    for record in answer.records() {
        let (kind, data) = data_of(record);
        // The name in question, class IN, five minutes.
        reply.extend([0xc0, HEADER_BYTES as u8, 0, kind, 0, 1, 0, 0, 1, 44]);
        reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        reply.extend(data);
    }
    Some(reply)
}

/// The name in question, and where it ends.
fn name_in(packet: &[u8]) -> Option<(String, usize)> {
    let (mut at, mut labels) = (HEADER_BYTES, Vec::new());
    while packet[at] != 0 {
        let end = at + 1 + usize::from(packet[at]);
        labels.push(std::str::from_utf8(&packet[at + 1..end]).ok()?);
        at = end;
    }
    Some((labels.join("."), at + 1))
}

fn data_of(record: &Record) -> (u8, Vec<u8>) {
    match record {
        Record::A(ip) => (1, ip.octets().into()),
        Record::Aaaa(ip) => (28, ip.octets().into()),
        Record::Mx { preference, exchange } => {
            (15, [preference.to_be_bytes().to_vec(), labels(exchange.as_ref())].concat())
        }
        Record::Ptr(name) => (12, labels(Some(name))),
        Record::Txt(bytes) if bytes.is_empty() => (16, vec![0]),
        Record::Txt(bytes) => {
            let strings = bytes.chunks(255).map(|chunk| [&[chunk.len() as u8], chunk].concat());
            (16, strings.collect::<Vec<_>>().concat())
        }
    }
}

fn labels(name: Option<&Name>) -> Vec<u8> {
    let labels = name.into_iter().flat_map(|name| name.as_str().split('.'));
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}
