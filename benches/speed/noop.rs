//! A milter on plain indymilter that does nothing, and agrees on the steps that
//! ours agrees on: what the framing alone costs.

use crate::milter::Agreed;
use crate::socket::Address;
use indymilter::Actions;
use indymilter::Callbacks;
use indymilter::Config;
use indymilter::MacroStage;
use indymilter::ProtoOpts;
use indymilter::Status;
use std::ffi::CString;
use std::io;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;

const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);

pub async fn serve(address: &Address, agreed: Agreed) -> io::Result<()> {
    let callbacks = callbacks(Arc::new(agreed));
    let config =
        Config { max_connections: 2000, connection_timeout: CONNECTION_TIMEOUT, ..Config::default() };
    let never = std::future::pending::<()>();
    match address {
        Address::Inet(port) => {
            let listener = WithoutDelay(TcpListener::bind(("127.0.0.1", *port)).await?);
            indymilter::run(listener, callbacks, config, never).await
        }
        Address::Unix(path) => indymilter::run(UnixListener::bind(path)?, callbacks, config, never).await,
    }
}

/// Without Nagle's wait, as ours.
struct WithoutDelay(TcpListener);

impl indymilter::Listener for WithoutDelay {
    type Io = TcpStream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        self.0.poll_accept(cx).map(|accepted| {
            let (stream, _) = accepted?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }
}

fn callbacks(agreed: Arc<Agreed>) -> Callbacks<()> {
    let options = ProtoOpts::from_bits_retain(agreed.options);
    let say = move |quiet: ProtoOpts| {
        if options.contains(quiet) { Status::Noreply } else { Status::Continue }
    };
    Callbacks::new()
        .on_negotiate(move |cx, _, _| {
            cx.requested_actions = Actions::from_bits_retain(agreed.actions);
            cx.requested_opts = options;
            for (stage, names) in &agreed.macros {
                let stage = MacroStage::all_sorted_by_index().nth(*stage as usize);
                if let (Some(stage), Ok(names)) = (stage, CString::new(names.as_str())) {
                    cx.requested_macros.insert(stage, names);
                }
            }
            Box::pin(async { Status::Continue })
        })
        .on_connect(move |_, _, _| Box::pin(async move { say(ProtoOpts::NOREPLY_CONNECT) }))
        .on_helo(move |_, _| Box::pin(async move { say(ProtoOpts::NOREPLY_HELO) }))
        .on_mail(move |_, _| Box::pin(async move { say(ProtoOpts::NOREPLY_MAIL) }))
        .on_rcpt(move |_, _| Box::pin(async move { say(ProtoOpts::NOREPLY_RCPT) }))
        .on_data(move |_| Box::pin(async move { say(ProtoOpts::NOREPLY_DATA) }))
        .on_header(move |_, _, _| Box::pin(async move { say(ProtoOpts::NOREPLY_HEADER) }))
        .on_eoh(move |_| Box::pin(async move { say(ProtoOpts::NOREPLY_EOH) }))
        .on_body(move |_, _| Box::pin(async move { say(ProtoOpts::NOREPLY_BODY) }))
        .on_eom(|_| Box::pin(async { Status::Continue }))
}
