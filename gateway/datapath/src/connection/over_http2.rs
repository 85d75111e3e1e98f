//! An HTTP/2 connection, driven by hyper.

use std::convert::Infallible;
use std::rc::Rc;

use hyper::server::conn::http2;
use hyper::service::service_fn;

use super::Connection;
use super::answer::answer;
use super::drive::{Outcome, drive};
use super::flood::Watch;
use super::record::record_connection;
use super::stop::Stop;
use crate::clock;
use crate::http::LocalExecutor;
use crate::http::incoming::Incoming;
use crate::http::upstream::HeadBounds;
use crate::io::TlsStream;
use crate::limits::{H2_SEND_BUFFER, H2_WINDOW_CONNECTION, H2_WINDOW_STREAM};

/// Serves HTTP/2.
pub(super) async fn serve_http2(connection: Rc<Connection>, stream: TlsStream) -> Stop {
    let tunables = &connection.tunables;
    let streams = u32::try_from(tunables.h2_streams_max).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(LocalExecutor);
    builder
        .max_concurrent_streams(streams)
        .max_header_list_size(HeadBounds::of(tunables).h2_list_size())
        .max_pending_accept_reset_streams(tunables.h2_resets_max)
        .max_local_error_reset_streams(tunables.h2_resets_max)
        .initial_stream_window_size(H2_WINDOW_STREAM)
        .initial_connection_window_size(H2_WINDOW_CONNECTION)
        .max_send_buf_size(H2_SEND_BUFFER);
    let owner = connection.clone();
    let service = service_fn(move |request| {
        let connection = owner.clone();
        async move { Ok::<_, Infallible>(answer(connection, request.map(Incoming::Hyper)).await) }
    });
    let watch = Watch::new(
        tunables.h2_control_frames_max,
        connection.account.clone(),
        clock::now(),
    );
    drop(connection.watch.set(watch.clone()));
    let mut hyper = builder.serve_connection(watch.guard(stream), service);
    let outcome = drive(&connection, Some(&watch), &mut hyper, |hyper| {
        hyper.graceful_shutdown()
    })
    .await;
    drop(hyper);
    let stream = watch.take_stream();
    match outcome {
        Outcome::Stop(Stop::Flood) => {
            record_connection(&connection, Stop::Flood);
            // h2 has said its own goodbye, if it was the first to notice.
            if let Some(stream) = stream.filter(|_| watch.is_over()) {
                watch.say_goodbye(stream).await;
            }
            Stop::Flood
        }
        Outcome::Stop(stop) => stop,
        // HTTP/2 connections have a state of their own and are never put aside.
        Outcome::Idle => Stop::IdleTimeout,
    }
}
