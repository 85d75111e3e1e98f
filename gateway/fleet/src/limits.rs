//! Bounds of this crate: value, unit, reason, and what happens at the limit.

use std::time::Duration;

/// Bytes of the name of a fleet: a label of DNS.
pub const NAME_BYTES_MAX: usize = 63;
/// Bytes of the name of an edge: a host name.
pub const EDGE_NAME_BYTES_MAX: usize = 253;
/// Bytes of one value in etcd. Larger entries are split into values of this size. etcd takes requests of
/// 1.5 MiB (`--max-request-bytes`); a value below that lets many be read at once.
pub const VALUE_BYTES_MAX: usize = 256 << 10;
/// Bytes of an entry: a revocation list of 64 MiB with its record. A larger one is refused by who would
/// write it, and believed by nobody who reads it.
pub const ENTRY_BYTES_MAX: usize = 96 << 20;
/// Entries that are read at once at first, and fewer after a page that did not come in time: with values of the
/// largest size the answer stays below the 4 MiB that gRPC takes of a message.
pub const PAGE_ENTRIES: i64 = 15;
/// Entries that are read at once when the last ones were small, each of [`SMALL_ENTRY_BYTES`] at the most: an edge
/// that is far from etcd waits for each page.
pub const PAGE_SMALL_ENTRIES: i64 = 200;
/// See [`PAGE_SMALL_ENTRIES`]; most changes are of some kilobytes.
pub const SMALL_ENTRY_BYTES: usize = 8 << 10;
/// Parts of an entry or of a snapshot that are read at once: 1 MiB, which comes in [`PART_TRY_TIMEOUT`] where a link
/// brings 2 Mbit/s.
pub const PAGE_PARTS: i64 = 4;
/// Bytes of entries that are gathered before they are given on; of those in parts there is one at the most.
pub const PAGE_BYTES_MAX: usize = 32 << 20;
/// Bytes of one message from etcd: a page of the largest values, and room for their keys.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

const _: () = assert!(PAGE_ENTRIES * (VALUE_BYTES_MAX as i64 + 1024) < 4 << 20);
const _: () =
    assert!(PAGE_SMALL_ENTRIES * (VALUE_BYTES_MAX as i64 + 1024) < MESSAGE_BYTES_MAX as i64);
/// Bytes of a snapshot of a fleet's whole state. etcd keeps 2 GiB unless it is told otherwise
/// (`--quota-backend-bytes`), and refuses every write beyond. While a snapshot is replaced both are there,
/// and a removed one takes its room until etcd's next compaction: three of them leave more than half.
pub const SNAPSHOT_BYTES_MAX: u64 = 256 << 20;
/// Seconds for which etcd remembers that a snapshot is being written. Who writes says so with every so many
/// parts; an edge that died is forgotten after that, and what it has left is removed.
pub const SNAPSHOT_WRITER_TTL_SEC: i64 = 60;
/// Parts after which who writes a snapshot says that it still does: at 250 ms each, well within the time.
pub const SNAPSHOT_SIGN_PARTS: u64 = 32;
/// Entries behind the last snapshot that call for another one, and their bytes. Who comes later reads as
/// much beside the snapshot.
pub const SNAPSHOT_AFTER: (u64, u64) = (10_000, 64 << 20);
/// Bytes of entries that are kept behind the snapshot for edges that were away: what is older goes, however
/// few entries there are. With snapshots and what has not been compacted it stays within the 2 GiB.
pub const KEPT_BYTES_MAX: u64 = 256 << 20;

const _: () = assert!(3 * SNAPSHOT_BYTES_MAX + KEPT_BYTES_MAX + SNAPSHOT_AFTER.1 < 3 << 29);

/// Parts of a large entry that are written at the same time: from far away each takes a way to etcd and back.
pub const PARTS_AT_ONCE: usize = 8;
/// Seconds for which others let an edge go first with a change, unless it is done before. etcd's shortest is two.
pub const TURN_TTL_SEC: i64 = 5;

/// Revisions whose digests are kept when their entries are not any more: an edge that was away for longer cannot
/// tell whether etcd was replaced meanwhile, and asks a person. 8 MB in etcd.
pub const PAST_REVISIONS: u64 = 1_000_000;
/// Bytes of a digest that are kept: by chance two histories are the same there once in 2^64.
pub const PAST_DIGEST_BYTES: usize = 8;
/// Digests in one value, which are also the most entries that are trimmed at once.
pub const PAST_PER_VALUE: usize = 16_384;

const _: () = assert!(PAST_PER_VALUE * PAST_DIGEST_BYTES + 1024 < VALUE_BYTES_MAX);

/// Seconds for which an edge leads without a word to etcd: another one takes over after that. etcd's
/// shortest is two, with its own settings.
pub const LEADER_TTL_SEC: i64 = 5;
/// How often a leader says that it lives.
pub const LEADER_SIGN: Duration = Duration::from_secs(1);
/// How long before etcd's time is over a leader stops to believe that it leads: for clocks that do not run
/// alike, and for what it has just begun.
pub const LEADER_MARGIN: Duration = Duration::from_secs(1);
/// Edges that see that nobody leads wait for up to so long, each for a time of its own: not all of them
/// ask at once.
pub const LEADER_JITTER: Duration = Duration::from_millis(500);

/// Seconds after which an edge without a word to etcd is no longer alive.
pub const EDGE_TTL_SEC: i64 = 15;
/// How often an edge says that it lives.
pub const EDGE_SIGN: Duration = Duration::from_secs(5);
/// How often an edge writes what it says of itself, at most: 10,000 edges write 1,000 times a second then.
pub const EDGE_VALUE_PAUSE: Duration = Duration::from_secs(10);
/// Bytes of what an edge says of itself. A larger value is not written.
pub const EDGE_VALUE_BYTES_MAX: usize = 4096;
/// Edges that are read at once.
pub const PAGE_EDGES: i64 = 500;

const _: () = assert!(PAGE_EDGES * (EDGE_VALUE_BYTES_MAX as i64 + 512) < MESSAGE_BYTES_MAX as i64);
const _: () = assert!(LEADER_TTL_SEC as u64 > LEADER_MARGIN.as_secs() + 2 * LEADER_SIGN.as_secs());
const _: () = assert!(EDGE_TTL_SEC as u64 > 2 * EDGE_SIGN.as_secs());

/// How often a follower asks etcd where the log ends, and how long it waits for the answer. While all is well its
/// age is no more than both, and a cut that nobody tells of is seen after both. 10,000 edges ask, for this and for
/// who leads, 4,000 times a second.
pub const CONTACT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));

/// For one try of a change, or of a question that somebody waits for: a member that lives answers sooner
/// by far, and another is asked then.
pub const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// For a change to be in the log, with all tries; and once more, beside [`PART_TIMEOUT`] for each of them, for the
/// parts of a large one: who is far from etcd waits for a part or two, too. Whoever
/// changes the store waits for it: longer, and changes of this edge pile up. Within it etcd elects another
/// leader, which takes it one to two seconds.
pub const APPEND_TIMEOUT: Duration = Duration::from_secs(5);
/// For each part of a large entry, or of a snapshot, on average.
pub const PART_TIMEOUT: Duration = Duration::from_millis(250);
/// For one try of a part: from afar it waits for HTTP/2's window (64 KiB at first) to open some times.
pub const PART_TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a part of a large entry that is written, for its change to be given up: for one try with a member that
/// hangs, and as long as a change may take with another one. Other changes wait meanwhile.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(10);

const _: () =
    assert!(SILENCE_TIMEOUT.as_secs() >= PART_TRY_TIMEOUT.as_secs() + APPEND_TIMEOUT.as_secs());

/// For what follows a place, that a change waits for, and others with it. A large entry that does not come in this
/// time is left to the follower, which has as long as [`READ_TIMEOUT`], and the change is refused until it is there.
pub const NEWS_TIMEOUT: Duration = Duration::from_secs(20);
/// For a page of the log with the largest entry, where each request takes all of its own time: nothing else waits for
/// it.
pub const READ_TIMEOUT: Duration = Duration::from_secs(490);

const _: () = assert!(
    READ_TIMEOUT.as_secs()
        >= QUESTION_TIMEOUT.as_secs()
            + PART_TRY_TIMEOUT.as_secs() * (ENTRY_BYTES_MAX / VALUE_BYTES_MAX) as u64
                / PAGE_PARTS as u64
);
/// For a question that somebody waits for, with all tries.
pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// For reading a whole log once, or removing what is not needed any more: nobody waits but the leader.
pub const UPKEEP_TIMEOUT: Duration = Duration::from_secs(120);
/// For the runtime's thread to end, once what it is told to do at last is done.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(3);
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
