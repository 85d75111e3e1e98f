//! `net.ipv4.tcp_syncookies`, held at 2 while steering works.
//!
//! With 2 the kernel answers every SYN with a cookie and keeps nothing (it governs IPv6 too, whatever its name
//! says); only so is there no socket yet when the ClientHello arrives. With any other value the gateway works
//! as well, unsteered: a crash that leaves the 2 behind does no harm, as cookies are always accepted.

use super::Unavailable;
use std::{fs, io};

const PATH: &str = "/proc/sys/net/ipv4/tcp_syncookies";
const ALWAYS: &str = "2";

/// Holds the setting. Dropping it puts back what was there.
#[derive(Debug)]
pub struct Cookies {
    before: String,
}

impl Cookies {
    /// Makes the kernel answer every SYN of this thread's network namespace with a cookie.
    ///
    /// # Errors
    /// [`Unavailable::Cookies`].
    pub fn always() -> Result<Self, Unavailable> {
        let set = || -> io::Result<String> {
            let before = fs::read_to_string(PATH)?.trim().to_owned();
            if before != ALWAYS {
                fs::write(PATH, ALWAYS)?;
            }
            Ok(before)
        };
        set()
            .map(|before| Self { before })
            .map_err(|reason| Unavailable::Cookies { path: PATH, reason })
    }
}

impl Drop for Cookies {
    fn drop(&mut self) {
        // Somebody else's later choice stands.
        let ours = fs::read_to_string(PATH).is_ok_and(|now| now.trim() == ALWAYS);
        if ours
            && self.before != ALWAYS
            && let Err(error) = fs::write(PATH, &self.before)
        {
            tracing::warn!(path = PATH, value = %self.before, %error, "the sysctl could not be put back");
        }
    }
}
