//! Records as Cloudflare's API writes them: a proxied A, AAAA or CNAME record of a name is the host
//! of that name, and what the record says is where the host's origin is.
//!
//! Owns the translation both ways. What a host is otherwise, and whether its name and origin may
//! be, is decided where hosts are. There is no name server here.

use std::net::IpAddr;
use std::sync::Arc;

use boring::hash::{MessageDigest, hash};

use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::model::id::Id;
use crate::model::{HostRecord, Model, OriginSpec};
use crate::operations::hosts::{HostPatch, NewHost};
use vocabulary::hostname::HostName;
use vocabulary::settings::ClientSettings;

vocabulary::words! {
    /// The types of records that say where a host's origin is.
    pub enum RecordKind("a type of record that can be a host's origin") {
        /// An IPv4 address.
        A = "A",
        /// An IPv6 address.
        Aaaa = "AAAA",
        /// A name.
        Cname = "CNAME",
    }
}

/// A host as a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsRecord {
    /// Made of the host's name: the same while there is a host of that name.
    pub id: Id,
    /// What the origin is.
    pub kind: RecordKind,
    /// Its address or name.
    pub content: String,
    /// The host.
    pub host: Arc<HostRecord>,
}

/// Where an origin is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordTarget {
    /// What `content` is.
    pub kind: RecordKind,
    /// An address or a name.
    pub content: String,
}

impl DnsRecord {
    fn of(host: &Arc<HostRecord>) -> Self {
        // Of several addresses the first one; a name that stands for an origin of the zone as it is.
        let url = host.origin.urls().next().map(|(url, _)| url);
        let uri: Option<http::Uri> = url.and_then(|url| url.parse().ok());
        let content = uri.as_ref().and_then(|uri| uri.host());
        let content = content.or(host.origin.name.as_deref()).unwrap_or_default();
        let content = content.trim_start_matches('[').trim_end_matches(']');
        Self {
            id: id_of(&host.name),
            kind: match content.parse() {
                Ok(IpAddr::V4(_)) => RecordKind::A,
                Ok(IpAddr::V6(_)) => RecordKind::Aaaa,
                Err(_) => RecordKind::Cname,
            },
            content: content.to_owned(),
            host: host.clone(),
        }
    }

    /// Whether `other` says the same of where the origin is.
    #[must_use]
    pub fn is_at(&self, content: &str) -> bool {
        self.content.eq_ignore_ascii_case(content)
    }
}

fn id_of(name: &HostName) -> Id {
    let digest = hash(
        MessageDigest::sha256(),
        format!("dns record {name}").as_bytes(),
    );
    let bytes = digest.ok().and_then(|digest| digest.first_chunk().copied());
    Id::from_bytes(bytes.unwrap_or_default())
}

impl RecordTarget {
    fn invalid(why: String) -> ChangeError {
        ChangeError::invalid("content", why)
    }

    /// As it stands in a URL.
    fn authority(&self) -> Result<String, ChangeError> {
        let content = self.content.trim();
        let address: Option<IpAddr> = content.parse().ok();
        match (self.kind, address) {
            (RecordKind::A, Some(IpAddr::V4(address))) => Ok(address.to_string()),
            (RecordKind::Aaaa, Some(IpAddr::V6(address))) => Ok(format!("[{address}]")),
            (RecordKind::Cname, None) => {
                let name =
                    HostName::parse(content).map_err(|why| Self::invalid(why.to_string()))?;
                if name.wildcard_parent().is_some() {
                    return Err(Self::invalid("a wildcard is no place to connect to".into()));
                }
                Ok(name.to_string())
            }
            (kind, _) => {
                let what = match kind {
                    RecordKind::A => "an IPv4 address",
                    RecordKind::Aaaa => "an IPv6 address",
                    RecordKind::Cname => "a name, not an address",
                };
                let why = format!("{} has {what} as its content", kind.as_str());
                Err(Self::invalid(why))
            }
        }
    }

    /// An origin there. As Cloudflare's strict mode does, it is connected to over TLS, and an
    /// address has to show a certificate for the host's own name.
    fn origin(&self, name: &HostName) -> Result<OriginSpec, ChangeError> {
        let is_address = self.kind != RecordKind::Cname;
        let exact = name.wildcard_parent().is_none();
        Ok(OriginSpec {
            url: format!("https://{}", self.authority()?),
            server_name: (is_address && exact).then(|| name.to_string()),
            ..OriginSpec::default()
        })
    }

    /// An origin there that is otherwise as the present one: scheme, port, protocol, CAs.
    fn instead_of(&self, present: &OriginSpec) -> Result<OriginSpec, ChangeError> {
        let uri: Option<http::Uri> = present.url.parse().ok();
        let scheme = uri.as_ref().and_then(|uri| uri.scheme_str());
        let port = uri.as_ref().and_then(http::Uri::port_u16);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let scheme = scheme.unwrap_or("https");
        Ok(OriginSpec {
            url: format!("{scheme}://{}{port}", self.authority()?),
            ..present.clone()
        })
    }
}

fn find(model: &Model, zone: Id, id: Id) -> Result<DnsRecord, ChangeError> {
    let mut hosts = model.hosts_of(zone);
    let found = hosts.find(|host| id_of(&host.name) == id);
    found
        .map(DnsRecord::of)
        .ok_or_else(|| ChangeError::not_found(Noun::Host, id))
}

/// A record's name in a zone: whole, `@` for the zone's own, or without the zone's.
fn name_in(model: &Model, zone: Id, text: &str) -> Result<HostName, ChangeError> {
    let found = model.zones.get(&zone);
    let found = found.ok_or_else(|| ChangeError::not_found(Noun::Zone, zone))?;
    let zone = found.name.as_str();
    let text = text.trim_end_matches('.').to_ascii_lowercase();
    let below = text.strip_suffix(zone);
    let whole = if text == "@" {
        zone.to_owned()
    } else if below.is_some_and(|front| front.is_empty() || front.ends_with('.')) {
        text
    } else {
        format!("{text}.{zone}")
    };
    HostName::parse(&whole).map_err(|why| ChangeError::invalid("name", why.to_string()))
}

impl<A: Reads> Control<A> {
    /// A zone's hosts as records, by name.
    #[must_use]
    pub fn dns_records(&self, zone: Id) -> Vec<DnsRecord> {
        self.model().hosts_of(zone).map(DnsRecord::of).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// The zone has none of this id.
    pub fn dns_record(&self, zone: Id, id: Id) -> Result<DnsRecord, ChangeError> {
        find(&self.model(), zone, id)
    }
}

impl<A: Changes> Control<A> {
    /// Makes the host of a record.
    ///
    /// # Errors
    /// There is a host of that name, or it may not be.
    pub fn create_dns_record(
        &self,
        zone: Id,
        name: &str,
        target: &RecordTarget,
    ) -> Result<DnsRecord, ChangeError> {
        self.batch(|control| {
            let name = name_in(&control.model(), zone, name)?;
            let new = NewHost {
                origin: target.origin(&name)?,
                name,
                mtls: None,
                client: ClientSettings::default(),
                tls_min_version: None,
                request_body_max: None,
                acme: false,
                certificate: None,
                other_certificate: None,
            };
            control
                .create_host(zone, new)
                .map(|host| DnsRecord::of(&host))
        })
    }

    /// Moves a host's origin. What is not said stays: with a new content that is of another kind,
    /// the kind follows it. The name can be said, and has to be the host's.
    ///
    /// # Errors
    /// There is no such record, or it may not be.
    pub fn update_dns_record(
        &self,
        zone: Id,
        id: Id,
        name: Option<&str>,
        kind: Option<RecordKind>,
        content: Option<String>,
    ) -> Result<DnsRecord, ChangeError> {
        self.batch(|control| {
            let model = control.model();
            let present = find(&model, zone, id)?;
            let host = &present.host;
            let name = name.map(|name| name_in(&model, zone, name));
            if name.transpose()?.is_some_and(|name| name != host.name) {
                let why = format!(
                    "the record of the host {} cannot be given another name; create one with that \
                     name, and delete this one",
                    host.name
                );
                return Err(ChangeError::invalid("name", why));
            }
            let content = content.unwrap_or_else(|| present.content.clone());
            let target = RecordTarget {
                kind: kind.unwrap_or(present.kind),
                content,
            };
            if target.kind == present.kind && present.is_at(&target.content) {
                return Ok(present);
            }
            if host.origin.url.is_empty() {
                let why = format!(
                    "the requests of {0} go to several addresses, or to an origin of the zone, which no \
                     record says: `postern host set {0} --origin URL` changes that",
                    host.name
                );
                return Err(ChangeError::invalid("content", why));
            }
            let patch = HostPatch {
                origin: Some(target.instead_of(&host.origin)?.into()),
                ..HostPatch::default()
            };
            let host = control.update_host(&host.name, patch)?;
            Ok(DnsRecord::of(&host))
        })
    }

    /// Deletes the host of a record.
    ///
    /// # Errors
    /// There is no such record.
    pub fn delete_dns_record(&self, zone: Id, id: Id) -> Result<(), ChangeError> {
        self.batch(|control| {
            let name = find(&control.model(), zone, id)?.host.name.clone();
            control.delete_host(&name).map(drop)
        })
    }
}
