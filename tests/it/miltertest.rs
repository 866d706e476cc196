//! The milter as miltertest(8) sees it, a client by others: gatepost alone, and
//! each script of `tests/miltertest` in turn.

use crate::rig::*;
use std::io::Write as _;
use std::path::Path;

const RULES: &str = r#"
rules:
  - {name: refuse, when: {header: {X-Do: refuse}}, then: {reject: 552 5.7.8 no}}
  - {name: later, when: {header: {X-Do: later}}, then: {defer: 452 4.7.8 not now}}
  - {name: swallow, when: {header: {X-Do: discard}}, then: discard}
  - {name: keep, when: {header: {X-Do: hold}}, then: {hold: a person will look}}
  - {name: top, when: {header: {X-Do: add}}, then: {add_header: {X-Top: "from {sender}"}}}
  - {name: end, when: {header: {X-Do: add}}, then: {add_header: {X-End: {text: below all, at: end}}}}
  - {name: change, when: {header: {X-Do: change}}, then: {change_header: {Subject: "[list] {old}"}}}
  - {name: remove, when: {header: {X-Do: remove}}, then: {remove_header: {X-Same: /two/}}}
  - {name: body, when: {header: {X-Do: body}}, then: {replace_body: Taken away.}}
  - {name: elsewhere, when: {header: {X-Do: redirect}}, then: {redirect: archive@test.example}}
  - {name: copy, when: {header: {X-Do: bcc}}, then: {bcc: archive@test.example}}
  - {name: program, when: {attachment: .exe}, then: {reject: 5.7.1 a program}}
  - {name: first, when: {header: {X-Do: accept}}, then: {add_header: {X-First: "yes"}}}
  - {name: friend, when: {header: {X-Do: accept}}, then: accept}
"#;

#[test]
fn every_script_passes() {
    let program = Path::new("/usr/bin/miltertest");
    if !program.exists() {
        // Not through the macro, whose output the test harness keeps for failures.
        let _ = writeln!(std::io::stderr(), "skipped miltertest: it is not installed");
        return;
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/miltertest");
    let library = dir.join("lib.lua");
    let mut scripts: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|script| *script != library);
    scripts.sort();
    assert!(scripts.len() > 3);
    let gatepost = Gatepost::start(&[("10-test.yaml", RULES)], "", Sockets::Inet);
    // Postfix's order: inet:host:port; Sendmail's: inet:port@host.
    let port = gatepost.milter.rsplit(':').next().unwrap();
    let failed: Vec<_> = scripts
        .iter()
        .filter_map(|script| {
            let args = [
                "-D",
                &format!("socket=inet:{port}@127.0.0.1"),
                "-D",
                &format!("lib={}", library.display()),
                "-s",
                &script.to_string_lossy(),
            ]
            .map(str::to_owned);
            let output = program::try_run("/usr/bin/miltertest", args, "");
            let fine = output.status.success();
            (!fine).then(|| format!("{}: {}", script.display(), program::both(&output)))
        })
        .collect();
    assert!(failed.is_empty(), "{}\n---- gatepost\n{}", failed.join("\n"), gatepost.log());
    until("all connections to be closed", || {
        let open = gatepost.metric("gatepost_connections", &["interface=\"milter\""]);
        (open == Some(0.0)).then_some(())
    });
    assert_eq!(gatepost.count_log(" error "), 0);
}
