//! The log that the edges of a fleet share, kept in etcd, and how an edge follows it.
//!
//! One entry is what one change wrote to the store of the edge that took it: bytes, here. The log's
//! numbers are the store's revisions. An entry is there once the head names it, which one transaction
//! of etcd does, and only when the head is still the one that the change was judged on: of two edges
//! that change at once, one has to look again.
//!
//! Each head has a digest of all that led to it. So an edge knows whether the log that it sees is the one
//! that it followed, or another's, or an old copy of it, and two edges of one revision can be compared.
//!
//! | file | owns |
//! |---|---|
//! | `names` | the name of a fleet, and where in etcd its keys are |
//! | `record` | heads and entries as etcd has them |
//! | `engine` | connections to etcd's members |
//! | `credentials` | PEM, user and password, read and compared |
//! | `log` | the log: asked, and added to |
//! | `reading` | what follows a place in it, read |
//! | `founding` | what a fleet is, and how it begins |
//! | `snapshot` | its whole state, for edges that are too far behind |
//! | `clock` | a moment, also for a machine that is suspended |
//! | `watched` | a watch that notices when etcd falls silent |
//! | `follower` | an edge that takes entry after entry, whatever becomes of etcd meanwhile |
//! | `lease` | what is there as long as an edge lives |
//! | `leadership` | which one edge does what is to be done once |
//! | `presence` | which edges there are, and what each says of itself |
//! | `past` | what is kept of entries that were trimmed |
//! | `upkeep` | snapshots, trimming and sweeping, by the leader |
//! | `handle` | all of it for threads that wait |
//!
//! What the bytes of an entry mean is `control`'s. Nothing here changes a store.
#![forbid(unsafe_code)]

mod clock;
mod credentials;
mod engine;
mod follower;
mod founding;
mod handle;
mod leadership;
mod lease;
pub mod limits;
mod log;
mod names;
mod past;
mod presence;
mod reading;
mod record;
mod snapshot;
mod upkeep;
mod watched;

pub use self::clock::Moment;
pub use self::credentials::{Credentials, CredentialsError, Input};
pub use self::engine::{Engine, EngineError, Member, Settings};
pub use self::follower::{Follower, Standing, State, Stuck, Take, Taken};
pub use self::founding::{FleetRecord, Founding};
pub use self::handle::{Candidacy, Fleet, Following, Presence, StartError};
pub use self::leadership::{Candidate, Leadership, Mandate};
pub use self::log::{AppendError, Log, LogError};
pub use self::names::{FleetName, NameError};
pub use self::past::Past;
pub use self::presence::{Announcement, Announcer, EdgeSeen, PresenceState};
pub use self::reading::{Page, Turn};
pub use self::record::{Digest, Entry, Head, RecordError};
pub use self::snapshot::{SnapshotError, SnapshotHead};
pub use self::upkeep::{Due, Maintained, Upkeep};
