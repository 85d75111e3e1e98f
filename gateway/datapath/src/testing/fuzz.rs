//! Promises about what strangers send: each function takes any bytes, and panics when a promise is
//! broken.
//!
//! The target is in `tests/fuzz-native`. The test here replays its corpus: every file whole, every
//! prefix of it, and with bytes changed.

use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use http1::{Asked, BodyLength, Head, Idle, Limits, Next, Piece, Waiting};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::http2_builder;
use crate::http::incoming::Incoming;
use crate::http::websocket;
use crate::limits::{PROXY_V1_BYTES_MAX, PROXY_V2_BYTES_MAX};
use crate::proxy_protocol::{self, Found};
use config::Tunables;
use snapshot::checks::{self, Selected};
use snapshot::http::headers::{OriginMetadata, clean_trailers, for_origin};
use snapshot::http::request_head::RequestHead;

/// What a client sends over HTTP/2 behind its preface. Each request that would be forwarded reaches an
/// origin that speaks HTTP/1.1 as one request, with the method, the target and the body that rules and
/// log were told of, and nothing behind it.
pub fn http2_requests(data: &[u8]) {
    let mut wire = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    wire.extend_from_slice(data);
    let cx = &mut Context::from_waker(Waker::noop());
    let handshake =
        http2_builder(&Tunables::default()).handshake::<_, Bytes>(Feed { wire, gone: 0 });
    let Poll::Ready(Ok(mut connection)) = pin!(handshake).poll(cx) else {
        return;
    };
    let mut requests = Vec::new();
    let mut replies = Vec::new();
    while let Poll::Ready(Some(Ok((request, reply)))) = connection.poll_accept(cx) {
        requests.push(request);
        replies.push(reply);
    }
    for request in requests {
        check(request, cx);
    }
}

/// The first bytes of a connection from a balancer: no panic; a header lies in the bytes and within its
/// bound, and no word is taken back when more bytes come.
pub fn proxy_header(data: &[u8]) {
    let mut said = None;
    for end in 0..=data.len().min(PROXY_V2_BYTES_MAX + 64) {
        let found = proxy_protocol::parse(data.get(..end).unwrap_or_default());
        match (said, found) {
            (Some(before), now) => assert_eq!(before, now),
            (None, Ok(Found::More)) => assert!(end < PROXY_V2_BYTES_MAX),
            (None, now) => said = Some(now),
        }
    }
    if let Some(Ok(Found::Header(header))) = said {
        assert!(header.size <= data.len() && header.size <= PROXY_V2_BYTES_MAX);
        let text = data.starts_with(b"PROXY ");
        assert!(!text || header.size <= PROXY_V1_BYTES_MAX);
    }
}

fn check(mut request: Request<RecvStream>, cx: &mut Context<'_>) {
    websocket::normalise(&mut request);
    let (parts, stream) = request.into_parts();
    let mut parts = RequestHead::from(parts);
    let is_tunnel = parts.extensions.get::<websocket::Extended>().is_some();
    let mut body = if is_tunnel {
        Incoming::Over
    } else {
        Incoming::http2(stream, &parts.headers)
    };
    let select = |name: &std::sync::Arc<str>| {
        let known_as = name.clone();
        Some(Selected { host: (), known_as })
    };
    let sni = "api.example.test".into();
    let Ok(admitted) = checks::admit(&parts, &sni, 100, select) else {
        return;
    };
    let (authority, target) = (admitted.authority, admitted.target);
    let host_value = HeaderValue::from_str(&authority).expect("an authority that was taken");
    parts.uri = Uri::from(target);
    let told = OriginMetadata {
        client: IpAddr::from([192, 0, 2, 1]),
        client_address: &HeaderValue::from_static("192.0.2.1"),
        host: &authority,
        host_value: &host_value,
        request_id: &HeaderValue::from_static("ours"),
        certificate: None,
        x_forwarded: true,
        forwarded: true,
    };
    for_origin(&mut parts.headers, &told, "2 postern");
    parts.headers.insert(header::HOST, host_value.clone());
    let length = match body.size_hint().exact() {
        _ if body.is_over() => BodyLength::None,
        Some(length) => BodyLength::Exactly(length),
        None => BodyLength::Chunked,
    };
    let mut out = Vec::new();
    let asked = Asked::from_uri(&parts.method, &parts.uri);
    let (mut upload, _) = Idle::new()
        .ask(asked, &parts.headers, length, &mut out)
        .expect("what was admitted can be written");
    let mut sent = Vec::new();
    let mut trailers = HeaderMap::new();
    let whole = loop {
        match body.poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => {
                    upload
                        .data(&data, &mut out)
                        .expect("h2 holds a body to its length");
                    sent.extend_from_slice(&data);
                }
                Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
            },
            Poll::Ready(None) => {
                clean_trailers(&mut trailers, &[]);
                let trailers = (!trailers.is_empty()).then_some(&trailers);
                break upload.end(trailers, &mut out).is_ok();
            }
            // It goes on, or breaks off, and so does the origin's.
            Poll::Ready(Some(Err(_))) | Poll::Pending => break false,
        }
    };
    read_again(&out, &parts, &host_value, &sent, whole);
}

/// What an origin reads of it.
fn read_again(out: &[u8], parts: &RequestHead, host: &HeaderValue, sent: &[u8], whole: bool) {
    let limits = Limits {
        head_bytes_max: usize::MAX,
        target_bytes_max: usize::MAX,
        ..Limits::default()
    };
    let mut head = Head::default();
    let next = Waiting::new().receive(out, &limits, &mut head);
    let Ok(Next::Request(mut request)) = next else {
        panic!("no request: {next:?} in {out:?}");
    };
    assert_eq!(head.method(out), parts.method.as_str().as_bytes());
    let target = parts
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    assert_eq!(head.target(out), target.as_bytes());
    let hosts: Vec<_> = head.fields(out).all("host").collect();
    assert_eq!(hosts, [host.as_bytes()]);
    let ((_, mut rest), mut read) = (out.split_at(request.consumed), Vec::new());
    let mut trailers = Head::default();
    loop {
        let decoded = request.incoming.receive(rest, &limits, &mut trailers);
        let decoded = decoded.expect("a body that can be read");
        let piece = decoded.piece;
        if let Piece::Data(range) = &piece {
            read.extend_from_slice(rest.get(range.clone()).expect("a part of what was given"));
        }
        (_, rest) = rest.split_at(decoded.consumed);
        if matches!(piece, Piece::End | Piece::More) {
            break;
        }
    }
    assert_eq!(read, sent);
    assert_eq!(
        request.incoming.is_over(),
        whole || request.length == BodyLength::None
    );
    assert!(rest.is_empty(), "{rest:?} is behind the request");
}

/// A client that has sent all it will, and reads nothing.
struct Feed {
    wire: Vec<u8>,
    gone: usize,
}

impl AsyncRead for Feed {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (_, rest) = this.wire.split_at(this.gone);
        if rest.is_empty() {
            return Poll::Pending;
        }
        let now = rest.len().min(into.remaining());
        into.put_slice(rest.split_at(now).0);
        this.gone += now;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Feed {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every file of a corpus, every prefix of it, and every byte of it changed in ways that matter to a
    /// parser.
    fn replay(target: &str, bytes: &[u8], check: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fuzz-native/corpus")
            .join(target);
        let mut files = 0;
        for file in std::fs::read_dir(&corpus).unwrap() {
            let data = std::fs::read(file.unwrap().path()).unwrap();
            for end in 0..=data.len() {
                check(&data[..end]);
            }
            let mut changed = data.clone();
            for at in 0..data.len() {
                for byte in bytes.iter().copied().chain([data[at] ^ 0x20]) {
                    changed[at] = byte;
                    check(&changed);
                }
                changed[at] = data[at];
            }
            files += 1;
        }
        assert!(files > 0, "no corpus in {}", corpus.display());
    }

    #[test]
    fn requests_over_http2_keep_their_promises() {
        let bytes = [0, 1, 4, 5, 9, b'\r', b' ', b':', 0x7f, 0x80, 0xff];
        replay("http2_requests", &bytes, super::http2_requests);
    }

    #[test]
    fn proxy_headers_keep_their_promises() {
        let bytes = [0, 1, b'\r', b'\n', b' ', b'0', b':', 0x11, 0x20, 0x21, 0xff];
        replay("proxy_header", &bytes, super::proxy_header);
    }
}
