//! What the tests of this folder begin with.

use control::{Control, Id, NewHost, OriginSpec};
use vocabulary::hostname::HostName;
use vocabulary::settings::{ClientSettings, MtlsMode};

/// A host of this name that wants its certificate from ACME.
pub(super) fn host(control: &Control, zone: Id, name: &str) -> HostName {
    let name = HostName::parse(name).unwrap();
    let new = NewHost {
        name: name.clone(),
        origin: OriginSpec {
            url: "http://127.0.0.1:9".into(),
            ..OriginSpec::default()
        },
        mtls: Some(MtlsMode::Off),
        client: ClientSettings::default(),
        tls_min_version: None,
        request_body_max: None,
        acme: true,
        certificate: None,
        other_certificate: None,
    };
    control.create_host(zone, new).unwrap();
    name
}
