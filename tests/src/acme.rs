//! A real ACME server: Let's Encrypt's Pebble, with a resolver that knows every name.
//!
//! Both are processes of the test, on a loopback address of their own; they end with the value.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::gateway::{new_address, new_directory};
use crate::pki::Authority;
use crate::tool::{has, run};
use crate::wait::until;

/// How Pebble is started.
pub struct PebbleSetup {
    /// Where every name leads.
    pub names_lead_to: IpAddr,
    /// The port that HTTP-01 asks.
    pub http_port: u16,
    /// The port that TLS-ALPN-01 asks.
    pub tls_port: u16,
    /// Seconds that certificates are good for.
    pub life_sec: u64,
    /// Keys of external account binding, each with its name; an account needs one then.
    pub binding: Option<(&'static str, &'static str)>,
    /// It takes its time to look at challenges.
    pub is_slow: bool,
}

/// A running Pebble.
pub struct Pebble {
    address: SocketAddr,
    management: SocketAddr,
    directory: PathBuf,
    children: Vec<Child>,
}

impl PebbleSetup {
    /// Asks a gateway there, and signs for five years.
    #[must_use]
    pub fn of(https: SocketAddr, http: SocketAddr) -> Self {
        Self {
            names_lead_to: https.ip(),
            http_port: http.port(),
            tls_port: https.port(),
            life_sec: 157_766_400,
            binding: None,
            is_slow: false,
        }
    }

    /// Starts it; `None` where it is not installed, which is said.
    ///
    /// # Panics
    /// It does not start.
    #[must_use]
    pub fn start(self) -> Option<Pebble> {
        if !has("pebble") || !has("pebble-challtestsrv") {
            return None;
        }
        let directory = new_directory();
        let (address, management, names) = (new_address(), new_address(), new_address());
        let ca = Authority::root(&format!("ACME API CA of {address}"));
        let own = ca.server(&[&address.ip().to_string(), &management.ip().to_string()]);
        let file = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).unwrap();
            path
        };
        file("ca.pem", &ca.pem());
        let mut pebble = json!({
            "listenAddress": address.to_string(),
            "managementListenAddress": management.to_string(),
            "certificate": file("own.pem", &own.chain_pem()),
            "privateKey": file("own.key", &own.key_pem()),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "certificateValidityPeriod": self.life_sec,
            "externalAccountBindingRequired": self.binding.is_some(),
        });
        if let Some((id, key)) = self.binding {
            pebble["externalAccountMACKeys"] = json!({ id: key });
        }
        let config = file("pebble.json", &json!({ "pebble": pebble }).to_string());
        let log = |name: &str| Stdio::from(fs::File::create(directory.join(name)).unwrap());
        let mut resolver = Command::new("pebble-challtestsrv");
        resolver
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-management", ""])
            .args(["-dns01", &names.to_string(), "-defaultIPv6", ""])
            .args(["-defaultIPv4", &self.names_lead_to.to_string()])
            .stdout(log("names.log"))
            .stderr(log("names.err"));
        let mut server = Command::new("pebble");
        server
            .arg("-config")
            .arg(config)
            .args(["-dnsserver", &names.to_string()])
            .stdin(Stdio::null())
            .stdout(log("pebble.log"))
            .stderr(log("pebble.err"));
        if self.is_slow {
            server.env("PEBBLE_VA_SLEEPTIME", "20");
        } else {
            server.env("PEBBLE_VA_NOSLEEP", "1");
        }
        // It refuses good nonces by chance, so that clients learn to ask again: 5 of 100 are three in a row now and
        // then, after which an order fails.
        server.env("PEBBLE_WFE_NONCEREJECT", "1");
        // Names are looked at every time.
        server.env("PEBBLE_AUTHZREUSE", "0");
        let children = vec![resolver.spawn().unwrap(), server.spawn().unwrap()];
        let pebble = Pebble {
            address,
            management,
            directory,
            children,
        };
        until("Pebble to answer", || {
            let answer = run(Command::new("curl")
                .args(["-ks", "--max-time", "2"])
                .arg(pebble.url()));
            (answer.code == 0).then_some(())
        });
        Some(pebble)
    }
}

impl Pebble {
    /// The URL of its directory.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// The file with the CA of its own certificate.
    #[must_use]
    pub fn ca_file(&self) -> String {
        self.directory.join("ca.pem").display().to_string()
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A file of its directory: `own.pem` and `own.key` are what it shows itself with.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A file with the root that it signs with, which is another one at each start.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn root_file(&self) -> String {
        let root = run(Command::new("curl")
            .args(["-ks", "--max-time", "10"])
            .arg(format!("https://{}/roots/0", self.management)));
        let path = self.directory.join("root.pem");
        fs::write(&path, root.ok()).unwrap();
        path.display().to_string()
    }

    /// What it has written.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("pebble.log")).unwrap_or_default()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- Pebble ---\n{}", self.log());
        }
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
        drop(fs::remove_dir_all(&self.directory));
    }
}
