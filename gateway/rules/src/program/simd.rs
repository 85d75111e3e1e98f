//! Set operations on words of bits, with the widest vectors that the processor has.
//!
//! The loops are plain Rust, compiled once for the baseline and on x86-64 again for AVX2 and
//! AVX-512; which one runs is chosen at run time. The only unsafe code of this crate: calls of
//! functions that are compiled for vectors whose presence was just checked.

macro_rules! combine {
    ($(#[$doc:meta])* $name:ident, $combine:expr) => {
        $(#[$doc])*
        pub(super) fn $name(into: &mut [u64], other: &[u64]) {
            #[inline(always)]
            fn plain(into: &mut [u64], other: &[u64]) {
                for (word, other) in into.iter_mut().zip(other) {
                    *word = $combine(*word, *other);
                }
            }

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn avx2(into: &mut [u64], other: &[u64]) {
                    plain(into, other);
                }

                #[target_feature(enable = "avx512f")]
                fn avx512(into: &mut [u64], other: &[u64]) {
                    plain(into, other);
                }

                // Below this many words the call costs more than it saves.
                if into.len() >= 16 {
                    if std::arch::is_x86_feature_detected!("avx512f") {
                        // SAFETY: `avx512` requires AVX-512F, which the line above has found.
                        unsafe {
                            avx512(into, other);
                        }
                        return;
                    }
                    if std::arch::is_x86_feature_detected!("avx2") {
                        // SAFETY: `avx2` requires AVX2, which the line above has found.
                        unsafe {
                            avx2(into, other);
                        }
                        return;
                    }
                }
            }
            plain(into, other);
        }
    };
}

combine! {
    /// Keeps what is in both.
    and, |word: u64, other: u64| word & other
}
combine! {
    /// Adds what is in the other.
    or, |word: u64, other: u64| word | other
}
combine! {
    /// Takes out what is in the other.
    and_not, |word: u64, other: u64| word & !other
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_lengths_are_combined_alike() {
        for length in 0..70_u64 {
            let left: Vec<u64> = (0..length)
                .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
                .collect();
            let right: Vec<u64> = (0..length)
                .map(|n| n.wrapping_mul(0xc2b2_ae3d_27d4_eb4f))
                .collect();
            let expected = |combine: fn(u64, u64) -> u64| -> Vec<u64> {
                left.iter()
                    .zip(&right)
                    .map(|(l, r)| combine(*l, *r))
                    .collect()
            };
            for (combine, plain) in [
                (
                    super::and as fn(&mut [u64], &[u64]),
                    (|l, r| l & r) as fn(u64, u64) -> u64,
                ),
                (super::or, |l, r| l | r),
                (super::and_not, |l, r| l & !r),
            ] {
                let mut into = left.clone();
                combine(&mut into, &right);
                assert_eq!(into, expected(plain), "{length}");
            }
        }
    }
}
