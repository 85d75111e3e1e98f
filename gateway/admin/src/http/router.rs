//! The table of routes: which handler answers which path.
//!
//! Owns the answers for unknown routes and methods, and puts failures that axum answers by itself
//! into the envelope.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use super::context::Context;
use super::fault::Fault;
use super::{auth, envelope};
use crate::api::{
    associations, audit, authorities, client_certificates, crls, documents, expressions, health,
    hosts, lists, mtls_rules, ocsp, rulesets, server_certificates, status, steering, sysctl,
    tokens, zones,
};
use crate::dry_run;

pub(super) fn router(context: Arc<Context>) -> Router {
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
            get(associations::show).put(associations::replace),
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
        .route("/postern/v1/status", get(status::show))
        .route("/postern/v1/steering", get(steering::show))
        .route("/postern/v1/steering/trace", get(steering::trace))
        .route("/postern/v1/sysctl", get(sysctl::list))
        .route(
            "/postern/v1/sysctl/{key}",
            put(sysctl::set).get(sysctl::show),
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
        return Fault::path().into_response();
    }
    let reason = status.canonical_reason().unwrap_or("the request failed");
    Fault::new(status, 1000, reason).into_response()
}
