//! Help with writing rules, under `/postern/v1`: preview, lints, and the mTLS rule of Cloudflare's
//! documents.

use axum::extract::{Path, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::Fault;
use super::query::{As, Json};
use super::rule_body::PositionBody;
use super::rulesets::{one_rule, shown_rule};
use super::{Shared, envelope, zones};
use crate::control::{MtlsRule, NewRule};
use crate::hostname::HostName;
use crate::rules;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Preview {
    expression: String,
}

/// Checks an expression and changes nothing: how it is read, what it looks at, and what is odd
/// about it.
pub(super) async fn preview(
    State(context): Shared,
    Json(body): Json<Preview>,
) -> Result<Response, Fault> {
    let read = rules::check(&body.expression)
        .map_err(|error| Fault::bad(20_127, error.to_string()).at("/expression"))?;
    let rule = rules::Rule {
        id: "".into(),
        expression: body.expression.as_str().into(),
        action: rules::Action::Block(rules::BlockResponse::default()),
        enabled: true,
    };
    let lints: Vec<Value> = rules::lint(&[rule], &[], context.state.control.has_geo())
        .iter()
        .map(shown_lint)
        .collect();
    let lifetime = match read.lifetime() {
        rules::Lifetime::Connection => "connection",
        rules::Lifetime::Request => "request",
    };
    Ok(envelope::result(json!({
        "expression": read.to_string(),
        "fields": read.fields(),
        "lifetime": lifetime,
        "lints": lints,
    })))
}

/// What is odd about a zone's rules and hosts.
pub(super) async fn lints(
    State(context): Shared,
    As(intent): As,
    Path(zone): Path<String>,
) -> Result<Response, Fault> {
    let zone = zones::find(&context.state.control.model(), &zone)?;
    let lints = context
        .run(intent, move |control| control.lints(zone))
        .await?;
    let shown: Vec<Value> = lints.iter().map(shown_lint).collect();
    Ok(envelope::result(shown))
}

fn shown_lint(lint: &rules::Lint) -> Value {
    json!({
        "kind": lint.kind.as_str(),
        "rule_id": lint.rule_id.as_deref(),
        "message": lint.message,
        "suggestion": lint.suggestion,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MtlsBody {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    check_revoked: bool,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    position: Option<PositionBody>,
}

/// "Create a mTLS rule" of Cloudflare's documents: hosts and paths in, a saved rule out. With
/// `dry_run=true` only the expression is made.
pub(super) async fn create_mtls_rule(
    State(context): Shared,
    As(intent): As,
    Path(zone): Path<String>,
    Json(body): Json<MtlsBody>,
) -> Result<Response, Fault> {
    let zone = zones::find(&context.state.control.model(), &zone)?;
    if let Some(place) = body.paths.iter().position(|path| !path.starts_with('/')) {
        let message = "paths: a path begins with `/`";
        return Err(Fault::bad(20_000, message).at(format!("/paths/{place}")));
    }
    let hosts = body.hosts.iter().map(|text| HostName::parse(text));
    let wanted = MtlsRule {
        hosts: hosts.collect::<Result<_, _>>()?,
        paths: body.paths,
        check_revoked: body.check_revoked,
    };
    let position = body.position.map(PositionBody::read).transpose()?;
    let mut rule = NewRule::block(&wanted.expression());
    rule.description = body.name.unwrap_or_else(|| "mTLS".into());
    rule.enabled = body.enabled.unwrap_or(true);
    rule.action = body.action.unwrap_or(rule.action);
    let made = context
        .run(intent, move |control| {
            control.add_rule(zone, rule, position.as_ref())
        })
        .await
        .map_err(one_rule)?;
    let mut shown = shown_rule(&made.1);
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("ruleset_id".into(), json!(made.0.id));
    }
    Ok(envelope::result(shown))
}
