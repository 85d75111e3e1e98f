//! Random numbers that are the same in every run.

/// Numbers that are the same in every run.
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound.max(1)
    }

    /// Bytes in which nothing repeats, of those given.
    pub fn bytes(&mut self, of: &[u8], length: usize) -> Vec<u8> {
        let byte = || of[self.below(of.len())];
        std::iter::repeat_with(byte).take(length).collect()
    }
}
