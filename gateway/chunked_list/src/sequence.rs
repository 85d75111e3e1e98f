//! A long list of which a changed copy shares what is the same: a copy of a hundred thousand shared
//! rules would touch the count of each of them, which takes longer than everything else that a
//! change of one rule is.
//!
//! Elements are kept in stretches of some hundred. Knows nothing of what they are.

use std::fmt;
use std::iter;
use std::ops::{Index, Range};
use std::slice;
use std::sync::Arc;

use crate::limits::SEQUENCE_STRETCH_MAX;

/// Elements in order.
pub struct Sequence<T> {
    stretches: Vec<Stretch<T>>,
}

struct Stretch<T> {
    /// The place of its first element.
    start: usize,
    /// Never empty.
    elements: Arc<[T]>,
}

impl<T> Sequence<T> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.stretches.last().map_or(0, Stretch::end)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> Iter<'_, T> {
        let elements: fn(&Stretch<T>) -> slice::Iter<'_, T> = |one| one.elements.iter();
        Iter(self.stretches.iter().flat_map(elements))
    }

    /// The element at a place, counted from 0.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<&T> {
        let after = self.stretches.partition_point(|one| one.start <= place);
        let stretch = self.stretches.get(after.checked_sub(1)?)?;
        stretch.elements.get(place - stretch.start)
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

    /// How many stretches the other one has of these.
    #[doc(hidden)]
    pub fn shared_with(&self, other: &Self) -> usize {
        let is_theirs = |one: &&Stretch<T>| {
            let mut theirs = other.stretches.iter();
            theirs.any(|it| Arc::ptr_eq(&it.elements, &one.elements))
        };
        self.stretches.iter().filter(is_theirs).count()
    }

    /// All of them by reference, for what wants a slice.
    #[must_use]
    pub fn references(&self) -> Vec<&T> {
        let mut all = Vec::with_capacity(self.len());
        for stretch in &self.stretches {
            all.extend(stretch.elements.iter());
        }
        all
    }
}

impl<T: Clone> Sequence<T> {
    /// Puts `new` where the elements of `places` are, or adds it there when there are none.
    /// Places beyond the end are the end.
    pub fn replace(&mut self, places: Range<usize>, new: impl IntoIterator<Item = T>) {
        let end = places.end.min(self.len());
        let start = places.start.min(end);
        let new: Vec<T> = new.into_iter().collect();
        // The stretches that are touched. The one that ends where the change begins is among them,
        // so that adding one by one fills stretches up, and so many more that none stays short.
        let first = self.stretches.partition_point(|one| one.start < start);
        let mut first = first.saturating_sub(1);
        let last = self.stretches.partition_point(|one| one.start < end);
        let mut last = last.max(first);
        let lengths = |range: Range<usize>| -> usize {
            let range = self.stretches.get(range).unwrap_or_default();
            range.iter().map(|one| one.elements.len()).sum()
        };
        while lengths(first..last) + new.len() < (end - start) + SEQUENCE_STRETCH_MAX / 4 {
            match first.checked_sub(1) {
                _ if last < self.stretches.len() => last += 1,
                Some(before) => first = before,
                None => break,
            }
        }
        let touched = self.stretches.get(first..last).unwrap_or_default();
        let base = touched.first().map_or(start, |one| one.start);
        let mut loose: Vec<T> = Vec::new();
        let of = |stretch: &Stretch<T>, from: usize, to: usize| {
            let at = |place: usize| place.clamp(stretch.start, stretch.end()) - stretch.start;
            stretch
                .elements
                .get(at(from)..at(to))
                .unwrap_or_default()
                .to_vec()
        };
        for stretch in touched {
            loose.extend(of(stretch, 0, start));
        }
        loose.extend(new);
        for stretch in touched {
            loose.extend(of(stretch, end, usize::MAX));
        }
        let fresh = divided(base, loose);
        self.stretches.splice(first..last, fresh);
        let mut at = 0;
        for stretch in &mut self.stretches {
            stretch.start = at;
            at += stretch.elements.len();
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
    slice::Iter<'s, Stretch<T>>,
    slice::Iter<'s, T>,
    fn(&'s Stretch<T>) -> slice::Iter<'s, T>,
>;

/// The elements of a [`Sequence`], in order.
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

impl<'s, T> IntoIterator for &'s Sequence<T> {
    type Item = &'s T;
    type IntoIter = Iter<'s, T>;

    fn into_iter(self) -> Iter<'s, T> {
        self.iter()
    }
}

impl<T> Stretch<T> {
    fn end(&self) -> usize {
        self.start + self.elements.len()
    }
}

/// Stretches of equal length, from a place on.
fn divided<T>(mut start: usize, elements: Vec<T>) -> Vec<Stretch<T>> {
    let count = elements.len().div_ceil(SEQUENCE_STRETCH_MAX);
    let mut left = elements.len();
    let mut elements = elements.into_iter();
    let mut stretches = Vec::with_capacity(count);
    for more in (1..=count).rev() {
        let length = left.div_ceil(more);
        left -= length;
        let elements: Arc<[T]> = elements.by_ref().take(length).collect();
        stretches.push(Stretch { start, elements });
        start += length;
    }
    stretches
}

impl<T> Default for Sequence<T> {
    fn default() -> Self {
        Self {
            stretches: Vec::new(),
        }
    }
}

impl<T> Clone for Sequence<T> {
    fn clone(&self) -> Self {
        let stretches = self.stretches.iter().map(|one| Stretch {
            start: one.start,
            elements: one.elements.clone(),
        });
        Self {
            stretches: stretches.collect(),
        }
    }
}

impl<T> From<Vec<T>> for Sequence<T> {
    fn from(elements: Vec<T>) -> Self {
        Self {
            stretches: divided(0, elements),
        }
    }
}

impl<T> FromIterator<T> for Sequence<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        elements.into_iter().collect::<Vec<T>>().into()
    }
}

impl<T: fmt::Debug> fmt::Debug for Sequence<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<T: PartialEq> PartialEq for Sequence<T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<T: Eq> Eq for Sequence<T> {}

/// For tests and for places that were just found.
///
/// # Panics
/// There is no such place.
impl<T> Index<usize> for Sequence<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        self.get(place).expect("a place in the sequence")
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
        let whole: Sequence<usize> = (0..100_000).collect();
        let all = whole.stretches.len();
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
        let mut one_by_one = Sequence::default();
        for element in 0..10_000 {
            one_by_one.insert(one_by_one.len(), element);
        }
        assert!(
            one_by_one.stretches.len() < 50,
            "{}",
            one_by_one.stretches.len()
        );
    }

    proptest! {
        #[test]
        fn it_is_what_a_vector_is(
            edits in vec((any::<Place>(), 0..1_500_usize, 0..1_500_usize), 1..20),
        ) {
            let mut sequence = Sequence::default();
            let mut vector = Vec::new();
            for (number, (start, out, new)) in edits.into_iter().enumerate() {
                let start = start.index(vector.len() + 1);
                let end = (start + out).min(vector.len());
                vector.splice(start..end, iter::repeat_n(number, new));
                sequence.replace(start..end, iter::repeat_n(number, new));
                prop_assert_eq!(sequence.len(), vector.len());
                prop_assert!(sequence.iter().eq(vector.iter()));
                prop_assert!(sequence.references().into_iter().eq(vector.iter()));
                prop_assert!(sequence.iter().rev().eq(vector.iter().rev()));
                for place in [0, start, end, vector.len() / 2, vector.len()] {
                    prop_assert_eq!(sequence.get(place), vector.get(place));
                }
                prop_assert_eq!(sequence.last(), vector.last());
                let lengths = || sequence.stretches.iter().map(|one| one.elements.len());
                prop_assert!(lengths().all(|length| (1..=SEQUENCE_STRETCH_MAX).contains(&length)));
            }
        }
    }
}
