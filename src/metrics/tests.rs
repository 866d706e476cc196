//! What a scrape shows.

use super::*;

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(jiff::Timestamp::from_millisecond(1_700_000_000_500).unwrap()))
}

fn rule(name: &str, mode: Mode, action: &'static str) -> RuleLabels {
    RuleLabels { rule: name.into(), mode, action, enabled: true }
}

/// Whether a line stands in the older format.
#[track_caller]
fn shows(metrics: &Arc<Metrics>, line: &str) {
    let text = metrics.encode(Exposition::Text);
    assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
}

/// Everything in use, so that every family has a series.
fn busy() -> Arc<Metrics> {
    let metrics = metrics();
    metrics.load_rules([rule("a", Mode::Enforce, "reject")]);
    metrics.load_lists(["vips".to_owned()]);
    metrics.load_zones([("bl.example".to_owned(), Arc::default())]);
    metrics.set_table("sessions", Table { entries: 1, capacity: 2, evictions: 3 });
    metrics.set_protocol_errors(Interface::Policy, "nul", 1);
    metrics.content(&["macros"]);
    metrics.authentication("dkim", "pass");
    metrics.state_kept(jiff::Timestamp::UNIX_EPOCH);
    metrics
}

#[test]
fn counting_shows() {
    let metrics = metrics();
    metrics.answered(Interface::Policy, Stage::Rcpt, Action::Reject, Duration::from_millis(3));
    metrics.message(Verdict::Hold, Direction::Outbound);
    metrics.recipients(Verdict::Accept, Direction::Inbound, 5);
    metrics.fail_open(FailOpen::Deadline);
    metrics.set_fail_open_elsewhere(FailOpen::Deadline, 2);
    metrics.set_fail_open_elsewhere(FailOpen::Deadline, 3);
    metrics.set_dns_queries(DnsResult::ServFail, 8);
    metrics.set_connections(Interface::Milter, 4, 9);
    metrics.set_protocol_errors(Interface::Policy, "nul", 7);
    metrics.set_table("sessions", Table { entries: 10, capacity: 20, evictions: 1 });
    metrics.set_log_lines_dropped(6);
    metrics.authentication("spf", "fail");
    metrics.content(&["macros", "limits"]);
    metrics.content(&["macros"]);
    metrics.state_kept(jiff::Timestamp::from_second(1_700_000_100).unwrap());
    metrics.state_written(StateFile::Journal, 64, Duration::from_millis(30));
    metrics.state_failed();
    metrics.http_unauthorized();
    for line in [
        "gatepost_authentication_results_total{method=\"spf\",result=\"fail\"} 1",
        "gatepost_content_findings_total{finding=\"macros\"} 2",
        "gatepost_state_snapshot_timestamp_seconds 1700000100.0",
        "gatepost_state_written_bytes_total{file=\"journal\"} 64",
        "gatepost_state_write_duration_seconds_bucket{le=\"0.05\",file=\"journal\"} 1",
        "gatepost_state_write_failures_total 1",
        "gatepost_requests_total{interface=\"policy\",stage=\"rcpt\",action=\"reject\"} 1",
        "gatepost_request_duration_seconds_sum{interface=\"policy\"} 0.003",
        "gatepost_request_duration_seconds_count{interface=\"policy\"} 1",
        "gatepost_request_duration_seconds_bucket{le=\"0.0025\",interface=\"policy\"} 0",
        "gatepost_request_duration_seconds_bucket{le=\"0.005\",interface=\"policy\"} 1",
        "gatepost_request_duration_seconds_bucket{le=\"+Inf\",interface=\"policy\"} 1",
        "gatepost_messages_total{verdict=\"hold\",direction=\"outbound\"} 1",
        "gatepost_recipients_total{verdict=\"accept\",direction=\"inbound\"} 5",
        "gatepost_fail_open_total{reason=\"deadline\"} 4",
        "gatepost_dns_queries_total{result=\"servfail\"} 8",
        "gatepost_connections{interface=\"milter\"} 4",
        "gatepost_accepted_connections_total{interface=\"milter\"} 9",
        "gatepost_protocol_errors_total{interface=\"policy\",kind=\"nul\"} 7",
        "gatepost_table_entries{table=\"sessions\"} 10",
        "gatepost_table_capacity{table=\"sessions\"} 20",
        "gatepost_table_evictions_total{table=\"sessions\"} 1",
        "gatepost_log_lines_dropped_total 6",
        "gatepost_http_unauthorized_total 1",
        "gatepost_start_timestamp_seconds 1700000000.5",
        concat!("gatepost_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        shows(&metrics, line);
    }
}

#[test]
fn known_series_begin_at_zero() {
    for line in [
        "gatepost_requests_total{interface=\"milter\",stage=\"message\",action=\"dunno\"} 0",
        "gatepost_request_duration_seconds_count{interface=\"milter\"} 0",
        "gatepost_messages_total{verdict=\"aborted\",direction=\"bounce\"} 0",
        "gatepost_fail_open_total{reason=\"store\"} 0",
        "gatepost_dns_queries_total{result=\"cache\"} 0",
        "gatepost_connections{interface=\"policy\"} 0",
        "gatepost_rule_hits_total{rule=\"a\",mode=\"enforce\",action=\"reject\"} 0",
        "gatepost_rule_enabled{rule=\"a\"} 1",
        "gatepost_list_reloads_total{list=\"vips\",result=\"failed\"} 0",
        "gatepost_config_last_reload_successful 0.0",
    ] {
        shows(&busy(), line);
    }
}

#[test]
fn a_boundary_belongs_to_its_bucket() {
    for (took, bound) in [
        (Duration::ZERO, "0.0005"),
        (Duration::from_micros(500), "0.0005"),
        (Duration::from_micros(501), "0.001"),
        (Duration::from_secs(10), "10.0"),
        (Duration::from_secs(11), "+Inf"),
    ] {
        let metrics = metrics();
        metrics.answered(Interface::Policy, Stage::Rcpt, Action::Dunno, took);
        let text = metrics.encode(Exposition::Text);
        let filled = text.lines().find(|line| line.contains("_bucket") && line.ends_with(" 1")).unwrap();
        assert!(filled.contains(&format!("le=\"{bound}\",interface=\"policy\"")), "{took:?}: {filled}");
    }
}

#[test]
fn a_reload_keeps_what_stays_and_forgets_what_left() {
    let metrics = metrics();
    let old =
        metrics.load_rules([rule("stays", Mode::Observe, "reject"), rule("goes", Mode::Enforce, "hold")]);
    old.hit(0);
    old.hit(1);
    old.hit(2);
    let new =
        metrics.load_rules([rule("new", Mode::Enforce, "hold"), rule("stays", Mode::Observe, "reject")]);
    // A request that began before the reload.
    old.hit(0);
    old.hit(1);
    new.hit(1);
    let text = metrics.encode(Exposition::Text);
    assert!(!text.contains("goes"), "{text}");
    shows(&metrics, "gatepost_rule_hits_total{rule=\"stays\",mode=\"observe\",action=\"reject\"} 3");
    shows(&metrics, "gatepost_rule_hits_total{rule=\"new\",mode=\"enforce\",action=\"hold\"} 0");

    let old = metrics.load_lists(["vips".to_owned(), "bulk".to_owned()]);
    old.reloaded(0, Reload::Failed);
    old.set_entries(0, 3);
    metrics.load_lists(["vips".to_owned()]);
    shows(&metrics, "gatepost_list_reloads_total{list=\"vips\",result=\"failed\"} 1");
    shows(&metrics, "gatepost_list_entries{list=\"vips\"} 3");
    assert!(!metrics.encode(Exposition::Text).contains("bulk"));
}

#[test]
fn a_failed_reload_keeps_the_time_of_the_last_good_one() {
    let metrics = metrics();
    metrics.reloaded(Reload::Ok, jiff::Timestamp::from_second(1_700_000_100).unwrap());
    shows(&metrics, "gatepost_config_last_reload_successful 1.0");
    metrics.reloaded(Reload::Failed, jiff::Timestamp::from_second(1_700_000_200).unwrap());
    shows(&metrics, "gatepost_config_last_reload_successful 0.0");
    shows(&metrics, "gatepost_config_last_reload_timestamp_seconds 1700000100.0");
}

#[test]
fn names_cannot_make_lines_of_their_own() {
    let metrics = metrics();
    metrics.load_rules([rule("a\"b\n\\c", Mode::Enforce, "reject")]);
    shows(&metrics, r#"gatepost_rule_hits_total{rule="a\"b\n\\c",mode="enforce",action="reject"} 0"#);
}

#[test]
fn every_family_of_the_catalogue_is_shown_and_no_other() {
    let text = busy().encode(Exposition::Text);
    let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE gatepost_")).collect();
    let expected: Vec<_> = CATALOGUE
        .iter()
        .map(|family| format!("{} {}", family.name, family.kind.metric_type().as_str()))
        .collect();
    assert_eq!(types, expected);
    for family in CATALOGUE {
        let name = format!("gatepost_{}", family.name);
        assert!(text.lines().any(|line| line.starts_with(&name)), "{name} has no series");
        for (label, _) in family.labels {
            let series = |line: &&str| line.starts_with(&name) && !line.contains("_sum{");
            assert!(text.lines().find(series).unwrap().contains(&format!("{label}=\"")), "{name} {label}");
        }
    }
}

#[test]
fn the_formats_differ_in_the_heads_of_counters_and_the_end() {
    let metrics = busy();
    let text = metrics.encode(Exposition::Text);
    let open = metrics.encode(Exposition::OpenMetrics);
    assert!(text.contains(
        "# HELP gatepost_requests_total Answers given to Postfix\n# TYPE gatepost_requests_total counter\n"
    ));
    assert!(
        open.contains(
            "# HELP gatepost_requests Answers given to Postfix\n# TYPE gatepost_requests counter\n"
        )
    );
    assert!(open.ends_with("# EOF\n") && !text.contains("EOF"));
    let series = |text: &str| {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(series(&text), series(&open));
}

/// One sample of the text format: `name{labels} value`, labels escaped.
fn is_sample(line: &str) -> bool {
    let pattern = r#"^[a-z_]+(\{([a-z]+="([^"\\\n]|\\["\\n])*",?)*\})? [0-9.+Inf]+$"#;
    regex::Regex::new(pattern).unwrap().is_match(line)
}

#[test]
fn each_line_is_a_head_or_a_sample_and_each_series_stands_once() {
    let metrics = busy();
    metrics.load_rules([rule("a\"} 1\ngatepost_x 1", Mode::Enforce, "reject")]);
    let text = metrics.encode(Exposition::Text);
    let mut seen = std::collections::HashSet::new();
    for line in text.lines().filter(|line| !line.starts_with("# ")) {
        assert!(is_sample(line), "{line}");
        assert!(seen.insert(line.rsplit_once(' ').unwrap().0), "{line}");
    }
    assert!(text.len() < 1 << 20);
}

/// Debian's `prometheus` package brings it; where it is missing, nothing is checked.
#[test]
fn promtool_finds_no_fault() {
    use std::io::Write as _;
    use std::process::Command;
    use std::process::Stdio;
    let mut tool = Command::new("promtool");
    let tool = tool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut tool) = tool.stdout(Stdio::piped()).spawn() else { return };
    let metrics = busy();
    metrics.load_rules([rule("a\"} 1\nx 1", Mode::Enforce, "reject")]);
    tool.stdin.take().unwrap().write_all(metrics.encode(Exposition::Text).as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    assert_eq!((output.status.success(), String::from_utf8_lossy(&output.stderr).as_ref()), (true, ""));
}
