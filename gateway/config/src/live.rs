//! Live configuration: what can be changed while the gateway runs.
//!
//! Owns the current values: workers read them without a lock, `postern sysctl` reads and sets any
//! key by name, SIGHUP brings a whole new configuration. Does not read files.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::{ArcSwap, Guard};
use serde::Serialize;

use super::syntax::KeyName;
use super::{Change, Config, KEYS, Key, Pins, Tunables, key};
use vocabulary::suggest::suggest;

/// The current configuration of the process.
#[derive(Debug)]
pub struct Live {
    tunables: ArcSwap<Tunables>,
    /// What `sysctl` shows; taken by administrators only, never by a worker.
    config: Mutex<Config>,
    reloads: [AtomicU64; 2],
}

/// One key with its value, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// `timeout.idle`
    pub key: &'static str,
    /// `75s`
    pub value: String,
    /// What holds when no file sets it.
    pub default: &'static str,
    /// Whether it can be set while the gateway runs.
    pub live: bool,
    /// When a new value takes effect: `live`, `reload` (SIGHUP) or `restart`.
    pub change: &'static str,
    /// What values it takes, in words.
    pub kind: String,
    /// One line for people.
    pub description: &'static str,
}

/// Why a key cannot be read or set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No such key.
    #[error("unknown key `{key}`{}", did_you_mean(*suggestion))]
    Unknown {
        /// What was asked for.
        key: String,
        /// What was probably meant.
        suggestion: Option<&'static str>,
    },
    /// It comes from the files only, at a start or at SIGHUP.
    #[error("`{key}` {}", from_files(*change))]
    NeedsRestart {
        /// The key.
        key: &'static str,
        /// When a new value takes effect.
        change: Change,
    },
    /// Not a value of its kind, out of its range, or against another key.
    #[error("`{key}`: {message}{}", also(help.as_deref()))]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong.
        message: String,
        /// What to write instead.
        help: Option<String>,
    },
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(
        || "; `postern sysctl -a` names all keys".into(),
        |near| format!("; did you mean `{near}`?"),
    )
}

fn from_files(change: Change) -> &'static str {
    match change {
        Change::Live | Change::Reload => {
            "comes from the files: set it in postern.conf and send SIGHUP"
        }
        Change::Restart => {
            "needs a new process: set it in postern.conf and send SIGHUP, which has one take over"
        }
    }
}

fn also(help: Option<&str>) -> String {
    help.map_or_else(String::new, |help| format!("; {help}"))
}

impl Live {
    /// Starts with what was loaded.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            tunables: ArcSwap::from_pointee(config.tunables),
            config: Mutex::new(config),
            reloads: Default::default(),
        }
    }

    /// The live values of now.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Tunables>> {
        self.tunables.load()
    }

    /// Every key, in the order of the manual.
    #[must_use]
    pub fn all(&self) -> Vec<Setting> {
        let config = self.lock();
        KEYS.iter().map(|key| setting(key, &config)).collect()
    }

    /// One key, in dotted or slashed form.
    ///
    /// # Errors
    /// There is no such key.
    pub fn get(&self, name: &str) -> Result<Setting, SettingError> {
        find(name).map(|key| setting(key, &self.lock()))
    }

    /// Sets one key and answers how it is now. It holds until the next start or SIGHUP.
    ///
    /// # Errors
    /// See [`SettingError`]; then nothing changes.
    pub fn set(&self, name: &str, value: &str) -> Result<Setting, SettingError> {
        let key = find(name)?;
        if key.change != Change::Live {
            return Err(SettingError::NeedsRestart {
                key: key.name,
                change: key.change,
            });
        }
        let mut current = self.lock();
        let mut config = current.clone();
        (key.set)(&mut config, value.trim()).map_err(|error| SettingError::Value {
            key: key.name,
            message: error.message,
            help: error.help,
        })?;
        // What a reload has left against a key that waits for a new process is not this one's fault.
        let known = current.conflicts();
        let new = |conflict: &_| !known.contains(conflict);
        if let Some((_, message, help)) = config.conflicts().into_iter().find(new) {
            return Err(SettingError::Value {
                key: key.name,
                message,
                help: Some(help),
            });
        }
        self.tunables.store(Arc::new(config.tunables));
        *current = config;
        Ok(setting(key, &current))
    }

    /// Takes what SIGHUP may change of a configuration that was read again. Answers the keys that
    /// differ but need a new process: they stay as they are in this one.
    pub fn reload(&self, config: &Config) -> Vec<&'static str> {
        let mut current = self.lock();
        let restart = KEYS.iter().filter(|key| key.change == Change::Restart);
        let differ = restart.filter(|key| (key.show)(&current) != (key.show)(config));
        let differ = differ.map(|key| key.name).collect();
        let before = current.clone();
        *current = Config {
            // What takes a new process.
            listen: before.listen,
            listen_http: before.listen_http,
            health_listen: before.health_listen,
            workers: before.workers,
            store_path: before.store_path,
            ca_key_file: before.ca_key_file,
            crl_directory: before.crl_directory,
            admin_socket: before.admin_socket,
            admin_listen: before.admin_listen,
            access_log: before.access_log,
            trace_otlp: before.trace_otlp,
            tls_groups: before.tls_groups,
            tls_min_version: before.tls_min_version,
            steer_mode: before.steer_mode,
            steer_interfaces: before.steer_interfaces,
            steer_synproxy: before.steer_synproxy,
            fleet: before.fleet,
            ..config.clone()
        };
        self.tunables.store(Arc::new(config.tunables));
        differ
    }

    /// A new configuration was applied, or at least a part of it refused.
    pub fn count_reload(&self, is_applied: bool) {
        let [applied, refused] = &self.reloads;
        let count = if is_applied { applied } else { refused };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// How often a new configuration was applied, and how often refused.
    #[must_use]
    pub fn reloads(&self) -> [u64; 2] {
        self.reloads
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    /// Workers of hosts by configuration.
    #[must_use]
    pub fn pins(&self) -> Pins {
        self.lock().pins.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Config> {
        // A panic elsewhere cannot leave half a configuration: it is replaced whole.
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn setting(key: &Key, config: &Config) -> Setting {
    Setting {
        key: key.name,
        value: (key.show)(config),
        default: key.default,
        live: key.change == Change::Live,
        change: key.change.as_str(),
        kind: key.kind.describe(),
        description: key.doc,
    }
}

fn find(name: &str) -> Result<&'static Key, SettingError> {
    let dotted = KeyName::parse(name.trim()).dotted();
    dotted
        .as_deref()
        .and_then(key)
        .ok_or_else(|| SettingError::Unknown {
            key: name.into(),
            suggestion: suggest(
                dotted.as_deref().unwrap_or(name),
                KEYS.iter().map(|key| key.name),
            ),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;
    use std::time::Duration;
    use vocabulary::hostname::HostName;

    #[test]
    fn live_keys_change_at_once_and_others_do_not() {
        let live = Live::new(Config::default());
        assert_eq!(live.set("timeout.idle", "5s").unwrap().value, "5s");
        assert_eq!(live.load().idle_timeout, Duration::from_secs(5));
        assert_eq!(live.get("timeout/idle").unwrap().value, "5s");
        assert_eq!(
            live.set("workers", "2"),
            Err(SettingError::NeedsRestart {
                key: "workers",
                change: Change::Restart
            })
        );
        let unknown = live.set("timeout.idel", "5s").unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "unknown key `timeout.idel`; did you mean `timeout.idle`?"
        );
        let range = live.set("timeout.idle", "9d").unwrap_err();
        assert_eq!(
            range.to_string(),
            "`timeout.idle`: `9d` is out of range; allowed are 50ms to 1d"
        );
        assert!(matches!(
            live.set("limit.connections", "x"),
            Err(SettingError::Value { .. })
        ));
        assert_eq!(live.load().idle_timeout, Duration::from_secs(5));
        assert_eq!(live.all().len(), KEYS.len());
    }

    #[test]
    fn a_value_against_another_key_is_refused() {
        let live = Live::new(Config {
            workers: 8,
            ..Config::default()
        });
        assert!(live.set("limit.connections", "7").is_err());
        assert!(live.set("limit.connections", "8").is_ok());
    }

    /// Another value of the key than its default.
    fn other(key: &Key, config: &Config) -> Config {
        let words: Vec<String> = match key.kind {
            Kind::Word(words) | Kind::Words(words) => {
                words.iter().map(|word| (*word).to_owned()).collect()
            }
            Kind::Size(least, most) | Kind::Count(least, most) => {
                [least, most].map(|count| count.to_string()).into()
            }
            Kind::Duration(least, most) => [least, most]
                .map(|time| format!("{}ms", time.as_millis()))
                .into(),
            _ => Vec::new(),
        };
        let values = [
            "on",
            "off",
            "2",
            "3",
            "127.0.0.1:9",
            "203.0.113.0/24",
            "/elsewhere",
            "https://a.test/x",
            "https://127.0.0.1:2379",
            "http://127.0.0.1:4318",
            "a.test",
            "a@b.test",
            "one",
            "time",
            "lo",
        ];
        let words = words.iter().map(String::as_str);
        let tried = words.chain(values).find_map(|value| {
            let mut other = config.clone();
            other.listen.clear();
            let is_set = (key.set)(&mut other, value).is_ok();
            (is_set && (key.show)(&other) != (key.show)(config)).then_some(other)
        });
        tried.unwrap_or_else(|| panic!("a value for `{}` is to be added above", key.name))
    }

    #[test]
    fn each_key_is_taken_by_a_reload_or_named() {
        for key in KEYS {
            let live = Live::new(Config::default());
            let (before, wanted) = (Config::default(), other(key, &Config::default()));
            let differ = live.reload(&wanted);
            let shown = live.get(key.name).unwrap().value;
            if key.change == Change::Restart {
                assert!(differ.contains(&key.name), "{}", key.name);
                assert_eq!(shown, (key.show)(&before), "{}", key.name);
            } else {
                assert_eq!(shown, (key.show)(&wanted), "{}", key.name);
            }
            // Nothing but what was changed: `listen` was cleared for the sake of `other`.
            for rest in KEYS.iter().filter(|rest| rest.name != key.name) {
                let shown = live.get(rest.name).unwrap().value;
                assert_eq!(shown, (rest.show)(&before), "{} {}", key.name, rest.name);
            }
        }
    }

    #[test]
    fn what_waits_for_a_new_process_keeps_no_other_key_from_being_set() {
        let live = Live::new(Config::default());
        let text = "listen.http = *:80\nacme.terms_agreed = on\nacme.contact = ops@a.test\n\
                    acme.directory = https://acme.test/dir\n";
        let config = Config::parse("postern.conf".as_ref(), text).unwrap();
        assert_eq!(live.reload(&config), ["listen.http"]);
        assert!(live.set("timeout.idle", "5s").is_ok());
    }

    #[test]
    fn reload_takes_live_keys_and_names_the_others() {
        let live = Live::new(Config::default());
        let mut config = Config::default();
        config.tunables.idle_timeout = Duration::from_secs(1);
        config.store_path = "/elsewhere".into();
        config.default_host = HostName::parse("a.example").ok();
        live.count_reload(false);
        assert_eq!(live.reload(&config), ["store.path"]);
        live.count_reload(true);
        assert_eq!(live.reloads(), [1, 1]);
        assert_eq!(live.load().idle_timeout, Duration::from_secs(1));
        assert_eq!(live.get("host.default").unwrap().value, "a.example");
        assert!(
            live.set("host.default", "none")
                .unwrap_err()
                .to_string()
                .contains("SIGHUP")
        );
        assert_eq!(
            live.get("store.path").unwrap().value,
            Config::default().store_path.display().to_string()
        );
    }
}
