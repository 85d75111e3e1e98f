//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Does not enforce
//! anything: the code that owns a queue, a loop or a buffer does.

use std::time::Duration;

use control::limits::{CRL_FILE_BYTES_MAX, EXPIRY_STAGES_DAYS};

/// Decisions in one answer about traces.
pub const TRACE_EVENTS_MAX: usize = 10_000;
/// How long one question for traces may wait.
pub const TRACE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Requests and log lines in one dry run of rules; further ones are for the next.
pub const DRY_RUN_REQUESTS_MAX: usize = 10_000;
/// Bytes of a line of an access log in a dry run; a longer one is not evaluated. It is read as a
/// tree, which takes a hundred times as much at worst.
pub const DRY_RUN_RECORD_BYTES_MAX: usize = 64 << 10;
/// Requests times rules of one dry run, each up to a microsecond where values are not known: some
/// seconds. More is refused.
pub const DRY_RUN_EVALUATIONS_MAX: usize = 10_000_000;
/// Rules that a dry run explains for one request; further ones are left out.
pub const DRY_RUN_EXPLAINED_MAX: usize = 64;
/// Explanations in one dry run's answer, each a few kilobytes; requests beyond it are evaluated and
/// not explained, and the answer says so.
pub const DRY_RUN_TRACES_MAX: usize = 2_000;
/// Days before its end from which on a certificate is warned of.
pub const EXPIRY_WARNING_DAYS: u32 = EXPIRY_STAGES_DAYS[0];
/// Connections to each listener of the admin API at once, of clients that are known: over the unix
/// socket, or with a token. Further ones wait in the socket's queue; over TCP they are answered 503.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Connections over TCP at once of clients that have not shown a token. For a further one, the
/// oldest of the address that has most of them is closed.
pub const ADMIN_UNKNOWN_MAX: usize = 64;
/// Of these, connections of one IPv4 address or IPv6 /64 network: a quarter, so that no address
/// takes all of them.
pub const ADMIN_UNKNOWN_OF_ADDRESS_MAX: usize = ADMIN_UNKNOWN_MAX / 4;
/// Bytes of a body that is a ruleset or a document: 100,000 rules have 20 to 50 MiB. More than a
/// route takes is answered 413.
pub const ADMIN_BODY_BYTES_MAX: usize = 64 << 20;
/// Bytes of a body of most routes: a handful of words, a signing request, an expression.
pub const ADMIN_SMALL_BODY_BYTES_MAX: usize = 64 << 10;
/// Bytes of a body with certificates: twenty of a CA, or a chain with its key.
pub const ADMIN_CERTIFICATES_BODY_BYTES_MAX: usize = 512 << 10;
/// Bytes of a body with names of hosts: 10,000 of the longest.
pub const ADMIN_NAMES_BODY_BYTES_MAX: usize = 4 << 20;
/// Bytes of a body with items of a list: 10,000 with the longest comments.
pub const ADMIN_ITEMS_BODY_BYTES_MAX: usize = 8 << 20;
/// Bytes of a body with revocation lists: as many as a file of them may have.
pub const ADMIN_CRL_BODY_BYTES_MAX: usize = 64 << 20;
/// Bytes of a dry run: 10,000 lines of an access log.
pub const ADMIN_DRY_RUN_BODY_BYTES_MAX: usize = 16 << 20;
/// What a body's items and members may take in memory, for each of its bytes. A rule of a ruleset
/// takes about 4; an empty object in a list of objects takes 100 and is refused.
pub const ADMIN_READ_BODY_FACTOR: usize = 10;
/// What they may take in a small body, in bytes: 10,000 requests of a dry run.
pub const ADMIN_READ_BODY_BYTES_MIN: usize = 8 << 20;
/// Bytes of memory for all requests of a listener together, their bodies and what is read from them:
/// one ruleset of the largest size, or many small ones. Further ones are answered 503.
pub const ADMIN_ALL_BODIES_BYTES_MAX: usize = 512 << 20;
/// Warnings of a change that are told one by one; of the rest, the number is.
pub const WARNINGS_TOLD_MAX: usize = 20;
/// Bytes of what an answer repeats of a request's body: enough to recognise it.
pub const ADMIN_TOLD_BYTES_MAX: usize = 512;
/// Bytes of a request's head on the admin API; hyper refuses longer ones.
pub const ADMIN_HEAD_BYTES_MAX: usize = 64 << 10;
/// For the TLS handshake of a client of the admin API; then its connection is closed.
pub const ADMIN_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection of the admin API takes requests: a client that holds one of the few slots
/// makes room for others.
pub const ADMIN_CONNECTION_LIFETIME: Duration = Duration::from_secs(300);
/// For the request that is under way then, its answer included; then the connection is cut.
pub const ADMIN_CONNECTION_GRACE: Duration = Duration::from_secs(60);
/// Days before the end of the admin API's certificate from which on a start and SIGHUP warn of it.
pub const ADMIN_CERTIFICATE_WARNING_DAYS: i64 = 30;
/// How long a request's head may take to come, and a connection may idle between requests.
pub const ADMIN_HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a request may take in all, its body included. Then it is answered 504; a change that
/// had begun is still finished.
pub const ADMIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(25);
/// Items of a list's page when the client names no number.
pub const PER_PAGE_DEFAULT: usize = 20;
/// Items of a list's page at most; more asked for gives so many.
pub const PER_PAGE_MAX: usize = 1_000;
/// Requests with one token in a burst; beyond it [`TOKEN_REQUESTS_PER_SECOND`] go on.
pub const TOKEN_REQUESTS_BURST: u32 = 400;
/// Requests a second with one token; more are answered 429.
pub const TOKEN_REQUESTS_PER_SECOND: u32 = 200;
/// Failed authentications a second of everybody together; beyond it they are answered 429 without
/// a look at the token.
pub const TOKEN_FAILURES_PER_SECOND: u32 = 10;

/// How long the link that `postern dashboard` prints is good, for one use: time to click on it.
pub const SIGN_IN_LINK_LIFETIME: Duration = Duration::from_secs(60);
/// Links that were not used yet; a further one is answered 503.
pub const SIGN_IN_LINKS_MAX: usize = 64;
/// Of these, links of one token, or of one user over the unix socket. For a further one, the oldest
/// is good no more.
pub const SIGN_IN_LINKS_OF_HOLDER_MAX: usize = 4;
/// How long a session of the dashboard lives without a request: a lunch.
pub const SESSION_IDLE: Duration = Duration::from_secs(60 * 60);
/// How long a session of the dashboard lives at most: a working day.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// Sessions of the dashboard at once, of everybody together; a further one is answered 503.
pub const SESSIONS_MAX: usize = 256;
/// Of these, sessions with one token, or of one user over the unix socket. For a further one, the
/// one that was idle longest ends.
pub const SESSIONS_OF_HOLDER_MAX: usize = 16;

/// Events and changes that are kept for those who look; the oldest give way. As many requests like
/// most are kept beside them. Half a minute of a flood, days of a quiet gateway.
pub const EVENTS_KEPT_MAX: usize = 5_000;
/// Bytes of either; the oldest give way.
pub const EVENTS_KEPT_BYTES_MAX: usize = 8 << 20;
/// Events in a list when the client names no number.
pub const EVENTS_LISTED_DEFAULT: usize = 200;
/// Changes that are read from the audit log at once to be told; of more, the newest.
pub const EVENT_CHANGES_READ_MAX: usize = 100;
/// Things that a stream names of one change; of the rest, the number.
pub const EVENT_CHANGES_TOLD_MAX: usize = 20;
/// Event streams at once, each a connection; a further one is answered 503. As many are left of
/// [`ADMIN_CONNECTIONS_MAX`] for everything else.
pub const EVENT_STREAMS_MAX: usize = ADMIN_CONNECTIONS_MAX / 2;
/// Of these, streams of one token, or of one user.
pub const EVENT_STREAMS_OF_HOLDER_MAX: usize = EVENT_STREAMS_MAX / 2;
/// Events that are written to a stream in one go.
pub const EVENTS_IN_A_FRAME: usize = 250;
/// How often a stream says how many events there were.
pub const EVENT_COUNTS_EVERY: Duration = Duration::from_secs(1);
/// After so long a silence a stream says that it lives, so that what is between keeps it open.
pub const EVENT_HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a stream lasts; then its client asks again, on a connection that may be a new one.
pub const EVENT_STREAM_LIFETIME: Duration = Duration::from_secs(50);

/// Unknown names in rules that `postern doctor` tells of with one host. The API's lints have all.
pub const UNKNOWN_NAMES_TOLD_MAX: usize = 10;
/// How long `postern doctor` waits for an origin to connect, and then for each of its answers: one
/// that takes longer has a fault of its own, which is reported.
pub const DOCTOR_ORIGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Origins that `postern doctor` asks at once, each with a thread and a socket: 500 hosts whose
/// origins are all down take under three minutes. The others wait.
pub const DOCTOR_ORIGINS_AT_ONCE: usize = 16;
/// Seconds for which an edge may have heard nothing of its fleet before `postern doctor` calls it bad: etcd
/// elects a leader within a few, and somebody who has revoked a certificate elsewhere believes that it is
/// refused here.
pub const DOCTOR_FLEET_AGE_SEC: f64 = 60.0;
/// Hosts that one request examines; further ones are left out, and the answer says how many: their
/// origins would take longer than a request may.
pub const DOCTOR_HOSTS_MAX: usize = 48;

/// A step of the latency series.
pub const SERIES_STEP: Duration = Duration::from_secs(10);
/// Steps that are kept: an hour.
pub const SERIES_STEPS_MAX: usize = 360;
/// Bytes of all steps; the oldest give way. A thousand hosts that are busy in four stages, each over
/// three doublings, take 370 kB a step: of them it is half an hour. Ten hosts need 1.3 MB for an
/// hour.
pub const SERIES_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(EVENT_STREAM_LIFETIME.as_secs() < ADMIN_CONNECTION_GRACE.as_secs());
const _: () = assert!(SESSIONS_OF_HOLDER_MAX < SESSIONS_MAX);
const _: () = assert!(PER_PAGE_DEFAULT <= PER_PAGE_MAX);
const _: () = assert!(ADMIN_CRL_BODY_BYTES_MAX as u64 == CRL_FILE_BYTES_MAX);
const _: () = assert!(ADMIN_SMALL_BODY_BYTES_MAX <= ADMIN_BODY_BYTES_MAX);
// A ruleset of the largest size can be sent, read and counted.
const _: () = assert!(ADMIN_BODY_BYTES_MAX * 4 <= ADMIN_ALL_BODIES_BYTES_MAX);
/// Addresses of origins that metrics tell of: five lines each. Of more the first by their origins'
/// names; the API has them all.
pub const METRICS_ADDRESSES_MAX: usize = 2_000;
