//! Uploaded server certificates: a chain in any order and its key, both checked.
//!
//! Owns the order that is sent to clients (leaf first, each followed by its issuer, RFC 8446 §4.4.2)
//! and the checks before a chain may serve. Whether it covers a host is decided when hosts are
//! compiled.

use boring::hash::MessageDigest;
use boring::pkey::{HasPublic, Id as KeyId, PKeyRef};
use boring::x509::X509;
use x509_parser::extensions::ExtendedKeyUsage;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::limits::{CHAIN_CERTIFICATES_MAX, PEM_BYTES_MAX};
use crate::model::ServerKey;
use crate::model::moment::Moment;
use crate::model::secret::Secret;
use crate::pki::x509::{Details, X509Error, check_strength};
use tls::limits::CLOCK_SKEW;
use tls::pem;
use vocabulary::hostname::HostName;

/// A chain that may serve, with its key.
#[derive(Debug)]
pub(crate) struct ServerChain {
    /// Leaf first.
    pub chain_pem: String,
    /// PKCS#8.
    pub key_pem: Secret,
    /// What key that is.
    pub key_type: ServerKey,
    /// The names it is for.
    pub names: Vec<HostName>,
    /// The leaf's details.
    pub details: Details,
}

fn refused<T>(why: impl Into<String>) -> Result<T, X509Error> {
    Err(X509Error::Server(why.into()))
}

impl ServerChain {
    /// Reads, orders and checks.
    ///
    /// # Errors
    /// [`X509Error::Server`] or [`X509Error::Key`] with what is wrong.
    pub(crate) fn parse(chain_pem: &str, key_pem: &str, now: Moment) -> Result<Self, X509Error> {
        if chain_pem.len() > PEM_BYTES_MAX || key_pem.len() > PEM_BYTES_MAX {
            return refused(format!("a PEM text has more than {PEM_BYTES_MAX} bytes"));
        }
        let certificates = match pem::certificates(chain_pem.as_bytes(), pem::Use::Chain) {
            Ok(certificates) => certificates,
            Err(why) => return refused(why.to_string()),
        };
        if certificates.len() > CHAIN_CERTIFICATES_MAX {
            return refused(format!(
                "the chain has more than {CHAIN_CERTIFICATES_MAX} certificates"
            ));
        }
        let key = match pem::private_key(key_pem.as_bytes()) {
            Ok(key) => key,
            Err(why) => return refused(format!("its key: {why}")),
        };
        check_strength(&key)?;
        let ordered = in_order(certificates, &key)?;
        let Some(leaf) = ordered.first() else {
            return refused("it is empty");
        };
        let details = Details::of(leaf)?;
        check_leaf(leaf, &details, now)?;
        let names: Vec<HostName> = details
            .dns_names
            .iter()
            .filter_map(|name| HostName::parse(name).ok())
            .collect();
        if names.is_empty() {
            return refused(
                "it names no host: subjectAltName has no DNS name (a common name alone is not looked at)",
            );
        }
        Ok(Self {
            chain_pem: to_text(&ordered)?,
            key_pem: Secret::new(key.private_key_to_pem_pkcs8()?),
            key_type: key_type_of(&key),
            names,
            details,
        })
    }
}

/// Puts a chain into the order of the wire: the one certificate of this key first, each followed by its
/// issuer.
///
/// # Errors
/// [`X509Error::Server`]: there is none of this key, or two, or one that belongs to no other.
pub(super) fn in_order<T: HasPublic>(
    certificates: Vec<X509>,
    key: &PKeyRef<T>,
) -> Result<Vec<X509>, X509Error> {
    let matches = |certificate: &X509| {
        certificate
            .public_key()
            .is_ok_and(|public| public.public_eq(key))
    };
    let (mut leaves, mut rest): (Vec<X509>, Vec<X509>) =
        certificates.into_iter().partition(matches);
    let Some(leaf) = leaves.pop() else {
        return refused("the private key does not belong to any certificate of the chain");
    };
    let print = |one: &X509| one.digest(MessageDigest::sha256()).map(|sum| sum.to_vec());
    let same = print(&leaf)?;
    for other in &leaves {
        if print(other)? != same {
            return refused("it has two certificates for the private key; leave the older one out");
        }
    }
    let mut ordered = vec![leaf];
    while let Some(current) = ordered.last() {
        let issuer = rest
            .iter()
            .position(|candidate| candidate.issued(current) == Ok(()));
        match issuer {
            Some(position) => ordered.push(rest.swap_remove(position)),
            None => break,
        }
    }
    if let Some(stranger) = rest.first() {
        let subject = Details::of(stranger)?.common_name;
        return refused(format!("`{subject}` does not belong to the leaf's chain"));
    }
    Ok(ordered)
}

/// A chain as PEM.
pub(super) fn to_text(chain: &[X509]) -> Result<String, X509Error> {
    let mut pem = Vec::new();
    for certificate in chain {
        pem.extend(certificate.to_pem()?);
    }
    Ok(String::from_utf8_lossy(&pem).into_owned())
}

fn key_type_of<T: HasPublic>(key: &PKeyRef<T>) -> ServerKey {
    match key.id() {
        KeyId::RSA => ServerKey::Rsa,
        _ => ServerKey::Elliptic,
    }
}

/// The kind of key of a stored chain's leaf.
///
/// # Errors
/// It cannot be read.
pub(crate) fn key_type(chain_pem: &str) -> Result<ServerKey, X509Error> {
    let leaf = pem::certificate(chain_pem.as_bytes())?;
    let key = leaf.public_key()?;
    Ok(key_type_of(&key))
}

fn check_leaf(leaf: &X509, details: &Details, now: Moment) -> Result<(), X509Error> {
    check_time(details, now)?;
    if !allows(leaf, |usage| usage.server_auth)? {
        return refused("its extendedKeyUsage does not allow serverAuth");
    }
    Ok(())
}

/// Whether a certificate may be shown now.
pub(super) fn check_time(details: &Details, now: Moment) -> Result<(), X509Error> {
    if details.not_after <= now.seconds() {
        return refused(format!(
            "it expired on {}",
            Moment::from_seconds(details.not_after).to_second()
        ));
    }
    let skew = i64::try_from(CLOCK_SKEW.as_secs()).unwrap_or(i64::MAX);
    if details.not_before > now.seconds().saturating_add(skew) {
        return refused(format!(
            "it is not valid before {}, and would be served at once: upload it then",
            Moment::from_seconds(details.not_before).to_second()
        ));
    }
    Ok(())
}

/// Whether the extendedKeyUsage of a certificate allows something; without one everything is allowed.
pub(super) fn allows(
    leaf: &X509,
    what: impl Fn(&ExtendedKeyUsage<'_>) -> bool,
) -> Result<bool, X509Error> {
    let der = leaf.to_der()?;
    let Ok((_, parsed)) = X509Certificate::from_der(&der) else {
        return refused("the leaf cannot be parsed");
    };
    Ok(match parsed.extended_key_usage() {
        Ok(Some(usage)) => usage.value.any || what(usage.value),
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::pki::{Identity, Spec};

    const NOW: i64 = 1_800_000_000;

    fn parse(certificates: &[&Identity], key: &str) -> Result<ServerChain, X509Error> {
        let text: String = certificates.iter().map(|made| made.chain_pem()).collect();
        ServerChain::parse(&text, key, Moment::from_seconds(NOW))
    }

    fn order(chain: &ServerChain) -> Vec<String> {
        let all = X509::stack_from_pem(chain.chain_pem.as_bytes()).unwrap();
        all.iter()
            .map(|one| Details::of(one).unwrap().common_name)
            .collect()
    }

    #[test]
    fn any_order_becomes_the_order_of_the_wire() {
        let root = Identity::issued(&Spec::authority("root").at(NOW), None);
        let middle = Identity::issued(&Spec::authority("middle").at(NOW), Some(&root));
        let leaf = Identity::issued(
            &Spec::server(&["a.test", "*.a.test"]).at(NOW),
            Some(&middle),
        );
        let key = leaf.key_pem();
        for given in [
            [&leaf, &middle, &root],
            [&root, &middle, &leaf],
            [&middle, &leaf, &root],
            [&root, &leaf, &middle],
        ] {
            let chain = parse(&given, &key).unwrap();
            assert_eq!(order(&chain), ["a.test", "middle", "root"]);
            assert_eq!(chain.key_type, ServerKey::Elliptic);
            assert_eq!(key_type(&chain.chain_pem).unwrap(), ServerKey::Elliptic);
            let names: Vec<&str> = chain.names.iter().map(HostName::as_str).collect();
            assert_eq!(names, ["a.test", "*.a.test"]);
        }
        let twice = parse(&[&leaf, &leaf, &middle], &key).unwrap();
        assert_eq!(order(&twice), ["a.test", "middle"], "a copy is left out");
        let mut spec = Spec::server(&["a.test"]).at(NOW);
        spec.rsa = Some(2048);
        let rsa = Identity::issued(&spec, Some(&root));
        let chain = parse(&[&rsa], &rsa.key_pem()).unwrap();
        assert_eq!(chain.key_type, ServerKey::Rsa);
    }

    #[test]
    fn what_cannot_serve_is_refused() {
        let root = Identity::issued(&Spec::authority("root").at(NOW), None);
        let stranger = Identity::issued(&Spec::authority("stranger").at(NOW), None);
        let good = Spec::server(&["a.test"]).at(NOW);
        let leaf = Identity::issued(&good, Some(&root));
        let with = |change: &dyn Fn(&mut Spec)| {
            let mut spec = good.clone();
            change(&mut spec);
            Identity::issued(&spec, Some(&root))
        };
        let renewed = with(&|spec| spec.key = Some(leaf.key.clone()));
        let why = |certificates: &[&Identity], key: &str| {
            parse(certificates, key).unwrap_err().to_string()
        };
        for (made, said) in [
            (with(&|spec| spec.ends = 0), "it expired on 2027-01-15"),
            (with(&|spec| spec.begins = 3600), "not valid before"),
            (with(&|spec| spec.dns.clear()), "it names no host"),
            (
                with(&|spec| (spec.server_auth, spec.client_auth) = (false, true)),
                "serverAuth",
            ),
            (with(&|spec| spec.rsa = Some(1024)), "RSA of 1024 bits"),
        ] {
            let told = why(&[&made, &root], &made.key_pem());
            assert!(told.contains(said), "{said}: {told}");
        }
        for (certificates, key, said) in [
            (
                vec![&leaf, &stranger],
                leaf.key_pem(),
                "`stranger` does not belong",
            ),
            (vec![&leaf], stranger.key_pem(), "does not belong to any"),
            (
                vec![&leaf, &renewed],
                leaf.key_pem(),
                "two certificates for",
            ),
            (vec![&leaf], "nonsense".into(), "its key: there is no PEM in it"),
            (vec![], leaf.key_pem(), "it is empty"),
            (
                vec![&leaf; CHAIN_CERTIFICATES_MAX + 1],
                leaf.key_pem(),
                "more than",
            ),
            (
                vec![&leaf],
                "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END EC PRIVATE KEY-----\n".into(),
                "openssl pkey",
            ),
        ] {
            let told = why(&certificates, &key);
            assert!(told.contains(said), "{said}: {told}");
        }
    }
}
