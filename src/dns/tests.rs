//! The resolver before a name server of ours that plays whatever one may do.

use super::live::MAX_UNDER_WAY;
use super::*;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use hickory_net::proto::op::Message;
use hickory_net::proto::op::MessageType;
use hickory_net::proto::op::ResponseCode;
use hickory_net::proto::rr;
use hickory_net::proto::rr::RData;
use hickory_net::proto::rr::rdata;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// For those who answer: longer than a busy machine takes.
const PATIENT: Duration = Duration::from_secs(10);
/// For those who do not.
const SHORT: Duration = Duration::from_millis(60);

#[derive(Clone, Copy, PartialEq)]
enum By {
    Tcp,
    Udp,
}

/// On one port by UDP and TCP; ends with it.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start() -> Self {
        Self::at("127.0.0.1:0", true).await
    }

    async fn at(address: &str, has_tcp: bool) -> Self {
        let tcp = TcpListener::bind(address).await.unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).await.unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        let noted = Arc::clone(&asked);
        tasks.spawn(async move {
            let mut packet = [0; 4096];
            loop {
                let (length, from) = udp.recv_from(&mut packet).await.unwrap();
                for answer in answers(&packet[..length], By::Udp, &noted) {
                    udp.send_to(&answer, from).await.unwrap();
                }
            }
        });
        let noted = Arc::clone(&asked);
        tasks.spawn(async move {
            if !has_tcp {
                return;
            }
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let length = stream.read_u16().await.unwrap();
                let mut packet = vec![0; length.into()];
                stream.read_exact(&mut packet).await.unwrap();
                for answer in answers(&packet, By::Tcp, &noted) {
                    stream.write_u16(answer.len() as u16).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
                // Not closed before the client has what it was sent.
                let _ = stream.read_u8().await;
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    fn resolver(&self, timeout: Duration) -> Resolver {
        Resolver::live(Settings::new(vec![self.address], timeout))
    }

    fn asked(&self, name: &str) -> usize {
        self.asked.lock().iter().filter(|asked| *asked == name).count()
    }
}

/// By labels, whatever stands in them.
fn wire(name: &str) -> rr::Name {
    rr::Name::from_labels(name.split('.').map(str::as_bytes)).unwrap()
}

fn a(name: &str, last: u8) -> rr::Record {
    rr::Record::from_rdata(wire(name), 300, RData::A(rdata::A::new(192, 0, 2, last)))
}

fn cname(name: &str, target: &str) -> rr::Record {
    rr::Record::from_rdata(wire(name), 60, RData::CNAME(rdata::CNAME(wire(target))))
}

fn soa(minimum: i32) -> rr::Record {
    let minimum = u32::try_from(minimum).unwrap();
    let soa = rdata::SOA::new(wire("ns.test"), wire("root.test"), 1, 2, 3, 4, minimum);
    rr::Record::from_rdata(wire("test"), 3600, RData::SOA(soa))
}

/// What the server sends to one packet, by the first word of the name.
fn answers(packet: &[u8], by: By, asked: &Mutex<Vec<String>>) -> Vec<Vec<u8>> {
    let query = Message::from_vec(packet).unwrap();
    let question = query.queries[0].clone();
    let labels = question.name().iter().map(String::from_utf8_lossy).collect::<Vec<_>>();
    let name = labels.join(".");
    asked.lock().push(name.clone());
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.add_query(question.clone());
    let mut before = Vec::new();
    let of = |data| rr::Record::from_rdata(wire(&name), 300, data);
    match name.split('.').next().unwrap() {
        "servfail" => reply.metadata.response_code = ResponseCode::ServFail,
        "formerr" => reply.metadata.response_code = ResponseCode::FormErr,
        "refused" => reply.metadata.response_code = ResponseCode::Refused,
        "refers" => {
            let ns = rdata::NS(wire("ns.test"));
            reply.add_authority(of(RData::NS(ns)));
        }
        "silent" => return Vec::new(),
        "nx" => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.add_authority(soa(30));
        }
        "nx-alias" => {
            reply.metadata.response_code = ResponseCode::NXDomain;
            reply.add_answer(cname(&name, "gone.test"));
            reply.add_authority(soa(30));
        }
        "nodata" => {
            reply.add_authority(soa(30));
        }
        "bare" => {}
        "forged" => {
            let mut forged = reply.clone();
            forged.add_answer(a(&name, 66));
            forged.metadata.id = query.metadata.id.wrapping_add(1);
            before.push(forged.to_vec().unwrap());
            // The id by luck, and another question.
            let mut other = Message::response(query.metadata.id, query.metadata.op_code);
            other.add_query(hickory_net::proto::op::Query::query(wire("x.test"), question.query_type()));
            other.add_answer(a("x.test", 66));
            before.push(other.to_vec().unwrap());
            reply.add_answer(a(&name, 1));
        }
        "echo" => reply.metadata.message_type = MessageType::Query,
        "garbage" => {
            let mut garbage = reply.to_vec().unwrap();
            garbage.truncate(4);
            garbage.extend([0xc0; 40]);
            return vec![garbage];
        }
        "cut" if by == By::Udp => reply.metadata.truncation = true,
        "cut" => {
            for last in 0..200 {
                reply.add_answer(a(&name, last));
            }
        }
        "always-cut" => reply.metadata.truncation = true,
        "loop" => {
            reply.add_answer(cname(&name, &name));
        }
        "circle" => {
            reply.add_answer(cname(&name, "circle2.test"));
            reply.add_answer(cname("circle2.test", &name));
        }
        "long" | "longer" => {
            let aliases = if name.starts_with("longer") { 9 } else { 8 };
            let at = |step: usize| if step == 0 { name.clone() } else { format!("step{step}.test") };
            for step in 0..aliases {
                reply.add_answer(cname(&at(step), &at(step + 1)));
            }
            reply.add_answer(a(&at(aliases), 1));
        }
        "partial" => {
            reply.add_answer(cname(&name, "a.test"));
        }
        "partial-nodata" => {
            reply.add_answer(cname(&name, "nodata.test"));
            reply.add_authority(soa(30));
        }
        // Each message one alias of its own.
        step if step.starts_with("endless") => {
            let next = step.trim_start_matches("endless").parse().unwrap_or(0) + 1;
            reply.add_answer(cname(&name, &format!("endless{next}.test")));
        }
        "many" if by == By::Udp => reply.metadata.truncation = true,
        "many" => {
            for _ in 0..257 {
                reply.add_answer(a(&name, 1));
            }
        }
        "oversized" => {
            for last in 0..250 {
                reply.add_answer(a(&name, last));
            }
        }
        "other" => {
            reply.add_answer(a("somebody.test", 66));
            reply.add_authority(soa(30));
        }
        "chaos" => {
            let mut record = a(&name, 66);
            record.dns_class = rr::DNSClass::CH;
            reply.add_answer(record);
            reply.add_authority(soa(30));
        }
        "mx" => {
            let dotted = rr::Name::from_labels([&b"a.b"[..], b"test"]).unwrap();
            for (preference, host) in [(10, wire("Mail.Test")), (20, dotted)] {
                reply.add_answer(of(RData::MX(rdata::MX::new(preference, host))));
            }
        }
        "null" => {
            reply.add_answer(of(RData::MX(rdata::MX::new(0, rr::Name::root()))));
        }
        "ptr" => {
            reply.add_answer(of(RData::PTR(rdata::PTR(wire("Host.Test")))));
        }
        "odd" => {
            let odd = rr::Name::from_labels([&b"a b"[..], b"test"]).unwrap();
            reply.add_answer(of(RData::PTR(rdata::PTR(odd))));
        }
        "txt" => {
            let strings = ["v=spf1 ", "-all"].map(str::to_owned);
            reply.add_answer(of(RData::TXT(rdata::TXT::new(strings.into()))));
        }
        "aaaa" => {
            let ip = "2001:db8::1".parse().unwrap();
            reply.add_answer(of(RData::AAAA(rdata::AAAA(ip))));
        }
        _ => {
            reply.add_answer(a(&name, 1));
        }
    }
    before.push(reply.to_vec().unwrap());
    before
}

fn question(name: &str, kind: Kind) -> Question {
    Question::new(Name::parse(name).unwrap(), kind)
}

fn found(last: &[u8]) -> Answer {
    Answer::Records(last.iter().map(|last| Record::A(Ipv4Addr::new(192, 0, 2, *last))).collect())
}

fn result(resolver: &Resolver, word: &str) -> u64 {
    let results = resolver.stats().results;
    results.iter().find(|(known, _)| *known == word).map(|(_, count)| *count).unwrap()
}

#[tokio::test]
async fn each_answer_is_what_it_is() {
    let server = Server::start().await;
    let resolver = server.resolver(PATIENT);
    let malformed = Answer::Failed(Failure::Malformed);
    let none = Answer::Absent(Absence::NoRecord);
    let all: Vec<u8> = (0..200).collect();
    let mx = |preference, exchange: Option<&str>| Record::Mx {
        preference,
        exchange: exchange.map(|host| Name::parse(host).unwrap()),
    };
    for (name, kind, expected) in [
        ("a.test", Kind::A, found(&[1])),
        ("a\\046b.test", Kind::A, found(&[1])),
        ("aaaa.test", Kind::Aaaa, Answer::Records([Record::Aaaa("2001:db8::1".parse().unwrap())].into())),
        ("servfail.test", Kind::A, Answer::Failed(Failure::ServFail)),
        ("formerr.test", Kind::A, Answer::Failed(Failure::ServFail)),
        ("refused.test", Kind::A, Answer::Failed(Failure::Refused)),
        ("refers.test", Kind::A, Answer::Failed(Failure::Refused)),
        ("nx.test", Kind::A, Answer::Absent(Absence::NoName)),
        ("nx-alias.test", Kind::A, Answer::Absent(Absence::NoName)),
        ("nodata.test", Kind::A, none.clone()),
        ("bare.test", Kind::A, none.clone()),
        ("other.test", Kind::A, none.clone()),
        ("chaos.test", Kind::A, none.clone()),
        ("forged.test", Kind::A, found(&[1])),
        ("echo.test", Kind::A, malformed.clone()),
        ("garbage.test", Kind::A, malformed.clone()),
        ("cut.test", Kind::A, found(&all)),
        ("always-cut.test", Kind::A, malformed.clone()),
        ("oversized.test", Kind::A, malformed.clone()),
        ("many.test", Kind::A, malformed.clone()),
        ("loop.test", Kind::A, malformed.clone()),
        ("circle.test", Kind::A, malformed.clone()),
        ("long.test", Kind::A, found(&[1])),
        ("longer.test", Kind::A, malformed.clone()),
        ("endless.test", Kind::A, malformed.clone()),
        ("partial.test", Kind::A, found(&[1])),
        ("partial-nodata.test", Kind::A, none.clone()),
        ("mx.test", Kind::Mx, Answer::Records([mx(10, Some("mail.test"))].into())),
        ("null.test", Kind::Mx, Answer::Records([mx(0, None)].into())),
        ("ptr.test", Kind::Ptr, Answer::Records([Record::Ptr(Name::parse("host.test").unwrap())].into())),
        ("odd.test", Kind::Ptr, none),
        ("txt.test", Kind::Txt, Answer::Records([Record::Txt((*b"v=spf1 -all").into())].into())),
    ] {
        assert_eq!(resolver.known(&question(name, kind)), None, "{name}");
        assert_eq!(resolver.ask(&question(name, kind)).await, expected, "{name}");
        assert_eq!(resolver.known(&question(name, kind)), Some(expected), "{name}");
    }
    // A message for each alias, and no more than may be followed.
    assert_eq!(server.asked.lock().iter().filter(|name| name.starts_with("endless")).count(), 9);
}

#[tokio::test]
async fn a_question_has_its_time_and_no_more() {
    let server = Server::start().await;
    let resolver = server.resolver(SHORT);
    let silent = question("silent.test", Kind::A);
    let began = Instant::now();
    assert_eq!(resolver.ask(&silent).await, Answer::Silent);
    assert!(began.elapsed() >= SHORT * 2 && began.elapsed() < PATIENT);
    // Twice two packets, as far as a busy machine gets; then the next mail need not wait.
    assert!((2..=4).contains(&server.asked("silent.test")));
    assert_eq!(resolver.known(&silent), Some(Answer::Silent));
    assert_eq!((result(&resolver, "timeout"), result(&resolver, "cache")), (1, 1));
}

#[tokio::test]
async fn a_server_that_is_not_running_is_noticed_at_once() {
    let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let resolver = Resolver::live(Settings::new(vec![address], PATIENT));
    let began = Instant::now();
    assert_eq!(resolver.ask(&question("a.test", Kind::A)).await, Answer::Silent);
    assert!(began.elapsed() < PATIENT);
}

#[tokio::test]
async fn what_is_cut_off_and_not_to_be_had_by_tcp_is_malformed() {
    let server = Server::at("127.0.0.1:0", false).await;
    let resolver = server.resolver(PATIENT);
    let began = Instant::now();
    let answer = resolver.ask(&question("cut.test", Kind::A)).await;
    assert_eq!(answer, Answer::Failed(Failure::Malformed));
    assert!(began.elapsed() < PATIENT);
}

#[tokio::test]
async fn the_next_server_is_asked_and_remembered() {
    let (one, other) = (Server::start().await, Server::start().await);
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for (servers, name, expected) in [
        // Who does not answer, or is not willing to, is asked last from then on.
        (vec![gone.local_addr().unwrap(), one.address], "a.test", found(&[1])),
        (vec![one.address, other.address], "servfail.test", Answer::Failed(Failure::ServFail)),
    ] {
        let resolver = Resolver::live(Settings::new(servers, SHORT));
        assert_eq!(resolver.ask(&question(name, Kind::A)).await, expected);
        let began = Instant::now();
        assert_eq!(resolver.ask(&question("b.test", Kind::A)).await, found(&[1]));
        assert!(began.elapsed() < SHORT, "{name}");
    }
    assert_eq!((one.asked("servfail.test"), other.asked("servfail.test")), (1, 1));
}

#[tokio::test]
async fn ipv6_is_spoken() {
    let server = Server::at("[::1]:0", true).await;
    let resolver = server.resolver(PATIENT);
    assert_eq!(resolver.ask(&question("cut.test", Kind::A)).await.records().len(), 200);
}

#[tokio::test]
async fn all_who_ask_share_one_question() {
    let server = Server::start().await;
    let resolver = server.resolver(PATIENT);
    let question = question("a.test", Kind::A);
    {
        // It goes away while others wait.
        let mut first = Box::pin(resolver.ask(&question));
        assert!(first.as_mut().now_or_never().is_none());
        let others = join_all((0..99).map(|_| resolver.ask(&question)));
        drop(first);
        assert!(others.await.iter().all(|answer| *answer == found(&[1])));
    }
    assert_eq!(server.asked("a.test"), 1);
    assert_eq!(resolver.stats().under_way, 0);
}

#[tokio::test]
async fn who_hangs_up_early_makes_nothing_missing() {
    let server = Server::start().await;
    for (waits, known, counted) in
        [(Duration::ZERO, None, "given_up"), (PATIENT, Some(Answer::Silent), "timeout")]
    {
        // Nobody answers within two tries, and waiting ends in the second.
        let limit = if waits.is_zero() { PATIENT } else { Duration::from_millis(200) };
        let resolver = server.resolver(limit);
        let silent = question("silent.test", Kind::A);
        let waited = if waits.is_zero() { SHORT } else { limit * 3 / 2 };
        assert!(tokio::time::timeout(waited, resolver.ask(&silent)).await.is_err());
        assert_eq!(resolver.known(&silent), known);
        assert_eq!((result(&resolver, counted), resolver.stats().under_way), (1, 0));
    }
    // Nor one that was never waited for.
    let resolver = server.resolver(PATIENT);
    drop(resolver.ask(&question("a.test", Kind::A)));
    assert_eq!(resolver.stats().under_way, 0);
}

#[tokio::test]
async fn too_many_at_once_are_not_asked() {
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = Resolver::live(Settings::new(vec![nobody.local_addr().unwrap()], PATIENT));
    let names: Vec<_> = (0..=MAX_UNDER_WAY).map(|n| question(&format!("n{n}.test"), Kind::A)).collect();
    let mut asked: Vec<_> = names.iter().map(|name| Box::pin(resolver.ask(name))).collect();
    let last = asked.pop().unwrap();
    // Joined, though not under way: no socket is made before a question is polled by its turn.
    for ask in &mut asked {
        assert!(ask.as_mut().now_or_never().is_none());
    }
    assert_eq!(last.await, Answer::Silent);
    assert_eq!((result(&resolver, "full"), resolver.stats().under_way), (1, MAX_UNDER_WAY as u64));
    drop(asked);
    assert_eq!(resolver.stats().under_way, 0);
}

#[tokio::test]
async fn what_is_known_can_be_asked_anew() {
    let server = Server::start().await;
    let resolver = server.resolver(PATIENT);
    let question = question("a.test", Kind::A);
    resolver.ask(&question).await;
    // A question that waits on a busy machine is sent twice.
    let packets = server.asked("a.test");
    resolver.ask(&question).await;
    assert_eq!(server.asked("a.test"), packets);
    assert_eq!(resolver.ask_anew(&question).await, found(&[1]));
    assert!(server.asked("a.test") > packets);
}

#[tokio::test]
async fn other_servers_are_asked_anew() {
    let server = Server::start().await;
    let resolver = server.resolver(PATIENT);
    let question = question("a.test", Kind::A);
    resolver.ask(&question).await;
    resolver.change(Settings::new(vec![server.address], SHORT));
    assert!(resolver.known(&question).is_some());
    let other = Server::start().await;
    resolver.change(Settings::new(vec![other.address], PATIENT));
    assert_eq!(resolver.known(&question), None);
    assert_eq!(resolver.ask(&question).await, found(&[1]));
    assert_eq!(other.asked("a.test"), 1);
}

#[tokio::test]
async fn what_others_say_late_is_not_kept() {
    let (server, other) = (Server::start().await, Server::start().await);
    let resolver = server.resolver(PATIENT);
    let question = question("a.test", Kind::A);
    let mut asked = Box::pin(resolver.ask(&question));
    assert!(asked.as_mut().now_or_never().is_none());
    resolver.change(Settings::new(vec![other.address], PATIENT));
    assert_eq!(asked.await, found(&[1]));
    assert_eq!(resolver.known(&question), None);
}

#[tokio::test]
async fn an_only_server_that_has_spoken_is_not_asked_again() {
    let server = Server::start().await;
    let resolver = server.resolver(PATIENT);
    for name in ["servfail.test", "refused.test"] {
        resolver.ask(&question(name, Kind::A)).await;
        assert_eq!(server.asked(name), 1);
    }
}
