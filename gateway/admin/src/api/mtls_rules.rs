//! `/postern/v1/zones/{zone}/mtls_rules`: mTLS rules as hosts and paths instead of an expression.
//!
//! They are ordinary custom rules: every rule of a zone whose expression has the form appears here.
//! With `dry_run=true` nothing is saved, and the answer shows the rule that would be.

use std::sync::Arc;

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::expressions::shown_lint;
use super::rule_body::PositionBody;
use super::ruleset_views::ShownRule;
use super::rulesets::one_rule;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::{ChangeInZone, InZone};
use control::{
    ChangeError, Control, Id, Model, MtlsPatch, MtlsRule, NewRule, Noun, Phase, ReadOnly,
    RulePatch, RuleRecord, Ruleset, mtls_rule,
};
use vocabulary::hostname::HostName;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    hosts: Option<Vec<String>>,
    #[serde(default)]
    paths: Option<Vec<String>>,
    #[serde(default)]
    check_revoked: Option<bool>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default)]
    position: Option<PositionBody>,
}

impl Body {
    /// What it says about hosts, paths and certificates.
    fn patch(&mut self) -> Result<MtlsPatch, Fault> {
        let paths = self.paths.take();
        let mut read = paths.iter().flatten();
        if let Some(place) = read.position(|path| !path.starts_with('/')) {
            let message = "paths: a path begins with `/`";
            return Err(Fault::bad(20_000, message).at(format!("/paths/{place}")));
        }
        let host = |(place, text): (usize, &String)| {
            let host = HostName::parse(text).map_err(Fault::from);
            host.map_err(|fault| fault.at(format!("/hosts/{place}")))
        };
        let hosts = self.hosts.take();
        let hosts = hosts.map(|hosts| hosts.iter().enumerate().map(host).collect());
        Ok(MtlsPatch {
            hosts: hosts.transpose()?,
            paths,
            check_revoked: self.check_revoked,
        })
    }
}

fn entrypoint(model: &Model, zone: Id) -> Option<&Arc<Ruleset>> {
    let phase = Phase::HttpRequestFirewallCustom;
    model.rulesets.get(&(zone, phase))
}

/// A rule of the form, with its place, counted from 1.
fn shown(ruleset: &Ruleset, place: usize, rule: &RuleRecord, mtls: &MtlsRule) -> Value {
    let mut shown = json!(ShownRule::from(rule));
    if let Some(shown) = shown.as_object_mut() {
        let hosts: Vec<&str> = mtls.hosts.iter().map(HostName::as_str).collect();
        shown.insert("ruleset_id".into(), json!(ruleset.id));
        shown.insert("position".into(), json!(place + 1));
        shown.insert("name".into(), json!(rule.description));
        shown.insert("hosts".into(), json!(hosts));
        shown.insert("paths".into(), json!(mtls.paths));
        shown.insert("check_revoked".into(), json!(mtls.check_revoked));
    }
    shown
}

/// A rule that was made or changed, or would be, with what is odd about it.
fn answer(
    control: &Control<ReadOnly>,
    zone: Id,
    ruleset: &Ruleset,
    id: Id,
) -> Result<Value, ChangeError> {
    let missing = || ChangeError::not_found(Noun::Rule, id);
    let mut rules = ruleset.rules.iter().enumerate();
    let (place, rule) = rules.find(|(_, rule)| rule.id == id).ok_or_else(missing)?;
    let mtls = MtlsRule::from_expression(&rule.expression).ok_or_else(missing)?;
    let mut shown = shown(ruleset, place, rule, &mtls);
    let lints = control.lints_with(zone, &ruleset.rules)?;
    let name = id.to_string();
    let about = lints
        .iter()
        .filter(|lint| lint.rule_id.as_deref() == Some(name.as_str()));
    if let Some(shown) = shown.as_object_mut() {
        shown.insert("lints".into(), about.map(shown_lint).collect());
    }
    Ok(shown)
}

pub(crate) async fn list(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let model = at.control().model();
    let page = parameters.page()?;
    let ruleset = entrypoint(&model, at.zone);
    let rules = ruleset.iter().flat_map(|ruleset| {
        let rules = ruleset.rules.iter().enumerate();
        rules.filter_map(|(place, rule)| {
            let mtls = MtlsRule::from_expression(&rule.expression)?;
            Some(shown(ruleset, place, rule, &mtls))
        })
    });
    let all: Vec<Value> = rules.collect();
    let total = all.len();
    Ok(envelope::list(page.of(all.into_iter()), &page, total))
}

pub(crate) async fn show(at: InZone) -> Result<Response, Fault> {
    let model = at.control().model();
    let (ruleset, place, rule, mtls) = mtls_rule(&model, at.zone, at.one()?)?;
    Ok(envelope::result(shown(&ruleset, place, &rule, &mtls)))
}

pub(crate) async fn create(
    at: ChangeInZone,
    Json(mut body): Json<Body>,
) -> Result<Response, Fault> {
    let wanted = body.patch()?.apply(&MtlsRule::default());
    let hosts = wanted.hosts.clone();
    let position = body.position.take().map(PositionBody::read).transpose()?;
    let mut rule = NewRule::block(&wanted.expression());
    rule.description = body.name.unwrap_or_else(|| "mTLS".into());
    rule.enabled = body.enabled.unwrap_or(true);
    rule.action = body.action.unwrap_or(rule.action);
    let ((ruleset, rule), at) = at
        .run_then_read(move |control, zone| {
            control.add_mtls_rule(zone, &hosts, rule, position.as_ref())
        })
        .await
        .map_err(one_rule)?;
    written(&at, ruleset, rule.id).await
}

pub(crate) async fn update(
    at: ChangeInZone,
    Json(mut body): Json<Body>,
) -> Result<Response, Fault> {
    let id: Id = at.one()?;
    let wanted = body.patch()?;
    let position = body.position.take().map(PositionBody::read).transpose()?;
    let patch = RulePatch {
        action: body.action,
        description: body.name,
        enabled: body.enabled,
        ..RulePatch::default()
    };
    let (ruleset, at) = at
        .run_then_read(move |control, zone| {
            control.update_mtls_rule(zone, id, wanted, patch, position.as_ref())
        })
        .await
        .map_err(one_rule)?;
    written(&at, ruleset, id).await
}

/// The answer about a rule that was written. Lints of many rules take long.
async fn written(at: &InZone, ruleset: Arc<Ruleset>, id: Id) -> Result<Response, Fault> {
    let shown = at
        .run(move |control, zone| answer(control, zone, &ruleset, id))
        .await?;
    Ok(envelope::result(shown))
}

pub(crate) async fn delete(at: ChangeInZone) -> Result<Response, Fault> {
    let id: Id = at.one()?;
    at.run(move |control, zone| control.delete_mtls_rule(zone, id))
        .await?;
    Ok(envelope::result(json!({ "id": id })))
}
