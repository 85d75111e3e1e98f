//! What the fuzz target `config_text` checks; ordinary tests replay its corpus.
//!
//! Takes any bytes and panics when a promise is broken. Not part of the gateway: compiled for
//! fuzzing and tests only.

use std::path::Path;

use crate::{Config, syntax};

/// Configuration text: no panic; every error stands at a place in the text and can be shown; a
/// comment more changes nothing.
pub fn text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let name = Path::new("fuzzed.conf");
    for assignment in syntax::assignments(text).flatten() {
        let (key, value) = (assignment.key_at, assignment.value_at);
        assert!(key.end <= value.start, "a value stands behind its key");
        assert_eq!(assignment.text.get(value), Some(assignment.value));
        assert!(assignment.text.get(key).is_some());
    }
    let lines = text.lines().count();
    let read = Config::parse(name, text);
    match &read {
        Ok(config) => {
            assert!(!config.listen.is_empty() && config.workers > 0);
            // At the end only: a mark of byte order is one at the beginning only.
            let again = Config::parse(name, &format!("{text}\n# one more\n; and another\n"));
            assert_eq!(again.as_ref(), Ok(config), "a comment changes nothing");
        }
        Err(errors) => {
            assert!(!errors.0.is_empty(), "a refusal says why");
            for error in &errors.0 {
                assert!(!error.to_string().is_empty());
                let line = error.span.as_ref().map_or(1, |span| span.line);
                assert!((1..=lines.max(1)).contains(&line), "line {line} of {lines}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::text;
    use crate::KEYS;

    #[test]
    fn the_corpus_of_configuration_text_keeps_its_promises() {
        let corpus = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fuzz/corpus/config_text"
        );
        let mut seen = 0;
        for file in std::fs::read_dir(corpus).unwrap() {
            let data = std::fs::read(file.unwrap().path()).unwrap();
            for end in 0..=data.len() {
                text(&data[..end]);
            }
            seen += 1;
        }
        assert!(seen > 0, "no corpus in {corpus}");
    }

    #[test]
    fn every_byte_of_a_whole_file_may_be_another() {
        let all: String = KEYS
            .iter()
            .map(|key| format!("-{} = {}\n", key.name, 7))
            .collect();
        let data = all.as_bytes();
        for (place, byte) in data.iter().enumerate() {
            for other in [byte ^ 1, byte ^ 0x80, 0, b'\n', b'=', b'/', b'.', b'"'] {
                let mut changed = data.to_vec();
                changed[place] = other;
                // The line alone: the whole file is as long as all keys together.
                let start = data[..place].iter().rposition(|byte| *byte == b'\n');
                let start = start.map_or(0, |at| at + 1);
                let end = changed[place..].iter().position(|byte| *byte == b'\n');
                let end = end.map_or(changed.len(), |at| place + at);
                text(&changed[start..end]);
            }
        }
        text(data);
    }
}
