//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Does not enforce
//! anything: the code that owns a queue, a loop or a buffer does.

use std::time::Duration;

use tls::limits::CHAIN_RFC9440_BYTES_MAX;
/// Bytes of `X-Forwarded-Client-Cert`; larger is left out. Many names make it long, and origins
/// take about so much in one header.
pub const XFCC_BYTES_MAX: usize = 8 * 1024;
/// Members of `Connection` that all headers are walked through for: more than a client says that means no
/// harm. Further ones are looked up in a table, which takes memory.
pub const NOMINATIONS_WALKED: usize = 8;
/// Proxies in front of the gateway that one request may have passed, by `X-Forwarded-For` or
/// `Forwarded`: nobody has so many. With more the request is refused.
pub const PROXIES_MAX: usize = 32;
/// Questions of workers that the OCSP client has not taken up yet. A further one is lost: its client is verified
/// without an answer.
pub const OCSP_QUESTIONS_MAX: usize = 4_096;
/// How long a handshake waits for an answer, by policy `hard`: a little longer than asking takes,
/// and well within `timeout.handshake`.
pub const OCSP_WAIT: Duration = Duration::from_millis(2500);
/// Hosts of one gateway; each has a TLS context of some tens of kilobytes.
pub const HOSTS_MAX: usize = 100_000;
/// Shortest time that requests are counted over, in seconds, as Cloudflare's.
pub const RATE_PERIOD_MIN_SEC: u64 = 10;
/// Longest time that requests are counted over, in seconds, as Cloudflare's.
pub const RATE_PERIOD_MAX_SEC: u64 = 3_600;
/// Requests that may come in one period: from one to the next is ten microseconds at least.
pub const RATE_REQUESTS_MAX: u64 = 1_000_000;
/// Longest time that who passed a rate limit is kept out, in seconds: a day, as Cloudflare's.
pub const RATE_PENALTY_MAX_SEC: u64 = 86_400;
/// What one rate limit can tell requests apart by.
pub const RATE_CHARACTERISTICS_MAX: usize = 8;
/// Rates that are counted at once, of the whole gateway: 24 bytes each and an eighth beside, 1.7 MiB. With more,
/// those that would be forgotten first are forgotten sooner.
pub const RATE_BUCKETS: usize = 65_536;
/// Places that a rate may have: more make forgetting fairer and looking slower.
pub const RATE_BUCKETS_WAYS: usize = 8;
/// Headers that one rule changes, as Cloudflare's.
pub const TRANSFORM_HEADERS_MAX: usize = 30;
/// Bytes that a zone's rules may add to one request's headers, names and an entry's own weight
/// included: a client's long URL must not come out a thousand times. A request that would get more
/// is refused.
pub const TRANSFORM_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a header's value that a rule makes; what is longer is left out. As long as what is told
/// of a certificate's chain by RFC 9440.
pub const TRANSFORM_VALUE_BYTES_MAX: usize = CHAIN_RFC9440_BYTES_MAX;
/// Bytes of the URL that a redirect sends clients to: what browsers and proxies take everywhere.
/// A longer one is not sent, and the request is refused.
pub const REDIRECT_URL_BYTES_MAX: usize = 8 * 1024;
/// Addresses of one origin: a worker looks at each of them for each request. More are refused, and
/// belong behind a name or a balancer of their own.
pub const ADDRESSES_MAX: usize = 64;
/// Largest weight of an address: one in a hundred requests for the smallest beside it.
pub const ADDRESS_WEIGHT_MAX: u16 = 100;
/// Requests of an origin that may wait for their turn, or for a connection: who leaves looks at each of
/// them. More would wait for longer than anybody does; some 50 KiB for each origin with so many.
pub const ORIGIN_QUEUE_MAX: u32 = 500;
