//! A batch: many operations as one transaction, one revision, one snapshot, one audit entry.
//!
//! Operations run on a shadow of the control plane. Owns the shadow: its store overlays what was
//! written so far on what is stored, and its model moves with every step. Validates nothing: the
//! operations do. Compiles nothing: [`Control::change`] does, once.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::change::collected::Collected;
use crate::change::control::{Shared, Writer};
use crate::change::draft::Draft;
use crate::change::error::ChangeError;
use crate::change::intent::Intent;
use crate::change::{Changes, Control};
use crate::compile::Parts;
use crate::store::{Look, Store, StoreError, Table, Visit, Write};

type Layer = HashMap<Table, BTreeMap<Vec<u8>, Option<Vec<u8>>>>;

/// A store with what the batch wrote above it.
pub(crate) struct Overlay {
    below: Arc<dyn Store>,
    layer: Mutex<Layer>,
    /// The revision that it will have, if that is another one than below.
    revision: Option<u64>,
}

impl Overlay {
    /// What `below` will be after `writes`.
    pub(crate) fn over(below: Arc<dyn Store>, writes: &[Write]) -> Self {
        let overlay = Self {
            below,
            layer: Mutex::default(),
            revision: None,
        };
        overlay.put(writes);
        overlay
    }

    /// The same at this revision.
    pub(crate) fn at(self, revision: u64) -> Self {
        Self {
            revision: Some(revision),
            ..self
        }
    }

    fn put(&self, writes: &[Write]) {
        self.with(|layer| {
            for write in writes {
                let table = layer.entry(write.table).or_default();
                table.insert(write.key.clone(), write.value.clone());
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Layer) -> T) -> T {
        work(&mut self.layer.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Store for Overlay {
    fn revision(&self) -> Result<u64, StoreError> {
        self.revision.map_or_else(|| self.below.revision(), Ok)
    }

    fn commit_as(&self, _expected: u64, _next: u64, writes: &[Write]) -> Result<(), StoreError> {
        self.put(writes);
        Ok(())
    }

    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let written =
            self.with(|layer| layer.get(&table).and_then(|table| table.get(key)).cloned());
        match written {
            Some(value) => Ok(value),
            None => self.below.value(table, key),
        }
    }

    fn scan(&self, table: Table, prefix: &[u8], visit: Visit<'_>) -> Result<(), StoreError> {
        let mut written: BTreeMap<Vec<u8>, Option<Vec<u8>>> = self.with(|layer| {
            let found = layer.get(&table).into_iter().flatten();
            let found = found.filter(|(key, _)| key.starts_with(prefix));
            found
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect()
        });
        self.below.scan(table, prefix, &mut |key, value| {
            let after = written.split_off(key);
            for (key, value) in std::mem::replace(&mut written, after) {
                if let Some(value) = value {
                    visit(&key, &value)?;
                }
            }
            match written.remove(key) {
                Some(Some(value)) => visit(key, &value),
                Some(None) => Ok(()),
                None => visit(key, value),
            }
        })?;
        for (key, value) in written {
            if let Some(value) = value {
                visit(&key, &value)?;
            }
        }
        Ok(())
    }

    fn at_once(&self, look: Look<'_>) -> Result<(), StoreError> {
        // Only whoever makes the change has it, and the writer.
        look(self)
    }

    fn backup(&self, _to: &std::path::Path) -> Result<(), StoreError> {
        Err(StoreError::Io(
            "a change in the making has no backup".into(),
        ))
    }
}

/// What makes a control plane a shadow.
pub(crate) struct Batch {
    overlay: Arc<Overlay>,
    collected: Mutex<Collected>,
}

impl Batch {
    /// One operation, on top of those before it.
    pub(crate) fn step<T>(
        &self,
        shadow: &Shared,
        intent: &Intent,
        work: impl FnOnce(&mut Draft<'_>) -> Result<T, ChangeError>,
    ) -> Result<T, ChangeError> {
        let mut draft = Draft::new(shadow, &shadow.model.load(), intent);
        let answer = work(&mut draft)?;
        let mut collected = self
            .collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut model = draft.set_aside(&mut collected);
        // The batch has one revision, whatever the number of its steps.
        model.revision -= 1;
        self.overlay
            .commit(model.revision, &std::mem::take(&mut collected.writes))?;
        shadow.model.store(Arc::new(model));
        Ok(answer)
    }
}

impl<A: Changes> Control<A> {
    /// Runs `work`, whose operations see each other's effects, and makes all of them one change.
    /// An error of any, or a snapshot that does not compile, leaves everything as it was. Client
    /// certificates are not for batches: they are numbered by an index that moves only afterwards.
    ///
    /// # Errors
    /// Whatever `work` answers, and what [`Control::change`] refuses.
    pub(crate) fn batch<T>(
        &self,
        work: impl FnOnce(&Control) -> Result<T, ChangeError> + Clone,
    ) -> Result<T, ChangeError> {
        self.change(|draft| {
            let overlay = Arc::new(Overlay::over(self.shared.store.clone(), &[]));
            let mut model = draft.model.clone();
            model.revision -= 1;
            let shared = &self.shared;
            let shadow = Shared {
                store: overlay.clone(),
                seal: shared.seal.clone(),
                model: ArcSwap::from_pointee(model),
                membership: ArcSwapOption::empty(),
                index: shared.index.clone(),
                published: shared.published.clone(),
                writer: Mutex::new(Writer {
                    parts: Parts::default(),
                    retired: Vec::new(),
                    default_host: None,
                    stale: false,
                    following: None,
                    member: None,
                }),
                geo: shared.geo.load_full().into(),
                reach: ArcSwap::new(shared.reach.load_full()),
                files_late: AtomicUsize::new(0),
                write_failures: AtomicU64::new(0),
                crl_files: shared.crl_files.clone(),
                feed: OnceLock::new(),
                batch: Some(Batch {
                    overlay,
                    collected: Mutex::default(),
                }),
            };
            let shadow = Control::of(shadow, draft.intent().clone());
            let answer = work(&shadow)?;
            let model = shadow.model();
            if let Some(batch) = &shadow.shared.batch {
                let mut collected = std::mem::take(
                    &mut *batch
                        .collected
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner),
                );
                let layer = batch.overlay.with(std::mem::take);
                for (table, entries) in layer {
                    let writes =
                        entries
                            .into_iter()
                            .map(|(key, value)| Write { table, key, value });
                    collected.writes.extend(writes);
                }
                draft.absorb(&model, collected);
            }
            Ok(answer)
        })
    }
}
