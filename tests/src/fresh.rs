//! What each gateway of a test has for itself: a directory, an address, a configuration.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

/// A directory of its own.
#[must_use]
pub fn new_directory() -> PathBuf {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("postern-it-{}-{count}", std::process::id()));
    drop(fs::remove_dir_all(&path));
    fs::create_dir_all(&path).unwrap();
    path
}

/// An address that no other test uses: the loopback network has sixteen million of them, so no port
/// has to be guessed.
#[must_use]
pub fn new_address() -> SocketAddr {
    static COUNT: AtomicU16 = AtomicU16::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let ip = Ipv4Addr::new(
        127,
        64 | (high & 63),
        low,
        u8::try_from(count % 254).unwrap() + 1,
    );
    SocketAddr::new(IpAddr::V4(ip), 8443 + count / 254)
}

pub(crate) fn write_config(directory: &Path, listen: &[SocketAddr], settings: &[(String, String)]) {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| text.push_str(&format!("{key} = {value}\n"));
    for address in listen {
        line("listen", &address.to_string());
    }
    let defaults = [
        ("workers", "2".to_owned()),
        (
            "store.path",
            directory.join("store.redb").display().to_string(),
        ),
        (
            "admin.socket",
            directory.join("admin.sock").display().to_string(),
        ),
        (
            "log.access",
            directory.join("access.log").display().to_string(),
        ),
        ("timeout.drain", "5s".to_owned()),
    ];
    for (key, value) in &defaults {
        if !settings.iter().any(|(set, _)| set == key) {
            line(key, value);
        }
    }
    for (key, value) in settings {
        line(key, value);
    }
    fs::write(directory.join("postern.conf"), text).unwrap();
}
