//! `/postern/v1/zones/{zone}/rule_tests`: a dry run of a zone's rules, with a draft or without,
//! against requests that were written by hand or recorded.
//!
//! Owns the shape of the answer. Nothing is changed and nothing is sent anywhere. The checks before
//! the rules are the data path's own ([`snapshot::checks`]), and so are the rules ([`rules::DryRun`]).

mod certificate;
mod record;
mod request;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use self::record::Recorded;
use self::request::RequestBody;
use self::subject::{DryRunRequest, Refused, World};
use crate::api::rule_body::{PositionBody, RuleBody};
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{AtMost, Json};
use crate::http::scope::InZone;
use crate::limits::{
    DRY_RUN_EVALUATIONS_MAX, DRY_RUN_EXPLAINED_MAX, DRY_RUN_REQUESTS_MAX, DRY_RUN_TRACES_MAX,
};
use control::{DraftRule, Id, RulesetDryRun};
use rules::{Action, Case, DryRunOutcome, Fate, Seen, Trace};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    /// Requests written by hand.
    #[serde(default)]
    requests: AtMost<DRY_RUN_REQUESTS_MAX, RequestBody>,
    /// Lines of the access log.
    #[serde(default)]
    records: AtMost<DRY_RUN_REQUESTS_MAX, String>,
    /// A rule that is not saved; with the `id` of one that is, a change of it.
    #[serde(default)]
    draft: Option<RuleBody>,
    /// Ids of rules to explain besides those that act; `all` for every one.
    #[serde(default)]
    explain: Vec<String>,
}

/// One request to try, and the outcome that is expected.
struct DryRunCase {
    asked: Result<DryRunRequest, Refused>,
    expect: Option<String>,
    recorded: Option<Recorded>,
}

/// What a dry run has found so far, in numbers.
#[derive(Default)]
struct Summary {
    outcomes: Map<String, Value>,
    unmet: usize,
    differ: usize,
    unexplained: usize,
    traces: usize,
}

/// Tries rules out and changes nothing.
pub(super) async fn run(at: InZone, Json(mut body): Json<Body>) -> Result<Response, Fault> {
    let draft = body.draft.take().map(draft).transpose()?;
    let (requests, records) = (body.requests.0, body.records.0);
    let count = requests.len().saturating_add(records.len());
    if count > DRY_RUN_REQUESTS_MAX {
        let message =
            format!("{count} requests are more than {DRY_RUN_REQUESTS_MAX}; try fewer at a time");
        return Err(Fault::bad(1489, message).at("/requests"));
    }
    let explain = body.explain;
    let snapshot = at.context().published().load();
    let header_count_max = at.context().live().load().header_count_max;
    let found = at
        .run(move |control, zone| {
            let mut dry_run = control.dry_run(zone, draft)?;
            let world = World {
                control,
                snapshot: &snapshot,
                zone: zone.to_string(),
                header_count_max,
            };
            Ok(try_all(&mut dry_run, &world, requests, records, &explain))
        })
        .await
        .map_err(of_the_draft)?;
    Ok(envelope::result_text(&found?))
}

fn draft(mut body: RuleBody) -> Result<DraftRule, Fault> {
    let position = body.position.take().map(PositionBody::read).transpose()?;
    Ok(match body.id {
        Some(id) => DraftRule::Changed(id, body.patch(), position),
        None => DraftRule::Added(body.new_rule("/draft")?, position),
    })
}

/// Only the draft is new: what the rules are refused for is in it.
fn of_the_draft(fault: Fault) -> Fault {
    match fault
        .pointer
        .as_deref()
        .and_then(|at| at.rsplit('/').next())
    {
        Some(field)
            if !fault
                .pointer
                .as_deref()
                .is_some_and(|at| at.starts_with("/draft")) =>
        {
            let pointer = format!("/draft/{field}");
            fault.at(pointer)
        }
        _ => fault,
    }
}

/// Reads a line of an access log and forgets it, for the fuzz target.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_line(text: &str) {
    drop(record::read(text));
}

/// One request, read from what was written.
fn written(place: usize, body: RequestBody) -> Result<DryRunCase, Fault> {
    let expect = body.expect.clone();
    let asked = body.read().map_err(|(field, why)| {
        let why = Fault::bad(1004, format!("{field}: {why}"));
        why.at(format!("/requests/{place}/{field}"))
    })?;
    Ok(DryRunCase {
        asked: Ok(asked),
        expect,
        recorded: None,
    })
}

/// One request, read from a line of the access log.
fn recorded(line: &str) -> DryRunCase {
    let (asked, recorded) = match record::read(line) {
        Ok((asked, recorded)) => (Ok(asked), Some(recorded)),
        Err(refused) => (Err(refused), None),
    };
    DryRunCase {
        asked,
        expect: None,
        recorded,
    }
}

/// Reads, tries and shows one request after the other: of the many, none is kept but its text in the
/// answer.
fn try_all(
    dry_run: &mut RulesetDryRun,
    world: &World<'_>,
    requests: Vec<RequestBody>,
    records: Vec<String>,
    explain: &[String],
) -> Result<String, Fault> {
    let count = requests.len().saturating_add(records.len());
    let work = count.saturating_mul(dry_run.rules.len());
    if work > DRY_RUN_EVALUATIONS_MAX {
        let message = format!(
            "{count} requests by {} rules are more than a dry run evaluates ({DRY_RUN_EVALUATIONS_MAX}); try fewer requests at a time",
            dry_run.rules.len()
        );
        return Err(Fault::bad(1489, message).at("/requests"));
    }
    let mut wanted = BTreeSet::new();
    for (place, id) in explain.iter().enumerate() {
        if id == "all" {
            wanted.extend(0..dry_run.rules.len());
            continue;
        }
        let found = dry_run
            .rules
            .iter()
            .position(|rule| rule.id.to_string() == *id);
        let Some(found) = found else {
            let id: String = id.chars().take(64).collect();
            let message = format!("explain: there is no rule `{}`", id.escape_debug());
            return Err(Fault::bad(10_003, message).at(format!("/explain/{place}")));
        };
        wanted.insert(found);
    }
    let mut summary = Summary::default();
    let requests = requests.into_iter().enumerate();
    let requests = requests.map(|(place, body)| written(place, body));
    let records = records.into_iter().map(|line| Ok(recorded(&line)));
    // As text: the many trees would take ten times as much.
    let mut tested = String::from("[");
    for entry in requests.chain(records) {
        if tested.len() > 1 {
            tested.push(',');
        }
        let shown = try_one(dry_run, world, entry?, &wanted, &mut summary);
        tested.push_str(&shown.to_string());
    }
    tested.push(']');
    let rest = json!({
        "ruleset_version": dry_run.version.to_string(),
        "rules": dry_run.rules.len(),
        "draft": dry_run.draft.map(|place| rule_at(dry_run, place)),
        "summary": {
            "requests": count,
            "outcomes": summary.outcomes,
            "expectations_unmet": summary.unmet,
            "different_from_record": summary.differ,
            "unexplained": summary.unexplained,
        },
    });
    let mut answer = format!(r#"{{"tested":{tested},"#);
    drop(tested);
    answer.push_str(rest.to_string().trim_start_matches('{'));
    Ok(answer)
}

fn try_one(
    dry_run: &mut RulesetDryRun,
    world: &World<'_>,
    entry: DryRunCase,
    wanted: &BTreeSet<usize>,
    summary: &mut Summary,
) -> Value {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| shown.insert(key.into(), value);
    let (mut outcome, mut by) = ("not_judged", None);
    let mut notes = Vec::new();
    let arrived = entry.asked.and_then(|asked| {
        put("name", json!(asked.name));
        put("request", asked.shown());
        let (said, arrived) = asked.arrive(world);
        notes = said;
        arrived
    });
    match arrived {
        Err(Refused::Unevaluated(why)) => notes.push(why),
        Err(Refused::Gateway {
            status,
            reason,
            why,
        }) => {
            outcome = "refuse";
            put("status", json!(status));
            put("reason", json!(reason));
            notes.push(why);
        }
        Ok(subject) => {
            let request = subject.facts();
            let case = subject.case(&request);
            if let Some((ids, redirects)) = &mut dry_run.redirects {
                notes.extend(redirected(ids, &redirects.run(&case)));
            }
            let tried = dry_run.dry_run.run(&case);
            let mut places = wanted.clone();
            places.extend(&tried.logged);
            places.extend(&tried.maybe_logged);
            match &tried.fate {
                Fate::Permitted { by: skip } => {
                    outcome = "permit";
                    by = *skip;
                }
                Fate::Blocked { by: rule } => {
                    outcome = "block";
                    by = Some(*rule);
                    put("status", json!(status_of(dry_run, *rule)));
                }
                Fate::TooLarge => {
                    outcome = "refuse";
                    put("status", json!(431));
                    put("reason", json!("rules"));
                    notes.push("the request's head is too large for the rules".to_owned());
                }
                Fate::Open { possible, or_none } => {
                    outcome = "unknown";
                    places.extend(possible);
                    put("possible", brief(dry_run, possible));
                    put("or_permitted_by_none", json!(or_none));
                    let unknown = dry_run.dry_run.unknown_of(&case);
                    let names: Vec<&str> = unknown.common(unknown).collect();
                    put("unknown", json!(names));
                }
            }
            places.extend(by);
            put(
                "rule",
                by.map_or(Value::Null, |place| rule_at(dry_run, place)),
            );
            put("logged", brief(dry_run, &tried.logged));
            put("maybe_logged", brief(dry_run, &tried.maybe_logged));
            put("rules", explained(dry_run, &places, &case, summary));
        }
    }
    put("outcome", json!(outcome));
    put("notes", json!(notes));
    let count = summary.outcomes.entry(outcome).or_insert_with(|| json!(0));
    *count = json!(count.as_u64().unwrap_or(0) + 1);
    let id = by
        .and_then(|place| dry_run.rules.get(place))
        .filter(|_| outcome == "block");
    if let Some(recorded) = entry.recorded {
        let differs = match outcome {
            "permit" => Some(recorded.blocked_by.is_some()),
            "block" => Some(recorded.blocked_by != id.map(|rule| rule.id.to_string())),
            "refuse" => Some(true),
            _ => None,
        };
        summary.differ += usize::from(differs == Some(true));
        put("recorded", recorded.shown());
        put("differs", json!(differs));
    }
    if let Some(expect) = entry.expect {
        let is_rule =
            id.is_some_and(|rule| rule.id.to_string() == expect || rule.reference == expect);
        let met = expect == outcome || is_rule;
        summary.unmet += usize::from(!met);
        put("expected", json!(expect));
        put("met", json!(met));
    }
    shown.into()
}

/// What is said of a request that a redirect answers, or may answer, before any of the rules.
fn redirected(ids: &[Id], tried: &DryRunOutcome) -> Option<String> {
    let first = tried.logged.first();
    let maybe = tried.maybe_logged.first();
    match (first, maybe) {
        (Some(first), maybe) if maybe.is_none_or(|maybe| first < maybe) => {
            let id = ids.get(*first)?;
            Some(format!(
                "the redirect {id} answers this request before any of these rules"
            ))
        }
        (None, None) => None,
        _ => Some("a redirect of the zone may answer this request before these rules".to_owned()),
    }
}

fn status_of(dry_run: &RulesetDryRun, place: usize) -> Option<u16> {
    match &dry_run.dry_run.rules().get(place)?.action {
        Action::Block(response) => Some(response.status),
        _ => None,
    }
}

/// A rule without its expression. Places are counted from 1, as positions are.
fn rule_at(dry_run: &RulesetDryRun, place: usize) -> Value {
    let Some(rule) = dry_run.rules.get(place) else {
        return Value::Null;
    };
    json!({
        "id": rule.id,
        "ref": rule.reference,
        "position": place + 1,
        "description": rule.description,
        "action": rule.action,
        "enabled": rule.enabled,
        "draft": dry_run.draft == Some(place),
    })
}

fn brief(dry_run: &RulesetDryRun, places: &[usize]) -> Value {
    places
        .iter()
        .map(|place| rule_at(dry_run, *place))
        .collect()
}

fn explained(
    dry_run: &mut RulesetDryRun,
    places: &BTreeSet<usize>,
    case: &Case<'_>,
    summary: &mut Summary,
) -> Value {
    let left = DRY_RUN_TRACES_MAX.saturating_sub(summary.traces);
    let most = left.min(DRY_RUN_EXPLAINED_MAX);
    summary.unexplained += usize::from(places.len() > most);
    let mut shown = Vec::new();
    for place in places.iter().copied().take(most) {
        let Some(trace) = dry_run.dry_run.explain(place, case) else {
            continue;
        };
        summary.traces += 1;
        let mut rule = rule_at(dry_run, place);
        if let Some(rule) = rule.as_object_mut() {
            rule.insert("holds".into(), json!(trace.holds));
            rule.insert("trace".into(), shown_trace(&trace));
        }
        shown.push(rule);
    }
    shown.into()
}

fn shown_trace(trace: &Trace) -> Value {
    let values = trace.operands.iter().map(|operand| {
        let (value, known) = match &operand.value {
            Seen::Unknown => (Value::Null, "unknown"),
            Seen::Missing => (Value::Null, "missing"),
            Seen::Value(text) => (json!(text), "known"),
        };
        json!({ "of": operand.text, "is": known, "value": value })
    });
    let mut shown = json!({ "expression": trace.text, "holds": trace.holds });
    if let Some(fields) = shown.as_object_mut() {
        if !trace.operands.is_empty() {
            fields.insert("values".into(), values.collect());
        }
        if !trace.parts.is_empty() {
            let parts = trace.parts.iter().map(shown_trace).collect();
            fields.insert("parts".into(), parts);
        }
    }
    shown
}
