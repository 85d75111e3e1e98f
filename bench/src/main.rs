//! The `bench` binary: arguments to [`bench::cli`], its answer to the exit code.

use std::process::ExitCode;

// The gateway's own, so that what BoringSSL needs is measured as it needs it there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    bench::cli::main()
}
