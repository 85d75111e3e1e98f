//! Heads that are used again on their thread: the memory of one request's serves the next, while it is
//! hot. So are the names of headers that nearly every head says, where HTTP/2 wants them as a map.

use std::cell::RefCell;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, request};
use http1::{Head, HeadError, Headers, Names};

use crate::limits::{SPARE_HEADER_FIELDS_MAX, SPARE_HEADERS_MAX, SPARE_HEADS_MAX};
use snapshot::http::request_head::RequestHead;

thread_local! {
    static NAMES: RefCell<Names> = RefCell::default();
    #[expect(clippy::vec_box, reason = "they are handed out in their boxes")]
    static HEADS: RefCell<Vec<Box<RequestHead>>> = const { RefCell::new(Vec::new()) };
    static HEADERS: RefCell<Vec<Headers>> = const { RefCell::new(Vec::new()) };
    static MAPS: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// No headers, in the memory of the last ones that were given back.
#[must_use]
pub fn take() -> Headers {
    HEADERS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// The headers of a head that was read from `input`, which is all of it. The head is left without them.
#[must_use]
pub fn of_head(head: &mut Head, input: BytesMut) -> Headers {
    let mut headers = take();
    headers.take_over(head, input);
    headers
}

/// The headers of a head that was read from `input`, as HTTP/2 takes them.
///
/// # Errors
/// They are too many for a map.
pub fn map_of_head(head: &Head, input: &Bytes) -> Result<Headers, HeadError> {
    let mut map = MAPS.with_borrow_mut(Vec::pop).unwrap_or_default();
    NAMES.with_borrow_mut(|names| head.share_into(input, names, &mut map))?;
    Ok(map.into())
}

/// A head that says nothing; the last one that was given back, if there is one.
#[must_use]
pub fn take_head() -> Box<RequestHead> {
    HEADS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// A head that somebody else has read.
#[must_use]
pub fn head_of(parts: request::Parts) -> Box<RequestHead> {
    let mut head = take_head();
    let before = std::mem::replace(&mut *head, parts.into());
    give_back(before.headers);
    head
}

/// Forgets what a head says and keeps its memory.
pub fn give_head_back(mut head: Box<RequestHead>) {
    if head.headers.capacity() > SPARE_HEADER_FIELDS_MAX {
        return;
    }
    if head.headers.is_map() {
        // What comes next may be HTTP/1.1, which has no use for one.
        give_back(std::mem::take(&mut head.headers));
    }
    head.clear();
    HEADS.with_borrow_mut(|heads| {
        if heads.len() < SPARE_HEADS_MAX {
            heads.push(head);
        }
    });
}

/// Forgets headers and keeps their memory.
pub fn give_back(mut headers: Headers) {
    if headers.capacity() == 0 || headers.capacity() > SPARE_HEADER_FIELDS_MAX {
        return;
    }
    headers.clear();
    match headers.try_into_map() {
        Ok(map) => keep(&MAPS, map),
        Err(spans) => keep(&HEADERS, spans),
    }
}

fn keep<T>(spares: &'static std::thread::LocalKey<RefCell<Vec<T>>>, spare: T) {
    spares.with_borrow_mut(|spares| {
        if spares.len() < SPARE_HEADERS_MAX {
            spares.push(spare);
        }
    });
}

/// Headers as HTTP/2 takes them.
///
/// # Errors
/// They are too many for a map.
pub fn into_map(headers: Headers) -> Result<HeaderMap, HeadError> {
    match headers.try_into_map() {
        Ok(map) => Ok(map),
        Err(spans) => {
            let map = to_map(&spans);
            give_back(spans);
            map
        }
    }
}

fn to_map(headers: &Headers) -> Result<HeaderMap, HeadError> {
    let mut map = MAPS.with_borrow_mut(Vec::pop).unwrap_or_default();
    NAMES.with_borrow_mut(|names| headers.share_into(names, &mut map))?;
    Ok(map)
}

/// A request as h2 takes it. The head stays as it is, for another try.
///
/// # Errors
/// Its headers are too many for a map.
pub fn to_request(head: &RequestHead) -> Result<Request<()>, HeadError> {
    let mut request = Request::new(());
    *request.headers_mut() = to_map(&head.headers)?;
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.version_mut() = head.version;
    *request.extensions_mut() = head.extensions.clone();
    Ok(request)
}

#[cfg(test)]
mod tests {
    use http::header::ACCEPT;
    use http::{HeaderName, HeaderValue, Method};
    use http1::{Limits, Scan};

    use super::*;

    const TEXT: &str = "GET / HTTP/1.1\r\nAccept: a\r\nX-B: c\r\nx-b: d\r\n\r\n";

    fn read() -> Headers {
        let mut head = Head::default();
        let size = Scan::default().request(TEXT.as_bytes(), &Limits::default(), &mut head);
        assert_eq!(size, Ok(Some(TEXT.len())));
        of_head(&mut head, BytesMut::from(TEXT))
    }

    #[test]
    fn headers_come_back_empty_and_large_ones_do_not() {
        let headers = read();
        let capacity = headers.capacity();
        give_back(headers);
        let many = HeaderMap::with_capacity(2 * SPARE_HEADER_FIELDS_MAX);
        give_back(many.into());
        let again = take();
        assert_eq!((again.len(), again.capacity()), (0, capacity));
        assert_eq!(take().capacity(), 0);
    }

    #[test]
    fn spans_become_a_map_once_http2_wants_one() {
        let mut headers = read();
        headers.insert(ACCEPT, HeaderValue::from_static("ours"));
        let map = into_map(headers).unwrap();
        let said: Vec<_> = map
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        let expected = [("x-b", "c"), ("x-b", "d"), ("accept", "ours")];
        assert_eq!(said.len(), 3);
        assert!(
            said.iter()
                .zip(expected)
                .all(|(said, (name, value))| { said.0 == name && said.1 == value })
        );
        let name = HeaderName::from_static("x-b");
        let kept = into_map(map.into()).unwrap();
        assert_eq!(kept.get_all(name).iter().count(), 2);
    }

    #[test]
    fn a_head_comes_back_and_says_nothing() {
        let request = Request::builder()
            .uri("/a?b")
            .method("M".repeat(1_000).as_str());
        let request = request.header("a", "b").extension(1_u8);
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let head = head_of(parts);
        let place = std::ptr::from_ref(&*head);
        assert_eq!((head.headers.len(), head.uri.path()), (1, "/a"));
        let asked = to_request(&head).unwrap();
        assert_eq!((asked.uri().path(), asked.headers().len()), ("/a", 1));
        give_head_back(head);
        let again = take_head();
        assert_eq!(std::ptr::from_ref(&*again), place);
        assert_eq!((again.headers.len(), again.uri.path()), (0, "/"));
        assert!(again.extensions.is_empty() && again.method == Method::GET);
        assert_eq!(again.version, http::Version::default());
    }
}
