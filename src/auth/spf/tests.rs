//! What hostile records and clients may do. That the rest is as RFC 7208 has it is
//! shown by its own suite (`tests/it/spf_suite.rs`).

use super::*;
use crate::dns::Zone;
use std::time::Duration;

fn question(ip: &str, sender: &str) -> SpfQuestion {
    let (ip, identity) = (ip.parse().unwrap(), SpfIdentity::MailFrom);
    SpfQuestion { ip, identity, helo: "mail.test".into(), sender: sender.into() }
}

#[track_caller]
fn known(zone: &str, question: &SpfQuestion) -> SpfAnswer {
    let resolver = Resolver::of_zone(Zone::parse(zone).unwrap());
    question.known(&resolver).expect("a text answers at once")
}

#[track_caller]
fn comes_to(zone: &str, ip: &str, sender: &str) -> (&'static str, Option<&'static str>) {
    let answer = known(zone, &question(ip, sender));
    (answer.result.word(), answer.problem)
}

const TOO_MANY: Option<&str> = Some("too many terms that ask the DNS");
const TOO_VOID: Option<&str> = Some("too many terms that ask for what is not there");

#[test]
fn loops_and_bombs_end_at_ten_terms() {
    let chain: String =
        (0..40).map(|n| format!("c{n}.test TXT \"v=spf1 include:c{}.test -all\"\n", n + 1)).collect();
    let wide: String =
        format!("w.test TXT \"v=spf1 {} -all\"\nx.test TXT \"v=spf1 ?all\"", "include:x.test ".repeat(11));
    let fits: String =
        format!("w.test TXT \"v=spf1 {} -all\"\nx.test TXT \"v=spf1 ?all\"", "include:x.test ".repeat(10));
    for (zone, sender, expected) in [
        ("a.test TXT \"v=spf1 include:a.test -all\"", "x@a.test", ("permerror", TOO_MANY)),
        ("a.test TXT \"v=spf1 redirect=a.test\"", "x@a.test", ("permerror", TOO_MANY)),
        (
            "a.test TXT \"v=spf1 redirect=b.test\"\nb.test TXT \"v=spf1 include:a.test\"",
            "x@a.test",
            ("permerror", TOO_MANY),
        ),
        (&chain, "x@c0.test", ("permerror", TOO_MANY)),
        (&wide, "x@w.test", ("permerror", TOO_MANY)),
        (&fits, "x@w.test", ("fail", None)),
        ("a.test TXT \"v=spf1 a:b.test a:c.test -all\"", "x@a.test", ("fail", None)),
        ("a.test TXT \"v=spf1 a:b.test exists:c.test mx:d.test -all\"", "x@a.test", ("permerror", TOO_VOID)),
    ] {
        assert_eq!(comes_to(zone, "192.0.2.1", sender), expected, "{zone}");
    }
}

#[test]
fn hosts_without_an_address_of_the_clients_family_are_no_mistake() {
    let zone = "
a.test TXT \"v=spf1 mx -all\"
a.test MX 20 three.test
a.test MX 10 one.test
a.test MX 10 two.test
one.test A 192.0.2.1
two.test A 192.0.2.2
three.test A 192.0.2.3
";
    assert_eq!(comes_to(zone, "2001:db8::1", "x@a.test"), ("fail", None));
    assert_eq!(comes_to(zone, "192.0.2.3", "x@a.test"), ("pass", None));
    let many: String =
        (0..11).map(|n| format!("a.test MX 10 h{n}.test\nh{n}.test A 192.0.2.{n}\n")).collect();
    let many = format!("a.test TXT \"v=spf1 mx -all\"\n{many}");
    assert_eq!(comes_to(&many, "192.0.2.9", "x@a.test"), ("pass", None));
    assert_eq!(comes_to(&many, "192.0.2.99", "x@a.test"), ("permerror", Some("too many hosts of one mx")));
}

#[test]
fn networks_of_all_lengths_are_compared() {
    for (term, ip, expected) in [
        ("ip4:0.0.0.0/0", "203.0.113.7", "pass"),
        ("ip4:0.0.0.0/0", "2001:db8::1", "fail"),
        ("ip6:::/0", "2001:db8::1", "pass"),
        ("ip6:::/0", "192.0.2.1", "fail"),
        ("ip4:192.0.2.1/32", "192.0.2.1", "pass"),
        ("ip4:192.0.2.128/25", "192.0.2.127", "fail"),
        ("ip4:192.0.2.128/25", "::ffff:192.0.2.200", "pass"),
        ("a:h.test/0", "198.51.100.1", "pass"),
        ("a:h.test//64", "2001:db8::2", "pass"),
        ("a:h.test//64", "2001:db8:0:1::2", "fail"),
        ("a:h.test/24//64", "192.0.2.77", "pass"),
    ] {
        let zone = format!("a.test TXT \"v=spf1 {term} -all\"\nh.test A 192.0.2.1\nh.test AAAA 2001:db8::1");
        assert_eq!(comes_to(&zone, ip, "x@a.test").0, expected, "{term} {ip}");
    }
}

/// The client's names are looked up once, however often a record names them.
#[test]
fn macro_bombs_are_names_that_do_not_exist() {
    let names: String = (0..50).map(|n| format!("1.2.0.192.in-addr.arpa PTR h{n}.test\n")).collect();
    for macros in ["%{p}", "%{s}", "%{l}", "%{h}", "%{i}", "%{d}", "%{ir}.", "%{L1r-+,/_=}", "%_", "%%%-"] {
        let bomb = macros.repeat(7_000 / macros.len());
        let zone = format!("{names}a.test TXT \"v=spf1 exists:{bomb}.b.test exp={bomb}.c.test ?all\"");
        let found = known(&zone, &question("192.0.2.1", &format!("{}@a.test", "l".repeat(2_000))));
        assert!(matches!(found.result, SpfResult::Neutral), "{macros}: {found:?}");
    }
    let long = "x".repeat(20_000);
    let zone = format!("a.test TXT \"v=spf1 exists:{long}.b.test -all\"");
    assert_eq!(comes_to(&zone, "192.0.2.1", "x@a.test"), ("permerror", Some("SPF record too long")));
    let zone = format!("a.test TXT \"v=spf1 -all\"\na.test TXT \"{long}\"");
    assert_eq!(comes_to(&zone, "192.0.2.1", "x@a.test"), ("fail", None));
}

#[test]
fn an_explanation_is_cleaned_and_cut() {
    for (text, expected) in [
        ("%{i} is none of %{d}", Some("192.0.2.1 is none of a.test".to_owned())),
        ("see http://a.test/%{S}", Some("see http://a.test/x%40a.test".into())),
        ("one\\013\\010two", None),
        ("\\195\\164", None),
        (&"%{s}".repeat(4_000), Some("x@a.test".repeat(50)[..250].into())),
        ("%{c} %{r} %{t}", Some("192.0.2.1 unknown unknown".into())),
        ("%{q}", None),
        ("   ", None),
    ] {
        let zone = format!("a.test TXT \"v=spf1 -all exp=e.test\"\ne.test TXT \"{text}\"");
        assert_eq!(known(&zone, &question("192.0.2.1", "x@a.test")).text, expected, "{text}");
    }
    let zone = "a.test TXT \"v=spf1 -all exp=e.test\"\ne.test TXT \"%{l}!\"";
    let odd = known(zone, &question("192.0.2.1", "ä\r\n\u{202e}b@a.test"));
    assert_eq!(odd.text.as_deref(), Some("????b!"));
}

#[test]
fn whatever_a_client_says_the_domain_is_asked() {
    let zone = "
a.test TXT \"v=spf1 -all\"
_x.a.test TXT \"v=spf1 -all\"
xn--bcher-kva.test TXT \"v=spf1 -all\"
";
    let long = "l".repeat(500);
    for (sender, domain, expected) in [
        ("x@a.test", "a.test", "fail"),
        ("x@A.Test.", "a.test", "fail"),
        ("@a.test", "a.test", "fail"),
        ("a..b@a.test", "a.test", "fail"),
        ("a b\"\\@a.test", "a.test", "fail"),
        (&format!("{long}@a.test"), "a.test", "fail"),
        ("x@y@a.test", "a.test", "fail"),
        ("x@_x.a.test", "_x.a.test", "fail"),
        ("x@bücher.test", "xn--bcher-kva.test", "fail"),
        ("x@[192.0.2.1]", "[192.0.2.1]", "none"),
        ("x@test", "test", "none"),
        ("x@a..test", "a..test", "none"),
        ("x", "", "none"),
        ("", "", "none"),
        ("<>", "mail.test", "none"),
    ] {
        let found = known(zone, &question("192.0.2.1", sender));
        assert_eq!((found.domain.as_str(), found.result.word()), (domain, expected), "{sender}");
    }
    let far = known(zone, &question("192.0.2.1", &format!("x@{}", "ä.".repeat(100_000))));
    assert_eq!((far.result, far.problem), (SpfResult::None, Some("not the name of a domain")));
}

#[test]
fn a_field_holds_what_strangers_say_in_quotes() {
    let odd = SpfQuestion {
        helo: "he\"lo\r\nX-Evil: yes".into(),
        ..question("2001:db8::1", "a\\\"b; identity=helo@a.test")
    };
    assert_eq!(
        odd.plain(SpfResult::Softfail).received(&odd),
        "softfail client-ip=\"2001:db8::1\"; envelope-from=\"a\\\\\\\"b; identity=helo@a.test\"; \
         helo=\"he\\\"lo??X-Evil: yes\"; identity=mailfrom"
    );
    let long = SpfQuestion { helo: "\"".repeat(5_000), ..question("192.0.2.1", &"\\".repeat(5_000)) };
    let answer = SpfAnswer {
        mechanism: Some("include:".repeat(15)),
        problem: TOO_VOID,
        ..long.plain(SpfResult::Permerror)
    };
    let field = answer.received(&long);
    assert!(field.len() < 900, "{}", field.len());
    let quotes = field.replace("\\\\", "").replace("\\\"", "").matches('"').count();
    assert_eq!(quotes % 2, 0, "{field}");
    let helo = SpfQuestion { identity: SpfIdentity::Helo, ..question("192.0.2.1", "") };
    assert_eq!(
        helo.plain(SpfResult::None).received(&helo),
        "none client-ip=192.0.2.1; helo=mail.test; identity=helo"
    );
}

const PIECES: &[&str] = &[
    "v=spf1 ",
    " ",
    "-",
    "~",
    "?",
    "all",
    "a",
    "mx",
    "ptr",
    "include:",
    "exists:",
    "ip4:",
    "ip6:",
    "redirect=",
    "exp=",
    "x=",
    "192.0.2.1",
    "1.2.3.4.5",
    "2001:db8::1",
    "::",
    ":",
    "/0",
    "/32",
    "//0",
    "//128",
    "/129",
    "%{i}",
    "%{p}",
    "%{s1r-+}",
    "%{L99}",
    "%{d0}",
    "%{",
    "%%",
    "%_",
    "%-",
    "a.test",
    "b.test",
    ".",
    "\u{e4}",
    "\t",
];

proptest::proptest! {
    /// Whatever stands in records, there is a result, and what is told of it is printable.
    #[test]
    fn any_record_comes_to_something(
        records in proptest::collection::vec(
            proptest::collection::vec(proptest::sample::select(PIECES), 0..24),
            1..4,
        ),
        local in ".{0,80}",
        v6 in proptest::bool::ANY,
    ) {
        let mut zone = String::from("a.test A 192.0.2.1\nb.test AAAA 2001:db8::1\na.test MX 1 b.test\n");
        for (record, name) in records.iter().zip(["a.test", "b.test", "a.test"]) {
            zone += &format!("{name} TXT \"v=spf1 {}\"\n", record.concat());
        }
        let ip = if v6 { "2001:db8::1" } else { "192.0.2.1" };
        let question = question(ip, &format!("{local}@a.test"));
        let found = known(&zone, &question);
        let told = [Some(found.received(&question)), found.text, found.mechanism, Some(found.domain)];
        for text in told.iter().flatten() {
            let is_printable = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
            proptest::prop_assert!(is_printable && text.len() < 900, "{text:?}");
        }
    }
}

/// A host that explains nothing does not make a failure unknown.
#[tokio::test(start_paused = true)]
async fn an_explanation_is_not_waited_for() {
    let settings = |address| crate::dns::Settings::new(vec![address], Duration::from_secs(5));
    let hole = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let resolver = Resolver::live(settings(hole.local_addr().unwrap()));
    let began = tokio::time::Instant::now();
    let mut evaluation = Evaluation::new(
        "192.0.2.1".parse().unwrap(),
        ("x", "a.test"),
        "mail.test",
        &resolver,
        Patience::Endless,
    );
    let spec =
        viaspf_record::DomainSpec::new("e.test".parse::<viaspf_record::MacroString>().unwrap()).unwrap();
    assert_eq!(evaluation.explain_in_time(&spec, "a.test").await, None);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
