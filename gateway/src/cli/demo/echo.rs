//! The demo's origin: answers every request with what it received, as JSON.
//!
//! Owns one thread with a tokio runtime on a loopback port. It shows a newcomer what an origin
//! receives; the gateway does not depend on it.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};

/// Starts the origin, on `port` when that is free. Answers where it listens.
pub(crate) fn start(port: Option<u16>) -> std::io::Result<SocketAddr> {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let listener = port.map_or_else(|| bind(0), |port| bind(port).or_else(|_taken| bind(0)))?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name("echo-origin".into())
        .spawn(move || {
            runtime.block_on(async move {
                match tokio::net::TcpListener::from_std(listener) {
                    Ok(listener) => serve(listener).await,
                    Err(error) => tracing::error!("the echo origin cannot listen: {error}"),
                }
            });
        })?;
    Ok(address)
}

async fn serve(listener: tokio::net::TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service_fn(answer));
                tokio::spawn(async move {
                    // The gateway closed: that is how its connections end.
                    drop(connection.await);
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: give others time to close theirs.
                tracing::warn!("the echo origin cannot accept: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    let mut body_bytes = 0_usize;
    let mut complete = true;
    while let Some(frame) = body.frame().await {
        match frame {
            // Counted and let go: an upload of any size costs no memory.
            Ok(frame) => body_bytes += frame.data_ref().map_or(0, Bytes::len),
            Err(_broken) => {
                complete = false;
                break;
            }
        }
    }
    let mut headers = Map::new();
    for name in head.headers.keys() {
        let values: Vec<Value> = head
            .headers
            .get_all(name)
            .iter()
            .map(|value| json!(String::from_utf8_lossy(value.as_bytes())))
            .collect();
        headers.insert(
            name.to_string(),
            match <[Value; 1]>::try_from(values) {
                Ok([one]) => one,
                Err(several) => json!(several),
            },
        );
    }
    let received = json!({
        "method": head.method.as_str(),
        "path": head.uri.path(),
        "query": head.uri.query(),
        "version": format!("{:?}", head.version),
        "headers": headers,
        "body_bytes": body_bytes,
        "body_complete": complete,
    });
    let mut response = Response::new(Full::new(Bytes::from(format!("{received:#}\n"))));
    response.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static("application/json"),
    );
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn it_tells_what_it_received() {
        let address = start(None).unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let request = "POST /a?b=1 HTTP/1.1\r\nhost: x\r\nx-y: 1\r\nx-y: 2\r\ncontent-length: 3\r\nconnection: close\r\n\r\nabc";
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let received: Value = serde_json::from_str(body).unwrap();
        assert_eq!(received["method"], "POST");
        assert_eq!(received["path"], "/a");
        assert_eq!(received["query"], "b=1");
        assert_eq!(received["body_bytes"], 3);
        assert_eq!(received["headers"]["x-y"], json!(["1", "2"]));
        assert_eq!(received["headers"]["host"], json!("x"));
    }
}
