//! Revocation lists in a draft: written, removed, and noted for the audit log.

use std::sync::Arc;

use crate::change::draft::Draft;
use crate::change::error::Noun;
use crate::model::id::Uuid;
use crate::pki::uploaded_crl::{self, Incoming};
use crate::store::{StoreError, Table};

impl Draft<'_> {
    /// Puts a list into its place.
    pub(crate) fn put_crl(&mut self, id: Uuid, key: Box<[u8]>, list: &Incoming) {
        let crl = &list.held.crl;
        self.write(
            Table::Crls,
            [id.as_bytes().as_slice(), &key].concat(),
            Some(list.record.clone()),
        );
        let told = serde_json::json!({
            "issuer": crl.issuer_name, "number": uploaded_crl::number(crl), "delta": crl.base.is_some(), "entries": crl.len(),
        });
        self.note(
            Noun::Authority,
            format!("{id}: revocation list"),
            None,
            Some(&told),
        );
        let crls = Arc::make_mut(&mut self.model.crls);
        crls.entry(id)
            .or_default()
            .lists
            .insert(key, list.held.clone());
        self.crl_changes(id);
    }

    /// Removes all lists of a CA.
    pub(crate) fn remove_crls(&mut self, id: Uuid) -> Result<(), StoreError> {
        if Arc::make_mut(&mut self.model.crls).remove(&id).is_some() {
            self.remove_all(Table::Crls, id.as_bytes())?;
            let told = serde_json::json!("all of them");
            let of = format!("{id}: revocation lists");
            self.note(Noun::Authority, of, Some(&told), None);
            self.crl_changes(id);
        }
        Ok(())
    }

    /// What is compiled of a CA's lists is no longer current.
    pub(crate) fn crl_changes(&mut self, id: Uuid) {
        self.trust_moves();
        let revision = self.model.revision;
        let crls = Arc::make_mut(&mut self.model.crls);
        crls.entry(id).or_default().revision = revision;
    }
}
