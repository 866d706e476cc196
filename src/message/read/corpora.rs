//! Mail that others collected or made, where it is at hand: what was hidden in it is
//! found, or the message is flagged; clean mail is not.

use crate::content;
use crate::content::Given;
use crate::message::Message;
use crate::message::read::evasion::is_held;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// The beginning of an archive whose first file is called so.
const ZIP: &[u8] = b"PK\x03\x04";
const ZIPPED: &[u8] = b"eicar.com";

fn corpora() -> Option<PathBuf> {
    let corpora = std::env::var_os("GATEPOST_CORPORA");
    if corpora.is_none() {
        eprintln!("skipped: GATEPOST_CORPORA names no folder of mail");
    }
    corpora.map(PathBuf::from)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// The message, and whether an archive was handed over to be looked into.
fn look(eml: &[u8]) -> (Message, bool) {
    let mut has_zip = false;
    let message = Message::from_eml_with(eml, &mut |given: Given<'_>, wants, budget, files| {
        let name = given.bytes.get(30..).is_some_and(|rest| rest.starts_with(ZIPPED));
        has_zip |= given.bytes.starts_with(ZIP) && name;
        content::examine(given, wants, budget, files);
    });
    (message, has_zip)
}

fn payload(eml: &[u8]) -> String {
    let text = String::from_utf8_lossy(eml);
    let line = text.lines().find_map(|line| line.strip_prefix("X-Payload-Id: "));
    line.unwrap_or_default().split("  md5").next().unwrap_or_default().to_owned()
}

#[test]
fn whatever_is_hidden_is_found_or_flagged() {
    let Some(corpora) = corpora() else { return };
    let mut all_silent = Vec::new();
    for (folder, by_name) in [("hide-content.d", false), ("hide-filename.d", true)] {
        let (mut all, mut found, mut silent) = (0, 0, Vec::new());
        for file in files_below(&corpora.join("mime-is-broken").join(folder)) {
            let eml = fs::read(&file).unwrap();
            let (message, has_zip) = look(&eml);
            let has_name =
                message.files().any(|(file, _)| file.names.iter().any(|name| name.contains(".zip")));
            // Two of them hide nothing.
            if payload(&eml).contains(".png ") {
                continue;
            }
            let is_found = if by_name { has_name } else { has_zip };
            all += 1;
            found += usize::from(is_found);
            if std::env::var_os("SHOW").is_some() {
                let words: Vec<_> = message.tricks().iter().map(|trick| trick.word()).collect();
                eprintln!("{} {} {words:?}", if is_found { "FOUND" } else { "LOST " }, payload(&eml));
            }
            if !is_found && !message.tricks().iter().any(|trick| is_held(*trick)) {
                silent.push(payload(&eml));
            }
        }
        eprintln!("{folder}: {found} of {all} found outright");
        all_silent.append(&mut silent);
    }
    assert_eq!(all_silent, [""; 0]);
}

/// Mail that tests of other programs have: some of it is odd on purpose.
#[test]
fn what_other_programs_try_is_told() {
    let Some(corpora) = corpora() else { return };
    for folder in FOLDERS {
        let (mut all, mut flagged) = (0, 0);
        for file in files_below(&corpora.join(folder)) {
            let message = Message::from_eml(&fs::read(&file).unwrap());
            let words: Vec<_> = message.tricks().iter().map(|trick| trick.word()).collect();
            all += 1;
            if !words.is_empty() {
                flagged += 1;
                eprintln!("{}: {words:?}", file.strip_prefix(&corpora).unwrap().display());
            }
        }
        eprintln!("{folder}: {flagged} of {all} flagged");
    }
}

const FOLDERS: &[&str] = &[
    "cyrus-imapd",
    "dkimpy",
    "email-mime-perl",
    "enmime",
    "flufl.bounce",
    "gmime",
    "haraka",
    "kmime",
    "mail-auth-stalwart",
    "mail-parser-stalwart",
    "mailauth-node",
    "python-email-testsuite",
    "spamassassin-spam",
];

#[test]
fn clean_mail_is_not_flagged() {
    let Some(corpora) = corpora() else { return };
    let mut words: BTreeMap<&str, usize> = BTreeMap::new();
    let (mut all, mut flagged) = (0, 0);
    let files = files_below(&corpora.join("spamassassin-ham"));
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "eml")) {
        let message = Message::from_eml(&fs::read(file).unwrap());
        all += 1;
        if message.tricks().is_empty() {
            continue;
        }
        flagged += 1;
        let found: Vec<_> = message.tricks().iter().map(|trick| trick.word()).collect();
        found.iter().for_each(|word| *words.entry(word).or_default() += 1);
        eprintln!("{}: {found:?}", file.file_name().unwrap().display());
    }
    eprintln!("{flagged} of {all} flagged: {words:?}");
    assert!(flagged * 1_000 <= all);
}
