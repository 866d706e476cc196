//! Rule files of every kind: what the loader says of each mistake an operator
//! can make, good ones that must load and pass their own tests, and other
//! people's policies as they are.
//!
//! `UPDATE=1 cargo test --test it policies` rewrites what is expected of the
//! bad ones; read it before you commit it.

use gatepost::config::Local;
use gatepost::engine::rehearse;
use gatepost::policy::Loaded;
use gatepost::policy::Options;
use gatepost::policy::load;
use gatepost::yaml::Mistake;
use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::slice;

/// Who the files say we are.
fn options() -> Options {
    let local = Local {
        networks: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        domains: vec!["example.com".into()],
        hostnames: vec!["mx.example.com".into()],
        ..Local::default()
    };
    Options { local, generation: 1, ..Options::default() }
}

/// The files directly in a folder below `tests/policies` that end so.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(ending));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// One below the other; a path to a list stands as below `tests/policies`.
fn told(mistakes: &[Mistake]) -> String {
    let here = format!("{}/tests/policies/", env!("CARGO_MANIFEST_DIR"));
    mistakes.iter().map(|mistake| format!("{mistake}\n").replace(&here, "")).collect()
}

fn loaded(path: &Path) -> Loaded {
    load(path, &options()).unwrap_or_else(|mistakes| panic!("{}", told(&mistakes)))
}

async fn passes(path: &Path, folder: &Path) -> usize {
    let policy = loaded(path).policy.as_enforced();
    let rehearsed = rehearse(&policy, folder).await;
    let failures: Vec<_> = rehearsed.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    rehearsed.tests
}

#[test]
fn each_mistake_is_told_in_these_words() {
    let mut stale = String::new();
    for bad in files("", ".bad.yaml") {
        let found = match load(&bad, &options()) {
            Ok(loaded) if loaded.warnings.is_empty() => "no mistake was found\n".to_owned(),
            Ok(loaded) => {
                loaded.warnings.iter().map(|it| format!("warning: {}", told(slice::from_ref(it)))).collect()
            }
            Err(mistakes) => told(&mistakes),
        };
        let golden = bad.with_extension("txt");
        if env::var_os("UPDATE").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if found != expected {
            stale += &format!("{}\n--- expected\n{expected}--- found\n{found}\n", bad.display());
        }
        assert!(!found.starts_with("no mistake"), "{}", bad.display());
    }
    assert!(stale.is_empty(), "{stale}");
}

/// How each message is worded: it begins small and ends without a full stop.
#[test]
fn mistakes_are_worded_alike() {
    for golden in files("", ".bad.txt") {
        for line in fs::read_to_string(&golden).unwrap().lines().filter(|line| !line.starts_with("    ")) {
            let line = line.strip_prefix("warning: ").unwrap_or(line);
            let message = line.split_once(": ").map(|(_, message)| message).unwrap_or(line);
            assert!(!message.starts_with(|c: char| c.is_uppercase()), "{}: {line}", golden.display());
            assert!(!message.ends_with('.'), "{}: {line}", golden.display());
        }
    }
}

#[tokio::test]
async fn good_files_load_and_pass_their_tests() {
    for good in files("", ".yaml").into_iter().filter(|path| !path.to_string_lossy().ends_with(".bad.yaml")) {
        let tests = passes(&good, good.parent().unwrap()).await;
        assert!(tests > 0, "{}", good.display());
    }
}

/// Each folder is one policy: what its files do to each other.
#[tokio::test]
async fn several_files_are_one_policy() {
    for folder in files("together", "") {
        let tests = passes(&folder, &folder).await;
        assert!(tests > 0, "{}", folder.display());
    }
}

/// Policies of postfwd, policyd-rate-limit, iRedMail, mailcow, postgrey and header_checks,
/// in our language.
#[tokio::test]
async fn policies_of_our_peers_load_and_pass_unchanged() {
    for file in files("peers", ".yaml") {
        let tests = passes(&file, file.parent().unwrap()).await;
        assert!(tests > 0, "{}", file.display());
    }
}
