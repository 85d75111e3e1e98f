//! Reads files into one configuration, line by line.
//!
//! Owns how lines of several files add up, and that every error is reported at its place. What a
//! line looks like is [`super::syntax`]'s; what a value means is the table's.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::PathBuf;

use super::files::Source;
use super::syntax::{self, KeyName};
use super::value::ValueError;
use super::{Config, ConfigError, KEYS, Key, Kind, Span, key, pin};
use vocabulary::hostname::HostName;
use vocabulary::suggest::suggest;

/// Where a key was set last, for errors that concern several keys.
struct Origin {
    file: PathBuf,
    span: Span,
}

/// Where a host was given workers.
struct Pinned {
    source: Source,
    span: Span,
    lenient: bool,
}

/// Reads files one after another into one configuration.
pub(super) struct Reader {
    pub(super) config: Config,
    origins: HashMap<&'static str, Origin>,
    /// Where hosts were given workers, whose number is known when everything has been read.
    pinned: BTreeMap<HostName, Pinned>,
    pub(super) errors: Vec<ConfigError>,
    pub(super) ignored: Vec<ConfigError>,
}

impl Reader {
    /// Begins with the defaults, and with what went wrong before.
    pub(super) fn new(errors: Vec<ConfigError>) -> Self {
        Self {
            config: Config::default(),
            origins: HashMap::new(),
            pinned: BTreeMap::new(),
            errors,
            ignored: Vec::new(),
        }
    }

    /// Reads one file's lines.
    pub(super) fn file(&mut self, source: &Source) {
        let mut here: Vec<(&'static str, usize)> = Vec::new();
        for line in syntax::assignments(&source.text) {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    let span = Span::new(error.line, error.text, error.at.start, error.at.end);
                    self.report(
                        error.lenient,
                        source,
                        Some(span),
                        error.message.into(),
                        Some(error.help.into()),
                    );
                    continue;
                }
            };
            let span = Span::new(line.line, line.text, line.key_at.start, line.key_at.end);
            if let Some(host) = pin::host_of(&line.key) {
                let span = |at: Range<usize>| Span::new(line.line, line.text, at.start, at.end);
                match pin::read(host, line.value) {
                    Ok((host, workers)) => {
                        let span = span(line.value_at);
                        self.pin(source, line.lenient, span, host, workers);
                    }
                    Err(pin::PinError::Host(message)) => {
                        let span = span(line.key_at);
                        self.report(line.lenient, source, Some(span), message, None);
                    }
                    Err(pin::PinError::Workers(ValueError { at, message, help })) => {
                        let from = line.value_at.start;
                        let span = span(from + at.start..from + at.end);
                        self.report(line.lenient, source, Some(span), message, help);
                    }
                }
                continue;
            }
            let key = match find(&line.key) {
                Ok(key) => key,
                Err((message, help)) => {
                    self.report(line.lenient, source, Some(span), message, help);
                    continue;
                }
            };
            let repeats = key.kind == Kind::Addresses;
            match here.iter().find(|(name, _)| *name == key.name) {
                Some((_, first)) if !repeats => {
                    let message = format!(
                        "`{}` is set twice in this file, first in line {first}",
                        key.name
                    );
                    self.report(
                        line.lenient,
                        source,
                        Some(span),
                        message,
                        Some("keep one of the two".into()),
                    );
                    continue;
                }
                // A file that sets a list replaces what earlier files made of it.
                None if repeats => self.config.listen.clear(),
                _ => {}
            }
            here.push((key.name, line.line));
            let before = self.config.clone();
            if let Err(ValueError { at, message, help }) = (key.set)(&mut self.config, line.value) {
                self.config = before;
                let from = line.value_at.start;
                let span = Span::new(line.line, line.text, from + at.start, from + at.end);
                self.report(
                    line.lenient,
                    source,
                    Some(span),
                    format!("`{}`: {message}", key.name),
                    help,
                );
                continue;
            }
            self.origins.insert(
                key.name,
                Origin {
                    file: source.path.clone(),
                    span,
                },
            );
        }
    }

    /// Checks keys against each other, once all files have been read.
    pub(super) fn relations(&mut self) {
        if self.config.listen.is_empty() {
            // Only when every `listen` line of a file was wrong, which has been reported.
            self.config.listen = Config::default().listen;
        }
        for (host, span) in std::mem::take(&mut self.pinned) {
            let count = self.config.workers;
            let workers = self.config.pins.get(&host);
            let beyond = workers.and_then(|all| all.iter().find(|one| usize::from(**one) >= count));
            if let Some(worker) = beyond {
                let message = format!("there is no worker {worker}: `workers` is {count}");
                let help = format!("write numbers from 0 to {}, or raise `workers`", count - 1);
                self.report(
                    span.lenient,
                    &span.source,
                    Some(span.span),
                    message,
                    Some(help),
                );
                self.config.pins.remove(&host);
            }
        }
        for (name, message, help) in self.config.conflicts() {
            let origin = self.origins.get(name);
            self.errors.push(ConfigError {
                file: origin.map(|origin| origin.file.clone()).unwrap_or_default(),
                span: origin.map(|origin| origin.span.clone()),
                message,
                help: Some(help),
            });
        }
    }

    /// Notes a host's workers; a later file's word counts.
    fn pin(
        &mut self,
        source: &Source,
        lenient: bool,
        span: Span,
        host: HostName,
        workers: Vec<u16>,
    ) {
        let pinned = Pinned {
            source: Source {
                path: source.path.clone(),
                text: String::new(),
            },
            span,
            lenient,
        };
        self.pinned.insert(host.clone(), pinned);
        self.config.pins.insert(host, workers);
    }

    fn report(
        &mut self,
        lenient: bool,
        source: &Source,
        span: Option<Span>,
        message: String,
        help: Option<String>,
    ) {
        let error = ConfigError {
            file: source.path.clone(),
            span,
            message,
            help,
        };
        if lenient {
            self.ignored.push(error)
        } else {
            self.errors.push(error)
        }
    }
}

/// The key of a name, or what to say and what to advise.
pub(super) fn find(name: &KeyName) -> Result<&'static Key, (String, Option<String>)> {
    if let [room, host, ..] = name.0.as_slice()
        && room == "host"
        && (host.contains('.') || name.0.len() > 2)
    {
        return Err((
            format!("`host/{host}/…`: hosts are not set in this file"),
            Some(format!(
                "they live in the store: `postern host set {host} …` changes one; only `host/{host}/workers` is set here"
            )),
        ));
    }
    let written = name.dotted().unwrap_or_else(|| name.0.join("/"));
    key(&written).ok_or_else(|| {
        let near = suggest(&written, KEYS.iter().map(|key| key.name));
        let help = near.map_or_else(
            || "postern.conf(5) and `postern sysctl -a` name all keys".into(),
            |near| format!("did you mean `{near}`?"),
        );
        (format!("unknown key `{written}`"), Some(help))
    })
}
