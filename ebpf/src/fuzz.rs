//! What the fuzz targets `ebpf_frame` and `ebpf_hello` check; ordinary tests replay their corpora.
//!
//! Takes any bytes and panics when a promise of the parsers is broken. Not part of the program:
//! compiled for fuzzing and tests only.

use crate::hello::{self, Hello, NAME_SIZE_MAX};
use crate::packet;

/// A frame: no panic, and what is located lies in it.
pub fn frame(data: &[u8]) {
    let Ok(found) = packet::segment(data, data.len()) else {
        return;
    };
    assert!(found.ip_at < found.tcp_at && found.tcp_at < found.payload_at);
    let end = found.payload_at + found.payload_size;
    assert!(end <= data.len(), "the payload lies in the frame");
    if let Hello::Named { at, size } = hello::find(data, found.payload_at, end) {
        assert!(at >= found.payload_at && at + size <= end);
    }
}

/// The first bytes of a connection: no panic, a name lies in them, and bytes that come later change
/// nothing of an answer that was given.
pub fn stream(data: &[u8]) {
    let whole = hello::find(data, 0, data.len());
    if let Hello::Named { at, size } = whole {
        assert!((1..=NAME_SIZE_MAX).contains(&size) && at + size <= data.len());
        assert!(hello::exact_key(data, at, size).is_some());
    }
    for end in 0..data.len() {
        match hello::find(data, 0, end) {
            Hello::Partial => {}
            early => assert_eq!(early, whole, "at {end} of {} bytes", data.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{frame, stream};

    /// Every file of a corpus, every prefix of it, and every byte changed in three ways.
    fn sweep(target: &str, check: fn(&[u8])) {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fuzz/corpus");
        let mut seen = 0;
        for file in std::fs::read_dir(format!("{corpus}/{target}")).unwrap() {
            let mut data = std::fs::read(file.unwrap().path()).unwrap();
            for end in 0..=data.len() {
                check(&data[..end]);
            }
            for at in 0..data.len() {
                for change in [0x01, 0x80, 0xff] {
                    data[at] ^= change;
                    check(&data);
                    data[at] ^= change;
                }
            }
            seen += 1;
        }
        assert!(seen > 0, "no corpus of {target}");
    }

    #[test]
    fn the_corpus_of_frames_keeps_its_promises() {
        sweep("ebpf_frame", frame);
    }

    #[test]
    fn the_corpus_of_streams_keeps_its_promises() {
        sweep("ebpf_hello", stream);
    }
}
