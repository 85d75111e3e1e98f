//! Failures as clients see them: one table from errors to HTTP status, Cloudflare's code and message.
//!
//! The codes are Cloudflare's where its documents or clients name one for the case, otherwise those
//! of the nearest case. 409 does not occur, because Cloudflare's SDKs retry it.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::envelope;
use config::SettingError;
use control::{ChangeError, IdError, Noun, StoreError, X509Error};
use vocabulary::hostname::HostNameError;

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) code: u32,
    pub(crate) message: String,
    /// JSON pointer (RFC 6901) to the value that is wrong.
    pub(crate) pointer: Option<String>,
}

impl Fault {
    pub(crate) fn new(status: StatusCode, code: u32, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            pointer: None,
        }
    }

    pub(crate) fn bad(code: u32, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// A body that is not what the call takes.
    pub(crate) fn body(message: impl Into<String>) -> Self {
        Self::bad(6007, message)
    }

    /// A path or query value that is not what the call takes.
    pub(crate) fn parameter(message: impl Into<String>) -> Self {
        Self::bad(6003, message)
    }

    /// A path that is not percent-encoded UTF-8.
    pub(crate) fn path() -> Self {
        Self::parameter("The path cannot be read: percent-encoded UTF-8 is expected")
    }

    pub(crate) fn no_route(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            7000,
            format!("No route for that URI: {path}"),
        )
    }

    pub(crate) fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        envelope::failure(
            self.status,
            self.code,
            &self.message,
            self.pointer.as_deref(),
        )
    }
}

impl From<IdError> for Fault {
    fn from(error: IdError) -> Self {
        let message =
            format!("Could not route to that object, perhaps its identifier is invalid? {error}");
        Self::new(StatusCode::NOT_FOUND, 7003, message)
    }
}

impl From<HostNameError> for Fault {
    fn from(error: HostNameError) -> Self {
        Self::bad(1002, error.to_string())
    }
}

impl From<SettingError> for Fault {
    fn from(error: SettingError) -> Self {
        let status = match error {
            SettingError::Unknown { .. } => StatusCode::NOT_FOUND,
            SettingError::NeedsRestart { .. } | SettingError::Value { .. } => {
                StatusCode::BAD_REQUEST
            }
        };
        Self::new(status, 6003, error.to_string())
    }
}

impl From<ChangeError> for Fault {
    fn from(error: ChangeError) -> Self {
        use StatusCode as S;
        let error = match error {
            ChangeError::At { pointer, error } => return Self::from(*error).at(pointer),
            other => other,
        };
        let message = error.to_string();
        let (status, code) = match &error {
            ChangeError::At { .. } => (S::BAD_REQUEST, 1004),
            ChangeError::NotFound { noun, .. } => (S::NOT_FOUND, missing(*noun)),
            ChangeError::Exists {
                noun: Noun::Zone, ..
            } => (S::BAD_REQUEST, 1061),
            ChangeError::Exists { .. } => (S::BAD_REQUEST, 1406),
            ChangeError::InUse { .. } => (S::BAD_REQUEST, 1305),
            ChangeError::Invalid { field, .. } => (S::BAD_REQUEST, invalid(field)),
            ChangeError::Expression { .. } => (S::BAD_REQUEST, 20127),
            ChangeError::Certificate(why) => (status_of(why), certificate(why)),
            ChangeError::Denied => (S::FORBIDDEN, 9109),
            ChangeError::Changed { .. } => (S::PRECONDITION_FAILED, 1004),
            ChangeError::Full { .. } => (S::BAD_REQUEST, 1489),
            ChangeError::Compile(_) => (S::BAD_REQUEST, 1004),
            ChangeError::Seal(_) => (S::INTERNAL_SERVER_ERROR, 1000),
            ChangeError::Store(StoreError::Corrupt(_)) => (S::INTERNAL_SERVER_ERROR, 1000),
            // The command line tries again by this code.
            ChangeError::Store(StoreError::HandedOver) => (S::SERVICE_UNAVAILABLE, 1013),
            ChangeError::Store(_) => (S::SERVICE_UNAVAILABLE, 1000),
        };
        let pointer = match &error {
            ChangeError::Invalid { field, .. } => Some(format!("/{}", field.replace('.', "/"))),
            ChangeError::Expression { index, .. } => Some(format!("/rules/{index}/expression")),
            _ => None,
        };
        Self {
            status,
            code,
            message,
            pointer,
        }
    }
}

fn missing(noun: Noun) -> u32 {
    match noun {
        Noun::Zone => 1001,
        Noun::Host | Noun::Origin => 1551,
        Noun::Authority => 1414,
        Noun::ServerCertificate => 1404,
        Noun::ClientCertificate | Noun::Denied => 1404,
        Noun::Ruleset | Noun::Rule | Noun::RulesetVersion => 10_003,
        Noun::Token | Noun::AcmeAccount | Noun::AcmeOrder => 1001,
        Noun::List | Noun::ListItem => 10_001,
    }
}

fn invalid(field: &str) -> u32 {
    match field {
        "name" | "hostnames" => 1002,
        "validity_days" => 1403,
        "expression" | "action" | "description" | "ref" | "position" | "rules" | "phase" => 20_000,
        "item" | "hostname" => 10_001,
        field if field.starts_with("action_parameters") => 20_000,
        _ => 1004,
    }
}

fn certificate(error: &X509Error) -> u32 {
    match error {
        X509Error::Request(_) | X509Error::AltName(_) | X509Error::WantsCa(_) => 1405,
        X509Error::RequestSignature => 1407,
        X509Error::Key(_) => 1408,
        X509Error::Subject(_) => 1409,
        X509Error::OutlivesCa(_) => 1403,
        X509Error::Server(_) => 2200,
        X509Error::Authority(_) => 1411,
        X509Error::Origin(_) | X509Error::Pem(_) => 1004,
        X509Error::Crypto(_) => 1000,
    }
}

fn status_of(error: &X509Error) -> StatusCode {
    match error {
        X509Error::Crypto(_) => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}
