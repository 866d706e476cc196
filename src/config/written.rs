//! `gatepost.yaml` as written: which keys there are, and whether each holds a
//! text, a list or a map as the table of keys says. What the texts mean is not
//! looked at here.

use super::keys;
use crate::near::nearest;
use crate::yaml::Mistakes;
use crate::yaml::Node;
use crate::yaml::Place;
use crate::yaml::Source;
use crate::yaml::Value;
use crate::yaml::parse;
use std::sync::Arc;

/// A value's text and its place; no place for a default.
#[derive(Clone, Debug)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) place: Option<Place>,
}

/// One item of `listen.policy` or `listen.milter`.
#[derive(Clone, Debug)]
pub(super) struct WrittenListener {
    pub(super) address: Text,
    pub(super) name: Text,
    pub(super) mode: Text,
    pub(super) group: Option<Text>,
    /// Only a milter's has one.
    pub(super) decides: Option<Text>,
}

/// `listen.http`.
#[derive(Clone, Debug)]
pub(super) struct WrittenHttp {
    pub(super) address: Text,
    pub(super) token_file: Option<Text>,
}

/// One item of `local.relays`.
#[derive(Clone, Debug)]
pub(super) struct WrittenRelay {
    pub(super) address: Text,
    pub(super) header: Option<Text>,
}

/// The whole file, with defaults where nothing is said.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) policy: Vec<WrittenListener>,
    pub(super) milter: Vec<WrittenListener>,
    /// None for `http: none`.
    pub(super) http: Option<WrittenHttp>,
    pub(super) control: Option<Text>,
    pub(super) policy_dir: Text,
    pub(super) enforce: Vec<Text>,
    pub(super) disable: Vec<Text>,
    pub(super) networks: Vec<Text>,
    pub(super) domains: Vec<Text>,
    pub(super) hostnames: Vec<Text>,
    pub(super) nameservers: Vec<Text>,
    pub(super) dns_timeout: Text,
    pub(super) relays: Vec<WrittenRelay>,
    pub(super) geoip_country: Option<Text>,
    pub(super) geoip_asn: Option<Text>,
    pub(super) state_dir: Option<Text>,
    pub(super) snapshot_every: Text,
    pub(super) max_keys: Text,
    pub(super) envelope: Text,
    pub(super) message: Text,
    pub(super) log_format: Text,
    pub(super) log_level: Text,
}

impl Written {
    /// None where there is no tree to read: what is wrong is in `mistakes`.
    pub(super) fn read(mistakes: &mut Mistakes) -> Option<Self> {
        let root = parse(mistakes);
        for mistake in &mut mistakes.found {
            // The parser speaks to authors of rules.
            if mistake.message.starts_with("nothing given") {
                mistake.message = "nothing given; leave the key out for its default".into();
            }
        }
        let root = root?;
        let mut reader = Reader { mistakes };
        let top = reader.section(Some(&root), "");
        let listen = reader.section_in(top, "listen");
        let local = reader.section_in(top, "local");
        let dns = reader.section_in(top, "dns");
        let geoip = reader.section_in(top, "geoip");
        let state = reader.section_in(top, "state");
        let deadline = reader.section_in(top, "deadline");
        let log = reader.section_in(top, "log");
        Some(Self {
            policy: reader.listeners(listen, "listen.policy"),
            milter: reader.listeners(listen, "listen.milter"),
            http: reader.http(listen),
            control: reader.given_text(top, "control"),
            policy_dir: reader.text(top, "policy_dir"),
            enforce: reader.texts(top, "enforce"),
            disable: reader.texts(top, "disable"),
            networks: reader.texts(local, "local.networks"),
            domains: reader.texts(local, "local.domains"),
            hostnames: reader.texts(local, "local.hostnames"),
            nameservers: reader.texts(dns, "dns.nameservers"),
            dns_timeout: reader.text(dns, "dns.timeout"),
            relays: reader.relays(local),
            geoip_country: reader.given_text(geoip, "geoip.country"),
            geoip_asn: reader.given_text(geoip, "geoip.asn"),
            state_dir: reader.given_text(state, "state.dir"),
            snapshot_every: reader.text(state, "state.snapshot_every"),
            max_keys: reader.text(state, "state.max_keys"),
            envelope: reader.text(deadline, "deadline.envelope"),
            message: reader.text(deadline, "deadline.message"),
            log_format: reader.text(log, "log.format"),
            log_level: reader.text(log, "log.level"),
        })
    }
}

/// Says it once: a value that the parser has already complained about needs no
/// second complaint.
pub(super) fn complain(mistakes: &mut Mistakes, place: Option<Place>, message: String) {
    let place = place.unwrap_or_default();
    if !mistakes.found.iter().any(|mistake| mistake.place == Some(place)) {
        mistakes.add(place, message);
    }
}

struct Reader<'m> {
    mistakes: &'m mut Mistakes,
}

impl Reader<'_> {
    /// The section `word` of the file.
    fn section_in<'n>(&mut self, top: Option<&'n Node>, word: &'static str) -> Option<&'n Node> {
        self.section(top.and_then(|top| top.get(word)), word)
    }

    /// A node that must be a map with the keys of the table.
    fn section<'n>(&mut self, node: Option<&'n Node>, path: &str) -> Option<&'n Node> {
        let node = node?;
        let Some(entries) = node.as_map() else {
            let what = if path.is_empty() { "the file" } else { path };
            self.wrong_form(what, "a map", node);
            return None;
        };
        for entry in entries {
            if keys::words_in(path).any(|word| word == entry.key) {
                continue;
            }
            complain(self.mistakes, Some(entry.key_place), unknown_key(&entry.key, path));
        }
        Some(node)
    }

    fn wrong_form(&mut self, path: &str, takes: &str, node: &Node) {
        let message = format!("`{path}` takes {takes}, not {}", node.form());
        complain(self.mistakes, Some(node.place), message);
    }

    /// The text at a key that has a default.
    fn text(&mut self, section: Option<&Node>, path: &str) -> Text {
        self.given_text(section, path).unwrap_or_else(|| Text { text: unquoted_default(path), place: None })
    }

    /// The text at a key, if it is there and is one.
    fn given_text(&mut self, section: Option<&Node>, path: &str) -> Option<Text> {
        let key = keys::find(path)?;
        let node = section?.get(key.split().1)?;
        let Some(text) = node.as_text() else {
            self.wrong_form(path, key.takes, node);
            return None;
        };
        Some(Text { text: text.to_owned(), place: Some(node.place) })
    }

    /// The texts at a key that takes a list; one text is a list of one.
    fn texts(&mut self, section: Option<&Node>, path: &str) -> Vec<Text> {
        let Some(key) = keys::find(path) else { return Vec::new() };
        let given = section.and_then(|section| section.get(key.split().1));
        let Some(list) = given else { return default_texts(path) };
        if matches!(list.value, Value::Map(_)) {
            self.wrong_form(path, key.takes, list);
            return default_texts(path);
        }
        let mut texts = Vec::new();
        for item in list.items() {
            match item.as_text() {
                Some(text) => texts.push(Text { text: text.to_owned(), place: Some(item.place) }),
                None => {
                    let message = format!("an item of `{path}` is a text, not {}", item.form());
                    complain(self.mistakes, Some(item.place), message);
                }
            }
        }
        texts
    }

    fn listeners(&mut self, listen: Option<&Node>, path: &'static str) -> Vec<WrittenListener> {
        let items = format!("{path}[]");
        let word = path.rsplit_once('.').map_or(path, |(_, word)| word);
        let Some(given) = listen.and_then(|listen| listen.get(word)) else {
            return default_texts(path).into_iter().map(|text| listener_at(text, &items)).collect();
        };
        given.items().iter().filter_map(|item| self.listener(item, &items)).collect()
    }

    fn listener(&mut self, item: &Node, path: &str) -> Option<WrittenListener> {
        if let Some(text) = item.as_text() {
            return Some(listener_at(Text { text: text.to_owned(), place: Some(item.place) }, path));
        }
        if item.as_seq().is_some() {
            let list = path.trim_end_matches("[]");
            let message = format!("an item of `{list}` is an address or a map, not a list");
            complain(self.mistakes, Some(item.place), message);
            return None;
        }
        let map = self.section(Some(item), path)?;
        if map.get("address").is_none() {
            complain(
                self.mistakes,
                Some(map.place),
                "a listener needs an `address`, such as inet:127.0.0.1:12040".into(),
            );
            return None;
        }
        let key = |word| format!("{path}.{word}");
        Some(WrittenListener {
            address: self.given_text(Some(map), &key("address"))?,
            name: self.text(Some(map), &key("name")),
            mode: self.text(Some(map), &key("mode")),
            group: self.given_text(Some(map), &key("group")),
            decides: keys::find(&key("decides")).map(|decides| self.text(Some(map), decides.path)),
        })
    }

    fn relays(&mut self, local: Option<&Node>) -> Vec<WrittenRelay> {
        let given = local.and_then(|local| local.get("relays"));
        given.map(Node::items).unwrap_or_default().iter().filter_map(|item| self.relay(item)).collect()
    }

    fn relay(&mut self, item: &Node) -> Option<WrittenRelay> {
        if let Some(text) = item.as_text() {
            let address = Text { text: text.to_owned(), place: Some(item.place) };
            return Some(WrittenRelay { address, header: None });
        }
        let map = self.section(Some(item), "local.relays[]")?;
        if map.get("address").is_none() {
            let message = "a relay needs an `address`, such as 192.0.2.0/24".into();
            complain(self.mistakes, Some(map.place), message);
            return None;
        }
        Some(WrittenRelay {
            address: self.given_text(Some(map), "local.relays[].address")?,
            header: self.given_text(Some(map), "local.relays[].header"),
        })
    }

    fn http(&mut self, listen: Option<&Node>) -> Option<WrittenHttp> {
        let given = listen.and_then(|listen| listen.get("http"));
        if given.and_then(Node::as_word) == Some("none") {
            return None;
        }
        let section = self.section(given, "listen.http");
        Some(WrittenHttp {
            address: self.text(section, "listen.http.address"),
            token_file: self.given_text(section, "listen.http.token_file"),
        })
    }
}

/// A listener of which only the address is said.
fn listener_at(address: Text, path: &str) -> WrittenListener {
    let default = |word| Text { text: unquoted_default(&format!("{path}.{word}")), place: None };
    let decides = keys::find(&format!("{path}.decides")).map(|_| default("decides"));
    WrittenListener { address, name: default("name"), mode: default("mode"), group: None, decides }
}

/// Why a key is not known, and where it belongs if that can be guessed.
fn unknown_key(word: &str, path: &str) -> String {
    if let Some(meant) = nearest(word, keys::words_in(path)) {
        return format!("no key `{word}`; did you mean `{meant}`?");
    }
    let elsewhere = keys::KEYS.iter().map(keys::Key::split).find(|(_, other)| *other == word);
    if let Some((section, _)) = elsewhere {
        return match section {
            "" => format!("no key `{word}` here; it stands at the left margin"),
            section => format!("no key `{word}` here; it stands in `{section}`"),
        };
    }
    let known: Vec<_> = keys::words_in(path).collect();
    format!("no key `{word}`; here may stand {}", known.join(", "))
}

/// The default at a key, as a tree. The table is ours: a test reads all of it.
fn default_node(path: &str) -> Option<Node> {
    let text = keys::find(path)?.default.to_owned();
    parse(&mut Mistakes::new(Arc::new(Source { name: path.to_owned(), text })))
}

fn unquoted_default(path: &str) -> String {
    default_node(path).and_then(|node| node.as_text().map(str::to_owned)).unwrap_or_default()
}

fn default_texts(path: &str) -> Vec<Text> {
    let node = default_node(path);
    let items = node.as_ref().map(Node::items).unwrap_or_default();
    items.iter().filter_map(|item| Some(Text { text: item.as_text()?.to_owned(), place: None })).collect()
}
