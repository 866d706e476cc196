//! What is sent back over the milter protocol, by means of indymilter: answers
//! with the code their status needs, and edits that were negotiated and are safe.
//!
//! Texts and values may hold what strangers sent; nothing here may let them
//! make a second header, a second line of a reply or a second address.

use crate::reply::Edit;
use crate::reply::MAX_TEXT_BYTES;
use crate::reply::MilterAnswer;
use crate::reply::Reply;
use crate::reply::clean_line;
use crate::wire::milter::bracketed;
use crate::wire::milter::folded;
use crate::wire::milter::header_value;
use crate::wire::milter::is_header_name;
use crate::wire::milter::reply_text;
use indymilter::ActionError;
use indymilter::Actions;
use indymilter::ContextActions;
use indymilter::EomActions;
use indymilter::ProtoOpts;
use indymilter::SetErrorReply;
use indymilter::SmtpReply;
use indymilter::Status;

/// Everything an [`Edit`] can ask for.
pub const ACTIONS: Actions = Actions::ADD_HEADER
    .union(Actions::CHANGE_HEADER)
    .union(Actions::REPLACE_BODY)
    .union(Actions::ADD_RCPT)
    .union(Actions::DELETE_RCPT)
    .union(Actions::QUARANTINE)
    .union(Actions::CHANGE_SENDER);

/// What we asked for of what Postfix offered.
#[derive(Clone, Copy, Debug)]
pub struct Negotiated {
    pub actions: Actions,
    pub options: ProtoOpts,
}

/// The status that fits the reply's code: with another, indymilter would keep
/// the reply for the session's next refusal.
pub fn status(reply: &mut SmtpReply, answer: MilterAnswer) -> Status {
    match answer {
        MilterAnswer::Accept => Status::Accept,
        MilterAnswer::Continue => Status::Continue,
        MilterAnswer::Discard => Status::Discard,
        MilterAnswer::Reject(refusal) | MilterAnswer::Tempfail(refusal) => {
            set_reply(reply, &refusal);
            if refusal.is_permanent() { Status::Reject } else { Status::Tempfail }
        }
    }
}

fn set_reply(reply: &mut SmtpReply, refusal: &Reply) {
    let (code, text) = (refusal.code.to_string(), reply_text(refusal.text()));
    // A detail beyond 999 is no enhanced code (RFC 3463 section 2).
    let plain = if refusal.is_permanent() { "5.7.0" } else { "4.7.0" };
    for enhanced in [refusal.enhanced_code().as_str(), plain] {
        if reply.set_error_reply(&code, Some(enhanced), [text.as_str()]).is_ok() {
            return;
        }
    }
}

/// An edit that was not made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RefusedEdit {
    /// The word for logs.
    pub edit: &'static str,
    pub why: String,
}

/// Makes the edits in the order given, those that can be made.
pub async fn make_edits(actions: &EomActions, negotiated: Negotiated, edits: &[Edit]) -> Vec<RefusedEdit> {
    let mut refused = Vec::new();
    let mut refuse = |edit: &Edit, why: String| refused.push(RefusedEdit { edit: edit_word(edit), why });
    let mut body_replaced = false;
    for edit in edits {
        if !negotiated.actions.contains(needed_action(edit)) {
            refuse(edit, "Postfix did not offer it".to_owned());
            continue;
        }
        if matches!(edit, Edit::ReplaceBody(_)) && std::mem::replace(&mut body_replaced, true) {
            // Postfix takes the chunks of one body only, and only in one run.
            refuse(edit, "the body is replaced already".to_owned());
            continue;
        }
        let exact = negotiated.options.contains(ProtoOpts::LEADING_SPACE);
        if let Err(error) = make_edit(actions, edit, exact).await {
            refuse(edit, error.to_string());
        }
    }
    refused
}

/// `exact`: values go out with their leading space, or they would have none.
async fn make_edit(actions: &EomActions, edit: &Edit, exact: bool) -> Result<(), ActionError> {
    match edit {
        Edit::AppendHeader { name, value } => {
            actions.add_header(checked_name(name)?, sent_value(&folded(name, value), exact)).await
        }
        Edit::AddRecipient(address) => actions.add_recipient(checked_address(address)?).await,
        Edit::ChangeHeader { name, occurrence, value } => {
            let value = Some(sent_value(value, exact));
            actions.change_header(checked_name(name)?, checked_occurrence(*occurrence)?, value).await
        }
        Edit::ChangeSender(address) => actions.change_sender(checked_address(address)?, None::<String>).await,
        Edit::DeleteRecipient(address) => actions.delete_recipient(checked_address(address)?).await,
        // 0 is above Postfix's own Received, 1 is below it.
        Edit::InsertHeader { below, name, value } => {
            let index = i32::try_from(below.saturating_add(1)).unwrap_or(i32::MAX);
            actions.insert_header(index, checked_name(name)?, sent_value(&folded(name, value), exact)).await
        }
        Edit::PrependHeader { name, value } => {
            actions.insert_header(0, checked_name(name)?, sent_value(&folded(name, value), exact)).await
        }
        Edit::Quarantine(reason) => {
            let reason = clean_line(reason, MAX_TEXT_BYTES);
            actions.quarantine(if reason.is_empty() { "held".to_owned() } else { reason }).await
        }
        Edit::RemoveHeader { name, occurrence } => {
            actions.change_header(checked_name(name)?, checked_occurrence(*occurrence)?, None::<String>).await
        }
        Edit::ReplaceBody(body) => actions.replace_body(body).await,
    }
}

fn needed_action(edit: &Edit) -> Actions {
    match edit {
        Edit::AppendHeader { .. } | Edit::InsertHeader { .. } | Edit::PrependHeader { .. } => {
            Actions::ADD_HEADER
        }
        Edit::AddRecipient(_) => Actions::ADD_RCPT,
        Edit::ChangeHeader { .. } | Edit::RemoveHeader { .. } => Actions::CHANGE_HEADER,
        Edit::ChangeSender(_) => Actions::CHANGE_SENDER,
        Edit::DeleteRecipient(_) => Actions::DELETE_RCPT,
        Edit::Quarantine(_) => Actions::QUARANTINE,
        Edit::ReplaceBody(_) => Actions::REPLACE_BODY,
    }
}

fn edit_word(edit: &Edit) -> &'static str {
    match edit {
        Edit::AppendHeader { .. } => "append_header",
        Edit::AddRecipient(_) => "add_recipient",
        Edit::ChangeHeader { .. } => "change_header",
        Edit::ChangeSender(_) => "change_sender",
        Edit::DeleteRecipient(_) => "delete_recipient",
        Edit::InsertHeader { .. } | Edit::PrependHeader { .. } => "prepend_header",
        Edit::Quarantine(_) => "quarantine",
        Edit::RemoveHeader { .. } => "remove_header",
        Edit::ReplaceBody(_) => "replace_body",
    }
}

fn checked_name(name: &str) -> Result<&str, ActionError> {
    if is_header_name(name) { Ok(name) } else { Err(ActionError::InvalidParam) }
}

fn checked_address(address: &str) -> Result<String, ActionError> {
    bracketed(address).ok_or(ActionError::InvalidParam)
}

/// Postfix counts from 1, and 0 may mean the first or none.
fn checked_occurrence(occurrence: u32) -> Result<i32, ActionError> {
    i32::try_from(occurrence).ok().filter(|n| *n > 0).ok_or(ActionError::InvalidParam)
}

fn sent_value(value: &str, exact: bool) -> String {
    let clean = header_value(value);
    if exact && !clean.starts_with([' ', '\t']) { format!(" {clean}") } else { clean }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use indymilter::Callbacks;
    use indymilter::Config;
    use indymilter_test::EomAction;
    use indymilter_test::TestConnection;
    use std::ffi::CString;
    use std::sync::Arc;
    use std::sync::Mutex;
    use tokio::net::TcpListener;

    /// Runs these callbacks for one connection.
    async fn against(callbacks: Callbacks<()>) -> TestConnection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = Config { actions: ACTIONS, ..Config::default() };
        tokio::spawn(indymilter::run(listener, callbacks, config, std::future::pending::<()>()));
        TestConnection::open(address).await.unwrap()
    }

    #[tokio::test]
    async fn replies_keep_their_per_cent_signs_and_their_class() {
        use indymilter_test::Status as Seen;
        let answers = Mutex::new(vec![
            MilterAnswer::Continue,
            MilterAnswer::Discard,
            MilterAnswer::Tempfail(Reply::new(550, [5, 1000, 1], "odd")),
            MilterAnswer::Reject(Reply::new(450, [4, 7, 1], "later")),
            MilterAnswer::Reject(Reply::new(550, [5, 7, 1], "100% spam\r\n250 ok")),
        ]);
        let callbacks = Callbacks::new().on_rcpt(move |cx, _| {
            let answer = answers.lock().unwrap().pop().unwrap();
            let status = status(&mut cx.reply, answer);
            Box::pin(async move { status })
        });
        let mut connection = against(callbacks).await;
        let reject = |text: &str| Seen::Reject { message: CString::new(text).ok() };
        for expected in [
            reject("550 5.7.1 100%% spam??250 ok"),
            Seen::Tempfail { message: CString::new("450 4.7.1 later").ok() },
            reject("550 5.7.0 odd"),
            Seen::Discard,
            Seen::Continue,
        ] {
            assert_eq!(connection.rcpt(["<b@test.example>"]).await.unwrap(), expected);
        }
    }

    /// What Postfix is sent for these edits, and how many were refused.
    async fn edited(actions: Actions, options: ProtoOpts, edits: Vec<Edit>) -> (Vec<EomAction>, usize) {
        let refused = Arc::new(Mutex::new(0));
        let counted = refused.clone();
        let negotiated = Negotiated { actions, options };
        let edits = Arc::new(edits);
        let callbacks = Callbacks::new().on_eom(move |cx| {
            let (counted, edits) = (counted.clone(), edits.clone());
            Box::pin(async move {
                let refused = make_edits(&cx.actions, negotiated, &edits).await;
                *counted.lock().unwrap() = refused.len();
                Status::Continue
            })
        });
        let (seen, _) = against(callbacks).await.eom().await.unwrap();
        let refused = *refused.lock().unwrap();
        (seen.actions, refused)
    }

    fn text(text: &str) -> CString {
        CString::new(text).unwrap()
    }

    #[tokio::test]
    async fn edits_are_made_in_order_and_cleaned() {
        let edits = vec![
            Edit::PrependHeader { name: "X-A".into(), value: "a\nX-Evil: b".into() },
            Edit::AppendHeader { name: "X-B".into(), value: "a\r\n b".into() },
            Edit::ChangeHeader { name: "Subject".into(), occurrence: 1, value: " [x] y".into() },
            Edit::RemoveHeader { name: "X-C".into(), occurrence: 2 },
            Edit::ChangeSender(String::new()),
            Edit::AddRecipient("c@test.example".into()),
            Edit::DeleteRecipient("<b@test.example>".into()),
            Edit::ReplaceBody(b"x\r\n".to_vec()),
            Edit::Quarantine("held: a\nb".into()),
        ];
        let (seen, refused) = edited(ACTIONS, ProtoOpts::LEADING_SPACE, edits.clone()).await;
        let expected = [
            EomAction::InsertHeader { index: 0, name: text("X-A"), value: text(" a?X-Evil: b") },
            EomAction::AddHeader { name: text("X-B"), value: text(" a\n b") },
            EomAction::ChangeHeader { name: text("Subject"), index: 1, value: text(" [x] y") },
            EomAction::DeleteHeader { name: text("X-C"), index: 2 },
            EomAction::ChangeSender { mail: text("<>"), args: None },
            EomAction::AddRecipient { rcpt: text("<c@test.example>"), args: None },
            EomAction::DeleteRecipient { rcpt: text("<b@test.example>") },
            EomAction::ReplaceBody { chunk: Bytes::from_static(b"x\r\n") },
            EomAction::Quarantine { reason: text("held: a?b") },
        ];
        assert_eq!((seen.as_slice(), refused), (&expected[..], 0));

        let (seen, refused) = edited(Actions::QUARANTINE, ProtoOpts::empty(), edits).await;
        assert_eq!((seen.as_slice(), refused), (&expected[8..], 8));
    }

    #[tokio::test]
    async fn edits_that_would_harm_are_refused() {
        let edits = vec![
            Edit::AppendHeader { name: "X: y\n".into(), value: "a".into() },
            Edit::AddRecipient("a>,<b@test.example".into()),
            Edit::RemoveHeader { name: "X".into(), occurrence: 0 },
            Edit::ReplaceBody(b"x\r\n".to_vec()),
            Edit::ReplaceBody(b"y\r\n".to_vec()),
            Edit::AppendHeader { name: "X".into(), value: "a".into() },
        ];
        let (seen, refused) = edited(ACTIONS, ProtoOpts::empty(), edits).await;
        let expected = [
            EomAction::ReplaceBody { chunk: Bytes::from_static(b"x\r\n") },
            EomAction::AddHeader { name: text("X"), value: text("a") },
        ];
        assert_eq!((seen.as_slice(), refused), (&expected[..], 4));
    }
}
