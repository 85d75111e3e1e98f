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
use crate::http::scope::InZone;
use control::{
    ChangeError, Control, Id, Model, MtlsRule, NewRule, Noun, Phase, RulePatch, RuleRecord, Ruleset,
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
    /// The rule that this makes out of another.
    fn apply(&self, mut rule: MtlsRule) -> Result<MtlsRule, Fault> {
        if let Some(paths) = &self.paths {
            if let Some(place) = paths.iter().position(|path| !path.starts_with('/')) {
                let message = "paths: a path begins with `/`";
                return Err(Fault::bad(20_000, message).at(format!("/paths/{place}")));
            }
            rule.paths.clone_from(paths);
        }
        if let Some(hosts) = &self.hosts {
            let mut read = Vec::with_capacity(hosts.len());
            for (place, text) in hosts.iter().enumerate() {
                let host = HostName::parse(text).map_err(Fault::from);
                read.push(host.map_err(|fault| fault.at(format!("/hosts/{place}")))?);
            }
            rule.hosts = read;
        }
        rule.check_revoked = self.check_revoked.unwrap_or(rule.check_revoked);
        Ok(rule)
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
fn answer(control: &Control, zone: Id, ruleset: &Ruleset, id: Id) -> Result<Value, ChangeError> {
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

fn find(model: &Model, zone: Id, id: Id) -> Result<(Id, usize, Arc<RuleRecord>, MtlsRule), Fault> {
    let missing = || Fault::from(ChangeError::not_found(Noun::Rule, id));
    let ruleset = entrypoint(model, zone).ok_or_else(missing)?;
    let mut rules = ruleset.rules.iter().enumerate();
    let found = rules.find(|(_, rule)| rule.id == id);
    let (place, rule) = found.ok_or_else(missing)?;
    let Some(mtls) = MtlsRule::from_expression(&rule.expression) else {
        let message = "The rule is more than hosts, paths and a certificate; read and edit it as an expression";
        return Err(Fault::bad(20_000, message));
    };
    Ok((ruleset.id, place, rule.clone(), mtls))
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
    let (_, place, rule, mtls) = find(&model, at.zone, at.one()?)?;
    let shown = entrypoint(&model, at.zone).map(|ruleset| shown(ruleset, place, &rule, &mtls));
    Ok(envelope::result(shown))
}

pub(crate) async fn create(at: InZone, Json(mut body): Json<Body>) -> Result<Response, Fault> {
    let wanted = body.apply(MtlsRule::default())?;
    let position = body.position.take().map(PositionBody::read).transpose()?;
    let mut rule = NewRule::block(&wanted.expression());
    rule.description = body.name.unwrap_or_else(|| "mTLS".into());
    rule.enabled = body.enabled.unwrap_or(true);
    rule.action = body.action.unwrap_or(rule.action);
    let made = at
        .run(move |control, zone| {
            let (ruleset, rule) = control.add_rule(zone, rule, position.as_ref())?;
            answer(control, zone, &ruleset, rule.id)
        })
        .await
        .map_err(one_rule)?;
    Ok(envelope::result(made))
}

pub(crate) async fn update(at: InZone, Json(mut body): Json<Body>) -> Result<Response, Fault> {
    let model = at.control().model();
    let id: Id = at.one()?;
    let (ruleset, _, rule, present) = find(&model, at.zone, id)?;
    let wanted = body.apply(present.clone())?;
    let position = body.position.take().map(PositionBody::read).transpose()?;
    let patch = RulePatch {
        // What says the same stays as it was written.
        expression: (wanted != present).then(|| wanted.expression()),
        action: body.action,
        description: body.name,
        enabled: body.enabled,
        ..RulePatch::default()
    };
    let seen = rule.version;
    let made = at
        .run(move |control, zone| {
            let now = find_version(control, zone, id);
            if now != Some(seen) {
                let why = "it was changed meanwhile; read it again";
                return Err(ChangeError::invalid("version", why));
            }
            let ruleset = control.update_rule(zone, ruleset, id, patch, position.as_ref())?;
            answer(control, zone, &ruleset, id)
        })
        .await
        .map_err(one_rule)?;
    Ok(envelope::result(made))
}

fn find_version(control: &Control, zone: Id, id: Id) -> Option<u32> {
    let model = control.model();
    let mut rules = entrypoint(&model, zone)?.rules.iter();
    rules.find(|rule| rule.id == id).map(|rule| rule.version)
}

pub(crate) async fn delete(at: InZone) -> Result<Response, Fault> {
    let model = at.control().model();
    let (ruleset, _, rule, _) = find(&model, at.zone, at.one()?)?;
    let id = rule.id;
    at.run(move |control, zone| control.delete_rule(zone, ruleset, id))
        .await?;
    Ok(envelope::result(json!({ "id": id })))
}
