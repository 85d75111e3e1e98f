//! The control plane as its users see it: changes, refusals, and what a restart finds.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use boring::hash::MessageDigest;
use boring::pkey::{PKey, Private};
use boring::rsa::Rsa;
use boring::x509::{X509, X509Name, X509Req};

use super::*;
use crate::pki::x509;
use fixtures::Directory;
use snapshot::Published;
use vocabulary::hostname::HostName;
use vocabulary::settings::MtlsMode;

mod acme;
mod authorities;
mod changes;
mod damage;
mod document_keys;
mod documents;
mod durability;
mod expiry;
mod fleet;
mod fleet_back;
mod following;
mod formats;
mod host_settings;
mod losses;
mod many_rules;
mod many_writers;
mod origins;
mod rules;
mod ruleset_versions;
mod tenants;
mod watched_files;

struct World {
    directory: Directory,
    published: Arc<Published>,
    control: Option<Arc<Control>>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            directory: Directory::new(),
            published: Arc::default(),
            control: None,
        };
        world.reopen();
        world
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("store.redb")
    }

    fn reopen(&mut self) {
        self.control = None;
        self.published = Arc::default();
        self.control = Some(Control::open(&self.path(), self.published.clone()).unwrap());
    }

    fn control(&self) -> &Control {
        self.control.as_ref().unwrap()
    }

    fn zone(&self) -> Arc<Zone> {
        self.control().create_zone("example.test").unwrap()
    }

    /// A zone with one served host.
    fn served(&self, mtls: MtlsMode) -> Arc<Zone> {
        let zone = self.zone();
        let names = [name("example.test"), name("*.example.test")];
        self.control()
            .develop_server_certificate(zone.id, &names)
            .unwrap();
        self.control()
            .create_host(zone.id, host("api.example.test", mtls))
            .unwrap();
        zone
    }

    /// Everything that an outsider can see, to show that nothing changed.
    fn picture(&self) -> String {
        let model = self.control().model();
        let snapshot = self.published.load();
        format!("{model:?} {} {:?}", snapshot.generation, snapshot.hosts)
    }
}

fn name(text: &str) -> HostName {
    HostName::parse(text).unwrap()
}

fn host(text: &str, mtls: MtlsMode) -> NewHost {
    NewHost {
        name: name(text),
        origin: OriginSpec {
            url: "http://127.0.0.1:9000".into(),
            ..OriginSpec::default()
        },
        mtls: Some(mtls),
        client: vocabulary::settings::ClientSettings::default(),
        tls_min_version: None,
        request_body_max: None,
        acme: false,
        certificate: None,
        other_certificate: None,
    }
}

fn rule(expression: &str) -> NewRule {
    NewRule::block(expression)
}

fn csr_of(key: &PKey<Private>, common_name: &str, digest: MessageDigest) -> String {
    let mut subject = X509Name::builder().unwrap();
    if !common_name.is_empty() {
        subject.append_entry_by_text("CN", common_name).unwrap();
        subject.append_entry_by_text("O", "Käse & Söhne").unwrap();
    }
    let mut request = X509Req::builder().unwrap();
    request.set_subject_name(&subject.build()).unwrap();
    request.set_pubkey(key).unwrap();
    request.sign(key, digest).unwrap();
    String::from_utf8(request.build().to_pem().unwrap()).unwrap()
}

fn csr(common_name: &str) -> String {
    csr_of(
        &x509::generate_key().unwrap(),
        common_name,
        MessageDigest::sha256(),
    )
}
