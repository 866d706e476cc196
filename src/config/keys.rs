//! The table of every key of `gatepost.yaml`: what it takes, its default, what
//! it is for. Defaults stand here and nowhere else; `docs/config.md` is made of it.

/// One key, or one section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Dotted; `[]` stands for each item of a list.
    pub path: &'static str,
    /// What it takes, in words.
    pub takes: &'static str,
    /// As YAML. Empty where leaving the key out means something of its own.
    pub default: &'static str,
    pub sentence: &'static str,
}

impl Key {
    /// The path of the section it stands in, and its own word.
    pub(super) fn split(&self) -> (&'static str, &'static str) {
        self.path.rsplit_once('.').unwrap_or(("", self.path))
    }
}

const ADDRESS: &str = "`inet:ADDRESS:PORT`, `inet:[ADDRESS]:PORT` or `unix:/PATH`";
const LISTENERS: &str = "a list; each item an address, or a map with `address` and more";

/// In the order in which the reference shows them.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "listen",
        takes: "a map",
        default: "",
        sentence: "The sockets; each is a trust boundary, so nothing but the loopback is the default.",
    },
    Key {
        path: "listen.policy",
        takes: LISTENERS,
        default: "[\"inet:127.0.0.1:12040\"]",
        sentence: "Where Postfix asks by policy delegation (`check_policy_service`); `[]` for nowhere.",
    },
    Key {
        path: "listen.policy[].address",
        takes: ADDRESS,
        default: "",
        sentence: "Where to listen; needed.",
    },
    Key {
        path: "listen.policy[].name",
        takes: "a word",
        default: "default",
        sentence: "What rules call it (`listener: NAME`); policy and milter listeners may share one.",
    },
    Key {
        path: "listen.policy[].mode",
        takes: "three or four octal digits",
        default: "\"0660\"",
        sentence: "The permissions of a unix socket.",
    },
    Key {
        path: "listen.policy[].group",
        takes: "a group's name",
        default: "",
        sentence: "The group of a unix socket, such as `postfix`; else that of the process.",
    },
    Key {
        path: "listen.milter",
        takes: LISTENERS,
        default: "[\"inet:127.0.0.1:12041\"]",
        sentence: "Where Postfix speaks the milter protocol (`smtpd_milters`); `[]` for nowhere.",
    },
    Key {
        path: "listen.milter[].address",
        takes: ADDRESS,
        default: "",
        sentence: "Where to listen; needed.",
    },
    Key {
        path: "listen.milter[].name",
        takes: "a word",
        default: "default",
        sentence: "What rules call it (`listener: NAME`); policy and milter listeners may share one.",
    },
    Key {
        path: "listen.milter[].mode",
        takes: "three or four octal digits",
        default: "\"0660\"",
        sentence: "The permissions of a unix socket.",
    },
    Key {
        path: "listen.milter[].group",
        takes: "a group's name",
        default: "",
        sentence: "The group of a unix socket, such as `postfix`; else that of the process.",
    },
    Key {
        path: "listen.milter[].decides",
        takes: "`message` or `envelope`",
        default: "message",
        sentence: "`envelope` where policy delegation is not used: the milter then also refuses recipients.",
    },
    Key {
        path: "listen.http",
        takes: "a map, or `none`",
        default: "",
        sentence: "The HTTP endpoint: `/metrics`, `/healthz`, `/readyz`, and with a token `/v1/limits`; `none` for no endpoint.",
    },
    Key {
        path: "listen.http.address",
        takes: "`ADDRESS:PORT` or `[ADDRESS]:PORT`",
        default: "127.0.0.1:12042",
        sentence: "Where to listen. What it tells without the token is not secret, but it needs no stranger.",
    },
    Key {
        path: "listen.http.token_file",
        takes: "a path",
        default: "",
        sentence: "A file, readable by no others, with the token that `/v1/limits` asks for, seen from the folder of this file; without it there is no `/v1`. It is read again at a reload.",
    },
    Key {
        path: "control",
        takes: "`unix:/PATH`",
        default: "",
        sentence: "Where `gatepost limits` and `gatepost listed` find the running daemon. Only root and the daemon's own user are answered. Without it: `control.sock` in `state.dir`, if there is one.",
    },
    Key {
        path: "policy_dir",
        takes: "a path",
        default: "policy.d",
        sentence: "The folder of the rule files, seen from the folder of this file.",
    },
    Key {
        path: "enforce",
        takes: "a list of names of rules or rule files; `*` and `?` stand for any characters and one",
        default: "[]",
        sentence: "Rules taken out of `mode: observe`: what they say now happens.",
    },
    Key {
        path: "disable",
        takes: "a list as for `enforce`",
        default: "[]",
        sentence: "Rules that are not asked at all: the kill switch. It wins over `enforce`.",
    },
    Key {
        path: "local",
        takes: "a map",
        default: "",
        sentence: "Who \"we\" are, as in `mynetworks`, `mydestination` and `myhostname`.",
    },
    Key {
        path: "local.networks",
        takes: "a list of addresses and networks",
        default: "[127.0.0.0/8, \"::1/128\"]",
        sentence: "Clients that are our own; their mail is outbound.",
    },
    Key {
        path: "local.domains",
        takes: "a list of domains; `.example.com` is everything below it",
        default: "[]",
        sentence: "Domains whose mail we receive.",
    },
    Key {
        path: "local.hostnames",
        takes: "a list of host names",
        default: "[]",
        sentence: "The names of this server: no stranger may say HELO with one.",
    },
    Key {
        path: "local.relays",
        takes: "a list; each item an address or network, or a map with `address` and `header`",
        default: "[]",
        sentence: "Servers outside `local.networks` that hand mail on to us and are believed: what they say of its origin (`origin_ip`), and their scanners' header fields. SPF is not asked about them.",
    },
    Key {
        path: "local.relays[].address",
        takes: "an address or network",
        default: "",
        sentence: "Which servers; needed. Those of `local.networks` may stand here too.",
    },
    Key {
        path: "local.relays[].header",
        takes: "the name of a header field",
        default: "",
        sentence: "Such as `X-Originating-IP`: the field in which they say the client's address, and which they take out of what strangers send. Else their `Received` is read.",
    },
    Key {
        path: "dns",
        takes: "a map",
        default: "",
        sentence: "Who is asked about names. Best a resolver on this machine that asks for itself: lists refuse those that many share.",
    },
    Key {
        path: "dns.nameservers",
        takes: "a list; each item `ADDRESS`, `ADDRESS:PORT` or `[ADDRESS]:PORT`",
        default: "[]",
        sentence: "Asked in turn when one does not answer; `[]` for those of `/etc/resolv.conf`.",
    },
    Key {
        path: "dns.timeout",
        takes: "a duration from 100ms to 10s",
        default: "2s",
        sentence: "For one server to answer; then the next is asked, or the only one again. After twice this there is no answer, so it is best less than half of `deadline.envelope`.",
    },
    Key {
        path: "geoip",
        takes: "a map",
        default: "",
        sentence: "Files in MaxMind's format (`.mmdb`), for the facts `country` and `asn`; read into memory, and again at a reload.",
    },
    Key {
        path: "geoip.country",
        takes: "a path",
        default: "",
        sentence: "Countries of addresses (GeoLite2-Country, GeoLite2-City, DB-IP, IPinfo), seen from the folder of this file.",
    },
    Key {
        path: "geoip.asn",
        takes: "a path",
        default: "",
        sentence: "Numbers of networks (GeoLite2-ASN, DB-IP, IPinfo), likewise.",
    },
    Key { path: "state", takes: "a map", default: "", sentence: "What is remembered between mails." },
    Key {
        path: "state.dir",
        takes: "a folder of its own",
        default: "",
        sentence: "Where counters, listings and what else is remembered outlive a restart. Without one they are in memory alone and begin anew with each start.",
    },
    Key {
        path: "state.snapshot_every",
        takes: "a duration from 1s to 1h",
        default: "10s",
        sentence: "How often what has changed is written to `state.dir`: what a crash may lose.",
    },
    Key {
        path: "state.max_keys",
        takes: "a number from 1000 to 100000000; K, M and G are powers of 1024",
        default: "1000000",
        sentence: "How many users, addresses and other keys of limits are kept; about 200 bytes each.",
    },
    Key {
        path: "deadline",
        takes: "a map",
        default: "",
        sentence: "How long a decision may take; what is unanswered then is unknown to the rules.",
    },
    Key {
        path: "deadline.envelope",
        takes: "a duration from 100ms to 25s",
        default: "5s",
        sentence: "For each step before the message; Postfix gives up after 30 s (`milter_command_timeout`).",
    },
    Key {
        path: "deadline.message",
        takes: "a duration from 100ms to 250s",
        default: "20s",
        sentence: "At the end of a message; Postfix gives up after 300 s (`milter_content_timeout`).",
    },
    Key { path: "log", takes: "a map", default: "", sentence: "The log; it goes to standard error." },
    Key {
        path: "log.format",
        takes: "`text` or `json`",
        default: "text",
        sentence: "`text`: one line of `key=value`; `json`: one object a line.",
    },
    Key {
        path: "log.level",
        takes: "`error`, `warn`, `info` or `debug`",
        default: "info",
        sentence: "The least that is written. Decisions are `info`.",
    },
];

/// The key at a path of the table.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// The words that may stand in the section at `path`; "" is the file itself.
pub(super) fn words_in(path: &str) -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(Key::split).filter(move |(section, _)| *section == path).map(|(_, word)| word)
}

/// `docs/config.md`.
pub fn reference() -> String {
    let mut page = String::from(
        "# gatepost.yaml\n\n\
         This page is generated. Every key is optional, and so is the file: without one the defaults\n\
         below hold, and rules are read from `./policy.d`. Mistakes are reported all at once, each with its\n\
         place; an unknown key is a mistake. Sizes are powers of 1024 (`10K`, `5M`); durations have a unit\n\
         (`100ms`, `5s`, `1h30m`).\n",
    );
    for key in KEYS {
        let section = key.takes.starts_with("a map") && key.default.is_empty();
        page += &format!("\n{} `{}`\n\n{}\n\n", if section { "##" } else { "###" }, key.path, key.sentence);
        page += &format!("- Takes: {}\n", key.takes);
        match (section, key.default) {
            (true, _) => {}
            (false, "") => page += "- Default: none\n",
            (false, default) => page += &format!("- Default: `{default}`\n"),
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_stands_in_a_section_of_the_table() {
        for key in KEYS {
            let (section, word) = key.split();
            assert!(!word.is_empty(), "{}", key.path);
            assert!(section.is_empty() || find(section.trim_end_matches("[]")).is_some(), "{}", key.path);
            assert!(key.sentence.ends_with('.'), "{}", key.path);
            assert_eq!(KEYS.iter().filter(|other| other.path == key.path).count(), 1, "{}", key.path);
        }
    }

    #[test]
    fn the_reference_shows_every_key_with_its_default() {
        let page = reference();
        for key in KEYS {
            assert!(page.contains(&format!("# `{}`\n", key.path)), "{}", key.path);
            assert!(page.contains(key.default), "{}", key.path);
        }
        assert!(page.contains("### `deadline.message`\n\nAt the end of a message; "), "{page}");
    }
}
