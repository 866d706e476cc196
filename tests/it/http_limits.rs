//! `/v1/limits` of the running daemon: the same as `gatepost limits`, for who has the token.

use crate::rig::*;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tempfile::TempDir;

const RULES: &[(&str, &str)] = &[(
    "10-test.yaml",
    "rules:\n  - {name: busy, when: {rate: {key: client_address/24, limits: [2/1h strict, 50/1d]}}, then: defer}\n  \
     - {name: each, when: {rate: {key: sender, limits: [9/1h]}}, then: defer}\n",
)];

const TOKEN: &str = "a-token-of-24-characters";
const OTHER: &str = "another-one-of-24-letter";

struct Served {
    gatepost: Gatepost,
    /// With the token and the control socket.
    dir: TempDir,
}

fn write_token(dir: &Path, token: &str, mode: u32) {
    let path = dir.join("token");
    fs::write(&path, format!("{token}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
}

fn config(dir: &Path, policy: &str, milter: &str, http: u16) -> String {
    let dir = dir.display();
    format!(
        "listen:\n  policy: [\"{policy}\"]\n  milter: [\"{milter}\"]\n  \
         http: {{address: \"127.0.0.1:{http}\", token_file: \"{dir}/token\"}}\n\
         policy_dir: policy.d\ncontrol: \"unix:{dir}/control\"\n"
    )
}

impl Served {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_token(dir.path(), TOKEN, 0o600);
        let [policy, milter] = [(); 2].map(|()| format!("inet:127.0.0.1:{}", port::free()));
        let http = port::free();
        let config = config(dir.path(), &policy, &milter, http);
        Self { gatepost: Gatepost::configured(RULES, &config, &policy, &milter, http), dir }
    }

    fn ask(&self, method: &str, path: &str, token: &str) -> (u16, Value) {
        let (status, body) = http::ask(self.gatepost.http, method, path, Some(token)).expect("an answer");
        (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}")))
    }

    fn status(&self, token: &str) -> u16 {
        self.ask("GET", "/v1/limits", token).0
    }
}

/// As the command line shows a row.
fn line(row: &Value) -> String {
    format!(
        "{} used={} allowed={} window={}",
        row["key"].as_str().unwrap(),
        row["used"],
        row["allowed"],
        row["window"].as_str().unwrap()
    )
}

#[test]
fn it_shows_ranks_and_sets_back_as_the_command_line_does() {
    let served = Served::start();
    let mut policy = Delegation::connect(&served.gatepost.policy);
    for recipient in ["bob@test.example", "carol@test.example"] {
        assert_eq!(policy.asks(&[("recipient", recipient), ("sender", "q \"x\\y@sender.example")]), "DUNNO");
    }
    policy.asks(&[("protocol_state", "END-OF-MESSAGE"), ("recipient", ""), ("recipient_count", "2")]);
    let (status, shown) = served.ask("GET", "/v1/limits/192.0.2.0/24", TOKEN);
    assert_eq!((status, &shown["count"]), (200, &Value::from(1)));
    let rows = shown["limits"].as_array().unwrap();
    let lines: Vec<_> = rows.iter().map(line).collect();
    let expected =
        ["192.0.2.0/24 used=2 allowed=2 window=2/1h strict", "192.0.2.0/24 used=2 allowed=50 window=50/1d"];
    assert_eq!(lines, expected);
    assert_eq!(rows[0]["rules"], Value::from(vec!["busy"]));
    assert!(rows[0]["next_millis"].as_u64() > Some(3_000_000) && rows[1]["next_millis"] == 0);
    let (_, said, _) = served.gatepost.command(&["limits", "show", "192.0.2.0/24"]);
    assert_eq!(said.lines().count(), rows.len());
    for (row, said) in lines.iter().zip(said.lines()) {
        assert!(said.replace('"', "").starts_with(row), "{said}");
    }
    // Both ways to name a key, and a stranger's in quotes.
    for path in ["/v1/limits/192.0.2.0%2F24", "/v1/limits?key=192.0.2.0/24", "/v1/limits?key=192.0.2.0%2f24"]
    {
        let (_, found) = served.ask("GET", path, TOKEN);
        assert_eq!(found["limits"].as_array().unwrap().iter().map(line).collect::<Vec<_>>(), lines, "{path}");
    }
    let (_, top) = served.ask("GET", "/v1/limits?count=1", TOKEN);
    assert_eq!((&top["count"], &top["limits"][0]["key"]), (&Value::from(1), &rows[0]["key"]));
    let (_, top) = served.ask("GET", "/v1/limits", TOKEN);
    assert_eq!(top["count"], 2);
    assert_eq!(top["limits"][2]["key"], "q \"x\\y@sender.example");
    let (_, found) = served.ask("GET", "/v1/limits/q%20%22x%5Cy@sender.example", TOKEN);
    assert_eq!(found["limits"][0]["used"], 2);
    assert!(policy.asks(&[("recipient", "dave@test.example"), ("instance", "1.2.3.4")]).starts_with("450"));
    for (method, count) in [("DELETE", 1), ("POST", 1)] {
        let (status, set) = served.ask(method, "/v1/limits/192.0.2.0/24", TOKEN);
        assert_eq!((status, set), (200, serde_json::json!({"count": count})), "{method}");
    }
    assert_eq!(policy.asks(&[("recipient", "dave@test.example"), ("instance", "1.2.3.5")]), "DUNNO");
    served.gatepost.wait_log("its limits are set back by the operator");
    assert_eq!(served.ask("DELETE", "/v1/limits/nobody", TOKEN), (200, serde_json::json!({"count": 0})));
}

#[test]
fn the_token_is_asked_for_and_read_again_at_a_reload() {
    let served = Served::start();
    assert_eq!((served.status(TOKEN), served.status(OTHER), served.status("")), (200, 401, 401));
    assert_eq!(served.gatepost.metric("gatepost_http_unauthorized_total", &[]), Some(2.0));
    assert_eq!(http::get(served.gatepost.http, "/v1/limits").map(|(status, _)| status), Some(401));
    assert_eq!(http::get(served.gatepost.http, "/metrics").map(|(status, _)| status), Some(200));
    write_token(served.dir.path(), OTHER, 0o640);
    served.gatepost.signal("HUP");
    until("the new token", || (served.status(OTHER) == 200).then_some(()));
    assert_eq!(served.status(TOKEN), 401);
    // What is bad leaves what is in force.
    write_token(served.dir.path(), TOKEN, 0o644);
    served.gatepost.signal("HUP");
    served.gatepost.wait_log("token.*others may read or change it");
    assert_eq!((served.status(TOKEN), served.status(OTHER)), (401, 200));
    assert!(!served.gatepost.log().contains(TOKEN) && !served.gatepost.log().contains(OTHER));
}

#[test]
fn without_a_token_file_there_is_none_of_it() {
    let gatepost = Gatepost::start(RULES, "", Sockets::Inet);
    for token in [None, Some(TOKEN)] {
        let (status, body) = http::ask(gatepost.http, "GET", "/v1/limits", token).expect("an answer");
        assert!(status == 404 && body.contains("listen.http.token_file"), "{status} {body}");
    }
}

#[test]
fn a_token_that_cannot_be_used_is_named_at_start() {
    for (token, mode, expected) in [
        (Some(TOKEN), 0o644, "token: others may read or change it (mode 0644): chmod o= it"),
        (Some("short"), 0o600, "token: a token of 16 to 1024 bytes is expected, not of 5"),
        (None, 0, "token: can't be read: No such file"),
    ] {
        let (code, said) = Gatepost::refused(RULES, |dir| {
            if let Some(token) = token {
                write_token(dir, token, mode);
            }
            let [policy, milter] = [(); 2].map(|()| format!("inet:127.0.0.1:{}", port::free()));
            config(dir, &policy, &milter, port::free())
        });
        assert!(code == 3 && said.contains(expected), "{code} {said}");
    }
}
