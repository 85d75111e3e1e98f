//! What the places that take PEM ask for: certificates, a key, a request, lists.

use boring::pkey::{PKey, Private};
use boring::x509::{X509, X509NameRef, X509Ref, X509Req};

use super::error::{PemError, Problem};
use super::form::Form;
use super::trusted::{CLIENTS, SERVERS};
use super::{Block, read};
use crate::der::{Reader, sequences, tag};

/// What certificates are for, which decides what may stand beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// CAs of clients. Nothing else may be there: a CA's key least of all.
    Clients,
    /// CAs of origins.
    Origins,
    /// A chain that is presented. Its key may be in the same file, and is passed over.
    Chain,
}

fn wrong(place: usize, block: &Block, problem: Problem) -> PemError {
    PemError {
        line: Some(block.line),
        block: Some((place + 1, block.label.clone())),
        problem,
    }
}

fn unwanted(place: usize, block: &Block, wanted: Form) -> PemError {
    let form = block.form;
    wrong(place, block, Problem::Unwanted { form, wanted })
}

fn read_certificate(place: usize, block: &Block) -> Result<X509, PemError> {
    X509::from_der(&block.der).map_err(|why| {
        let why = why.errors().first().and_then(|first| first.reason());
        let why = why.unwrap_or("it is damaged").to_owned();
        wrong(place, block, Problem::Content(Form::Certificate, why))
    })
}

/// All certificates of a text, at least one, in its order.
///
/// # Errors
/// The text is no PEM, or has something that does not belong there.
pub fn certificates(text: &[u8], of: Use) -> Result<Vec<X509>, PemError> {
    let mut found = Vec::new();
    for (place, block) in read(text)?.iter().enumerate() {
        match (block.form, of) {
            (Form::Certificate, _) => {}
            (Form::PrivateKey | Form::EncryptedKey | Form::Parameters, Use::Chain) => continue,
            _ => return Err(unwanted(place, block, Form::Certificate)),
        }
        let distrusted = match of {
            Use::Clients if !block.trust.allow(CLIENTS) => Some("clients"),
            Use::Origins if !block.trust.allow(SERVERS) => Some("servers"),
            _ => None,
        };
        if let Some(whom) = distrusted {
            return Err(wrong(place, block, Problem::Distrusted(whom)));
        }
        found.push(read_certificate(place, block)?);
    }
    if found.is_empty() {
        return Err(PemError::whole(Problem::None(Form::Certificate)));
    }
    Ok(found)
}

/// The first certificate of a text.
///
/// # Errors
/// As [`certificates`].
pub fn certificate(text: &[u8]) -> Result<X509, PemError> {
    let found = certificates(text, Use::Chain)?.into_iter().next();
    found.ok_or_else(|| PemError::whole(Problem::None(Form::Certificate)))
}

/// The private key of a text, in which its certificates may stand too.
///
/// # Errors
/// It is encrypted, of a kind that serves nobody, damaged, or not alone.
pub fn private_key(text: &[u8]) -> Result<PKey<Private>, PemError> {
    let mut found = None;
    for (place, block) in read(text)?.iter().enumerate() {
        match block.form {
            Form::PrivateKey | Form::EncryptedKey if found.is_some() => {
                return Err(wrong(place, block, Problem::Second(Form::PrivateKey)));
            }
            Form::PrivateKey => {
                let text = block.to_text();
                let key = PKey::private_key_from_pem(text.as_bytes()).map_err(|_unreadable| {
                    let why = "it is damaged, or on a curve that has no name".to_owned();
                    let kind = unusable_kind(block).map(Problem::KeyKind);
                    let unread = || Problem::Content(Form::PrivateKey, why);
                    wrong(place, block, kind.unwrap_or_else(unread))
                })?;
                found = Some(key);
            }
            Form::EncryptedKey => return Err(wrong(place, block, Problem::Encrypted)),
            Form::Certificate | Form::Parameters => {}
            _ => return Err(unwanted(place, block, Form::PrivateKey)),
        }
    }
    found.ok_or_else(|| PemError::whole(Problem::None(Form::PrivateKey)))
}

/// The kind of a key that BoringSSL has no use for, by its algorithm (RFC 5208 §5).
fn unusable_kind(block: &Block) -> Option<&'static str> {
    if block.label == "DSA PRIVATE KEY" {
        return Some("a DSA key");
    }
    let mut outer = Reader::new(&block.der);
    let mut reader = Reader::new(outer.expect(tag::SEQUENCE, "").ok()?);
    reader.expect(tag::INTEGER, "").ok()?;
    key_algorithm(reader.expect(tag::SEQUENCE, "").ok()?)
}

/// The name of an AlgorithmIdentifier's algorithm, when it is one that is not taken.
fn key_algorithm(identifier: &[u8]) -> Option<&'static str> {
    match Reader::new(identifier).expect(tag::OBJECT, "").ok()? {
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10] => Some("an RSA-PSS key"),
        [0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1] => Some("a DSA key"),
        [0x2b, 0x65, 0x6e] => Some("an X25519 key, which signs nothing"),
        [0x2b, 0x65, 0x6f] => Some("an X448 key, which signs nothing"),
        [0x2b, 0x65, 0x71] => Some("an Ed448 key"),
        _ => None,
    }
}

/// The one request of a text.
///
/// # Errors
/// The text is no PEM, or has something else or a second request.
pub fn request(text: &[u8]) -> Result<X509Req, PemError> {
    let mut found = None;
    for (place, block) in read(text)?.iter().enumerate() {
        if block.form != Form::Request {
            return Err(unwanted(place, block, Form::Request));
        }
        if found.is_some() {
            return Err(wrong(place, block, Problem::Second(Form::Request)));
        }
        let request = X509Req::from_der(&block.der).map_err(|_unreadable| {
            let why = "it is damaged".to_owned();
            wrong(place, block, Problem::Content(Form::Request, why))
        })?;
        found = Some(request);
    }
    found.ok_or_else(|| PemError::whole(Problem::None(Form::Request)))
}

/// Revocation lists, and the certificates of issuing CAs that came along.
#[derive(Debug, Default)]
pub struct Lists {
    /// In DER, in the order of the text.
    pub lists: Vec<Vec<u8>>,
    /// They verify lists, and are no anchors.
    pub below: Vec<X509>,
}

/// All lists of a file, PEM or DER.
///
/// # Errors
/// There is none, or something that does not belong there.
pub fn lists(bytes: &[u8]) -> Result<Lists, PemError> {
    let mut found = Lists::default();
    // A text may begin as DER does, with the digit 0, and is none as a whole.
    if !bytes.is_empty()
        && let Ok(lists) = sequences(bytes)
    {
        let form = |der: &Vec<u8>| super::form_of(der).filter(|form| *form != Form::List);
        if let Some(form) = lists.iter().find_map(form) {
            let wanted = Form::List;
            return Err(PemError::whole(Problem::Unwanted { form, wanted }));
        }
        found.lists = lists;
        return Ok(found);
    }
    let blocks = read(bytes).map_err(|error| match error.problem {
        Problem::Empty | Problem::NoBlock => PemError::whole(Problem::NoList),
        _ => error,
    })?;
    for (place, block) in blocks.iter().enumerate() {
        match block.form {
            Form::List => found.lists.push(block.der.clone()),
            Form::Certificate => found.below.push(read_certificate(place, block)?),
            _ => return Err(unwanted(place, block, Form::List)),
        }
    }
    if found.lists.is_empty() {
        return Err(PemError::whole(Problem::None(Form::List)));
    }
    Ok(found)
}

/// A certificate's subject, `CN=…,O=…` (RFC 4514).
#[must_use]
pub fn subject(certificate: &X509Ref) -> String {
    name(certificate.subject_name())
}

/// A name, for people.
#[must_use]
pub fn name(name: &X509NameRef) -> String {
    let name = name.print_ex(boring_sys::XN_FLAG_RFC2253 as _);
    let name = name.filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "no subject".into())
}

/// What was taken, for people: `2 certificates: CN=a; CN=b`.
#[must_use]
pub fn subjects(certificates: &[X509]) -> String {
    let names: Vec<String> = certificates.iter().map(|one| subject(one)).collect();
    let many = if names.len() == 1 { "" } else { "s" };
    format!("{} certificate{many}: {}", names.len(), names.join("; "))
}
