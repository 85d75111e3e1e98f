//! What is wrong with a PEM text, and what mends it.

use std::fmt;

use super::form::Form;

/// Why a PEM text is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PemError {
    /// The line, from 1, when it is about one.
    pub line: Option<usize>,
    /// The block, from 1, and its label, when it is about one.
    pub block: Option<(usize, String)>,
    /// What is wrong.
    pub problem: Problem,
}

impl PemError {
    pub(super) fn whole(problem: Problem) -> Self {
        Self {
            line: None,
            block: None,
            problem,
        }
    }

    pub(super) fn at(line: usize, problem: Problem) -> Self {
        Self {
            line: Some(line),
            ..Self::whole(problem)
        }
    }
}

impl std::error::Error for PemError {}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}")?;
            if let Some((place, label)) = &self.block {
                write!(f, ", block {place} (`{label}`)")?;
            }
            f.write_str(": ")?;
        }
        self.problem.fmt(f)
    }
}

/// What is wrong with a PEM text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing but blanks.
    #[error("it is empty; expected PEM, `-----BEGIN …-----` and so on")]
    Empty,
    /// Two bytes a character.
    #[error("it is UTF-16 text; PEM is ASCII: save it as UTF-8")]
    Utf16,
    /// Text without any block.
    #[error("there is no PEM in it: no line `-----BEGIN …-----`")]
    NoBlock,
    /// Neither form of a list.
    #[error("it is not a certificate revocation list, neither in DER nor in PEM")]
    NoList,
    /// The bytes that PEM would be made of, or another container.
    #[error("it is {0}, and PEM is expected: `{command}` makes it", command = .0.command())]
    Der(Form),
    /// Meant as a marker.
    #[error(
        "`{0}` is no marker: expected `-----BEGIN …-----` or `-----END …-----`, with five dashes on each side"
    )]
    Marker(String),
    /// No `END` before the next `BEGIN` or the end of the text.
    #[error("its `-----END …-----` is missing")]
    NoEnd,
    /// An `END` without its `BEGIN`.
    #[error("`-----END {0}-----` ends nothing: its beginning is missing")]
    EndAlone(String),
    /// Another label at the end.
    #[error("it ends with `-----END {0}-----`")]
    OtherEnd(String),
    /// Line ends that went through JSON or an environment variable.
    #[error(
        "its line ends are written as `\\n`: `printf '%b' \"$TEXT\"` turns them into line ends"
    )]
    WrittenLineEnds,
    /// Something between the digits.
    #[error("{0:?} is no digit of base64")]
    Character(char),
    /// Digits that do not come out even.
    #[error("its base64 is damaged or cut short: {0}")]
    Base64(String),
    /// Base64 of something else.
    #[error("its content is no DER: it is damaged or cut short")]
    NotDer,
    /// Bytes that belong to nothing.
    #[error("{0} bytes follow its content: it is damaged, or two were joined")]
    Behind(usize),
    /// The part that OpenSSL adds to a `TRUSTED CERTIFICATE`.
    #[error(
        "what follows the certificate is not OpenSSL's trust settings: `openssl x509 -in FILE -out FILE.pem` leaves them out"
    )]
    TrustSettings,
    /// OpenSSL's trust settings say no.
    #[error(
        "its trust settings do not allow {0}: `openssl x509 -in FILE -out FILE.pem` leaves them out"
    )]
    Distrusted(&'static str),
    /// One thing under the label of another.
    #[error("its label says {meant}, and its content is {form}")]
    Mislabelled {
        /// By the label.
        meant: Form,
        /// By the content.
        form: Form,
    },
    /// A label that means nothing here.
    #[error("blocks of this kind are not known here; leave it out")]
    Label,
    /// OpenSSH's own form.
    #[error("it is a key in OpenSSH's own form: `ssh-keygen -p -m PKCS8 -f FILE` makes PEM of it")]
    OpenSsh,
    /// A container of certificates.
    #[error(
        "it is {0}: `openssl pkcs7 -print_certs -in FILE -out FILE.pem` takes the certificates out"
    )]
    Container(Form),
    /// Not what the place is for.
    #[error("it is {form}, and {wanted} is expected here{}", hint(*form))]
    Unwanted {
        /// What it is.
        form: Form,
        /// What the place is for.
        wanted: Form,
    },
    /// There are blocks, and none of the kind.
    #[error("there is no {name} in it", name = .0.name())]
    None(Form),
    /// More than one of what there must be one of.
    #[error("it is the second {name}; expected one", name = .0.name())]
    Second(Form),
    /// It has the outer shape, and cannot be read.
    #[error("{0} that cannot be read: {1}")]
    Content(Form, String),
    /// A private key with a passphrase.
    #[error(
        "the private key is encrypted with a passphrase; decrypt it first: `openssl pkey -in FILE -out FILE.pem`"
    )]
    Encrypted,
    /// A private key of a kind that serves nobody.
    #[error(
        "the private key is {0}; expected ECDSA on P-256 or P-384, RSA, or Ed25519. `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE` makes one; its certificate must be made anew"
    )]
    KeyKind(&'static str),
}

fn hint(form: Form) -> &'static str {
    match form {
        Form::PrivateKey | Form::EncryptedKey => "; keep the key where it is",
        _ => "",
    }
}
