//! What the build and the tests need, found or installed.
//!
//! Looks at the file system rather than asking programs, so that it costs milliseconds when nothing
//! is missing. Installs only through apt, `cargo install`, and pip and npm into `target/`; what it may not do
//! it prints as a line to paste. The kernel's own toolchain is `kernel.rs`.

use crate::apt::{self, Access, Apt};
use crate::{dashboard, kernel, shell};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use std::{env, fs};

/// How much has to be there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// To build and run the gateway.
    Build,
    /// To run the tests as well.
    Test,
}

/// One thing that apt can bring.
struct Need {
    what: &'static str,
    why: &'static str,
    purpose: Purpose,
    found: fn() -> bool,
    /// The first one that apt knows is taken.
    packages: &'static [&'static str],
}

const NEEDS: &[Need] = &[
    Need {
        what: "cmake",
        why: "configures BoringSSL",
        purpose: Purpose::Build,
        found: || shell::find("cmake").is_some(),
        packages: &["cmake"],
    },
    Need {
        what: "a C++ compiler",
        why: "compiles BoringSSL",
        purpose: Purpose::Build,
        found: || {
            ["c++", "g++", "clang++"]
                .iter()
                .any(|name| shell::find(name).is_some())
        },
        packages: &["g++"],
    },
    Need {
        what: "make",
        why: "builds BoringSSL",
        purpose: Purpose::Build,
        found: || {
            ["make", "ninja"]
                .iter()
                .any(|name| shell::find(name).is_some())
        },
        packages: &["make"],
    },
    Need {
        what: "git",
        why: "patches BoringSSL's sources",
        purpose: Purpose::Build,
        found: || shell::find("git").is_some(),
        packages: &["git"],
    },
    Need {
        what: "libclang with its headers",
        why: "reads BoringSSL's headers; elsewhere than in /usr/lib, say where with LIBCLANG_PATH",
        purpose: Purpose::Build,
        found: || libclang().is_some(),
        packages: &["libclang-22-dev", "libclang-19-dev", "libclang-dev"],
    },
    Need {
        what: "curl",
        why: "is a client in the tests",
        purpose: Purpose::Test,
        found: || shell::find("curl").is_some(),
        packages: &["curl"],
    },
    Need {
        what: "nghttp",
        why: "is an HTTP/2 client in the tests",
        purpose: Purpose::Test,
        found: || shell::find("nghttp").is_some(),
        packages: &["nghttp2-client"],
    },
    Need {
        what: "pebble",
        why: "is the ACME server of the tests",
        purpose: Purpose::Test,
        found: || shell::find("pebble").is_some(),
        packages: &["pebble"],
    },
    Need {
        what: "haproxy",
        why: "is a balancer in front in the tests",
        purpose: Purpose::Test,
        found: || shell::find("haproxy").is_some(),
        packages: &["haproxy"],
    },
    Need {
        what: "tmux",
        why: "is the terminal of `postern top` in the tests",
        purpose: Purpose::Test,
        found: || shell::find("tmux").is_some(),
        packages: &["tmux"],
    },
    Need {
        what: "nginx",
        why: "is a proxy in front in the tests",
        purpose: Purpose::Test,
        found: || shell::find("nginx").is_some(),
        packages: &["nginx"],
    },
    Need {
        what: "ip",
        why: "makes the tests' network namespaces",
        purpose: Purpose::Test,
        found: || shell::find("ip").is_some(),
        packages: &["iproute2"],
    },
    Need {
        what: "debhelper",
        why: "makes the Debian package in the tests",
        purpose: Purpose::Test,
        found: || shell::find("dh").is_some() && shell::find("dpkg-buildpackage").is_some(),
        packages: &["debhelper"],
    },
    Need {
        what: "lintian",
        why: "judges the Debian package in the tests",
        purpose: Purpose::Test,
        found: || shell::find("lintian").is_some(),
        packages: &["lintian"],
    },
    Need {
        what: "debootstrap",
        why: "makes the system in which the tests install the package",
        purpose: Purpose::Test,
        found: || shell::find("debootstrap").is_some(),
        packages: &["debootstrap"],
    },
    Need {
        what: "systemd-nspawn",
        why: "boots the system in which the tests install the package",
        purpose: Purpose::Test,
        found: || shell::find("systemd-nspawn").is_some(),
        packages: &["systemd-container"],
    },
    Need {
        what: "protoc",
        why: "reads the messages of etcd's protocol, for `fleet`",
        purpose: Purpose::Build,
        found: || shell::find("protoc").is_some(),
        packages: &["protobuf-compiler"],
    },
    Need {
        what: "the messages that protoc knows",
        why: "are imported by etcd's",
        purpose: Purpose::Build,
        found: || Path::new("/usr/include/google/protobuf/descriptor.proto").is_file(),
        packages: &["libprotobuf-dev"],
    },
    Need {
        what: "etcd",
        why: "keeps the log of a fleet in the tests",
        purpose: Purpose::Test,
        found: || shell::find("etcd").is_some(),
        packages: &["etcd-server"],
    },
    Need {
        what: "libfaketime",
        why: "sets the clock of one gateway in the tests",
        purpose: Purpose::Test,
        found: || {
            let found = Path::new("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1");
            found.is_file() || !cfg!(target_arch = "x86_64")
        },
        packages: &["libfaketime"],
    },
    Need {
        what: "podman",
        why: "builds and runs the container image in the tests",
        purpose: Purpose::Test,
        found: || shell::find("podman").is_some(),
        packages: &["podman"],
    },
    Need {
        what: "runc",
        why: "is what podman runs it with in the tests",
        purpose: Purpose::Test,
        found: || shell::find("runc").is_some(),
        packages: &["runc"],
    },
    Need {
        what: "strace",
        why: "kills the gateway at chosen system calls in the tests",
        purpose: Purpose::Test,
        found: || shell::find("strace").is_some(),
        packages: &["strace"],
    },
    Need {
        what: "Prometheus",
        why: "scrapes the gateway in the test of alert rules and dashboard",
        purpose: Purpose::Test,
        found: || shell::find("prometheus").is_some() && shell::find("promtool").is_some(),
        packages: &["prometheus"],
    },
    Need {
        what: "python3 with venv",
        why: "runs the gRPC, HTTP/2 and WebSocket peers, Cloudflare's SDK and an OpenAPI validator in the tests",
        purpose: Purpose::Test,
        found: || grpc_python().is_some() || system_python().is_some(),
        packages: &["python3-venv"],
    },
    Need {
        what: "npm",
        why: "builds the dashboard, and brings Cloudflare's SDK for Node, a client in the tests",
        purpose: Purpose::Test,
        found: || shell::find("npm").is_some() && shell::find("node").is_some(),
        packages: &["npm"],
    },
    Need {
        what: "Chromium",
        why: "is the dashboard's browser in the tests",
        purpose: Purpose::Test,
        found: || {
            ["chromium", "chromium-browser"]
                .iter()
                .any(|name| shell::find(name).is_some())
        },
        packages: &["chromium", "chromium-browser"],
    },
];

/// `cargo xtask setup`.
pub(crate) fn command() -> Result<()> {
    let start = Instant::now();
    provide(&Apt::now(), Purpose::Test)?;
    match kernel::find() {
        Ok(toolchain) => println!("kernel program: {toolchain}"),
        Err(missing) => bail!(
            "everything but kernel steering can be built; {missing}. {}",
            kernel::ADVICE
        ),
    }
    if let Some(libclang) = libclang() {
        println!("libclang:       {}", libclang.display());
    }
    println!("set-up complete ({} ms)", start.elapsed().as_millis());
    Ok(())
}

/// Installs what is missing for `purpose`. Says nothing when nothing is.
///
/// # Errors
/// When something without which nothing builds is missing and cannot be installed; the text says what
/// to type. The kernel toolchain and what only single tests need are tried, and warned about when
/// they cannot be had.
pub(crate) fn ensure(purpose: Purpose) -> Result<()> {
    provide(&Apt::hourly(), purpose)
}

/// Installs what compiles C and C++, and nothing else.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn compilers() -> Result<()> {
    packages(&Apt::hourly(), Purpose::Build)
}

fn provide(apt: &Apt, purpose: Purpose) -> Result<()> {
    packages(apt, purpose)?;
    if let Err(error) = kernel::ensure(apt) {
        eprintln!(
            "warning: kernel steering will be unavailable: {error:#}. {}",
            kernel::ADVICE
        );
    }
    if purpose == Purpose::Test
        && let Err(error) = grpc()
    {
        eprintln!("warning: the gRPC test will be skipped: {error:#}");
    }
    if purpose == Purpose::Test
        && let Err(error) = node()
    {
        eprintln!("warning: the test of Cloudflare's SDK for Node will be skipped: {error:#}");
    }
    if purpose == Purpose::Test
        && let Err(error) = dashboard::packages()
    {
        eprintln!(
            "warning: the gateway will have no dashboard, and its test will be skipped: {error:#}"
        );
    }
    Ok(())
}

fn packages(apt: &Apt, purpose: Purpose) -> Result<()> {
    let wanted = |need: &&Need| purpose == Purpose::Test || need.purpose == Purpose::Build;
    let missing: Vec<&Need> = NEEDS
        .iter()
        .filter(wanted)
        .filter(|need| !(need.found)())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("[1/4] packages: {} is missing; it {}", need.what, need.why);
    }
    if apt.access() == Access::NoApt {
        bail!(
            "install what is missing with your system's package manager, then run the same command \
             again (Debian's names: {})",
            missing
                .iter()
                .filter_map(|need| need.packages.last().copied())
                .collect::<Vec<_>>()
                .join(" ")
        );
    }
    let names: Vec<String> = missing
        .iter()
        .filter_map(|need| apt.preferred(need.packages))
        .collect();
    if !apt.granted() {
        let essential = missing.iter().any(|need| need.purpose == Purpose::Build);
        let advice = format!(
            "type this, then the same command again:\n\n    {}\n",
            apt::install_line(&names)
        );
        if essential {
            bail!("packages are missing and this user may not install them; {advice}");
        }
        eprintln!("warning: some tests will be skipped; {advice}");
        return Ok(());
    }
    eprintln!("[1/4] packages: installing {}", names.join(" "));
    apt.install(&names)?;
    match missing.iter().find(|need| !(need.found)()) {
        Some(need) => bail!(
            "{} is still missing after its package was installed",
            need.what
        ),
        None => Ok(()),
    }
}

/// A libclang that bindgen will find by itself, and beside which clang's own headers lie.
fn libclang() -> Option<PathBuf> {
    if let Some(path) = env::var_os("LIBCLANG_PATH") {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Some(path)
        } else {
            shared_libclang(&path)
        };
    }
    // The places that bindgen searches: /usr/lib*, and up to two directories below.
    let tops = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let first: Vec<PathBuf> = tops.iter().flat_map(|top| directories(top)).collect();
    let second: Vec<PathBuf> = first
        .iter()
        .flat_map(|directory| directories(directory))
        .collect();
    let found = tops
        .iter()
        .chain(&first)
        .chain(&second)
        .find_map(|directory| shared_libclang(directory));
    found.filter(|_| has_clang_headers())
}

fn shared_libclang(directory: &Path) -> Option<PathBuf> {
    entries(directory).into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let library = name.starts_with("libclang.so")
            || name.starts_with("libclang-") && name.contains(".so");
        library && !name.starts_with("libclang-cpp")
    })
}

/// Without clang's own `stddef.h`, libclang reads no header at all.
fn has_clang_headers() -> bool {
    let below = |top: &str| -> Vec<PathBuf> {
        let prefixes = directories(Path::new(top));
        prefixes
            .into_iter()
            .map(|prefix| prefix.join("lib/clang"))
            .chain([Path::new(top).join("clang")])
            .collect()
    };
    ["/usr/lib", "/usr/lib64", "/usr/local/lib"]
        .iter()
        .flat_map(|top| below(top))
        .flat_map(|clang| directories(&clang))
        .any(|version| version.join("include/stddef.h").exists())
}

/// Cloudflare's published SDK, pinned: it is what the admin API is compared with.
const CLOUDFLARE_SDK: &str = "cloudflare==5.9.0";
/// The validator of the admin API's OpenAPI document, pinned: its rules grow with its versions.
const OPENAPI_VALIDATOR: &str = "openapi-spec-validator==0.9.0";
/// What a complete environment notes in its file `ready`.
const PYTHON_READY: &str =
    "grpcio h2 websockets opentelemetry-proto cloudflare-5.9.0 openapi-spec-validator-0.9.0\n";

/// The interpreter with grpcio, Cloudflare's SDK and the validator that an earlier set-up made.
pub(crate) fn grpc_python() -> Option<PathBuf> {
    let python = shell::target().join("python/bin/python");
    let ready = shell::target().join("python/ready");
    let complete = fs::read_to_string(ready).is_ok_and(|noted| noted == PYTHON_READY);
    (python.exists() && complete).then_some(python)
}

/// Debian's interpreter when its `venv` is complete, else any other on `PATH`.
fn system_python() -> Option<PathBuf> {
    let complete = |python: &Path| {
        shell::output(Command::new(python).args(["-c", "import ensurepip, venv"])).is_some()
    };
    let debian = PathBuf::from("/usr/bin/python3");
    [Some(debian), shell::find("python3")]
        .into_iter()
        .flatten()
        .find(|python| complete(python))
}

/// grpcio, the reference implementation, clients of HTTP/2 and WebSocket, Cloudflare's SDK and the validator in an environment of
/// their own under `target/`.
fn grpc() -> Result<()> {
    if grpc_python().is_some() {
        return Ok(());
    }
    let home = shell::target().join("python");
    let python = system_python().context("there is no python3 with venv")?;
    eprintln!(
        "[4/4] grpcio, h2, websockets, opentelemetry-proto, cloudflare, openapi-spec-validator: installing into {}, about a minute",
        home.display()
    );
    shell::run(
        Command::new(python)
            .args(["-m", "venv", "--clear"])
            .arg(&home),
    )?;
    shell::run(
        Command::new(home.join("bin/python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
            ])
            .args([
                "--only-binary=:all:",
                "grpcio",
                "h2",
                "websockets",
                "opentelemetry-proto",
                CLOUDFLARE_SDK,
                OPENAPI_VALIDATOR,
            ]),
    )?;
    fs::write(home.join("ready"), PYTHON_READY)
        .context("cannot note that grpcio and cloudflare are installed")
}

/// How packages are installed: by the lock file, and without running their scripts.
pub(crate) const NPM_INSTALL: [&str; 5] = [
    "ci",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--silent",
];

/// What pins Cloudflare's SDK for Node, by version and digest. No registry is named in it.
const NODE_FILES: [(&str, &str); 2] = [
    (
        "package.json",
        include_str!("../../tests/node/package.json"),
    ),
    (
        "package-lock.json",
        include_str!("../../tests/node/package-lock.json"),
    ),
];

/// The directory with Cloudflare's SDK for Node that an earlier set-up made.
pub(crate) fn node_home() -> Option<PathBuf> {
    let home = shell::target().join("node");
    let [_, (_, lock)] = NODE_FILES;
    let complete = fs::read_to_string(home.join("ready")).is_ok_and(|noted| noted == lock);
    complete.then_some(home)
}

/// Cloudflare's SDK for Node in a directory of its own under `target/`. No script of a package is
/// run.
fn node() -> Result<()> {
    if node_home().is_some() {
        return Ok(());
    }
    let home = shell::target().join("node");
    let npm = shell::find("npm").context("there is no npm")?;
    eprintln!(
        "[4/4] cloudflare for Node: installing into {}",
        home.display()
    );
    fs::create_dir_all(&home).context("cannot make the directory for Node's packages")?;
    for (name, text) in NODE_FILES {
        fs::write(home.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    shell::run(Command::new(npm).args(NPM_INSTALL).current_dir(&home))?;
    let [_, (_, lock)] = NODE_FILES;
    fs::write(home.join("ready"), lock).context("cannot note that the package is installed")
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let listing = fs::read_dir(directory).into_iter().flatten().flatten();
    listing.map(|entry| entry.path()).collect()
}

fn directories(directory: &Path) -> Vec<PathBuf> {
    entries(directory)
        .into_iter()
        .filter(|path| path.is_dir())
        .collect()
}
