//! Requests on the admin socket: one a connection.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The status and the whole answer, its head included.
///
/// # Errors
/// There is no socket, or what comes is not HTTP.
pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer
        .split(' ')
        .nth(1)
        .context("an HTTP answer")?
        .parse()?;
    Ok((status, answer))
}

/// The `result` of an answer that is a success.
///
/// # Errors
/// It is none.
pub(crate) fn result(socket: &Path, method: &str, path: &str, body: &Value) -> Result<Value> {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let (status, answer) = ask(socket, method, path, &body)?;
    let text = answer.split_once("\r\n\r\n").map(|(_, text)| text);
    let mut answer: Value = serde_json::from_str(text.context("an HTTP answer")?)
        .with_context(|| format!("the answer to {method} {path}"))?;
    if status >= 300 {
        bail!("{method} {path}: {status}: {answer}");
    }
    Ok(answer
        .get_mut("result")
        .map(Value::take)
        .unwrap_or_default())
}
