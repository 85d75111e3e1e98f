//! One io_uring per worker, and whether this kernel has it at all.

use std::future::Future;
use std::io;

use crate::limits::{RING_COMPLETIONS, RING_SUBMISSIONS};

/// Why there is no io_uring.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// `io_uring_setup` is not allowed.
    #[error(
        "io_uring is not permitted here: check the sysctl kernel.io_uring_disabled and the seccomp profile of the container"
    )]
    Forbidden,
    /// `io_uring_setup` is not the one we need.
    #[error("this kernel's io_uring lacks what Postern needs (Linux 6.0 or newer): {0}")]
    TooOld(io::Error),
    /// There is no `io_uring_setup`: an old kernel, or a container engine that says so.
    #[error(
        "there is no io_uring here: the kernel is older than Linux 6.0, or the seccomp profile of the container hides it \
         (the image comes with one that does not: seccomp.json)"
    )]
    Missing,
    /// Anything else.
    #[error("io_uring cannot be set up: {0}")]
    Other(io::Error),
}

/// Whether rings can be made, found out by making one.
///
/// # Errors
/// See [`RingError`].
pub fn probe() -> Result<(), RingError> {
    match builder().build(8) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => RingError::Forbidden,
            Some(libc::ENOSYS) => RingError::Missing,
            Some(libc::EINVAL) => RingError::TooOld(error),
            _ => RingError::Other(error),
        }),
    }
}

/// Runs `future` on a ring of this thread's own.
pub fn run<F: Future>(future: F) -> F::Output {
    let mut ring = builder();
    ring.setup_cqsize(RING_COMPLETIONS);
    tokio_uring::builder()
        .entries(RING_SUBMISSIONS)
        .uring_builder(&ring)
        .start(future)
}

/// `coop_taskrun` and `single_issuer` halve the CPU per request; `defer_taskrun` hangs in
/// tokio-uring 0.5, because it never asks for the deferred completions.
fn builder() -> io_uring::Builder {
    let mut builder = tokio_uring::uring_builder();
    builder.setup_coop_taskrun().setup_single_issuer();
    builder
}
