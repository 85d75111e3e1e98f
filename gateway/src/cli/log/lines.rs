//! Lines of an access log, in its file and in a pipe.
//!
//! Owns that a line that is not whole yet is not taken for one, that a line of any bytes and any length is
//! no obstacle, and which file comes after one that was rotated away. Does not know what lines say.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::limits::ACCESS_LOG_LINE_BYTES_READ;

/// Bytes from the end of a file in which the last lines are looked for.
const TAIL_BYTES: u64 = 4 * 1024 * 1024;

/// The end of a file, from the beginning of a line.
pub(super) fn tail(path: &Path) -> std::io::Result<BufReader<File>> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let from = size.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::new(file);
    if from > 0 {
        // The first is most likely the end of a line.
        drop(next_line(&mut reader)?);
    }
    Ok(reader)
}

/// A whole line, `None` when there is no more now. What is not whole yet is read again later.
pub(super) fn next_line(reader: &mut BufReader<File>) -> std::io::Result<Option<String>> {
    let line = line_bytes(reader)?;
    let count = line.len();
    if count > 0 && line.last() != Some(&b'\n') && (count as u64) < ACCESS_LOG_LINE_BYTES_READ {
        let back = i64::try_from(count).unwrap_or_default();
        reader.seek_relative(-back)?;
        return Ok(None);
    }
    Ok(readable(&line))
}

/// The whole lines that there are now.
pub(super) fn lines_until_end(
    reader: &mut BufReader<File>,
) -> impl Iterator<Item = std::io::Result<String>> {
    std::iter::from_fn(move || next_line(reader).transpose())
}

/// The next line of a pipe, waited for; `None` when whoever writes has ended.
pub(super) fn piped_line(pipe: &mut impl BufRead) -> std::io::Result<Option<String>> {
    Ok(readable(&line_bytes(pipe)?))
}

/// What there is up to the end of a line, and of a line that is no line of ours a piece.
fn line_bytes(reader: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader
        .take(ACCESS_LOG_LINE_BYTES_READ)
        .read_until(b'\n', &mut line)?;
    Ok(line)
}

/// A line without its end, whatever bytes are in it; `None` of no bytes at all.
fn readable(line: &[u8]) -> Option<String> {
    (!line.is_empty()).then(|| String::from_utf8_lossy(line).trim_end().to_owned())
}

/// The file that is at the path now, when it is the same one cut short, or another one that is written to:
/// whoever writes has finished with the old one then.
pub(super) fn successor(reader: &mut BufReader<File>, path: &Path) -> Option<File> {
    let there = File::open(path).ok()?;
    let (new, old) = (there.metadata().ok()?, reader.get_ref().metadata().ok()?);
    if (new.dev(), new.ino()) != (old.dev(), old.ino()) {
        return (new.len() > 0).then_some(there);
    }
    let was_cut = new.len() < reader.stream_position().ok()?;
    was_cut.then_some(there)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn a_line_that_is_not_whole_is_read_when_it_is_and_a_rotated_file_is_followed() {
        let directory = fixtures::Directory::new();
        let path = directory.path().join("access.log");
        std::fs::write(&path, "one\ntw").unwrap();
        let mut reader = BufReader::new(File::open(&path).unwrap());
        assert_eq!(next_line(&mut reader).unwrap().as_deref(), Some("one"));
        assert_eq!(next_line(&mut reader).unwrap(), None);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"o\n").unwrap();
        assert_eq!(next_line(&mut reader).unwrap().as_deref(), Some("two"));
        assert!(successor(&mut reader, &path).is_none());
        std::fs::rename(&path, directory.path().join("access.log.1")).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(
            successor(&mut reader, &path).is_none(),
            "until something is written to it, more may come in the old one"
        );
        std::fs::write(&path, "three\n").unwrap();
        let mut reader = BufReader::new(successor(&mut reader, &path).unwrap());
        assert_eq!(next_line(&mut reader).unwrap().as_deref(), Some("three"));
        std::fs::write(&path, "").unwrap();
        assert!(successor(&mut reader, &path).is_some(), "it was cut short");
    }

    #[test]
    fn a_line_of_any_bytes_and_any_length_is_no_obstacle() {
        let length = usize::try_from(ACCESS_LOG_LINE_BYTES_READ).unwrap();
        let mut bytes = b"\xff one\r\n\n".to_vec();
        bytes.extend(vec![b'x'; length + 1]);
        bytes.extend(b"\nlast");
        let mut pipe = &bytes[..];
        let mut next = || piped_line(&mut pipe).unwrap();
        assert_eq!(next().as_deref(), Some("\u{fffd} one"));
        assert_eq!(next().as_deref(), Some(""));
        assert_eq!(next().unwrap().len(), length, "it comes in pieces");
        assert_eq!(next().as_deref(), Some("x"));
        assert_eq!(next().as_deref(), Some("last"));
        assert_eq!(next(), None);
    }
}
