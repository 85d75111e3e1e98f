//! `/client/v4/zones/{zone}/rulesets`: a zone's rules, phase by phase, with their versions.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::rule_body::{PositionBody, RuleBody, RulesetBody, phase};
use super::ruleset_views::{ShownHead, ShownRule, ShownRuleset};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::{ChangeInZone, InZone};
use crate::limits::WARNINGS_TOLD_MAX;
use control::{Id, Phase, RuleDifference, RuleRecord, Ruleset, VersionNote};

fn shown_versions(ruleset: &Ruleset, notes: &[VersionNote]) -> Response {
    let heads = notes.iter().map(|note| ShownHead::then(ruleset, note));
    envelope::result(heads.collect::<Vec<_>>())
}

/// Says it as Cloudflare does.
fn no_entrypoint(phase: Phase) -> impl Fn(Fault) -> Fault {
    move |fault| {
        if fault.code != 10_003 {
            return fault;
        }
        let message = format!(
            "could not find entrypoint ruleset in the {} phase",
            phase.as_str()
        );
        Fault::new(StatusCode::NOT_FOUND, 10_003, message)
    }
}

pub(crate) async fn list(at: InZone) -> Result<Response, Fault> {
    let model = at.control().model();
    let of_zone = model
        .rulesets
        .values()
        .filter(|ruleset| ruleset.zone == at.zone);
    let heads = of_zone.map(|ruleset| ShownHead::from(&**ruleset));
    Ok(envelope::result(heads.collect::<Vec<_>>()))
}

/// Whether a client is content to know that it was done (RFC 7240 §4.2): a ruleset may be long.
fn wants_little(headers: &HeaderMap) -> bool {
    let all = headers.get_all("prefer").iter();
    let texts = all.filter_map(|one| one.to_str().ok());
    let mut preferences = texts.flat_map(|one| one.split(',').map(str::trim));
    preferences.any(|one| one.eq_ignore_ascii_case(LITTLE))
}

const LITTLE: &str = "return=minimal";

/// What is odd about the names in the rules that a change made.
async fn odd_names(at: &InZone, made: &Arc<Ruleset>) -> Result<Vec<String>, Fault> {
    let ruleset = made.clone();
    let unknown = at
        .run(move |control, _| Ok(control.unknown_hosts_of(&ruleset)))
        .await?;
    let mut messages: Vec<String> = unknown
        .iter()
        .take(WARNINGS_TOLD_MAX)
        .map(|lint| {
            format!(
                "rule {}: {}",
                lint.rule_id.as_deref().unwrap_or("?"),
                lint.message
            )
        })
        .collect();
    let more = unknown.len().saturating_sub(messages.len());
    if more > 0 {
        messages.push(format!("{more} more rules name hosts that there are not"));
    }
    Ok(messages)
}

/// The ruleset that a change made.
async fn changed(at: &InZone, made: Arc<Ruleset>) -> Result<Response, Fault> {
    let messages = odd_names(at, &made).await?;
    Ok(envelope::told(ShownRuleset::from(&*made), messages))
}

/// The ruleset that a change of one rule made: without its rules, when that is preferred.
fn of_one_rule(made: &Ruleset, messages: Vec<String>, headers: &HeaderMap) -> Response {
    if !wants_little(headers) {
        return envelope::told(ShownRuleset::from(made), messages);
    }
    let mut response = envelope::told(ShownHead::from(made), messages);
    let applied = HeaderValue::from_static(LITTLE);
    response.headers_mut().insert("preference-applied", applied);
    response
}

pub(crate) async fn create(
    at: ChangeInZone,
    Json(body): Json<RulesetBody>,
) -> Result<Response, Fault> {
    body.check(None)?;
    let Some(wanted) = body.phase.as_deref().map(phase).transpose()? else {
        return Err(Fault::bad(20_000, "phase: it is required").at("/phase"));
    };
    let rules = RulesetBody::rules(body.rules.unwrap_or_default())?;
    let (made, at) = at
        .run_then_read(move |control, zone| {
            control.create_entrypoint(zone, wanted, body.name, body.description, rules)
        })
        .await?;
    changed(&at, made).await
}

pub(crate) async fn show(at: InZone) -> Result<Response, Fault> {
    let control = at.control();
    let found = control.ruleset(at.zone, at.one()?)?;
    Ok(envelope::result(ShownRuleset::from(&*found)))
}

pub(crate) async fn replace(
    at: ChangeInZone,
    Json(body): Json<RulesetBody>,
) -> Result<Response, Fault> {
    let ruleset: Id = at.one()?;
    body.check(None)?;
    let phase = body.phase.as_deref().map(phase).transpose()?;
    let rules = body.rules.map(RulesetBody::rules).transpose()?;
    let texts = (body.name, body.description);
    let (made, at) = at
        .run_then_read(move |control, zone| {
            control.replace_ruleset(zone, ruleset, phase, texts, rules)
        })
        .await?;
    changed(&at, made).await
}

pub(crate) async fn delete(at: ChangeInZone) -> Result<Response, Fault> {
    let ruleset: Id = at.one()?;
    at.run(move |control, zone| control.delete_ruleset(zone, ruleset))
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn entrypoint(at: InZone) -> Result<Response, Fault> {
    let control = at.control();
    let phase = phase(at.text(0))?;
    let found = control.entrypoint(at.zone, phase).map_err(Fault::from);
    let found = found.map_err(no_entrypoint(phase))?;
    Ok(envelope::result(ShownRuleset::from(&*found)))
}

pub(crate) async fn set_entrypoint(
    at: ChangeInZone,
    Json(body): Json<RulesetBody>,
) -> Result<Response, Fault> {
    let phase = phase(at.text(0))?;
    body.check(Some(phase))?;
    let rules = body.rules.map(RulesetBody::rules).transpose()?;
    let (made, at) = at
        .run_then_read(move |control, zone| match rules {
            Some(rules) => control.set_entrypoint(zone, phase, body.name, body.description, rules),
            None => control.describe_entrypoint(zone, phase, body.name, body.description),
        })
        .await?;
    changed(&at, made).await
}

pub(crate) async fn create_rule(
    at: ChangeInZone,
    headers: HeaderMap,
    Json(mut body): Json<RuleBody>,
) -> Result<Response, Fault> {
    let ruleset: Id = at.one()?;
    let position = body.position.take().map(PositionBody::read).transpose()?;
    let rule = body.new_rule("")?;
    let (made, at) = at
        .run_then_read(move |control, zone| {
            control.create_rule(zone, ruleset, rule, position.as_ref())
        })
        .await
        .map_err(one_rule)?;
    let messages = odd_names(&at, &made).await?;
    Ok(of_one_rule(&made, messages, &headers))
}

pub(crate) async fn update_rule(
    at: ChangeInZone,
    headers: HeaderMap,
    Json(mut body): Json<RuleBody>,
) -> Result<Response, Fault> {
    let (ruleset, rule): (Id, Id) = at.two()?;
    if body.id.is_some_and(|id| id != rule) {
        return Err(Fault::bad(20_000, "id: it cannot be changed").at("/id"));
    }
    let position = body.position.take().map(PositionBody::read).transpose()?;
    let patch = body.patch();
    let (made, at) = at
        .run_then_read(move |control, zone| {
            control.update_rule(zone, ruleset, rule, patch, position.as_ref())
        })
        .await
        .map_err(one_rule)?;
    let messages = odd_names(&at, &made).await?;
    Ok(of_one_rule(&made, messages, &headers))
}

/// The request has one rule, whatever its place in the ruleset.
pub(crate) fn one_rule(fault: Fault) -> Fault {
    let on_expression = fault
        .pointer
        .as_deref()
        .is_some_and(|pointer| pointer.ends_with("/expression"));
    if on_expression {
        fault.at("/expression")
    } else {
        fault
    }
}

pub(crate) async fn delete_rule(at: ChangeInZone, headers: HeaderMap) -> Result<Response, Fault> {
    let (ruleset, rule): (Id, Id) = at.two()?;
    let left = at
        .run(move |control, zone| control.delete_rule(zone, ruleset, rule))
        .await?;
    Ok(of_one_rule(&left, Vec::new(), &headers))
}

pub(crate) async fn versions(at: InZone) -> Result<Response, Fault> {
    let control = at.control();
    let current = control.ruleset(at.zone, at.one()?)?;
    let id = current.id;
    let notes = at
        .run(move |control, zone| control.ruleset_versions(zone, id))
        .await?;
    Ok(shown_versions(&current, &notes))
}

pub(crate) async fn version(at: InZone) -> Result<Response, Fault> {
    show_version(&at, at.one()?, at.text(1)).await
}

pub(crate) async fn entrypoint_versions(at: InZone) -> Result<Response, Fault> {
    let control = at.control();
    let current = control.entrypoint(at.zone, phase(at.text(0))?)?;
    let id = current.id;
    let notes = at
        .run(move |control, zone| control.ruleset_versions(zone, id))
        .await?;
    Ok(shown_versions(&current, &notes))
}

pub(crate) async fn entrypoint_version(at: InZone) -> Result<Response, Fault> {
    let control = at.control();
    let id = control.entrypoint(at.zone, phase(at.text(0))?)?.id;
    show_version(&at, id, at.text(1)).await
}

async fn show_version(at: &InZone, ruleset: Id, version: &str) -> Result<Response, Fault> {
    let Ok(version) = version.parse::<u32>() else {
        return Err(Fault::parameter("the version is a number"));
    };
    let found = at
        .run(move |control, zone| control.ruleset_version(zone, ruleset, version))
        .await?;
    Ok(envelope::result(ShownRuleset::from(&found)))
}

/// Puts the rules of an older version back.
pub(crate) async fn restore(at: ChangeInZone) -> Result<Response, Fault> {
    let ruleset: Id = at.one()?;
    let Ok(version) = at.text(1).parse::<u32>() else {
        return Err(Fault::parameter("the version is a number"));
    };
    let made = at
        .run(move |control, zone| control.restore_version(zone, ruleset, version))
        .await?;
    Ok(envelope::result(ShownRuleset::from(&*made)))
}

/// What differs between two versions: `from` the one before, `to` the newest, unless they are said.
pub(crate) async fn differences(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let control = at.control();
    let current = control.ruleset(at.zone, at.one()?)?;
    let (id, newest) = (current.id, current.version);
    let to = parameters.version("to")?.unwrap_or(newest);
    let from = parameters.version("from")?;
    let from = from.unwrap_or_else(|| to.saturating_sub(1));
    let found = at
        .run(move |control, zone| control.ruleset_differences(zone, id, from, to))
        .await?;
    let texts = [
        ("name", &found.from.name, &found.to.name),
        (
            "description",
            &found.from.description,
            &found.to.description,
        ),
    ];
    let mut changed = Map::new();
    for (field, before, after) in texts {
        if before != after {
            changed.insert(field.into(), json!({ "before": before, "after": after }));
        }
    }
    let rules: Vec<Value> = found.rules.iter().map(shown_difference).collect();
    Ok(envelope::result(json!({
        "id": id,
        "from": found.from.version.to_string(),
        "to": found.to.version.to_string(),
        "changed": changed,
        "rules": rules,
    })))
}

fn shown_difference(difference: &RuleDifference) -> Value {
    let kind = match (&difference.before, &difference.after) {
        (None, _) => "added",
        (_, None) => "removed",
        _ if difference.is_changed => "changed",
        _ => "moved",
    };
    let shown = |side: &Option<(usize, Arc<RuleRecord>)>| match side {
        Some((place, rule)) => json!({ "position": place + 1, "rule": ShownRule::from(&**rule) }),
        None => Value::Null,
    };
    json!({
        "kind": kind,
        "moved": difference.is_moved,
        "before": shown(&difference.before),
        "after": shown(&difference.after),
    })
}
