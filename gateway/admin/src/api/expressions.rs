//! Help with writing rules, under `/postern/v1`: expression preview, the form's rows, lints.

use std::collections::HashSet;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::context::Shared;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::InZone;
use rules::limits::EXPRESSION_BYTES_MAX;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Preview {
    #[serde(default)]
    expression: Option<String>,
    /// Groups of rows in the place of an expression.
    #[serde(default)]
    form: Option<rules::Form>,
}

/// The expression of whichever was given.
fn written(body: Preview) -> Result<String, Fault> {
    match (body.expression, body.form) {
        // Not even looked through: what is wrong with it would be told with all of it.
        (Some(expression), None) if expression.len() > EXPRESSION_BYTES_MAX => {
            let message = format!("expression: it has more than {EXPRESSION_BYTES_MAX} bytes");
            Err(Fault::bad(20_127, message).at("/expression"))
        }
        (Some(expression), None) => Ok(expression),
        (None, Some(form)) => form
            .to_expression()
            .map(|expression| expression.to_string())
            .map_err(|error| Fault::bad(20_127, error.to_string()).at("/form")),
        _ => {
            let message = "expression: either it or `form` is expected";
            Err(Fault::bad(20_000, message).at("/expression"))
        }
    }
}

/// Checks an expression and changes nothing: how it is read, what it looks at, its rows when a
/// form can show it, and what is odd about it.
pub(crate) async fn preview(
    State(context): Shared,
    Json(body): Json<Preview>,
) -> Result<Response, Fault> {
    let has_geo = context.reader().has_geo();
    // Large regular expressions take long to compile: others are not to wait for it.
    let looked_at = tokio::task::spawn_blocking(move || look_at(body, has_geo)).await;
    let shown = looked_at.unwrap_or_else(|_panicked| {
        let message = "The expression could not be read. The log has the reason";
        Err(Fault::new(StatusCode::INTERNAL_SERVER_ERROR, 1000, message))
    });
    Ok(envelope::result(shown?))
}

fn look_at(body: Preview, has_geo: bool) -> Result<Value, Fault> {
    let expression = written(body)?;
    let read = rules::check(&expression)
        .map_err(|error| Fault::bad(20_127, error.to_string()).at("/expression"))?;
    let rule = rules::Rule {
        id: "".into(),
        expression: expression.as_str().into(),
        action: rules::Action::Block(rules::BlockResponse::default()),
        enabled: true,
    };
    let lints: Vec<Value> = rules::lint(&[rule], &[], &rules::Lists::default(), has_geo)
        .iter()
        .map(shown_lint)
        .collect();
    // What is written shorter than it is printed may be refused when it is printed.
    let canonical = read.to_string();
    let is_accepted = rules::check(&canonical).is_ok();
    Ok(json!({
        "expression": if is_accepted { canonical } else { expression },
        "form": rules::Form::from_expression(&read),
        "fields": read.fields(),
        "lifetime": word(read.lifetime()),
        "lints": lints,
    }))
}

fn word(lifetime: rules::Lifetime) -> &'static str {
    match lifetime {
        rules::Lifetime::Connection => "connection",
        rules::Lifetime::Request => "request",
    }
}

/// The words of the language, for editors.
pub(crate) async fn vocabulary() -> Response {
    let fields: Vec<Value> = rules::fields()
        .map(|field| {
            json!({
                "name": field.name,
                "type": field.of_type.to_string(),
                "lifetime": word(field.lifetime),
            })
        })
        .collect();
    let functions: Vec<Value> = rules::functions()
        .map(|function| json!({ "name": function.name, "signature": function.signature }))
        .collect();
    envelope::result(json!({ "fields": fields, "functions": functions }))
}

/// What is odd about a zone's rules and hosts.
pub(crate) async fn lints(at: InZone, parameters: Parameters) -> Result<Response, Fault> {
    let mut lints = at.run(move |control, zone| control.lints(zone)).await?;
    // Of 100,000 rules each may have some.
    if let Some(wanted) = parameters.text("rules") {
        let wanted: HashSet<&str> = wanted.split(',').map(str::trim).collect();
        lints.retain(|lint| lint.rule_id.as_deref().is_none_or(|id| wanted.contains(id)));
    }
    let shown: Vec<Value> = lints.iter().map(shown_lint).collect();
    Ok(envelope::result(shown))
}

pub(crate) fn shown_lint(lint: &rules::Lint) -> Value {
    json!({
        "kind": lint.kind.as_str(),
        "rule_id": lint.rule_id.as_deref(),
        "message": lint.message,
        "suggestion": lint.suggestion,
    })
}
