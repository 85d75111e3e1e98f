//! The log, and all that stands beside it, in a real etcd of one member and of three.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that is surprised has failed"
)]

mod cluster;
mod credentials;
mod follower;
mod full;
mod handle;
mod leadership;
mod log;
mod presence;
mod relay;
mod snapshots;
mod split;
