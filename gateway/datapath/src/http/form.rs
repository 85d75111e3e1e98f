//! The form in which a client reads what Postern itself has to say.
//!
//! Owns the choice by `Accept` (RFC 9110 §12.5.1) and how each form is written. What is said is the
//! callers'; gRPC has a form of its own ([`answer::to_grpc`](super::answer::to_grpc)).

use std::fmt::Write as _;

use http::StatusCode;
use http::header::HeaderValue;

use crate::limits::ACCEPT_RANGES_MAX;

/// The form of an answer of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `text/plain`: for whoever does not say, and for terminals.
    Text,
    /// `text/html`: for people at a browser.
    Html,
    /// `application/json`, with the members of RFC 9457.
    Json,
    /// `application/problem+json` (RFC 9457).
    Problem,
}

/// How much a client wants one form: quality in thousandths, then how exactly it was named.
type Weight = (u16, u8);

impl Form {
    const ALL: [Self; 4] = [Self::Text, Self::Json, Self::Problem, Self::Html];

    /// What `Accept` asks for. A client that takes several equally well gets the one that it names
    /// first; one that takes nothing of ours gets text all the same, as RFC 9110 §12.5.1 allows.
    #[must_use]
    pub fn asked(accept: Option<&HeaderValue>) -> Self {
        let mut best: Option<(Weight, Self)> = None;
        let accept = accept.and_then(|value| value.to_str().ok());
        let ranges = accept.into_iter().flat_map(|value| value.split(','));
        for range in ranges.take(ACCEPT_RANGES_MAX) {
            let Some((form, weight)) = Self::of_range(range) else {
                continue;
            };
            if best.is_none_or(|(before, _)| weight > before) {
                best = Some((weight, form));
            }
        }
        best.map_or(Self::Text, |(_, form)| form)
    }

    /// The form that a range such as `text/html;q=0.8` names, unless it forbids it.
    fn of_range(range: &str) -> Option<(Self, Weight)> {
        let mut parts = range.split(';');
        let named = parts.next().unwrap_or_default().trim();
        let quality = parts
            .filter_map(|part| part.trim().strip_prefix(['q', 'Q']))
            .find_map(|part| part.trim_start().strip_prefix('='));
        let quality = quality.map_or(1_000, |text| thousandths(text.trim()));
        let is = |form: &Self| named.eq_ignore_ascii_case(form.media_type());
        let (form, exactness) = match Self::ALL.into_iter().find(|form| is(form)) {
            Some(form) => (form, 2),
            None if named.eq_ignore_ascii_case("text/*") => (Self::Text, 1),
            None if named.eq_ignore_ascii_case("application/*") => (Self::Json, 1),
            None if named == "*/*" => (Self::Text, 0),
            None => return None,
        };
        (quality > 0).then_some((form, (quality, exactness)))
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain",
            Self::Html => "text/html",
            Self::Json => "application/json",
            Self::Problem => "application/problem+json",
        }
    }

    /// The value of `Content-Type`.
    #[must_use]
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Html => "text/html; charset=utf-8",
            other => other.media_type(),
        })
    }

    /// What goes into the body.
    #[must_use]
    pub fn write(self, status: StatusCode, said: &str, request_id: &str) -> String {
        let mut out = String::with_capacity(said.len() + 256);
        let title = status.canonical_reason().unwrap_or("Error");
        let number = status.as_u16();
        // Writing into a `String` does not fail.
        let _written = match self {
            Self::Text => writeln!(out, "{said}\nrequest id: {request_id}"),
            Self::Json | Self::Problem => writeln!(
                out,
                "{{\"type\":\"about:blank\",\"title\":{},\"status\":{number},\"detail\":{},\
                 \"request_id\":{}}}",
                quoted(title),
                quoted(said),
                quoted(request_id)
            ),
            Self::Html => writeln!(
                out,
                "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
                 <meta name=\"viewport\" content=\"width=device-width\">\
                 <meta name=\"color-scheme\" content=\"light dark\">\
                 <title>{number} {title}</title></head>\n<body><h1>{number} {title}</h1>\n\
                 <p>{}</p>\n<p>request id: <code>{}</code></p></body></html>",
                escaped(said),
                escaped(request_id),
                title = escaped(title),
            ),
        };
        out
    }
}

/// A quality in thousandths (RFC 9110 §12.4.2). What is none is none at all.
fn thousandths(text: &str) -> u16 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        _ if !is_digits => 0,
        "1" if part.bytes().all(|byte| byte == b'0') => 1_000,
        "0" => format!("{part:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("<br>\n"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(accept: &str) -> Form {
        Form::asked(Some(&HeaderValue::from_str(accept).unwrap()))
    }

    #[test]
    fn the_form_is_what_was_asked_for() {
        const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,\
                              image/webp,*/*;q=0.8";
        for (accept, form) in [
            ("*/*", Form::Text),
            ("", Form::Text),
            ("image/png", Form::Text),
            (CHROME, Form::Html),
            ("application/json", Form::Json),
            ("application/json, text/plain, */*", Form::Json),
            ("application/problem+json", Form::Problem),
            ("application/problem+json, application/json", Form::Problem),
            ("application/json;q=0.5, text/html", Form::Html),
            ("text/html;q=0.5, application/json;q=0.9", Form::Json),
            ("text/html; q=0, */*", Form::Text),
            ("text/html;level=1;Q=0.3, text/plain;q=0.2", Form::Html),
            ("*/*, application/json", Form::Json),
            ("application/*", Form::Json),
            ("text/*, application/json;q=0.9", Form::Text),
            ("TEXT/HTML", Form::Html),
            ("application/json;q=nonsense", Form::Text),
            ("application/json;q=1.001", Form::Text),
            ("application/json;q=0.0001", Form::Text),
        ] {
            assert_eq!(asked(accept), form, "{accept}");
        }
    }

    #[test]
    fn a_long_list_is_read_as_far_as_its_bound() {
        let long = "image/png,".repeat(ACCEPT_RANGES_MAX) + "text/html";
        assert_eq!(asked(&long), Form::Text);
        assert_eq!(Form::asked(None), Form::Text);
    }

    #[test]
    fn what_is_said_is_data_in_every_form() {
        let said = "no <script>alert(\"x\")</script> & more";
        let status = StatusCode::FORBIDDEN;
        let html = Form::Html.write(status, said, "id1");
        assert!(!html.contains("<script>"), "{html}");
        assert!(html.contains("<h1>403 Forbidden</h1>"), "{html}");
        assert!(html.contains("request id: <code>id1</code>"), "{html}");
        for form in [Form::Json, Form::Problem] {
            let json: serde_json::Value =
                serde_json::from_str(&form.write(status, said, "id1")).unwrap();
            assert_eq!(json["detail"], said);
            assert_eq!(json["status"], 403);
            assert_eq!(json["title"], "Forbidden");
            assert_eq!(json["request_id"], "id1");
        }
        assert_eq!(
            Form::Text.write(status, "no", "id1"),
            "no\nrequest id: id1\n"
        );
    }
}
