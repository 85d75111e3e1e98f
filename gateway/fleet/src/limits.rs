//! Bounds of this crate: value, unit, reason, and what happens at the limit.

use std::time::Duration;

/// Bytes of the name of a fleet: a label of DNS.
pub const NAME_BYTES_MAX: usize = 63;
/// Bytes of one value in etcd. Larger entries are split into values of this size. etcd takes requests of
/// 1.5 MiB (`--max-request-bytes`); a value below that lets many be read at once.
pub const VALUE_BYTES_MAX: usize = 256 << 10;
/// Bytes of an entry: a revocation list of 64 MiB with its record. A larger one is refused by who would
/// write it, and believed by nobody who reads it.
pub const ENTRY_BYTES_MAX: usize = 96 << 20;
/// Entries that are read at once: with values of the largest size the answer stays below the 4 MiB that
/// gRPC takes of a message.
pub const PAGE_ENTRIES: i64 = 15;
/// Bytes of one message from etcd: a page of the largest values, and room for their keys.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

const _: () = assert!(PAGE_ENTRIES * (VALUE_BYTES_MAX as i64 + 1024) < MESSAGE_BYTES_MAX as i64);
/// For one question to etcd. A member that has lost the others answers no sooner, and another one is
/// asked then.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// For a connection to one member.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A member that is silent is asked whether it lives: so often, and so long an answer is waited for.
/// etcd closes connections that ask more often than every five seconds.
pub const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// How long an edge waits before it asks again after a failure, first and at most.
pub const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Tries to find out whether an entry was added, of which the answer was lost.
pub const OUTCOME_TRIES: usize = 3;
