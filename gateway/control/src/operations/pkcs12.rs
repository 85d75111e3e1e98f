//! A certificate, its key and its CA in one file under a password (PKCS#12, RFC 7292), which
//! browsers and operating systems import.
//!
//! Owns the format and what a password must be. Keeps nothing: neither key, file nor password.

use boring::pkcs12::Pkcs12;
use boring::stack::Stack;

use crate::change::error::ChangeError;
use crate::limits::{PKCS12_PASSWORD_BYTES, PKCS12_ROUNDS};
use crate::model::secret::Secret;
use crate::operations::client_certificates::FreshCertificate;
use crate::pki::x509::X509Error;
use tls::pem;

/// Refuses passwords that are too short or too long, or that no importer can be given.
///
/// # Errors
/// [`ChangeError::Invalid`] says what is wrong, and not the password.
pub fn check_password(password: &Secret) -> Result<(), ChangeError> {
    let refused = |why: String| Err(ChangeError::invalid("pkcs12_password", why));
    let bytes = password.reveal();
    if !PKCS12_PASSWORD_BYTES.contains(&bytes.len()) {
        let (least, most) = (PKCS12_PASSWORD_BYTES.start(), PKCS12_PASSWORD_BYTES.end());
        return refused(format!("it must have {least} to {most} bytes"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(()),
        _ => refused("it must be text without control characters".into()),
    }
}

/// The PKCS#12 file of a certificate that was just made: AES-256, HMAC-SHA-2.
///
/// # Errors
/// The password is no good, see [`check_password`].
pub fn pkcs12(fresh: &FreshCertificate, password: &Secret) -> Result<Secret, ChangeError> {
    check_password(password)?;
    let made = &fresh.certificate;
    let build = || -> Result<_, X509Error> {
        let key = pem::private_key(fresh.private_key.reveal())?;
        let certificate = pem::certificate(made.certificate.as_bytes())?;
        let mut chain = Stack::new()?;
        chain.push(pem::certificate(fresh.authority.as_bytes())?)?;
        let mut builder = Pkcs12::builder();
        builder
            .key_iter(PKCS12_ROUNDS)
            .mac_iter(PKCS12_ROUNDS)
            .ca(chain);
        let password = password.reveal_text();
        let name = &made.details.common_name;
        let built = builder.build(password, name, &key, &certificate)?;
        Ok(built.to_der()?)
    };
    Ok(Secret::new(build()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords() {
        let long = "x".repeat(257);
        for (password, good) in [
            ("correct horse", true),
            ("Pässwörter", true),
            ("short", false),
            ("", false),
            ("with\0zero byte", false),
            (long.as_str(), false),
        ] {
            let checked = check_password(&Secret::new(password.as_bytes().to_vec()));
            assert_eq!(checked.is_ok(), good, "{password:?}");
        }
    }
}
