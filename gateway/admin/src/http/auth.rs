//! Authentication and authorisation. A process that may open the unix socket is an administrator;
//! over TCP every request needs a token and one of our names as `Host`, and must not come from a web
//! page.
//!
//! Owns the mapping from a request to the scope it needs. What a token may do is decided by
//! [`control`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::context::{Actor, Context};
use super::fault::Fault;
use super::seats::Seat;
use super::tls::AdminTls;
use control::{Id, Scope, Token};

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

/// What every token may ask, whatever it is for: whether it is good.
const VERIFY: &str = "/client/v4/user/tokens/verify";

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
    let actor = match peer {
        Peer::Unix { uid: Some(uid) } => Ok(Actor::from(format!("unix uid {uid}"))),
        Peer::Unix { uid: None } => Ok(Actor::from("unix".to_owned())),
        Peer::Tcp => admit_tcp(&context, &request),
    };
    match actor {
        Ok(actor) => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Err(fault) => fault.into_response(),
    }
}

fn admit_tcp(context: &Context, request: &Request) -> Result<Actor, Fault> {
    let headers = request.headers();
    check_host(request, context.tls.as_deref())?;
    if is_of_a_page(headers) {
        let message = "Requests from web pages are not taken here";
        return Err(Fault::new(StatusCode::FORBIDDEN, 10_000, message));
    }
    let path = request.uri().path();
    if OPEN.contains(&path) {
        return Ok(Actor::from("anonymous".to_owned()));
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
    let (scope, zone) = needed(request.method(), path);
    if !token.allows(scope, zone) && path != VERIFY {
        let message = format!(
            "Unauthorized: the token `{}` may not do this",
            token.name.escape_debug()
        );
        return Err(Fault::new(StatusCode::FORBIDDEN, 9109, message));
    }
    if let Some(seat) = request.extensions().get::<Arc<Seat>>()
        && !seat.is_known()
    {
        let message = "Too many connections; close some, or try again soon";
        return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, 971, message));
    }
    Ok(Actor {
        name: format!("token {} ({})", token.id, token.name),
        tenant: !token.zones.is_empty(),
    })
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
        (&Method::GET | &Method::HEAD, _) => Scope::Read,
        (_, "client_certificates") => Scope::Certificates,
        (_, "rulesets" | "mtls_rules") => Scope::Rules,
        // A dry run changes nothing.
        (&Method::POST, "rule_tests") => Scope::Read,
        _ if path.contains("/rules/lists") => Scope::Rules,
        _ if path.starts_with("/postern/v1/expressions") => Scope::Read,
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
