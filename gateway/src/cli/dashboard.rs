//! `postern dashboard`: a link that signs in at the dashboard.

use std::process::{Command, Stdio};

use clap::Args;
use serde_json::{Value, json};

use super::client::Client;
use super::client::names::{OWN, text};
use super::client::target::Target;
use super::output::{CliError, Output, json_text};

/// Print a link that signs in at the dashboard, good once and for a minute
///
/// What is done with it is done with the rights of the asker: over the unix socket an
/// administrator's, with --api those of the token. The dashboard is at `admin.listen`.
#[derive(Debug, Args)]
pub(super) struct Dashboard {
    /// Open the link in the browser of this machine, too
    #[arg(long)]
    open: bool,
    /// End all sessions of everybody instead, and the links that were not used yet
    #[arg(long, conflicts_with = "open")]
    sign_out_all: bool,
}

impl Dashboard {
    pub(super) fn run(self, target: &Target, client: &Client, json: bool) -> Output {
        if self.sign_out_all {
            let answer = client.delete(&format!("{OWN}/dashboard/sessions"))?;
            if json {
                return Ok(json_text(&answer));
            }
            let count = answer.get("ended").and_then(Value::as_u64).unwrap_or(0);
            let sessions = if count == 1 { "session" } else { "sessions" };
            return Ok(format!("ended {count} {sessions}\n"));
        }
        let link = link(target, client)?;
        let url = text(&link, "url");
        if self.open {
            open(&url)?;
        }
        Ok(if json {
            json_text(&link)
        } else {
            format!("{url}\n")
        })
    }
}

/// A new link. Of a gateway elsewhere, it begins with the address that we know it by.
pub(super) fn link(target: &Target, client: &Client) -> Result<Value, CliError> {
    let mut link = client.post(&format!("{OWN}/dashboard/links"), &json!({}))?;
    let url = match target.api_url() {
        Some(api) => format!(
            "{}/#sign-in={}",
            api.trim_end_matches('/'),
            text(&link, "code")
        ),
        None if link.get("url").is_none_or(Value::is_null) => {
            return Err(CliError::Failed(
                "this gateway has no dashboard, because `admin.listen` is off: set it in the \
                 configuration, for example `admin.listen = 127.0.0.1:8480`, and `postern reload`"
                    .into(),
            ));
        }
        None => text(&link, "url"),
    };
    if let Some(link) = link.as_object_mut() {
        link.insert("url".into(), url.into());
    }
    Ok(link)
}

fn open(url: &str) -> Result<(), CliError> {
    let started = Command::new("xdg-open")
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match started {
        Ok(status) if status.success() => Ok(()),
        Ok(_) | Err(_) => Err(CliError::Failed(format!(
            "no browser could be opened with `xdg-open`; open this link yourself, within a minute: \
             {url}"
        ))),
    }
}
