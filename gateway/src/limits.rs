//! Every bound of the gateway: its unit, why this number, and what happens at the limit.
//!
//! Owns the numbers and the relations between them (checked when the gateway is compiled). What
//! an operator may change is a key of [`crate::config`]; its outermost values are here. Does not
//! enforce anything: the room that owns a queue, a loop or a buffer does.

use std::time::Duration;

/// One kibibyte in bytes.
pub const KIB: u64 = 1024;
/// One mebibyte in bytes.
pub const MIB: u64 = 1024 * KIB;

// --- Process ---------------------------------------------------------------------------------

/// Workers. Each is a pinned thread with a ring and listeners of its own; beyond the cores of the
/// largest machines there is nothing to gain. A larger `workers` is refused.
pub const WORKERS_MAX: usize = 512;

/// Client connections of the whole gateway that may be configured (`limit.connections`): the
/// common `fs.nr_open` of Linux. Beyond the configured number new connections are closed at once.
pub const CONNECTIONS_CEILING: u64 = 1_048_576;

// --- Rings and sockets -----------------------------------------------------------------------

/// Submission queue entries of a worker's ring: operations started between two waits; when it is
/// full they are submitted at once.
pub const RING_SUBMISSIONS: u32 = 1_024;
/// Completion queue entries: a burst of answers on every connection of a busy worker; beyond it
/// the kernel keeps them in a list of its own, slower but nothing lost.
pub const RING_COMPLETIONS: u32 = 8_192;
/// Connections that may wait for an accept on one listener; the kernel caps it at
/// `net.core.somaxconn`. Further ones are tried again by the client's TCP.
pub const LISTEN_BACKLOG: i32 = 4_096;
/// Silence after which the kernel asks whether a peer is still there. Without it a client or an
/// origin that lost its power would keep its connection for as long as a body is waited for.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Questions without an answer after which the connection is over: two minutes in all.
pub const KEEPALIVE_PROBES: u32 = 4;
/// Time between two lines of the log that say that connections cannot be accepted.
pub const ACCEPT_COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
/// Descriptors of a process beside its connections: listeners, rings, store, logs, admin clients.
pub const DESCRIPTORS_SPARE: u64 = 256;
/// Connections that a worker accepts before its other connections get their turn.
pub const ACCEPTS_IN_A_ROW: usize = 16;
/// Bytes of a connection's first receive buffer: holds the ClientHello of today's browsers in one
/// or two goes.
pub const RECEIVE_BUFFER_FIRST: usize = 2 * 1024;
/// Bytes of the receive buffer that an idle connection pins: holds most API requests. Clients that
/// send larger ones get larger buffers.
pub const RECEIVE_BUFFER_MIN: usize = 1024;
/// Bytes that a receive buffer grows to while a body streams in: four TLS records.
pub const RECEIVE_BUFFER_MAX: usize = 64 * 1024;
/// Bytes waiting to be sent above which a connection takes no more (back-pressure).
pub const SEND_BUFFER_MAX: usize = 64 * 1024;
/// An emptied send buffer larger than this is given back to the allocator.
pub const SEND_BUFFER_KEPT: usize = 16 * 1024;

/// Bytes read and forgotten after our last word on a connection that we close while the client
/// still sends; beyond it the client may lose our answer to a reset.
pub const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long that may take.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a start waits for a listening address that is taken. The rings of a gateway that has
/// ended hold its sockets until the kernel has taken them apart: milliseconds, more on a busy machine.
pub const LISTEN_WAIT: Duration = Duration::from_secs(3);
/// Between two tries for a listening address that is taken.
pub const LISTEN_RETRY: Duration = Duration::from_millis(10);
/// How often a stopping worker, and the process above it, looks whether the last connection ended.
pub const DRAIN_POLL: Duration = Duration::from_millis(20);
/// How long the access-log writer has to write what is queued when the process ends.
pub const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a worker lets go of origin connections that nobody uses.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Connections that went quiet or ended on a worker since its last sweep, from which on the sweep
/// also returns memory to the system: some megabytes are free then.
pub const GIVE_BACK_AFTER: usize = 64;

// --- Steering --------------------------------------------------------------------------------

/// Connections that wait for another worker to take them. Beyond it the worker that has one serves
/// it itself: the owner is then behind by more than a tenth of a second.
pub const HANDOVER_QUEUE: usize = 1_024;
/// Bytes of a ClientHello that are gathered to find its host; BoringSSL takes 16 KiB at most. A
/// longer one is left to it.
pub const HELLO_BYTES_MAX: usize = 16 * 1024 + 64;
/// How often the helm looks for new hosts and dead workers: so long a new host has no owner yet.
pub const STEER_POLL: Duration = Duration::from_millis(50);
/// How often load is measured and hosts may move.
pub const STEER_ROUND: Duration = Duration::from_secs(2);
/// Rounds that a worker may leave the question for its load unanswered before its hosts go to
/// others.
pub const STEER_SILENT_ROUNDS: u32 = 3;
/// Networks of one zone that the kernel drops, from rules that block addresses; further ones are
/// left to the rules.
pub const BLOCKED_NETWORKS_MAX: usize = 50_000;
/// Largest `steer.host_rate` and `steer.source_rate`: a new connection every microsecond.
pub const STEER_RATE_CEILING: u64 = 1_000_000;
/// Decisions in one answer about traces.
pub const TRACE_EVENTS_MAX: usize = 10_000;
/// How long one question for traces may wait.
pub const TRACE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Workers that `host/NAME/workers` may name: as many as a host can have.
pub const PINNED_WORKERS_MAX: usize = ebpf::OWNERS_MAX;
/// Interfaces in `steer.interfaces`. More are refused.
pub const STEER_INTERFACES_MAX: usize = 64;
/// CPU of a full handshake with a client certificate, for weighing hosts against each other:
/// one ECDSA signature, a key exchange, two or three verifications, the packets.
pub const COST_HANDSHAKE_FULL: Duration = Duration::from_micros(450);
/// CPU of a resumed handshake, likewise: a key exchange, the packets.
pub const COST_HANDSHAKE_RESUMED: Duration = Duration::from_micros(200);
/// CPU of a request, likewise.
pub const COST_REQUEST: Duration = Duration::from_micros(40);

// --- Configuration files ---------------------------------------------------------------------

/// Bytes of one configuration file. A complete file with every key and its description has about
/// 8 KiB; more than this is a wrong file (a log, a core). It is refused unread.
pub const CONFIG_FILE_BYTES_MAX: u64 = MIB;
/// Drop-in files in one directory; a directory with more is not a drop-in directory. Refused.
pub const CONFIG_FILES_MAX: usize = 1_000;
/// Errors reported of one load; a person mends these first. The rest is only counted.
pub const CONFIG_ERRORS_MAX: usize = 100;
/// Addresses in `listen`: each costs a socket per worker. More are refused.
pub const LISTEN_ADDRESSES_MAX: usize = 64;

// --- Timeouts that may be configured ---------------------------------------------------------

/// Shortest timeout: below it a busy machine times out healthy peers. Less is refused.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(50);
/// Longest handshake or header timeout: a peer that needs longer is not a peer. More is refused.
pub const PATIENCE_MAX: Duration = Duration::from_secs(5 * 60);
/// Longest idle, origin and drain timeout: one day, as long as a streaming call may stay silent.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
// --- HTTP limits that may be configured ------------------------------------------------------

/// Smallest `limit.header_bytes`: hyper's own floor for its HTTP/1 buffer.
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
/// Largest `limit.h2_resets`: resets of streams nobody has worked on yet, per connection
/// (CVE-2023-44487, CVE-2025-8671). More is refused.
pub const H2_RESETS_CEILING: u64 = 10_000;

// --- HTTP ------------------------------------------------------------------------------------

/// Bytes that an HTTP/2 peer may send on one stream before we have passed them on: with a round
/// trip of 20 ms this still fills 100 Mbit/s.
pub const H2_WINDOW_STREAM: u32 = 256 * 1024;
/// Bytes that an HTTP/2 peer may send on all streams of a connection before they are passed on.
pub const H2_WINDOW_CONNECTION: u32 = 1024 * 1024;
/// Bytes of one HTTP/2 stream that wait for the peer's window; beyond it the other side is not
/// read from (back-pressure).
pub const H2_SEND_BUFFER: usize = 128 * 1024;
/// Idle time after which an origin connection may have been closed by the origin at the moment a
/// request goes out on it; below it no copy of the request is kept for a second attempt. Origins'
/// keep-alive timeouts are seconds.
pub const STALE_AFTER: Duration = Duration::from_millis(50);
/// Silence after which an HTTP/1.1 connection is put aside and hyper's buffers are given back.
/// Clients that ask more often never pay for it.
pub const PARK_AFTER: Duration = Duration::from_secs(1);
/// Bytes of the buffer that each direction of a tunnel (WebSocket) has: one TLS record.
pub const TUNNEL_BUFFER: usize = 16 * 1024;

// --- Client certificates ---------------------------------------------------------------------

/// Largest `trust.chain_bytes`: BoringSSL's own default bound for a handshake message sequence.
pub const CHAIN_BYTES_CEILING: u64 = 100 * KIB;
/// Smallest `trust.chain_bytes`: one certificate with an RSA-4096 key and a few names.
pub const CHAIN_BYTES_FLOOR: u64 = 4 * KIB;

/// Issuers between a client's certificate and its anchor. Longer paths do not verify
/// (`path_length`): real PKIs have two or three, and each costs a signature check.
pub const CHAIN_DEPTH_MAX: i32 = 5;
/// Smallest RSA key that is believed, in bits (NIST SP 800-131A). Smaller is `weak_key`.
pub const RSA_BITS_MIN: u32 = 2048;
/// Largest RSA key that is verified, in bits: cost grows with the square. Larger is `weak_key`.
pub const RSA_BITS_MAX: u32 = 4096;
/// Bytes of `cert_rfc9440`, as Cloudflare documents it; larger is empty and `…_too_large`.
pub const LEAF_RFC9440_BYTES_MAX: usize = 10 * 1024;
/// Bytes of `cert_chain_rfc9440`, likewise.
pub const CHAIN_RFC9440_BYTES_MAX: usize = 16 * 1024;
/// Bytes of `X-Forwarded-Client-Cert`; larger is left out. Many names make it long, and origins
/// take about so much in one header.
pub const XFCC_BYTES_MAX: usize = 8 * 1024;
/// Names of each kind, and key purposes, that are read out of a certificate; the rest is not
/// seen by rules.
pub const SAN_COUNT_MAX: usize = 256;

// --- GeoIP databases -------------------------------------------------------------------------

/// Bytes of one GeoIP database, which is kept in memory: the largest ones sold have some hundred
/// MiB. A larger file is refused.
pub const GEOIP_DATABASE_BYTES_MAX: u64 = 2 * 1024 * MIB;
/// Records of a new database that are read as a look-up would read them, to see that they have the
/// shape of MaxMind's; the format itself is checked whole.
pub const GEOIP_RECORDS_TRIED: usize = 10_000;
/// Longest life of a session ticket: what RFC 8446 §4.6.1 allows is a week, but a chain of resumed
/// sessions is as old as its first one. A certificate that ends sooner ends its tickets with it.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Most `trust.tickets`: who opens more connections at once than it has tickets shakes hands in full
/// on the others, once, and each ticket costs every handshake its making and a kilobyte.
pub const TICKETS_MAX: usize = 4;
/// Largest session ticket. A session holds the client's whole chain; BoringSSL takes no ClientHello
/// larger than 16 KiB, so that a larger ticket would never come back, and one beyond 64 KiB has no
/// form (RFC 8446 §4.6.1). Whoever has such a chain shakes hands in full each time.
pub const TICKET_BYTES_MAX: usize = 14 * 1024;
/// How often somebody looks whether session tickets need a new key.
pub const TICKET_LOOK: Duration = Duration::from_secs(15);
/// Shortest `trust.ticket_rotation`: two rotations within the life of a ticket already make it
/// worthless.
pub const TICKET_ROTATION_MIN: Duration = Duration::from_secs(60);
/// Longest `trust.ticket_rotation`: a key that leaks opens every session sealed with it.
pub const TICKET_ROTATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Verified paths that a worker remembers, so that their signatures are not checked again; about
/// 1 KiB each. The oldest is forgotten first, which costs a client its next handshake's saving.
pub const PATHS_REMEMBERED_MAX: usize = 4_096;
/// Entries of one revocation list: twice what the largest public ones have, 20 MB of memory at 20
/// bytes each. A longer list is refused.
pub const CRL_ENTRIES_MAX: usize = 1_000_000;
/// Lists of one CA: complete ones and deltas, by issuer and scope.
pub const CRLS_OF_CA_MAX: usize = 64;
/// Bytes of a revocation list in a file or a request: a million entries with long serials. A
/// larger one is refused unread.
pub const CRL_FILE_BYTES_MAX: u64 = 64 * MIB;
/// Bytes of the path of a watched file (PATH_MAX).
pub const CRL_FILE_PATH_BYTES_MAX: usize = 4096;
/// How often watched files are looked at: well within the second that a revocation may take.
pub const CRL_FILE_LOOK: Duration = Duration::from_millis(250);
/// How long before its next update a list is warned of: a working publisher renews earlier.
pub const CRL_ALARM: Duration = Duration::from_secs(24 * 60 * 60);
/// How often it is warned of lists that are old or missing.
pub const CRL_ALARM_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Bytes of a URL where a CA publishes.
pub const SOURCE_URL_BYTES_MAX: usize = 2048;
/// URLs that the lists of one CA are fetched from: as many as it may have lists.
pub const CRL_URLS_MAX: usize = 64;
/// Redirects that are followed within a CA's server.
pub const SOURCE_REDIRECTS_MAX: usize = 3;
/// For fetching one list, from the look-up of the name to the last byte: the largest at 2 MB/s.
pub const CRL_FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Lists that are fetched at the same time, of all CAs: each may be 64 MiB in memory.
pub const CRL_FETCHES_AT_ONCE: usize = 4;
/// How often a list is asked for when its CA's settings do not say: asking for an unchanged one is
/// cheap, and a revocation should not wait for the week that lists are often good for.
pub const CRL_FETCH_EVERY: Duration = Duration::from_secs(3600);
/// Longest that may be asked for, in seconds: a week.
pub const CRL_FETCH_EVERY_MAX_SEC: u32 = 7 * 86_400;
/// Never asked for more often than this.
pub const CRL_FETCH_MIN: Duration = Duration::from_secs(1);
/// How often a list is asked for whose publisher is late with the next one.
pub const CRL_OVERDUE_RETRY: Duration = Duration::from_secs(60);
/// After the first failure; every further one doubles it.
pub const CRL_RETRY_MIN: Duration = Duration::from_secs(5);
/// Longest time between two attempts after failures.
pub const CRL_RETRY_MAX: Duration = Duration::from_secs(15 * 60);
/// OCSP answers that are kept for one CA's certificates, some 100 bytes each. Beyond it the one that
/// ends first is forgotten, and asked for again when its certificate comes again.
pub const OCSP_ANSWERS_MAX: usize = 65_536;
/// Questions of workers that nobody has taken up yet. A further one is lost: its client is judged
/// without an answer.
pub const OCSP_QUESTIONS_MAX: usize = 4_096;
/// Certificates that are asked about or wait for it; a further one's client is judged without.
pub const OCSP_UNDER_WAY_MAX: usize = 4_096;
/// Responders that are asked at the same time: each is one connection.
pub const OCSP_AT_ONCE: usize = 64;
/// For asking one responder once, from the look-up of its name to the last byte.
pub const OCSP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a handshake waits for an answer, by policy `hard`: a little longer than asking takes,
/// and well within `timeout.handshake`.
pub const OCSP_WAIT: Duration = Duration::from_millis(2500);
/// Bytes of an answer: a signature, four certificates, one status. A larger one is refused.
pub const OCSP_BYTES_MAX: u64 = 64 * 1024;
/// Certificates in an answer that are looked at for its signer.
pub const OCSP_SIGNERS_MAX: usize = 4;
/// How long an answer without nextUpdate holds after its thisUpdate.
pub const OCSP_UNDATED: Duration = Duration::from_secs(5 * 60);
/// A certificate in use is asked about this often at least, however long its answer holds.
pub const OCSP_AGAIN: Duration = Duration::from_secs(3600);
/// How long nobody is asked about a certificate again after there was no answer.
pub const OCSP_RETRY: Duration = Duration::from_secs(10);
/// One line at most in this time for each CA whose responder does not answer.
pub const OCSP_COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
/// Distribution points that are read out of a certificate; a list that is bound to a further one
/// does not speak for it.
pub const DISTRIBUTION_POINTS_MAX: usize = 8;
/// How long a request that is already under way may still take once its client's certificate is
/// no longer good; then its connection is cut. Well below the second within which all are closed;
/// counted from the change, so that a worker that comes late to look still keeps it.
pub const CUT_GRACE: Duration = Duration::from_millis(250);
/// Connections that are looked at in one go when trust moves; between two goes the worker serves
/// others. Each costs some microseconds, a hundred when its CA set changed.
pub const CONNECTIONS_IN_A_ROW: usize = 32;
/// Longest sleep of whoever waits for certificates to end: so late is a changed clock noticed.
pub const EXPIRY_LOOK: Duration = Duration::from_secs(10);

// --- Observation -----------------------------------------------------------------------------

/// Hosts with statistics of their own on one worker; all further ones share the entry `_other`. A
/// host that records every stage costs about 200 KiB (eight histograms, made on first use), so
/// this bounds a worker at 200 MiB; a few busy hosts cost a few MiB.
pub const OBSERVED_HOSTS_MAX: usize = 1_024;
/// Rules with a match counter of their own on one worker; all further ones share `_other`.
pub const OBSERVED_RULES_MAX: usize = 10_000;
/// Different words (stops, reasons) that one counter tells apart; all further ones share `other`.
pub const OBSERVED_WORDS_MAX: usize = 64;
/// Shortest time that a histogram tells from nothing: deciding on rules takes about this.
pub const HISTOGRAM_MIN: Duration = Duration::from_nanos(100);
/// Longest time that a histogram tells apart; longer ones count as this.
pub const HISTOGRAM_MAX: Duration = Duration::from_secs(60);
/// Significant digits of a histogram: two, so a percentile is right within 1 %. Three would cost
/// eight times the memory.
pub const HISTOGRAM_DIGITS: u8 = 2;
/// How long a worker has to answer with its statistics before it is left out of the sum.
pub const COLLECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Lines that may wait for the access-log writer: about a tenth of a second at 100,000 requests a
/// second. When it is full a line is dropped and counted; requests never wait for the disk.
pub const ACCESS_LOG_QUEUE_LINES: usize = 16_384;
/// Bytes of lines that may wait for the writer, whatever their number: peers choose how long
/// their paths are. When it is full a line is dropped and counted.
pub const ACCESS_LOG_QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// Bytes of one text field in the access log, escapes included; a longer one is cut and ends in
/// `…`.
pub const ACCESS_LOG_FIELD_BYTES_MAX: usize = 2_048;
/// Bytes of a line that is read back from an access log: ten full fields and the rules that it
/// names, many times over. A longer one is not from an access log and is refused.
pub const ACCESS_LOG_LINE_BYTES_READ: u64 = MIB;
/// Bytes of a line buffer that is kept for the next line; a larger one goes back to the allocator.
pub const ACCESS_LOG_LINE_BYTES_KEPT: usize = 8 * 1024;
/// Emptied line buffers that wait to be used again.
pub const ACCESS_LOG_BUFFERS_KEPT: usize = 1_024;
/// Bytes that the writer gathers for one write.
pub const ACCESS_LOG_WRITE_BYTES: usize = 256 * 1024;
/// How long the writer gathers lines after it was woken: it bounds wake-ups to some hundred a
/// second, and a line's delay to this.
pub const ACCESS_LOG_GATHER: Duration = Duration::from_millis(5);
/// `log` rules named in one access-log line; the rest is left out.
pub const ACCESS_LOG_RULES_MAX: usize = 32;

// --- Command line ----------------------------------------------------------------------------

/// Bytes of one answer that the command line reads from the admin socket: a page of certificates
/// has about 100 KiB, a ruleset of 100,000 rules about 50 MiB. A longer answer is an error.
pub const CLI_ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long the command line waits for an answer of the admin socket: publishing a change of a
/// large store takes seconds at worst.
pub const CLI_TIMEOUT: Duration = Duration::from_secs(30);
/// How long `postern doctor` waits for an origin to connect, and then for each of its answers: one
/// that takes longer has a fault of its own, which is reported.
pub const DOCTOR_ORIGIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a PEM, CSR or CRL file given on the command line. Larger is refused unread.
pub const CLI_FILE_BYTES_MAX: u64 = 16 * MIB;
/// How deep a document of `postern apply` nests: its own form needs 8, action parameters a few
/// more. One that nests deeper is refused before the reader's stack grows.
pub const DOCUMENT_DEPTH_MAX: usize = 64;

// --- Control plane ----------------------------------------------------------------------------

/// Bytes of the store's page cache. Lists read a page of certificates at a time; more than this
/// would only help scans that do not happen.
pub const STORE_CACHE_BYTES: usize = 16 << 20;
/// How far back a certificate's validity begins, so that a client whose clock is slow by no more
/// than this accepts it at once.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);
/// Bytes of the password of a PKCS#12 file, least and most: below the least it is guessed offline.
pub const PKCS12_PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=256;
/// Rounds of PBKDF2 for each of a PKCS#12 file's keys; ten times OpenSSL's default and still
/// milliseconds, because whoever has the file can try passwords without being seen.
pub const PKCS12_ROUNDS: u32 = 20_000;
/// Days that a CA made here is valid: longer than two generations of the longest leaves.
pub const AUTHORITY_DAYS: u32 = 20 * 365;
/// Days that a development server certificate is valid: what browsers accept at most.
pub const DEVELOPMENT_CERTIFICATE_DAYS: u32 = 397;
/// Host names in one development certificate; keeps it within one TLS record.
pub const DEVELOPMENT_NAMES_MAX: usize = 100;
/// Shortest validity of a client certificate in days, as Cloudflare has it.
pub const VALIDITY_DAYS_MIN: u32 = 1;
/// Longest validity of a client certificate in days: ten years.
pub const VALIDITY_DAYS_MAX: u32 = 3650;
/// Bytes of a certificate signing request in PEM. RSA-4096 with a full subject has about 2 KiB.
pub const CSR_BYTES_MAX: usize = 16 << 10;
/// Bytes of an uploaded PEM text (chain, key or bundle).
pub const PEM_BYTES_MAX: usize = 256 << 10;
/// Certificates in a server's chain. Clients stop verifying earlier.
pub const CHAIN_CERTIFICATES_MAX: usize = 10;
/// Attributes in a certificate's subject.
pub const SUBJECT_ENTRIES_MAX: usize = 16;
/// Bytes of one attribute of a subject; it goes into headers and logs.
pub const SUBJECT_VALUE_BYTES_MAX: usize = 256;
/// Names in the subjectAltName of a request; a device has a handful.
pub const ALT_NAMES_MAX: usize = 32;
/// Bytes of one of them: the longest host name. They go into rules and headers.
pub const ALT_NAME_BYTES_MAX: usize = 255;
/// Zones of one gateway.
pub const ZONES_MAX: usize = 10_000;
/// Hosts of one gateway; each has a TLS context of some tens of kilobytes.
pub const HOSTS_MAX: usize = 100_000;
/// Server certificates of one gateway.
pub const SERVER_CERTIFICATES_MAX: usize = 100_000;
/// Host names associated with one CA set in one zone.
pub const ASSOCIATIONS_MAX: usize = 10_000;
/// Client certificates of one zone; each costs 72 bytes of memory and about 1 KiB of disk.
pub const CERTIFICATES_MAX: usize = 1_000_000;
/// Rules of one ruleset: what can be compiled anew in two seconds. Further ones are refused.
pub const RULES_MAX: usize = 100_000;
/// Bytes of one rule's expression: [`EXPRESSION_CHARACTERS_MAX`] of the longest characters there
/// are. A longer one is refused unread.
pub const EXPRESSION_BYTES_MAX: usize = 16 << 10;
/// Bytes of a description or a name.
pub const DESCRIPTION_BYTES_MAX: usize = 500;
/// Requests and log lines in one dry run of rules; further ones are for the next.
pub const TRIAL_REQUESTS_MAX: usize = 10_000;
/// Requests times rules of one dry run, each up to a microsecond where values are not known: some
/// seconds. More is refused.
pub const TRIAL_JUDGEMENTS_MAX: usize = 10_000_000;
/// Rules that a dry run explains for one request; further ones are left out.
pub const TRIAL_EXPLAINED_MAX: usize = 64;
/// Rules that a dry run names when it depends on unknown values which of them acts.
pub const TRIAL_POSSIBLE_MAX: usize = 16;
/// Explanations in one dry run's answer, each a few kilobytes; requests beyond it are judged and not
/// explained, and the answer says so.
pub const TRIAL_TRACES_MAX: usize = 2_000;
/// Characters of a text in an explanation; a longer one is cut and ends in `…`.
pub const TRACE_TEXT_CHARACTERS_MAX: usize = 200;
/// Elements of an array in an explanation; of further ones only the number is told.
pub const TRACE_ELEMENTS_MAX: usize = 8;
/// Bytes of a rule's ref.
pub const REFERENCE_BYTES_MAX: usize = 64;
/// Versions kept of each ruleset; older ones are forgotten.
pub const RULESET_VERSIONS_MAX: u32 = 100;
/// How far to look, where two orders of rules differ, for where they are the same again: a square
/// of so many comparisons at each such place.
pub const DIFFERENCE_LOOK_AHEAD: usize = 8;
/// Elements of a stretch that copies of a long list share: what is copied where a change is.
pub const SEQUENCE_STRETCH_MAX: usize = 512;
/// Rules on a page of a ruleset's order, 20 bytes each: a change of one rule among 100,000 is then
/// written in kilobytes, not megabytes, and names some hundred pages.
pub const ORDER_PAGE_RULES_MAX: usize = 512;
/// Where a page would have fewer rules, it is joined with its neighbour, so that many small changes
/// do not leave many small pages.
pub const ORDER_PAGE_RULES_MIN: usize = 128;
/// Bytes of the answer to a blocked request, as Cloudflare has it.
pub const BLOCK_CONTENT_BYTES_MAX: usize = 2 << 10;
/// Content types of the answer to a blocked request, as Cloudflare has them.
pub const BLOCK_CONTENT_TYPES: [&str; 4] =
    ["text/html", "text/plain", "application/json", "text/xml"];
/// Status of the answer to a blocked request when the rule names none.
pub const BLOCK_DEFAULT_STATUS: u16 = 403;
/// Content type of the answer to a blocked request when the rule names none.
pub const BLOCK_DEFAULT_CONTENT_TYPE: &str = "text/plain";
/// Answer to a blocked request when the rule names none.
pub const BLOCK_DEFAULT_CONTENT: &str =
    "This request was refused by the access rules of this site.\n";

/// Uploaded CAs of one gateway; each that a host believes is looked at in its handshakes.
pub const AUTHORITIES_MAX: usize = 1_000;
/// Certificates in one uploaded bundle.
pub const BUNDLE_CERTIFICATES_MAX: usize = 20;
/// Managed CAs of one zone: the one that issues, and those not yet retired.
pub const MANAGED_AUTHORITIES_MAX: usize = 4;
/// Days until the next revocation list is due; one is made whenever it is asked for.
pub const CRL_DAYS: u32 = 7;
/// How long a managed CA's list lies in `crl.directory` before it is written anew although nothing
/// was revoked: it is never older than a seventh of its life.
pub const CRL_FILE_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// When writing it is tried again after a failure.
pub const CRL_FILE_RETRY: Duration = Duration::from_secs(10);
/// Days before its end at which a certificate or a list is warned of, each once; the first is also
/// how far ahead `postern status` looks.
pub const EXPIRY_STAGES_DAYS: [u32; 3] = [30, 7, 1];
/// Days before its end from which on a certificate is warned of.
pub const EXPIRY_WARNING_DAYS: u32 = EXPIRY_STAGES_DAYS[0];
/// How often it is looked for what comes to such a stage.
pub const EXPIRY_STAGES_LOOK: Duration = Duration::from_secs(60 * 60);
/// Lists that rules may refer to.
pub const LISTS_MAX: usize = 100;
/// Items of one list.
pub const LIST_ITEMS_MAX: usize = 10_000;
/// Things that one entry of the audit log tells of; of a larger change it counts the rest. A
/// ruleset's rules can be read in the version that the entry names.
pub const AUDIT_NOTES_MAX: usize = 1_000;
/// Changes that the audit log keeps; the oldest are forgotten first.
pub const AUDIT_REVISIONS_MAX: u64 = 1_000_000;
/// Entries of the audit log that one search looks at, some microseconds each; it says where to go
/// on.
pub const AUDIT_SEARCHED_MAX: usize = 50_000;
/// Tokens of the admin API.
pub const TOKENS_MAX: usize = 1_000;
/// Longest life of a token in days.
pub const TOKEN_DAYS_MAX: u32 = 3650;

// --- Admin API -------------------------------------------------------------------------------

/// Connections to each listener of the admin API at once; further ones wait in its queue.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Bytes of a request's body: a ruleset of 100,000 rules has 20 to 50 MiB. More is answered 413.
pub const ADMIN_BODY_BYTES_MAX: usize = 64 << 20;
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

const _: () = assert!(ADMIN_REQUEST_TIMEOUT.as_nanos() < CLI_TIMEOUT.as_nanos());
const _: () = assert!(PER_PAGE_DEFAULT <= PER_PAGE_MAX);
const _: () = assert!(TIMEOUT_MIN.as_nanos() < PATIENCE_MAX.as_nanos());
const _: () = assert!(PATIENCE_MAX.as_nanos() < TIMEOUT_MAX.as_nanos());
const _: () = assert!(HEADER_COUNT_FLOOR * HEADER_BYTES_MIN < HEADER_BYTES_FLOOR);
const _: () = assert!(HEADER_COUNT_CEILING * HEADER_BYTES_MIN < HEADER_BYTES_CEILING);
const _: () = assert!(CHAIN_BYTES_FLOOR < CHAIN_BYTES_CEILING);
const _: () = assert!(HISTOGRAM_MIN.as_nanos() < HISTOGRAM_MAX.as_nanos());
const _: () = assert!(ACCESS_LOG_FIELD_BYTES_MAX < ACCESS_LOG_LINE_BYTES_KEPT);
const _: () = assert!(ACCESS_LOG_BUFFERS_KEPT <= ACCESS_LOG_QUEUE_LINES);
const _: () = assert!(ACCESS_LOG_LINE_BYTES_KEPT < ACCESS_LOG_WRITE_BYTES);
const _: () = assert!(ACCESS_LOG_WRITE_BYTES < ACCESS_LOG_QUEUE_BYTES);

/// Characters of a rule's expression. Cloudflare's limit; a longer one is refused.
pub const EXPRESSION_CHARACTERS_MAX: usize = 4096;
/// Levels of parentheses, `not` and function calls in an expression: what wirefilter allows, and
/// far from what a thread's stack can take. A deeper one is refused.
pub const EXPRESSION_NESTING_MAX: usize = 128;
/// Bytes of one compiled regular expression; a larger one is refused. Ordinary ones take 10 KiB.
pub const REGEX_PROGRAM_BYTES_MAX: usize = 256 * 1024;
/// Bytes of the states of a regular expression's lazy automaton; what needs more for one value is
/// followed through the expression itself. To work them out takes milliseconds.
pub const REGEX_CACHE_BYTES_MAX: usize = 128 * 1024;
/// Bytes of a regular expression's table of states; one that needs more is worked out while it
/// runs, in memory of the thread. Ordinary ones take 1 to 10 KiB.
pub const REGEX_TABLE_BYTES_MAX: usize = 48 * 1024;
/// Regular expressions without a table that one thread keeps memory for; all is given back when
/// there are more. Each takes some 10 KiB, at most `REGEX_CACHE_BYTES_MAX` and a little.
pub const REGEX_CACHES_MAX: usize = 1024;
/// Bytes that one thread keeps for regular expressions without a table; all is given back when they
/// are more. Enough for hundreds that are ordinary.
pub const REGEX_CACHES_BYTES_MAX: usize = 16 << 20;
const _: () = assert!(REGEX_CACHE_BYTES_MAX * 8 <= REGEX_CACHES_BYTES_MAX);
/// Nesting of one regular expression; a deeper one is refused.
pub const REGEX_NESTING_MAX: u32 = 100;
/// Texts of which a regular expression needs one: keys of the automaton that sieves values for it.
/// An expression that needs one of more is judged alone.
pub const REGEX_TEXTS_MAX: usize = 64;
/// Arrays and objects of a JSON text that `lookup_json_*` reads, one in the other; a deeper text is
/// a missing value. What `serde_json` reads, and far from what a thread's stack can take.
pub const JSON_NESTING_MAX: usize = 127;
/// Work of one condition of a rule in one decision, in units of about a nanosecond on a slow core:
/// a byte that is made or looked through is one, an element of an array 128. What functions do to
/// the elements of one array with the whole of another value grows with the square of the
/// request's head, and what some regular expressions do with its product with their size. A request
/// that needs more is answered 431; one of 64 KiB needs up to 8 million for any condition that does
/// not do that, an ordinary one some hundred.
pub const CONDITION_WORK_MAX: usize = 16 << 20;
/// Work of all rules for one request, those of its phases and the values that they make included, in
/// the same units: at most some 70 milliseconds on a slow core, which all other requests of its
/// worker wait for. A request that needs more is answered 431. An ordinary one is judged by 100,000
/// rules for some ten thousand, and for 20 million where no index helps and each reads 200 bytes.
pub const DECISION_WORK_MAX: usize = 64 << 20;
/// Bytes of the buffers for values that are made, and of those for results that grow, that a thread
/// keeps from one decision to the next: what the largest heads need. What needed more is given back.
pub const SCRATCH_BYTES_KEPT: usize = 256 << 10;
/// Arguments, and cookies, that a thread keeps memory for, 32 bytes each, and bytes of one's name.
pub const SCRATCH_PAIRS_KEPT: usize = 1024;
/// `*` in one wildcard pattern: what `wildcard_replace` may refer to. More are refused.
pub const WILDCARD_STARS_MAX: usize = 16;
/// `${n}` in the replacement of `regex_replace` and `wildcard_replace`. Cloudflare's limit.
pub const REPLACEMENT_REFERENCES_MAX: usize = 8;
/// Groups that a replacement can refer to: `${0}` to `${99}`.
pub const REPLACEMENT_GROUPS: usize = 100;
const _: () = assert!(CONDITION_WORK_MAX < DECISION_WORK_MAX);
const _: () = assert!(EXPRESSION_CHARACTERS_MAX * 4 <= EXPRESSION_BYTES_MAX);
const _: () = assert!(ADMIN_BODY_BYTES_MAX < CLI_ANSWER_BYTES_MAX);
const _: () = assert!(RING_SUBMISSIONS <= RING_COMPLETIONS);
const _: () = assert!(RECEIVE_BUFFER_MIN <= RECEIVE_BUFFER_MAX);
const _: () = assert!(SEND_BUFFER_KEPT <= SEND_BUFFER_MAX);
const _: () = assert!(H2_WINDOW_STREAM <= H2_WINDOW_CONNECTION);
/// Terms that one rule's expression is taken apart into; what would make more stays a tree.
pub const RULE_TERMS_MAX: usize = 32;
/// Index keys of one comparison: a range of addresses takes up to 254. With more it stays a tree.
pub const LITERAL_KEYS_MAX: usize = 2048;
/// Bytes of a text that an index looks for at the front, at the end or inside of values. Of a longer
/// one it looks for so many and the rest is compared afterwards: all lengths that occur are tried.
pub const INDEX_TEXT_BYTES_MAX: usize = 256;
/// Bytes of all texts that an index looks for inside of values; comparisons with further ones stay
/// trees. Each takes some 60 bytes while the index is built.
pub const INDEX_CONTAINED_BYTES_MAX: usize = 4 << 20;
/// Keys of all terms of an index, 20 for each of 100,000 rules; the comparisons of further rules
/// stay trees. Each takes up to 100 bytes: without a bound a ruleset of 64 MiB could ask for 10 GiB.
pub const INDEX_ENTRIES_MAX: usize = 2_000_000;
/// Bytes of all compiled regular expressions of one ruleset: some ten thousand ordinary ones, two
/// hundred of the largest. With more the ruleset is refused.
pub const RULESET_REGEX_BYTES_MAX: usize = 64 << 20;
const _: () = assert!(REGEX_PROGRAM_BYTES_MAX < RULESET_REGEX_BYTES_MAX);
/// Different values that an index of rules looks up; comparisons of further ones stay trees.
pub const INDEX_SUBJECTS_MAX: usize = 192;
/// Different combinations of look-ups; the rules of further ones are found by one look-up each.
pub const INDEX_GROUPS_MAX: usize = 128;
/// Terms that a connection remembers of one group; of a larger one it remembers the vectors.
pub const CONNECTION_TERMS_MAX: usize = 256;
/// Lints that are told of a zone's rules: a person mends these first. The rest is left out.
pub const LINTS_MAX: usize = 10_000;
/// Comparisons of parts after which a lint gives up finding out whether one condition follows from
/// another: it judges as if it did not.
pub const IMPLICATION_STEPS_MAX: usize = 10_000;
/// Times that the lints of a zone may judge one rule for one host: seconds. Of hosts beyond that
/// nothing is told. A rule that says the same of all hosts is judged once.
pub const LINT_JUDGEMENTS_MAX: usize = 1_000_000;
/// Changed rules that are kept beside the index they changed; with more, all are compiled anew
/// before the change is seen.
pub const CHANGED_RULES_MAX: usize = 1024;
/// Changed rules from which on everything is compiled anew beside the running program: half of
/// `CHANGED_RULES_MAX`, so that changes one by one have the other half to go on meanwhile. A change
/// takes tens of milliseconds there, and compiling 100,000 rules less than two seconds.
pub const CHANGED_RULES_RENEW: usize = 512;
/// Rules of a zone in a phase other than custom rules: all of them are asked for every request.
pub const PHASE_RULES_MAX: usize = 1_000;
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
/// Rates that are counted at once, of the whole gateway: 24 bytes each, 1.5 MiB. With more, those
/// that would be forgotten first are forgotten sooner.
pub const RATE_BUCKETS: usize = 65_536;
/// Keys that one request can have for one rate limit: a header or cookie that comes several times
/// counts for each of its values. A request with more is refused.
pub const RATE_KEYS_MAX: usize = 16;
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
