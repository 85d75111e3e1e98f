//! Accounts at ACME servers: found in the store, or made once.
//!
//! Owns when an account is looked for again after it could not be had, which keeps hosts waiting
//! without counting against them. The key is the store's to seal.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, Error, ExternalAccountKey, NewAccount};

use super::AcmeSettings;
use super::client::{Client, ClientError};
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
            _ => "it cannot be had as ACME is configured; the gateway's log says why".into(),
        }
    }
}

/// The key that ties the account to one that there is already.
fn binding(settings: &AcmeSettings) -> Result<Option<ExternalAccountKey>, AccountError> {
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
    let key = Secret::new(key);
    Ok(Some(ExternalAccountKey::new(id.clone(), key.reveal())))
}

/// What is read before a server is asked, off the runtime's thread.
struct Prepared {
    client: Client,
    /// The account's URL and key.
    known: Option<(String, Secret)>,
    binding: Option<ExternalAccountKey>,
}

/// The account at the server of a directory. `anew` makes another one, in the place of one that the
/// server does not know any more.
pub(super) async fn account(
    control: &Arc<Control>,
    settings: &Arc<AcmeSettings>,
    directory: &str,
    anew: bool,
) -> Result<Account, AccountError> {
    let (of, with, at) = (control.clone(), settings.clone(), directory.to_owned());
    let preparing = tokio::task::spawn_blocking(move || -> Result<Prepared, AccountError> {
        let ca_file: Option<&PathBuf> = with.ca_file.as_ref();
        Ok(Prepared {
            client: Client::build(&at, ca_file.map(PathBuf::as_path))?,
            known: of.acme_account(&at)?.filter(|_| !anew),
            binding: binding(&with)?,
        })
    });
    let prepared = preparing
        .await
        .map_err(|_panicked| AccountError::Inside)??;
    let builder = Account::builder_with_http(Box::new(prepared.client));
    if let Some((url, key)) = prepared.known {
        let key = key.reveal().to_vec().into();
        return Ok(builder.from_parts(url, key, directory.to_owned()).await?);
    }
    let contact = settings.contact.as_ref();
    let contact: Vec<String> = contact
        .iter()
        .map(|mail| format!("mailto:{mail}"))
        .collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        // No directory is configured without it.
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let made = builder.create(&new, directory.to_owned(), prepared.binding.as_ref());
    let (account, credentials) = made.await?;
    let key = Secret::new(credentials.private_key().secret_pkcs8_der().to_vec());
    let (of, at, url) = (
        control.clone(),
        directory.to_owned(),
        account.id().to_owned(),
    );
    let keeping = tokio::task::spawn_blocking(move || {
        let changer = of.changer(Intent::of("acme"));
        changer.keep_acme_account(&at, &url, &key)
    });
    keeping.await.map_err(|_panicked| AccountError::Inside)??;
    tracing::info!(
        directory,
        account = account.id(),
        "an ACME account was made; its key is in the store"
    );
    Ok(account)
}
