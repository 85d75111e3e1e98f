//! The files that `postern cert create` writes: certificate, key, and both in PKCS#12.
//!
//! Owns their names, and the password of the PKCS#12 file. Does not make certificates.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::cli::client::files::{PRIVATE, PUBLIC, read_text, write_new};
use crate::cli::client::names::str_of;
use crate::cli::output::CliError;

/// What `--json` calls the file that a certificate was written to, as documents do.
pub(crate) const CERTIFICATE_FILE: &str = "certificate_file";

/// Where certificate and key go; none of them may be there yet.
pub(crate) struct Targets {
    pem: PathBuf,
    key: PathBuf,
    p12: PathBuf,
}

impl Targets {
    /// The files for a common name in this directory.
    pub(crate) fn of(directory: &Path, cn: &str) -> Result<Self, CliError> {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
        let name: String = cn.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        let name = name.trim_start_matches('.');
        if name.is_empty() {
            return Err(CliError::Usage(format!(
                "`{cn}` makes no file name; leave --out away and redirect the output"
            )));
        }
        let shown = directory.display();
        if !directory.is_dir() {
            return Err(CliError::Failed(format!("{shown} is not a directory")));
        }
        let at = |end: &str| directory.join(format!("{name}.{end}"));
        let targets = Self {
            pem: at("pem"),
            key: at("key"),
            p12: at("p12"),
        };
        for path in [&targets.pem, &targets.key, &targets.p12] {
            if path.exists() {
                let path = path.display();
                return Err(CliError::Failed(format!(
                    "{path} already exists; move it away first"
                )));
            }
        }
        Ok(targets)
    }

    /// Writes what the gateway made, with a password the PKCS#12 file too.
    pub(crate) fn write(&self, made: &Value, password: Option<&Password>) -> Result<(), CliError> {
        write_new(&self.key, str_of(made, "private_key"), PRIVATE)?;
        write_new(&self.pem, str_of(made, "certificate"), PUBLIC)?;
        if password.is_none() {
            return Ok(());
        }
        let file = STANDARD.decode(str_of(made, "pkcs12")).unwrap_or_default();
        if file.is_empty() {
            let why = "the gateway sent no PKCS#12 file; is it of another version?";
            return Err(CliError::Failed(why.into()));
        }
        write_new(&self.p12, file, PRIVATE)
    }

    /// What was written, for people.
    pub(crate) fn told(&self, password: Option<&Password>) -> String {
        let mut told = format!("wrote {} and {}\n", self.pem.display(), self.key.display());
        let Some(password) = password else {
            return told;
        };
        told += &format!("wrote {}\n", self.p12.display());
        if password.made {
            told += &format!("its password, shown only now: {}\n", password.text);
        }
        told
    }

    /// What was written, for scripts: what was made, with the names of the files in the place of what is
    /// secret in them.
    pub(crate) fn record(&self, mut made: Value, password: Option<&Password>) -> Value {
        let Some(fields) = made.as_object_mut() else {
            return made;
        };
        for secret in ["private_key", "pkcs12"] {
            fields.remove(secret);
        }
        let mut put = |key: &str, value: String| drop(fields.insert(key.into(), value.into()));
        put(CERTIFICATE_FILE, self.pem.display().to_string());
        put("private_key_file", self.key.display().to_string());
        if let Some(password) = password {
            put("pkcs12_file", self.p12.display().to_string());
            // One that was made here is in no file and nowhere else.
            if password.made {
                put("pkcs12_password", password.text.clone());
            }
        }
        made
    }
}

/// The password of a PKCS#12 file.
pub(crate) struct Password {
    pub(crate) text: String,
    /// Whether it was made here, so that nobody knows it yet.
    pub(crate) made: bool,
}

impl Password {
    /// One of 120 random bits.
    pub(crate) fn random() -> Result<Self, CliError> {
        let mut bytes = [0; 15];
        boring::rand::rand_bytes(&mut bytes)
            .map_err(|why| CliError::Failed(format!("no random numbers: {why}")))?;
        let text = URL_SAFE_NO_PAD.encode(bytes);
        Ok(Self { text, made: true })
    }

    /// The first line of a file.
    pub(crate) fn read(path: &Path) -> Result<Self, CliError> {
        let text = read_text(path)?.lines().next().unwrap_or("").to_owned();
        Ok(Self { text, made: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn file_names_stay_in_their_directory() {
        let directory = std::env::temp_dir();
        let files = Targets::of(&directory, "../etc/passwd x").unwrap();
        assert_eq!(files.pem, directory.join("_etc_passwd_x.pem"));
        assert_eq!(files.key, directory.join("_etc_passwd_x.key"));
        assert_eq!(files.p12, directory.join("_etc_passwd_x.p12"));
        assert!(Targets::of(&directory, "..").is_err());
        assert!(Targets::of(Path::new("/nowhere/at/all"), "x").is_err());
    }

    #[test]
    fn what_scripts_are_told_has_the_files_and_no_secret_that_is_in_them() {
        let directory = fixtures::Directory::new();
        let files = Targets::of(directory.path(), "van-1").unwrap();
        let made = json!({
            "id": "a1", "certificate": "PEM", "private_key": "KEY", "pkcs12": STANDARD.encode("P12"),
        });
        let at = |name: &str| json!(directory.path().join(name).display().to_string());
        let mut wanted = json!({
            "id": "a1", "certificate": "PEM",
            "certificate_file": at("van-1.pem"), "private_key_file": at("van-1.key"),
        });
        assert_eq!(files.record(made.clone(), None), wanted);
        let password = |made: bool| Password {
            text: "secret".into(),
            made,
        };
        files.write(&made, Some(&password(true))).unwrap();
        for (name, contents) in [
            ("van-1.pem", "PEM"),
            ("van-1.key", "KEY"),
            ("van-1.p12", "P12"),
        ] {
            let written = std::fs::read_to_string(directory.path().join(name)).unwrap();
            assert_eq!(written, contents, "{name}");
        }
        wanted["pkcs12_file"] = at("van-1.p12");
        let known = files.record(made.clone(), Some(&password(false)));
        assert_eq!(known, wanted, "who gave the password knows it");
        wanted["pkcs12_password"] = json!("secret");
        assert_eq!(files.record(made, Some(&password(true))), wanted);
    }

    #[test]
    fn passwords_differ() {
        let (one, other) = (Password::random().unwrap(), Password::random().unwrap());
        assert_eq!(one.text.len(), 20);
        assert_ne!(one.text, other.text);
    }
}
