//! The admin API over HTTP: Cloudflare's shapes under `/client/v4`, what Cloudflare has no
//! resource for under `/postern/v1`, and `/metrics`, `/livez`, `/readyz`.
//!
//! Owns sockets, authentication, the wire format and the table of failures. Decides nothing about
//! zones, certificates or rules: that is [`control`]. Runs on an ordinary runtime of its own,
//! never on a worker.

<<<<<<< HEAD
#![forbid(unsafe_code)]

mod api;
mod http;
=======
mod audit;
mod auth;
mod authorities;
mod client_certificates;
mod crls;
mod documents;
mod dry_run;
mod envelope;
mod expressions;
mod fault;
mod health;
mod hosts;
>>>>>>> c2b4235 (admin: the folder of dry runs is called dry_run)
pub mod limits;
pub mod metrics;
#[cfg(test)]
mod tests;
<<<<<<< HEAD
mod dry_run;
=======
mod tls;
mod tokens;

mod zones;
>>>>>>> c2b4235 (admin: the folder of dry runs is called dry_run)

<<<<<<< HEAD
pub use self::http::context::State;
pub use self::http::listener::{Bound, Listen, ServeError};
pub use self::http::server::{serve, serve_bound};
pub use self::http::tls::{AdminTls, AdminTlsError};
=======
use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

pub use self::listener::{Bound, Listen, ServeError};
pub use self::tls::{AdminTls, AdminTlsError};

use self::auth::Rates;
use self::fault::Fault;
use config::Live;
use control::{ChangeError, Control, Id, Intent};
use datapath::observe::{AccessLog, Workers};
use fetch::{Lists, Responders};
use snapshot::Published;

/// What the API speaks about.
#[derive(Clone)]
pub struct State {
    /// Zones, hosts, certificates, rules.
    pub control: Arc<Control>,
    /// Revocation lists that are fetched.
    pub lists: Arc<Lists>,
    /// Responders that are asked about clients.
    pub responders: Arc<Responders>,
    /// What the data path runs on now.
    pub published: Arc<Published>,
    /// The workers.
    pub fleet: Arc<dyn Workers>,
    /// What can be tuned.
    pub live: Arc<Live>,
    /// For its count of dropped lines.
    pub access_log: AccessLog,
    /// When the process started.
    pub started: SystemTime,
}

/// The state of the API itself.
struct Context {
    state: State,
    rates: Rates,
    /// What the TCP listener is called, when it speaks TLS.
    tls: Option<Arc<AdminTls>>,
}

type Shared = axum::extract::State<Arc<Context>>;

impl Context {
    /// Runs work of the control plane where it may wait for the disk. It is finished even when
    /// the client is gone by then.
    async fn run<T: Send + 'static>(
        &self,
        intent: Intent,
        work: impl FnOnce(&Control) -> Result<T, ChangeError> + Send + 'static,
    ) -> Result<T, Fault> {
        let control = self.state.control.clone();
        let done = tokio::task::spawn_blocking(move || control.with_intent(intent, work)).await;
        match done {
            Ok(answer) => Ok(answer?),
            Err(_panicked) => {
                let message =
                    "The change failed inside; nothing was changed. The log has the reason";
                Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, 1000, message))
            }
        }
    }

    /// Checks an account id: there is one account.
    fn account(&self, id: &str) -> Result<Id, Fault> {
        let id: Id = id.parse()?;
        if id == self.state.control.model().account {
            return Ok(id);
        }
        let message = format!("There is no account `{id}`; zones answer the one there is");
        Err(Fault::new(StatusCode::NOT_FOUND, 7003, message))
    }
}

/// Binds the sockets; the future that comes back serves the API until it is dropped.
///
/// # Errors
/// The sockets cannot be bound, see [`ServeError`].
pub async fn serve(
    listen: Listen,
    state: State,
) -> Result<impl Future<Output = ()> + Send + 'static, ServeError> {
    let bound = Bound::bind(&listen).await?;
    Ok(serve_bound(bound, state))
}

/// Serves the API on sockets that were bound before, until the future is dropped.
pub async fn serve_bound(bound: Bound, state: State) {
    let context = Arc::new(Context {
        state,
        rates: Rates::new(),
        tls: bound.tls.clone(),
    });
    server::run(bound, router(context), server::Patience::default()).await;
}

fn router(context: Arc<Context>) -> Router {
    let zone = "/client/v4/zones/{zone}";
    let at = |rest: &str| format!("{zone}{rest}");
    let rulesets = at("/rulesets");
    Router::new()
        .route("/client/v4/zones", get(zones::list).post(zones::create))
        .route(zone, get(zones::show).delete(zones::delete))
        .route("/client/v4/accounts", get(zones::accounts))
        .merge(of_the_account())
        .route(
            &at("/client_certificates"),
            get(client_certificates::list).post(client_certificates::issue),
        )
        .route(
            &at("/client_certificates/{id}"),
            get(client_certificates::show)
                .delete(client_certificates::revoke)
                .patch(client_certificates::reactivate),
        )
        .route(
            &at("/certificate_authorities/hostname_associations"),
            get(hosts::associations).put(hosts::associate),
        )
        .route(
            &at("/custom_certificates"),
            get(server_certificates::list).post(server_certificates::upload),
        )
        .route(
            &at("/custom_certificates/{id}"),
            get(server_certificates::show)
                .patch(server_certificates::replace)
                .delete(server_certificates::delete),
        )
        .route(&rulesets, get(rulesets::list).post(rulesets::create))
        .route(
            &at("/rulesets/phases/{phase}/entrypoint"),
            get(rulesets::entrypoint).put(rulesets::set_entrypoint),
        )
        .route(
            &at("/rulesets/phases/{phase}/entrypoint/versions"),
            get(rulesets::entrypoint_versions),
        )
        .route(
            &at("/rulesets/phases/{phase}/entrypoint/versions/{version}"),
            get(rulesets::entrypoint_version),
        )
        .route(
            &at("/rulesets/{ruleset}"),
            get(rulesets::show)
                .put(rulesets::replace)
                .delete(rulesets::delete),
        )
        .route(
            &at("/rulesets/{ruleset}/rules"),
            post(rulesets::create_rule),
        )
        .route(
            &at("/rulesets/{ruleset}/rules/{rule}"),
            axum::routing::patch(rulesets::update_rule).delete(rulesets::delete_rule),
        )
        .route(&at("/rulesets/{ruleset}/versions"), get(rulesets::versions))
        .route(
            &at("/rulesets/{ruleset}/versions/{version}"),
            get(rulesets::version),
        )
        .route(
            "/postern/v1/zones/{zone}/hosts",
            get(hosts::list_of).post(hosts::create),
        )
        .route("/postern/v1/hosts", get(hosts::list))
        .route(
            "/postern/v1/hosts/{host}",
            get(hosts::show).patch(hosts::update).delete(hosts::delete),
        )
        .route(
            "/postern/v1/zones/{zone}/client_certificates",
            post(client_certificates::create),
        )
        .route(
            "/postern/v1/zones/{zone}/authorities",
            get(authorities::managed).post(authorities::roll),
        )
        .route(
            "/postern/v1/zones/{zone}/authorities/{id}",
            axum::routing::delete(authorities::retire),
        )
        .route(
            "/postern/v1/zones/{zone}/authorities/{id}/crl",
            get(authorities::revocation_list),
        )
        .route(
            "/postern/v1/zones/{zone}/server_certificates/development",
            post(server_certificates::develop),
        )
        .route(
            "/postern/v1/development_authority",
            get(server_certificates::development),
        )
        .route("/postern/v1/zones/{zone}/lints", get(expressions::lints))
        .route(
            "/postern/v1/hosts/{host}/enforcement",
            get(hosts::enforcement),
        )
        .route(
            "/postern/v1/zones/{zone}/mtls_rules",
            get(mtls_rules::list).post(mtls_rules::create),
        )
        .route(
            "/postern/v1/zones/{zone}/mtls_rules/{rule}",
            get(mtls_rules::show)
                .patch(mtls_rules::update)
                .delete(mtls_rules::delete),
        )
        .route(
            "/postern/v1/zones/{zone}/rulesets/{ruleset}/differences",
            get(rulesets::differences),
        )
        .route("/postern/v1/zones/{zone}/rule_tests", post(dry_run::run))
        .route(
            "/postern/v1/zones/{zone}/rulesets/{ruleset}/versions/{version}/restore",
            post(rulesets::restore),
        )
        .route(
            "/postern/v1/expressions/preview",
            post(expressions::preview),
        )
        .route("/postern/v1/tokens", get(tokens::list).post(tokens::create))
        .route(
            "/postern/v1/tokens/{id}",
            axum::routing::delete(tokens::delete),
        )
        .route("/postern/v1/audit", get(audit::list))
        .route("/postern/v1/export", get(documents::export))
        .route(
            "/postern/v1/export/private_keys",
            post(documents::export_private_keys),
        )
        .route("/postern/v1/apply", post(documents::apply))
        .route("/postern/v1/backup", post(documents::backup))
        .route("/postern/v1/status", get(health::status))
        .route("/postern/v1/steering", get(health::steering))
        .route("/postern/v1/steering/trace", get(health::trace))
        .route("/postern/v1/sysctl", get(health::settings))
        .route(
            "/postern/v1/sysctl/{key}",
            put(health::set).get(health::setting),
        )
        .route("/metrics", get(health::metrics))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .fallback(|uri: Uri| async move { Fault::no_route(uri.path()) })
        .method_not_allowed_fallback(|method: Method| async move {
            let message = format!("Method {method} not available for that URI");
            Fault::new(StatusCode::METHOD_NOT_ALLOWED, 7001, message)
        })
        .layer(from_fn_with_state(context.clone(), auth::admit))
        .layer(from_fn(wrap))
        .with_state(context)
}

/// What Cloudflare keeps in accounts: uploaded CAs and lists.
fn of_the_account() -> Router<Arc<Context>> {
    let uploaded = "/client/v4/accounts/{account}/mtls_certificates";
    let all = "/client/v4/accounts/{account}/rules/lists";
    Router::new()
        .route(uploaded, get(authorities::list).post(authorities::upload))
        .route(
            &format!("{uploaded}/{{id}}"),
            get(authorities::show).delete(authorities::delete),
        )
        .route(
            "/postern/v1/certificate_authorities/{id}/crls",
            get(crls::show)
                .put(crls::put)
                .patch(crls::set)
                .delete(crls::remove),
        )
        .route(
            "/postern/v1/certificate_authorities/{id}/ocsp",
            get(ocsp::show).patch(ocsp::set),
        )
        .route(
            "/postern/v1/certificate_authorities/{id}/crls/fetch",
            post(crls::fetch),
        )
        .route(
            &format!("{uploaded}/{{id}}/associations"),
            get(authorities::associations),
        )
        .route(all, get(lists::list).post(lists::create))
        .route(
            &format!("{all}/{{id}}"),
            get(lists::show).put(lists::describe).delete(lists::delete),
        )
        .route(
            &format!("{all}/{{id}}/items"),
            get(lists::items)
                .post(lists::append)
                .put(lists::replace)
                .delete(lists::remove),
        )
        .route(&format!("{all}/{{id}}/items/{{item}}"), get(lists::item))
        .route(
            &format!("{all}/bulk_operations/{{id}}"),
            get(lists::operation),
        )
}

/// Gives the envelope to failures that the framework answers by itself, and leaves the result out
/// of answers about what was only tried, as Cloudflare does.
async fn wrap(request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let tried = path.starts_with("/client/v4/")
        && request.method() != Method::GET
        && request.uri().query().is_some_and(|query| {
            query
                .split('&')
                .any(|pair| matches!(pair, "dry_run=true" | "dry_run=1"))
        });
    let response = next.run(request).await;
    let status = response.status();
    if tried && status == StatusCode::OK {
        return envelope::result(serde_json::Value::Null);
    }
    let fails = status.is_client_error() || status.is_server_error();
    if !fails || response.extensions().get::<envelope::Enveloped>().is_some() {
        return response;
    }
    if status == StatusCode::BAD_REQUEST {
        // The only one that the framework makes by itself.
        let message = "The path cannot be read: percent-encoded UTF-8 is expected";
        return Fault::parameter(message).into_response();
    }
    let reason = status.canonical_reason().unwrap_or("the request failed");
    Fault::new(status, 1000, reason).into_response()
}
>>>>>>> 01e0ee5 (datapath: all workers are Workers, one word for Workers and Workers)
