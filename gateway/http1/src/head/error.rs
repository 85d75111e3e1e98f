//! Why a head is refused.

use http::StatusCode;

/// Why a head is refused. What is said is found at the first byte that is wrong: bytes that come
/// later change nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum HeadError {
    /// More than one or two, RFC 9112 §2.2.
    #[error("empty lines stand before the head")]
    EmptyLines,
    /// Not a token, or nothing (RFC 9110 §9.1).
    #[error("the method is no word")]
    Method,
    /// Empty, with a control character, not UTF-8, or without a version behind it (RFC 9112 §3.2).
    #[error("the target is empty or has a character that a target cannot have")]
    Target,
    /// `Limits::target_bytes_max` (RFC 9112 §3).
    #[error("the target is longer than it may be")]
    TargetTooLong,
    /// What stands for the version is none (RFC 9112 §2.3).
    #[error("the first line names no version of HTTP")]
    Version,
    /// Another one than 1.1 and 1.0.
    #[error("the version is neither HTTP/1.1 nor HTTP/1.0")]
    VersionUnsupported,
    /// Not three digits, below 100, or with a reason that has a control character (RFC 9112 §4).
    #[error("the status line is broken")]
    Status,
    /// Not a token, empty, or too long (RFC 9112 §5.1).
    #[error("a field's name has a character that a name cannot have")]
    FieldName,
    /// A space or a tab in a name or behind it (RFC 9112 §5.1: to be refused).
    #[error("white space stands in a field's name or before its colon")]
    FieldNameSpace,
    /// A line without one.
    #[error("a line of the head has no colon")]
    ColonMissing,
    /// A line that begins with white space (RFC 9112 §5.2: to be refused).
    #[error("a line of the head begins with white space: folded fields are not taken")]
    Folded,
    /// NUL in a value (RFC 9110 §5.5).
    #[error("a field's value has a NUL")]
    Nul,
    /// CR without LF (RFC 9112 §2.2).
    #[error("a carriage return stands without its line feed")]
    BareCr,
    /// LF without CR, in trailers.
    #[error("a line feed stands without its carriage return")]
    BareLf,
    /// Another control character in a value.
    #[error("a field's value has a control character")]
    Control,
    /// `Limits::head_bytes_max`.
    #[error("the head is larger than it may be")]
    TooLarge,
    /// `Limits::fields_max`.
    #[error("the head has more fields than it may have")]
    TooManyFields,
}

impl HeadError {
    /// The stable word for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::EmptyLines => "empty_lines",
            Self::Method => "method_invalid",
            Self::Target => "target_invalid",
            Self::TargetTooLong => "target_too_long",
            Self::Version => "version_invalid",
            Self::VersionUnsupported => "version_unsupported",
            Self::Status => "status_invalid",
            Self::FieldName => "field_name_invalid",
            Self::FieldNameSpace => "field_name_space",
            Self::ColonMissing => "colon_missing",
            Self::Folded => "field_folded",
            Self::Nul => "nul",
            Self::BareCr => "bare_cr",
            Self::BareLf => "bare_lf",
            Self::Control => "control_character",
            Self::TooLarge => "head_too_large",
            Self::TooManyFields => "fields_too_many",
        }
    }

    /// What a server answers.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::VersionUnsupported => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::TooLarge | Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
