//! A message whose signatures and seals are made up, and so are the keys: what stands before the
//! first empty line is a record of the DNS, whatever is asked for.

#![no_main]

use gatepost::auth::AuthenticationResults;
use gatepost::auth::Sender;
use gatepost::auth::author;
use gatepost::auth::evaluate_dmarc;
use gatepost::auth::verify_arc;
use gatepost::auth::verify_dkim;
use gatepost::dns::Answer;
use gatepost::dns::Record;
use gatepost::dns::Resolver;
use gatepost::dns::Zone;
use gatepost::message::Message;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let split = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap_or(0);
    let (record, rest) = bytes.split_at(split);
    let text: String =
        String::from_utf8_lossy(record).chars().filter(|c| !c.is_control() && *c != '"').collect();
    let zone = Zone::parse(&format!("*.test TXT \"{}\"", text.replace('\\', ""))).unwrap_or_default();
    let resolver = Resolver::of_zone(zone);
    let message = Message::from_eml(rest.strip_prefix(b"\n\n").unwrap_or(rest));
    let signed = message.signed().expect("it was asked for");
    RUNTIME.block_on(async {
        let dkim = verify_dkim(signed, &resolver, 1_800_000_000).await;
        let arc = verify_arc(signed, &resolver, 1_800_000_000).await;
        let answer = Answer::Records([Record::Txt(record.into())].into());
        let dmarc = author(&message).ok().and_then(|author| {
            let sender = Sender::Passes("a.test".into());
            evaluate_dmarc(&author, Some(&dkim), Some(&sender), &|_| Some(answer.clone()))
        });
        let results = AuthenticationResults {
            spf: Some(("pass", "mailfrom", &text)),
            dkim: Some(&dkim),
            dmarc: dmarc.as_ref(),
            arc: Some(&arc),
            iprev: None,
        };
        let field = results.field("mx.test");
        assert!(field.len() < 900 && field.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{field:?}");
    });
});
