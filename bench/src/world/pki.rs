//! Certificates, and a store of Postern's that holds them.
//!
//! The server's certificate is ECDSA P-256 and the same for every proxy. Clients have one of the
//! zone's managed CA, which the other proxies are told to believe.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use boring::asn1::Asn1Time;
use boring::bn::BigNum;
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::PKey;
use boring::x509::extension::{
    BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
};
use boring::x509::{X509, X509NameBuilder};
use control::{Control, NewHost, NewRule, OriginSpec, Subject};
use snapshot::Published;
use vocabulary::hostname::HostName;
use vocabulary::settings::{MtlsMode, OriginProtocol};

use super::{
    GRPC_HOST, GRPC_REQUIRE_HOST, OPEN_HOST, QUIET_HOST, REQUEST_HOST, REQUIRE_HOST, ZONE,
};

/// The rule that the store begins with: the main job's.
const RULE: &str = r#"((not cf.tls_client_auth.cert_verified or cf.tls_client_auth.cert_revoked) and http.request.uri.path in {"/admin"})"#;
/// Days that certificates are valid.
const DAYS: u32 = 30;

/// Where things are.
#[derive(Debug)]
pub struct Store {
    /// Postern's store.
    pub path: PathBuf,
    /// The server's certificate in PEM.
    pub server_chain: PathBuf,
    /// Its key in PEM.
    pub server_key: PathBuf,
    /// The CA of clients in PEM.
    pub client_authority: PathBuf,
    /// A client's certificate in PEM.
    pub client_chain: PathBuf,
    /// Its key in PEM.
    pub client_key: PathBuf,
}

/// Where origins listen.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// The usual one.
    pub usual: SocketAddr,
    /// The one that only [`QUIET_HOST`] has.
    pub quiet: SocketAddr,
    /// The one of gRPC calls.
    pub grpc: SocketAddr,
}

/// Makes certificates and a store in `directory`, whose hosts go to `origin`, and those of gRPC
/// calls to `grpc_origin`.
///
/// # Errors
/// A file cannot be written, or the control plane refuses something.
pub fn seed(directory: &Path, origins: Addresses) -> Result<Store> {
    let file = |name: &str| directory.join(name);
    let store = Store {
        path: file("store.redb"),
        server_chain: file("server.pem"),
        server_key: file("server.key"),
        client_authority: file("client-ca.pem"),
        client_chain: file("client.pem"),
        client_key: file("client.key"),
    };
    let (chain, key) = server_certificate().context("making the server's certificate")?;
    let control = Control::open(&store.path, Arc::new(Published::default()))?;
    let zone = control.create_zone(ZONE)?.id;
    control.upload_server_certificate(zone, &chain, &key)?;
    let hosts = [
        (OPEN_HOST, MtlsMode::Off, origins.usual),
        (QUIET_HOST, MtlsMode::Off, origins.quiet),
        (REQUEST_HOST, MtlsMode::Request, origins.usual),
        (REQUIRE_HOST, MtlsMode::Require, origins.usual),
        (GRPC_HOST, MtlsMode::Off, origins.grpc),
        (GRPC_REQUIRE_HOST, MtlsMode::Require, origins.grpc),
    ];
    for (name, mtls, address) in hosts {
        let protocol = if address == origins.grpc {
            OriginProtocol::Http2
        } else {
            OriginProtocol::Auto
        };
        let origin = OriginSpec {
            url: format!("http://{address}"),
            protocol,
            ..OriginSpec::default()
        };
        let name = HostName::parse(name)?;
        control.create_host(
            zone,
            NewHost {
                name,
                origin,
                mtls: Some(mtls),
                client: vocabulary::settings::ClientSettings::default(),
                tls_min_version: None,
                request_body_max: None,
                acme: false,
                certificate: None,
                other_certificate: None,
            },
        )?;
    }
    control.add_rule(zone, NewRule::block(RULE), None)?;
    let client = control.create_certificate(zone, &Subject::named("bench-client"), DAYS)?;
    let model = control.model();
    let authority = model
        .managed(zone)
        .first()
        .map(|authority| authority.certificate.clone());
    let authority = authority.context("the zone has no managed CA")?;
    for (path, text) in [
        (&store.server_chain, chain.as_str()),
        (&store.server_key, &key),
        (&store.client_authority, &authority),
        (&store.client_chain, &client.certificate.certificate),
        (&store.client_key, client.private_key.reveal_text()),
    ] {
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(store)
}

/// A self-signed certificate for all hosts, and its key, in PEM.
fn server_certificate() -> Result<(String, String)> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_nid(Nid::COMMONNAME, ZONE)?;
    let name = name.build();
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    let serial = BigNum::from_u32(1)?.to_asn1_integer()?;
    builder.set_serial_number(&serial)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_pubkey(&key)?;
    let (begin, end) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(DAYS)?);
    builder.set_not_before(&begin)?;
    builder.set_not_after(&end)?;
    let names = SubjectAlternativeName::new()
        .dns(OPEN_HOST)
        .dns(QUIET_HOST)
        .dns(REQUEST_HOST)
        .dns(REQUIRE_HOST)
        .dns(GRPC_HOST)
        .dns(GRPC_REQUIRE_HOST)
        .build(&builder.x509v3_context(None, None))?;
    for extension in [
        BasicConstraints::new().critical().build()?,
        KeyUsage::new().critical().digital_signature().build()?,
        ExtendedKeyUsage::new().server_auth().build()?,
        names,
    ] {
        builder.append_extension(&extension)?;
    }
    builder.sign(&key, MessageDigest::sha256())?;
    let chain = String::from_utf8(builder.build().to_pem()?)?;
    Ok((chain, String::from_utf8(key.private_key_to_pem_pkcs8()?)?))
}
