//! Bounds of this crate: value, unit, reason, and what happens at the limit.

use std::time::Duration;

/// Requests in one message: with their eight spans each some hundred KiB, far below the 4 MiB that
/// collectors take. The rest is for the next.
pub const BATCH_REQUESTS_MAX: usize = 256;
/// How often the queue is looked at: with [`datapath::limits::SPANS_QUEUE`] ten thousand requests a
/// second get through.
pub const LOOK: Duration = Duration::from_millis(200);
/// How long a collector may take for a message, from the connection to the answer; then it is tried
/// again.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts at one message; then its requests are counted as failed. Meanwhile the queue fills, and
/// what finds no room is dropped.
pub const ATTEMPTS_MAX: u32 = 4;
/// The pause before the second attempt; each further one is twice as long.
pub const PAUSE: Duration = Duration::from_secs(1);
/// The same when the gateway stops.
pub const HURRIED_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of a collector's answer that are read: it says how many spans it refused, and why.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How often a failure is told.
pub const COMPLAINT_EVERY: Duration = Duration::from_secs(60);
/// How long the last spans may take when the gateway stops; then they are lost.
pub const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

const _: () = assert!(BATCH_REQUESTS_MAX <= datapath::limits::SPANS_QUEUE);
