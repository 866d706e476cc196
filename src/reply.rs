//! What goes back to Postfix, in a form that cannot be malformed: a reply whose
//! code and enhanced code agree and whose text is one clean line; a policy
//! action in the exact syntax of access(5); a milter's answer with its edits.
//!
//! Texts hold what strangers sent (senders, HELO names, file names). They pass
//! through [`clean_line`] on their way in here, and nowhere else.

use std::fmt;

/// Postfix cuts a reply at 510 bytes, with its own prefix; RFC 5321 allows 512.
pub const MAX_TEXT_BYTES: usize = 450;

/// One SMTP reply: code, enhanced code (RFC 3463) and one line of text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    pub code: u16,
    pub enhanced: [u16; 3],
    /// Never empty: Postfix before 3.8.16 sends stale memory for an empty one.
    text: String,
}

impl Reply {
    /// `code` is 400 to 599 and `enhanced` begins with its class: the loader
    /// and the callers here see to it, and a slip is put right.
    pub fn new(code: u16, enhanced: [u16; 3], text: &str) -> Self {
        let code = if (400..600).contains(&code) { code } else { 451 };
        let enhanced = [code / 100, enhanced[1], enhanced[2]];
        let mut text = clean_line(text, MAX_TEXT_BYTES);
        if text.is_empty() {
            text.push_str("refused");
        }
        Self { code, enhanced, text }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn is_permanent(&self) -> bool {
        self.code >= 500
    }

    /// `4.7.1`.
    pub fn enhanced_code(&self) -> String {
        let [class, subject, detail] = self.enhanced;
        format!("{class}.{subject}.{detail}")
    }

    /// The same refusal as a temporary one, for what must not be final.
    pub fn temporary(&self) -> Self {
        if !self.is_permanent() {
            return self.clone();
        }
        Self { code: 450, enhanced: [4, self.enhanced[1], self.enhanced[2]], text: self.text.clone() }
    }
}

/// Whether a refusal says that there is no such user: RFC 3463, 3.2, and RFC 7505 for a
/// domain that takes no mail; where codes are temporary or made up, Postfix's words.
/// An address that is still being verified has 4.1.1, and nobody knows yet.
pub fn is_of_unknown_user(enhanced: &str, text: &str) -> bool {
    let words = "user unknown";
    let says_so =
        || text.as_bytes().windows(words.len()).any(|part| part.eq_ignore_ascii_case(words.as_bytes()));
    matches!(enhanced, "5.1.1" | "5.1.10") || says_so()
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.code, self.enhanced_code(), self.text)
    }
}

/// What the policy protocol is told. One action a request: access(5).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum PolicyAction {
    Bcc(String),
    Defer(Reply),
    DeferIfPermit(Reply),
    Discard(String),
    #[default]
    Dunno,
    Filter(String),
    Hold(String),
    Info(String),
    Ok,
    Prepend {
        name: String,
        value: String,
    },
    Redirect(String),
    Reject(Reply),
    Warn(String),
}

impl PolicyAction {
    /// The word for logs and metrics, as in access(5) but in lower case.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Bcc(_) => "bcc",
            Self::Defer(_) => "defer",
            Self::DeferIfPermit(_) => "defer_if_permit",
            Self::Discard(_) => "discard",
            Self::Dunno => "dunno",
            Self::Filter(_) => "filter",
            Self::Hold(_) => "hold",
            Self::Info(_) => "info",
            Self::Ok => "ok",
            Self::Prepend { .. } => "prepend",
            Self::Redirect(_) => "redirect",
            Self::Reject(_) => "reject",
            Self::Warn(_) => "warn",
        }
    }

    /// The whole answer: `action=…`, LF, LF. Never CRLF (Postfix would wait for
    /// the end twice its timeout), never an empty value or bare digits (both
    /// mean *permit*), always a text behind an enhanced code.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        use std::io::Write as _;
        out.extend_from_slice(b"action=");
        // Writing to a Vec cannot fail.
        let _ = match self {
            Self::Dunno => out.write_all(b"DUNNO"),
            Self::Ok => out.write_all(b"OK"),
            Self::Reject(reply) | Self::Defer(reply) => write!(out, "{reply}"),
            Self::DeferIfPermit(reply) => {
                write!(out, "DEFER_IF_PERMIT {} {}", reply.enhanced_code(), reply.text())
            }
            Self::Discard(text) => write_with_text(out, "DISCARD", text),
            Self::Hold(text) => write_with_text(out, "HOLD", text),
            Self::Warn(text) => write_with_text(out, "WARN", text),
            Self::Info(text) => write_with_text(out, "INFO", text),
            Self::Filter(target) => write!(out, "FILTER {}", clean_line(target, MAX_TEXT_BYTES)),
            Self::Redirect(address) => write!(out, "REDIRECT {}", clean_line(address, MAX_TEXT_BYTES)),
            Self::Bcc(address) => write!(out, "BCC {}", clean_line(address, MAX_TEXT_BYTES)),
            Self::Prepend { name, value } => {
                write!(out, "PREPEND {name}: {}", clean_line(value, MAX_HEADER_BYTES))
            }
        };
        out.extend_from_slice(b"\n\n");
    }
}

/// Postfix took 3,000 bytes of PREPEND intact; RFC 5322 asks for lines below 998.
pub const MAX_HEADER_BYTES: usize = 900;

fn write_with_text(out: &mut Vec<u8>, verb: &str, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let text = clean_line(text, MAX_TEXT_BYTES);
    if text.is_empty() { write!(out, "{verb}") } else { write!(out, "{verb} {text}") }
}

/// What the milter protocol is told at the end of an event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum MilterAnswer {
    /// SMFIR_ACCEPT: nothing more is asked. Only where a rule says `permit`.
    Accept,
    #[default]
    Continue,
    Discard,
    /// A 5xx reply.
    Reject(Reply),
    /// A 4xx reply.
    Tempfail(Reply),
}

/// One change to a message, made at its end, in the order given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Edit {
    /// At the end of the header.
    AppendHeader {
        name: String,
        value: String,
    },
    AddRecipient(String),
    /// The occurrence counts from 1 within the headers of that name, as received.
    ChangeHeader {
        name: String,
        occurrence: u32,
        value: String,
    },
    ChangeSender(String),
    DeleteRecipient(String),
    /// Below so many of those that the message has when it is made, not counting Postfix's
    /// own Received.
    InsertHeader {
        below: u32,
        name: String,
        value: String,
    },
    /// Above all others, Postfix's own Received included.
    PrependHeader {
        name: String,
        value: String,
    },
    /// To the hold queue, with a reason.
    Quarantine(String),
    RemoveHeader {
        name: String,
        occurrence: u32,
    },
    ReplaceBody(Vec<u8>),
}

/// The end of a message: the edits, then the answer.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ending {
    pub edits: Vec<Edit>,
    pub answer: MilterAnswer,
}

/// One line that may be sent or logged: control characters, line separators and
/// the characters that reverse the direction of a text become `?`; cut at
/// `max` bytes on a character's border. Runs of blanks stay as they are.
pub fn clean_line(text: &str, max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max));
    for c in text.trim().chars() {
        let c = if is_unsafe(c) { '?' } else { c };
        if clean.len() + c.len_utf8() > max {
            break;
        }
        clean.push(c);
    }
    clean
}

/// Whether a character may end a line, move the cursor or hide what follows.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(action: &PolicyAction) -> String {
        let mut out = Vec::new();
        action.write_to(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_unknown_user_is_told_from_other_refusals() {
        for (enhanced, text, expected) in [
            ("5.1.1", "Recipient address rejected: undeliverable address", true),
            ("4.1.1", "Recipient address rejected: User unknown in local recipient table", true),
            ("5.7.1", "no such person; USER UNKNOWN", true),
            ("5.1.10", "Recipient address has null MX", true),
            (
                "4.1.1",
                "Recipient address rejected: unverified address: Address verification in progress",
                false,
            ),
            ("5.7.1", "Relay access denied", false),
            ("5.1.2", "Recipient address rejected: Domain not found", false),
            ("", "", false),
        ] {
            assert_eq!(is_of_unknown_user(enhanced, text), expected, "{enhanced} {text}");
        }
    }

    #[test]
    fn actions_have_the_exact_syntax() {
        let reply = Reply::new(550, [5, 7, 1], "no\r\nX: y\0");
        let later = Reply::new(450, [4, 7, 1], "later");
        for (action, expected) in [
            (PolicyAction::Dunno, "action=DUNNO\n\n"),
            (PolicyAction::Reject(reply), "action=550 5.7.1 no??X: y?\n\n"),
            (PolicyAction::Defer(later.clone()), "action=450 4.7.1 later\n\n"),
            (PolicyAction::DeferIfPermit(later), "action=DEFER_IF_PERMIT 4.7.1 later\n\n"),
            (PolicyAction::Hold(String::new()), "action=HOLD\n\n"),
            (PolicyAction::Discard("a\tb".into()), "action=DISCARD a?b\n\n"),
            (PolicyAction::Filter("slow:".into()), "action=FILTER slow:\n\n"),
            (
                PolicyAction::Prepend { name: "X-A".into(), value: "b\nY: c".into() },
                "action=PREPEND X-A: b?Y: c\n\n",
            ),
        ] {
            assert_eq!(written(&action), expected);
        }
    }

    #[test]
    fn a_reply_is_never_empty_nor_of_two_classes() {
        assert_eq!(Reply::new(550, [4, 7, 26], " ").to_string(), "550 5.7.26 refused");
        assert_eq!(Reply::new(250, [2, 0, 0], "x").to_string(), "451 4.0.0 x");
        assert_eq!(Reply::new(550, [5, 7, 1], "x").temporary().to_string(), "450 4.7.1 x");
    }

    #[test]
    fn every_control_and_direction_character_is_taken_out() {
        for n in (0..0x20).chain([0x7f, 0x85, 0x2028, 0x202e, 0x2066]) {
            let c = char::from_u32(n).unwrap();
            assert!(!clean_line(&format!("a{c}b"), 450).contains(c), "{n:#x}");
        }
        assert_eq!(clean_line(&"ü".repeat(500), 450).len(), 450);
        assert_eq!(clean_line(&"ü".repeat(500), 451).len(), 450);
    }
}
