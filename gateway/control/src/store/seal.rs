//! Private keys at rest: AES-256-GCM under a key that lives in a file beside the store.
//!
//! Owns the key file and the sealed form. A sealed key is bound to the record that it belongs to,
//! so that it cannot be moved to another one. Does not know what the keys are for.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use boring::symm::{Cipher, decrypt_aead, encrypt_aead};

use crate::limits::KEY_FILE_BYTES_MAX;
use crate::model::id::{Id, Uuid};
use crate::model::secret::{Sealed, Secret};
use vocabulary::file::read_regular;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const HEADER: &str = "postern-ca-key-1 ";

/// Why keys cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The file cannot be read or made.
    #[error("the key file {path} cannot be used: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The store has sealed keys, and the file is gone.
    #[error(
        "the key file {path} is missing, and the store's CA and server keys are sealed with it: put it \
         back from the backup (without it the keys are lost; certificates would have to be issued anew)"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error(
        "the key file {path} may be read by others (mode {mode:04o}): it opens every CA key. Run `chmod 600 {path}`"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode bits.
        mode: u32,
    },
    /// Not a key file.
    #[error(
        "the key file {path} is damaged: it must be one line, `postern-ca-key-1` and 64 hexadecimal digits"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// A key file, of another store.
    #[error(
        "the key file {path} does not belong to this store: put back the one that was made with it"
    )]
    WrongKey {
        /// The file.
        path: PathBuf,
    },
    /// The sealed bytes were changed, or belong to another record.
    #[error("a sealed key cannot be opened: the store was changed by something else")]
    Tampered,
    /// BoringSSL refused.
    #[error("sealing failed: {0}")]
    Crypto(String),
}

/// The key that seals.
pub struct Seal {
    key: Secret,
}

fn read_text(path: &Path) -> io::Result<String> {
    let bytes = read_regular(path, KEY_FILE_BYTES_MAX)?;
    String::from_utf8(bytes).map_err(|_not_utf8| ErrorKind::InvalidData.into())
}

impl Seal {
    /// Reads the key file, or makes it (mode 0600) if `may_create`. The second value says whether
    /// it was made now, so that the caller can ask for a backup.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn open(path: &Path, may_create: bool) -> Result<(Self, bool), SealError> {
        let failed = |why| SealError::File {
            path: path.to_owned(),
            why,
        };
        let text = match read_text(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && may_create => {
                return Ok((Self::create(path)?, true));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(SealError::Missing {
                    path: path.to_owned(),
                });
            }
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(SealError::Malformed {
                    path: path.to_owned(),
                });
            }
            Err(error) => return Err(failed(error)),
        };
        let text = Secret::new(text.into_bytes());
        let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
        if mode & forbidden(path, std::env::var_os("CREDENTIALS_DIRECTORY")) != 0 {
            return Err(SealError::Exposed {
                path: path.to_owned(),
                mode,
            });
        }
        let key = text
            .reveal_text()
            .trim_end()
            .strip_prefix(HEADER)
            .and_then(unhex);
        let key = key.ok_or_else(|| SealError::Malformed {
            path: path.to_owned(),
        })?;
        Ok((Self { key }, false))
    }

    fn create(path: &Path) -> Result<Self, SealError> {
        let failed = |why| SealError::File {
            path: path.to_owned(),
            why,
        };
        let mut key = vec![0; KEY_BYTES];
        boring::rand::rand_bytes(&mut key).map_err(|e| SealError::Crypto(e.to_string()))?;
        let key = Secret::new(key);
        let mut line = String::with_capacity(HEADER.len() + 2 * KEY_BYTES + 1);
        line.push_str(HEADER);
        for byte in key.reveal() {
            line.push_str(&format!("{byte:02x}"));
        }
        line.push('\n');
        let line = Secret::new(line.into_bytes());
        // Written beside and linked when complete: half a key would lock the store for good.
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}.new", std::process::id()));
        let draft = PathBuf::from(draft);
        match fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)
            .map_err(failed)?;
        file.write_all(line.reveal())
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        fs::hard_link(&draft, path).map_err(failed)?;
        fs::remove_file(&draft).map_err(failed)?;
        if let Some(directory) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            fs::File::open(directory)
                .and_then(|d| d.sync_all())
                .map_err(failed)?;
        }
        Ok(Self { key })
    }

    /// Seals `secret` for the record named by `purpose`.
    ///
    /// # Errors
    /// BoringSSL refused.
    pub fn seal(&self, purpose: &str, secret: &[u8]) -> Result<Sealed, SealError> {
        let all = self.seal_bytes(purpose, secret)?;
        Ok(Sealed(STANDARD.encode(all)))
    }

    /// As [`Self::seal`], as bytes: nonce, sealed, tag.
    ///
    /// # Errors
    /// BoringSSL refused.
    pub(crate) fn seal_bytes(&self, purpose: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let crypto = |error: boring::error::ErrorStack| SealError::Crypto(error.to_string());
        let mut nonce = [0; NONCE_BYTES];
        boring::rand::rand_bytes(&mut nonce).map_err(crypto)?;
        let mut tag = [0; TAG_BYTES];
        let cipher = Cipher::aes_256_gcm();
        let body = encrypt_aead(
            cipher,
            self.key.reveal(),
            Some(&nonce),
            purpose.as_bytes(),
            secret,
            &mut tag,
        )
        .map_err(crypto)?;
        let mut all = Vec::with_capacity(NONCE_BYTES + body.len() + TAG_BYTES);
        all.extend_from_slice(&nonce);
        all.extend_from_slice(&body);
        all.extend_from_slice(&tag);
        Ok(all)
    }

    /// Opens what was sealed for the same `purpose`.
    ///
    /// # Errors
    /// [`SealError::Tampered`] for anything else.
    pub fn open_sealed(&self, purpose: &str, sealed: &Sealed) -> Result<Secret, SealError> {
        let all = STANDARD
            .decode(&sealed.0)
            .map_err(|_not_base64| SealError::Tampered)?;
        self.open_bytes(purpose, &all)
    }

    /// Opens what [`Self::seal_bytes`] has sealed for the same `purpose`.
    ///
    /// # Errors
    /// [`SealError::Tampered`] for anything else.
    pub(crate) fn open_bytes(&self, purpose: &str, all: &[u8]) -> Result<Secret, SealError> {
        let (nonce, rest) = all
            .split_at_checked(NONCE_BYTES)
            .ok_or(SealError::Tampered)?;
        let body_size = rest
            .len()
            .checked_sub(TAG_BYTES)
            .ok_or(SealError::Tampered)?;
        let (body, tag) = rest.split_at(body_size);
        let cipher = Cipher::aes_256_gcm();
        decrypt_aead(
            cipher,
            self.key.reveal(),
            Some(nonce),
            purpose.as_bytes(),
            body,
            tag,
        )
        .map(Secret::new)
        .map_err(|_wrong_tag| SealError::Tampered)
    }
}

/// The mode bits that a key file must not have. systemd lets a service's user read a credential by
/// an ACL, whose mask is where the group's bits are: there they say nothing of the group.
fn forbidden(path: &Path, credentials: Option<OsString>) -> u32 {
    let directory = credentials.filter(|directory| !directory.is_empty());
    let is_credential = directory.is_some_and(|directory| path.starts_with(directory));
    if is_credential { 0o037 } else { 0o077 }
}

fn unhex(text: &str) -> Option<Secret> {
    if text.len() != 2 * KEY_BYTES || !text.is_ascii() {
        return None;
    }
    let bytes = (0..KEY_BYTES)
        .map(|i| u8::from_str_radix(text.get(2 * i..2 * i + 2)?, 16).ok())
        .collect::<Option<Vec<u8>>>()?;
    Some(Secret::new(bytes))
}

/// What a managed CA's key is sealed for.
pub(crate) fn authority_purpose(id: Uuid) -> String {
    format!("authority/{id}")
}

/// What a server key is sealed for.
pub(crate) fn server_certificate_purpose(id: Uuid) -> String {
    format!("server/{id}")
}

/// What the key of a certificate that is shown to origins is sealed for: a zone, and the public key.
pub(crate) fn origin_certificate_purpose(zone: Id, public_key: &str) -> String {
    format!("origin/{zone}/{public_key}")
}

/// What the key of an account at an ACME server is sealed for.
pub(crate) fn acme_account_purpose(directory: &str) -> String {
    format!("acme/{directory}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::Directory;

    #[test]
    fn sealed_for_one_record_only() {
        let directory = Directory::new();
        let path = directory.path().join("ca.key");
        let (seal, made) = Seal::open(&path, true).unwrap();
        assert!(made);
        let sealed = seal.seal("ca/1", b"the key").unwrap();
        assert_eq!(
            seal.open_sealed("ca/1", &sealed).unwrap().reveal(),
            b"the key"
        );
        assert!(matches!(
            seal.open_sealed("ca/2", &sealed),
            Err(SealError::Tampered)
        ));
        for broken in ["", "AAAA", "!", &sealed.0.replace('A', "B")[4..]] {
            let broken = Sealed(broken.into());
            assert!(matches!(
                seal.open_sealed("ca/1", &broken),
                Err(SealError::Tampered)
            ));
        }
        let (again, made) = Seal::open(&path, true).unwrap();
        assert!(!made);
        assert_eq!(
            again.open_sealed("ca/1", &sealed).unwrap().reveal(),
            b"the key"
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            format!("{sealed:?} {:?}", Secret::new(vec![1])),
            "Sealed(…) Secret(…)"
        );
    }

    #[test]
    fn unusable_key_files() {
        let directory = Directory::new();
        let path = directory.path().join("ca.key");
        assert!(matches!(
            Seal::open(&path, false),
            Err(SealError::Missing { .. })
        ));
        for text in [
            "",
            "postern-ca-key-1 ",
            "postern-ca-key-1 00",
            &format!("{HEADER}{}", "z".repeat(64)),
        ] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(
                matches!(Seal::open(&path, true), Err(SealError::Malformed { .. })),
                "{text:?}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(
            Seal::open(&path, true),
            Err(SealError::Exposed { mode: 0o644, .. })
        ));
    }

    #[test]
    fn what_a_credential_may_look_like() {
        let directory = || Some(OsString::from("/run/credentials/postern.service"));
        let credential = Path::new("/run/credentials/postern.service/ca.key");
        for (path, directory, bits) in [
            (credential, directory(), 0o037),
            (credential, None, 0o077),
            (credential, Some(OsString::new()), 0o077),
            (Path::new("/var/lib/postern/ca.key"), directory(), 0o077),
            (
                Path::new("/run/credentials/postern.service2/ca.key"),
                directory(),
                0o077,
            ),
        ] {
            assert_eq!(forbidden(path, directory), bits, "{}", path.display());
        }
    }
}
