//! The handshake: from the first byte of a connection to its host and its client.
//!
//! Every connection starts on one shared context, the [`Acceptor`]'s. The ClientHello callback
//! ([`super::callbacks`]) is the authority on SNI. It finds the host among the connection's
//! [`Endpoints`] and sets everything that depends on it, because `SSL_set_SSL_CTX` carries neither
//! verify mode nor callback over, and because a BoringSSL server never verifies a client again on
//! resumption. So the chain is verified after every handshake, resumed ones too
//! ([`Acceptor::establish`]). Does no I/O and reads no clock.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use boring::error::ErrorStack;
use boring::ex_data::Index;
use boring::ssl::{Ssl, SslContext};

use super::algorithms::{Groups, Protocol};
use super::callbacks::{HandshakeState, STATE, starting_context};
use super::chain::Chain;
use super::endpoint::{Endpoint, Endpoints};
use super::ffi::{send_fatal_alert, set_certificate_bytes_max};
use super::identity::read_client;
use super::ocsp::OcspQuestion;
use super::presented;
use super::refusal::{HandshakeError, Progress, Refusal, alert_of, refusal_of};
use super::session::{HandshakeFailure, Session};
use super::ticket::TicketKeys;
use super::verify::{Verification, verify};
use vocabulary::client_auth::ClientAuth;
use vocabulary::limits::TICKETS_MAX;
use vocabulary::settings::MtlsMode;
use vocabulary::verdict::Reason;

/// Where all server connections start. There is one for all workers, so that a ticket from one is
/// good at every other, and in it a context for each number of tickets. The keys of tickets are
/// ours ([`TicketKeys`]). Early data stays off, which is BoringSSL's default (RFC 8446 §8: what
/// arrives in it may be a replay).
pub struct Acceptor {
    /// By how many tickets they give.
    contexts: [SslContext; TICKETS_MAX + 1],
    tickets: Arc<TicketKeys>,
    state: Index<Ssl, HandshakeState>,
}

/// What one connection is accepted with.
#[derive(Debug, Clone, Copy)]
pub struct AcceptSettings {
    /// The time of verification, seconds since the epoch.
    pub now_sec: i64,
    /// Bytes of certificates that the client may send.
    pub chain_bytes_max: usize,
    /// Tickets that it gets with a full handshake, [`TICKETS_MAX`] at the most; with 0 nothing is
    /// resumed.
    pub tickets: usize,
}

/// A handshake that succeeded.
#[derive(Debug)]
pub struct Established {
    /// The host that SNI named.
    pub host: Arc<Endpoint>,
    /// Canonical SNI, `None` for the default host's nameless clients.
    pub sni: Option<Box<str>>,
    /// The client's chain, leaf first; empty without a certificate.
    pub chain: Chain,
    /// What the verifier found of it.
    pub verification: Verification,
    /// The same for rules, logs and origins.
    pub client: Arc<ClientAuth>,
    /// From a ticket.
    pub resumed: bool,
    /// HTTP/2 was agreed on.
    pub http2: bool,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite's name.
    pub cipher: &'static str,
    /// The ClientHello message, kept only when rules read it.
    pub hello: Vec<u8>,
}

impl Acceptor {
    /// Builds the contexts that all connections start on, with the default groups.
    ///
    /// # Errors
    /// BoringSSL would not take the settings.
    pub fn new() -> Result<Self, ErrorStack> {
        Self::with_protocol(&Protocol::default())
    }

    /// Builds the contexts that all connections start on, with these key exchange groups.
    ///
    /// # Errors
    /// BoringSSL would not take the settings.
    pub fn with_groups(groups: &Groups) -> Result<Self, ErrorStack> {
        Self::with_protocol(&Protocol {
            groups: groups.clone(),
            ..Protocol::default()
        })
    }

    /// Builds the contexts that all connections start on, with these groups and versions.
    ///
    /// # Errors
    /// BoringSSL would not take the settings.
    pub fn with_protocol(protocol: &Protocol) -> Result<Self, ErrorStack> {
        let state = match STATE.get() {
            Some(state) => *state,
            // Of two that are made at once one is used and the other never again.
            None => {
                let made = Ssl::new_ex_index()?;
                *STATE.get_or_init(|| made)
            }
        };
        let mut contexts = Vec::with_capacity(TICKETS_MAX + 1);
        for tickets in 0..=TICKETS_MAX {
            contexts.push(starting_context(state, protocol, tickets)?);
        }
        Ok(Self {
            contexts: contexts
                .try_into()
                .expect("so many contexts as there are numbers of tickets"),
            tickets: Arc::new(TicketKeys::new()?),
            state,
        })
    }

    /// The keys of session tickets, for the control plane to rotate.
    #[must_use]
    pub fn tickets(&self) -> &TicketKeys {
        &self.tickets
    }

    /// A connection at its first byte.
    ///
    /// # Errors
    /// BoringSSL has no memory for it.
    pub fn accept(
        &self,
        endpoints: Arc<dyn Endpoints>,
        settings: AcceptSettings,
    ) -> Result<Session, ErrorStack> {
        let [.., most] = &self.contexts;
        let context = self.contexts.get(settings.tickets).unwrap_or(most);
        let mut ssl = Ssl::new(context)?;
        // BoringSSL's default of 100 KiB of certificates is an invitation.
        set_certificate_bytes_max(&mut ssl, settings.chain_bytes_max);
        ssl.set_ex_data(
            self.state,
            HandshakeState {
                endpoints,
                now_sec: settings.now_sec,
                sni: None,
                host: None,
                is_challenge: false,
                hello: Vec::new(),
                is_foreign_to_cas: false,
                leaf: None,
                verification: None,
                tickets: self.tickets.clone(),
                has_ticket: AtomicBool::new(false),
                has_waited: false,
            },
        );
        Session::accept(ssl)
    }

    /// What must be asked before a client can be verified: of a handshake that has stopped for it
    /// ([`Session::waits`]), or of a resumed session before [`Acceptor::establish`]. Once for each
    /// connection; after it the verifier takes what there is.
    #[must_use]
    pub fn must_ask(&self, session: &mut Session) -> Option<OcspQuestion> {
        let chain = session
            .ssl()
            .session_reused()
            .then(|| Chain::of(session.ssl()));
        let state = session.ssl_mut().ex_data_mut(self.state)?;
        if state.has_waited {
            return None;
        }
        if let (None, Some(chain), Some(host)) = (&state.verification, chain, &state.host)
            && host.site.mtls != MtlsMode::Off
        {
            state.verification = Some(verify(&chain, &host.trust, state.now_sec));
        }
        let question = state
            .verification
            .as_ref()
            .filter(|found| found.waits())?
            .question();
        state.has_waited = true;
        state.verification = None;
        question
    }

    /// Whether a finished handshake was one with an ACME server that checks a name
    /// (RFC 8737). It has no host and no client, and its connection carries nothing.
    #[must_use]
    pub fn is_challenge(&self, session: &Session) -> bool {
        let state = session.ssl().ex_data(self.state);
        state.is_some_and(|state| state.is_challenge)
    }

    /// What a finished handshake made of the connection: verifies the chain, whether it was sent
    /// just now or came out of a ticket.
    ///
    /// # Errors
    /// The host requires a certificate and a resumed session no longer has one that verifies; the
    /// alert that says so is waiting to be sent.
    pub fn establish(&self, session: &mut Session) -> Result<Established, Box<HandshakeError>> {
        let resumed = session.ssl().session_reused();
        let chain = Chain::of(session.ssl());
        let Some(state) = session.ssl_mut().ex_data_mut(self.state) else {
            return Err(self.failure(
                session,
                HandshakeFailure::Gateway("the connection lost its state"),
            ));
        };
        let Some(host) = state.host.clone() else {
            return Err(self.failure(session, HandshakeFailure::Gateway("no host was chosen")));
        };
        let verification = match state.verification.take() {
            Some(verification) => verification,
            None if host.site.mtls == MtlsMode::Off => Verification::NONE,
            // Resumed: BoringSSL has not asked us.
            None => verify(&chain, &host.trust, state.now_sec),
        };
        let chain = if host.site.mtls == MtlsMode::Off {
            Chain::default()
        } else {
            chain
        };
        if host.refuses(&verification.verdict) {
            let reason = verification.verdict.reason;
            state.verification = Some(verification);
            send_fatal_alert(session.ssl_mut(), alert_of(reason));
            return Err(self.failure(
                session,
                HandshakeFailure::Gateway("the resumed session is no longer believed"),
            ));
        }
        let client = verification.client(&chain);
        let sni = state.sni.take();
        let hello = std::mem::take(&mut state.hello);
        let ssl = session.ssl();
        Ok(Established {
            host,
            sni,
            chain,
            verification,
            client,
            resumed,
            http2: ssl.selected_alpn_protocol() == Some(b"h2"),
            version: ssl.version_str(),
            cipher: ssl.current_cipher().map_or("", |cipher| cipher.name()),
            hello,
        })
    }

    /// Gathers what is known of a handshake that failed.
    #[must_use]
    pub fn failure(&self, session: &Session, failure: HandshakeFailure) -> Box<HandshakeError> {
        let ssl = session.ssl();
        let state = ssl.ex_data(self.state);
        let host = state.and_then(|state| state.host.as_ref());
        let is_challenge = state.is_some_and(|state| state.is_challenge);
        let sni = state.and_then(|state| state.sni.as_ref());
        let leaf = state.and_then(|state| state.leaf.as_deref());
        let verification = state.and_then(|state| state.verification.as_ref());
        let verified =
            verification.filter(|found| host.is_some_and(|host| host.refuses(&found.verdict)));
        let refusal = refusal_of(
            &failure,
            Progress {
                is_proxied: session.wire_ref().is_proxied(),
                has_hello: host.is_some() || is_challenge || ssl.client_random(&mut [0; 1]) == 0,
                has_name: sni.is_some(),
                has_host: host.is_some() || is_challenge,
                is_asked: host.is_some_and(|host| host.site.mtls != MtlsMode::Off),
                has_leaf: leaf.is_some(),
                is_verified: verification.is_some(),
                is_foreign_to_cas: state.is_some_and(|state| state.is_foreign_to_cas),
                verified: verified.map(|found| found.verdict.reason),
            },
        );
        // The certificate, by the verification that was made of it, or by what BoringSSL found.
        let chain = || Chain::of(ssl).parse();
        let client = match (refusal, leaf, verification) {
            (_, _, Some(verification)) if verified.is_some() => {
                Some(read_client(&chain(), verification))
            }
            (Refusal::ClientCertificate(reason), Some(leaf), _) => {
                let chain = Vec::from_iter(presented::parse(leaf));
                Some(read_client(&chain, &Verification::refused(reason)))
            }
            (Refusal::ClientCertificate(Reason::ChainTooLarge), None, None) => Some(read_client(
                &[],
                &Verification::refused(Reason::ChainTooLarge),
            )),
            (Refusal::ClientCertificate(reason), None, Some(_)) => {
                Some(read_client(&chain(), &Verification::refused(reason)))
            }
            (_, _, Some(verification)) => Some(read_client(&chain(), verification)),
            _ => None,
        };
        Box::new(HandshakeError {
            refusal,
            sni: sni.cloned(),
            host: host.cloned(),
            client,
            about: verified.and_then(Verification::about).map(Box::from),
            failure,
        })
    }
}
