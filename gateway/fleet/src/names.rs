//! The name of a fleet, and where in etcd its keys are.
//!
//! All keys of a fleet begin with `/postern/NAME/`, so that etcd's roles can give a fleet its own and
//! nothing else.

use std::fmt;
use std::str::FromStr;

use crate::limits::NAME_BYTES_MAX;

/// The name of a fleet: small letters, digits and hyphens, as a label of DNS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FleetName(Box<str>);

/// Why a text is no name of a fleet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot be the name of a fleet: small letters, digits and hyphens in between, 1 to \
     {NAME_BYTES_MAX} of them"
)]
pub struct NameError(String);

impl FromStr for FleetName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let is_of_it = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_inside = !text.starts_with('-') && !text.ends_with('-');
        if (1..=NAME_BYTES_MAX).contains(&text.len()) && is_inside && text.chars().all(is_of_it) {
            Ok(Self(text.into()))
        } else {
            Err(NameError(text.chars().take(2 * NAME_BYTES_MAX).collect()))
        }
    }
}

impl fmt::Display for FleetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The keys of one fleet.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
}

impl Names {
    pub(crate) fn of(fleet: &FleetName) -> Self {
        Self {
            prefix: format!("/postern/{fleet}/"),
        }
    }

    /// What all keys of the fleet begin with.
    #[cfg(test)]
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What the fleet is.
    pub(crate) fn record(&self) -> String {
        format!("{}fleet", self.prefix)
    }

    /// Which edge does what one is to do.
    pub(crate) fn leader(&self) -> String {
        format!("{}leader", self.prefix)
    }

    /// Which snapshot there is.
    pub(crate) fn snapshot(&self) -> String {
        format!("{}snapshot", self.prefix)
    }

    /// What all parts of all snapshots begin with.
    pub(crate) fn snapshots(&self) -> String {
        format!("{}snapshot-part/", self.prefix)
    }

    /// What the parts of one snapshot begin with.
    pub(crate) fn snapshot_parts(&self, id: &str) -> String {
        format!("{}snapshot-part/{id}/", self.prefix)
    }

    /// A part of a snapshot.
    pub(crate) fn snapshot_part(&self, id: &str, number: u64) -> String {
        format!("{}snapshot-part/{id}/{number:06}", self.prefix)
    }

    /// The id of the snapshot that a part belongs to.
    pub(crate) fn snapshot_owner<'k>(&self, key: &'k [u8]) -> Option<&'k str> {
        let rest = std::str::from_utf8(key).ok()?;
        let (id, _number) = rest.strip_prefix(&self.snapshots())?.split_once('/')?;
        Some(id)
    }

    /// Is there while a snapshot is being written.
    pub(crate) fn snapshot_writer(&self, id: &str) -> String {
        format!("{}snapshot-writer/{id}", self.prefix)
    }

    /// What all edges' records begin with.
    pub(crate) fn edges(&self) -> String {
        format!("{}edges/", self.prefix)
    }

    /// What an edge says of itself.
    pub(crate) fn edge(&self, name: &str) -> String {
        format!("{}edges/{name}", self.prefix)
    }

    /// What the marks of all living edges begin with.
    pub(crate) fn living(&self) -> String {
        format!("{}alive/", self.prefix)
    }

    /// Is there while an edge lives.
    pub(crate) fn alive(&self, name: &str) -> String {
        format!("{}alive/{name}", self.prefix)
    }

    /// The head of the log.
    pub(crate) fn head(&self) -> String {
        format!("{}head", self.prefix)
    }

    /// What all entries begin with.
    pub(crate) fn entries(&self) -> String {
        format!("{}log/", self.prefix)
    }

    /// An entry. In the order of their keys, entries are in the order of their revisions.
    pub(crate) fn entry(&self, revision: u64) -> String {
        format!("{}log/{revision:020}", self.prefix)
    }

    /// Behind the last entry that there can be.
    pub(crate) fn entries_end(&self) -> String {
        // '0' follows '/'.
        format!("{}log0", self.prefix)
    }

    /// The revision of an entry's key.
    pub(crate) fn revision(&self, key: &[u8]) -> Option<u64> {
        let rest = key.strip_prefix(self.entries().as_bytes())?;
        std::str::from_utf8(rest).ok()?.parse().ok()
    }

    /// Which edge others let go first with its next change.
    pub(crate) fn turn(&self) -> String {
        format!("{}turn", self.prefix)
    }

    /// What is kept of entries that were trimmed.
    pub(crate) fn pasts(&self) -> String {
        format!("{}past/", self.prefix)
    }

    /// What is kept of entries that were trimmed, from this revision on.
    pub(crate) fn past(&self, first: u64) -> String {
        format!("{}past/{first:020}", self.prefix)
    }

    /// The first revision that such a key is for.
    pub(crate) fn past_first(&self, key: &[u8]) -> Option<u64> {
        let rest = std::str::from_utf8(key).ok()?;
        let first = rest.strip_prefix(&self.prefix)?.strip_prefix("past/")?;
        first.parse().ok()
    }

    /// What all parts of all entries begin with.
    pub(crate) fn parts(&self) -> String {
        format!("{}part/", self.prefix)
    }

    /// What the parts of the entries of one revision begin with.
    pub(crate) fn parts_at(&self, revision: u64) -> String {
        format!("{}part/{revision:020}/", self.prefix)
    }

    /// What the parts of one entry begin with.
    pub(crate) fn parts_of(&self, revision: u64, id: &str) -> String {
        format!("{}part/{revision:020}/{id}/", self.prefix)
    }

    /// A part of an entry that is too large for one value.
    pub(crate) fn part(&self, revision: u64, id: &str, number: usize) -> String {
        format!("{}part/{revision:020}/{id}/{number:06}", self.prefix)
    }

    /// Revision and id of the entry that a part belongs to.
    pub(crate) fn owner<'k>(&self, key: &'k [u8]) -> Option<(u64, &'k str)> {
        let rest = std::str::from_utf8(key).ok()?.strip_prefix(&self.parts())?;
        let (revision, rest) = rest.split_once('/')?;
        let (id, _number) = rest.split_once('/')?;
        Some((revision.parse().ok()?, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for good in ["a", "edge-1", "9", &"a".repeat(NAME_BYTES_MAX)] {
            assert_eq!(good.parse::<FleetName>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "-a",
            "a-",
            "A",
            "a/b",
            "a.b",
            "ä",
            &"a".repeat(NAME_BYTES_MAX + 1),
        ] {
            assert!(bad.parse::<FleetName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_sort_as_revisions_do() {
        let names = Names::of(&"x".parse().unwrap());
        let revisions = [0, 9, 10, 99_999, u64::MAX];
        let keys = revisions.map(|revision| names.entry(revision));
        assert!(keys.is_sorted());
        for (key, revision) in keys.iter().zip(revisions) {
            assert_eq!(names.revision(key.as_bytes()), Some(revision));
            assert!(*key < names.entries_end());
            assert!(key.starts_with(&names.entries()));
        }
        assert_eq!(names.revision(names.head().as_bytes()), None);
        assert_eq!(names.past_first(names.past(7).as_bytes()), Some(7));
        assert_eq!(names.past_first(names.entry(7).as_bytes()), None);
        let part = names.part(7, "id", 3);
        assert_eq!(names.owner(part.as_bytes()), Some((7, "id")));
        assert!(part.starts_with(&names.parts_of(7, "id")));
        assert!(names.parts_of(7, "id").starts_with(&names.parts_at(7)));
    }

    #[test]
    fn no_kind_of_key_is_within_another() {
        let names = Names::of(&"x".parse().unwrap());
        let kinds = [
            names.head(),
            names.record(),
            names.leader(),
            names.snapshot(),
            names.entries(),
            names.parts(),
            names.snapshots(),
            names.snapshot_writer(""),
            names.past(0),
            names.turn(),
            names.edges(),
            names.living(),
        ];
        for (index, kind) in kinds.iter().enumerate() {
            assert!(kind.starts_with(names.prefix()));
            let is_prefix = |(at, other): (usize, &String)| at != index && other.starts_with(kind);
            // A key alone may begin as a prefix does: only prefixes are asked for as such.
            if kind.ends_with('/') {
                assert!(!kinds.iter().enumerate().any(is_prefix), "{kind}");
            }
        }
        let part = names.snapshot_part("id", 3);
        assert_eq!(names.snapshot_owner(part.as_bytes()), Some("id"));
        assert_eq!(names.snapshot_owner(names.snapshot().as_bytes()), None);
        assert!(part.starts_with(&names.snapshot_parts("id")));
    }
}
