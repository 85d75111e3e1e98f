//! Settings of a host: none of them moves another.

use super::*;
use fixtures::pki::foreign;

fn mode_of(told: Option<MtlsMode>) -> HostPatch {
    HostPatch {
        mtls: Some(told),
        ..HostPatch::default()
    }
}

/// The names of a set.
fn associated(control: &Control, zone: Id, set: AuthoritySet) -> Vec<String> {
    let names = control.associations(zone, set).unwrap();
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_mode_that_is_set_never_changes_whom_a_host_believes() {
    use MtlsMode::{Off, Request, Require};
    let world = World::new();
    let zone = world.served(Off);
    let control = world.control();
    let api = name("api.example.test");
    let ca = control.upload_authority("partner", &foreign("P")).unwrap();
    let set = AuthoritySet::Uploaded(ca.id);
    let names = BTreeSet::from([api.clone(), name("later.example.test")]);
    control.set_associations(zone.id, set, names).unwrap();
    let believed = || -> Vec<Uuid> {
        let host = control.host(&api).unwrap();
        let model = control.model();
        model.believed(&host).iter().map(|ca| ca.id).collect()
    };
    for told in [Require, Off, Require, Off, Request, Require, Off]
        .map(Some)
        .into_iter()
        .chain([None, Some(Off), Some(Request)])
    {
        control.update_host(&api, mode_of(told)).unwrap();
        assert_eq!(believed(), [ca.id], "{told:?}");
        let managed = associated(control, zone.id, AuthoritySet::Managed);
        assert_eq!(managed, [""; 0], "{told:?}");
    }
    // Nor does the mode that a host is made with.
    let host = host("later.example.test", Off);
    control.create_host(zone.id, host).unwrap();
    let uploaded = associated(control, zone.id, set);
    assert_eq!(uploaded, ["api.example.test", "later.example.test"]);
}

#[test]
fn an_association_never_changes_a_mode_that_was_set() {
    use MtlsMode::{Off, Request, Require};
    let world = World::new();
    let zone = world.served(Off);
    let control = world.control();
    let api = name("api.example.test");
    let mode = || control.host(&api).unwrap().mtls;
    let associate =
        |names: BTreeSet<HostName>| control.set_associations(zone.id, AuthoritySet::Managed, names);
    let alone = BTreeSet::from([api.clone()]);
    associate(alone.clone()).unwrap();
    assert_eq!(mode(), Off);
    for told in [Request, Require] {
        control.update_host(&api, mode_of(Some(told))).unwrap();
        let error = associate(BTreeSet::new()).unwrap_err().to_string();
        assert!(error.contains("would have no CA left"), "{error}");
        assert_eq!(mode(), told);
    }
    control.update_host(&api, mode_of(Some(Off))).unwrap();
    associate(BTreeSet::new()).unwrap();
    // Whom it believed was taken away by hand: no default comes in its place.
    for told in [Request, Require] {
        let error = control.update_host(&api, mode_of(Some(told))).unwrap_err();
        assert!(error.to_string().contains("believes no CA"), "{error}");
        assert_eq!(mode(), Off);
    }
    associate(alone).unwrap();
    control.update_host(&api, mode_of(Some(Require))).unwrap();
    assert_eq!(mode(), Require);
}

#[test]
fn a_host_whose_mode_was_never_set_asks_while_a_ca_is_associated() {
    let world = World::new();
    let zone = world.served(MtlsMode::Off);
    let control = world.control();
    let api = name("api.example.test");
    let mode = || control.host(&api).unwrap().mtls;
    control.update_host(&api, mode_of(None)).unwrap();
    assert_eq!(mode(), MtlsMode::Off);
    let later = name("later.example.test");
    let both = BTreeSet::from([api.clone(), later.clone()]);
    control
        .set_associations(zone.id, AuthoritySet::Managed, both)
        .unwrap();
    assert_eq!(mode(), MtlsMode::Request);
    let published = world.published.load();
    let served = published.host("api.example.test").unwrap().site().mtls;
    assert_eq!(served, MtlsMode::Request);
    let mut new = host("later.example.test", MtlsMode::Off);
    new.mtls = None;
    let made = control.create_host(zone.id, new).unwrap();
    assert_eq!(made.mtls, MtlsMode::Request);
    control
        .set_associations(zone.id, AuthoritySet::Managed, BTreeSet::new())
        .unwrap();
    assert_eq!(mode(), MtlsMode::Off);
    assert_eq!(control.host(&later).unwrap().mtls, MtlsMode::Off);
}

#[test]
fn a_host_that_is_to_ask_and_of_whose_cas_nothing_was_said_believes_the_managed_ones() {
    let world = World::new();
    let zone = world.served(MtlsMode::Off);
    let control = world.control();
    let api = name("api.example.test");
    let managed = || associated(control, zone.id, AuthoritySet::Managed);
    assert_eq!(managed(), [""; 0]);
    control
        .update_host(&api, mode_of(Some(MtlsMode::Require)))
        .unwrap();
    assert_eq!(managed(), ["api.example.test"]);
    control.delete_host(&api).unwrap();
    assert_eq!(managed(), [""; 0]);
    assert!(world.published.load().host("api.example.test").is_none());
}

#[test]
fn a_new_url_of_an_origin_changes_nothing_else_of_it() {
    let world = World::new();
    world.served(MtlsMode::Off);
    let control = world.control();
    let api = name("api.example.test");
    let patch = |text: &str| HostPatch {
        origin: Some(serde_json::from_str::<OriginPatch>(text).unwrap()),
        ..HostPatch::default()
    };
    let all = r#"{"url": "https://a.test", "host_header": "h.test", "server_name": "s.test"}"#;
    control.update_host(&api, patch(all)).unwrap();
    let changed = control
        .update_host(&api, patch(r#"{"url": "https://b.test"}"#))
        .unwrap();
    assert_eq!(changed.origin.host_header.as_deref(), Some("h.test"));
    assert_eq!(changed.origin.server_name.as_deref(), Some("s.test"));
    let changed = control
        .update_host(&api, patch(r#"{"server_name": null}"#))
        .unwrap();
    assert_eq!(changed.origin.url, "https://b.test");
    assert_eq!(changed.origin.server_name, None);
}

#[test]
fn ocsp_off_and_on_again_keeps_how_the_responder_is_asked() {
    let world = World::new();
    let control = world.control();
    let ca = control.upload_authority("partner", &foreign("P")).unwrap();
    let url = |url: Option<&str>| OcspPatch {
        url: Some(url.map(str::to_owned)),
        ..OcspPatch::default()
    };
    let first = OcspPatch {
        policy: Some(tls::CrlPolicy::Soft),
        nonce: Some(true),
        ..url(Some("http://ocsp.example.test/"))
    };
    control.set_ocsp(ca.id, &first).unwrap();
    let off = control.set_ocsp(ca.id, &url(None)).unwrap();
    assert_eq!(off.ocsp, None);
    let on = control
        .set_ocsp(ca.id, &url(Some("http://new.example.test/")))
        .unwrap();
    let settings = on.ocsp.as_ref().unwrap();
    assert_eq!(
        (settings.policy, settings.nonce),
        (tls::CrlPolicy::Soft, true)
    );
}
