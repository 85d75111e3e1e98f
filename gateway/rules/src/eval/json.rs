//! `lookup_json_string` and `lookup_json_integer`: one value out of a JSON text (RFC 8259).
//!
//! Builds no document and allocates nothing; a library's reader allocates for strings with escapes.
//! The whole text has to be valid JSON, otherwise the value is missing.

use super::decode::hex_pair;
use super::value::{Scratch, Value};
use crate::limits;
use crate::syntax::ast::Argument;

/// The string at that path.
pub(crate) fn string<'a>(source: Value<'a>, path: &[Argument], scratch: &mut Scratch) -> Value<'a> {
    let found = scratch.bytes(source).and_then(|text| look_up(text, path));
    let Some(Found::Text(text)) = found else {
        return Value::Missing;
    };
    let Text { start, end, .. } = text;
    if !text.has_escapes {
        return match source {
            Value::Bytes(bytes) => bytes.get(start..end).map_or(Value::Missing, Value::Bytes),
            Value::Made(from, _) => Value::Made(from + start, from + end),
            _ => Value::Missing,
        };
    }
    let mark = scratch.mark();
    // Nothing gets longer by being decoded.
    let (input, output) = scratch.input_and_output(source, end - start);
    let mut room = output.iter_mut();
    let decoded = decode(input.get(start..end).unwrap_or_default(), |bytes| {
        for (byte, slot) in bytes.iter().zip(room.by_ref()) {
            *slot = *byte;
        }
        true
    });
    let left = room.len();
    if decoded.is_none() {
        scratch.forget(mark);
        return Value::Missing;
    }
    scratch.forget(scratch.mark() - left);
    scratch.made(mark)
}

/// The integer at that path; a number written with a point or exponent is none.
pub(crate) fn integer<'a>(
    source: Value<'a>,
    path: &[Argument],
    scratch: &mut Scratch,
) -> Value<'a> {
    match scratch.bytes(source).and_then(|text| look_up(text, path)) {
        Some(Found::Integer(value)) => Value::Int(value),
        _ => Value::Missing,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Text(Text),
    Integer(i64),
}

/// Where a string is, without its quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Text {
    start: usize,
    end: usize,
    has_escapes: bool,
}

fn look_up(text: &[u8], path: &[Argument]) -> Option<Found> {
    std::str::from_utf8(text).ok()?;
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let found = reader.value(Some(path))?;
    reader.blank();
    found.filter(|_| reader.at == text.len())
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    depth: usize,
}

/// In all of these, `None` is: this is not JSON.
impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// A value, and what is found in it at the end of `path`; without a path nothing is looked for.
    fn value(&mut self, path: Option<&[Argument]>) -> Option<Option<Found>> {
        self.blank();
        let wanted = path.is_some_and(<[_]>::is_empty);
        match self.peek()? {
            b'{' => self.within(|reader| reader.object(path)),
            b'[' => self.within(|reader| reader.array(path)),
            b'"' => {
                let text = self.string()?;
                Some(wanted.then_some(Found::Text(text)))
            }
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => {
                let number = self.number()?;
                Some(number.filter(|_| wanted).map(Found::Integer))
            }
        }
    }

    /// One level down, behind the opening bracket.
    fn within<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        if self.depth == limits::JSON_NESTING_MAX {
            return None;
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Some(value)
    }

    fn object(&mut self, path: Option<&[Argument]>) -> Option<Option<Found>> {
        let wanted = match path {
            Some([Argument::Bytes(name), rest @ ..]) => Some((&**name, rest)),
            _ => None,
        };
        let mut found = None;
        self.blank();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(None);
        }
        loop {
            self.blank();
            let name = self.string()?;
            let here = wanted.filter(|(wanted, _)| self.is(name, wanted));
            self.blank();
            if self.next()? != b':' {
                return None;
            }
            let inner = self.value(here.map(|(_, rest)| rest))?;
            if here.is_some() {
                // Of a repeated name the last one counts, as everywhere in JSON practice.
                found = inner;
            }
            if self.ends(b'}')? {
                return Some(found);
            }
        }
    }

    fn array(&mut self, path: Option<&[Argument]>) -> Option<Option<Found>> {
        let wanted = match path {
            Some([Argument::Int(index), rest @ ..]) => Some((*index, rest)),
            _ => None,
        };
        let mut found = None;
        self.blank();
        if self.peek()? == b']' {
            self.at += 1;
            return Some(None);
        }
        for at in 0.. {
            let here = wanted.filter(|(index, _)| *index == at);
            let inner = self.value(here.map(|(_, rest)| rest))?;
            found = inner.or(found);
            if self.ends(b']')? {
                break;
            }
        }
        Some(found)
    }

    /// After an item: whether it was the last one.
    fn ends(&mut self, close: u8) -> Option<bool> {
        self.blank();
        match self.next()? {
            b',' => Some(false),
            byte => (byte == close).then_some(true),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<Option<Found>> {
        let there = self.text.get(self.at..)?.starts_with(word);
        self.at += word.len();
        there.then_some(None)
    }

    fn string(&mut self) -> Option<Text> {
        if self.next()? != b'"' {
            return None;
        }
        let start = self.at;
        let mut has_escapes = false;
        loop {
            match self.next()? {
                b'"' => {
                    let end = self.at - 1;
                    return Some(Text {
                        start,
                        end,
                        has_escapes,
                    });
                }
                b'\\' => {
                    has_escapes = true;
                    match self.next()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            unit(self.text.get(self.at..)?)?;
                            self.at += 4;
                        }
                        _ => return None,
                    }
                }
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn is(&self, name: Text, wanted: &[u8]) -> bool {
        let raw = self.text.get(name.start..name.end).unwrap_or_default();
        if !name.has_escapes {
            return raw == wanted;
        }
        let mut rest = Some(wanted);
        let decoded = decode(raw, |bytes| {
            rest = rest.and_then(|rest| rest.strip_prefix(bytes));
            rest.is_some()
        });
        decoded.is_some() && rest.is_some_and(<[_]>::is_empty)
    }

    /// A number; its value if it is a plain integer of 64 bits.
    fn number(&mut self) -> Option<Option<i64>> {
        let start = self.at;
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.next()? {
            b'0' => {}
            b'1'..=b'9' => {
                let _more = self.digits();
            }
            _ => return None,
        }
        let end = self.at;
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let plain = self.text.get(start..end).filter(|_| self.at == end);
        let plain = plain.and_then(|digits| std::str::from_utf8(digits).ok());
        Some(plain.and_then(|digits| digits.parse().ok()))
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

/// The number that four hexadecimal digits mean.
fn unit(digits: &[u8]) -> Option<u32> {
    let high = hex_pair(digits)?;
    let low = hex_pair(digits.get(2..)?)?;
    Some(u32::from(high) << 8 | u32::from(low))
}

/// Shows the bytes that a string's raw text means, until `show` says no; `None` where half of a
/// surrogate pair stands for no character.
fn decode(raw: &[u8], mut show: impl FnMut(&[u8]) -> bool) -> Option<()> {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        let escaped = *escape.get(1)?;
        let mut length = 2;
        let character = match escaped {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut code = unit(escape.get(2..)?)?;
                length = 6;
                if let 0xd800..0xdc00 = code
                    && let Some([b'\\', b'u', digits @ ..]) = escape.get(6..)
                    && let Some(low @ 0xdc00..0xe000) = unit(digits)
                {
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                    length = 12;
                }
                char::from_u32(code)?
            }
            other => char::from(other),
        };
        let mut buffer = [0; 4];
        if !show(plain) || !show(character.encode_utf8(&mut buffer).as_bytes()) {
            return Some(());
        }
        rest = escape.get(length..)?;
    }
    show(rest);
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::fuzz::as_a_library_says;

    fn check(text: &str, path: &[Argument]) {
        as_a_library_says(text.as_bytes(), path);
    }

    fn name(name: &str) -> Argument {
        Argument::Bytes(name.as_bytes().into())
    }

    fn paths() -> [Vec<Argument>; 6] {
        [
            vec![],
            vec![name("a")],
            vec![name("a"), name("é\n")],
            vec![Argument::Int(0)],
            vec![Argument::Int(1), name("a")],
            vec![name("a"), Argument::Int(1)],
        ]
    }

    #[test]
    fn as_a_library_reads_it() {
        let deep = |levels| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let mut texts: Vec<String> = [
            "",
            " ",
            "1",
            "-1",
            " 1 ",
            "01",
            "1.",
            "1.0",
            "1e2",
            "1E+2",
            "1e",
            "-",
            "+1",
            "--1",
            ".5",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "true",
            "tru",
            "nul",
            "null ",
            "truee",
            r#""""#,
            r#""x"#,
            r#""\x""#,
            r#""\u00e9\ud83d\ude00\/\b\f\n\r\t\"\\""#,
            r#""\u00g0""#,
            r#""\u00""#,
            "\"\t\"",
            "\"é\"",
            "{}",
            "{ }",
            "[ ]",
            "[1,]",
            "{,}",
            r#"{"a":1}"#,
            r#"{"a" : 1 , "b":[]}"#,
            r#"{"a":1,}"#,
            r#"{"a":1"#,
            r#"{"a"}"#,
            r#"{a:1}"#,
            r#"{"a":1,"a":"two"}"#,
            r#"{"a":1,"a":null}"#,
            r#"{"\u0061":"y"}"#,
            r#"{"a":{"\u00e9\n":"y","é":1}}"#,
            r#"{"a":[1,-3,"x"]}"#,
            r#"[1,{"a":"\u0041"}]"#,
            r#"[[1],{"b":2}]"#,
            "[1] 2",
            r#"{"a":"x"}}"#,
            "[1 2]",
            r#"{"a" 1}"#,
        ]
        .map(str::to_owned)
        .into();
        texts.extend([deep(126), deep(127), deep(128), deep(5000)]);
        for text in &texts {
            for path in &paths() {
                check(text, path);
            }
        }
    }

    #[test]
    fn half_a_pair_is_no_text() {
        for text in [
            r#""\ud83d""#,
            r#""\ud83dx""#,
            r#""\ude00\ud83d""#,
            r#""\ud83d\u0041""#,
        ] {
            check(text, &[]);
        }
    }

    proptest! {
        #[test]
        fn any_pieces_are_read_as_a_library_reads_them(
            pieces in proptest::collection::vec(proptest::sample::select(vec![
                "{", "}", "[", "]", ",", ":", "\"a\"", "\"\\u0061\"", "\"é\\n\"", "1", "-7", "1.5", "true", "null", " ", "\"x\\\"y\"",
                "{\"a\":", "[1,", "\\", "\"", "0",
            ]), 0..10)
        ) {
            let text = pieces.concat();
            for path in &paths() {
                check(&text, path);
            }
        }
    }
}
