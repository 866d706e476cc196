//! The milter protocol on a stream: how a connection begins and ends. indymilter
//! reads and writes the frames; `conversation.rs` is what it tells us and gets
//! for an answer, `negotiation.rs` what is asked of Postfix.
//!
//! Postfix is at the other end, or whoever may connect. A connection costs one
//! frame (1 MiB at most, Postfix sends 64 KiB) and what the desk keeps of one
//! message. Each has an `indymilter::run` of its own: so there is a peer to name,
//! a limit, a drain at the end, and no failing `accept` that stops them all.

mod conversation;
mod negotiation;
#[cfg(test)]
mod tests;

use self::conversation::callbacks;
use self::negotiation::wanted_macros;
use crate::desk::MilterSession;
use crate::desk::Peer;
use crate::listen::Failure;
use crate::listen::Kind;
use crate::listen::Service;
use crate::listen::add_one;
use crate::listen::socket::Listener;
use crate::listen::socket::Stream;
use crate::wire::milter_answer::RefusedEdit;
use crate::wire::milter_stream::Mended;
use indymilter::Config;
use indymilter::MacroStage;
use std::ffi::CString;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;

/// libmilter's default, which its manual advises not to lower: Postfix closes
/// at its own `smtpd_timeout`.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(7_210);

/// From the connection to its first frame.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves until the shutdown is asked for and the drain is over.
pub async fn serve(listener: Listener, service: Service) {
    let shared = Arc::new(service.clone());
    // The same for every session, and a list to write.
    let macros: Macros = wanted_macros(&MilterSession::macros()).into();
    let converse = |stream, peer| converse(stream, peer, shared.clone(), macros.clone());
    listener.run(Kind::Milter, &service, converse).await;
}

async fn converse(mut stream: Stream, peer: Peer, service: Arc<Service>, macros: Macros) {
    let gone = stream.dropped();
    let (stage, watched) = watch::channel(Stage::New);
    let line = Arc::new(Line { peer, service: service.clone(), stage, macros });
    let config = Config { max_connections: 1, connection_timeout: CONNECTION_TIMEOUT, ..Config::default() };
    let done = async {
        tokio::select! {
            // Ended by Postfix, or broken.
            _ = gone => {}
            () = silent(watched.clone()) => {}
            () = may_end(&service, watched) => {}
        }
    };
    let listener = OneConnection(Some(Mended::new(stream)));
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
struct OneConnection(Option<Mended<Stream>>);

impl indymilter::Listener for OneConnection {
    type Io = Mended<Stream>;

    fn poll_accept(&mut self, _: &mut std::task::Context<'_>) -> Poll<io::Result<Self::Io>> {
        self.0.take().map_or(Poll::Pending, |stream| Poll::Ready(Ok(stream)))
    }
}

/// What a session's callbacks share with its connection.
struct Line {
    peer: Peer,
    service: Arc<Service>,
    stage: watch::Sender<Stage>,
    /// To be asked for.
    macros: Macros,
}

/// Names of macros by stage, as they are sent.
type Macros = Arc<[(MacroStage, CString)]>;

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
