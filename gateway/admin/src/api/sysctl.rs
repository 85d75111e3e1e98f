//! `/postern/v1/sysctl`: the configuration keys of the running gateway.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::http::context::Shared;
use crate::http::envelope;
use crate::http::fault::Fault;
use crate::http::query::{Json, Parameters};
use crate::http::scope::ChangeInGateway;
use config::Setting;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Set {
    value: serde_json::Value,
    /// The value that the client has seen: another one is not overwritten.
    #[serde(default)]
    expected: Option<String>,
}

pub(crate) async fn list(
    State(context): Shared,
    parameters: Parameters,
) -> Result<Response, Fault> {
    let begins = parameters.text("prefix").unwrap_or_default();
    let mut all = context.live().all();
    all.retain(|setting| setting.key.starts_with(begins));
    Ok(envelope::result(all))
}

pub(crate) async fn show(
    State(context): Shared,
    Path(key): Path<String>,
) -> Result<Response, Fault> {
    Ok(envelope::result(context.live().get(&key)?))
}

/// The answer when somebody else was faster.
fn is_other(now: &Setting, expected: &str) -> Fault {
    let message = format!(
        "{}: it was changed meanwhile and is `{}` now, not `{}`: look at it again",
        now.key,
        now.value.escape_debug(),
        expected.escape_debug()
    );
    Fault::new(StatusCode::PRECONDITION_FAILED, 1004, message).at("/expected")
}

/// Sets a live key until the next start or reload; files are not written.
pub(crate) async fn set(at: ChangeInGateway, Json(body): Json<Set>) -> Result<Response, Fault> {
    let text = match &body.value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => number.to_string(),
        serde_json::Value::Bool(yes) => yes.to_string(),
        _ => {
            return Err(Fault::body(
                "value: a text, a number or a boolean is expected",
            ));
        }
    };
    let key = at.text(0).to_owned();
    let expected = body.expected;
    let set = at.tune(move |live| -> Result<Setting, Fault> {
        let now = live.get(&key)?;
        if let Some(expected) = expected.filter(|expected| *expected != now.value) {
            return Err(is_other(&now, &expected));
        }
        Ok(live.set(&key, &text)?)
    });
    let setting = set.await??;
    tracing::info!(key = setting.key, value = %setting.value, "a setting was changed");
    Ok(envelope::result(setting))
}
