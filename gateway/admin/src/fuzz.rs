//! What the fuzz target `admin_record` checks; ordinary tests replay its corpus.
//!
//! Takes any bytes and panics when a promise is broken. Not part of the gateway: compiled for
//! fuzzing and tests only.

/// A line of an access log that is to be run again: no panic.
pub fn line(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        crate::dry_run::read_line(text);
    }
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn the_corpus_of_log_lines_keeps_its_promises() {
        let corpus = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../tests/fuzz-native/corpus/admin_record"
        );
        let mut seen = 0;
        for file in std::fs::read_dir(corpus).unwrap() {
            let mut data = std::fs::read(file.unwrap().path()).unwrap();
            for end in 0..=data.len() {
                line(&data[..end]);
            }
            for at in 0..data.len() {
                for change in [0x01, 0x02, 0x10] {
                    data[at] ^= change;
                    line(&data);
                    data[at] ^= change;
                }
            }
            seen += 1;
        }
        assert!(seen > 0, "no corpus in {corpus}");
    }
}
