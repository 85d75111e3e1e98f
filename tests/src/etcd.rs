//! A real etcd of some members on loopback, for fleets.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::fresh::new_directory;
use crate::wait;

/// Members of an etcd cluster, which end with it.
pub struct Etcd {
    directory: PathBuf,
    members: Vec<(Ports, Option<Child>)>,
}

#[derive(Clone, Copy)]
struct Ports {
    clients: u16,
    peers: u16,
}

impl Etcd {
    /// Starts a cluster of so many members; none where etcd is not installed, which is said.
    #[must_use]
    pub fn start(members: usize) -> Option<Self> {
        let installed = Command::new("etcd").arg("--version").output();
        if !installed.is_ok_and(|done| done.status.success()) {
            eprintln!("skipped: needs etcd (`cargo xtask setup` installs it)");
            return None;
        }
        let listeners: Vec<TcpListener> = (0..2 * members)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let ports = listeners.chunks(2).map(|pair| Ports {
            clients: port(&pair[0]),
            peers: port(&pair[1]),
        });
        let members = ports.map(|ports| (ports, None)).collect();
        drop(listeners);
        let mut etcd = Self {
            directory: new_directory(),
            members,
        };
        for number in 0..etcd.members.len() {
            etcd.run(number);
        }
        etcd.wait();
        Some(etcd)
    }

    /// Waits until it answers.
    pub fn wait(&self) {
        wait::until("etcd to answer", || {
            let all = self.members.iter().filter(|(_, child)| child.is_some());
            let mut all = all.map(|(ports, _)| is_well(ports.clients));
            all.all(|is_well| is_well).then_some(())
        });
    }

    /// The value of `fleet.etcd`.
    #[must_use]
    pub fn urls(&self) -> String {
        let urls = self.members.iter();
        let urls = urls.map(|(ports, _)| format!("http://127.0.0.1:{}", ports.clients));
        urls.collect::<Vec<_>>().join(", ")
    }

    fn data(&self, number: usize) -> PathBuf {
        self.directory.join(format!("m{number}"))
    }

    /// Starts a member (again).
    pub fn run(&mut self, number: usize) {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster: Vec<String> = (0..)
            .zip(&self.members)
            .map(|(number, (ports, _))| format!("m{number}={}", url(ports.peers)))
            .collect();
        let ports = self.members[number].0;
        let mut command = Command::new("etcd");
        command.args(["--name", &format!("m{number}"), "--log-level", "error"]);
        command.arg("--data-dir").arg(self.data(number));
        command.args(["--listen-client-urls", &url(ports.clients)]);
        command.args(["--advertise-client-urls", &url(ports.clients)]);
        command.args(["--listen-peer-urls", &url(ports.peers)]);
        command.args(["--initial-advertise-peer-urls", &url(ports.peers)]);
        command.args(["--initial-cluster", &cluster.join(",")]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.members[number].1 = Some(child.unwrap());
    }

    /// Kills a member.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.members[number].1.take() {
            let _dead = child.kill();
            let _reaped = child.wait();
        }
    }

    /// Kills all of them.
    pub fn kill_all(&mut self) {
        for number in 0..self.members.len() {
            self.kill(number);
        }
    }

    /// Starts all of them again.
    pub fn run_all(&mut self) {
        for number in 0..self.members.len() {
            self.run(number);
        }
        self.wait();
    }

    /// Copies the data of the only member, which is not running, and answers where to.
    #[must_use]
    pub fn backup(&self) -> PathBuf {
        let to = self.directory.join("backup");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(self.data(0))
            .arg(&to)
            .status();
        assert!(copied.is_ok_and(|status| status.success()));
        to
    }

    /// Puts a copy in the place of the data of the only member, which is not running.
    pub fn restore(&self, from: &PathBuf) {
        std::fs::remove_dir_all(self.data(0)).unwrap();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(from)
            .arg(self.data(0))
            .status();
        assert!(copied.is_ok_and(|status| status.success()));
    }
}

/// Whether a member answers, and has a leader.
fn is_well(port: u16) -> bool {
    let asked = (|| -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })();
    asked.is_ok_and(|answer| answer.contains("\"health\":\"true\""))
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill_all();
        drop(std::fs::remove_dir_all(&self.directory));
    }
}
