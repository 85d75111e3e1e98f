//! Look-ups of names by the system, on threads that do nothing else.
//!
//! The system cannot be asked without a thread that waits for it, and where no name server answers it hangs for
//! half a minute, whoever has stopped waiting. On threads that changes, files and the disk need as well those
//! would wait, and on as many as come, memory would. So: threads of their own, no more than so many; and of
//! one name one look-up, however many want to know.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::OnceLock;

use tokio::runtime::Runtime;

/// Threads that ask the system and nothing else, made when they are wanted.
#[derive(Debug)]
pub(crate) struct Threads {
    most: usize,
    made: OnceLock<Runtime>,
}

impl Threads {
    /// So many at the most.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            made: OnceLock::new(),
        }
    }

    /// Asks the system. No time bounds it: the thread that asks would still be taken.
    pub(crate) async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let name = name.to_owned();
        let asking = self.get()?.spawn_blocking(move || {
            let found = (name.as_str(), 0).to_socket_addrs()?;
            io::Result::Ok(found.map(|address| address.ip()).collect())
        });
        asking.await.map_err(io::Error::other)?
    }

    fn get(&self) -> io::Result<&Runtime> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        // It is never driven: all that there is of it is its threads.
        let made = tokio::runtime::Builder::new_current_thread()
            .thread_name("names")
            .max_blocking_threads(self.most)
            .build()?;
        if let Err(second) = self.made.set(made) {
            second.shutdown_background();
        }
        self.made.get().ok_or_else(|| ErrorKind::Other.into())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(made) = self.made.take() {
            // Nobody waits for those that hang.
            made.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_are_asked_for_on_threads_of_their_own() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let (held, holding) = std::sync::mpsc::channel::<()>();
        runtime.block_on(async {
            // Whatever else is waited for, of which there is too much.
            let busy = tokio::task::spawn_blocking(move || holding.recv().is_ok());
            let patience = Duration::from_secs(30);
            let threads = Threads::new(2);
            let found = tokio::time::timeout(patience, threads.look_up("localhost")).await;
            assert!(!found.unwrap().unwrap().is_empty());
            drop(held);
            assert!(!busy.await.unwrap(), "it was there all the while");
        });
    }
}
