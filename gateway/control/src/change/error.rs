//! Errors of starting and of changing, in words for the person who asked. Which HTTP status and
//! which of Cloudflare's codes each becomes is decided by `admin`.

use std::borrow::Cow;

use crate::compile::{CompileError, FieldError};
use crate::pki::uploaded_crl::UploadedCrlError;
use crate::pki::x509::X509Error;
use crate::store::load::KeyError;
use crate::store::seal::SealError;
use crate::store::{StoreError, StoreOpenError};
use rules::RuleError;
use vocabulary::side::Side;

/// Why the control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreOpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// The key file cannot be used.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// What is stored cannot be turned into a snapshot.
    #[error("the stored configuration cannot be used: {0}")]
    Compile(#[from] CompileError),
}

impl From<KeyError> for OpenError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => Self::Read(error),
            KeyError::Seal(error) => Self::Seal(error),
        }
    }
}

vocabulary::words! {
    /// What a change was about, as errors and the audit log name it.
    pub enum Noun("a noun", without serde) {
        /// A zone.
        Zone = "zone",
        /// A host.
        Host = "host",
        /// An origin of a zone.
        Origin = "origin",
        /// A CA.
        Authority = "CA",
        /// A server certificate.
        ServerCertificate = "server certificate",
        /// A client certificate.
        ClientCertificate = "client certificate",
        /// A client certificate that is denied.
        Denied = "denied certificate",
        /// A ruleset.
        Ruleset = "ruleset",
        /// A rule.
        Rule = "rule",
        /// A version of a ruleset.
        RulesetVersion = "ruleset version",
        /// An account at an ACME server.
        AcmeAccount = "ACME account",
        /// An order of a host's certificate at an ACME server.
        AcmeOrder = "ACME order",
        /// An admin token.
        Token = "token",
        /// A list.
        List = "list",
        /// An item of a list.
        ListItem = "list item",
    }
}

/// Why a change was refused. Whatever it is, nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A part of a document is refused.
    #[error("{error}")]
    At {
        /// JSON pointer (RFC 6901) to the part.
        pointer: String,
        /// Why.
        error: Box<Self>,
    },
    /// No such thing.
    #[error("there is no {noun} `{key}`")]
    NotFound {
        /// What was looked for.
        noun: Noun,
        /// By which name or id.
        key: String,
    },
    /// The name is taken.
    #[error("the {noun} `{key}` exists already")]
    Exists {
        /// What is there.
        noun: Noun,
        /// Its name.
        key: String,
    },
    /// Something else still needs it.
    #[error("the {noun} `{key}` is in use: {by}")]
    InUse {
        /// What was to go.
        noun: Noun,
        /// Its name or id.
        key: String,
        /// By what, and what to do.
        by: String,
    },
    /// A value that is not acceptable.
    #[error("{field}: {why}")]
    Invalid {
        /// Which value, by the name that the API gives it.
        field: Cow<'static, str>,
        /// What is wrong and what would be right.
        why: String,
    },
    /// A rule's expression.
    #[error("{message}")]
    Expression {
        /// Its place among the rules that were given or stored, from 0.
        index: usize,
        /// Cloudflare's form: `Filter parsing error (1:31): …`.
        message: String,
    },
    /// A certificate, a request or a key.
    #[error(transparent)]
    Certificate(#[from] X509Error),
    /// The token that asks is gone, has ended, or may do less than when the request came.
    #[error("the token may not do this any more: nothing was changed")]
    Denied,
    /// Others have changed the same thing since who asks has seen it.
    #[error(
        "the {noun} `{key}` was changed meanwhile by {actor} (revision {revision}): nothing was \
         changed; look at it again first"
    )]
    Changed {
        /// What kind of thing.
        noun: String,
        /// Which one.
        key: String,
        /// By whom.
        actor: String,
        /// The store's revision that it made.
        revision: u64,
    },
    /// Too many.
    #[error("no more than {max} {what} are kept; remove some first")]
    Full {
        /// Of what.
        what: &'static str,
        /// The bound.
        max: usize,
    },
    /// The result could not be served.
    #[error("the change cannot be put into effect, nothing was changed: {0}")]
    Compile(CompileError),
    /// A key cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The change could not be made durable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CompileError> for ChangeError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::Rules(RuleError { index, message }) => {
                Self::Expression { index, message }
            }
            other => Self::Compile(other),
        }
    }
}

impl From<FieldError> for ChangeError {
    fn from(FieldError { field, why }: FieldError) -> Self {
        Self::Invalid { field, why }
    }
}

impl From<UploadedCrlError> for ChangeError {
    fn from(error: UploadedCrlError) -> Self {
        match error {
            UploadedCrlError::Authority(error) => error.into(),
            other => Self::invalid("crl", other.to_string()),
        }
    }
}

impl ChangeError {
    /// Whose side it is on: the one who asked for the change, or the gateway and its machine.
    #[must_use]
    pub fn side(&self) -> Side {
        match self {
            Self::At { error, .. } => error.side(),
            Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::InUse { .. }
            | Self::Invalid { .. }
            | Self::Expression { .. }
            | Self::Full { .. }
            | Self::Denied
            | Self::Changed { .. }
            | Self::Compile(_) => Side::Operator,
            Self::Certificate(X509Error::Crypto(_)) | Self::Seal(_) | Self::Store(_) => Side::Us,
            Self::Certificate(_) => Side::Operator,
        }
    }

    /// The same, about this part of a document. What is already more exact stays so.
    pub fn at(self, pointer: impl Into<String>) -> Self {
        match self {
            Self::At { .. } => self,
            error => Self::At {
                pointer: pointer.into(),
                error: Box::new(error),
            },
        }
    }

    /// There is no such thing of that key.
    pub fn not_found(noun: Noun, key: impl ToString) -> Self {
        Self::NotFound {
            noun,
            key: key.to_string(),
        }
    }

    /// A field's value cannot be taken.
    pub fn invalid(field: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            why: why.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_on_the_side_of_who_can_mend_it() {
        let io = || StoreError::Io("disk full".into());
        for (error, side) in [
            (ChangeError::invalid("name", "it is empty"), Side::Operator),
            (ChangeError::not_found(Noun::Zone, "x"), Side::Operator),
            (
                ChangeError::from(X509Error::RequestSignature),
                Side::Operator,
            ),
            (ChangeError::from(X509Error::Crypto("no".into())), Side::Us),
            (ChangeError::from(io()), Side::Us),
            (ChangeError::from(io()).at("/zones/0"), Side::Us),
        ] {
            assert_eq!(error.side(), side, "{error}");
        }
    }
}
