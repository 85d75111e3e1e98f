//! Reads the GeoIP databases that the configuration names, at a start and at SIGHUP.
//!
//! Owns the files; what is in them is checked and looked up by `rules::geo`, which does no I/O.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rules::geo::{Database, Geo, GeoError};
use rules::limits::GEOIP_DATABASE_BYTES_MAX;
use vocabulary::file::open_regular;

/// Why the databases cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GeoipError {
    /// A file cannot be read.
    #[error("the GeoIP database {} cannot be read: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// What is in it is not taken.
    #[error(transparent)]
    Database(#[from] GeoError),
}

/// Reads and checks databases; `None` when there are none to read.
///
/// # Errors
/// The first that cannot be used.
pub(crate) fn open<'p>(
    paths: impl IntoIterator<Item = &'p PathBuf>,
) -> Result<Option<Geo>, GeoipError> {
    let read = |path: &PathBuf| {
        read(path).map_err(|why| GeoipError::File {
            path: path.clone(),
            why,
        })
    };
    let databases: Vec<Database> = paths.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(Geo::new(databases)?)
}

/// Reads a file, not further than one byte beyond what is taken.
///
/// It is read, not mapped: a file that is written over in place must not change under a look-up.
fn read(path: &Path) -> io::Result<Database> {
    let file = open_regular(path)?;
    let mut bytes = Vec::new();
    file.take(GEOIP_DATABASE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)?;
    Ok(Database {
        path: path.to_owned(),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_not_there_is_named() {
        let error = open([&PathBuf::from("/nowhere/x.mmdb")]).unwrap_err();
        let said = error.to_string();
        assert!(
            said.contains("/nowhere/x.mmdb") && said.contains("cannot be read"),
            "{said}"
        );
        assert!(open([]).unwrap().is_none());
    }
}
