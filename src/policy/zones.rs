//! The entries of a list `of: dnsbl`, as written: postscreen's notation, or a map for
//! what that has no words for.

use crate::dns::Name;
use crate::near::did_you_mean;
use crate::reputation::Filter;
use crate::reputation::Kind;
use crate::reputation::Part;
use crate::reputation::Site;
use crate::reputation::weight;
use crate::reputation::zone;
use crate::values::Loader;
use crate::yaml::Entry;
use crate::yaml::Node;
use crate::yaml::Place;
use crate::yaml::Value;
use std::fs;
use std::io;
use std::io::Read as _;
use std::path::Path;

const KEYS: [&str; 8] = ["zone", "answers", "bits", "weight", "shown_as", "kind", "test", "key_file"];

/// Where the key stands in the name of a zone that has one in a file.
const KEY_MARK: &str = "{key}";

/// A label's length (RFC 1035, 2.3.4).
const MAX_KEY_BYTES: usize = 63;

/// A key and blanks around it.
const MAX_KEY_FILE_BYTES: u64 = 1024;

/// `[ZONE[=FILTER][*WEIGHT] | {zone: …}…]`, or `{ZONE: WEIGHT | {…}}`. Paths begin at `base`.
pub(super) fn read(node: &Node, base: &Path, cx: &mut Loader<'_>) -> Vec<(Site, Place)> {
    if let Value::Map(entries) = &node.value {
        return entries.iter().filter_map(|entry| Some((keyed(entry, base, cx)?, entry.key_place))).collect();
    }
    node.items().iter().filter_map(|item| Some((self::item(item, base, cx)?, item.place))).collect()
}

fn item(node: &Node, base: &Path, cx: &mut Loader<'_>) -> Option<Site> {
    if node.as_map().is_none() {
        let text = cx.text(node, "an entry")?;
        return told(Site::parse(text), node.place, cx);
    }
    let Some(zone) = node.get("zone") else {
        cx.mistake(node.place, "an entry needs its zone: {zone: bl.example, answers: 127.0.0.2, weight: 3}");
        return None;
    };
    let name = cx.text(zone, "zone")?.to_owned();
    described(&name, zone.place, node, base, cx)
}

/// `ZONE: WEIGHT`, or `ZONE: {…}`.
fn keyed(entry: &Entry, base: &Path, cx: &mut Loader<'_>) -> Option<Site> {
    let node = &entry.value;
    if node.as_map().is_some() {
        if let Some(zone) = node.get("zone") {
            cx.mistake(zone.place, "the zone is the key of the map already");
            return None;
        }
        return described(&entry.key, entry.key_place, node, base, cx);
    }
    let suffix = told(zone(&entry.key), entry.key_place, cx);
    let text = cx.text(node, "a weight")?;
    let weight = told(weight(text), node.place, cx)?;
    Some(Site::new(suffix?, None, None, vec![Part { filter: Filter::Any, weight }]))
}

fn described(name: &str, place: Place, node: &Node, base: &Path, cx: &mut Loader<'_>) -> Option<Site> {
    let before = cx.mistakes.found.len();
    cx.only_keys(node.as_map().unwrap_or_default(), &KEYS, "a zone");
    let suffix = suffix(name, place, node.get("key_file"), base, cx);
    let shown_as = match node.get("shown_as") {
        Some(node) => cx.whole_text(node, "shown_as").map(|text| shown(text, node.place, cx)),
        // The name without its key, whatever that looks like.
        None => {
            name.contains(KEY_MARK).then(|| name.replace(&format!("{KEY_MARK}."), "").to_ascii_lowercase())
        }
    };
    let kind = node.get("kind").and_then(|node| kind(node, cx));
    let parts = parts(node, cx);
    let test = node.get("test").map(|node| (node, cx.text(node, "test").unwrap_or_default()));
    if cx.mistakes.found.len() > before {
        return None;
    }
    let mut site = Site::new(suffix?, shown_as, kind, parts);
    match test {
        Some((node, "none")) if node.as_word().is_some() => site.is_tested = false,
        Some((node, text)) => {
            let kind = site.known_kind().unwrap_or(Kind::Ip);
            site.test = kind.key(&text.to_ascii_lowercase());
            if site.test.is_none() {
                let word = kind.word();
                cx.mistake(
                    node.place,
                    format!("`{text}` can't stand in a zone of kind {word}, or say test: none"),
                );
                return None;
            }
        }
        None => {}
    }
    Some(site)
}

/// The whole name of the zone, with its key.
fn suffix(name: &str, place: Place, file: Option<&Node>, base: &Path, cx: &mut Loader<'_>) -> Option<Name> {
    let marked = name.contains(KEY_MARK);
    let Some(file) = file else {
        if marked {
            cx.mistake(place, "`{key}` in a zone needs `key_file:` with the path of the file that has it");
            return None;
        }
        return told(zone(name), place, cx);
    };
    if !marked {
        cx.mistake(file.place, "with `key_file` the zone says where its key stands: \"{key}.zone.example\"");
        return None;
    }
    // What is wrong must be told without the key.
    let fine = told(zone(&name.replace(KEY_MARK, "key")), place, cx);
    let path = cx.text(file, "key_file")?;
    let key = match read_key(&base.join(path)) {
        Ok(key) => key.trim().to_ascii_lowercase(),
        Err(error) => {
            cx.mistake(file.place, format!("`{path}` can't be read: {error}"));
            return None;
        }
    };
    let is_key = (1..=MAX_KEY_BYTES).contains(&key.len())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if !is_key {
        let message = format!("`{path}` holds no key: one word of up to {MAX_KEY_BYTES} letters and digits");
        cx.mistake(file.place, message);
        return None;
    }
    fine?;
    let whole = Name::parse(&name.replace(KEY_MARK, &key));
    if whole.is_none() {
        cx.mistake(place, "with its key the zone is too long for a name");
    }
    whole
}

/// No more of it than a key could be: what is no regular file may never end.
fn read_key(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    fs::File::open(path)?.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// A word for replies and metrics.
fn shown(text: &str, place: Place, cx: &mut Loader<'_>) -> String {
    const MAX_BYTES: usize = 80;
    if text.is_empty() || text.len() > MAX_BYTES || text.contains(|c: char| c.is_control() || c == ',') {
        cx.mistake(place, format!("shown_as is a name of up to {MAX_BYTES} bytes, without commas"));
    }
    text.to_owned()
}

fn kind(node: &Node, cx: &mut Loader<'_>) -> Option<Kind> {
    let text = cx.text(node, "kind")?;
    let kind = Kind::parse(text);
    if kind.is_none() {
        let hint = did_you_mean(text, Kind::WORDS);
        cx.mistake(node.place, format!("`{text}` is not a kind of zone: {}{hint}", Kind::WORDS.join(" ")));
    }
    kind
}

/// What is counted: `answers` or `bits`, each with the weight or a map of weights.
fn parts(node: &Node, cx: &mut Loader<'_>) -> Vec<Part> {
    let given = node.get("weight");
    let whole = match given {
        Some(node) => cx.text(node, "weight").and_then(|text| told(weight(text), node.place, cx)),
        None => Some(1.0),
    };
    let mut parts = Vec::new();
    let mut has_weights = false;
    for (key, read) in [("answers", Filter::parse as fn(&str) -> Result<Filter, String>), ("bits", bits)] {
        let Some(node) = node.get(key) else {
            continue;
        };
        if let Some(entries) = node.as_map() {
            has_weights = true;
            for entry in entries {
                let filter = told(read(&entry.key), entry.key_place, cx);
                let text = cx.text(&entry.value, "a weight");
                let weight = text.and_then(|text| told(weight(text), entry.value.place, cx));
                parts.extend(filter.zip(weight).map(|(filter, weight)| Part { filter, weight }));
            }
            continue;
        }
        let mut filters = Vec::new();
        for item in cx.some_items(node, key).unwrap_or_default() {
            let text = cx.text(item, key);
            filters.extend(text.and_then(|text| told(read(text), item.place, cx)));
        }
        let filter = if filters.len() == 1 { filters.pop() } else { Some(Filter::AnyOf(filters)) };
        parts.extend(filter.zip(whole).map(|(filter, weight)| Part { filter, weight }));
    }
    if let Some(node) = given.filter(|_| has_weights) {
        cx.mistake(node.place, "each of the answers has its weight already");
    }
    if parts.is_empty() {
        parts.extend(whole.map(|weight| Part { filter: Filter::Any, weight }));
    }
    parts
}

fn bits(text: &str) -> Result<Filter, String> {
    Filter::bits(text)
        .ok_or_else(|| format!("`{text}` is not a mask of the answer's last 24 bits, such as 2 or 0x40"))
}

fn told<T>(read: Result<T, String>, place: Place, cx: &mut Loader<'_>) -> Option<T> {
    read.map_err(|message| cx.mistake(place, message)).ok()
}
