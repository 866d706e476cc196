//! `/v1/limits`: what `gatepost limits` shows and sets back, as JSON, from the same
//! source. Only who has the token is heard.
//!
//! What comes in is a path, a query and one header, together below
//! [`MAX_HEADER_BYTES`](super::MAX_HEADER_BYTES).

use super::HttpState;
use crate::listen::control;
use crate::wire::control::Answer;
use crate::wire::control::LimitRow;
use crate::wire::control::Request;
use crate::wire::control::line;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Method;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use percent_encoding::percent_decode_str;
use serde::Serialize;

/// The longest keys are two addresses of mail.
pub(super) const MAX_KEY_BYTES: usize = 2_048;

/// As on the command line.
const USUAL_COUNT: usize = 20;

const PREFIX: &str = "/v1/limits";

#[derive(Serialize)]
struct Shown {
    /// Keys in limits.
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Vec<LimitRow>>,
}

#[derive(Serialize)]
struct Trouble<'w> {
    error: &'w str,
}

pub(super) async fn limits(
    State(state): State<HttpState>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if let Some(refused) = unauthorized(&state, &headers) {
        return refused;
    }
    let request = match request(&method, &uri) {
        Ok(request) => request,
        Err((status, why)) => return trouble(status, &why),
    };
    let shows = !matches!(request, Request::LimitsReset { .. });
    let mut shown = Shown { count: 0, limits: shows.then(Vec::new) };
    for answer in control::answers(request, &state.desk).await {
        match answer {
            Answer::Limit(row) => shown.limits.get_or_insert_default().push(row),
            Answer::Done { count } => shown.count = count,
            Answer::Refused { why } => return trouble(StatusCode::BAD_REQUEST, &why),
            Answer::Entry(_) | Answer::Listed(_) => {}
        }
    }
    json(StatusCode::OK, &shown)
}

/// What is said to who may not ask; None for who may.
fn unauthorized(state: &HttpState, headers: &HeaderMap) -> Option<Response> {
    let Some(token) = state.token.load_full() else {
        let why = "there is no /v1: say listen.http.token_file in gatepost.yaml";
        return Some(trouble(StatusCode::NOT_FOUND, why));
    };
    let said = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let said = said.and_then(|value| value.split_once(' '));
    let said = said.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, said)| said.trim());
    let why = match said {
        Some(said) if token.is(said) => return None,
        Some(_) => "the token is another",
        None => "say Authorization: Bearer and the token",
    };
    state.metrics.http_unauthorized();
    let mut refused = trouble(StatusCode::UNAUTHORIZED, why);
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    Some(refused)
}

/// What is asked for: a key stands in the path or in the query.
fn request(method: &Method, uri: &Uri) -> Result<Request, (StatusCode, String)> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, why);
    let path = uri.path().strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('/'));
    let mut key = path.map(decoded).transpose().map_err(bad)?;
    let mut count = None;
    for (name, value) in parameters(uri.query().unwrap_or_default()) {
        let is_first = match name {
            "key" => key.replace(decoded(value).map_err(bad)?).is_none(),
            "count" => {
                let number = value.parse::<usize>();
                count.replace(number.map_err(|_| bad(format!("`{value}` is not a count")))?).is_none()
            }
            other => return Err(bad(format!("no parameter `{other}`; there are key and count"))),
        };
        if !is_first {
            return Err(bad(format!("two values of {name}")));
        }
    }
    match (method.as_str(), key) {
        ("GET" | "HEAD", Some(key)) => Ok(Request::LimitsShow { key }),
        ("GET" | "HEAD", None) => Ok(Request::LimitsTop { count: count.unwrap_or(USUAL_COUNT) }),
        ("DELETE" | "POST", Some(key)) => Ok(Request::LimitsReset { key }),
        ("DELETE" | "POST", None) => Err(bad(format!("which key? {PREFIX}/KEY or ?key=KEY"))),
        _ => Err((StatusCode::METHOD_NOT_ALLOWED, "only GET, DELETE and POST".into())),
    }
}

fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// A `+` is a plus, as RFC 3986 has it: many a mailbox has one.
fn decoded(text: &str) -> Result<String, String> {
    let Ok(key) = percent_decode_str(text).decode_utf8() else {
        return Err("the key is not UTF-8".into());
    };
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(format!("a key has 1 to {MAX_KEY_BYTES} bytes"));
    }
    Ok(key.into_owned())
}

fn trouble(status: StatusCode, error: &str) -> Response {
    json(status, &Trouble { error })
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], line(body)).into_response()
}
