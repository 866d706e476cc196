//! The closed sets that labels are taken from. A label whose values strangers
//! could choose would let them fill the memory of whoever scrapes us.

use crate::reply::MilterAnswer;
use crate::reply::PolicyAction;

/// An enum with its words: as an index for counters, as a value for labels.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum $name { $($variant,)+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant,)+];
            pub const WORDS: &[&str] = &[$($word,)+];

            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            pub const fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// By which protocol we were asked.
    Interface { Milter => "milter", Policy => "policy", }
}

label! {
    /// At which step of SMTP.
    Stage {
        Connect => "connect",
        Helo => "helo",
        Mail => "mail",
        Rcpt => "rcpt",
        Data => "data",
        Message => "message",
        // VRFY, ETRN and what is not known.
        Other => "other",
    }
}

label! {
    /// What was answered, in the words of access(5); the milter's in the same.
    Action {
        Accept => "accept",
        Bcc => "bcc",
        Defer => "defer",
        DeferIfPermit => "defer_if_permit",
        Discard => "discard",
        Dunno => "dunno",
        Filter => "filter",
        Hold => "hold",
        Info => "info",
        Ok => "ok",
        Prepend => "prepend",
        Redirect => "redirect",
        Reject => "reject",
        Warn => "warn",
    }
}

label! {
    /// What became of a message or a recipient.
    Verdict {
        Aborted => "aborted",
        Accept => "accept",
        Defer => "defer",
        Discard => "discard",
        Hold => "hold",
        Reject => "reject",
    }
}

label! {
    Direction { Bounce => "bounce", Inbound => "inbound", Local => "local", Outbound => "outbound", }
}

label! {
    /// What became of a question to the DNS.
    DnsResult {
        Cache => "cache",
        Found => "found",
        Full => "full",
        GivenUp => "given_up",
        Malformed => "malformed",
        NoName => "no_name",
        NoRecord => "no_record",
        Refused => "refused",
        ServFail => "servfail",
        Timeout => "timeout",
    }
}

label! {
    /// Why something passed that the rules could not be asked about.
    FailOpen {
        Deadline => "deadline",
        Dns => "dns",
        Full => "full",
        Internal => "internal",
        Limits => "limits",
        Overload => "overload",
        Store => "store",
        Timeout => "timeout",
    }
}

label! {
    /// Whether a rule's hit took effect.
    Mode { Enforce => "enforce", Observe => "observe", }
}

label! {
    /// How reading something again went.
    Reload { Failed => "failed", Ok => "ok", }
}

label! {
    /// The files that keep the state.
    StateFile { Journal => "journal", Snapshot => "snapshot", }
}

impl Stage {
    /// The step by its name in the policy protocol (`protocol_state`), in any case.
    pub fn of_protocol_state(state: &str) -> Self {
        let known = [
            ("RCPT", Self::Rcpt),
            ("END-OF-MESSAGE", Self::Message),
            ("DATA", Self::Data),
            ("MAIL", Self::Mail),
            ("EHLO", Self::Helo),
            ("HELO", Self::Helo),
            ("CONNECT", Self::Connect),
        ];
        let found = known.iter().find(|(name, _)| name.eq_ignore_ascii_case(state));
        found.map_or(Self::Other, |(_, stage)| *stage)
    }
}

impl From<&PolicyAction> for Action {
    fn from(action: &PolicyAction) -> Self {
        match action {
            PolicyAction::Bcc(_) => Self::Bcc,
            PolicyAction::Defer(_) => Self::Defer,
            PolicyAction::DeferIfPermit(_) => Self::DeferIfPermit,
            PolicyAction::Discard(_) => Self::Discard,
            PolicyAction::Dunno => Self::Dunno,
            PolicyAction::Filter(_) => Self::Filter,
            PolicyAction::Hold(_) => Self::Hold,
            PolicyAction::Info(_) => Self::Info,
            PolicyAction::Ok => Self::Ok,
            PolicyAction::Prepend { .. } => Self::Prepend,
            PolicyAction::Redirect(_) => Self::Redirect,
            PolicyAction::Reject(_) => Self::Reject,
            PolicyAction::Warn(_) => Self::Warn,
        }
    }
}

impl From<&MilterAnswer> for Action {
    fn from(answer: &MilterAnswer) -> Self {
        match answer {
            MilterAnswer::Accept => Self::Accept,
            // "Go on" in either protocol, so that a sum over both means something.
            MilterAnswer::Continue => Self::Dunno,
            MilterAnswer::Discard => Self::Discard,
            MilterAnswer::Reject(_) => Self::Reject,
            MilterAnswer::Tempfail(_) => Self::Defer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Reply;

    #[test]
    fn actions_are_called_as_in_replies() {
        let reply = || Reply::new(550, [5, 7, 1], "no");
        for action in [
            PolicyAction::Bcc(String::new()),
            PolicyAction::Defer(reply()),
            PolicyAction::DeferIfPermit(reply()),
            PolicyAction::Discard(String::new()),
            PolicyAction::Dunno,
            PolicyAction::Filter(String::new()),
            PolicyAction::Hold(String::new()),
            PolicyAction::Info(String::new()),
            PolicyAction::Ok,
            PolicyAction::Prepend { name: String::new(), value: String::new() },
            PolicyAction::Redirect(String::new()),
            PolicyAction::Reject(reply()),
            PolicyAction::Warn(String::new()),
        ] {
            assert_eq!(Action::from(&action).word(), action.word());
        }
        assert_eq!(Action::from(&MilterAnswer::Tempfail(reply())).word(), "defer");
    }

    #[test]
    fn protocol_states_have_their_stage() {
        for (state, expected) in [
            ("RCPT", "rcpt"),
            ("END-OF-MESSAGE", "message"),
            ("EHLO", "helo"),
            ("HELO", "helo"),
            ("VRFY", "other"),
            ("", "other"),
        ] {
            assert_eq!(Stage::of_protocol_state(state).word(), expected, "{state}");
        }
    }

    #[test]
    fn words_stand_in_the_order_of_their_index() {
        for (index, action) in Action::ALL.iter().enumerate() {
            assert_eq!((action.index(), Action::WORDS[index]), (index, action.word()));
        }
    }
}
