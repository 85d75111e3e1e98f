//! Fixtures for the tests, benchmarks and fuzz targets of several crates.
//!
//! Compiled always and documented nowhere: a feature would compile everything above this crate
//! twice, and the linker leaves out of the gateway what nothing there calls.

#[expect(clippy::unwrap_used, reason = "a test's own values")]
pub mod client_hello;
#[expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test's own values"
)]
pub mod database;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod oracle;
#[expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test's own values"
)]
pub mod random;
#[expect(clippy::unwrap_used, reason = "a test's own values")]
pub mod world;
