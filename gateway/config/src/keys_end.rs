//! The keys of how a process ends, and gives way to another.
//!
//! Their places in the table are `keys`'.

use super::key_macros::duration;
use super::keys::Key;
use super::kind::{Change, Kind};
use super::value;
use crate::limits;

pub(super) const TIMEOUT_DRAIN: Key = duration!(
    "timeout.drain",
    drain_timeout,
    "30s",
    limits::TIMEOUT_MIN,
    limits::TIMEOUT_MAX,
    "How long running requests may take to finish after SIGTERM, and those of a replaced process after an upgrade."
);

pub(super) const TIMEOUT_UPGRADE: Key = duration!(
    "timeout.upgrade",
    upgrade_timeout,
    "1m",
    limits::UPGRADE_TIMEOUT_MIN,
    limits::UPGRADE_TIMEOUT_MAX,
    "How long a new process may take for each step of an upgrade, such as reading the store; then the old one goes on."
);
