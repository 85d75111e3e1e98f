//! The admin API as scripts see it: one request on the unix socket, one answer.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::wait::PATIENCE;

/// Speaks to one gateway's admin socket.
#[derive(Clone)]
pub struct Admin {
    socket: PathBuf,
}

/// An answer of the admin API.
#[derive(Debug)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The head, status line included.
    pub head: String,
    /// The body as text.
    pub body: String,
}

impl Reply {
    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.body))
    }

    /// The `result` of a successful answer.
    #[must_use]
    #[track_caller]
    pub fn result(&self) -> Value {
        assert!(
            self.status < 300,
            "the admin API refused: {} {}",
            self.status,
            self.body
        );
        self.json()["result"].take()
    }
}

impl Admin {
    /// For the socket at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            socket: path.to_owned(),
        }
    }

    /// Sends one request; `None` when the socket has no listener.
    #[must_use]
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Option<Reply> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        stream
            .set_write_timeout(Some(Duration::from_secs(5)))
            .ok()?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Accept: application/openmetrics-text;q=0.5, */*\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some(Reply {
            status,
            head: head.into(),
            body: body.into(),
        })
    }

    /// Sends one request that must be answered.
    ///
    /// # Panics
    /// There is no answer.
    #[must_use]
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Reply {
        self.ask(method, path, Some(body))
            .unwrap_or_else(|| panic!("no answer to {method} {path} at {}", self.socket.display()))
    }

    /// A `GET` that must be answered; of metrics, until all workers have told theirs. A busy machine may keep one of
    /// them from it for the second that it has, and then it is in no sum.
    ///
    /// # Panics
    /// There is no answer.
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> Reply {
        let get = |path: &str| {
            let reply = self.ask("GET", path, None);
            reply.unwrap_or_else(|| panic!("no answer to GET {path} at {}", self.socket.display()))
        };
        let mut reply = get(path);
        if path != "/metrics" {
            return reply;
        }
        for _ in 0..3 {
            let workers = get("/postern/v1/status").result()["workers"].take();
            if reply
                .body
                .contains(&format!("\npostern_workers {workers}\n"))
            {
                break;
            }
            reply = get(path);
        }
        reply
    }

    /// The process that answers.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        let shown = self.ask("GET", "/postern/v1/upgrade", None)?.json();
        u32::try_from(shown["result"]["pid"].as_u64()?).ok()
    }
}
