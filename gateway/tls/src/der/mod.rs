//! The little of DER (X.690) that lists and OCSP answers need, read in place.
//!
//! Lengths are bounded by the bytes that are there: a length that points past them is refused,
//! and nothing is allocated by what a length says.

mod algorithm;
mod name;

pub(crate) use self::algorithm::Algorithm;
pub(crate) use self::name::canonical_name;

/// Bytes that are not the structure that was expected: what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct DerError(pub(crate) &'static str);

/// Tags of the universal class, and `[0]`.
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const OBJECT: u8 = 0x06;
    pub(crate) const ENUMERATED: u8 = 0x0a;
    pub(crate) const UTF8_STRING: u8 = 0x0c;
    pub(crate) const PRINTABLE_STRING: u8 = 0x13;
    pub(crate) const TELETEX_STRING: u8 = 0x14;
    pub(crate) const IA5_STRING: u8 = 0x16;
    pub(crate) const VISIBLE_STRING: u8 = 0x1a;
    pub(crate) const UNIVERSAL_STRING: u8 = 0x1c;
    pub(crate) const BMP_STRING: u8 = 0x1e;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    pub(crate) const CONTEXT_0: u8 = 0xa0;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
}

/// Reads elements one after the other.
pub(crate) struct Reader<'d> {
    rest: &'d [u8],
}

impl<'d> Reader<'d> {
    pub(crate) fn new(bytes: &'d [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(crate) fn end(&self, why: &'static str) -> Result<(), DerError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(DerError(why))
        }
    }

    /// The next element, whatever it is: its tag and content.
    pub(crate) fn any(&mut self) -> Result<(u8, &'d [u8]), DerError> {
        let (tag, _, content) = self.element()?;
        Ok((tag, content))
    }

    /// The content of the next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8, why: &'static str) -> Result<&'d [u8], DerError> {
        self.whole(tag, why).map(|(_, content)| content)
    }

    /// The next element, which must have this tag: all of it, and its content.
    pub(crate) fn whole(
        &mut self,
        tag: u8,
        why: &'static str,
    ) -> Result<(&'d [u8], &'d [u8]), DerError> {
        match self.element() {
            Ok((found, whole, content)) if found == tag => Ok((whole, content)),
            _ => Err(DerError(why)),
        }
    }

    /// The content of the next element if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Result<Option<&'d [u8]>, DerError> {
        if self.rest.first() == Some(&tag) {
            self.any().map(|(_, content)| Some(content))
        } else {
            Ok(None)
        }
    }

    /// The next element if it is a time, in seconds since the epoch.
    pub(crate) fn time(&mut self) -> Result<Option<i64>, DerError> {
        match self.rest.first() {
            Some(&tag @ (tag::UTC_TIME | tag::GENERALIZED_TIME)) => {
                let content = self.expect(tag, "a time")?;
                seconds(tag, content).map(Some).ok_or(DerError("a time"))
            }
            _ => Ok(None),
        }
    }

    fn element(&mut self) -> Result<(u8, &'d [u8], &'d [u8]), DerError> {
        const BROKEN: DerError = DerError("an element is cut short");
        let (&[tag, first], after) = self.rest.split_first_chunk().ok_or(BROKEN)?;
        let (length, after) = if first < 0x80 {
            (usize::from(first), after)
        } else {
            // Four bytes of length are more than any list has; an indefinite one is not DER.
            let count = usize::from(first & 0x7f);
            if !(1..=4).contains(&count) {
                return Err(DerError("a length"));
            }
            let (digits, after) = after.split_at_checked(count).ok_or(BROKEN)?;
            let length = digits
                .iter()
                .fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
            (length, after)
        };
        let (content, rest) = after.split_at_checked(length).ok_or(BROKEN)?;
        let size = self.rest.len() - rest.len();
        let (whole, _) = self.rest.split_at(size);
        self.rest = rest;
        Ok((tag, whole, content))
    }
}

/// The SEQUENCEs in these bytes, one behind the other, each whole.
pub(crate) fn sequences(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, DerError> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (whole, _) = Reader::new(bytes).whole(tag::SEQUENCE, "it is no SEQUENCE")?;
        let (_, rest) = bytes.split_at(whole.len());
        found.push(whole.to_vec());
        bytes = rest;
    }
    Ok(found)
}

/// Calls `each` with object, criticality and value of every extension.
pub(crate) fn extensions<'d, E: From<DerError>>(
    content: &'d [u8],
    mut each: impl FnMut(&'d [u8], bool, &'d [u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut reader = Reader::new(content);
    while !reader.is_empty() {
        let mut extension = Reader::new(reader.expect(tag::SEQUENCE, "an extension")?);
        let object = extension.expect(tag::OBJECT, "an extension's name")?;
        let critical = extension
            .optional(tag::BOOLEAN)?
            .is_some_and(|value| value != [0]);
        let value = extension.expect(tag::OCTET_STRING, "an extension's value")?;
        extension.end("bytes follow an extension")?;
        each(object, critical, value)?;
    }
    Ok(())
}

/// An element of this tag and content.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let digits = content.len().to_be_bytes();
    let zeros = digits.iter().take_while(|byte| **byte == 0).count();
    let (_, digits) = digits.split_at(zeros);
    let mut out = match (content.len(), digits) {
        (0..=0x7f, digits) => vec![tag, digits.first().copied().unwrap_or(0)],
        (_, digits) => {
            let mut head = vec![tag, 0x80 | digits.len().to_le_bytes()[0]];
            head.extend_from_slice(digits);
            head
        }
    };
    out.extend_from_slice(content);
    out
}

/// An INTEGER's digits without leading zeros.
pub(crate) fn unsigned(content: &[u8]) -> &[u8] {
    let zeros = content.iter().take_while(|byte| **byte == 0).count();
    content.get(zeros..).unwrap_or_default()
}

/// RFC 5280 §4.1.2.5: `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn seconds(tag: u8, content: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match tag {
        tag::UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        _ => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |place: usize| rest.get(place..place + 2)?.parse::<u8>().ok();
    let month = time::Month::try_from(part(0)?).ok()?;
    let date = time::Date::from_calendar_date(year, month, part(2)?).ok()?;
    let time = time::Time::from_hms(part(4)?, part(6)?, part(8)?).ok()?;
    Some(date.with_time(time).assume_utc().unix_timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (tag, text, expected) in [
            (tag::UTC_TIME, "700101000000Z", Some(0)),
            (tag::UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (
                tag::GENERALIZED_TIME,
                "20500101000000Z",
                Some(2_524_608_000),
            ),
            (tag::UTC_TIME, "700101000000", None),
            (tag::UTC_TIME, "701301000000Z", None),
            (tag::UTC_TIME, "7001010000Z", None),
            (tag::GENERALIZED_TIME, "20500101000000+0100", None),
        ] {
            assert_eq!(seconds(tag, text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn lengths_never_reach_past_the_end() {
        for bytes in [
            &[0x30][..],
            &[0x30, 1],
            &[0x30, 0x80],
            &[0x30, 0x81],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
        ] {
            assert!(Reader::new(bytes).any().is_err(), "{bytes:02x?}");
        }
        assert_eq!(Reader::new(&[2, 1, 7]).any(), Ok((2, &[7][..])));
        assert_eq!(unsigned(&[0, 0, 1, 0]), [1, 0]);
    }
}
