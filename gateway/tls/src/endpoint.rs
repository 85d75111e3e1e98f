//! What a handshake needs of a host, and nothing else.
//!
//! Owns the seam to the room that knows hosts: a handshake asks it for an [`Endpoint`] by name. Does
//! not know what else a host has: rules, limits, an origin.

use std::fmt;
use std::sync::Arc;

use super::challenge::Challenge;
use super::site::Site;
use super::trust::Trust;
use vocabulary::hostname::HostName;
use vocabulary::settings::{MtlsMode, OnRevoked};
use vocabulary::verdict::Verdict;

/// One host, as a handshake sees it.
#[derive(Clone)]
pub struct Endpoint {
    /// Its name, exact or wildcard.
    pub name: HostName,
    /// What it belongs to, for the log: the name of a zone.
    pub zone: Arc<str>,
    /// Server certificate, key, TLS settings, mTLS mode.
    pub site: Arc<Site>,
    /// What client certificates are verified by.
    pub trust: Arc<Trust>,
    /// The ClientHello is kept for the connection, because rules read it.
    pub keeps_hello: bool,
}

impl Endpoint {
    /// Whether a client with this verdict is not served at all.
    #[must_use]
    pub fn refuses(&self, verdict: &Verdict) -> bool {
        match self.site.mtls {
            MtlsMode::Off => false,
            MtlsMode::Request => verdict.revoked && self.site.revoked == OnRevoked::Close,
            MtlsMode::Require => !verdict.is_good(),
        }
    }

    /// Whether there is no verdict that it refuses.
    #[must_use]
    pub fn lets_everybody_in(&self) -> bool {
        match self.site.mtls {
            MtlsMode::Off => true,
            MtlsMode::Request => self.site.revoked == OnRevoked::Rule,
            MtlsMode::Require => false,
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// All hosts, as a handshake asks for them.
pub trait Endpoints: Send + Sync {
    /// The host that answers for a canonical name (lower case, no trailing dot): the exact one
    /// before the wildcard. Without a name the default host, if there is one.
    fn find(&self, sni: Option<&str>) -> Option<Arc<Endpoint>>;

    /// What a canonical name, of a host or of one that has no certificate yet, shows to an ACME
    /// server that asks.
    fn challenge(&self, name: &str) -> Option<Arc<Challenge>> {
        let _none = name;
        None
    }
}
