//! `/postern/v1/zones/{zone}/rules`: some of a phase's rules, page by page or one by itself. Cloudflare
//! shows a ruleset only as a whole, which may have 100,000.

use std::sync::Arc;

use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};

use super::rule_body::phase;
use super::ruleset_views::ShownRule;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::Parameters;
use crate::http::scope::InZone;
use control::{ChangeError, Id, Model, Noun, Phase, RuleRecord, Ruleset};

/// A rule with where it is.
#[derive(Serialize)]
struct Listed<'r> {
    #[serde(flatten)]
    rule: ShownRule<'r>,
    ruleset_id: Id,
    phase: Phase,
    /// Among all of its phase, from 1.
    position: usize,
}

fn listed(ruleset: &Ruleset, place: usize, rule: &RuleRecord) -> Value {
    json!(Listed {
        rule: rule.into(),
        ruleset_id: ruleset.id,
        phase: ruleset.phase,
        position: place + 1,
    })
}

/// Whether a rule has a text in its description or its expression, in small or capital letters, or is
/// the one of that id.
fn has(rule: &RuleRecord, wanted: &str) -> bool {
    let texts = [&*rule.description, &*rule.expression];
    let has = texts
        .iter()
        .any(|text| text.to_lowercase().contains(wanted));
    has || rule.id.to_string() == wanted
}

/// The rules of a phase in their order: all, or those with a text in them.
pub(crate) async fn list(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let page = parameters.page()?;
    let phase = parameters
        .text("phase")
        .map_or(Ok(Phase::HttpRequestFirewallCustom), phase)?;
    let wanted = parameters.text("search").map(str::to_lowercase);
    // Looking through 100,000 takes a while.
    let (shown, total) = at
        .run(move |control, zone| {
            let model = control.model();
            let Some(ruleset) = model.rulesets.get(&(zone, phase)) else {
                return Ok((Vec::new(), 0));
            };
            let shown = |(place, rule): (usize, &Arc<RuleRecord>)| listed(ruleset, place, rule);
            let all = ruleset.rules.iter().enumerate();
            let Some(wanted) = wanted else {
                return Ok((page.of(all.map(shown)), ruleset.rules.len()));
            };
            let found: Vec<_> = all.filter(|(_, rule)| has(rule, &wanted)).collect();
            let total = found.len();
            Ok((page.of(found.into_iter().map(shown)), total))
        })
        .await?;
    Ok(envelope::list(shown, &page, total))
}

fn find(model: &Model, zone: Id, id: Id) -> Option<Value> {
    let mut of_zone = model.rulesets.values().filter(|one| one.zone == zone);
    of_zone.find_map(|ruleset| {
        let mut rules = ruleset.rules.iter().enumerate();
        let (place, rule) = rules.find(|(_, rule)| rule.id == id)?;
        Some(listed(ruleset, place, rule))
    })
}

/// One rule of whatever phase.
pub(crate) async fn show(at: InZone) -> Result<Response, Fault> {
    let id: Id = at.one()?;
    let found = find(&at.control().model(), at.zone, id);
    let found = found.ok_or_else(|| ChangeError::not_found(Noun::Rule, id))?;
    Ok(envelope::result(found))
}
