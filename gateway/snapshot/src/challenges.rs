//! What ACME servers are shown while they check that names are answered here (RFC 8555 §8).
//!
//! Owns the look-up: by token over plain HTTP, by name in handshakes. Who asked for the checks, and
//! when they are over, is `fetch`'s.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use tls::Challenge;
use vocabulary::hostname::HostName;

/// Where HTTP-01 is answered (RFC 8555 §8.3).
pub const HTTP_PATH: &str = "/.well-known/acme-challenge/";

/// Of which name, and what is answered.
struct Proof {
    name: HostName,
    key_authorization: Arc<str>,
}

/// The challenges of now: few, and none most of the time.
#[derive(Default)]
pub struct Challenges {
    by_token: HashMap<Box<str>, Proof>,
    by_name: HashMap<Box<str>, Arc<Challenge>>,
}

impl Challenges {
    /// Has a token answered, for requests that ask this name.
    #[must_use]
    pub fn with_token(mut self, name: HostName, token: &str, key_authorization: Arc<str>) -> Self {
        let proof = Proof {
            name,
            key_authorization,
        };
        self.by_token.insert(token.into(), proof);
        self
    }

    /// Has a name shown with a certificate in handshakes.
    #[must_use]
    pub fn with_certificate(mut self, name: &HostName, challenge: Arc<Challenge>) -> Self {
        self.by_name.insert(name.as_str().into(), challenge);
        self
    }

    /// What a request for `path` is answered; `name` is canonical.
    #[must_use]
    pub fn answer(&self, name: &str, path: &str) -> Option<Arc<str>> {
        let proof = self.by_token.get(path.strip_prefix(HTTP_PATH)?)?;
        (proof.name.as_str() == name).then(|| proof.key_authorization.clone())
    }

    /// What a handshake shows.
    pub(crate) fn certificate(&self, name: &str) -> Option<Arc<Challenge>> {
        self.by_name.get(name).cloned()
    }

    /// The names that a handshake can show something for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(|name| &**name)
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges")
            .field("tokens", &self.by_token.len())
            .field("names", &self.by_name.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_answered_to_its_own_name_only() {
        let name = HostName::parse("a.test").unwrap();
        let challenges = Challenges::default().with_token(name, "t0ken", "t0ken.print".into());
        for (name, path, answered) in [
            ("a.test", "/.well-known/acme-challenge/t0ken", true),
            ("b.test", "/.well-known/acme-challenge/t0ken", false),
            ("a.test", "/.well-known/acme-challenge/", false),
            ("a.test", "/.well-known/acme-challenge/t0ke", false),
            ("a.test", "/.well-known/acme-challenge/t0ken/", false),
            ("a.test", "/.well-known/acme-challenge/t0ken?", false),
            ("a.test", "/.well-known/acme-challenge//t0ken", false),
            ("a.test", "/t0ken", false),
            ("a.test", "t0ken", false),
        ] {
            let found = challenges.answer(name, path);
            let expected = answered.then_some("t0ken.print");
            assert_eq!(found.as_deref(), expected, "{name} {path}");
        }
    }
}
