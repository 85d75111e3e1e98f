//! What `doctor` finds of a zone's hosts, with the change that mends it.

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::runtime::Handle;

use crate::doctor::{Ask, examine_all, with_fix};
use crate::http::auth::Peer;
use crate::http::context::Actor;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::Parameters;
use crate::http::scope::InZone;
use crate::limits::DOCTOR_HOSTS_MAX;

/// The routes of the API, for questions from inside.
#[derive(Clone)]
pub(crate) struct Inside(pub(crate) Router);

/// A way to the API from inside of it.
struct Within {
    router: Router,
    runtime: Handle,
}

impl Ask for Within {
    type Error = Fault;

    fn ask(&self, path: &str) -> Result<Value, Fault> {
        let failed = |what: &str| {
            let message = format!("{path} {what} while hosts were examined");
            Fault::new(StatusCode::INTERNAL_SERVER_ERROR, 1000, message)
        };
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().map_err(|_not_a_path| failed("is no path"))?;
        // It only reads, and who asks may have what comes of it.
        request.extensions_mut().insert(Peer::Unix { uid: None });
        let router = TowerToHyperService::new(self.router.clone());
        let answer = async move {
            let response: Response = match router.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let status = response.status();
            let body = response.into_body().collect().await;
            body.map(|body| (status, body.to_bytes()))
        };
        let (status, body) = self
            .runtime
            .block_on(answer)
            .map_err(|_broken| failed("broke off"))?;
        if !status.is_success() {
            return Err(failed(&format!("was answered {status}")));
        }
        serde_json::from_slice(&body).map_err(|_not_json| failed("was not answered in JSON"))
    }
}

/// Examines a zone's hosts, or one of them.
pub(crate) async fn examine(
    at: InZone,
    Extension(Inside(router)): Extension<Inside>,
    Extension(actor): Extension<Actor>,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let wanted = parameters.text("host").map(str::to_owned);
    let path = format!("/postern/v1/zones/{}/hosts?per_page=1000", at.zone);
    let runtime = Handle::current();
    let done = tokio::task::spawn_blocking(move || {
        let within = Within { router, runtime };
        let mut answer = within.ask(&path)?;
        let hosts = answer.get_mut("result").map(Value::take);
        let hosts: Vec<Value> = match hosts {
            Some(Value::Array(hosts)) => hosts,
            _ => Vec::new(),
        };
        let is_wanted = |host: &Value| {
            let wanted = wanted.as_deref();
            wanted.is_none_or(|wanted| host.get("name").and_then(Value::as_str) == Some(wanted))
        };
        let mut hosts: Vec<Value> = hosts.into_iter().filter(is_wanted).collect();
        let left_out = hosts.len().saturating_sub(DOCTOR_HOSTS_MAX);
        hosts.truncate(DOCTOR_HOSTS_MAX);
        // What this machine reaches is not for a tenant to find out.
        let found = examine_all(&within, &hosts, !actor.is_tenant())?;
        let shown = hosts.iter().zip(found).map(|(host, findings)| {
            let findings: Vec<Value> = findings.iter().map(with_fix).collect();
            json!({ "host": host.get("name"), "findings": findings })
        });
        Ok(json!({ "hosts": shown.collect::<Vec<_>>(), "left_out": left_out }))
    });
    match done.await {
        Ok(found) => found.map(envelope::result),
        Err(_panicked) => {
            let message = "Examining the hosts failed inside; the log has the reason";
            Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, 1000, message))
        }
    }
}
