//! Connections to etcd's members: TCP, or TLS by BoringSSL.
//!
//! One connection at a time, to one member. When it cannot be made, or the member does not answer, the
//! next member is tried. What is asked is `log`'s.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use boring::ssl::SslConnector;
use etcd_client::{Channel, Client, ConnectOptions};
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::transport::Endpoint;

use crate::limits::{CONNECT_TIMEOUT, KEEP_ALIVE, REQUEST_TIMEOUT};

/// A member of an etcd cluster, as `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    tls: bool,
    host: Box<str>,
    port: u16,
}

/// Why etcd cannot be reached as it was said.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A text is no member's address.
    #[error(
        "`{0}` is no address of an etcd member: `https://HOST:2379`, or `http://…` without TLS"
    )]
    Member(String),
    /// There is nobody to ask.
    #[error("no etcd member is named")]
    Nobody,
    /// A member is to be asked over TLS, and nothing says how.
    #[error("{0} wants TLS, and there is no CA to verify it with")]
    NoTls(Member),
    /// It does not answer, or says no.
    #[error("etcd cannot be used: {}", told(.0))]
    Failed(#[from] etcd_client::Error),
}

impl EngineError {
    /// Whether etcd takes nothing more, because its quota is used up. What was asked may have been done all the same:
    /// etcd says so of the change that takes the last of its room.
    pub(crate) fn is_no_space(&self) -> bool {
        matches!(self, Self::Failed(error) if is_no_space(error))
    }
}

/// All that an error has to say: what tonic shows of one is often not what went wrong.
fn told(error: &etcd_client::Error) -> String {
    let (mut text, mut below) = match error {
        etcd_client::Error::GRpcStatus(status) => (
            status.message().to_owned(),
            std::error::Error::source(status),
        ),
        etcd_client::Error::TransportError(error) => {
            (error.to_string(), std::error::Error::source(error))
        }
        other => (other.to_string(), None),
    };
    while let Some(error) = below {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        below = error.source();
    }
    if text.contains("connection closed") {
        // With TLS 1.3 the connection is there before a certificate is refused.
        text += "; etcd does so to who shows no certificate that it believes, where it wants one";
    }
    text
}

fn is_no_space(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return false;
    };
    // The code alone may also mean too many requests, to etcd or to whatever is before it.
    status.code() == tonic::Code::ResourceExhausted && status.message().contains("space exceeded")
}

/// Whether etcd has too much to do and has done nothing of what was asked: it says so before it proposes anything.
pub(crate) fn is_busy(error: &etcd_client::Error) -> bool {
    matches!(
        error,
        etcd_client::Error::GRpcStatus(status)
            if status.code() == tonic::Code::ResourceExhausted
                && status.message() == "etcdserver: too many requests"
    )
}

/// Whether etcd has said no, and asking again is of no use. Nothing was done then, unless it says that it has no
/// space; see [`EngineError::is_no_space`].
pub(crate) fn is_refusal(error: &etcd_client::Error) -> bool {
    use tonic::Code;
    let is_said = matches!(
        error,
        etcd_client::Error::GRpcStatus(status) if matches!(
            status.code(),
            Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated
                | Code::FailedPrecondition | Code::OutOfRange
        )
    );
    is_said || is_no_space(error)
}

impl FromStr for Member {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self, EngineError> {
        let wrong = || EngineError::Member(text.chars().take(256).collect());
        let uri: Uri = text.parse().map_err(|_no_uri| wrong())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let has_more = uri.path() != "/" || uri.query().is_some();
        let authority = uri.authority().ok_or_else(wrong)?;
        if has_more || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            tls,
            host: authority.host().into(),
            port: authority.port_u16().ok_or_else(wrong)?,
        })
    }
}

impl Member {
    /// Whether it is asked over TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

/// How etcd is reached.
#[derive(Clone)]
pub struct Settings {
    /// Its members, in the order in which they are tried.
    pub members: Vec<Member>,
    /// Verifies members, and shows them a certificate of ours.
    pub tls: Option<SslConnector>,
    /// Name and password, where etcd asks for them.
    pub user: Option<(String, String)>,
}

/// An etcd cluster.
#[derive(Clone)]
pub struct Engine {
    dialer: Dialer,
    user: Option<(String, String)>,
}

impl Engine {
    /// The cluster that is described so. Asks nobody yet.
    ///
    /// # Errors
    /// [`EngineError::Nobody`], [`EngineError::NoTls`].
    pub fn new(settings: Settings) -> Result<Self, EngineError> {
        let Settings { members, tls, user } = settings;
        if members.is_empty() {
            return Err(EngineError::Nobody);
        }
        if let Some(member) = members.iter().find(|member| member.tls)
            && tls.is_none()
        {
            return Err(EngineError::NoTls(member.clone()));
        }
        let next = Arc::new(AtomicUsize::new(0));
        Ok(Self {
            dialer: Dialer {
                members: members.into(),
                tls,
                next,
            },
            user,
        })
    }

    /// A client of the cluster. Its connection is made when something is asked, and again, to the next
    /// member, when it is lost.
    ///
    /// # Errors
    /// etcd asks who we are and does not take the answer, or cannot be asked. Without a user nobody is
    /// asked yet.
    pub(crate) async fn client(&self) -> Result<Client, EngineError> {
        let dialer = self.dialer.clone();
        let connector = tower::service_fn(move |_member: Uri| {
            let dialer = dialer.clone();
            async move { dialer.dial().await }
        });
        // The connector knows whom to ask; this is what the requests are addressed to.
        let endpoint = Endpoint::from_static("http://etcd")
            .timeout(REQUEST_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE.0)
            .keep_alive_timeout(KEEP_ALIVE.1)
            .keep_alive_while_idle(true);
        let channel = Channel::Tonic(endpoint.connect_with_connector_lazy(connector));
        // A member that has lost the others is to say so, and not to answer from what it remembers.
        let mut options = ConnectOptions::new()
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some((name, password)) = &self.user {
            options = options.with_user(name, password);
        }
        Ok(Client::from_channel(channel, Some(options)).await?)
    }

    /// The member that the next connection is tried with first.
    #[must_use]
    pub fn member(&self) -> &Member {
        self.dialer.member(self.dialer.next.load(Ordering::Relaxed))
    }

    /// Has the next connection begin with another member.
    pub(crate) fn move_on(&self) {
        self.dialer.next.fetch_add(1, Ordering::Relaxed);
    }
}

/// No member could be connected to: whatever was asked was not sent.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unreachable(String);

/// Whether what was asked was surely never sent.
pub(crate) fn is_unsent(error: &etcd_client::Error) -> bool {
    let mut below = match error {
        etcd_client::Error::GRpcStatus(status) => std::error::Error::source(status),
        other => std::error::Error::source(other),
    };
    while let Some(error) = below {
        let ours = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        if ours.is_some_and(<dyn std::error::Error + Send + Sync>::is::<Unreachable>) {
            return true;
        }
        below = error.source();
    }
    false
}

/// What a connection can be.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

#[derive(Clone)]
struct Dialer {
    /// Not empty.
    members: Arc<[Member]>,
    tls: Option<SslConnector>,
    next: Arc<AtomicUsize>,
}

impl Dialer {
    fn member(&self, number: usize) -> &Member {
        // Never out of reach: there is one at least.
        #[expect(clippy::indexing_slicing, reason = "there is one at least")]
        &self.members[number % self.members.len()]
    }

    /// Tries each member once.
    async fn dial(&self) -> io::Result<TokioIo<Box<dyn Stream>>> {
        let mut failure = "no member".to_owned();
        for _ in 0..self.members.len() {
            let number = self.next.load(Ordering::Relaxed);
            let member = self.member(number);
            let connected = timeout(CONNECT_TIMEOUT, self.connect(member)).await;
            match connected.unwrap_or_else(|_late| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => return Ok(TokioIo::new(stream)),
                Err(error) => {
                    failure = format!("{member}: {error}");
                    let other = number.wrapping_add(1);
                    let _moved = self.next.compare_exchange(
                        number,
                        other,
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    );
                }
            }
        }
        Err(io::Error::other(Unreachable(failure)))
    }

    async fn connect(&self, member: &Member) -> io::Result<Box<dyn Stream>> {
        let host = member.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, member.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = self.tls.as_ref().filter(|_| member.tls) else {
            return Ok(Box::new(stream));
        };
        let configuration = tls.configure().map_err(io::Error::other)?;
        let shaken = tokio_boring::connect(configuration, host, stream).await;
        let stream = shaken.map_err(|error| io::Error::other(format!("TLS: {error}")))?;
        Ok(Box::new(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_urls_without_a_path() {
        for good in [
            "http://127.0.0.1:2379",
            "https://etcd-1.example:2379",
            "http://[::1]:1",
        ] {
            assert_eq!(good.parse::<Member>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "etcd:2379",
            "127.0.0.1:2379",
            "http://",
            "http://a",
            "ftp://a:1",
            "http://a:1/x",
            "http://a:1/?q",
            "http://u:p@a:1",
            "http://a:99999",
        ] {
            assert!(bad.parse::<Member>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_engine_has_somebody_to_ask_and_tls_where_it_is_wanted() {
        let settings = |members: &[&str]| Settings {
            members: members.iter().map(|text| text.parse().unwrap()).collect(),
            tls: None,
            user: None,
        };
        assert!(matches!(
            Engine::new(settings(&[])),
            Err(EngineError::Nobody)
        ));
        let both = ["http://a:1", "https://b:1"];
        assert!(matches!(
            Engine::new(settings(&both)),
            Err(EngineError::NoTls(_))
        ));
        let engine = Engine::new(settings(&both[..1])).unwrap();
        assert_eq!(engine.member().to_string(), "http://a:1");
    }
}
