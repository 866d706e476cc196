//! `gatepost explain`: one policy request through the rules, every answer with
//! its reason. Looks and charges nothing.
//!
//! The request is the operator's; it is bounded all the same, as on the socket.

use super::Exit;
use super::Format;
use super::block_on;
use super::complain;
use super::nameservers;
use super::say;
use super::zones::Zones;
use crate::config::Config;
use crate::content::Kind;
use crate::dns::Resolver;
use crate::dns::Zone;
use crate::engine::Ask;
use crate::engine::Decided;
use crate::engine::Recall;
use crate::engine::Store;
use crate::engine::decide;
use crate::engine::usual_direction;
use crate::facts::DayTime;
use crate::facts::Fact;
use crate::facts::Facts;
use crate::facts::Moment;
use crate::facts::Stage;
use crate::geoip::GeoIp;
use crate::message::Message;
use crate::policy::Options;
use crate::policy::Policy;
use crate::policy::load;
use crate::state::Memory;
use crate::state::State;
use crate::verdict::Verdict;
use crate::yaml::Mistake;
use data_encoding::HEXLOWER;
use serde::Serialize;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// As on the socket.
const MAX_REQUEST_BYTES: u64 = 64 << 10;

/// Postfix's own default for a message is 10 MB.
const MAX_MESSAGE_BYTES: u64 = 1 << 30;

pub(super) fn run(
    config: Option<&Path>,
    message: Option<&Path>,
    zone: Option<&Path>,
    format: Format,
) -> Exit {
    let (config, policy) = match policy(config) {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            mistakes.iter().for_each(|mistake| complain(&mistake.to_string()));
            let unread = mistakes.iter().all(|mistake| mistake.is_unread);
            return if unread { Exit::CouldNotRun } else { Exit::Mistakes };
        }
    };
    let explained = request().and_then(|text| {
        let message = message.map(read_message).transpose()?;
        let stage = stage_of(&text)?;
        let facts = facts(&text, stage, &policy);
        let resolver = resolver(zone, &config)?;
        let deadline = config.deadline.message;
        block_on(async {
            // Whoever writes down what the DNS says need not say it of test entries.
            if zone.is_none() {
                Zones::test_once(&policy, &resolver).await;
            }
            explain(&policy, facts, stage, message, &resolver, deadline).await
        })
        .map_err(|error| format!("can't run: {error}"))
    });
    match explained {
        Ok(explained) if format == Format::Json => match serde_json::to_string_pretty(&explained) {
            Ok(json) => say(&json),
            Err(error) => complain(&format!("can't be written as JSON: {error}")),
        },
        Ok(explained) => say(explained.text().trim_end()),
        Err(why) => {
            complain(&why);
            return Exit::CouldNotRun;
        }
    }
    Exit::Fine
}

fn policy(path: Option<&Path>) -> Result<(Config, Policy), Vec<Mistake>> {
    let config = Config::load(path)?;
    let options = Options {
        local: config.local.clone(),
        enforce: config.enforce.clone(),
        disable: config.disable.clone(),
        geoip: Arc::new(GeoIp::load(&config)?),
        generation: 1,
    };
    let loaded = load(&config.policy_dir, &options)?;
    Ok((config, loaded.policy))
}

fn request() -> Result<String, String> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(MAX_REQUEST_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("the request can't be read: {error}"))?;
    if bytes.len() as u64 > MAX_REQUEST_BYTES {
        return Err(format!("the request is longer than {MAX_REQUEST_BYTES} bytes"));
    }
    first_request(&String::from_utf8_lossy(&bytes))
}

/// Lines up to an empty one or the end.
fn first_request(text: &str) -> Result<String, String> {
    let text = text.replace("\r\n", "\n");
    let end = text.trim_start_matches('\n').find("\n\n").map(|end| end + 1);
    let text = text.trim_start_matches('\n');
    let text = text.get(..end.unwrap_or(text.len())).unwrap_or(text);
    if let Some(line) = text.lines().find(|line| !line.contains('=')) {
        return Err(format!("`{line}` is not name=value; a request is such lines, as Postfix sends them"));
    }
    if text.trim().is_empty() {
        return Err(
            "there is no request on stdin: name=value lines are expected, such as sender=a@example.com"
                .into(),
        );
    }
    Ok(text.to_owned())
}

fn read_message(path: &Path) -> Result<Message, String> {
    let mut eml = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let read = file.take(MAX_MESSAGE_BYTES).read_to_end(&mut eml);
    read.map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Message::from_eml(&eml))
}

/// What the zone's text says, and nothing else; without one the network.
fn resolver(zone: Option<&Path>, config: &Config) -> Result<Resolver, String> {
    let Some(path) = zone else {
        return Ok(Resolver::live(nameservers(config)));
    };
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    match Zone::parse(&text) {
        Ok(zone) => Ok(Resolver::of_zone(zone)),
        Err((line, why)) => Err(format!("{}:{line}: {why}", path.display())),
    }
}

/// `protocol_state`, else RCPT.
fn stage_of(request: &str) -> Result<Stage, String> {
    let state = request.lines().find_map(|line| line.strip_prefix("protocol_state="));
    match state {
        Some("CONNECT") => Ok(Stage::Connect),
        Some("EHLO" | "HELO") => Ok(Stage::Helo),
        Some("MAIL") => Ok(Stage::Mail),
        None | Some("" | "RCPT") => Ok(Stage::Rcpt),
        Some("DATA" | "END-OF-MESSAGE") => Ok(Stage::Data),
        Some("VRFY" | "ETRN") => Err("VRFY and ETRN are never decided here: the answer is DUNNO".into()),
        Some(other) => {
            Err(format!("`{other}` is not a protocol_state: CONNECT HELO EHLO MAIL RCPT DATA END-OF-MESSAGE"))
        }
    }
}

fn facts(request: &str, stage: Stage, policy: &Policy) -> Facts {
    let pairs = || request.lines().filter_map(|line| line.split_once('='));
    let mut facts = Facts::from_attributes(pairs(), stage);
    facts.set(Fact::Listener, "default");
    let now = Moment::at(jiff::Timestamp::now());
    facts.set_moment(now, &DayTime::of(&now, &jiff::tz::TimeZone::system()));
    for (name, value) in pairs() {
        let unsent =
            Fact::named(name).filter(|fact| fact.info().attribute.is_none() && *fact != Fact::Client);
        if let Some(fact) = unsent.filter(|_| !value.is_empty()) {
            facts.set(fact, value);
        }
    }
    if !facts.is_known(Fact::Direction) {
        facts.set_direction(usual_direction(&facts, &policy.lists));
    }
    policy.derived.add_to(&mut facts);
    facts
}

async fn explain(
    policy: &Policy,
    mut facts: Facts,
    stage: Stage,
    message: Option<Message>,
    resolver: &Resolver,
    deadline: Duration,
) -> Explained {
    // As if nothing had been sent before.
    let state = State::in_memory(1000);
    let now = jiff::Timestamp::now().as_nanosecond().try_into().unwrap_or_default();
    let store = Store { state: &state, resolver, now, deadline, charges: false };

    let mut recall = Recall::default();
    let mut explained = Explained::default();
    let mut last = stage;
    facts.recipients.extend(facts.text(Fact::Recipient).map(str::to_owned));
    let decided = decide(ask(policy, &facts, stage), &mut recall, store).await;
    let refused = decided.verdict.refuses();
    explained.take(policy, &decided);
    if let Some(message) = message.filter(|_| !refused) {
        last = Stage::Message;
        facts.unset(Fact::Recipient);
        facts.set_number(Fact::RecipientCount, facts.recipients.len() as u64);
        facts.set_number(Fact::Size, message.size());
        facts.set_number(Fact::HeaderCount, message.headers().count());
        facts.set_number(Fact::HeaderSize, message.headers().size());
        explained.message = Some(Inside::of(&message));
        facts.message = Some(Arc::new(message));
        policy.derived.add_to(&mut facts);
        let decided = decide(ask(policy, &facts, last), &mut recall, store).await;
        explained.take(policy, &decided);
    }
    explained.stage = last.word();
    explained
}

fn ask<'a>(policy: &'a Policy, facts: &'a Facts, stage: Stage) -> Ask<'a> {
    let decides_envelope = stage < Stage::Message;
    Ask { decides_envelope, id: "explain", trace: true, ..Ask::new(policy, facts, stage) }
}

/// All there is to tell, in the order in which it happened.
#[derive(Debug, Default, Serialize)]
struct Explained {
    /// The last stage that was decided.
    stage: &'static str,
    /// What is in the message; absent if there was none, or it was refused before.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Inside>,
    rules: Vec<Asked>,
    verdict: Said,
    /// What would happen if every rule were enforced; absent if they all are.
    #[serde(skip_serializing_if = "Option::is_none")]
    observed: Option<Said>,
    tags: Vec<String>,
    score: f64,
    would_count: Vec<Counted>,
    would_remember: Vec<Kept>,
}

/// What was found in a message, whether a rule asks for it or not.
#[derive(Debug, Serialize)]
struct Inside {
    files: Vec<Shown>,
    /// The words of `ambiguous_mime`.
    tricks: Vec<&'static str>,
    /// The cap that was hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Shown {
    /// Of its part; empty for a message of one part.
    path: String,
    /// The names of archives around it come first.
    name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_names: Vec<String>,
    kinds: Vec<&'static str>,
    size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// Files of one message that are shown.
const MAX_SHOWN: usize = 1_000;

impl Inside {
    fn of(message: &Message) -> Self {
        let mut files: Vec<Shown> = Vec::new();
        for (file, part) in message.files().take(MAX_SHOWN) {
            let mut names = file.names.iter().cloned();
            let own = names.next().unwrap_or_else(|| part.content_type.clone().unwrap_or_default());
            let around = file.within.and_then(|within| files.get(within as usize));
            let name = around.map_or(own.clone(), |around| format!("{} > {own}", around.name));
            files.push(Shown {
                path: part.path.clone(),
                name,
                other_names: names.collect(),
                kinds: file.kinds.iter().map(Kind::word).collect(),
                size: file.size,
                sha256: file.sha256.map(|hash| HEXLOWER.encode(&hash)),
            });
        }
        let tricks = message.tricks().iter().map(|trick| trick.word()).collect();
        Self { files, tricks, limit: message.limit() }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for file in &self.files {
            let path = if file.path.is_empty() { "whole" } else { &file.path };
            let name = file.name.escape_debug();
            text += &format!("part {path:6} {name}: {}, {} bytes\n", file.kinds.join(" "), file.size);
        }
        if !self.tricks.is_empty() {
            text += &format!("ambiguous:  {}\n", self.tricks.join(" "));
        }
        if let Some(limit) = self.limit {
            text += &format!("limit:      {limit}\n");
        }
        text
    }
}

#[derive(Debug, Serialize)]
struct Asked {
    rule: String,
    file: String,
    line: usize,
    stage: &'static str,
    mode: &'static str,
    result: &'static str,
    because: String,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Said {
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    because: String,
    /// What else is done to the mail, such as `add_header X-Spam: yes`.
    also: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Counted {
    rule: String,
    key: String,
    what: String,
    number: u64,
}

#[derive(Debug, Serialize)]
struct Kept {
    rule: String,
    what: String,
}

impl Explained {
    fn take(&mut self, policy: &Policy, decided: &Decided) {
        for trace in &decided.trace {
            let Some(rule) = policy.rules.get(trace.rule as usize) else {
                continue;
            };
            self.rules.push(Asked {
                rule: rule.name.clone(),
                file: policy.files.get(rule.file).map(|file| file.name.clone()).unwrap_or_default(),
                line: rule.place.line,
                stage: trace.stage.word(),
                mode: rule.mode.word(),
                result: trace.truth.word(),
                because: trace.because.clone(),
            });
        }
        self.verdict.take(policy, &decided.verdict, &decided.because);
        if let Some(would) = &decided.would {
            self.observed.get_or_insert_default().take(policy, would, &decided.would_because);
        }
        let known = &decided.known;
        self.score = known.score();
        let marks = [&known.connection, &known.message, &known.recipient];
        for tag in marks.into_iter().chain(&known.recipients).flat_map(|marks| &marks.tags) {
            let name = policy.tag_name(*tag).to_owned();
            if !self.tags.contains(&name) {
                self.tags.push(name);
            }
        }
        for (rule, question) in &decided.due {
            self.would_count.push(Counted {
                rule: name(policy, *rule),
                key: question.key.clone(),
                what: question.count.word().to_owned(),
                number: question.n,
            });
        }
        for (rule, memory) in &decided.shown {
            let what = match memory {
                Memory::Distinct(showing) => format!("`{}` of `{}`", showing.value, showing.key),
                Memory::Greylist(it) => format!("`{}` to `{}` from `{}`", it.sender, it.recipient, it.pool),
            };
            self.would_remember.push(Kept { rule: name(policy, *rule), what });
        }
    }

    fn text(&self) -> String {
        let mut text = self.message.as_ref().map(Inside::text).unwrap_or_default();
        let width = self.rules.iter().map(|asked| asked.rule.chars().count()).max().unwrap_or_default();
        for asked in &self.rules {
            let observed = if asked.mode == "observe" { " (observe)" } else { "" };
            text += &format!(
                "{:8} {:width$}  {:8}  {}{observed}\n",
                asked.stage, asked.rule, asked.result, asked.because
            );
        }
        if !self.tags.is_empty() {
            text += &format!("tags:    {}\n", self.tags.join(" "));
        }
        if self.score != 0.0 {
            text += &format!("score:   {}\n", crate::checks::show_score(self.score));
        }
        for counted in &self.would_count {
            let Counted { rule, key, what, number } = counted;
            text += &format!("counts:  {number} {what} of `{key}` for {rule}\n");
        }
        for Kept { rule, what } in &self.would_remember {
            text += &format!("keeps:   {what} for {rule}\n");
        }
        text += &format!("verdict: {}\n", self.verdict.text());
        if let Some(observed) = self.observed.as_ref().filter(|observed| **observed != self.verdict) {
            text += &format!("if all were enforced: {}\n", observed.text());
        }
        text
    }
}

impl Said {
    fn take(&mut self, policy: &Policy, verdict: &Verdict, because: &str) {
        self.action = verdict.word();
        self.rule = verdict.rule().map(|rule| name(policy, rule));
        self.text = verdict.refusal.as_ref().map(|(_, refusal)| refusal.text()).unwrap_or_default();
        self.because = because.to_owned();
        for done in &verdict.effects {
            let also =
                format!("{} {} by {}", done.effect.word(), done.effect.text(), name(policy, done.rule));
            if !self.also.contains(&also) {
                self.also.push(also);
            }
        }
    }

    fn text(&self) -> String {
        let mut text = self.action.to_owned();
        if let Some(rule) = &self.rule {
            text += &format!(" by {rule}");
        }
        if !self.text.is_empty() {
            text += &format!(": {}", self.text);
        }
        if !self.because.is_empty() {
            text += &format!(" ({})", self.because);
        }
        for also in &self.also {
            text += &format!("\n         {also}");
        }
        text
    }
}

fn name(policy: &Policy, rule: u32) -> String {
    policy.rules.get(rule as usize).map(|rule| rule.name.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::load_texts;

    const RULES: &str = r#"
rules:
  - {name: no-name, when: {client_name: unknown}, then: [{tag: nameless}, {score: 2}]}
  - {name: limit, when: {rate: {key: sender, limits: [10/1h]}}, then: defer_if_permit}
  - {name: blocked, when: {sender: bad@b.test}, mode: observe, then: {reject: "550 5.7.1 no"}}
  - {name: helo, when: {helo_name: x.test}, then: {reject: "550 5.7.1 no {helo_name}"}}
  - {name: subject, when: {header: {Subject: /casino/}}, then: {hold: casino}}
"#;

    async fn explained(request: &str, message: Option<&str>) -> Explained {
        explained_by(RULES, request, message).await
    }

    async fn explained_by(rules: &str, request: &str, message: Option<&str>) -> Explained {
        let policy = load_texts(&[("p.yaml", rules)], Path::new(""), &Options::default()).unwrap().policy;
        let request = first_request(request).unwrap();
        let stage = stage_of(&request).unwrap();
        let facts = facts(&request, stage, &policy);
        let message = message.map(|eml| Message::from_eml(eml.as_bytes()));
        explain(&policy, facts, stage, message, &Resolver::default(), Duration::from_secs(5)).await
    }

    #[tokio::test]
    async fn every_rule_is_told_with_its_reason_and_what_would_count() {
        let told = explained("client_name=unknown\nsender=bad@b.test\nrecipient=a@c.test\n\n", None).await;
        assert_eq!(
            told.text(),
            "rcpt     no-name  match     client_name `unknown` fits `unknown`\n\
             rcpt     limit    no match  `bad@b.test` has used 1 of 10 in 1h\n\
             rcpt     blocked  match     sender `bad@b.test` fits `bad@b.test` (observe)\n\
             tags:    nameless\n\
             score:   2\n\
             counts:  1 recipients of `bad@b.test` for limit\n\
             verdict: accept\n\
             if all were enforced: reject by blocked: 550 5.7.1 no [explain] (sender `bad@b.test` fits `bad@b.test`)\n"
        );
    }

    #[tokio::test]
    async fn what_would_be_remembered_is_told() {
        let rules = "
rules:
  - {name: wait, when: greylist, mode: observe, then: {defer_if_permit: \"4.2.0 {retry_after}\"}}
  - {name: senders, when: {distinct: {key: client_address, count: sender, limits: [3/1h]}}, then: defer}
";
        let request = "client_address=192.0.2.7\nsender=A@b.test\nrecipient=c@d.test\n\n";
        assert_eq!(
            explained_by(rules, request, None).await.text(),
            "rcpt     wait     match     `192.0.2.0/24` sends such a mail for the first time, and waits for 5m (observe)\n\
             rcpt     senders  no match  `192.0.2.7` has shown 1 of 3 different values of sender in 1h\n\
             keeps:   `a@b.test` of `192.0.2.7` for senders\n\
             keeps:   `a@b.test` to `c@d.test` from `192.0.2.0/24` for wait\n\
             verdict: accept\n\
             if all were enforced: defer_if_permit by wait: 450 4.2.0 5m [explain] (`192.0.2.0/24` sends such a mail for the first time, and waits for 5m)\n"
        );
    }

    #[tokio::test]
    async fn a_limit_tells_its_key_and_which_entry_and_class_decided() {
        let rules = "
lists:
  plan:
    of: address
    to: limits
    named: {bulk: [500/1h]}
    entries: {news@a.test: bulk, a.test: [50/1h], abuse@a.test: none}
rules:
  - {name: limit, when: {rate: {key: sender, limits: {list: plan, else: [10/1h]}}}, then: defer_if_permit}
";
        for (sender, because) in [
            (
                "News+7@A.test",
                "`news@a.test` has used 1 of 500 in 1h (class `bulk` of entry `news@a.test` in plan)",
            ),
            ("x@a.test", "`x@a.test` has used 1 of 50 in 1h (entry `a.test` in plan)"),
            ("abuse@a.test", "`abuse@a.test` has no limit (entry `abuse@a.test` in plan)"),
            ("x@b.test", "`x@b.test` has used 1 of 10 in 1h (no entry in plan)"),
        ] {
            let told = explained_by(rules, &format!("sender={sender}\nrecipient=a@c.test"), None).await;
            assert_eq!(told.rules[0].because, because);
        }
    }

    #[tokio::test]
    async fn all_levels_of_a_limit_are_told() {
        let rules = "
lists:
  owners: {of: address, to: parent, entries: {a.test: acme}}
  totals: {of: address, to: limits, entries: {a.test: [5/1h], acme: [500/1h]}}
rules:
  - name: limit
    when: {rate: {key: sender, limits: [10/1h], parents: {list: owners, limits: {list: totals, else: none}}}}
    then: defer_if_permit
";
        let told = explained_by(rules, "sender=Ann+x@A.test\nrecipient=a@c.test", None).await;
        assert_eq!(
            told.text(),
            "rcpt     limit  no match  `a.test` above `ann@a.test` has used 1 of 5 in 1h (entry `a.test` in totals)\n\
             counts:  1 recipients of `ann@a.test` for limit\n\
             counts:  1 recipients of `a.test` for limit\n\
             counts:  1 recipients of `acme` for limit\n\
             verdict: accept\n"
        );
    }

    #[tokio::test]
    async fn a_message_is_asked_about_once_the_envelope_is_accepted() {
        let eml = "Subject: casino\n\nx\n";
        let told = explained("sender=a@b.test\nrecipient=a@c.test", Some(eml)).await;
        assert_eq!((told.stage, told.verdict.action), ("message", "hold"));
        assert_eq!(told.verdict.also, ["hold casino by subject"]);
        let told = explained("helo_name=x.test\nrecipient=a@c.test", Some(eml)).await;
        assert_eq!((told.stage, told.verdict.action), ("rcpt", "reject"));
        assert!(told.would_count.is_empty());
    }

    #[tokio::test]
    async fn it_can_be_read_by_programs() {
        let told = explained("protocol_state=MAIL\nhelo_name=x.test\nsender=", None).await;
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!((&json["stage"], &json["verdict"]["action"]), (&"mail".into(), &"accept".into()));
    }

    #[test]
    fn a_request_is_read_up_to_its_empty_line() {
        assert_eq!(first_request("\na=b\r\nc=d\r\n\r\ne=f"), Ok("a=b\nc=d\n".into()));
        assert_eq!(first_request("a=b"), Ok("a=b".into()));
        for wrong in ["", "\n\n", "HELO x\n"] {
            assert!(first_request(wrong).is_err(), "{wrong:?}");
        }
        assert!(stage_of("protocol_state=VRFY").is_err());
        assert_eq!(stage_of("protocol_state=END-OF-MESSAGE"), Ok(Stage::Data));
    }
}
