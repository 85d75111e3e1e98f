//! What the operator gives so that etcd knows this edge, and this edge etcd: PEM, user and password.
//!
//! Everything is read and compared at once, so that what is wrong is said when the process starts and not
//! when etcd is first asked. Bytes are arguments; who reads the files names them.

use boring::asn1::{Asn1Time, Asn1TimeRef};
use boring::error::ErrorStack;
use boring::ssl::{SslConnector, SslMethod, SslVerifyMode, SslVersion};
use boring::x509::store::X509StoreBuilder;
use tls::pem;

use crate::engine::{Member, Settings};

/// What the operator gives, as it is in the files.
#[derive(Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The CAs that sign members' certificates.
    pub ca: Option<&'a [u8]>,
    /// This edge's certificate, with what is between it and the CA that etcd believes.
    pub certificate: Option<&'a [u8]>,
    /// The certificate's key.
    pub key: Option<&'a [u8]>,
    /// The user of etcd's.
    pub user: Option<&'a str>,
    /// The user's password. Blanks and line ends around it are not of it.
    pub password: Option<&'a str>,
}

/// One of the [`Credentials`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The CAs.
    Ca,
    /// The certificate.
    Certificate,
    /// Its key.
    Key,
    /// The user.
    User,
    /// The password.
    Password,
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ca => "the CA of etcd",
            Self::Certificate => "the certificate for etcd",
            Self::Key => "the key for etcd",
            Self::User => "the user of etcd",
            Self::Password => "the password of the user of etcd",
        })
    }
}

/// Why what was given cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// One makes sense with the other only.
    #[error("{0} is given, and {1} is missing")]
    Missing(Input, Input),
    /// A member is asked without TLS, and what is given is for TLS.
    #[error("{0} is given, and {1} is asked without TLS: name it as https://")]
    Unused(Input, Member),
    /// A member is asked over TLS, and nothing says whom to believe.
    #[error("{1} is asked over TLS, and {0} is missing")]
    Needed(Input, Member),
    /// It is not what it is to be.
    #[error("{0} cannot be read: {1}")]
    Wrong(Input, String),
    /// Certificate and key are not of one another.
    #[error(
        "the key for etcd does not belong to the first certificate of the certificate for etcd"
    )]
    OtherKey,
    /// BoringSSL does not do it.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] ErrorStack),
}

/// Seconds since 1970.
fn seconds(time: &Asn1TimeRef) -> Option<i64> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    Some(i64::from(since.days) * 86_400 + i64::from(since.secs))
}

impl Credentials<'_> {
    /// When what has an end is over, in seconds since 1970: the CA that lasts longest, since members may have
    /// been given others' certificates, and this edge's own certificate. What cannot be read has none.
    #[must_use]
    pub fn ends(&self) -> Vec<(Input, i64)> {
        let read = |text: Option<&[u8]>, how| {
            let read = text.map(|text| pem::certificates(text, how));
            read.and_then(Result::ok).unwrap_or_default()
        };
        let ca = read(self.ca, pem::Use::Origins);
        let ca = ca.iter().filter_map(|one| seconds(one.not_after())).max();
        let leaf = read(self.certificate, pem::Use::Chain);
        let leaf = leaf.first().and_then(|leaf| seconds(leaf.not_after()));
        let ends = [(Input::Ca, ca), (Input::Certificate, leaf)];
        ends.into_iter()
            .filter_map(|(input, at)| Some((input, at?)))
            .collect()
    }
}

impl Settings {
    /// How `members` are reached with what was given.
    ///
    /// # Errors
    /// See [`CredentialsError`].
    pub fn read(members: Vec<Member>, given: &Credentials<'_>) -> Result<Self, CredentialsError> {
        use Input::{Ca, Certificate, Key, Password, User};
        let Credentials {
            ca,
            certificate,
            key,
            user,
            password,
        } = *given;
        let pair = |one, has_one: bool, other, has_other: bool| match (has_one, has_other) {
            (true, false) => Err(CredentialsError::Missing(one, other)),
            (false, true) => Err(CredentialsError::Missing(other, one)),
            _ => Ok(()),
        };
        pair(Certificate, certificate.is_some(), Key, key.is_some())?;
        pair(User, user.is_some(), Password, password.is_some())?;
        for member in &members {
            let unused = [(Ca, ca.is_some()), (Certificate, certificate.is_some())];
            if !member.is_tls() {
                if let Some((input, _)) = unused.into_iter().find(|(_, is_given)| *is_given) {
                    return Err(CredentialsError::Unused(input, member.clone()));
                }
            } else if ca.is_none() {
                return Err(CredentialsError::Needed(Ca, member.clone()));
            }
        }
        let tls = match ca {
            Some(ca) => Some(connector(ca, certificate.zip(key))?),
            None => None,
        };
        let user = match user.zip(password) {
            Some((user, password)) => Some((
                filled(User, user.trim())?.to_owned(),
                filled(Password, password.trim())?.to_owned(),
            )),
            None => None,
        };
        Ok(Self { members, tls, user })
    }
}

fn filled(input: Input, text: &str) -> Result<&str, CredentialsError> {
    if text.is_empty() {
        let why = "there is nothing in it".to_owned();
        return Err(CredentialsError::Wrong(input, why));
    }
    Ok(text)
}

/// Believes members whose certificate one of `ca` has signed, for the host or address that was asked, and
/// shows them `ours`.
fn connector(ca: &[u8], ours: Option<(&[u8], &[u8])>) -> Result<SslConnector, CredentialsError> {
    let wrong = |input| move |why: pem::PemError| CredentialsError::Wrong(input, why.to_string());
    let mut builder = SslConnector::builder(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_verify(SslVerifyMode::PEER);
    // etcd speaks gRPC, and takes no client for one that does not say HTTP/2.
    builder.set_alpn_protos(b"\x02h2")?;
    let mut store = X509StoreBuilder::new()?;
    for certificate in &pem::certificates(ca, pem::Use::Origins).map_err(wrong(Input::Ca))? {
        store.add_cert(certificate)?;
    }
    builder.set_cert_store_builder(store);
    if let Some((certificate, key)) = ours {
        let chain = pem::certificates(certificate, pem::Use::Chain);
        let mut chain = chain.map_err(wrong(Input::Certificate))?.into_iter();
        let leaf = chain.next().ok_or_else(|| {
            CredentialsError::Wrong(Input::Certificate, "there is none in it".to_owned())
        })?;
        let key = pem::private_key(key).map_err(wrong(Input::Key))?;
        if !leaf.public_key()?.public_eq(&key) {
            return Err(CredentialsError::OtherKey);
        }
        builder.set_certificate(&leaf)?;
        for certificate in chain {
            builder.add_extra_chain_cert(certificate)?;
        }
        builder.set_private_key(&key)?;
    }
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fixtures::pki::Authority;

    fn refused(members: &[&str], given: &Credentials<'_>) -> String {
        let members = members.iter().map(|text| text.parse().unwrap()).collect();
        match Settings::read(members, given) {
            Ok(_) => "taken".to_owned(),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let root = Authority::root("etcd");
        let (ca, ours) = (root.pem(), root.client("edge"));
        let (certificate, key) = (ours.chain_pem(), ours.key_pem());
        let other_key = root.client("other").key_pem();
        let all = Credentials {
            ca: Some(ca.as_bytes()),
            certificate: Some(certificate.as_bytes()),
            key: Some(key.as_bytes()),
            user: Some("edge"),
            password: Some("secret\n"),
        };
        let tls = ["https://a:1"];
        let check = |members: &[&str], given: Credentials<'_>, wanted: &str| {
            let why = refused(members, &given);
            assert!(why.contains(wanted), "{why}");
        };
        check(&tls, all, "taken");
        check(&["http://a:1"], Credentials::default(), "taken");
        check(&tls, Credentials::default(), "the CA of etcd is missing");
        check(
            &["https://a:1", "http://b:2"],
            all,
            "http://b:2 is asked without TLS",
        );
        check(
            &tls,
            Credentials { key: None, ..all },
            "the key for etcd is missing",
        );
        let no_certificate = Credentials {
            certificate: None,
            ..all
        };
        check(&tls, no_certificate, "the certificate for etcd is missing");
        let no_password = Credentials {
            password: None,
            ..all
        };
        check(&tls, no_password, "password of the user of etcd is missing");
        let empty = Credentials {
            password: Some(" \n"),
            ..all
        };
        check(
            &tls,
            empty,
            "the password of the user of etcd cannot be read",
        );
        let other = Credentials {
            key: Some(other_key.as_bytes()),
            ..all
        };
        check(&tls, other, "does not belong to");
        for text in [&b""[..], b"x", key.as_bytes()] {
            let ca = Some(text);
            check(
                &tls,
                Credentials { ca, ..all },
                "the CA of etcd cannot be read",
            );
        }
        let swapped = Credentials {
            certificate: all.key,
            ..all
        };
        check(&tls, swapped, "the certificate for etcd cannot be read");
        let swapped = Credentials {
            key: all.certificate,
            ..all
        };
        check(&tls, swapped, "the key for etcd cannot be read");
    }

    #[test]
    fn the_password_has_no_line_end() {
        let given = Credentials {
            user: Some("edge"),
            password: Some("secret\n"),
            ..Credentials::default()
        };
        let settings = Settings::read(vec!["http://a:1".parse().unwrap()], &given).unwrap();
        assert_eq!(settings.user, Some(("edge".into(), "secret".into())));
    }

    #[test]
    fn what_ends_is_told() {
        let root = Authority::root("etcd");
        let ours = root.client("edge");
        let (ca, certificate) = (root.pem(), ours.chain_pem());
        let given = Credentials {
            ca: Some(ca.as_bytes()),
            certificate: Some(certificate.as_bytes()),
            ..Credentials::default()
        };
        let ends = given.ends();
        let of = |input| {
            ends.iter()
                .find(|(one, _)| *one == input)
                .map(|(_, at)| *at)
        };
        let (ca, leaf) = (of(Input::Ca), of(Input::Certificate));
        // After 2020, and in an order that certificates have.
        assert!(leaf > Some(1_577_836_800) && ca >= leaf, "{ends:?}");
        assert!(Credentials::default().ends().is_empty());
    }
}
