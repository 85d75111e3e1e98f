//! Which connections to origins may go on: a flag for all that lead to the same place.
//!
//! Owns that equal origins, whose connections are shared, have the same flag in every snapshot for as
//! long as one of them is there. Closes nothing: who keeps connections looks at the flag.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use snapshot::http::origin::Origin;
use snapshot::origins::OriginGroup;

/// The flags that are there, by the keys of connections and the addresses that these lead to: a name
/// that means another fallback is the same address to people, and not to a connection.
#[derive(Default)]
pub(crate) struct Standing(Mutex<HashMap<u64, Vec<Flag>>>);

type Flag = (Box<[SocketAddr]>, Weak<AtomicBool>);

impl Standing {
    /// The flag of an origin's connections.
    pub(super) fn of(&self, origin: &Origin) -> Arc<AtomicBool> {
        let mut all = self.lock();
        let flags = all.entry(origin.key).or_default();
        let standing = |flag: &Weak<AtomicBool>| {
            let flag = flag.upgrade();
            flag.filter(|flag| !flag.load(Ordering::Relaxed))
        };
        flags.retain(|(_, flag)| standing(flag).is_some());
        let mut same = flags.iter().filter(|(to, _)| **to == *origin.addresses);
        if let Some(found) = same.find_map(|(_, flag)| standing(flag)) {
            return found;
        }
        let made = Arc::default();
        flags.push((origin.addresses.as_slice().into(), Arc::downgrade(&made)));
        made
    }

    /// Tells who keeps connections to what `before` had and nobody has now to let go of them.
    pub(crate) fn retire<'g>(
        &self,
        before: impl Iterator<Item = &'g Arc<OriginGroup>>,
        now: impl Iterator<Item = &'g Arc<OriginGroup>>,
    ) {
        let left: Vec<_> = before.flat_map(|group| flags_of(group)).collect();
        if left.is_empty() {
            return;
        }
        let there: HashSet<_> = now
            .flat_map(|group| flags_of(group))
            .map(Arc::as_ptr)
            .collect();
        for flag in left {
            if !there.contains(&Arc::as_ptr(flag)) {
                flag.store(true, Ordering::Relaxed);
            }
        }
        self.lock().retain(|_, flags| {
            flags.retain(|(_, flag)| flag.strong_count() > 0);
            !flags.is_empty()
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Flag>>> {
        // A panic elsewhere leaves a flag too many at most.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn flags_of(group: &OriginGroup) -> impl Iterator<Item = &Arc<AtomicBool>> {
    group.addresses.iter().map(|one| &one.origin.gone)
}
