//! Programs that tests run: `postern` itself, curl, nghttp2, Python.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

/// The Python that `cargo xtask test` has given packages to, when it can import `module` of
/// `package`; otherwise says what is missing.
#[must_use]
pub fn python(module: &str, package: &str) -> Option<PathBuf> {
    let python =
        std::env::var_os("POSTERN_TEST_PYTHON").map_or_else(|| "python3".into(), PathBuf::from);
    let import = format!("import {module}");
    let probe = Command::new(&python).args(["-c", &import]).output();
    if probe.is_ok_and(|done| done.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: needs a Python with {package} (`cargo xtask setup` makes one)");
    None
}

/// How a program ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Outcome {
    /// Standard output as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Standard output of a program that must have done its work.
    #[must_use]
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Standard error of a program that must have failed with `code`.
    #[must_use]
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{self:?}");
        self.err
    }
}

/// Cargo's target directory, in which this test was built.
///
/// # Panics
/// It was moved away since.
#[must_use]
pub fn target() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let tagged = |directory: &&std::path::Path| directory.join("CACHEDIR.TAG").exists();
    test.ancestors().find(tagged).unwrap().to_path_buf()
}

/// The gateway's binary, as cargo built it beside this test.
///
/// # Panics
/// It is not there.
#[must_use]
pub fn postern() -> PathBuf {
    // target/PROFILE/deps/it-0123456789abcdef
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let binary = profile.join("postern");
    assert!(
        binary.exists(),
        "{} is missing: `cargo xtask test` builds it first, or run `cargo build -p gateway{}`",
        binary.display(),
        if profile.ends_with("release") {
            " --release"
        } else {
            ""
        }
    );
    binary
}

/// Runs a program to its end.
///
/// # Panics
/// It cannot be started.
#[must_use]
pub fn run(command: &mut Command) -> Outcome {
    let done = command.stdin(Stdio::null()).output();
    let done = done.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Outcome {
        code: done.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&done.stdout).into_owned(),
        err: String::from_utf8_lossy(&done.stderr).into_owned(),
    }
}

/// Whether a program is installed; if not, says that a test is skipped.
#[must_use]
pub fn has(program: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|paths| {
        std::env::split_paths(&paths).any(|directory| directory.join(program).is_file())
    });
    if !found {
        eprintln!("skipped: needs {program} (`cargo xtask setup` installs it)");
    }
    found
}

/// Sends a signal to one process.
pub fn signal(pid: u32, name: &str) {
    // It may be gone already, which is what most signals are for.
    drop(run(Command::new("kill").args([
        "-s",
        name,
        &pid.to_string(),
    ])));
}

/// Whether a process runs; one that waits to be asked how it ended does not.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Waits for the end of a process that need not be a child. Answers whether it came.
#[must_use]
pub fn ends(pid: u32) -> bool {
    let deadline = std::time::Instant::now() + crate::wait::PATIENCE;
    while is_alive(pid) && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    !is_alive(pid)
}
