//! `http_request_dynamic_redirect`: sends clients elsewhere before any other rule is asked.
//!
//! <https://developers.cloudflare.com/rules/url-forwarding/single-redirects/>. The first rule that
//! matches answers. A target is an `http` or `https` URL or a path of the same host, whatever an
//! expression makes of a request: never a URL without a scheme, nor anything with a line break.

use http::header::HeaderValue;
use http::{StatusCode, Uri};
use serde_json::{Map, Value};

use super::{Fault, PhaseInput, PhaseProgram, PhaseRule};
use crate::limits::REDIRECT_URL_BYTES_MAX;
use rules::{Computed, Lists, Overworked, RuleError};

/// Where one rule sends clients.
#[derive(Debug, Clone)]
pub struct Redirect {
    target: Target,
    status: StatusCode,
    /// The request's query goes along.
    keeps_query: bool,
}

#[derive(Debug, Clone)]
enum Target {
    Fixed(Box<str>),
    Computed(Computed),
}

/// A zone's redirects.
#[derive(Debug)]
pub struct Redirects {
    asked: PhaseProgram<Redirect>,
    reads_client_hello: bool,
}

/// What the rule that matched first makes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirected<'p> {
    /// The rule's id.
    pub rule_id: &'p str,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// Where to. Without one the client is not sent anywhere, and neither is the request.
    pub location: Result<HeaderValue, Unfit>,
}

/// Why what a rule made is not sent as a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The expression has no value for this request.
    #[error("the expression has no value for this request")]
    Missing,
    /// Too long for browsers and proxies.
    #[error("it has more than {REDIRECT_URL_BYTES_MAX} bytes")]
    Long,
    /// A line break would begin another header.
    #[error("it has a control character")]
    Control,
    /// A URL without a scheme leads wherever the client's own words say.
    #[error("it is neither an http:// or https:// URL nor a path that begins with one `/`")]
    Relative,
    /// No URL.
    #[error("it is not a URL")]
    Url,
}

impl Redirect {
    /// Reads what the API takes as `action` and `action_parameters`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn from_api(action: &str, parameters: Option<&Value>) -> Result<Self, Fault> {
        if action != "redirect" {
            let why = format!(
                "`{}` is not offered in this phase; `redirect` is",
                action.escape_debug()
            );
            return Err(Fault::new("action", why));
        }
        let parameters = parameters.and_then(Value::as_object);
        let only = |all: &Map<String, Value>, at: &str, known: &[&str]| {
            let strange = all.keys().find(|name| !known.contains(&name.as_str()));
            strange.map_or(Ok(()), |name| {
                let path = format!("{at}.{}", name.escape_debug());
                let why = match name.as_str() {
                    "from_list" => "lists of redirects are not offered; use `from_value`".into(),
                    _ => format!("it is not known; {} is", known.join(", ")),
                };
                Err(Fault::new(path, why))
            })
        };
        if let Some(parameters) = parameters {
            only(parameters, "action_parameters", &["from_value"])?;
        }
        const FROM: &str = "action_parameters.from_value";
        let from = parameters.and_then(|all| all.get("from_value"));
        let Some(from) = from.and_then(Value::as_object) else {
            let why = "expected an object such as {\"target_url\": {\"value\": \
                       \"https://www.example.com/\"}, \"status_code\": 301}";
            return Err(Fault::new(FROM, why));
        };
        only(
            from,
            FROM,
            &["target_url", "status_code", "preserve_query_string"],
        )?;
        let wrong = |name: &str, why: &str| Fault::new(format!("{FROM}.{name}"), why);
        let status = match from.get("status_code") {
            None | Some(Value::Null) => StatusCode::MOVED_PERMANENTLY,
            Some(code) => match code.as_u64() {
                Some(301) => StatusCode::MOVED_PERMANENTLY,
                Some(302) => StatusCode::FOUND,
                Some(303) => StatusCode::SEE_OTHER,
                Some(307) => StatusCode::TEMPORARY_REDIRECT,
                Some(308) => StatusCode::PERMANENT_REDIRECT,
                _ => return Err(wrong("status_code", "it is 301, 302, 303, 307 or 308")),
            },
        };
        let keeps_query = match from.get("preserve_query_string") {
            None | Some(Value::Null) => false,
            Some(Value::Bool(keeps)) => *keeps,
            Some(_) => return Err(wrong("preserve_query_string", "expected true or false")),
        };
        let Some(target) = from.get("target_url").and_then(Value::as_object) else {
            let why = "expected {\"value\": URL} or {\"expression\": EXPRESSION}";
            return Err(wrong("target_url", why));
        };
        only(
            target,
            &format!("{FROM}.target_url"),
            &["value", "expression"],
        )?;
        let target = match (target.get("value"), target.get("expression")) {
            (Some(Value::String(text)), None) => {
                let url = url(text.as_bytes())
                    .map_err(|why| wrong("target_url.value", &why.to_string()))?;
                Target::Fixed(url.into())
            }
            (None, Some(Value::String(text))) => Target::Computed(
                Computed::text(text)
                    .map_err(|why| wrong("target_url.expression", &why.to_string()))?,
            ),
            _ => {
                let why = "give either `value` or `expression`, as a string";
                return Err(wrong("target_url", why));
            }
        };
        Ok(Self {
            target,
            status,
            keeps_query,
        })
    }

    fn location(&self, subject: PhaseInput<'_>) -> Result<Result<HeaderValue, Unfit>, Overworked> {
        let made = match &self.target {
            Target::Fixed(url) => Ok(String::from(&**url)),
            Target::Computed(computed) => {
                let mut bytes = Vec::new();
                let PhaseInput {
                    connection,
                    state,
                    request,
                } = subject;
                if computed.write(connection, state, request, &mut bytes)? {
                    url(&bytes)
                } else {
                    Err(Unfit::Missing)
                }
            }
        };
        let query = subject.request.query;
        Ok(made
            .and_then(|url| {
                if self.keeps_query && !query.is_empty() {
                    with_query(&url, query)
                } else {
                    Ok(url)
                }
            })
            .and_then(|url| HeaderValue::from_str(&url).map_err(|_not_a_url| Unfit::Url)))
    }
}

/// A target as it is sent: an absolute URL or a path, with what no URL may contain percent-encoded
/// (RFC 3986 §2).
fn url(text: &[u8]) -> Result<String, Unfit> {
    let url = encoded(text)?;
    let lower = url.get(..8).unwrap_or(&url).to_ascii_lowercase();
    let is_absolute = lower.starts_with("https://") || lower.starts_with("http://");
    let is_path = url.starts_with('/') && !url.starts_with("//");
    if !is_absolute && !is_path {
        return Err(Unfit::Relative);
    }
    if is_absolute {
        let whole: Uri = url.parse().map_err(|_not_a_url| Unfit::Url)?;
        let authority = whole.authority().ok_or(Unfit::Url)?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(Unfit::Url);
        }
    }
    Ok(url)
}

/// Browsers take a backslash for a slash: it is one of the characters that are encoded.
fn encoded(text: &[u8]) -> Result<String, Unfit> {
    let mut url = String::with_capacity(text.len());
    for byte in text {
        match byte {
            0..0x20 | 0x7f => return Err(Unfit::Control),
            b' ' | b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x80.. => {
                url.push('%');
                for digit in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(u32::from(digit), 16).unwrap_or('0');
                    url.push(digit.to_ascii_uppercase());
                }
            }
            _ => url.push(char::from(*byte)),
        }
    }
    if url.len() > REDIRECT_URL_BYTES_MAX {
        return Err(Unfit::Long);
    }
    Ok(url)
}

/// Puts a query behind the one that is there, before the fragment.
fn with_query(url: &str, query: &str) -> Result<String, Unfit> {
    let query = encoded(query.as_bytes())?;
    let (front, fragment) = match url.split_once('#') {
        Some((front, fragment)) => (front, Some(fragment)),
        None => (url, None),
    };
    let separator = match front.split_once('?') {
        None => "?",
        Some((_, present)) if present.is_empty() || present.ends_with('&') => "",
        Some(_) => "&",
    };
    let mut url = [front, separator, &query].concat();
    if let Some(fragment) = fragment {
        url.push('#');
        url.push_str(fragment);
    }
    if url.len() > REDIRECT_URL_BYTES_MAX {
        return Err(Unfit::Long);
    }
    Ok(url)
}

impl Redirects {
    /// Compiles a zone's redirects, in order.
    ///
    /// # Errors
    /// The first rule that does not parse or type-check.
    pub fn compile(rules: Vec<PhaseRule<Redirect>>, lists: &Lists) -> Result<Self, RuleError> {
        let targets_read_hello = rules.iter().any(|rule| match &rule.does.target {
            Target::Fixed(_) => false,
            Target::Computed(computed) => computed.reads_client_hello(),
        });
        let asked = PhaseProgram::compile(rules, lists)?;
        Ok(Self {
            reads_client_hello: targets_read_hello || asked.program.reads_client_hello(),
            asked,
        })
    }

    /// Whether connections have to keep the ClientHello for it.
    #[must_use]
    pub fn reads_client_hello(&self) -> bool {
        self.reads_client_hello
    }

    /// What the first rule that matches says.
    ///
    /// # Errors
    /// It cannot be told: the request is not to be forwarded.
    pub fn ask(&self, subject: PhaseInput<'_>) -> Result<Option<Redirected<'_>>, Overworked> {
        let Some((rule_id, rule)) = self.asked.matching(subject)?.into_iter().next() else {
            return Ok(None);
        };
        Ok(Some(Redirected {
            rule_id,
            status: rule.status,
            location: rule.location(subject)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use rules::ConnectionState;
    use rules::testing::world::{Certificate, World};

    fn redirects(from: &Value) -> Redirects {
        let parameters = json!({ "from_value": from });
        let rule = PhaseRule {
            id: Arc::from("r"),
            expression: "true".into(),
            enabled: true,
            does: Redirect::from_api("redirect", Some(&parameters)).unwrap(),
        };
        Redirects::compile(vec![rule], &Lists::default()).unwrap()
    }

    fn location(target: &Value, keeps: bool, world: &World) -> Result<String, Unfit> {
        let from = json!({ "target_url": target, "preserve_query_string": keeps });
        let redirects = redirects(&from);
        let found = redirects.ask(PhaseInput {
            connection: &world.connection,
            state: &ConnectionState::default(),
            request: &world.request(),
        });
        let found = found.unwrap().unwrap();
        assert_eq!((found.rule_id, found.status.as_u16()), ("r", 301));
        found
            .location
            .map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn targets() {
        let mut world = World::new(Certificate::None, "api.example.test", "/p/q")
            .header("x-to", "//evil.test/")
            .header("x-break", "/%0d%0aset-cookie:%20a=b")
            .header("x-odd", "/a%20\\b%c3%bc")
            .header("x-user", "https://api.example.test@evil.test/");
        world.query = "a=1&b=2".into();
        let value = |text: &str| json!({ "value": text });
        let expression = |text: &str| json!({ "expression": text });
        for (target, keeps, expected) in [
            (value("https://w.test/"), false, Ok("https://w.test/")),
            (
                value("https://w.test/x?y#z"),
                true,
                Ok("https://w.test/x?y&a=1&b=2#z"),
            ),
            (value("/login?"), true, Ok("/login?a=1&b=2")),
            (value("/login#top"), true, Ok("/login?a=1&b=2#top")),
            (
                expression("concat(\"https://w.test\", http.request.uri.path)"),
                true,
                Ok("https://w.test/p/q?a=1&b=2"),
            ),
            (expression("http.request.uri.path"), false, Ok("/p/q")),
            (
                expression("url_decode(http.request.headers[\"x-odd\"][0])"),
                false,
                Ok("/a%20%5Cb%C3%BC"),
            ),
            (
                expression("http.request.headers[\"x-to\"][0]"),
                false,
                Err(Unfit::Relative),
            ),
            (expression("http.host"), false, Err(Unfit::Relative)),
            (
                expression("url_decode(http.request.headers[\"x-break\"][0])"),
                false,
                Err(Unfit::Control),
            ),
            (
                expression("http.request.headers[\"x-user\"][0]"),
                false,
                Err(Unfit::Url),
            ),
            (
                expression("http.request.headers[\"none\"][0]"),
                false,
                Err(Unfit::Missing),
            ),
        ] {
            let found = location(&target, keeps, &world);
            assert_eq!(found.as_deref().map_err(|why| *why), expected, "{target}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused_with_its_place() {
        let value = json!({ "value": "/x" });
        for (action, parameters, path, why) in [
            ("block", json!({}), "action", "`redirect` is"),
            (
                "redirect",
                json!({}),
                "action_parameters.from_value",
                "expected an object",
            ),
            (
                "redirect",
                json!({ "from_list": {} }),
                "action_parameters.from_list",
                "use `from_value`",
            ),
            (
                "redirect",
                json!({ "from_value": { "target_url": value, "status_code": 300 } }),
                "action_parameters.from_value.status_code",
                "301, 302",
            ),
            (
                "redirect",
                json!({ "from_value": { "target_url": value, "preserve_query_string": 1 } }),
                "action_parameters.from_value.preserve_query_string",
                "true or false",
            ),
            (
                "redirect",
                json!({ "from_value": { "target_url": { "value": "//evil.test" } } }),
                "action_parameters.from_value.target_url.value",
                "neither",
            ),
            (
                "redirect",
                json!({ "from_value": { "target_url": { "value": "javascript:alert(1)" } } }),
                "action_parameters.from_value.target_url.value",
                "neither",
            ),
            (
                "redirect",
                json!({ "from_value": { "target_url": { "value": "/a\r\nx: y" } } }),
                "action_parameters.from_value.target_url.value",
                "control",
            ),
            (
                "redirect",
                json!({ "from_value": { "target_url": { "expression": "ip.src" } } }),
                "action_parameters.from_value.target_url.expression",
                "a string is expected",
            ),
            (
                "redirect",
                json!({ "from_value": { "target_url": {} } }),
                "action_parameters.from_value.target_url",
                "either",
            ),
            (
                "redirect",
                json!({ "from_value": { "target_url": value, "status": 301 } }),
                "action_parameters.from_value.status",
                "not known",
            ),
        ] {
            let fault = Redirect::from_api(action, Some(&parameters)).unwrap_err();
            assert_eq!(&*fault.path, path, "{parameters}");
            assert!(fault.why.contains(why), "{parameters}: {fault}");
        }
    }
}
