//! Distinguished names, compared as RFC 5280 §7.1 says.

use std::fmt::Write as _;

use super::{DerError, Reader, tag};

/// One form for all names that are equal: string types are left aside, and so are case and the
/// number of spaces. BoringSSL compares names so when it builds paths, and so does OpenSSL.
///
/// Case is that of ASCII, as theirs is; what is not a string is compared by its bytes.
pub(crate) fn canonical_name(name: &[u8]) -> Result<Vec<u8>, DerError> {
    let mut outer = Reader::new(name);
    let mut sequence = Reader::new(outer.expect(tag::SEQUENCE, "a name")?);
    outer.end("bytes follow a name")?;
    let mut out = Vec::with_capacity(name.len());
    while !sequence.is_empty() {
        let mut set = Reader::new(sequence.expect(tag::SET, "a relative name")?);
        let mut attributes = Vec::with_capacity(1);
        while !set.is_empty() {
            let mut attribute = Reader::new(set.expect(tag::SEQUENCE, "an attribute")?);
            let kind = attribute.expect(tag::OBJECT, "an attribute's type")?;
            let (value_tag, value) = attribute.any()?;
            attribute.end("bytes follow an attribute")?;
            let mut form = Vec::with_capacity(kind.len() + value.len() + 16);
            counted(&mut form, kind);
            match text(value_tag, value) {
                Some(text) => {
                    form.push(tag::UTF8_STRING);
                    counted(&mut form, folded(&text).as_bytes());
                }
                None => {
                    form.push(value_tag);
                    counted(&mut form, value);
                }
            }
            attributes.push(form);
        }
        attributes.sort_unstable();
        counted(&mut out, &attributes.concat());
    }
    Ok(out)
}

fn counted(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&bytes.len().to_be_bytes());
    out.extend_from_slice(bytes);
}

/// The characters of a string; `None` when it is none, or is not what its type says.
fn text(tag: u8, value: &[u8]) -> Option<String> {
    match tag {
        tag::UTF8_STRING => String::from_utf8(value.to_vec()).ok(),
        // TeletexString is Latin-1 in practice: other implementations read it so.
        tag::PRINTABLE_STRING | tag::TELETEX_STRING | tag::IA5_STRING | tag::VISIBLE_STRING => {
            Some(value.iter().copied().map(char::from).collect())
        }
        tag::BMP_STRING => {
            let (pairs, []) = value.as_chunks::<2>() else {
                return None;
            };
            let units = pairs
                .iter()
                .map(|pair| u32::from(u16::from_be_bytes(*pair)));
            units.map(char::from_u32).collect()
        }
        tag::UNIVERSAL_STRING => {
            let (quads, []) = value.as_chunks::<4>() else {
                return None;
            };
            let units = quads.iter().map(|quad| u32::from_be_bytes(*quad));
            units.map(char::from_u32).collect()
        }
        _ => None,
    }
}

/// Without white space at the ends, with one space for more, in lower case.
fn folded(text: &str) -> String {
    let is_space = |c: char| matches!(c, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r');
    let words = text.split(is_space).filter(|word| !word.is_empty());
    let mut out = String::with_capacity(text.len());
    for (place, word) in words.enumerate() {
        if place > 0 {
            out.push(' ');
        }
        write!(out, "{}", word.to_ascii_lowercase()).expect("a String takes every write");
    }
    out
}

#[cfg(test)]
mod tests {
    use boring::x509::X509Name;
    use proptest::prelude::*;

    use super::*;
    use crate::der::element;

    /// 2.5.4.3
    const COMMON_NAME: &[u8] = &[0x55, 4, 3];

    /// Type, tag and content of a value.
    type Attribute<'a> = (&'a [u8], u8, &'a [u8]);

    fn name(parts: &[&[Attribute<'_>]]) -> Vec<u8> {
        let sets = parts.iter().map(|part| {
            let attributes = part.iter().map(|(kind, tag, value)| {
                let content = [element(tag::OBJECT, kind), element(*tag, value)].concat();
                element(tag::SEQUENCE, &content)
            });
            element(tag::SET, &attributes.collect::<Vec<_>>().concat())
        });
        element(tag::SEQUENCE, &sets.collect::<Vec<_>>().concat())
    }

    fn common(tag: u8, value: &[u8]) -> Vec<u8> {
        name(&[&[(COMMON_NAME, tag, value)]])
    }

    #[test]
    fn names_are_equal_whatever_their_string_type_case_and_spaces() {
        let plain = common(tag::UTF8_STRING, b"device ca");
        for (other, equal) in [
            (common(tag::PRINTABLE_STRING, b"device ca"), true),
            (common(tag::TELETEX_STRING, b"Device CA"), true),
            (
                common(tag::BMP_STRING, b"\0d\0e\0v\0i\0c\0e\0 \0c\0a"),
                true,
            ),
            (common(tag::IA5_STRING, b"  device   ca "), true),
            (common(tag::UTF8_STRING, b"deviceca"), false),
            (common(tag::OCTET_STRING, b"device ca"), false),
            (
                name(&[&[(&[0x55, 4, 10], tag::UTF8_STRING, b"device ca")]]),
                false,
            ),
            (name(&[]), false),
        ] {
            let equals = canonical_name(&plain) == canonical_name(&other);
            assert_eq!(equals, equal, "{other:02x?}");
        }
        assert!(canonical_name(&plain[..plain.len() - 1]).is_err());
        assert!(canonical_name(&[plain, vec![0]].concat()).is_err());
    }

    proptest! {
        /// The names of lists and answers are compared as BoringSSL compares those of a path.
        #[test]
        fn names_are_compared_as_boringssl_does(
            one in "[aB ]{1,5}", other in "[Ab ]{1,5}", tags in (0..4_usize, 0..4_usize)
        ) {
            let tags_of = [
                tag::UTF8_STRING,
                tag::PRINTABLE_STRING,
                tag::IA5_STRING,
                tag::TELETEX_STRING,
            ];
            let one = common(tags_of[tags.0], one.as_bytes());
            let other = common(tags_of[tags.1], other.as_bytes());
            let read = |der: &[u8]| X509Name::from_der(der).unwrap();
            let theirs = read(&one).try_cmp(&read(&other)).unwrap().is_eq();
            prop_assert_eq!(canonical_name(&one) == canonical_name(&other), theirs);
        }
    }
}
