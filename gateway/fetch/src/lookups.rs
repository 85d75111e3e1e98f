//! Look-ups of names by the system, on threads that do nothing else.
//!
//! The system cannot be asked without a thread that waits for it, and where no name server answers it hangs for
//! half a minute, whoever has stopped waiting. On threads that changes, files and the disk need as well those
//! would wait, and on as many as come, memory would. So: threads of their own, no more than so many; and of
//! one name one look-up, however many want to know.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot, watch};

use super::places::Places;
use crate::limits::{
    NAME_STACK, SERVER_NAMES_AT_ONCE, SERVER_NAMES_AT_ONCE_OF_ZONE, SERVER_NAMES_OWN_OF_ZONE,
    SERVER_NAMES_THREADS,
};

/// Threads that ask the system and nothing else: one for each look-up, for as long as it takes.
#[derive(Debug)]
pub(crate) struct Threads {
    places: Arc<Semaphore>,
    stack: usize,
}

impl Threads {
    /// So many at the most.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            stack: NAME_STACK,
        }
    }

    /// Asks the system. No time bounds it: the thread that asks would still be taken. Where the system has no
    /// thread left, it fails at once.
    pub(crate) async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let place = self.places.clone().acquire_owned().await;
        let place = place.map_err(io::Error::other)?;
        let name = name.to_owned();
        let (tells, told) = oneshot::channel();
        let thread = std::thread::Builder::new().name("names".into());
        let made = thread.stack_size(self.stack).spawn(move || {
            let found = (name.as_str(), 0).to_socket_addrs();
            let found = found.map(|all| all.map(|address| address.ip()).collect());
            drop(place);
            // Who asked may have gone.
            drop(tells.send(found));
        });
        made.map_err(|why| {
            let text = format!("the system has no thread left to look a name up on: {why}");
            io::Error::new(why.kind(), text)
        })?;
        told.await.map_err(io::Error::other)?
    }
}

/// What came of one, for all who wait.
type Outcome = Result<Vec<IpAddr>, (ErrorKind, Arc<str>)>;
/// `None`: nothing yet.
type Told = watch::Receiver<Option<Outcome>>;
/// A zone, and a name.
type Key = (Box<str>, Box<str>);
/// Look-ups that are not over.
type UnderWay = HashMap<Key, Told>;

/// Looks names of servers up that are asked now and then: those of CAs, responders, ACME.
pub(crate) struct Servers {
    threads: Threads,
    at_once: Places,
    under_way: Mutex<UnderWay>,
}

/// Those that an administrator has named.
static NAMED: LazyLock<Servers> = LazyLock::new(|| Servers::new(SERVER_NAMES_AT_ONCE));
/// Those that certificates of tenants name.
static OF_TENANTS: LazyLock<Servers> = LazyLock::new(|| Servers::new(SERVER_NAMES_AT_ONCE_OF_ZONE));

/// What a server's name means, or the address that it is. `zone`: whose certificate names it, when no administrator
/// does: that pays. Who stops waiting leaves nothing behind but a look-up that others may wait for.
pub(crate) async fn look_up(zone: Option<&str>, host: &str) -> io::Result<Vec<IpAddr>> {
    if let Ok(address) = host.parse() {
        return Ok(vec![address]);
    }
    let servers = if zone.is_some() { &OF_TENANTS } else { &NAMED };
    servers.look_up(zone.unwrap_or_default(), host).await
}

impl Servers {
    fn new(of_zone: usize) -> Self {
        Self {
            threads: Threads::new(SERVER_NAMES_THREADS),
            at_once: Places::new(SERVER_NAMES_AT_ONCE, SERVER_NAMES_OWN_OF_ZONE, of_zone),
            under_way: Mutex::default(),
        }
    }

    async fn look_up(&'static self, zone: &str, name: &str) -> io::Result<Vec<IpAddr>> {
        let mut told = self.begin(zone, name);
        let outcome = told.wait_for(Option::is_some).await;
        let outcome = outcome.map_err(io::Error::other)?.clone();
        let found = outcome.unwrap_or_else(|| Ok(Vec::new()));
        found.map_err(|(kind, why)| io::Error::new(kind, why.to_string()))
    }

    /// A look-up of the name: one that is under way already, or a new one.
    fn begin(&'static self, zone: &str, name: &str) -> Told {
        let key: Key = (zone.into(), name.to_ascii_lowercase().into());
        let mut under_way = self.lock();
        // One whose runtime has ended is none.
        let joined = under_way
            .get(&key)
            .filter(|told| told.has_changed().is_ok());
        if let Some(told) = joined {
            return told.clone();
        }
        let (tells, told) = watch::channel(None);
        under_way.insert(key.clone(), told.clone());
        drop(under_way);
        tokio::spawn(async move {
            let (zone, name) = &key;
            let looked_up = self.at_once.run(zone, async {
                let is_wanted = self.is_wanted(&key, &tells);
                if is_wanted {
                    Some(self.threads.look_up(name).await)
                } else {
                    None
                }
            });
            let looked_up = looked_up.await.flatten();
            self.at_once.sweep();
            let Some(found) = looked_up else { return };
            // Who comes later asks again.
            self.lock().remove(&key);
            tells.send_replace(Some(
                found.map_err(|why| (why.kind(), why.to_string().into())),
            ));
        });
        told
    }

    /// Whether anybody waits for it still; if not, it is none that others could join.
    fn is_wanted(&self, key: &Key, tells: &watch::Sender<Option<Outcome>>) -> bool {
        let mut under_way = self.lock();
        // One of them is the table's.
        let is_wanted = tells.receiver_count() > 1;
        if !is_wanted {
            under_way.remove(key);
        }
        is_wanted
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        // Each change is one call.
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
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
            for zone in [None, Some("a zone")] {
                let found = tokio::time::timeout(patience, look_up(zone, "localhost")).await;
                assert!(!found.unwrap().unwrap().is_empty());
            }
            drop(held);
            assert!(!busy.await.unwrap(), "it was there all the while");
        });
    }

    #[tokio::test]
    async fn where_no_thread_can_be_made_a_look_up_fails_and_takes_no_place() {
        let mut threads = Threads::new(1);
        // More than there are addresses.
        threads.stack = 1 << 52;
        for _ in 0..3 {
            let failed = threads.look_up("localhost").await.unwrap_err().to_string();
            assert!(failed.contains("no thread left"), "{failed}");
        }
        threads.stack = NAME_STACK;
        assert!(!threads.look_up("localhost").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn of_one_name_there_is_one_look_up_whoever_waits() {
        let servers: &Servers = Box::leak(Box::new(Servers::new(1)));
        // Nobody is polled meanwhile.
        let mut one = Box::pin(servers.look_up("a", "localhost"));
        let mut two = Box::pin(servers.look_up("a", "LOCALHOST"));
        let mut other = Box::pin(servers.look_up("b", "localhost"));
        for waiting in [&mut one, &mut two, &mut other] {
            let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
            assert!(waiting.as_mut().poll(cx).is_pending());
        }
        assert_eq!(servers.lock().len(), 2);
        // Who waits no more keeps nobody else from hearing.
        drop(one);
        assert!(!two.await.unwrap().is_empty());
        drop(other);
        while !servers.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(look_up(None, "192.0.2.1").await.unwrap().len() == 1);
    }
}
