//! `lists:` of a rule file, as written; and the built-in lists of who we are.

use super::zones;
use crate::config::Local;
use crate::lists::Given;
use crate::lists::Kind;
use crate::lists::List;
use crate::lists::Registry;
use crate::lists::Spec;
use crate::lists::To;
use crate::near::did_you_mean;
use crate::values::Loader;
use crate::yaml::Entry;
use crate::yaml::Mistakes;
use crate::yaml::Node;
use crate::yaml::Place;
use crate::yaml::Source;
use crate::yaml::Value;
use std::path::Path;
use std::sync::Arc;

const KEYS: [&str; 7] = ["of", "to", "entries", "file", "named", "subdomains", "optional"];

/// The kinds that a check can ask by now.
const KINDS: [&str; 8] = ["address", "domain", "network", "client", "text", "filename", "header", "dnsbl"];

/// Reads `lists:` and adds each to the registry. Paths begin at `base`.
pub(super) fn read(node: &Node, base: &Path, mistakes: &mut Mistakes, registry: &mut Registry) {
    let Some(entries) = node.as_map() else {
        mistakes.add(node.place, format!("lists is a map of names, not {}", node.form()));
        return;
    };
    for entry in entries {
        if registry.contains(&entry.key) {
            mistakes.add(entry.key_place, format!("there is already a list `{}`", entry.key));
            continue;
        }
        let spec = spec(entry, base, mistakes);
        let list = match spec.map(List::build) {
            Some(Ok(list)) => list,
            Some(Err(found)) => {
                mistakes.found.extend(found);
                stand_in(entry, &mistakes.source)
            }
            None => stand_in(entry, &mistakes.source),
        };
        registry.add(Arc::new(list));
    }
}

/// An empty list of this name, so that a broken one is not also missing wherever
/// it is named.
fn stand_in(entry: &Entry, source: &Arc<Source>) -> List {
    let word = |key: &str| entry.value.get(key).and_then(Node::as_text).unwrap_or_default().to_owned();
    let kind = Kind::parse(&word("of")).unwrap_or(Kind::Text);
    List::stand_in(&entry.key, kind, To::parse(&word("to")), Arc::clone(source))
}

fn spec(entry: &Entry, base: &Path, mistakes: &mut Mistakes) -> Option<Spec> {
    let name = &entry.key;
    let node = &entry.value;
    let source = Arc::clone(&mistakes.source);
    let before = mistakes.found.len();
    let empty = Registry::default();
    let mut cx = Loader { mistakes, lists: &empty, tags: &mut Vec::new() };
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !is_name {
        cx.mistake(entry.key_place, format!("`{name}` is not a list's name: letters, digits, `-` and `_`"));
    }
    let Some(options) = node.as_map() else {
        cx.mistake(node.place, format!("a list is a map with of and entries or file, not {}", node.form()));
        return None;
    };
    cx.only_keys(options, &KEYS, "a list");
    let kind = kind(node, &mut cx);
    let to = match node.get("to") {
        Some(to) => Some(self::to(to, &mut cx)?),
        None => None,
    };
    if node.get("entries").is_none() && node.get("file").is_none() {
        cx.mistake(node.place, "a list needs entries or file");
    }
    let file = node.get("file").and_then(|file| Some((cx.text(file, "file")?.to_owned(), file.place)));
    let (mut entries, mut sites) = (Vec::new(), Vec::new());
    match (node.get("entries"), kind) {
        (Some(node), Some(Kind::Dnsbl)) => sites = zones::read(node, base, &mut cx),
        (Some(node), _) => entries = given(node, &mut cx),
        (None, _) => {}
    }
    if kind == Some(Kind::Dnsbl) {
        for key in ["to", "named", "subdomains"] {
            if let Some(entry) = options.iter().find(|entry| entry.key == key) {
                cx.mistake(
                    entry.key_place,
                    format!("a list of dnsbl has no `{key}`: its zones have weights"),
                );
            }
        }
    }
    let named = node.get("named").map(|named| classes(named, &mut cx)).unwrap_or_default();
    let subdomains = yes_or_no(node, "subdomains", &mut cx);
    let optional = yes_or_no(node, "optional", &mut cx);
    if cx.mistakes.found.len() > before {
        return None;
    }
    Some(Spec {
        name: name.clone(),
        kind: kind?,
        to,
        source,
        entries,
        sites,
        file,
        base: base.to_owned(),
        named,
        subdomains,
        optional,
    })
}

fn kind(node: &Node, cx: &mut Loader<'_>) -> Option<Kind> {
    let Some(of) = node.get("of") else {
        cx.mistake(node.place, format!("a list needs `of`: {}", KINDS.join(" ")));
        return None;
    };
    let text = cx.text(of, "of")?;
    let kind = Kind::parse(text).filter(|_| KINDS.contains(&text));
    if kind.is_none() {
        let hint = did_you_mean(text, KINDS);
        cx.mistake(of.place, format!("`{text}` is not a kind of list: {}{hint}", KINDS.join(" ")));
    }
    kind
}

fn to(node: &Node, cx: &mut Loader<'_>) -> Option<To> {
    let text = cx.text(node, "to")?;
    let to = To::parse(text);
    if to.is_none() {
        let hint = did_you_mean(text, To::WORDS.iter().copied());
        cx.mistake(node.place, format!("`{text}` is not a kind of value: {}{hint}", To::WORDS.join(" ")));
    }
    to
}

fn yes_or_no(node: &Node, key: &str, cx: &mut Loader<'_>) -> bool {
    let Some(value) = node.get(key) else {
        return false;
    };
    match value.as_word() {
        Some("true") => true,
        Some("false") => false,
        _ => {
            cx.mistake(value.place, format!("`{key}` is true or false"));
            false
        }
    }
}

/// `[PATTERN…]` or `{PATTERN: VALUE…}`.
fn given(node: &Node, cx: &mut Loader<'_>) -> Vec<Given> {
    match &node.value {
        Value::Map(entries) => entries
            .iter()
            .filter_map(|entry| {
                let values = texts(&entry.value, "a value", cx)?;
                Some(Given {
                    text: entry.key.clone(),
                    quoted: entry.key_quoted,
                    place: entry.key_place,
                    values: Some((values, entry.value.place)),
                })
            })
            .collect(),
        _ => node
            .items()
            .iter()
            .filter_map(|item| {
                let text = cx.text(item, "an entry")?;
                Some(Given {
                    text: text.to_owned(),
                    quoted: item.as_word().is_none(),
                    place: item.place,
                    values: None,
                })
            })
            .collect(),
    }
}

fn texts(node: &Node, what: &str, cx: &mut Loader<'_>) -> Option<Vec<String>> {
    node.items().iter().map(|item| cx.text(item, what).map(str::to_owned)).collect()
}

fn classes(node: &Node, cx: &mut Loader<'_>) -> Vec<(String, Vec<String>, Place)> {
    let Some(entries) = node.as_map() else {
        cx.mistake(node.place, "named is a map of words to limits");
        return Vec::new();
    };
    entries
        .iter()
        .filter_map(|entry| Some((entry.key.clone(), texts(&entry.value, "limits", cx)?, entry.value.place)))
        .collect()
}

/// `local.networks`, `local.domains`, `local.hostnames` and `local.relays`.
pub(super) fn built_in(local: &Local, source: &Arc<Source>, registry: &mut Registry) {
    let mut relays: Vec<_> = local.relays.iter().map(|relay| relay.network.to_string()).collect();
    relays.sort();
    relays.dedup();
    let networks = local.networks.iter().map(ToString::to_string).collect();
    for (name, kind, texts) in [
        ("local.networks", Kind::Network, networks),
        ("local.domains", Kind::Domain, local.domains.clone()),
        ("local.hostnames", Kind::Domain, local.hostnames.clone()),
        ("local.relays", Kind::Network, relays),
    ] {
        let texts: Vec<String> = texts;
        let entries =
            texts.into_iter().map(|text| Given { text, quoted: true, place: Place::default(), values: None });
        let spec = Spec {
            name: name.to_owned(),
            kind,
            to: None,
            source: Arc::clone(source),
            entries: entries.collect(),
            sites: Vec::new(),
            file: None,
            base: std::path::PathBuf::new(),
            named: Vec::new(),
            subdomains: false,
            optional: false,
        };
        // The configuration has been read: these are networks and names.
        if let Ok(list) = List::build(spec) {
            registry.add(Arc::new(list));
        }
    }
}
