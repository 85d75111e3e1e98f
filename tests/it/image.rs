//! The container image, built by podman from the Debian package: it holds the program and what that needs,
//! runs without being root under its own list of system calls, and keeps its store on a volume.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixtures::new_port;
use tests::Origin;
use tests::gateway::new_directory;
use tests::tool::{self, Outcome};
use tests::wait::until;

use crate::package;

/// What the image's own file calls `postern`, by number.
const USER: u32 = 65_532;
/// Descriptors and processes that the container may have; podman's own bounds may be beyond this machine's.
const LIMITS: [&str; 4] = ["--ulimit", "nofile=1024:4096", "--ulimit", "nproc=512:512"];
/// The zone, its host, and a client certificate; answered by 403 and 200 then.
const WALK: &[&[&str]] = &[
    &["zone", "create", "example.com"],
    &[
        "host",
        "add",
        "api.example.com",
        "--zone",
        "example.com",
        "--mtls",
        "request",
        "--development-cert",
        "--origin",
    ],
    &[
        "rule",
        "mtls",
        "--zone",
        "example.com",
        "--hosts",
        "api.example.com",
        "--check-revoked",
    ],
];

/// Podman with a store of its own, which goes with it, and with the container that it runs.
struct Podman {
    store: PathBuf,
}

impl Podman {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.store.join("root"));
        command.arg("--runroot").arg(self.store.join("run"));
        command.args(["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"]);
        command.args(["--runtime", "runc"]).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        tool::run(&mut self.command(arguments))
    }

    /// `postern` in the running container.
    fn postern(&self, arguments: &[&str]) -> Outcome {
        self.run(&[&["exec", NAME, "/usr/bin/postern"], arguments].concat())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.run(&["rm", "--force", "--time", "0", NAME]));
        drop(self.run(&["rmi", "--all", "--force"]));
        let _removed = fs::remove_dir_all(&self.store);
    }
}

/// The container, in a store that nobody else has.
const NAME: &str = "postern";

/// Builds the image of the gateway that is tested; answers its name.
fn image(podman: &Podman, base: &Path) -> String {
    let folder = podman.store.join("context");
    fs::create_dir_all(&folder).unwrap();
    let package = package::package();
    fs::copy(&package, folder.join(package.file_name().unwrap())).unwrap();
    let container = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gateway/packaging/container");
    let system = podman.store.join("base.tar");
    let mut tar = Command::new("tar");
    drop(tool::run(tar.arg("-C").arg(base).arg("-cf").arg(&system).arg(".")).ok());
    let imported = podman.run(&["import", system.to_str().unwrap(), "localhost/base"]);
    drop(imported.ok());
    fs::remove_file(&system).unwrap();
    let file = container.join("Containerfile");
    let built = podman.run(&[
        "build",
        "--isolation",
        "chroot",
        "--build-arg",
        "BASE=localhost/base",
        "--tag",
        NAME,
        "--file",
        file.to_str().unwrap(),
        folder.to_str().unwrap(),
    ]);
    drop(built.ok());
    format!("localhost/{NAME}")
}

#[test]
fn the_image_runs_without_root_under_its_own_list_of_system_calls() {
    let needed = [
        "podman",
        "runc",
        "dpkg-buildpackage",
        "dh",
        "debootstrap",
        "curl",
    ];
    if !needed.into_iter().all(tool::has) {
        return;
    }
    if tool::run(Command::new("id").arg("-u")).out.trim() != "0" {
        eprintln!("skipped: needs root, for debootstrap and podman");
        return;
    }
    let Some(base) = package::base() else { return };
    let podman = Podman {
        store: new_directory(),
    };
    let image = image(&podman, &base);

    let origin = Origin::echo();
    let port = new_port();
    let data = podman.store.join("data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(USER), Some(USER)).unwrap();
    let conf = podman.store.join("postern.conf");
    fs::write(&conf, format!("listen = 127.0.0.1:{port}\nworkers = 1\n")).unwrap();
    let data = format!("{}:/var/lib/postern", data.display());
    let conf = format!("{}:/etc/postern/postern.conf:ro", conf.display());
    let seccomp = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../gateway/packaging/container/seccomp.json"
    );
    let seccomp = format!("seccomp={seccomp}");
    let start = || {
        let head = [
            "run",
            "--detach",
            "--replace",
            "--name",
            NAME,
            "--network",
            "host",
        ];
        let walls = [
            "--read-only",
            "--cap-drop",
            "all",
            "--security-opt",
            &seccomp,
        ];
        let volumes = ["--volume", &data, "--volume", &conf];
        let all = [&head[..], &walls, &LIMITS, &volumes, &[&image]].concat();
        drop(podman.run(&all).ok());
        until("the gateway in the container", || {
            (podman.postern(&["status"]).code == 0).then_some(())
        });
    };
    start();
    let address = origin.url();
    for line in WALK {
        let mut line = line.to_vec();
        if line.last() == Some(&"--origin") {
            line.push(&address);
        }
        drop(podman.postern(&line).ok());
    }
    let file = |name: &str, text: String| {
        let path = podman.store.join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let ca = file(
        "ca.pem",
        podman.postern(&["zone", "ca", "--development"]).ok(),
    );
    let made = podman.postern(&[
        "cert",
        "create",
        "--zone",
        "example.com",
        "--cn",
        "device",
        "--json",
    ]);
    let made = made.json();
    let text = |name: &str| {
        made[name]
            .as_str()
            .unwrap_or_else(|| panic!("{made}"))
            .to_owned()
    };
    let certificate = file("device.pem", text("certificate"));
    let key = file("device.key", text("private_key"));
    let ask = |client: bool| {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
            "--cacert",
        ]);
        curl.arg(&ca).arg("--resolve");
        curl.arg(format!("api.example.com:{port}:127.0.0.1"));
        if client {
            curl.arg("--cert").arg(&certificate).arg("--key").arg(&key);
        }
        tool::run(curl.arg(format!("https://api.example.com:{port}/"))).out
    };
    assert_eq!([ask(false), ask(true)], ["403", "200"]);

    // Ended as an orchestrator ends it, and replaced: what was acknowledged is on the volume.
    drop(podman.run(&["stop", "--time", "30", NAME]).ok());
    let ended = podman.run(&["inspect", "--format", "{{.State.ExitCode}}", NAME]);
    assert_eq!(ended.ok().trim(), "0");
    start();
    assert_eq!([ask(false), ask(true)], ["403", "200"]);

    // Nothing but the program is in it to be run.
    let shell = podman.run(&["exec", NAME, "/bin/sh", "-c", "true"]);
    assert_ne!(shell.code, 0, "{shell:?}");
}
