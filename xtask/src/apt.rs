//! Debian's package manager: what it could install, and installing it.
//!
//! Never removes a package, never asks a question. Knows nothing about why a package is wanted.

use crate::shell;
use anyhow::{Result, bail};
use std::cell::{Cell, OnceCell};
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long an attempt to fetch the lists counts, unless `setup` was asked for: a machine on
/// which a package cannot be had is not made to wait by every command.
const LISTS_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// How packages can be installed from here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    /// We are root.
    Root,
    /// `sudo` works without asking.
    Sudo,
    /// Apt is there, but this user may not use it without a password.
    Denied,
    /// This is no Debian.
    NoApt,
}

impl Access {
    fn probe() -> Self {
        if shell::find("apt-get").is_none() {
            return Self::NoApt;
        }
        if shell::output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0") {
            return Self::Root;
        }
        match shell::output(Command::new("sudo").args(["-n", "true"])) {
            Some(_) => Self::Sudo,
            None => Self::Denied,
        }
    }
}

/// The package manager, as one command of ours uses it.
pub(crate) struct Apt {
    /// How the command lines of `apt-get` and `apt-cache` begin.
    get: Vec<OsString>,
    cache: Vec<OsString>,
    access: OnceCell<Access>,
    /// Lists are not fetched when that was tried less than this ago.
    patience: Duration,
    /// A file as old as the last attempt.
    noted: PathBuf,
    /// This command has tried.
    tried: Cell<bool>,
}

impl Apt {
    /// For commands that need something on the way: fetches lists once in an hour.
    pub(crate) fn hourly() -> Self {
        Self {
            get: vec!["apt-get".into()],
            cache: vec!["apt-cache".into()],
            access: OnceCell::new(),
            patience: LISTS_AGE_MAX,
            noted: shell::target().join("apt-lists-fetched"),
            tried: Cell::new(false),
        }
    }

    /// For `setup`: fetches lists whenever something is missing.
    pub(crate) fn now() -> Self {
        Self {
            patience: Duration::ZERO,
            ..Self::hourly()
        }
    }

    pub(crate) fn access(&self) -> Access {
        *self.access.get_or_init(Access::probe)
    }

    /// Whether packages can be installed without a question.
    pub(crate) fn granted(&self) -> bool {
        matches!(self.access(), Access::Root | Access::Sudo)
    }

    /// The version apt would install, if it knows the package.
    ///
    /// Lists on a machine are as old as the last `apt-get update`, and a package that came later is
    /// not in them. So they are fetched first, where that is allowed: once, before anything is called
    /// missing.
    pub(crate) fn candidate(&self, package: &str) -> Option<String> {
        self.refresh();
        let policy = shell::output(
            command(&self.cache)
                .env("LC_ALL", "C")
                .args(["policy", package]),
        )?;
        let version = policy
            .lines()
            .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
        (version != "(none)").then(|| version.to_owned())
    }

    /// The first package that apt knows; the last one when it knows none, so that an error names
    /// something.
    pub(crate) fn preferred(&self, packages: &[&str]) -> Option<String> {
        let known = packages
            .iter()
            .find(|package| self.candidate(package).is_some());
        known
            .or_else(|| packages.last())
            .map(|package| (*package).to_owned())
    }

    /// Installs packages.
    ///
    /// # Errors
    /// When that is not allowed; the text is what to type.
    pub(crate) fn install(&self, packages: &[String]) -> Result<()> {
        if packages.is_empty() {
            return Ok(());
        }
        if !self.granted() {
            bail!("packages are missing; type: {}", install_line(packages));
        }
        let install = || {
            shell::run(
                self.apt_get()
                    .args(["install", "--yes", "--no-install-recommends", "--no-remove"])
                    .args(packages),
            )
        };
        self.refresh();
        match install() {
            // Lists fetched by an earlier command may name files that have been replaced since.
            Err(_) if !self.tried.get() => {
                self.fetch();
                install()
            }
            outcome => outcome,
        }
    }

    /// Fetches the lists, if that is allowed and was not tried lately.
    fn refresh(&self) {
        let lately = || {
            let written = fs::metadata(&self.noted).and_then(|noted| noted.modified());
            let age = written.ok().and_then(|written| written.elapsed().ok());
            age.is_some_and(|age| age < self.patience)
        };
        if self.granted() && !self.tried.get() && !lately() {
            self.fetch();
        }
    }

    fn fetch(&self) {
        self.tried.set(true);
        eprintln!(
            "packages: fetching apt's lists, since those here may be older than what is needed"
        );
        if let Err(error) = shell::run(self.apt_get().arg("update")) {
            eprintln!(
                "warning: apt's lists could not be fetched, so those that are here have to do: \
                 {error:#}. `cargo xtask setup` tries again"
            );
        }
        // A failed attempt counts as well: without a network it takes long.
        if let Err(error) = fs::write(&self.noted, "") {
            eprintln!("warning: cannot write {}: {error}", self.noted.display());
        }
    }

    fn apt_get(&self) -> Command {
        let mut command = match self.access() {
            Access::Sudo => {
                let mut sudo = Command::new("sudo");
                sudo.args(["-n", "DEBIAN_FRONTEND=noninteractive"])
                    .args(&self.get);
                sudo
            }
            _ => command(&self.get),
        };
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        command
    }
}

fn command(line: &[OsString]) -> Command {
    let mut words = line.iter();
    let mut command = Command::new(words.next().map_or_else(OsString::new, Clone::clone));
    command.args(words);
    command
}

/// What to type when we may not install by ourselves.
pub(crate) fn install_line(packages: &[String]) -> String {
    format!(
        "sudo apt-get update && sudo apt-get install --no-install-recommends {}",
        packages.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::{Access, Apt};
    use std::cell::{Cell, OnceCell};
    use std::path::{Path, PathBuf};
    use std::time::Duration;
    use std::{env, fs, process};

    /// An apt whose lists name `llvm-22-dev` only after they were fetched, and that writes down what
    /// it was told.
    struct Machine {
        directory: PathBuf,
    }

    impl Machine {
        fn new(name: &str) -> Self {
            let directory = env::temp_dir().join(format!("xtask-apt-{name}-{}", process::id()));
            fs::create_dir_all(&directory).expect("a directory");
            let place = directory.display();
            let get = format!(
                "echo \"$*\" >> {place}/told\n\
                 case \"$*\" in\n\
                 *update*) test ! -e {place}/offline || exit 1; touch {place}/fresh;;\n\
                 esac\n\
                 case \"$*\" in *install*) test -e {place}/fresh;; esac\n"
            );
            let cache = format!(
                "if [ \"$2\" = llvm-22-dev ] && [ -e {place}/fresh ]; then v=1:22.1; \
                 elif [ \"$2\" = llvm-19-dev ]; then v=1:19.1; else v='(none)'; fi\n\
                 printf '%s:\\n  Installed: (none)\\n  Candidate: %s\\n' \"$2\" \"$v\"\n"
            );
            fs::write(directory.join("apt-get"), get).expect("a script");
            fs::write(directory.join("apt-cache"), cache).expect("a script");
            Self { directory }
        }

        fn apt(&self, access: Access, patience: Duration) -> Apt {
            let script = |name: &str| vec!["sh".into(), self.directory.join(name).into()];
            Apt {
                get: script("apt-get"),
                cache: script("apt-cache"),
                access: OnceCell::from(access),
                patience,
                noted: self.directory.join("noted"),
                tried: Cell::new(false),
            }
        }

        fn told(&self) -> Vec<String> {
            let told = fs::read_to_string(self.directory.join("told")).unwrap_or_default();
            told.lines().map(str::to_owned).collect()
        }

        fn touch(&self, name: &str) {
            fs::write(self.directory.join(name), "").expect("a file");
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(Path::new(&self.directory)));
        }
    }

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn lists_are_fetched_once_before_a_package_is_called_missing() {
        let machine = Machine::new("old");
        let apt = machine.apt(Access::Root, HOUR);
        assert_eq!(apt.candidate("llvm-22-dev").as_deref(), Some("1:22.1"));
        assert_eq!(apt.candidate("llvm-23-dev"), None);
        assert_eq!(
            apt.preferred(&["llvm-23-dev", "llvm-22-dev"]).as_deref(),
            Some("llvm-22-dev")
        );
        assert_eq!(apt.preferred(&["x", "y"]).as_deref(), Some("y"));
        apt.install(&["llvm-22-dev".to_owned()]).expect("installed");
        assert_eq!(
            machine.told(),
            [
                "-q update",
                "-q install --yes --no-install-recommends --no-remove llvm-22-dev"
            ]
        );
    }

    #[test]
    fn the_next_command_waits_for_no_lists_but_set_up_does() {
        let machine = Machine::new("hourly");
        for (patience, expected) in [(HOUR, 1), (HOUR, 1), (Duration::ZERO, 2)] {
            let apt = machine.apt(Access::Root, patience);
            assert_eq!(apt.candidate("llvm-23-dev"), None);
            assert_eq!(machine.told().len(), expected);
        }
    }

    #[test]
    fn lists_that_turn_out_too_old_are_fetched_and_the_packages_installed() {
        let machine = Machine::new("replaced");
        machine.touch("noted");
        let apt = machine.apt(Access::Root, HOUR);
        apt.install(&["llvm-19-dev".to_owned()]).expect("installed");
        let told = machine.told();
        assert_eq!(told.len(), 3, "{told:?}");
        assert_eq!(told.get(1).map(String::as_str), Some("-q update"));
    }

    #[test]
    fn without_a_network_the_lists_that_are_here_have_to_do() {
        let machine = Machine::new("offline");
        machine.touch("offline");
        let apt = machine.apt(Access::Root, Duration::ZERO);
        assert_eq!(apt.candidate("llvm-22-dev"), None);
        assert_eq!(apt.candidate("llvm-19-dev").as_deref(), Some("1:19.1"));
        assert_eq!(machine.told(), ["-q update"]);
    }

    #[test]
    fn who_may_not_install_is_told_what_to_type() {
        let machine = Machine::new("denied");
        let apt = machine.apt(Access::Denied, Duration::ZERO);
        assert_eq!(apt.candidate("llvm-22-dev"), None);
        let error = apt.install(&["cmake".to_owned(), "g++".to_owned()]);
        assert_eq!(
            error.expect_err("refused").to_string(),
            "packages are missing; type: sudo apt-get update && sudo apt-get install \
             --no-install-recommends cmake g++"
        );
        assert!(machine.told().is_empty());
    }
}
