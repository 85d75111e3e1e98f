//! Kinds of configuration values: what each looks like, in words, and when a new one takes effect.
//!
//! Which key has which kind is in [`super::keys`]; reading values is [`super::value`]'s.

use std::time::Duration;

use super::value;

vocabulary::words! {
    /// When a new value of a key takes effect.
    pub enum Change("a time of effect", without serde) {
        /// At once, by `postern sysctl -w`; and at SIGHUP.
        Live = "live",
        /// When SIGHUP has the files read again.
        Reload = "reload",
        /// With a new process: at SIGHUP, which has one take over, or at a start.
        Restart = "restart",
    }
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `5s`, from the first to the second.
    Duration(Duration, Duration),
    /// `64k`, from the first to the second in bytes.
    Size(u64, u64),
    /// A whole number, from the first to the second.
    Count(u64, u64),
    /// `auto` or a whole number up to this.
    AutoCount(u64),
    /// Networks by their prefix, or `none`.
    NetworksOrNone,
    /// `on` or `off`.
    Switch,
    /// One of these.
    Word(&'static [&'static str]),
    /// Some of these, each once.
    Words(&'static [&'static str]),
    /// A list of addresses with ports; the key may be repeated.
    Addresses,
    /// A list of addresses with ports, or `off`.
    AddressesOrOff,
    /// An address with a port, or `off`.
    AddressOrOff,
    /// An `http://` URL, or `off`.
    UrlOrOff,
    /// A host name, or `none`.
    HostOrNone,
    /// An `https://` URL, or `none`.
    UrlOrNone,
    /// A mail address, or `none`.
    MailOrNone,
    /// A word without blanks, or `none`.
    WordOrNone,
    /// A label of DNS, or `none`.
    LabelOrNone,
    /// URLs of etcd's members, or `none`.
    MembersOrNone,
    /// A path.
    Path,
    /// A path, or `none`.
    PathOrNone,
    /// A path, or `auto`.
    PathOrAuto,
    /// A path, `stdout`, `stderr` or `off`.
    Sink,
    /// Names of the access log's fields.
    LogFields,
    /// `auto` or names of network interfaces.
    Interfaces,
}

impl Kind {
    /// In words, for manuals and messages: `a duration from 50ms to 1d`.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Duration(min, max) => {
                format!(
                    "a duration from {} to {}",
                    value::show_duration(*min),
                    value::show_duration(*max)
                )
            }
            Self::Size(min, max) => format!(
                "a size from {} to {}",
                value::show_size(*min),
                value::show_size(*max)
            ),
            Self::Count(min, max) => format!("a number from {min} to {max}"),
            Self::AutoCount(max) => format!("`auto` or a number from 1 to {max}"),
            Self::NetworksOrNone => "networks, as in `10.0.0.0/8, 2001:db8::/32`, or `none`".into(),
            Self::Switch => "`on` or `off`".into(),
            Self::Word(words) => quoted(words),
            Self::Words(words) => format!("a list of {}", quoted(words)),
            Self::Addresses => {
                "addresses with ports, as in `*:443` or `127.0.0.1:8443`; may be repeated".into()
            }
            Self::AddressesOrOff => {
                "addresses with ports, as in `*:80` or `127.0.0.1:8080`, or `off`".into()
            }
            Self::AddressOrOff => "an address with a port, or `off`".into(),
            Self::UrlOrOff => "a URL, as in `http://127.0.0.1:4318/v1/traces`, or `off`".into(),
            Self::HostOrNone => "a host name, or `none`".into(),
            Self::UrlOrNone => "an `https://` URL, or `none`".into(),
            Self::MailOrNone => "a mail address, or `none`".into(),
            Self::WordOrNone => "a word, or `none`".into(),
            Self::LabelOrNone => "small letters, digits and hyphens, or `none`".into(),
            Self::MembersOrNone => {
                "URLs, as in `https://etcd-1:2379, https://etcd-2:2379`, or `none`".into()
            }
            Self::Path => "a path".into(),
            Self::PathOrNone => "a path, or `none`".into(),
            Self::PathOrAuto => "`auto` or a path".into(),
            Self::Sink => "a path, `stdout`, `stderr` or `off`".into(),
            Self::LogFields => {
                "names of fields, as in `default, user_agent, -steered`, or `all`".into()
            }
            Self::Interfaces => "`auto` or names of network interfaces, as in `eth0, eth1`".into(),
        }
    }
}

fn quoted(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}
