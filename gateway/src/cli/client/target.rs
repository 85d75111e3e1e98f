//! Where the gateway is: its unix socket on this machine, or its admin API over TCP.
//!
//! Owns the options and environment variables that say so, and the connection. Does not know HTTP.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use boring::ssl::{SslConnector, SslMethod, SslVersion};
use boring::x509::store::X509StoreBuilder;
use clap::Args;
use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::files::{read_certificates, read_text};
use crate::cli::output::CliError;
use config::{Config, Sources};
use tls::pem;

/// Which gateway a command speaks to.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Target {
    /// Unix socket of the gateway's admin API [env: POSTERN_SOCKET] [default: what `admin.socket` says in
    /// the system's configuration files]
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        help_heading = "Global options"
    )]
    pub(crate) socket: Option<PathBuf>,
    /// Address of a remote gateway's admin API, `https://HOST[:PORT]` [env: POSTERN_API]
    #[arg(
        long,
        global = true,
        value_name = "URL",
        conflicts_with = "socket",
        help_heading = "Global options"
    )]
    pub(crate) api: Option<String>,
    /// A file with the token for --api [env: POSTERN_TOKEN_FILE]
    #[arg(
        long = "token",
        id = "token_file",
        global = true,
        value_name = "FILE",
        conflicts_with = "socket",
        help_heading = "Global options"
    )]
    pub(crate) token: Option<PathBuf>,
    /// CAs that the certificate of --api must come from, in PEM [env: POSTERN_API_CA] [default: the
    /// system's]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        conflicts_with = "socket",
        help_heading = "Global options"
    )]
    pub(crate) api_ca: Option<PathBuf>,
}

/// What to connect to.
pub(super) enum Endpoint {
    Socket(PathBuf),
    Api(Box<Api>),
}

/// An admin API over TCP.
pub(super) struct Api {
    /// As it was given.
    url: String,
    host: String,
    port: u16,
    /// What requests say as `Host`.
    authority: String,
    tls: Option<SslConnector>,
    token: String,
}

/// What can be read from and written to.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

fn from_environment(name: &str) -> Option<PathBuf> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

impl Target {
    /// The socket of a gateway of this machine.
    pub(crate) fn local_socket(&self) -> Result<PathBuf, CliError> {
        match self.endpoint()? {
            Endpoint::Socket(path) => Ok(path),
            Endpoint::Api(api) => Err(CliError::Usage(format!(
                "this is for the gateway of this machine, and {} is another one",
                api.url
            ))),
        }
    }

    /// The address of a gateway elsewhere, as it was given.
    pub(crate) fn api_url(&self) -> Option<String> {
        match self.endpoint() {
            Ok(Endpoint::Api(api)) => Some(api.url),
            Ok(Endpoint::Socket(_)) | Err(_) => None,
        }
    }

    /// What was said, or else what the environment says.
    pub(super) fn endpoint(&self) -> Result<Endpoint, CliError> {
        if let Some(socket) = &self.socket {
            return Ok(Endpoint::Socket(socket.clone()));
        }
        let api = self.api.clone().or_else(|| {
            let value = from_environment("POSTERN_API")?;
            Some(value.to_string_lossy().into_owned())
        });
        let Some(url) = api else {
            if self.token.is_some() || self.api_ca.is_some() {
                let why = "--token and --api-ca are for a gateway that is reached with --api URL";
                return Err(CliError::Usage(why.into()));
            }
            let socket = from_environment("POSTERN_SOCKET");
            return Ok(Endpoint::Socket(
                socket.unwrap_or_else(|| Config::admin_socket_of(&Sources::default())),
            ));
        };
        let token = self.token.clone();
        let token = token.or_else(|| from_environment("POSTERN_TOKEN_FILE"));
        let ca = self.api_ca.clone();
        let ca = ca.or_else(|| from_environment("POSTERN_API_CA"));
        let Some(token) = token else {
            return Err(CliError::Usage(format!(
                "{url} wants a token: name the file that has it with --token or \
                 POSTERN_TOKEN_FILE; `postern token create` on the gateway's machine makes one"
            )));
        };
        Api::new(url, &token, ca.as_deref()).map(|api| Endpoint::Api(Box::new(api)))
    }
}

impl Api {
    fn new(url: String, token: &Path, ca: Option<&Path>) -> Result<Self, CliError> {
        let refuse = |why: &str| {
            Err(CliError::Usage(format!(
                "`{url}` is no address of an admin API: {why}; `https://HOST[:PORT]` is expected"
            )))
        };
        let Ok(uri) = url.parse::<Uri>() else {
            return refuse("it is no URL");
        };
        let Some(authority) = uri.authority().filter(|of| !of.host().is_empty()) else {
            return refuse("it names no host");
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return refuse("it has a path");
        }
        if authority.as_str().contains('@') {
            return refuse("a name or password in it is not used");
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let is_here =
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let (tls, port) = match uri.scheme_str() {
            Some("https") => (Some(connector(ca)?), 443),
            Some("http") if is_here => (None, 80),
            Some("http") => {
                return refuse("the token would cross the network in clear");
            }
            _ => return refuse("it has no scheme that is known here"),
        };
        let text = read_text(token)?;
        let secret = text.lines().next().unwrap_or_default().trim().to_owned();
        if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CliError::Failed(format!(
                "{}: the first line is no token",
                token.display()
            )));
        }
        Ok(Self {
            port: authority.port_u16().unwrap_or(port),
            authority: authority.as_str().to_owned(),
            host,
            tls,
            token: secret,
            url,
        })
    }
}

/// Believes the CAs of a file, or those of the system.
fn connector(ca: Option<&Path>) -> Result<SslConnector, CliError> {
    let failed =
        |why: boring::error::ErrorStack| CliError::Failed(format!("TLS cannot be set up: {why}"));
    let mut builder = SslConnector::builder(SslMethod::tls()).map_err(failed)?;
    builder
        .set_min_proto_version(Some(SslVersion::TLS1_2))
        .map_err(failed)?;
    if let Some(file) = ca {
        let (_, certificates) = read_certificates(file, pem::Use::Origins)?;
        let mut store = X509StoreBuilder::new().map_err(failed)?;
        for certificate in &certificates {
            store.add_cert(certificate).map_err(failed)?;
        }
        builder.set_cert_store_builder(store);
    }
    Ok(builder.build())
}

impl Endpoint {
    /// For messages.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Api(api) => api.url.clone(),
        }
    }

    /// The `Host` of requests.
    pub(super) fn authority(&self) -> &str {
        match self {
            Self::Socket(_) => "localhost",
            Self::Api(api) => &api.authority,
        }
    }

    /// The `Authorization` of requests, where one is needed.
    pub(super) fn authorization(&self) -> Option<String> {
        match self {
            Self::Socket(_) => None,
            Self::Api(api) => Some(format!("Bearer {}", api.token)),
        }
    }

    pub(super) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let api = match self {
            Self::Socket(path) => return Ok(Box::new(UnixStream::connect(path).await?)),
            Self::Api(api) => api,
        };
        let stream = TcpStream::connect((api.host.as_str(), api.port)).await?;
        let Some(tls) = &api.tls else {
            return Ok(Box::new(stream));
        };
        let configuration = tls.configure().map_err(io::Error::other)?;
        let stream = tokio_boring::connect(configuration, &api.host, stream).await;
        match stream {
            Ok(stream) => Ok(Box::new(stream)),
            Err(error) => Err(io::Error::other(format!("TLS: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(url: &str, token: &str) -> Result<Api, String> {
        let directory = fixtures::Directory::new();
        let file = directory.path().join("token");
        std::fs::write(&file, token).unwrap();
        Api::new(url.into(), &file, None).map_err(|error| error.to_string())
    }

    #[test]
    fn addresses_of_an_api() {
        for (url, host, port, tls) in [
            ("https://gw.example.com", "gw.example.com", 443, true),
            ("https://gw.example.com:8443/", "gw.example.com", 8443, true),
            ("https://[2001:db8::1]:8443", "2001:db8::1", 8443, true),
            ("http://127.0.0.1:8480", "127.0.0.1", 8480, false),
            ("http://[::1]:8480", "::1", 8480, false),
            ("http://localhost:8480", "localhost", 8480, false),
        ] {
            let api = api(url, "postern_x\n").unwrap();
            assert_eq!((api.host.as_str(), api.port), (host, port), "{url}");
            assert_eq!(api.tls.is_some(), tls, "{url}");
            assert_eq!(api.token, "postern_x");
        }
        for (url, token, why) in [
            ("http://gw.example.com", "t", "in clear"),
            ("http://192.0.2.1:8480", "t", "in clear"),
            ("gw.example.com:8443", "t", "scheme"),
            ("ftp://gw.example.com", "t", "scheme"),
            ("https://gw.example.com/client/v4", "t", "path"),
            ("https://me@gw.example.com", "t", "password"),
            ("https://gw.example.com", "\n", "no token"),
            ("https://gw.example.com", "a b", "no token"),
            ("", "t", "no URL"),
        ] {
            let refused = api(url, token).err().unwrap();
            assert!(refused.contains(why), "{url}: {refused}");
        }
    }

    #[test]
    fn a_token_without_an_address_is_refused() {
        let target = Target {
            token: Some("/dev/null".into()),
            ..Target::default()
        };
        // The environment of the tests names no API.
        assert!(target.endpoint().is_err());
    }
}
