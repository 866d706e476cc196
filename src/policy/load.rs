//! A directory of rule files → a policy, or all the mistakes in it.

use super::Condition;
use super::Derived;
use super::Limit;
use super::Mode;
use super::OnUnknown;
use super::Policy;
use super::Remembering;
use super::Rule;
use super::RuleFile;
use super::Trial;
use super::condition;
use super::lists;
use super::review;
use super::rule;
use super::rule::Written;
use super::trial;
use super::trial::Given;
use crate::checks::AnyCheck;
use crate::checks::Buckets;
use crate::checks::Needs;
use crate::config::Local;
use crate::config::Selector;
use crate::facts::Stage;
use crate::geoip::GeoIp;
use crate::lists::Registry;
use crate::message::Wants;
use crate::near::did_you_mean;
use crate::values::Loader;
use crate::yaml;
use crate::yaml::Mistake;
use crate::yaml::Mistakes;
use crate::yaml::Node;
use crate::yaml::Source;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

const KEYS: [&str; 9] =
    ["when", "unless", "mode", "on_unknown", "given", "lists", "rules", "tests", "allow_relay"];

/// What the configuration says about the policy.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub local: Local,
    /// What is known of addresses.
    pub geoip: Arc<GeoIp>,
    /// Rules or files taken out of observe.
    pub enforce: Vec<Selector>,
    /// Rules or files that are not asked at all.
    pub disable: Vec<Selector>,
    pub generation: u64,
}

/// A policy and what is odd about it.
#[derive(Debug)]
pub struct Loaded {
    pub policy: Policy,
    pub warnings: Vec<Mistake>,
    /// Selectors of the configuration that select nothing.
    pub idle: Vec<Selector>,
}

/// Loads a directory's `*.yaml` in name order, or one file alone.
pub fn load(path: &Path, options: &Options) -> Result<Loaded, Vec<Mistake>> {
    let files = files_of(path)?;
    let mut sources = Vec::new();
    let mut mistakes = Vec::new();
    for file in files {
        let name = shown_name(path, &file);
        match fs::read(&file).map(String::from_utf8) {
            Ok(Ok(text)) => {
                let base = file.parent().map(Path::to_owned).unwrap_or_default();
                sources.push((Arc::new(Source { name, text }), base));
            }
            Ok(Err(_)) => mistakes.push(Mistake::whole(name, "the file is not UTF-8")),
            Err(error) => mistakes.push(Mistake::unread(name, format!("can't be read: {error}"))),
        }
    }
    match load_sources(sources, options) {
        Ok(loaded) if mistakes.is_empty() => Ok(loaded),
        Ok(_) => Err(mistakes),
        Err(found) => {
            mistakes.extend(found);
            Err(mistakes)
        }
    }
}

/// Loads rule files given as name and text: for tests and documents.
pub fn load_texts(texts: &[(&str, &str)], base: &Path, options: &Options) -> Result<Loaded, Vec<Mistake>> {
    let sources = texts
        .iter()
        .map(|(name, text)| {
            (Arc::new(Source { name: (*name).into(), text: (*text).into() }), base.to_owned())
        })
        .collect();
    load_sources(sources, options)
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, Vec<Mistake>> {
    let unread = |error: std::io::Error| {
        vec![Mistake::unread(path.display().to_string(), format!("can't be read: {error}"))]
    };
    if fs::metadata(path).map_err(unread)?.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(unread)? {
        let file = entry.map_err(unread)?.path();
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let is_rules = name.ends_with(".yaml") || name.ends_with(".yml");
        // Editors leave hidden copies.
        if is_rules && !name.starts_with('.') {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn shown_name(path: &Path, file: &Path) -> String {
    let shown = match file.strip_prefix(path) {
        Ok(rest) if !rest.as_os_str().is_empty() => rest,
        _ => Path::new(file.file_name().unwrap_or(file.as_os_str())),
    };
    shown.display().to_string()
}

/// A rule file between reading and meaning.
struct FileRead {
    mistakes: Mistakes,
    root: Option<Node>,
    base: PathBuf,
}

/// What stands at the top of a file.
#[derive(Default)]
struct Head {
    guard: Condition,
    /// The guard as it is written, but for its places.
    asks: String,
    mode: Option<Mode>,
    on_unknown: Option<OnUnknown>,
    given: Given,
    allow_relay: bool,
}

/// All that was read of all files.
#[derive(Default)]
struct Parts {
    files: Vec<RuleFile>,
    /// With the number of its file, and what that file says for all of its rules.
    rules: Vec<(usize, Written)>,
    heads: Vec<Head>,
    sources: Vec<Arc<Source>>,
    names: HashMap<String, String>,
}

fn load_sources(sources: Vec<(Arc<Source>, PathBuf)>, options: &Options) -> Result<Loaded, Vec<Mistake>> {
    let mut files: Vec<_> = sources
        .into_iter()
        .map(|(source, base)| {
            let mut mistakes = Mistakes::new(source);
            let root = yaml::parse(&mut mistakes);
            FileRead { mistakes, root, base }
        })
        .collect();
    let mut registry = Registry::default();
    let own = Arc::new(Source { name: "gatepost.yaml".into(), text: String::new() });
    lists::built_in(&options.local, &own, &mut registry);
    for file in &mut files {
        if let Some(lists) = file.root.as_ref().and_then(|root| root.get("lists")) {
            lists::read(lists, &file.base, &mut file.mistakes, &mut registry);
        }
    }
    let mut tags = Vec::new();
    let mut parts = Parts::default();
    for file in &mut files {
        read_file(file, &registry, &mut tags, &mut parts);
    }
    let found: Vec<Mistake> = files.into_iter().flat_map(|file| in_order(file.mistakes.found)).collect();
    finish(parts, registry, tags, found, options)
}

/// By place; one told twice for the same place and reason is told once, and of a
/// value that is not there nothing else is told.
fn in_order(mut mistakes: Vec<Mistake>) -> Vec<Mistake> {
    let missing: Vec<_> = mistakes
        .iter()
        .filter(|mistake| yaml::leaves_nothing(&mistake.message))
        .map(|mistake| (mistake.file.clone(), mistake.place))
        .collect();
    mistakes.retain(|mistake| {
        yaml::leaves_nothing(&mistake.message) || !missing.contains(&(mistake.file.clone(), mistake.place))
    });
    mistakes.sort_by_key(|mistake| (mistake.file.clone(), mistake.place));
    mistakes.dedup();
    mistakes
}

fn read_file(file: &mut FileRead, registry: &Registry, tags: &mut Vec<String>, parts: &mut Parts) {
    let source = Arc::clone(&file.mistakes.source);
    let number = parts.files.len();
    let mut cx = Loader { mistakes: &mut file.mistakes, lists: registry, tags };
    let mut head = Head::default();
    let mut trials = Vec::new();
    if let Some(root) = &file.root {
        head = read_head(root, &mut cx);
        for node in root.get("rules").and_then(Node::as_seq).unwrap_or_default() {
            let (name, written) = rule::read(node, head.allow_relay, &mut cx);
            let place = node.get("name").map_or(node.place, |name| name.place);
            if let Some(name) = name {
                match parts.names.get(&name) {
                    Some(other) => {
                        cx.mistake(place, format!("the name `{name}` is used twice; first in {other}"))
                    }
                    None => {
                        parts.names.insert(name, format!("{}:{}", source.name, place.line));
                    }
                }
            }
            if let Some(mut written) = written {
                begin_with(&head.given, &mut written.trials);
                parts.rules.push((number, written));
            }
        }
        trials = root.get("tests").map(|tests| trial::read(tests, &mut cx)).unwrap_or_default();
        begin_with(&head.given, &mut trials);
    }
    let guard = std::mem::take(&mut head.guard);
    let (mut guard_reads_known, mut guard_asks_world) = (false, false);
    let mut guard_asks_one_recipient = false;
    guard.each_check(&mut |check| {
        guard_reads_known |= check.reads_known();
        guard_asks_world |= !check.asks_nobody();
        guard_asks_one_recipient |=
            matches!(check, AnyCheck::Fact(check) if check.is_vague_about_recipients());
    });
    // Lists are the same in all files, so what reads alike asks the same.
    let same_guard = parts.heads.iter().position(|other| other.asks == head.asks).unwrap_or(number);
    parts.files.push(RuleFile {
        name: source.name.clone(),
        same_guard,
        guard,
        guard_reads_known,
        guard_asks_world,
        guard_asks_one_recipient,
        trials,
    });
    parts.heads.push(head);
    parts.sources.push(source);
}

/// Every test of a file starts with what the file gives.
fn begin_with(given: &Given, trials: &mut [Trial]) {
    for first in trials.iter_mut().filter_map(|trial| trial.steps.first_mut()) {
        let mut start = given.clone();
        start.add(&first.given);
        first.given = start;
    }
}

fn read_head(root: &Node, cx: &mut Loader<'_>) -> Head {
    let Some(entries) = root.as_map() else {
        cx.mistake(root.place, format!("a rule file is a map with rules, not {}", root.form()));
        return Head::default();
    };
    for entry in entries.iter().filter(|entry| !KEYS.contains(&entry.key.as_str())) {
        let hint = did_you_mean(&entry.key, KEYS);
        cx.mistake(entry.key_place, format!("unknown key `{}` of a rule file{hint}", entry.key));
    }
    if let Some(rules) = root.get("rules").filter(|rules| rules.as_seq().is_none()) {
        cx.mistake(rules.place, format!("rules is a list, not {}", rules.form()));
    }
    let guard = condition::read(root.get("when"), root.get("unless"), true, cx);
    let allow_relay = match root.get("allow_relay").map(|node| (node.as_word(), node.place)) {
        None | Some((Some("false"), _)) => false,
        Some((Some("true"), _)) => true,
        Some((_, place)) => {
            cx.mistake(place, "`allow_relay` is true or false");
            false
        }
    };
    let written = |key| root.get(key).map(rule::shape);
    Head {
        guard: guard.condition,
        asks: format!("{:?} {:?}", written("when"), written("unless")),
        mode: root.get("mode").and_then(|mode| rule::mode(mode, cx)),
        on_unknown: root.get("on_unknown").and_then(|node| rule::on_unknown(node, cx)),
        given: root.get("given").and_then(|given| trial::given(given, cx)).unwrap_or_default(),
        allow_relay,
    }
}

/// Puts the rules in their places and together.
fn finish(
    parts: Parts,
    registry: Registry,
    tags: Vec<String>,
    mut found: Vec<Mistake>,
    options: &Options,
) -> Result<Loaded, Vec<Mistake>> {
    let Parts { files, rules: written, heads, sources, .. } = parts;
    let pairs: Vec<_> = written.iter().map(|(file, rule)| (rule, &files[*file].guard)).collect();
    // A rule that could not be read may be the one that sets a tag another asks for.
    let incomplete = !found.is_empty();
    let review = review::review(&pairs, &tags);
    let told = |remark: &review::Remark| {
        let (file, _) = written[remark.rule];
        Mistake::at(&sources[file], remark.place, remark.message.clone())
    };
    found.extend(review.mistakes.iter().filter(|remark| !(incomplete && remark.is_about_others)).map(told));
    let mut warnings: Vec<_> = review.warnings.iter().map(told).collect();
    check_trial_names(&files, &written, &sources, &mut found);
    let mut policy = Policy { generation: options.generation, lists: registry, tags, ..Policy::default() };
    let mut idle: Vec<_> = options.enforce.iter().chain(&options.disable).cloned().collect();
    let mut buckets = HashMap::new();
    let mut kept = Vec::new();
    for ((file, rule), placed) in written.into_iter().zip(&review.placed) {
        let file_name = &files[file].name;
        let named = |selector: &Selector| selects(selector, &rule.name, file_name);
        idle.retain(|selector| !named(selector));
        let disabled = options.disable.iter().any(named);
        let mode = match options.enforce.iter().any(named) {
            true => Mode::Enforce,
            false => rule.mode.or(heads[file].mode).unwrap_or_default(),
        };
        let memory = rule.limit.as_ref().filter(|(check, _)| check.as_rate().is_none());
        let memory = memory.map(|(check, _)| {
            let bucket = bucket(&mut buckets, format!("{} of rule {}", check.name(), rule.name));
            Remembering { check: check.clone(), bucket }
        });
        let limit = rule.limit.as_ref().zip(rule.too_large).and_then(|((check, _), too_large)| match check {
            AnyCheck::Rate(rate) => {
                let name = rate.bucket.clone().unwrap_or_else(|| format!("rule {}", rule.name));
                // Bytes are not counted among messages.
                let name = format!("{} of {name}", rate.count.word());
                let parents = bucket(&mut buckets, format!("parents of {name}"));
                let own = bucket(&mut buckets, name);
                Some(Limit { rate: rate.clone(), buckets: Buckets { own, parents }, too_large })
            }
            _ => None,
        });
        kept.push(Kept { unconditional: rule.unconditional, fingerprint: rule.fingerprint });
        policy.rules.push(Rule {
            name: rule.name,
            why: rule.why,
            file,
            place: rule.place,
            condition: rule.condition,
            limit,
            memory,
            actions: rule.actions.into_iter().map(|(action, _)| action).collect(),
            stage: placed.stage,
            scope: placed.scope,
            holds_for: placed.holds_for,
            mode,
            disabled,
            on_unknown: rule.on_unknown.or(heads[file].on_unknown).unwrap_or_default(),
            reads_known: placed.reads_known,
            asks_world: placed.asks_world,
            trials: rule.trials,
        });
    }
    policy.files = files;
    for remark in review::unreachable(&policy, &kept).into_iter().chain(review::only_observed(&policy)) {
        let rule = &policy.rules[remark.rule];
        warnings.push(Mistake::at(&sources[rule.file], remark.place, remark.message));
    }
    if policy.rules.is_empty() && found.is_empty() {
        warnings.push(Mistake::whole("policy", "there are no rules: all mail goes on"));
    }
    if !found.is_empty() {
        return Err(in_order(found));
    }
    let speaks_of = |name: &str| sources.iter().any(|source| source.text.contains(name));
    let networks = policy.lists.get("local.networks").ok();
    policy.derived = Derived::new(&options.geoip, &options.local.relays, networks, speaks_of);
    for remark in review::never_known(&policy) {
        let rule = &policy.rules[remark.rule];
        warnings.push(Mistake::at(&sources[rule.file], remark.place, remark.message));
    }
    arrange(&mut policy);
    Ok(Loaded { policy, warnings, idle })
}

/// What `review::unreachable` needs of a rule that the policy does not keep.
#[derive(Debug)]
pub(super) struct Kept {
    pub unconditional: bool,
    pub fingerprint: String,
}

/// The number under which a bucket is counted. It follows from the name, so that
/// counters stay with their rule when a reload brings or takes others.
fn bucket(buckets: &mut HashMap<u32, String>, name: String) -> u32 {
    // FNV-1a: the same in every process; two names seldom meet, and then the later
    // one is given the next number.
    let mut number =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    while buckets.get(&number).is_some_and(|known| *known != name) {
        number = number.wrapping_add(1);
    }
    buckets.insert(number, name);
    number
}

/// A rule by its name, a file by its name with or without its ending.
fn selects(selector: &Selector, rule: &str, file: &str) -> bool {
    let stem = file.strip_suffix(".yaml").or_else(|| file.strip_suffix(".yml")).unwrap_or(file);
    selector.selects(rule) || selector.selects(file) || selector.selects(stem)
}

/// `by:` names a rule that exists.
fn check_trial_names(
    files: &[RuleFile],
    rules: &[(usize, Written)],
    sources: &[Arc<Source>],
    found: &mut Vec<Mistake>,
) {
    let of_files =
        files.iter().enumerate().flat_map(|(file, it)| it.trials.iter().map(move |trial| (file, trial)));
    let of_rules = rules.iter().flat_map(|(file, it)| it.trials.iter().map(move |trial| (*file, trial)));
    for (file, trial) in of_files.chain(of_rules) {
        for step in &trial.steps {
            if let Some(by) = step.by.as_deref().filter(|by| !rules.iter().any(|(_, rule)| rule.name == **by))
            {
                let hint = did_you_mean(by, rules.iter().map(|(_, rule)| rule.name.as_str()));
                found.push(Mistake::at(&sources[file], step.place, format!("no rule `{by}`{hint}")));
            }
        }
    }
}

/// Orders the rules by stage and says what the milter must be asked for.
fn arrange(policy: &mut Policy) {
    let mut wants = Needs::default();
    let (mut edits, mut signatures) = (false, false);
    for (index, rule) in policy.rules.iter().enumerate().filter(|(_, rule)| !rule.disabled) {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let sections = &mut policy.stages[rule.stage as usize];
        let enforces = rule.mode == Mode::Enforce;
        match sections.last_mut().filter(|last| last.file == rule.file) {
            Some(last) => {
                last.rules.push(number);
                last.enforces |= enforces;
            }
            None => sections.push(super::Section { file: rule.file, rules: vec![number], enforces }),
        }
        policy.events.extend(rule.limit.as_ref().filter(|limit| limit.rate.count.is_event()).map(|_| number));
        wants = wants.join(rule.condition.needs()).join(policy.files[rule.file].guard.needs());
        edits |= rule.actions.iter().any(super::Action::edits_headers);
        if rule.actions.iter().any(super::Action::edits_parts) {
            wants = wants.join(Needs::of_message(Wants { parts: true, whole: true, ..Wants::NOTHING }));
        }
        policy.observes |= rule.mode == Mode::Observe;
        let both = [&rule.condition, &policy.files[rule.file].guard];
        let hashes = both.iter().any(|condition| condition.needs().message.content.hashes);
        policy.hashing.extend(hashes.then_some(number));
        for condition in [&rule.condition, &policy.files[rule.file].guard] {
            condition.each_check(&mut |check| match check {
                AnyCheck::Listed(listed) if !policy.listed_by.contains(&listed.key) => {
                    policy.listed_by.push(listed.key);
                }
                check => signatures |= check.needs_signatures(),
            });
        }
    }
    policy.milter = super::MilterWants {
        // To change or remove a field one must know which there are.
        header: wants.header || edits || policy.derived.reads_header(),
        body: wants.body,
        content: wants.message,
        signatures,
        helo: true,
        message: !policy.stages[Stage::Message as usize].is_empty(),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_made_only_while_a_list_has_some() {
        for (rules, expected) in [
            ("rules: [{name: a, when: {attachment: {hash: {in: bad}}}, then: reject}]", false),
            ("rules: [{name: a, when: {attachment: {hash: {in: [bad, some]}}}, then: reject}]", true),
            ("rules: [{name: a, when: {attachment: {hash: abab}}, then: reject}]", true),
            ("when: {attachment: {hash: {in: some}}}\nrules: [{name: a, then: reject}]", true),
            ("when: {attachment: {hash: {in: bad}}}\nrules: [{name: a, then: reject}]", false),
            ("rules: [{name: a, when: {attachment: .exe}, then: reject}]", false),
        ] {
            let lists = "lists: {bad: {of: text, entries: []}, some: {of: text, entries: [abab]}}\n";
            let text = format!("{lists}{rules}\n");
            let loaded = load_texts(&[("a.yaml", &text)], Path::new(""), &Options::default()).unwrap();
            let wants = loaded.policy.wanted_now();
            assert_eq!(wants.content.hashes, expected, "{rules}");
            assert!(wants.content.inside, "{rules}");
        }
    }

    /// What `enforce:` of the configuration makes of a fine file is odd, not wrong.
    #[test]
    fn enforcing_a_rule_warns_of_what_it_does_to_others() {
        let text = "
mode: observe
rules:
  - {name: a, when: {sender: x@y.test}, then: reject}
  - {name: b, when: {sender: x@y.test}, then: [{tag: t}, reject]}
  - {name: c, when: {tag: t}, then: reject}
";
        for (enforce, expected) in [
            ("", &[][..]),
            ("a", &["`b` is never reached: `a` above ends the rules for all of it"]),
            ("c", &["`c` is enforced, but tag `t` comes only from rules that are not: `b`"]),
            ("bc", &[]),
        ] {
            let names = enforce.chars();
            let enforce =
                names.map(|name| Selector { pattern: name.into(), place: yaml::Place::default() }).collect();
            let options = Options { enforce, ..Options::default() };
            let loaded = load_texts(&[("p.yaml", text)], Path::new(""), &options).unwrap();
            let told: Vec<_> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
            assert_eq!(told, expected);
        }
    }
}
