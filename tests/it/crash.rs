//! A gateway that dies and is started again by a service manager that kept its listening sockets: whoever
//! connects meanwhile waits, and is served.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tests::gateway::new_address;
use tests::tool::{self, is_alive, signal};
use tests::wait::{PATIENCE, until};
use tests::{Gateway, Setup};

const API: &str = "api.example.test";
/// Descriptors that come at once, at the most.
const GROUP: usize = 64;
/// Where those are put that a process is started with, on their way to the first free number.
const ASIDE: i32 = 200;

/// What systemd does for a service, as far as sockets go that it keeps.
struct Manager {
    socket: UnixDatagram,
    path: String,
    kept: BTreeMap<String, Vec<OwnedFd>>,
    /// How often it was told to keep something no longer.
    removals: usize,
}

impl Manager {
    fn new(gateway: &Gateway) -> Self {
        let path = gateway.file("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            path: path.display().to_string(),
            kept: BTreeMap::new(),
            removals: 0,
        }
    }

    /// Does what it is told, until that is so.
    fn hear(&mut self, what: &str, is_so: impl Fn(&Self, &str) -> bool) -> String {
        loop {
            let mut text = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GROUP))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut into = [IoSliceMut::new(&mut text)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            let got = recvmsg(&self.socket, &mut into, &mut control, flags);
            let got = got.unwrap_or_else(|error| panic!("{what} did not come: {error}"));
            let mut sockets = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    sockets.extend(rights);
                }
            }
            let text = String::from_utf8_lossy(&text[..got.bytes]).into_owned();
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
            let says = |line: &str| text.lines().any(|said| said == line);
            if says("FDSTOREREMOVE=1") {
                self.kept.remove(name.unwrap());
                self.removals += 1;
            } else if says("FDSTORE=1") {
                let kept = self.kept.entry(name.unwrap().to_owned()).or_default();
                kept.extend(sockets);
            }
            if is_so(self, &text) {
                return text;
            }
        }
    }

    fn hear_ready(&mut self) {
        let is_ready = |_: &Self, text: &str| text.lines().any(|line| line == "READY=1");
        drop(self.hear("the start", is_ready));
    }

    /// How many are kept under each name.
    fn counts(&self) -> Vec<(&str, usize)> {
        let counts = self
            .kept
            .iter()
            .map(|(name, kept)| (name.as_str(), kept.len()));
        counts.collect()
    }

    /// Starts the gateway with what is kept.
    fn start(&self, gateway: &Gateway) -> Child {
        let mut names = Vec::new();
        let mut puts = String::new();
        let mut passed = Vec::new();
        for (name, kept) in &self.kept {
            for socket in kept {
                let copy = fcntl_dupfd_cloexec(socket, ASIDE).unwrap();
                fcntl_setfd(&copy, FdFlags::empty()).unwrap();
                puts += &format!("exec {}<&{}\n", 3 + passed.len(), copy.as_raw_fd());
                names.push(name.as_str());
                passed.push(copy);
            }
        }
        for copy in &passed {
            puts += &format!("exec {}<&-\n", copy.as_raw_fd());
        }
        puts += "export LISTEN_PID=$$\nexec \"$@\"\n";
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(gateway.file("stderr.log"));
        Command::new("bash")
            .args(["-c", &puts, "bash"])
            .arg(tool::postern())
            .args(["run", "--config"])
            .arg(gateway.file("postern.conf"))
            .env("NOTIFY_SOCKET", &self.path)
            .env("LISTEN_FDS", passed.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .stdin(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap()
    }
}

fn answer(mut stream: TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
        .write_all(format!("GET /livez HTTP/1.1\r\nhost: {API}\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    let code = answer.split(' ').nth(1).unwrap_or_default();
    code.to_owned()
}

#[test]
fn who_connects_while_a_gateway_is_dead_is_served_by_the_next_one() {
    if !tool::has("bash") {
        return;
    }
    let [http, health, gone] = [new_address(), new_address(), new_address()];
    let mut gateway = Setup::new().start();
    assert!(gateway.stop().success());
    let tls = gateway.address;
    let mut manager = Manager::new(&gateway);
    gateway.listen = vec![tls, gone];
    let (http_text, health_text) = (http.to_string(), health.to_string());
    let settings = |workers| {
        [
            ("workers", workers),
            ("timeout.drain", "2s"),
            ("listen.http", http_text.as_str()),
            ("health.listen", health_text.as_str()),
        ]
    };
    gateway.configure(&settings("3"));
    let connect = |address: SocketAddr| TcpStream::connect(address).unwrap();
    let mut child = manager.start(&gateway);
    manager.hear_ready();
    let kept = |tls| vec![("health.listen", 1), ("listen", tls), ("listen.http", 1)];
    assert_eq!(manager.counts(), kept(6), "three workers at two addresses");
    assert_eq!(answer(connect(tls)), "400");

    child.kill().unwrap();
    child.wait().unwrap();
    // Now nobody is there, and each of these waits.
    let waiting = |count: usize| -> Vec<(TcpStream, &str)> {
        let all = [(tls, "400"), (gone, "400"), (http, "200"), (health, "200")];
        let all = all.iter().cycle().take(4 * count);
        all.map(|(address, code)| (connect(*address), *code))
            .collect()
    };
    let streams = waiting(10);
    // With fewer workers than there are sockets, and an address less.
    gateway.listen = vec![tls];
    gateway.configure(&settings("2"));
    let mut child = manager.start(&gateway);
    manager.hear_ready();
    assert_eq!(
        manager.counts(),
        kept(3),
        "each of them has somebody who accepts"
    );
    assert!(
        TcpStream::connect(gone).is_err(),
        "it is not listened on any more"
    );
    for (stream, code) in streams {
        assert_eq!(answer(stream), code);
    }
    for _ in 0..40 {
        assert_eq!(answer(connect(tls)), "400");
    }

    // A process that takes over keeps its own in their place.
    gateway.configure(&settings("4"));
    let before = manager.removals;
    signal(child.id(), "HUP");
    let mut successor = 0;
    while successor == 0 || manager.removals < before + 3 || manager.counts() != kept(4) {
        let said = manager.hear("the upgrade", |_, _| true);
        let pid = said.lines().find_map(|line| line.strip_prefix("MAINPID="));
        successor = pid.map_or(successor, |pid| pid.parse().unwrap());
        // Before, systemd would not listen to it.
        assert!(successor != 0 || manager.removals == before, "{said}");
    }
    assert!(child.wait().unwrap().success(), "it had no connections");
    signal(successor, "KILL");
    // All of its threads: the first one may be the first to end, and the others have its files.
    until("its end", || {
        let threads = fs::read_dir(format!("/proc/{successor}/task"));
        (threads.map_or(0, Iterator::count) <= 1 && !is_alive(successor)).then_some(())
    });
    let streams: Vec<TcpStream> = (0..20).map(|_| connect(tls)).collect();
    let mut child = manager.start(&gateway);
    manager.hear_ready();
    for stream in streams {
        assert_eq!(answer(stream), "400");
    }

    // Who is told to stop leaves nothing for anybody to wait at.
    signal(child.id(), "TERM");
    let is_stopping = |_: &Manager, text: &str| text.lines().any(|line| line == "STOPPING=1");
    drop(manager.hear("the stop", is_stopping));
    assert_eq!(manager.counts(), []);
    assert!(child.wait().unwrap().success());
    for address in [tls, http, health] {
        assert!(TcpStream::connect(address).is_err(), "{address}");
    }
}
