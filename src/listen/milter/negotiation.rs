//! What Postfix is asked for when a session begins: options and macros.
//!
//! `unknown` commands are never asked for: indymilter would leave one in a
//! transaction without the reply Postfix waits for.

use crate::desk::MacroNames;
use crate::desk::MilterNeeds;
use indymilter::MacroStage;
use indymilter::ProtoOpts;
use smallvec::SmallVec;
use std::ffi::CString;

/// CONNECT, MAIL, RCPT and DATA are always asked and always answered: with
/// no-reply Postfix would run ahead of us, and the order of what both protocols
/// say of a session would be lost.
pub(super) fn wanted_options(needs: MilterNeeds, offered: ProtoOpts) -> ProtoOpts {
    let mut wanted = ProtoOpts::REJECTED_RCPT | ProtoOpts::LEADING_SPACE | ProtoOpts::NO_UNKNOWN;
    if !needs.helo {
        wanted |= ProtoOpts::NO_HELO;
    }
    wanted |= match needs.headers {
        true => ProtoOpts::NOREPLY_HEADER | ProtoOpts::NOREPLY_EOH,
        false => ProtoOpts::NO_HEADER | ProtoOpts::NO_EOH,
    };
    wanted |= match needs.body {
        true => ProtoOpts::NOREPLY_BODY,
        false => ProtoOpts::NO_BODY,
    };
    wanted & offered
}

/// A list replaces Postfix's own for its stage, so what we need ourselves is
/// in it: the queue id, and what tells a rejected recipient.
pub(super) fn wanted_macros(names: &MacroNames) -> Vec<(MacroStage, CString)> {
    let recipient = ["i", "rcpt_addr", "rcpt_host", "rcpt_mailer"];
    let stages: [(MacroStage, &[&str], &[&str]); 6] = [
        (MacroStage::Connect, &[], &names.connect),
        (MacroStage::Helo, &[], &names.helo),
        (MacroStage::Mail, &[], &names.mail),
        (MacroStage::Rcpt, &recipient, &names.rcpt),
        (MacroStage::Data, &["i"], &names.data),
        (MacroStage::Eom, &["i"], &names.end_of_message),
    ];
    let mut wanted = Vec::new();
    for (stage, ours, theirs) in stages {
        let mut list: Vec<&str> = Vec::new();
        for name in ours.iter().chain(theirs) {
            if !list.contains(name) {
                list.push(name);
            }
        }
        let list: Vec<_> = list.into_iter().map(macro_name).collect();
        if let Ok(text) = CString::new(list.join(&b' '))
            && !text.is_empty()
        {
            wanted.push((stage, text));
        }
    }
    wanted
}

/// One letter stands alone, more are in braces. Mostly without the heap: a dozen of
/// them are asked for each mail.
pub(super) fn macro_name(name: &str) -> SmallVec<[u8; 32]> {
    let (open, close) = if name.len() == 1 { ("", "") } else { ("{", "}") };
    [open, name, close].into_iter().flat_map(str::bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_follow_the_needs() {
        let always = ProtoOpts::REJECTED_RCPT | ProtoOpts::LEADING_SPACE | ProtoOpts::NO_UNKNOWN;
        let none = ProtoOpts::NO_HELO | ProtoOpts::NO_HEADER | ProtoOpts::NO_EOH | ProtoOpts::NO_BODY;
        let quiet = ProtoOpts::NOREPLY_HEADER | ProtoOpts::NOREPLY_EOH | ProtoOpts::NOREPLY_BODY;
        let needs = |helo, headers, body| MilterNeeds { helo, headers, body };
        for (needs, expected) in [
            (needs(false, false, false), none),
            (needs(true, true, true), quiet),
            (
                needs(true, true, false),
                ProtoOpts::NOREPLY_HEADER | ProtoOpts::NOREPLY_EOH | ProtoOpts::NO_BODY,
            ),
            (needs(true, false, true), ProtoOpts::NO_HEADER | ProtoOpts::NO_EOH | ProtoOpts::NOREPLY_BODY),
        ] {
            assert_eq!(wanted_options(needs, ProtoOpts::all()), always | expected, "{needs:?}");
        }
        assert_eq!(wanted_options(needs(true, true, true), ProtoOpts::empty()), ProtoOpts::empty());
    }

    #[test]
    fn macros_are_listed_once_and_in_braces() {
        let names = MacroNames {
            mail: vec!["auth_authen", "i"],
            rcpt: vec!["client_port", "i"],
            ..MacroNames::default()
        };
        let wanted: Vec<_> = wanted_macros(&names)
            .into_iter()
            .map(|(stage, list)| (stage, list.into_string().unwrap()))
            .collect();
        assert_eq!(
            wanted,
            [
                (MacroStage::Mail, "{auth_authen} i".to_owned()),
                (MacroStage::Rcpt, "i {rcpt_addr} {rcpt_host} {rcpt_mailer} {client_port}".to_owned()),
                (MacroStage::Data, "i".to_owned()),
                (MacroStage::Eom, "i".to_owned()),
            ]
        );
    }
}
