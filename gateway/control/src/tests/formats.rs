//! The store's format is another one when an older Postern would refuse what is in it.

use serde::de::DeserializeOwned;

use crate::STORE_FORMAT;
use crate::model::alone::AloneEntry;
use crate::model::revocation::DeniedCertificate;
use crate::model::{
    AddressSpec, EjectionSpec, HealthSpec, LimitsSpec, OriginCertificate, OriginSpec, TimeoutsSpec,
};
use crate::store::ledger::Mark;
use crate::store::membership::Membership;

/// The fields of a record that refuses others, as its reader tells them.
fn fields<T: DeserializeOwned>() -> String {
    let other = serde_json::json!({ "?": null });
    let told = serde_json::from_value::<T>(other)
        .err()
        .unwrap()
        .to_string();
    let (_, fields) = told.split_once("expected ").unwrap();
    fields.replace("one of ", "").replace(['`', ','], "")
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
