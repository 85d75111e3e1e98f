//! The store's format is another one when an older Postern would refuse what is in it.

use serde::de::DeserializeOwned;

use crate::STORE_FORMAT;
use crate::model::alone::{AloneEntry, AloneWhat};
use crate::model::list::ListKind;
use crate::model::revocation::DeniedCertificate;
use crate::model::revocation_reason::RevocationReason;
use crate::model::token::Scope;
use crate::model::{
    AddressSpec, AuthorityKind, EjectionSpec, HealthKind, HealthSpec, LimitsSpec,
    OriginCertificate, OriginSpec, Phase, ServerCertificateSource, ServerKey, TimeoutsSpec,
};
use crate::store::Table;
use crate::store::ledger::Mark;
use crate::store::membership::Membership;
use vocabulary::settings::{
    AcmeChallenge, Balance, CertificateHeaders, MtlsMode, OnRevoked, OriginProtocol, ProxyProtocol,
    TlsVersion,
};

/// What a reader knows, as it tells who shows it something else.
fn known_to<T: DeserializeOwned>(other: serde_json::Value) -> String {
    let told = serde_json::from_value::<T>(other)
        .err()
        .unwrap()
        .to_string();
    let (_, known) = told.split_once("expected ").unwrap();
    known.replace("one of ", "").replace(['`', ','], "")
}

/// The fields of a record that refuses others.
fn fields<T: DeserializeOwned>() -> String {
    known_to::<T>(serde_json::json!({ "?": null }))
}

#[test]
fn records_that_refuse_what_they_do_not_know_have_the_fields_of_this_format() {
    assert_eq!(
        STORE_FORMAT, 5,
        "with another format, write down its fields here"
    );
    for (known, found) in [
        (
            "url addresses name balance hash_by ejection health slow_start_sec panic_percent timeouts \
             limits protocol host_header server_name ca_pem client_certificate tls_min_version \
             proxy_protocol confined",
            fields::<OriginSpec>(),
        ),
        ("url or weight", fields::<AddressSpec>()),
        ("failures sec max_sec max_percent", fields::<EjectionSpec>()),
        (
            "kind path status service host interval_sec timeout_sec healthy unhealthy",
            fields::<HealthSpec>(),
        ),
        ("connect_ms try_ms whole_ms", fields::<TimeoutsSpec>()),
        (
            "requests connections queue queue_ms",
            fields::<LimitsSpec>(),
        ),
        (
            "certificate not_after public_key key",
            fields::<OriginCertificate>(),
        ),
        (
            "issuer issuer_sha256 serial_number comment denied_on",
            fields::<DeniedCertificate>(),
        ),
        ("at actor what", fields::<AloneEntry>()),
        ("fleet edge mark", fields::<Membership>()),
        ("revision or digest", fields::<Mark>()),
    ] {
        assert_eq!(
            found, known,
            "an older Postern refuses a store with another field: raise FORMAT"
        );
    }
}

/// The words of an enumeration of `vocabulary::words!`.
macro_rules! words_of {
    ($type:ty) => {
        <$type>::ALL.map(|one| one.as_str()).join(" ")
    };
}

/// An older Postern refuses a record with a word that it does not know, whatever it thinks of other fields.
#[test]
fn records_have_the_words_of_this_format() {
    assert_eq!(
        STORE_FORMAT, 5,
        "with another format, write down its words here"
    );
    let tables = Table::ALL.map(Table::name).join(" ");
    for (known, found) in [
        (
            "meta zones hosts origins authorities associations server_certificates \
             certificate_index certificate_bodies certificate_ids certificate_finds revoked rulesets \
             ruleset_versions ruleset_pages rules audit tokens lists crls",
            tables,
        ),
        (
            "http_request_firewall_custom http_ratelimit http_request_late_transform \
             http_request_dynamic_redirect http_request_origin http_response_headers_transform",
            words_of!(Phase),
        ),
        ("tcp http grpc", words_of!(HealthKind)),
        ("ip hostname asn", words_of!(ListKind)),
        (
            "unspecified keyCompromise cACompromise affiliationChanged superseded \
             cessationOfOperation certificateHold privilegeWithdrawn aACompromise",
            words_of!(RevocationReason),
        ),
        (
            "uploaded acme development",
            words_of!(ServerCertificateSource),
        ),
        ("read certificates rules all", words_of!(Scope)),
        ("http-01 tls-alpn-01", words_of!(AcmeChallenge)),
        ("round_robin least_requests hash", words_of!(Balance)),
        ("auto http1 http2", words_of!(OriginProtocol)),
        ("v2", words_of!(ProxyProtocol)),
        ("1.2 1.3", words_of!(TlsVersion)),
        ("off request require", words_of!(MtlsMode)),
        ("rule close", words_of!(OnRevoked)),
        (
            "verdict sha256 der client-cert client-cert-chain transform xfcc",
            words_of!(CertificateHeaders),
        ),
        (
            "elliptic or rsa",
            known_to::<ServerKey>(serde_json::json!("?")),
        ),
        (
            "managed uploaded development",
            known_to::<AuthorityKind>(serde_json::json!({ "kind": "?" })),
        ),
        (
            "revoked or denied",
            known_to::<AloneWhat>(serde_json::json!("?")),
        ),
    ] {
        assert_eq!(
            found, known,
            "an older Postern refuses a store with another word: raise FORMAT"
        );
    }
}
