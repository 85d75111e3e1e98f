//! The intent of a change: who makes it, and whether it is a dry run.

use std::sync::Arc;

/// With what intent changes are made. A handle of the control plane has one
/// ([`Control::acting`](crate::Control::acting)), and every change is made through a handle.
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

impl Intent {
    /// A part of the process itself, in earnest.
    #[must_use]
    pub fn of(actor: &str) -> Self {
        Self {
            actor: actor.into(),
            dry_run: false,
            tenant: false,
        }
    }
}

impl Default for Intent {
    /// The process itself, in earnest.
    fn default() -> Self {
        Self::of("postern")
    }
}
