//! Bodies and query parameters of requests.
//!
//! Owns the bound on bodies and the messages for malformed ones. Lenient where Cloudflare's clients
//! are loose (numbers as `2` or `2.0`, unknown parameters), strict where a value could be
//! misunderstood.

use std::collections::HashMap;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::context::Actor;
use super::envelope::Page;
use super::fault::Fault;
use super::objects::Objects;
use crate::limits::{ADMIN_BODY_BYTES_MAX, PER_PAGE_DEFAULT, PER_PAGE_MAX};
use control::Intent;

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Fault> {
        let kind = content_type(&request);
        let bytes = bytes(request.into_body()).await?;
        if bytes.is_empty() {
            return Err(Fault::body(
                "The request has no body; a JSON object is expected",
            ));
        }
        read_json(&bytes, &kind).map(Json)
    }
}

/// A member of a body that was given, `null` too: for `Option<Option<T>>`, where absent leaves
/// things as they are and `null` takes them away.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    given: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(given).map(Some)
}

/// A JSON body that may be missing.
pub(crate) struct MaybeJson<T>(pub(crate) Option<T>);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for MaybeJson<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Fault> {
        let kind = content_type(&request);
        let bytes = bytes(request.into_body()).await?;
        if bytes.is_empty() {
            return Ok(Self(None));
        }
        read_json(&bytes, &kind).map(|value| Self(Some(value)))
    }
}

/// What a request says its body is, when that is not JSON.
fn content_type(request: &Request) -> String {
    let said = request.headers().get(http::header::CONTENT_TYPE);
    let said = said.and_then(|said| said.to_str().ok()).unwrap_or_default();
    let kind = said.split(';').next().unwrap_or_default().trim();
    if kind.ends_with("json") {
        return String::new();
    }
    kind.chars().take(64).collect()
}

/// Reads a body's JSON, or says what is wrong with it and where. `kind` is what the request says
/// that it is, when that is not JSON.
pub(crate) fn read_json<T: DeserializeOwned>(text: &[u8], kind: &str) -> Result<T, Fault> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(Objects(&mut json)).map_err(|error| {
        let fault = malformed(error.inner(), kind);
        match error.inner().is_data() {
            true => fault.at(pointer(error.path())),
            // What is no JSON has no places.
            false => fault,
        }
    })?;
    json.end().map_err(|error| malformed(&error, kind))?;
    Ok(value)
}

/// The JSON pointer (RFC 6901) of a path.
pub(crate) fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => out.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                out.push('/');
                out.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    out
}

fn malformed(error: &serde_json::Error, kind: &str) -> Fault {
    let mut message = format!("Malformed JSON in request body: {error}");
    if !kind.is_empty() {
        message.push_str(&format!(
            "; it came as `{}`, application/json is expected",
            kind.escape_debug()
        ));
    }
    Fault::body(message)
}

/// A body of up to `MAX` bytes, whatever it is.
pub(crate) struct Raw<const MAX: u64>(pub(crate) axum::body::Bytes);

impl<S: Send + Sync, const MAX: u64> FromRequest<S> for Raw<MAX> {
    type Rejection = Fault;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Fault> {
        let max = usize::try_from(MAX).unwrap_or(usize::MAX);
        let read = to_bytes(request.into_body(), max).await;
        read.map(Self).map_err(|_too_long_or_broken| {
            let message = format!("The request body is larger than {MAX} bytes, or broke off");
            Fault::new(StatusCode::PAYLOAD_TOO_LARGE, 6008, message)
        })
    }
}

async fn bytes(body: Body) -> Result<axum::body::Bytes, Fault> {
    to_bytes(body, ADMIN_BODY_BYTES_MAX)
        .await
        .map_err(|_too_long_or_broken| {
            let message = format!(
                "The request body is larger than {ADMIN_BODY_BYTES_MAX} bytes, or broke off"
            );
            Fault::new(StatusCode::PAYLOAD_TOO_LARGE, 6008, message)
        })
}

/// With what intent a request changes something: as whom, and whether only to try it
/// (`dry_run=true`).
pub(crate) struct As(pub(crate) Intent);

impl<S: Send + Sync> FromRequestParts<S> for As {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let parameters = Parameters::from_request_parts(parts, state).await?;
        let dry_run = match parameters.text("dry_run") {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            // A guess in either direction would surprise somebody.
            Some(_) => return Err(Fault::parameter("dry_run: `true` or `false` is expected")),
        };
        let actor = parts.extensions.get::<Actor>();
        Ok(Self(Intent {
            actor: actor.map_or("unknown", |actor| &actor.name).into(),
            dry_run,
            // Whoever is not known is trusted with least.
            tenant: actor.is_none_or(|actor| actor.tenant),
        }))
    }
}

/// The parameters after the `?`, each once.
pub(crate) struct Parameters(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        Query::<HashMap<String, String>>::from_request_parts(parts, state)
            .await
            .map(|Query(all)| Self(all))
            .map_err(|error| Fault::parameter(format!("The query cannot be read: {error}")))
    }
}

impl Parameters {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// A whole number that is not negative, also written as `2.0`.
    pub(crate) fn number(&self, name: &str) -> Result<Option<usize>, Fault> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let digits = text.strip_suffix(".0").unwrap_or(text);
        digits.parse().map(Some).map_err(|_not_a_number| {
            let text = text.chars().take(32).collect::<String>();
            Fault::parameter(format!(
                "{name}: `{}` is not a whole number",
                text.escape_debug()
            ))
        })
    }

    /// The number of a version.
    pub(crate) fn version(&self, name: &str) -> Result<Option<u32>, Fault> {
        let number = self.number(name)?.map(u32::try_from).transpose();
        number.map_err(|_too_large| Fault::parameter(format!("{name}: there is no such version")))
    }

    /// Which part of a list is wanted: `page` and `per_page`, beginning at `offset`, or `limit`
    /// instead of `per_page`.
    pub(crate) fn page(&self) -> Result<Page, Fault> {
        let page = self.number("page")?.unwrap_or(1);
        if page == 0 {
            return Err(Fault::parameter("page: pages are counted from 1"));
        }
        let (per_page, limit) = (self.number("per_page")?, self.number("limit")?);
        if per_page == Some(0) || limit == Some(0) {
            return Err(Fault::parameter("per_page and limit are at least 1"));
        }
        let size = per_page
            .or(limit)
            .unwrap_or(PER_PAGE_DEFAULT)
            .min(PER_PAGE_MAX);
        let size = limit.map_or(size, |limit| size.min(limit));
        let offset = self.number("offset")?.unwrap_or(0);
        // SDKs walk through pages while they keep sending the same offset.
        let start = (page - 1).saturating_mul(size).saturating_add(offset);
        Ok(Page { page, size, start })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, Fault> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Parameters(pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()).page()
    }

    #[test]
    fn pages() {
        for (query, number, size, start) in [
            ("", 1, PER_PAGE_DEFAULT, 0),
            ("page=3&per_page=50", 3, 50, 100),
            ("page=3.0&per_page=50.0", 3, 50, 100),
            ("per_page=999999", 1, PER_PAGE_MAX, 0),
            ("limit=5&offset=7", 1, 5, 7),
            ("limit=5&offset=7&page=2", 2, 5, 12),
            ("limit=5&per_page=2&page=2", 2, 2, 2),
            (
                "page=18446744073709551615&per_page=50",
                usize::MAX,
                50,
                usize::MAX,
            ),
        ] {
            assert_eq!(
                page(query).unwrap(),
                Page {
                    page: number,
                    size,
                    start
                },
                "{query}"
            );
        }
        for query in [
            "page=0",
            "page=-1",
            "page=x",
            "per_page=0",
            "limit=0",
            "offset=1.5",
            "page=1e3",
        ] {
            assert!(page(query).is_err(), "{query}");
        }
    }
}
