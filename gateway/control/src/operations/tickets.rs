//! The keys of session tickets, which are the fleet's: a client resumes at any edge. Sealed, as every key in
//! the store. Does not know their form: that is `tls`'s.

use crate::change::Changes;
use crate::change::control::Control;
use crate::change::error::ChangeError;
use crate::model::secret::Secret;
use crate::store::Table;
use crate::store::keys::{TICKET_KEYS, encode};

const PURPOSE: &str = "tickets";

impl Control {
    /// The keys, when the store has some that this edge can open.
    #[must_use]
    pub fn ticket_keys(&self) -> Option<Secret> {
        let model = self.model();
        let sealed = model.ticket_keys.as_ref()?;
        self.shared.seal.open_sealed(PURPOSE, sealed).ok()
    }
}

impl<A: Changes> Control<A> {
    /// Has all edges use these keys.
    ///
    /// # Errors
    /// The change cannot be made.
    pub fn set_ticket_keys(&self, keys: &[u8]) -> Result<(), ChangeError> {
        self.change(|draft| {
            let sealed = draft.seal().seal(PURPOSE, keys)?;
            draft.write(Table::Meta, TICKET_KEYS.to_vec(), Some(encode(&sealed)));
            draft.model.ticket_keys = Some(std::sync::Arc::new(sealed));
            Ok(())
        })
    }
}
