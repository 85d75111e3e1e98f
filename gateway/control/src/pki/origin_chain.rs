//! Certificates that are shown to origins: a chain in any order and its key, both checked.
//!
//! Owns what such a chain has to be. How it is ordered is [`chain`](crate::pki::chain)'s; where it is
//! kept is the origin's.

use boring::hash::{MessageDigest, hash};
use boring::pkey::{HasPublic, PKey, PKeyRef, Private};

use crate::limits::{CHAIN_CERTIFICATES_MAX, PEM_BYTES_MAX};
use crate::model::hex::hex;
use crate::model::moment::Moment;
use crate::pki::chain::{allows, check_time, in_order, to_text};
use crate::pki::x509::{Details, X509Error, check_strength};
use tls::pem;

/// A chain that may be shown to an origin.
#[derive(Debug)]
pub(crate) struct OriginChain {
    /// Leaf first.
    pub chain_pem: String,
    /// The leaf's details.
    pub details: Details,
    /// The leaf's public key.
    pub public_key: String,
}

fn refused<T>(why: impl Into<String>) -> Result<T, X509Error> {
    Err(X509Error::Origin(why.into()))
}

/// What is wrong with a chain is told of what it is for.
fn of_origin(error: X509Error) -> X509Error {
    match error {
        X509Error::Server(why) => X509Error::Origin(why),
        other => other,
    }
}

/// Reads a key that may sign.
///
/// # Errors
/// [`X509Error::Origin`] or [`X509Error::Key`] with what is wrong.
pub(crate) fn read_key(key_pem: &str) -> Result<PKey<Private>, X509Error> {
    if key_pem.len() > PEM_BYTES_MAX {
        return refused(format!("a PEM text has more than {PEM_BYTES_MAX} bytes"));
    }
    let key = match pem::private_key(key_pem.as_bytes()) {
        Ok(key) => key,
        Err(why) => return refused(format!("its key: {why}")),
    };
    check_strength(&key)?;
    Ok(key)
}

/// Tells one key from another: SHA-256 of the public one, in hex.
pub(crate) fn name_of<T: HasPublic>(key: &PKeyRef<T>) -> Result<String, X509Error> {
    let digest = hash(MessageDigest::sha256(), &key.public_key_to_der()?)?;
    Ok(hex(&digest))
}

impl OriginChain {
    /// Reads, orders and checks a chain for this key.
    ///
    /// # Errors
    /// [`X509Error::Origin`] with what is wrong.
    pub(crate) fn parse<T: HasPublic>(
        chain_pem: &str,
        key: &PKeyRef<T>,
        now: Moment,
    ) -> Result<Self, X509Error> {
        if chain_pem.len() > PEM_BYTES_MAX {
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
        let ordered = in_order(certificates, key).map_err(of_origin)?;
        let Some(leaf) = ordered.first() else {
            return refused("it is empty");
        };
        let details = Details::of(leaf)?;
        check_time(&details, now).map_err(of_origin)?;
        if !allows(leaf, |usage| usage.client_auth).map_err(of_origin)? {
            return refused(
                "its extendedKeyUsage does not allow clientAuth, and origins that look would refuse it",
            );
        }
        Ok(Self {
            chain_pem: to_text(&ordered)?,
            details,
            public_key: name_of(key)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::pki::{Identity, Spec};

    const NOW: i64 = 1_800_000_000;

    fn parse(certificates: &[&Identity], key: &str) -> Result<OriginChain, X509Error> {
        let text: String = certificates.iter().map(|made| made.chain_pem()).collect();
        OriginChain::parse(&text, &*read_key(key)?, Moment::from_seconds(NOW))
    }

    #[test]
    fn what_may_be_shown_to_an_origin() {
        let root = Identity::issued(&Spec::authority("root").at(NOW), None);
        let spec = Spec::client("postern").at(NOW);
        let with = |change: &dyn Fn(&mut Spec)| {
            let mut spec = spec.clone();
            change(&mut spec);
            Identity::issued(&spec, Some(&root))
        };
        // It needs no name of a host.
        let good = with(&|_| {});
        let chain = parse(&[&root, &good], &good.key_pem()).unwrap();
        assert_eq!(chain.chain_pem.matches("BEGIN CERTIFICATE").count(), 2);
        let any = with(&|spec| spec.client_auth = false);
        parse(&[&any], &any.key_pem()).unwrap();
        for (made, said) in [
            (with(&|spec| spec.ends = 0), "it expired on 2027-01-15"),
            (with(&|spec| spec.begins = 3600), "not valid before"),
            (
                with(&|spec| (spec.server_auth, spec.client_auth) = (true, false)),
                "clientAuth",
            ),
            (with(&|spec| spec.rsa = Some(1024)), "RSA of 1024 bits"),
        ] {
            let told = parse(&[&made], &made.key_pem()).unwrap_err().to_string();
            assert!(told.contains(said), "{said}: {told}");
        }
        let told = parse(&[&good], &root.key_pem()).unwrap_err().to_string();
        assert!(told.contains("for the origin is refused"), "{told}");
        assert!(
            told.contains("does not belong to any certificate"),
            "{told}"
        );
    }
}
