//! Certificate signing requests (RFC 2986): what is taken from one, and what is refused.
//!
//! | of a request | what becomes of it |
//! |---|---|
//! | key | taken; its strength and the request's signature by it are checked |
//! | subject | taken; the number of its parts, their length and characters are bounded |
//! | subjectAltName | DNS names, e-mail addresses, URIs and IP addresses are taken, each checked; any other kind is refused |
//! | basicConstraints CA:TRUE, keyUsage keyCertSign or cRLSign | refused |
//! | everything else | ignored: what the certificate may be used for is not the client's to say |
//!
//! Owns these checks. Does not sign, and does not read the clock.

use boring::pkey::{PKey, Public};
use boring::x509::{X509NameRef, X509Req};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, ParsedCriAttribute};

use crate::limits::{
    ALT_NAME_BYTES_MAX, ALT_NAMES_MAX, CSR_BYTES_MAX, SUBJECT_ENTRIES_MAX, SUBJECT_VALUE_BYTES_MAX,
};
use crate::pki::crl::element;
use crate::pki::x509::{X509Error, check_strength};
use vocabulary::hostname::HostName;

/// Signature algorithms of requests: SHA-256 and longer, and Ed25519. Dotted, RFC 5758, 4055, 8410.
const SIGNATURES: [&str; 8] = [
    "1.2.840.10045.4.3.2",
    "1.2.840.10045.4.3.3",
    "1.2.840.10045.4.3.4",
    "1.2.840.113549.1.1.10",
    "1.2.840.113549.1.1.11",
    "1.2.840.113549.1.1.12",
    "1.2.840.113549.1.1.13",
    "1.3.101.112",
];

/// A request that was checked.
pub(crate) struct Request {
    request: X509Req,
    pub(crate) key: PKey<Public>,
    /// The content of subjectAltName, written anew in DER.
    pub(crate) names: Option<Vec<u8>>,
}

impl Request {
    /// Reads a PEM request.
    ///
    /// # Errors
    /// See [`X509Error`].
    pub(crate) fn parse(pem: &str) -> Result<Self, X509Error> {
        if pem.len() > CSR_BYTES_MAX {
            return Err(X509Error::Request(format!(
                "it has more than {CSR_BYTES_MAX} bytes"
            )));
        }
        let request =
            tls::pem::request(pem.as_bytes()).map_err(|why| X509Error::Request(why.to_string()))?;
        let key = request.public_key().map_err(|_unknown_key| {
            X509Error::Key("its algorithm is unknown or its bytes are no key".into())
        })?;
        check_strength(&key)?;
        let der = request.to_der()?;
        let names = examine(&der)?;
        if !request.verify(&key).unwrap_or(false) {
            return Err(X509Error::RequestSignature);
        }
        check_subject(request.subject_name())?;
        Ok(Self {
            request,
            key,
            names,
        })
    }

    /// Its subject.
    pub(crate) fn subject(&self) -> &X509NameRef {
        self.request.subject_name()
    }

    /// The request in DER.
    ///
    /// # Errors
    /// BoringSSL refused.
    pub(crate) fn to_der(&self) -> Result<Vec<u8>, X509Error> {
        Ok(self.request.to_der()?)
    }
}

fn unreadable(what: &str) -> X509Error {
    X509Error::Request(format!("{what} cannot be read"))
}

/// Checks the signature's algorithm and what is asked for, and answers the alternative names.
fn examine(der: &[u8]) -> Result<Option<Vec<u8>>, X509Error> {
    let Ok((_, request)) = X509CertificationRequest::from_der(der) else {
        return Err(unreadable("its structure"));
    };
    let algorithm = request.signature_algorithm.algorithm.to_id_string();
    if !SIGNATURES.contains(&algorithm.as_str()) {
        return Err(X509Error::Request(format!(
            "its signature's algorithm ({algorithm}) is too weak or unknown; SHA-256 and longer are accepted, as `openssl req -sha256` makes them"
        )));
    }
    let mut names = None;
    for attribute in request.certification_request_info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(wanted) = attribute.parsed_attribute() else {
            continue;
        };
        for extension in &wanted.extensions {
            match extension.parsed_extension() {
                ParsedExtension::ParseError { .. } => {
                    return Err(unreadable("one of the extensions that it asks for"));
                }
                ParsedExtension::BasicConstraints(found) if found.ca => {
                    return Err(X509Error::WantsCa("basicConstraints CA:TRUE"));
                }
                ParsedExtension::KeyUsage(found) if found.key_cert_sign() => {
                    return Err(X509Error::WantsCa("keyUsage keyCertSign"));
                }
                ParsedExtension::KeyUsage(found) if found.crl_sign() => {
                    return Err(X509Error::WantsCa("keyUsage cRLSign"));
                }
                ParsedExtension::SubjectAlternativeName(found) => {
                    let content = alternative(&found.general_names)?;
                    if names.replace(content).is_some() {
                        return Err(X509Error::AltName("it is there twice".into()));
                    }
                }
                _ => {}
            }
        }
    }
    Ok(names)
}

/// Checks alternative names and writes them anew: what cannot be written from what was understood
/// is not in the certificate. Tags of RFC 5280 §4.2.1.6.
fn alternative(names: &[GeneralName<'_>]) -> Result<Vec<u8>, X509Error> {
    let refused = |why: String| Err(X509Error::AltName(why));
    if names.is_empty() {
        return refused("it is empty".into());
    }
    if names.len() > ALT_NAMES_MAX {
        return refused(format!("it has more than {ALT_NAMES_MAX} names"));
    }
    let mut content = Vec::new();
    for name in names {
        let (tag, bytes) = match name {
            GeneralName::DNSName(text) => match HostName::parse(text) {
                Ok(host) if host.is_wildcard() => {
                    return refused(format!(
                        "`{host}` is a wildcard, and no client is many hosts"
                    ));
                }
                Ok(host) => (0x82, host.as_str().as_bytes().to_vec()),
                Err(why) => return refused(why.to_string()),
            },
            GeneralName::RFC822Name(text) if is_mail(text) => (0x81, text.as_bytes().to_vec()),
            GeneralName::URI(text) if is_uri(text) => (0x86, text.as_bytes().to_vec()),
            GeneralName::IPAddress(bytes) if matches!(bytes.len(), 4 | 16) => {
                (0x87, bytes.to_vec())
            }
            GeneralName::RFC822Name(text) => {
                return refused(format!("`{}` is no e-mail address", text.escape_debug()));
            }
            GeneralName::URI(text) => {
                return refused(format!("`{}` is no URI", text.escape_debug()));
            }
            GeneralName::IPAddress(_) => return refused("an IP address has 4 or 16 bytes".into()),
            _ => {
                return refused(
                    "it has a name of a kind that is not taken; DNS names, e-mail addresses, URIs and IP addresses are".into(),
                );
            }
        };
        if bytes.len() > ALT_NAME_BYTES_MAX {
            return refused(format!("a name has more than {ALT_NAME_BYTES_MAX} bytes"));
        }
        content.extend(element(tag, &bytes));
    }
    Ok(element(0x30, &content))
}

/// `local@host`, in characters that need no quoting.
fn is_mail(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte);
    text.split_once('@').is_some_and(|(local, host)| {
        !local.is_empty()
            && local.bytes().all(plain)
            && HostName::parse(host).is_ok_and(|host| !host.is_wildcard())
    })
}

/// A scheme, a colon and something after it, in the characters of RFC 3986.
fn is_uri(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte);
    text.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
            && !rest.is_empty()
            && rest.bytes().all(allowed)
    })
}

/// Bounds what goes into listings, logs and headers.
///
/// # Errors
/// [`X509Error::Subject`].
pub(crate) fn check_subject(subject: &X509NameRef) -> Result<(), X509Error> {
    let refused = |why: String| Err(X509Error::Subject(why));
    let mut count = 0;
    for entry in subject.entries() {
        count += 1;
        if count > SUBJECT_ENTRIES_MAX {
            return refused(format!("it has more than {SUBJECT_ENTRIES_MAX} parts"));
        }
        let Ok(text) = entry.data().as_utf8() else {
            return refused("a part of it is not text".into());
        };
        let text: &str = &text;
        if text.len() > SUBJECT_VALUE_BYTES_MAX {
            return refused(format!(
                "a part of it has more than {SUBJECT_VALUE_BYTES_MAX} bytes"
            ));
        }
        if text.chars().any(char::is_control) {
            return refused("a part of it has control characters".into());
        }
    }
    if count == 0 {
        return refused("it is empty; give at least a common name (CN)".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use boring::ec::{EcGroup, EcKey};
    use boring::hash::MessageDigest;
    use boring::nid::Nid;
    use boring::pkey::Private;
    use boring::rsa::Rsa;
    use boring::stack::Stack;
    use boring::x509::{X509, X509Extension, X509Name};
    use x509_parser::prelude::X509Certificate;

    use super::*;
    use crate::model::moment::Moment;
    use crate::pki::ca_key::CaKey;
    use crate::pki::x509::{Signer, generate_key, make_authority};

    fn subject(parts: &[(&str, &str)]) -> X509Name {
        let mut builder = X509Name::builder().unwrap();
        for (field, value) in parts {
            builder.append_entry_by_text(field, value).unwrap();
        }
        builder.build()
    }

    fn signed(
        subject: &X509Name,
        extensions: &[(&str, &str)],
        key: &PKey<Private>,
        digest: MessageDigest,
    ) -> String {
        let mut builder = X509Req::builder().unwrap();
        builder.set_subject_name(subject).unwrap();
        builder.set_pubkey(key).unwrap();
        let mut all = Stack::new().unwrap();
        for (name, value) in extensions {
            let made = X509Extension::new(None, None, name, value).unwrap();
            all.push(made).unwrap();
        }
        if !extensions.is_empty() {
            builder.add_extensions(&all).unwrap();
        }
        builder.sign(key, digest).unwrap();
        String::from_utf8(builder.build().to_pem().unwrap()).unwrap()
    }

    fn with(extensions: &[(&str, &str)]) -> Result<Request, X509Error> {
        let key = generate_key().unwrap();
        let name = subject(&[("CN", "device")]);
        Request::parse(&signed(&name, extensions, &key, MessageDigest::sha256()))
    }

    fn issue(request: &Request) -> X509 {
        let now = Moment::now();
        let (certificate, key) = make_authority("CA", "O", CaKey::default(), 7300, now).unwrap();
        let signer = Signer { certificate, key };
        signer.issue_requested(request, 365, now).unwrap()
    }

    #[test]
    fn alternative_names_that_are_taken() {
        let ip6 = "2001:db8:0:0:0:0:0:1";
        let wanted = format!(
            "DNS:Device-1.Example.test,email:ops+x@example.test,URI:spiffe://example.test/ns/a,IP:192.0.2.7,IP:{ip6}"
        );
        let request = with(&[("subjectAltName", &wanted)]).unwrap();
        let issued = issue(&request);
        let names = issued.subject_alt_names().unwrap();
        let found: Vec<String> = names
            .iter()
            .map(|name| {
                let text = name
                    .dnsname()
                    .or_else(|| name.email())
                    .or_else(|| name.uri());
                text.map_or_else(
                    || format!("{:?}", name.ipaddress().unwrap()),
                    ToOwned::to_owned,
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                "device-1.example.test",
                "ops+x@example.test",
                "spiffe://example.test/ns/a",
                "[192, 0, 2, 7]",
                "[32, 1, 13, 184, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]",
            ]
        );
        assert!(issue(&with(&[]).unwrap()).subject_alt_names().is_none());
    }

    #[test]
    fn extensions_that_are_refused() {
        let many: Vec<String> = (0..=ALT_NAMES_MAX)
            .map(|n| format!("DNS:h{n}.test"))
            .collect();
        let long = format!("URI:urn:{}", "x".repeat(ALT_NAME_BYTES_MAX));
        for (extension, value, said) in [
            ("basicConstraints", "CA:TRUE", "CA:TRUE"),
            ("basicConstraints", "critical,CA:TRUE,pathlen:0", "CA:TRUE"),
            ("keyUsage", "keyCertSign", "keyCertSign"),
            ("keyUsage", "digitalSignature,cRLSign", "cRLSign"),
            ("subjectAltName", "DNS:*.example.test", "wildcard"),
            ("subjectAltName", "DNS:a b", "character"),
            ("subjectAltName", "DNS:192.0.2.1", "IP address"),
            ("subjectAltName", "email:nobody", "e-mail"),
            ("subjectAltName", "email:a@b@example.test", "e-mail"),
            ("subjectAltName", "URI:no-scheme", "no URI"),
            ("subjectAltName", "URI:a:b c", "no URI"),
            (
                "subjectAltName",
                "RID:1.2.3.4",
                "of a kind that is not taken",
            ),
            (
                "subjectAltName",
                "otherName:1.3.6.1.4.1.311.20.2.3;UTF8:u@x",
                "not taken",
            ),
            ("subjectAltName", &many.join(","), "more than"),
            ("subjectAltName", &long, "more than"),
            // An IP address of three bytes, an empty list, and no list at all.
            ("subjectAltName", "DER:30058703010203", "4 or 16"),
            ("subjectAltName", "DER:3000", "empty"),
            ("subjectAltName", "DER:0500", "cannot be read"),
        ] {
            let Err(why) = with(&[(extension, value)]) else {
                panic!("{extension} {value}");
            };
            assert!(why.to_string().contains(said), "{value}: {why}");
        }
        let twice = [
            ("subjectAltName", "DNS:a.test"),
            ("subjectAltName", "DNS:b.test"),
        ];
        assert!(with(&twice).is_err());
    }

    /// RFC 5280: what a certificate is for is said by the CA, whatever was asked for.
    #[test]
    fn what_a_certificate_says() {
        let request = with(&[
            ("basicConstraints", "CA:FALSE"),
            (
                "keyUsage",
                "digitalSignature,keyEncipherment,nonRepudiation",
            ),
            ("extendedKeyUsage", "serverAuth,codeSigning"),
            ("subjectKeyIdentifier", "DER:040401020304"),
            ("nameConstraints", "permitted;DNS:example.test"),
        ])
        .unwrap();
        let now = Moment::now();
        let (authority, key) = make_authority("CA", "O", CaKey::default(), 7300, now).unwrap();
        let signer = Signer {
            certificate: authority.clone(),
            key,
        };
        let mut serials = std::collections::HashSet::new();
        for _ in 0..64 {
            let issued = signer.issue_requested(&request, 1, now).unwrap();
            let serial = issued.serial_number().to_bn().unwrap().to_vec();
            // RFC 5280 §4.1.2.2: positive and at most 20 octets.
            assert_eq!(serial.len(), 17);
            assert!(serial[0] < 0x80);
            assert!(serials.insert(serial[1..].to_vec()));
        }
        let issued = signer.issue_requested(&request, 3650, now).unwrap();
        let der = issued.to_der().unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let names: Vec<String> = parsed
            .extensions()
            .iter()
            .map(|one| {
                format!(
                    "{}{}",
                    one.oid.to_id_string(),
                    if one.critical { "!" } else { "" }
                )
            })
            .collect();
        assert_eq!(
            names,
            [
                "2.5.29.19!",
                "2.5.29.15!",
                "2.5.29.37",
                "2.5.29.14",
                "2.5.29.35"
            ]
        );
        assert!(!parsed.basic_constraints().unwrap().unwrap().value.ca);
        assert_eq!(parsed.key_usage().unwrap().unwrap().value.flags, 1);
        let purpose = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(purpose.client_auth && !purpose.server_auth && !purpose.code_signing);
        // RFC 5280 §4.2.1.2 (1): SHA-1 of the key's bits.
        let bits = parsed.public_key().subject_public_key.data.as_ref();
        let print = boring::hash::hash(MessageDigest::sha1(), bits).unwrap();
        assert_eq!(issued.subject_key_id().unwrap().as_slice(), &*print);
        assert_eq!(
            issued.authority_key_id().unwrap().as_slice(),
            authority.subject_key_id().unwrap().as_slice()
        );
        let days = |one: &X509| {
            let passed = one.not_before().diff(one.not_after()).unwrap();
            (passed.days, passed.secs)
        };
        assert_eq!(days(&issued), (3650, 0));
        let longest = signer.issue_requested(&request, 8000, now);
        assert!(matches!(longest, Err(X509Error::OutlivesCa(_))));
    }

    #[test]
    fn keys_and_signatures() {
        let name = subject(&[("CN", "device")]);
        let rsa = |bits| PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
        let curve = |nid| {
            let group = EcGroup::from_curve_name(nid).unwrap();
            PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
        };
        let sha256 = MessageDigest::sha256();
        for (key, digest, accepted) in [
            (curve(Nid::X9_62_PRIME256V1), sha256, true),
            (curve(Nid::SECP384R1), MessageDigest::sha384(), true),
            (curve(Nid::SECP521R1), sha256, false),
            (curve(Nid::SECP224R1), sha256, false),
            (curve(Nid::X9_62_PRIME256V1), MessageDigest::sha1(), false),
            (rsa(2048), sha256, true),
            (rsa(2048), MessageDigest::sha1(), false),
            (rsa(1024), sha256, false),
        ] {
            let text = signed(&name, &[], &key, digest);
            let found = Request::parse(&text);
            assert_eq!(found.is_ok(), accepted, "{} bits", key.bits());
        }
        // Another key's signature.
        let good = signed(&name, &[], &curve(Nid::X9_62_PRIME256V1), sha256);
        let mut der = X509Req::from_pem(good.as_bytes())
            .unwrap()
            .to_der()
            .unwrap();
        let last = der.len() - 1;
        der[last] ^= 1;
        let pem = X509Req::from_der(&der).unwrap().to_pem().unwrap();
        let refused = Request::parse(&String::from_utf8(pem).unwrap());
        assert!(matches!(refused, Err(X509Error::RequestSignature)));
        for text in ["", "nonsense", &good[..100], &"x".repeat(CSR_BYTES_MAX + 1)] {
            assert!(matches!(Request::parse(text), Err(X509Error::Request(_))));
        }
    }

    #[test]
    fn subjects() {
        let key = generate_key().unwrap();
        let long = "x".repeat(60);
        let many: Vec<(&str, &str)> = vec![("OU", "unit"); SUBJECT_ENTRIES_MAX + 1];
        for (parts, accepted) in [
            (vec![("CN", "device 1"), ("O", "Müller & Söhne")], true),
            (vec![("O", "only an organisation")], true),
            (vec![("CN", long.as_str())], true),
            (vec![], false),
            (vec![("CN", "a\nb")], false),
            (vec![("CN", "a\u{7f}b")], false),
            (many, false),
        ] {
            let name = subject(&parts);
            let text = signed(&name, &[], &key, MessageDigest::sha256());
            assert_eq!(Request::parse(&text).is_ok(), accepted, "{parts:?}");
        }
    }
}
