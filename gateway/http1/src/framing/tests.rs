//! The table of RFC 9112 §6.3, and what is refused instead of guessed.

use super::{BodyLength, FramingError, Said};
use crate::head::{Head, Scan};
use crate::limits::Limits;
use http::{Method, Version};

fn said(fields: &str) -> Said {
    let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    let mut head = Head::default();
    let read = Scan::default().response(text.as_bytes(), &Limits::default(), &mut head);
    assert_eq!(read, Ok(Some(text.len())), "{text:?}");
    Said::of(head.fields(text.as_bytes()))
}

#[test]
fn the_body_of_a_message_ends_in_one_place_or_is_refused() {
    use BodyLength::{Chunked, Exactly, None as Nothing, UntilClose};
    use FramingError::{
        ChunkedNotLast, ChunkedTwice, CodingEmpty, CodingUnknown, LengthAndCoding, LengthInvalid,
        LengthRepeated, LengthTooLarge, LengthsDiffer, Unframed,
    };
    // Of a request, and of a response to GET with 200.
    for (fields, request, response) in [
        ("", Ok(Nothing), Ok(UntilClose)),
        ("Content-Length: 0\r\n", Ok(Exactly(0)), Ok(Exactly(0))),
        ("content-length:0012 \r\n", Ok(Exactly(12)), Ok(Exactly(12))),
        (
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            Err(LengthRepeated),
            Ok(Exactly(1)),
        ),
        (
            "Content-Length: 1, 1\r\n",
            Err(LengthRepeated),
            Ok(Exactly(1)),
        ),
        (
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            Err(LengthsDiffer),
            Err(LengthsDiffer),
        ),
        (
            "Content-Length: 1, 2\r\n",
            Err(LengthsDiffer),
            Err(LengthsDiffer),
        ),
        (
            "Content-Length: 1,2,1\r\n",
            Err(LengthsDiffer),
            Err(LengthsDiffer),
        ),
        (
            "Content-Length: 1,\r\n",
            Err(LengthInvalid),
            Err(LengthInvalid),
        ),
        (
            "Content-Length:\r\n",
            Err(LengthInvalid),
            Err(LengthInvalid),
        ),
        (
            "Content-Length: +1\r\n",
            Err(LengthInvalid),
            Err(LengthInvalid),
        ),
        (
            "Content-Length: -1\r\n",
            Err(LengthInvalid),
            Err(LengthInvalid),
        ),
        (
            "Content-Length: 1 2\r\n",
            Err(LengthInvalid),
            Err(LengthInvalid),
        ),
        (
            "Content-Length: 0x1\r\n",
            Err(LengthInvalid),
            Err(LengthInvalid),
        ),
        (
            "Content-Length: 1.0\r\n",
            Err(LengthInvalid),
            Err(LengthInvalid),
        ),
        (
            "Content-Length: \u{661}\r\n",
            Err(LengthInvalid),
            Err(LengthInvalid),
        ),
        (
            "Content-Length: 9223372036854775807\r\n",
            Ok(Exactly(u64::MAX >> 1)),
            Ok(Exactly(u64::MAX >> 1)),
        ),
        (
            "Content-Length: 9223372036854775808\r\n",
            Err(LengthTooLarge),
            Err(LengthTooLarge),
        ),
        (
            "Content-Length: 99999999999999999999999\r\n",
            Err(LengthTooLarge),
            Err(LengthTooLarge),
        ),
        (
            "Content-Length: a\r\nContent-Length: 1\r\n",
            Err(LengthInvalid),
            Err(LengthInvalid),
        ),
        ("Transfer-Encoding: chunked\r\n", Ok(Chunked), Ok(Chunked)),
        (
            "TRANSFER-ENCODING:\tChunked\t\r\n",
            Ok(Chunked),
            Ok(Chunked),
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
            Err(LengthAndCoding),
            Ok(Chunked),
        ),
        (
            "Content-Length: x\r\nTransfer-Encoding: chunked\r\n",
            Err(LengthAndCoding),
            Ok(Chunked),
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            Err(ChunkedTwice),
            Err(ChunkedTwice),
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Err(ChunkedTwice),
            Err(ChunkedTwice),
        ),
        (
            "Transfer-Encoding: chunked, gzip\r\n",
            Err(ChunkedNotLast),
            Err(ChunkedNotLast),
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            Err(ChunkedNotLast),
            Err(ChunkedNotLast),
        ),
        ("Transfer-Encoding: gzip\r\n", Err(Unframed), Err(Unframed)),
        (
            "Transfer-Encoding: identity\r\n",
            Err(Unframed),
            Err(Unframed),
        ),
        (
            "Transfer-Encoding: xchunked\r\n",
            Err(Unframed),
            Err(Unframed),
        ),
        (
            "Transfer-Encoding: \"chunked\"\r\n",
            Err(Unframed),
            Err(Unframed),
        ),
        (
            "Transfer-Encoding: chunked;q=1\r\n",
            Err(Unframed),
            Err(Unframed),
        ),
        (
            "Transfer-Encoding: chun ked\r\n",
            Err(Unframed),
            Err(Unframed),
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            Err(CodingUnknown),
            Err(CodingUnknown),
        ),
        (
            "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
            Err(CodingUnknown),
            Err(CodingUnknown),
        ),
        (
            "Transfer-Encoding: gzip, chunked, chunked\r\n",
            Err(ChunkedTwice),
            Err(ChunkedTwice),
        ),
        (
            "Transfer-Encoding: gzip, chunked, br\r\n",
            Err(ChunkedNotLast),
            Err(ChunkedNotLast),
        ),
        (
            "Transfer-Encoding: chunked,\r\n",
            Err(CodingEmpty),
            Err(CodingEmpty),
        ),
        (
            "Transfer-Encoding: , chunked\r\n",
            Err(CodingEmpty),
            Err(CodingEmpty),
        ),
        ("Transfer-Encoding:\r\n", Err(CodingEmpty), Err(CodingEmpty)),
        (
            "Transfer_Encoding: chunked\r\n",
            Ok(Nothing),
            Ok(UntilClose),
        ),
    ] {
        let said = said(fields);
        assert_eq!(said.request_body(Version::HTTP_11), request, "{fields:?}");
        let of_response = said.response_body(Version::HTTP_11, 200, &Method::GET);
        assert_eq!(of_response, response, "{fields:?}");
        if fields.to_ascii_lowercase().contains("transfer-encoding") {
            let old = Err(FramingError::CodingInOldVersion);
            assert_eq!(said.request_body(Version::HTTP_10), old, "{fields:?}");
            let of_response = said.response_body(Version::HTTP_10, 200, &Method::GET);
            assert_eq!(of_response, old, "{fields:?}");
        } else {
            assert_eq!(said.request_body(Version::HTTP_10), request, "{fields:?}");
        }
    }
}

#[test]
fn responses_without_a_body() {
    use BodyLength::{Chunked, Exactly, None as Nothing, UntilClose};
    let (length, chunked) = ("Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n");
    for (method, status, fields, expected, promises) in [
        (Method::GET, 100, "", Nothing, false),
        (Method::GET, 103, length, Nothing, true),
        (Method::GET, 101, chunked, Nothing, true),
        (Method::GET, 204, "", Nothing, false),
        (Method::GET, 204, "Content-Length: 0\r\n", Nothing, false),
        (Method::GET, 204, length, Nothing, true),
        (Method::GET, 204, chunked, Nothing, true),
        (Method::GET, 304, length, Nothing, false),
        (Method::GET, 304, chunked, Nothing, false),
        (Method::GET, 205, "", UntilClose, false),
        (Method::HEAD, 200, length, Nothing, false),
        (Method::HEAD, 200, chunked, Nothing, false),
        (Method::HEAD, 404, "", Nothing, false),
        (Method::CONNECT, 200, length, Nothing, false),
        (
            Method::CONNECT,
            299,
            "Content-Length: x\r\n",
            Nothing,
            false,
        ),
        (Method::CONNECT, 407, length, Exactly(5), false),
        (Method::POST, 500, chunked, Chunked, false),
        (Method::GET, 999, length, Exactly(5), false),
    ] {
        let said = said(fields);
        let found = said.response_body(Version::HTTP_11, status, &method);
        assert_eq!(found, Ok(expected), "{method} {status} {fields:?}");
        assert_eq!(
            said.promises_body(status),
            promises,
            "{method} {status} {fields:?}"
        );
    }
    // A length that is passed on has to be one.
    for status in [204, 304] {
        let found =
            said("Content-Length: x\r\n").response_body(Version::HTTP_11, status, &Method::GET);
        assert_eq!(found, Err(FramingError::LengthInvalid));
    }
}

#[test]
fn what_a_head_says_of_its_connection() {
    for (fields, on_11, on_10) in [
        ("", true, false),
        ("Connection: close\r\n", false, false),
        ("Connection: Close\r\n", false, false),
        ("Connection: keep-alive\r\n", true, true),
        ("Connection: keep-alive, close\r\n", false, false),
        (
            "Connection: close\r\nConnection: keep-alive\r\n",
            false,
            false,
        ),
        (
            "Connection: keep-alive\r\nConnection: x,\tCLOSE\t,y\r\n",
            false,
            false,
        ),
        ("Connection: \u{e9}, close\r\n", false, false),
        ("Connection: closed, not-close\r\n", true, false),
    ] {
        let said = said(fields);
        let found = (
            said.persists(Version::HTTP_11),
            said.persists(Version::HTTP_10),
        );
        assert_eq!(found, (on_11, on_10), "{fields:?}");
    }
    let said =
        said("Connection: Upgrade\r\nUpgrade: x\r\nExpect: 100-Continue\r\nHost: a\r\nhost: b\r\n");
    assert!(said.upgrade && said.has_upgrade && said.expects_continue && !said.expects_other);
    assert_eq!(said.hosts, 2);
}
