//! `http_ratelimit`: limits the rate of requests by chosen characteristics, such as the address,
//! the client certificate or a header.
//!
//! <https://developers.cloudflare.com/waf/rate-limiting-rules/parameters/>. Counted for the whole
//! gateway, of which there is one: `cf.colo.id` is taken and says nothing.

use std::collections::HashSet;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value, json};

use super::buckets::{Buckets, Hit, Rate};
use super::{Fault, PhaseInput, PhaseProgram, PhaseRule, matching};
use crate::limits::{
    RATE_CHARACTERISTICS_MAX, RATE_PENALTY_MAX_SEC, RATE_PERIOD_MAX_SEC, RATE_PERIOD_MIN_SEC,
    RATE_REQUESTS_MAX,
};
use rules::limits::{BLOCK_DEFAULT_CONTENT_TYPE, RATE_KEYS_MAX};
use rules::{
    Action, ActionError, BlockResponse, Computed, Lists, Overworked, Permit, Program, Rule,
    RuleError,
};

/// What one rule limits, and what becomes of what is beyond.
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// What tells requests apart; none counts all together.
    keys: Vec<Computed>,
    rate: Rate,
    /// Moves with everything that the rule limits: what an older version counted or punished is
    /// nothing to this one.
    identity: u64,
    /// What is counted, when that is not what the rule matches.
    counting: Option<Arc<str>>,
    /// `None` reports and lets it through.
    response: Option<BlockResponse>,
}

/// A zone's rate limits.
#[derive(Debug)]
pub struct RateLimits {
    asked: PhaseProgram<RateLimit>,
    /// The rules that count something else than they match.
    counting: Program,
    reads_client_hello: bool,
}

/// What rate limits say of one request.
#[derive(Debug)]
pub enum Limited<'p> {
    /// It is within all of them.
    Permit(Permit),
    /// It is beyond this one.
    Block {
        /// The rule's id.
        rule_id: &'p str,
        /// What the client gets.
        response: &'p BlockResponse,
        /// Seconds after which it is worth a try, at least 1.
        retry_after: u64,
    },
    /// They cannot be evaluated: not to be forwarded.
    TooLarge,
}

impl RateLimit {
    /// Reads what the API takes as `action`, `action_parameters` and `ratelimit`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_api(
        action: &str,
        parameters: Option<&Value>,
        limit: Option<&Value>,
    ) -> Result<Self, Fault> {
        let response = match action {
            "log" if parameters.is_none_or(is_nothing) => None,
            "log" => return Err(Fault::new("action_parameters", "`log` has none")),
            "block" => Some(response(parameters)?),
            other => {
                let why = format!(
                    "`{}` is not offered in this phase; `block` and `log` are",
                    other.escape_debug()
                );
                return Err(Fault::new("action", why));
            }
        };
        let Some(limit) = limit else {
            let why = "it is required here: `characteristics`, `period` and `requests_per_period`";
            return Err(Fault::new("ratelimit", why));
        };
        let Some(limit) = limit.as_object() else {
            return Err(Fault::new("ratelimit", "expected an object"));
        };
        only_known(limit)?;
        let seconds = |name, least, most| number(limit, name, least, most);
        let Some(period) = seconds("period", RATE_PERIOD_MIN_SEC, RATE_PERIOD_MAX_SEC)? else {
            return Err(Fault::new("ratelimit.period", "it is required, in seconds"));
        };
        let Some(requests) = number(limit, "requests_per_period", 1, RATE_REQUESTS_MAX)? else {
            let why = "it is required: how many requests a period may bring";
            return Err(Fault::new("ratelimit.requests_per_period", why));
        };
        let penalty = seconds("mitigation_timeout", 0, RATE_PENALTY_MAX_SEC)?.unwrap_or(0);
        let counting = match limit.get("counting_expression") {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if text.trim().is_empty() => None,
            Some(Value::String(text)) => {
                rules::check(text)
                    .map_err(|why| Fault::new("ratelimit.counting_expression", why.to_string()))?;
                Some(text.as_str().into())
            }
            Some(_) => {
                let why = "expected an expression as a string";
                return Err(Fault::new("ratelimit.counting_expression", why));
            }
        };
        let period = period * 1_000_000_000;
        let interval = period / requests;
        Ok(Self {
            keys: keys(limit.get("characteristics"))?,
            rate: Rate {
                interval,
                tolerance: period - interval,
                penalty: penalty * 1_000_000_000,
            },
            identity: identity(limit),
            counting,
            response,
        })
    }

    /// Whom a request counts for, by this rule: more than one where it says something twice.
    fn keys(&self, id: &str, subject: PhaseInput<'_>) -> Result<Vec<Vec<u8>>, Overworked> {
        let mut keys = vec![[id.as_bytes(), &self.identity.to_le_bytes()].concat()];
        for part in &self.keys {
            let PhaseInput {
                connection,
                state,
                request,
            } = subject;
            let parts = part.keys(connection, state, request)?;
            if keys.len() * parts.len() > RATE_KEYS_MAX {
                return Err(Overworked);
            }
            let with =
                |part: &Vec<u8>, key: &Vec<u8>| [key, &part.len().to_le_bytes()[..], part].concat();
            let all = parts.iter();
            keys = all
                .flat_map(|part| keys.iter().map(move |key| with(part, key)))
                .collect();
        }
        Ok(keys)
    }

    /// Counts a request, for everybody that it counts for; beyond when it is for one of them.
    fn ask(
        &self,
        id: &str,
        subject: PhaseInput<'_>,
        buckets: &Buckets,
        counts: bool,
        now: Instant,
    ) -> Result<Hit, Overworked> {
        let mut all = Hit::Within;
        for key in self.keys(id, subject)? {
            let hit = buckets.ask(&key, self.rate, counts, now);
            all = match (all, hit) {
                (Hit::Beyond { retry_after: one }, Hit::Beyond { retry_after: other }) => {
                    Hit::Beyond {
                        retry_after: one.max(other),
                    }
                }
                (Hit::Within, hit) => hit,
                (beyond, Hit::Within) => beyond,
            };
        }
        Ok(all)
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

fn identity(limit: &Map<String, Value>) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    // Its members are in the order of their names.
    Value::Object(limit.clone()).to_string().hash(&mut hasher);
    hasher.finish()
}

/// The answer to what is beyond: 429 (RFC 6585 §4) unless it says another status.
fn response(parameters: Option<&Value>) -> Result<BlockResponse, Fault> {
    let wrong = |why: ActionError| Fault::new("action_parameters", why.to_string());
    let Some(said) = parameters
        .and_then(|parameters| parameters.get("response"))
        .filter(|response| !response.is_null())
    else {
        return BlockResponse::new(429, BLOCK_DEFAULT_CONTENT_TYPE, "too many requests\n")
            .map_err(wrong);
    };
    let mut said = said.clone();
    if let Some(response) = said.as_object_mut() {
        response.entry("status_code").or_insert(429.into());
    }
    match Action::from_api("block", Some(&json!({ "response": said })), None) {
        Ok(Action::Block(response)) => Ok(response),
        Ok(_) => Err(Fault::new("action", "expected `block`")),
        Err(why) => Err(wrong(why)),
    }
}

fn only_known(limit: &Map<String, Value>) -> Result<(), Fault> {
    const KNOWN: [&str; 6] = [
        "characteristics",
        "period",
        "requests_per_period",
        "mitigation_timeout",
        "counting_expression",
        // Everything goes to the origin here: nothing is cached.
        "requests_to_origin",
    ];
    match limit.keys().find(|name| !KNOWN.contains(&name.as_str())) {
        None => match limit.get("requests_to_origin") {
            None | Some(Value::Null | Value::Bool(_)) => Ok(()),
            Some(_) => Err(Fault::new(
                "ratelimit.requests_to_origin",
                "expected true or false",
            )),
        },
        Some(name) => {
            let why = format!("it is not known; {} are", KNOWN.join(", "));
            Err(Fault::new(
                format!("ratelimit.{}", name.escape_debug()),
                why,
            ))
        }
    }
}

fn number(
    limit: &Map<String, Value>,
    name: &str,
    least: u64,
    most: u64,
) -> Result<Option<u64>, Fault> {
    let given = match limit.get(name) {
        None | Some(Value::Null) => return Ok(None),
        Some(given) => given,
    };
    match given
        .as_u64()
        .filter(|number| (least..=most).contains(number))
    {
        Some(number) => Ok(Some(number)),
        None => {
            let why = format!("expected an integer between {least} and {most}");
            Err(Fault::new(format!("ratelimit.{name}"), why))
        }
    }
}

fn keys(given: Option<&Value>) -> Result<Vec<Computed>, Fault> {
    let wrong = |why: String| Fault::new("ratelimit.characteristics", why);
    let example = "expected an array such as [\"ip.src\"] or \
                   [\"cf.tls_client_auth.cert_fingerprint_sha256\"]";
    let Some(given) = given.and_then(Value::as_array) else {
        return Err(wrong(example.into()));
    };
    if given.len() > RATE_CHARACTERISTICS_MAX {
        return Err(wrong(format!(
            "{} of them, {RATE_CHARACTERISTICS_MAX} are allowed",
            given.len()
        )));
    }
    let mut keys = Vec::new();
    for one in given {
        match one.as_str() {
            None => return Err(wrong(example.into())),
            // One gateway is one place.
            Some("cf.colo.id") => {}
            Some(text) => keys.push(Computed::key(text).map_err(|why| wrong(why.to_string()))?),
        }
    }
    Ok(keys)
}

impl RateLimits {
    /// Compiles a zone's rate limits, in order.
    ///
    /// # Errors
    /// The first rule that does not parse or type-check.
    pub fn compile(rules: Vec<PhaseRule<RateLimit>>, lists: &Lists) -> Result<Self, RuleError> {
        let counting = |rule: &PhaseRule<RateLimit>| {
            let expression = rule.does.counting.clone()?;
            Some(Rule {
                expression,
                ..rule.form()
            })
        };
        let places: Vec<usize> = (0..rules.len())
            .filter(|at| {
                rules
                    .get(*at)
                    .is_some_and(|rule| rule.does.counting.is_some())
            })
            .collect();
        let counted: Vec<Rule> = rules.iter().filter_map(counting).collect();
        let counting = Program::compile_with(&counted, lists).map_err(|error| RuleError {
            index: places.get(error.index).copied().unwrap_or_default(),
            ..error
        })?;
        let keys = rules.iter().flat_map(|rule| &rule.does.keys);
        let keys_read_hello = keys.into_iter().any(Computed::reads_client_hello);
        let asked = PhaseProgram::compile(rules, lists)?;
        let reads_client_hello =
            keys_read_hello || counting.reads_client_hello() || asked.program.reads_client_hello();
        Ok(Self {
            asked,
            counting,
            reads_client_hello,
        })
    }

    /// Whether connections have to keep the ClientHello for it.
    #[must_use]
    pub fn reads_client_hello(&self) -> bool {
        self.reads_client_hello
    }

    /// Counts a permitted request and says whether it stays permitted. `logged` is told the id of
    /// every `log` rule that it is beyond.
    pub fn evaluate<'p>(
        &'p self,
        permit: Permit,
        subject: PhaseInput<'_>,
        buckets: &Buckets,
        now: Instant,
        logged: &mut dyn FnMut(&'p str),
    ) -> Limited<'p> {
        if permit.skips_rate_limits() {
            return Limited::Permit(permit);
        }
        match self.beyond(subject, buckets, now, logged) {
            Ok(None) => Limited::Permit(permit),
            Ok(Some(block)) => block,
            Err(Overworked) => Limited::TooLarge,
        }
    }

    fn beyond<'p>(
        &'p self,
        subject: PhaseInput<'_>,
        buckets: &Buckets,
        now: Instant,
        logged: &mut dyn FnMut(&'p str),
    ) -> Result<Option<Limited<'p>>, Overworked> {
        let matching_rules = self.asked.matching(subject)?;
        let mut counted: HashSet<&str> = matching(&self.counting, subject)?.into_iter().collect();
        let matching_rules: Vec<_> = matching_rules
            .into_iter()
            .map(|(id, rule)| (id, rule, rule.counting.is_none() || counted.remove(id)))
            .collect();
        // Those that only count.
        for id in counted {
            if let Some(rule) = self.asked.does.get(id) {
                rule.ask(id, subject, buckets, true, now)?;
            }
        }
        for (id, rule, counts) in matching_rules {
            let Hit::Beyond { retry_after } = rule.ask(id, subject, buckets, counts, now)? else {
                continue;
            };
            match &rule.response {
                None => logged(id),
                Some(response) => {
                    let whole = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                    return Ok(Some(Limited::Block {
                        rule_id: id,
                        response,
                        retry_after: whole.max(1),
                    }));
                }
            }
        }
        Ok(None)
    }
}
