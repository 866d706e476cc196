//! A rule file: as far as it is YAML and then a policy, its own tests are run;
//! else each mistake is told.

#![no_main]

use gatepost::config::Local;
use gatepost::engine::rehearse;
use gatepost::policy::Options;
use gatepost::policy::load_texts;
use libfuzzer_sys::Corpus;
use libfuzzer_sys::fuzz_target;
use std::path::Path;
use tokio::runtime::Builder;

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(bytes) else { return Corpus::Reject };
    let local = Local {
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        domains: vec!["example.com".into()],
        hostnames: vec!["mx.example.com".into()],
        ..Local::default()
    };
    let options = Options { local, generation: 1, ..Options::default() };
    let nowhere = Path::new("/nonexistent");
    match load_texts(&[("rules.yaml", text)], nowhere, &options) {
        Err(mistakes) => {
            assert!(!mistakes.is_empty(), "refused without a reason");
            assert!(mistakes.iter().all(|mistake| !mistake.to_string().is_empty()));
        }
        Ok(loaded) => {
            loaded.policy.table();
            let runtime = Builder::new_current_thread().enable_time().build().unwrap();
            let rehearsed = runtime.block_on(rehearse(&loaded.policy.as_enforced(), nowhere));
            assert!(rehearsed.failures.iter().all(|failure| !failure.to_string().is_empty()));
        }
    }
    Corpus::Keep
});
