//! The keys of a fleet, and how its etcd is reached.
//!
//! Their places in the table are `keys`'.

use std::net::IpAddr;
use std::path::PathBuf;

use super::Config;
use super::keys::{Key, none};
use super::kind::{Change, Kind};
use super::value::{self, ValueError};
use crate::limits;

/// How the other edges of a fleet are met.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fleet {
    /// The name of the fleet; without one the gateway is alone.
    pub name: Option<String>,
    /// What this edge is called; as its machine when nothing is said.
    pub edge: Option<String>,
    /// URLs of etcd's members.
    pub etcd: Vec<String>,
    /// The CAs that members' certificates may be signed by.
    pub ca_file: Option<PathBuf>,
    /// The certificate that members are shown.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The name that etcd knows this edge by.
    pub user: Option<String>,
    /// The file with its password.
    pub password_file: Option<PathBuf>,
}

/// A label of DNS.
fn label(text: &str) -> Result<String, ValueError> {
    let is_of_it = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let is_inside = !text.starts_with('-') && !text.ends_with('-');
    if (1..=limits::LABEL_BYTES_MAX).contains(&text.len())
        && is_inside
        && text.chars().all(is_of_it)
    {
        return Ok(text.to_owned());
    }
    let help = "small letters, digits and hyphens in between, 63 at the most";
    Err(ValueError::whole(text, format!("`{text}` is not a label")).help(help))
}

/// URLs of etcd's members.
fn members(text: &str) -> Result<Vec<String>, ValueError> {
    let mut all = Vec::new();
    for (at, piece) in value::pieces(text) {
        let wrong = |message: String, help: &str| {
            let mut error = ValueError::whole(piece, message).help(help);
            error.at = at.clone();
            error
        };
        let whole = "write it as in `https://etcd-1.example.com:2379`";
        let refused = |why: &str| Err(wrong(format!("`{piece}` {why}"), whole));
        let Some((scheme, authority)) = piece.split_once("://") else {
            return refused("is not the URL of an etcd member");
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let Some((host, port)) = authority.rsplit_once(':') else {
            return refused("names no port");
        };
        if host.is_empty() || port.parse::<u16>().ok().filter(|port| *port > 0).is_none() {
            return refused("names no server and port");
        }
        let is_foreign = |c: char| !c.is_ascii_graphic() || "/?#@\"<>".contains(c);
        if authority.len() > limits::URL_BYTES_MAX || authority.contains(is_foreign) {
            return refused("is not the URL of an etcd member");
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_here = bare == "localhost"
            || bare
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        match scheme {
            "https" => {}
            "http" if is_here => {}
            "http" => {
                return Err(wrong(
                    format!(
                        "`{piece}` would cross the network in clear, where others could change the fleet"
                    ),
                    "have etcd serve TLS with client certificates, and write `https://…`",
                ));
            }
            _ => return refused("is neither `https://` nor `http://`"),
        }
        let url = format!("{scheme}://{authority}");
        if all.contains(&url) {
            return refused("is there twice");
        }
        all.push(url);
    }
    if all.len() > limits::ETCD_MEMBERS_MAX {
        let most = limits::ETCD_MEMBERS_MAX;
        return Err(ValueError::whole(
            text,
            format!("{} members are named, and {most} are the most", all.len()),
        ));
    }
    Ok(all)
}

fn shown(text: Option<&String>) -> String {
    text.map_or_else(|| "none".into(), Clone::clone)
}

fn shown_path(path: Option<&PathBuf>) -> String {
    path.map_or_else(|| "none".into(), |path| path.display().to_string())
}

pub(super) const NAME: Key = Key {
    name: "fleet.name",
    kind: Kind::LabelOrNone,
    default: "none",
    change: Change::Restart,
    doc: "The fleet that this gateway may be an edge of: one change is in force on all of them. It is one once `postern fleet init` or `postern fleet join` has been called.",
    set: |config, text| {
        config.fleet.name = none(text, &["none", ""], label)?;
        Ok(())
    },
    show: |config| shown(config.fleet.name.as_ref()),
};

pub(super) const EDGE: Key = Key {
    name: "fleet.edge",
    kind: Kind::LabelOrNone,
    default: "none",
    change: Change::Restart,
    doc: "What this edge is called in `postern fleet status`, in the log and in alarms; `none` takes the first label of the machine's name.",
    set: |config, text| {
        config.fleet.edge = none(text, &["none", ""], label)?;
        Ok(())
    },
    show: |config| shown(config.fleet.edge.as_ref()),
};

pub(super) const ETCD: Key = Key {
    name: "fleet.etcd",
    kind: Kind::MembersOrNone,
    default: "none",
    change: Change::Restart,
    doc: "The members of the etcd cluster (3.4 or newer) that has the fleet's log, as in `https://etcd-1:2379, https://etcd-2:2379`. One is asked at a time, the next when it does not answer. Without TLS only on this machine.",
    set: |config, text| {
        config.fleet.etcd = none(text, &["none", ""], members)?.unwrap_or_default();
        Ok(())
    },
    show: |config| match config.fleet.etcd.as_slice() {
        [] => "none".into(),
        all => all.join(", "),
    },
};

pub(super) const CA_FILE: Key = Key {
    name: "fleet.ca_file",
    kind: Kind::PathOrNone,
    default: "none",
    change: Change::Restart,
    doc: "The CAs, in PEM, that etcd's certificates may be signed by. Needed for `https://` members: those of the system would be too many.",
    set: |config, text| {
        config.fleet.ca_file = none(text, &["none", ""], value::path)?;
        Ok(())
    },
    show: |config| shown_path(config.fleet.ca_file.as_ref()),
};

pub(super) const CERTIFICATE: Key = Key {
    name: "fleet.certificate",
    kind: Kind::PathOrNone,
    default: "none",
    change: Change::Restart,
    doc: "The certificate chain, in PEM, that this edge shows etcd.",
    set: |config, text| {
        config.fleet.certificate = none(text, &["none", ""], value::path)?;
        Ok(())
    },
    show: |config| shown_path(config.fleet.certificate.as_ref()),
};

pub(super) const KEY: Key = Key {
    name: "fleet.key",
    kind: Kind::PathOrNone,
    default: "none",
    change: Change::Restart,
    doc: "The key of `fleet.certificate`, in PEM.",
    set: |config, text| {
        config.fleet.key = none(text, &["none", ""], value::path)?;
        Ok(())
    },
    show: |config| shown_path(config.fleet.key.as_ref()),
};

pub(super) const USER: Key = Key {
    name: "fleet.user",
    kind: Kind::WordOrNone,
    default: "none",
    change: Change::Restart,
    doc: "The user that etcd knows this edge by, where it has authentication on. The user needs to read and write the keys that begin with `/postern/NAME/`, and no others.",
    set: |config, text| {
        config.fleet.user = none(text, &["none", ""], value::plain_word)?;
        Ok(())
    },
    show: |config| shown(config.fleet.user.as_ref()),
};

pub(super) const PASSWORD_FILE: Key = Key {
    name: "fleet.password_file",
    kind: Kind::PathOrNone,
    default: "none",
    change: Change::Restart,
    doc: "The file with that user's password, on one line.",
    set: |config, text| {
        config.fleet.password_file = none(text, &["none", ""], value::path)?;
        Ok(())
    },
    show: |config| shown_path(config.fleet.password_file.as_ref()),
};

impl Config {
    /// What the keys of a fleet lack.
    pub(super) fn fleet_conflicts(&self) -> Vec<(&'static str, String, String)> {
        let fleet = &self.fleet;
        let mut found = Vec::new();
        let mut pair = |one: (&'static str, bool), other: (&'static str, bool)| {
            if one.1 != other.1 {
                let (there, missing) = if one.1 {
                    (one.0, other.0)
                } else {
                    (other.0, one.0)
                };
                found.push((
                    there,
                    format!("`{there}` is there without `{missing}`"),
                    format!("say both, or neither: set `{missing}` too"),
                ));
            }
        };
        pair(
            ("fleet.name", fleet.name.is_some()),
            ("fleet.etcd", !fleet.etcd.is_empty()),
        );
        pair(
            ("fleet.certificate", fleet.certificate.is_some()),
            ("fleet.key", fleet.key.is_some()),
        );
        pair(
            ("fleet.user", fleet.user.is_some()),
            ("fleet.password_file", fleet.password_file.is_some()),
        );
        let with_tls = fleet.etcd.iter().any(|url| url.starts_with("https://"));
        if with_tls && fleet.ca_file.is_none() {
            found.push((
                "fleet.etcd",
                "`fleet.etcd` names members with TLS, and nothing says which CA they are verified with".into(),
                "set `fleet.ca_file` to the CA that signed etcd's certificates".into(),
            ));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fleet_needs_is_told() {
        let parsed = |text: &str| {
            let parsed = Config::parse("p.conf".as_ref(), text);
            parsed.map_err(|error| error.to_string())
        };
        let whole = "fleet.name = prod\nfleet.etcd = https://a:2379/, https://[::1]:2\n\
                     fleet.ca_file = /ca.pem\nfleet.edge = edge-1\n";
        let fleet = parsed(whole).unwrap().fleet;
        assert_eq!(fleet.name.as_deref(), Some("prod"));
        assert_eq!(fleet.etcd, ["https://a:2379", "https://[::1]:2"]);
        assert!(parsed("fleet.name = a\nfleet.etcd = http://127.0.0.1:1\n").is_ok());
        for (more, told) in [
            ("fleet.name = Prod", "not a label"),
            ("fleet.name = none", "`fleet.name`"),
            ("fleet.etcd = none", "`fleet.etcd`"),
            ("fleet.etcd = http://etcd-1:2379", "in clear"),
            ("fleet.etcd = http://192.0.2.1:2379", "in clear"),
            ("fleet.etcd = etcd-1:2379", "not the URL"),
            ("fleet.etcd = https://etcd-1", "no port"),
            ("fleet.etcd = https://etcd-1:0", "server and port"),
            ("fleet.etcd = https://:1", "server and port"),
            ("fleet.etcd = https://a@b:1", "not the URL"),
            ("fleet.etcd = https://a/b:1", "not the URL"),
            ("fleet.etcd = ftp://a:1", "neither"),
            ("fleet.etcd = https://a:1, https://a:1/", "twice"),
            ("fleet.ca_file = none", "set `fleet.ca_file`"),
            ("fleet.key = /key", "`fleet.certificate`"),
            ("fleet.user = me", "`fleet.password_file`"),
            ("fleet.edge = edge.1", "not a label"),
        ] {
            let name = more.split(' ').next();
            let rest = whole.lines().filter(|line| line.split(' ').next() != name);
            let rest: Vec<&str> = rest.collect();
            let error = parsed(&format!("{}\n{more}\n", rest.join("\n"))).unwrap_err();
            assert!(error.contains(told), "{more}: {error}");
        }
    }
}
