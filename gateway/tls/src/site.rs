//! One host's TLS: certificates, keys, protocol settings.
//!
//! A [`Site`] is a BoringSSL context that connections switch to once their host is known. What a
//! switch of context does not carry over (verify mode and callback) is set per connection by
//! `handshake`; the session-id context is carried over and binds tickets to the host.
//!
//! A host may have two certificates, of an elliptic-curve key and of an RSA key: the first one that
//! the ClientHello's signature algorithms and cipher suites allow is presented (RFC 8446 §4.4.2.2).
//! One that has expired gives way to the other. An OCSP answer is stapled for as long as it holds: a
//! context without it takes over from there.

use std::fmt;
use std::sync::Arc;

use boring::asn1::{Asn1Time, Asn1TimeRef};
use boring::error::ErrorStack;
use boring::pkey::{PKey, Private};
use boring::ssl::{
    AlpnError, SslContext, SslContextBuilder, SslOptions, SslSessionCacheMode, SslVersion,
    select_next_proto,
};
use boring::x509::X509;

use super::algorithms::{
    CaSignatures, OWN_ALGORITHMS, PEER_ALGORITHMS, Protocol, TLS12_CIPHERS, version,
};
use super::chain;
use super::ffi::{add_credential, buffered_method, set_session_lifetimes};
use super::ids::sha256;
use super::ocsp::Staple;
use super::pem;
use super::trust::Trust;
use crate::limits::TICKET_LIFETIME;
use vocabulary::hostname::HostName;
use vocabulary::settings::{MtlsMode, OnRevoked, TlsVersion};

/// ALPN, most wanted first.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// A server certificate with its key.
#[derive(Clone, Copy)]
pub struct ServerIdentity<'a> {
    /// Certificate chain in PEM, leaf first.
    pub chain_pem: &'a [u8],
    /// The leaf's private key in PEM (PKCS#8, SEC 1 or PKCS#1).
    pub key_pem: &'a [u8],
    /// What clients that ask for it are told of the leaf.
    pub staple: Option<&'a Staple>,
}

/// What a [`Site`] is built from.
#[derive(Clone, Copy)]
pub struct SiteSpec<'a> {
    /// The host, for messages and the session-id context.
    pub host: &'a HostName,
    /// One certificate, or two of different kinds of keys; the one that is to be preferred first.
    pub certificates: &'a [ServerIdentity<'a>],
    /// Whether clients are asked for a certificate.
    pub mtls: MtlsMode,
    /// What becomes of clients whose certificate is revoked.
    pub revoked: OnRevoked,
    /// The oldest version, when the gateway itself does not ask for a newer one.
    pub min_version: TlsVersion,
    /// What they are verified by.
    pub trust: &'a Arc<Trust>,
}

/// Why a host's TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The chain is not PEM certificates, or empty.
    #[error("host {host}: the certificate chain cannot be read: {why}")]
    Chain {
        /// The host.
        host: HostName,
        /// What is wrong.
        why: String,
    },
    /// The key is not a private key, or is not the leaf's.
    #[error("host {host}: the private key cannot be used: {why}")]
    Key {
        /// The host.
        host: HostName,
        /// What is wrong.
        why: String,
    },
    /// Clients are asked for certificates, and no CA is there that could have signed one.
    #[error(
        "host {host}: its mTLS mode is `{mtls}` but its CA set is empty; associate a CA, or set the \
         mode to `off`"
    )]
    NobodyTrusted {
        /// The host.
        host: HostName,
        /// Its mode.
        mtls: MtlsMode,
    },
    /// BoringSSL would not take the settings.
    #[error("host {host}: {why}")]
    Context {
        /// The host.
        host: HostName,
        /// What BoringSSL said.
        why: ErrorStack,
    },
}

/// A host's TLS, ready to be given to connections.
pub struct Site {
    /// Whether clients are asked for a certificate.
    pub mtls: MtlsMode,
    /// What becomes of clients whose certificate is revoked.
    pub revoked: OnRevoked,
    /// The oldest version, when the gateway itself does not ask for a newer one.
    pub min_version: TlsVersion,
    /// Hosts with equal policies ask for the same certificates and verify them alike: a
    /// connection to one may carry requests for the other.
    pub policy: [u8; 32],
    /// What the CAs sign with that clients are verified by.
    pub(super) ca_signatures: CaSignatures,
    /// In the order in which they are to be used: with all certificates, then with one each; of
    /// these with what is stapled, then without.
    contexts: Vec<Dated>,
}

/// A context, and when its certificates and what is stapled to them are valid: seconds since the
/// epoch, both ends included.
struct Dated {
    from_sec: i64,
    until_sec: i64,
    is_stapled: bool,
    context: SslContext,
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site")
            .field("mtls", &self.mtls)
            .finish_non_exhaustive()
    }
}

impl Site {
    /// Builds the context of one host.
    ///
    /// # Errors
    /// See [`SiteError`].
    pub fn build(spec: &SiteSpec<'_>) -> Result<Self, SiteError> {
        if spec.mtls != MtlsMode::Off && spec.trust.is_empty() {
            return Err(SiteError::NobodyTrusted {
                host: spec.host.clone(),
                mtls: spec.mtls,
            });
        }
        let failed = |why| SiteError::Context {
            host: spec.host.clone(),
            why,
        };
        let policy = policy(spec).map_err(failed)?;
        let pairs: Vec<Pair<'_>> = spec
            .certificates
            .iter()
            .map(|identity| Pair::read(spec.host, identity))
            .collect::<Result<_, _>>()?;
        let dated = |pairs: &[&Pair<'_>], stapled: bool| -> Result<Dated, SiteError> {
            let mut builder = server_context(&Protocol::default()).map_err(failed)?;
            certify(&mut builder, spec.host, pairs, stapled)?;
            finish(&mut builder, spec, &policy).map_err(failed)?;
            let begins = pairs.iter().map(|pair| pair.from_sec);
            let ends = pairs.iter().map(|pair| pair.until_sec);
            let staples = pairs.iter().filter_map(|pair| pair.staple);
            let staples_end = staples.filter(|_| stapled).map(|staple| staple.until_sec);
            Ok(Dated {
                from_sec: begins.max().unwrap_or(i64::MIN),
                until_sec: ends.chain(staples_end).min().unwrap_or(i64::MAX),
                is_stapled: stapled,
                context: builder.build(),
            })
        };
        let mut groups = vec![pairs.iter().collect::<Vec<_>>()];
        if pairs.len() > 1 {
            groups.extend(pairs.iter().map(|pair| vec![pair]));
        }
        let mut contexts = Vec::new();
        for group in &groups {
            if group.iter().any(|pair| pair.staple.is_some()) {
                contexts.push(dated(group, true)?);
            }
            contexts.push(dated(group, false)?);
        }
        Ok(Self {
            mtls: spec.mtls,
            revoked: spec.revoked,
            min_version: spec.min_version,
            ca_signatures: CaSignatures::of(spec.trust.anchors().map(|anchor| &**anchor)),
            policy,
            contexts,
        })
    }

    /// What a connection that begins now goes on with.
    pub(super) fn context(&self, now_sec: i64) -> &SslContext {
        let valid = |one: &&Dated| (one.from_sec..=one.until_sec).contains(&now_sec);
        let found = self.contexts.iter().find(valid);
        // With nothing valid left clients still learn what is wrong: `certificate expired`.
        let found = found.or_else(|| self.contexts.iter().find(|one| !one.is_stapled));
        &found.expect("a site is built with a context").context
    }
}

/// What every server context has, the one that connections start with included. Of a connection's
/// groups and algorithms that one decides, whichever it switches to.
pub(super) fn server_context(protocol: &Protocol) -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContextBuilder::new(buffered_method())?;
    builder.set_min_proto_version(Some(version(protocol.min_version)))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_3))?;
    builder.set_curves_list(protocol.groups.as_str())?;
    builder.set_verify_algorithm_prefs(&PEER_ALGORITHMS)?;
    builder.set_strict_cipher_list(TLS12_CIPHERS)?;
    builder.set_options(SslOptions::CIPHER_SERVER_PREFERENCE | SslOptions::NO_RENEGOTIATION);
    // Sessions live in tickets only: no cache to grow, to lock, or to keep a revoked client in.
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    set_session_lifetimes(&mut builder, TICKET_LIFETIME);
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::ALERT_FATAL)
    });
    Ok(builder)
}

/// A chain and its key, read.
struct Pair<'a> {
    leaf: X509,
    above: Vec<X509>,
    key: PKey<Private>,
    staple: Option<&'a Staple>,
    from_sec: i64,
    until_sec: i64,
}

impl<'a> Pair<'a> {
    fn read(host: &HostName, identity: &ServerIdentity<'a>) -> Result<Self, SiteError> {
        let chain_error = |why: String| SiteError::Chain {
            host: host.clone(),
            why,
        };
        let key_error = |why: String| SiteError::Key {
            host: host.clone(),
            why,
        };
        let chain = pem::certificates(identity.chain_pem, pem::Use::Chain)
            .map_err(|error| chain_error(error.to_string()))?;
        let mut certificates = chain.into_iter();
        let leaf = certificates
            .next()
            .ok_or_else(|| chain_error("no certificate in it".into()))?;
        let key =
            pem::private_key(identity.key_pem).map_err(|error| key_error(error.to_string()))?;
        let public = leaf
            .public_key()
            .map_err(|error| chain_error(error.to_string()))?;
        if !public.public_eq(&key) {
            return Err(key_error("it does not belong to the certificate".into()));
        }
        let seconds = |time| seconds(time).map_err(|error| chain_error(error.to_string()));
        Ok(Self {
            from_sec: seconds(leaf.not_before())?,
            until_sec: seconds(leaf.not_after())?,
            above: certificates.collect(),
            leaf,
            key,
            staple: identity.staple,
        })
    }
}

/// Seconds since the epoch.
fn seconds(time: &Asn1TimeRef) -> Result<i64, ErrorStack> {
    let passed = Asn1Time::from_unix(0)?.diff(time)?;
    Ok(i64::from(passed.days) * 86_400 + i64::from(passed.secs))
}

/// Gives the context its certificates, which BoringSSL tries in this order.
fn certify(
    builder: &mut SslContextBuilder,
    host: &HostName,
    pairs: &[&Pair<'_>],
    stapled: bool,
) -> Result<(), SiteError> {
    let context = |why| SiteError::Context {
        host: host.clone(),
        why,
    };
    if pairs.is_empty() {
        let why = "it has no certificate".into();
        let host = host.clone();
        return Err(SiteError::Chain { host, why });
    }
    for pair in pairs {
        let staple = pair.staple.filter(|_| stapled);
        let chain = std::iter::once(&pair.leaf).chain(&pair.above);
        let chain = chain.map(|one| one.to_der()).collect::<Result<Vec<_>, _>>();
        add_credential(
            builder,
            &chain.map_err(context)?,
            &pair.key,
            &OWN_ALGORITHMS,
            staple.map(|staple| &*staple.der),
        )
        .map_err(context)?;
    }
    Ok(())
}

fn finish(
    builder: &mut SslContextBuilder,
    spec: &SiteSpec<'_>,
    policy: &[u8; 32],
) -> Result<(), ErrorStack> {
    // A ticket of one host, mode or CA set is worth nothing at another (CVE-2025-23419).
    let mut binding = policy.to_vec();
    binding.extend_from_slice(spec.host.as_str().as_bytes());
    builder.set_session_id_context(&sha256(&binding)?)?;
    if spec.mtls != MtlsMode::Off {
        chain::name_issuers(builder, spec.trust.anchors().map(|anchor| &**anchor))?;
    }
    Ok(())
}

fn policy(spec: &SiteSpec<'_>) -> Result<[u8; 32], ErrorStack> {
    let mut bytes = vec![match spec.mtls {
        MtlsMode::Off => 0,
        MtlsMode::Request => 1,
        MtlsMode::Require => 2,
    }];
    if spec.mtls != MtlsMode::Off {
        bytes.extend_from_slice(spec.trust.digest());
        bytes.push(u8::from(spec.revoked == OnRevoked::Close));
    }
    // A connection of an older version carries no request for a host that asks for a newer one.
    if spec.min_version > TlsVersion::default() {
        bytes.extend_from_slice(spec.min_version.as_str().as_bytes());
    }
    sha256(&bytes)
}
