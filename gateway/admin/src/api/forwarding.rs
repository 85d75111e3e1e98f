//! `/client/v4/zones/{zone}/managed_headers` and `…/access/certificates/settings`: whether origins
//! are told of the client's certificate.

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::Json;
use crate::http::scope::{ChangeInZone, InZone};
use control::{Control, Id, ReadOnly, forwards_certificate};
use vocabulary::hostname::HostName;

/// The one managed transform there is: "Add TLS client auth headers".
const TRANSFORM: &str = "add_client_certificate_headers";

#[derive(Deserialize)]
pub(crate) struct Managed {
    #[serde(default)]
    managed_request_headers: Vec<Switch>,
    #[serde(default)]
    managed_response_headers: Vec<Switch>,
}

#[derive(Deserialize)]
struct Switch {
    id: String,
    enabled: bool,
}

#[derive(Deserialize)]
pub(crate) struct Settings {
    settings: Vec<Setting>,
}

#[derive(Deserialize)]
struct Setting {
    hostname: String,
    #[serde(default)]
    china_network: bool,
    client_certificate_forwarding: bool,
}

fn managed(enabled: bool) -> Value {
    json!({
        "managed_request_headers": [
            { "id": TRANSFORM, "enabled": enabled, "has_conflict": false }
        ],
        "managed_response_headers": [],
    })
}

pub(crate) async fn managed_headers(at: InZone) -> Result<Response, Fault> {
    let enabled = at.control().adds_client_auth_headers(at.zone);
    Ok(envelope::result(managed(enabled)))
}

pub(crate) async fn set_managed_headers(
    at: ChangeInZone,
    Json(body): Json<Managed>,
) -> Result<Response, Fault> {
    let mut wanted = None;
    for (list, switches) in [
        ("managed_request_headers", body.managed_request_headers),
        ("managed_response_headers", body.managed_response_headers),
    ] {
        let is_request = list == "managed_request_headers";
        for (place, switch) in switches.into_iter().enumerate() {
            if is_request && switch.id == TRANSFORM {
                wanted = Some(switch.enabled);
            } else if switch.enabled {
                let id: String = switch.id.chars().take(64).collect();
                let message = format!(
                    "The managed transform `{}` does not exist here; among request headers \
                     `{TRANSFORM}` does. Set headers with rules of http_request_late_transform and \
                     http_response_headers_transform",
                    id.escape_debug()
                );
                return Err(Fault::bad(20_000, message).at(format!("/{list}/{place}/id")));
            }
            // What is not there is switched off.
        }
    }
    let enabled = at
        .run(move |control, zone| control.set_client_auth_headers(zone, wanted))
        .await?;
    Ok(envelope::result(managed(enabled)))
}

fn settings(control: &Control<ReadOnly>, zone: Id) -> Value {
    let model = control.model();
    let setting = |name: &HostName, forwards: bool| {
        json!({
            "hostname": name.as_str(),
            "china_network": false,
            "client_certificate_forwarding": forwards,
        })
    };
    let hosts = model.hosts_of(zone);
    hosts
        .map(|host| setting(&host.name, forwards_certificate(host)))
        .collect()
}

pub(crate) async fn certificate_settings(at: InZone) -> Result<Response, Fault> {
    Ok(envelope::result(settings(at.control(), at.zone)))
}

pub(crate) async fn set_certificate_settings(
    at: ChangeInZone,
    Json(body): Json<Settings>,
) -> Result<Response, Fault> {
    let mut wanted = Vec::with_capacity(body.settings.len());
    for (place, setting) in body.settings.into_iter().enumerate() {
        let pointer = |name: &str| format!("/settings/{place}/{name}");
        if setting.china_network {
            let message = "china_network: there is no such network here; leave it false";
            return Err(Fault::bad(1004, message).at(pointer("china_network")));
        }
        let name = HostName::parse(&setting.hostname)
            .map_err(|why| Fault::from(why).at(pointer("hostname")))?;
        wanted.push((name, setting.client_certificate_forwarding));
    }
    let ((), at) = at
        .run_then_read(move |control, zone| control.set_certificate_forwarding(zone, &wanted))
        .await?;
    Ok(envelope::result(settings(at.control(), at.zone)))
}
