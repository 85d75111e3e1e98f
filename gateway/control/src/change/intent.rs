//! The intent of a change: who makes it, and whether it is a dry run.

use std::cell::RefCell;
use std::sync::Arc;

use crate::change::Control;

/// With what intent changes are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    /// Who: `unix uid 0`, `token … (ci)`.
    pub actor: Arc<str>,
    /// Validate and compile, and then leave everything as it is.
    pub dry_run: bool,
    /// It is a tenant: a token of some zones only. What it names is confined, see
    /// [`OriginSpec::confined`](crate::OriginSpec::confined).
    pub tenant: bool,
}

impl Default for Intent {
    /// The process itself, in earnest.
    fn default() -> Self {
        Self {
            actor: "postern".into(),
            dry_run: false,
            tenant: false,
        }
    }
}

thread_local! {
    /// Changes are made by synchronous calls: what a thread is doing, it does for one actor.
    static CURRENT: RefCell<Intent> = RefCell::default();
}

pub(crate) fn current() -> Intent {
    CURRENT.with_borrow(Clone::clone)
}

impl Control {
    /// Runs `work` with an intent: the changes it makes on this thread are logged under its
    /// actor, or only tried.
    pub fn with_intent<T>(&self, intent: Intent, work: impl FnOnce(&Self) -> T) -> T {
        /// Puts the last intent back even when `work` panics.
        struct Restore(Intent);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(std::mem::take(&mut self.0));
            }
        }
        let _restore = Restore(CURRENT.replace(intent));
        work(self)
    }
}
