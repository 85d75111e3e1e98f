//! The checks that a request passes before its rules, in their one order.
//!
//! Owns the order, the choice of the host that a request is for, and what a refused request is
//! answered. The data path and the dry run call the same [`admit`], so that a dry run cannot say
//! anything else than what the gateway does. Does not know who the client is, and asks no rule.
//!
//! 1. The method is one that is served.
//! 2. The authority is sound, and there is one.
//! 3. The connection may be used for that host; otherwise 421.
//! 4. The headers mean the same to rules and origin.
//! 5. The path normalises, `*` is for OPTIONS only, and the origin's target can be made of it.

use std::borrow::Cow;
use std::sync::Arc;

use ::http::uri::PathAndQuery;
use ::http::{Method, StatusCode, Version};

use crate::http::authority::{self, AuthorityError};
use crate::http::headers::{self, HeadError};
use crate::http::path::{self, PathError};
use crate::http::request_head::RequestHead;
use crate::{Host, Snapshot};
use rules::{Allowance, RequestFacts, RoundTrip};
use vocabulary::request_error::RequestError;

/// What a connection says of the hosts that its requests may be for.
pub struct Connected<'s> {
    /// The name in SNI, canonical; empty without one.
    pub sni: &'s Arc<str>,
    /// The host that the handshake was for.
    pub host: &'s Arc<Host>,
    /// Whether it has kept its ClientHello, which the rules of some hosts read.
    pub has_hello: bool,
    /// Where other hosts are looked up.
    pub snapshot: &'s Snapshot,
}

/// A host, and the name by which its rules know a request.
pub struct Selected<H> {
    /// The host.
    pub host: H,
    /// The authority; of a host that answers for names that no host has, the host's own name.
    pub known_as: Arc<str>,
}

impl Connected<'_> {
    /// The host that a request with this canonical authority is for: the connection's own, or one
    /// with the same trust policy. `None` means 421.
    #[must_use]
    pub fn select(&self, authority: &Arc<str>) -> Option<Selected<Arc<Host>>> {
        let selected = |host: &Arc<Host>, known_as: &Arc<str>| {
            Some(Selected {
                host: host.clone(),
                known_as: known_as.clone(),
            })
        };
        if !authority.is_empty() && authority == self.sni {
            return selected(self.host, authority);
        }
        if let Some(other) = self.snapshot.host(authority) {
            let same_policy = other.site().policy == self.host.site().policy;
            let has_what_it_reads = self.has_hello || !other.endpoint.keeps_hello;
            return (same_policy && has_what_it_reads)
                .then(|| selected(other, authority))
                .flatten();
        }
        // A client that reached the default host without a name may call it what it likes, but
        // must not get around rules about its name by that.
        let default = self.snapshot.default_host.as_ref();
        let is_default = default.is_some_and(|default| Arc::ptr_eq(default, self.host));
        (self.sni.is_empty() && is_default)
            .then(|| selected(self.host, &self.host.name().as_str().into()))
            .flatten()
    }
}

/// What an admitted request asks for.
#[derive(Debug)]
pub struct Head<'p, H> {
    /// The host it is for.
    pub host: H,
    /// The canonical authority.
    pub authority: Arc<str>,
    /// The authority as the host's rules know it; see [`Selected::known_as`].
    pub known_as: Arc<str>,
    /// The normalised path.
    pub path: Cow<'p, str>,
    /// The origin's target: that very path, and the query as it was sent.
    pub target: PathAndQuery,
}

/// A request that is refused, and what was known of it by then.
#[derive(Debug)]
pub struct Refused<H> {
    /// Why.
    pub refusal: Refusal,
    /// The canonical authority.
    pub authority: Option<Arc<str>>,
    /// The host it is for.
    pub host: Option<H>,
}

/// Why a request does not get as far as the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// TRACE, or CONNECT for what is not served.
    #[error("this gateway does not serve the method")]
    Method,
    /// It is not clear which host is meant.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// Another host than the connection may be used for.
    #[error("this connection is not for that host; open a new one")]
    Misdirected,
    /// Headers that rules and origin would understand differently.
    #[error(transparent)]
    Headers(#[from] HeadError),
    /// A path that could be read in two ways.
    #[error(transparent)]
    Path(#[from] PathError),
    /// RFC 9112 §3.2.4: the server as a whole, which no other method can mean.
    #[error("the target * is for OPTIONS only")]
    Asterisk,
}

impl Refusal {
    /// What the client is answered.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Authority(_) | Self::Path(_) | Self::Asterisk => StatusCode::BAD_REQUEST,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Headers(error) => error.status(),
        }
    }

    /// The stable word for the access log.
    #[must_use]
    pub fn reason(self) -> RequestError {
        match self {
            Self::Method => RequestError::Method,
            Self::Authority(_) => RequestError::Authority,
            Self::Misdirected => RequestError::Misdirected,
            Self::Headers(_) => RequestError::Headers,
            Self::Path(_) | Self::Asterisk => RequestError::Path,
        }
    }
}

/// Takes a request head as far as the rules.
///
/// `sni` is the connection's name, canonical, and empty without one. `select` finds the host of a
/// canonical authority, as [`Connected::select`] does.
///
/// # Errors
/// The first check that the request does not pass.
pub fn admit<'p, H>(
    parts: &'p RequestHead,
    sni: &Arc<str>,
    header_count_max: usize,
    select: impl FnOnce(&Arc<str>) -> Option<Selected<H>>,
) -> Result<Head<'p, H>, Refused<H>> {
    let early = |refusal, authority| Refused {
        refusal,
        authority,
        host: None,
    };
    if matches!(parts.method, Method::CONNECT | Method::TRACE) {
        return Err(early(Refusal::Method, None));
    }
    let authority = authority_of(parts, sni).map_err(|error| early(error.into(), None))?;
    let Some(Selected { host, known_as }) = select(&authority) else {
        return Err(early(Refusal::Misdirected, Some(authority)));
    };
    match head(parts, header_count_max) {
        Ok((path, target)) => Ok(Head {
            host,
            authority,
            known_as,
            path,
            target,
        }),
        Err(refusal) => Err(Refused {
            refusal,
            authority: Some(authority),
            host: Some(host),
        }),
    }
}

fn authority_of(parts: &RequestHead, sni: &Arc<str>) -> Result<Arc<str>, AuthorityError> {
    // As nearly every request: one comparison, and nothing is allocated.
    if authority::is_plainly(parts, sni) {
        return Ok(sni.clone());
    }
    match authority::of(parts) {
        // HTTP/1.0 knows no Host; SNI has said it.
        Err(AuthorityError::Missing) if parts.version == Version::HTTP_10 => Ok(sni.clone()),
        found => found,
    }
}

/// Headers, path and target.
fn head(
    parts: &RequestHead,
    header_count_max: usize,
) -> Result<(Cow<'_, str>, PathAndQuery), Refusal> {
    headers::check(&parts.headers, parts.version, header_count_max)?;
    let path = path::normalise(parts.uri.path())?;
    if path == "*" && parts.method != Method::OPTIONS {
        return Err(Refusal::Asterisk);
    }
    let target = path::target(&path, &parts.uri)?;
    Ok((path, target))
}

/// What of a request is not in its head.
pub struct Circumstances<'a> {
    /// When the head was complete, milliseconds since the epoch.
    pub received_msec: i64,
    /// The request id.
    pub ray_id: &'a str,
    /// How long a segment to the client and its acknowledgement take.
    pub round_trip: RoundTrip<'a>,
}

/// The facts that the rules get of an admitted request: its [`Head::known_as`] and [`Head::path`],
/// and what was sent.
#[must_use]
pub fn facts<'a>(
    parts: &'a RequestHead,
    known_as: &'a str,
    path: &'a str,
    circumstances: Circumstances<'a>,
) -> RequestFacts<'a> {
    RequestFacts {
        method: parts.method.as_str(),
        version: version_text(parts.version),
        host: known_as,
        path,
        raw_path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        authority: authority::instead_of_host(parts),
        headers: &parts.headers,
        received_msec: circumstances.received_msec,
        ray_id: circumstances.ray_id,
        allowance: Allowance::default(),
        round_trip: circumstances.round_trip,
    }
}

/// The text of the field `http.request.version`.
#[must_use]
pub fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::Request;

    const SNI: &str = "api.example.test";

    /// What becomes of a request on a connection for [`SNI`] that may be used for `b.test` too.
    fn outcome(
        version: Version,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<String, (&'static str, u16)> {
        let mut request = Request::builder()
            .version(version)
            .method(method)
            .uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let parts = RequestHead::from(parts);
        let select = |name: &Arc<str>| {
            [SNI, "b.test"].contains(&&**name).then(|| Selected {
                host: (),
                known_as: name.clone(),
            })
        };
        match admit(&parts, &SNI.into(), 3, select) {
            Ok(head) => Ok(format!("{}{}", head.known_as, head.target)),
            Err(refused) => Err((
                refused.refusal.reason().as_str(),
                refused.refusal.status().as_u16(),
            )),
        }
    }

    #[test]
    fn the_first_check_that_fails_is_the_answer() {
        let (zero, one, two) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
        let own = ("host", SNI);
        let coded = ("transfer-encoding", "gzip, chunked");
        for (version, method, target, headers, expected) in [
            (
                one,
                "GET",
                "/a/../b?q",
                &[own][..],
                Ok("api.example.test/b?q"),
            ),
            (one, "GET", "/", &[("host", "B.test.:1")], Ok("b.test/")),
            (one, "OPTIONS", "*", &[own], Ok("api.example.test*")),
            (zero, "GET", "/", &[], Ok("api.example.test/")),
            (one, "GET", "/", &[], Err(("authority", 400))),
            (one, "TRACE", "/%2f", &[own, own], Err(("method", 405))),
            (
                one,
                "GET",
                "/%2f",
                &[own, own, coded],
                Err(("authority", 400)),
            ),
            (
                one,
                "GET",
                "/%2f",
                &[("host", "c.test"), coded],
                Err(("misdirected", 421)),
            ),
            (one, "GET", "/%2f", &[own, coded], Err(("headers", 501))),
            (
                two,
                "GET",
                "/%2f",
                &[own, ("a", "b ")],
                Err(("headers", 400)),
            ),
            (two, "GET", "/%2f", &[own; 1], Err(("path", 400))),
            (one, "GET", "*", &[own], Err(("path", 400))),
        ] {
            let found = outcome(version, method, target, headers);
            let found = found.as_deref().map_err(|refused| *refused);
            assert_eq!(found, expected, "{method} {target} {headers:?}");
        }
    }

    #[test]
    fn a_refusal_says_which_host_it_counts_for() {
        let request = Request::builder().uri("/%2f").header("host", SNI);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let parts = RequestHead::from(parts);
        let select = |name: &Arc<str>| {
            Some(Selected {
                host: 7,
                known_as: name.clone(),
            })
        };
        let refused = admit(&parts, &SNI.into(), 3, select).unwrap_err();
        assert_eq!(
            (refused.authority.as_deref(), refused.host),
            (Some(SNI), Some(7))
        );
    }
}
