//! Bodies and query parameters of requests.
//!
//! Owns how bodies are taken and read, and the messages for malformed ones. Lenient where Cloudflare's clients
//! are loose (numbers as `2` or `2.0`, unknown parameters), strict where a value could be
//! misunderstood.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use http_body::Body;
use http_body_util::BodyExt;
use serde::de::{self, DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::context::Actor;
use super::envelope::Page;
use super::fault::Fault;
use super::memory::{Budget, Pool, Share, Spent};
use super::objects::Objects;
use crate::limits::{
    ADMIN_ALL_BODIES_BYTES_MAX, ADMIN_BODY_BYTES_MAX, ADMIN_READ_BODY_FACTOR,
    ADMIN_SMALL_BODY_BYTES_MAX, ADMIN_TOLD_BYTES_MAX, PER_PAGE_DEFAULT, PER_PAGE_MAX,
};
use control::Intent;

/// How many bytes the body of a route may have. The table of routes says it; a route that says
/// nothing takes small ones.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyMax(pub(crate) usize);

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send + 'static> FromRequest<S> for Json<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, state: &S) -> Result<Self, Fault> {
        let MaybeJson(read) = MaybeJson::from_request(request, state).await?;
        let missing = || Fault::body("The request has no body; a JSON object is expected");
        read.map(Self).ok_or_else(missing)
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

impl<S: Send + Sync, T: DeserializeOwned + Send + 'static> FromRequest<S> for MaybeJson<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Fault> {
        let body = Received::of(request).await?;
        if body.bytes.is_empty() {
            return Ok(Self(None));
        }
        let read = move || read_json(&body.bytes, &body.kind, &body.share);
        off_thread(read).await?.map(|value| Self(Some(value)))
    }
}

/// A body as it came.
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// What the request says that it is, when that is not JSON.
    pub(crate) kind: String,
    pub(crate) share: Share,
}

impl Received {
    /// Takes a body as it streams in, while it is no longer than its route allows and while there is
    /// memory for it.
    async fn of(request: Request) -> Result<Self, Fault> {
        let found = request.extensions();
        let BodyMax(max) = found
            .get()
            .copied()
            .unwrap_or(BodyMax(ADMIN_SMALL_BODY_BYTES_MAX));
        let share: Option<Share> = found.get().cloned();
        // A request that did not come through the listener has none to share with.
        let share = share.unwrap_or_else(|| Pool::default().share());
        let kind = content_type(&request);
        let said = request.body().size_hint().lower();
        let mut body = request.into_body();
        if said > u64::try_from(max).unwrap_or(u64::MAX) {
            return Err(too_large(body, max).await);
        }
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_broken| Fault::body("The request body broke off"))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.len() > max.saturating_sub(bytes.len()) {
                return Err(too_large(body, max).await);
            }
            // Its texts are kept beside it while it is read.
            if !share.take(data.len().saturating_mul(2)) {
                return Err(no_memory());
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Self { bytes, kind, share })
    }
}

/// Refuses a body that is too large. What it still has is read first and forgotten, so that a client
/// that sends all of it before it listens gets the answer.
async fn too_large(mut body: axum::body::Body, max: usize) -> Fault {
    let mut left = ADMIN_BODY_BYTES_MAX;
    while left > 0
        && let Some(Ok(frame)) = body.frame().await
    {
        left = left.saturating_sub(frame.data_ref().map_or(0, axum::body::Bytes::len));
    }
    let message = format!("The request body is larger than the {max} bytes that this call takes");
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, 6008, message)
}

fn no_memory() -> Fault {
    let message = format!(
        "The requests that are under way take all memory that there is for them \
         ({ADMIN_ALL_BODIES_BYTES_MAX} bytes); try again soon"
    );
    Fault::new(StatusCode::SERVICE_UNAVAILABLE, 971, message)
}

/// A list of at most `MAX` items. One that is longer is refused at its first further item.
pub(crate) struct AtMost<const MAX: usize, T>(pub(crate) Vec<T>);

impl<const MAX: usize, T> Default for AtMost<MAX, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, const MAX: usize, T: Deserialize<'de>> Deserialize<'de> for AtMost<MAX, T> {
    fn deserialize<D: Deserializer<'de>>(given: D) -> Result<Self, D::Error> {
        struct Counted<const MAX: usize, T>(PhantomData<T>);

        impl<'de, const MAX: usize, T: Deserialize<'de>> Visitor<'de> for Counted<MAX, T> {
            type Value = Vec<T>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "an array of at most {MAX} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
                let mut taken = Vec::new();
                while taken.len() < MAX {
                    match items.next_element()? {
                        Some(item) => taken.push(item),
                        None => return Ok(taken),
                    }
                }
                match items.next_element::<IgnoredAny>()? {
                    None => Ok(taken),
                    Some(_) => Err(de::Error::custom(format_args!(
                        "more than {MAX} items; send fewer at a time"
                    ))),
                }
            }
        }

        given
            .deserialize_seq(Counted::<MAX, T>(PhantomData))
            .map(Self)
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
/// that it is, when that is not JSON. Takes long where the body is large: not for the thread that
/// answers everybody.
pub(crate) fn read_json<T: DeserializeOwned>(
    text: &[u8],
    kind: &str,
    share: &Share,
) -> Result<T, Fault> {
    read_json_saying(text, share, |error| malformed(error, kind))
}

/// As [`read_json`], with words of its own for what is wrong.
pub(crate) fn read_json_saying<T: DeserializeOwned>(
    text: &[u8],
    share: &Share,
    say: impl Fn(&serde_json::Error) -> Fault,
) -> Result<T, Fault> {
    let budget = Budget::of(text.len(), share);
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(Objects(&mut json, &budget)).map_err(|error| {
        let fault = match budget.spent() {
            Some(Spent::Parts) => too_many_parts(text.len()),
            Some(Spent::Pool) => return no_memory(),
            None => say(error.inner()),
        };
        match error.inner().is_data() {
            true => fault.at(shortened(pointer(error.path()))),
            // What is no JSON has no places.
            false => fault,
        }
    })?;
    json.end().map_err(|error| malformed(&error, ""))?;
    Ok(value)
}

fn too_many_parts(bytes: usize) -> Fault {
    let message = format!(
        "The request body has too many parts for its {bytes} bytes: it would take more than \
         {ADMIN_READ_BODY_FACTOR} times as much memory"
    );
    Fault::new(StatusCode::PAYLOAD_TOO_LARGE, 6008, message)
}

/// What is told of a text that came: its beginning, since it may be as long as the body.
pub(crate) fn shortened(mut text: String) -> String {
    if text.len() > ADMIN_TOLD_BYTES_MAX {
        text.truncate(text.floor_char_boundary(ADMIN_TOLD_BYTES_MAX));
        text.push('…');
        text.shrink_to_fit();
    }
    text
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

/// What serde_json says of a text that it cannot take.
pub(crate) fn malformed(error: &serde_json::Error, kind: &str) -> Fault {
    let mut message = "Malformed JSON in request body: ".to_owned();
    message.push_str(&shortened(error.to_string()));
    if !kind.is_empty() {
        message.push_str(&format!(
            "; it came as `{}`, application/json is expected",
            kind.escape_debug()
        ));
    }
    Fault::body(message)
}

/// A body as it came, whatever it is.
pub(crate) struct Raw(pub(crate) Received);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Fault;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Fault> {
        Received::of(request).await.map(Self)
    }
}

/// Reads a body where it keeps nobody waiting.
pub(crate) async fn off_thread<T: Send + 'static>(
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(read).await;
    done.map_err(|_panicked| {
        let message = "The request could not be read; the log has the reason";
        Fault::new(StatusCode::INTERNAL_SERVER_ERROR, 1000, message)
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
        let seen = seen(parts)?;
        let actor = parts.extensions.get::<Actor>();
        Ok(Self(Intent {
            actor: actor.map_or("unknown", |actor| &actor.name).into(),
            dry_run,
            seen,
            // Whoever is not known is trusted with least.
            tenant: actor.is_none_or(Actor::is_tenant),
            grant: actor.and_then(|actor| actor.grant.clone()),
        }))
    }
}

/// The revision of the configuration that the client has seen: `If-Match` (RFC 9110 §13.1.1), with
/// what an answer had as `Postern-Revision`.
fn seen(parts: &Parts) -> Result<Option<u64>, Fault> {
    let Some(given) = parts.headers.get(http::header::IF_MATCH) else {
        return Ok(None);
    };
    let text = given.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let number = text.trim_matches('"').parse();
    number.map(Some).map_err(|_not_ours| {
        Fault::parameter("If-Match: a revision is expected, as answers have it in Postern-Revision")
    })
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
