//! `/client/v4/zones/{zone}/rulesets`: a zone's rules, phase by phase, with their versions.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::rule_body::{PositionBody, RuleBody, RulesetBody, phase};
use super::ruleset_views::{ShownHead, ShownRule, ShownRuleset};
use super::zones;
use crate::http::context::{Context, Shared};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{As, Json, Parameters};
use control::{
    ChangeError, Control, Id, Intent, NewRule, Noun, Phase, RuleDifference, RuleRecord, Ruleset,
    VersionNote,
};

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

pub(crate) async fn list(
    State(context): Shared,
    Path(zone): Path<String>,
) -> Result<Response, Fault> {
    let model = context.state.control.model();
    let zone = zones::find(&model, &zone)?;
    let of_zone = model
        .rulesets
        .values()
        .filter(|ruleset| ruleset.zone == zone);
    let heads = of_zone.map(|ruleset| ShownHead::from(&**ruleset));
    Ok(envelope::result(heads.collect::<Vec<_>>()))
}

pub(crate) async fn create(
    State(context): Shared,
    As(intent): As,
    Path(zone): Path<String>,
    Json(body): Json<RulesetBody>,
) -> Result<Response, Fault> {
    let model = context.state.control.model();
    let zone = zones::find(&model, &zone)?;
    body.check(None)?;
    let Some(wanted) = body.phase.as_deref().map(phase).transpose()? else {
        return Err(Fault::bad(20_000, "phase: it is required").at("/phase"));
    };
    let rules = RulesetBody::rules(body.rules.unwrap_or_default())?;
    let made = context
        .run(intent, move |control| {
            if control.model().rulesets.contains_key(&(zone, wanted)) {
                let key = wanted.as_str().into();
                return Err(ChangeError::Exists {
                    noun: Noun::Ruleset,
                    key,
                });
            }
            control.set_entrypoint(zone, wanted, body.name, body.description, rules)
        })
        .await?;
    Ok(envelope::result(ShownRuleset::from(&*made)))
}

pub(crate) async fn show(
    State(context): Shared,
    Path((zone, ruleset)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let control = &context.state.control;
    let zone = zones::find(&control.model(), &zone)?;
    let found = control.ruleset(zone, ruleset.parse()?)?;
    Ok(envelope::result(ShownRuleset::from(&*found)))
}

pub(crate) async fn replace(
    State(context): Shared,
    As(intent): As,
    Path((zone, ruleset)): Path<(String, String)>,
    Json(body): Json<RulesetBody>,
) -> Result<Response, Fault> {
    let control = &context.state.control;
    let zone = zones::find(&control.model(), &zone)?;
    let phase = control.ruleset(zone, ruleset.parse()?)?.phase;
    set(&context, intent, zone, phase, body).await
}

async fn set(
    context: &Context,
    intent: Intent,
    zone: Id,
    phase: Phase,
    body: RulesetBody,
) -> Result<Response, Fault> {
    body.check(Some(phase))?;
    let rules = body.rules.map(RulesetBody::rules).transpose()?;
    let made = context
        .run(intent, move |control| {
            let rules = match rules {
                Some(rules) => rules,
                None => kept(control, zone, phase),
            };
            control.set_entrypoint(zone, phase, body.name, body.description, rules)
        })
        .await?;
    Ok(envelope::result(ShownRuleset::from(&*made)))
}

/// The rules as they are, for an update that does not mention them.
fn kept(control: &Control, zone: Id, phase: Phase) -> Vec<NewRule> {
    let model = control.model();
    let Some(ruleset) = model.rulesets.get(&(zone, phase)) else {
        return Vec::new();
    };
    let again = |rule: &RuleRecord| NewRule {
        id: Some(rule.id),
        expression: rule.expression.clone(),
        action: rule.action.clone(),
        action_parameters: rule.action_parameters.clone(),
        ratelimit: rule.ratelimit.clone(),
        logging: rule.logging,
        description: rule.description.clone(),
        enabled: rule.enabled,
        reference: Some(rule.reference.clone()),
    };
    ruleset.rules.iter().map(|rule| again(rule)).collect()
}

pub(crate) async fn delete(
    State(context): Shared,
    As(intent): As,
    Path((zone, ruleset)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let zone = zones::find(&context.state.control.model(), &zone)?;
    let ruleset: Id = ruleset.parse()?;
    context
        .run(intent, move |control| control.delete_ruleset(zone, ruleset))
        .await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(crate) async fn entrypoint(
    State(context): Shared,
    Path((zone, name)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let control = &context.state.control;
    let zone = zones::find(&control.model(), &zone)?;
    let phase = phase(&name)?;
    let found = control.entrypoint(zone, phase).map_err(Fault::from);
    let found = found.map_err(no_entrypoint(phase))?;
    Ok(envelope::result(ShownRuleset::from(&*found)))
}

pub(crate) async fn set_entrypoint(
    State(context): Shared,
    As(intent): As,
    Path((zone, name)): Path<(String, String)>,
    Json(body): Json<RulesetBody>,
) -> Result<Response, Fault> {
    let zone = zones::find(&context.state.control.model(), &zone)?;
    set(&context, intent, zone, phase(&name)?, body).await
}

pub(crate) async fn create_rule(
    State(context): Shared,
    As(intent): As,
    Path((zone, ruleset)): Path<(String, String)>,
    Json(mut body): Json<RuleBody>,
) -> Result<Response, Fault> {
    let zone = zones::find(&context.state.control.model(), &zone)?;
    let ruleset: Id = ruleset.parse()?;
    let position = body.position.take().map(PositionBody::read).transpose()?;
    let rule = body.new_rule("")?;
    let made = context
        .run(intent, move |control| {
            control.create_rule(zone, ruleset, rule, position.as_ref())
        })
        .await
        .map_err(one_rule)?;
    Ok(envelope::result(ShownRuleset::from(&*made)))
}

pub(crate) async fn update_rule(
    State(context): Shared,
    As(intent): As,
    Path((zone, ruleset, rule)): Path<(String, String, String)>,
    Json(mut body): Json<RuleBody>,
) -> Result<Response, Fault> {
    let zone = zones::find(&context.state.control.model(), &zone)?;
    let (ruleset, rule): (Id, Id) = (ruleset.parse()?, rule.parse()?);
    if body.id.is_some_and(|id| id != rule) {
        return Err(Fault::bad(20_000, "id: it cannot be changed").at("/id"));
    }
    let position = body.position.take().map(PositionBody::read).transpose()?;
    let patch = body.patch();
    let made = context
        .run(intent, move |control| {
            control.update_rule(zone, ruleset, rule, patch, position.as_ref())
        })
        .await
        .map_err(one_rule)?;
    Ok(envelope::result(ShownRuleset::from(&*made)))
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

pub(crate) async fn delete_rule(
    State(context): Shared,
    As(intent): As,
    Path((zone, ruleset, rule)): Path<(String, String, String)>,
) -> Result<Response, Fault> {
    let zone = zones::find(&context.state.control.model(), &zone)?;
    let (ruleset, rule): (Id, Id) = (ruleset.parse()?, rule.parse()?);
    let left = context
        .run(intent, move |control| {
            control.delete_rule(zone, ruleset, rule)
        })
        .await?;
    Ok(envelope::result(ShownRuleset::from(&*left)))
}

pub(crate) async fn versions(
    State(context): Shared,
    As(intent): As,
    Path((zone, ruleset)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let control = &context.state.control;
    let zone = zones::find(&control.model(), &zone)?;
    let current = control.ruleset(zone, ruleset.parse()?)?;
    let id = current.id;
    let notes = context
        .run(intent, move |control| control.ruleset_versions(zone, id))
        .await?;
    Ok(shown_versions(&current, &notes))
}

pub(crate) async fn version(
    State(context): Shared,
    As(intent): As,
    Path((zone, ruleset, version)): Path<(String, String, String)>,
) -> Result<Response, Fault> {
    let zone = zones::find(&context.state.control.model(), &zone)?;
    show_version(&context, intent, zone, ruleset.parse()?, &version).await
}

pub(crate) async fn entrypoint_versions(
    State(context): Shared,
    As(intent): As,
    Path((zone, name)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let control = &context.state.control;
    let zone = zones::find(&control.model(), &zone)?;
    let current = control.entrypoint(zone, phase(&name)?)?;
    let id = current.id;
    let notes = context
        .run(intent, move |control| control.ruleset_versions(zone, id))
        .await?;
    Ok(shown_versions(&current, &notes))
}

pub(crate) async fn entrypoint_version(
    State(context): Shared,
    As(intent): As,
    Path((zone, name, version)): Path<(String, String, String)>,
) -> Result<Response, Fault> {
    let control = &context.state.control;
    let zone = zones::find(&control.model(), &zone)?;
    let id = control.entrypoint(zone, phase(&name)?)?.id;
    show_version(&context, intent, zone, id, &version).await
}

async fn show_version(
    context: &Context,
    intent: Intent,
    zone: Id,
    ruleset: Id,
    version: &str,
) -> Result<Response, Fault> {
    let Ok(version) = version.parse::<u32>() else {
        return Err(Fault::parameter("the version is a number"));
    };
    let found = context
        .run(intent, move |control| {
            control.ruleset_version(zone, ruleset, version)
        })
        .await?;
    Ok(envelope::result(ShownRuleset::from(&found)))
}

/// Puts the rules of an older version back.
pub(crate) async fn restore(
    State(context): Shared,
    As(intent): As,
    Path((zone, ruleset, version)): Path<(String, String, String)>,
) -> Result<Response, Fault> {
    let zone = zones::find(&context.state.control.model(), &zone)?;
    let ruleset: Id = ruleset.parse()?;
    let Ok(version) = version.parse::<u32>() else {
        return Err(Fault::parameter("the version is a number"));
    };
    let made = context
        .run(intent, move |control| {
            control.restore_version(zone, ruleset, version)
        })
        .await?;
    Ok(envelope::result(ShownRuleset::from(&*made)))
}

/// What differs between two versions: `from` the one before, `to` the newest, unless they are said.
pub(crate) async fn differences(
    State(context): Shared,
    As(intent): As,
    Path((zone, ruleset)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let control = &context.state.control;
    let zone = zones::find(&control.model(), &zone)?;
    let current = control.ruleset(zone, ruleset.parse()?)?;
    let (id, newest) = (current.id, current.version);
    let to = parameters.version("to")?.unwrap_or(newest);
    let from = parameters.version("from")?;
    let from = from.unwrap_or_else(|| to.saturating_sub(1));
    let found = context
        .run(intent, move |control| {
            control.ruleset_differences(zone, id, from, to)
        })
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
    let shown = |side: &Option<(usize, std::sync::Arc<RuleRecord>)>| match side {
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
