//! Two network namespaces joined by a veth pair with Ethernet's MTU: a server's side and a client's.
//!
//! A namespace belongs to a thread and to what that thread starts, so each side is a thread that
//! runs what it is given. Both end with the threads, interfaces, sysctls and all; nothing of the
//! machine's own network is touched.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};

/// The server's IPv4 address.
pub const SERVER_IPV4: &str = "192.0.2.1:443";
/// The server's IPv6 address.
pub const SERVER_IPV6: &str = "[2001:db8::1]:443";

type Job = Box<dyn FnOnce() + Send>;

/// Two sides and a wire.
pub struct Network {
    /// Where gateway and origins live; its interface is `inside`.
    pub server: Side,
    /// Where clients live.
    pub client: Side,
}

/// A thread in a network namespace of its own.
pub struct Side {
    jobs: Sender<Job>,
}

/// The server's IPv4 address on the second wire.
pub const SERVER_SECOND: &str = "198.51.100.1";

impl Network {
    /// Joins the sides by a second wire, `inside2` to `outside2`.
    pub fn second_wire(&self) {
        let thread = self.client.thread();
        self.server.run(move || {
            ip(&format!(
                "link add inside2 type veth peer name outside2 netns {thread}"
            ));
            ip("link set inside2 up");
            ip("address add 198.51.100.1/24 dev inside2");
        });
        self.client.run(|| {
            ip("link set outside2 up");
            ip("address add 198.51.100.2/24 dev outside2");
        });
    }

    /// Both sides, or nothing and a line that says what is missing.
    #[must_use]
    pub fn new(test: &str) -> Option<Self> {
        let missing = missing();
        if let Some(reason) = missing {
            eprintln!("{test}: skipped: {reason}");
            return None;
        }
        let network = Self {
            server: Side::new(),
            client: Side::new(),
        };
        let thread = network.client.thread();
        network.server.run(move || {
            ip("link set lo up");
            ip(&format!(
                "link add inside type veth peer name outside netns {thread}"
            ));
            ip("link set inside up");
            ip("address add 192.0.2.1/24 dev inside");
            ip("address add 2001:db8::1/64 dev inside nodad");
        });
        network.client.run(|| {
            ip("link set lo up");
            ip("link set outside up");
            ip("address add 192.0.2.2/24 dev outside");
            ip("address add 2001:db8::2/64 dev outside nodad");
        });
        Some(network)
    }
}

/// What keeps this machine from running such tests.
fn missing() -> Option<String> {
    if let Err(reason) = datapath::steer::load() {
        return Some(format!("needs CAP_BPF: {reason}"));
    }
    if !crate::tool::has("ip") {
        return Some("needs iproute2".into());
    }
    let tried = std::thread::spawn(|| {
        if let Err(reason) = leave() {
            return Some(format!("needs CAP_SYS_ADMIN: {reason}"));
        }
        if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
            return Some("needs IPv6".into());
        }
        let veth = ["link", "add", "probe", "type", "veth"];
        let veth = Command::new("ip").args(veth).status();
        (!veth.is_ok_and(|status| status.success())).then(|| "needs veth interfaces".into())
    });
    tried.join().unwrap()
}

impl Side {
    fn new() -> Self {
        let (jobs, inbox) = channel::<Job>();
        std::thread::spawn(move || {
            leave().unwrap();
            for job in inbox {
                job();
            }
        });
        Self { jobs }
    }

    /// The thread's number, by which its namespace can be named.
    fn thread(&self) -> String {
        self.run(|| {
            // "1234/task/1240": the last part is this thread.
            let path = std::fs::read_link("/proc/thread-self").unwrap();
            path.file_name().unwrap().to_str().unwrap().to_owned()
        })
    }

    /// Runs `job` on this side and answers what it answers; its panic is a panic here.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (outbox, outcome) = channel();
        let job = move || {
            let done = catch_unwind(AssertUnwindSafe(job));
            drop(outbox.send(done));
        };
        self.jobs.send(Box::new(job)).unwrap();
        match outcome.recv().unwrap() {
            Ok(answer) => answer,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// The same for a future.
    pub fn block_on<T, F>(&self, job: impl FnOnce() -> F + Send + 'static) -> T
    where
        T: Send + 'static,
        F: Future<Output = T>,
    {
        self.run(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(job())
        })
    }

    /// What `net.ipv4.tcp_syncookies` is here.
    #[must_use]
    pub fn syncookies(&self) -> String {
        self.run(|| {
            let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies");
            text.unwrap().trim().to_owned()
        })
    }

    /// What `ip ARGUMENTS` prints here.
    #[must_use]
    pub fn ip(&self, arguments: &'static str) -> String {
        self.run(move || crate::tool::run(Command::new("ip").args(arguments.split(' '))).ok())
    }
}

/// Moves this thread into a network namespace of its own.
#[expect(
    unsafe_code,
    reason = "unshare(2) has no safe wrapper among our dependencies"
)]
fn leave() -> std::io::Result<()> {
    // SAFETY: unshare takes no pointers. It is undone by the thread's end and concerns no other
    // thread, because a network namespace is the property of a single one.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

fn ip(arguments: &str) {
    drop(crate::tool::run(Command::new("ip").args(arguments.split(' '))).ok());
}
