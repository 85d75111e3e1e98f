//! `/client/v4/zones/{zone}/certificate_authorities/hostname_associations`: the hosts that
//! trust a CA.

use std::collections::BTreeSet;

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::{ChangeInZone, InZone};
use control::{AuthoritySet, Uuid};
use vocabulary::hostname::HostName;

#[derive(Deserialize)]
pub(crate) struct Associate {
    #[serde(default)]
    hostnames: Vec<String>,
    #[serde(default)]
    mtls_certificate_id: Option<Uuid>,
}

fn set_of(id: Option<Uuid>) -> AuthoritySet {
    id.map_or(AuthoritySet::Managed, AuthoritySet::Uploaded)
}

fn names(names: &BTreeSet<HostName>) -> Value {
    json!({ "hostnames": names.iter().map(HostName::as_str).collect::<Vec<_>>() })
}

pub(crate) async fn show(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let control = at.control();
    let id = parameters
        .text("mtls_certificate_id")
        .map(str::parse)
        .transpose()?;
    Ok(envelope::result(names(
        &*control.associations(at.zone, set_of(id))?,
    )))
}

pub(crate) async fn replace(
    at: ChangeInZone,
    Json(body): Json<Associate>,
) -> Result<Response, Fault> {
    let wanted: BTreeSet<HostName> = body
        .hostnames
        .iter()
        .enumerate()
        .map(|(place, text)| {
            HostName::parse(text).map_err(|why| Fault::from(why).at(format!("/hostnames/{place}")))
        })
        .collect::<Result<_, _>>()?;
    let set = set_of(body.mtls_certificate_id);
    let set = at
        .run(move |control, zone| control.associate_hosts(zone, set, wanted))
        .await?;
    Ok(envelope::result(names(&set)))
}
