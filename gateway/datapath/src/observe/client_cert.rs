//! A client's certificate in a line of the access log.

use super::json::Object;
use super::line::Line;
use crate::limits;
use config::{LogField as Field, LogFields};
use vocabulary::client_auth::ClientAuth;

/// Writes what of it is asked for.
pub(super) fn client_cert(line: &mut Line<'_>, client: &ClientAuth) {
    line.object("client_cert", LogFields::CLIENT_CERT, |cert| {
        cert.flag(Field::CertPresented, "presented", client.verdict.presented);
        cert.flag(Field::CertVerified, "verified", client.verdict.verified);
        cert.flag(Field::CertRevoked, "revoked", client.verdict.revoked);
        cert.text(Field::CertReason, "reason", client.verdict.reason.as_str());
        cert.text(Field::CertAbout, "about", &client.about);
        cert.text(Field::CertSubject, "subject", &client.subject_dn);
        if cert.has(Field::CertSanUri) {
            let all = client.san_uri.iter().map(|name| &**name);
            names(&mut cert.object, "san_uri", all);
        }
        if cert.has(Field::CertSanDns) {
            let all = client.san_dns.iter().map(|name| &**name);
            names(&mut cert.object, "san_dns", all);
        }
        if cert.has(Field::CertSanEmail) {
            let all = client.san_email.iter().map(|name| &**name);
            names(&mut cert.object, "san_email", all);
        }
        if cert.has(Field::CertSanIp) {
            let addresses = client.san_ip.iter().take(limits::ACCESS_LOG_NAMES_MAX);
            let addresses: Vec<String> = addresses.map(ToString::to_string).collect();
            let all = addresses.iter().map(String::as_str);
            names(&mut cert.object, "san_ip", all);
        }
        cert.text(Field::CertIssuer, "issuer", &client.issuer_dn);
        cert.text(Field::CertIssuerKeyId, "issuer_key_id", &client.issuer_ski);
        cert.text(Field::CertSubjectKeyId, "subject_key_id", &client.ski);
        cert.text(Field::CertSerial, "serial", &client.serial);
        let print = &client.fingerprint_sha256;
        cert.text(Field::CertFingerprint, "fingerprint_sha256", print);
        cert.text(Field::CertCaId, "ca_id", &client.ca_id);
    });
}

/// The first names of a kind, as many as their bounds allow; nothing without any.
fn names<'n>(cert: &mut Object<'_>, key: &'static str, all: impl Iterator<Item = &'n str>) {
    let mut left = limits::ACCESS_LOG_NAMES_BYTES_MAX;
    let fitting = all.take(limits::ACCESS_LOG_NAMES_MAX).map_while(|name| {
        left = left.checked_sub(name.len())?;
        Some(name)
    });
    let fitting: Vec<&str> = fitting.collect();
    if !fitting.is_empty() {
        cert.texts(key, &fitting, limits::ACCESS_LOG_NAMES_MAX);
    }
}
