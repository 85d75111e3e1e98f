//! `postern ocsp`: responders of uploaded CAs.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Map, Value, json};
use x509_parser::extensions::{GeneralName, ParsedExtension};

use super::ca::uploaded_own;
use super::client::Client;
use super::client::files::Certificate;
use super::client::names::text_or_none;
use super::output::table::Table;
use super::output::{CliError, Output, json_text};
use tls::CrlPolicy;

#[derive(Debug, Subcommand)]
pub(super) enum Ocsp {
    /// Show the OCSP responder of a CA's client certificates, and counts of its answers
    Show {
        /// The uploaded CA: its id, the beginning of it, or its name
        #[arg(value_name = "CA")]
        ca: String,
    },
    /// Set the OCSP responder of a CA's client certificates
    Set {
        /// The uploaded CA: its id, the beginning of it, or its name
        #[arg(value_name = "CA")]
        ca: String,
        /// The responder's http:// URL, or none
        #[arg(long, value_name = "URL", conflicts_with = "responder_of")]
        url: Option<String>,
        /// The responder named in a certificate of this CA (PEM)
        #[arg(long, value_name = "FILE")]
        responder_of: Option<PathBuf>,
        /// Without a good answer: hard (the client is refused; the default), soft (it is served)
        #[arg(long, value_name = "POLICY")]
        policy: Option<CrlPolicy>,
        /// Whether answers must carry the nonce of their request
        #[arg(long, value_name = "BOOL")]
        nonce: Option<bool>,
    },
}

/// The responder that a certificate names (RFC 5280 §4.2.2.1).
fn responder(file: &Path) -> Result<String, CliError> {
    let certificate = Certificate::read(file)?;
    for extension in certificate.parsed()?.extensions() {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else {
            continue;
        };
        // 1.3.6.1.5.5.7.48.1, id-ad-ocsp.
        let responders = access.accessdescs.iter();
        let responders =
            responders.filter(|one| one.access_method.to_id_string() == "1.3.6.1.5.5.7.48.1");
        for one in responders {
            if let GeneralName::URI(uri) = one.access_location {
                return Ok(uri.to_owned());
            }
        }
    }
    Err(certificate.lacks("names no OCSP responder"))
}

impl Ocsp {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let path = |ca: &str| uploaded_own(client, ca, "ocsp");
        let answer = match self {
            Self::Show { ca } => client.get(&path(&ca)?)?,
            Self::Set {
                ca,
                url,
                responder_of,
                policy,
                nonce,
            } => {
                let mut body = Map::new();
                let url = match responder_of {
                    Some(file) => Some(responder(&file)?),
                    None => url,
                };
                if let Some(url) = url {
                    let url = Some(url).filter(|url| url != "none");
                    body.insert("url".into(), json!(url));
                }
                if let Some(policy) = policy {
                    body.insert("policy".into(), json!(policy));
                }
                if let Some(nonce) = nonce {
                    body.insert("nonce".into(), json!(nonce));
                }
                if body.is_empty() {
                    let why = "say what to change: --url, --responder-of, --policy or --nonce";
                    return Err(CliError::Usage(why.into()));
                }
                client.patch(&path(&ca)?, &Value::Object(body))?
            }
        };
        if json {
            return Ok(json_text(&answer));
        }
        let word = |key| text_or_none(&answer, key);
        let mut table = Table::new(&["ANSWER", "COUNT"]);
        let answers = answer.get("answers").and_then(Value::as_object);
        for (word, count) in answers.into_iter().flatten() {
            table.row([word.clone(), count.to_string()]);
        }
        Ok(format!(
            "responder: {}\npolicy: {}\nnonce: {}\n{}",
            word("url"),
            word("policy"),
            word("nonce"),
            table.text("no answers yet")
        ))
    }
}
