//! Authentication and authorisation. A process that may open the unix socket is an administrator;
//! over TCP every request needs one of our names as `Host`, and a token or a session of the
//! dashboard. Requests that a browser sends for a page are refused, unless the page is our own.
//!
//! Owns the mapping from a request to the scope it needs, and how a request shows that it comes from
//! the dashboard. What a token may do is decided by [`control`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::context::{Actor, Context};
use super::fault::Fault;
use super::seats::Seat;
use super::sessions::{Holder, Session};
use super::tls::AdminTls;
use control::{Grant, Id, Scope, Token};

/// From where a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Over the unix socket, from a process of this user.
    Unix {
        /// Its user id, when the kernel told.
        uid: Option<u32>,
    },
    /// Over TCP.
    Tcp,
}

/// What may be done without showing who one is: whether the process lives, nothing else.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// What tokens for some zones may read outside of them: which zones those are, and the one account.
/// By them clients find the ids that all other paths have.
const LISTINGS: [&str; 2] = ["/client/v4/zones", "/client/v4/accounts"];

/// What every token may ask, whatever it is for: whether it is good, a session with its rights, and
/// help with the language of rules and with reasons, which tells nothing of any zone.
const OWN: [&str; 6] = [
    "/client/v4/user/tokens/verify",
    "/postern/v1/dashboard/links",
    SESSION,
    "/postern/v1/expressions/preview",
    "/postern/v1/expressions/vocabulary",
    "/postern/v1/reasons",
];

/// The session of the one who asks; `POST` begins it.
const SESSION: &str = "/postern/v1/dashboard/session";

/// The header that the dashboard's page sends: the key of its session. No form and no link can send
/// it, and a page of another origin only after a question (CORS) that is always denied.
const PAGE: &str = "x-postern-dashboard";

/// The header of answers with the revision of the configuration, for `If-Match` of a change.
const REVISION: &str = "postern-revision";

/// The header of requests that the page makes by itself: they are no use of its session.
const BY_ITSELF: &str = "x-postern-by-itself";

/// Whether this is the dashboard's page or a file of it: the same for everyone, and no secret.
fn is_page(method: &Method, path: &str) -> bool {
    let served = path == "/" || path.starts_with("/dashboard/");
    served && (method == Method::GET || method == Method::HEAD)
}

/// The middleware: decides, and notes who it is.
pub(crate) async fn admit(
    State(context): State<Arc<Context>>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request
        .extensions()
        .get::<Peer>()
        .copied()
        .unwrap_or(Peer::Tcp);
    let admitted = match peer {
        Peer::Unix { uid: Some(uid) } => Ok(Actor::from(format!("unix uid {uid}")).into()),
        Peer::Unix { uid: None } => Ok(Actor::from("unix".to_owned()).into()),
        Peer::Tcp => admit_tcp(&context, &request),
    };
    let Admitted { actor, session } = match admitted {
        Ok(admitted) => admitted,
        Err(fault) => return fault.into_response(),
    };
    // Held until the answer is made: what is read from a body lives so long.
    let share = context.memory_of(peer).share();
    request.extensions_mut().insert(share.clone());
    request.extensions_mut().insert(actor);
    // Before the answer is made: what it shows is at least as new.
    let revision = HeaderValue::from(context.reader().model().revision);
    let is_of_page = session.is_some();
    if let Some(session) = session {
        request.extensions_mut().insert(session);
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(REVISION, revision);
    if !is_of_page {
        return response;
    }
    // A browser is not to keep what was shown to one who has signed out since.
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, never);
    response
}

/// Who makes a request that is let in, and with which session.
struct Admitted {
    actor: Actor,
    session: Option<Session>,
}

impl From<Actor> for Admitted {
    fn from(actor: Actor) -> Self {
        Self {
            actor,
            session: None,
        }
    }
}

fn admit_tcp(context: &Context, request: &Request) -> Result<Admitted, Fault> {
    let headers = request.headers();
    let is_tls = context.tls.is_some();
    check_host(request, context.tls.as_deref())?;
    let (method, path) = (request.method(), request.uri().path());
    let anonymous = || Ok(Actor::from("anonymous".to_owned()).into());
    if is_page(method, path) {
        return anonymous();
    }
    // With a token, it is no page's request: those have a session.
    if is_of_the_dashboard(headers) && presented(headers).is_none() {
        check_page(method, headers, is_tls)?;
        if path == SESSION && method == Method::POST {
            return anonymous();
        }
        return admit_session(context, request);
    }
    if is_of_a_page(headers) {
        let message = "Requests from web pages are not taken here";
        return Err(Fault::new(StatusCode::FORBIDDEN, 10_000, message));
    }
    if OPEN.contains(&path) {
        return anonymous();
    }
    let Some(secret) = presented(headers) else {
        let message = "A token is needed: send `Authorization: Bearer TOKEN`";
        return Err(Fault::new(StatusCode::UNAUTHORIZED, 9106, message));
    };
    let now = Instant::now();
    let token: Arc<Token> = match context.reader().token(secret) {
        Some(token) => token,
        None if context.rates.failure(now) => {
            let message = "Authentication error: the token is unknown, or has expired";
            return Err(Fault::new(StatusCode::UNAUTHORIZED, 10_000, message));
        }
        None => return Err(too_many()),
    };
    if !context.rates.token(token.id, now) {
        return Err(too_many());
    }
    check_scope(&token, method, path)?;
    take_seat(request)?;
    Ok(Actor {
        name: format!("token {} ({})", token.id, token.name),
        zones: token.zones.clone(),
        grant: grant(&token, method, path),
    }
    .into())
}

/// A request of the dashboard's page: its session may do what its holder may do now.
fn admit_session(context: &Context, request: &Request) -> Result<Admitted, Fault> {
    let now = Instant::now();
    let headers = request.headers();
    let key = headers.get(PAGE).and_then(|key| key.to_str().ok());
    let by_itself = headers.contains_key(BY_ITSELF);
    let found = cookies(headers, &cookie_name(headers, context.tls.is_some()))
        .find_map(|cookie| context.sessions.find(cookie, key?, by_itself, now));
    let Some(session) = found else {
        // Unlike tokens, sessions end by themselves all the time: this is no attempt.
        let message = "The session has ended: sign in again";
        return Err(Fault::new(StatusCode::UNAUTHORIZED, 10_000, message));
    };
    let token = session.holder.token(&context.reader().model());
    if let Holder::Token { .. } = session.holder {
        let Some(token) = &token else {
            context.sessions.end(session.id);
            let message = "The token of this session has ended: sign in with another one";
            return Err(Fault::new(StatusCode::UNAUTHORIZED, 10_000, message));
        };
        check_scope(token, request.method(), request.uri().path())?;
    }
    let rated = token.as_ref().map_or(session.id, |token| token.id);
    if !context.rates.token(rated, now) {
        return Err(too_many());
    }
    take_seat(request)?;
    let actor = Actor {
        name: session.holder.name(token.as_deref()),
        grant: token
            .as_ref()
            .and_then(|token| grant(token, request.method(), request.uri().path())),
        zones: token.map(|token| token.zones.clone()).unwrap_or_default(),
    };
    Ok(Admitted {
        actor,
        session: Some(session),
    })
}

/// What a token gives a request, to be looked at again where a change is made. What every token may
/// ask changes nothing.
fn grant(token: &Token, method: &Method, path: &str) -> Option<Grant> {
    let (scope, zone) = needed(method, path);
    (!OWN.contains(&path)).then(|| Grant::of(token, scope, zone))
}

fn check_scope(token: &Token, method: &Method, path: &str) -> Result<(), Fault> {
    let (scope, zone) = needed(method, path);
    let is_listing = scope == Scope::Read && LISTINGS.contains(&path);
    if token.allows(scope, zone) || is_listing || OWN.contains(&path) {
        return Ok(());
    }
    let why = if token.zones.is_empty() || zone.is_some_and(|zone| token.zones.contains(&zone)) {
        format!("it lacks the scope `{scope}`")
    } else {
        "it is for some zones, and this is in none of them".to_owned()
    };
    let message = format!(
        "Unauthorized: the token `{}` may not do this: {why}",
        token.name.escape_debug()
    );
    Err(Fault::new(StatusCode::FORBIDDEN, 9109, message))
}

/// Among those that are known.
fn take_seat(request: &Request) -> Result<(), Fault> {
    if let Some(seat) = request.extensions().get::<Arc<Seat>>()
        && !seat.is_known()
    {
        let message = "Too many connections; close some, or try again soon";
        return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, 971, message));
    }
    Ok(())
}

fn too_many() -> Fault {
    let message = "Too many requests; slow down";
    Fault::new(StatusCode::TOO_MANY_REQUESTS, 971, message)
}

/// Whether a browser sends it on behalf of a page. It says so with `Origin` wherever a change
/// could be made (Fetch §3.2), and with `Sec-Fetch-Site` everywhere else but where a person typed
/// the address.
fn is_of_a_page(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    headers.contains_key(header::ORIGIN) || sites.any(|site| site != "none")
}

/// Whether it says that it comes from the dashboard's page.
pub(crate) fn is_of_the_dashboard(headers: &HeaderMap) -> bool {
    headers.contains_key(PAGE)
}

/// Whether it can come from our page. Browsers say `Origin` with every change, and
/// `Sec-Fetch-Site`, if they know it, with every request.
fn check_page(method: &Method, headers: &HeaderMap, is_tls: bool) -> Result<(), Fault> {
    let scheme = if is_tls { "https" } else { "http" };
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let own = format!("{scheme}://{}", host.unwrap_or_default());
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = origins.next();
    let same = |origin: &HeaderValue| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes());
    let safe = method == Method::GET || method == Method::HEAD;
    let origin = origins.next().is_none() && origin.map_or(safe, same);
    let mut sites = headers.get_all("sec-fetch-site").iter();
    if origin && sites.all(|site| site == "same-origin") {
        return Ok(());
    }
    let message = "This request does not come from the dashboard's own page";
    Err(Fault::new(StatusCode::FORBIDDEN, 10_000, message))
}

/// Browsers send a cookie to every port of a host, so each port has a name of its own. With TLS the
/// prefix keeps others from setting it (RFC 6265bis §4.1.3.2).
pub(crate) fn cookie_name(headers: &HeaderMap, is_tls: bool) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let port = host.and_then(|host| host.rsplit_once(':')?.1.parse::<u16>().ok());
    match (is_tls, port) {
        (true, port) => format!("__Host-postern-{}", port.unwrap_or(443)),
        (false, port) => format!("postern-{}", port.unwrap_or(80)),
    }
}

/// The values of the cookies of this name.
fn cookies<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a str> {
    let all = headers.get_all(header::COOKIE).iter();
    let all = all.filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// A page of another site can make a browser resolve the site's own name to this address (DNS
/// rebinding): then the `Host` is that name. So it has to be one that is known to be ours.
fn check_host(request: &Request, tls: Option<&AdminTls>) -> Result<(), Fault> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok());
    // The authority of an absolute target goes before `Host` (RFC 9112 §3.2.2): both count.
    let target = request
        .uri()
        .authority()
        .map(|authority| authority.as_str());
    let ours = |host: &str| {
        let name = match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or("", |(name, _)| name),
            None => host.split_once(':').map_or(host, |(name, _)| name),
        };
        name.eq_ignore_ascii_case("localhost")
            || name
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
            || tls.is_some_and(|tls| tls.is_called(name))
    };
    if hosts.next().is_none() && host.is_some_and(ours) && target.is_none_or(ours) {
        return Ok(());
    }
    let message = if tls.is_some() {
        "The Host header must be localhost, a loopback address or a name of admin.tls_certificate"
    } else {
        "The Host header must be localhost or a loopback address"
    };
    Err(Fault::new(StatusCode::FORBIDDEN, 10_000, message))
}

/// `Authorization: Bearer TOKEN`, or `X-Auth-Key` as Cloudflare's older clients send it.
pub(crate) fn presented(headers: &HeaderMap) -> Option<&str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text("authorization").and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    bearer
        .or_else(|| text("x-auth-key"))
        .filter(|token| !token.is_empty())
}

/// What a request needs, and in which zone it acts.
fn needed(method: &Method, path: &str) -> (Scope, Option<Id>) {
    // Only where a route has its zone: elsewhere a name may happen to be `zones`.
    let below = ["/client/v4/zones/", "/postern/v1/zones/"]
        .into_iter()
        .find_map(|prefix| path.strip_prefix(prefix));
    let mut segments = below.unwrap_or_default().split('/');
    let zone = segments.next().and_then(|id| id.parse().ok());
    let resource = segments.next().unwrap_or_default();
    let scope = match (method, resource) {
        // It reads the whole store.
        _ if path == "/postern/v1/fleet/digest" => Scope::All,
        (&Method::GET | &Method::HEAD, _) => Scope::Read,
        (_, "client_certificates") => Scope::Certificates,
        (_, "rulesets" | "mtls_rules") => Scope::Rules,
        // A dry run changes nothing.
        (&Method::POST, "rule_tests") => Scope::Read,
        _ if path.contains("/rules/lists") => Scope::Rules,
        // They change nothing, and give no more than the asker has.
        _ if OWN.contains(&path) => Scope::Read,
        _ => Scope::All,
    };
    (scope, zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes() {
        let zone = Id::random();
        for (method, path, scope, inside) in [
            ("GET", "/client/v4/zones", Scope::Read, false),
            (
                "GET",
                "/client/v4/zones/Z/client_certificates",
                Scope::Read,
                true,
            ),
            (
                "POST",
                "/client/v4/zones/Z/client_certificates",
                Scope::Certificates,
                true,
            ),
            (
                "DELETE",
                "/client/v4/zones/Z/client_certificates/x",
                Scope::Certificates,
                true,
            ),
            (
                "POST",
                "/postern/v1/zones/Z/client_certificates",
                Scope::Certificates,
                true,
            ),
            (
                "PUT",
                "/client/v4/zones/Z/rulesets/phases/p/entrypoint",
                Scope::Rules,
                true,
            ),
            (
                "POST",
                "/client/v4/accounts/a/rules/lists",
                Scope::Rules,
                false,
            ),
            ("POST", "/postern/v1/zones/Z/rule_tests", Scope::Read, true),
            ("POST", "/postern/v1/zones/Z/mtls_rules", Scope::Rules, true),
            ("DELETE", "/client/v4/zones/Z", Scope::All, true),
            ("POST", "/client/v4/zones", Scope::All, false),
            (
                "PATCH",
                "/postern/v1/hosts/client_certificates",
                Scope::All,
                false,
            ),
            ("POST", "/postern/v1/tokens", Scope::All, false),
            ("DELETE", "/postern/v1/hosts/zones/Z", Scope::All, false),
            ("GET", "/client/v4/accounts/zones/Z/x", Scope::Read, false),
            ("PUT", "/postern/v1/sysctl/x", Scope::All, false),
        ] {
            let path = path.replace('Z', &zone.to_string());
            let expected = (scope, inside.then_some(zone));
            assert_eq!(
                needed(&method.parse().unwrap(), &path),
                expected,
                "{method} {path}"
            );
        }
    }

    fn request(target: &str, hosts: &[&str]) -> Request {
        let mut request = Request::new(axum::body::Body::empty());
        *request.uri_mut() = target.parse().unwrap();
        for host in hosts {
            let host = host.parse().unwrap();
            request.headers_mut().append(header::HOST, host);
        }
        request
    }

    #[test]
    fn pages_are_known() {
        for (name, value, page) in [
            ("origin", "null", true),
            ("origin", "https://localhost", true),
            ("sec-fetch-site", "cross-site", true),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "none", false),
            ("accept", "*/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(is_of_a_page(&headers), page, "{name}: {value}");
        }
    }

    #[test]
    fn hosts_of_this_machine() {
        for (host, ours) in [
            ("localhost", true),
            ("LOCALHOST:8080", true),
            ("127.0.0.1:1", true),
            ("127.1.2.3", true),
            ("[::1]:80", true),
            ("example.com", false),
            ("localhost.example.com", false),
            ("127.0.0.1.example.com:80", false),
            ("", false),
            ("[::1", false),
            ("10.0.0.1", false),
        ] {
            let request = request("/", &[host]);
            assert_eq!(check_host(&request, None).is_ok(), ours, "{host}");
        }
        for (target, hosts) in [
            ("/", &[][..]),
            ("/", &["localhost", "localhost"]),
            ("/", &["localhost", "example.com"]),
            ("http://example.com/", &["localhost"]),
        ] {
            let request = request(target, hosts);
            assert!(check_host(&request, None).is_err(), "{target} {hosts:?}");
        }
        let both = request("http://localhost:1/", &["127.0.0.1"]);
        assert!(check_host(&both, None).is_ok());
    }
}
