//! `postern ocsp`: responders of uploaded CAs.

use std::path::{Path, PathBuf};

use boring::x509::X509;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::client::{Client, segment};
use super::files::read_bytes;
use super::names::{OWN, text};
use super::table::Table;
use super::{CliError, Output, json_text};
use crate::tls::CrlPolicy;

#[derive(Debug, Subcommand)]
pub(super) enum Ocsp {
    /// Show whom a CA's client certificates are asked about, and what was answered
    Show {
        /// The uploaded CA's id
        #[arg(value_name = "CA")]
        ca: String,
    },
    /// Say whom to ask about a CA's client certificates
    Set {
        /// The uploaded CA's id
        #[arg(value_name = "CA")]
        ca: String,
        /// The responder's http:// URL, or none
        #[arg(long, value_name = "URL", conflicts_with = "responder_of")]
        url: Option<String>,
        /// The responder that a certificate of the CA's names (PEM)
        #[arg(long, value_name = "FILE")]
        responder_of: Option<PathBuf>,
        /// Without a good answer: hard (the client is refused; the default), soft (it is served)
        #[arg(long, value_name = "POLICY")]
        policy: Option<CrlPolicy>,
        /// Whether answers must carry the nonce of their question
        #[arg(long, value_name = "BOOL")]
        nonce: Option<bool>,
    },
}

/// The responder that a certificate names (RFC 5280 §4.2.2.1).
fn responder(pem: &[u8], file: &Path) -> Result<String, CliError> {
    let shown = file.display();
    let failed = |why: &str| CliError::Failed(format!("{shown}: {why}"));
    let certificate =
        X509::from_pem(pem).map_err(|_not_pem| failed("expected a certificate in PEM"))?;
    let der = certificate
        .to_der()
        .map_err(|_unreadable| failed("the certificate cannot be read"))?;
    let (_, parsed) = X509Certificate::from_der(&der)
        .map_err(|_unreadable| failed("the certificate cannot be read"))?;
    for extension in parsed.extensions() {
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
    Err(failed("the certificate names no OCSP responder"))
}

impl Ocsp {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let path = |ca: &str| format!("{OWN}/certificate_authorities/{}/ocsp", segment(ca));
        let answer = match self {
            Self::Show { ca } => client.get(&path(&ca))?,
            Self::Set {
                ca,
                url,
                responder_of,
                policy,
                nonce,
            } => {
                let mut body = Map::new();
                let url = match responder_of {
                    Some(file) => Some(responder(&read_bytes(&file)?, &file)?),
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
                client.patch(&path(&ca), &Value::Object(body))?
            }
        };
        if json {
            return Ok(json_text(&answer));
        }
        let word = |key| match answer.get(key) {
            None | Some(Value::Null) => "none".to_owned(),
            Some(_) => text(&answer, key),
        };
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
