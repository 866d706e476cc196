//! What an operator may write into `gatepost.yaml`, and each mistake with its text.

use super::*;

fn read(text: &str) -> Result<Config, Vec<Mistake>> {
    let source = Source { name: "gatepost.yaml".into(), text: text.into() };
    Config::read(Arc::new(source), Path::new("/etc/gatepost"))
}

#[track_caller]
fn config(text: &str) -> Config {
    read(text).unwrap_or_else(|mistakes| panic!("{text}: {mistakes:?}"))
}

/// Mistakes without the file's name and the quoted line.
fn mistakes_of(text: &str) -> Vec<String> {
    let mistakes = read(text).err().unwrap_or_default();
    let shown = |mistake: &Mistake| mistake.to_string().lines().next().unwrap_or_default().to_owned();
    mistakes.iter().map(shown).map(|line| line.replacen("gatepost.yaml:", "", 1)).collect()
}

fn addresses(listeners: &[Listener]) -> Vec<String> {
    listeners.iter().map(|listener| listener.address.to_string()).collect()
}

#[test]
fn without_a_file_the_defaults_hold() {
    let config = Config::load(None).unwrap();
    assert_eq!(addresses(&config.policy), ["inet:127.0.0.1:12040"]);
    assert_eq!(config.policy[0].name.as_ref(), "default");
    assert_eq!(config.policy[0].mode, 0o660);
    assert_eq!(config.milter[0].listener.address.to_string(), "inet:127.0.0.1:12041");
    assert_eq!(config.milter[0].decides, Decides::Message);
    let http = config.http.unwrap();
    assert_eq!((http.address.to_string().as_str(), http.token_file), ("127.0.0.1:12042", None));
    assert_eq!(config.policy_dir, Path::new("./policy.d"));
    assert!(config.enforce.is_empty() && config.disable.is_empty());
    let networks: Vec<_> = config.local.networks.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["127.0.0.0/8", "::1/128"]);
    assert!(config.local.domains.is_empty() && config.local.hostnames.is_empty());
    assert_eq!(config.dns, Dns { nameservers: Vec::new(), timeout: Duration::from_secs(2) });
    assert_eq!(config.state.max_keys, 1_000_000);
    assert_eq!((config.state.dir, config.control), (None, None));
    assert_eq!(config.state.snapshot_every, Duration::from_secs(10));
    assert_eq!(config.deadline.envelope, Duration::from_secs(5));
    assert_eq!(config.deadline.message, Duration::from_secs(20));
    assert_eq!(config.log, Log { format: LogFormat::Text, level: LogLevel::Info });
}

#[test]
fn everything_can_be_said_otherwise() {
    let config = config(
        r#"
listen:
  policy:
    - {address: "unix:/run/gatepost/policy", name: submission, mode: "0666", group: postfix}
    - inet:[::1]:12040      # a comment
  milter: {address: "inet:192.0.2.1:12041", decides: envelope}
  http: {address: "[::1]:9000", token_file: token}
policy_dir: ../rules
enforce: [20-mx.yaml, "content-*"]
disable: greylist
local: {networks: [192.0.2.0/24, 198.51.100.7, "2001:db8::/32"], domains: [Example.COM., .example.org], hostnames: [MX.example.com], relays: [192.0.2.9, {address: 10.0.0.0/24, header: X-Originating-IP}]}
dns: {nameservers: [127.0.0.1, "127.0.0.2:5353", "::1", "[::1]", "[::1]:5353"], timeout: 500ms}
geoip: {country: geo/country.mmdb, asn: /var/asn.mmdb}
state: {dir: state, snapshot_every: 1m, max_keys: 10K}
deadline: {envelope: 500ms, message: 1m}
log: {format: json, level: debug}
"#,
    );
    assert_eq!(addresses(&config.policy), ["unix:/run/gatepost/policy", "inet:[::1]:12040"]);
    assert_eq!(config.policy[0].name.as_ref(), "submission");
    assert_eq!((config.policy[0].mode, config.policy[0].group.as_deref()), (0o666, Some("postfix")));
    assert_eq!(config.policy[1].name.as_ref(), "default");
    assert_eq!(config.milter[0].decides, Decides::Envelope);
    let http = config.http.unwrap();
    assert_eq!(http.address.to_string(), "[::1]:9000");
    assert!(http.token_file.is_some_and(|file| file.ends_with("token")));
    assert_eq!(config.policy_dir, Path::new("/etc/gatepost/../rules"));
    assert_eq!(config.enforce[1].pattern, "content-*");
    assert_eq!(config.enforce[1].place, Place { line: 9, col: 23 });
    assert_eq!(config.disable[0].pattern, "greylist");
    assert_eq!(config.local.networks[1].to_string(), "198.51.100.7/32");
    assert_eq!(config.local.domains, ["example.com", ".example.org"]);
    assert_eq!(config.local.hostnames, ["mx.example.com"]);
    let servers: Vec<_> = config.dns.nameservers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["127.0.0.1:53", "127.0.0.2:5353", "[::1]:53", "[::1]:53", "[::1]:5353"]);
    assert_eq!(config.dns.timeout, Duration::from_millis(500));
    let relays = config.local.relays.iter().map(|relay| (relay.network.to_string(), relay.header.as_deref()));
    let expected = [("192.0.2.9/32".to_owned(), None), ("10.0.0.0/24".to_owned(), Some("X-Originating-IP"))];
    assert_eq!(relays.collect::<Vec<_>>(), expected);
    let files = [config.geoip.country, config.geoip.asn].map(|file| file.map(|file| file.path));
    let expected = ["/etc/gatepost/geo/country.mmdb", "/var/asn.mmdb"].map(|path| Some(path.into()));
    assert_eq!(files, expected);
    assert_eq!(config.state.max_keys, 10_240);
    assert_eq!(config.state.dir.as_deref(), Some(Path::new("/etc/gatepost/state")));
    assert_eq!(config.control.as_deref(), Some(Path::new("/etc/gatepost/state/control.sock")));
    assert_eq!(config.state.snapshot_every, Duration::from_secs(60));
    assert_eq!(config.deadline.envelope, Duration::from_millis(500));
    assert_eq!(config.log, Log { format: LogFormat::Json, level: LogLevel::Debug });
}

#[test]
fn a_protocol_can_be_left_out() {
    let config = config("listen: {policy: [], milter: [], http: none}");
    assert!(config.policy.is_empty() && config.milter.is_empty() && config.http.is_none());
}

#[test]
fn policy_and_milter_may_share_a_name_and_sections_may_be_empty() {
    config(
        "listen: {policy: {address: \"inet:127.0.0.1:1\", name: a}, milter: {address: \"inet:127.0.0.1:2\", name: a}}",
    );
    config("listen: {}\nlog: {}\nlocal: {}\n");
    config("listen: {policy: [\"inet:127.0.0.1:12040\", \"inet:127.0.0.2:12040\", \"inet:[::1]:12040\"]}");
}

#[test]
fn each_mistake_has_its_text() {
    let long = format!("unix:/{}", "x".repeat(107));
    let long_dir = format!("state: {{dir: /{}}}", "x".repeat(99));
    let long_yaml = format!("listen: {{policy: [\"{long}\"]}}");
    for (text, expected) in [
        // Keys.
        ("listn: {}", "1:1: no key `listn`; did you mean `listen`?"),
        ("log: {formt: json}", "1:7: no key `formt`; did you mean `format`?"),
        ("level: debug", "1:1: no key `level` here; it stands in `log`"),
        ("log: {enforce: []}", "1:7: no key `enforce` here; it stands at the left margin"),
        ("state: {dri: /x}", "1:9: no key `dri`; did you mean `dir`?"),
        ("state: {dir: [/x]}", "1:14: `state.dir` takes a folder of its own, not a list"),
        ("state: {dir: \"\"}", "1:14: a folder is expected, such as /var/lib/gatepost"),
        (
            &long_dir,
            "1:14: the path of its control.sock has 113 bytes; a unix socket's may have 107: say `control: unix:/run/gatepost/control.sock`, or take a shorter one",
        ),
        (
            "state: {dir: /run}\nlisten: {policy: [\"unix:/run/control.sock\"]}",
            "1:14: unix:/run/control.sock is already taken by `listen.policy` in line 2; give each listener its own",
        ),
        ("state: {snapshot_every: 10}", "1:25: `10` is not a duration from 1s to 1h"),
        ("state: {snapshot_every: 500ms}", "1:25: `500ms` is not a duration from 1s to 1h"),
        ("state: {snapshot_every: 2h}", "1:25: `2h` is not a duration from 1s to 1h"),
        (
            "secrets: {}",
            "1:1: no key `secrets`; here may stand listen, control, policy_dir, enforce, disable, local, dns, geoip, state, deadline, log",
        ),
        (
            "control: inet:127.0.0.1:5",
            "1:10: `control` is a unix socket, such as unix:/run/gatepost/control.sock: who asks must be known",
        ),
        (
            "listen: {policy: [\"unix:/run/x\"]}\ncontrol: unix:/run/x",
            "2:10: unix:/run/x is already taken by `listen.policy` in line 1; give each listener its own",
        ),
        ("listen: {http: {token: /x}}", "1:17: no key `token`; here may stand address, token_file"),
        ("listen: {http: {token_file: \"\"}}", "1:29: a file is expected, such as /etc/gatepost/token"),
        (
            "listen: {policy: [{address: \"inet:127.0.0.1:1\", decides: envelope}]}",
            "1:49: no key `decides` here; it stands in `listen.milter[]`",
        ),
        ("log: {level: info, level: warn}", "1:20: `level` is given twice; first in line 1"),
        // Forms.
        ("[a]", "1:1: `the file` takes a map, not a list"),
        ("log: text", "1:6: `log` takes a map, not a text"),
        ("log: {level: [info]}", "1:14: `log.level` takes `error`, `warn`, `info` or `debug`, not a list"),
        (
            "local: {domains: {a: b}}",
            "1:18: `local.domains` takes a list of domains; `.example.com` is everything below it, not a map",
        ),
        ("local: {domains: [[a]]}", "1:19: an item of `local.domains` is a text, not a list"),
        ("listen: {policy: [[a]]}", "1:19: an item of `listen.policy` is an address or a map, not a list"),
        (
            "listen: {policy: [{name: a}]}",
            "1:19: a listener needs an `address`, such as inet:127.0.0.1:12040",
        ),
        ("listen: {http: [a]}", "1:16: `listen.http` takes a map, not a list"),
        ("log:", "1:4: nothing given; leave the key out for its default"),
        ("policy_dir: null", "1:13: nothing given; leave the key out for its default"),
        // Addresses.
        (
            "listen: {policy: [\"tcp:127.0.0.1:12040\"]}",
            "1:19: `tcp:127.0.0.1:12040` is not an address such as inet:127.0.0.1:12040, inet:[::1]:12040 or unix:/run/gatepost/policy",
        ),
        (
            "listen: {policy: [\"127.0.0.1:12040\"]}",
            "1:19: `127.0.0.1:12040` lacks its kind; did you mean `inet:127.0.0.1:12040`?",
        ),
        ("listen: {policy: [/run/p]}", "1:19: `/run/p` lacks its kind; did you mean `unix:/run/p`?"),
        (
            "listen: {policy: [\"unix:run/p\"]}",
            "1:19: the path of a unix socket begins with `/`, not `run/p`",
        ),
        (&long_yaml, "1:19: the path has 108 bytes; a unix socket's may have 107"),
        (
            "listen: {policy: [\"inet:localhost:12040\"]}",
            "1:19: `localhost` is a name, an IP address is expected: say 127.0.0.1 or [::1]",
        ),
        (
            "listen: {policy: [\"inet:mail.example.com:12040\"]}",
            "1:19: `mail.example.com` is not an IP address; names are not looked up here",
        ),
        (
            "listen: {policy: [\"inet:*:12040\"]}",
            "1:19: `*` is not an IP address; all interfaces are 0.0.0.0 or [::]",
        ),
        (
            "listen: {policy: [\"inet:::1:12040\"]}",
            "1:19: an IPv6 address stands in brackets: did you mean `[::1]:12040`?",
        ),
        ("listen: {policy: [\"inet:127.0.0.1:99999\"]}", "1:19: `99999` is not a port from 1 to 65535"),
        (
            "listen: {policy: [\"inet:127.0.0.1:0\"]}",
            "1:19: port 0 is any free one, which Postfix could not know; give one from 1 to 65535",
        ),
        (
            "listen: {policy: [\"inet:127.0.0.1\"]}",
            "1:19: `127.0.0.1` has no port; an address is such as 127.0.0.1:12040 or [::1]:12040",
        ),
        (
            "listen: {http: {address: 12042}}",
            "1:26: `12042` has no port; an address is such as 127.0.0.1:12040 or [::1]:12040",
        ),
        (
            "listen:\n  policy: [\"inet:127.0.0.1:1\"]\n  milter: [\"inet:127.0.0.1:1\"]",
            "3:12: inet:127.0.0.1:1 is already taken by `listen.policy` in line 2; give each listener its own",
        ),
        (
            "listen: {milter: [\"inet:0.0.0.0:12040\"]}",
            "1:19: inet:0.0.0.0:12040 is already taken by the default of `listen.policy`; give each listener its own",
        ),
        (
            "listen: {policy: [\"inet:127.0.0.1:12042\"]}",
            "1:19: inet:127.0.0.1:12042 is already taken by the default of `listen.http`; give each listener its own",
        ),
        (
            "listen: {policy: [\"unix:/p\", {address: \"unix:/p\"}]}",
            "1:40: unix:/p is already taken by `listen.policy` in line 1; give each listener its own",
        ),
        // Listeners.
        (
            "listen: {policy: [{address: \"unix:/p\", name: \"a b\"}]}",
            "1:46: `a b` is not a name of letters, digits, `-`, `_` and `.`",
        ),
        (
            "listen: {policy: [{address: \"unix:/p\", mode: 0999}]}",
            "1:46: `0999` is not a mode from 0000 to 0777, such as 0660",
        ),
        (
            "listen: {policy: [{address: \"unix:/p\", mode: \"7777\"}]}",
            "1:46: `7777` is not a mode from 0000 to 0777, such as 0660",
        ),
        (
            "listen: {policy: [{address: \"inet:127.0.0.1:1\", mode: \"0660\"}]}",
            "1:55: `mode` is for unix sockets, and inet:127.0.0.1:1 is none",
        ),
        (
            "listen: {policy: [{address: \"inet:127.0.0.1:1\", group: postfix}]}",
            "1:56: `group` is for unix sockets, and inet:127.0.0.1:1 is none",
        ),
        (
            "listen: {policy: [{address: \"unix:/p\", group: \"\"}]}",
            "1:47: a group's name is expected, such as postfix",
        ),
        (
            "listen: {milter: [{address: \"unix:/p\", decides: rcpt}]}",
            "1:49: `rcpt` is not one of message, envelope",
        ),
        // Values.
        ("policy_dir: \"\"", "1:13: a folder is expected, such as policy.d"),
        ("enforce: [\"\"]", "1:11: an item of `enforce` is the name of a rule or of a rule file"),
        (
            "local: {networks: [example.com]}",
            "1:20: `example.com` is not an address or network such as 192.0.2.0/24 or 2001:db8::/32",
        ),
        (
            "local: {networks: [192.0.2.1/24]}",
            "1:20: `192.0.2.1/24` has bits set behind its prefix; did you mean `192.0.2.0/24`?",
        ),
        (
            "local: {networks: [192.0.2.0/33]}",
            "1:20: `192.0.2.0/33` is not an address or network such as 192.0.2.0/24 or 2001:db8::/32",
        ),
        (
            "local: {domains: [a@example.com]}",
            "1:19: `a@example.com` is an address; the domain alone is `example.com`",
        ),
        ("local: {domains: [a..b]}", "1:19: `a..b` is not a domain such as example.com or .example.com"),
        ("local: {hostnames: [.b]}", "1:21: `.b` is not a host name such as mail.example.com"),
        (
            "local: {relays: [mx.example.com]}",
            "1:18: `mx.example.com` is not an address or network such as 192.0.2.0/24 or 2001:db8::/32",
        ),
        ("local: {relays: [{header: X-A}]}", "1:18: a relay needs an `address`, such as 192.0.2.0/24"),
        (
            "local: {relays: [{address: 192.0.2.1, header: 'X A'}]}",
            "1:47: `X A` is not the name of a header field",
        ),
        (
            "local: {relays: [{address: 192.0.2.1, headers: X-A}]}",
            "1:39: no key `headers`; did you mean `header`?",
        ),
        ("geoip: {city: x.mmdb}", "1:9: no key `city`; here may stand country, asn"),
        ("geoip: {asn: ''}", "1:14: a file is expected, such as /var/lib/GeoIP/GeoLite2-Country.mmdb"),
        ("local: {hostnames: [127.0.0.1]}", "1:21: `127.0.0.1` is not a host name such as mail.example.com"),
        ("dns: {nameserver: []}", "1:7: no key `nameserver`; did you mean `nameservers`?"),
        (
            "dns: {nameservers: [localhost]}",
            "1:21: `localhost` is not an address such as 127.0.0.1, 127.0.0.1:5353 or [::1]:5353; names are not looked up here",
        ),
        (
            "dns: {nameservers: \"127.0.0.1:0\"}",
            "1:20: `127.0.0.1:0` is not an address such as 127.0.0.1, 127.0.0.1:5353 or [::1]:5353; names are not looked up here",
        ),
        (
            "dns: {nameservers: [\"::1:5353x\"]}",
            "1:21: `::1:5353x` is not an address such as 127.0.0.1, 127.0.0.1:5353 or [::1]:5353; names are not looked up here",
        ),
        ("dns: {timeout: 2}", "1:16: `2` is not a duration from 100ms to 10s"),
        ("dns: {timeout: 1m}", "1:16: `1m` is not a duration from 100ms to 10s"),
        ("state: {max_keys: 1e6}", "1:19: `1e6` is not a number from 1000 to 100000000"),
        ("state: {max_keys: 0}", "1:19: `0` is not a number from 1000 to 100000000"),
        ("state: {max_keys: 1G}", "1:19: `1G` is not a number from 1000 to 100000000"),
        ("deadline: {envelope: 5}", "1:22: `5` is not a duration with its unit, such as 500ms or 5s"),
        (
            "deadline: {envelope: 1m}",
            "1:22: `1m` is not from 100ms to 25s, which Postfix's milter_command_timeout allows",
        ),
        (
            "deadline: {message: 10ms}",
            "1:21: `10ms` is not from 100ms to 4m10s, which Postfix's milter_content_timeout allows",
        ),
        ("log: {format: jsno}", "1:15: `jsno` is not one of text, json; did you mean `json`?"),
        ("log: {level: trace}", "1:14: `trace` is not one of error, warn, info, debug"),
    ] {
        assert_eq!(mistakes_of(text), [expected], "{text}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let found =
        mistakes_of("log: {level: loud}\nlisten:\n  policy: [nowhere]\nlocl: {}\nstate: {max_keys: x}\n");
    let places: Vec<_> = found.iter().map(|line| line.split_once(": ").unwrap().0).collect();
    assert_eq!(places, ["1:14", "3:12", "4:1", "5:19"]);
}

#[test]
fn a_mistake_shows_its_line() {
    let mistakes = read("log:\n  level: loud\n").unwrap_err();
    assert_eq!(
        mistakes[0].to_string(),
        "gatepost.yaml:2:10: `loud` is not one of error, warn, info, debug\n    level: loud"
    );
}

#[test]
fn files_are_read_from_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gatepost.yaml");
    let shown = path.display().to_string();
    let first = |path: &Path| Config::load(Some(path)).unwrap_err()[0].to_string();
    assert_eq!(first(&path), format!("{shown}: can't be opened: No such file or directory (os error 2)"));
    std::fs::write(&path, b"a: 1\nb: \xff\n").unwrap();
    assert_eq!(first(&path), format!("{shown}: line 2 is not UTF-8; save the file in that encoding"));
    let dir = folder.path().display().to_string();
    assert_eq!(first(folder.path()), format!("{dir}: can't be read: Is a directory (os error 21)"));
    std::fs::write(&path, "policy_dir: rules\n").unwrap();
    assert_eq!(Config::load(Some(&path)).unwrap().policy_dir, folder.path().join("rules"));
}

#[test]
fn selectors_know_wildcards() {
    for (pattern, name, expected) in [
        ("reject-helo", "reject-helo", true),
        ("reject-helo", "reject-helo2", false),
        ("content-*", "content-score", true),
        ("content-*", "content", false),
        ("*", "", true),
        ("*-a*b", "x-a-ab", true),
        ("*-a*b", "x-a-abc", false),
        ("20-??.yaml", "20-mx.yaml", true),
        ("20-??.yaml", "20-m.yaml", false),
        ("", "", true),
        ("", "a", false),
    ] {
        let selector = Selector { pattern: pattern.into(), place: Place::default() };
        assert_eq!(selector.selects(name), expected, "{pattern} {name}");
    }
    let hard = Selector { pattern: "*a".repeat(50), place: Place::default() };
    assert!(
        !hard.selects(&"a".repeat(10_000).replace("aaaaa", "aaaab")[..9_999].to_owned().replace('a', "b"))
    );
}
