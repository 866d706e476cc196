//! Signed mail, our own and that of others, from files.

use super::*;
use crate::dns::Resolver;
use crate::dns::Zone;
use crate::message::Message;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// When it is, in seconds: behind all of the signatures.
const NOW: u64 = 1_800_000_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/signed")
}

fn resolver() -> Resolver {
    let text = fs::read_to_string(folder().join("zone")).unwrap();
    Resolver::of_zone(Zone::parse(&text).unwrap())
}

fn message(name: &str) -> Message {
    Message::from_eml(&fs::read(folder().join(format!("{name}.eml"))).unwrap())
}

fn told(signatures: &[DkimSignature]) -> Vec<String> {
    let each = signatures.iter();
    each.map(|one| format!("{} {} {}", one.domain, one.result.word(), one.reason).trim_end().to_owned())
        .collect()
}

#[tokio::test]
async fn a_signature_holds_or_says_why_not() {
    let resolver = resolver();
    for (name, expected) in [
        ("relaxed", "pass"),
        ("simple", "pass"),
        ("mixed", "pass"),
        ("ed25519", "pass"),
        ("blank-tail", "pass"),
        ("subdomain", "pass"),
        ("strict-key", "pass"),
        ("length-whole", "pass"),
        ("length-part", "policy it signs only a part of the body"),
        ("body-changed", "fail the body was changed"),
        ("subject-changed", "fail its header was changed, or its key is another"),
        ("from-added", "fail its header was changed, or its key is another"),
        ("sha1", "permerror rsa-sha1 proves nothing any more"),
        ("short-key", "permerror its key has less than 1024 bits"),
        ("long-key", "permerror its key has more than 8192 bits"),
        ("key-absent", "permerror there is no such key"),
        ("key-gone", "permerror its key was withdrawn"),
        ("key-garbled", "permerror its key can't be read"),
        ("key-nomail", "permerror its key is not for mail"),
        ("key-sha1only", "permerror its key is not for SHA-256"),
        ("key-broken", "temperror the DNS can't say what its key is"),
        ("key-slow", "temperror nobody answers what its key is"),
        ("strict-key-subdomain", "permerror its key is not for subdomains"),
        ("no-from", "permerror it does not sign the field From"),
        ("user-elsewhere", "permerror its user is of another domain"),
        ("expired", "neutral it has expired"),
        ("no-version", "neutral it is of no known version"),
    ] {
        let message = message(name);
        let found = verify_dkim(message.signed().unwrap(), &resolver, NOW).await;
        assert_eq!(told(&found), [format!("signer.example {expected}")], "{name}");
    }
    for name in ["bad-base64", "version-2"] {
        let message = message(name);
        let found = verify_dkim(message.signed().unwrap(), &resolver, NOW).await;
        assert_eq!(told(&found), [" neutral it can't be read"], "{name}");
    }
    let one = fs::read_to_string(folder().join("relaxed.eml")).unwrap();
    for (tag, expected) in [
        ("d=other.example", [" neutral it can't be read"]),
        ("t=1", [" neutral it can't be read"]),
        ("note=1", ["signer.example fail its header was changed, or its key is another"]),
    ] {
        let more = one.replacen(" b=", &format!(" {tag}; b="), 1);
        let message = Message::from_eml(more.as_bytes());
        let found = verify_dkim(message.signed().unwrap(), &resolver, NOW).await;
        assert_eq!(told(&found), expected, "{tag}");
    }
    let message = message("two");
    let found = verify_dkim(message.signed().unwrap(), &resolver, NOW).await;
    assert_eq!(told(&found), ["lists.example pass", "signer.example pass"]);
    assert_eq!((found[0].selector.as_str(), found[0].prefix.len()), ("list", 8));
}

#[tokio::test]
async fn a_chain_holds_or_says_why_not() {
    let resolver = resolver();
    for (name, expected) in [
        ("relaxed", "none"),
        ("arc-one", "pass by lists.example"),
        ("arc-two", "pass by forwarder.example lists.example"),
        ("arc-changed", "fail: the body was changed since it was last forwarded"),
        ("arc-two-seal-changed", "fail: its header was changed, or its key is another"),
        ("arc-hole", "fail: a set of it is missing, or there twice"),
        ("arc-failed", "fail: one of its forwarders found it broken"),
    ] {
        let message = message(name);
        let chain = verify_arc(message.signed().unwrap(), &resolver, NOW).await;
        let mut found = chain.result.word().to_owned();
        if !chain.sealers.is_empty() {
            found += &format!(" by {}", chain.sealers.join(" "));
        }
        if !chain.reason.is_empty() {
            found += &format!(": {}", chain.reason);
        }
        assert_eq!(found, expected, "{name}");
    }
}

#[tokio::test]
async fn thousands_of_signatures_are_bounded_work() {
    let one = fs::read_to_string(folder().join("relaxed.eml")).unwrap();
    let (field, rest) = one.split_once("\nReceived:").unwrap();
    let many = format!("{}Received:{rest}", format!("{field}\n").repeat(1_500));
    let message = Message::from_eml(many.as_bytes());
    let found = verify_dkim(message.signed().unwrap(), &resolver(), NOW).await;
    assert_eq!(told(&found), ["signer.example pass"; crate::message::MAX_SIGNATURES]);
    let named = one.replacen("h=from : to", &format!("h={}from", "a : ".repeat(501)), 1);
    let message = Message::from_eml(named.as_bytes());
    let found = verify_dkim(message.signed().unwrap(), &resolver(), NOW).await;
    assert_eq!(told(&found), ["signer.example policy it names more header fields than are looked for"]);
    let large = format!("{}{one}", "X: y\n".repeat(2_001));
    let message = Message::from_eml(large.as_bytes());
    assert!(message.limits());
    assert_eq!(verify_dkim(message.signed().unwrap(), &resolver(), NOW).await, []);
}

/// Mail that others collected, where it is at hand.
fn corpora() -> Option<PathBuf> {
    let folder = std::env::var_os("GATEPOST_CORPORA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: GATEPOST_CORPORA names no folder of mail");
    }
    folder
}

/// The messages with their keys that come with mail-auth: the zone, an empty line, the
/// message.
#[tokio::test]
async fn the_messages_of_mail_auth_hold() {
    let Some(corpora) = corpora() else { return };
    let (mut files, mut wrong) = (0, Vec::new());
    for kind in ["dkim", "arc"] {
        let folder = corpora.join("mail-auth-stalwart/resources").join(kind);
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let text = fs::read(entry.path()).unwrap();
            let text = String::from_utf8(text).unwrap();
            let Some((zone, eml)) = text.split_once("\n\n") else { continue };
            files += 1;
            let records = zone.lines().filter_map(|line| line.split_once(' '));
            let records =
                records.map(|(name, key)| format!("{name} TXT \"{}\"", key.trim().replace('"', "")));
            let zone = Zone::parse(&records.collect::<Vec<_>>().join("\n")).unwrap();
            let message = Message::from_eml(eml.as_bytes());
            let resolver = Resolver::of_zone(zone);
            let signed = message.signed().unwrap();
            let found = verify_dkim(signed, &resolver, 0).await;
            let chain = verify_arc(signed, &resolver, 0).await;
            let holds = match kind {
                "arc" => chain.result == ArcResult::Pass,
                _ => found.iter().any(|one| one.result == DkimResult::Pass),
            };
            if !holds {
                wrong.push(format!("{}: {:?} {chain:?}", entry.path().display(), told(&found)));
            }
        }
    }
    eprintln!("{} of {files} hold", files - wrong.len());
    assert_eq!(wrong, Vec::<String>::new());
}

/// Signed mail of others, with keys that lie beside it: whose they are only some folders say, so
/// each is tried for each signature.
#[tokio::test]
async fn signed_mail_of_others_holds() {
    let Some(corpora) = corpora() else { return };
    let text = |path: &str| fs::read_to_string(corpora.join(path)).unwrap();
    let (dkimpy, mailauth) = ("dkimpy/dkim/tests/data", "mailauth-node/test/dkim/ec/fixtures");
    let mut keys = ["eximtest.dns", "ed25519test.dns"].map(|file| text(&format!("{dkimpy}/{file}"))).to_vec();
    let records: serde_json::Value = serde_json::from_str(&text(&format!("{mailauth}/dns.json"))).unwrap();
    for record in records.as_object().unwrap().values() {
        let parts = record["TXT"][0].as_array().unwrap().iter();
        keys.push(parts.map(|part| part.as_str().unwrap()).collect());
    }
    for (path, expected) in [
        (format!("{mailauth}/signed.eml"), 2),
        (format!("{dkimpy}/rfc6376.signed.msg"), 2),
        (format!("{dkimpy}/rfc6376.signed.rsa.msg"), 1),
        (format!("{dkimpy}/ed25519test2.msg"), 1),
    ] {
        let message = Message::from_eml(&fs::read(corpora.join(&path)).unwrap());
        let mut held = 0;
        for key in &keys {
            let zone = format!("*.com TXT \"{0}\"\n*.ex TXT \"{0}\"", key.trim());
            let resolver = Resolver::of_zone(Zone::parse(&zone).unwrap());
            let found = verify_dkim(message.signed().unwrap(), &resolver, 0).await;
            held += found.iter().filter(|signature| signature.result == DkimResult::Pass).count();
        }
        assert_eq!(held, expected, "{path}");
    }
}
