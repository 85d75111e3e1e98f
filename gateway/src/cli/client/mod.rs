//! The client of the admin API, over its unix socket or over TCP with a token.
//!
//! Owns one request and its answer, and the envelope `{success, errors, result}`. Does not know any
//! resource.

pub(crate) mod files;
pub(crate) mod names;
pub(crate) mod target;

use std::io::Write;
use std::time::Instant;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::task::JoinHandle;

use self::target::{Endpoint, Target};
use super::output::table::harmless;
use super::output::{CliError, ClientError};
use crate::limits;

/// The code of an error after which nothing was done, and a moment later it can be.
const UPGRADING: u64 = 1013;

/// Speaks to one gateway.
pub(crate) struct Client {
    endpoint: Endpoint,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// For the gateway that the options or the environment name.
    pub(crate) fn new(target: &Target) -> Result<Self, CliError> {
        let endpoint = target.endpoint()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ClientError::Runtime)?;
        Ok(Self { endpoint, runtime })
    }

    /// `GET`: the `result` of the answer.
    pub(crate) fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.send(&Method::GET, path, None)
    }

    /// `POST`.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(&Method::POST, path, Some(body))
    }

    /// `PUT`.
    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(&Method::PUT, path, Some(body))
    }

    /// `PATCH`.
    pub(crate) fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(&Method::PATCH, path, Some(body))
    }

    /// `DELETE`.
    pub(crate) fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.send(&Method::DELETE, path, None)
    }

    /// `DELETE` with a body that says what.
    pub(crate) fn delete_with(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.send(&Method::DELETE, path, Some(body))
    }

    /// The `result` of a `GET`, for a person who is typing: nothing when it does not come at once.
    pub(crate) fn ask(&self, path: &str) -> Option<Value> {
        let exchange = async {
            let answer = self.exchange(&Method::GET, path, None);
            tokio::time::timeout(limits::COMPLETION_TIMEOUT, answer).await
        };
        let (status, bytes) = self.runtime.block_on(exchange).ok()?.ok()?;
        self.read(status, &bytes).ok().map(result)
    }

    /// Whether the gateway is there and takes connections.
    pub(crate) fn ready(&self) -> bool {
        let exchange = async {
            let answer = self.exchange(&Method::GET, "/readyz", None);
            tokio::time::timeout(limits::CLI_TIMEOUT, answer).await
        };
        matches!(self.runtime.block_on(exchange), Ok(Ok((StatusCode::OK, _))))
    }

    /// A part of a list, and the cursor of the next one.
    pub(crate) fn page(&self, path: &str) -> Result<(Vec<Value>, Option<String>), ClientError> {
        let answer = self.answer(&Method::GET, path, None)?;
        let next = answer.pointer("/result_info/cursors/after");
        let next = next.and_then(Value::as_str).filter(|next| !next.is_empty());
        let next = next.map(str::to_owned);
        match result(answer) {
            Value::Array(items) => Ok((items, next)),
            _ => Err(self.unreadable("a list was expected")),
        }
    }

    /// The whole answer to a GET, its envelope included.
    pub(crate) fn whole(&self, path: &str) -> Result<Value, ClientError> {
        self.answer(&Method::GET, path, None)
    }

    /// All pages of a list.
    pub(crate) fn all(&self, path: &str) -> Result<Vec<Value>, ClientError> {
        let mut found = Vec::new();
        for page in 1_u32.. {
            let separator = if path.contains('?') { '&' } else { '?' };
            let answer = self.answer(
                &Method::GET,
                &format!("{path}{separator}page={page}&per_page=50"),
                None,
            )?;
            let pages = answer
                .pointer("/result_info/total_pages")
                .and_then(Value::as_u64)
                .unwrap_or(1);
            let Value::Array(items) = result(answer) else {
                return Err(self.unreadable("a list was expected"));
            };
            let ended = items.is_empty();
            found.extend(items);
            if ended || u64::from(page) >= pages {
                break;
            }
        }
        Ok(found)
    }

    fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        self.answer(method, path, body).map(result)
    }

    /// The whole envelope.
    fn answer(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let begun = Instant::now();
        loop {
            let exchange = self.exchange(method, path, body);
            let (status, bytes) = self.runtime.block_on(async {
                tokio::time::timeout(limits::CLI_TIMEOUT, exchange)
                    .await
                    .unwrap_or_else(|_elapsed| {
                        Err(ClientError::Timeout {
                            at: self.endpoint.shown(),
                        })
                    })
            })?;
            if is_upgrading(status, &bytes) && begun.elapsed() < limits::CLI_TIMEOUT {
                std::thread::sleep(limits::CLI_UPGRADE_PAUSE);
                continue;
            }
            let answer = self.read(status, &bytes)?;
            warn(&answer);
            return Ok(answer);
        }
    }

    /// Reads an envelope, or why there is none.
    fn read(&self, status: StatusCode, bytes: &Bytes) -> Result<Value, ClientError> {
        if bytes.is_empty() && status.is_success() {
            return Ok(Value::Null);
        }
        let answer: Value = serde_json::from_slice(bytes)
            .map_err(|error| self.unreadable(format!("status {status}, and {error}")))?;
        let failed = answer.get("success") == Some(&Value::Bool(false)) || !status.is_success();
        if failed {
            let errors = answer
                .get("errors")
                .and_then(Value::as_array)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let messages: Vec<&str> = errors
                .iter()
                .filter_map(|error| error.get("message")?.as_str())
                .collect();
            let message = if messages.is_empty() {
                format!("the gateway answered {status}")
            } else {
                messages.join("\n")
            };
            let pointer = answer.pointer("/errors/0/source/pointer");
            return Err(ClientError::Refused {
                status: status.as_u16(),
                message,
                pointer: pointer.and_then(Value::as_str).map(str::to_owned),
            });
        }
        Ok(answer)
    }

    /// `GET` of what is no JSON, into a file. Nothing may come for [`limits::CLI_TIMEOUT`] at most.
    pub(crate) fn download(&self, path: &str, to: &mut impl Write) -> Result<(), CliError> {
        let late = |_elapsed| ClientError::Timeout {
            at: self.endpoint.shown(),
        };
        self.runtime.block_on(async {
            let begun = self.begin(&Method::GET, path, None);
            let (response, driver) = tokio::time::timeout(limits::CLI_TIMEOUT, begun)
                .await
                .map_err(late)??;
            let status = response.status();
            let mut body = response.into_body();
            if status != StatusCode::OK {
                let body = Limited::new(body, limits::CLI_ANSWER_BYTES_MAX)
                    .collect()
                    .await;
                let bytes = body.map_err(|error| self.unreadable(error.to_string()))?;
                self.read(status, &bytes.to_bytes())?;
                return Err(self.unreadable(format!("status {status}")).into());
            }
            while let Some(frame) = tokio::time::timeout(limits::CLI_TIMEOUT, body.frame())
                .await
                .map_err(late)?
            {
                let frame = frame.map_err(|error| self.unreadable(error.to_string()))?;
                if let Some(bytes) = frame.data_ref() {
                    to.write_all(bytes)
                        .map_err(|why| CliError::Failed(format!("writing failed: {why}")))?;
                }
            }
            driver.abort();
            Ok(())
        })
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (response, driver) = self.begin(method, path, body).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limits::CLI_ANSWER_BYTES_MAX);
        let bytes = body
            .collect()
            .await
            .map_err(|error| self.unreadable(error.to_string()))?
            .to_bytes();
        driver.abort();
        Ok((status, bytes))
    }

    /// Sends a request; the head of its answer, and the task that moves its body.
    async fn begin(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(Response<Incoming>, JoinHandle<hyper::Result<()>>), ClientError> {
        let unreachable = |why| ClientError::Unreachable {
            at: self.endpoint.shown(),
            why,
        };
        let stream = self.endpoint.connect().await.map_err(unreachable)?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreadable(error.to_string()))?;
        let driver = tokio::spawn(connection);
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.endpoint.authority())
            .header("content-type", "application/json");
        if let Some(authorization) = self.endpoint.authorization() {
            request = request.header("authorization", authorization);
        }
        let request = request
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|error| self.unreadable(error.to_string()))?;
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.unreadable(error.to_string()))?;
        Ok((response, driver))
    }

    fn unreadable(&self, why: impl Into<String>) -> ClientError {
        ClientError::Unreadable {
            at: self.endpoint.shown(),
            why: why.into(),
        }
    }
}

/// Whether nothing was done because a new process has the store and does not serve yet.
fn is_upgrading(status: StatusCode, bytes: &Bytes) -> bool {
    let code = |answer: Value| answer.pointer("/errors/0/code").and_then(Value::as_u64);
    status == StatusCode::SERVICE_UNAVAILABLE
        && serde_json::from_slice(bytes).ok().and_then(code) == Some(UPGRADING)
}

/// Prints what the gateway wants a person to know of a change that it made. On standard error: what
/// reads the output is not disturbed.
fn warn(answer: &Value) {
    let messages = answer.get("messages").and_then(Value::as_array);
    for message in messages.into_iter().flatten() {
        if let Some(text) = message.get("message").and_then(Value::as_str) {
            drop(writeln!(std::io::stderr(), "warning: {}", harmless(text)));
        }
    }
}

/// The `result` of an envelope; what has no envelope is the result itself.
fn result(mut answer: Value) -> Value {
    let envelope = answer.get("success").is_some();
    match answer.get_mut("result").map(Value::take) {
        Some(result) => result,
        None if envelope => Value::Null,
        None => answer,
    }
}

/// A text as one segment or value of a URL (RFC 3986 §2.3: everything but unreserved is escaped).
pub(crate) fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
