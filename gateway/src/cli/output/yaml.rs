//! A YAML and JSON reader that keeps the position of every value, and a YAML writer.
//!
//! Owns the small part of YAML 1.2 that a configuration needs: mappings, lists and plain values of
//! the core schema. Anchors, aliases, tags and further documents are refused, so that a file means
//! what it shows. JSON is a subset.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

use crate::limits::DOCUMENT_DEPTH_MAX;

/// Line and column, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) position: Position,
    pub(crate) why: String,
}

/// A value and where its parts stand, by JSON pointer.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) value: Value,
    /// Where values begin.
    values: HashMap<String, Position>,
    /// Where the keys of mappings stand.
    keys: HashMap<String, Position>,
}

impl Marked {
    /// Where a value stands, or the nearest thing around it; the key when that is what is wrong.
    pub(crate) fn position(&self, pointer: &str, key: bool) -> Option<Position> {
        let mut pointer = pointer;
        if key && let Some(position) = self.keys.get(pointer) {
            return Some(*position);
        }
        loop {
            if let Some(position) = self.values.get(pointer) {
                return Some(*position);
            }
            pointer = pointer.rsplit_once('/')?.0;
        }
    }

    /// Gives a value another name beside the old one's place.
    pub(crate) fn moved(&mut self, from: &str, to: &str) {
        for map in [&mut self.values, &mut self.keys] {
            if let Some(position) = map.get(from).copied() {
                map.insert(to.to_owned(), position);
            }
        }
    }
}

fn position(marker: &Marker) -> Position {
    Position {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

/// One segment of a JSON pointer (RFC 6901 §3).
pub(crate) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    values: HashMap<String, Position>,
    keys: HashMap<String, Position>,
}

fn wrong<T>(position: Position, why: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        position,
        why: why.into(),
    })
}

/// A plain scalar by the core schema (YAML 1.2.2 §10.3.2).
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.starts_with(|c: char| c.is_ascii_digit()) {
        if let Ok(number) = text.trim_start_matches('+').parse::<i64>() {
            return number.into();
        }
        if let Some(number) = text.parse::<f64>().ok().and_then(Number::from_f64) {
            return number.into();
        }
    }
    text.into()
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Position), Wrong> {
        match self.parser.next() {
            Some(Ok((event, span))) => Ok((event, position(&span.start))),
            Some(Err(error)) => wrong(position(error.marker()), error.info()),
            None => Ok((Event::StreamEnd, Position { line: 1, column: 1 })),
        }
    }

    fn value(
        &mut self,
        event: Event<'t>,
        at: Position,
        pointer: &str,
        depth: usize,
    ) -> Result<Value, Wrong> {
        if depth > DOCUMENT_DEPTH_MAX {
            return wrong(at, format!("nested deeper than {DOCUMENT_DEPTH_MAX}"));
        }
        let plainly = |anchor: usize, tagged: bool| {
            if anchor != 0 || tagged {
                return wrong(
                    at,
                    "anchors and tags are not read here; write the value itself",
                );
            }
            Ok(())
        };
        self.values.insert(pointer.to_owned(), at);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                plainly(anchor, tag.is_some())?;
                Ok(match style {
                    ScalarStyle::Plain => plain(&text),
                    _ => text.into_owned().into(),
                })
            }
            Event::SequenceStart(anchor, tag) => {
                plainly(anchor, tag.is_some())?;
                let mut items = Vec::new();
                loop {
                    let (event, at) = self.next()?;
                    if matches!(event, Event::SequenceEnd) {
                        return Ok(items.into());
                    }
                    let pointer = format!("{pointer}/{}", items.len());
                    items.push(self.value(event, at, &pointer, depth + 1)?);
                }
            }
            Event::MappingStart(anchor, tag) => {
                plainly(anchor, tag.is_some())?;
                let mut fields = Map::new();
                loop {
                    let (event, at) = self.next()?;
                    let key = match event {
                        Event::MappingEnd => return Ok(fields.into()),
                        Event::Scalar(key, _, 0, None) => key.into_owned(),
                        _ => return wrong(at, "a key must be a plain word"),
                    };
                    let pointer = format!("{pointer}/{}", escaped(&key));
                    self.keys.insert(pointer.clone(), at);
                    let (event, value_at) = self.next()?;
                    let value = self.value(event, value_at, &pointer, depth + 1)?;
                    if fields.insert(key.clone(), value).is_some() {
                        let why = format!("`{}` is here twice", key.escape_debug());
                        return wrong(at, why);
                    }
                }
            }
            Event::Alias(_) => wrong(at, "aliases are not read here; write the value itself"),
            _ => wrong(at, "a value is missing"),
        }
    }
}

/// Reads one document of YAML or JSON.
pub(crate) fn read(text: &str) -> Result<Marked, Wrong> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        values: HashMap::new(),
        keys: HashMap::new(),
    };
    loop {
        let (event, at) = reader.next()?;
        match event {
            Event::StreamStart | Event::Nothing | Event::DocumentStart(_) => {}
            Event::StreamEnd => return wrong(at, "the file is empty"),
            event => {
                let value = reader.value(event, at, "", 0)?;
                loop {
                    let (event, at) = reader.next()?;
                    match event {
                        Event::StreamEnd => break,
                        Event::DocumentEnd | Event::Nothing => {}
                        _ => return wrong(at, "only one document is read from a file"),
                    }
                }
                return Ok(Marked {
                    value,
                    values: reader.values,
                    keys: reader.keys,
                });
            }
        }
    }
}

/// Which keys people look for first; the others follow by name.
const FIRST: [&str; 11] = [
    "postern",
    "name",
    "ref",
    "kind",
    "authority",
    "description",
    "expression",
    "action",
    "url",
    "value",
    "mtls",
];

fn ordered(fields: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut fields: Vec<_> = fields.iter().collect();
    let rank = |key: &str| {
        FIRST
            .iter()
            .position(|first| *first == key)
            .unwrap_or(FIRST.len())
    };
    // What nests comes after what is one line.
    fields.sort_by_key(|(key, value)| (rank(key), is_nested(value), (*key).clone()));
    fields
}

fn is_nested(value: &Value) -> bool {
    match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => false,
    }
}

/// A text on one line: plain when it cannot be taken for anything else, else quoted as in JSON,
/// which YAML reads alike.
fn scalar(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
    let bare = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(is_word)
        && !text.ends_with(':')
        && matches!(plain(text), Value::String(_));
    if bare && !matches!(text, "yes" | "no" | "on" | "off" | "y" | "n") {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

fn write(out: &mut String, value: &Value, indent: usize) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in ordered(fields) {
                out.push_str(&format!("{pad}{}:", scalar(key)));
                below(out, value, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let mut text = String::new();
                match item {
                    Value::Object(fields) if !fields.is_empty() => {
                        write(&mut text, item, indent + 2);
                        out.push_str(&format!("{pad}- {}", text.trim_start()));
                    }
                    item => {
                        out.push_str(&format!("{pad}-"));
                        below(out, item, indent);
                    }
                }
            }
        }
        other => {
            out.push_str(&pad);
            out.push_str(&inline(other));
            out.push('\n');
        }
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// What follows a key or a dash.
fn below(out: &mut String, value: &Value, indent: usize) {
    match value {
        // PEM: lines without anything that a literal block would change.
        Value::String(text) if is_block(text) => {
            out.push_str(" |\n");
            for line in text.lines() {
                out.push_str(&format!("{}{line}\n", " ".repeat(indent + 4)));
            }
        }
        value if is_nested(value) => {
            out.push('\n');
            write(out, value, indent + 2);
        }
        value => {
            out.push_str(&format!(" {}\n", inline(value)));
        }
    }
}

fn is_block(text: &str) -> bool {
    let tame = |line: &str| {
        !line.is_empty()
            && !line.starts_with(char::is_whitespace)
            && line.chars().all(|c| c == ' ' || c.is_ascii_graphic())
    };
    text.ends_with('\n') && text.split_terminator('\n').all(tame)
}

/// A value as YAML.
pub(crate) fn text(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_read_back() {
        for value in [
            json!({"postern": 1, "zones": [{"name": "example.com", "hosts": [{"name": "a"}, {}], "x": []}]}),
            json!({"a": "-----BEGIN X-----\nabc\n-----END X-----\n", "b": "no newline\nat the end"}),
            json!({"q": "(http.request.uri.path eq \"/a\")", "n": "no", "t": "true", "num": "12", "e": "", "s": " x", "c": "a: b", "h": "# c"}),
            json!({"deep": [[1, 2], [], [{"k": [null, true, 1.5, -3]}]], "k ey": "v", "1": 2, "u": "äöü\u{7}\t"}),
            json!({"blank": "a\n\nb\n", "tab": "\tx\n", "mac": "de:ad:be", "net": "10.0.0.0/8", "star": "*.example.com"}),
            json!([]),
            json!("x"),
        ] {
            let written = text(&value);
            assert_eq!(
                read(&written).map(|read| read.value),
                Ok(value.clone()),
                "{written}"
            );
            assert_eq!(
                read(&value.to_string()).map(|read| read.value),
                Ok(value.clone()),
                "{value}"
            );
            assert_eq!(
                read(&format!("{value:#}")).map(|read| read.value),
                Ok(value),
                "pretty"
            );
        }
    }

    #[test]
    fn places() {
        let read =
            read("postern: 1\nzones:\n  - name: a.test\n    hosts:\n      - name: x\n").unwrap();
        for (pointer, key, line, column) in [
            ("/postern", false, 1, 10),
            ("/postern", true, 1, 1),
            ("/zones/0/name", false, 3, 11),
            ("/zones/0/hosts", true, 4, 5),
            ("/zones/0/hosts/0/name", false, 5, 15),
            ("/zones/0/hosts/0/name/not/there", false, 5, 15),
        ] {
            assert_eq!(
                read.position(pointer, key),
                Some(Position { line, column }),
                "{pointer}"
            );
        }
    }

    #[test]
    fn refused() {
        for (text, line, why) in [
            ("", 1, "empty"),
            ("a: 1\na: 2\n", 2, "twice"),
            ("a: &x 1\n", 1, "anchors"),
            ("a: !!str 1\n", 1, "tags"),
            ("a: [1, 2\n", 2, ""),
            ("a: 1\n---\nb: 2\n", 2, "one document"),
            ("? [a]\n: b\n", 1, "key"),
        ] {
            let wrong = read(text).unwrap_err();
            assert!(wrong.why.contains(why), "{text:?}: {wrong:?}");
            assert!(wrong.position.line <= line + 1, "{text:?}: {wrong:?}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(&deep).is_err());
    }
}
