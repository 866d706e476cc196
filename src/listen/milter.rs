//! The milter protocol on a stream: indymilter reads and writes the frames,
//! here is what it is told and how its answers reach Postfix.
//!
//! Postfix is at the other end, or whoever may connect. A connection costs one
//! frame (1 MiB at most, Postfix sends 64 KiB) and what the desk keeps of one
//! message. Each has an `indymilter::run` of its own: so there is a peer to name,
//! a limit, a drain at the end, and no failing `accept` that stops them all.
//! `unknown` commands are never asked for: indymilter would leave one in a
//! transaction without the reply Postfix waits for.

use crate::desk::MacroNames;
use crate::desk::MilterNeeds;
use crate::desk::MilterSession;
use crate::desk::Peer;
use crate::listen::Failure;
use crate::listen::Kind;
use crate::listen::Service;
use crate::listen::add_one;
use crate::listen::socket::Listener;
use crate::listen::socket::Stream;
use crate::listen::within;
use crate::reply::Ending;
use crate::reply::MilterAnswer;
use crate::wire::milter::MendedConnect;
use crate::wire::milter_answer::ACTIONS;
use crate::wire::milter_answer::Negotiated;
use crate::wire::milter_answer::RefusedEdit;
use crate::wire::milter_answer::make_edits;
use crate::wire::milter_answer::status;
use crate::wire::milter_order::InOrder;
use bytes::Bytes;
use indymilter::Actions;
use indymilter::Callbacks;
use indymilter::Config;
use indymilter::Context;
use indymilter::ContextActions;
use indymilter::EomActions;
use indymilter::EomContext;
use indymilter::MacroStage;
use indymilter::NegotiateContext;
use indymilter::ProtoOpts;
use indymilter::SocketInfo;
use indymilter::Status;
use std::ffi::CString;
use std::io;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;

/// How often Postfix is told that we are still at it: well below the
/// `content_timeout` anyone would set.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(10);

/// libmilter's default, which its manual advises not to lower: Postfix closes
/// at its own `smtpd_timeout`.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(7_210);

/// From the connection to its first frame.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves until the shutdown is asked for and the drain is over.
pub async fn serve(listener: Listener, service: Service) {
    let shared = Arc::new(service.clone());
    listener.run(Kind::Milter, &service, |stream, peer| converse(stream, peer, shared.clone())).await;
}

async fn converse(mut stream: Stream, peer: Peer, service: Arc<Service>) {
    let gone = stream.dropped();
    let (stage, watched) = watch::channel(Stage::New);
    let line = Arc::new(Line { peer, service: service.clone(), stage });
    let config = Config { max_connections: 1, connection_timeout: CONNECTION_TIMEOUT, ..Config::default() };
    let done = async {
        tokio::select! {
            // Ended by Postfix, or broken.
            _ = gone => {}
            () = silent(watched.clone()) => {}
            () = may_end(&service, watched) => {}
        }
    };
    let listener = OneConnection(Some(MendedConnect::new(InOrder::new(stream))));
    if let Err(error) = indymilter::run(listener, callbacks(line), config, done).await {
        // The listener above never fails.
        tracing::error!(listener = %service.name, %error, "a milter session could not begin");
    }
}

/// Completes when the end was asked for and no message is being transferred,
/// or the drain is over. indymilter then ends after the command in hand.
async fn may_end(service: &Service, mut stage: watch::Receiver<Stage>) {
    service.shutdown.requested().await;
    tokio::select! {
        // The error is a session that has ended.
        _ = stage.wait_for(|stage| *stage != Stage::Message) => {}
        () = service.shutdown.drained() => {}
    }
}

/// Completes when nobody has negotiated in time: Postfix does so at once, so
/// this is a stranger who would keep a place.
async fn silent(mut stage: watch::Receiver<Stage>) {
    let negotiated = stage.wait_for(|stage| *stage != Stage::New);
    if tokio::time::timeout(NEGOTIATION_TIMEOUT, negotiated).await.is_ok() {
        std::future::pending().await
    }
}

/// How far a connection is, as far as ending it goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    New,
    /// Between messages.
    Idle,
    Message,
}

/// The listener of one connection that was accepted before.
struct OneConnection(Option<Mended>);

/// A connection whose bytes indymilter can work with.
type Mended = MendedConnect<InOrder<Stream>>;

impl indymilter::Listener for OneConnection {
    type Io = Mended;

    fn poll_accept(&mut self, _: &mut std::task::Context<'_>) -> Poll<io::Result<Self::Io>> {
        self.0.take().map_or(Poll::Pending, |stream| Poll::Ready(Ok(stream)))
    }
}

/// What a session's callbacks share with its connection.
struct Line {
    peer: Peer,
    service: Arc<Service>,
    stage: watch::Sender<Stage>,
}

impl Line {
    fn note(&self, failure: Failure) {
        self.service.stats.count_failure(Kind::Milter, failure);
        let (listener, connection) = (&self.peer.listener, self.peer.connection);
        tracing::error!(%listener, connection, ?failure, "no decision on a milter event, answered continue");
    }

    fn note_refused(&self, refused: &[RefusedEdit]) {
        let (listener, connection) = (&self.peer.listener, self.peer.connection);
        for RefusedEdit { edit, why } in refused {
            add_one(&self.service.stats.edits_refused);
            tracing::warn!(%listener, connection, edit, "an edit of a message was not made: {why}");
        }
    }
}

/// One session, made at negotiation and kept by indymilter: when that drops it,
/// even in a panic, the desk's half goes with it.
struct Conversation {
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
        if std::mem::take(&mut self.in_transaction)
            && let Some(session) = &mut self.session
            && let Err(failure) = within(self.line.service.deadlines.envelope, session.abort()).await
        {
            self.fail(failure);
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
        match &mut $conversation.session {
            Some(session) => {
                let answer = within(deadline, session.$event($($argument),*)).await;
                $conversation.settle(answer)
            }
            None => MilterAnswer::Continue,
        }
    }};
}

fn callbacks(line: Arc<Line>) -> Callbacks<Conversation> {
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
        let (needs, macros) = (session.needs(), session.macros());
        (session, needs, macros)
    }));
    let (session, needs, macros) = match made {
        Ok((session, needs, macros)) => (Some(session), needs, macros),
        Err(_) => {
            line.note(Failure::Panic);
            (None, MilterNeeds::default(), MacroNames::default())
        }
    };
    let negotiated =
        Negotiated { actions: ACTIONS & offered_actions, options: wanted_options(needs, offered_options) };
    cx.requested_actions = negotiated.actions;
    cx.requested_opts = negotiated.options;
    cx.requested_macros.extend(wanted_macros(&macros));
    line.stage.send_replace(Stage::Idle);
    cx.data = Some(Conversation { line, session, negotiated, in_transaction: false });
    Status::Continue
}

/// CONNECT, MAIL, RCPT and DATA are always asked and always answered: with
/// no-reply Postfix would run ahead of us, and the order of what both protocols
/// say of a session would be lost.
fn wanted_options(needs: MilterNeeds, offered: ProtoOpts) -> ProtoOpts {
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
fn wanted_macros(names: &MacroNames) -> Vec<(MacroStage, CString)> {
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
        let list: Vec<String> = list.into_iter().map(macro_name).collect();
        if let Ok(text) = CString::new(list.join(" "))
            && !text.is_empty()
        {
            wanted.push((stage, text));
        }
    }
    wanted
}

/// One letter stands alone, more are in braces.
fn macro_name(name: &str) -> String {
    if name.len() == 1 { name.to_owned() } else { format!("{{{name}}}") }
}

fn macro_value(macros: &indymilter::Macros, name: &str) -> Option<String> {
    let name = CString::new(macro_name(name)).ok()?;
    macros.get(&name).map(|value| value.to_string_lossy().into_owned())
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
            let asked = within(deadline, session.end_of_message(&macros));
            Box::pin(with_progress(&cx.actions, asked)).await
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
async fn with_progress<F: Future>(actions: &EomActions, asked: F) -> F::Output {
    let mut asked = pin!(asked);
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
    use super::*;
    use crate::config::Address;
    use crate::config::Decides;
    use crate::desk::Deadlines;
    use crate::desk::Desk;
    use crate::listen::ListenStats;
    use crate::listen::Shutdown;
    use crate::listen::Stopper;
    use crate::listen::socket::Access;
    use crate::listen::testing::address_of;
    use indymilter_test::TestConnection;
    use std::net::Ipv4Addr;
    use std::sync::Mutex;
    use std::sync::atomic::Ordering;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;
    use tokio::task::JoinHandle;

    struct Running {
        address: Address,
        stats: Arc<ListenStats>,
        stopper: Stopper,
        task: JoinHandle<()>,
    }

    fn service() -> (Service, Stopper) {
        let (stopper, shutdown) = Shutdown::new();
        let deadlines = Deadlines { envelope: Duration::from_secs(5), message: Duration::from_secs(20) };
        let service = Service {
            name: "submission".into(),
            desk: Arc::new(Desk::default()),
            stats: Arc::default(),
            shutdown,
            deadlines,
            max_connections: 10,
            decides: Decides::Message,
            workers: None,
        };
        (service, stopper)
    }

    async fn running(address: &str) -> Running {
        let listener = Listener::bind(&address_of(address), &Access::default()).await.unwrap();
        let address = listener.address().clone();
        let (service, stopper) = service();
        let stats = service.stats.clone();
        Running { address, stats, stopper, task: tokio::spawn(serve(listener, service)) }
    }

    fn inet(running: &Running) -> std::net::SocketAddr {
        let Address::Inet(address) = running.address else { panic!("not TCP") };
        address
    }

    /// From CONNECT to the middle of a message.
    async fn half_a_message(connection: &mut TestConnection) {
        connection.connect("client.example", (Ipv4Addr::new(192, 0, 2, 1), 4321)).await.unwrap();
        connection.mail(["<a@sender.example>", "SIZE=100"]).await.unwrap();
        let accepted = connection.rcpt(["<b@test.example>"]).await.unwrap();
        assert_eq!(accepted, indymilter_test::Status::Continue);
        connection.data().await.unwrap();
    }

    async fn the_other_half(connection: &mut TestConnection) {
        let options = connection.negotiated_opts();
        if !options.contains(ProtoOpts::NO_HEADER) {
            connection.header("Subject", "x").await.unwrap();
            connection.eoh().await.unwrap();
        }
        if !options.contains(ProtoOpts::NO_BODY) {
            connection.body(&b"x\r\n"[..]).await.unwrap();
        }
        let (edits, answer) = connection.eom().await.unwrap();
        assert_eq!((edits.actions, answer), (vec![], indymilter_test::Status::Continue));
    }

    #[tokio::test]
    async fn messages_pass_on_tcp_and_unix() {
        let dir = tempfile::tempdir().unwrap();
        let unix = running(&format!("unix:{}/milter", dir.path().display())).await;
        let Address::Unix(path) = &unix.address else { panic!("not unix") };
        let tcp = running("inet:127.0.0.1:0").await;
        for mut connection in [
            TestConnection::configure().open_unix(path).await.unwrap(),
            TestConnection::open(inet(&tcp)).await.unwrap(),
        ] {
            half_a_message(&mut connection).await;
            the_other_half(&mut connection).await;
            connection.abort().await.unwrap();
            connection.mail(["<>"]).await.unwrap();
            connection.abort().await.unwrap();
            connection.close().await.unwrap();
        }
        unix.stopper.stop(Duration::from_secs(60));
        unix.task.await.unwrap();
        assert!(!path.exists());
        assert_eq!(unix.stats.milter.open.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn only_what_is_offered_is_asked_for() {
        let running = running("inet:127.0.0.1:0").await;
        let offered = Actions::ADD_HEADER | Actions::ADD_RCPT_EXT;
        let connection = TestConnection::configure()
            .available_actions(offered)
            .available_opts(ProtoOpts::REJECTED_RCPT)
            .open_tcp(inet(&running))
            .await
            .unwrap();
        assert_eq!(connection.negotiated_actions(), Actions::ADD_HEADER);
        assert_eq!(connection.negotiated_opts(), ProtoOpts::REJECTED_RCPT);
        let macros = connection.requested_macros();
        for stage in [MacroStage::Rcpt, MacroStage::Data, MacroStage::Eom] {
            let wanted = macros[&stage].to_str().unwrap();
            assert!(wanted.split(' ').any(|name| name == "i"), "{stage:?}: {wanted}");
        }
    }

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

    /// Sends a frame; the kind of the next answer.
    async fn exchanged(stream: &mut TcpStream, kind: u8, payload: &[u8]) -> u8 {
        stream.write_u32(u32::try_from(payload.len() + 1).unwrap()).await.unwrap();
        stream.write_u8(kind).await.unwrap();
        stream.write_all(payload).await.unwrap();
        let length = stream.read_u32().await.unwrap();
        let mut answer = vec![0; length as usize];
        stream.read_exact(&mut answer).await.unwrap();
        answer[0]
    }

    #[tokio::test]
    async fn a_client_without_an_address_keeps_its_session() {
        let running = running("inet:127.0.0.1:0").await;
        let mut stream = TcpStream::connect(inet(&running)).await.unwrap();
        let offer = [6_u32, 0x1ff, 0x1f_ffff].map(u32::to_be_bytes).concat();
        assert_eq!(exchanged(&mut stream, b'O', &offer).await, b'O');
        assert_eq!(exchanged(&mut stream, b'C', b"unknown\x004\0\0unknown\0").await, b'c');
        assert_eq!(exchanged(&mut stream, b'M', b"<a@sender.example>\0").await, b'c');
    }

    #[tokio::test]
    async fn garbage_ends_its_connection_and_no_other() {
        let running = running("inet:127.0.0.1:0").await;
        let mut good = TestConnection::open(inet(&running)).await.unwrap();
        half_a_message(&mut good).await;
        for garbage in [&b"\0\0\0\0"[..], b"\xff\xff\xff\xffC", b"\0\0\0\x02Zz", b"\0\0\0\x05C\0\0\0\0"] {
            let mut bad = TcpStream::connect(inet(&running)).await.unwrap();
            bad.write_all(garbage).await.unwrap();
            bad.shutdown().await.unwrap();
            assert!(matches!(bad.read(&mut [0; 9]).await, Ok(0) | Err(_)));
        }
        the_other_half(&mut good).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_negotiates_is_put_out() {
        let running = running("inet:127.0.0.1:0").await;
        let mut stream = TcpStream::connect(inet(&running)).await.unwrap();
        assert_eq!(stream.read(&mut [0; 9]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn at_the_end_idle_sessions_go_and_messages_are_finished() {
        let running = running("inet:127.0.0.1:0").await;
        let mut idle = TestConnection::open(inet(&running)).await.unwrap();
        idle.connect("client.example", (Ipv4Addr::new(192, 0, 2, 1), 4321)).await.unwrap();
        let mut busy = TestConnection::open(inet(&running)).await.unwrap();
        half_a_message(&mut busy).await;
        running.stopper.stop(Duration::from_secs(60));
        assert!(idle.mail(["<>"]).await.is_err());
        the_other_half(&mut busy).await;
        assert!(busy.mail(["<>"]).await.is_err());
        running.task.await.unwrap();
        assert_eq!(running.stats.milter.open.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_message_without_end_is_cut_at_the_end_of_the_drain() {
        let running = running("inet:127.0.0.1:0").await;
        let mut busy = TestConnection::open(inet(&running)).await.unwrap();
        half_a_message(&mut busy).await;
        running.stopper.stop(Duration::ZERO);
        running.task.await.unwrap();
        assert!(busy.mail(["<>"]).await.is_err());
    }

    #[tokio::test]
    async fn a_panic_ends_the_desk_s_session_and_lets_the_mail_through() {
        let (service, _stopper) = service();
        let stats = service.stats.clone();
        let peer = Peer {
            listener: "x".into(),
            pid: None,
            connection: 1,
            alive: Arc::default(),
            decides: Decides::Message,
        };
        let session = Some(service.desk.milter(peer.clone()));
        let line = Arc::new(Line { peer, service: Arc::new(service), stage: watch::channel(Stage::Idle).0 });
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
