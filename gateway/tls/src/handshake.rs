//! The handshake: from the first byte of a connection to its host and its client.
//!
//! Every connection starts on one shared context, the [`Acceptor`]'s. Its ClientHello callback is
//! the authority on SNI: it finds the host among the connection's [`Endpoints`] and sets everything that
//! depends on it, because `SSL_set_SSL_CTX` carries neither verify mode nor callback over and a
//! BoringSSL server never verifies a client again on resumption. So the chain is judged after
//! every handshake, resumed ones too ([`Acceptor::establish`]). Does no I/O and reads no clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use boring::error::ErrorStack;
use boring::ex_data::Index;
use boring::ssl::{
    ClientHello, NameType, SniError, Ssl, SslAlert, SslContext, SslOptions, SslRef, SslVerifyMode,
};

use super::chain::Chain;
use super::endpoint::{Endpoint, Endpoints};
use super::ffi::{
    Answer, ClientJudge, judge_clients, seal_tickets, send_fatal_alert, set_certificate_bytes_max,
    set_session_lifetime, set_ticket_count,
};
use super::identity::read_client;
use super::ocsp::OcspQuestion;
use super::presented;
use super::session::Session;
use super::site::server_context;
use super::ticket::{Sealer, TicketKeys};
use super::verify::{Judgement, judge};
use crate::limits::TICKET_LIFETIME;
use vocabulary::client_auth::ClientAuth;
use vocabulary::hostname::NAME_BYTES_MAX;
use vocabulary::limits::TICKETS_MAX;
use vocabulary::settings::MtlsMode;
use vocabulary::verdict::Reason;

/// Where all server connections start. One for all workers, so that a ticket from one is good at
/// every other; and in it a context for each number of tickets. The keys of tickets are ours ([`TicketKeys`]); early data stays off, which is
/// BoringSSL's default (RFC 8446 §8: what arrives in it may be a replay).
pub struct Acceptor {
    /// By how many tickets they give.
    contexts: [SslContext; TICKETS_MAX + 1],
    tickets: Arc<TicketKeys>,
    state: Index<Ssl, State>,
}

/// What one connection is accepted with.
#[derive(Debug, Clone, Copy)]
pub struct AcceptSettings {
    /// The time of judgement, seconds since the epoch.
    pub now_sec: i64,
    /// Bytes of certificates that the client may send.
    pub chain_bytes_max: usize,
    /// Tickets that it gets with a full handshake, [`TICKETS_MAX`] at the most; with 0 nothing is
    /// resumed.
    pub tickets: usize,
}

/// Where a connection's [`State`] is kept: one place for the whole process, because BoringSSL's
/// question for ticket keys comes without an [`Acceptor`].
static STATE: OnceLock<Index<Ssl, State>> = OnceLock::new();

/// The keys of a server connection's tickets.
pub(super) fn ticket_keys(ssl: &SslRef) -> Option<&TicketKeys> {
    let state = ssl.ex_data(*STATE.get()?)?;
    Some(&state.tickets)
}

/// Whether a connection is to have the ticket that is about to be made. Whoever has shown one gets
/// one for it, so that a client has as many as a full handshake gave it.
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
struct State {
    endpoints: Arc<dyn Endpoints>,
    now_sec: i64,
    /// Canonical; `None` without the extension.
    sni: Option<Box<str>>,
    host: Option<Arc<Endpoint>>,
    hello: Vec<u8>,
    /// The client's leaf as it was sent, until it is judged.
    leaf: Option<Box<[u8]>>,
    judgement: Option<Judgement>,
    tickets: Arc<TicketKeys>,
    /// A ticket was made for it. Atomic only because the compiler cannot know that one thread at a
    /// time has a connection.
    has_ticket: AtomicBool,
    /// Somebody could not be judged without an answer, and has waited for it.
    has_waited: bool,
}

/// Why a handshake did not succeed, as far as it got.
#[derive(Debug)]
pub struct HandshakeError {
    /// Whose doing it was, in one word for metrics and logs.
    pub refusal: Refusal,
    /// What the ClientHello asked for.
    pub sni: Option<Box<str>>,
    /// The host that was found for it.
    pub host: Option<Arc<Endpoint>>,
    /// The certificate, when one was sent.
    pub client: Option<ClientAuth>,
    /// BoringSSL's own words.
    pub detail: String,
}

/// Why a handshake was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No host for this SNI.
    UnknownHost,
    /// No SNI, and no default host.
    NoSni,
    /// The host requires a certificate, and this one (or its absence) does not do.
    ClientCertificate(Reason),
    /// Plain HTTP on the TLS port.
    PlainHttp,
    /// The client said with an alert that it does not want us.
    PeerAlert,
    /// The client went away.
    Closed,
    /// No version, cipher or group in common, or no TLS at all.
    Protocol,
}

impl Refusal {
    /// The stable snake_case text for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownHost => "unknown_host",
            Self::NoSni => "no_sni",
            Self::ClientCertificate(reason) => reason.as_str(),
            Self::PlainHttp => "plain_http",
            Self::PeerAlert => "peer_alert",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
        }
    }
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
    /// What the judge found of it.
    pub judgement: Judgement,
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
    /// Builds the contexts that all connections start on.
    ///
    /// # Errors
    /// BoringSSL would not take the settings.
    pub fn new() -> Result<Self, ErrorStack> {
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
            contexts.push(starting_context(state, tickets)?);
        }
        Ok(Self {
            contexts: contexts
                .try_into()
                .expect("so many contexts as there are numbers of tickets"),
            tickets: Arc::new(TicketKeys::new()?),
            state,
        })
    }

    /// The keys of session tickets, for whoever rotates them.
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
            State {
                endpoints,
                now_sec: settings.now_sec,
                sni: None,
                host: None,
                hello: Vec::new(),
                leaf: None,
                judgement: None,
                tickets: self.tickets.clone(),
                has_ticket: AtomicBool::new(false),
                has_waited: false,
            },
        );
        Session::accept(ssl)
    }

    /// What must be asked before a client can be judged: of a handshake that has stopped for it
    /// ([`Session::waits`]), or of a resumed session before [`Acceptor::establish`]. Once for each
    /// connection; after it the judge takes what there is.
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
        if let (None, Some(chain), Some(host)) = (&state.judgement, chain, &state.host)
            && host.site.mtls != MtlsMode::Off
        {
            state.judgement = Some(judge(&chain, &host.trust, state.now_sec));
        }
        let question = state
            .judgement
            .as_ref()
            .filter(|found| found.waits())?
            .question();
        state.has_waited = true;
        state.judgement = None;
        question
    }

    /// What a finished handshake made of the connection: judges the chain, whether it was sent
    /// just now or came out of a ticket.
    ///
    /// # Errors
    /// The host requires a certificate and a resumed session no longer has one that verifies; the
    /// alert that says so is waiting to be sent.
    pub fn establish(&self, session: &mut Session) -> Result<Established, Box<HandshakeError>> {
        let resumed = session.ssl().session_reused();
        let chain = Chain::of(session.ssl());
        let Some(state) = session.ssl_mut().ex_data_mut(self.state) else {
            return Err(self.failure(session, "the connection lost its state".into()));
        };
        let Some(host) = state.host.clone() else {
            return Err(self.failure(session, "no host was chosen".into()));
        };
        let judgement = match state.judgement.take() {
            Some(judgement) => judgement,
            None if host.site.mtls == MtlsMode::Off => Judgement::NONE,
            // Resumed: BoringSSL has not asked us.
            None => judge(&chain, &host.trust, state.now_sec),
        };
        let chain = if host.site.mtls == MtlsMode::Off {
            Chain::default()
        } else {
            chain
        };
        if host.refuses(&judgement.verdict) {
            let reason = judgement.verdict.reason;
            state.judgement = Some(judgement);
            send_fatal_alert(session.ssl_mut(), alert_of(reason));
            return Err(self.failure(session, "the resumed session is no longer believed".into()));
        }
        let client = judgement.client(&chain);
        let sni = state.sni.take();
        let hello = std::mem::take(&mut state.hello);
        let ssl = session.ssl();
        Ok(Established {
            host,
            sni,
            chain,
            judgement,
            client,
            resumed,
            http2: ssl.selected_alpn_protocol() == Some(b"h2"),
            version: ssl.version_str(),
            cipher: ssl.current_cipher().map_or("", |cipher| cipher.name()),
            hello,
        })
    }

    /// Gathers what is known of a handshake that failed with `detail`.
    #[must_use]
    pub fn failure(&self, session: &Session, detail: String) -> Box<HandshakeError> {
        let mut error = HandshakeError {
            refusal: Refusal::Protocol,
            sni: None,
            host: None,
            client: None,
            detail,
        };
        let Some(state) = session.ssl().ex_data(self.state) else {
            return Box::new(error);
        };
        error.sni.clone_from(&state.sni);
        error.host.clone_from(&state.host);
        let said_hello = state.host.is_some() || session.ssl().client_random(&mut [0; 1]) == 0;
        if let Some(reason) = boring_refused(state, &error.detail) {
            let chain = match &state.leaf {
                Some(leaf) => Vec::from_iter(presented::parse(leaf)),
                None => Chain::of(session.ssl()).parse(),
            };
            error.client = Some(read_client(&chain, &Judgement::refused(reason)));
            error.refusal = Refusal::ClientCertificate(reason);
        } else if let Some(judgement) = &state.judgement {
            let chain = Chain::of(session.ssl()).parse();
            error.client = Some(read_client(&chain, judgement));
            let refuses = |host: &Arc<Endpoint>| host.refuses(&judgement.verdict);
            if state.host.as_ref().is_some_and(refuses) {
                error.refusal = Refusal::ClientCertificate(judgement.verdict.reason);
            }
        } else if state.host.is_none() && state.sni.is_some() {
            error.refusal = Refusal::UnknownHost;
        } else if error.detail.contains("HTTP_REQUEST") {
            error.refusal = Refusal::PlainHttp;
        } else if error.detail.contains("PEER_DID_NOT_RETURN_A_CERTIFICATE") {
            error.refusal = Refusal::ClientCertificate(Reason::NotPresented);
        } else if error.detail.contains("ALERT_") {
            error.refusal = Refusal::PeerAlert;
        } else if error.detail.is_empty() {
            error.refusal = Refusal::Closed;
        } else if !said_hello {
            error.refusal = Refusal::NoSni;
        }
        Box::new(error)
    }
}

/// What BoringSSL itself found wrong with the client's certificate: before the judge was asked, or
/// afterwards, when the client could not sign with its key.
fn boring_refused(state: &State, words: &str) -> Option<Reason> {
    if state.leaf.is_none() && state.judgement.is_none() {
        return None;
    }
    let found = [
        ("KEY_USAGE_BIT_INCORRECT", Reason::KeyUsage),
        ("BAD_SIGNATURE", Reason::BadSignature),
        ("WRONG_SIGNATURE_TYPE", Reason::WeakKey),
        ("UNKNOWN_CERTIFICATE_TYPE", Reason::WeakKey),
        ("CANNOT_PARSE_LEAF_CERT", Reason::Malformed),
        ("CERT_LENGTH_MISMATCH", Reason::Malformed),
    ];
    let known = found.iter().find(|(word, _)| words.contains(word));
    let unread =
        || (state.leaf.is_some() && words.contains("DECODE_ERROR")).then_some(Reason::Malformed);
    known.map(|(_, reason)| *reason).or_else(unread)
}

/// What connections start on that get so many tickets.
fn starting_context(state: Index<Ssl, State>, tickets: usize) -> Result<SslContext, ErrorStack> {
    let mut builder = server_context()?;
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
        if state.host.is_some() {
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
fn choose_host(mut hello: ClientHello<'_>, index: Index<Ssl, State>) {
    let sni = hello.servername(NameType::HOST_NAME).and_then(canonical);
    let Some(state) = hello.ssl_mut().ex_data_mut(index) else {
        return;
    };
    let host = state.endpoints.find(sni.as_deref());
    let now_sec = state.now_sec;
    state.sni = sni;
    let Some(host) = host else { return };
    if host_takes_over(hello.ssl_mut(), &host, now_sec).is_err() {
        return;
    }
    let keep = host.keeps_hello;
    let bytes = if keep {
        hello.as_bytes().to_vec()
    } else {
        Vec::new()
    };
    if let Some(state) = hello.ssl_mut().ex_data_mut(index) {
        state.host = Some(host);
        state.hello = bytes;
    }
}

fn host_takes_over(ssl: &mut SslRef, host: &Endpoint, now_sec: i64) -> Result<(), ErrorStack> {
    ssl.set_ssl_context(host.site.context(now_sec))?;
    let mode = match host.site.mtls {
        MtlsMode::Off => SslVerifyMode::NONE,
        MtlsMode::Request => SslVerifyMode::PEER,
        MtlsMode::Require => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
    };
    if host.site.mtls != MtlsMode::Off {
        presented::watch(ssl);
    }
    judge_clients::<Judge>(ssl, mode);
    Ok(())
}

/// Answers BoringSSL's question whether the client may go on with the certificates it has sent.
struct Judge;

impl ClientJudge for Judge {
    fn judge(ssl: &mut SslRef) -> Answer {
        let chain = Chain::of(ssl);
        let Some(state) = STATE.get().and_then(|index| ssl.ex_data_mut(*index)) else {
            return Answer::No(INTERNAL_ERROR);
        };
        let Some(host) = state.host.clone() else {
            return Answer::No(INTERNAL_ERROR);
        };
        let judgement = judge(&chain, &host.trust, state.now_sec);
        state.leaf = None;
        if judgement.waits() && !state.has_waited {
            state.judgement = Some(judgement);
            return Answer::NotYet;
        }
        let verdict = judgement.verdict;
        let left_sec = judgement.good_until_sec.saturating_sub(state.now_sec);
        state.judgement = Some(judgement);
        if host.refuses(&verdict) {
            return Answer::No(alert_of(verdict.reason));
        }
        // No ticket outlives what it stands for; the judge would say no anyway.
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

/// RFC 8446 §6.2.
fn alert_of(reason: Reason) -> u8 {
    match reason {
        // certificate_required
        Reason::NotPresented => 116,
        // certificate_expired
        Reason::Expired | Reason::NotYetValid => 45,
        // certificate_revoked
        Reason::Revoked => 44,
        // unknown_ca
        Reason::UnknownCa | Reason::SelfSigned => 48,
        // unsupported_certificate
        Reason::WrongEku | Reason::KeyUsage => 43,
        // bad_certificate
        _ => 42,
    }
}
