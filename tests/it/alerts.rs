//! The alert rules of the examples, tried by Prometheus' own tool.

use std::fs;
use std::io::ErrorKind;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/prometheus"))
}

#[test]
fn alerts_fire_when_they_shall_and_not_else() {
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]] {
        let output = match Command::new("promtool").args(arguments).current_dir(folder()).output() {
            Ok(output) => output,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let _ = writeln!(std::io::stderr(), "skipped alerts: promtool is not installed");
                return;
            }
            Err(error) => panic!("promtool: {error}"),
        };
        let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
        assert!(output.status.success(), "{arguments:?}: {out}{err}");
    }
}

#[test]
fn alerts_are_about_metrics_that_there_are_and_each_is_tried() {
    let rules = fs::read_to_string(folder().join("alerts.yml")).unwrap();
    let tests = fs::read_to_string(folder().join("alerts.test.yml")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let metrics = fs::read_to_string(root.join("docs/metrics.md")).unwrap();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named = rules.split(|c: char| !is_word(c)).filter(|word| word.starts_with("gatepost_"));
    let mut count = 0;
    for name in named {
        assert!(metrics.contains(&format!("`{name}`")), "{name}");
        count += 1;
    }
    assert!(count > 8, "{count}");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {alert}")), "{alert} is never tried");
    }
}
