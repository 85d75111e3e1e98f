//! Where permitted requests of a host go.
//!
//! Owns the compiled form of an origin. Does not connect to it (`datapath::http::upstream`).

use std::borrow::Cow;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, LazyLock};

use http::HeaderValue;

use super::reach::{OutOfReach, Reach};
use tls::OriginTls;
use vocabulary::settings::OriginProtocol;

/// Where permitted requests of a host go.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Identifies equal origins: the key of a worker's pool.
    pub key: u64,
    /// As configured: `http://127.0.0.1:9000`.
    pub url: Box<str>,
    /// Name or address to connect to, without brackets.
    pub host: Box<str>,
    /// TCP port to connect to.
    pub port: u16,
    /// Addresses to try in order; empty when `host` is to be looked up in
    /// [`NameBook`](crate::names::NameBook) at connect time.
    pub addresses: Vec<SocketAddr>,
    /// HTTP version to speak.
    pub protocol: OriginProtocol,
    /// How to speak TLS to it, `None` for `http://`.
    pub tls: Option<OriginTls>,
    /// What it may not be connected to, when a token of a zone set it.
    pub reach: Option<Arc<Reach>>,
    /// Replaces the `Host` that the client sent; `None` passes the client's on.
    pub host_header: Option<HeaderValue>,
    /// Its connections begin with a header of the PROXY protocol, each for one client.
    pub proxy_protocol: bool,
    /// That header, where it is known.
    pub introduction: Option<Arc<Introduction>>,
    /// No origin has it any more: connections to it serve no further request.
    pub gone: Arc<AtomicBool>,
}

/// What a connection begins with that is for one client.
#[derive(Debug)]
pub struct Introduction {
    /// Tells such connections apart.
    key: u64,
    /// The bytes; see [`proxy_header`](super::proxy_header).
    pub header: Box<[u8]>,
}

/// What a rule makes different about an origin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detour<'a> {
    /// Replaces the client's `Host`.
    pub host_header: Option<&'a HeaderValue>,
    /// The name that is asked for in TLS and that the certificate must be for.
    pub server_name: Option<&'a str>,
    /// A name or an address to connect to.
    pub host: Option<&'a str>,
    /// The port.
    pub port: Option<u16>,
}

/// Unknown outside, so that nobody makes two different origins, or clients, share connections.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Origin {
    /// Whether it is known by a name and not by an address.
    #[must_use]
    pub fn is_named(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// The same at one of the addresses that its name means, of so many; `others` are tried where that
    /// does not answer. `key` is of both: who has the name chooses the address, and must not be able to
    /// choose the key with it.
    #[must_use]
    pub fn at(&self, key: u64, address: IpAddr, others: Option<IpAddr>, of_several: bool) -> Self {
        let url = match of_several {
            true => format!("{} ({address})", self.url).into(),
            false => self.url.clone(),
        };
        let addresses = [address].into_iter().chain(others);
        Self {
            key,
            url,
            addresses: addresses
                .map(|address| SocketAddr::new(address, self.port))
                .collect(),
            gone: Arc::default(),
            ..self.clone()
        }
    }

    /// What its connections are told apart by: those that are for one client are that one's.
    #[must_use]
    pub fn connection_key(&self) -> u64 {
        self.introduction.as_ref().map_or(self.key, |one| one.key)
    }

    /// The same for the client that this header speaks of, and whose connection has this number: a header says
    /// the same of two clients that a balancer knows by one address.
    #[must_use]
    pub fn introducing(&self, header: &[u8], connection: u64) -> Self {
        let key = KEYS.hash_one((self.key, header, connection));
        let header = header.into();
        Self {
            introduction: Some(Arc::new(Introduction { key, header })),
            ..self.clone()
        }
    }

    /// Those of `addresses`, which its name means by now, that it may be connected to.
    ///
    /// # Errors
    /// A token of a zone set it, and all of them are out of reach.
    pub fn within_reach<'a>(
        &self,
        addresses: &'a [SocketAddr],
    ) -> Result<Cow<'a, [SocketAddr]>, OutOfReach> {
        match &self.reach {
            None => Ok(addresses.into()),
            Some(reach) => reach.within(addresses).map(Cow::Owned),
        }
    }

    /// This origin with a difference. Scheme, CAs and HTTP version stay. Where it is somewhere else,
    /// `reach` holds for it as well.
    #[must_use]
    pub fn by(&self, detour: &Detour<'_>, reach: Option<&Arc<Reach>>) -> Self {
        let host = detour.host.unwrap_or(&self.host);
        let port = detour.port.unwrap_or(self.port);
        // Whoever is asked somewhere else has a certificate for that place.
        let name = detour.server_name.or(detour.host);
        let tls = self.tls.as_ref().map(|tls| match name {
            Some(name) => tls.named(name),
            None => tls.clone(),
        });
        let address: Option<IpAddr> = host.parse().ok();
        let named = name.filter(|_| tls.is_some());
        let moves = (host, port) != (&*self.host, self.port);
        let reach = self
            .reach
            .clone()
            .or_else(|| reach.filter(|_| moves).cloned());
        let key = if moves || named.is_some() {
            KEYS.hash_one((self.key, host, port, named, reach.is_some()))
        } else {
            self.key
        };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = match address {
            Some(IpAddr::V6(address)) => format!("{scheme}://[{address}]:{port}"),
            _ => format!("{scheme}://{host}:{port}"),
        };
        Self {
            key,
            url: url.into(),
            host: host.into(),
            port,
            addresses: address
                .map(|address| SocketAddr::new(address, port))
                .into_iter()
                .collect(),
            protocol: self.protocol,
            tls,
            reach,
            host_header: detour
                .host_header
                .cloned()
                .or_else(|| self.host_header.clone()),
            proxy_protocol: self.proxy_protocol,
            introduction: None,
            gone: self.gone.clone(),
        }
    }
}

/// An authority and nothing else: it goes into the request as it is.
#[must_use]
pub fn host_header(text: &str) -> Option<HeaderValue> {
    text.parse::<http::uri::Authority>()
        .ok()
        .filter(|authority| !authority.as_str().contains('@'))
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok())
}
