//! What BoringSSL itself needs for a connection.
//!
//! In a process of its own, so that nothing else weighs: handshakes over memory with the
//! gateway's own TLS settings and callbacks, of which only the server's sessions are kept.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use control::Control;
use snapshot::Published;
use tls::{AcceptSettings, Acceptor};

use super::{Mode, Weight};
use crate::client::{Belief, Identity, Tls, TlsSettings, shake_hands};
use crate::machine;
use crate::world::{GROUPS, World};

/// Bytes of certificates that a client may send: Postern's default.
pub(crate) const CHAIN_BYTES: usize = 16 * 1024;

/// Tickets that a client gets; `trust.tickets` by default.
pub(crate) const TICKETS: usize = 2;
/// As long as the requests and answers of `bench idle`, more or less.
const REQUEST: &[u8] = &[b'q'; 120];
const ANSWER: &[u8] = &[b'a'; 200];

/// Arguments of `bench session-memory`.
#[derive(Debug, Args)]
pub struct SessionArguments {
    /// Postern's store
    #[arg(long)]
    store: PathBuf,
    /// Client certificate in PEM
    #[arg(long)]
    cert: PathBuf,
    /// Client key in PEM
    #[arg(long)]
    key: PathBuf,
    /// mTLS mode of the host
    #[arg(long, value_enum)]
    mode: Mode,
    /// Weigh with so many sessions
    #[arg(long, value_delimiter = ',')]
    steps: Vec<u32>,
}

/// Starts `bench session-memory` and reads what it says.
pub(super) fn in_a_process(world: &World, mode: Mode, steps: &[u32]) -> Result<Vec<Weight>> {
    let steps: Vec<String> = steps.iter().map(u32::to_string).collect();
    let output = Command::new(std::env::current_exe()?)
        .arg("session-memory")
        .arg("--store")
        .arg(&world.store.path)
        .arg("--cert")
        .arg(&world.store.client_chain)
        .arg("--key")
        .arg(&world.store.client_key)
        .args(["--mode", mode.as_str(), "--steps", &steps.join(",")])
        .stderr(Stdio::inherit())
        .output()
        .context("weighing BoringSSL's sessions")?;
    if !output.status.success() {
        bail!("weighing BoringSSL's sessions failed ({})", output.status);
    }
    serde_json::from_slice(&output.stdout).context("reading the weight of BoringSSL's sessions")
}

/// Runs `bench session-memory`: prints the weights as JSON.
///
/// # Errors
/// The store cannot be opened, or a handshake fails.
pub fn session_memory(arguments: &SessionArguments) -> Result<()> {
    let published = Arc::new(Published::default());
    let _control = Control::open(&arguments.store, published.clone())?;
    let snapshot = published.load();
    let identity = Identity {
        chain_pem: std::fs::read(&arguments.cert)?,
        key_pem: std::fs::read(&arguments.key)?,
    };
    let client = Tls::new(&TlsSettings {
        server_name: arguments.mode.host().to_owned(),
        belief: Belief::Everybody,
        identity: arguments.mode.has_certificate().then_some(identity),
        h2: false,
        groups: GROUPS.to_owned(),
    })?;
    let acceptor = Acceptor::new()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let settings = AcceptSettings {
        now_sec: i64::try_from(now)?,
        chain_bytes_max: CHAIN_BYTES,
        tickets: TICKETS,
    };
    let mut sessions = Vec::new();
    let mut weights = Vec::new();
    for step in &arguments.steps {
        while sessions.len() < usize::try_from(*step)? {
            let mut pair = shake_hands(&client, false, &acceptor, &snapshot, settings)?;
            if arguments.mode.has_certificate() && !pair.established.client.verdict.verified {
                bail!("the client's certificate does not verify");
            }
            pair.client.exchange(&mut pair.server, REQUEST, ANSWER)?;
            sessions.push(pair.server);
        }
        weights.push(Weight {
            count: *step,
            bytes: machine::memory(std::process::id())?,
        });
    }
    println!("{}", serde_json::to_string(&weights)?);
    Ok(())
}
