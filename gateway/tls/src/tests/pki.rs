//! Certificates as the verifier's tests ask for them, lists and answers. `fixtures::pki` makes the
//! certificates.

use std::sync::Arc;

use boring::asn1::Asn1Type;
use boring::hash::MessageDigest;
use boring::pkey::{PKey, Private};
use boring::sign::Signer;
use boring::x509::{X509, X509Name};
use fixtures::pki::{self, Spec};

use crate::der::{element, tag};

/// The time of verification in all tests: 2026-01-01.
pub(crate) const NOW: i64 = 1_767_225_600;
const DAY: i64 = 86_400;

/// A certificate with its key.
pub(crate) struct Identity {
    pub(crate) x509: X509,
    pub(crate) key: PKey<Private>,
}

/// What a certificate is to be.
#[derive(Clone)]
pub(crate) struct Wish<'a> {
    pub(crate) name: &'a str,
    pub(crate) serial: u32,
    /// This number instead: the content of its INTEGER.
    pub(crate) serial_content: Option<&'a [u8]>,
    pub(crate) ca: Option<Option<u32>>,
    pub(crate) client_auth: Option<bool>,
    pub(crate) from_days: i64,
    pub(crate) to_days: i64,
    /// Seconds more.
    pub(crate) to_sec: i64,
    pub(crate) dns: &'a [&'a str],
    pub(crate) cert_sign: bool,
    pub(crate) rsa_bits: Option<u32>,
    /// This one instead of a new one.
    pub(crate) key: Option<&'a PKey<Private>>,
    pub(crate) extension: Option<(&'a str, &'a str)>,
    /// The issuer's name as the certificate is to have it.
    pub(crate) issuer_name: Option<Arc<X509Name>>,
    /// Without key identifiers.
    pub(crate) no_key_ids: bool,
}

impl Default for Wish<'_> {
    fn default() -> Self {
        Self {
            name: "device-1",
            serial: 0x1234,
            serial_content: None,
            ca: None,
            client_auth: Some(true),
            from_days: -1,
            to_days: 30,
            to_sec: 0,
            dns: &[],
            cert_sign: true,
            rsa_bits: None,
            key: None,
            extension: None,
            issuer_name: None,
            no_key_ids: false,
        }
    }
}

impl Wish<'_> {
    pub(crate) fn ca(name: &str) -> Wish<'_> {
        Wish {
            name,
            ca: Some(None),
            client_auth: None,
            ..Wish::default()
        }
    }
}

/// The name of all subjects here, with its texts in this string type.
pub(crate) fn name(common: &str, kind: Asn1Type) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    for (field, text) in [("C", "US"), ("O", "Test, Inc."), ("CN", common)] {
        let kind = if field == "C" {
            Asn1Type::PRINTABLESTRING
        } else {
            kind
        };
        name.append_entry_by_text_with_type(field, text, kind)
            .unwrap();
    }
    name.build()
}

/// Makes what is wished for, signed by `issuer` or by itself.
pub(crate) fn issue(wish: &Wish<'_>, issuer: Option<&Identity>) -> Identity {
    let spec = Spec {
        now: Some(NOW),
        begins: wish.from_days * DAY,
        ends: wish.to_days * DAY + wish.to_sec,
        serial: Some(match wish.serial_content {
            Some(content) => content.to_vec(),
            None => wish.serial.to_be_bytes().to_vec(),
        }),
        subject: Some(Arc::new(name(wish.name, Asn1Type::UTF8STRING))),
        issuer: wish.issuer_name.clone(),
        key: wish.key.cloned(),
        rsa: wish.rsa_bits,
        ca: wish.ca,
        key_usage: wish.ca.is_some(),
        may_sign: wish.cert_sign,
        client_auth: wish.client_auth == Some(true),
        server_auth: wish.client_auth == Some(false),
        dns: wish.dns.iter().map(ToString::to_string).collect(),
        key_ids: !wish.no_key_ids,
        extension: wish
            .extension
            .map(|(name, value)| (name.into(), value.into())),
        ..Spec::client(wish.name)
    };
    let signer = issuer.map(|issuer| pki::Identity {
        chain: vec![issuer.x509.clone()],
        key: issuer.key.clone(),
    });
    let made = pki::Identity::issued(&spec, signer.as_ref());
    Identity {
        x509: made.leaf().clone(),
        key: made.key,
    }
}

/// A revocation list to be signed.
pub(crate) struct ListWish<'a> {
    /// `None` for a list without one.
    pub(crate) number: Option<u8>,
    /// INTEGERs' contents.
    pub(crate) serials: &'a [&'a [u8]],
    /// Days from [`NOW`].
    pub(crate) from_days: i64,
    pub(crate) to_days: i64,
    /// The issuer's name, if not as its certificate writes it.
    pub(crate) issuer: Option<Vec<u8>>,
}

impl Default for ListWish<'_> {
    fn default() -> Self {
        Self {
            number: Some(1),
            serials: &[],
            from_days: -1,
            to_days: 30,
            issuer: None,
        }
    }
}

/// Makes a list in DER.
pub(crate) fn list(wish: &ListWish<'_>, issuer: &Identity) -> Vec<u8> {
    let time = |days: i64| {
        let text = time::OffsetDateTime::from_unix_timestamp(NOW + days * DAY).unwrap();
        let (date, time) = (text.date(), text.time());
        let (hour, minute, second) = time.as_hms();
        let month = u8::from(date.month());
        let text = format!(
            "{:04}{month:02}{:02}{hour:02}{minute:02}{second:02}Z",
            date.year(),
            date.day()
        );
        element(tag::GENERALIZED_TIME, text.as_bytes())
    };
    // ecdsa-with-SHA256
    let object = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let algorithm = element(tag::SEQUENCE, &element(tag::OBJECT, &object));
    let entries = wish.serials.iter().map(|serial| {
        element(
            tag::SEQUENCE,
            &[element(tag::INTEGER, serial), time(-1)].concat(),
        )
    });
    let entries = entries.collect::<Vec<_>>().concat();
    let name = || issuer.x509.subject_name().to_der().unwrap();
    let mut parts = vec![
        algorithm.clone(),
        wish.issuer.clone().unwrap_or_else(name),
        time(wish.from_days),
        time(wish.to_days),
    ];
    if !entries.is_empty() {
        parts.push(element(tag::SEQUENCE, &entries));
    }
    if let Some(number) = wish.number {
        parts.insert(0, element(tag::INTEGER, &[1]));
        let number = element(tag::OCTET_STRING, &element(tag::INTEGER, &[number]));
        let extension = [element(tag::OBJECT, &[0x55, 0x1d, 0x14]), number].concat();
        let extensions = element(tag::SEQUENCE, &element(tag::SEQUENCE, &extension));
        parts.push(element(tag::CONTEXT_0, &extensions));
    }
    let signed = element(tag::SEQUENCE, &parts.concat());
    let mut signer = Signer::new(MessageDigest::sha256(), &issuer.key).unwrap();
    let signature = signer.sign_oneshot_to_vec(&signed).unwrap();
    let bits = [&[0], signature.as_slice()].concat();
    element(
        tag::SEQUENCE,
        &[signed, algorithm, element(tag::BIT_STRING, &bits)].concat(),
    )
}

/// An OCSP answer in DER about `of`, whose status is written so, which `issuer` has signed.
pub(crate) fn answer(status: &[u8], of: &Identity, issuer: &Identity) -> Vec<u8> {
    let sha1 = |bytes: &[u8]| {
        boring::hash::hash(MessageDigest::sha1(), bytes)
            .unwrap()
            .to_vec()
    };
    let time = |text: &str| element(tag::GENERALIZED_TIME, text.as_bytes());
    let object = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let algorithm = element(tag::SEQUENCE, &element(tag::OBJECT, &object));
    let hash = [element(tag::OBJECT, &[0x2b, 0x0e, 3, 2, 0x1a]), vec![5, 0]].concat();
    let name = issuer.x509.subject_name().to_der().unwrap();
    let key = issuer
        .x509
        .public_key()
        .unwrap()
        .public_key_to_der()
        .unwrap();
    let serial = crate::Serial::of(&of.x509).unwrap().unwrap();
    let id = [
        element(tag::SEQUENCE, &hash),
        element(tag::OCTET_STRING, &sha1(&name)),
        // The bits of a P-256 key are the last 65 of its SubjectPublicKeyInfo.
        element(tag::OCTET_STRING, &sha1(&key[key.len() - 65..])),
        element(tag::INTEGER, serial.bytes()),
    ];
    let single = [
        element(tag::SEQUENCE, &id.concat()),
        status.to_vec(),
        time("20251231000000Z"),
        element(tag::CONTEXT_0, &time("20260102000000Z")),
    ];
    let data = [
        element(0xa1, &name),
        time("20251231000000Z"),
        element(tag::SEQUENCE, &element(tag::SEQUENCE, &single.concat())),
    ];
    let data = element(tag::SEQUENCE, &data.concat());
    let mut signer = Signer::new(MessageDigest::sha256(), &issuer.key).unwrap();
    let signature = signer.sign_oneshot_to_vec(&data).unwrap();
    let bits = element(tag::BIT_STRING, &[&[0], signature.as_slice()].concat());
    let basic = element(tag::SEQUENCE, &[data, algorithm, bits].concat());
    let kind = element(tag::OBJECT, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1]);
    let bytes = [kind, element(tag::OCTET_STRING, &basic)].concat();
    let bytes = element(tag::CONTEXT_0, &element(tag::SEQUENCE, &bytes));
    element(
        tag::SEQUENCE,
        &[vec![tag::ENUMERATED, 1, 0], bytes].concat(),
    )
}
