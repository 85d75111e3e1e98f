//! Sets of terms: sorted numbers while they are few, words of bits when they are many.

/// Bits of a word.
pub(super) const WORD: usize = 64;

/// All vectors of an index, in two arenas.
#[derive(Debug, Default)]
pub(super) struct Arena {
    sparse: Vec<u32>,
    dense: Vec<u64>,
}

/// One set of a group's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vector {
    /// Where it starts in its arena.
    start: u32,
    /// Terms in it.
    pub(super) count: u32,
    /// Words of bits, as many as the group has, instead of numbers.
    pub(super) is_dense: bool,
}

/// Words that a group of so many terms needs.
pub(super) fn words(terms: usize) -> usize {
    terms.div_ceil(WORD)
}

impl Arena {
    /// Keeps a set, ascending and without repetition, of terms below `terms`.
    ///
    /// Bits from one term in 32 on: they take no more room than numbers then, and are combined
    /// 64 at a time.
    pub(super) fn keep(&mut self, set: &[u32], terms: usize) -> Option<Vector> {
        let count = u32::try_from(set.len()).ok()?;
        let is_dense = set.len() * 32 >= terms && set.len() >= 8;
        let start = if is_dense {
            let start = self.dense.len();
            self.dense.resize(start + words(terms), 0);
            for term in set {
                let at = usize::try_from(*term).ok()?;
                if let Some(word) = self.dense.get_mut(start + at / WORD) {
                    *word |= 1 << (at % WORD);
                }
            }
            start
        } else {
            self.sparse.extend_from_slice(set);
            self.sparse.len() - set.len()
        };
        Some(Vector {
            start: u32::try_from(start).ok()?,
            count,
            is_dense,
        })
    }

    /// The numbers of a sparse vector.
    pub(super) fn numbers(&self, vector: Vector) -> &[u32] {
        let start = vector.start as usize;
        if vector.is_dense {
            &[]
        } else {
            self.sparse
                .get(start..start + vector.count as usize)
                .unwrap_or_default()
        }
    }

    /// Whether a term is in a vector.
    pub(super) fn has(&self, vector: Vector, term: u32) -> bool {
        if vector.is_dense {
            let at = vector.start as usize + term as usize / WORD;
            self.dense
                .get(at)
                .is_some_and(|word| word >> (term as usize % WORD) & 1 == 1)
        } else {
            self.numbers(vector).binary_search(&term).is_ok()
        }
    }

    /// Adds the part of a vector that lies in the words from `first` on.
    pub(super) fn unite(&self, vector: Vector, first: usize, into: &mut [u64]) {
        if vector.is_dense {
            super::simd::or(into, self.part(vector, first, into.len()));
            return;
        }
        for term in self.numbers_in(vector, first, into.len()) {
            if let Some(word) = into.get_mut(*term as usize / WORD - first) {
                *word |= 1 << (*term as usize % WORD);
            }
        }
    }

    /// Takes the part of a vector that lies in the words from `first` on out of them.
    pub(super) fn subtract(&self, vector: Vector, first: usize, from: &mut [u64]) {
        if vector.is_dense {
            super::simd::and_not(from, self.part(vector, first, from.len()));
            return;
        }
        for term in self.numbers_in(vector, first, from.len()) {
            if let Some(word) = from.get_mut(*term as usize / WORD - first) {
                *word &= !(1 << (*term as usize % WORD));
            }
        }
    }

    /// Some words of a dense vector.
    pub(super) fn part(&self, vector: Vector, first: usize, count: usize) -> &[u64] {
        let start = vector.start as usize + first;
        self.dense.get(start..start + count).unwrap_or_default()
    }

    fn numbers_in(&self, vector: Vector, first: usize, count: usize) -> &[u32] {
        let numbers = self.numbers(vector);
        let from = numbers.partition_point(|term| (*term as usize) < first * WORD);
        let to = numbers.partition_point(|term| (*term as usize) < (first + count) * WORD);
        numbers.get(from..to).unwrap_or_default()
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.sparse.capacity() * size_of::<u32>() + self.dense.capacity() * size_of::<u64>()
    }

    /// Gives back what growing has over-allocated.
    pub(super) fn finish(&mut self) {
        self.sparse.shrink_to_fit();
        self.dense.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_the_same_set() {
        let mut arena = Arena::default();
        for (terms, step) in [
            (1000, 3),
            (1000, 500),
            (64, 1),
            (65, 8),
            (1, 1),
            (100_000, 31),
            (100_000, 40),
        ] {
            let set: Vec<u32> = (0..terms).step_by(step).collect();
            let terms = terms as usize;
            let vector = arena.keep(&set, terms).unwrap();
            let mut bits = vec![0; words(terms)];
            for (at, chunk) in bits.chunks_mut(7).enumerate() {
                arena.unite(vector, at * 7, chunk);
            }
            for term in 0..u32::try_from(terms).unwrap() {
                let expected = set.binary_search(&term).is_ok();
                assert_eq!(arena.has(vector, term), expected, "{terms} {step} {term}");
                assert_eq!(bits[term as usize / 64] >> (term % 64) & 1 == 1, expected);
            }
            let mut all = vec![u64::MAX; words(terms)];
            for (at, chunk) in all.chunks_mut(5).enumerate() {
                arena.subtract(vector, at * 5, chunk);
            }
            assert!(all.iter().zip(&bits).all(|(left, taken)| *left == !*taken));
        }
    }
}
