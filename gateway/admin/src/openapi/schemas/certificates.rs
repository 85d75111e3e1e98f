//! Certificates of clients and servers.

use super::super::schema::{Object, closed, count, list, named, object, text, words};
use super::{Named, host_name, id, pem, time, uuid};
use control::limits::{
    CSR_BYTES_MAX, DEVELOPMENT_NAMES_MAX, PEM_BYTES_MAX, PKCS12_PASSWORD_BYTES,
    REVOKED_AT_ONCE_MAX, SUBJECT_VALUE_BYTES_MAX, VALIDITY_DAYS_MAX, VALIDITY_DAYS_MIN,
};
use control::{RevocationReason, ServerKey};

pub(super) fn schemas() -> Vec<Named> {
    let mut all = clients();
    all.extend(servers());
    all
}

/// Parts of a subject's name, besides the common name.
const SUBJECT: [&str; 5] = [
    "country",
    "location",
    "organization",
    "organizational_unit",
    "state",
];

fn client() -> Object {
    let hex = || text().pattern("^[0-9a-f]*$");
    object()
        .has("id", uuid())
        .has("certificate", pem("The certificate"))
        .has(
            "certificate_authority",
            object()
                .has("id", uuid())
                .has("name", text().about("Empty when the CA is gone")),
        )
        .has_texts(["common_name", "signature"])
        .has_texts(SUBJECT)
        .has(
            "csr",
            text().about("The request in PEM; empty when the key was made here"),
        )
        .has("expires_on", time())
        .has("issued_on", time())
        .has("fingerprint_sha256", hex())
        .has("serial_number", hex())
        .has("ski", hex().about("The subject key identifier"))
        .has("status", words(["active", "revoked"]))
        .has("validity_days", count())
}

fn clients() -> Vec<Named> {
    let days = || {
        count()
            .least(VALIDITY_DAYS_MIN.into())
            .most(VALIDITY_DAYS_MAX.into())
            .about("From now; the CA must live as long")
    };
    let issue = object()
        .has(
            "csr",
            pem("A certificate signing request").characters(CSR_BYTES_MAX),
        )
        .has("validity_days", days());
    let reactivate = object().takes("reactivate", super::flag().about("`false` is refused"));
    let part = || text().characters(SUBJECT_VALUE_BYTES_MAX);
    let password = format!(
        "{} to {} bytes. With it, the answer has a PKCS#12 file",
        PKCS12_PASSWORD_BYTES.start(),
        PKCS12_PASSWORD_BYTES.end()
    );
    let create = SUBJECT
        .into_iter()
        .fold(closed().has("common_name", part()), |all, name| {
            all.may_have(name, part().default(""))
        })
        .has("validity_days", days())
        .takes(
            "pkcs12_password",
            text()
                .characters(*PKCS12_PASSWORD_BYTES.end())
                .about(&password),
        );
    let made = client().has("private_key", pem("The key")).may_have(
        "pkcs12",
        text().about("The certificate, its CA and the key, in base64"),
    );
    let reasons = || words(RevocationReason::ALL.map(RevocationReason::as_str));
    let revoke = closed()
        .has(
            "certificates",
            list(uuid()).items(REVOKED_AT_ONCE_MAX).not_empty(),
        )
        .takes("reason", reasons().default("unspecified"));
    let place = closed().has("zone_id", id()).has("id", uuid());
    let revoke_of_zones = closed()
        .has(
            "certificates",
            list(place).items(REVOKED_AT_ONCE_MAX).not_empty(),
        )
        .takes("reason", reasons().default("unspecified"));
    let revoked = object()
        .has("certificates", count().about("How many are revoked now"))
        .has("changed", count().about("How many of them were not before"));
    vec![
        ("ClientCertificatesRevoke", revoke.into()),
        ("ClientCertificatesOfZonesRevoke", revoke_of_zones.into()),
        ("ClientCertificatesRevoked", revoked.into()),
        ("ClientCertificate", client().into()),
        ("ClientCertificateIssue", issue.into()),
        ("ClientCertificateReactivate", reactivate.into()),
        ("ClientCertificateCreate", create.into()),
        ("ClientCertificateWithKey", made.into()),
    ]
}

/// What kind of key a server certificate has.
pub(super) fn server_key() -> super::Schema {
    words([ServerKey::Elliptic, ServerKey::Rsa].map(ServerKey::as_str))
}

/// What is stapled to a server certificate.
fn stapling() -> super::Schema {
    let shown = object()
        .has(
            "must_staple",
            super::flag().about("Clients may refuse the certificate without an answer (RFC 7633)"),
        )
        .has(
            "responder",
            text().or_null().about("The URL in the certificate"),
        )
        .has(
            "wanted",
            super::flag().about("By the configuration key `ocsp.staple`"),
        )
        .has(
            "stapled_until",
            time()
                .or_null()
                .about("When the answer ends that clients are given"),
        )
        .has(
            "error",
            text()
                .or_null()
                .about("Why the last attempt brought no answer"),
        );
    super::Schema::from(shown)
        .or_null()
        .about("`null` until the certificate has been looked at, a second after it came")
}

fn servers() -> Vec<Named> {
    let shown = object()
        .has("id", uuid())
        .has("zone_id", id())
        .has("hosts", list(host_name()).about("The names that it is for"))
        .has_texts(["issuer", "signature", "serial_number", "fingerprint_sha256"])
        .has("key_type", server_key().or_null())
        .has("status", words(["active", "expired"]))
        .has("bundle_method", text().only("force"))
        .has("priority", count().only(0))
        .has("expires_on", time())
        .has("uploaded_on", time())
        .has("modified_on", time())
        .has("certificate", pem("The chain, leaf first"))
        .has("source", words(["uploaded", "development", "acme"]))
        .has(
            "warnings",
            list(text()).about("Clients that cannot use it, although it is served"),
        )
        .has("ocsp_stapling", stapling())
        .has(
            "presented_by",
            list(host_name()).about("The hosts that present it; none means that it is not used"),
        );
    let chain = || pem("The chain").characters(PEM_BYTES_MAX);
    let key = || pem("The private key of the chain's leaf").characters(PEM_BYTES_MAX);
    let bundle = || {
        words(["ubiquitous", "optimal", "force"])
            .about("Taken for Cloudflare's clients; the chain is used as it is")
    };
    let upload = object()
        .has("certificate", chain())
        .has("private_key", key())
        .takes("bundle_method", bundle());
    let replace = object()
        .takes("certificate", chain())
        .takes("private_key", key())
        .takes("bundle_method", bundle())
        .about("`certificate` and `private_key` go together.");
    let develop = closed().has(
        "hosts",
        list(named("HostName"))
            .items(DEVELOPMENT_NAMES_MAX)
            .not_empty(),
    );
    vec![
        ("ServerCertificate", shown.into()),
        ("ServerCertificateUpload", upload.into()),
        ("ServerCertificateReplace", replace.into()),
        ("DevelopmentCertificateCreate", develop.into()),
    ]
}
