//! What BoringSSL calls while a connection shakes hands, and what travels with it.
//!
//! Owns the ClientHello callback, which gives a connection its host, the answer to BoringSSL's
//! question about the client's certificates, and what tickets ask of their connection. Does not
//! drive the handshake; see `handshake`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use boring::error::ErrorStack;
use boring::ex_data::Index;
use boring::ssl::{
    ClientHello, ExtensionType, NameType, SniError, Ssl, SslAlert, SslContext, SslOptions, SslRef,
    SslVerifyMode,
};

use super::algorithms::{Protocol, version};
use super::chain::Chain;
use super::challenge::is_asked_for;
use super::endpoint::{Endpoint, Endpoints};
use super::ffi::{
    Answer, ClientVerifier, seal_tickets, set_session_lifetime, set_ticket_count, verify_clients,
};
use super::presented;
use super::refusal::alert_of;
use super::site::server_context;
use super::ticket::{Sealer, TicketKeys};
use super::verify::{Verification, verify};
use crate::limits::TICKET_LIFETIME;
use vocabulary::hostname::NAME_BYTES_MAX;
use vocabulary::settings::{MtlsMode, TlsVersion};

/// Where a connection's [`HandshakeState`] is kept: one place for the whole process, because BoringSSL's
/// question for ticket keys comes without an [`Acceptor`](crate::Acceptor).
pub(super) static STATE: OnceLock<Index<Ssl, HandshakeState>> = OnceLock::new();

/// The keys of a server connection's tickets.
pub(super) fn ticket_keys(ssl: &SslRef) -> Option<&TicketKeys> {
    let state = ssl.ex_data(*STATE.get()?)?;
    Some(&state.tickets)
}

/// Whether a connection is to have the ticket that is about to be made. A resumed session gets one
/// replacement, so that a client's stock stays what a full handshake gave it.
pub(super) fn has_ticket_due(ssl: &SslRef) -> bool {
    let state = STATE.get().and_then(|index| ssl.ex_data(*index));
    let first = state.is_some_and(|state| !state.has_ticket.swap(true, Ordering::Relaxed));
    first || !ssl.session_reused()
}

/// Keeps the leaf that BoringSSL is about to look at, for the record of a refusal.
pub(super) fn keep_leaf(ssl: &mut SslRef, leaf: &[u8]) {
    let state = STATE.get().and_then(|index| ssl.ex_data_mut(*index));
    if let Some(state) = state {
        state.leaf = Some(leaf.into());
    }
}

/// What travels with a connection through BoringSSL's callbacks.
pub(super) struct HandshakeState {
    pub(super) endpoints: Arc<dyn Endpoints>,
    pub(super) now_sec: i64,
    /// Canonical; `None` without the extension.
    pub(super) sni: Option<Box<str>>,
    pub(super) host: Option<Arc<Endpoint>>,
    /// An ACME server asks, and is shown what it asks for; there is no host then.
    pub(super) is_challenge: bool,
    pub(super) hello: Vec<u8>,
    /// The client's signature algorithms have none that the host's CAs sign with.
    pub(super) is_foreign_to_cas: bool,
    /// The client's leaf as it was sent, until it is verified.
    pub(super) leaf: Option<Box<[u8]>>,
    pub(super) verification: Option<Verification>,
    pub(super) tickets: Arc<TicketKeys>,
    /// A ticket was made for it. Atomic only because the compiler cannot know that one thread at a
    /// time has a connection.
    pub(super) has_ticket: AtomicBool,
    /// The client could not be verified without an OCSP answer, and the handshake has waited for it.
    pub(super) has_waited: bool,
}

/// What connections start on that get so many tickets.
pub(super) fn starting_context(
    state: Index<Ssl, HandshakeState>,
    protocol: &Protocol,
    tickets: usize,
) -> Result<SslContext, ErrorStack> {
    let mut builder = server_context(protocol)?;
    seal_tickets::<Sealer>(&mut builder);
    if tickets == 0 {
        builder.set_options(SslOptions::NO_TICKET);
    }
    set_ticket_count(&mut builder, tickets);
    builder.set_select_certificate_callback(move |hello| {
        choose_host(hello, state);
        // An unknown name is refused one step later, where BoringSSL lets us say which alert.
        Ok(())
    });
    builder.set_servername_callback(move |ssl, alert| {
        let Some(state) = ssl.ex_data(state) else {
            return Err(SniError::ALERT_FATAL);
        };
        if state.host.is_some() || state.is_challenge {
            return Ok(());
        }
        // RFC 8446 §9.2 and RFC 6066 §3.
        *alert = match state.sni {
            None => SslAlert::MISSING_EXTENSION,
            Some(_) => SslAlert::UNRECOGNIZED_NAME,
        };
        Err(SniError::ALERT_FATAL)
    });
    Ok(builder.build())
}

/// The ClientHello callback: finds the host and makes this connection its.
fn choose_host(mut hello: ClientHello<'_>, index: Index<Ssl, HandshakeState>) {
    let sni = hello.servername(NameType::HOST_NAME).and_then(canonical);
    let asks_for_challenge =
        is_asked_for(hello.get_extension(ExtensionType::APPLICATION_LAYER_PROTOCOL_NEGOTIATION));
    let Some(state) = hello.ssl_mut().ex_data_mut(index) else {
        return;
    };
    let now_sec = state.now_sec;
    state.sni = sni;
    let asked_name = state.sni.as_deref().filter(|_| asks_for_challenge);
    if let Some(challenge) = asked_name.and_then(|name| state.endpoints.challenge(name)) {
        state.is_challenge = true;
        // Options are the connection's by now: those of another context change nothing.
        hello.ssl_mut().set_options(SslOptions::NO_TICKET);
        // If it cannot be had the handshake fails, for want of a certificate.
        drop(hello.ssl_mut().set_ssl_context(challenge.context()));
        return;
    }
    let Some(host) = state.endpoints.find(state.sni.as_deref()) else {
        return;
    };
    if host_takes_over(hello.ssl_mut(), &host, now_sec).is_err() {
        return;
    }
    let asks = host.site.mtls != MtlsMode::Off;
    let offered = hello.get_extension(ExtensionType::SIGNATURE_ALGORITHMS);
    let is_foreign_to_cas = asks
        && !host
            .site
            .ca_signatures
            .are_among(offered.unwrap_or_default());
    let keep = host.keeps_hello;
    let bytes = if keep {
        hello.as_bytes().to_vec()
    } else {
        Vec::new()
    };
    if let Some(state) = hello.ssl_mut().ex_data_mut(index) {
        state.host = Some(host);
        state.hello = bytes;
        state.is_foreign_to_cas = is_foreign_to_cas;
    }
}

fn host_takes_over(ssl: &mut SslRef, host: &Endpoint, now_sec: i64) -> Result<(), ErrorStack> {
    ssl.set_ssl_context(host.site.context(now_sec))?;
    // BoringSSL chooses the version after this. The gateway's own bound is in the first context.
    if host.site.min_version > TlsVersion::default() {
        ssl.set_min_proto_version(Some(version(host.site.min_version)))?;
    }
    let mode = match host.site.mtls {
        MtlsMode::Off => SslVerifyMode::NONE,
        MtlsMode::Request => SslVerifyMode::PEER,
        MtlsMode::Require => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
    };
    if host.site.mtls != MtlsMode::Off {
        presented::watch(ssl);
    }
    verify_clients::<Verifier>(ssl, mode);
    Ok(())
}

/// Answers BoringSSL's question whether the client may go on with the certificates it has sent.
struct Verifier;

impl ClientVerifier for Verifier {
    fn verify(ssl: &mut SslRef) -> Answer {
        let chain = Chain::of(ssl);
        let Some(state) = STATE.get().and_then(|index| ssl.ex_data_mut(*index)) else {
            return Answer::No(INTERNAL_ERROR);
        };
        let Some(host) = state.host.clone() else {
            return Answer::No(INTERNAL_ERROR);
        };
        let verification = verify(&chain, &host.trust, state.now_sec);
        state.leaf = None;
        if verification.waits() && !state.has_waited {
            state.verification = Some(verification);
            return Answer::NotYet;
        }
        let verdict = verification.verdict;
        let left_sec = verification.good_until_sec.saturating_sub(state.now_sec);
        state.verification = Some(verification);
        if host.refuses(&verdict) {
            return Answer::No(alert_of(verdict.reason));
        }
        // No ticket outlives what it stands for; the verifier would say no anyway.
        shorten_session(ssl, left_sec);
        Answer::Yes
    }
}

/// Bounds the life of the session that is being made, and of those resumed from it.
fn shorten_session(ssl: &mut SslRef, left_sec: i64) {
    let Ok(left_sec) = u32::try_from(left_sec.max(1)) else {
        return;
    };
    if u64::from(left_sec) < TICKET_LIFETIME.as_secs() {
        set_session_lifetime(ssl, left_sec);
    }
}

/// Lower case, without the trailing dot; anything that no host could be called is no SNI of ours.
fn canonical(name: &str) -> Option<Box<str>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    (!name.is_empty() && name.len() <= NAME_BYTES_MAX).then(|| name.to_ascii_lowercase().into())
}

/// RFC 8446 §6.2.
const INTERNAL_ERROR: u8 = 80;
