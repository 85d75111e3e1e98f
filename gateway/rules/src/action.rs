//! Rule actions: block, log and skip, parsed from the JSON of Cloudflare's API and checked.
//!
//! <https://developers.cloudflare.com/ruleset-engine/rules-language/actions/>. The challenge family
//! needs a browser and a third party, and is refused by name.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use crate::limits;
use crate::syntax::error::nearest;

/// What a matching rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer with this instead of forwarding; terminates.
    Block(BlockResponse),
    /// Report the match and go on.
    Log,
    /// Leave out what it names.
    Skip(Skip),
}

/// What a blocked client gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockResponse {
    /// 400 to 499.
    pub status: u16,
    /// One of `text/html`, `text/plain`, `application/json`, `text/xml`.
    pub content_type: Arc<str>,
    /// At most 2 KiB.
    pub content: Arc<str>,
}

/// What a `skip` rule leaves out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Skip {
    /// The rest of this ruleset: terminates, and the request is permitted.
    pub current_ruleset: bool,
    /// Whole phases that come later.
    pub phases: Vec<Arc<str>>,
    /// Cloudflare products; Postern has none of them, so nothing is left out.
    pub products: Vec<Arc<str>>,
    /// Whether the match is reported.
    pub logging: bool,
}

/// Why an action cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// A name that Postern does not implement.
    #[error("the action `{name}` cannot be used: {why}")]
    Unsupported {
        /// As given.
        name: Box<str>,
        /// Why, and what to use instead.
        why: Box<str>,
    },
    /// A parameter is wrong.
    #[error("action_parameters.{path}: {why}")]
    Parameter {
        /// `response.status_code`.
        path: &'static str,
        /// What is wrong and what is right.
        why: Box<str>,
    },
}

impl Skip {
    /// Whether requests that match are not counted nor limited.
    #[must_use]
    pub fn rate_limits(&self) -> bool {
        self.phases.iter().any(|phase| &**phase == RATE_LIMITS)
    }
}

const RATE_LIMITS: &str = "http_ratelimit";

const PHASES: &[&str] = &[
    RATE_LIMITS,
    "http_request_sbfm",
    "http_request_firewall_managed",
];
const PRODUCTS: &[&str] = &[
    "bic",
    "hot",
    "rateLimit",
    "securityLevel",
    "uaBlock",
    "waf",
    "zoneLockdown",
];

impl Default for BlockResponse {
    /// Cloudflare's default: 403.
    fn default() -> Self {
        // Most rules of a large set say nothing else: they share one.
        static DEFAULT: LazyLock<BlockResponse> = LazyLock::new(|| BlockResponse {
            status: limits::BLOCK_DEFAULT_STATUS,
            content_type: limits::BLOCK_DEFAULT_CONTENT_TYPE.into(),
            content: limits::BLOCK_DEFAULT_CONTENT.into(),
        });
        DEFAULT.clone()
    }
}

impl BlockResponse {
    /// Whether the rule leaves it to the gateway what is said.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self.content == *limits::BLOCK_DEFAULT_CONTENT
            && *self.content_type == *limits::BLOCK_DEFAULT_CONTENT_TYPE
    }

    /// Checks the three of them.
    ///
    /// # Errors
    /// The first that is out of bounds.
    pub fn new(status: u16, content_type: &str, content: &str) -> Result<Self, ActionError> {
        if !(400..=499).contains(&status) {
            return Err(wrong(
                "response.status_code",
                format!("{status} is not between 400 and 499"),
            ));
        }
        if !limits::BLOCK_CONTENT_TYPES.contains(&content_type) {
            let why = format!(
                "`{content_type}` is not one of {}",
                limits::BLOCK_CONTENT_TYPES.join(", ")
            );
            return Err(wrong("response.content_type", why));
        }
        let most = limits::BLOCK_CONTENT_BYTES_MAX;
        if content.len() > most {
            return Err(wrong(
                "response.content",
                format!("{} bytes, {most} are allowed", content.len()),
            ));
        }
        Ok(Self {
            status,
            content_type: content_type.into(),
            content: content.into(),
        })
    }
}

fn wrong(path: &'static str, why: impl Into<Box<str>>) -> ActionError {
    ActionError::Parameter {
        path,
        why: why.into(),
    }
}

impl Action {
    /// Its name in the API.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Block(_) => "block",
            Self::Log => "log",
            Self::Skip(_) => "skip",
        }
    }

    /// Reads an action from the API's `action`, `action_parameters` and `logging.enabled`.
    ///
    /// # Errors
    /// An action that Postern does not have, or a parameter that is wrong.
    pub fn from_api(
        name: &str,
        parameters: Option<&Value>,
        logging: Option<bool>,
    ) -> Result<Self, ActionError> {
        let none = Value::Null;
        let parameters = parameters.unwrap_or(&none);
        match name {
            "block" => block(parameters).map(Self::Block),
            "log" => Ok(Self::Log),
            "skip" => skip(parameters, logging.unwrap_or(true)).map(Self::Skip),
            _ => Err(ActionError::Unsupported {
                name: name.into(),
                why: refusal(name).into(),
            }),
        }
    }

    /// The API's `action_parameters`.
    #[must_use]
    pub fn parameters(&self) -> Option<Value> {
        match self {
            Self::Block(response) if *response == BlockResponse::default() => None,
            Self::Block(response) => Some(json!({
                "response": {
                    "status_code": response.status,
                    "content_type": *response.content_type,
                    "content": *response.content,
                }
            })),
            Self::Log => None,
            Self::Skip(skip) => {
                let mut parameters = serde_json::Map::new();
                if skip.current_ruleset {
                    parameters.insert("ruleset".into(), "current".into());
                }
                let names = |names: &[Arc<str>]| {
                    names
                        .iter()
                        .map(|name| Value::from(&**name))
                        .collect::<Value>()
                };
                if !skip.phases.is_empty() {
                    parameters.insert("phases".into(), names(&skip.phases));
                }
                if !skip.products.is_empty() {
                    parameters.insert("products".into(), names(&skip.products));
                }
                Some(parameters.into())
            }
        }
    }

    /// Whether later rules are not looked at when this one matches.
    #[must_use]
    pub fn is_terminating(&self) -> bool {
        match self {
            Self::Block(_) => true,
            Self::Log => false,
            Self::Skip(skip) => skip.current_ruleset,
        }
    }
}

fn refusal(name: &str) -> String {
    match name {
        "challenge" | "js_challenge" | "managed_challenge" => {
            "Postern serves no browser challenges; use `block`, or `log` to watch first".into()
        }
        "allow" | "bypass" => {
            "it exists only in Cloudflare's deprecated firewall rules; use `skip` with \
             `{\"ruleset\": \"current\"}`"
                .into()
        }
        "redirect"
        | "rewrite"
        | "route"
        | "set_config"
        | "execute"
        | "compress_response"
        | "set_cache_settings"
        | "serve_error"
        | "score"
        | "ddos_dynamic"
        | "force_connection_close"
        | "log_custom_field" => {
            "this phase blocks, logs and skips; use `block`, `log` or `skip`".into()
        }
        _ => match nearest(name, ["block", "log", "skip"]) {
            Some(near) => format!("there is no such action; did you mean `{near}`?"),
            None => "there is no such action; use `block`, `log` or `skip`".into(),
        },
    }
}

fn block(parameters: &Value) -> Result<BlockResponse, ActionError> {
    let response = parameters.get("response").unwrap_or(&Value::Null);
    let fallback = BlockResponse::default();
    if response.is_null() {
        return Ok(fallback);
    }
    let status = match response.get("status_code") {
        None => fallback.status,
        Some(status) => status
            .as_u64()
            .and_then(|status| u16::try_from(status).ok())
            .ok_or_else(|| {
                wrong(
                    "response.status_code",
                    "expected an integer between 400 and 499",
                )
            })?,
    };
    let text = |name: &str, path: &'static str, fallback: Arc<str>| match response.get(name) {
        None => Ok(fallback),
        Some(Value::String(text)) => Ok(text.as_str().into()),
        Some(_) => Err(wrong(path, "expected a string")),
    };
    let content_type = text(
        "content_type",
        "response.content_type",
        fallback.content_type,
    )?;
    let content = text("content", "response.content", fallback.content)?;
    BlockResponse::new(status, &content_type, &content)
}

fn skip(parameters: &Value, logging: bool) -> Result<Skip, ActionError> {
    let mut skip = Skip {
        logging,
        ..Skip::default()
    };
    for (name, path) in [("ruleset", "ruleset"), ("phase", "phase")] {
        match parameters.get(name).and_then(Value::as_str) {
            Some("current") => skip.current_ruleset = true,
            None if parameters.get(name).is_none() => {}
            _ => return Err(wrong(path, "the only value is \"current\"")),
        }
    }
    skip.phases = names(parameters, "phases", PHASES)?;
    skip.products = names(parameters, "products", PRODUCTS)?;
    if !skip.current_ruleset && skip.phases.is_empty() && skip.products.is_empty() {
        return Err(wrong(
            "ruleset",
            "a skip rule names what to skip: `\"ruleset\": \"current\"`, `phases` or `products`",
        ));
    }
    Ok(skip)
}

fn names(
    parameters: &Value,
    name: &'static str,
    known: &[&str],
) -> Result<Vec<Arc<str>>, ActionError> {
    let Some(given) = parameters.get(name) else {
        return Ok(Vec::new());
    };
    let Some(given) = given.as_array() else {
        return Err(wrong(name, "expected an array of strings"));
    };
    let one = |item: &Value| {
        let item = item.as_str().unwrap_or_default();
        if known.contains(&item) {
            Ok(item.into())
        } else {
            Err(wrong(name, format!("known are {}", known.join(", "))))
        }
    };
    given.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_shown() {
        for (name, parameters, shown) in [
            ("block", Value::Null, None),
            (
                "block",
                json!({"response": {"status_code": 429}}),
                Some(json!({"response": {
                "status_code": 429, "content_type": "text/plain", "content": limits::BLOCK_DEFAULT_CONTENT}})),
            ),
            ("log", Value::Null, None),
            (
                "skip",
                json!({"ruleset": "current"}),
                Some(json!({"ruleset": "current"})),
            ),
            (
                "skip",
                json!({"phases": ["http_ratelimit"]}),
                Some(json!({"phases": ["http_ratelimit"]})),
            ),
        ] {
            let action = Action::from_api(name, Some(&parameters), None).unwrap();
            assert_eq!((action.name(), action.parameters()), (name, shown));
        }
    }

    #[test]
    fn refused() {
        let long = "x".repeat(2049);
        for (name, parameters, why) in [
            ("managed_challenge", Value::Null, "no browser challenges"),
            ("js_challenge", Value::Null, "no browser challenges"),
            ("challenge", Value::Null, "no browser challenges"),
            ("allow", Value::Null, "use `skip`"),
            ("redirect", Value::Null, "use `block`"),
            ("blok", Value::Null, "did you mean `block`?"),
            (
                "block",
                json!({"response": {"status_code": 200}}),
                "400 and 499",
            ),
            (
                "block",
                json!({"response": {"status_code": 500}}),
                "400 and 499",
            ),
            (
                "block",
                json!({"response": {"status_code": 99999999}}),
                "400 and 499",
            ),
            (
                "block",
                json!({"response": {"content_type": "image/png"}}),
                "text/html",
            ),
            (
                "block",
                json!({"response": {"content": long}}),
                "2049 bytes",
            ),
            (
                "block",
                json!({"response": {"content": 1}}),
                "expected a string",
            ),
            ("skip", Value::Null, "names what to skip"),
            ("skip", json!({"ruleset": "other"}), "current"),
            ("skip", json!({"phases": ["x"]}), "known are"),
        ] {
            let error = Action::from_api(name, Some(&parameters), None)
                .unwrap_err()
                .to_string();
            assert!(error.contains(why), "{name} {parameters}: {error}");
        }
    }
}
