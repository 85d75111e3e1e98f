//! Accounts at ACME servers: found in the store, or made once.
//!
//! Owns that the key is in the store before a server hears of it, and stays there whatever a server says. The
//! key is the store's to seal.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, Error, Key};

use super::AcmeSettings;
use super::client::{Client, ClientError};
use super::register::{Binding, RegisterError, register};
use control::{ChangeError, Control, Intent, Secret};
use vocabulary::file::read_regular;

/// Bytes of the file with the key of external account binding: some 100; a larger one is none.
const EAB_KEY_BYTES_MAX: u64 = 4096;

/// Why there is no account.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccountError {
    /// The server cannot be spoken to as it is configured.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server, or the way to it.
    #[error(transparent)]
    Server(#[from] Error),
    /// The same, as the account is made.
    #[error(transparent)]
    Register(#[from] RegisterError),
    /// The key cannot be opened, sealed or stored.
    #[error(transparent)]
    Store(#[from] ChangeError),
    /// The key of external account binding.
    #[error("acme.eab_key_file: {path}: {why}")]
    Binding {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// Work of ours has panicked.
    #[error("it failed inside; the log has the reason")]
    Inside,
}

impl AccountError {
    /// In words that a tenant may read, too: nothing of this machine's files.
    pub(super) fn for_everybody(&self) -> String {
        match self {
            Self::Server(error) => error.to_string(),
            Self::Register(error) => error.to_string(),
            _ => "it cannot be had as ACME is configured; the gateway's log says why".into(),
        }
    }
}

/// The key that ties the account to one that there is already.
fn binding(settings: &AcmeSettings) -> Result<Option<Binding>, AccountError> {
    let Some((id, path)) = &settings.eab else {
        return Ok(None);
    };
    let failed = |why: String| AccountError::Binding {
        path: path.display().to_string(),
        why,
    };
    let text = read_regular(path, EAB_KEY_BYTES_MAX).map_err(|why| failed(why.to_string()))?;
    let text = Secret::new(text);
    let line = text.reveal_text().trim().trim_end_matches('=');
    let key = BASE64_URL_SAFE_NO_PAD.decode(line);
    let key = key.map_err(|_not_base64| failed("it is not base64url on one line".into()))?;
    Ok(Some(Binding {
        id: id.clone(),
        key: Secret::new(key),
    }))
}

/// What is read, and kept, before a server is asked, off the runtime's thread.
struct Prepared {
    client: Client,
    key: Secret,
    /// The account's URL, if the server has told it.
    url: Option<String>,
    binding: Option<Binding>,
}

fn prepare(
    control: &Control,
    settings: &AcmeSettings,
    directory: &str,
    anew: bool,
) -> Result<Prepared, AccountError> {
    let ca_file: Option<&PathBuf> = settings.ca_file.as_ref();
    let client = Client::build(directory, ca_file.map(PathBuf::as_path))?;
    let binding = binding(settings)?;
    let known = control.acme_account(directory)?;
    let (url, key) = match known {
        // A key that no server has heard of, or that one does not know any more, serves as well as a new one.
        // An answer that was wrong loses nothing so.
        Some((url, key)) => (Some(url).filter(|url| !anew && !url.is_empty()), key),
        None => {
            let (_, key) = Key::generate_pkcs8()?;
            let key = Secret::new(key.secret_pkcs8_der().to_vec());
            let changer = control.changer(Intent::of("acme"));
            changer.keep_acme_account(directory, "", &key)?;
            (None, key)
        }
    };
    Ok(Prepared {
        client,
        key,
        url,
        binding,
    })
}

/// The account at the server of a directory. `anew` has the server make another one for the same key, in the
/// place of one that it does not know any more.
pub(super) async fn account(
    control: &Arc<Control>,
    settings: &Arc<AcmeSettings>,
    directory: &str,
    anew: bool,
) -> Result<Account, AccountError> {
    let (of, with, at) = (control.clone(), settings.clone(), directory.to_owned());
    let preparing = tokio::task::spawn_blocking(move || prepare(&of, &with, &at, anew));
    let prepared = preparing.await;
    let Prepared {
        client,
        key,
        url,
        binding,
    } = prepared.map_err(|_panicked| AccountError::Inside)??;
    let builder = Account::builder_with_http(Box::new(client.clone()));
    let der = key.reveal().to_vec().into();
    let at = directory.to_owned();
    if let Some(url) = url {
        return Ok(builder.from_parts(url, der, at).await?);
    }
    let contact = settings.contact.as_deref();
    let url = register(&client, directory, &key, contact, binding.as_ref()).await?;
    let (of, kept_at, kept_url) = (control.clone(), at.clone(), url.clone());
    let keeping = tokio::task::spawn_blocking(move || {
        let changer = of.changer(Intent::of("acme"));
        changer.keep_acme_account(&kept_at, &kept_url, &key)
    });
    keeping.await.map_err(|_panicked| AccountError::Inside)??;
    tracing::info!(
        directory,
        account = url,
        "there is an ACME account; its key is in the store"
    );
    Ok(builder.from_parts(url, der, at).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapshot::Published;

    #[test]
    fn an_account_that_is_not_known_any_more_is_made_anew_with_its_key() {
        const DIRECTORY: &str = "https://acme.test/dir";
        let directory = fixtures::Directory::new();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, fixtures::pki::foreign("ACME CA")).unwrap();
        let published = Arc::<Published>::default();
        let control = Control::open(&directory.path().join("s"), published).unwrap();
        let settings = AcmeSettings {
            ca_file: Some(ca_file),
            ..AcmeSettings::default()
        };
        let first = prepare(&control, &settings, DIRECTORY, false).unwrap();
        assert_eq!(first.url, None);
        let url = "https://acme.test/account/1";
        control
            .keep_acme_account(DIRECTORY, url, &first.key)
            .unwrap();
        for (anew, known) in [(false, Some(url)), (true, None), (false, Some(url))] {
            let found = prepare(&control, &settings, DIRECTORY, anew).unwrap();
            assert_eq!(found.url.as_deref(), known);
            assert_eq!(found.key.reveal(), first.key.reveal());
        }
    }
}
