//! Accounts at ACME servers: found in the store, or made once.
//!
//! Owns that the key is in the store before a server hears of it, and when an account is looked for again
//! after it could not be had, which keeps hosts waiting without counting against them. The key is the
//! store's to seal.

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
    // A key that no server has heard of, or answered to, serves as well as a new one.
    let known = control.acme_account(directory)?;
    let known = known.filter(|(url, _)| !anew || url.is_empty());
    let (url, key) = match known {
        Some((url, key)) => (Some(url).filter(|url| !url.is_empty()), key),
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

/// The account at the server of a directory. `anew` makes another one, in the place of one that the
/// server does not know any more.
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
