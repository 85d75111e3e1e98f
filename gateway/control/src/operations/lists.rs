//! Lists that rules refer to as `$name`: addresses, host names, AS numbers.
//!
//! Owns their records and items. What an item may be is decided by [`rules`]; a list that
//! a rule still names cannot be removed.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::change::Control;
use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::limits::{DESCRIPTION_BYTES_MAX, LIST_ITEMS_MAX, LISTS_MAX};
use crate::model::Model;
use crate::model::id::Id;
use crate::model::moment::Moment;
use rules::{List, ListError, Lists, is_list_name};

/// What a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListKind {
    /// Addresses and networks.
    Ip,
    /// Host names, exact or wildcards.
    Hostname,
    /// AS numbers.
    Asn,
}

/// One item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListItem {
    /// Its id.
    pub id: Id,
    /// As it was written.
    pub value: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// When it was made.
    pub created_on: Moment,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRecord {
    /// Its id.
    pub id: Id,
    /// As rules write it, without the `$`.
    pub name: String,
    /// What it holds.
    pub kind: ListKind,
    /// For people.
    pub description: String,
    /// In the order in which they came.
    pub items: Vec<ListItem>,
    /// When it was made.
    pub created_on: Moment,
    /// When it was last changed.
    pub modified_on: Moment,
}

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

impl ListRecord {
    /// In the form that rules look things up in.
    ///
    /// # Errors
    /// An item is not of the list's kind.
    pub(crate) fn compile(&self) -> Result<List, ListError> {
        let values = self.items.iter().map(|item| item.value.as_str());
        match self.kind {
            ListKind::Ip => List::ip(values),
            ListKind::Hostname => List::hostname(values),
            ListKind::Asn => List::asn(values),
        }
    }

    /// How many rules name it.
    #[must_use]
    pub fn references(&self, model: &Model) -> usize {
        let rules = model.rulesets.values().flat_map(|ruleset| &ruleset.rules);
        rules
            .filter(|rule| {
                let limit = rule.ratelimit.as_ref();
                let counted = limit.and_then(|limit| limit.get("counting_expression")?.as_str());
                names(&rule.expression, &self.name)
                    || counted.is_some_and(|text| names(text, &self.name))
            })
            .count()
    }
}

/// Whether an expression names `$list`. A string that happens to hold the same letters counts
/// too, which errs on the side of keeping the list.
fn names(expression: &str, list: &str) -> bool {
    expression.match_indices('$').any(|(place, _)| {
        let rest = expression.get(place + 1..).unwrap_or_default();
        rest.strip_prefix(list).is_some_and(|after| {
            !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        })
    })
}

/// All lists, for [`rules::Program::compile_with`].
pub(crate) fn compile(model: &Model) -> Result<Lists, ListError> {
    let mut lists = Lists::default();
    for record in model.lists.values() {
        lists.insert(&record.name, record.compile()?)?;
    }
    Ok(lists)
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
    list.compile()
        .map_err(|why| ChangeError::invalid("items", why.to_string()))?;
    let list = Arc::new(list);
    draft.put_list(list.clone());
    Ok(list)
}

impl Control {
    /// The list with this id.
    ///
    /// # Errors
    /// There is none.
    pub fn list(&self, id: Id) -> Result<Arc<ListRecord>, ChangeError> {
        find(&self.model(), id).cloned()
    }

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
        self.change(|draft| {
            let mut list = (**find(&draft.model, id)?).clone();
            let added = match change {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_expressions() {
        for (expression, named) in [
            ("ip.src in $office", true),
            ("ip.src in $office and ssl", true),
            ("(ip.src in $office)", true),
            ("ip.src in $offices", false),
            ("ip.src in $office_2", false),
            ("ip.src in $off", false),
            ("http.host eq \"office\"", false),
            ("", false),
        ] {
            assert_eq!(names(expression, "office"), named, "{expression}");
        }
    }
}
