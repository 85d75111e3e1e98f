//! The index of a set of rules, and its builder.
//!
//! Terms that ask the same questions form a group. A group has a column for each question: a map
//! from key to the set of terms that the key satisfies. Its candidates are the intersection of its
//! columns. Conditions that no column covers are residual: they are evaluated by walking their
//! tree, once per decision at most, when a candidate needs them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::RandomState;

use super::costly::is_costly;
use super::normal::{Literal, terms};
use super::subject::{Class, Subject, question};
use super::table::{Key, Table};
use super::vector::{Arena, Vector};
use crate::limits;
use crate::syntax::ast::Condition;
use crate::syntax::field::Lifetime;

/// A rule by its position in what the index was built from.
pub(super) type Local = u32;

/// Rules that can be asked for what matches.
#[derive(Debug)]
pub(super) struct Index {
    /// Tells indexes apart, for what connections remember.
    pub(super) identity: u64,
    pub(super) subjects: Vec<IndexedSubject>,
    pub(super) tables: Vec<Table>,
    /// By key: where its entries start; one more than keys.
    key_starts: Vec<u32>,
    entries: Vec<ColumnEntry>,
    pub(super) arena: Arena,
    /// Ascending by first rule, those that end the evaluation before those that report.
    pub(super) groups: Vec<Group>,
    pub(super) columns: usize,
    pub(super) atoms: Vec<Atom>,
}

/// A condition that is evaluated by walking its tree.
#[derive(Debug)]
pub(super) struct Atom {
    pub(super) condition: Condition,
    pub(super) is_costly: bool,
}

/// A subject and its tables.
#[derive(Debug)]
pub(super) struct IndexedSubject {
    pub(super) subject: Subject,
    pub(super) lifetime: Lifetime,
    is_costly: bool,
    pub(super) tables: Vec<u32>,
}

/// What a key means for one column.
#[derive(Debug, Clone, Copy)]
pub(super) struct ColumnEntry {
    pub(super) column: u32,
    pub(super) vector: Vector,
}

/// Terms of one form.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Whether its rules report and do not end the evaluation.
    pub(super) reports: bool,
    /// Whether some of its terms ask what may cost more than all others.
    is_costly: bool,
    /// By term: its rule, ascending; a rule may have several terms.
    pub(super) rules: Vec<Local>,
    pub(super) columns: Vec<Column>,
    /// By term: where its residual literals start; empty when no term has any.
    residual_starts: Vec<u32>,
    /// Twice the atom's number, one more when it must not hold; of a term the costly ones last.
    residual: Vec<u32>,
}

/// One question that every term of a group asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    /// Unique in the index.
    pub(super) slot: u32,
    pub(super) subject: u32,
    /// The terms in the key's vectors are those that do not hold.
    pub(super) negative: bool,
    pub(super) lifetime: Lifetime,
    /// Its subject is looked up only when some term satisfies all that are not.
    pub(super) is_costly: bool,
    class: Class,
}

impl Index {
    /// The entries of a key.
    pub(super) fn entries_of(&self, key: Key) -> impl Iterator<Item = u32> {
        let at = key as usize;
        let start = self.key_starts.get(at).copied().unwrap_or_default();
        let end = self.key_starts.get(at + 1).copied().unwrap_or(start);
        start..end
    }

    /// Keys in it.
    pub(super) fn keys(&self) -> usize {
        self.key_starts.len().saturating_sub(1)
    }

    /// An entry by its number.
    pub(super) fn entry(&self, number: u32) -> Option<ColumnEntry> {
        self.entries.get(number as usize).copied()
    }

    /// Bytes of the vectors and their entries, for figures.
    pub(super) fn vector_bytes(&self) -> usize {
        self.arena.bytes()
            + self.entries.capacity() * size_of::<ColumnEntry>()
            + self.key_starts.capacity() * 4
    }
}

impl Group {
    /// The residual literals of a term.
    pub(super) fn residual(&self, term: u32) -> &[u32] {
        let at = term as usize;
        let start = self.residual_starts.get(at).copied().unwrap_or_default() as usize;
        let end = self
            .residual_starts
            .get(at + 1)
            .copied()
            .unwrap_or_default() as usize;
        self.residual.get(start..end).unwrap_or_default()
    }
}

/// One column of a signature: which table, and whether its keys must not be there.
type Spec = (u32, bool);

/// An index that is being built.
#[derive(Default)]
pub(super) struct Builder {
    subjects: HashMap<Subject, u32, RandomState>,
    tables: HashMap<(u32, Class), u32, RandomState>,
    specs: HashMap<Spec, u32, RandomState>,
    groups: HashMap<(bool, Vec<u32>), u32, RandomState>,
    atoms: HashMap<Condition, u32, RandomState>,
    asked: Vec<IndexedSubject>,
    built: Vec<Table>,
    spec_list: Vec<Spec>,
    group_list: Vec<Group>,
    /// Key, column, term.
    triples: Vec<(Key, u32, u32)>,
    keys: Key,
    columns: u32,
    table_of_subject: Vec<u32>,
    /// Bytes of the texts that are looked for inside of values.
    contained_bytes: usize,
    /// Whether a bound was reached: what comes now stays trees, without a look at its keys.
    full: bool,
}

/// A literal's place in a term that is being added.
struct TermLiteral {
    spec: u32,
    keys: Vec<Key>,
    literal: Literal,
    exact: bool,
}

/// A residual literal: whether it is costly, and as [`Group::residual`] has it.
type Residue = (bool, u32);

impl Builder {
    /// Adds a rule; rules come in their order.
    pub(super) fn add(&mut self, rule: Local, reports: bool, condition: &Condition) {
        for term in terms(condition) {
            let mut placed: Vec<TermLiteral> = Vec::new();
            let mut residual = Vec::new();
            for literal in term {
                match self.place(&literal) {
                    Some((spec, keys, exact)) if placed.iter().all(|other| other.spec != spec) => {
                        placed.push(TermLiteral {
                            spec,
                            keys,
                            literal,
                            exact,
                        });
                    }
                    _ => residual.push(self.atom(literal)),
                }
            }
            placed.sort_unstable_by_key(|one| one.spec);
            let group = self.group(reports, &mut placed, &mut residual);
            for one in placed.iter().filter(|one| !one.exact) {
                let atom = self.atom(one.literal.clone());
                residual.push(atom);
            }
            residual.sort_by_key(|(is_costly, _)| *is_costly);
            self.append(group, rule, &placed, &residual);
        }
    }

    fn append(&mut self, group: u32, rule: Local, placed: &[TermLiteral], residual: &[Residue]) {
        let Some(group) = self.group_list.get_mut(group as usize) else {
            return;
        };
        let term = count(group.rules.len());
        group.rules.push(rule);
        group.is_costly |= residual.iter().any(|(is_costly, _)| *is_costly);
        if !residual.is_empty() && group.residual_starts.is_empty() {
            // The terms before this one have none.
            group.residual_starts.resize(group.rules.len(), 0);
        }
        if !group.residual_starts.is_empty() {
            group.residual.extend(residual.iter().map(|(_, atom)| atom));
            group.residual_starts.push(count(group.residual.len()));
        }
        for (one, column) in placed.iter().zip(&group.columns) {
            self.triples
                .extend(one.keys.iter().map(|key| (*key, column.slot, term)));
        }
    }

    /// The literal's column and keys; `None` when it stays residual.
    fn place(&mut self, literal: &Literal) -> Option<(u32, Vec<Key>, bool)> {
        if self.full {
            return None;
        }
        let question = question(literal)?;
        if question.keys.is_empty() {
            return None;
        }
        if question.class == Class::Contains {
            self.contained_bytes += question.keys.iter().map(|key| key.len()).sum::<usize>();
        }
        // Of one term; all terms' keys are counted where they are added.
        if self.triples.len() + question.keys.len() > limits::INDEX_ENTRIES_MAX
            || self.contained_bytes > limits::INDEX_CONTAINED_BYTES_MAX
        {
            self.full = true;
            return None;
        }
        let lifetime = question.subject.lifetime();
        let subject = match self.subjects.get(&question.subject) {
            Some(known) => *known,
            None if self.asked.len() >= limits::INDEX_SUBJECTS_MAX => return None,
            None => {
                let number = count(self.asked.len());
                self.asked.push(IndexedSubject {
                    subject: question.subject.clone(),
                    lifetime,
                    // What is the same for a connection is looked up with it.
                    is_costly: lifetime == Lifetime::Request && question.subject.is_costly(),
                    tables: Vec::new(),
                });
                self.subjects.insert(question.subject, number);
                number
            }
        };
        let table = *self
            .tables
            .entry((subject, question.class))
            .or_insert_with(|| {
                let number = count(self.built.len());
                self.built.push(Table::new(question.class));
                self.table_of_subject.push(subject);
                if let Some(asked) = self.asked.get_mut(subject as usize) {
                    asked.tables.push(number);
                }
                number
            });
        let spec = *self
            .specs
            .entry((table, question.negative))
            .or_insert_with(|| {
                self.spec_list.push((table, question.negative));
                count(self.spec_list.len() - 1)
            });
        let table = self.built.get_mut(table as usize)?;
        let mut keys = Vec::with_capacity(question.keys.len());
        for key in &question.keys {
            let number = table.intern(key, self.keys);
            self.keys = self.keys.max(number + 1);
            keys.push(number);
        }
        Some((spec, keys, question.exact))
    }

    /// A residual literal.
    fn atom(&mut self, literal: Literal) -> Residue {
        let is_costly = is_costly(&literal.condition);
        let next = count(self.atoms.len());
        let atom = *self.atoms.entry(literal.condition).or_insert(next);
        (is_costly, atom * 2 + u32::from(literal.negative))
    }

    /// The group of a term. When there are too many groups, only the most telling column is kept.
    fn group(
        &mut self,
        reports: bool,
        placed: &mut Vec<TermLiteral>,
        residual: &mut Vec<Residue>,
    ) -> u32 {
        let signature = |placed: &[TermLiteral]| {
            (
                reports,
                placed.iter().map(|one| one.spec).collect::<Vec<_>>(),
            )
        };
        if let Some(known) = self.groups.get(&signature(placed)) {
            return *known;
        }
        if self.group_list.len() >= limits::INDEX_GROUPS_MAX && placed.len() > 1 {
            let telling = |one: &TermLiteral| match self.spec_list.get(one.spec as usize) {
                Some((_, true)) | None => 0,
                Some((table, false)) => self.built.get(*table as usize).map_or(0, Table::len) + 1,
            };
            let best = placed
                .iter()
                .max_by_key(|one| telling(one))
                .map(|one| one.spec);
            let (kept, dropped) = std::mem::take(placed)
                .into_iter()
                .partition(|one| Some(one.spec) == best);
            *placed = kept;
            for one in dropped {
                let atom = self.atom(one.literal);
                residual.push(atom);
            }
            if let Some(known) = self.groups.get(&signature(placed)) {
                return *known;
            }
        }
        let number = count(self.group_list.len());
        let mut group = Group {
            reports,
            is_costly: placed.iter().any(|one| self.asks_costly(one.spec)),
            ..Group::default()
        };
        for one in placed.iter() {
            let (table, negative) = self
                .spec_list
                .get(one.spec as usize)
                .copied()
                .unwrap_or_default();
            let subject = self
                .table_of_subject
                .get(table as usize)
                .copied()
                .unwrap_or_default();
            let class = self
                .built
                .get(table as usize)
                .map_or(Class::Exact, |table| table.class);
            let asked = self.asked.get(subject as usize);
            let lifetime = asked.map_or(Lifetime::Request, |asked| asked.lifetime);
            group.columns.push(Column {
                slot: self.columns,
                subject,
                negative,
                lifetime,
                is_costly: asked.is_some_and(|asked| asked.is_costly),
                class,
            });
            self.columns += 1;
        }
        self.groups.insert(signature(placed), number);
        self.group_list.push(group);
        number
    }

    /// Whether the subject of a column is costly.
    fn asks_costly(&self, spec: u32) -> bool {
        let table = self.spec_list.get(spec as usize);
        let subject = table.and_then(|(table, _)| self.table_of_subject.get(*table as usize));
        let asked = subject.and_then(|subject| self.asked.get(*subject as usize));
        asked.is_some_and(|asked| asked.is_costly)
    }

    /// The index of all rules added.
    pub(super) fn finish(mut self) -> Index {
        static INDEXES: AtomicU64 = AtomicU64::new(0);
        let mut terms_of_column = vec![0; self.columns as usize];
        for group in &self.group_list {
            for column in &group.columns {
                if let Some(terms) = terms_of_column.get_mut(column.slot as usize) {
                    *terms = group.rules.len();
                }
            }
        }
        self.triples.sort_unstable();
        self.triples.dedup();
        let mut arena = Arena::default();
        let mut entries = Vec::new();
        let mut key_starts: Vec<u32> = Vec::with_capacity(self.keys as usize + 1);
        let mut set = Vec::new();
        for one in self.triples.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let Some((key, column, _)) = one.first().copied() else {
                continue;
            };
            while key_starts.len() <= key as usize {
                key_starts.push(count(entries.len()));
            }
            set.clear();
            set.extend(one.iter().map(|(_, _, term)| *term));
            let terms = terms_of_column
                .get(column as usize)
                .copied()
                .unwrap_or_default();
            if let Some(vector) = arena.keep(&set, terms) {
                entries.push(ColumnEntry { column, vector });
            }
        }
        while key_starts.len() <= self.keys as usize {
            key_starts.push(count(entries.len()));
        }
        entries.shrink_to_fit();
        arena.finish();
        for table in &mut self.built {
            table.finish();
        }
        for group in &mut self.group_list {
            group.rules.shrink_to_fit();
            group.residual.shrink_to_fit();
            group.residual_starts.shrink_to_fit();
            // What is looked up once per connection, or is a plain look-up, comes first: a group
            // is given up at the first column that nothing satisfies. What may cost more than all
            // the others comes last.
            group.columns.sort_by_key(|column| {
                (
                    column.is_costly,
                    column.negative,
                    column.lifetime == Lifetime::Request,
                    column.class,
                )
            });
        }
        // Of the terms of one rule those first that cost little: one that holds is enough.
        self.group_list
            .sort_by_key(|group| (group.reports, group.rules.first().copied(), group.is_costly));
        let mut atoms: Vec<_> = self.atoms.into_iter().collect();
        atoms.sort_unstable_by_key(|(_, number)| *number);
        Index {
            identity: INDEXES.fetch_add(1, Ordering::Relaxed),
            subjects: self.asked,
            tables: self.built,
            key_starts,
            entries,
            arena,
            groups: self.group_list,
            columns: self.columns as usize,
            atoms: atoms
                .into_iter()
                .map(|(condition, _)| Atom {
                    is_costly: is_costly(&condition),
                    condition,
                })
                .collect(),
        }
    }
}

/// A length as the number that it is kept as. Rules, terms and keys are bounded far below 2³².
pub(super) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
