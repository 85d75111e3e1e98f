//! Which configuration files there are, and their texts.
//!
//! Owns the search path: `/etc/postern/postern.conf`, then drop-ins of three directories, sorted
//! together by file name; a file in /etc masks one of the same name in /run, and that one in
//! /usr/lib (an empty file or a link to /dev/null masks too). Does not look into the texts.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::ConfigError;
use crate::limits;

/// Where configuration is read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The main file, read first.
    main: PathBuf,
    /// A missing main file is an error: it was named.
    main_required: bool,
    /// Directories of drop-ins, the first masks the others.
    directories: Vec<PathBuf>,
}

/// One file's text.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

impl Default for Sources {
    /// The system's own places.
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}

impl Sources {
    /// The system's own places below another root.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            main: root.join("etc/postern/postern.conf"),
            main_required: false,
            directories: [
                "etc/postern/postern.d",
                "run/postern.d",
                "usr/lib/postern.d",
            ]
            .map(|path| root.join(path))
            .into(),
        }
    }

    /// One file that was named, with the drop-ins beside it: `postern.d` for `postern.conf`.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self {
            main: path.into(),
            main_required: true,
            directories: vec![path.with_extension("d")],
        }
    }

    /// No files at all: every default holds.
    #[must_use]
    pub fn none() -> Self {
        Self {
            main: PathBuf::new(),
            main_required: false,
            directories: Vec::new(),
        }
    }

    /// Reads all files in the order in which they count; the later wins.
    pub(super) fn read(&self, errors: &mut Vec<ConfigError>) -> Vec<Source> {
        let mut paths = vec![(self.main.clone(), self.main_required)];
        let mut drop_ins: BTreeMap<OsString, PathBuf> = BTreeMap::new();
        for directory in self.directories.iter().rev() {
            // Later inserts replace: the directories are walked from the weakest to the strongest.
            for path in list(directory, errors) {
                if let Some(name) = path.file_name() {
                    drop_ins.insert(name.to_owned(), path.clone());
                }
            }
        }
        paths.extend(drop_ins.into_values().map(|path| (path, true)));
        let mut sources = Vec::new();
        for (path, required) in paths {
            if path.as_os_str().is_empty() {
                continue;
            }
            match text(&path) {
                Ok(Some(text)) => sources.push(Source { path, text }),
                Ok(None) if required => errors.push(
                    ConfigError::file(&path, "there is no such file")
                        .help("name the configuration file with `-c FILE`"),
                ),
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        sources
    }
}

/// The `*.conf` files of a directory; none when it is not there.
fn list(directory: &Path, errors: &mut Vec<ConfigError>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            return Vec::new();
        }
        Err(error) => {
            errors.push(ConfigError::file(
                directory,
                format!("the directory cannot be read: {error}"),
            ));
            return Vec::new();
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "conf")
        })
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| !name.as_encoded_bytes().starts_with(b"."))
        })
        .take(limits::CONFIG_FILES_MAX + 1)
        .collect();
    if paths.len() > limits::CONFIG_FILES_MAX {
        let most = limits::CONFIG_FILES_MAX;
        errors.push(ConfigError::file(
            directory,
            format!("the directory has more than {most} files"),
        ));
        paths.clear();
    }
    paths
}

/// A file's text, `None` when there is no such file.
fn text(path: &Path) -> Result<Option<String>, ConfigError> {
    let unreadable = |error: std::io::Error| {
        ConfigError::file(path, format!("the file cannot be read: {error}"))
    };
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    if std::fs::canonicalize(path).is_ok_and(|real| real == Path::new("/dev/null")) {
        return Ok(Some(String::new()));
    }
    if !meta.is_file() {
        return Err(ConfigError::file(path, "this is not a file"));
    }
    let mut bytes = Vec::new();
    let file = vocabulary::file::open_regular(path).map_err(unreadable)?;
    file.take(limits::CONFIG_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > limits::CONFIG_FILE_BYTES_MAX {
        let most = limits::CONFIG_FILE_BYTES_MAX;
        return Err(ConfigError::file(
            path,
            format!("the file is larger than {most} bytes; is it a configuration file?"),
        ));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error
            .as_bytes()
            .iter()
            .take(good)
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        ConfigError::file(path, format!("line {line} is not UTF-8 text"))
    })
}
