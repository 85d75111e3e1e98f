//! Lists that rules refer to as `$name`: addresses, host names, AS numbers.
//!
//! Owns changes of lists and their items. What an item may be is decided by [`rules`]. A list that a
//! rule names cannot be removed.

use std::sync::Arc;

use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::compile;
use crate::limits::{DESCRIPTION_BYTES_MAX, LIST_ITEMS_MAX, LISTS_MAX};
use crate::model::Model;
use crate::model::id::Id;
use crate::model::list::{ListItem, ListKind, ListRecord};
use rules::is_list_name;

/// What becomes of a list's items.
#[derive(Debug, Clone)]
pub enum ItemsChange {
    /// These are added; those with a value that is there already take its place.
    Append(Vec<(String, String)>),
    /// These are all there are.
    Replace(Vec<(String, String)>),
    /// These go.
    Remove(Vec<Id>),
}

fn find(model: &Model, id: Id) -> Result<&Arc<ListRecord>, ChangeError> {
    model
        .lists
        .get(&id)
        .ok_or_else(|| ChangeError::not_found(Noun::List, id))
}

fn check_description(text: &str) -> Result<(), ChangeError> {
    if text.len() <= DESCRIPTION_BYTES_MAX {
        return Ok(());
    }
    let why = format!("it has more than {DESCRIPTION_BYTES_MAX} bytes");
    Err(ChangeError::invalid("description", why))
}

fn put(draft: &mut Draft<'_>, mut list: ListRecord) -> Result<Arc<ListRecord>, ChangeError> {
    list.modified_on = draft.now;
    compile::lists::list(&list).map_err(|why| ChangeError::invalid("items", why.to_string()))?;
    let list = Arc::new(list);
    draft.put_list(list.clone());
    Ok(list)
}

impl<A: Reads> Control<A> {
    /// The list with this id.
    ///
    /// # Errors
    /// There is none.
    pub fn list(&self, id: Id) -> Result<Arc<ListRecord>, ChangeError> {
        find(&self.model(), id).cloned()
    }
}

impl<A: Changes> Control<A> {
    /// Makes an empty list.
    ///
    /// # Errors
    /// The name is taken or cannot be written in a rule.
    pub fn create_list(
        &self,
        name: &str,
        kind: ListKind,
        description: &str,
    ) -> Result<Arc<ListRecord>, ChangeError> {
        if !is_list_name(name) {
            let why = "1 to 50 of a-z, 0-9 and `_` can name a list";
            return Err(ChangeError::invalid("name", why));
        }
        check_description(description)?;
        self.change(|draft| {
            if draft.model.lists.values().any(|list| list.name == name) {
                return Err(ChangeError::Exists {
                    noun: Noun::List,
                    key: name.into(),
                });
            }
            if draft.model.lists.len() >= LISTS_MAX {
                return Err(ChangeError::Full {
                    what: "lists",
                    max: LISTS_MAX,
                });
            }
            let list = ListRecord {
                id: Id::random(),
                name: name.into(),
                kind,
                description: description.into(),
                items: Vec::new(),
                created_on: draft.now,
                modified_on: draft.now,
            };
            put(draft, list)
        })
    }

    /// Changes a list's description.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn describe_list(&self, id: Id, text: &str) -> Result<Arc<ListRecord>, ChangeError> {
        check_description(text)?;
        self.change(|draft| {
            let mut list = (**find(&draft.model, id)?).clone();
            list.description = text.into();
            put(draft, list)
        })
    }

    /// Removes a list.
    ///
    /// # Errors
    /// A rule names it.
    pub fn delete_list(&self, id: Id) -> Result<(), ChangeError> {
        self.change(|draft| {
            let list = find(&draft.model, id)?.clone();
            let count = list.references(&draft.model);
            if count > 0 {
                let by = format!("{count} rules name it; change them first");
                return Err(ChangeError::InUse {
                    noun: Noun::List,
                    key: list.name.clone(),
                    by,
                });
            }
            draft.remove_list(&list);
            Ok(())
        })
    }

    /// Changes a list's items, all together or none.
    ///
    /// # Errors
    /// An item is not of the list's kind, or they are too many.
    pub fn change_items(
        &self,
        id: Id,
        change: ItemsChange,
    ) -> Result<Arc<ListRecord>, ChangeError> {
        self.change_items_by(id, |_| Ok(change))
    }

    /// As [`Control::change_items`], with a change that is read by the list's kind.
    ///
    /// # Errors
    /// As there, and what `change` answers.
    pub fn change_items_by(
        &self,
        id: Id,
        change: impl FnOnce(ListKind) -> Result<ItemsChange, ChangeError> + Clone,
    ) -> Result<Arc<ListRecord>, ChangeError> {
        self.change(|draft| {
            let mut list = (**find(&draft.model, id)?).clone();
            let added = match change(list.kind)? {
                ItemsChange::Append(items) => items,
                ItemsChange::Replace(items) => {
                    list.items.clear();
                    items
                }
                ItemsChange::Remove(ids) => {
                    for id in &ids {
                        if !list.items.iter().any(|item| item.id == *id) {
                            return Err(ChangeError::not_found(Noun::ListItem, id));
                        }
                    }
                    let gone: std::collections::HashSet<Id> = ids.into_iter().collect();
                    list.items.retain(|item| !gone.contains(&item.id));
                    Vec::new()
                }
            };
            let replaced: std::collections::HashSet<&str> =
                added.iter().map(|(value, _)| value.as_str()).collect();
            list.items
                .retain(|item| !replaced.contains(item.value.as_str()));
            let mut seen = std::collections::HashSet::new();
            for (value, comment) in &added {
                if comment.len() > DESCRIPTION_BYTES_MAX {
                    let why = format!("it has more than {DESCRIPTION_BYTES_MAX} bytes");
                    return Err(ChangeError::invalid("comment", why));
                }
                if seen.insert(value.as_str()) {
                    list.items.push(ListItem {
                        id: Id::random(),
                        value: value.clone(),
                        comment: comment.clone(),
                        created_on: draft.now,
                    });
                }
            }
            if list.items.len() > LIST_ITEMS_MAX {
                return Err(ChangeError::Full {
                    what: "items of a list",
                    max: LIST_ITEMS_MAX,
                });
            }
            put(draft, list)
        })
    }
}
