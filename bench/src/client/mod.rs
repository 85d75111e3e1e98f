//! The client: what it asks, over what, and when.
//!
//! One thread, so that it can be kept off the proxy's CPU. Each connection is a task.

mod drive;
mod http1;
mod http2;
mod memory;
mod pace;
mod plain;
mod tally;
mod tls;
mod wire;

pub use drive::{Kind, Pace, Work, run};
pub use http1::{Answer, Connection};
pub use http2::Connection as Http2Connection;
pub use memory::{MemoryClient, Shaken, shake_hands, thread_time};
pub use plain::Plain;
pub use tally::{Curve, Latency, Outcome, Window};
pub use tls::{Belief, Identity, Tls, TlsSettings};
pub(crate) use wire::Wire;

use std::net::SocketAddr;
use std::rc::Rc;

/// Where requests go, and what they are.
#[derive(Clone)]
pub struct Target {
    /// Where to connect to.
    pub address: SocketAddr,
    /// How; `None` is plain HTTP.
    pub tls: Option<Rc<Tls>>,
    /// `Host`, or `:authority`.
    pub authority: String,
    /// The request target.
    pub path: String,
}

impl Target {
    /// The request as HTTP/1.1 writes it.
    #[must_use]
    pub fn request(&self) -> Vec<u8> {
        self.head("GET", "")
    }

    /// The head of a request whose content is so many bytes.
    #[must_use]
    pub fn upload(&self, bytes: u64) -> Vec<u8> {
        self.head("PUT", &format!("Content-Length: {bytes}\r\n"))
    }

    fn head(&self, method: &str, fields: &str) -> Vec<u8> {
        let agent = concat!("postern-bench/", env!("CARGO_PKG_VERSION"));
        format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {agent}\r\nAccept: */*\r\n{fields}\r\n",
            self.path, self.authority
        )
        .into_bytes()
    }
}
