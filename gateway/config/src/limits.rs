//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Does not enforce
//! anything: the code that owns a queue, a loop or a buffer does.

use std::time::Duration;

use vocabulary::limits::{GIB, KIB, MIB};
/// Workers. Each is a pinned thread with a ring and listeners of its own; beyond the cores of the
/// largest machines there is nothing to gain. A larger `workers` is refused.
pub const WORKERS_MAX: usize = 512;
/// Client connections of the whole gateway that may be configured (`limit.connections`): the
/// common `fs.nr_open` of Linux. Beyond the configured number new connections are closed at once.
pub const CONNECTIONS_CEILING: u64 = 1_048_576;
/// Largest `log.access.sample` and `log.access.sample_refused`: a line a second at a million requests.
/// More is refused.
pub const LOG_SAMPLE_CEILING: u64 = 1_000_000;
/// Largest `trace.sample`: a trace a second at a million requests. More is refused.
pub const TRACE_SAMPLE_CEILING: u64 = 1_000_000;
/// Networks in `limit.client_exempt`, `proxy.protocol_from` and `proxy.trusted`: an operator's own
/// balancers. More are refused.
pub const EXEMPT_NETWORKS_MAX: usize = 16;
/// Largest `steer.host_rate` and `steer.source_rate`: a new connection every microsecond.
pub const STEER_RATE_CEILING: u64 = 1_000_000;
/// Workers that `host/NAME/workers` may name: as many as the kernel's table keeps for a host, which
/// the crate that fills that table asserts.
pub const PINNED_WORKERS_MAX: usize = 8;
/// Largest `acme.orders_per_hour`: no server is known that allows an account more. More is refused.
pub const ACME_ORDERS_CEILING: u64 = 1_000;
/// Bytes of the name of a fleet or of an edge: a label of DNS. A longer one is refused.
pub const LABEL_BYTES_MAX: usize = 63;
/// Members of an etcd cluster: nine are the most that anybody runs. More are refused.
pub const ETCD_MEMBERS_MAX: usize = 9;
/// Bytes of a URL, a mail address or a name of a key. A longer one is refused.
pub const URL_BYTES_MAX: usize = 2_048;
/// Interfaces in `steer.interfaces`. More are refused.
pub const STEER_INTERFACES_MAX: usize = 64;
/// Bytes of one configuration file. A complete file with every key and its description has about
/// 8 KiB; more than this is a wrong file (a log, a core). It is refused unread.
pub const CONFIG_FILE_BYTES_MAX: u64 = MIB;
/// Drop-in files in one directory; a directory with more is not a drop-in directory. Refused.
pub const CONFIG_FILES_MAX: usize = 1_000;
/// Errors reported of one load; a person mends these first. The rest is only counted.
pub const CONFIG_ERRORS_MAX: usize = 100;
/// Addresses in `listen`: each costs a socket per worker. More are refused.
pub const LISTEN_ADDRESSES_MAX: usize = 64;
/// Largest port (RFC 9293 §3.1).
pub const PORT_MAX: u64 = u16::MAX as u64;
/// Shortest timeout: below it a busy machine times out healthy peers. Less is refused.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(50);
/// Longest handshake or header timeout: a peer that needs longer is not a peer. More is refused.
pub const PATIENCE_MAX: Duration = Duration::from_secs(5 * 60);
/// Longest idle, origin and drain timeout: one day, as long as a streaming call may stay silent.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest `timeout.upgrade`: a store of a million certificates takes seconds to read. Less is refused.
pub const UPGRADE_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Longest `timeout.upgrade`: changes are refused while a new process reads the store. More is refused.
pub const UPGRADE_TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);
/// Largest `limit.body_rate`: what every wired client has. More is refused.
pub const BODY_RATE_CEILING: u64 = 64 * KIB;
/// Largest `limit.request_body`: the next is no limit, which 0 says. More is refused.
pub const REQUEST_BODY_CEILING: u64 = 1024 * GIB;
/// Smallest `limit.header_bytes`: what browsers and client certificates in headers take.
pub const HEADER_BYTES_FLOOR: u64 = 8 * KIB;
/// Largest `limit.header_bytes`: each connection may hold so much before anybody has been
/// authorised. More is refused.
pub const HEADER_BYTES_CEILING: u64 = MIB;
/// Smallest `limit.header_count`: what an ordinary browser sends.
pub const HEADER_COUNT_FLOOR: u64 = 16;
/// Largest `limit.header_count`: rules look at headers one by one. More is refused.
pub const HEADER_COUNT_CEILING: u64 = 1_000;
/// Bytes that a header costs at least (`a:\r\n`): with it the two header limits must agree.
pub const HEADER_BYTES_MIN: u64 = 4;
/// Largest `limit.h2_streams`: each may hold a request and an origin connection. More is refused.
pub const H2_STREAMS_CEILING: u64 = 10_000;
/// Largest `limit.h2_resets`: resets of streams not worked on yet, per connection
/// (CVE-2023-44487, CVE-2025-8671). More is refused.
pub const H2_RESETS_CEILING: u64 = 10_000;
/// Smallest `limit.h2_control_frames`: what the windows and cancelled requests of an ordinary page
/// take. Less is refused.
pub const H2_CONTROL_FRAMES_FLOOR: u64 = 1_000;
/// Largest `limit.h2_control_frames`: a million a second is more than a core can read. More is
/// refused.
pub const H2_CONTROL_FRAMES_CEILING: u64 = 10_000_000;
/// Largest `limit.origin_h2_connections`: each takes a hundred requests. More is refused.
pub const ORIGIN_H2_CONNECTIONS_CEILING: u64 = 10_000;
/// Shortest `trust.ticket_rotation`: two rotations within the life of a ticket already make it
/// worthless.
pub const TICKET_ROTATION_MIN: Duration = Duration::from_secs(60);
/// Longest `trust.ticket_rotation`: a key that leaks opens every session sealed with it.
pub const TICKET_ROTATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

const _: () = assert!(TIMEOUT_MIN.as_nanos() < PATIENCE_MAX.as_nanos());
const _: () = assert!(PATIENCE_MAX.as_nanos() < TIMEOUT_MAX.as_nanos());
const _: () = assert!(HEADER_COUNT_FLOOR * HEADER_BYTES_MIN < HEADER_BYTES_FLOOR);
const _: () = assert!(HEADER_COUNT_CEILING * HEADER_BYTES_MIN < HEADER_BYTES_CEILING);
