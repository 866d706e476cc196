//! Milter sessions over real sockets, from the connection to its end.

use super::*;
use crate::config::Address;
use crate::config::Decides;
use crate::desk::Deadlines;
use crate::desk::Desk;
use crate::desk::testing;
use crate::listen::ListenStats;
use crate::listen::Shutdown;
use crate::listen::Stopper;
use crate::listen::socket::Access;
use crate::listen::testing::address_of;
use indymilter::Actions;
use indymilter::MacroStage;
use indymilter::ProtoOpts;
use indymilter_test::TestConnection;
use std::net::Ipv4Addr;
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

pub(super) fn service() -> (Service, Stopper) {
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

/// Reserves at RCPT, and counts who goes away before DATA.
const COUNTED: &str = "
when: {listener: submission}
rules:
  - {name: r, when: {rate: {key: sender, limits: [9/1h]}}, then: reject}
  - {name: p, when: {rate: {key: sender, count: probes, limits: [9/1h]}}, then: reject}
";

/// Who closes decides: where it was Postfix, nothing was sent, and its client is a prober.
#[tokio::test]
async fn that_we_go_gives_nothing_back_and_makes_nobody_a_prober() {
    for (is_ours, expected) in [(true, [("p", 0), ("r", 1)]), (false, [("p", 1), ("r", 0)])] {
        let listener = Listener::bind(&address_of("inet:127.0.0.1:0"), &Access::default()).await.unwrap();
        let Address::Inet(address) = listener.address().clone() else { panic!("not TCP") };
        let (service, stopper) = service();
        let desk = Arc::new(testing::desk(&[("10.yaml", COUNTED)]));
        let service = Service { desk: Arc::clone(&desk), decides: Decides::Envelope, ..service };
        let task = tokio::spawn(serve(listener, service));
        let mut client = TestConnection::open(address).await.unwrap();
        client.connect("client.example", (Ipv4Addr::new(192, 0, 2, 1), 4321)).await.unwrap();
        client.mail(["<a@sender.example>"]).await.unwrap();
        client.rcpt(["<b@test.example>"]).await.unwrap();
        if !is_ours {
            client.abort().await.unwrap();
            // Nobody answers an ABORT, but this.
            client.mail(["<>"]).await.unwrap();
        }
        stopper.stop(Duration::ZERO);
        task.await.unwrap();
        let found = desk.limits_of("a@sender.example").await;
        let used = |rule: &str| {
            let of = found.iter().find(|it| it.rules == [rule]);
            of.map_or(0, |it| it.used.windows[0].used)
        };
        assert_eq!(["p", "r"].map(|rule| (rule, used(rule))), expected, "{is_ours}");
    }
}
