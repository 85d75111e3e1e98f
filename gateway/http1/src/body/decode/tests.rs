//! Tables of bodies, read whole and cut at every place.

use super::{BodyError, Decoder, Piece};
use crate::framing::BodyLength;
use crate::head::{Head, HeadError};
use crate::limits::Limits;

const LIMITS: Limits = Limits {
    chunk_extension_bytes_max: 16,
    trailer_bytes_max: 48,
    fields_max: 2,
    ..SMALL
};
const SMALL: Limits = crate::fuzz::SMALL;

/// Data, trailers, and what was left; or why it was refused.
type Read = Result<(String, Vec<String>, usize), BodyError>;

fn read(length: BodyLength, stream: &[u8], cuts: &[usize]) -> Read {
    let mut decoder = Decoder::new(length);
    let (mut data, mut trailers, mut head) = (Vec::new(), Vec::new(), Head::default());
    let mut at = 0;
    for cut in cuts.iter().copied().chain([stream.len()]) {
        loop {
            let input = &stream[at..cut];
            let decoded = decoder.decode(input, &LIMITS, &mut head)?;
            at += decoded.consumed;
            match decoded.piece {
                Piece::More => break,
                Piece::Data(range) => data.extend_from_slice(&input[range]),
                Piece::Trailers => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let line = |f: crate::Field<'_>| format!("{}={}", text(f.name), text(f.value));
                    trailers = head.fields(input).iter().map(line).collect();
                }
                Piece::End => {
                    assert!(decoder.is_over());
                    return Ok((
                        String::from_utf8(data).unwrap(),
                        trailers,
                        stream.len() - at,
                    ));
                }
            }
        }
    }
    decoder.closed()?;
    Ok((String::from_utf8(data).unwrap(), trailers, 0))
}

fn check(length: BodyLength, stream: &str, expected: &Read) {
    let stream = stream.as_bytes();
    assert_eq!(&read(length, stream, &[]), expected, "{stream:?}");
    for cut in 0..stream.len() {
        assert_eq!(
            &read(length, stream, &[cut]),
            expected,
            "{stream:?} cut at {cut}"
        );
    }
    let every: Vec<usize> = (1..stream.len()).collect();
    assert_eq!(
        &read(length, stream, &every),
        expected,
        "{stream:?} byte by byte"
    );
}

#[test]
fn bodies_end_where_their_framing_says() {
    let whole = |data: &str, trailers: &[&str], left| {
        let trailers = trailers.iter().map(|line| (*line).to_owned()).collect();
        Ok((data.to_owned(), trailers, left))
    };
    for (length, stream, expected) in [
        (BodyLength::None, "GET", whole("", &[], 3)),
        (BodyLength::Exactly(0), "", whole("", &[], 0)),
        (BodyLength::Exactly(3), "abcd", whole("abc", &[], 1)),
        (BodyLength::Exactly(3), "ab", Err(BodyError::Cut)),
        (BodyLength::UntilClose, "abc", whole("abc", &[], 0)),
        (BodyLength::UntilClose, "", whole("", &[], 0)),
        (BodyLength::Chunked, "0\r\n\r\nG", whole("", &[], 1)),
        (
            BodyLength::Chunked,
            "3\r\nabc\r\n0\r\n\r\n",
            whole("abc", &[], 0),
        ),
        (
            BodyLength::Chunked,
            "1\r\na\r\n002\r\nbc\r\n000\r\n\r\n",
            whole("abc", &[], 0),
        ),
        (
            BodyLength::Chunked,
            "A\r\n0123456789\r\n0\r\n\r\n",
            whole("0123456789", &[], 0),
        ),
        (
            BodyLength::Chunked,
            "2 \t;a=\"b\"\r\nab\r\n0;x\r\n\r\n",
            whole("ab", &[], 0),
        ),
        (
            BodyLength::Chunked,
            "2  \r\nab\r\n0\r\n\r\n",
            whole("ab", &[], 0),
        ),
        (
            BodyLength::Chunked,
            "0\r\na: b\r\nC:\td \r\n\r\nG",
            whole("", &["a=b", "C=d"], 1),
        ),
        (
            BodyLength::Chunked,
            "1\r\na\r\n0\r\nx:\r\n\r\n",
            whole("a", &["x="], 0),
        ),
        (BodyLength::Chunked, "3\r\nabc", Err(BodyError::Cut)),
        (BodyLength::Chunked, "0\r\n", Err(BodyError::Cut)),
        (BodyLength::Chunked, "", Err(BodyError::Cut)),
    ] {
        check(length, stream, &expected);
    }
}

#[test]
fn chunks_that_are_refused() {
    use BodyError::{
        ChunkEnd, ChunkExtension, ChunkExtensionsTooLarge, ChunkSize, ChunkSizeDigits,
        ChunkSizeEnd, Trailers,
    };
    for (stream, expected) in [
        ("\r\n", ChunkSize),
        (" 1\r\na\r\n", ChunkSize),
        ("+1\r\na\r\n", ChunkSize),
        ("-1\r\na\r\n", ChunkSize),
        ("g\r\n", ChunkSize),
        (";a\r\n", ChunkSize),
        ("0x1\r\na\r\n", ChunkSizeEnd),
        ("1_0\r\n", ChunkSizeEnd),
        ("1 1\r\na\r\n", ChunkSizeEnd),
        ("1\na\r\n", ChunkSizeEnd),
        ("1 \na\r\n", ChunkSizeEnd),
        ("1\0\r\na\r\n", ChunkSizeEnd),
        ("10000000000000000\r\n", ChunkSizeDigits),
        ("00000000000000000\r\n\r\n", ChunkSizeDigits),
        ("1\r\r\na\r\n", ChunkEnd),
        ("1\rXa\r\n", ChunkEnd),
        ("1\r\nab\r\n", ChunkEnd),
        ("1\r\na\n0\r\n\r\n", ChunkEnd),
        ("1\r\na\rX", ChunkEnd),
        ("1;a\nb\r\n", ChunkExtension),
        ("1;a\0b\r\n", ChunkExtension),
        ("1;a\x7f\r\n", ChunkExtension),
        ("1;a\rb\r\n", ChunkEnd),
        ("1;0123456789abcdefg\r\n", ChunkExtensionsTooLarge),
        (
            "1;0123456789\r\na\r\n1;0123456789\r\n",
            ChunkExtensionsTooLarge,
        ),
        ("1                  \r\n", ChunkExtensionsTooLarge),
        ("0\r\na: b\n\r\n", Trailers(HeadError::BareLf)),
        ("0\r\n\n", Trailers(HeadError::BareLf)),
        ("0\r\na: b\r\n c\r\n\r\n", Trailers(HeadError::Folded)),
        ("0\r\n a: b\r\n\r\n", Trailers(HeadError::Folded)),
        ("0\r\na : b\r\n\r\n", Trailers(HeadError::FieldNameSpace)),
        ("0\r\nab\r\n\r\n", Trailers(HeadError::ColonMissing)),
        ("0\r\na: \0\r\n\r\n", Trailers(HeadError::Nul)),
        ("0\r\na: b\rc\r\n\r\n", Trailers(HeadError::BareCr)),
        (
            "0\r\na:\r\nb:\r\nc:\r\n\r\n",
            Trailers(HeadError::TooManyFields),
        ),
        (
            "0\r\na: 0123456789012345678901234567890123456789012\r\n\r\n",
            Trailers(HeadError::TooLarge),
        ),
    ] {
        check(BodyLength::Chunked, stream, &Err(expected));
    }
}

#[test]
fn the_largest_chunk_is_a_number_like_others() {
    let mut decoder = Decoder::new(BodyLength::Chunked);
    let stream = b"ffffffffffffffff\r\nabc";
    let decoded = decoder
        .decode(stream, &LIMITS, &mut Head::default())
        .unwrap();
    assert_eq!(
        (decoded.consumed, decoded.piece),
        (stream.len(), Piece::Data(18..21))
    );
    assert_eq!(decoder.left(), Some(u64::MAX - 3));
}
