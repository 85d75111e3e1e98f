//! `host/api.example.com/workers = 2, 3`: workers that a host's new connections go to.
//!
//! The one key with a host's name in it, because worker numbers mean something to this process
//! only; everything else about hosts lives in the store.

use super::syntax::KeyName;
use super::value::ValueError;
use crate::limits;
use vocabulary::hostname::HostName;

/// What is wrong with such a line.
pub(super) enum PinError {
    /// The name.
    Host(String),
    /// The numbers.
    Workers(ValueError),
}

/// The host that a key of this kind names.
pub(super) fn host_of(key: &KeyName) -> Option<&str> {
    match key.0.as_slice() {
        [room, host, last] if room == "host" && last == "workers" => Some(host),
        _ => None,
    }
}

/// Reads name and numbers.
pub(super) fn read(host: &str, value: &str) -> Result<(HostName, Vec<u16>), PinError> {
    let host = HostName::parse(host).map_err(|error| PinError::Host(error.to_string()))?;
    let wrong = |message: String| {
        PinError::Workers(
            ValueError::whole(value, message).help("write numbers counted from 0, as in `2, 3`"),
        )
    };
    let mut workers: Vec<u16> = Vec::new();
    for text in value.split(',').map(str::trim) {
        let Ok(worker) = text.parse::<u16>() else {
            return Err(wrong(format!("`{text}` is no worker's number")));
        };
        if workers.contains(&worker) {
            return Err(wrong(format!("the worker {worker} is there twice")));
        }
        workers.push(worker);
    }
    if workers.len() > limits::PINNED_WORKERS_MAX {
        let most = limits::PINNED_WORKERS_MAX;
        return Err(wrong(format!("a host has at most {most} workers")));
    }
    Ok((host, workers))
}
