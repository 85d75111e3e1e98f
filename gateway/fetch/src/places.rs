//! How much is asked at the same time, so that no zone keeps the others waiting.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

/// Places for what is under way: some of each zone's own, and some that all share.
#[derive(Debug)]
pub(crate) struct Places {
    shared: Semaphore,
    /// Of one zone: so many of its own, and so many of those that are shared.
    own_max: usize,
    shared_max: usize,
    /// Of zones that have something under way.
    zones: Mutex<HashMap<Box<str>, Arc<OfZone>>>,
}

/// What one zone may have under way.
#[derive(Debug)]
struct OfZone {
    own: Semaphore,
    shared: Semaphore,
}

impl Places {
    /// So many that are shared, and of one zone so many of its own beside so many of those.
    pub(crate) fn new(all: usize, own_max: usize, shared_max: usize) -> Self {
        Self {
            shared: Semaphore::new(all),
            own_max,
            shared_max,
            zones: Mutex::default(),
        }
    }

    /// Waits for a place of the zone's own or one of all, and does `work` in it. Nothing comes of it when
    /// the process ends.
    pub(crate) async fn run<T>(&self, zone: &str, work: impl Future<Output = T>) -> Option<T> {
        let of_zone = self.of_zone(zone);
        // First the zone's, so that who waits for that holds nothing of the others'.
        let shared = async { (of_zone.shared.acquire().await, self.shared.acquire().await) };
        let (_own, _shared) = tokio::select! {
            biased;
            own = of_zone.own.acquire() => (Some(own.ok()?), None),
            (of_zone, of_all) = shared => (None, Some((of_zone.ok()?, of_all.ok()?))),
        };
        Some(work.await)
    }

    /// Forgets zones that have nothing under way.
    pub(crate) fn sweep(&self) {
        let zones = self.zones.lock();
        let mut zones = zones.unwrap_or_else(PoisonError::into_inner);
        zones.retain(|_, places| Arc::strong_count(places) > 1);
    }

    fn of_zone(&self, zone: &str) -> Arc<OfZone> {
        let zones = self.zones.lock();
        let mut zones = zones.unwrap_or_else(PoisonError::into_inner);
        let made = || {
            Arc::new(OfZone {
                own: Semaphore::new(self.own_max),
                shared: Semaphore::new(self.shared_max),
            })
        };
        zones.entry(zone.into()).or_insert_with(made).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// What comes of it at once.
    fn at_once<T>(future: &mut Pin<Box<impl Future<Output = T>>>) -> Option<T> {
        let cx = &mut Context::from_waker(Waker::noop());
        match future.as_mut().poll(cx) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn what_never_ends_keeps_no_other_zone_waiting() {
        let places = Places::new(100, 2, 30);
        let mut hanging = Vec::new();
        for zone in 0..20 {
            for _ in 0..40 {
                let (places, zone) = (&places, format!("zone {zone}"));
                let work = async move { places.run(&zone, std::future::pending::<()>()).await };
                // Not of the budget of one task, which it would use up.
                let mut work = Box::pin(tokio::task::unconstrained(work));
                assert!(at_once(&mut work).is_none());
                hanging.push(work);
            }
        }
        assert_eq!(places.shared.available_permits(), 0);
        let work = tokio::task::unconstrained(places.run("another", async { "done" }));
        let mut work = Box::pin(work);
        assert_eq!(at_once(&mut work), Some(Some("done")));
        drop((work, hanging));
        places.sweep();
        assert!(places.zones.lock().unwrap().is_empty());
    }
}
