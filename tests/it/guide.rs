//! `gateway/docs/guide.md`: runs every command as a reader would paste it, and compares what is
//! printed.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fixtures::new_loopback;
use tests::gateway::{new_address, new_directory};
use tests::tool::{self, has};
use tests::wait::until;

/// How a block begins whose command goes on until it is stopped.
pub(crate) const BACKGROUND: &str = "# in a terminal of its own\n";

/// Where the guide has its gateway.
const SOCKET: &str = "admin.sock";

/// A block of the guide.
#[derive(Debug)]
pub(crate) enum Block {
    /// To be pasted into a shell.
    Shell(String),
    /// Lines that the commands before it print, in this order and among others.
    Printed(String),
}

/// A process of the guide that ends with the test.
pub(crate) struct Running(Child);

impl Running {
    /// Starts what is to go on, and waits until somebody listens at its address.
    pub(crate) fn start(line: &str, home: &Path, socket: &str, address: SocketAddr) -> Self {
        let child = shell(&format!("exec {line}"), home, socket)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let running = Self(child.unwrap());
        until(line, || TcpStream::connect(address).ok());
        running
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        tool::signal(self.0.id(), "TERM");
        drop(self.0.wait());
    }
}

pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(&str, String)> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(kind)) => open = Some((kind, String::new())),
            (Some((kind, body)), Some("")) => {
                found.push(match *kind {
                    "sh" => Block::Shell(std::mem::take(body)),
                    "text" => Block::Printed(std::mem::take(body)),
                    kind => panic!("a block of the kind `{kind}`, which nobody runs"),
                });
                open = None;
            }
            (Some((_, body)), _) => {
                body.push_str(line);
                body.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "the last block is not closed");
    found
}

/// Whether `line` has the parts of `wanted`, between which `…` stands, in their order.
fn says(line: &str, wanted: &str) -> bool {
    let mut rest = line;
    wanted.split('…').map(str::trim).all(|part| {
        let found = rest.find(part);
        if let Some(place) = found {
            rest = &rest[place + part.len()..];
        }
        found.is_some()
    })
}

/// Looks for the wanted lines one after the other.
pub(crate) fn check(block: &str, printed: &str, wanted: &str) {
    let mut lines = printed.lines();
    for wanted in wanted.lines() {
        assert!(
            lines.any(|line| says(line, wanted)),
            "`{wanted}` was not printed (in this place) by\n{block}\nbut\n{printed}"
        );
    }
}

/// The commands with addresses that no other test uses.
fn adapted(block: &str, gateway: SocketAddr, origin: SocketAddr) -> String {
    block
        .replace("127.0.0.1:9000", &origin.to_string())
        .replace(
            "(\"127.0.0.1\", 9000)",
            &format!("(\"127.0.0.1\", {})", origin.port()),
        )
        .replace("127.0.0.1:8443", &gateway.to_string())
        .replace(
            "com:8443:127.0.0.1",
            &format!("com:{}:{}", gateway.port(), gateway.ip()),
        )
        .replace("com:8443/", &format!("com:{}/", gateway.port()))
}

/// Runs some lines in a folder, with the socket that was exported before.
pub(crate) fn shell(script: &str, home: &Path, socket: &str) -> Command {
    let postern = tool::postern();
    let mut paths = vec![postern.parent().unwrap().to_owned()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let mut command = Command::new("bash");
    command
        .args(["-e", "-u", "-o", "pipefail", "-c", script])
        .env("PATH", std::env::join_paths(paths).unwrap())
        // Set by a block, and blocks have a shell of their own here.
        .env("POSTERN_SOCKET", home.join(socket))
        .current_dir(home);
    command
}

fn guide() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../gateway/docs/guide.md");
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn every_command_of_the_guide_works() {
    if !["bash", "openssl", "curl", "python3"].into_iter().all(has) {
        return;
    }
    let home = new_directory();
    let gateway = new_address();
    let origin = new_loopback();
    let mut running = Vec::new();
    let mut last = (String::new(), String::new());
    let mut commands = 0;
    for block in blocks(&guide()) {
        match block {
            Block::Printed(wanted) => check(&last.0, &last.1, &wanted),
            Block::Shell(block) => {
                let script = adapted(&block, gateway, origin);
                commands += script.lines().count();
                if let Some(line) = script.strip_prefix(BACKGROUND) {
                    let address = if line.contains("origin.py") {
                        origin
                    } else {
                        gateway
                    };
                    running.push(Running::start(line, &home, SOCKET, address));
                    continue;
                }
                let done = tool::run(&mut shell(&format!("exec 2>&1\n{script}"), &home, SOCKET));
                assert_eq!(done.code, 0, "{block}\n{}\n{}", done.out, done.err);
                last = (block, done.out);
            }
        }
    }
    assert!(commands > 50, "only {commands} lines were found");
    assert_eq!(running.len(), 2);
    // What section 9 promises, which the origin prints in an order of its own.
    for header in [
        "Cf-Cert-Verified: true",
        "Cf-Client-Cert-Sha256: ",
        "Cf-Cert-Subject-Dn",
    ] {
        let script = adapted(
            "curl -sS --cacert server.pem --resolve api.example.com:8443:127.0.0.1 --cert device-2.pem --key device-2.key https://api.example.com:8443/",
            gateway,
            origin,
        );
        let said = tool::run(&mut shell(&script, &home, SOCKET)).ok();
        assert!(
            said.to_ascii_lowercase()
                .contains(&header.to_ascii_lowercase()),
            "{header}: {said}"
        );
        assert!(!said.contains("forged"), "{said}");
    }
    drop(running);
    std::fs::remove_dir_all(&home).unwrap();
}

#[test]
fn blocks_and_lines_are_found() {
    let found = blocks("text\n```sh\na\nb\n```\n\n```text\nc\n```\n");
    let [Block::Shell(script), Block::Printed(wanted)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((script.as_str(), wanted.as_str()), ("a\nb\n", "c\n"));
    for (line, wanted, expected) in [
        (
            "rule   bad: nothing; to mend it: x",
            "rule … bad: … mend",
            true,
        ),
        ("rule   ok", "rule … bad", false),
        ("bad rule", "rule … bad", false),
        ("anything", "", true),
    ] {
        assert_eq!(says(line, wanted), expected, "{line}: {wanted}");
    }
}
