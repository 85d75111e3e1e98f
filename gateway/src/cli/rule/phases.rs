//! Options of rate limits, header rules, redirects and origin rules, and the phase that follows
//! from them.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::client::names::text;
use crate::cli::output::CliError;

vocabulary::words! {
    #[derive(Default, ValueEnum)]
    pub(crate) enum Phase("a phase", without serde) {
        /// Rules that block and log (http_request_firewall_custom)
        #[default]
        Custom = "http_request_firewall_custom",
        /// Rate limits (http_ratelimit)
        Ratelimit = "http_ratelimit",
        /// Request headers for the origin (http_request_late_transform)
        Headers = "http_request_late_transform",
        /// Response headers for the client (http_response_headers_transform)
        ResponseHeaders = "http_response_headers_transform",
        /// Redirects, before all other rules (http_request_dynamic_redirect)
        Redirect = "http_request_dynamic_redirect",
        /// Another origin (http_request_origin)
        Origin = "http_request_origin",
    }
}

#[derive(Debug, Args)]
pub(crate) struct PhaseSettings {
    /// The phase of the rule; options of rate limits, request headers, redirects and origins imply it
    #[arg(long, value_enum, value_name = "PHASE")]
    phase: Option<Phase>,
    /// A rate limit: this many requests in a period
    #[arg(long, value_name = "COUNT", help_heading = "Rate limits")]
    requests: Option<u64>,
    /// The period in seconds, 10 to 3600
    #[arg(long, value_name = "SECONDS", help_heading = "Rate limits")]
    period: Option<u64>,
    /// A field to count by; repeat to combine [default: ip.src]
    #[arg(long, value_name = "FIELD", help_heading = "Rate limits")]
    by: Vec<String>,
    /// How long a client over the limit stays blocked, in seconds; 0 blocks only the excess
    #[arg(long, value_name = "SECONDS", help_heading = "Rate limits")]
    timeout: Option<u64>,
    /// The requests to count, when they differ from those that the rule matches
    #[arg(long, value_name = "EXPRESSION", help_heading = "Rate limits")]
    count: Option<String>,
    /// Set a header to an expression's value
    #[arg(long, value_name = "NAME=EXPRESSION", help_heading = "Header rules")]
    set: Vec<String>,
    /// Set a header to a text
    #[arg(long, value_name = "NAME=TEXT", help_heading = "Header rules")]
    set_text: Vec<String>,
    /// Remove a header
    #[arg(long, value_name = "NAME", help_heading = "Header rules")]
    remove: Vec<String>,
    /// Redirect to this URL or path
    #[arg(long, value_name = "URL", help_heading = "Redirects")]
    to: Option<String>,
    /// Redirect to the URL that an expression makes
    #[arg(
        long,
        value_name = "EXPRESSION",
        help_heading = "Redirects",
        conflicts_with = "to"
    )]
    to_expression: Option<String>,
    /// The status of a redirect: 301 (default), 302, 303, 307 or 308
    #[arg(long, value_name = "STATUS", help_heading = "Redirects")]
    redirect_status: Option<u16>,
    /// Keep the request's query in a redirect
    #[arg(long, help_heading = "Redirects")]
    keep_query: bool,
    /// Send requests to this name or address, or to the origin of this host of the zone
    #[arg(long, value_name = "HOST", help_heading = "Origin rules")]
    origin_host: Option<String>,
    /// Send requests to this port
    #[arg(long, value_name = "PORT", help_heading = "Origin rules")]
    origin_port: Option<u16>,
    /// Send requests to this origin of the zone
    #[arg(long, value_name = "NAME", help_heading = "Origin rules", conflicts_with_all = ["origin_host", "origin_port"])]
    origin_name: Option<String>,
    /// The Host header that the origin gets
    #[arg(long, value_name = "NAME", help_heading = "Origin rules")]
    origin_host_header: Option<String>,
    /// The name in TLS that the origin's certificate must be for
    #[arg(long, value_name = "NAME", help_heading = "Origin rules")]
    origin_sni: Option<String>,
}

impl PhaseSettings {
    fn limits(&self) -> bool {
        let numbers = [self.requests, self.period, self.timeout];
        numbers.iter().any(Option::is_some) || self.count.is_some() || !self.by.is_empty()
    }

    fn changes_headers(&self) -> bool {
        !(self.set.is_empty() && self.set_text.is_empty() && self.remove.is_empty())
    }

    fn redirects(&self) -> bool {
        let targets = [&self.to, &self.to_expression];
        let targets = targets.into_iter().any(Option::is_some);
        targets || self.redirect_status.is_some() || self.keep_query
    }

    fn routes(&self) -> bool {
        let names = [
            &self.origin_host,
            &self.origin_name,
            &self.origin_host_header,
            &self.origin_sni,
        ];
        names.into_iter().any(Option::is_some) || self.origin_port.is_some()
    }

    /// The phase that is meant.
    pub(crate) fn phase(&self) -> Result<Phase, CliError> {
        let headers = match self.phase {
            Some(Phase::ResponseHeaders) => Phase::ResponseHeaders,
            _ => Phase::Headers,
        };
        let mut said = [
            (self.limits(), Phase::Ratelimit),
            (self.changes_headers(), headers),
            (self.redirects(), Phase::Redirect),
            (self.routes(), Phase::Origin),
        ]
        .into_iter()
        .filter_map(|(is_said, phase)| is_said.then_some(phase));
        let (first, second) = (said.next(), said.next());
        if second.is_some() {
            let why = "a rule limits requests, changes headers, redirects or sends to another \
                       origin; make a rule for each";
            return Err(CliError::Usage(why.into()));
        }
        match (self.phase, first) {
            (Some(phase), Some(other)) if phase != other => {
                let why = "these options are for rules of another phase than --phase says";
                Err(CliError::Usage(why.into()))
            }
            (phase, said) => Ok(phase.or(said).unwrap_or_default()),
        }
    }

    /// What the API takes, on top of what the rule has already.
    pub(crate) fn body(&self, present: Option<&Value>) -> Result<Map<String, Value>, CliError> {
        let mut body = Map::new();
        let before = |path: &str| {
            let found = present.and_then(|rule| rule.pointer(path)?.as_object());
            found.cloned().unwrap_or_default()
        };
        if self.limits() {
            let mut limit = before("/ratelimit");
            for (name, value) in [
                ("requests_per_period", self.requests),
                ("period", self.period),
                ("mitigation_timeout", self.timeout),
            ] {
                if let Some(value) = value {
                    limit.insert(name.into(), json!(value));
                }
            }
            if let Some(count) = &self.count {
                limit.insert("counting_expression".into(), json!(count));
            }
            if !self.by.is_empty() {
                limit.insert("characteristics".into(), json!(self.by));
            }
            limit
                .entry("characteristics")
                .or_insert_with(|| json!(["ip.src"]));
            body.insert("ratelimit".into(), limit.into());
        }
        if self.changes_headers() {
            let headers = before("/action_parameters/headers").into_iter();
            let mut headers: Map<String, Value> = headers
                .map(|(name, change)| (name.to_lowercase(), change))
                .collect();
            let halves = |text: &str| match text.split_once('=') {
                Some((name, value)) if !name.is_empty() => {
                    Ok((name.trim().to_lowercase(), value.trim().to_owned()))
                }
                _ => Err(CliError::Usage(format!("`{text}` is not NAME=VALUE"))),
            };
            for text in &self.set {
                let (name, expression) = halves(text)?;
                let change = json!({ "operation": "set", "expression": expression });
                headers.insert(name, change);
            }
            for text in &self.set_text {
                let (name, value) = halves(text)?;
                headers.insert(name, json!({ "operation": "set", "value": value }));
            }
            for name in &self.remove {
                let change = json!({ "operation": "remove" });
                headers.insert(name.trim().to_lowercase(), change);
            }
            body.insert("action".into(), json!("rewrite"));
            body.insert("action_parameters".into(), json!({ "headers": headers }));
        }
        if self.redirects() {
            let mut from = before("/action_parameters/from_value");
            let target = match (&self.to, &self.to_expression) {
                (Some(url), _) => Some(json!({ "value": url })),
                (None, Some(expression)) => Some(json!({ "expression": expression })),
                (None, None) => None,
            };
            if let Some(target) = target {
                from.insert("target_url".into(), target);
            }
            if let Some(status) = self.redirect_status {
                from.insert("status_code".into(), json!(status));
            }
            if self.keep_query {
                from.insert("preserve_query_string".into(), json!(true));
            }
            body.insert("action".into(), json!("redirect"));
            body.insert("action_parameters".into(), json!({ "from_value": from }));
        }
        if self.routes() {
            let mut parameters = before("/action_parameters");
            let mut origin = before("/action_parameters/origin");
            if let Some(name) = &self.origin_name {
                // It has addresses of its own.
                origin.clear();
                origin.insert("name".into(), json!(name));
            }
            if let Some(host) = &self.origin_host {
                origin.remove("name");
                origin.insert("host".into(), json!(host));
            }
            if let Some(port) = self.origin_port {
                origin.insert("port".into(), json!(port));
            }
            if !origin.is_empty() {
                parameters.insert("origin".into(), origin.into());
            }
            if let Some(name) = &self.origin_host_header {
                parameters.insert("host_header".into(), json!(name));
            }
            if let Some(name) = &self.origin_sni {
                parameters.insert("sni".into(), json!({ "value": name }));
            }
            body.insert("action".into(), json!("route"));
            body.insert("action_parameters".into(), parameters.into());
        }
        Ok(body)
    }
}

/// What a rule does: its action, and what it limits or changes.
pub(crate) fn what(rule: &Value) -> String {
    let (action, more) = (text(rule, "action"), shown(rule));
    if more.is_empty() {
        action
    } else {
        format!("{action}: {more}")
    }
}

/// What a rule does besides its action; empty for most.
fn shown(rule: &Value) -> String {
    let number = |name: &str| rule.pointer(&format!("/ratelimit/{name}"))?.as_u64();
    let mut parts = Vec::new();
    if let (Some(requests), Some(period)) = (number("requests_per_period"), number("period")) {
        let by = rule.pointer("/ratelimit/characteristics");
        let by: Vec<&str> = by
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let by = if by.is_empty() {
            String::new()
        } else {
            format!(" by {}", by.join(", "))
        };
        parts.push(format!("{requests} in {period} s{by}"));
        if let Some(timeout) = number("mitigation_timeout").filter(|timeout| *timeout > 0) {
            parts.push(format!("then none for {timeout} s"));
        }
    }
    let headers = rule.pointer("/action_parameters/headers");
    for (name, change) in headers.and_then(Value::as_object).into_iter().flatten() {
        let word = |key| change.get(key).and_then(Value::as_str);
        let operation = word("operation").unwrap_or_default();
        parts.push(match (word("expression"), word("value")) {
            (Some(expression), _) => format!("{operation} {name}={expression}"),
            (None, Some(value)) => format!("{operation} {name}=\"{value}\""),
            (None, None) => format!("{operation} {name}"),
        });
    }
    if let Some(from) = rule.pointer("/action_parameters/from_value") {
        let word = |path: &str| from.pointer(path).and_then(Value::as_str);
        let target = match (word("/target_url/value"), word("/target_url/expression")) {
            (Some(url), _) => format!("\"{url}\""),
            (None, expression) => expression.unwrap_or_default().to_owned(),
        };
        let status = from.get("status_code").and_then(Value::as_u64);
        parts.push(format!("{} to {target}", status.unwrap_or(301)));
    }
    for (path, word) in [
        ("/action_parameters/origin/host", "to"),
        ("/action_parameters/origin/name", "to the origin"),
        ("/action_parameters/origin/port", "port"),
        ("/action_parameters/host_header", "Host"),
        ("/action_parameters/sni/value", "SNI"),
    ] {
        match rule.pointer(path) {
            Some(Value::String(text)) => parts.push(format!("{word} {text}")),
            Some(Value::Number(number)) => parts.push(format!("{word} {number}")),
            _ => {}
        }
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        settings: PhaseSettings,
    }

    fn settings(line: &str) -> PhaseSettings {
        let words = std::iter::once("rule").chain(line.split_whitespace());
        Line::try_parse_from(words).unwrap().settings
    }

    #[test]
    fn the_phase_follows_from_what_is_said() {
        for (line, phase) in [
            ("", Some(Phase::Custom)),
            ("--phase headers", Some(Phase::Headers)),
            ("--requests 5", Some(Phase::Ratelimit)),
            ("--by ip.src --phase ratelimit", Some(Phase::Ratelimit)),
            ("--remove x-a", Some(Phase::Headers)),
            ("--remove x-a --period 10", None),
            ("--remove x-a --phase custom", None),
            (
                "--remove x-a --phase response-headers",
                Some(Phase::ResponseHeaders),
            ),
            ("--to /x --keep-query", Some(Phase::Redirect)),
            ("--origin-port 1", Some(Phase::Origin)),
            ("--origin-port 1 --to /x", None),
            ("--to /x --phase response-headers", None),
        ] {
            assert_eq!(settings(line).phase().ok(), phase, "{line}");
        }
    }

    #[test]
    fn bodies_build_on_what_is_there() {
        let limit = settings("--requests 5 --period 10").body(None).unwrap();
        let expected = json!({
            "requests_per_period": 5, "period": 10, "characteristics": ["ip.src"]
        });
        assert_eq!(limit["ratelimit"], expected);
        let rule = Value::Object(limit);
        assert_eq!(shown(&rule), "5 in 10 s by ip.src");
        let slower = settings("--timeout 60").body(Some(&rule)).unwrap();
        assert_eq!(slower["ratelimit"]["requests_per_period"], 5);
        assert_eq!(
            shown(&Value::Object(slower)),
            "5 in 10 s by ip.src; then none for 60 s"
        );
        let headers = settings("--set X-A=http.host --set-text x-b=c --remove x-c");
        let headers = Value::Object(headers.body(None).unwrap());
        assert_eq!(
            shown(&headers),
            "set x-a=http.host; set x-b=\"c\"; remove x-c"
        );
        assert!(settings("--set x-a").body(None).is_err());
        let redirect = settings("--to https://a.test/ --redirect-status 302");
        let redirect = Value::Object(redirect.body(None).unwrap());
        assert_eq!(shown(&redirect), "302 to \"https://a.test/\"");
        let route = settings("--origin-host a.test --origin-sni b.test").body(None);
        let route = Value::Object(route.unwrap());
        let route = settings("--origin-port 8443").body(Some(&route)).unwrap();
        assert_eq!(
            shown(&Value::Object(route)),
            "to a.test; port 8443; SNI b.test"
        );
    }
}
