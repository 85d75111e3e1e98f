//! A server that is BoringSSL and nothing else, for comparison: what a handshake costs before any
//! of the gateway's own work.
//!
//! The same versions, groups, certificate and number of tickets, and no building of its own chain;
//! the client's chain is verified by BoringSSL itself, and the result is not looked at.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use boring::ssl::{
    ErrorCode, Ssl, SslContext, SslFiletype, SslMethod, SslMode, SslSessionCacheMode, SslStream,
    SslVerifyMode, SslVersion,
};
use boring::x509::store::X509StoreBuilder;

use super::memory::thread_time;
use super::tls::Tls;
use super::wire::Wire;

/// Turns after which a handshake that is not over never will be.
const TURNS_MAX: usize = 10;

/// The server's context.
pub struct Plain(SslContext);

impl Plain {
    /// A server with this certificate, which requires one of its clients when it is given their CA.
    ///
    /// # Errors
    /// A file is not there, or BoringSSL does not take what is in it.
    pub fn new(
        chain: &Path,
        key: &Path,
        clients: Option<&Path>,
        groups: &str,
        tickets: usize,
    ) -> Result<Self> {
        let mut builder = SslContext::builder(SslMethod::tls())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_max_proto_version(Some(SslVersion::TLS1_3))?;
        builder.set_curves_list(groups)?;
        builder.set_certificate_chain_file(chain)?;
        builder.set_private_key_file(key, SslFiletype::PEM)?;
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        builder.set_mode(SslMode::NO_AUTO_CHAIN);
        builder.set_session_id_context(b"plain")?;
        if let Some(clients) = clients {
            let authority = tls::pem::certificate(&std::fs::read(clients)?)?;
            let mut store = X509StoreBuilder::new()?;
            store.add_cert(&authority)?;
            builder.set_cert_store_builder(store);
            builder.add_client_ca(&authority)?;
            builder.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
        }
        #[expect(
            unsafe_code,
            reason = "boring has no safe call for the number of tickets"
        )]
        // SAFETY: the call wants a live context; the builder owns one.
        unsafe {
            boring_sys::SSL_CTX_set_num_tickets(builder.as_ptr(), tickets);
        }
        Ok(Self(builder.build()))
    }

    /// Shakes hands with a client and writes a byte to it, so that it reads its ticket. Answers the
    /// CPU time of the server's handshake, and whether it was resumed.
    ///
    /// # Errors
    /// The handshake does not succeed.
    pub fn shake_hands(&self, client: &Tls, resume: bool) -> Result<(Duration, bool)> {
        let mut client = SslStream::new(client.start(resume)?, Wire::default())?;
        let begun = thread_time();
        let mut server = SslStream::new(Ssl::new(&self.0)?, Wire::default())?;
        let mut time = thread_time() - begun;
        let finished = |outcome: Result<(), boring::ssl::Error>| match outcome {
            Ok(()) => Ok(true),
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(false),
            Err(error) => Err(anyhow!("{error}")),
        };
        for _ in 0..TURNS_MAX {
            let ready = finished(client.connect())?;
            let bytes = std::mem::take(&mut client.get_mut().outgoing);
            if !bytes.is_empty() {
                server.get_mut().give(&bytes);
            }
            let begun = thread_time();
            let done = finished(server.accept())?;
            time += thread_time() - begun;
            if ready && done {
                server.ssl_write(b"x").map_err(|error| anyhow!("{error}"))?;
                client
                    .get_mut()
                    .give(&std::mem::take(&mut server.get_mut().outgoing));
                client
                    .ssl_read(&mut [0; 8])
                    .map_err(|error| anyhow!("{error}"))?;
                return Ok((time, server.ssl().session_reused()));
            }
            let bytes = std::mem::take(&mut server.get_mut().outgoing);
            if !bytes.is_empty() {
                client.get_mut().give(&bytes);
            }
        }
        bail!("the handshake does not end")
    }
}
