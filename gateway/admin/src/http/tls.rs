//! TLS of the admin API over TCP: one certificate from files, read again at SIGHUP.
//!
//! Owns the names of the listener: a request's `Host` must be one of the certificate's names. TLS 1.2
//! or newer, HTTP/1.1 only, no session resumption. Clients authenticate with tokens, not with
//! certificates.

use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use boring::error::ErrorStack;
use boring::ssl::{AlpnError, SslAcceptor, SslMethod, SslOptions, SslVersion, select_next_proto};

use crate::limits::ADMIN_CERTIFICATE_WARNING_DAYS;
use control::Moment;
use control::limits::{CHAIN_CERTIFICATES_MAX, PEM_BYTES_MAX};
use tls::pem;
use vocabulary::file::open_regular;
use vocabulary::hostname::HostName;

/// Why the admin API has no TLS.
#[derive(Debug, thiserror::Error)]
pub enum AdminTlsError {
    /// A file cannot be read.
    #[error("{key}: {path} cannot be read: {why}")]
    File {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// A file is not what it should be.
    #[error("{key}: {path}: {why}")]
    Content {
        /// The configuration key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// BoringSSL would not take the settings.
    #[error("TLS of the admin API cannot be set up: {0}")]
    Context(#[from] ErrorStack),
}

const CERTIFICATE: &str = "admin.tls_certificate";
const KEY: &str = "admin.tls_key";

struct Loaded {
    acceptor: SslAcceptor,
    names: Vec<HostName>,
    addresses: Vec<IpAddr>,
    /// Seconds since the epoch.
    not_after: i64,
}

/// The certificate of now.
pub struct AdminTls {
    current: ArcSwap<Loaded>,
}

impl std::fmt::Debug for AdminTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdminTls")
            .field("names", &self.current.load().names)
            .finish_non_exhaustive()
    }
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, AdminTlsError> {
    let failed = |why| AdminTlsError::File {
        key,
        path: path.to_owned(),
        why,
    };
    let mut bytes = Vec::new();
    let most = PEM_BYTES_MAX as u64 + 1;
    let file = open_regular(path).map_err(failed)?;
    file.take(most).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > PEM_BYTES_MAX {
        return Err(wrong(
            key,
            path,
            format!("it has more than {PEM_BYTES_MAX} bytes"),
        ));
    }
    Ok(bytes)
}

fn wrong(key: &'static str, path: &Path, why: impl Into<String>) -> AdminTlsError {
    AdminTlsError::Content {
        key,
        path: path.to_owned(),
        why: why.into(),
    }
}

impl Loaded {
    fn read(certificate: &Path, key: &Path) -> Result<Self, AdminTlsError> {
        let text = read(CERTIFICATE, certificate)?;
        let chain = pem::certificates(&text, pem::Use::Chain)
            .map_err(|why| wrong(CERTIFICATE, certificate, why.to_string()))?;
        let mut chain = chain.into_iter();
        let Some(leaf) = chain.next() else {
            let why = "there is no certificate in it";
            return Err(wrong(CERTIFICATE, certificate, why));
        };
        if chain.len() >= CHAIN_CERTIFICATES_MAX {
            let why = format!("the chain has more than {CHAIN_CERTIFICATES_MAX} certificates");
            return Err(wrong(CERTIFICATE, certificate, why));
        }
        let private =
            pem::private_key(&read(KEY, key)?).map_err(|why| wrong(KEY, key, why.to_string()))?;
        if !leaf.public_key()?.public_eq(&private) {
            let why = "the key does not belong to the first certificate of `admin.tls_certificate`";
            return Err(wrong(KEY, key, why));
        }
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        for name in leaf.subject_alt_names().into_iter().flatten() {
            names.extend(name.dnsname().and_then(|name| HostName::parse(name).ok()));
            addresses.extend(name.ipaddress().and_then(address));
        }
        let epoch = boring::asn1::Asn1Time::from_unix(0)?;
        let left = epoch.diff(leaf.not_after())?;
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
        acceptor.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        acceptor.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION);
        acceptor.set_alpn_select_callback(|_, offered| {
            select_next_proto(b"\x08http/1.1", offered).ok_or(AlpnError::ALERT_FATAL)
        });
        acceptor.set_certificate(&leaf)?;
        for certificate in chain {
            acceptor.add_extra_chain_cert(certificate)?;
        }
        acceptor.set_private_key(&private)?;
        acceptor.check_private_key()?;
        Ok(Self {
            acceptor: acceptor.build(),
            names,
            addresses,
            not_after: i64::from(left.days) * 86_400 + i64::from(left.secs),
        })
    }

    /// An old certificate is no reason to keep hosts from being served, and one to speak up.
    fn warn(&self) {
        let left = self.not_after - Moment::now().seconds();
        let days = left.div_euclid(86_400);
        if left < 0 {
            tracing::error!("the certificate of the admin API has expired");
        } else if days < ADMIN_CERTIFICATE_WARNING_DAYS {
            tracing::warn!(days, "the certificate of the admin API expires soon");
        }
        if self.names.is_empty() && self.addresses.is_empty() {
            tracing::warn!(
                "the certificate of the admin API names no host and no address: only requests to localhost are taken"
            );
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}

impl AdminTls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// See [`AdminTlsError`].
    pub fn load(certificate: &Path, key: &Path) -> Result<Arc<Self>, AdminTlsError> {
        let loaded = Loaded::read(certificate, key)?;
        loaded.warn();
        let current = ArcSwap::from_pointee(loaded);
        Ok(Arc::new(Self { current }))
    }

    /// Reads them again, for connections that begin after it.
    ///
    /// # Errors
    /// See [`AdminTlsError`]; everything is as it was then.
    pub fn reload(&self, certificate: &Path, key: &Path) -> Result<(), AdminTlsError> {
        let loaded = Loaded::read(certificate, key)?;
        loaded.warn();
        self.current.store(Arc::new(loaded));
        Ok(())
    }

    /// A name that a link can have.
    pub(crate) fn name(&self) -> Option<String> {
        let current = self.current.load();
        let mut names = current.names.iter().map(HostName::as_str);
        let name = names.find(|name| !name.starts_with('*')).map(str::to_owned);
        name.or_else(|| match current.addresses.first()? {
            IpAddr::V4(v4) => Some(v4.to_string()),
            IpAddr::V6(v6) => Some(format!("[{v6}]")),
        })
    }

    pub(crate) fn acceptor(&self) -> SslAcceptor {
        self.current.load().acceptor.clone()
    }

    /// Whether the certificate is for this name or address.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        let current = self.current.load();
        if let Ok(address) = name.parse::<IpAddr>() {
            return current.addresses.contains(&address);
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        current
            .names
            .iter()
            .any(|known| known.as_str() == name || known.covers(&name))
    }
}
