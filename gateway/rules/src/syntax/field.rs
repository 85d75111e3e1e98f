//! The table of fields: name, type, and how long a value holds.
//!
//! Owns names only; `eval::field_values` has the values. Cloudflare's reference:
//! <https://developers.cloudflare.com/ruleset-engine/rules-language/fields/reference/>.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::types::{Kind, Type};

/// How long a field's value holds: what depends on the connection is evaluated once per connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// Until the certificate of the connection is verified again.
    Connection,
    /// One request.
    Request,
}

const BOOLEAN: Type = Type::Single(Kind::Boolean);
const INTEGER: Type = Type::Single(Kind::Integer);
const STRING: Type = Type::Single(Kind::String);
const IP: Type = Type::Single(Kind::Ip);
const STRINGS: Type = Type::Array(Kind::String);
const IPS: Type = Type::Array(Kind::Ip);
const MAP: Type = Type::Map;

macro_rules! fields {
    ($($field:ident $name:literal $type:ident $lifetime:ident)*) => {
        /// A field of the language.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Field { $($field),* }

        impl Field {
            /// Every field, in the order of the table.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$field),*];

            /// As it is written.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$field => $name),* }
            }

            /// Its type.
            pub(crate) fn of_type(self) -> Type {
                match self { $(Self::$field => $type),* }
            }

            /// How long its value holds.
            pub(crate) fn lifetime(self) -> Lifetime {
                match self { $(Self::$field => Lifetime::$lifetime),* }
            }
        }
    };
}

fields! {
    Host "http.host" STRING Request
    Method "http.request.method" STRING Request
    Version "http.request.version" STRING Request
    FullUri "http.request.full_uri" STRING Request
    Uri "http.request.uri" STRING Request
    Path "http.request.uri.path" STRING Request
    PathExtension "http.request.uri.path.extension" STRING Request
    Query "http.request.uri.query" STRING Request
    Args "http.request.uri.args" MAP Request
    ArgsNames "http.request.uri.args.names" STRINGS Request
    ArgsValues "http.request.uri.args.values" STRINGS Request
    TimestampSec "http.request.timestamp.sec" INTEGER Request
    TimestampMsec "http.request.timestamp.msec" INTEGER Request
    Headers "http.request.headers" MAP Request
    HeadersNames "http.request.headers.names" STRINGS Request
    HeadersValues "http.request.headers.values" STRINGS Request
    HeadersTruncated "http.request.headers.truncated" BOOLEAN Request
    Cookies "http.request.cookies" MAP Request
    AcceptedLanguages "http.request.accepted_languages" STRINGS Request
    UserAgent "http.user_agent" STRING Request
    Referer "http.referer" STRING Request
    Cookie "http.cookie" STRING Request
    XForwardedFor "http.x_forwarded_for" STRING Request
    RawFullUri "raw.http.request.full_uri" STRING Request
    RawUri "raw.http.request.uri" STRING Request
    RawPath "raw.http.request.uri.path" STRING Request
    RawPathExtension "raw.http.request.uri.path.extension" STRING Request
    RawQuery "raw.http.request.uri.query" STRING Request
    RawArgs "raw.http.request.uri.args" MAP Request
    RawArgsNames "raw.http.request.uri.args.names" STRINGS Request
    RawArgsValues "raw.http.request.uri.args.values" STRINGS Request
    RayId "cf.ray_id" STRING Request
    IpSrc "ip.src" IP Connection
    Asnum "ip.src.asnum" INTEGER Connection
    Country "ip.src.country" STRING Connection
    Continent "ip.src.continent" STRING Connection
    Region "ip.src.region" STRING Connection
    RegionCode "ip.src.region_code" STRING Connection
    City "ip.src.city" STRING Connection
    InEuropeanUnion "ip.src.is_in_european_union" BOOLEAN Connection
    Subdivision1 "ip.src.subdivision_1_iso_code" STRING Connection
    Subdivision2 "ip.src.subdivision_2_iso_code" STRING Connection
    GeoipAsnum "ip.geoip.asnum" INTEGER Connection
    GeoipCountry "ip.geoip.country" STRING Connection
    GeoipContinent "ip.geoip.continent" STRING Connection
    GeoipInEuropeanUnion "ip.geoip.is_in_european_union" BOOLEAN Connection
    GeoipSubdivision1 "ip.geoip.subdivision_1_iso_code" STRING Connection
    GeoipSubdivision2 "ip.geoip.subdivision_2_iso_code" STRING Connection
    Ssl "ssl" BOOLEAN Connection
    TlsVersion "cf.tls_version" STRING Connection
    TlsCipher "cf.tls_cipher" STRING Connection
    ClientHelloLength "cf.tls_client_hello_length" INTEGER Connection
    ClientRandom "cf.tls_client_random" STRING Connection
    ClientExtensionsSha1 "cf.tls_client_extensions_sha1" STRING Connection
    ClientExtensionsSha1Le "cf.tls_client_extensions_sha1_le" STRING Connection
    CiphersSha1 "cf.tls_ciphers_sha1" STRING Connection
    Ja3 "cf.bot_management.ja3_hash" STRING Connection
    Ja4 "cf.bot_management.ja4" STRING Connection
    ServerIp "cf.edge.server_ip" IP Connection
    ServerPort "cf.edge.server_port" INTEGER Connection
    ClientTcp "cf.edge.client_tcp" BOOLEAN Connection
    ClientTcpRtt "cf.timings.client_tcp_rtt_msec" INTEGER Request
    ClientQuicRtt "cf.timings.client_quic_rtt_msec" INTEGER Connection
    CertPresented "cf.tls_client_auth.cert_presented" BOOLEAN Connection
    CertVerified "cf.tls_client_auth.cert_verified" BOOLEAN Connection
    CertRevoked "cf.tls_client_auth.cert_revoked" BOOLEAN Connection
    CertIssuerDn "cf.tls_client_auth.cert_issuer_dn" STRING Connection
    CertSubjectDn "cf.tls_client_auth.cert_subject_dn" STRING Connection
    CertIssuerDnRfc2253 "cf.tls_client_auth.cert_issuer_dn_rfc2253" STRING Connection
    CertSubjectDnRfc2253 "cf.tls_client_auth.cert_subject_dn_rfc2253" STRING Connection
    CertIssuerDnLegacy "cf.tls_client_auth.cert_issuer_dn_legacy" STRING Connection
    CertSubjectDnLegacy "cf.tls_client_auth.cert_subject_dn_legacy" STRING Connection
    CertSerial "cf.tls_client_auth.cert_serial" STRING Connection
    CertIssuerSerial "cf.tls_client_auth.cert_issuer_serial" STRING Connection
    CertFingerprintSha256 "cf.tls_client_auth.cert_fingerprint_sha256" STRING Connection
    CertFingerprintSha1 "cf.tls_client_auth.cert_fingerprint_sha1" STRING Connection
    CertNotBefore "cf.tls_client_auth.cert_not_before" STRING Connection
    CertNotAfter "cf.tls_client_auth.cert_not_after" STRING Connection
    CertSki "cf.tls_client_auth.cert_ski" STRING Connection
    CertIssuerSki "cf.tls_client_auth.cert_issuer_ski" STRING Connection
    CertRfc9440 "cf.tls_client_auth.cert_rfc9440" STRING Connection
    CertRfc9440TooLarge "cf.tls_client_auth.cert_rfc9440_too_large" BOOLEAN Connection
    CertChainRfc9440 "cf.tls_client_auth.cert_chain_rfc9440" STRING Connection
    CertChainRfc9440TooLarge "cf.tls_client_auth.cert_chain_rfc9440_too_large" BOOLEAN Connection
    SanDns "postern.tls_client_auth.cert_san.dns" STRINGS Connection
    SanUri "postern.tls_client_auth.cert_san.uri" STRINGS Connection
    SanEmail "postern.tls_client_auth.cert_san.email" STRINGS Connection
    SanIp "postern.tls_client_auth.cert_san.ip" IPS Connection
    CertEku "postern.tls_client_auth.cert_eku" STRINGS Connection
    CertNotBeforeSec "postern.tls_client_auth.cert_not_before_sec" INTEGER Connection
    CertNotAfterSec "postern.tls_client_auth.cert_not_after_sec" INTEGER Connection
    CertReason "postern.tls_client_auth.reason" STRING Connection
    CertCaId "postern.tls_client_auth.ca_id" STRING Connection
}

static BY_NAME: LazyLock<HashMap<&'static str, Field, foldhash::fast::RandomState>> =
    LazyLock::new(|| {
        Field::ALL
            .iter()
            .map(|field| (field.name(), *field))
            .collect()
    });

impl Field {
    /// The field of that name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        BY_NAME.get(name).copied()
    }

    /// Whether this is read from the ClientHello.
    pub(crate) fn is_of_client_hello(self) -> bool {
        matches!(
            self,
            Self::ClientHelloLength
                | Self::ClientRandom
                | Self::ClientExtensionsSha1
                | Self::ClientExtensionsSha1Le
                | Self::CiphersSha1
                | Self::Ja3
                | Self::Ja4
        )
    }

    /// Whether this is about the client's certificate.
    pub(crate) fn is_of_client_certificate(self) -> bool {
        self.name().contains("tls_client_auth.")
    }

    /// Whether this needs a GeoIP database.
    pub(crate) fn is_geographic(self) -> bool {
        self != Self::IpSrc
            && (self.name().starts_with("ip.src.") || self.name().starts_with("ip.geoip."))
    }
}

/// Why a name that Cloudflare knows is not a field here.
pub(crate) fn absence(name: &str) -> Option<&'static str> {
    const ABSENT: &[(&str, &str)] = &[
        (
            "http.request.body.",
            "Postern evaluates the request head and never reads bodies",
        ),
        (
            "http.response.",
            "rules evaluate a request before the origin has answered",
        ),
        (
            "raw.http.response.",
            "rules evaluate a request before the origin has answered",
        ),
        (
            "cf.response.",
            "rules evaluate a request before the origin has answered",
        ),
        (
            "cf.timings.edge_",
            "nothing has been timed yet when rules evaluate a request",
        ),
        (
            "cf.timings.origin_",
            "nothing has been timed yet when rules evaluate a request",
        ),
        (
            "cf.timings.worker_",
            "nothing has been timed yet when rules evaluate a request",
        ),
        ("http.request.jwt.", "Postern does not read JSON Web Tokens"),
        (
            "cf.bot_management.",
            "of Cloudflare's bot detection only `ja3_hash` and `ja4` exist here",
        ),
        ("cf.client.bot", "Postern keeps no catalogue of bots"),
        (
            "cf.verified_bot_category",
            "Postern keeps no catalogue of bots",
        ),
        (
            "cf.waf.",
            "it is the result of a Cloudflare detection that Postern does not have",
        ),
        (
            "cf.llm.",
            "it is the result of a Cloudflare detection that Postern does not have",
        ),
        ("cf.threat_score", "Cloudflare itself always sets it to 0"),
        ("cf.api_gateway.", "Postern has no API schemas"),
        ("cf.random_seed", "rules are deterministic here"),
    ];
    ABSENT
        .iter()
        .find(|(prefix, _)| name.starts_with(prefix))
        .map(|(_, why)| *why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for field in Field::ALL {
            assert_eq!(Field::by_name(field.name()), Some(*field));
            assert!(
                absence(field.name()).is_none() || field.name().contains("ja"),
                "{}",
                field.name()
            );
        }
        let client_auth = Field::ALL
            .iter()
            .filter(|f| f.name().starts_with("cf.tls_client_auth."))
            .count();
        assert_eq!(client_auth, 21, "Cloudflare has 21 of them");
    }
}
