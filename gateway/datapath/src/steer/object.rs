//! The kernel program as a file in memory: embedded by the build script, and of our ABI or refused.
//!
//! Does not load it.

use super::Unavailable;
use ebpf::{ABI_MARK_PREFIX, ABI_VERSION};

/// The object `cargo xtask ebpf` had built when the gateway was, if it had.
#[cfg(postern_steer_object)]
const EMBEDDED: Option<&[u8]> = Some(aya::include_bytes_aligned!(env!("POSTERN_STEER_OBJECT")));
/// The object `cargo xtask ebpf` had built when the gateway was, if it had.
#[cfg(not(postern_steer_object))]
const EMBEDDED: Option<&[u8]> = None;

/// The embedded object, checked.
pub(super) fn embedded() -> Result<&'static [u8], Unavailable> {
    let object = EMBEDDED.ok_or(Unavailable::NoObject)?;
    match abi(object) {
        Some(ABI_VERSION) => Ok(object),
        found => Err(Unavailable::Abi {
            found: found.unwrap_or(0),
        }),
    }
}

/// The ABI number an object carries.
fn abi(object: &[u8]) -> Option<u32> {
    let mark = object
        .windows(ABI_MARK_PREFIX.len() + 4)
        .find(|w| w.starts_with(&ABI_MARK_PREFIX))?;
    let number = mark.get(ABI_MARK_PREFIX.len()..)?;
    number.try_into().ok().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::abi;
    use ebpf::{ABI_MARK, ABI_MARK_PREFIX, ABI_VERSION};

    #[test]
    fn the_number_is_found_wherever_it_stands() {
        let other = [&ABI_MARK_PREFIX[..], &77u32.to_le_bytes()].concat();
        for (object, expected) in [
            (ABI_MARK.to_vec(), Some(ABI_VERSION)),
            (
                [&[0x7f, b'E', b'L', b'F'], &ABI_MARK[..], &[0; 9]].concat(),
                Some(ABI_VERSION),
            ),
            (other, Some(77)),
            (ABI_MARK[..23].to_vec(), None),
            (b"not an object at all".to_vec(), None),
            (vec![], None),
        ] {
            assert_eq!(abi(&object), expected, "{object:?}");
        }
    }
}
