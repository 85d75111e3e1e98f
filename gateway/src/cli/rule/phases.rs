//! Options of rate limits and header rules, and the phase that follows from them.

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::cli::client::names::text;
use crate::cli::output::CliError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Phase {
    /// Rules that block and log (http_request_firewall_custom)
    #[default]
    Custom,
    /// Rate limits (http_ratelimit)
    Ratelimit,
    /// Request headers for the origin (http_request_late_transform)
    Headers,
}

impl Phase {
    /// As the API writes it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Custom => "http_request_firewall_custom",
            Self::Ratelimit => "http_ratelimit",
            Self::Headers => "http_request_late_transform",
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct PhaseSettings {
    /// The phase of the rule; options of rate limits and header rules imply it
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
}

impl PhaseSettings {
    fn limits(&self) -> bool {
        let numbers = [self.requests, self.period, self.timeout];
        numbers.iter().any(Option::is_some) || self.count.is_some() || !self.by.is_empty()
    }

    fn changes_headers(&self) -> bool {
        !(self.set.is_empty() && self.set_text.is_empty() && self.remove.is_empty())
    }

    /// The phase that is meant.
    pub(crate) fn phase(&self) -> Result<Phase, CliError> {
        let said = match (self.limits(), self.changes_headers()) {
            (true, true) => {
                let why = "a rule either limits requests or changes headers; make two";
                return Err(CliError::Usage(why.into()));
            }
            (true, false) => Some(Phase::Ratelimit),
            (false, true) => Some(Phase::Headers),
            (false, false) => None,
        };
        match (self.phase, said) {
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
    }
}
