//! The resolver before unbound and nsd.

use crate::rig::PATIENCE;
use crate::rig::dns::BlackHole;
use crate::rig::dns::NameServer;
use crate::rig::dns::dns_is_missing;
use gatepost::dns::Absence;
use gatepost::dns::Answer;
use gatepost::dns::Failure;
use gatepost::dns::Kind;
use gatepost::dns::Name;
use gatepost::dns::Question;
use gatepost::dns::Record;
use gatepost::dns::Resolver;
use gatepost::dns::Settings;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

const ZONE: &str = "lists.example";

/// One that fits no packet by UDP, so that it is asked for again by TCP.
fn records() -> String {
    let long = format!("\"{}\" ", "x".repeat(250)).repeat(10);
    format!(
        r#"
host     A     192.0.2.1
host     AAAA  2001:db8::1
alias    CNAME host
mail     MX    10 Host
mail     MX    20 alias
null     MX    0 .
pointer  PTR   mail.example.net.
text     TXT   "v=spf1 " "-all \"x\" \\"
long     TXT   {long}
a\.b     A     192.0.2.66
*.wild   A     127.0.0.2
away     CNAME gone.elsewhere.example.
dead     CNAME name.dead.example.
loop     CNAME loop2
loop2    CNAME loop
"#
    )
}

fn question(name: &str, kind: Kind) -> Question {
    let name = if name.contains("example") { name.to_owned() } else { format!("{name}.{ZONE}") };
    Question::new(Name::parse(&name).unwrap(), kind)
}

fn resolver(server: SocketAddr, timeout: Duration) -> Resolver {
    Resolver::live(Settings::new(vec![server], timeout))
}

#[tokio::test]
async fn what_unbound_says_is_understood() {
    if dns_is_missing() {
        return;
    }
    let hole = BlackHole::start();
    let nsd = NameServer::nsd(ZONE, &records());
    let mut unbound = NameServer::unbound(&[(ZONE, nsd.port), ("dead.example", hole.port)]);
    let asked = resolver(unbound.address(), PATIENCE);
    let name = |text: &str| Some(Name::parse(text).unwrap());
    let a = |ip: &str| Answer::Records([Record::A(ip.parse().unwrap())].into());
    let txt = |text: &str| Answer::Records([Record::Txt(text.as_bytes().into())].into());
    let null = Record::Mx { preference: 0, exchange: None };
    for (asks, kind, expected) in [
        ("host", Kind::A, a("192.0.2.1")),
        ("HOST", Kind::Aaaa, Answer::Records([Record::Aaaa("2001:db8::1".parse().unwrap())].into())),
        ("alias", Kind::A, a("192.0.2.1")),
        ("alias", Kind::Txt, Answer::Absent(Absence::NoRecord)),
        ("host", Kind::Txt, Answer::Absent(Absence::NoRecord)),
        ("nobody", Kind::A, Answer::Absent(Absence::NoName)),
        ("null", Kind::Mx, Answer::Records([null].into())),
        ("pointer", Kind::Ptr, Answer::Records([Record::Ptr(name("mail.example.net").unwrap())].into())),
        ("text", Kind::Txt, txt("v=spf1 -all \"x\" \\")),
        ("long", Kind::Txt, txt(&"x".repeat(2_500))),
        ("any.thing.wild", Kind::A, a("127.0.0.2")),
        ("loop", Kind::A, Answer::Failed(Failure::ServFail)),
        ("other.example", Kind::A, Answer::Failed(Failure::Refused)),
    ] {
        assert_eq!(asked.ask(&question(asks, kind)).await, expected, "{asks}");
    }
    let Answer::Records(mx) = asked.ask(&question("mail", Kind::Mx)).await else { panic!("no MX") };
    let mut hosts: Vec<_> = mx
        .iter()
        .map(|record| match record {
            Record::Mx { preference, exchange: Some(host) } => (*preference, host.to_string()),
            _ => panic!("{record:?}"),
        })
        .collect();
    hosts.sort();
    assert_eq!(hosts, [(10, format!("host.{ZONE}")), (20, format!("alias.{ZONE}"))]);

    // It still asks a dead server when we no longer wait; the others are not held up.
    let brief = resolver(unbound.address(), Duration::from_millis(500));
    let (dead, alive) = (question("name.dead.example", Kind::A), question("host", Kind::A));
    let began = Instant::now();
    let (dead, alive) = tokio::join!(brief.ask(&dead), async { (brief.ask(&alive).await, began.elapsed()) });
    assert_eq!((dead, alive.0), (Answer::Silent, a("192.0.2.1")));
    assert!(alive.1 < began.elapsed());

    // Once it is gone, what is known is still said, and the rest is known to be missing at once.
    unbound.stop();
    let began = Instant::now();
    assert_eq!(asked.ask(&question("host", Kind::A)).await, a("192.0.2.1"));
    assert_eq!(asked.ask(&question("new", Kind::A)).await, Answer::Silent);
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test]
async fn what_a_server_of_zones_says_is_understood() {
    if dns_is_missing() {
        return;
    }
    let nsd = NameServer::nsd(ZONE, &records());
    let asked = resolver(nsd.address(), PATIENCE);
    for (asks, expected) in [
        ("alias", Answer::Records([Record::A("192.0.2.1".parse().unwrap())].into())),
        // Neither follows aliases to zones of others, nor answers for these.
        ("away", Answer::Failed(Failure::Refused)),
        ("loop", Answer::Failed(Failure::Malformed)),
        ("nobody", Answer::Absent(Absence::NoName)),
        // By labels: this is no name with a dot inside a label.
        ("a.b", Answer::Absent(Absence::NoName)),
        ("a\\.b", Answer::Absent(Absence::NoName)),
    ] {
        assert_eq!(asked.ask(&question(asks, Kind::A)).await, expected, "{asks}");
    }
}
