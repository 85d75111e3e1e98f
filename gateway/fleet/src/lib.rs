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
//! | `log` | reading the log, and adding to it |
//! | `follower` | an edge that takes entry after entry, whatever becomes of etcd meanwhile |
//!
//! What the bytes of an entry mean is `control`'s. Nothing here changes a store.
#![forbid(unsafe_code)]

mod engine;
mod follower;
pub mod limits;
mod log;
mod names;
mod record;

pub use self::engine::{Engine, EngineError, Member, Settings};
pub use self::follower::{Follower, State, Take, Taken};
pub use self::log::{AppendError, Log, LogError, Page};
pub use self::names::{FleetName, NameError};
pub use self::record::{Digest, Entry, Head, RecordError};
