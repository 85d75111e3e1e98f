//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Does not enforce
//! anything: the code that owns a queue, a loop or a buffer does.

use std::time::Duration;
/// Submission queue entries of a worker's ring: operations started between two waits; when it is
/// full they are submitted at once.
pub const RING_SUBMISSIONS: u32 = 1_024;
/// Completion queue entries: a burst of answers on every connection of a busy worker; beyond it
/// the kernel keeps them in a list of its own, slower but nothing lost.
pub const RING_COMPLETIONS: u32 = 8_192;
/// Connections that may wait for an accept on one listener; the kernel caps it at
/// `net.core.somaxconn`. Further ones are tried again by the client's TCP.
pub const LISTEN_BACKLOG: i32 = 4_096;
/// Parts that the accounts of clients are kept in, each with a lock of its own: so rarely do two
/// workers want the same one.
pub const ACCOUNT_SHARDS: usize = 64;
/// The least that `auto` makes of `limit.client_connections`: a browser and some more, where
/// `limit.connections` is small.
pub const CLIENT_CONNECTIONS_AUTO_MIN: usize = 10;
/// The part of the descriptors that is kept for clients that have few, one in so many: when the rest
/// is open, who has many gets no more.
pub const DESCRIPTORS_RESERVED_PART: usize = 8;
/// So many descriptors are few, however many there are: what a browser takes on both sides.
pub const DESCRIPTORS_LIGHT_MIN: usize = 16;
/// Silence after which the kernel asks whether a peer is still there. Without it a client or an
/// origin that lost its power would keep its connection for as long as a body is waited for.
pub const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between two such questions.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Questions without an answer after which the connection is over: two minutes in all.
pub const KEEPALIVE_PROBES: u32 = 4;
/// Time between two lines of the log that say that connections cannot be accepted.
pub const ACCEPT_COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
/// Connections that a worker accepts before its other connections get their turn.
pub const ACCEPTS_IN_A_ROW: usize = 16;
/// Connections of one plain listener that are open at once. Each is there for a round trip; beyond
/// this the oldest gives way to the newest.
pub const PLAIN_CONNECTIONS_MAX: usize = 1_024;
/// Bytes of the head of a plain request: browsers send no more where they have no cookies of ours. A
/// larger one gets 431.
pub const PLAIN_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of its target, which a redirect repeats: what browsers send and servers take. A longer one
/// gets 414.
pub const PLAIN_TARGET_BYTES_MAX: usize = 8 * 1024;
/// How long a client may take to take such an answer: it fits into what the kernel buffers.
pub const PLAIN_WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long what it still sends is read and forgotten behind the answer.
pub const PLAIN_LINGER: Duration = Duration::from_secs(2);
/// Bytes that are read and forgotten so: forms and small files; who sends more may see a reset.
pub const PLAIN_LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a PROXY protocol header of version 1, its end of line included (the specification's own
/// bound). A longer one is refused.
pub const PROXY_V1_BYTES_MAX: usize = 107;
/// Bytes of a PROXY protocol header of version 2, its first 16 included: addresses and what balancers
/// add about TLS and the connection, a client certificate among it. A longer one is refused unread.
pub const PROXY_V2_BYTES_MAX: usize = 8 * 1024;
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
/// How long bytes are read and forgotten after our last word on a connection that we close while
/// the client still sends; one that sends for longer may lose our answer to a reset. As nginx's
/// `lingering_time`: a slow device gets through what its buffers hold.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence after which such a client is believed to have its answer, or to be gone. As nginx's
/// `lingering_timeout`.
pub const LINGER_SILENCE: Duration = Duration::from_secs(5);
/// Bytes a second that are read and forgotten so, by each connection: more than clients send over
/// the internet, and some tenths of a percent of a core.
pub const LINGER_BYTES_PER_SECOND: u64 = 16 * 1024 * 1024;
/// Bytes of a request's body that are read although nobody wants them, so that the connection can
/// be used again: what a client may have sent before it could see the answer, over HTTP/2 without
/// asking.
pub const REMAINDER_BYTES_MAX: u64 = H2_WINDOW_STREAM as u64;
/// How long that may take; then the connection is closed, and over HTTP/2 the stream reset.
pub const REMAINDER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a start waits for a listening address that is taken. The rings of a gateway that has
/// ended hold its sockets until the kernel has taken them apart: milliseconds, more on a busy machine.
pub const LISTEN_WAIT: Duration = Duration::from_secs(3);
/// How long a socket of an address that is no longer listened on is accepted from, after no new connection
/// comes to it any more. Handshakes that have begun need a round trip to their end, and a further second
/// for a segment of theirs that is lost. Nobody else has the address until then, nor what overlaps it.
pub const LEAVING_WAIT: Duration = Duration::from_secs(2);
/// Between two tries for a listening address that is taken.
pub const LISTEN_RETRY: Duration = Duration::from_millis(10);
/// How often a stopping worker, and the process above it, looks whether the last connection ended.
pub const DRAIN_POLL: Duration = Duration::from_millis(20);
/// How often a worker closes origin connections that are not used.
pub const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long an origin's connection that is for one client alone is kept idle: nobody else has a use for
/// it, and that client may be gone.
pub const ORIGIN_OF_CLIENT_IDLE: Duration = Duration::from_secs(10);
/// How often a worker looks whether somebody waits for an idle connection of an origin that has as
/// many as it may have.
pub const YIELD_INTERVAL: Duration = Duration::from_millis(50);
/// Connections that went quiet or ended on a worker since its last sweep, from which on the sweep
/// also returns memory to the system: some megabytes are free then.
pub const GIVE_BACK_AFTER: usize = 64;
/// Connections that wait for another worker to take them. Beyond it the worker that has one serves
/// it itself: the owner is then behind by more than a tenth of a second.
pub const HANDOVER_QUEUE: usize = 1_024;
/// Bytes of a ClientHello that are gathered to find its host; BoringSSL takes 16 KiB at most. A
/// longer one is left to it.
pub const HELLO_BYTES_MAX: usize = 16 * 1024 + 64;
/// CPU of a full handshake with a client certificate, for weighing hosts against each other:
/// one ECDSA signature, a key exchange, two or three verifications, the packets.
pub const COST_HANDSHAKE_FULL: Duration = Duration::from_micros(450);
/// CPU of a resumed handshake, likewise: a key exchange, the packets.
pub const COST_HANDSHAKE_RESUMED: Duration = Duration::from_micros(200);
/// CPU of a request, likewise.
pub const COST_REQUEST: Duration = Duration::from_micros(40);
/// Bytes that an HTTP/2 peer may send on one stream before we have passed them on: with a round
/// trip of 20 ms this still fills 100 Mbit/s.
pub const H2_WINDOW_STREAM: u32 = 256 * 1024;
/// Bytes that an HTTP/2 peer may send on all streams of a connection before they are passed on.
pub const H2_WINDOW_CONNECTION: u32 = 1024 * 1024;
/// Requests of one HTTP/2 connection that its task polls before other connections get their turn.
pub const H2_POLLS_IN_A_ROW: usize = 64;
/// Places of requests that are over, kept by a connection for its next ones: some kilobytes each, and given
/// back within [`PARK_AFTER`] of the last one.
pub const H2_STREAMS_KEPT: usize = 16;
/// Streams that a client has begun and h2 has not handed over, of which the number is remembered: h2
/// takes no more at once.
pub const H2_UNACCEPTED_MAX: usize = 1_024;
/// Interim responses of an origin that are passed on for one request; of one that says more than it
/// answers, the rest is dropped.
pub const INTERIM_RESPONSES_MAX: usize = 8;
/// Bytes of an HTTP/2 client that are kept until h2 has found nothing wrong with them: the heads of some
/// requests.
pub const H2_BYTES_KEPT: usize = 2_048;
/// The time in which a connection may send `limit.h2_control_frames` frames that carry nothing.
pub const H2_CONTROL_FRAMES_WINDOW: Duration = Duration::from_secs(10);
/// Frames that the head of a request earns: its windows, its end, a PING.
pub const H2_EARNED_FRAMES_HEAD: u32 = 4;
/// Bytes of a body that earn a frame, in either direction: clients open their windows every 4 KiB
/// at the most, that of the stream and that of the connection.
pub const H2_EARNED_BYTES: u32 = 1_024;
/// Frames that a request counts as which its client takes back before it has anything of the
/// answer: with the default budget a hundred at once, as many as may be open, and ten a second.
pub const H2_CANCELLED_FRAMES: u32 = 200;
/// Frames that a request earns which is answered to its end: who takes back every third one may go
/// on for ever.
pub const H2_EARNED_FRAMES_ANSWER: u32 = H2_CANCELLED_FRAMES / 2;
/// How long a client that floods us may take to take our last word.
pub const FLOOD_FAREWELL: Duration = Duration::from_secs(1);
/// How long what it still sends is read and forgotten then, so that it can read that.
pub const FLOOD_LINGER: Duration = Duration::from_secs(2);
/// How many times `limit.header_bytes` h2 decodes of a head or of trailers: beyond it, it drops
/// fields in silence, and beyond a multiple of that the connection ends. What is between one and
/// this is refused by us, with a line in the log.
pub const H2_HEADER_LIST_MARGIN: usize = 4;
/// Bytes of one HTTP/2 stream that wait for the peer's window; beyond it the other side is not
/// read from (back-pressure).
pub const H2_SEND_BUFFER: usize = 128 * 1024;
/// Bytes of answers that are fetched for one HTTP/2 client connection before they are written to it:
/// more than the kernel takes at once, and no more for a hundred streams than for four.
pub const H2_FETCH_AHEAD: usize = 4 * H2_SEND_BUFFER;
/// The same for all connections of one prefix together. Beyond it each has one piece at a time.
pub const CLIENT_BUFFERED_MAX: usize = 32 * 1024 * 1024;
/// Requests on one HTTP/2 connection to an origin; further ones get a connection of their own. As
/// many as origins usually take (RFC 9113 §6.5.2 recommends no fewer).
pub const H2_ORIGIN_STREAMS_MAX: usize = 100;
/// Bytes that an origin may send on one HTTP/2 connection before they are passed on: the windows of
/// all its streams, so that clients that do not read hold up nobody else's response.
pub const H2_WINDOW_ORIGIN: u32 = 100 * H2_WINDOW_STREAM;
/// Silence of an HTTP/2 origin for which nobody asks whether it lives, however short its answers' time is.
pub const H2_SILENCE_MIN: Duration = Duration::from_secs(1);
/// How long an HTTP/2 origin may take to answer that it lives: packets are lost and come again, and a new
/// connection costs a handshake.
pub const H2_PONG_TIMEOUT: Duration = Duration::from_secs(3);
/// From one such question to the next: gRPC servers end a connection on which a few too many came while
/// they had nothing to say (gRPC's A8, `too_many_pings`).
pub const H2_PING_INTERVAL: Duration = Duration::from_secs(60);
/// Bytes of the first buffer that requests of an HTTP/1.1 client are read into: a usual head, and the
/// next ones.
pub const CLIENT_READ_FIRST: usize = 8 * 1024;
/// Bytes that have to be free in it, or it gets more.
pub const CLIENT_READ_MIN: usize = 1_024;
/// Bytes that it grows by while a body streams in.
pub const CLIENT_READ_MAX: usize = RECEIVE_BUFFER_MAX;
/// Headers that a worker keeps for its next answers, one for each of those that are on their way at once;
/// and as many maps, for HTTP/2.
pub const SPARE_HEADERS_MAX: usize = 64;
/// Heads of requests that a worker keeps so, of which one that is answered at once needs one.
pub const SPARE_HEADS_MAX: usize = SPARE_HEADERS_MAX;
/// Headers that such a place may have room for; a larger one goes back to the allocator.
pub const SPARE_HEADER_FIELDS_MAX: usize = 128;
/// Bytes of the block that request ids lie in as header values: of so many requests together.
pub const ID_BLOCK_BYTES: usize = 4 * 1024;
/// Bytes of an answer to an HTTP/1.1 client that are gathered before they are encrypted: one TLS
/// record.
pub const ANSWER_GATHERED_MAX: usize = 16 * 1024;
/// Bytes of a piece of a body up to which it is copied behind the head or its chunk's size, into one
/// TLS record; a longer one is encrypted where it lies.
pub const COPIED_BYTES_MAX: usize = 4 * 1024;
/// Bytes of the first buffer that an HTTP/1.1 connection to an origin is read into: a usual answer,
/// and the next ones.
pub const ORIGIN_READ_FIRST: usize = 8 * 1024;
/// Bytes that have to be free in it, or it gets more.
pub const ORIGIN_READ_MIN: usize = 1_024;
/// Bytes that it grows by while an answer streams in.
pub const ORIGIN_READ_MAX: usize = RECEIVE_BUFFER_MAX;
/// How long the goodbye to an origin may take: over TLS, and over HTTP/2 once nobody has a use for the
/// connection; then it is shut down, whether the origin has read that or not.
pub const ORIGIN_CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How many times that, as long as the origin takes what is left for it: what h2 holds of a body
/// ([`H2_SEND_BUFFER`]) at 4 KiB a second.
pub const ORIGIN_CLOSE_TIMES_MAX: u32 = 30;
/// How often each worker's log says that an origin does not answer: clients decide how many requests
/// it gets. The access log has every one.
pub const ORIGIN_TOLD_EVERY: Duration = Duration::from_secs(1);
/// Requests to one origin that a worker may repeat beyond the share of `limit.retry_percent`: the
/// connections that end at once when a busy origin restarts.
pub const REPEATS_RESERVED: usize = 1_000;
/// How often a request goes out again of which an origin says that it has processed nothing; then
/// the client gets 502.
pub const UNPROCESSED_MAX: usize = 3;
/// How often a request goes out again that was not answered in the time of a try: whoever made one
/// address hang may do so with the next.
pub const LATE_MAX: usize = 2;
/// Bytes of a request's body that are kept until the origin answers, for a second attempt; a
/// request that has sent more is not repeated. They are copied into one buffer, which is never larger.
/// Holds an ordinary call; a hundred streams of a client connection hold 1.6 MiB.
pub const REPLAYED_BYTES_MAX: usize = 16 * 1024;
/// How long a worker remembers whose turn it is at an origin that nobody asks for: half a kilobyte
/// each.
pub const TURNS_KEPT: Duration = Duration::from_secs(10 * 60);
/// Addresses of one origin that a request is sent to, one after the other; then the client gets the
/// last one's error. Eight that take no connection are no accident.
pub const ADDRESS_TRIES_MAX: u32 = 8;
/// An address has at least so long to take a connection, or is not tried: with less, what is fast
/// would look dead.
pub const CONNECT_TRY_MIN: Duration = Duration::from_millis(250);
/// A trace of the kernel's decisions that nobody has asked for so long is over: `postern steer trace` asks
/// twice a second, and may be interrupted at any time.
pub const STEER_TRACE_LEFT: Duration = Duration::from_secs(5);
/// Pauses before an origin that refuses connections is asked again: three quarters of a second in
/// all, in which most services are back from a restart.
pub const REFUSED_PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];
/// Silence after which an HTTP/1.1 connection is put aside and its buffers are given back.
/// Clients that ask more often never pay for it.
pub const PARK_AFTER: Duration = Duration::from_secs(1);
/// Bytes of the buffer that each direction of a tunnel (WebSocket) has: one TLS record.
pub const TUNNEL_BUFFER: usize = 16 * 1024;
/// How long an origin may take to end an answer that has no content (204, 304, or to HEAD) after its
/// head: the client waits for it with its next request only.
pub const CONTENTLESS_END_TIMEOUT: Duration = Duration::from_secs(1);
/// A client that always finds something of its answer for so long keeps the origin waiting.
pub const SLOW_TAKER: Duration = Duration::from_secs(2);
/// How long an HTTP/2 client that was told to go may still send requests, which is when it has to
/// have heard of it; what comes later is refused, and the connection ends once nothing has been under
/// way for as long again.
pub const H2_GOODBYE: Duration = Duration::from_secs(2);
/// How long a request that is already under way may still take once its client's certificate is
/// no longer good; then its connection is cut. Well below the second within which all are closed;
/// counted from the change, so that a worker that comes late to look still keeps it.
pub const CUT_GRACE: Duration = Duration::from_millis(250);
/// Connections that are looked at in one go when trust moves; between two goes the worker serves
/// others. Each costs some microseconds, a hundred when its CA set changed.
pub const CONNECTIONS_IN_A_ROW: usize = 32;
/// Longest sleep until a certificate ends: so late is a changed clock noticed.
pub const EXPIRY_LOOK: Duration = Duration::from_secs(10);
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
/// Bytes of a line buffer that is kept for the next line; a larger one goes back to the allocator.
pub const ACCESS_LOG_LINE_BYTES_KEPT: usize = 8 * 1024;
/// Emptied line buffers that wait to be used again.
pub const ACCESS_LOG_BUFFERS_KEPT: usize = 1_024;
/// Bytes that the writer gathers for one write.
pub const ACCESS_LOG_WRITE_BYTES: usize = 256 * 1024;
/// How long the writer gathers lines after it was woken: it bounds wake-ups to some hundred a
/// second, and a line's delay to this.
pub const ACCESS_LOG_GATHER: Duration = Duration::from_millis(5);
/// Requests whose spans may wait to be sent: a fifth of a second at ten thousand sampled requests a
/// second. With every text as long as it may be they hold 24 MiB. When it is full, they are dropped and
/// counted.
pub const SPANS_QUEUE: usize = 2_048;
/// `log` rules named in one access-log line; the rest is left out.
pub const ACCESS_LOG_RULES_MAX: usize = 32;
/// Names of a subjectAltName in one access-log line, of each kind; the rest is left out. A
/// certificate of a workload or a device has one or two.
pub const ACCESS_LOG_NAMES_MAX: usize = 8;
/// Bytes of the names of one kind in one line, so that a certificate's holder does not choose how
/// long lines are; a name that does not fit whole is left out with those behind it.
pub const ACCESS_LOG_NAMES_BYTES_MAX: usize = 1_024;

/// Events of one kind in a second that all workers together keep for those who look; of more, a
/// sample. Seven kinds at this rate, a kilobyte each, are a megabyte a second, and more than people
/// read.
pub const EVENTS_PER_SECOND: u32 = 200;
/// Milliseconds in which a worker may keep its share of that: as often as the control side looks.
pub const EVENT_WINDOW_MSEC: i64 = 250;
/// Windows without an event whose shares a later one may use up: a burst is seen whole.
pub const EVENT_WINDOWS_SAVED: u32 = 8;
/// Events that wait on one worker for the control side; when it is full, one is dropped and counted.
/// Holds what a worker may keep in a second and a half.
pub const EVENT_QUEUE: usize = 2_048;
/// Bytes of an event; a longer one is dropped and counted. Ordinary ones have a tenth of this.
pub const EVENT_BYTES_MAX: usize = 16 * 1024;

/// Ranges of an `Accept` that are looked at when an answer of our own is written. Browsers send eight.
pub const ACCEPT_RANGES_MAX: usize = 32;

/// Bytes of the message that a gRPC call is answered with by us, before encoding; a longer one is
/// cut. Clients bound the head of an answer, most at 8 KiB.
pub const GRPC_MESSAGE_BYTES_MAX: usize = 1_024;

const _: () = assert!(LEAVING_WAIT.as_millis() < LISTEN_WAIT.as_millis());
const _: () = assert!(HISTOGRAM_MIN.as_nanos() < HISTOGRAM_MAX.as_nanos());
const _: () = assert!(ACCESS_LOG_FIELD_BYTES_MAX < ACCESS_LOG_LINE_BYTES_KEPT);
const _: () = assert!(ACCESS_LOG_BUFFERS_KEPT <= ACCESS_LOG_QUEUE_LINES);
const _: () = assert!(ACCESS_LOG_LINE_BYTES_KEPT < ACCESS_LOG_WRITE_BYTES);
const _: () = assert!(ACCESS_LOG_WRITE_BYTES < ACCESS_LOG_QUEUE_BYTES);
const _: () = assert!(1_000 % EVENT_WINDOW_MSEC == 0);
const _: () = assert!(EVENT_QUEUE >= 7 * EVENTS_PER_SECOND as usize);
const _: () = assert!(RING_SUBMISSIONS <= RING_COMPLETIONS);
const _: () = assert!(RECEIVE_BUFFER_MIN <= RECEIVE_BUFFER_MAX);
const _: () = assert!(ORIGIN_READ_MIN <= ORIGIN_READ_FIRST && ORIGIN_READ_FIRST <= ORIGIN_READ_MAX);
const _: () = assert!(CLIENT_READ_MIN <= CLIENT_READ_FIRST && CLIENT_READ_FIRST <= CLIENT_READ_MAX);
const _: () = assert!(COPIED_BYTES_MAX < ANSWER_GATHERED_MAX);
const _: () = assert!(SEND_BUFFER_KEPT <= SEND_BUFFER_MAX);
const _: () = assert!(H2_WINDOW_STREAM <= H2_WINDOW_CONNECTION);
const _: () = assert!(H2_FETCH_AHEAD < CLIENT_BUFFERED_MAX);
const _: () = assert!(PLAIN_TARGET_BYTES_MAX < PLAIN_HEAD_BYTES_MAX);
const _: () = assert!(PROXY_V1_BYTES_MAX < PROXY_V2_BYTES_MAX);
