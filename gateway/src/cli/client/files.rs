//! Files that commands read and write.
//!
//! Owns the bounds on reading, and the modes that keep private keys unreadable to others. Does not
//! interpret contents.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use boring::x509::X509;
use tls::pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::cli::output::CliError;
use crate::limits;

/// The text of a file; `-` is standard input.
pub(crate) fn read_text(path: &Path) -> Result<String, CliError> {
    String::from_utf8(read_bytes(path)?).map_err(|_position| {
        let name = path.display();
        CliError::Failed(format!("{name} is not text"))
    })
}

/// The bytes of a file; `-` is standard input.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, CliError> {
    let name = path.display();
    let failed = |why: std::io::Error| CliError::Failed(format!("{name} cannot be read: {why}"));
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(limits::CLI_FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(limits::CLI_FILE_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    }
    if bytes.len() as u64 > limits::CLI_FILE_BYTES_MAX {
        let most = limits::CLI_FILE_BYTES_MAX;
        return Err(CliError::Failed(format!(
            "{name} is larger than {most} bytes; is it the right file?"
        )));
    }
    Ok(bytes)
}

fn wrong(path: &Path, why: &dyn std::fmt::Display) -> CliError {
    CliError::Failed(format!("{}: {why}", path.display()))
}

/// The certificates in a file of PEM, as a text of them alone and read.
pub(crate) fn read_certificates(
    path: &Path,
    of: pem::Use,
) -> Result<(String, Vec<X509>), CliError> {
    let found = pem::certificates(&read_bytes(path)?, of).map_err(|why| wrong(path, &why))?;
    let mut text = String::new();
    for certificate in &found {
        let der = certificate.to_der().map_err(|why| wrong(path, &why))?;
        text.push_str(&pem::write("CERTIFICATE", &der));
    }
    Ok((text, found))
}

/// The private key in a file of PEM, as PKCS#8.
pub(crate) fn read_key(path: &Path) -> Result<String, CliError> {
    let key = pem::private_key(&read_bytes(path)?).map_err(|why| wrong(path, &why))?;
    let text = key
        .private_key_to_pem_pkcs8()
        .map_err(|why| wrong(path, &why))?;
    String::from_utf8(text).map_err(|why| wrong(path, &why))
}

/// The request in a file of PEM.
pub(crate) fn read_request(path: &Path) -> Result<String, CliError> {
    let request = pem::request(&read_bytes(path)?).map_err(|why| wrong(path, &why))?;
    let der = request.to_der().map_err(|why| wrong(path, &why))?;
    Ok(pem::write("CERTIFICATE REQUEST", &der))
}

/// The revocation lists in a file, PEM or DER, as PEM, with the certificates of issuing CAs that
/// came along.
pub(crate) fn read_lists(path: &Path) -> Result<String, CliError> {
    let found = pem::lists(&read_bytes(path)?).map_err(|why| wrong(path, &why))?;
    let mut text = String::new();
    for list in &found.lists {
        text.push_str(&pem::write("X509 CRL", list));
    }
    for certificate in &found.below {
        let der = certificate.to_der().map_err(|why| wrong(path, &why))?;
        text.push_str(&pem::write("CERTIFICATE", &der));
    }
    Ok(text)
}

/// A certificate in a file, to look into.
pub(crate) struct Certificate<'f> {
    file: &'f Path,
    der: Vec<u8>,
}

impl<'f> Certificate<'f> {
    /// Reads PEM, of several certificates the first.
    pub(crate) fn read(file: &'f Path) -> Result<Self, CliError> {
        let found = pem::certificate(&read_bytes(file)?).map_err(|why| wrong(file, &why))?;
        let der = found.to_der().map_err(|why| wrong(file, &why))?;
        Ok(Self { file, der })
    }

    /// What is in it.
    pub(crate) fn parsed(&self) -> Result<X509Certificate<'_>, CliError> {
        X509Certificate::from_der(&self.der)
            .map(|(_, parsed)| parsed)
            .map_err(|_unreadable| self.lacks("cannot be read"))
    }

    /// What is wrong with it, after "the certificate".
    pub(crate) fn lacks(&self, what: &str) -> CliError {
        CliError::Failed(format!("{}: the certificate {what}", self.file.display()))
    }
}

/// Writes a new file; an existing one is kept, and is an error.
pub(crate) fn write_new(
    path: &Path,
    contents: impl AsRef<[u8]>,
    mode: u32,
) -> Result<(), CliError> {
    let mut options = OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(contents.as_ref())?;
            file.sync_all()
        });
    written.map_err(|why| {
        let name = path.display();
        CliError::Failed(match why.kind() {
            std::io::ErrorKind::AlreadyExists => {
                format!("{name} already exists; move it away first")
            }
            _ => format!("{name} cannot be written: {why}"),
        })
    })
}

/// Mode of a file that every user may read.
pub(crate) const PUBLIC: u32 = 0o644;
/// Mode of a file that holds a key.
pub(crate) const PRIVATE: u32 = 0o600;
