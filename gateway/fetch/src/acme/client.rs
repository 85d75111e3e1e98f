//! HTTP to one ACME server: `instant_acme`'s requests over our own TLS.
//!
//! Owns the bounds of a request, and that no server is asked but the one of the directory, whatever
//! URLs its answers name. Follows no redirect.

use std::cell::Cell;
use std::error::Error as StdError;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::net::TcpStream;

use crate::limits::{ACME_ANSWER_BYTES_MAX, ACME_REQUEST_TIMEOUT, ACME_RETRY_AFTER_MAX};
use crate::lookups::look_up;
use control::OriginError;
use tls::{Alpn, OriginTls, OriginTlsError, OriginTlsSpec};
use vocabulary::file::read_regular;
use vocabulary::settings::TlsVersion;

tokio::task_local! {
    /// For how long the server has asked this task to leave it alone (429, 503).
    pub(super) static ASKED_TO_WAIT: Cell<Option<Duration>>;
}

/// Bytes of the file with the CAs of a private server; a larger one is none.
const CA_FILE_BYTES_MAX: u64 = 1024 * 1024;
const HTTPS_PORT: u16 = 443;

/// Why a server cannot be spoken to as it is configured.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The URL of the directory.
    #[error("`{0}` is not the URL of a directory")]
    Url(String),
    /// The file with its CAs.
    #[error("acme.ca_file: {path}: {why}")]
    CaFile {
        /// Where it is.
        path: String,
        /// What the system said.
        why: io::Error,
    },
    /// There are no CAs of the system.
    #[error(transparent)]
    Bundle(#[from] OriginError),
    /// The CAs cannot be read.
    #[error(transparent)]
    Tls(#[from] OriginTlsError),
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// An answer has sent us to another server.
    #[error(
        "the ACME server names {0}, which is not at the server of the directory: nothing else is asked"
    )]
    Elsewhere(String),
    /// The name has no address, or nothing listens there.
    #[error("the ACME server cannot be connected to: {0}")]
    Connect(io::Error),
    /// Most often its certificate.
    #[error("TLS with the ACME server fails: {0}")]
    Tls(String),
    /// It stops, or is no HTTP.
    #[error("the ACME server's answer is broken: {0}")]
    Http(#[from] hyper::Error),
    /// It stops, or is larger than any answer may be.
    #[error(
        "the ACME server's answer is broken, or has more than {ACME_ANSWER_BYTES_MAX} bytes: {0}"
    )]
    Body(String),
    /// Not all of it came in time.
    #[error("there was no whole answer from the ACME server within {} s", ACME_REQUEST_TIMEOUT.as_secs())]
    Late,
}

/// The server of one directory.
#[derive(Clone)]
pub(super) struct Client {
    host: Arc<str>,
    port: u16,
    tls: OriginTls,
}

fn port_of(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(HTTPS_PORT)
}

impl Client {
    /// For the server of this directory, whose certificate is signed by the CAs of `ca_file`, or by
    /// those of the system. Reads files.
    pub(super) fn build(directory: &str, ca_file: Option<&Path>) -> Result<Self, ClientError> {
        let wrong = || ClientError::Url(directory.to_owned());
        let uri: Uri = directory.parse().map_err(|_no_uri| wrong())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host = host.ok_or_else(wrong)?;
        let bundle = match ca_file {
            None => control::system_bundle()?,
            Some(path) => {
                let failed = |why| ClientError::CaFile {
                    path: path.display().to_string(),
                    why,
                };
                read_regular(path, CA_FILE_BYTES_MAX).map_err(failed)?
            }
        };
        let name = host.trim_matches(['[', ']']);
        Ok(Self {
            host: name.into(),
            port: port_of(&uri),
            tls: OriginTls::build(&OriginTlsSpec {
                server_name: name,
                ca_pem: &bundle,
                min_version: TlsVersion::default(),
                identity: None,
            })?,
        })
    }

    /// Whether a URL is the server's.
    fn is_here(&self, uri: &Uri) -> bool {
        let host = uri.host().map(|host| host.trim_matches(['[', ']']));
        uri.scheme_str() == Some("https")
            && host.is_some_and(|host| host.eq_ignore_ascii_case(&self.host))
            && port_of(uri) == self.port
    }

    /// Sends a request, and has the whole answer.
    pub(super) async fn ask(
        self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Bytes>, RequestError> {
        if !self.is_here(request.uri()) {
            return Err(RequestError::Elsewhere(request.uri().to_string()));
        }
        let asked = tokio::time::timeout(ACME_REQUEST_TIMEOUT, self.once(request)).await;
        asked.map_err(|_late| RequestError::Late)?
    }

    async fn once(
        self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Bytes>, RequestError> {
        let found = look_up(None, &self.host).await;
        let found = found.map_err(RequestError::Connect)?.into_iter();
        let places: Vec<SocketAddr> = found.map(|ip| SocketAddr::new(ip, self.port)).collect();
        let stream = TcpStream::connect(&*places).await;
        let stream = stream.map_err(RequestError::Connect)?;
        let failed = |why: &dyn std::fmt::Display| RequestError::Tls(why.to_string());
        let ssl = self.tls.start(Alpn::Http1).map_err(|why| failed(&why))?;
        let shaken = tokio_boring::SslStreamBuilder::new(ssl, stream).connect();
        let stream = shaken.await.map_err(|why| failed(&why))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let _driver = Driver(tokio::spawn(connection));
        let response = sender.send_request(in_origin_form(request)).await?;
        let (mut head, body) = response.into_parts();
        note_wait(head.status, &mut head.headers);
        let body = Limited::new(body, ACME_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|why| RequestError::Body(why.to_string()))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// Over a connection of its own a request names its server in `Host` (RFC 9112 §3.2.1).
fn in_origin_form(request: Request<BodyWrapper<Bytes>>) -> Request<BodyWrapper<Bytes>> {
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().map(|one| one.as_str().to_owned());
    let host = authority.and_then(|one| HeaderValue::try_from(one).ok());
    if let Some(host) = host {
        head.headers.insert(header::HOST, host);
    }
    let close = HeaderValue::from_static("close");
    head.headers.insert(header::CONNECTION, close);
    let target = head.uri.path_and_query().map(|target| target.as_str());
    if let Ok(target) = target.unwrap_or("/").parse() {
        head.uri = target;
    }
    Request::from_parts(head, body)
}

/// Takes note of a pause that the server asks for, and keeps one that is beyond reason from whoever
/// adds it to a time.
fn note_wait(status: StatusCode, headers: &mut HeaderMap) {
    let Some(value) = headers.get(header::RETRY_AFTER) else {
        return;
    };
    let text = value.to_str().unwrap_or_default().trim();
    let Some(wait) = wait_in(text, SystemTime::now()) else {
        return;
    };
    let wait = wait.min(ACME_RETRY_AFTER_MAX);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    let is_refused = [
        StatusCode::TOO_MANY_REQUESTS,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    if is_refused.contains(&status) {
        // Who asks for a time of renewal does not wait by it.
        let _is_outside = ASKED_TO_WAIT
            .try_with(|asked| asked.set(Some(wait)))
            .is_err();
    }
}

/// For how long: seconds or an HTTP-date (RFC 9110 §10.2.3), rounded up to whole ones.
fn wait_in(text: &str, now: SystemTime) -> Option<Duration> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let wait = at.duration_since(now).unwrap_or_default();
    let begun = u64::from(wait.subsec_nanos() > 0);
    Some(Duration::from_secs(wait.as_secs() + begun))
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let asked = self.clone().ask(request);
        let boxed = |why: RequestError| -> Box<dyn StdError + Send + Sync> { Box::new(why) };
        Box::pin(async move {
            let answer = asked.await.map_err(|why| Error::Other(boxed(why)))?;
            Ok(BytesResponse::from(answer.map(Full::new)))
        })
    }
}

/// Stops driving a connection when the answer is there, or is no longer waited for.
struct Driver(tokio::task::JoinHandle<hyper::Result<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(directory: &str) -> Client {
        let directory_of_tests = fixtures::Directory::new();
        let path = directory_of_tests.path().join("ca.pem");
        std::fs::write(&path, fixtures::pki::foreign("ACME CA")).unwrap();
        Client::build(directory, Some(&path)).unwrap()
    }

    #[test]
    fn no_server_is_asked_but_that_of_the_directory() {
        let acme = client("https://acme.example.com/directory");
        for (url, here) in [
            ("https://acme.example.com/order/1", true),
            ("https://ACME.example.com:443/order/1", true),
            ("https://acme.example.com:8443/order/1", false),
            ("http://acme.example.com/order/1", false),
            ("https://example.com/order/1", false),
            ("https://acme.example.com.evil.test/", false),
            ("/order/1", false),
        ] {
            assert_eq!(acme.is_here(&url.parse().unwrap()), here, "{url}");
        }
        let local = client("https://[::1]:14000/dir");
        assert!(local.is_here(&"https://[::1]:14000/x".parse().unwrap()));
        assert!(!local.is_here(&"https://[::2]:14000/x".parse().unwrap()));
        for wrong in ["http://a.test/", "a.test", "https://", ""] {
            assert!(Client::build(wrong, None).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pause_is_in_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500);
        for (text, seconds) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Sun, 06 Nov 1994 08:49:38 GMT", Some(1)),
            ("Sun, 06 Nov 1994 09:49:37 GMT", Some(3_600)),
            // By the other forms that RFC 9110 §5.6.7 knows.
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            let wait = wait_in(text, now).map(|wait| wait.as_secs());
            assert_eq!(wait, seconds, "{text:?}");
        }
    }

    #[tokio::test]
    async fn who_asks_is_told_of_a_pause_that_he_is_refused_with() {
        for (status, heard) in [(200, false), (400, false), (429, true), (503, true)] {
            let mut headers = HeaderMap::new();
            let date = HeaderValue::from_static("Fri, 31 Dec 9999 23:59:59 GMT");
            headers.insert(header::RETRY_AFTER, date);
            let status = StatusCode::from_u16(status).unwrap();
            let asked = ASKED_TO_WAIT.scope(Cell::new(None), async {
                note_wait(status, &mut headers);
                ASKED_TO_WAIT.with(Cell::get)
            });
            let expected = heard.then_some(ACME_RETRY_AFTER_MAX);
            assert_eq!(asked.await, expected, "{status}");
            assert_eq!(headers[header::RETRY_AFTER], "604800");
        }
    }

    #[test]
    fn a_pause_beyond_reason_is_shortened() {
        for (value, seconds) in [("5", "5"), ("18446744073709551616", "604800"), ("x", "x")] {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(value));
            note_wait(StatusCode::OK, &mut headers);
            let now = headers.get(header::RETRY_AFTER).unwrap();
            assert_eq!(now, seconds, "{value}");
        }
    }
}
