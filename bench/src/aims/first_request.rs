//! How long a client that leaves Nagle's algorithm on waits for its first answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use boring::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};

use crate::world::OPEN_HOST;

/// Groups offered: before TLS 1.3 the curve of the server's certificate has to be among them
/// (RFC 8422 §5.1.1).
const GROUPS: &str = "X25519:P-256";
/// Connections of each version.
const CONNECTIONS: usize = 60;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Medians over TLS 1.3 and over TLS 1.2, in turns.
pub(super) fn medians(address: SocketAddr) -> Result<(Duration, Duration)> {
    let (new, old) = (context(SslVersion::TLS1_3)?, context(SslVersion::TLS1_2)?);
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        times.0.push(once(&new, address)?);
        times.1.push(once(&old, address)?);
    }
    Ok((median(times.0), median(times.1)))
}

fn context(version: SslVersion) -> Result<SslContext> {
    let mut builder = SslContext::builder(SslMethod::tls())?;
    builder.set_min_proto_version(Some(version))?;
    builder.set_max_proto_version(Some(version))?;
    builder.set_curves_list(GROUPS)?;
    builder.set_alpn_protos(b"\x08http/1.1")?;
    builder.set_verify(SslVerifyMode::NONE);
    Ok(builder.build())
}

/// From the request to the first byte of its answer, on a new connection.
fn once(context: &SslContext, address: SocketAddr) -> Result<Duration> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut ssl = Ssl::new(context)?;
    ssl.set_hostname(OPEN_HOST)?;
    let mut stream = ssl.connect(socket).map_err(|error| anyhow!("{error}"))?;
    let begun = Instant::now();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {OPEN_HOST}\r\n\r\n").as_bytes())?;
    let mut byte = [0; 1];
    if stream.read(&mut byte)? == 0 {
        bail!("the gateway closed instead of answering");
    }
    Ok(begun.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
