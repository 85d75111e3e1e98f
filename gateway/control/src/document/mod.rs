//! The whole configuration as one document: zones, hosts, CAs, rules, lists. What reads, writes or
//! compares documents belongs here.
//!
//! Owns the document's form. What is left out is left alone: a section, a thing that a section does
//! not name (unless `prune` is set), a key of a thing that is there. Of a thing that the document
//! makes, a key that is left out has its default; `null` is the default everywhere, and an export
//! says every key. Rules are the exception: their list is whole, and so is each of them, since a rule
//! is known by what it says.
//!
//! Not in it: client certificates, their revocations, revocation lists and tokens, which are state and not
//! configuration (a backup has them), and private keys, unless they are asked for.

mod apply;
mod export;
mod host;
mod prune;
mod summary;

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::model::list::ListKind;
use crate::model::revocation::DeniedCertificate;
use crate::model::{OriginPatch, Phase};
use crate::operations::ocsp::OcspPatch;
use crate::operations::revocation_lists::CrlPatch;
use vocabulary::settings::{CertificateHeaders, MtlsMode, OnRevoked, TlsVersion};

pub use self::apply::{Applied, ApplyOptions};
pub use self::export::BackupCopy;
pub use self::summary::DocumentChange;

/// What this build writes as `postern:`, and the only thing it reads.
pub(crate) const VERSION: u32 = 1;

/// A configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The form's version: 1.
    pub postern: u32,
    /// Lists that rules refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists: Option<Vec<ListDocument>>,
    /// Uploaded CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<Vec<AuthorityDocument>>,
    /// Zones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zones: Option<Vec<ZoneDocument>>,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListDocument {
    /// As rules write it, without the `$`.
    pub name: String,
    /// What it holds.
    pub kind: ListKind,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// All there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<ItemDocument>>,
}

/// An item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemDocument {
    /// An address or network, a host name, an AS number.
    pub value: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// An uploaded CA, known by its certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityDocument {
    /// What people call it; associations do too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// PEM; a bundle is believed together.
    pub certificate: String,
    /// What is asked of its revocation lists; `null` is nothing.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub crl: Option<Option<CrlPatch>>,
    /// Whom to ask about its clients; `null` asks nobody.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub ocsp: Option<Option<OcspPatch>>,
    /// Certificates that are not believed below it; all there are. An export leaves it out when there
    /// are none, so that no older document believes one again; `null` is none.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub denied: Option<Option<Vec<DeniedCertificate>>>,
}

/// Tells what is `null`, which is the default, from what is left out, which is as it was.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A zone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneDocument {
    /// `example.com`.
    pub name: String,
    /// Its managed CAs with their keys, newest first. Only for a zone that is made by this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_authorities: Option<Vec<KeyedDocument>>,
    /// Server certificates of its hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_certificates: Option<Vec<KeyedDocument>>,
    /// Which hosts believe which CAs; all there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub associations: Option<Vec<AssociationDocument>>,
    /// Its origins, which its hosts and origin rules name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origins: Option<Vec<OriginDocument>>,
    /// Its hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosts: Option<Vec<HostDocument>>,
    /// What people call its custom rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruleset: Option<RulesetDocument>,
    /// Its custom rules in order; all there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<RuleDocument>>,
    /// Its rate limits in order (`http_ratelimit`); all there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limits: Option<Vec<RuleDocument>>,
    /// Its header rules in order (`http_request_late_transform`); all there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transforms: Option<Vec<RuleDocument>>,
    /// Its redirects in order (`http_request_dynamic_redirect`); all there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirects: Option<Vec<RuleDocument>>,
    /// Its origin rules in order (`http_request_origin`); all there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin_rules: Option<Vec<RuleDocument>>,
    /// Its rules of responses' headers in order (`http_response_headers_transform`); all there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_transforms: Option<Vec<RuleDocument>>,
}

impl ZoneDocument {
    /// The rules of a phase, and what their section is called.
    pub(crate) fn rules_of(&self, phase: Phase) -> (Option<&[RuleDocument]>, &'static str) {
        let (rules, section) = match phase {
            Phase::HttpRequestFirewallCustom => (&self.rules, "rules"),
            Phase::HttpRatelimit => (&self.rate_limits, "rate_limits"),
            Phase::HttpRequestLateTransform => (&self.transforms, "transforms"),
            Phase::HttpRequestDynamicRedirect => (&self.redirects, "redirects"),
            Phase::HttpRequestOrigin => (&self.origin_rules, "origin_rules"),
            Phase::HttpResponseHeadersTransform => {
                (&self.response_transforms, "response_transforms")
            }
        };
        (rules.as_deref(), section)
    }
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyedDocument {
    /// PEM, the chain with it.
    pub certificate: String,
    /// PEM. Not needed for a certificate that the gateway has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl std::fmt::Debug for KeyedDocument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the key: what is debugged ends in logs.
        f.debug_struct("KeyedDocument")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Which hosts believe a CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssociationDocument {
    /// `managed`, or an uploaded CA's name or the SHA-256 of its first certificate.
    pub authority: String,
    /// Host names.
    pub hosts: BTreeSet<String>,
}

/// An origin of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginDocument {
    /// As hosts and origin rules name it.
    pub name: String,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginPatch>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostDocument {
    /// Exact or wildcard.
    pub name: String,
    /// Where its requests go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<OriginPatch>,
    /// Whether it asks for client certificates; by default while CAs are associated with it.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub mtls: Option<Option<MtlsMode>>,
    /// What becomes of revoked clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<OnRevoked>,
    /// What the origin is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_headers: Option<BTreeSet<CertificateHeaders>>,
    /// Whether a blocked client is told why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tell_reason: Option<bool>,
    /// The oldest TLS version; the gateway's by default.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub tls_min_version: Option<Option<TlsVersion>>,
    /// Bytes that a request's body may have; as the gateway says by default.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_body_max: Option<Option<u64>>,
    /// Whether its certificate comes from ACME: neither it nor its key is in a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<bool>,
    /// SHA-256 of the server certificate that it must use; the newest that covers it by default.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub certificate: Option<Option<String>>,
    /// SHA-256 of the one beside it, of the other kind of key.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub other_certificate: Option<Option<String>>,
}

fn is_true(value: &bool) -> bool {
    *value
}

fn yes() -> bool {
    true
}

/// What people call a zone's custom rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RulesetDocument {
    /// The ruleset's name; stays as it is when it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its description; the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleDocument {
    /// A stable name of its own.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Rules-language text.
    pub expression: String,
    /// `block`, `log`, …
    pub action: String,
    /// How.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_parameters: Option<Value>,
    /// What a rate limit limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratelimit: Option<Value>,
    /// A token of a zone set it: an origin rule that may not lead to what only the gateway reaches.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub confined: bool,
    /// `logging.enabled`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logging: Option<bool>,
    /// Whether it acts.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub enabled: bool,
}
