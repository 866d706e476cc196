//! The HTTP endpoint: `/metrics` for Prometheus, `/healthz` and `/readyz` for
//! whoever restarts us, and for who has the token `/v1/limits` (`limits`), the only
//! part through which something can be changed.
//!
//! On the loopback by default, so what comes in is from local programs, or from
//! whoever the operator let in. Bounds: [`MAX_CONNECTIONS`], [`HEADER_TIMEOUT`],
//! [`MAX_HEADER_BYTES`], no request bodies, [`MAX_LIFE`] for a connection. The
//! worst a client can do is to have metrics written down for it again and again.

mod limits;

use crate::desk::Desk;
use crate::listen::token::Token;
use crate::metrics::Exposition;
use crate::metrics::Metrics;
use arc_swap::ArcSwapOption;
use axum::Router;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::middleware;
use axum::middleware::Next;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::any;
use axum::routing::get;
use hyper::body::Body as _;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::server::graceful::Watcher;
use hyper_util::service::TowerToHyperService;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::watch;

/// Two Prometheus servers, a load balancer's probes and a person: with room.
pub const MAX_CONNECTIONS: usize = 64;

/// From one answer to the head of the next request; longer than the usual
/// scrape interval would only keep sockets open.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// hyper's least; the requests of a scrape are far below it.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;

/// After this a connection is closed between two requests, and, if its client
/// has stopped reading an answer, in the middle of one.
pub const MAX_LIFE: Duration = Duration::from_secs(300);

/// For answers under way when we are told to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// The pause after an `accept` that failed, as it does without free descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the endpoint tells of.
#[derive(Clone)]
pub struct HttpState {
    pub metrics: Arc<Metrics>,
    /// All sockets are bound, a policy is loaded, and we are not stopping.
    pub ready: Arc<AtomicBool>,
    /// Looks up the values that are not counted as they happen; before each scrape.
    pub sample: Arc<dyn Fn() + Send + Sync>,
    pub desk: Arc<Desk>,
    /// What `/v1` asks for; none while it is not enabled. A reload changes it.
    pub token: Arc<ArcSwapOption<Token>>,
}

impl fmt::Debug for HttpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpState").field("ready", &self.ready).finish_non_exhaustive()
    }
}

/// Answers until `shutdown` says true or its sender is gone, then finishes what
/// is under way. Stop it last: until then `/readyz` says that we are draining.
pub async fn serve(listener: TcpListener, state: HttpState, mut shutdown: watch::Receiver<bool>) {
    let router = router(state);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // An error means that the sender is gone.
            _ = shutdown.wait_for(|stop| *stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => {
                failing = false;
                stream
            }
            Err(error) => {
                // Once for a row of failures, or the log would tell of nothing else.
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "http connection can't be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!("http connection closed: {MAX_CONNECTIONS} are open");
            continue;
        };
        let (router, watcher) = (router.clone(), graceful.watcher());
        tokio::spawn(async move {
            answer(stream, router, watcher).await;
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::debug!("http connections were still open at the end");
    }
}

/// One connection. Its errors are its client's business.
async fn answer(stream: TcpStream, router: Router, watcher: Watcher) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(MAX_LIFE, watcher.watch(connection)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "http connection broke off"),
        Err(_) => tracing::debug!("http connection closed: it was open for {MAX_LIFE:?}"),
    }
}

fn router(state: HttpState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/v1/limits", any(limits::limits))
        .route("/v1/limits/{*key}", any(limits::limits))
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "not found; there are /metrics, /healthz, /readyz and /v1/limits\n")
        })
        .method_not_allowed_fallback(|| async { (StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n") })
        .layer(middleware::from_fn(guard))
        .with_state(state)
}

/// Refuses bodies, and tells browsers to take nothing for more than it is.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = if request.body().is_end_stream() {
        next.run(request).await
    } else {
        (StatusCode::PAYLOAD_TOO_LARGE, [(header::CONNECTION, "close")], "no request here has a body\n")
            .into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

async fn metrics(State(state): State<HttpState>, headers: HeaderMap) -> Response {
    (state.sample)();
    let exposition = wanted(&headers);
    let content_type = match exposition {
        Exposition::OpenMetrics => OPEN_METRICS,
        Exposition::Text => PLAIN,
    };
    ([(header::CONTENT_TYPE, content_type)], state.metrics.encode(exposition)).into_response()
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(state): State<HttpState>) -> Response {
    if state.ready.load(Relaxed) {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "not ready: starting or stopping\n").into_response()
}

/// OpenMetrics for those who ask for it by name and like it as much as plain text.
fn wanted(headers: &HeaderMap) -> Exposition {
    let (mut open_metrics, mut plain) = (0.0, 0.0);
    for value in headers.get_all(header::ACCEPT) {
        for range in value.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse().ok());
            let quality: f32 = quality.unwrap_or(1.0);
            if name.eq_ignore_ascii_case("application/openmetrics-text") {
                open_metrics = quality.max(open_metrics);
            } else if name.eq_ignore_ascii_case("text/plain") {
                plain = quality.max(plain);
            }
        }
    }
    if open_metrics > 0.0 && open_metrics >= plain { Exposition::OpenMetrics } else { Exposition::Text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::sync::atomic::AtomicUsize;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::task::JoinHandle;

    struct Endpoint {
        address: SocketAddr,
        ready: Arc<AtomicBool>,
        scrapes: Arc<AtomicUsize>,
        token: Arc<ArcSwapOption<Token>>,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
    }

    async fn endpoint() -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (ready, scrapes) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicUsize::new(0)));
        let metrics = Arc::new(Metrics::new(jiff::Timestamp::UNIX_EPOCH));
        let counter = Arc::clone(&scrapes);
        let sample = Arc::new(move || {
            counter.fetch_add(1, Relaxed);
        });
        let token = Arc::new(ArcSwapOption::empty());
        let desk = Arc::default();
        let state = HttpState { metrics, ready: Arc::clone(&ready), sample, desk, token: Arc::clone(&token) };
        let (stop, shutdown) = watch::channel(false);
        let task = tokio::spawn(serve(listener, state, shutdown));
        Endpoint { address, ready, scrapes, token, stop, task }
    }

    impl Endpoint {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        /// Sends a request line and headers, and reads until the end.
        async fn ask(&self, head: &str) -> String {
            let mut stream = self.connect().await;
            let request = format!("{head}\r\nHost: x\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            read_all(&mut stream).await
        }
    }

    async fn read_all(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    fn status(answer: &str) -> &str {
        answer.get(9..12).unwrap_or_default()
    }

    #[tokio::test]
    async fn requests_are_answered_by_path_and_method() {
        let endpoint = endpoint().await;
        for (head, expected, body) in [
            ("GET /healthz HTTP/1.1", "200", "\r\n\r\nok\n"),
            ("HEAD /healthz HTTP/1.1", "200", "\r\n\r\n"),
            ("GET /readyz HTTP/1.1", "200", "\r\n\r\nready\n"),
            ("GET / HTTP/1.1", "404", "not found; there are /metrics, /healthz, /readyz and /v1/limits\n"),
            ("GET /metrics/ HTTP/1.1", "404", ""),
            ("POST /metrics HTTP/1.1", "405", "only GET and HEAD\n"),
            ("DELETE /readyz HTTP/1.1", "405", ""),
            ("GET /healthz HTTP/1.1\r\nContent-Length: 5", "413", "no request here has a body\n"),
            ("GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked", "413", ""),
            ("nonsense", "400", ""),
        ] {
            let answer = endpoint.ask(head).await;
            assert_eq!(status(&answer), expected, "{head}: {answer}");
            assert!(answer.ends_with(body), "{head}: {answer}");
        }
    }

    #[tokio::test]
    async fn limits_are_for_who_has_the_token() {
        let endpoint = endpoint().await;
        let answer = endpoint.ask("GET /v1/limits HTTP/1.1").await;
        assert!(status(&answer) == "404" && answer.contains("listen.http.token_file"), "{answer}");
        endpoint.token.store(Token::of(SECRET).ok().map(Arc::new));
        let with = |scheme: &str, token: &str| format!("Authorization: {scheme} {token}");
        let right = with("Bearer", SECRET);
        for (head, said, expected, body) in [
            ("GET /v1/limits", "X: y", "401", "{\"error\":\"say Authorization: Bearer and the token\"}\n"),
            ("GET /v1/limits", &with("Bearer", "0123456789abcdeF"), "401", "the token is another\"}\n"),
            ("GET /v1/limits", &with("Bearer", &SECRET[..15]), "401", ""),
            ("GET /v1/limits", &with("Basic", SECRET), "401", ""),
            ("DELETE /v1/limits/x", "X: y", "401", ""),
            ("GET /v1/limits", &right, "200", "{\"count\":0,\"limits\":[]}\n"),
            ("GET /v1/limits", &with("bearer", SECRET), "200", ""),
            ("GET /v1/limits?count=5", &right, "200", ""),
            ("GET /v1/limits/192.0.2.0/24", &right, "200", "{\"count\":0,\"limits\":[]}\n"),
            ("GET /v1/limits?key=a%20b", &right, "200", ""),
            ("HEAD /v1/limits", &right, "200", "\r\n\r\n"),
            ("DELETE /v1/limits/x", &right, "200", "{\"count\":0}\n"),
            ("POST /v1/limits?key=x", &right, "200", "{\"count\":0}\n"),
            ("DELETE /v1/limits", &right, "400", "{\"error\":\"which key? /v1/limits/KEY or ?key=KEY\"}\n"),
            ("GET /v1/limits/%ff", &right, "400", "{\"error\":\"the key is not UTF-8\"}\n"),
            ("GET /v1/limits?key=%ff", &right, "400", ""),
            ("GET /v1/limits/a?key=b", &right, "400", ""),
            ("GET /v1/limits?count=-1", &right, "400", ""),
            ("GET /v1/limits?count=1&count=2", &right, "400", ""),
            (
                "GET /v1/limits?kee=1",
                &right,
                "400",
                "{\"error\":\"no parameter `kee`; there are key and count\"}\n",
            ),
            ("PUT /v1/limits/x", &right, "405", "{\"error\":\"only GET, DELETE and POST\"}\n"),
            ("DELETE /v1/limits/x HTTP/1.1\r\nContent-Length: 5", &right, "413", ""),
            ("GET /v1/other", &right, "404", ""),
        ] {
            let version = if head.contains("HTTP/") { "" } else { " HTTP/1.1" };
            let answer = endpoint.ask(&format!("{head}{version}\r\n{said}")).await;
            assert_eq!(status(&answer), expected, "{head} {said}: {answer}");
            assert!(answer.ends_with(body), "{head} {said}: {answer}");
        }
        let long = format!("GET /v1/limits/{} HTTP/1.1\r\n{right}", "x".repeat(limits::MAX_KEY_BYTES + 1));
        assert_eq!(status(&endpoint.ask(&long).await), "400");
        endpoint.token.store(None);
        assert_eq!(status(&endpoint.ask(&format!("GET /v1/limits HTTP/1.1\r\n{right}")).await), "404");
    }

    const SECRET: &str = "0123456789abcdef";

    #[tokio::test]
    async fn readiness_follows_the_flag_and_health_does_not() {
        let endpoint = endpoint().await;
        endpoint.ready.store(false, Relaxed);
        assert_eq!(status(&endpoint.ask("GET /readyz HTTP/1.1").await), "503");
        assert_eq!(status(&endpoint.ask("GET /healthz HTTP/1.1").await), "200");
        endpoint.ready.store(true, Relaxed);
        assert_eq!(status(&endpoint.ask("GET /readyz HTTP/1.1").await), "200");
    }

    #[tokio::test]
    async fn scrapes_get_the_format_they_ask_for_and_fresh_values() {
        let endpoint = endpoint().await;
        for (number, (accept, expected)) in [
            ("*/*", PLAIN),
            ("text/plain;version=0.0.4", PLAIN),
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3", OPEN_METRICS),
            ("application/openmetrics-text;q=0.2,text/plain;q=0.3", PLAIN),
            ("application/openmetrics-text;q=0", PLAIN),
            ("Application/OpenMetrics-Text", OPEN_METRICS),
            ("application/openmetrics-text2", PLAIN),
        ]
        .into_iter()
        .enumerate()
        {
            let answer = endpoint.ask(&format!("GET /metrics HTTP/1.1\r\nAccept: {accept}")).await;
            assert_eq!(status(&answer), "200");
            assert!(answer.contains(&format!("content-type: {expected}\r\n")), "{accept}: {answer}");
            assert_eq!(answer.ends_with("# EOF\n"), expected == OPEN_METRICS, "{accept}");
            assert_eq!(endpoint.scrapes.load(Relaxed), number + 1);
        }
    }

    #[tokio::test]
    async fn a_connection_serves_several_requests() {
        let endpoint = endpoint().await;
        let mut stream = endpoint.connect().await;
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let answers = read_all(&mut stream).await;
        assert!(answers.contains("200 OK") && answers.contains("404 Not Found"), "{answers}");
    }

    #[tokio::test]
    async fn too_much_header_is_refused() {
        let endpoint = endpoint().await;
        let answer =
            endpoint.ask(&format!("GET /healthz HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEADER_BYTES))).await;
        assert_eq!(status(&answer), "431", "{answer}");
    }

    #[tokio::test]
    async fn connections_beyond_the_limit_are_closed_and_others_go_on() {
        let endpoint = endpoint().await;
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            held.push(endpoint.connect().await);
        }
        assert_eq!(read_all(&mut endpoint.connect().await).await, "");
        let first = held.first_mut().unwrap();
        first.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        assert_eq!(status(&read_all(first).await), "200");
    }

    #[tokio::test]
    async fn stopping_ends_idle_connections_and_the_listener() {
        let endpoint = endpoint().await;
        let mut idle = endpoint.connect().await;
        idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = [0; 12];
        idle.read_exact(&mut answer).await.unwrap();
        endpoint.stop.send(true).unwrap();
        endpoint.task.await.unwrap();
        read_all(&mut idle).await;
        assert!(TcpStream::connect(endpoint.address).await.is_err());
    }

    #[tokio::test]
    async fn a_lost_sender_stops_it_too() {
        let Endpoint { stop, task, .. } = endpoint().await;
        drop(stop);
        task.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_closed() {
        let endpoint = endpoint().await;
        let mut slow = endpoint.connect().await;
        slow.write_all(b"GET /healthz HTT").await.unwrap();
        let began = tokio::time::Instant::now();
        read_all(&mut slow).await;
        assert!(began.elapsed() < HEADER_TIMEOUT * 2);
    }
}
