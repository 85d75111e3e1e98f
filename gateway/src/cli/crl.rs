//! `postern crl`: revocation lists of uploaded CAs.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::{Map, Value, json};
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};

use super::ca::uploaded_own;
use super::client::Client;
use super::client::files::{Certificate, read_lists};
use super::client::names::{text, text_or_none, texts_of};
use super::output::table::Table;
use super::output::{CliError, Output, ValueError, json_text};
use tls::CrlPolicy;

#[derive(Debug, Subcommand)]
pub(super) enum Crl {
    /// Show a CA's revocation lists and their settings
    Show {
        /// The uploaded CA: its id, the beginning of it, or its name
        #[arg(value_name = "CA")]
        ca: String,
    },
    /// Install the lists of a file, in DER or PEM; each must be newer than the list it replaces
    ///
    /// Lists of issuing CAs below the uploaded one are taken when those CAs' certificates are in the
    /// same file; they do not become trusted by that.
    Put {
        /// The uploaded CA: its id, the beginning of it, or its name
        #[arg(value_name = "CA")]
        ca: String,
        /// The lists
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Take lists that have expired or are older than those in their places
        #[arg(long)]
        force: bool,
    },
    /// Set the policy for a missing list, and the sources of newer ones
    Set {
        /// The uploaded CA: its id, the beginning of it, or its name
        #[arg(value_name = "CA")]
        ca: String,
        /// Without a current list: hard (clients are refused), soft (served, with an alarm), none (as hard
        /// once there is a list, and none is asked for before; the default)
        #[arg(long, value_name = "POLICY", value_parser = policy)]
        policy: Option<Wish<CrlPolicy>>,
        /// An absolute path on the gateway's machine, or none
        #[arg(long, value_name = "PATH", value_parser = file)]
        watch: Option<Wish<PathBuf>>,
        /// An http:// URL to fetch lists from, or none; repeat for several, which replace all
        #[arg(long, value_name = "URL")]
        url: Vec<String>,
        /// As --url, with the distribution points named in a certificate of this CA (PEM)
        #[arg(long, value_name = "FILE")]
        points_of: Vec<PathBuf>,
        /// The longest time between two fetches, in seconds [default: 3600]
        #[arg(long, value_name = "SECONDS")]
        fetch_every: Option<u32>,
    },
    /// Fetch a CA's lists now, and show the result
    Fetch {
        /// The uploaded CA: its id, the beginning of it, or its name
        #[arg(value_name = "CA")]
        ca: String,
    },
    /// Remove all lists of a CA
    Remove {
        /// The uploaded CA: its id, the beginning of it, or its name
        #[arg(value_name = "CA")]
        ca: String,
    },
}

/// Something, or expressly nothing.
#[derive(Debug, Clone)]
pub(super) struct Wish<T>(Option<T>);

fn policy(text: &str) -> Result<Wish<CrlPolicy>, ValueError> {
    match text {
        "none" => Ok(Wish(None)),
        other => match other.parse() {
            Ok(policy) => Ok(Wish(Some(policy))),
            Err(why) => Err(ValueError(why.to_string())),
        },
    }
}

fn file(text: &str) -> Result<Wish<PathBuf>, Infallible> {
    Ok(Wish((text != "none").then(|| text.into())))
}

/// Where a certificate says that its revocation would be published: what can be fetched of it.
fn points(file: &Path) -> Result<Vec<String>, CliError> {
    let certificate = Certificate::read(file)?;
    let mut found = Vec::new();
    for extension in certificate.parsed()?.extensions() {
        let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() else {
            continue;
        };
        for point in points.iter() {
            let Some(DistributionPointName::FullName(names)) = &point.distribution_point else {
                continue;
            };
            found.extend(names.iter().filter_map(|name| match name {
                GeneralName::URI(uri) if uri.starts_with("http://") => Some((*uri).to_owned()),
                _ => None,
            }));
        }
    }
    if found.is_empty() {
        return Err(certificate.lacks("names no http:// distribution point"));
    }
    Ok(found)
}

fn lists_of(answer: &Value) -> &[Value] {
    let lists = answer.get("crls").and_then(Value::as_array);
    lists.map(Vec::as_slice).unwrap_or_default()
}

/// A line for each list, and one for each thing that is odd about it.
fn taken(made: &Value) -> String {
    let mut told = String::new();
    for crl in lists_of(made) {
        let number = match text(crl, "number") {
            number if number.is_empty() => "without a number".to_owned(),
            number => number,
        };
        told.push_str(&format!(
            "took list {number} with {} of {}, due again {}\n",
            entries(crl),
            text(crl, "issuer"),
            text(crl, "next_update")
        ));
        told.push_str(&warnings(crl));
    }
    told
}

/// `1 entry`, `2 entries`.
fn entries(crl: &Value) -> String {
    match text(crl, "entries").as_str() {
        "1" => "1 entry".to_owned(),
        count => format!("{count} entries"),
    }
}

fn warnings(crl: &Value) -> String {
    let issuer = text(crl, "issuer");
    texts_of(crl, "warnings")
        .map(|warning| format!("warning: the list of {issuer}: {warning}\n"))
        .collect()
}

impl Crl {
    pub(super) fn run(self, client: &Client, json: bool) -> Output {
        let path = |ca: &str| uploaded_own(client, ca, "crls");
        let answer = match self {
            Self::Show { ca } => client.get(&path(&ca)?)?,
            Self::Put { ca, file, force } => {
                let body = json!({ "crl": read_lists(&file)?, "force": force });
                let made = client.put(&path(&ca)?, &body)?;
                if !json {
                    return Ok(taken(&made));
                }
                made
            }
            Self::Set {
                ca,
                policy,
                watch,
                mut url,
                points_of,
                fetch_every,
            } => {
                let mut body = Map::new();
                if let Some(Wish(policy)) = policy {
                    body.insert("policy".into(), json!(policy));
                }
                if let Some(Wish(file)) = watch {
                    body.insert("file".into(), json!(file));
                }
                for file in points_of {
                    url.extend(points(&file)?);
                }
                if !url.is_empty() {
                    url.retain(|url| url != "none");
                    body.insert("urls".into(), json!(url));
                }
                if let Some(seconds) = fetch_every {
                    body.insert("fetch_every".into(), json!(seconds));
                }
                if body.is_empty() {
                    let why = "say what to change: --policy, --watch, --url, --points-of or --fetch-every";
                    return Err(CliError::Usage(why.into()));
                }
                client.patch(&path(&ca)?, &Value::Object(body))?
            }
            Self::Fetch { ca } => client.post(&format!("{}/fetch", path(&ca)?), &json!({}))?,
            Self::Remove { ca } => client.delete(&path(&ca)?)?,
        };
        if json {
            return Ok(json_text(&answer));
        }
        let word = |key| text_or_none(&answer, key);
        let mut table = Table::new(&["ISSUER", "NUMBER", "DELTA", "ENTRIES", "MADE", "DUE"]);
        let mut odd = String::new();
        for crl in lists_of(&answer) {
            odd.push_str(&warnings(crl));
            table.row([
                text(crl, "issuer"),
                text(crl, "number"),
                text(crl, "delta"),
                text(crl, "entries"),
                text(crl, "this_update"),
                text(crl, "next_update"),
            ]);
        }
        let mut fetched = Table::new(&["URL", "LAST", "GOOD AT", "WHY NOT"]);
        let fetches = answer.get("fetches").and_then(Value::as_array);
        for fetch in fetches.into_iter().flatten() {
            fetched.row([
                text(fetch, "url"),
                text(fetch, "result"),
                text(fetch, "good_at"),
                text(fetch, "error"),
            ]);
        }
        let refused = match text(&answer, "file_error") {
            why if why.is_empty() => String::new(),
            why => format!("  not taken: {why}\n"),
        };
        Ok(format!(
            "policy: {}\nwatched file: {}\n{refused}{}{}{odd}",
            word("policy"),
            word("file"),
            fetched.text("fetched from nowhere; `postern crl set CA --url URL` names where"),
            table.text("no lists; `postern crl put CA FILE` gives one")
        ))
    }
}
