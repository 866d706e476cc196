//! One session: each event to the desk, and the desk's answer to indymilter.

use super::Line;
use super::Stage;
use super::negotiation::macro_name;
use super::negotiation::wanted_options;
use crate::desk::MilterNeeds;
use crate::desk::MilterSession;
use crate::listen::Failure;
use crate::listen::within;
use crate::reply::Ending;
use crate::reply::MilterAnswer;
use crate::wire::milter_answer::ACTIONS;
use crate::wire::milter_answer::Negotiated;
use crate::wire::milter_answer::make_edits;
use crate::wire::milter_answer::status;
use bytes::Bytes;
use indymilter::Actions;
use indymilter::Callbacks;
use indymilter::Context;
use indymilter::ContextActions;
use indymilter::EomActions;
use indymilter::EomContext;
use indymilter::NegotiateContext;
use indymilter::ProtoOpts;
use indymilter::SocketInfo;
use indymilter::Status;
use std::ffi::CStr;
use std::ffi::CString;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// How often Postfix is told that we are still at it: well below the
/// `content_timeout` anyone would set.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// One session, made at negotiation and kept by indymilter: when that drops it,
/// even in a panic, the desk's half goes with it.
pub(super) struct Conversation {
    line: Arc<Line>,
    /// None once it has panicked: the rest of the session is let through.
    session: Option<MilterSession>,
    negotiated: Negotiated,
    in_transaction: bool,
}

impl Conversation {
    /// The desk's answer, or what stands for it if there is none.
    fn settle(&mut self, answer: Result<MilterAnswer, Failure>) -> MilterAnswer {
        answer.unwrap_or_else(|failure| {
            self.fail(failure);
            MilterAnswer::Continue
        })
    }

    fn fail(&mut self, failure: Failure) {
        self.line.note(failure);
        if failure == Failure::Panic {
            self.session = None;
        }
    }

    fn begin_transaction(&mut self) {
        self.in_transaction = true;
        self.line.stage.send_replace(Stage::Message);
    }

    /// Nothing more will be sent of this message.
    fn rest(&self) {
        self.line.stage.send_replace(Stage::Idle);
    }

    /// Tells the desk, once for each transaction that began.
    async fn end_transaction(&mut self) {
        let is_ours = self.line.service.shutdown.is_over();
        if std::mem::take(&mut self.in_transaction)
            && let Some(session) = &mut self.session
        {
            let ended = async { if is_ours { session.cut().await } else { session.abort().await } };
            if let Err(failure) = within(self.line.service.deadlines.envelope, ended).await {
                self.fail(failure);
            }
        }
        self.rest();
    }

    /// For the events without an answer.
    fn tell(&mut self, event: impl FnOnce(&mut MilterSession)) {
        let Some(session) = &mut self.session else { return };
        if catch_unwind(AssertUnwindSafe(|| event(session))).is_err() {
            self.fail(Failure::Panic);
        }
    }

    fn quiet(&self, option: ProtoOpts) -> Status {
        if self.negotiated.options.contains(option) { Status::Noreply } else { Status::Continue }
    }
}

/// Asks the desk's session one of its questions; `MilterAnswer::Continue` if
/// there is none.
macro_rules! ask {
    ($conversation:expr, $event:ident ( $($argument:expr),* )) => {{
        let deadline = $conversation.line.service.deadlines.envelope;
        let answer = match &mut $conversation.session {
            Some(session) => {
                // Futures are large: each is made where it stays.
                let asked = pin!(session.$event($($argument),*));
                within(deadline, asked).await
            }
            None => Ok(MilterAnswer::Continue),
        };
        $conversation.settle(answer)
    }};
}

pub(super) fn callbacks(line: Arc<Line>) -> Callbacks<Conversation> {
    Callbacks::new()
        .on_negotiate(move |cx, actions, options| {
            let line = line.clone();
            Box::pin(async move { negotiate(cx, line, actions, options) })
        })
        .on_connect(|cx, host, socket| Box::pin(connect(cx, host, socket)))
        .on_helo(|cx, name| Box::pin(helo(cx, name)))
        .on_mail(|cx, arguments| Box::pin(mail(cx, arguments)))
        .on_rcpt(|cx, arguments| Box::pin(rcpt(cx, arguments)))
        .on_data(|cx| Box::pin(data(cx)))
        .on_header(|cx, name, value| Box::pin(async move { header(cx, &name, &value) }))
        .on_eoh(|cx| Box::pin(async move { end_of_header(cx) }))
        .on_body(|cx, chunk| Box::pin(async move { body(cx, &chunk) }))
        .on_eom(|cx| Box::pin(end_of_message(cx)))
        .on_abort(|cx| Box::pin(abort(cx)))
        .on_close(|cx| Box::pin(close(cx)))
}

fn negotiate(
    cx: &mut NegotiateContext<Conversation>,
    line: Arc<Line>,
    offered_actions: Actions,
    offered_options: ProtoOpts,
) -> Status {
    let (desk, peer) = (line.service.desk.clone(), line.peer.clone());
    let made = catch_unwind(AssertUnwindSafe(|| {
        let session = desk.milter(peer);
        let needs = session.needs();
        (session, needs)
    }));
    let (session, needs) = match made {
        Ok((session, needs)) => (Some(session), needs),
        Err(_) => {
            line.note(Failure::Panic);
            (None, MilterNeeds::default())
        }
    };
    let negotiated =
        Negotiated { actions: ACTIONS & offered_actions, options: wanted_options(needs, offered_options) };
    cx.requested_actions = negotiated.actions;
    cx.requested_opts = negotiated.options;
    cx.requested_macros.extend(line.macros.iter().cloned());
    line.stage.send_replace(Stage::Idle);
    cx.data = Some(Conversation { line, session, negotiated, in_transaction: false });
    Status::Continue
}

fn macro_value(macros: &indymilter::Macros, name: &str) -> Option<String> {
    let mut name = macro_name(name);
    name.push(0);
    let value = macros.get(CStr::from_bytes_with_nul(&name).ok()?)?;
    Some(value.to_string_lossy().into_owned())
}

async fn connect(cx: &mut Context<Conversation>, host: CString, socket: SocketInfo) -> Status {
    let Some(conversation) = &mut cx.data else { return Status::Continue };
    let address = match socket {
        SocketInfo::Inet(address) => Some(address),
        SocketInfo::Unix(_) | SocketInfo::Unknown => None,
    };
    let macros = |name: &str| macro_value(&cx.macros, name);
    let answer = ask!(conversation, connect(host.as_bytes(), address, &macros));
    status(&mut cx.reply, answer)
}

async fn helo(cx: &mut Context<Conversation>, name: CString) -> Status {
    let Some(conversation) = &mut cx.data else { return Status::Continue };
    let macros = |name: &str| macro_value(&cx.macros, name);
    let answer = ask!(conversation, helo(name.as_bytes(), &macros));
    status(&mut cx.reply, answer)
}

async fn mail(cx: &mut Context<Conversation>, arguments: Vec<CString>) -> Status {
    let Some(conversation) = &mut cx.data else { return Status::Continue };
    conversation.end_transaction().await;
    conversation.begin_transaction();
    let (sender, parameters) = split_arguments(&arguments);
    let macros = |name: &str| macro_value(&cx.macros, name);
    let answer = ask!(conversation, mail(sender, &parameters, &macros));
    if answer != MilterAnswer::Continue {
        conversation.rest();
    }
    status(&mut cx.reply, answer)
}

async fn rcpt(cx: &mut Context<Conversation>, arguments: Vec<CString>) -> Status {
    let Some(conversation) = &mut cx.data else { return Status::Continue };
    let (recipient, parameters) = split_arguments(&arguments);
    let macros = |name: &str| macro_value(&cx.macros, name);
    let answer = ask!(conversation, rcpt(recipient, &parameters, &macros));
    if macros("rcpt_mailer").as_deref() == Some("error") {
        // Rejected already: we are only told, and Postfix ignores the answer.
        return Status::Continue;
    }
    if matches!(answer, MilterAnswer::Accept | MilterAnswer::Discard) {
        conversation.rest();
    }
    status(&mut cx.reply, answer)
}

async fn data(cx: &mut Context<Conversation>) -> Status {
    let Some(conversation) = &mut cx.data else { return Status::Continue };
    let macros = |name: &str| macro_value(&cx.macros, name);
    let answer = match ask!(conversation, data(&macros)) {
        MilterAnswer::Accept => MilterAnswer::Accept,
        MilterAnswer::Continue => MilterAnswer::Continue,
        refused => {
            // If the client then sends RCPT or DATA, indymilter would give
            // Postfix no answer, and it would wait for its timeout.
            let (listener, connection) =
                (&conversation.line.peer.listener, conversation.line.peer.connection);
            tracing::error!(%listener, connection, ?refused, "a refusal at DATA cannot be sent, the end of the message must say it");
            MilterAnswer::Continue
        }
    };
    if answer == MilterAnswer::Accept {
        conversation.rest();
    }
    status(&mut cx.reply, answer)
}

fn header(cx: &mut Context<Conversation>, name: &CString, value: &CString) -> Status {
    let Some(conversation) = &mut cx.data else { return Status::Continue };
    if conversation.negotiated.options.contains(ProtoOpts::LEADING_SPACE) {
        conversation.tell(|session| session.header(name.as_bytes(), value.as_bytes()));
    } else {
        // The one space that was taken off comes back.
        let value = [b" ", value.as_bytes()].concat();
        conversation.tell(|session| session.header(name.as_bytes(), &value));
    }
    conversation.quiet(ProtoOpts::NOREPLY_HEADER)
}

fn end_of_header(cx: &mut Context<Conversation>) -> Status {
    let Some(conversation) = &mut cx.data else { return Status::Continue };
    conversation.tell(MilterSession::end_of_header);
    conversation.quiet(ProtoOpts::NOREPLY_EOH)
}

fn body(cx: &mut Context<Conversation>, chunk: &Bytes) -> Status {
    let Some(conversation) = &mut cx.data else { return Status::Continue };
    conversation.tell(|session| session.body(chunk));
    conversation.quiet(ProtoOpts::NOREPLY_BODY)
}

async fn end_of_message(cx: &mut EomContext<Conversation>) -> Status {
    let Some(conversation) = &mut cx.data else { return Status::Continue };
    let macros = |name: &str| macro_value(&cx.macros, name);
    let deadline = conversation.line.service.deadlines.message;
    let ending = match &mut conversation.session {
        Some(session) => {
            let asked = pin!(session.end_of_message(&macros));
            let asked = pin!(within(deadline, asked));
            with_progress(&cx.actions, asked).await
        }
        None => Ok(Ending::default()),
    };
    let ending = ending.unwrap_or_else(|failure| {
        conversation.fail(failure);
        Ending::default()
    });
    let refused = make_edits(&cx.actions, conversation.negotiated, &ending.edits).await;
    conversation.line.note_refused(&refused);
    // indymilter passes no ABORT on after the end of a message.
    conversation.end_transaction().await;
    status(&mut cx.reply, ending.answer)
}

/// Waits, and tells Postfix now and then that we are at it.
async fn with_progress<F: Future>(actions: &EomActions, mut asked: Pin<&mut F>) -> F::Output {
    loop {
        tokio::select! {
            biased;
            answer = &mut asked => return answer,
            () = tokio::time::sleep(PROGRESS_INTERVAL) => {
                // If Postfix has gone, the answer will find that out.
                let _ = actions.progress().await;
            }
        }
    }
}

async fn abort(cx: &mut Context<Conversation>) -> Status {
    if let Some(conversation) = &mut cx.data {
        conversation.end_transaction().await;
    }
    Status::Continue
}

async fn close(cx: &mut Context<Conversation>) -> Status {
    let Some(mut conversation) = cx.data.take() else { return Status::Continue };
    // After an answer that ended a message early, indymilter passes no ABORT on.
    conversation.end_transaction().await;
    if let Some(mut session) = conversation.session.take()
        && let Err(failure) = within(conversation.line.service.deadlines.envelope, session.close()).await
    {
        conversation.fail(failure);
    }
    Status::Continue
}

/// The address, then the ESMTP parameters.
fn split_arguments(arguments: &[CString]) -> (&[u8], Vec<&[u8]>) {
    let mut all = arguments.iter().map(|argument| argument.as_bytes());
    (all.next().unwrap_or_default(), all.collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::service;
    use super::*;
    use crate::config::Decides;
    use crate::desk::Peer;
    use std::sync::Mutex;
    use std::sync::atomic::Ordering;
    use tokio::sync::watch;

    #[tokio::test]
    async fn a_panic_ends_the_desk_s_session_and_lets_the_mail_through() {
        let (service, _stopper) = service();
        let stats = service.stats.clone();
        let peer = Peer {
            listener: "x".into(),
            pid: None,
            connection: 1,
            line: Arc::default(),
            decides: Decides::Message,
        };
        let session = Some(service.desk.milter(peer.clone()));
        let (stage, macros) = (watch::channel(Stage::Idle).0, Arc::default());
        let line = Arc::new(Line { peer, service: Arc::new(service), stage, macros });
        let negotiated = Negotiated { actions: ACTIONS, options: ProtoOpts::empty() };
        let mut conversation = Conversation { line, session, negotiated, in_transaction: true };
        let told = Mutex::new(0);
        conversation.tell(|_| panic!("as it should"));
        conversation.tell(|_| *told.lock().unwrap() += 1);
        assert!(conversation.session.is_none());
        assert_eq!(*told.lock().unwrap(), 0);
        assert_eq!(ask!(conversation, helo(b"x", &|_: &str| None)), MilterAnswer::Continue);
        conversation.end_transaction().await;
        assert_eq!(stats.milter.panics.load(Ordering::Relaxed), 1);
    }
}
