//! The chunked list: a persistent vector whose copies share the chunks that are the same.
//!
//! A plain copy of a hundred thousand shared rules touches the reference count of each of them,
//! which takes longer than everything else that one changed rule costs. Here elements are kept in
//! chunks of some hundred, and a copy touches one count a chunk. Knows nothing of the elements.

use std::fmt;
use std::iter;
use std::ops::{Index, Range};
use std::slice;
use std::sync::Arc;

use crate::limits::CHUNK_ELEMENTS_MAX;

/// A long list; a clone shares its chunks until one of the two changes.
///
/// ```
/// use chunked_list::ChunkedList;
///
/// let rules: ChunkedList<u32> = (0..10_000).collect();
/// let mut changed = rules.clone();
/// changed.replace(5..6, [100, 101]);
///
/// assert_eq!((rules.len(), changed.len()), (10_000, 10_001));
/// assert_eq!((rules[6], changed[6]), (6, 101));
/// // All chunks but the one that was changed are the same memory.
/// assert!(rules.shared_with(&changed) >= 18);
/// ```
pub struct ChunkedList<T> {
    chunks: Vec<Chunk<T>>,
}

struct Chunk<T> {
    /// The place of its first element.
    start: usize,
    /// Never empty.
    elements: Arc<[T]>,
}

impl<T> ChunkedList<T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, Chunk::end)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> Iter<'_, T> {
        let elements: fn(&Chunk<T>) -> slice::Iter<'_, T> = |one| one.elements.iter();
        Iter(self.chunks.iter().flat_map(elements))
    }

    /// The element at a place, counted from 0.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&T> {
        let after = self.chunks.partition_point(|one| one.start <= place);
        let chunk = self.chunks.get(after.checked_sub(1)?)?;
        chunk.elements.get(place - chunk.start)
    }

    /// The first element.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.get(0)
    }

    /// The last element.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.get(self.len().checked_sub(1)?)
    }

    /// How many of these chunks the other list has too.
    #[doc(hidden)]
    pub fn shared_with(&self, other: &Self) -> usize {
        let is_theirs = |one: &&Chunk<T>| {
            let mut theirs = other.chunks.iter();
            theirs.any(|it| Arc::ptr_eq(&it.elements, &one.elements))
        };
        self.chunks.iter().filter(is_theirs).count()
    }

    /// All of them by reference, for what wants a slice.
    #[must_use]
    pub fn references(&self) -> Vec<&T> {
        let mut all = Vec::with_capacity(self.len());
        for chunk in &self.chunks {
            all.extend(chunk.elements.iter());
        }
        all
    }
}

impl<T: Clone> ChunkedList<T> {
    /// Puts `new` where the elements of `places` are, or adds it there when there are none.
    /// Places beyond the end are the end.
    pub fn replace(&mut self, places: Range<usize>, new: impl IntoIterator<Item = T>) {
        let end = places.end.min(self.len());
        let start = places.start.min(end);
        let new: Vec<T> = new.into_iter().collect();
        // The chunks that are touched. The one that ends where the change begins is among them,
        // so that adding one by one fills chunks up, and so many more that none stays short.
        let first = self.chunks.partition_point(|one| one.start < start);
        let mut first = first.saturating_sub(1);
        let last = self.chunks.partition_point(|one| one.start < end);
        let mut last = last.max(first);
        let lengths = |range: Range<usize>| -> usize {
            let range = self.chunks.get(range).unwrap_or_default();
            range.iter().map(|one| one.elements.len()).sum()
        };
        while lengths(first..last) + new.len() < (end - start) + CHUNK_ELEMENTS_MAX / 4 {
            match first.checked_sub(1) {
                _ if last < self.chunks.len() => last += 1,
                Some(before) => first = before,
                None => break,
            }
        }
        let touched = self.chunks.get(first..last).unwrap_or_default();
        let base = touched.first().map_or(start, |one| one.start);
        let mut loose: Vec<T> = Vec::new();
        let of = |chunk: &Chunk<T>, from: usize, to: usize| {
            let at = |place: usize| place.clamp(chunk.start, chunk.end()) - chunk.start;
            chunk
                .elements
                .get(at(from)..at(to))
                .unwrap_or_default()
                .to_vec()
        };
        for chunk in touched {
            loose.extend(of(chunk, 0, start));
        }
        loose.extend(new);
        for chunk in touched {
            loose.extend(of(chunk, end, usize::MAX));
        }
        let fresh = divided(base, loose);
        self.chunks.splice(first..last, fresh);
        let mut at = 0;
        for chunk in &mut self.chunks {
            chunk.start = at;
            at += chunk.elements.len();
        }
    }

    /// Adds an element before the one at `place`.
    pub fn insert(&mut self, place: usize, element: T) {
        self.replace(place..place, [element]);
    }

    /// Takes out the element at a place.
    pub fn remove(&mut self, place: usize) -> Option<T> {
        let element = self.get(place).cloned()?;
        self.replace(place..place + 1, []);
        Some(element)
    }
}

type Elements<'s, T> = iter::FlatMap<
    slice::Iter<'s, Chunk<T>>,
    slice::Iter<'s, T>,
    fn(&'s Chunk<T>) -> slice::Iter<'s, T>,
>;

/// The elements of a [`ChunkedList`], in order.
#[derive(Clone)]
pub struct Iter<'s, T>(Elements<'s, T>);

impl<'s, T> Iterator for Iter<'s, T> {
    type Item = &'s T;

    fn next(&mut self) -> Option<&'s T> {
        self.0.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }

    fn fold<B, F: FnMut(B, &'s T) -> B>(self, start: B, each: F) -> B {
        self.0.fold(start, each)
    }
}

impl<T> DoubleEndedIterator for Iter<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.next_back()
    }
}

impl<'s, T> IntoIterator for &'s ChunkedList<T> {
    type Item = &'s T;
    type IntoIter = Iter<'s, T>;

    fn into_iter(self) -> Iter<'s, T> {
        self.iter()
    }
}

impl<T> Chunk<T> {
    fn end(&self) -> usize {
        self.start + self.elements.len()
    }
}

/// Chunkes of equal length, from a place on.
fn divided<T>(mut start: usize, elements: Vec<T>) -> Vec<Chunk<T>> {
    let count = elements.len().div_ceil(CHUNK_ELEMENTS_MAX);
    let mut left = elements.len();
    let mut elements = elements.into_iter();
    let mut chunks = Vec::with_capacity(count);
    for more in (1..=count).rev() {
        let length = left.div_ceil(more);
        left -= length;
        let elements: Arc<[T]> = elements.by_ref().take(length).collect();
        chunks.push(Chunk { start, elements });
        start += length;
    }
    chunks
}

impl<T> Default for ChunkedList<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> Clone for ChunkedList<T> {
    fn clone(&self) -> Self {
        let chunks = self.chunks.iter().map(|one| Chunk {
            start: one.start,
            elements: one.elements.clone(),
        });
        Self {
            chunks: chunks.collect(),
        }
    }
}

impl<T> From<Vec<T>> for ChunkedList<T> {
    fn from(elements: Vec<T>) -> Self {
        Self {
            chunks: divided(0, elements),
        }
    }
}

impl<T> FromIterator<T> for ChunkedList<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        elements.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T: fmt::Debug> fmt::Debug for ChunkedList<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: PartialEq> PartialEq for ChunkedList<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<T: Eq> Eq for ChunkedList<T> {}

/// For tests and for places that were just found.
///
/// # Panics
/// There is no such place.
impl<T> Index<usize> for ChunkedList<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        self.get(place).expect("a place in the list")
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index as Place;

    use super::*;

    #[test]
    fn a_changed_copy_shares_what_is_the_same() {
        let whole: ChunkedList<usize> = (0..100_000).collect();
        let all = whole.chunks.len();
        for (places, new) in [
            (0..0, 1),
            (0..1, 0),
            (50_000..50_001, 1),
            (100_000..100_000, 3),
        ] {
            let mut copy = whole.clone();
            copy.replace(places.clone(), vec![7; new]);
            assert!(whole.shared_with(&copy) + 2 >= all, "{places:?}");
            assert_eq!(copy.len(), 100_000 - places.len() + new);
        }
        let mut one_by_one = ChunkedList::default();
        for element in 0..10_000 {
            one_by_one.insert(one_by_one.len(), element);
        }
        assert!(one_by_one.chunks.len() < 50, "{}", one_by_one.chunks.len());
    }

    proptest! {
        #[test]
        fn it_is_what_a_vector_is(
            edits in vec((any::<Place>(), 0..1_500_usize, 0..1_500_usize), 1..20),
        ) {
            let mut list = ChunkedList::default();
            let mut vector = Vec::new();
            for (number, (start, out, new)) in edits.into_iter().enumerate() {
                let start = start.index(vector.len() + 1);
                let end = (start + out).min(vector.len());
                vector.splice(start..end, iter::repeat_n(number, new));
                list.replace(start..end, iter::repeat_n(number, new));
                prop_assert_eq!(list.len(), vector.len());
                prop_assert!(list.iter().eq(vector.iter()));
                prop_assert!(list.references().into_iter().eq(vector.iter()));
                prop_assert!(list.iter().rev().eq(vector.iter().rev()));
                for place in [0, start, end, vector.len() / 2, vector.len()] {
                    prop_assert_eq!(list.get(place), vector.get(place));
                }
                prop_assert_eq!(list.last(), vector.last());
                let lengths = || list.chunks.iter().map(|one| one.elements.len());
                prop_assert!(lengths().all(|length| (1..=CHUNK_ELEMENTS_MAX).contains(&length)));
            }
        }
    }
}
