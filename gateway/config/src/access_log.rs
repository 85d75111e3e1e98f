//! What the access log says: where it goes, its format, its fields, and of which lines it has a sample.
//!
//! Owns the names of fields and the notation of a choice among them. Writes no line: the data path
//! does.

use std::fmt;
use std::path::PathBuf;

use super::value::{self, ValueError};
use vocabulary::suggest::suggest;

/// Where the access log goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AccessLogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    #[default]
    Stdout,
    /// Standard error.
    Stderr,
    /// A file, appended to, opened again on SIGUSR1.
    File(PathBuf),
}

impl fmt::Display for AccessLogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.pad("off"),
            Self::Stdout => f.pad("stdout"),
            Self::Stderr => f.pad("stderr"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl AccessLogTarget {
    pub(super) fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Off | Self::Stdout | Self::Stderr => None,
        }
    }
}

vocabulary::words! {
    /// How a line is written.
    #[derive(Default)]
    pub enum LogFormat("a format of the access log", without serde) {
        /// One JSON object.
        #[default]
        Json = "json",
        /// NCSA's Common Log Format.
        Common = "common",
        /// The same with referer and user agent.
        Combined = "combined",
    }
}

vocabulary::words! {
    /// A field of a line. `kind`, what happened to a connection (`event`, `reason`) and `stands_for`
    /// are always there: without them a line cannot be read.
    pub enum LogField("a field of the access log", without serde) {
        /// When it was.
        Time = "time",
        /// The request's id.
        RequestId = "request_id",
        /// The trace that the request is part of.
        TraceId = "trace_id",
        /// Address and port.
        Client = "client",
        /// The configured host.
        Host = "host",
        /// Its zone.
        Zone = "zone",
        /// What the client asked for.
        Authority = "authority",
        /// `GET`
        Method = "method",
        /// The normalised path.
        Path = "path",
        /// `HTTP/2`
        Http = "http",
        /// Of the answer.
        Status = "status",
        /// Of the request's body.
        BytesReceived = "bytes_received",
        /// Of the answer's.
        BytesSent = "bytes_sent",
        /// `TLSv1.3`
        TlsVersion = "tls.version",
        /// OpenSSL's name.
        TlsCipher = "tls.cipher",
        /// As sent.
        TlsSni = "tls.sni",
        /// Whether the session was resumed.
        TlsResumed = "tls.resumed",
        /// Whether there was a certificate.
        CertPresented = "client_cert.presented",
        /// Whether it is good.
        CertVerified = "client_cert.verified",
        /// Whether it is revoked.
        CertRevoked = "client_cert.revoked",
        /// Why it is not good.
        CertReason = "client_cert.reason",
        /// The issuer that the reason is about.
        CertAbout = "client_cert.about",
        /// Its subject.
        CertSubject = "client_cert.subject",
        /// Its URIs.
        CertSanUri = "client_cert.san_uri",
        /// Its DNS names.
        CertSanDns = "client_cert.san_dns",
        /// Its mail addresses.
        CertSanEmail = "client_cert.san_email",
        /// Its IP addresses.
        CertSanIp = "client_cert.san_ip",
        /// Who issued it.
        CertIssuer = "client_cert.issuer",
        /// By which key.
        CertIssuerKeyId = "client_cert.issuer_key_id",
        /// Its own key.
        CertSubjectKeyId = "client_cert.subject_key_id",
        /// Its serial number.
        CertSerial = "client_cert.serial",
        /// Its fingerprint.
        CertFingerprint = "client_cert.fingerprint_sha256",
        /// The CA that it was verified with.
        CertCaId = "client_cert.ca_id",
        /// The rule that decided.
        Rule = "rule",
        /// Rules that only log.
        Logged = "logged",
        /// Where it was forwarded to.
        Origin = "origin",
        /// Who served it.
        Worker = "worker",
        /// How the connection came there.
        Steered = "steered",
        /// Times of stages.
        Seconds = "seconds",
        /// Why the gateway could not do it.
        Error = "error",
        /// What a library said of it.
        Detail = "detail",
        /// What the client says that it is.
        UserAgent = "user_agent",
        /// Where it says that it comes from, without query.
        Referer = "referer",
    }
}

/// Words that stand for several fields.
const GROUPS: [(&str, LogFields); 2] = [
    ("tls", LogFields::TLS),
    ("client_cert", LogFields::CLIENT_CERT),
];

/// All words that are no single field's.
const WORDS: [&str; 4] = ["default", "all", "tls", "client_cert"];

/// A choice of fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LogFields(u64);

const _: () = assert!(LogField::ALL.len() <= 64);

impl LogFields {
    /// No field.
    const NONE: Self = Self(0);
    /// All there are.
    pub const ALL: Self = Self(u64::MAX >> (64 - LogField::ALL.len()));
    /// What most want: all but what clients say of themselves at length.
    pub const DEFAULT: Self =
        Self(Self::ALL.0 & !(Self::of(LogField::UserAgent) | Self::of(LogField::Referer)));

    /// Those of the object `tls`.
    pub const TLS: Self = Self(
        Self::of(LogField::TlsVersion)
            | Self::of(LogField::TlsCipher)
            | Self::of(LogField::TlsSni)
            | Self::of(LogField::TlsResumed),
    );
    /// Those of the object `client_cert`, which stand together.
    pub const CLIENT_CERT: Self = {
        let first = Self::of(LogField::CertPresented);
        let last = Self::of(LogField::CertCaId);
        Self((last << 1) - first)
    };

    const fn of(field: LogField) -> u64 {
        1 << field as u64
    }

    /// Whether the field is among them.
    #[must_use]
    pub const fn has(self, field: LogField) -> bool {
        self.0 & Self::of(field) != 0
    }

    /// Whether one of these is among them.
    #[must_use]
    pub const fn has_any(self, of: Self) -> bool {
        self.0 & of.0 != 0
    }

    /// Those that a word means; `None` for a word that is no field's.
    fn named(word: &str) -> Option<Self> {
        match word {
            "default" => return Some(Self::DEFAULT),
            "all" => return Some(Self::ALL),
            _ => {}
        }
        if let Some((_, group)) = GROUPS.iter().find(|(name, _)| *name == word) {
            return Some(*group);
        }
        let field = word.parse::<LogField>().ok()?;
        Some(Self(Self::of(field)))
    }

    /// Reads names of fields; one with `-` before it is left out again.
    pub(super) fn read(text: &str) -> Result<Self, ValueError> {
        let mut fields = Self::NONE;
        let mut words = 0;
        for (at, piece) in value::pieces(text) {
            let (word, is_out) = piece
                .strip_prefix('-')
                .map_or((piece, false), |word| (word, true));
            let Some(named) = Self::named(word) else {
                let error = ValueError {
                    at,
                    ..ValueError::whole(text, format!("`{word}` is no field of the access log"))
                };
                let names = LogField::ALL.iter().map(|field| field.as_str());
                let near = suggest(word, names.chain(WORDS));
                return Err(match near {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => {
                        error.help("production.md has them all; `default, user_agent` adds one")
                    }
                });
            };
            words += 1;
            fields.0 = if is_out {
                fields.0 & !named.0
            } else {
                fields.0 | named.0
            };
        }
        if words == 0 || fields == Self::NONE {
            return Err(ValueError::whole(text, "no field is left").help(
                "write `default`, or names of fields; `log.access = off` writes no line at all",
            ));
        }
        Ok(fields)
    }

    /// The shortest notation that reads back as the same.
    pub(super) fn show(self) -> String {
        if self == Self::ALL {
            return "all".into();
        }
        let words = |bits: u64, sign: &str| -> Vec<String> {
            let mut left = bits;
            let mut found = Vec::new();
            for (name, group) in GROUPS {
                if left & group.0 == group.0 {
                    left &= !group.0;
                    found.push(format!("{sign}{name}"));
                }
            }
            let single = LogField::ALL.iter().filter(|field| Self(left).has(**field));
            found.extend(single.map(|field| format!("{sign}{field}")));
            found
        };
        let listed = words(self.0, "");
        let mut changed = vec!["default".to_owned()];
        changed.extend(words(self.0 & !Self::DEFAULT.0, ""));
        changed.extend(words(Self::DEFAULT.0 & !self.0, "-"));
        let shorter = if listed.len() < changed.len() {
            listed
        } else {
            changed
        };
        shorter.join(", ")
    }
}

impl Default for LogFields {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Debug for LogFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

impl std::str::FromStr for LogFields {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|error| error.message)
    }
}

/// How lines of the access log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStyle {
    /// `log.access.format`
    pub format: LogFormat,
    /// `log.access.fields`
    pub fields: LogFields,
    /// `log.access.sample`: of so many requests that were permitted and answered one has a line.
    pub sample: u32,
    /// `log.access.sample_refused`: the same of all others, and of connections.
    pub sample_refused: u32,
}

impl Default for LogStyle {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            fields: LogFields::DEFAULT,
            sample: 1,
            sample_refused: 1,
        }
    }
}

impl LogStyle {
    /// Whether a line has room for what a client says of itself in this field.
    #[must_use]
    pub fn wants(&self, field: LogField) -> bool {
        match self.format {
            LogFormat::Json => self.fields.has(field),
            LogFormat::Common => false,
            LogFormat::Combined => matches!(field, LogField::UserAgent | LogField::Referer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_chosen_by_name() {
        for (text, shown) in [
            ("default", Ok("default")),
            ("all", Ok("all")),
            ("default, user_agent, referer", Ok("all")),
            ("default user_agent", Ok("default, user_agent")),
            ("status,path, time", Ok("time, path, status")),
            ("client_cert, host", Ok("client_cert, host")),
            ("tls.version tls.cipher tls.sni tls.resumed", Ok("tls")),
            (
                "default, -steered, -client_cert",
                Ok("default, -client_cert, -steered"),
            ),
            ("all, -referer", Ok("default, user_agent")),
            ("host, -host", Err("no field is left")),
            ("", Err("no field is left")),
            (" , ", Err("no field is left")),
            (
                "user-agent",
                Err("`user-agent` is no field of the access log"),
            ),
            ("cert", Err("`cert` is no field of the access log")),
            ("Host", Err("`Host` is no field of the access log")),
        ] {
            let found = LogFields::read(text).map(LogFields::show);
            let found = found.map_err(|error| error.message);
            assert_eq!(
                found.as_deref(),
                shown.map_err(str::to_owned).as_deref(),
                "{text}"
            );
        }
        let error = LogFields::read("host, user_agnet").unwrap_err();
        assert_eq!(error.at, 6..16);
        assert_eq!(error.help.as_deref(), Some("did you mean `user_agent`?"));
        let far = LogFields::read("zzzzzzzzzzzz").unwrap_err();
        assert!(far.help.is_some());
    }

    #[test]
    fn groups_are_those_whose_names_say_so() {
        for (name, group) in GROUPS {
            for field in LogField::ALL {
                let is_its = field.as_str().starts_with(&format!("{name}."));
                assert_eq!(group.has(field), is_its, "{field}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_choice_is_read_as_it_is_shown(bits in 1u64..) {
            let fields = LogFields(bits & LogFields::ALL.0);
            prop_assume!(fields != LogFields::NONE);
            prop_assert_eq!(LogFields::read(&fields.show()).unwrap(), fields);
        }

        #[test]
        fn any_text_is_read_without_panic(text in "\\PC{0,60}") {
            if let Err(error) = LogFields::read(&text) {
                prop_assert!(text.get(error.at).is_some());
            }
        }
    }
}
