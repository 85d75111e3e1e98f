//! `/client/v4/zones/{zone}/rulesets`: a zone's rules, phase by phase, and the preview of an
//! expression under `/postern/v1`.
//!
//! A field that Postern does not know is refused here: a rule with a condition left out (such as
//! `ratelimit`) would mean something else than what was written.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::query::{As, Json};
use super::{Shared, envelope, zones};
use crate::control::{
    ChangeError, Control, Id, Intent, MtlsRule, NewRule, Noun, Phase, Position, RulePatch,
    RuleRecord, Ruleset, VersionNote,
};
use crate::hostname::HostName;
use crate::rules;

/// A rule as it comes. What only answers have is taken too, so that an answer can be sent back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleBody {
    #[serde(default)]
    id: Option<Id>,
    #[serde(default)]
    action: Option<String>,
    #[serde(default, deserialize_with = "said")]
    action_parameters: Option<Option<Value>>,
    #[serde(default)]
    expression: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    enabled: Option<bool>,
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    #[serde(default)]
    logging: Option<Logging>,
    #[serde(default)]
    position: Option<PositionBody>,
    #[serde(default, rename = "version")]
    _version: Option<String>,
    #[serde(default, rename = "last_updated")]
    _last_updated: Option<String>,
    #[serde(default, rename = "categories")]
    _categories: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logging {
    enabled: bool,
}

/// Tells `null` from absent.
fn said<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Option<Value>>, D::Error> {
    Option::deserialize(d).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PositionBody {
    #[serde(default)]
    before: Option<String>,
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    index: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RulesetBody {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    phase: Option<String>,
    #[serde(default)]
    rules: Option<Vec<RuleBody>>,
    #[serde(default, rename = "id")]
    _id: Option<String>,
    #[serde(default, rename = "version")]
    _version: Option<String>,
    #[serde(default, rename = "last_updated")]
    _last_updated: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Preview {
    expression: String,
}

fn shown_rule(rule: &RuleRecord) -> Value {
    let mut shown = json!({
        "id": rule.id,
        "version": rule.version.to_string(),
        "action": rule.action,
        "expression": rule.expression,
        "description": rule.description,
        "enabled": rule.enabled,
        "ref": rule.reference,
        "last_updated": rule.last_updated.to_string(),
    });
    if let Some(shown) = shown.as_object_mut() {
        if let Some(parameters) = &rule.action_parameters {
            shown.insert("action_parameters".into(), parameters.clone());
        }
        if let Some(enabled) = rule.logging {
            shown.insert("logging".into(), json!({ "enabled": enabled }));
        }
    }
    shown
}

fn head(ruleset: &Ruleset) -> Map<String, Value> {
    let head = json!({
        "id": ruleset.id,
        "name": ruleset.name,
        "description": ruleset.description,
        "kind": "zone",
        "phase": ruleset.phase,
        "version": ruleset.version.to_string(),
        "last_updated": ruleset.last_updated.to_string(),
    });
    head.as_object().cloned().unwrap_or_default()
}

fn shown(ruleset: &Ruleset) -> Value {
    let mut shown = head(ruleset);
    let rules: Vec<Value> = ruleset.rules.iter().map(|rule| shown_rule(rule)).collect();
    shown.insert("rules".into(), rules.into());
    shown.into()
}

fn shown_versions(ruleset: &Ruleset, notes: &[VersionNote]) -> Value {
    let shown = |note: &VersionNote| {
        let mut shown = head(ruleset);
        shown.insert("name".into(), note.name.as_str().into());
        shown.insert("description".into(), note.description.as_str().into());
        shown.insert("version".into(), note.version.to_string().into());
        shown.insert("last_updated".into(), note.last_updated.to_string().into());
        Value::from(shown)
    };
    notes.iter().map(shown).collect::<Vec<_>>().into()
}

impl PositionBody {
    fn read(self) -> Result<Position, Fault> {
        let place = |text: &str| -> Result<Option<Id>, Fault> {
            Ok(if text.is_empty() {
                None
            } else {
                Some(text.parse::<Id>()?)
            })
        };
        match (self.before.as_deref(), self.after.as_deref(), self.index) {
            (Some(before), None, None) => Ok(Position::Before(place(before)?)),
            (None, Some(after), None) => Ok(Position::After(place(after)?)),
            (None, None, Some(index)) => Ok(Position::Index(index)),
            _ => {
                let message = "position: exactly one of before, after, index is expected";
                Err(Fault::bad(20_000, message).at("/position"))
            }
        }
    }
}

impl RuleBody {
    fn new_rule(self, place: &str) -> Result<NewRule, Fault> {
        let missing = |field: &str| {
            Fault::bad(20_000, format!("{field}: it is required")).at(format!("{place}/{field}"))
        };
        Ok(NewRule {
            id: self.id,
            expression: self.expression.ok_or_else(|| missing("expression"))?,
            action: self.action.ok_or_else(|| missing("action"))?,
            action_parameters: self.action_parameters.flatten(),
            logging: self.logging.map(|logging| logging.enabled),
            description: self.description.unwrap_or_default(),
            enabled: self.enabled.unwrap_or(true),
            reference: self.reference,
        })
    }

    fn patch(self) -> RulePatch {
        RulePatch {
            expression: self.expression,
            action: self.action,
            action_parameters: self.action_parameters,
            logging: self.logging.map(|logging| logging.enabled),
            description: self.description,
            enabled: self.enabled,
            reference: self.reference,
        }
    }
}

impl RulesetBody {
    /// Kind and phase must be what Postern has, if they are said.
    fn check(&self, expected: Option<Phase>) -> Result<(), Fault> {
        if let Some(kind) = self.kind.as_deref().filter(|kind| *kind != "zone") {
            let message = format!("kind: `{}` is not offered; `zone` is", kind.escape_debug());
            return Err(Fault::bad(20_000, message).at("/kind"));
        }
        if let (Some(said), Some(expected)) = (&self.phase, expected)
            && phase(said)? != expected
        {
            let message = format!("phase: it cannot be changed, it is {}", expected.as_str());
            return Err(Fault::bad(20_000, message).at("/phase"));
        }
        Ok(())
    }

    fn rules(rules: Vec<RuleBody>) -> Result<Vec<NewRule>, Fault> {
        rules
            .into_iter()
            .enumerate()
            .map(|(place, rule)| rule.new_rule(&format!("/rules/{place}")))
            .collect()
    }
}

fn phase(text: &str) -> Result<Phase, Fault> {
    Phase::parse(text).ok_or_else(|| {
        let known: Vec<&str> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
        let text: String = text.chars().take(64).collect();
        let message = format!(
            "the phase `{}` is not known; {} is",
            text.escape_debug(),
            known.join(", ")
        );
        Fault::bad(20_000, message)
    })
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

pub(super) async fn list(
    State(context): Shared,
    Path(zone): Path<String>,
) -> Result<Response, Fault> {
    let model = context.state.control.model();
    let zone = zones::find(&model, &zone)?;
    let of_zone = model
        .rulesets
        .values()
        .filter(|ruleset| ruleset.zone == zone);
    let heads: Vec<Value> = of_zone.map(|ruleset| Value::from(head(ruleset))).collect();
    Ok(envelope::result(heads))
}

pub(super) async fn create(
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
    Ok(envelope::result(shown(&made)))
}

pub(super) async fn show(
    State(context): Shared,
    Path((zone, ruleset)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let control = &context.state.control;
    let zone = zones::find(&control.model(), &zone)?;
    Ok(envelope::result(shown(
        &*control.ruleset(zone, ruleset.parse()?)?,
    )))
}

pub(super) async fn replace(
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
    context: &super::Context,
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
    Ok(envelope::result(shown(&made)))
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
        logging: rule.logging,
        description: rule.description.clone(),
        enabled: rule.enabled,
        reference: Some(rule.reference.clone()),
    };
    ruleset.rules.iter().map(|rule| again(rule)).collect()
}

pub(super) async fn delete(
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

pub(super) async fn entrypoint(
    State(context): Shared,
    Path((zone, name)): Path<(String, String)>,
) -> Result<Response, Fault> {
    let control = &context.state.control;
    let zone = zones::find(&control.model(), &zone)?;
    let phase = phase(&name)?;
    let found = control.entrypoint(zone, phase).map_err(Fault::from);
    Ok(envelope::result(shown(
        &*found.map_err(no_entrypoint(phase))?,
    )))
}

pub(super) async fn set_entrypoint(
    State(context): Shared,
    As(intent): As,
    Path((zone, name)): Path<(String, String)>,
    Json(body): Json<RulesetBody>,
) -> Result<Response, Fault> {
    let zone = zones::find(&context.state.control.model(), &zone)?;
    set(&context, intent, zone, phase(&name)?, body).await
}

pub(super) async fn create_rule(
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
    Ok(envelope::result(shown(&made)))
}

pub(super) async fn update_rule(
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
    Ok(envelope::result(shown(&made)))
}

/// The request has one rule, whatever its place in the ruleset.
fn one_rule(fault: Fault) -> Fault {
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

pub(super) async fn delete_rule(
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
    Ok(envelope::result(shown(&left)))
}

pub(super) async fn versions(
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
    Ok(envelope::result(shown_versions(&current, &notes)))
}

pub(super) async fn version(
    State(context): Shared,
    As(intent): As,
    Path((zone, ruleset, version)): Path<(String, String, String)>,
) -> Result<Response, Fault> {
    let zone = zones::find(&context.state.control.model(), &zone)?;
    show_version(&context, intent, zone, ruleset.parse()?, &version).await
}

pub(super) async fn entrypoint_versions(
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
    Ok(envelope::result(shown_versions(&current, &notes)))
}

pub(super) async fn entrypoint_version(
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
    context: &super::Context,
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
    Ok(envelope::result(shown(&found)))
}

/// Checks an expression and changes nothing: how it is read, what it looks at, and what is odd
/// about it.
pub(super) async fn preview(Json(body): Json<Preview>) -> Result<Response, Fault> {
    let read = rules::check(&body.expression)
        .map_err(|error| Fault::bad(20_127, error.to_string()).at("/expression"))?;
    let rule = rules::Rule {
        id: "".into(),
        expression: body.expression.as_str().into(),
        action: rules::Action::Block(rules::BlockResponse::default()),
        enabled: true,
    };
    let lints: Vec<Value> = rules::lint(&[rule], &[]).iter().map(shown_lint).collect();
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

/// Puts the rules of an older version back.
pub(super) async fn restore(
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
    Ok(envelope::result(shown(&made)))
}
