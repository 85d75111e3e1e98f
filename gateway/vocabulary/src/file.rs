//! Files that a configuration or the API names, opened so that none can hold its reader up.
//!
//! Owns what counts as a file: a regular one. A FIFO would wait for its writer for ever, a device may
//! do anything. A network file system can still hang: who reads those gives the work a deadline.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Opens a regular file for reading, without waiting for anything.
///
/// # Errors
/// It cannot be opened, or is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    // Of what was opened: the name may be another file's by now.
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let what = if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else {
        "a device or socket"
    };
    Err(io::Error::other(format!(
        "it is {what}; a regular file is expected"
    )))
}

/// Reads a regular file of at most so many bytes.
///
/// # Errors
/// See [`open_regular`]; it is larger.
pub fn read_regular(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open_regular(path)?;
    file.take(bytes_max.saturating_add(1))
        .read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > bytes_max {
        let why = format!("it has more than {bytes_max} bytes");
        return Err(io::Error::other(why));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_is_refused_at_once() {
        let place = std::env::temp_dir().join(format!("postern-files-{}", std::process::id()));
        std::fs::create_dir_all(&place).unwrap();
        let (fifo, plain) = (place.join("fifo"), place.join("plain"));
        drop(std::fs::remove_file(&fifo));
        let made = std::process::Command::new("mkfifo").arg(&fifo).status();
        assert!(made.unwrap().success());
        std::fs::write(&plain, "1234").unwrap();
        for (path, why) in [
            (fifo.as_path(), "a FIFO"),
            (place.as_path(), "a directory"),
            (Path::new("/dev/zero"), "a device"),
            (Path::new("/dev/tty"), ""),
        ] {
            let error = read_regular(path, 4).unwrap_err().to_string();
            assert!(error.contains(why), "{}: {error}", path.display());
        }
        assert_eq!(read_regular(&plain, 4).unwrap(), b"1234");
        let error = read_regular(&plain, 3).unwrap_err().to_string();
        assert!(error.contains("more than 3 bytes"), "{error}");
        std::fs::remove_dir_all(&place).unwrap();
    }
}
