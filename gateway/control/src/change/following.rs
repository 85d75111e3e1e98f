//! Following: another process has the store and makes the changes, this one goes on with its
//! connections and obeys them.
//!
//! Owns the hand-over of the store, and how a change that was made elsewhere is put into force here.
//! How transactions come from one process to the other is the caller's.

use std::path::Path;
use std::sync::Arc;

use crate::change::control::Control;
use crate::change::error::{ChangeError, OpenError};
use crate::compile::{CompileError, compile};
use crate::store::orders::Orders;
use crate::store::replay::{Replayed, replay};
use crate::store::transaction::Transaction;
use crate::store::verify::restore;
use crate::store::{StoreError, StoreOpenError};

/// What those who follow are told.
#[derive(Debug)]
pub enum Fed<'t> {
    /// A change that is durable.
    Transaction(&'t Transaction),
    /// The store has a change that is not told: whoever follows has to begin anew.
    Gap,
}

/// Is told of each change, in their order, while no other is made: it may not wait.
pub type Feed = Box<dyn Fn(Fed<'_>) + Send + Sync>;

/// Why a change that was made elsewhere cannot be put into force here.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// It does not follow the last one.
    #[error("a change is missing: revision {found} came after {known}")]
    Gap {
        /// The last one that is in force here.
        known: u64,
        /// What came.
        found: u64,
    },
    /// Another change has its number here: the fleet's log is another than the one that was followed.
    #[error("the fleet's change {0} is another one than this edge has")]
    Another(u64),
    /// The store was not handed over.
    #[error("the store is this process's own")]
    NotFollowing,
    /// A record cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be served.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

impl From<FollowError> for ChangeError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Store(error) => error.into(),
            FollowError::Compile(error) => error.into(),
            FollowError::Gap { known, found } => StoreError::Moved {
                expected: known + 1,
                found,
            }
            .into(),
            FollowError::Another(found) => StoreError::Moved {
                expected: found + 1,
                found,
            }
            .into(),
            FollowError::NotFollowing => StoreError::HandedOver.into(),
        }
    }
}

impl Control {
    /// Has `feed` told of every change from now on. Only the first one counts.
    pub fn feed(&self, feed: Feed) {
        // Changes wait meanwhile, so that none is told to nobody after this returned.
        let _writer = self.shared.lock();
        drop(self.shared.feed.set(feed));
    }

    /// Lets another process have the store, and follows from then on: changes and whatever else needs
    /// the store are refused. With `backup`, the store is first copied there. Answers the revision.
    ///
    /// # Errors
    /// The store cannot be read or not be handed over; then everything is as it was.
    pub fn hand_over(&self, backup: Option<&Path>) -> Result<u64, ChangeError> {
        let shared = &self.shared;
        let mut writer = shared.own_writer()?;
        let model = shared.model.load();
        let orders = Orders::read(shared.store.as_ref(), &model)?;
        if let Some(backup) = backup {
            shared.store.backup(backup)?;
        }
        shared.store.hand_over()?;
        writer.following = Some(orders);
        Ok(model.revision)
    }

    /// Has the store again after [`Self::hand_over`], with what is in it. When the other process has
    /// brought it to a format that is not known here, `backup` takes its place: it has all that was
    /// acknowledged, since no change was made meanwhile.
    ///
    /// # Errors
    /// The store cannot be had. The data path goes on with what it has, changes are refused.
    pub fn take_back(&self, backup: Option<&Path>) -> Result<(), OpenError> {
        let shared = &self.shared;
        let mut writer = shared.lock();
        match (shared.store.take_back(), shared.store.path(), backup) {
            (Err(StoreOpenError::Format { .. }), Some(path), Some(backup)) => {
                restore(backup, path, true).map_err(|why| {
                    OpenError::Read(StoreError::Io(format!("putting the backup back: {why}")))
                })?;
                shared.store.take_back()?;
            }
            (outcome, ..) => outcome?,
        }
        writer.following = None;
        let reloaded = shared.reload(&mut writer);
        reloaded.map_err(|error| match error {
            ChangeError::Store(error) => OpenError::Read(error),
            ChangeError::Compile(error) => OpenError::Compile(error),
            other => OpenError::Read(StoreError::Io(other.to_string())),
        })
    }

    /// Puts a change into force that the process made which has the store.
    ///
    /// # Errors
    /// See [`FollowError`]: what is in force here is not what was changed, and nothing that comes later
    /// can be believed.
    pub fn follow(&self, transaction: &Transaction) -> Result<(), FollowError> {
        let shared = &self.shared;
        let mut writer = shared.lock();
        let known = shared.model.load();
        let found = transaction.revision;
        if known.revision.checked_add(1) != Some(found) {
            let known = known.revision;
            return Err(FollowError::Gap { known, found });
        }
        let orders = writer.following.as_mut().ok_or(FollowError::NotFollowing)?;
        orders.apply(&transaction.writes);
        let Replayed {
            mut model,
            data_path,
        } = replay(&known, orders, transaction)?;
        if transaction.moves_trust() {
            // Trust may have moved here alone, and a number that was there already would say nothing.
            model.trust_epoch = model.trust_epoch.max(known.trust_epoch + 1);
        }
        if data_path {
            let host = writer.default_host.as_ref();
            let (snapshot, parts) = compile(&model, host, &shared.seal, &writer.parts)?;
            shared.publish(&mut writer, snapshot, parts);
        }
        shared.model.store(Arc::new(model));
        Ok(())
    }
}
