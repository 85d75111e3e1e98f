//! Ranges of numbers and addresses as keys: aligned blocks whose sizes are powers of two, so that a
//! value is looked up once for each prefix length that occurs.

use std::net::IpAddr;

/// The family of a block's key.
pub(super) const INT: u8 = 0;
pub(super) const V4: u8 = 4;
pub(super) const V6: u8 = 6;

/// A block's key: family, prefix length, and the number with all bits after the prefix cleared.
pub(super) fn block_key(family: u8, length: u8, number: u128) -> [u8; 18] {
    let width: u8 = width(family);
    let cleared = match u32::from(width.saturating_sub(length)) {
        128.. => 0,
        rest => number >> rest << rest,
    };
    let mut key = [0; 18];
    let (head, tail) = key.split_at_mut(2);
    head.copy_from_slice(&[family, length]);
    tail.copy_from_slice(&cleared.to_be_bytes());
    key
}

/// Bits of a family's numbers.
pub(super) fn width(family: u8) -> u8 {
    match family {
        INT => 64,
        V4 => 32,
        _ => 128,
    }
}

/// Order-preserving.
pub(super) fn number_of_int(value: i64) -> u128 {
    u128::from(value.cast_unsigned() ^ (1 << 63))
}

/// Family and number.
pub(super) fn number_of_ip(address: IpAddr) -> (u8, u128) {
    match address {
        IpAddr::V4(address) => (V4, address.to_bits().into()),
        IpAddr::V6(address) => (V6, address.to_bits()),
    }
}

/// The blocks of all integers from `first` to `last`.
pub(super) fn blocks_of_int(first: i64, last: i64) -> Vec<Box<[u8]>> {
    blocks(INT, number_of_int(first), number_of_int(last))
}

/// The blocks of all addresses from `first` to `last`, which are of one family.
pub(super) fn blocks_of_ip(first: IpAddr, last: IpAddr) -> Vec<Box<[u8]>> {
    let ((family, first), (_, last)) = (number_of_ip(first), number_of_ip(last));
    blocks(family, first, last)
}

/// The fewest aligned blocks that make up a range: at most two per bit.
fn blocks(family: u8, first: u128, last: u128) -> Vec<Box<[u8]>> {
    let width = width(family);
    let mut keys: Vec<Box<[u8]>> = Vec::new();
    let mut at = first;
    loop {
        // The largest block that starts here and does not reach beyond the end.
        let mut bits = at.trailing_zeros().min(u32::from(width));
        let mut end = at | ones(bits);
        while end > last {
            bits -= 1;
            end = at | ones(bits);
        }
        let length = u32::from(width) - bits;
        keys.push(block_key(family, u8::try_from(length).unwrap_or(width), at).into());
        match end.checked_add(1) {
            Some(next) if end < last => at = next,
            _ => return keys,
        }
    }
}

fn ones(bits: u32) -> u128 {
    if bits >= 128 {
        u128::MAX
    } else {
        (1 << bits) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_exactly_their_range() {
        for (first, last) in [
            (0, 0),
            (1, 14),
            (-5, 5),
            (i64::MIN, i64::MAX),
            (443, i64::MAX),
            (i64::MIN, 79),
        ] {
            let keys = blocks_of_int(first, last);
            assert!(keys.len() <= 128, "{first}..{last}: {}", keys.len());
            for value in [
                i64::MIN,
                -6,
                -5,
                0,
                1,
                5,
                6,
                14,
                15,
                79,
                80,
                442,
                443,
                i64::MAX,
            ] {
                let hits = (0..=64).filter(|length| {
                    let key = block_key(INT, *length, number_of_int(value));
                    keys.iter().any(|other| **other == key)
                });
                assert_eq!(
                    hits.count() == 1,
                    (first..=last).contains(&value),
                    "{value} in {first}..{last}"
                );
            }
        }
    }
}
