//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Does not enforce
//! anything: the code that owns a queue, a loop or a buffer does.

use std::time::Duration;

/// How often watched files are looked at: well within the second that a revocation may take.
pub const CRL_FILE_LOOK: Duration = Duration::from_millis(250);
/// Redirects that are followed within a CA's server.
pub const SOURCE_REDIRECTS_MAX: usize = 3;
/// For fetching one list, from the look-up of the name to the last byte: the largest at 2 MB/s.
pub const CRL_FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Lists that are fetched at the same time, of all CAs: each may be 64 MiB in memory.
pub const CRL_FETCHES_AT_ONCE: usize = 4;
/// Never asked for more often than this.
pub const CRL_FETCH_MIN: Duration = Duration::from_secs(1);
/// How often a list is asked for whose publisher is late with the next one.
pub const CRL_OVERDUE_RETRY: Duration = Duration::from_secs(60);
/// After the first failure; every further one doubles it.
pub const CRL_RETRY_MIN: Duration = Duration::from_secs(5);
/// Longest time between two attempts after failures.
pub const CRL_RETRY_MAX: Duration = Duration::from_secs(15 * 60);
/// Certificates that are asked about or wait for it; a further one's client is verified without.
pub const OCSP_UNDER_WAY_MAX: usize = 4_096;
/// Responders that are asked at the same time: each is one connection.
pub const OCSP_AT_ONCE: usize = 64;
/// For asking one responder once, from the look-up of its name to the last byte.
pub const OCSP_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of an answer: a signature, four certificates, one status. A larger one is refused.
pub const OCSP_BYTES_MAX: u64 = 64 * 1024;
/// How often server certificates are looked through for answers that are due or have ended: what is
/// stapled to a new certificate may be this late.
pub const STAPLE_LOOK: Duration = Duration::from_secs(1);
/// Responders of server certificates that are asked at the same time: each is one connection.
pub const STAPLES_AT_ONCE: usize = 16;
/// An answer is renewed no more often than this, however short its life.
pub const STAPLE_RENEW_MIN: Duration = Duration::from_secs(1);
/// After the first failure; every further one doubles it.
pub const STAPLE_RETRY_MIN: Duration = Duration::from_secs(5);
/// Longest time between two attempts after failures.
pub const STAPLE_RETRY_MAX: Duration = Duration::from_secs(15 * 60);
/// One line at most in this time for each CA whose responder does not answer.
pub const OCSP_COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
/// How often addresses of origins are looked at for checks that are due and for changes to tell of: a
/// line of the log may be this late.
pub const HEALTH_LOOK: Duration = Duration::from_millis(200);
/// Health checks that are made at the same time: each is one connection. Further ones wait.
pub const HEALTH_AT_ONCE: usize = 256;
/// Those of one zone: its token may name addresses that never answer, and does not keep the others'
/// checks waiting.
pub const HEALTH_AT_ONCE_OF_ZONE: usize = 32;
/// Those of one zone that need none of the places of all: however many zones have checks that never
/// end, another one's are made.
pub const HEALTH_OWN_OF_ZONE: usize = 2;
/// Bytes of an answer of gRPC's health service: two, and what frames them. More is no such answer.
pub const HEALTH_ANSWER_BYTES_MAX: usize = 1_024;
/// How often it is looked which names of origins are due.
pub const NAMES_LOOK: Duration = Duration::from_millis(500);
/// From one look-up of an origin's name to the next. Whoever answers the system's resolver keeps answers
/// for as long as they may be kept; asked more often, he would be asked for nothing.
pub const NAME_INTERVAL: Duration = Duration::from_secs(5);
/// The same after one that failed.
pub const NAME_RETRY: Duration = Duration::from_secs(2);
/// For how long an address counts as one of a name's whose answers have another part of its addresses each
/// time: a server that turns them comes round in less. Other names lose an address at once.
pub const NAME_MEMORY: Duration = Duration::from_secs(60);
/// From one change of what names mean to the next, and from one log line about a name to the next: whoever
/// answers for a name can change it each time, and each change has all origins compiled.
pub const NAMES_CHANGE_EVERY: Duration = Duration::from_secs(2);
/// See [`NAMES_CHANGE_EVERY`].
pub const NAME_TOLD_EVERY: Duration = Duration::from_secs(60);
/// Threads that look names of origins up, at the most: so many names are looked up at the same time, and further
/// ones wait for their turns. A thread costs some tens of kilobytes while there is something to do, and nothing
/// else waits for it.
pub const NAMES_THREADS: usize = 128 + NAMES_KEPT_BACK;
/// Those of them that are for zones of which nothing is looked up: however many zones have named what no
/// server answers for, others find one.
pub const NAMES_KEPT_BACK: usize = 64;
/// A look-up that takes longer hangs, as far as anybody can know: most are answered in a tenth of it. When all of a
/// zone hang, one more of its names is tried in this time: with half a minute for each, those are fewer than
/// what a zone may have beyond its share.
pub const NAME_SLOW: Duration = Duration::from_secs(2);
/// How long the first look-up of a name may take, from its turn on, before requests wait for it no more, and are told that nobody has
/// answered: the system asks a server for five seconds, and most have three at the most. Once there is an
/// answer nobody waits.
pub const NAME_PATIENCE: Duration = Duration::from_secs(15);
/// How long what a name meant is known after nothing names it any more: requests that are under way may still
/// go there.
pub const NAME_KEPT: Duration = Duration::from_secs(60);
/// Names that are kept so, at the most: whoever changes rules again and again names no more in that time. Of further
/// ones, requests that are under way may fail.
pub const NAMES_GONE_MAX: usize = 4_096;
/// Zones of those that have a name that are remembered, one of which pays for looking it up: a name that so many
/// have belongs to the operator.
pub const NAME_ZONES_MAX: usize = 64;
/// Addresses of one name that are kept; an origin has no more.
pub const NAME_ADDRESSES_MAX: usize = snapshot::limits::ADDRESSES_MAX;
/// Names of servers (CAs, responders, ACME) that are looked up at the same time, beside those of a zone's own.
/// Further ones wait, for as long as who asks has time.
pub const SERVER_NAMES_AT_ONCE: usize = 16;
/// Those of one zone among them, whose certificates name responders.
pub const SERVER_NAMES_AT_ONCE_OF_ZONE: usize = 4;
/// Bytes of the stack of a thread that looks a name up: what the system gives a thread as a rule. What it does
/// not use takes no memory.
pub const NAME_STACK: usize = 2 * 1024 * 1024;
/// Threads that look names of servers up, at the most: those at once, and those of some two hundred zones' own.
pub const SERVER_NAMES_THREADS: usize = SERVER_NAMES_AT_ONCE + 240;
/// Those that are a zone's own whatever others do, as long as there are threads.
pub const SERVER_NAMES_OWN_OF_ZONE: usize = 1;
/// How often hosts are looked through for certificates that ACME is to bring: an order may begin this
/// late.
pub const ACME_LOOK: Duration = Duration::from_secs(1);
/// Orders that are under way at the same time: each has a few requests, a minute of waiting, and an
/// entry that every handshake of ACME servers looks up. Further ones wait.
pub const ACME_AT_ONCE: usize = 8;
/// Those of one zone: its hosts may be ones that no server ever finds.
pub const ACME_AT_ONCE_OF_ZONE: usize = 4;
/// Of the orders that an hour may have, one part in so many may begin at once.
pub const ACME_BURST_SHARE: u32 = 4;
/// After the first order that brought nothing; every further one makes it four times as long.
pub const ACME_RETRY_MIN: Duration = Duration::from_secs(60);
/// Between an order and one that somebody asks for: who mends something wants to see it. What an hour
/// may have bounds them all the same.
pub const ACME_ASKED_PAUSE: Duration = Duration::from_secs(15);
/// Longest time between two orders after failures: a certificate that is renewed in its last third
/// has dozens of tries.
pub const ACME_RETRY_MAX: Duration = Duration::from_secs(12 * 3600);
/// After an account could not be had, or its server not be asked; every further failure doubles it.
pub const ACME_ACCOUNT_RETRY_MIN: Duration = Duration::from_secs(5);
/// Longest time between two attempts to have an account. Let's Encrypt allows ten in three hours from
/// one address.
pub const ACME_ACCOUNT_RETRY_MAX: Duration = Duration::from_secs(30 * 60);
/// For one request to an ACME server, from the look-up of its name to the last byte.
pub const ACME_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of an answer of an ACME server: a chain with room to spare. A larger one is refused.
pub const ACME_ANSWER_BYTES_MAX: usize = 256 * 1024;
/// For which a server may ask to be left alone; a longer time is taken for this one: a week, as long as
/// the longest limits of Let's Encrypt.
pub const ACME_RETRY_AFTER_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Bytes of the token of a challenge: servers send some 43.
pub const ACME_TOKEN_BYTES_MAX: usize = 256;
/// For the other edges of a fleet to show a challenge before the server is told to look: they look for one twice
/// a second, and have a change within a second. One that is slower answers the server's next try.
pub const ACME_FLEET_WAIT: Duration = Duration::from_secs(2);
/// Authorizations of an order of one name: one. A server may have more than one way to say so.
pub const ACME_AUTHORIZATIONS_MAX: usize = 4;
/// How long the first look at an order waits; every further one waits twice as long.
pub const ACME_POLL_FIRST: Duration = Duration::from_millis(250);
/// For a server to look at a challenge, or to sign.
pub const ACME_STEP_TIMEOUT: Duration = Duration::from_secs(120);
/// For a whole order.
pub const ACME_ORDER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an order whose key the server has waits for its certificate before this process ends; others are
/// left for the next one.
pub const ACME_LEAVE_WAIT: Duration = Duration::from_secs(5);
/// How often is looked whether all are left.
pub const ACME_LEAVE_LOOK: Duration = Duration::from_millis(10);
/// Times that an account is asked for with another nonce.
pub const ACME_NONCES: usize = 3;
/// Servers are asked when to renew (RFC 9773) no more often than this for a certificate…
pub const ACME_WINDOW_MIN: Duration = Duration::from_secs(60);
/// …and no less often.
pub const ACME_WINDOW_MAX: Duration = Duration::from_secs(86_400);
/// How often when they do not say, or do not answer.
pub const ACME_WINDOW_EVERY: Duration = Duration::from_secs(6 * 3600);
/// Certificates that are asked about at one look.
pub const ACME_WINDOWS_AT_ONCE: usize = 2;

const _: () = assert!(ACME_AT_ONCE_OF_ZONE < ACME_AT_ONCE);
