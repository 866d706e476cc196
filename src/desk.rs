//! Where both protocols' views of a transaction meet: finds the session, asks
//! the engine, keeps what was answered, and says what to reply.

use crate::reply::Ending;
use crate::reply::MilterAnswer;
use crate::reply::PolicyAction;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who is at the other end of one of our sockets: always a Postfix process.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The listener's name from the configuration, for `listener:` in rules.
    pub listener: Arc<str>,
    /// The smtpd's (or cleanup's) process id, on a unix socket.
    pub pid: Option<u32>,
    /// Differs for every connection we ever accepted.
    pub connection: u64,
}

/// Which milter events the loaded rules need beside those always asked.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct MilterNeeds {
    pub helo: bool,
    pub headers: bool,
    /// The whole body, in chunks without replies.
    pub body: bool,
}

pub use crate::facts::Macros;

/// The one place that is asked by all listeners.
#[derive(Debug, Default)]
pub struct Desk {}

impl Desk {
    /// Answers one policy request: attributes in the order sent, values raw.
    pub async fn delegation(
        &self,
        _peer: &Peer,
        _attributes: &[crate::facts::Attribute<'_>],
    ) -> PolicyAction {
        PolicyAction::Dunno
    }

    /// The milter's half of a session; one per milter connection. Dropping it
    /// without `close` is a session that broke off.
    pub fn milter(self: &Arc<Self>, _peer: Peer) -> MilterSession {
        MilterSession {}
    }
}

/// One milter connection's events, in Postfix's order.
#[derive(Debug)]
pub struct MilterSession {}

impl MilterSession {
    pub fn needs(&self) -> MilterNeeds {
        MilterNeeds { helo: true, headers: true, body: true }
    }

    /// Macro names to be asked for (without braces) per stage.
    pub fn macros(&self) -> MacroNames {
        MacroNames::default()
    }

    /// `address` is None for what has no network address (a unix socket, or
    /// `unknown` after XCLIENT); its port is 0 for sendmail(1) and our own bounces.
    pub async fn connect(
        &mut self,
        _host: &[u8],
        _address: Option<SocketAddr>,
        _macros: Macros<'_>,
    ) -> MilterAnswer {
        MilterAnswer::Continue
    }

    pub async fn helo(&mut self, _name: &[u8], _macros: Macros<'_>) -> MilterAnswer {
        MilterAnswer::Continue
    }

    /// `sender` as it stands in the command, with its brackets; then the ESMTP parameters.
    pub async fn mail(&mut self, _sender: &[u8], _parameters: &[&[u8]], _macros: Macros<'_>) -> MilterAnswer {
        MilterAnswer::Continue
    }

    pub async fn rcpt(
        &mut self,
        _recipient: &[u8],
        _parameters: &[&[u8]],
        _macros: Macros<'_>,
    ) -> MilterAnswer {
        MilterAnswer::Continue
    }

    pub async fn data(&mut self, _macros: Macros<'_>) -> MilterAnswer {
        MilterAnswer::Continue
    }

    /// The value with its leading white space (SMFIP_HDR_LEADSPC) and folds as `\n`.
    pub fn header(&mut self, _name: &[u8], _value: &[u8]) {}

    pub fn end_of_header(&mut self) {}

    pub fn body(&mut self, _chunk: &[u8]) {}

    pub async fn end_of_message(&mut self, _macros: Macros<'_>) -> Ending {
        Ending::default()
    }

    /// The transaction ended: RSET, a new MAIL, or after each message.
    pub async fn abort(&mut self) {}

    pub async fn close(&mut self) {}
}

/// Macro names by the milter stage at which they are wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MacroNames {
    pub connect: Vec<&'static str>,
    pub helo: Vec<&'static str>,
    pub mail: Vec<&'static str>,
    pub rcpt: Vec<&'static str>,
    pub data: Vec<&'static str>,
    pub end_of_message: Vec<&'static str>,
}
