//! What Cargo knows of the workspace: its packages, their targets, who depends on whom.
//!
//! Reads `cargo metadata`, so that no list of our crates has to be kept by hand. Draws no
//! conclusions.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// One of our packages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Its `Cargo.toml`.
    pub(crate) manifest: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

impl Package {
    /// Where its `Cargo.toml` lies.
    pub(crate) fn directory(&self) -> &Path {
        self.manifest.parent().unwrap_or(&self.manifest)
    }
}

/// A dependency as the manifest states it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// It is named by its path, as all of ours are.
    pub(crate) local: bool,
}

/// What a dependency is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Normal,
    Build,
    /// Tests, benches and examples only.
    Dev,
}

impl Kind {
    fn read(value: &Value) -> Self {
        match value.as_str() {
            Some("build") => Self::Build,
            Some("dev") => Self::Dev,
            _ => Self::Normal,
        }
    }
}

/// Something that is compiled: a library, a program, a test, a bench.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// Cargo's words: `lib`, `bin`, `test`, `bench`, `custom-build`.
    pub(crate) kinds: Vec<String>,
    /// The root of its sources.
    pub(crate) source: PathBuf,
}

impl Target {
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kinds.iter().any(|known| known == kind)
    }
}

/// All packages that a build meets, and what each of them depends on.
#[derive(Debug, Default)]
pub(crate) struct Resolved {
    pub(crate) packages: Vec<Node>,
}

/// A package among all of them.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    /// It is one of ours.
    pub(crate) member: bool,
    /// Places in [`Resolved::packages`], each once for every kind.
    pub(crate) needs: Vec<(Kind, usize)>,
}

/// The members of our workspace.
pub(crate) fn members() -> Result<Vec<Package>> {
    packages(&run(&["--no-deps"])?)
}

/// Every package that a build of our workspace for this machine meets. May have Cargo fetch them.
pub(crate) fn resolved() -> Result<Resolved> {
    resolve(&run(&["--filter-platform", &host()?])?)
}

fn run(arguments: &[&str]) -> Result<Value> {
    let mut cargo = shell::cargo();
    cargo
        .args(["metadata", "--format-version", "1"])
        .args(arguments)
        .stdin(Stdio::null());
    let line = shell::line(&cargo);
    let output = cargo
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}): {}", output.status, said.trim());
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("`{line}` printed no JSON"))
}

/// The target that this machine's compiler builds for.
fn host() -> Result<String> {
    let version = shell::output(shell::rustc().arg("-vV")).context("rustc does not run")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

fn packages(metadata: &Value) -> Result<Vec<Package>> {
    let members = member_ids(metadata);
    list(metadata, "packages")?
        .iter()
        .filter(|package| members.contains(&text(package, "id").unwrap_or_default()))
        .map(|package| {
            Ok(Package {
                name: text(package, "name")?.to_owned(),
                manifest: text(package, "manifest_path")?.into(),
                dependencies: list(package, "dependencies")?
                    .iter()
                    .map(|dependency| {
                        Ok(Dependency {
                            name: text(dependency, "name")?.to_owned(),
                            kind: Kind::read(field(dependency, "kind")),
                            local: field(dependency, "path").is_string(),
                        })
                    })
                    .collect::<Result<_>>()?,
                targets: list(package, "targets")?
                    .iter()
                    .map(|target| {
                        let kinds = list(target, "kind")?.iter().filter_map(Value::as_str);
                        Ok(Target {
                            name: text(target, "name")?.to_owned(),
                            kinds: kinds.map(str::to_owned).collect(),
                            source: text(target, "src_path")?.into(),
                        })
                    })
                    .collect::<Result<_>>()?,
            })
        })
        .collect()
}

fn resolve(metadata: &Value) -> Result<Resolved> {
    let members = member_ids(metadata);
    let mut names = HashMap::new();
    for package in list(metadata, "packages")? {
        names.insert(text(package, "id")?, text(package, "name")?);
    }
    let nodes = list(field(metadata, "resolve"), "nodes")?;
    let mut places = HashMap::new();
    for (place, node) in nodes.iter().enumerate() {
        places.insert(text(node, "id")?, place);
    }
    let packages = nodes.iter().map(|node| {
        let id = text(node, "id")?;
        let mut needs = Vec::new();
        for dependency in list(node, "deps")? {
            let place = places
                .get(text(dependency, "pkg")?)
                .context("`cargo metadata` names a package that it does not list")?;
            for kind in list(dependency, "dep_kinds")? {
                needs.push((Kind::read(field(kind, "kind")), *place));
            }
        }
        Ok(Node {
            name: (*names.get(id).context("a package without a name")?).to_owned(),
            member: members.contains(&id),
            needs,
        })
    });
    Ok(Resolved {
        packages: packages.collect::<Result<_>>()?,
    })
}

fn member_ids(metadata: &Value) -> Vec<&str> {
    let ids = field(metadata, "workspace_members").as_array();
    ids.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or(&Value::Null)
}

fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str> {
    let text = field(value, name).as_str();
    text.with_context(|| format!("`cargo metadata` has no text `{name}` where one was expected"))
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    let list = field(value, name).as_array();
    list.with_context(|| format!("`cargo metadata` has no list `{name}` where one was expected"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Kind, Package, Resolved, packages, resolve};
    use serde_json::{Value, json};

    /// Metadata as Cargo would print it, of packages written as `name: needed build:needed
    /// dev:needed`. Packages in front of a line `--` are ours.
    pub(crate) fn metadata(text: &str) -> Value {
        let ours = text.lines().take_while(|line| line.trim() != "--").count();
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.trim() != "--")
            .map(|(index, line)| {
                let (name, needs) = line.split_once(':').expect("a colon");
                let needs = needs
                    .split_whitespace()
                    .map(|need| match need.split_once(':') {
                        Some((kind, name)) => (json!(kind), name),
                        None => (Value::Null, need),
                    });
                (index < ours, name.trim(), needs.collect::<Vec<_>>())
            })
            .collect::<Vec<_>>();
        let member = |name: &str| lines.iter().any(|(member, n, _)| *member && *n == name);
        let packages = lines.iter().map(|(_, name, needs)| {
            let dependencies = needs.iter().map(|(kind, need)| {
                let path = member(need).then(|| format!("/w/{need}"));
                json!({"name": need, "kind": kind, "path": path})
            });
            json!({
                "id": format!("id of {name}"),
                "name": name,
                "manifest_path": format!("/w/{name}/Cargo.toml"),
                "dependencies": dependencies.collect::<Vec<_>>(),
                "targets": [{
                    "name": name,
                    "kind": ["lib"],
                    "src_path": format!("/w/{name}/src/lib.rs"),
                }],
            })
        });
        let nodes = lines.iter().map(|(_, name, needs)| {
            let deps = needs.iter().map(|(kind, need)| {
                let kinds = [json!({"kind": kind, "target": null})];
                json!({"pkg": format!("id of {need}"), "dep_kinds": kinds})
            });
            json!({"id": format!("id of {name}"), "deps": deps.collect::<Vec<_>>()})
        });
        let members = lines.iter().filter(|(member, ..)| *member);
        json!({
            "packages": packages.collect::<Vec<_>>(),
            "workspace_members":
                members.map(|(_, name, _)| format!("id of {name}")).collect::<Vec<_>>(),
            "resolve": {"nodes": nodes.collect::<Vec<_>>()},
        })
    }

    pub(crate) fn made_up(text: &str) -> (Vec<Package>, Resolved) {
        let metadata = metadata(text);
        (
            packages(&metadata).expect("packages"),
            resolve(&metadata).expect("a resolution"),
        )
    }

    #[test]
    fn packages_are_ours_and_know_what_they_need() {
        let (packages, resolved) = made_up("a: b dev:c\nb: build:cc\nc:\n--\ncc:");
        let names: Vec<&str> = packages.iter().map(|package| &*package.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let kinds = |package: &Package| -> Vec<(String, Kind, bool)> {
            let of = package.dependencies.iter();
            of.map(|d| (d.name.clone(), d.kind, d.local)).collect()
        };
        assert_eq!(
            packages.iter().map(kinds).collect::<Vec<_>>(),
            [
                vec![
                    ("b".to_owned(), Kind::Normal, true),
                    ("c".to_owned(), Kind::Dev, true)
                ],
                vec![("cc".to_owned(), Kind::Build, false)],
                vec![],
            ]
        );
        assert_eq!(resolved.packages.len(), 4);
        assert!(!resolved.packages[3].member);
    }

    #[test]
    fn what_is_no_metadata_is_refused() {
        for value in [
            json!({}),
            json!({"packages": 1}),
            json!({"packages": [{"id": "x"}], "workspace_members": ["x"]}),
        ] {
            assert!(packages(&value).is_err(), "{value}");
            assert!(resolve(&value).is_err(), "{value}");
        }
    }

    #[test]
    fn this_workspace_can_be_read() {
        let packages = super::members().expect("cargo metadata");
        let xtask = packages.iter().find(|package| package.name == "xtask");
        let xtask = xtask.expect("this package is a member");
        assert!(xtask.directory().join("src/metadata.rs").exists());
        assert!(xtask.targets.iter().any(|target| target.is("bin")));
    }
}
