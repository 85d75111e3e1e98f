//! What the fuzz target `cli_yaml` checks; ordinary tests replay its corpus.
//!
//! Takes any bytes and panics when a promise is broken. Not part of the binary: compiled for fuzzing
//! and tests only.

use crate::cli::output::yaml;

/// A document of `postern apply`: no panic; an error stands at a place in the text; what is written of
/// a value reads as that value.
pub fn document(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match yaml::read(text) {
        Ok(read) => {
            let written = yaml::text(&read.value);
            let again = yaml::read(&written).expect("what was written can be read");
            assert_eq!(again.value, read.value, "{written}");
        }
        Err(wrong) => {
            assert!(!wrong.why.is_empty());
            let lines = text.lines().count() + 1;
            assert!(
                (1..=lines).contains(&wrong.position.line),
                "{:?} of {lines}",
                wrong.position
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::document;

    #[test]
    fn the_corpus_of_documents_keeps_its_promises() {
        let corpus = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/fuzz-native/corpus/cli_yaml"
        );
        let mut seen = 0;
        for file in std::fs::read_dir(corpus).unwrap() {
            let mut data = std::fs::read(file.unwrap().path()).unwrap();
            for end in 0..=data.len() {
                document(&data[..end]);
            }
            for at in 0..data.len() {
                for change in [0x01, 0x02, 0x10] {
                    data[at] ^= change;
                    document(&data);
                    data[at] ^= change;
                }
            }
            seen += 1;
        }
        assert!(seen > 0, "no corpus in {corpus}");
    }
}
