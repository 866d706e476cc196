//! `gatepost check`: all mistakes of the configuration and the rules, and the
//! rules' own tests. Offline: reads files and nothing else.

use super::Exit;
use super::block_on;
use super::complain;
use super::say;
use crate::config::Config;
use crate::config::Local;
use crate::config::Relay;
use crate::engine::Rehearsed;
use crate::engine::rehearse;
use crate::geoip::GeoIp;
use crate::policy::Loaded;
use crate::policy::Options;
use crate::policy::Policy;
use crate::policy::load;
use crate::yaml::Mistake;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// Who the tests inside rule files say we are.
const TEST_DOMAIN: &str = "example.com";
const TEST_HOSTNAME: &str = "mx.example.com";
const TEST_RELAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 250));

pub(super) fn run(dir: Option<&Path>, config: Option<&Path>, rules: bool) -> Exit {
    let found = check(dir, config);
    for mistake in &found.mistakes {
        complain(&mistake.to_string());
    }
    for warning in &found.warnings {
        complain(&format!("warning: {warning}"));
    }
    for failure in found.rehearsed.iter().flat_map(|rehearsed| &rehearsed.failures) {
        complain(&failure.to_string());
    }
    if let Some(policy) = found.policy.as_ref().filter(|_| rules) {
        say(policy.table().trim_end());
    }
    say(&found.summary());
    found.exit()
}

/// All that a check found.
#[derive(Debug, Default)]
struct Found {
    mistakes: Vec<Mistake>,
    warnings: Vec<Mistake>,
    /// None if it could not be loaded.
    policy: Option<Policy>,
    /// None if there was nothing to try.
    rehearsed: Option<Rehearsed>,
}

impl Found {
    fn failures(&self) -> usize {
        self.rehearsed.as_ref().map(|rehearsed| rehearsed.failures.len()).unwrap_or_default()
    }

    fn exit(&self) -> Exit {
        let nothing_to_read = !self.mistakes.is_empty() && self.mistakes.iter().all(|it| it.is_unread);
        if nothing_to_read {
            return Exit::CouldNotRun;
        }
        let fine = self.mistakes.is_empty() && self.failures() == 0 && self.rehearsed.is_some();
        if fine { Exit::Fine } else { Exit::Mistakes }
    }

    fn summary(&self) -> String {
        let mut parts = Vec::new();
        if let Some(policy) = &self.policy {
            parts.push(count(policy.rules.len(), "rule"));
        }
        if let Some(rehearsed) = &self.rehearsed {
            parts.push(count(rehearsed.tests, "test"));
        }
        let mut wrong = Vec::new();
        if !self.mistakes.is_empty() {
            wrong.push(count(self.mistakes.len(), "mistake"));
        }
        if self.failures() > 0 {
            wrong.push(format!("{} failed", count(self.failures(), "test")));
        }
        let wrong = if wrong.is_empty() { "fine".into() } else { wrong.join(", ") };
        if parts.is_empty() { wrong } else { format!("{}: {wrong}", parts.join(", ")) }
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn check(dir: Option<&Path>, config_path: Option<&Path>) -> Found {
    let mut found = Found::default();
    let config = match config(config_path) {
        Ok(config) => Some(config),
        Err(mistakes) => {
            found.mistakes.extend(mistakes);
            None
        }
    };
    let Some(path) = policy_path(dir, config_path, config.as_ref()) else {
        return found;
    };
    let mut options = options(config.as_ref());
    match config.as_ref().map(GeoIp::load).transpose() {
        Ok(geoip) => options.geoip = Arc::new(geoip.unwrap_or_default()),
        Err(mistakes) => found.mistakes.extend(mistakes),
    }
    match load(&path, &options) {
        Ok(loaded) => take(loaded, config.as_ref(), dir.is_some(), &mut found),
        Err(mistakes) => found.mistakes.extend(mistakes),
    }
    if found.policy.is_some() {
        match rehearsal(&path, options.local) {
            Ok(rehearsed) => found.rehearsed = Some(rehearsed),
            Err(mistakes) => found.mistakes.extend(mistakes),
        }
    }
    found
}

/// The daemon's file; one that isn't there is the world's fault, not the text's.
fn config(path: Option<&Path>) -> Result<Config, Vec<Mistake>> {
    if let Some(path) = path
        && let Err(error) = std::fs::metadata(path)
    {
        let name = path.display().to_string();
        return Err(vec![Mistake::unread(name, format!("can't be read: {error}"))]);
    }
    Config::load(path)
}

/// What to check. Beside a broken configuration, what its default names, if it
/// is there.
fn policy_path(dir: Option<&Path>, config_path: Option<&Path>, config: Option<&Config>) -> Option<PathBuf> {
    match (dir, config) {
        (Some(dir), _) => Some(dir.to_owned()),
        (None, Some(config)) => Some(config.policy_dir.clone()),
        (None, None) => {
            let beside = config_path.and_then(Path::parent).unwrap_or(Path::new("."));
            Some(beside.join("policy.d")).filter(|path| path.is_dir())
        }
    }
}

fn options(config: Option<&Config>) -> Options {
    match config {
        Some(config) => Options {
            local: config.local.clone(),
            enforce: config.enforce.clone(),
            disable: config.disable.clone(),
            geoip: Arc::default(),
            generation: 1,
        },
        None => Options::default(),
    }
}

/// A selector that selects nothing is a mistake where the whole policy was
/// read: somebody believes in vain that a rule is enforced, or switched off.
fn take(loaded: Loaded, config: Option<&Config>, is_part: bool, found: &mut Found) {
    found.warnings.extend(loaded.warnings);
    for selector in loaded.idle {
        let Some(config) = config else {
            break;
        };
        let message = format!("`{}` is neither a rule nor a rule file of this policy", selector.pattern);
        let mistake = Mistake::at(&config.source, selector.place, message);
        if is_part { found.warnings.push(mistake) } else { found.mistakes.push(mistake) }
    }
    found.policy = Some(loaded.policy);
}

/// Runs the tests inside the rule files: as if every rule were enforced and
/// none switched off, and with the names that tests use among our own.
fn rehearsal(path: &Path, mut local: Local) -> Result<Rehearsed, Vec<Mistake>> {
    for (names, name) in [(&mut local.domains, TEST_DOMAIN), (&mut local.hostnames, TEST_HOSTNAME)] {
        // First, for of several names the first is what we call ourselves.
        names.retain(|known| known != name);
        names.insert(0, name.to_owned());
    }
    local.relays.push(Relay { network: TEST_RELAY.into(), header: None });
    let policy = load(path, &Options { local, generation: 1, ..Options::default() })?.policy.as_enforced();
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    block_on(rehearse(&policy, folder))
        .map_err(|error| vec![Mistake::unread("tests", format!("can't be run: {error}"))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn checked(files: &[(&str, &str)], with_config: bool, dir: Option<&str>) -> (Found, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let config = folder.path().join("gatepost.yaml");
        let dir = dir.map(|dir| folder.path().join(dir));
        let found = check(dir.as_deref(), with_config.then_some(config.as_path()));
        let told = found
            .mistakes
            .iter()
            .map(|it| it.to_string().replace(&format!("{}/", folder.path().display()), ""));
        let told = told.collect();
        (found, told)
    }

    const GOOD: &str = "rules:\n  - name: a\n    when: {sender: x@y.test}\n    then: reject\n    tests:\n      - {given: {sender: x@y.test}, expect: reject}\n";

    #[test]
    fn a_good_policy_is_fine_and_counted() {
        let (found, told) = checked(&[("p/a.yaml", GOOD)], false, Some("p"));
        assert_eq!((told.as_slice(), found.exit()), (&[][..], Exit::Fine));
        assert_eq!(found.summary(), "1 rule, 1 test: fine");
    }

    #[test]
    fn one_file_may_be_checked_alone() {
        let (found, _) = checked(&[("p/a.yaml", GOOD), ("p/b.yaml", "x")], false, Some("p/a.yaml"));
        assert_eq!(found.exit(), Exit::Fine);
    }

    #[test]
    fn a_failing_test_is_told_with_its_place_and_reason() {
        let bad = GOOD.replace("expect: reject", "expect: no_match");
        let (found, _) = checked(&[("p/a.yaml", &bad)], false, Some("p"));
        assert_eq!(found.exit(), Exit::Mistakes);
        assert_eq!(found.summary(), "1 rule, 1 test: 1 test failed");
        let failure = &found.rehearsed.unwrap().failures[0];
        assert_eq!(
            failure.to_string(),
            "a.yaml:6:9: the test of rule `a` fails\n    expected: no match\n    happened: match, reject `554 5.7.1 refused by rule a [test]` by a\n    because:  a: match: sender `x@y.test` fits `x@y.test`"
        );
    }

    #[test]
    fn mistakes_of_configuration_and_rules_are_told_together() {
        let files = [("gatepost.yaml", "stat: 1\n"), ("policy.d/a.yaml", "rules: [{name: a}]\n")];
        let (found, told) = checked(&files, true, None);
        assert_eq!(found.exit(), Exit::Mistakes);
        assert!(told[0].starts_with("gatepost.yaml:1:1: "), "{told:?}");
        assert!(told.iter().any(|it| it.starts_with("a.yaml:1:9: a rule needs `then`")), "{told:?}");
    }

    #[test]
    fn a_selector_that_selects_nothing_is_a_mistake_of_the_whole_policy_only() {
        let files = [("gatepost.yaml", "enforce: [aa]\n"), ("policy.d/a.yaml", GOOD)];
        let (found, told) = checked(&files, true, None);
        assert_eq!(
            told,
            ["gatepost.yaml:1:11: `aa` is neither a rule nor a rule file of this policy\n    enforce: [aa]"]
        );
        assert_eq!(found.exit(), Exit::Mistakes);
        let (found, told) = checked(&files, true, Some("policy.d"));
        assert_eq!((told.len(), found.warnings.len(), found.exit()), (0, 1, Exit::Fine));
    }

    /// Else the first `check` of a newcomer fails, who has only said who they are.
    #[test]
    fn the_rules_we_ship_pass_whoever_we_are() {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy.d");
        let text = format!(
            "policy_dir: {}\nlocal: {{networks: [127.0.0.0/8, 192.0.2.0/24], domains: [sunshine.test], \
             hostnames: [mail.sunshine.test], relays: [203.0.113.200]}}\n",
            shipped.display()
        );
        let (found, told) = checked(&[("gatepost.yaml", &text)], true, None);
        assert_eq!((told.as_slice(), found.failures(), found.exit()), (&[][..], 0, Exit::Fine));
    }

    #[test]
    fn what_is_not_there_could_not_be_checked() {
        assert_eq!(checked(&[], false, Some("nowhere")).0.exit(), Exit::CouldNotRun);
        assert_eq!(checked(&[], true, None).0.exit(), Exit::CouldNotRun);
    }
}
