//! What holds for the whole tree and no unit test can see. Plain `cargo test`
//! runs it; there is no other checker. `UPDATE=1 cargo test --test tidy`
//! rewrites the generated documents; read them before you commit them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test or bench that can't go on says so and ends"
)]

use gatepost::config::Config;
use gatepost::config::Local;
use gatepost::config::Relay;
use gatepost::engine::rehearse;
use gatepost::policy::Loaded;
use gatepost::policy::Options;
use gatepost::policy::load;
use gatepost::policy::load_texts;
use gatepost::yaml::Mistake;
use gatepost::yaml::Source;
use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// Who may know of whom, from the bottom up. A module may name those listed
/// beside it and itself; data flows one way.
const LAYERS: &[(&str, &[&str])] = &[
    ("secret", &[]),
    ("yaml", &["secret"]),
    ("quantity", &[]),
    ("names", &[]),
    ("near", &[]),
    ("reply", &[]),
    ("dns", &[]),
    ("reputation", &["dns", "secret"]),
    ("content", &[]),
    ("message", &["content", "names"]),
    ("verdict", &["message", "reply"]),
    ("state", &["quantity"]),
    ("config", &["near", "quantity", "yaml"]),
    ("geoip", &["config", "yaml"]),
    ("auth", &["dns", "message", "names"]),
    ("lookup", &["auth", "dns", "reputation"]),
    ("lists", &["names", "near", "quantity", "reputation", "state", "yaml"]),
    ("facts", &["message", "names"]),
    ("values", &["facts", "lists", "names", "near", "quantity", "yaml"]),
    (
        "checks",
        &[
            "auth",
            "content",
            "dns",
            "facts",
            "lists",
            "lookup",
            "message",
            "names",
            "near",
            "quantity",
            "reputation",
            "state",
            "values",
            "yaml",
        ],
    ),
    (
        "policy",
        &[
            "checks",
            "config",
            "content",
            "dns",
            "facts",
            "geoip",
            "lists",
            "lookup",
            "message",
            "near",
            "quantity",
            "reputation",
            "state",
            "values",
            "yaml",
        ],
    ),
    (
        "engine",
        &[
            "auth", "checks", "config", "content", "dns", "facts", "lists", "lookup", "message", "policy",
            "reply", "state", "values", "verdict", "yaml",
        ],
    ),
    ("journal", &["config"]),
    ("decision", &["checks", "engine", "facts", "journal", "policy", "reply", "verdict"]),
    ("metrics", &["config", "reply", "reputation"]),
    (
        "desk",
        &[
            "checks", "config", "content", "decision", "dns", "engine", "facts", "journal", "lists",
            "message", "metrics", "names", "policy", "reply", "state", "values", "verdict", "yaml",
        ],
    ),
    ("wire", &["facts", "names", "reply"]),
    ("listen", &["config", "desk", "facts", "metrics", "reply", "wire"]),
    (
        "cli",
        &[
            "checks",
            "config",
            "content",
            "decision",
            "desk",
            "dns",
            "engine",
            "facts",
            "geoip",
            "journal",
            "listen",
            "lists",
            "message",
            "metrics",
            "names",
            "policy",
            "quantity",
            "reply",
            "reputation",
            "state",
            "values",
            "verdict",
            "wire",
            "yaml",
        ],
    ),
];

/// What a program under GPL-3.0-or-later may link, and we want to.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // Of certificates as data, for systems that Postfix does not run on.
    "CDLA-Permissive-2.0",
    "GPL-3.0-or-later",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

/// Documents made from the code.
const GENERATED: &[&str] =
    &["actions.md", "checks.md", "cli.md", "config.md", "facts.md", "kinds.md", "metrics.md"];

/// Who the tests of shipped rules and documents say we are, as `check` has it.
fn options() -> Options {
    let local = Local {
        networks: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        domains: vec!["example.com".into()],
        hostnames: vec!["mx.example.com".into()],
        relays: vec![Relay { network: "192.0.2.250/32".parse().unwrap(), header: None }],
    };
    Options { local, generation: 1, ..Options::default() }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources() {
        let first = text.lines().next().unwrap_or_default();
        assert!(first.starts_with("//! "), "{}: no //! header", path.display());
    }
}

#[test]
fn data_flows_one_way() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = top_module(&path);
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: LAYERS in tests/tidy.rs has no `{module}`", path.display()));
            continue;
        };
        for (line, number) in text.lines().zip(1..) {
            let code = line.split("//").next().unwrap_or_default();
            for rest in code.split("crate::").skip(1) {
                let used: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                let grouped =
                    rest.starts_with('{') || code.trim_start().starts_with("use") && rest.contains('{');
                if grouped {
                    wrong.push(format!("{}:{number}: write one `use crate::` a line", path.display()));
                } else if !used.is_empty() && used != module && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{}:{number}: `{module}` must not know `{used}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table itself has no circle: whoever stands above knows nothing below.
#[test]
fn layers_are_told_from_the_bottom_up() {
    for (index, (name, allowed)) in LAYERS.iter().enumerate() {
        for used in *allowed {
            let below = LAYERS.iter().take(index).any(|(lower, _)| lower == used);
            assert!(below, "`{name}` may know `{used}`, which does not stand below it");
        }
    }
}

#[test]
fn generated_documents_are_current() {
    let mut stale = Vec::new();
    for name in GENERATED {
        let page = match *name {
            "actions.md" => gatepost::policy::reference(),
            "checks.md" => gatepost::checks::reference(),
            "cli.md" => gatepost::cli::reference(),
            "config.md" => gatepost::config::reference(),
            "facts.md" => gatepost::facts::reference(),
            "kinds.md" => gatepost::content::reference(),
            _ => gatepost::metrics::reference(),
        };
        let path = root().join("docs").join(name);
        if env::var_os("UPDATE").is_some() {
            fs::create_dir_all(root().join("docs")).unwrap();
            fs::write(&path, &page).unwrap();
        }
        if fs::read_to_string(&path).unwrap_or_default() != page {
            stale.push(format!("docs/{name}"));
        }
    }
    assert!(stale.is_empty(), "{} stale: run UPDATE=1 cargo test --test tidy", stale.join(", "));
}

/// What a reader copies from a document must work as it stands.
#[tokio::test]
async fn every_example_in_the_documents_loads_and_passes() {
    let mut wrong = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (line, block) in yaml_blocks(&text) {
            let name = format!("{}:{line}", document.strip_prefix(root()).unwrap().display());
            if let Err(why) = example(&name, &block).await {
                wrong.push(why);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn example(name: &str, block: &str) -> Result<(), String> {
    if block.starts_with("# gatepost.yaml") {
        let source = Source { name: name.into(), text: block.into() };
        return Config::read(Arc::new(source), &root()).map(drop).map_err(|mistakes| told(&mistakes));
    }
    let base = root().join("policy.d");
    let loaded = load_texts(&[(name, block)], &base, &options()).map_err(|mistakes| told(&mistakes))?;
    passes(loaded, &base).await
}

#[tokio::test]
async fn shipped_rules_load_and_pass_their_tests() {
    let folder = root().join("policy.d");
    if !folder.exists() {
        return;
    }
    let loaded = load(&folder, &options()).unwrap_or_else(|mistakes| panic!("{}", told(&mistakes)));
    assert!(loaded.warnings.is_empty(), "{}", told(&loaded.warnings));
    if let Err(why) = passes(loaded, &folder).await {
        panic!("{why}");
    }
}

async fn passes(loaded: Loaded, folder: &Path) -> Result<(), String> {
    let rehearsed = rehearse(&loaded.policy.as_enforced(), folder).await;
    let failures: Vec<_> = rehearsed.failures.iter().map(ToString::to_string).collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

/// A map of the code that names what is gone leads nowhere, and one that lacks a
/// folder hides it.
#[test]
fn the_architecture_names_what_there_is() {
    let Ok(text) = fs::read_to_string(root().join("docs/architecture.md")) else {
        return;
    };
    let mut wrong = Vec::new();
    for quoted in text.split('`').skip(1).step_by(2) {
        let is_path =
            quoted.contains('/') && !quoted.contains(|c: char| c.is_whitespace() || "*{<:".contains(c));
        let there = ["", "src", "tests"].iter().any(|folder| root().join(folder).join(quoted).exists());
        if is_path && !quoted.starts_with('/') && !there {
            wrong.push(format!("there is no `{quoted}`"));
        }
    }
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && !text.contains(&format!("`src/{name}/`")) {
            wrong.push(format!("`src/{name}/` is not in it"));
        }
    }
    assert!(wrong.is_empty(), "docs/architecture.md: {}", wrong.join(", "));
}

#[test]
fn the_set_of_licences_is_closed() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut wrong = BTreeSet::new();
    for package in metadata["packages"].as_array().unwrap() {
        let licence = package["license"].as_str().unwrap_or("none given");
        if !is_allowed(licence) {
            wrong.insert(format!("{}: {licence}", package["name"].as_str().unwrap_or_default()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// `A OR B` needs one of them, `A AND B` both; `A/B` is the old way to say or.
/// No expression in use nests deeper than one pair of brackets.
fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    expression.split(" AND ").all(|part| {
        let part = part.trim().trim_start_matches('(').trim_end_matches(')');
        part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim()))
    })
}

#[test]
fn licence_expressions_are_understood() {
    for (expression, allowed) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("MIT OR LGPL-2.1-or-later", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("MIT AND OpenSSL", false),
        ("AGPL-3.0-only", false),
    ] {
        assert_eq!(is_allowed(expression), allowed, "{expression}");
    }
}

fn told(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

fn top_module(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    let first = Path::new(inside.components().next().unwrap().as_os_str());
    first.file_stem().unwrap().to_str().unwrap().to_owned()
}

/// Those written by hand; the examples of generated ones are tried where they
/// are made.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    let docs = fs::read_dir(root().join("docs")).into_iter().flatten().map(|entry| entry.unwrap().path());
    found.extend(docs.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".md") && !GENERATED.contains(&&*name)
    }));
    found.retain(|path| path.exists());
    found.sort();
    found
}

/// Each fenced block of YAML with the line on which its text begins.
fn yaml_blocks(document: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (line, number) in document.lines().zip(1..) {
        match &mut open {
            None if line.trim_end() == "```yaml" => open = Some((number + 1, String::new())),
            None => {}
            Some(_) if line.starts_with("```") => blocks.extend(open.take()),
            Some((_, text)) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    blocks
}
