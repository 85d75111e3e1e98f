//! The client's TLS: whom it believes, who it is, which session it resumes.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use boring::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslSession, SslSessionCacheMode, SslVerifyMode,
    SslVersion,
};
use boring::x509::store::X509StoreBuilder;
use boring::x509::verify::X509VerifyFlags;
use tls::pem;

/// A client's certificate and key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Chain in PEM, leaf first.
    pub chain_pem: Vec<u8>,
    /// Key in PEM.
    pub key_pem: Vec<u8>,
}

/// Which servers the client believes.
#[derive(Debug, Clone)]
pub enum Belief {
    /// Those with a certificate of these CAs (PEM) and the right name.
    Authorities(Vec<u8>),
    /// Those with a certificate of the system's CAs and the right name.
    System,
    /// Every server: the client's own cost is not what is measured.
    Everybody,
}

/// What a [`Tls`] is made from.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// The name asked for, and verified.
    pub server_name: String,
    /// Whom to believe.
    pub belief: Belief,
    /// Who we are.
    pub identity: Option<Identity>,
    /// Offer h2 only; else http/1.1 only.
    pub h2: bool,
    /// Key exchange groups offered, in OpenSSL's words.
    pub groups: String,
}

/// A client's TLS, ready to start connections.
pub struct Tls {
    context: SslContext,
    server_name: String,
    verify: bool,
    /// The newest ticket.
    session: Arc<Mutex<Option<SslSession>>>,
}

impl Tls {
    /// Builds the context.
    ///
    /// # Errors
    /// A file is not what it should be, in BoringSSL's words.
    pub fn new(settings: &TlsSettings) -> Result<Self> {
        let mut builder = SslContextBuilder::new(SslMethod::tls())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_curves_list(&settings.groups).with_context(|| {
            format!(
                "these key exchange groups cannot be offered: {}",
                settings.groups
            )
        })?;
        builder.set_alpn_protos(if settings.h2 {
            b"\x02h2"
        } else {
            b"\x08http/1.1"
        })?;
        match &settings.belief {
            Belief::Everybody => builder.set_verify(SslVerifyMode::NONE),
            Belief::System => {
                builder.set_default_verify_paths()?;
                builder.set_verify(SslVerifyMode::PEER);
            }
            Belief::Authorities(text) => {
                let mut store = X509StoreBuilder::new()?;
                // A server's own certificate may be what is believed.
                store.try_set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
                for certificate in
                    pem::certificates(text, pem::Use::Origins).context("reading the CA file")?
                {
                    store.add_cert(&certificate)?;
                }
                builder.set_cert_store_builder(store);
                builder.set_verify(SslVerifyMode::PEER);
            }
        }
        if let Some(identity) = &settings.identity {
            identify(&mut builder, identity)?;
        }
        let session = Arc::new(Mutex::new(None));
        let newest = session.clone();
        builder
            .set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        builder.set_new_session_callback(move |_, session| {
            *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(session);
        });
        Ok(Self {
            context: builder.build(),
            server_name: settings.server_name.clone(),
            verify: !matches!(settings.belief, Belief::Everybody),
            session,
        })
    }

    /// A connection at its first byte; with `resume` it offers the newest ticket.
    ///
    /// # Errors
    /// BoringSSL has no memory for it, or the name is none.
    pub fn start(&self, resume: bool) -> Result<Ssl> {
        let mut ssl = Ssl::new(&self.context)?;
        // RFC 6066 §3: an address is no server name.
        if self.server_name.parse::<std::net::IpAddr>().is_err() {
            ssl.set_hostname(&self.server_name)
                .context("setting the server name")?;
        }
        if self.verify {
            match self.server_name.parse() {
                Ok(address) => ssl.param_mut().set_ip(address)?,
                Err(_) => ssl.param_mut().set_host(&self.server_name)?,
            }
        }
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = session.as_ref().filter(|_| resume) {
            #[expect(
                unsafe_code,
                reason = "boring marks resumption across contexts as unsafe"
            )]
            // SAFETY: `set_session` wants a session of this `Ssl`'s own context; it came from the
            // callback of `self.context`, which `ssl` was just made of.
            unsafe {
                ssl.set_session(session)?;
            }
        }
        Ok(ssl)
    }

    /// Whether there is a ticket to resume with.
    #[must_use]
    pub fn has_ticket(&self) -> bool {
        self.session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}

fn identify(builder: &mut SslContextBuilder, identity: &Identity) -> Result<()> {
    let chain = pem::certificates(&identity.chain_pem, pem::Use::Chain)
        .context("reading the client certificate")?;
    let mut chain = chain.into_iter();
    let leaf = chain
        .next()
        .context("the client certificate file holds no certificate")?;
    builder.set_certificate(&leaf)?;
    for certificate in chain {
        builder.add_extra_chain_cert(certificate)?;
    }
    let key = pem::private_key(&identity.key_pem).context("reading the client key")?;
    builder.set_private_key(&key)?;
    builder
        .check_private_key()
        .context("the client key does not belong to its certificate")
}
