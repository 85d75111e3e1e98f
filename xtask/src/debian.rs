//! The Debian package: debhelper's, around a program that cargo has built.
//!
//! Stages what the package holds and lets `dpkg-buildpackage` do the rest, so that maintainer scripts,
//! stripped symbols and dependencies are Debian's own and not ours. Builds no program, and installs
//! nothing.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What the package is built with.
const TOOLS: &[&str] = &["dpkg-buildpackage", "dh", "dh_installsysusers"];

/// The maintainer in `debian/control`.
const MAINTAINER: &str = "Postern maintainers <postern@localhost.localdomain>";

/// The journal keeps some hundred lines a second and drops the rest; a file, with logrotate, keeps all.
const LOG_TO_JOURNAL: &str = "\n#log.access = stdout\n";
const LOG_TO_FILE: &str = "\nlog.access = /var/log/postern/access.log\n";

/// How much care is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Effort {
    /// For a release: as small as it gets, and a package with the debug symbols beside it.
    Release,
    /// For a test: quick, without debug symbols.
    Test,
}

/// `cargo xtask deb [PROGRAM]`.
pub(crate) fn command(arguments: &[String]) -> Result<()> {
    let program = match arguments {
        [] => shell::target().join("release/postern"),
        [program] => PathBuf::from(program),
        _ => bail!("`cargo xtask deb` takes one program, or none"),
    };
    for package in build(&program, &shell::target().join("deb"), Effort::Test)? {
        println!("{}", package.display());
    }
    Ok(())
}

/// Packages `program` and what it says of itself into `out`, which is emptied first; answers the
/// packages, the program's own first.
pub(crate) fn build(program: &Path, out: &Path, effort: Effort) -> Result<Vec<PathBuf>> {
    if let Some(missing) = TOOLS.iter().find(|tool| shell::find(tool).is_none()) {
        bail!("`{missing}` is missing: apt-get install debhelper dpkg-dev");
    }
    if !program.is_file() {
        bail!(
            "{} is not there: cargo build --release -p gateway",
            program.display()
        );
    }
    let program = program.canonicalize()?;
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("cannot empty {}", out.display()))?;
    }
    let tree = out.join("tree");
    copy_folder(
        &shell::root().join("gateway/packaging/debian"),
        &tree.join("debian"),
    )?;
    let maintainer = maintainer();
    fs::write(tree.join("debian/changelog"), changelog(&maintainer))?;
    let control = tree.join("debian/control");
    let text = fs::read_to_string(&control)?;
    fs::write(&control, text.replace(MAINTAINER, &maintainer))?;
    stage(&program, &tree.join("stage"))?;

    let mut build = Command::new("dpkg-buildpackage");
    build.args(["--build=binary", "--no-sign", "--no-check-builddeps"]);
    build.current_dir(&tree);
    if effort == Effort::Test {
        build.env("DEB_BUILD_OPTIONS", "noautodbgsym");
        build.env("DPKG_DEB_COMPRESSOR_TYPE", "gzip");
    }
    shell::run(&mut build)?;
    let mut packages: Vec<PathBuf> = fs::read_dir(out)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|ext| ext == "deb" || ext == "ddeb")
        })
        .collect();
    packages.sort_by_key(|path| path.to_string_lossy().contains("-dbgsym"));
    fs::remove_dir_all(&tree)?;
    Ok(packages)
}

/// Lays out the program, its manual pages, its completions, its sample configuration, and what monitoring
/// wants of it.
pub(crate) fn stage(program: &Path, stage: &Path) -> Result<()> {
    let bin = stage.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    fs::copy(program, bin.join("postern"))
        .with_context(|| format!("cannot copy {}", program.display()))?;
    let man = stage.join("man");
    shell::run(Command::new(program).arg("man").arg(&man))?;
    let sample = man.join("postern.conf");
    let text = fs::read_to_string(&sample)
        .with_context(|| format!("{} makes no sample of postern.conf", program.display()))?;
    fs::write(
        stage.join("postern.conf"),
        text.replace(LOG_TO_JOURNAL, LOG_TO_FILE),
    )?;
    fs::remove_file(&sample)?;
    for (shell, file) in [
        ("bash", "postern"),
        ("zsh", "_postern"),
        ("fish", "postern.fish"),
    ] {
        let script = shell::output(Command::new(program).args(["completions", shell]))
            .with_context(|| format!("`postern completions {shell}` failed"))?;
        let folder = stage.join("completions").join(shell);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(file), script)?;
    }
    for name in ["prometheus", "grafana"] {
        let folder = shell::root().join("gateway/packaging").join(name);
        copy_folder(&folder, &stage.join(name))?;
    }
    Ok(())
}

/// Who packages it, as Debian's tools are told; else nobody in particular.
fn maintainer() -> String {
    match (env::var("DEBFULLNAME"), env::var("DEBEMAIL")) {
        (Ok(name), Ok(mail)) => format!("{name} <{mail}>"),
        _ => MAINTAINER.to_owned(),
    }
}

/// One entry: this version, at the time of the last commit, so that the same sources make the same
/// package.
fn changelog(maintainer: &str) -> String {
    let mut git = Command::new("git");
    git.current_dir(shell::root());
    git.args(["log", "-1", "--format=%cD"]);
    let date = shell::output(&mut git);
    let date = date
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty());
    let date = date.unwrap_or_else(|| "Thu, 01 Jan 1970 00:00:00 +0000".to_owned());
    format!(
        "postern ({}-1) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- {maintainer}  {date}\n",
        env!("CARGO_PKG_VERSION")
    )
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
