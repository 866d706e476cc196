//! Tables of header_checks(5): what our reading of them says, line by line, beside what
//! `postmap -q` says of the same file; and what becomes of a mail beside what Postfix
//! itself makes of it.

use crate::rig::ALICE;
use crate::rig::BOB;
use crate::rig::Rig;
use crate::rig::skipped;
use gatepost::lists::Kind;
use gatepost::lists::List;
use gatepost::lists::ListValue;
use gatepost::lists::Query;
use gatepost::lists::Spec;
use gatepost::lists::To;
use gatepost::yaml::Mistake;
use gatepost::yaml::Place;
use gatepost::yaml::Source;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

/// A table with all that header_checks(5) describe.
const TABLE: &str = r#"# comment
/^Subject: make money fast/     REJECT
/^Subject: (\w+) (\w+) now$/    WARN $2 before $1, ${2}$(1) for $$5
  and a second line
# between
    and a third
/^To: friend@public\.com/       REJECT 5.7.1 no friends
!/^[A-Za-z-]+: ./               REJECT empty
if /^Received:/
/from (\S+) \(.*\[10\./         INFO inside $1
if !/ by mx\.example /
/with ESMTPSA/                  IGNORE
endif
/127\.0\.0\.1/                  STRIP own
endif
/^X-Mind: Case/i                PREPEND X-Case: minded
/^X-Mind:/                      PREPEND X-Case: not minded
%^X-Path: /a/(b|c)%             REPLACE X-Path: $1
/^x-[0-9]{2,3}:[[:space:]]*[^[:alnum:]]/  HOLD odd
/^X-Bytes: .*[\x80-\xff]/    FILTER slow:
~^[[:alnum:]+/]{20,}~           DUNNO
/^[[:alnum:]+\/]{30,}/          REDIRECT x@test.example
/^X-Ext:  a   b # c/x           BCC x@test.example
/^X-Many: .*(a|b)*c+d?/         DISCARD too much
/^X-Line: a.b$/                 WARN dot
/^X-Line: ^c$/m                 WARN lines
/^X-(Old|New)-[A-Z]+: \d+\s*$/  PASS $1
"#;

const LINES: &[&str] = &[
    "Subject: Make Money Fast!",
    "Subject: = make money fast",
    "Subject: buy this now",
    "Subject: buy this now ",
    "To: friend@public.com",
    "To: friend@publicacom",
    "X-Empty:",
    "X-Empty: ",
    "Received: from a.test (b [10.1.2.3]) by x",
    "Received: from a.test (b [11.1.2.3]) by x with ESMTPSA",
    "Received: from a.test (b [11.1.2.3]) by mx.example with ESMTPSA",
    "Received: from a.test (b [127.0.0.1]) by mx.example with ESMTPSA",
    "X-Other: from a.test (b [127.0.0.1]) with ESMTPSA",
    "X-Mind: Case",
    "X-Mind: case",
    "X-Path: /a/b/c",
    "X-Path: /a/d",
    "X-12: -",
    "X-1234: -",
    "X-12:-",
    "X-Bytes: \u{e9}",
    "X-Bytes: plain",
    "abcdefghijklmnopqrstuvwxyz012345: x",
    "X-Ext: ab",
    "X-Ext:ab",
    "X-Many: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
    "X-Many: ababababc",
    "X-Line: a b",
    "X-New-ABC: 12  ",
    "X-New-ABC: 1x",
    "",
];

/// What regexp_table(5) has of its own.
const POSIX_TABLE: &str = r#"
/^Subject: .*\<free\>/          REJECT $$ free
/^Subject: ([a-z]+)\.([a-z]+)$/ WARN $2.$1
!/^[A-Z]/i                      INFO small
if /^X-/
/[[:digit:]]{3}$/               HOLD digits
!/[a-z]\W/                      DUNNO
/[\.]$/                         BCC dot@test.example
endif
"#;

const POSIX_LINES: &[&str] = &[
    "Subject: this is free!",
    "Subject: freedom",
    "Subject: a.b",
    "Subject: a.B",
    "subject: x",
    "X-Y: 1234",
    "X-Y: 12",
    "X-9",
    "X-Y: end.",
    "X-Y: end\\",
];

fn list(location: &str) -> Result<List, Vec<Mistake>> {
    let source = Arc::new(Source { name: "rules.yaml".into(), text: String::new() });
    let file = Some((location.to_owned(), Place { line: 1, col: 1 }));
    List::build(Spec { to: Some(To::Action), file, ..Spec::new("checks", Kind::Header, source) })
}

/// What ours does, as the table would say it: `VERB text`.
fn ours(list: &List, line: &str) -> String {
    let folded = line.to_ascii_lowercase();
    let Some(hit) = list.lookup(&Query { text: line, folded: &folded, ip: None }) else {
        return String::new();
    };
    let Some(ListValue::Action(action)) = &hit.value else { panic!("{line}: {hit:?}") };
    let code = action.enhanced.map(|[a, b, c]| format!("{a}.{b}.{c} ")).unwrap_or_default();
    let verb = match format!("{:?}", action.verb).to_ascii_uppercase().as_str() {
        "REMOVE" => "IGNORE".to_owned(),
        verb => verb.to_owned(),
    };
    format!("{verb} {code}{}", action.expand(&hit.captures)).trim_end().to_owned()
}

/// None if this Postfix can't read such a table.
fn postmap(location: &str, line: &str) -> Option<String> {
    let out = Command::new("/usr/sbin/postmap").args(["-q", line, location]).output().unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    if errors.contains("unsupported dictionary type") {
        return None;
    }
    assert!(errors.is_empty(), "{line}: {errors}");
    Some(String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
    path
}

fn agree(format: &str, table: &str, lines: &[&str]) {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let location = format!("{format}:{}", write(dir.path(), "checks", table).display());
    let list = list(&location).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    let mut found = 0;
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let Some(theirs) = postmap(&location, line) else {
            eprintln!("skipped: this Postfix has no {format}: (package postfix-{format})");
            return;
        };
        assert_eq!(ours(&list, line), theirs, "{line}");
        found += usize::from(!theirs.is_empty());
    }
    assert!(found > 5 && found < lines.len(), "{found} of {} lines", lines.len());
}

#[test]
fn tables_of_pcre_say_what_postmap_says() {
    agree("pcre", TABLE, LINES);
}

#[test]
fn tables_of_regexp_say_what_postmap_says() {
    agree("regexp", POSIX_TABLE, POSIX_LINES);
}

/// Rule sets that others published: each loads, or is refused with a line and a remedy, and
/// says what `postmap` says of a header's lines.
#[test]
fn tables_of_others_are_read_as_they_are() {
    let Some(corpora) = std::env::var_os("GATEPOST_CORPORA") else {
        eprintln!("skipped: GATEPOST_CORPORA names no folder of tables");
        return;
    };
    let folder = Path::new(&corpora).join("header-checks");
    let lines = [
        "Subject: hello",
        "To: ifttt-mail@domain.example",
        "From: notifications@github.com",
        "From: x@annoyingspammer.com",
        "Received: from a (b [127.0.0.1]) by c with ESMTPSA id 1",
        "Received: from a by b (amavisd-new)",
        "X-Originating-IP: [192.0.2.1]",
        "Mime-Version: 1.0 (Mac OS X)",
        "Message-Id: <a@b>",
        "Message-ID: <a@b>",
        "X-PHP-Originating-Script: 1001:Sendmail.php",
        "User-Agent: Mutt",
    ];
    for (name, is_fine) in [
        ("parseword__mail-config/postfix/header_checks", true),
        ("parseword__mail-config/postfix/outgoing_header_checks", true),
        ("docker-mailserver__docker-mailserver/target/postfix/sender_header_filter.pcre", true),
        ("thytetgc__PMG/header_checks", true),
        // Rewrites commands, and is no table of actions.
        ("iredmail__iRedMail/samples/postfix/command_filter.pcre", false),
    ] {
        let location = format!("pcre:{}", folder.join(name).display());
        match list(&location) {
            Ok(list) => {
                assert!(is_fine, "{name}");
                for line in lines {
                    let Some(theirs) = (if skipped() { None } else { postmap(&location, line) }) else {
                        break;
                    };
                    let theirs = theirs.split_whitespace().collect::<Vec<_>>().join(" ");
                    assert_eq!(ours(&list, line), theirs, "{name}: {line}");
                }
            }
            Err(mistakes) => {
                assert!(!is_fine, "{name}: {mistakes:?}");
                assert!(
                    mistakes.iter().all(|it| it.place.is_some() && it.message.contains('`')),
                    "{mistakes:?}"
                );
            }
        }
    }
}

/// Two mail servers: one has the table, the other asks us, who have it.
#[test]
fn mail_fares_as_with_postfix_itself() {
    let table = r#"
/^Subject: refuse/          REJECT 5.7.1 not this
/^Subject: later/           REJECT 4.7.1 not now
/^Subject: hold/            HOLD look
/^Subject: gone/            DISCARD away
/^Subject: elsewhere/       REDIRECT carol@test.example
/^X-Mailer:/                IGNORE
/^X-Strip: (.*)$/           STRIP $1
/^X-Same: (.*)$/            REPLACE X-Same: new $1
if /^X-Late:/
!/ fine$/                   REJECT 5.7.2 not fine
/./                         DUNNO
endif
/^Received: from a.*\n.*by b/  REPLACE Received: two lines
/^Subject: dunno/           OK
/^Subject:/                 WARN seen
/^X-Copy:/                  BCC carol@test.example
/^X-Up: (.*)$/              PREPEND X-Above: $1
/^X-Name: (.*)$/            REPLACE X-Other: $1
"#;
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = write(dir.path(), "checks", table);
    let location = format!("pcre:{}", path.display());
    if postmap(&location, "X: y").is_none() {
        eprintln!("skipped: this Postfix has no pcre: (package postfix-pcre)");
        return;
    }
    let empty = "rules:\n  - {name: none, when: {header: {X-None: present}}, then: {log: none}}\n";
    let theirs = Rig::with_main(empty, &format!("header_checks = {location}\n"));
    let rules = format!(
        "lists:\n  checks: {{of: header, to: action, file: \"{location}\"}}\nrules:\n\
         \x20 - {{name: checks, when: {{header: {{in: checks}}}}, then: as_listed}}\n"
    );
    let (Some(theirs), Some(ours)) = (theirs, Rig::start(&rules)) else { return };
    for (fields, code) in [
        ("Subject: refuse me\r\n", 550),
        ("Subject: later\r\n", 451),
        ("Subject: plain\r\nX-Late: fine\r\n", 250),
        ("Subject: plain\r\nX-Late: bad\r\n", 550),
        ("X-Mailer: a\r\nX-Other: b\r\nX-Mailer: c\r\nSubject: x\r\nx-same: 1\r\nX-Same: 2\r\n", 250),
        ("X-Strip: a\r\nX-Strip: b\r\nX-Mailer: c\r\nX-Strip: d\r\n", 250),
        ("Received: from a\r\n\tid 1 by b\r\nX-Z: 1\r\nReceived: from a by b\r\n", 250),
        ("Subject: dunno\r\n", 250),
        ("Subject: elsewhere\r\n", 250),
        ("X-Copy: 1\r\n", 250),
        ("X-A: 1\r\nX-Up: 1\r\nX-Mailer: 1\r\nX-Up: 2\r\nX-B: 1\r\n", 250),
        ("X-Mailer: 1\r\nX-Up: 1\r\nX-Name: a\r\nX-Strip: 1\r\nX-Up: 2\r\nX-Name: b\r\nX-B: 1\r\n", 250),
    ] {
        let mail = format!("From: {ALICE}\r\n{fields}To: {BOB}\r\n\r\nHello.\r\n");
        let mut seen = Vec::new();
        for rig in [&theirs, &ours] {
            let before = rig.sink.count();
            let answer = rig.send(&mail);
            answer.expect(code);
            if code != 250 {
                continue;
            }
            rig.postfix.wait_empty();
            let found = rig.sink.messages(rig.sink.count()).split_off(before);
            let is_own = |name: &str, value: &str| name == "Received" && value.contains("mx.test.example");
            let mut recipients: Vec<_> =
                found.iter().flat_map(|message| message.recipients.clone()).collect();
            recipients.sort();
            let mut headers = found.into_iter().next().unwrap().headers;
            headers.retain(|(name, value)| !is_own(name, value) && name != "Message-Id" && name != "Date");
            seen.push((recipients, headers));
        }
        if let [theirs, ours] = seen.as_slice() {
            assert_eq!(ours, theirs, "{fields}");
        }
    }
    for (rig, log) in [(&theirs, "hold: header"), (&ours, "milter-hold")] {
        let before = rig.sink.count();
        rig.send(&format!("From: {ALICE}\r\nSubject: hold\r\n\r\nHello.\r\n")).expect(250);
        rig.postfix.wait_log(log);
        rig.send(&format!("From: {ALICE}\r\nSubject: gone\r\n\r\nHello.\r\n")).expect(250);
        rig.postfix.wait_log("discard");
        assert_eq!(rig.sink.count(), before);
    }
}
