//! Bounds of this crate: value, unit, reason, and what happens at the limit.
//!
//! Owns the numbers and the relations between them, which the compiler checks. Does not enforce
//! anything: the code that owns a queue, a loop or a buffer does.

use std::time::Duration;

use admin::limits::{ADMIN_BODY_BYTES_MAX, ADMIN_REQUEST_TIMEOUT};
use vocabulary::limits::MIB;
/// Descriptors of a process beside its connections: listeners, rings, store, logs, admin clients.
pub const DESCRIPTORS_SPARE: u64 = 256;
/// Connections of a demo: enough to try a load on it, and few enough for the open files that a shell
/// usually has, or its first line would be a warning of them.
pub const DEMO_CONNECTIONS_MAX: usize = 4_000;
/// For which `postern host renew` waits for the order's end: the longest order, and a turn before it.
pub const RENEW_WAIT: Duration = Duration::from_secs(6 * 60);
/// How often it looks.
pub const RENEW_LOOK: Duration = Duration::from_millis(250);
/// Lines a second that libraries for protocols have in the gateway's own log, altogether: what a
/// peer sends makes them, and they name nobody. Further ones are lost; `log.level = debug` shows all.
pub const LIBRARY_LINES_PER_SECOND: u32 = 5;
/// Lines of the gateway's own log that wait for who reads standard error: half a megabyte. Further ones
/// are lost, and counted.
pub const LOG_QUEUE_LINES: usize = 4_096;
/// How long the writers of the logs have to write what is queued when the process ends.
pub const LOG_FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a process that ends waits for changes that had begun and for files that are read.
pub const BLOCKING_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a new process may take to take in that it is the service: it is a few bytes in an empty socket.
pub const MAIN_PATIENCE: Duration = Duration::from_secs(1);
/// How long the service manager may take to take in a word of what it is to keep: it does nothing that lasts.
pub const KEEPING_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of a frame between the old and the new process of an upgrade: a change with the largest
/// document or revocation list that the API takes, several times over.
pub const UPGRADE_FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Descriptors that go over at once: of each worker one for each address, and some.
pub const UPGRADE_DESCRIPTORS_MAX: usize = 40_000;
/// How long a new process waits for the next word of the old one. That one ends it long before
/// (`timeout.upgrade`), and its own end is seen at once.
pub const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(2 * 60 * 60);
/// How long a new process that broke off is given to end by itself, so that it can be told how it did.
pub const UPGRADE_END_WAIT: Duration = Duration::from_secs(2);
/// How often it is looked whether it has.
pub const UPGRADE_END_LOOK: Duration = Duration::from_millis(5);
/// How long the store is asked for again after a new process failed that had it: what that process
/// started may hold it for a moment longer.
pub const STORE_BACK_WAIT: Duration = Duration::from_secs(20);
/// Replaced processes that still have connections, at the most: each is as large as a gateway. A further
/// upgrade waits for the end of one.
pub const FORMER_MAX: usize = 2;
/// Bytes of changes that wait for a replaced process. One that takes none is given up, and ends its
/// connections then.
pub const FORMER_QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// For which an upgrade waits until replaced processes have taken what they are told. One that has not is
/// given up, since nobody would know what it goes on with: as long as a revocation may take.
pub const FORMER_SETTLE_WAIT: Duration = Duration::from_secs(1);
/// How often a replaced process looks whether the system's CA bundle has changed.
pub const FORMER_CAS_LOOK: Duration = Duration::from_secs(2);
/// How long a replaced process goes on without hearing of changes: as long as a revocation may take.
pub const SUCCESSOR_LOST_GRACE: Duration = Duration::from_secs(1);
/// Connections of a replaced process on which nothing is under way may have one more request for this
/// part of `timeout.drain`: one that were closed at once could meet a request on its way.
pub const DRAIN_REST_PART: u32 = 2;
/// Bytes of a file that says how etcd is reached: a bundle of CAs, a chain, a key, a password.
pub const FLEET_FILE_BYTES_MAX: u64 = MIB;
/// How often an edge looks after its fleet: whether it leads, whether ticket keys are new, what it is to
/// tell the others. A new ticket key is with all edges within this time.
pub const FLEET_LOOK: Duration = Duration::from_millis(500);
/// How long ago etcd has to have answered for changes to be refused without asking it: one of its members may be
/// gone, and another be asked.
pub const FLEET_AWAY: Duration = Duration::from_secs(3);
/// How long an edge that is stuck, or hears nothing of etcd, may still lead: longer than a member of etcd that dies
/// or an election takes. Another edge does then what is to be done once.
pub const FLEET_LEADS_WITHOUT: Duration = Duration::from_secs(10);
/// For an edge that has founded or joined a fleet to follow it, before whoever asked for it is answered.
pub const FLEET_FIRST_WAIT: Duration = Duration::from_secs(2);
/// How often it is looked whether it does.
pub const FLEET_FIRST_LOOK: Duration = Duration::from_millis(5);
/// Races that an edge loses before it asks the others to let it go first: near etcd the next one is won.
pub const FLEET_TURN_AFTER: u32 = 4;
/// How long an edge lets another one go first, at the most: a few ways to etcd and back from far away, or as long as
/// a large entry takes. It holds up this edge's own changes, and nothing that others have changed.
pub const FLEET_TURN_WAIT: Duration = Duration::from_secs(3);
/// How long one change waits for the turns of several edges, one behind the other.
pub const FLEET_TURNS_WAIT: Duration = Duration::from_secs(6);
/// How often it looks whether that one is done.
pub const FLEET_TURN_LOOK: Duration = Duration::from_millis(50);
/// How often the leader looks whether the log in etcd is to be made shorter.
pub const FLEET_UPKEEP: Duration = Duration::from_secs(30);
/// After so many times `trust.ticket_rotation` an edge that hears of no new key of its fleet makes its own.
pub const TICKET_ALONE_FACTOR: u32 = 3;
/// How long upkeep that failed is left alone: it reads the whole store, and would fail again.
pub const FLEET_UPKEEP_AGAIN: Duration = Duration::from_secs(60 * 60);
/// How often an edge keeps in its store when it had all that the fleet has: a write each time. What
/// is told of an edge's age after a restart is wrong by so much at the most.
pub const FLEET_SEEN_EVERY: Duration = Duration::from_secs(30);
/// Changes that the log keeps below the state that edges begin with: one that was away for as many does not
/// have to take all of it.
pub const FLEET_ENTRIES_KEPT: u64 = 1_000;
/// Longest time until a change is in force on another edge that is told apart from longer ones: an edge
/// that was away for a day.
pub const FLEET_IN_FORCE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// How often the steering controller looks for new hosts and dead workers. A new host has no owner
/// for so long.
pub const STEER_POLL: Duration = Duration::from_millis(50);
/// How often load is measured and hosts may move.
pub const STEER_ROUND: Duration = Duration::from_secs(2);
/// Rounds that a worker may leave the question for its load unanswered before its hosts go to
/// others.
pub const STEER_SILENT_ROUNDS: u32 = 3;
/// Networks of one zone that the kernel drops, from rules that block addresses; further ones are
/// left to the rules.
pub const BLOCKED_NETWORKS_MAX: usize = 50_000;
/// How often it is looked whether open files or memory run short.
pub const PRESSURE_LOOK: Duration = Duration::from_secs(1);
/// Memory is short when less than one part in so many is left.
pub const MEMORY_SHORT_PART: u64 = 32;
/// How often it is checked whether session tickets need a new key.
pub const TICKET_LOOK: Duration = Duration::from_secs(15);
/// How often it is warned of lists that are old or missing.
pub const CRL_ALARM_INTERVAL: Duration = Duration::from_secs(10 * 60);
/// Bytes of a line that is read back from an access log: ten full fields and the rules that it
/// names, many times over. A longer one is not from an access log and is refused.
pub const ACCESS_LOG_LINE_BYTES_READ: u64 = MIB;
/// Bytes of one answer that the command line reads from the admin socket: a page of certificates
/// has about 100 KiB, a ruleset of 100,000 rules about 50 MiB. A longer answer is an error.
pub const CLI_ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How long the command line waits for an answer of the admin socket: publishing a change of a
/// large store takes seconds at worst.
pub const CLI_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the command line waits before it asks again for what an upgrade is in the way of.
pub const CLI_UPGRADE_PAUSE: Duration = Duration::from_millis(100);
/// How long the completion of a word waits for each answer, of three at most: a person is typing.
pub const COMPLETION_TIMEOUT: Duration = Duration::from_millis(500);
/// Names that a word is completed with: what a page of the API has. Of more, the first.
pub const COMPLETED_NAMES_MAX: usize = 1_000;
/// Bytes of a PEM, CSR or CRL file given on the command line. Larger is refused unread.
pub const CLI_FILE_BYTES_MAX: u64 = 16 * MIB;
/// How deep a document of `postern apply` nests: its own form needs 8, action parameters a few
/// more. One that nests deeper is refused before the reader's stack grows.
pub const DOCUMENT_DEPTH_MAX: usize = 64;
/// How often it is looked for what comes to such a stage.
pub const EXPIRY_STAGES_LOOK: Duration = Duration::from_secs(60 * 60);

const _: () = assert!(
    UPGRADE_DESCRIPTORS_MAX > config::limits::WORKERS_MAX * config::limits::LISTEN_ADDRESSES_MAX
);
const _: () =
    assert!(PREDECESSOR_PATIENCE.as_nanos() > config::limits::UPGRADE_TIMEOUT_MAX.as_nanos());
const _: () = assert!(ADMIN_REQUEST_TIMEOUT.as_nanos() < CLI_TIMEOUT.as_nanos());
const _: () = assert!(ADMIN_BODY_BYTES_MAX < CLI_ANSWER_BYTES_MAX);
