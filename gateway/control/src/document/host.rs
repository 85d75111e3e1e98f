//! Applies what a document says of a host or of an origin: as a new one, or as a change of what it says.

use super::apply::{Apply, Step, at, parse_name};
use super::{HostDocument, OriginDocument};
use crate::change::error::{ChangeError, Noun};
use crate::model::OriginSpec;
use crate::model::id::{Id, Uuid};
use crate::operations::hosts::{HostPatch, NewHost};
use crate::operations::origins::without_known_key;
use vocabulary::settings::{ClientPatch, ClientSettings};

impl Apply<'_> {
    pub(super) fn host(&mut self, zone: Id, wanted: &HostDocument, pointer: &str) -> Step {
        let name = parse_name(&wanted.name, &at(pointer, "name"))?;
        let model = self.model();
        let named = |said: &Option<Option<String>>, field| -> Step<Option<Option<Uuid>>> {
            let print = match said {
                Some(Some(print)) => print,
                Some(None) => return Ok(Some(None)),
                None => return Ok(None),
            };
            let print = print.to_ascii_lowercase();
            let found = model
                .server_certificates
                .values()
                .find(|one| one.zone == zone && one.fingerprint_sha256 == print);
            let missing = || ChangeError::not_found(Noun::ServerCertificate, &print);
            let found = found.ok_or_else(|| missing().at(at(pointer, field)))?;
            Ok(Some(Some(found.id)))
        };
        let certificate = named(&wanted.certificate, "certificate")?;
        let other_certificate = named(&wanted.other_certificate, "other_certificate")?;
        let client = ClientPatch {
            revoked: wanted.revoked,
            certificate_headers: wanted.certificate_headers.clone(),
            tell_reason: wanted.tell_reason,
        };
        let mut origin = wanted.origin.clone().unwrap_or_default();
        let part = |error: ChangeError| {
            let field = match &error {
                ChangeError::Invalid { field, .. } => field.replace('.', "/"),
                _ => "name".into(),
            };
            error.at(at(pointer, field))
        };
        let Some(known) = model.hosts.get(&name) else {
            if !origin.says_where() {
                let why =
                    "a new host needs it, or `addresses`, or the `name` of an origin of its zone";
                return Err(ChangeError::invalid("url", why).at(at(pointer, "origin/url")));
            }
            let new = NewHost {
                name,
                origin: origin.apply(&OriginSpec::default()),
                mtls: wanted.mtls.flatten(),
                client: client.apply(&ClientSettings::default()),
                tls_min_version: wanted.tls_min_version.flatten(),
                request_body_max: wanted.request_body_max.flatten(),
                acme: wanted.acme.unwrap_or_default(),
                certificate: certificate.flatten(),
                other_certificate: other_certificate.flatten(),
            };
            return self.control.create_host(zone, new).map(drop).map_err(part);
        };
        if known.zone != zone {
            let taken = ChangeError::Exists {
                noun: Noun::Host,
                key: name.to_string(),
            };
            return Err(taken.at(at(pointer, "name")));
        }
        // It is the same origin, and a tenant's stays one.
        origin = origin.of_news(&known.origin);
        let same = without_known_key(origin.clone(), &known.origin).apply(&known.origin)
            == known.origin
            && wanted.mtls.is_none_or(|mode| mode == known.told_mode())
            && client.clone().apply(&known.client) == known.client
            && wanted
                .tls_min_version
                .is_none_or(|least| least == known.tls_min_version)
            && wanted
                .request_body_max
                .is_none_or(|bytes| bytes == known.request_body_max)
            && wanted.acme.is_none_or(|acme| acme == known.acme)
            && certificate.is_none_or(|id| id == known.certificate)
            && other_certificate.is_none_or(|id| id == known.other_certificate);
        if same {
            return Ok(());
        }
        let patch = HostPatch {
            origin: Some(origin),
            mtls: wanted.mtls,
            client,
            tls_min_version: wanted.tls_min_version,
            request_body_max: wanted.request_body_max,
            acme: wanted.acme,
            certificate,
            other_certificate,
        };
        self.control
            .update_host(&name, patch)
            .map(drop)
            .map_err(part)
    }

    pub(super) fn origin(&mut self, zone: Id, wanted: &OriginDocument, pointer: &str) -> Step {
        let name = &wanted.name;
        let said = wanted.origin.clone().unwrap_or_default();
        let refused = |error: ChangeError| match &error {
            ChangeError::Invalid { field, .. } if field.starts_with("origin.") => {
                let field = field.replace('.', "/");
                error.at(at(pointer, field))
            }
            _ => error.at(at(pointer, "origin")),
        };
        let Some(known) = self.model().origin(zone, name).cloned() else {
            let new = said.apply(&OriginSpec::default());
            let made = self.control.create_origin(zone, name, new);
            return made.map(drop).map_err(|error| match &error {
                ChangeError::Invalid { field, .. } if field == "name" => {
                    error.at(at(pointer, "name"))
                }
                _ => refused(error),
            });
        };
        let patch = said.of_news(&known.origin);
        if without_known_key(patch.clone(), &known.origin).apply(&known.origin) == known.origin {
            return Ok(());
        }
        let changed = self.control.update_origin(zone, name, patch);
        changed.map(drop).map_err(refused)
    }
}
