//! The dashboard: its page with the files of it, and who is signed in.
//!
//! Owns the headers that confine the page. The files are made by `gateway/dashboard` and embedded by
//! the build script; sessions are [`crate::http::sessions`]'s.

use std::time::Instant;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::auth::{Peer, cookie_name, is_of_the_dashboard, presented};
use crate::http::context::{Context, Shared};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::Json;
use crate::http::sessions::{Holder, Session};
use crate::limits::{SESSION_IDLE, SESSION_LIFETIME, SIGN_IN_LINK_LIFETIME};
use control::{Id, Moment, Scope, Token};

/// One file of the dashboard, as it is and compressed.
struct File {
    name: &'static str,
    media: &'static str,
    plain: &'static [u8],
    brotli: &'static [u8],
    gzip: &'static [u8],
}

/// What the build script found.
const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// The page of a binary that was built without the dashboard.
const NOT_BUILT: &str = "<!doctype html>
<html lang=\"en\"><meta charset=\"utf-8\"><title>Postern</title>
<h1>This binary was built without the dashboard</h1>
<p>To build one with it, in the source tree:
<pre>cargo xtask setup        # brings Node and npm, once
cargo xtask dashboard    # builds the page
cargo build --release    # builds it in</pre>
<p>The <a href=\"/client/v4/openapi.json\">API</a> and the command line are here as ever.
";

/// The page may load what this server has, and nothing else: no inline scripts or styles, no other
/// host, no frame around it, no form that is sent by the browser.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// `GET /`.
pub(crate) async fn page(headers: HeaderMap) -> Response {
    match FILES.iter().find(|file| file.name == "index.html") {
        Some(file) => confined(answer(file, &headers, "no-cache")),
        None => {
            let media = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
            confined((media, NOT_BUILT).into_response())
        }
    }
}

/// `GET /dashboard/{file}`. Names have a digest of the content in them: what has been fetched is
/// good for ever.
pub(crate) async fn file(
    Path(name): Path<String>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Fault> {
    let mut served = FILES.iter().filter(|file| file.name != "index.html");
    match served.find(|file| file.name == name) {
        Some(file) => {
            let for_ever = "public, max-age=31536000, immutable";
            Ok(confined(answer(file, &headers, for_ever)))
        }
        None => Err(Fault::no_route(uri.path())),
    }
}

fn answer(file: &File, headers: &HeaderMap, keep: &'static str) -> Response {
    let (bytes, encoding) = match encoding(headers) {
        Some("br") => (file.brotli, Some("br")),
        Some(_) => (file.gzip, Some("gzip")),
        None => (file.plain, None),
    };
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    response
}

/// The shortest form that the client takes (RFC 9110 §12.5.3).
fn encoding(headers: &HeaderMap) -> Option<&'static str> {
    let named = headers.get_all(header::ACCEPT_ENCODING).iter();
    let named = named.filter_map(|value| value.to_str().ok());
    let taken: Vec<&str> = named
        .flat_map(|value| value.split(','))
        .filter_map(|one| {
            let (name, weight) = one.split_once(';').unwrap_or((one, "q=1"));
            let weight = weight.trim().strip_prefix("q=")?.parse::<f32>().ok()?;
            (weight > 0.0).then_some(name.trim())
        })
        .collect();
    ["br", "gzip"].into_iter().find(|one| taken.contains(one))
}

fn confined(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        (
            "permissions-policy",
            "camera=(), geolocation=(), microphone=()",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What a person signs in with.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignIn {
    #[serde(default)]
    token: Option<String>,
    /// Of a link that `postern dashboard` has printed.
    #[serde(default)]
    code: Option<String>,
}

/// Makes a link for whoever asks: what comes of it may do what the asker may.
pub(crate) async fn create_link(
    State(context): Shared,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let holder = match peer {
        Peer::Unix { uid } => Holder::Socket { uid },
        Peer::Tcp => {
            let token = presented(&headers).and_then(|secret| context.reader().token(secret));
            let Some(token) = token else {
                let message = "A session makes no links: use a token, or the unix socket";
                return Err(Fault::new(StatusCode::FORBIDDEN, 10_000, message));
            };
            Holder::Token {
                digest: token.digest.as_str().into(),
            }
        }
    };
    let code = context.sessions.link(holder, Instant::now());
    let code = code.ok_or_else(|| full("links that are not used yet"))?;
    let url = context.address().map(|at| format!("{at}/#sign-in={code}"));
    let expires = Moment::now().seconds() + seconds(SIGN_IN_LINK_LIFETIME);
    let shown = json!({
        "code": code,
        "url": url,
        "expires_on": Moment::from_seconds(expires).to_second(),
    });
    Ok(unkept(envelope::result(shown)))
}

/// Begins a session. [`crate::http::auth`] has seen that the request comes from our own page.
pub(crate) async fn sign_in(
    State(context): Shared,
    headers: HeaderMap,
    Json(body): Json<SignIn>,
) -> Result<Response, Fault> {
    if !is_of_the_dashboard(&headers) {
        let message = "Sessions are for the dashboard; send a token with each request instead";
        return Err(Fault::bad(1000, message));
    }
    let now = Instant::now();
    let (holder, wrong) = match (body.token, body.code) {
        (Some(secret), None) => {
            let token = context.reader().token(secret.trim());
            let digest = token.map(|token| token.digest.as_str().into());
            let wrong = "The token is unknown, or has expired. `postern token create` makes one";
            (digest.map(|digest| Holder::Token { digest }), wrong)
        }
        (None, Some(code)) => {
            let wrong = "The link was used already, or is older than a minute. \
                         `postern dashboard` prints another";
            (context.sessions.redeem(&code, now), wrong)
        }
        _ => return Err(Fault::body("Either `token` or `code` is expected")),
    };
    let Some(holder) = holder else {
        return Err(match context.failure(now) {
            true => Fault::new(StatusCode::UNAUTHORIZED, 10_000, wrong),
            false => Fault::new(
                StatusCode::TOO_MANY_REQUESTS,
                971,
                "Too many attempts; wait a second",
            ),
        });
    };
    // A token may have ended since its link was made.
    let token = holder.token(&context.reader().model());
    if token.is_none() && !matches!(holder, Holder::Socket { .. }) {
        return Err(Fault::new(StatusCode::UNAUTHORIZED, 10_000, wrong));
    }
    let begun = context.sessions.begin(holder, now);
    let begun = begun.ok_or_else(|| full("sessions"))?;
    let mut shown = shown(&context, &begun.session, token.as_deref(), now);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("key".into(), json!(begun.key));
    }
    let mut response = unkept(envelope::result(shown));
    set_cookie(&mut response, &context, &headers, &begun.cookie);
    Ok(response)
}

/// Who is signed in, and what they may do.
pub(crate) async fn show_session(
    State(context): Shared,
    session: Option<Extension<Session>>,
) -> Result<Response, Fault> {
    let Some(Extension(session)) = session else {
        return Err(no_session());
    };
    let token = session.holder.token(&context.reader().model());
    let shown = shown(&context, &session, token.as_deref(), Instant::now());
    Ok(envelope::result(shown))
}

/// Signs out.
pub(crate) async fn sign_out(
    State(context): Shared,
    headers: HeaderMap,
    session: Option<Extension<Session>>,
) -> Result<Response, Fault> {
    let Some(Extension(session)) = session else {
        return Err(no_session());
    };
    context.sessions.end(session.id);
    let mut response = envelope::result(json!({ "ended": 1 }));
    set_cookie(&mut response, &context, &headers, "");
    Ok(response)
}

/// Ends all sessions, and the links that would begin others.
pub(crate) async fn end_sessions(State(context): Shared) -> Result<Response, Fault> {
    let ended = context.sessions.end_all();
    Ok(envelope::result(json!({ "ended": ended })))
}

fn no_session() -> Fault {
    let message = "This request has no session: only the dashboard's own have";
    Fault::new(StatusCode::NOT_FOUND, 7003, message)
}

fn full(what: &str) -> Fault {
    let message = format!("There are too many {what}; try again in a minute");
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, 971, message)
}

/// Gives the browser the session's cookie; without a secret it forgets the one that it has.
fn set_cookie(response: &mut Response, context: &Context, headers: &HeaderMap, secret: &str) {
    let is_tls = context.tls.is_some();
    let name = cookie_name(headers, is_tls);
    let age = if secret.is_empty() { "; Max-Age=0" } else { "" };
    let secure = if is_tls { "; Secure" } else { "" };
    let cookie = format!("{name}={secret}; Path=/{age}; HttpOnly; SameSite=Strict{secure}");
    // A port and letters of base64 always are a header's value.
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

/// Secrets are in it.
fn unkept(mut response: Response) -> Response {
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    response
}

fn shown(context: &Context, session: &Session, token: Option<&Token>, now: Instant) -> Value {
    let model = context.reader().model();
    let all = [Scope::All].into();
    let (scopes, zones) = token.map_or((&all, None), |token| (&token.scopes, Some(&token.zones)));
    let zones = zones.filter(|zones| !zones.is_empty());
    let zone = |id: &Id| {
        let zone = model.zones.get(id)?;
        Some(json!({ "id": id, "name": zone.name }))
    };
    let left = SESSION_LIFETIME.saturating_sub(now.saturating_duration_since(session.begun));
    let mut ends = Moment::now().seconds() + seconds(left);
    if let Some(token) = token {
        ends = ends.min(token.expires);
    }
    json!({
        "id": session.id,
        "signed_in_as": session.holder.name(token),
        "scopes": scopes,
        "zones": zones.map(|zones| zones.iter().filter_map(zone).collect::<Vec<_>>()),
        "ends_on": Moment::from_seconds(ends).to_second(),
        "idle_seconds": SESSION_IDLE.as_secs(),
        "version": vocabulary::version(),
    })
}

fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_form_that_the_client_takes() {
        for (accepted, expected) in [
            (&[][..], None),
            (&["gzip, deflate, br, zstd"], Some("br")),
            (&["gzip", "br"], Some("br")),
            (&["gzip;q=0.5"], Some("gzip")),
            (&["br;q=0, gzip"], Some("gzip")),
            (&["identity"], None),
            (&["br;q=x"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in accepted {
                headers.append(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            }
            assert_eq!(encoding(&headers), expected, "{accepted:?}");
        }
    }
}
