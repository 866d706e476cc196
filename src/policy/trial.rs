//! The tests inside rule files, as written: what is given, what is expected.
//! They are run by the engine, on a clock and counters of their own.

use crate::checks::Count;
use crate::checks::Giveable;
use crate::checks::REGISTRY;
use crate::content::Kind;
use crate::content::Kinds;
use crate::dns::Zone;
use crate::facts::Fact;
use crate::facts::Kind as FactKind;
use crate::lists::Pattern;
use crate::lists::Subject;
use crate::lookup::Given as Answer;
use crate::near::did_you_mean;
use crate::policy::action;
use crate::quantity::parse_duration;
use crate::quantity::parse_size;
use crate::values::Loader;
use crate::values::some_words;
use crate::yaml::Entry;
use crate::yaml::Node;
use crate::yaml::Place;
use data_encoding::HEXLOWER_PERMISSIVE;
use std::time::Duration;

/// The most mails one step may send.
const MAX_TIMES: u64 = 1_000_000;

/// The most recipients one mail of a test may have.
const MAX_RECIPIENTS: u64 = 10_000;

/// The most events that one step may say to have happened.
const MAX_HAPPENED: u64 = 1_000_000;

/// What a test may say to have happened before its mail is sent.
const EVENTS: [Count; 3] = [Count::Refused, Count::UnknownUsers, Count::Probes];

/// One test: steps that share clock and counters.
#[derive(Clone, Debug)]
pub struct Trial {
    pub place: Place,
    pub steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub struct Step {
    pub place: Place,
    pub given: Given,
    /// What the DNS says from this step on.
    pub dns: Option<Zone>,
    pub at: Option<jiff::civil::DateTime>,
    pub after: Option<Duration>,
    /// How often the mail is sent; only the last may match.
    pub times: u64,
    /// Actions that fail.
    pub fails: Vec<String>,
    pub expect: Vec<Expected>,
    /// The rule that must have decided.
    pub by: Option<String>,
}

/// What a mail is like. Each `given` of a test adds to the last.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// None takes a fact away.
    pub facts: Vec<(Fact, Option<String>)>,
    pub recipients: Option<Vec<String>>,
    pub tags: Vec<String>,
    pub score: Option<f64>,
    /// Reasons for which every key that is asked about is listed.
    pub listed: Vec<String>,
    /// False: what rules greylist has waited long enough.
    pub greylist: Option<bool>,
    /// What computed checks come to.
    pub answers: Vec<Answer>,
    /// What has happened before to whoever sends it, and how often; of this step alone.
    pub happened: Vec<(Count, u64)>,
    /// Lines such as `Subject: hi`.
    pub headers: Option<Vec<String>>,
    pub attachments: Option<Vec<GivenFile>>,
    pub body: Option<String>,
    /// A file with a message, beside the rule file.
    pub message: Option<(String, Place)>,
}

/// A file that the mail has. What is not said is found, in a few bytes of text.
#[derive(Clone, Debug, Default)]
pub struct GivenFile {
    pub name: Option<String>,
    pub kinds: Option<Kinds>,
    /// Of the part, so of the outermost alone.
    pub media_type: Option<String>,
    pub size: Option<u64>,
    pub sha256: Option<[u8; 32]>,
    /// What it is packed in.
    pub inside: Option<Box<Self>>,
}

impl GivenFile {
    /// Nothing is said of what it is.
    pub fn is_plain(&self) -> bool {
        self.kinds.is_none() && self.size.is_none() && self.sha256.is_none() && self.inside.is_none()
    }
}

#[derive(Clone, Debug)]
pub enum Expected {
    /// An action was done; with a text, the text it was done with.
    Action(String, Option<ExpectedText>),
    Headers(Vec<String>),
    Match,
    NoMatch,
    /// Nothing refuses, discards or holds the mail.
    Pass,
    Score(f64),
    Tags(Vec<String>),
    Unknown,
}

#[derive(Clone, Debug)]
pub enum ExpectedText {
    Part(String),
    Pattern(Pattern),
}

const STEP_KEYS: [&str; 8] = ["given", "dns", "at", "after", "times", "fails", "expect", "by"];

/// Reads `tests:`.
pub(super) fn read(node: &Node, cx: &mut Loader<'_>) -> Vec<Trial> {
    let Some(items) = node.as_seq() else {
        cx.mistake(node.place, "tests are a list");
        return Vec::new();
    };
    let mut trials = Vec::new();
    for item in items {
        let steps: Vec<_> = item.items().iter().map(|step| self::step(step, cx)).collect();
        if let Some(steps) = steps.into_iter().collect::<Option<Vec<_>>>() {
            trials.push(Trial { place: item.place, steps });
        }
    }
    trials
}

fn step(node: &Node, cx: &mut Loader<'_>) -> Option<Step> {
    let Some(entries) = node.as_map() else {
        cx.mistake(node.place, format!("a step of a test is a map, not {}", node.form()));
        return None;
    };
    let mut fine = cx.only_keys(entries, &STEP_KEYS, "a test");
    let given = match node.get("given") {
        Some(given) => self::given(given, cx),
        None => Some(Given::default()),
    };
    let dns = match node.get("dns") {
        Some(dns) => Some(zone(dns, cx)?),
        None => None,
    };
    let at = read_with(node, "at", "a time such as 2026-11-21 03:30", &mut fine, cx, date_time);
    let after = read_with(node, "after", "a time such as 10m or 1d", &mut fine, cx, parse_duration);
    let times = read_with(node, "times", "a number up to 1000000", &mut fine, cx, |text| {
        text.parse().ok().filter(|times| (1..=MAX_TIMES).contains(times))
    });
    let fails = match node.get("fails") {
        Some(fails) => fails.items().iter().map(|item| action_word(item, cx)).collect::<Option<Vec<_>>>(),
        None => Some(Vec::new()),
    };
    let by = match node.get("by") {
        Some(by) => Some(cx.text(by, "by")?.to_owned()),
        None => None,
    };
    let Some(expect) = node.get("expect") else {
        cx.mistake(node.place, "a test needs `expect`");
        return None;
    };
    let expect = expected(expect, cx);
    if !fine {
        return None;
    }
    Some(Step {
        place: node.place,
        given: given?,
        dns,
        at,
        after,
        times: times.unwrap_or(1),
        fails: fails?,
        expect: expect?,
        by,
    })
}

fn read_with<T>(
    node: &Node,
    key: &str,
    example: &str,
    fine: &mut bool,
    cx: &mut Loader<'_>,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let value = node.get(key)?;
    let text = value.as_text().unwrap_or_default();
    let parsed = parse(text);
    if parsed.is_none() {
        cx.mistake(value.place, format!("`{text}` is not {example}"));
        *fine = false;
    }
    parsed
}

/// `2026-11-21 03:30`, `2026-11-21T03:30:15`, `2026-11-21`.
fn date_time(text: &str) -> Option<jiff::civil::DateTime> {
    let joined = text.replacen(' ', "T", 1);
    joined.parse().ok().or_else(|| Some(text.parse::<jiff::civil::Date>().ok()?.at(0, 0, 0, 0)))
}

/// Reads `given:`, of a step or of a file.
pub(super) fn given(node: &Node, cx: &mut Loader<'_>) -> Option<Given> {
    let Some(entries) = node.as_map() else {
        cx.mistake(node.place, format!("given is a map, not {}", node.form()));
        return None;
    };
    let mut given = Given::default();
    let before = cx.mistakes.found.len();
    for entry in entries {
        given.read(entry, cx);
    }
    (cx.mistakes.found.len() == before).then_some(given)
}

impl Given {
    fn read(&mut self, entry: &Entry, cx: &mut Loader<'_>) {
        let node = &entry.value;
        match entry.key.as_str() {
            "recipients" => self.recipients = recipients(node, cx),
            "headers" => self.headers = texts(node, "a header line", cx),
            "attachments" => self.attachments = attachments(node, cx),
            "body" => self.body = cx.text(node, "body").map(str::to_owned),
            "message" => self.message = cx.text(node, "message").map(|file| (file.to_owned(), node.place)),
            "tag" => self.tags = texts(node, "a tag", cx).unwrap_or_default(),
            "listed" => self.listed = texts(node, "a reason", cx).unwrap_or_default(),
            "greylist" => self.greylist = yes_or_no(node, "greylist", cx),
            "score" => self.score = crate::values::number(node, "score", cx),
            "client" => cx.mistake(entry.key_place, "give client_address and client_name"),
            name if REGISTRY.iter().any(|info| info.name == name && info.giveable != Giveable::Nothing) => {
                self.answers.extend(answer(name, node, cx));
            }
            name => match (Fact::named(name), EVENTS.into_iter().find(|count| count.word() == name)) {
                (Some(fact), _) => self.fact(fact, node, cx),
                (None, Some(count)) => self.happened.extend(happened(node, cx).map(|n| (count, n))),
                (None, None) => {
                    let known = Fact::all().map(Fact::name);
                    let others = [
                        "recipients",
                        "headers",
                        "attachments",
                        "body",
                        "message",
                        "tag",
                        "score",
                        "listed",
                        "greylist",
                    ];
                    let giveable = REGISTRY.iter().filter(|info| info.giveable != Giveable::Nothing);
                    let computed = giveable.map(|info| info.name);
                    let others = others.into_iter().chain(computed).chain(EVENTS.map(Count::word));
                    let hint = did_you_mean(name, known.chain(others));
                    cx.mistake(entry.key_place, format!("nothing `{name}` to be given{hint}"));
                }
            },
        }
    }

    fn fact(&mut self, fact: Fact, node: &Node, cx: &mut Loader<'_>) {
        if node.as_word() == Some("absent") {
            let follows = matches!(fact, Fact::ClientFamily | Fact::ServerFamily);
            if follows {
                let address = fact.name().replace("family", "address");
                cx.mistake(
                    node.place,
                    format!("`{}` follows from {address}: give `{address}: absent`", fact.name()),
                );
                return;
            }
            self.facts.push((fact, None));
            return;
        }
        let Some(text) = cx.text(node, fact.name()) else {
            return;
        };
        let value = match fact.info().kind {
            FactKind::Number => parse_size(text).map(|size| size.to_string()),
            FactKind::Ip => crate::facts::parse_ip(text).map(|ip| ip.to_string()),
            FactKind::Words(words) => words.contains(&text).then(|| text.to_owned()),
            _ => Some(text.to_owned()),
        };
        if value.is_none() {
            let expected = match fact.info().kind {
                FactKind::Words(words) => words.join(" "),
                kind => format!("a {}", kind.word()),
            };
            cx.mistake(node.place, format!("`{text}` is no {}: {expected}", fact.name()));
            return;
        }
        self.facts.push((fact, value));
    }

    /// Adds what a later step says.
    pub fn add(&mut self, later: &Self) {
        self.facts.extend(later.facts.iter().cloned());
        self.tags.extend(later.tags.iter().cloned());
        self.listed.extend(later.listed.iter().cloned());
        self.greylist = later.greylist.or(self.greylist);
        self.answers.retain(|(check, _)| !later.answers.iter().any(|(other, _)| other == check));
        self.answers.extend(later.answers.iter().cloned());
        self.happened.extend(later.happened.iter().copied());
        self.score = later.score.or(self.score);
        // One recipient is a list of one, so the later of the two words counts.
        if later.recipients.is_some() {
            self.recipients.clone_from(&later.recipients);
        } else if later.facts.iter().any(|(fact, _)| *fact == Fact::Recipient) {
            self.recipients = None;
        }
        if later.headers.is_some() || later.message.is_some() {
            self.headers.clone_from(&later.headers);
            self.message.clone_from(&later.message);
        }
        if later.attachments.is_some() {
            self.attachments.clone_from(&later.attachments);
        }
        if later.body.is_some() {
            self.body.clone_from(&later.body);
        }
    }
}

/// Lines such as `66.2.0.192.bl.example A 127.0.0.2`.
fn zone(node: &Node, cx: &mut Loader<'_>) -> Option<Zone> {
    let text = cx.text(node, "dns")?;
    match Zone::parse(text) {
        Ok(zone) => Some(zone),
        Err((line, why)) => {
            cx.mistake(node.place, format!("line {line} of dns: {why}"));
            None
        }
    }
}

/// What a computed check comes to, in its own words.
fn answer(name: &str, node: &Node, cx: &mut Loader<'_>) -> Option<Answer> {
    let info = REGISTRY.iter().find(|info| info.name == name)?;
    let words: &[&str] = match info.giveable {
        Giveable::Nothing => &[],
        Giveable::Words(words) => words,
        Giveable::YesNo => &["true", "false"],
    };
    let given = texts(node, name, cx)?;
    let odd = given.iter().find(|word| !words.contains(&word.as_str()) && *word != "unknown");
    if let Some(odd) = odd {
        let hint = did_you_mean(odd, words.iter().copied());
        let message = format!("`{odd}` is not what {name} comes to: {} unknown{hint}", words.join(" "));
        cx.mistake(node.place, message);
        return None;
    }
    Some((info.name, given))
}

fn happened(node: &Node, cx: &mut Loader<'_>) -> Option<u64> {
    let text = node.as_text().unwrap_or_default();
    let number = text.parse().ok().filter(|number| (1..=MAX_HAPPENED).contains(number));
    if number.is_none() {
        cx.mistake(node.place, format!("`{text}` is not how often it happened, from 1 to {MAX_HAPPENED}"));
    }
    number
}

/// Addresses, or how many.
fn recipients(node: &Node, cx: &mut Loader<'_>) -> Option<Vec<String>> {
    let Some(number) = node.as_text().filter(|_| node.as_seq().is_none()) else {
        return texts(node, "a recipient", cx);
    };
    match number.parse::<u64>() {
        Ok(number) if (1..=MAX_RECIPIENTS).contains(&number) => {
            Some((1..=number).map(|n| format!("user{n}@example.com")).collect())
        }
        _ => {
            cx.mistake(
                node.place,
                format!(
                    "`{number}` is neither a list of recipients nor their number (up to {MAX_RECIPIENTS})"
                ),
            );
            None
        }
    }
}

fn yes_or_no(node: &Node, name: &str, cx: &mut Loader<'_>) -> Option<bool> {
    match node.as_word() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => {
            cx.mistake(node.place, format!("`{name}` is true or false"));
            None
        }
    }
}

fn attachments(node: &Node, cx: &mut Loader<'_>) -> Option<Vec<GivenFile>> {
    node.items().iter().map(|item| attachment(item, cx)).collect()
}

/// A name, or what is known of a file.
fn attachment(node: &Node, cx: &mut Loader<'_>) -> Option<GivenFile> {
    let Some(options) = node.as_map() else {
        return cx
            .text(node, "a file name")
            .map(|name| GivenFile { name: Some(name.into()), ..GivenFile::default() });
    };
    let mut fine =
        cx.only_keys(options, &["name", "kind", "type", "size", "hash", "inside"], "an attachment");
    let mut file = GivenFile::default();
    if let Some(name) = node.get("name") {
        file.name = Some(cx.text(name, "a file name")?.to_owned());
    }
    if let Some(kind) = node.get("kind") {
        let words = some_words(kind, "kind", Kind::WORDS, cx)?;
        let kinds = Kind::ALL.iter().copied();
        file.kinds = Some(kinds.filter(|kind| words.contains(&kind.word())).collect());
    }
    if let Some(media_type) = node.get("type") {
        file.media_type = Some(self::media_type(media_type, cx)?);
    }
    file.size = read_with(node, "size", "a size such as 100 or 5M", &mut fine, cx, parse_size);
    file.sha256 = read_with(node, "hash", "64 hexadecimal digits", &mut fine, cx, sha256);
    if let Some(inside) = node.get("inside") {
        if file.media_type.is_some() {
            let message = "a file inside another has no type: only a part of the message is declared as one";
            cx.mistake(node.place, message);
            return None;
        }
        file.inside = Some(Box::new(attachment(inside, cx)?));
    }
    fine.then_some(file)
}

/// It stands in a header field of the test's mail.
fn media_type(node: &Node, cx: &mut Loader<'_>) -> Option<String> {
    let text = cx.text(node, "a media type")?;
    let is_token = |word: &str| {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    if !text.split_once('/').is_some_and(|(kind, sort)| is_token(kind) && is_token(sort)) {
        cx.mistake(node.place, format!("`{text}` is not a media type such as image/png"));
        return None;
    }
    Some(text.to_owned())
}

fn sha256(text: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn texts(node: &Node, what: &str, cx: &mut Loader<'_>) -> Option<Vec<String>> {
    node.items().iter().map(|item| cx.text(item, what).map(str::to_owned)).collect()
}

fn action_word(node: &Node, cx: &mut Loader<'_>) -> Option<String> {
    let text = cx.text(node, "an action")?;
    if action::words().any(|word| word == text) {
        return Some(text.to_owned());
    }
    cx.mistake(node.place, format!("no action `{text}`{}", did_you_mean(text, action::words())));
    None
}

fn expected(node: &Node, cx: &mut Loader<'_>) -> Option<Vec<Expected>> {
    let Some(entries) = node.as_map() else {
        return match node.as_text() {
            Some("match") => Some(vec![Expected::Match]),
            Some("no_match") => Some(vec![Expected::NoMatch]),
            Some("unknown") => Some(vec![Expected::Unknown]),
            Some("pass") => Some(vec![Expected::Pass]),
            Some(word) if !action::words().any(|known| known == word) => {
                let known = ["match", "no_match", "unknown", "pass"].into_iter().chain(action::words());
                let hint = did_you_mean(word, known);
                cx.mistake(
                    node.place,
                    format!("`{word}` can't be expected: match, no_match, unknown, pass or an action{hint}"),
                );
                None
            }
            _ => action_word(node, cx).map(|word| vec![Expected::Action(word, None)]),
        };
    };
    let mut all = Vec::new();
    for entry in entries {
        let value = &entry.value;
        let expected = match entry.key.as_str() {
            // A list here is what the mail has in the end, a number or text what the action gave.
            "score" => crate::values::number(value, "score", cx).map(Expected::Score),
            "tags" => texts(value, "a tag", cx).map(Expected::Tags),
            "headers" => texts(value, "a header line", cx).map(Expected::Headers),
            word => {
                if !action::words().any(|known| known == word) {
                    cx.mistake(
                        entry.key_place,
                        format!("no action `{word}`{}", did_you_mean(word, action::words())),
                    );
                    return None;
                }
                expected_text(value, cx).map(|text| Expected::Action(word.to_owned(), Some(text)))
            }
        };
        all.push(expected?);
    }
    Some(all)
}

fn expected_text(node: &Node, cx: &mut Loader<'_>) -> Option<ExpectedText> {
    let text = cx.text(node, "an expected text")?;
    if !(text.len() > 1 && text.starts_with('/')) {
        return Some(ExpectedText::Part(text.to_owned()));
    }
    match Pattern::parse(text, node.as_word().is_none(), Subject::Text) {
        Ok(pattern) => Some(ExpectedText::Pattern(pattern)),
        Err(message) => {
            cx.mistake(node.place, message);
            None
        }
    }
}
