//! CAs, their revocation lists and their responders.

use super::super::schema::{
    Schema, closed, count, flag, list, map, named, nothing, object, text, words,
};
use super::zones::ca_key;
use super::{Named, host_name, id, pem, time, uuid};
use control::limits::{
    CRL_FETCH_EVERY, CRL_FETCH_EVERY_MAX_SEC, CRL_FILE_PATH_BYTES_MAX, CRL_URLS_MAX,
    DESCRIPTION_BYTES_MAX, PEM_BYTES_MAX, SOURCE_URL_BYTES_MAX,
};
use fetch::FetchOutcome;

pub(super) fn schemas() -> Vec<Named> {
    let mut all = uploaded();
    all.extend(managed());
    all.extend(crls());
    all.extend(ocsp());
    all.extend(denied());
    all
}

fn name() -> Schema {
    text().characters(DESCRIPTION_BYTES_MAX)
}

fn uploaded() -> Vec<Named> {
    let shown = object()
        .has("id", uuid())
        .has("ca", flag().only(true))
        .has("certificates", pem("The certificates"))
        .has(
            "expires_on",
            time().about("When the first of the certificates ends"),
        )
        .has("issuer", text().or_null())
        .has("name", name())
        .has("serial_number", text().or_null())
        .has("signature", text().or_null())
        .has("type", text().only("custom"))
        .may_have("lost", named("Loss"))
        .has("uploaded_on", time())
        .has("updated_at", time())
        .has(
            "warnings",
            list(text()).about("What its own certificates forbid: clients that are refused"),
        );
    let create = object()
        .has("ca", flag().only(true))
        .has(
            "certificates",
            pem("The CA's certificates; all are accepted together").characters(PEM_BYTES_MAX),
        )
        .takes("name", name().default(""))
        .may_have("private_key", nothing().about("The key of a CA is refused"));
    let association = object()
        .has("service", host_name())
        .has("status", text().only("active"))
        .has("zone_id", id());
    vec![
        ("UploadedCa", shown.into()),
        ("UploadedCaCreate", create.into()),
        ("CaAssociation", association.into()),
    ]
}

fn managed() -> Vec<Named> {
    let shown = object()
        .has("id", uuid())
        .has("name", text())
        .has("certificate", pem("Its certificate"))
        .has("issues", flag().about("Whether it issues new certificates"))
        .has("key_type", ca_key().or_null())
        .has("created_on", time())
        .has("expires_on", time());
    let roll = closed().takes("key_type", ca_key());
    let development = object()
        .has("id", uuid())
        .has("name", text())
        .has("certificate", pem("Its certificate"))
        .has("expires_on", time());
    vec![
        ("ManagedCa", shown.into()),
        ("ManagedCaRoll", roll.into()),
        ("DevelopmentCa", development.into()),
    ]
}

fn source_url() -> Schema {
    text()
        .characters(SOURCE_URL_BYTES_MAX)
        .pattern("^[Hh][Tt][Tt][Pp]://")
}

fn policy() -> Schema {
    words(["hard", "soft"])
}

fn crls() -> Vec<Named> {
    let policy = || {
        policy().or_null().about(
            "What is done with a client when no list speaks for its certificate: `hard` refuses \
             it, `soft` serves it; with `null` no list is needed until the CA has one, then it \
             is as `hard`",
        )
    };
    let file = || {
        text()
            .characters(CRL_FILE_PATH_BYTES_MAX)
            .or_null()
            .about("A file on the gateway's machine that is watched for newer lists")
    };
    let every = || {
        count()
            .least(1)
            .most(CRL_FETCH_EVERY_MAX_SEC.into())
            .or_null()
            .about(&format!(
                "Seconds after which a list is fetched again at the latest; {} with `null`",
                CRL_FETCH_EVERY.as_secs()
            ))
    };
    let urls = || list(source_url()).items(CRL_URLS_MAX);
    let one = object()
        .has(
            "list",
            text().about("What it is told apart from the CA's other lists by, in metrics too"),
        )
        .has(
            "issuer",
            text().about("The name of the CA that signed it: the uploaded one, or one below it"),
        )
        .has(
            "number",
            text().about("Its number in hex; empty when its CA numbers none"),
        )
        .has("delta", flag().about("Whether it is a delta list"))
        .has("this_update", time())
        .has("next_update", time())
        .has("entries", count())
        .has(
            "warnings",
            list(text()).about("What is odd about it; it is believed all the same"),
        );
    let put = object()
        .has("crls", list(named("Crl")))
        .has("taken", count().about("How many of them are new"));
    let fetched = object()
        .has("url", source_url())
        .has(
            "result",
            words(FetchOutcome::ALL)
                .or_null()
                .about("Of the last attempt, if there was one"),
        )
        .has("error", text().or_null())
        .has(
            "good_at",
            time().or_null().about("When there was last a good list"),
        );
    let shown = object()
        .has("id", uuid())
        .has("policy", policy())
        .has("file", file())
        .has(
            "file_error",
            text()
                .or_null()
                .about("Why what the file held last was not taken, or not all of it"),
        )
        .has("urls", urls())
        .has("fetch_every", every())
        .has(
            "fetches",
            list(fetched).about("The last attempt at each URL"),
        )
        .has("crls", list(named("Crl")));
    let update = closed()
        .may_have("policy", policy())
        .may_have("file", file())
        .takes(
            "urls",
            urls().about("All of them; with `null` or none, nothing is fetched"),
        )
        .may_have("fetch_every", every())
        .about("What is left out stays as it is.");
    let upload = closed()
        .has(
            "crl",
            pem("The lists, with the certificates of issuing CAs below the uploaded one"),
        )
        .takes("force", flag().about("As the parameter"));
    vec![
        ("Crl", one.into()),
        ("Crls", shown.into()),
        ("CrlsPut", put.into()),
        ("CrlsUpdate", update.into()),
        ("CrlUpload", upload.into()),
    ]
}

fn denied() -> Vec<Named> {
    let comment = || text().characters(DESCRIPTION_BYTES_MAX);
    let shown = object()
        .has("id", text())
        .has("issuer", text().about("The name of its issuer"))
        .has(
            "issuer_sha256",
            text().about("SHA-256 over that name in its canonical form"),
        )
        .has("serial_number", serial())
        .has("comment", comment())
        .has("denied_on", time());
    let create = closed()
        .takes(
            "certificate",
            pem("The certificate, or a chain that begins with it").characters(PEM_BYTES_MAX),
        )
        .takes("serial_number", serial())
        .may_have("comment", comment().default(""))
        .about(
            "Either `certificate` or `serial_number`, which is one of the uploaded CA itself. What \
             counts is issuer and serial number.",
        );
    vec![
        ("DeniedCertificate", shown.into()),
        ("DeniedCertificateCreate", create.into()),
    ]
}

fn serial() -> Schema {
    text().pattern("^-?[0-9A-Fa-f:]+$")
}

fn ocsp() -> Vec<Named> {
    let url = || {
        source_url()
            .or_null()
            .about("The responder; with `null` none is asked")
    };
    let policy = || {
        policy().or_null().about(
            "What is done with a client of whom the responder says nothing: `hard` refuses it, \
             `soft` serves it",
        )
    };
    let nonce = || flag().about("Whether an answer must carry the nonce of its question");
    let shown = object()
        .has("id", uuid())
        .has("url", url())
        .has("policy", policy())
        .has("nonce", nonce())
        .has(
            "answers",
            map(count()).about("How often the responder gave which answer"),
        );
    let update = closed()
        .may_have("url", url())
        .may_have("policy", policy())
        .takes("nonce", nonce())
        .about("What is left out stays as it is.");
    vec![("Ocsp", shown.into()), ("OcspUpdate", update.into())]
}
