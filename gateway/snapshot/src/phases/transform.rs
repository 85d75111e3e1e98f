//! Headers that rules set, add or remove: those that the origin gets
//! (`http_request_late_transform`), and those that the client gets
//! (`http_response_headers_transform`).
//!
//! <https://developers.cloudflare.com/rules/transform/request-header-modification/>. All rules that
//! match act, in order, and all of them read the request as it came. What the gateway itself says,
//! of certificates above all, and what frames the message is not theirs to change.

use http::header::{HeaderName, HeaderValue};
use http1::Headers;
use serde_json::Value;

use super::{Fault, PhaseInput, PhaseProgram, PhaseRule};
use crate::http::headers::remove_like;
use crate::http::names::{is_ours, is_ours_to_clients, is_same_to_cgi};
use crate::limits::{TRANSFORM_BYTES_MAX, TRANSFORM_HEADERS_MAX, TRANSFORM_VALUE_BYTES_MAX};
use rules::{Computed, Lists, Overworked, RuleError};

/// Which message's headers rules change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// What goes to the origin.
    Request,
    /// What the client gets, whoever made it.
    Response,
}

impl Message {
    /// Whether a header of it is not for rules to change.
    fn keeps(self, name: &HeaderName) -> bool {
        match self {
            Self::Request => is_ours(name),
            Self::Response => is_ours_to_clients(name),
        }
    }
}

/// What one rule does to the headers.
#[derive(Debug, Clone)]
pub struct Transform(Vec<Step>);

#[derive(Debug, Clone)]
struct Step {
    name: HeaderName,
    operation: Operation,
}

#[derive(Debug, Clone)]
enum Operation {
    Set(Source),
    Add(Source),
    Remove,
}

#[derive(Debug, Clone)]
enum Source {
    Fixed(HeaderValue),
    Computed(Computed),
}

/// A zone's header rules.
#[derive(Debug)]
pub struct Transforms {
    asked: PhaseProgram<Transform>,
    reads_client_hello: bool,
}

/// One change to the headers of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    name: HeaderName,
    /// Whether what is there stays.
    adds: bool,
    value: Option<HeaderValue>,
}

impl Transform {
    /// Reads what the API takes as `action` and `action_parameters`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_api(
        action: &str,
        parameters: Option<&Value>,
        message: Message,
    ) -> Result<Self, Fault> {
        if action != "rewrite" {
            let why = format!(
                "`{}` is not offered in this phase; `rewrite` is",
                action.escape_debug()
            );
            return Err(Fault::new("action", why));
        }
        let none = Value::Null;
        let parameters = parameters.unwrap_or(&none);
        for name in parameters
            .as_object()
            .into_iter()
            .flat_map(|all| all.keys())
        {
            if name != "headers" {
                let path = format!("action_parameters.{}", name.escape_debug());
                return Err(Fault::new(path, "only `headers` can be rewritten here"));
            }
        }
        let headers = parameters.get("headers").and_then(Value::as_object);
        let Some(headers) = headers.filter(|headers| !headers.is_empty()) else {
            let why = match message {
                Message::Request => {
                    "expected an object such as {\"x-client\": {\"operation\": \"set\", \
                     \"expression\": \"cf.tls_client_auth.cert_subject_dn\"}}"
                }
                Message::Response => {
                    "expected an object such as {\"strict-transport-security\": \
                     {\"operation\": \"set\", \"value\": \"max-age=31536000\"}}"
                }
            };
            return Err(Fault::new("action_parameters.headers", why));
        };
        if headers.len() > TRANSFORM_HEADERS_MAX {
            let why = format!(
                "{} headers, {TRANSFORM_HEADERS_MAX} are allowed",
                headers.len()
            );
            return Err(Fault::new("action_parameters.headers", why));
        }
        let mut steps: Vec<Step> = Vec::with_capacity(headers.len());
        for (name, what) in headers {
            let step = step(name, what, message)?;
            let spelled = step.name.as_str().as_bytes();
            let same = |other: &Step| is_same_to_cgi(other.name.as_str().as_bytes(), spelled);
            if let Some(other) = steps.iter().find(|other| same(other)) {
                let path = format!("action_parameters.headers.{}", name.escape_debug());
                let why = format!("it is there already, as `{}`", other.name);
                return Err(Fault::new(path, why));
            }
            steps.push(step);
        }
        Ok(Self(steps))
    }
}

fn step(name: &str, what: &Value, message: Message) -> Result<Step, Fault> {
    let path = format!("action_parameters.headers.{}", name.escape_debug());
    let wrong = |why: &str| Fault::new(path.as_str(), why);
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_not_a_name| wrong("it is not the name of a header"))?;
    if message.keeps(&header) {
        return Err(wrong(
            "the gateway sets or removes this header itself; choose another name",
        ));
    }
    for member in what.as_object().into_iter().flat_map(|all| all.keys()) {
        if !matches!(member.as_str(), "operation" | "value" | "expression") {
            return Err(wrong("known are `operation`, `value` and `expression`"));
        }
    }
    let source = match (what.get("value"), what.get("expression")) {
        (Some(Value::String(text)), None) => {
            let is_plain = trimmed(text.as_bytes()).len() == text.len()
                && text.len() <= TRANSFORM_VALUE_BYTES_MAX;
            let value = is_plain.then(|| HeaderValue::from_str(text).ok()).flatten();
            Some(Source::Fixed(value.ok_or_else(|| {
                wrong("`value` is too long, or has characters or outer spaces that no header can have")
            })?))
        }
        (None, Some(Value::String(text))) => {
            let computed = Computed::text(text)
                .map_err(|why| Fault::new(format!("{path}.expression"), why.to_string()))?;
            Some(Source::Computed(computed))
        }
        (None, None) => None,
        _ => return Err(wrong("give either `value` or `expression`, as a string")),
    };
    let operation = match (what.get("operation").and_then(Value::as_str), source) {
        (Some("set"), Some(source)) => Operation::Set(source),
        (Some("add"), Some(source)) => Operation::Add(source),
        (Some("remove"), None) => Operation::Remove,
        (Some("remove"), Some(_)) => return Err(wrong("`remove` takes no value")),
        (Some("set" | "add"), None) => {
            return Err(wrong("give a `value`, or an `expression` that makes one"));
        }
        _ => return Err(wrong("`operation` is `set`, `add` or `remove`")),
    };
    Ok(Step {
        name: header,
        operation,
    })
}

impl Step {
    /// What it comes to for one request. A value that cannot be a header is none.
    fn change(&self, subject: PhaseInput<'_>) -> Result<Option<Change>, Overworked> {
        let (adds, source) = match &self.operation {
            Operation::Set(source) => (false, Some(source)),
            Operation::Add(source) => (true, Some(source)),
            Operation::Remove => (false, None),
        };
        let value = match source {
            None => None,
            Some(Source::Fixed(value)) => Some(value.clone()),
            Some(Source::Computed(computed)) => {
                let mut bytes = Vec::new();
                let PhaseInput {
                    connection,
                    state,
                    request,
                } = subject;
                let there = computed.write(connection, state, request, &mut bytes)?;
                // RFC 9113 §8.2.1: white space around a value is none of it.
                let value = trimmed(&bytes);
                let fits = there && !value.is_empty() && value.len() <= TRANSFORM_VALUE_BYTES_MAX;
                fits.then(|| HeaderValue::from_bytes(value).ok()).flatten()
            }
        };
        let name = self.name.clone();
        Ok((value.is_some() || !adds).then_some(Change { name, adds, value }))
    }

    fn reads_client_hello(&self) -> bool {
        match &self.operation {
            Operation::Set(Source::Computed(computed))
            | Operation::Add(Source::Computed(computed)) => computed.reads_client_hello(),
            _ => false,
        }
    }
}

/// Without outer spaces and tabs; line breaks stay, for which no header has room.
fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

impl Transforms {
    /// Compiles a zone's header rules, in order.
    ///
    /// # Errors
    /// The first rule that does not parse or type-check.
    pub fn compile(rules: Vec<PhaseRule<Transform>>, lists: &Lists) -> Result<Self, RuleError> {
        let steps = rules.iter().flat_map(|rule| &rule.does.0);
        let steps_read_hello = steps.into_iter().any(Step::reads_client_hello);
        let asked = PhaseProgram::compile(rules, lists)?;
        Ok(Self {
            reads_client_hello: steps_read_hello || asked.program.reads_client_hello(),
            asked,
        })
    }

    /// Whether connections have to keep the ClientHello for it.
    #[must_use]
    pub fn reads_client_hello(&self) -> bool {
        self.reads_client_hello
    }

    /// What changes for one request, in order.
    ///
    /// # Errors
    /// It cannot be told: the request is not to be forwarded.
    pub fn changes(&self, subject: PhaseInput<'_>) -> Result<Vec<Change>, Overworked> {
        let mut changes = Vec::new();
        let mut left = TRANSFORM_BYTES_MAX;
        for (_, rule) in self.asked.matching(subject)? {
            for step in &rule.0 {
                let Some(change) = step.change(subject)? else {
                    continue;
                };
                left = left.checked_sub(change.weight()).ok_or(Overworked)?;
                changes.push(change);
            }
        }
        Ok(changes)
    }
}

impl Change {
    /// Bytes that it can add, as HTTP/2 counts them (RFC 9113 §6.5.2).
    fn weight(&self) -> usize {
        let length = |value: &HeaderValue| self.name.as_str().len() + value.len() + 32;
        self.value.as_ref().map_or(0, length)
    }

    /// The header that the client may not say, when what it says does not stay.
    #[must_use]
    pub fn replaces(&self) -> Option<&HeaderName> {
        (!self.adds).then_some(&self.name)
    }

    /// Makes it of a head before the final one: what that says is removed or replaced, and nothing
    /// added (RFC 8297 §2).
    pub fn apply_to_interim(&self, headers: &mut Headers) {
        if self.adds {
            return;
        }
        let was_said = headers.contains_key(&self.name);
        remove_like(headers, &self.name);
        if let Some(value) = self.value.as_ref().filter(|_| was_said) {
            headers.insert(self.name.clone(), value.clone());
        }
    }

    /// Makes it.
    pub fn apply(self, headers: &mut Headers) {
        if !self.adds {
            remove_like(headers, &self.name);
        }
        if let Some(value) = self.value {
            // Full only far beyond what `TRANSFORM_BYTES_MAX` and `limit.header_count` allow.
            if let Err(full) = headers.try_append(self.name, value) {
                tracing::warn!(%full, "a header rule's header was left out");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use rules::ConnectionState;
    use rules::testing::world::{Certificate, World};

    fn compiled(headers: &Value, expression: &str) -> Transforms {
        let parameters = json!({ "headers": headers });
        let does = Transform::from_api("rewrite", Some(&parameters), Message::Request).unwrap();
        let rule = PhaseRule {
            id: Arc::from("t"),
            expression: expression.into(),
            enabled: true,
            does,
        };
        Transforms::compile(vec![rule], &Lists::default()).unwrap()
    }

    fn changes(transforms: &Transforms, world: &World) -> Result<Vec<Change>, Overworked> {
        transforms.changes(PhaseInput {
            connection: &world.connection,
            state: &ConnectionState::default(),
            request: &world.request(),
        })
    }

    fn changed(transforms: &Transforms, world: &World) -> Vec<(String, String)> {
        let mut headers = world.headers.clone();
        for change in changes(transforms, world).unwrap() {
            change.apply(&mut headers);
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut all: Vec<_> = headers
            .iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        all.sort();
        all
    }

    #[test]
    fn a_long_url_does_not_come_out_many_times() {
        let long = format!("/{}", "x".repeat(4_000));
        let count = |path: &str| {
            let world = World::new(Certificate::None, "api.example.test", path);
            let names = (0..30).map(|n| {
                let step = json!({ "operation": "set", "expression": "http.request.uri.path" });
                (format!("x-{n}"), step)
            });
            let transforms = compiled(&Value::Object(names.collect()), "true");
            changes(&transforms, &world).map(|changes| changes.len())
        };
        assert_eq!(count("/short"), Ok(30));
        assert_eq!(count(&long), Err(Overworked));
    }

    #[test]
    fn headers_are_set_added_and_removed() {
        let world = World::new(Certificate::None, "api.example.test", "/p")
            .header("x-a", "1")
            .header("x_a", "2")
            .header("x-b", "%0d%0aevil: 1");
        let b = ("x-b", "%0d%0aevil: 1");
        for (headers, expected) in [
            (
                json!({ "x-a": { "operation": "set", "value": "n" } }),
                vec![("x-a", "n"), b],
            ),
            (
                json!({ "x-a": { "operation": "add", "expression": "http.host" } }),
                vec![("x-a", "1"), ("x-a", "api.example.test"), b, ("x_a", "2")],
            ),
            (json!({ "X-A": { "operation": "remove" } }), vec![b]),
            // What there is no value for is not left to the client.
            (
                json!({ "x-a": { "operation": "set", "expression": "http.request.headers[\"q\"][0]" } }),
                vec![b],
            ),
            // No header can have a line break.
            (
                json!({ "x-a": { "operation": "set",
                    "expression": "url_decode(http.request.headers[\"x-b\"][0])" } }),
                vec![b],
            ),
        ] {
            let expected: Vec<_> = expected
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
            assert_eq!(
                changed(&compiled(&headers, "true"), &world),
                expected,
                "{headers}"
            );
        }
    }

    #[test]
    fn what_frames_a_message_or_speaks_of_certificates_is_not_for_rules() {
        let refusal = |name: &str, message| {
            let parameters = json!({ "headers": { name: { "operation": "set", "value": "1" } } });
            Transform::from_api("rewrite", Some(&parameters), message).err()
        };
        for name in [
            "Connection",
            "keep-alive",
            "transfer-encoding",
            "Transfer_Encoding",
            "upgrade",
            "content-length",
            "trailer",
            "x-request-id",
            "cf-client-cert-sha256",
            "Client_Cert",
        ] {
            for message in [Message::Request, Message::Response] {
                let refused = refusal(name, message).map(|fault| fault.to_string());
                let why = refused.unwrap_or_default();
                assert!(
                    why.contains("the gateway sets or removes"),
                    "{name} {message:?}: {why}"
                );
            }
        }
        assert!(refusal("date", Message::Response).is_some());
        for name in [
            "strict-transport-security",
            "server",
            "set-cookie",
            "x-forwarded-host",
        ] {
            assert_eq!(refusal(name, Message::Response), None, "{name}");
        }
        for value in ["a\r\nset-cookie: b=c", "a\nb", "a\0"] {
            let parameters =
                json!({ "headers": { "x-a": { "operation": "set", "value": value } } });
            let refused = Transform::from_api("rewrite", Some(&parameters), Message::Response);
            assert!(refused.is_err(), "{value:?}");
        }
    }
}
