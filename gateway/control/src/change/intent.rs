//! The intent of a change: who makes it, by what right, and whether it is a dry run.

use std::sync::Arc;

use crate::change::error::ChangeError;
use crate::model::Model;
use crate::model::id::Id;
use crate::model::moment::Moment;
use crate::model::token::{Scope, Token};

/// The right that a token gave when its request came. It is looked at again where a change is made
/// ([`Intent::check`]): the body of a request may take long to come, and the token may be gone by
/// then, or may do less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Of the token's secret.
    digest: Box<str>,
    /// What the change needs.
    scope: Scope,
    /// Where.
    zone: Option<Id>,
}

impl Grant {
    /// What a token gives to a request that needs `scope`, in `zone` or outside of any.
    #[must_use]
    pub fn of(token: &Token, scope: Scope, zone: Option<Id>) -> Self {
        Self {
            digest: token.digest.as_str().into(),
            scope,
            zone,
        }
    }
}

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
    /// The revision that who asks has seen. What others have changed since, and this would change
    /// as well, is left as it is ([`ChangeError::Changed`]). `None` for those who do not say.
    pub seen: Option<u64>,
    /// The right of a token; `None` for what needs none: the process itself, the unix socket.
    pub grant: Option<Grant>,
}

impl Intent {
    /// A part of the process itself, in earnest.
    #[must_use]
    pub fn of(actor: &str) -> Self {
        Self {
            actor: actor.into(),
            dry_run: false,
            tenant: false,
            seen: None,
            grant: None,
        }
    }

    /// Whether who asks may still do so, by what is in the model now.
    pub(crate) fn check(&self, model: &Model, now: Moment) -> Result<(), ChangeError> {
        let Some(grant) = &self.grant else {
            return Ok(());
        };
        let holds = model.tokens.get(&*grant.digest).is_some_and(|token| {
            token.expires > now.seconds()
                && token.allows(grant.scope, grant.zone)
                // One that was narrowed to zones is confined as every tenant is.
                && (self.tenant || token.zones.is_empty())
        });
        if holds {
            return Ok(());
        }
        Err(ChangeError::Denied)
    }
}

impl Default for Intent {
    /// The process itself, in earnest.
    fn default() -> Self {
        Self::of("postern")
    }
}
