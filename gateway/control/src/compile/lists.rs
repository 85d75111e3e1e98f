//! Compiles lists to the form in which rules look values up.

use crate::model::Model;
use crate::model::list::{ListKind, ListRecord};
use rules::{List, ListError, Lists};

/// All lists, for [`rules::Program::compile_with`].
pub(crate) fn compile(model: &Model) -> Result<Lists, ListError> {
    let mut lists = Lists::default();
    for record in model.lists.values() {
        lists.insert(&record.name, list(record)?)?;
    }
    Ok(lists)
}

/// One list.
///
/// # Errors
/// An item is not of the list's kind.
pub(crate) fn list(record: &ListRecord) -> Result<List, ListError> {
    let values = record.items.iter().map(|item| item.value.as_str());
    match record.kind {
        ListKind::Ip => List::ip(values),
        ListKind::Hostname => List::hostname(values),
        ListKind::Asn => List::asn(values),
    }
}
