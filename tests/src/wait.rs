//! Waiting for what will come, without guessing how long it takes.

use std::time::{Duration, Instant};

/// How long a test waits before it says that something will not come. Generous: a busy machine
/// with a slow disk is no failure.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` finds something.
///
/// # Panics
/// Nothing came.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {} s for {what}",
            PATIENCE.as_secs()
        );
        std::thread::sleep(PAUSE);
    }
}

/// Waits for a future, but not for ever.
///
/// # Panics
/// It took too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {} s for {what}", PATIENCE.as_secs()),
    }
}
