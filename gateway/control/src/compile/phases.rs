//! Compiles redirects, rate limits, origin rules and header rules, the phases beside custom rules.

use std::collections::HashMap;
use std::sync::Arc;

use crate::compile::{CompileError, FieldError, Parts};
use crate::model::id::Id;
use crate::model::{Model, Phase, RuleRecord, Ruleset};
use crate::store::seal::Seal;
use rules::{Lists, RuleError};
use snapshot::http::reach::Reach;
use snapshot::phases::{
    Fault, Message, NamedOrigins, PhaseRule, Phases, RateLimit, RateLimits, Redirect, Redirects,
    Route, Routes, Transform, Transforms,
};

/// Checks what a rule of one of these phases does. Nothing is said of a custom rule.
pub(crate) fn check(phase: Phase, rule: &RuleRecord) -> Result<(), Fault> {
    match phase {
        Phase::HttpRequestFirewallCustom => Ok(()),
        Phase::HttpRequestDynamicRedirect => redirect(rule).map(drop),
        Phase::HttpRatelimit => rate_limit(rule).map(drop),
        Phase::HttpRequestOrigin => route(rule).map(drop),
        Phase::HttpRequestLateTransform => transform(rule).map(drop),
        Phase::HttpResponseHeadersTransform => response_transform(rule).map(drop),
    }
}

fn redirect(rule: &RuleRecord) -> Result<Redirect, Fault> {
    Redirect::from_api(&rule.action, rule.action_parameters.as_ref())
}

fn rate_limit(rule: &RuleRecord) -> Result<RateLimit, Fault> {
    let parameters = rule.action_parameters.as_ref();
    RateLimit::from_api(&rule.action, parameters, rule.ratelimit.as_ref())
}

fn route(rule: &RuleRecord) -> Result<Route, Fault> {
    Route::from_api(&rule.action, rule.action_parameters.as_ref())
}

/// The same with what it may not lead to.
fn route_within(rule: &RuleRecord, reach: &Arc<Reach>) -> Result<Route, Fault> {
    let route = route(rule)?;
    Ok(if rule.confined && !reach.allows_private {
        route.confined_to(reach.clone())
    } else {
        route
    })
}

/// Whether an origin rule may be set as it is.
pub(crate) fn check_reach(rule: &RuleRecord, reach: &Arc<Reach>) -> Result<(), FieldError> {
    let route = route_within(rule, reach)?;
    route.check_reach().map_err(|why| FieldError {
        field: "action_parameters.origin.host".into(),
        why: why.to_string(),
    })
}

fn transform(rule: &RuleRecord) -> Result<Transform, Fault> {
    let parameters = rule.action_parameters.as_ref();
    Transform::from_api(&rule.action, parameters, Message::Request)
}

fn response_transform(rule: &RuleRecord) -> Result<Transform, Fault> {
    let parameters = rule.action_parameters.as_ref();
    Transform::from_api(&rule.action, parameters, Message::Response)
}

fn forms<T>(
    ruleset: &Ruleset,
    read: impl Fn(&RuleRecord) -> Result<T, Fault>,
) -> Result<Vec<PhaseRule<T>>, CompileError> {
    let form = |rule: &RuleRecord| {
        let does = read(rule).map_err(FieldError::from)?;
        Ok(PhaseRule {
            id: rule.id.to_string().into(),
            expression: rule.expression.as_str().into(),
            enabled: rule.enabled,
            does,
        })
    };
    ruleset.rules.iter().map(|rule| form(rule)).collect()
}

/// Rulesets of one phase with what they were compiled to.
struct Known<T>(HashMap<Id, (Arc<Ruleset>, Arc<T>)>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Known<T> {
    /// Compiles a ruleset, or takes it over from `last` when nothing that it rests on is new.
    fn add<R>(
        &mut self,
        (read, compile): (
            impl Fn(&RuleRecord) -> Result<R, Fault>,
            impl Fn(Vec<PhaseRule<R>>, &Lists) -> Result<T, RuleError>,
        ),
        ruleset: &Arc<Ruleset>,
        lists: &Lists,
        last: Option<&Self>,
    ) -> Result<(), CompileError> {
        let known = last.and_then(|last| last.0.get(&ruleset.id));
        let compiled = match known {
            Some((source, known)) if source.version == ruleset.version => known.clone(),
            _ => {
                let compiled = compile(forms(ruleset, read)?, lists);
                Arc::new(compiled.map_err(CompileError::Rules)?)
            }
        };
        self.0.insert(ruleset.id, (ruleset.clone(), compiled));
        Ok(())
    }

    fn of(&self, model: &Model, zone: Id, phase: Phase) -> Option<Arc<T>> {
        let ruleset = model.rulesets.get(&(zone, phase))?;
        self.0.get(&ruleset.id).map(|(_, known)| known.clone())
    }
}

/// All rulesets of these phases, compiled.
#[derive(Default)]
pub(crate) struct PhaseParts {
    redirects: Known<Redirects>,
    rate_limits: Known<RateLimits>,
    routes: Known<Routes>,
    transforms: Known<Transforms>,
    response_transforms: Known<Transforms>,
    /// By zone: the origins that its origin rules name.
    named: HashMap<Id, Arc<NamedOrigins>>,
}

impl PhaseParts {
    /// Compiles a ruleset; of `last`, what did not change is taken over. An empty one is left out,
    /// and custom rules are compiled elsewhere.
    pub(crate) fn add(
        &mut self,
        ruleset: &Arc<Ruleset>,
        lists: &Lists,
        reach: &Arc<Reach>,
        last: Option<&Self>,
    ) -> Result<(), CompileError> {
        if ruleset.rules.is_empty() {
            return Ok(());
        }
        match ruleset.phase {
            Phase::HttpRequestFirewallCustom => Ok(()),
            Phase::HttpRequestDynamicRedirect => {
                let last = last.map(|last| &last.redirects);
                let how = (redirect, Redirects::compile);
                self.redirects.add(how, ruleset, lists, last)
            }
            Phase::HttpRatelimit => {
                let last = last.map(|last| &last.rate_limits);
                let how = (rate_limit, RateLimits::compile);
                self.rate_limits.add(how, ruleset, lists, last)
            }
            Phase::HttpRequestOrigin => {
                let last = last.map(|last| &last.routes);
                let how = (
                    |rule: &RuleRecord| route_within(rule, reach),
                    Routes::compile,
                );
                self.routes.add(how, ruleset, lists, last)
            }
            Phase::HttpRequestLateTransform => {
                let last = last.map(|last| &last.transforms);
                let how = (transform, Transforms::compile);
                self.transforms.add(how, ruleset, lists, last)
            }
            Phase::HttpResponseHeadersTransform => {
                let last = last.map(|last| &last.response_transforms);
                let how = (response_transform, Transforms::compile);
                self.response_transforms.add(how, ruleset, lists, last)
            }
        }
    }

    /// Finds, or has made, the origins that the origin rules of a zone name: its own, and those of its
    /// hosts.
    pub(crate) fn name_origins(
        &mut self,
        model: &Model,
        parts: &mut Parts,
        seal: &Seal,
        last: &Parts,
    ) -> Result<(), CompileError> {
        for (ruleset, routes) in self.routes.0.values() {
            let mut named = NamedOrigins::default();
            for host in model.hosts_of(ruleset.zone) {
                let name = host.name.as_str();
                if routes.hosts().any(|wanted| wanted == name) {
                    named
                        .hosts
                        .insert(name.into(), parts.origin(host, seal, last)?);
                }
            }
            for name in routes.origins() {
                let by = || "an origin rule".to_owned();
                let origin = parts.zone_origin(ruleset.zone, name, by)?;
                named.origins.insert(name.into(), origin);
            }
            self.named.insert(ruleset.zone, Arc::new(named));
        }
        Ok(())
    }

    /// What a zone's requests pass.
    pub(crate) fn of_zone(&self, model: &Model, zone: Id) -> Phases {
        let routes = self.routes.of(model, zone, Phase::HttpRequestOrigin);
        let named = self.named.get(&zone).cloned().unwrap_or_default();
        Phases {
            redirects: self
                .redirects
                .of(model, zone, Phase::HttpRequestDynamicRedirect),
            rate_limits: self.rate_limits.of(model, zone, Phase::HttpRatelimit),
            routes: routes.map(|routes| (routes, named)),
            transforms: self
                .transforms
                .of(model, zone, Phase::HttpRequestLateTransform),
            response_transforms: self.response_transforms.of(
                model,
                zone,
                Phase::HttpResponseHeadersTransform,
            ),
        }
    }
}

impl From<Fault> for FieldError {
    fn from(fault: Fault) -> Self {
        Self {
            field: String::from(fault.path).into(),
            why: fault.why.into(),
        }
    }
}
