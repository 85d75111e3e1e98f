//! Look-up tables from a value to its keys: by hash for equality and blocks, by hash and length for
//! prefixes and suffixes, by one automaton for `contains`.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::block::{INT, block_key, number_of_int, number_of_ip, width};
use super::contained::Contained;
use super::subject::{Class, FALSE, TRUE};
use crate::eval::value::{Scratch, Value};

/// A key's number, unique in its index.
pub(super) type Key = u32;

/// The keys of one subject and class.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) class: Class,
    keys: HashMap<Box<[u8]>, Key, RandomState>,
    /// For prefixes and suffixes: the lengths that occur, ascending. For blocks: family and prefix
    /// length.
    lengths: Vec<(u8, usize)>,
    /// For prefixes and suffixes: by the outermost bytes, which lengths can occur at all.
    outline: HashMap<u32, u64, RandomState>,
    /// The fewest bytes that an outline has.
    outline_least: usize,
    contained: Option<Contained>,
    /// What it finds, in its order.
    patterns: Vec<Key>,
}

impl Table {
    pub(super) fn new(class: Class) -> Self {
        Self {
            class,
            keys: HashMap::default(),
            lengths: Vec::new(),
            outline: HashMap::default(),
            outline_least: 0,
            contained: None,
            patterns: Vec::new(),
        }
    }

    /// The key's number; a new one is `next`.
    pub(super) fn intern(&mut self, key: &[u8], next: Key) -> Key {
        match self.keys.get(key) {
            Some(known) => *known,
            None => {
                self.keys.insert(key.into(), next);
                next
            }
        }
    }

    /// Keys in it.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// To be called once all keys are in. Should the automaton become too large, its keys are
    /// compared one by one.
    pub(super) fn finish(&mut self) {
        self.keys.shrink_to_fit();
        match self.class {
            Class::Exact => {}
            Class::Block => {
                let kind = |key: &[u8]| match key {
                    [family, length, ..] => (*family, usize::from(*length)),
                    _ => (0, 0),
                };
                self.lengths = self.keys.keys().map(|key| kind(key)).collect();
            }
            Class::Prefix | Class::Suffix => {
                self.lengths = self.keys.keys().map(|key| (0, key.len())).collect();
                self.outline_least = self
                    .keys
                    .keys()
                    .map(|key| key.len().min(OUTLINE_BYTES))
                    .min()
                    .unwrap_or_default();
                for key in self.keys.keys() {
                    // A key shorter than the outline is found under its own length.
                    let shown = key.len().min(OUTLINE_BYTES);
                    *self
                        .outline
                        .entry(outline(self.class, key, shown))
                        .or_default() |= length_bit(key.len());
                }
            }
            Class::Contains => {
                let mut patterns: Vec<_> = self.keys.iter().collect();
                patterns.sort_unstable_by_key(|(_, number)| **number);
                self.patterns = patterns.iter().map(|(_, number)| **number).collect();
                let texts: Vec<&[u8]> = patterns.iter().map(|(key, _)| &***key).collect();
                self.contained = Contained::new(&texts).ok();
            }
        }
        self.lengths.sort_unstable();
        self.lengths.dedup();
    }

    /// Shows the keys that a value has, those that are contained perhaps more than once; `found`
    /// says whether it sees one for the first time.
    pub(super) fn look_up(
        &self,
        value: Value<'_>,
        scratch: &Scratch,
        found: &mut dyn FnMut(Key) -> bool,
    ) {
        match value {
            Value::Missing => {}
            Value::Bool(value) => self.exact(if value { TRUE } else { FALSE }, found),
            Value::Int(value) => self.blocks(INT, number_of_int(value), found),
            Value::Ip(address) => {
                let (family, number) = number_of_ip(address);
                self.blocks(family, number, found);
            }
            Value::Bytes(_) | Value::Made(..) => {
                let Some(bytes) = scratch.bytes(value) else {
                    return;
                };
                match self.class {
                    Class::Exact => self.exact(bytes, found),
                    Class::Prefix | Class::Suffix => self.ends(bytes, found),
                    Class::Contains => self.contained(bytes, found),
                    Class::Block => {}
                }
            }
        }
    }

    fn exact(&self, bytes: &[u8], found: &mut dyn FnMut(Key) -> bool) {
        if let Some(key) = self.keys.get(bytes) {
            found(*key);
        }
    }

    fn blocks(&self, family: u8, number: u128, found: &mut dyn FnMut(Key) -> bool) {
        for (of, length) in &self.lengths {
            if *of == family {
                let length = u8::try_from(*length).unwrap_or_else(|_| width(family));
                self.exact(&block_key(family, length, number), found);
            }
        }
    }

    fn ends(&self, bytes: &[u8], found: &mut dyn FnMut(Key) -> bool) {
        let mut possible = 0;
        for shown in self.outline_least..=OUTLINE_BYTES.min(bytes.len()) {
            possible |= self
                .outline
                .get(&outline(self.class, bytes, shown))
                .copied()
                .unwrap_or_default();
        }
        if possible == 0 {
            return;
        }
        for (_, length) in &self.lengths {
            if *length > bytes.len() {
                break;
            }
            if possible & length_bit(*length) == 0 {
                continue;
            }
            let part = match self.class {
                Class::Prefix => bytes.get(..*length),
                _ => bytes.get(bytes.len() - length..),
            };
            self.exact(part.unwrap_or_default(), found);
        }
    }

    fn contained(&self, bytes: &[u8], found: &mut dyn FnMut(Key) -> bool) {
        match &self.contained {
            Some(contained) => contained.find(bytes, &mut |at| {
                self.patterns.get(at).is_some_and(|key| found(*key))
            }),
            None => {
                for (part, key) in &self.keys {
                    if memchr::memmem::find(bytes, part).is_some() {
                        found(*key);
                    }
                }
            }
        }
    }
}

/// Outermost bytes that say which lengths are worth a look.
const OUTLINE_BYTES: usize = 3;

/// The outermost `shown` bytes as a number, different for different `shown`.
fn outline(class: Class, bytes: &[u8], shown: usize) -> u32 {
    let part = match class {
        Class::Prefix => bytes.get(..shown),
        _ => bytes.get(bytes.len().saturating_sub(shown)..),
    };
    part.unwrap_or_default()
        .iter()
        .fold(1, |number, byte| number << 8 | u32::from(*byte))
}

fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}
