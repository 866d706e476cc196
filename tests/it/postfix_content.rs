//! Real files on their way through a real Postfix, with the rules that we ship enforced:
//! what the client is told, and what passes.

use crate::rig::*;
use data_encoding::BASE64_MIME;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Clients of the rig are strangers.
const STRANGERS: &str =
    "local: {networks: [192.0.2.0/24], hostnames: [mx.test.example]}\nenforce: [10-test.yaml]";

fn shipped() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy.d/70-content.yaml");
    fs::read_to_string(path).unwrap()
}

/// The smallest program that Windows would look at: headers, and no section.
fn program() -> Vec<u8> {
    let mut bytes = vec![0; 0x200];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3C] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x84..0x86].copy_from_slice(&[0x4C, 0x01]);
    bytes[0x94] = 0xE0;
    bytes[0x96] = 0x02;
    bytes[0x98..0x9A].copy_from_slice(&[0x0B, 0x01]);
    bytes
}

/// An archive by Info-ZIP of these files.
fn zip(options: &[&str], files: &[(&str, &[u8])]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let names = files.iter().map(|(name, _)| *name);
    let mut zip = Command::new("zip");
    zip.args(options).args(["-q", "out.zip"]).args(names).current_dir(folder.path());
    assert!(zip.status().unwrap().success());
    fs::read(folder.path().join("out.zip")).unwrap()
}

fn mail(name: &str, media_type: &str, bytes: &[u8]) -> String {
    format!(
        "From: alice@sender.example\r\nSubject: a file\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nsee file\r\n--b\r\n\
         Content-Type: {media_type}\r\nContent-Disposition: attachment; filename=\"{name}\"\r\n\
         Content-Transfer-Encoding: base64\r\n\r\n{}--b--\r\n",
        BASE64_MIME.encode(bytes)
    )
}

fn no_zip() -> bool {
    let missing = Command::new("zip").arg("-v").output().is_err();
    if missing {
        eprintln!("skipped: zip is not installed");
    }
    missing
}

#[test]
fn a_program_is_found_under_any_name_and_in_archives_within_each_other() {
    if no_zip() {
        return;
    }
    let Some(rig) = Rig::configured(&shipped(), STRANGERS) else { return };
    let mut client = rig.client();
    let mut send = |name: &str, media_type: &str, bytes: &[u8]| {
        client.deliver(ALICE, &[BOB], &mail(name, media_type, bytes))
    };
    send("photo.jpg", "image/jpeg", &program())
        .expect_text(550, "5.7.1 photo.jpg is a program (executable); put it on a web server");
    send("setup.exe", "application/octet-stream", b"text").expect_text(550, "setup.exe is a program");
    send("invoice.pdf.exe", "application/pdf", b"text").expect_text(550, "hides what the file is");

    let inner = zip(&[], &[("run.exe", &program()), ("read.me", b"hello")]);
    let outer = zip(&[], &[("inner.zip", &inner)]);
    send("outer.zip", "application/zip", &outer)
        .expect_text(550, "run.exe in inner.zip in outer.zip is a program");
    let renamed = zip(&[], &[("photo.jpg", &program())]);
    send("photos.zip", "application/zip", &renamed).expect_text(550, "photo.jpg in photos.zip is a program");
    let lone = zip(&[], &[("invoice.js", b"WScript.Echo(1)")]);
    send("invoice.zip", "application/zip", &lone).expect_text(550, "invoice.js in invoice.zip is a script");
    assert_eq!(rig.sink.count(), 0);
}

#[test]
fn what_is_locked_or_has_macros_is_held_and_what_is_clean_arrives() {
    if no_zip() {
        return;
    }
    let Some(rig) = Rig::configured(&shipped(), STRANGERS) else { return };
    let mut client = rig.client();
    let page = zip(&[], &[("index.html", b"<html></html>"), ("app.js", b"let a = 1"), ("a.css", b"p {}")]);
    client.deliver(ALICE, &[BOB], &mail("site.zip", "application/zip", &page)).expect(250);
    client.deliver(ALICE, &[BOB], &mail("figures.2026.csv", "text/csv", b"a,b\r\n1,2\r\n")).expect(250);
    assert_eq!(rig.sink.messages(2).len(), 2);

    let locked = zip(&["-P", "secret"], &[("letter.txt", b"hello")]);
    client.deliver(ALICE, &[BOB], &mail("letter.zip", "application/zip", &locked)).expect(250);
    rig.gatepost.wait_log("letter.zip needs a password");
    assert_eq!(rig.postfix.held().recipients.len(), 1);
}

#[test]
fn a_document_with_macros_is_held() {
    if no_zip() {
        return;
    }
    let Some(rig) = Rig::configured(&shipped(), STRANGERS) else { return };
    let types = b"<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\"/>";
    let macros = zip(&[], &[("[Content_Types].xml", types), ("vbaProject.bin", b"macro")]);
    let media_type = "application/vnd.ms-word.document.macroEnabled.12";
    rig.client().deliver(ALICE, &[BOB], &mail("offer.docm", media_type, &macros)).expect(250);
    rig.gatepost.wait_log("offer.docm from a stranger");
    rig.postfix.held();
    assert_eq!(rig.sink.count(), 0);
}
