//! The keys of server certificates: what is stapled to them, and the ACME server that they come from.
//!
//! Their places in the table are `keys`'.

use super::keys::{Key, none};
use super::kind::{Change, Kind};
use super::value;
use crate::limits;
use vocabulary::settings::{AcmeChallenge, StapleMode};

const STAPLE_MODES: &[(&str, StapleMode)] = &[
    ("off", StapleMode::Off),
    ("must-staple", StapleMode::MustStaple),
    ("on", StapleMode::On),
];

const ACME_CHALLENGES: &[(&str, AcmeChallenge)] = &[
    ("http-01", AcmeChallenge::Http01),
    ("tls-alpn-01", AcmeChallenge::TlsAlpn01),
];

pub(super) const OCSP_STAPLE: Key = Key {
    name: "ocsp.staple",
    kind: Kind::Word(&["off", "must-staple", "on"]),
    default: "must-staple",
    change: Change::Live,
    doc: "Which server certificates' OCSP responders are asked, so that clients get the answer with the certificate: those of certificates that clients refuse without it (`must-staple`, RFC 7633), of all that name one (`on`), or none (`off`).",
    set: |config, text| {
        value::word(text, STAPLE_MODES).map(|mode| config.tunables.ocsp_staple = mode)
    },
    show: |config| value::show_word(&config.tunables.ocsp_staple, STAPLE_MODES),
};

fn shown(text: Option<&String>) -> String {
    text.map_or_else(|| "none".into(), Clone::clone)
}

pub(super) const ACME_DIRECTORY: Key = Key {
    name: "acme.directory",
    kind: Kind::UrlOrNone,
    default: "none",
    change: Change::Reload,
    doc: "The directory of the ACME server (RFC 8555) that hosts with `acme` have their certificates from, as in `https://acme-v02.api.letsencrypt.org/directory`. No other server is asked.",
    set: |config, text| {
        config.acme.directory = none(text, &["none", ""], value::https_url)?;
        Ok(())
    },
    show: |config| shown(config.acme.directory.as_ref()),
};

pub(super) const ACME_STAGING: Key = Key {
    name: "acme.staging",
    kind: Kind::UrlOrNone,
    default: "none",
    change: Change::Reload,
    doc: "A directory that a host without a certificate is tried at before `acme.directory`, as in `https://acme-staging-v02.api.letsencrypt.org/directory`: what fails there uses up no limit of the other. Its certificates are thrown away.",
    set: |config, text| {
        config.acme.staging = none(text, &["none", ""], value::https_url)?;
        Ok(())
    },
    show: |config| shown(config.acme.staging.as_ref()),
};

pub(super) const ACME_TERMS_AGREED: Key = Key {
    name: "acme.terms_agreed",
    kind: Kind::Switch,
    default: "off",
    change: Change::Reload,
    doc: "Whether you agree to the terms of service of the ACME servers that are named; without it no account is made.",
    set: |config, text| value::switch(text).map(|agreed| config.acme.terms_agreed = agreed),
    show: |config| value::show_switch(config.acme.terms_agreed),
};

pub(super) const ACME_CONTACT: Key = Key {
    name: "acme.contact",
    kind: Kind::MailOrNone,
    default: "none",
    change: Change::Reload,
    doc: "Mail address that the ACME server may write to; given when an account is made.",
    set: |config, text| {
        config.acme.contact = none(text, &["none", ""], value::mail)?;
        Ok(())
    },
    show: |config| shown(config.acme.contact.as_ref()),
};

pub(super) const ACME_CHALLENGE: Key = Key {
    name: "acme.challenge",
    kind: Kind::Word(&["http-01", "tls-alpn-01"]),
    default: "http-01",
    change: Change::Reload,
    doc: "How the ACME server checks that a host is answered here: by plain HTTP on port 80 (`http-01`; `listen.http` answers), or by a handshake on port 443 (`tls-alpn-01`; nothing in front may end TLS).",
    set: |config, text| {
        let kind = value::word(text, ACME_CHALLENGES);
        kind.map(|kind| config.acme.challenge = kind)
    },
    show: |config| value::show_word(&config.acme.challenge, ACME_CHALLENGES),
};

pub(super) const ACME_CA_FILE: Key = Key {
    name: "acme.ca_file",
    kind: Kind::PathOrNone,
    default: "none",
    change: Change::Reload,
    doc: "The CAs, in PEM, that the ACME server's own certificate may be signed by, for one that is run privately; `none` believes those of the system.",
    set: |config, text| {
        config.acme.ca_file = none(text, &["none", ""], value::path)?;
        Ok(())
    },
    show: |config| {
        let path = config.acme.ca_file.as_ref();
        path.map_or_else(|| "none".into(), |path| path.display().to_string())
    },
};

pub(super) const ACME_ORDERS_PER_HOUR: Key = Key {
    name: "acme.orders_per_hour",
    kind: Kind::Count(1, limits::ACME_ORDERS_CEILING),
    default: "50",
    change: Change::Reload,
    doc: "Orders in an hour, of all hosts together; further ones wait. Let's Encrypt allows an account 300 in three hours.",
    set: |config, text| {
        let orders = value::count(text, 1, limits::ACME_ORDERS_CEILING)?;
        config.acme.orders_per_hour = u32::try_from(orders).unwrap_or(u32::MAX);
        Ok(())
    },
    show: |config| config.acme.orders_per_hour.to_string(),
};

pub(super) const ACME_EAB_KEY_ID: Key = Key {
    name: "acme.eab_key_id",
    kind: Kind::WordOrNone,
    default: "none",
    change: Change::Reload,
    doc: "The name of the key that ties the account to one that you have with the CA already (external account binding), for servers that ask for it.",
    set: |config, text| {
        config.acme.eab_key_id = none(text, &["none", ""], value::plain_word)?;
        Ok(())
    },
    show: |config| shown(config.acme.eab_key_id.as_ref()),
};

pub(super) const ACME_EAB_KEY_FILE: Key = Key {
    name: "acme.eab_key_file",
    kind: Kind::PathOrNone,
    default: "none",
    change: Change::Reload,
    doc: "The file with that key, as the CA has given it: base64url on one line.",
    set: |config, text| {
        config.acme.eab_key_file = none(text, &["none", ""], value::path)?;
        Ok(())
    },
    show: |config| {
        let path = config.acme.eab_key_file.as_ref();
        path.map_or_else(|| "none".into(), |path| path.display().to_string())
    },
};
