//! The gateway under attack: as an operator has it, with its limits and its logs.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::attacker::ATTACKER;
use crate::client::{Connection, Target};
use crate::machine::{self, Placement};
use crate::peers::{Child, postern_binary};
use crate::world::{QUIET_HOST, World};
use ::tests::new_loopback;

/// How long it may take to answer its first request.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// How long what an attack did may take to be in the logs.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// A Postern of one worker with default limits, fresh for each attack.
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    child: Child,
    access_log: PathBuf,
    own_log: PathBuf,
}

/// What the logs say of an attack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lines {
    /// Requests of the attacker.
    pub(super) requests: u64,
    /// Of these, sent on to the origin.
    pub(super) let_through: u64,
    /// Handshakes of the attacker that failed.
    pub(super) handshakes: u64,
    /// Everything else, but for the visitor's requests.
    pub(super) others: u64,
}

impl Gateway {
    pub(super) async fn start(
        world: &World,
        postern: Option<PathBuf>,
        place: Placement,
    ) -> Result<Self> {
        let program = postern_binary(postern)?;
        let address = new_loopback();
        let (access_log, own_log) = (world.file("access.log"), world.file("postern.log"));
        for log in [&access_log, &own_log] {
            if log.exists() {
                fs::remove_file(log).with_context(|| format!("removing {}", log.display()))?;
            }
        }
        let text = format!(
            "listen = {address}\n\
             workers = 1\n\
             store.path = {store}\n\
             admin.socket = {socket}\n\
             log.access = {log}\n\
             steer.mode = off\n\
             timeout.drain = 1s\n",
            store = world.store.path.display(),
            socket = world.file("admin.sock").display(),
            log = access_log.display(),
        );
        let configuration = world.file("postern.conf");
        fs::write(&configuration, text).context("writing Postern's configuration")?;
        let mut command = Command::new(&program);
        command.arg("run").arg("-c").arg(&configuration);
        let child = machine::on(place.proxy, || Child::start(command, &own_log))?;
        let mut gateway = Self {
            address,
            child,
            access_log,
            own_log,
        };
        gateway.wait(world).await?;
        Ok(gateway)
    }

    async fn wait(&mut self, world: &World) -> Result<()> {
        let target = self.visit(world)?;
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let answer = async {
                let tls = target.tls.as_deref();
                let mut connection = Connection::open(target.address, tls, false).await?;
                connection.exchange(&target.request()).await
            };
            let why = match answer.await {
                Ok(answer) if answer.status == 200 => return Ok(()),
                Ok(answer) => format!("it answers {}", answer.status),
                Err(error) => format!("{error:#}"),
            };
            if self.child.ended().is_some() || Instant::now() > deadline {
                bail!("Postern is not ready: {why}\n{}", self.child.said());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a visitor asks for.
    pub(super) fn visit(&self, world: &World) -> Result<Target> {
        Ok(Target {
            address: self.address,
            tls: Some(world.client(QUIET_HOST, false, false)?.into()),
            authority: QUIET_HOST.to_owned(),
            path: "/visitor".to_owned(),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// What is in the logs, once no more comes.
    pub(super) async fn lines(&self) -> Result<Lines> {
        let deadline = Instant::now() + LOG_PATIENCE;
        let mut before = Lines::default();
        loop {
            let access = fs::read_to_string(&self.access_log).context("reading the access log")?;
            let own = fs::read_to_string(&self.own_log).context("reading the log")?;
            let now = count(&access, &own);
            if now == before || Instant::now() > deadline {
                return Ok(now);
            }
            before = now;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// The last lines that it said.
    pub(super) fn said(&self) -> String {
        self.child.said()
    }
}

/// Counts lines by whose they are. Visitors come from another address of the loopback.
fn count(access: &str, own: &str) -> Lines {
    let visitor = Ipv4Addr::LOCALHOST.to_string();
    let attacker = ATTACKER.to_string();
    let mut lines = Lines {
        others: own.lines().count() as u64,
        ..Lines::default()
    };
    for line in access.lines() {
        let record: Value = serde_json::from_str(line).unwrap_or_default();
        let text = |field: &str| {
            record
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let client = text("client");
        let is = |address: &str| {
            let rest = client.strip_prefix(address);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
        };
        match text("kind") {
            "request" if is(&attacker) => {
                lines.requests += 1;
                lines.let_through += u64::from(!text("origin").is_empty());
            }
            "request" => {}
            "handshake" if is(&attacker) => lines.handshakes += 1,
            _ => lines.others += u64::from(!is(&visitor)),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_by_whose_they_are() {
        let access = r#"{"kind":"request","client":"127.0.0.1:4000","origin":"127.0.0.1:1"}
{"kind":"request","client":"127.0.0.3:4000","origin":"127.0.0.1:1"}
{"kind":"request","client":"127.0.0.3:4000","status":429}
{"kind":"connection","client":"127.0.0.3:4000"}
{"kind":"handshake","client":"127.0.0.3:4001"}
"#;
        let lines = count(access, "started\nready\n");
        assert_eq!((lines.requests, lines.let_through), (2, 1));
        assert_eq!((lines.handshakes, lines.others), (1, 3));
    }
}
