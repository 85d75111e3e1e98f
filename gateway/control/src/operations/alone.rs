//! Revocations and denials that hold on this edge alone, because the fleet could not be asked. They are kept
//! in this edge's store, are marked, and become changes of the fleet when it can be asked again.
//!
//! Nothing else is done alone: whom an edge stops to believe too early can be mended, anything else that
//! only one edge knows would have to be judged again later.

use std::sync::Arc;

use crate::change::control::{Control, Shared, Writer};
use crate::change::draft::Draft;
use crate::change::error::ChangeError;
use crate::change::following::Fed;
use crate::change::intent::Intent;
use crate::change::{Changes, Reads};
use crate::compile::compile;
use crate::limits::ALONE_MAX;
use crate::model::alone::{Alone, AloneEntry, AloneWhat};
use crate::model::hex::{hex, unhex_any};
use crate::model::id::{Id, Uuid};
use crate::model::revocation_reason::RevocationReason;
use crate::operations::denied::{Deny, meant_by};
use crate::store::{StoreError, alone};

impl Shared {
    /// Puts more entries into force, and keeps them.
    fn hold_alone(
        &self,
        writer: &mut Writer,
        more: Vec<AloneEntry>,
    ) -> Result<Vec<AloneEntry>, ChangeError> {
        let known = self.model.load();
        let mut entries = known.alone.entries.clone();
        for entry in &more {
            if !entries.iter().any(|known| known.what.is_same(&entry.what)) {
                entries.push(entry.clone());
            }
        }
        if entries.len() > ALONE_MAX {
            return Err(ChangeError::Full {
                what: "certificates that are not believed on one edge alone",
                max: ALONE_MAX,
            });
        }
        let mut model = (**known).clone();
        model.alone = Arc::new(known.alone.with(entries));
        // Every connection is judged again.
        model.trust_epoch += 1;
        let host = writer.default_host.as_ref();
        let (snapshot, parts) = compile(&model, host, &self.seal, &writer.parts)?;
        self.write_own(&[alone::write(&model.alone)])?;
        // A replaced process cannot be told of it, and ends its connections.
        self.feed(Fed::Gap);
        self.publish(writer, snapshot, parts);
        self.model.store(Arc::new(model));
        Ok(more)
    }

    /// Lets go of an entry that the fleet has.
    fn let_go(&self, gone: &AloneEntry) -> Result<(), StoreError> {
        let _writer = self.lock();
        let known = self.model.load();
        let mut entries = known.alone.entries.clone();
        entries.retain(|entry| entry != gone);
        let mut model = (**known).clone();
        model.alone = Arc::new(known.alone.with(entries));
        self.write_own(&[alone::write(&model.alone)])?;
        // What is compiled still has it, beside the same from the fleet.
        self.model.store(Arc::new(model));
        Ok(())
    }
}

impl<A: Changes> Control<A> {
    /// Makes one change on this edge alone; `what` finds out what it is.
    fn alone(
        &self,
        what: impl FnOnce(&Draft<'_>) -> Result<Vec<AloneWhat>, ChangeError>,
    ) -> Result<Vec<AloneEntry>, ChangeError> {
        let (shared, intent) = (&self.shared, self.intent());
        let mut writer = shared.own_writer()?;
        if writer.member.is_none() {
            return Err(ChangeError::invalid(
                "local",
                "this gateway is in no fleet, and all that it does is local: leave it out",
            ));
        }
        let draft = Draft::new(shared, &shared.model.load(), intent);
        intent.check(&draft.model, draft.now)?;
        let entry = |what| AloneEntry {
            at: draft.now,
            actor: intent.actor.to_string(),
            what,
        };
        let more: Vec<AloneEntry> = what(&draft)?.into_iter().map(entry).collect();
        if intent.dry_run {
            return Ok(more);
        }
        shared.hold_alone(&mut writer, more)
    }

    /// Revokes a client certificate on this edge alone, and in the fleet when that can be asked again.
    ///
    /// # Errors
    /// The zone has none of this id, or this gateway is in no fleet.
    pub fn revoke_alone(
        &self,
        zone: Id,
        certificate: Uuid,
        reason: RevocationReason,
    ) -> Result<Vec<AloneEntry>, ChangeError> {
        self.alone(|draft| {
            let (authority, serial) =
                draft
                    .shared()
                    .authority_and_serial(&draft.model, zone, certificate)?;
            Ok(vec![AloneWhat::Revoked {
                zone,
                certificate,
                authority,
                serial: hex(&serial),
                reason,
            }])
        })
    }

    /// Denies a certificate on this edge alone, and in the fleet when that can be asked again.
    ///
    /// # Errors
    /// There is no such CA, what is meant cannot be read, or this gateway is in no fleet.
    pub fn deny_alone(&self, id: Uuid, deny: &Deny) -> Result<Vec<AloneEntry>, ChangeError> {
        self.alone(|draft| {
            let denied = meant_by(&draft.model, id, deny, draft.now)?;
            let denied = denied.into_iter().map(|denied| AloneWhat::Denied {
                authority: id,
                denied,
            });
            Ok(denied.collect())
        })
    }
}

impl<A: Reads> Control<A> {
    /// What holds on this edge alone.
    #[must_use]
    pub fn held_alone(&self) -> Arc<Alone> {
        self.model().alone.clone()
    }
}

/// Makes changes of the fleet of all that holds here alone. Answers how many.
///
/// # Errors
/// The fleet cannot be asked; what is left is tried again.
pub(crate) fn merge(control: &Control) -> Result<usize, ChangeError> {
    let (mut merged, mut failed) = (0, None);
    for entry in &control.held_alone().entries {
        let actor = format!("{} (alone on one edge since {})", entry.actor, entry.at);
        let control_of = control.acting(Intent::of(&actor));
        let done = match &entry.what {
            AloneWhat::Revoked {
                zone,
                certificate,
                authority,
                serial,
                reason,
            } => {
                let bytes = unhex_any(serial);
                let bytes = bytes.ok_or_else(|| ChangeError::invalid("serial", "it is not in hex"));
                bytes.and_then(|serial| {
                    control_of.revoke_again(*zone, *certificate, *authority, &serial, *reason)
                })
            }
            AloneWhat::Denied { authority, denied } => control_of.deny_again(*authority, denied),
        };
        match done {
            Ok(()) => {}
            // Then nobody is believed whom it has signed.
            Err(ChangeError::NotFound { noun, key }) => {
                tracing::warn!(%noun, key, "the CA of what was denied on this edge alone is gone from the fleet");
            }
            // Nobody can be asked now; the others would wait for nothing.
            Err(error @ ChangeError::Store(_)) => return Err(error),
            Err(error) => {
                failed = Some(error);
                continue;
            }
        }
        control.shared.let_go(entry)?;
        merged += 1;
    }
    match failed {
        Some(error) if merged == 0 => Err(error),
        _ => Ok(merged),
    }
}

impl Control {
    /// Makes changes of the fleet of all that holds here alone. Answers how many.
    ///
    /// # Errors
    /// The fleet cannot be asked; what is left is tried again.
    pub fn merge_alone(&self) -> Result<usize, ChangeError> {
        merge(self)
    }
}
