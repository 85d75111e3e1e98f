//! The PROXY protocol: what a balancer says of a client before the client's first byte.
//!
//! Reads a header of version 1 or 2 as HAProxy's specification has it
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, §2), without I/O. Of version 2 the
//! additions (TLVs) are passed over, the checksum among them. Where a header says that the connection
//! is the balancer's own, or that there are no addresses of the internet, the client is the balancer,
//! as the specification asks. Does not decide who may send one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::limits::{PROXY_V1_BYTES_MAX, PROXY_V2_BYTES_MAX};

/// The first bytes of version 1 (§2.1).
const V1: &[u8] = b"PROXY ";
/// The first bytes of version 2 (§2.2).
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before its addresses: signature, version and command, family, length.
const V2_START: usize = 16;

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// More bytes have to come.
    More,
    /// A whole header.
    Header(Header),
}

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes that it takes; what is behind them is the client's.
    pub size: usize,
    /// The client; `None` when the connection is the balancer's own.
    pub client: Option<SocketAddr>,
}

impl Header {
    /// An address has one spelling, for rules, logs and origins alike: IPv4 that was mapped into IPv6
    /// is IPv4.
    fn new(size: usize, client: Option<SocketAddr>) -> Self {
        let client =
            client.map(|client| SocketAddr::new(client.ip().to_canonical(), client.port()));
        Self { size, client }
    }
}

/// Why a connection's first bytes are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyError {
    /// They begin as neither version does.
    Missing,
    /// A line of version 1 that is not of the form `PROXY TCP4 SOURCE DESTINATION PORT PORT`.
    Line,
    /// No end of line within [`PROXY_V1_BYTES_MAX`], or more than [`PROXY_V2_BYTES_MAX`].
    TooLong,
    /// Neither version 2 nor the commands PROXY and LOCAL.
    Command,
    /// Neither TCP over IPv4 or IPv6, nor unspecified.
    Family,
    /// Fewer bytes than its addresses take.
    TooShort,
}

impl ProxyError {
    /// What is wrong, for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "the connection does not begin with a PROXY protocol header",
            Self::Line => "the PROXY protocol's line is malformed",
            Self::TooLong => "the PROXY protocol header is too long",
            Self::Command => "the PROXY protocol header is of an unknown version or command",
            Self::Family => "the PROXY protocol header is of another protocol than TCP",
            Self::TooShort => "the PROXY protocol header is shorter than its addresses",
        }
    }
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::error::Error for ProxyError {}

/// Reads the bytes that have come so far. What is said of some bytes is not taken back when more come.
///
/// # Errors
/// See [`ProxyError`].
///
/// # Examples
/// ```
/// use datapath::proxy_protocol::{Found, parse};
///
/// let came = b"PROXY TCP4 203.0.113.9 192.0.2.1 50000 443\r\n\x16\x03\x01";
/// let Found::Header(header) = parse(came)? else { panic!() };
/// assert_eq!(header.client, Some(([203, 0, 113, 9], 50_000).into()));
/// assert_eq!(&came[header.size..], b"\x16\x03\x01");
/// assert_eq!(parse(&came[..20])?, Found::More);
/// assert!(parse(b"\x16\x03\x01").is_err());
/// # Ok::<(), datapath::proxy_protocol::ProxyError>(())
/// ```
pub fn parse(bytes: &[u8]) -> Result<Found, ProxyError> {
    if let Some(rest) = bytes.strip_prefix(V1) {
        return line(bytes, rest);
    }
    if let Some(rest) = bytes.strip_prefix(V2) {
        return binary(bytes, rest);
    }
    if V1.starts_with(bytes) || V2.starts_with(bytes) {
        return Ok(Found::More);
    }
    Err(ProxyError::Missing)
}

/// Version 1: one line of text.
fn line(bytes: &[u8], rest: &[u8]) -> Result<Found, ProxyError> {
    let within = bytes.get(..PROXY_V1_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        if bytes.len() >= PROXY_V1_BYTES_MAX {
            return Err(ProxyError::TooLong);
        }
        return Ok(Found::More);
    };
    let said = rest
        .get(..end - V1.len())
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(ProxyError::Line)?;
    let client = match said.split_once(' ') {
        Some(("TCP4", ends)) => Some(source::<Ipv4Addr>(ends).ok_or(ProxyError::Line)?),
        Some(("TCP6", ends)) => Some(source::<Ipv6Addr>(ends).ok_or(ProxyError::Line)?),
        // What follows is to be ignored.
        Some(("UNKNOWN", _)) => None,
        None if said == "UNKNOWN" => None,
        _ => return Err(ProxyError::Line),
    };
    let size = end + 2;
    Ok(Found::Header(Header::new(size, client)))
}

/// The source among `SOURCE DESTINATION PORT PORT`.
fn source<A: FromStr + Into<IpAddr>>(ends: &str) -> Option<SocketAddr> {
    let mut words = ends.split(' ');
    let (from, to) = (words.next()?, words.next()?);
    let ports = (port(words.next()?)?, port(words.next()?)?);
    let address = A::from_str(from).ok()?.into();
    let is_address = A::from_str(to).is_ok();
    (is_address && words.next().is_none()).then(|| SocketAddr::new(address, ports.0))
}

/// A port in decimal digits, without leading zeros.
fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    (digits && !padded).then(|| text.parse().ok()).flatten()
}

/// Version 2: binary.
fn binary(bytes: &[u8], rest: &[u8]) -> Result<Found, ProxyError> {
    let [command, tail @ ..] = rest else {
        return Ok(Found::More);
    };
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Command),
    };
    let [family, tail @ ..] = tail else {
        return Ok(Found::More);
    };
    let addresses_size = match (is_local, family) {
        // The family of a connection of the balancer's own is to be ignored.
        (true, _) | (false, 0x00) => 0,
        (false, 0x11) => 12,
        (false, 0x21) => 36,
        _ => return Err(ProxyError::Family),
    };
    let [high, low, tail @ ..] = tail else {
        return Ok(Found::More);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let size = V2_START + length;
    if size > PROXY_V2_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    if length < addresses_size {
        return Err(ProxyError::TooShort);
    }
    if bytes.len() < size {
        return Ok(Found::More);
    }
    let client = match addresses_size {
        12 => v4(tail),
        36 => v6(tail),
        _ => None,
    };
    if client.is_none() && addresses_size > 0 {
        return Err(ProxyError::TooShort);
    }
    Ok(Found::Header(Header::new(size, client)))
}

/// Source, destination, their ports: of IPv4.
fn v4(addresses: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 4] = *addresses.first_chunk()?;
    let port: [u8; 2] = *addresses.get(8..)?.first_chunk()?;
    Some((address, u16::from_be_bytes(port)).into())
}

/// Source, destination, their ports: of IPv6.
fn v6(addresses: &[u8]) -> Option<SocketAddr> {
    let address: [u8; 16] = *addresses.first_chunk()?;
    let port: [u8; 2] = *addresses.get(32..)?.first_chunk()?;
    Some((address, u16::from_be_bytes(port)).into())
}

#[cfg(test)]
mod tests;
