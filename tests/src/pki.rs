//! Certificates of every kind: good ones, and ones that are wrong in exactly one way.
//!
//! Keys are P-256 unless asked for otherwise. Does not know what the gateway makes of them.

use std::time::{SystemTime, UNIX_EPOCH};

use boring::asn1::Asn1Time;
use boring::bn::{BigNum, MsbOption};
use boring::ec::{EcGroup, EcKey};
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::rsa::Rsa;
use boring::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName,
    SubjectKeyIdentifier,
};
use boring::x509::{X509, X509Extension, X509Name, X509ReqBuilder};

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// A certificate chain, leaf first, with the leaf's key.
#[derive(Clone)]
pub struct Identity {
    /// Leaf first; roots are left out.
    pub chain: Vec<X509>,
    /// The leaf's key.
    pub key: PKey<Private>,
}

/// Somebody who signs.
#[derive(Clone)]
pub struct Authority {
    /// Its own certificate.
    pub certificate: X509,
    /// Its key.
    pub key: PKey<Private>,
    /// What is sent after a leaf: the intermediates up to, and without, the root.
    pub above: Vec<X509>,
}

/// What a certificate says. Every field has a sound default; tests break one at a time.
#[derive(Clone)]
pub struct Spec {
    /// Common name.
    pub name: String,
    /// Seconds from now at which it begins.
    pub begins: i64,
    /// Seconds from now at which it ends.
    pub ends: i64,
    /// `CA:TRUE`, with a path length.
    pub ca: Option<Option<u32>>,
    /// Whether keyUsage lets it sign: a CA certificates, all others handshakes.
    pub may_sign: bool,
    /// clientAuth in extendedKeyUsage.
    pub client_auth: bool,
    /// serverAuth in extendedKeyUsage.
    pub server_auth: bool,
    /// OCSPSigning in extendedKeyUsage.
    pub ocsp_signing: bool,
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub ip: Vec<String>,
    /// nameConstraints as OpenSSL writes them: `permitted;DNS:example.test`.
    pub constraints: Option<String>,
    /// A critical extension that nobody knows.
    pub unknown_critical: bool,
    /// RSA of so many bits instead of P-256.
    pub rsa: Option<u32>,
    /// Signed over SHA-1.
    pub sha1: bool,
    /// Where its revocation would be published: crlDistributionPoints.
    pub point: Option<String>,
    /// subjectKeyIdentifier, and the issuer's as authorityKeyIdentifier when it has one.
    pub key_ids: bool,
}

impl Spec {
    /// A client's certificate.
    #[must_use]
    pub fn client(name: &str) -> Self {
        Self {
            name: name.into(),
            begins: -60,
            ends: 30 * DAY,
            ca: None,
            may_sign: true,
            client_auth: true,
            server_auth: false,
            ocsp_signing: false,
            dns: Vec::new(),
            ip: Vec::new(),
            constraints: None,
            unknown_critical: false,
            rsa: None,
            sha1: false,
            point: None,
            key_ids: false,
        }
    }

    /// A server's certificate.
    #[must_use]
    pub fn server(names: &[&str]) -> Self {
        let (ip, dns): (Vec<&str>, Vec<&str>) = names
            .iter()
            .partition(|name| name.parse::<std::net::IpAddr>().is_ok());
        Self {
            client_auth: false,
            server_auth: true,
            dns: dns.iter().map(ToString::to_string).collect(),
            ip: ip.iter().map(ToString::to_string).collect(),
            ..Self::client(names.first().copied().unwrap_or("server"))
        }
    }

    /// A CA.
    #[must_use]
    pub fn authority(name: &str) -> Self {
        Self {
            ca: Some(None),
            client_auth: false,
            ..Self::client(name)
        }
    }
}

impl Authority {
    /// A root that signed itself.
    #[must_use]
    pub fn root(name: &str) -> Self {
        let key = new_key(None);
        let certificate = build(&Spec::authority(name), &key, None);
        Self {
            certificate,
            key,
            above: Vec::new(),
        }
    }

    /// A certificate and key from elsewhere.
    #[must_use]
    pub fn from_pem(certificate: &str, key: &[u8]) -> Self {
        Self {
            certificate: X509::from_pem(certificate.as_bytes()).unwrap(),
            key: PKey::private_key_from_pem(key).unwrap(),
            above: Vec::new(),
        }
    }

    /// Signs what `spec` says, whether that makes sense or not.
    #[must_use]
    pub fn issue(&self, spec: &Spec) -> Identity {
        let key = new_key(spec.rsa);
        let certificate = build(spec, &key, Some(self));
        let chain = std::iter::once(certificate)
            .chain(self.above.iter().cloned())
            .collect();
        Identity { chain, key }
    }

    /// A client's certificate.
    #[must_use]
    pub fn client(&self, name: &str) -> Identity {
        self.issue(&Spec::client(name))
    }

    /// A server's certificate.
    #[must_use]
    pub fn server(&self, names: &[&str]) -> Identity {
        self.issue(&Spec::server(names))
    }

    /// A CA below this one.
    #[must_use]
    pub fn intermediate(&self, spec: &Spec) -> Self {
        let Identity { chain, key } = self.issue(spec);
        Self {
            certificate: chain[0].clone(),
            key,
            above: chain,
        }
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem(&self.certificate)
    }
}

impl Identity {
    /// A certificate that signed itself.
    #[must_use]
    pub fn self_signed(spec: &Spec) -> Self {
        let key = new_key(spec.rsa);
        Self {
            chain: vec![build(spec, &key, None)],
            key,
        }
    }

    /// From what the gateway handed out.
    #[must_use]
    pub fn from_pem(chain: &str, key: &str) -> Self {
        Self {
            chain: X509::stack_from_pem(chain.as_bytes()).unwrap(),
            key: PKey::private_key_from_pem(key.as_bytes()).unwrap(),
        }
    }

    /// The chain in PEM.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(pem).collect()
    }

    /// The key in PEM.
    #[must_use]
    pub fn key_pem(&self) -> String {
        String::from_utf8(self.key.private_key_to_pem_pkcs8().unwrap()).unwrap()
    }

    /// The leaf.
    #[must_use]
    pub fn leaf(&self) -> &X509 {
        &self.chain[0]
    }

    /// The leaf's serial number, upper-case hex.
    #[must_use]
    pub fn serial(&self) -> String {
        let serial = self.leaf().serial_number().to_bn().unwrap();
        serial.to_hex_str().unwrap().to_uppercase()
    }

    /// The same with further certificates sent after the leaf.
    #[must_use]
    pub fn with_extra(mut self, certificates: &[X509]) -> Self {
        self.chain.extend_from_slice(certificates);
        self
    }
}

/// A certificate of a CA's own name and key by another issuer.
#[must_use]
pub fn cross_sign(authority: &Authority, by: &Authority) -> X509 {
    let mut spec = Spec::authority("");
    let name = authority.certificate.subject_name();
    let entry = name.entries_by_nid(Nid::COMMONNAME).next().unwrap();
    spec.name = String::from_utf8(entry.data().as_slice().to_vec()).unwrap();
    build(&spec, &authority.key, Some(by))
}

/// A certificate request for `name`, in PEM, and its key.
#[must_use]
pub fn request(name: &str) -> (String, PKey<Private>) {
    let key = new_key(None);
    let mut builder = X509ReqBuilder::new().unwrap();
    builder.set_subject_name(&subject(name)).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (
        String::from_utf8(builder.build().to_pem().unwrap()).unwrap(),
        key,
    )
}

fn pem(certificate: &X509) -> String {
    String::from_utf8(certificate.to_pem().unwrap()).unwrap()
}

fn new_key(rsa: Option<u32>) -> PKey<Private> {
    match rsa {
        Some(bits) => PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap(),
        None => {
            let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        }
    }
}

fn subject(name: &str) -> X509Name {
    let mut builder = X509Name::builder().unwrap();
    builder.append_entry_by_text("O", "Postern Tests").unwrap();
    builder.append_entry_by_text("CN", name).unwrap();
    builder.build()
}

fn build(spec: &Spec, key: &PKey<Private>, issuer: Option<&Authority>) -> X509 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    let at = |offset: i64| Asn1Time::from_unix(now + offset).unwrap();
    let name = subject(&spec.name);
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let mut serial = BigNum::new().unwrap();
    serial.rand(120, MsbOption::ONE, false).unwrap();
    builder
        .set_serial_number(&serial.to_asn1_integer().unwrap())
        .unwrap();
    builder.set_subject_name(&name).unwrap();
    builder
        .set_issuer_name(issuer.map_or(&*name, |issuer| issuer.certificate.subject_name()))
        .unwrap();
    builder.set_not_before(&at(spec.begins)).unwrap();
    builder.set_not_after(&at(spec.ends)).unwrap();
    builder.set_pubkey(key).unwrap();
    for extension in extensions(spec) {
        builder.append_extension(&extension).unwrap();
    }
    if spec.key_ids {
        let authority = issuer.map(|issuer| &*issuer.certificate);
        let named = authority.is_some_and(|authority| authority.subject_key_id().is_some());
        let context = builder.x509v3_context(authority, None);
        let own = SubjectKeyIdentifier::new().build(&context).unwrap();
        let above = named.then(|| {
            let mut above = AuthorityKeyIdentifier::new();
            above.keyid(true).build(&context).unwrap()
        });
        for extension in std::iter::once(own).chain(above) {
            builder.append_extension(&extension).unwrap();
        }
    }
    if !(spec.dns.is_empty() && spec.ip.is_empty()) {
        let mut names = SubjectAlternativeName::new();
        for dns in &spec.dns {
            names.dns(dns);
        }
        for ip in &spec.ip {
            names.ip(ip);
        }
        let context = builder.x509v3_context(None, None);
        let extension = names.build(&context).unwrap();
        builder.append_extension(&extension).unwrap();
    }
    builder
        .sign(
            issuer.map_or(key, |issuer| &issuer.key),
            match spec.sha1 {
                true => MessageDigest::sha1(),
                false => MessageDigest::sha256(),
            },
        )
        .unwrap();
    builder.build()
}

fn extensions(spec: &Spec) -> Vec<X509Extension> {
    let mut all = Vec::new();
    let mut usage = KeyUsage::new();
    usage.critical();
    if let Some(path_length) = spec.ca {
        let mut constraints = BasicConstraints::new();
        constraints.critical().ca();
        if let Some(length) = path_length {
            constraints.pathlen(length);
        }
        all.push(constraints.build().unwrap());
        usage.crl_sign();
        if spec.may_sign {
            usage.key_cert_sign();
        }
    } else if spec.may_sign {
        usage.digital_signature();
    } else {
        usage.key_encipherment();
    }
    all.push(usage.build().unwrap());
    if spec.client_auth || spec.server_auth || spec.ocsp_signing {
        let mut purposes = ExtendedKeyUsage::new();
        if spec.client_auth {
            purposes.client_auth();
        }
        if spec.server_auth {
            purposes.server_auth();
        }
        if spec.ocsp_signing {
            purposes.other("OCSPSigning");
        }
        all.push(purposes.build().unwrap());
    }
    let by_name = |name: &str, value: &str| X509Extension::new(None, None, name, value).unwrap();
    if let Some(constraints) = &spec.constraints {
        all.push(by_name(
            "nameConstraints",
            &format!("critical,{constraints}"),
        ));
    }
    if let Some(point) = &spec.point {
        all.push(by_name("crlDistributionPoints", &format!("URI:{point}")));
    }
    if spec.unknown_critical {
        all.push(by_name("1.3.6.1.4.1.55555.1", "critical,DER:0500"));
    }
    all
}
