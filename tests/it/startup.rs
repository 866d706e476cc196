//! Starts that must fail, each with the exit code and the text that tells the
//! operator what to do, and one that must not.

use crate::rig::*;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::os::unix::net::UnixStream;

const FINE: &[(&str, &str)] =
    &[("10-test.yaml", "rules: [{name: no, when: {recipient: no@test.example}, then: reject}]\n")];

fn config(policy: &str, milter: &str, http: &str) -> String {
    format!(
        "listen:\n  policy: [\"{policy}\"]\n  milter: [\"{milter}\"]\n  http: {{address: \"{http}\"}}\npolicy_dir: policy.d\n"
    )
}

fn inet() -> String {
    format!("inet:127.0.0.1:{}", port::free())
}

fn http() -> String {
    format!("127.0.0.1:{}", port::free())
}

#[track_caller]
fn says((code, text): (i32, String), expected: i32, parts: &[&str]) {
    assert_eq!(code, expected, "{text}");
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let socket = format!("inet:{address}");
    says(Gatepost::refused(FINE, |_| config(&socket, &inet(), &http())), 3, &[&address, "in use"]);
    says(Gatepost::refused(FINE, |_| config(&inet(), &socket, &http())), 3, &[&address, "in use"]);
    says(Gatepost::refused(FINE, |_| config(&inet(), &inet(), &address)), 3, &[&address, "in use"]);
}

#[test]
fn a_unix_socket_that_cannot_be_made_is_named() {
    let at = |place: &'static str| {
        move |dir: &std::path::Path| config(&format!("unix:{}", dir.join(place).display()), &inet(), &http())
    };
    says(Gatepost::refused(FINE, at("nowhere/policy")), 3, &["nowhere/policy", "no such directory"]);
    says(Gatepost::refused(FINE, at("gatepost.yaml")), 3, &["gatepost.yaml", "not a socket"]);
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("policy");
    let _living = UnixListener::bind(&path).unwrap();
    let living = format!("unix:{}", path.display());
    says(Gatepost::refused(FINE, |_| config(&living, &inet(), &http())), 3, &["policy", "in use"]);
    assert!(UnixStream::connect(&path).is_ok());
}

#[test]
fn a_socket_left_behind_is_replaced() {
    let outside = tempfile::tempdir().unwrap();
    let path = outside.path().join("policy");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists() && UnixStream::connect(&path).is_err());
    let (policy, milter, port) = (format!("unix:{}", path.display()), inet(), port::free());
    let config = config(&policy, &milter, &format!("127.0.0.1:{port}"));
    let mut gatepost = Gatepost::configured(FINE, &config, &policy, &milter, port);
    assert!(UnixStream::connect(&path).is_ok());
    // Killed it leaves one behind, ended it does not.
    gatepost.signal("TERM");
    assert!(gatepost.wait_exit(PATIENCE).success());
    assert!(!path.exists());
}

#[test]
fn a_list_whose_file_is_missing_cannot_be_run() {
    let rules = "lists:\n  friends: {of: address, file: lists/friends}\n\
                 rules: [{name: a, when: {sender: {in: friends}}, then: accept}]\n";
    let refused = Gatepost::refused(&[("10-test.yaml", rules)], |_| config(&inet(), &inet(), &http()));
    says(refused, 3, &["10-test.yaml:2:", "lists/friends"]);
}

#[test]
fn a_missing_folder_of_rules_cannot_be_run() {
    let missing = |_: &std::path::Path| config(&inet(), &inet(), &http()).replace("policy.d", "elsewhere.d");
    says(Gatepost::refused(FINE, missing), 3, &["elsewhere.d"]);
}

#[test]
fn all_mistakes_of_all_files_are_told_at_once() {
    let files = [
        (
            "10-a.yaml",
            "rules:\n  - {name: a, when: {sasl_usrname: present}, then: reject}\n  - {name: b, then: rejct}\n",
        ),
        ("20-b.yaml", "rules:\n  - {name: c, when: {client_address: 192.0.2.0/99}, then: reject}\n"),
        ("30-c.yaml", "rules: [{name: d, then: {reject: \"200 5.7.1 no\"}}\n"),
    ];
    let refused = Gatepost::refused(&files, |_| config(&inet(), &inet(), &http()));
    says(
        refused,
        1,
        &["10-a.yaml:2:", "sasl_usrname", "10-a.yaml:3:", "rejct", "20-b.yaml:2:", "/99", "30-c.yaml:"],
    );
}

#[test]
fn a_bad_configuration_is_a_mistake_with_its_place() {
    let bad = |_: &std::path::Path| "listen: {policy: [\"inet:127.0.0.1:99999\"]}\npolcy_dir: x\n".to_owned();
    let refused = Gatepost::refused(FINE, bad);
    says(refused, 1, &["gatepost.yaml:", "99999", "polcy_dir"]);
}
