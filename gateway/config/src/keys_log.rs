//! The keys of what the gateway writes down: its own log and the access log.
//!
//! Their places in the table are `keys`'.

use super::access_log::{AccessLogTarget, LogFields, LogFormat};
use super::keys::{Key, plain};
use super::kind::{Change, Kind};
use super::{LogLevel, value};
use crate::limits;

const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

const FORMATS: &[(&str, LogFormat)] = &[
    ("json", LogFormat::Json),
    ("common", LogFormat::Common),
    ("combined", LogFormat::Combined),
];

pub(super) const LOG_LEVEL: Key = Key {
    name: "log.level",
    kind: Kind::Word(&["error", "warn", "info", "debug", "trace"]),
    default: "info",
    change: Change::Reload,
    doc: "How much the gateway tells of itself on standard error.",
    set: |config, text| value::word(text, LOG_LEVELS).map(|level| config.log_level = level),
    show: |config| value::show_word(&config.log_level, LOG_LEVELS),
};

pub(super) const LOG_ACCESS: Key = Key {
    name: "log.access",
    kind: Kind::Sink,
    default: "stdout",
    change: Change::Restart,
    doc: "Where the access log goes: a line for each request and each failed handshake.",
    set: |config, text| {
        config.access_log = match text {
            "off" => AccessLogTarget::Off,
            "stdout" => AccessLogTarget::Stdout,
            "stderr" => AccessLogTarget::Stderr,
            _ => AccessLogTarget::File(value::path(text)?),
        };
        Ok(())
    },
    show: |config| config.access_log.to_string(),
};

pub(super) const LOG_ACCESS_FORMAT: Key = Key {
    name: "log.access.format",
    kind: Kind::Word(&["json", "common", "combined"]),
    default: "json",
    change: Change::Live,
    doc: "How its lines are written: a JSON object each, or what older tools read, NCSA's `common` format, or `combined`, which has referer and user agent too. Those two say of a refused connection no more than its address, and of a client's certificate its fingerprint.",
    set: |config, text| {
        value::word(text, FORMATS).map(|format| config.tunables.access_log.format = format)
    },
    show: |config| value::show_word(&config.tunables.access_log.format, FORMATS),
};

pub(super) const LOG_ACCESS_FIELDS: Key = Key {
    name: "log.access.fields",
    kind: Kind::LogFields,
    default: "default",
    change: Change::Live,
    doc: "What a JSON line has: names of fields, of which `client_cert` and `tls` stand for all of theirs, `default` for all but `user_agent` and `referer`; one with `-` before it is left out. See LOGS in production.md.",
    set: |config, text| {
        LogFields::read(text).map(|fields| config.tunables.access_log.fields = fields)
    },
    show: |config| config.tunables.access_log.fields.show(),
};

macro_rules! sample {
    ($name:literal, $field:ident, $doc:literal) => {
        Key {
            name: $name,
            kind: Kind::Count(1, limits::LOG_SAMPLE_CEILING),
            default: "1",
            change: Change::Live,
            doc: $doc,
            set: |config, text| {
                let value = value::count(text, 1, limits::LOG_SAMPLE_CEILING)?;
                config.tunables.access_log.$field = u32::try_from(value).unwrap_or(u32::MAX);
                Ok(())
            },
            show: |config| plain(config.tunables.access_log.$field.into()),
        }
    };
}

pub(super) const LOG_ACCESS_SAMPLE: Key = sample!(
    "log.access.sample",
    sample,
    "Of how many requests one has a line, taken at random, of those that were permitted, had no error and no status of 400 or more, and matched no `log` rule. The line has the number as `stands_for`."
);

pub(super) const LOG_ACCESS_SAMPLE_REFUSED: Key = sample!(
    "log.access.sample_refused",
    sample_refused,
    "The same of all other lines: refused and failed requests, refused handshakes, certificates that are no good, ended connections. With 1 none is left out."
);
