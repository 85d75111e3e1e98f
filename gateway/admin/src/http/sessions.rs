//! Sessions of the dashboard, and the links that begin them.
//!
//! Kept in memory only: a restart ends all. Owns their number and their ends. A session has no rights
//! of its own: it stands for the token that it was begun with, or for a process that may open the
//! unix socket, and [`super::auth`] asks each time what that may do. Secrets are kept as digests.
//!
//! A session has two secrets. The cookie is the browser's, and no script can read it; but cookies are
//! sent to every port of a host, so that another server on this machine may see it. The key is the
//! page's, sent in a header, and no other origin can read it. Either without the other is nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use boring::sha::sha256;

use crate::limits::{
    SESSION_IDLE, SESSION_LIFETIME, SESSIONS_MAX, SESSIONS_OF_HOLDER_MAX, SIGN_IN_LINK_LIFETIME,
    SIGN_IN_LINKS_MAX, SIGN_IN_LINKS_OF_HOLDER_MAX,
};
use control::{Id, Model, Token};

/// Whose rights a session has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A process of this user, which may open the unix socket: an administrator.
    Socket {
        /// Its user id, when the kernel told.
        uid: Option<u32>,
    },
    /// A token, by the digest of its secret.
    Token {
        /// As the model has it.
        digest: Arc<str>,
    },
}

impl Holder {
    /// The token, when it is one and it lives.
    pub(crate) fn token(&self, model: &Model) -> Option<Arc<Token>> {
        let Self::Token { digest } = self else {
            return None;
        };
        let token = model.tokens.get(&**digest)?;
        (token.expires > control::Moment::now().seconds()).then(|| token.clone())
    }

    /// For people, and for the audit log.
    pub(crate) fn name(&self, token: Option<&Token>) -> String {
        match (self, token) {
            (Self::Socket { uid: Some(uid) }, _) => format!("unix uid {uid} (dashboard)"),
            (Self::Socket { uid: None }, _) => "unix (dashboard)".into(),
            (Self::Token { .. }, Some(token)) => format!("token {} ({})", token.id, token.name),
            (Self::Token { .. }, None) => "a token that has ended".into(),
        }
    }
}

/// A session, as requests carry it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: Id,
    pub(crate) holder: Holder,
    pub(crate) begun: Instant,
}

/// A session that has just begun, with the secrets that nothing else will show.
pub(crate) struct Begun {
    pub(crate) session: Session,
    pub(crate) cookie: String,
    pub(crate) key: String,
}

type Digest = [u8; 32];

struct Kept {
    session: Session,
    key: Digest,
    used: Instant,
}

struct Link {
    holder: Holder,
    made: Instant,
}

#[derive(Default)]
struct All {
    links: HashMap<Digest, Link>,
    /// By the digest of the cookie.
    sessions: HashMap<Digest, Kept>,
}

/// All that there are.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<All>);

/// 256 random bits.
fn secret() -> Option<String> {
    let mut bytes = [0; 32];
    boring::rand::rand_bytes(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

impl Sessions {
    /// Makes the code of a link, good once and for a short time. The oldest of the same holder gives
    /// way when there are too many of it; `None` when there are too many in all.
    pub(crate) fn link(&self, holder: Holder, now: Instant) -> Option<String> {
        let code = secret()?;
        let mut all = self.lock();
        all.forget(now);
        let of_holder = all.links.iter().filter(|(_, link)| link.holder == holder);
        if of_holder.clone().count() >= SIGN_IN_LINKS_OF_HOLDER_MAX {
            let oldest = of_holder.min_by_key(|(_, link)| link.made);
            if let Some(oldest) = oldest.map(|(digest, _)| *digest) {
                all.links.remove(&oldest);
            }
        }
        if all.links.len() >= SIGN_IN_LINKS_MAX {
            return None;
        }
        let link = Link { holder, made: now };
        all.links.insert(sha256(code.as_bytes()), link);
        Some(code)
    }

    /// Whose link this code was. It is good no more.
    pub(crate) fn redeem(&self, code: &str, now: Instant) -> Option<Holder> {
        let mut all = self.lock();
        all.forget(now);
        let link = all.links.remove(&sha256(code.as_bytes()))?;
        Some(link.holder)
    }

    /// Begins a session. The one of the same holder that was idle longest gives way when there are
    /// too many of it; `None` when there are too many in all.
    pub(crate) fn begin(&self, holder: Holder, now: Instant) -> Option<Begun> {
        let (cookie, key) = (secret()?, secret()?);
        let mut all = self.lock();
        all.forget(now);
        let of_holder = all.sessions.iter();
        let of_holder = of_holder.filter(|(_, kept)| kept.session.holder == holder);
        if of_holder.clone().count() >= SESSIONS_OF_HOLDER_MAX {
            let idle = of_holder.min_by_key(|(_, kept)| kept.used);
            if let Some(idle) = idle.map(|(digest, _)| *digest) {
                all.sessions.remove(&idle);
            }
        }
        if all.sessions.len() >= SESSIONS_MAX {
            return None;
        }
        let session = Session {
            id: Id::random(),
            holder,
            begun: now,
        };
        let kept = Kept {
            session: session.clone(),
            key: sha256(key.as_bytes()),
            used: now,
        };
        all.sessions.insert(sha256(cookie.as_bytes()), kept);
        Some(Begun {
            session,
            cookie,
            key,
        })
    }

    /// The living session with these two secrets. It is used now, unless the page asks by itself:
    /// one that nobody sits before comes to its end. Digests are compared, of secrets that no caller
    /// can choose, so the time that it takes tells nothing.
    pub(crate) fn find(
        &self,
        cookie: &str,
        key: &str,
        by_itself: bool,
        now: Instant,
    ) -> Option<Session> {
        let mut all = self.lock();
        all.forget(now);
        let kept = all.sessions.get_mut(&sha256(cookie.as_bytes()))?;
        if kept.key != sha256(key.as_bytes()) {
            return None;
        }
        if !by_itself {
            kept.used = now;
        }
        Some(kept.session.clone())
    }

    /// Whether this one has not ended.
    pub(crate) fn lives(&self, id: Id) -> bool {
        let mut all = self.lock();
        all.forget(Instant::now());
        all.sessions.values().any(|kept| kept.session.id == id)
    }

    /// Ends one.
    pub(crate) fn end(&self, id: Id) {
        let mut all = self.lock();
        all.sessions.retain(|_, kept| kept.session.id != id);
    }

    /// Ends all, and says how many.
    pub(crate) fn end_all(&self) -> usize {
        let mut all = self.lock();
        all.links.clear();
        let count = all.sessions.len();
        all.sessions.clear();
        count
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // Every change under the lock is one step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    /// Lets go of what has ended. There are few.
    fn forget(&mut self, now: Instant) {
        let age = |since: Instant| now.saturating_duration_since(since);
        self.links
            .retain(|_, link| age(link.made) < SIGN_IN_LINK_LIFETIME);
        self.sessions.retain(|_, kept| {
            age(kept.used) < SESSION_IDLE && age(kept.session.begun) < SESSION_LIFETIME
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const SOCKET: Holder = Holder::Socket { uid: Some(0) };

    #[test]
    fn a_link_is_good_once_and_for_a_minute() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let code = sessions.link(SOCKET, now).unwrap();
        assert_eq!(sessions.redeem("another", now), None);
        assert_eq!(sessions.redeem(&code, now), Some(SOCKET));
        assert_eq!(sessions.redeem(&code, now), None, "a second time");
        for (age, good) in [(59, true), (60, false), (3600, false)] {
            let code = sessions.link(SOCKET, now).unwrap();
            let later = now + Duration::from_secs(age);
            assert_eq!(sessions.redeem(&code, later).is_some(), good, "{age} s");
        }
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_when_it_is_old() {
        let (sessions, begun) = (Sessions::default(), Instant::now());
        let one = sessions.begin(SOCKET, begun).unwrap();
        let step = SESSION_IDLE - Duration::from_secs(1);
        let mut now = begun;
        while now + step < begun + SESSION_LIFETIME {
            now += step;
            assert!(sessions.find(&one.cookie, &one.key, false, now).is_some());
        }
        let old = begun + SESSION_LIFETIME;
        assert!(
            sessions.find(&one.cookie, &one.key, false, old).is_none(),
            "old"
        );
        let two = sessions.begin(SOCKET, begun).unwrap();
        let idle = begun + SESSION_IDLE;
        assert!(
            sessions.find(&two.cookie, &two.key, false, idle).is_none(),
            "idle"
        );
        assert!(
            sessions.find(&two.cookie, &two.key, false, begun).is_none(),
            "what has ended does not come back"
        );
    }

    #[test]
    fn what_a_page_asks_by_itself_keeps_no_session_alive() {
        let (sessions, begun) = (Sessions::default(), Instant::now());
        let one = sessions.begin(SOCKET, begun).unwrap();
        let almost = begun + SESSION_IDLE - Duration::from_secs(1);
        assert!(sessions.find(&one.cookie, &one.key, true, almost).is_some());
        assert!(sessions.lives(one.session.id));
        let idle = begun + SESSION_IDLE;
        assert!(sessions.find(&one.cookie, &one.key, false, idle).is_none());
        assert!(!sessions.lives(one.session.id));
    }

    #[test]
    fn one_secret_without_the_other_is_nothing() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let one = sessions.begin(SOCKET, now).unwrap();
        let two = sessions.begin(SOCKET, now).unwrap();
        for (cookie, key) in [
            (&*one.cookie, ""),
            ("", &*one.key),
            (&*one.cookie, &*two.key),
            (&*one.key, &*one.cookie),
        ] {
            assert!(sessions.find(cookie, key, false, now).is_none());
        }
        assert!(sessions.find(&one.cookie, &one.key, false, now).is_some());
        sessions.end(one.session.id);
        assert!(sessions.find(&one.cookie, &one.key, false, now).is_none());
        assert!(sessions.find(&two.cookie, &two.key, false, now).is_some());
        let code = sessions.link(SOCKET, now).unwrap();
        assert_eq!(sessions.end_all(), 1);
        assert!(sessions.find(&two.cookie, &two.key, false, now).is_none());
        assert_eq!(sessions.redeem(&code, now), None);
    }

    #[test]
    fn their_number_is_bounded_and_a_holder_pushes_out_only_itself() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let first = sessions.begin(SOCKET, now).unwrap();
        let holder = |name: usize| Holder::Token {
            digest: name.to_string().into(),
        };
        let greedy: Vec<Begun> = (0..=SESSIONS_OF_HOLDER_MAX)
            .map(|place| {
                let later = now + Duration::from_millis(u64::try_from(place).unwrap());
                sessions.begin(holder(0), later).unwrap()
            })
            .collect();
        assert!(
            sessions
                .find(&greedy[0].cookie, &greedy[0].key, false, now)
                .is_none()
        );
        assert!(
            sessions
                .find(&greedy[1].cookie, &greedy[1].key, false, now)
                .is_some()
        );
        assert!(
            sessions
                .find(&first.cookie, &first.key, false, now)
                .is_some()
        );
        let others = (1..=SESSIONS_MAX).filter(|one| sessions.begin(holder(*one), now).is_some());
        assert_eq!(others.count(), SESSIONS_MAX - SESSIONS_OF_HOLDER_MAX - 1);
        assert!(
            sessions
                .find(&first.cookie, &first.key, false, now)
                .is_some()
        );
        let mine = sessions.link(SOCKET, now).unwrap();
        let links = (0..2 * SIGN_IN_LINKS_MAX).filter_map(|one| {
            let made = now + Duration::from_millis(u64::try_from(one).unwrap());
            sessions.link(holder(one / (2 * SIGN_IN_LINKS_OF_HOLDER_MAX)), made)
        });
        let links: Vec<String> = links.collect();
        assert!(sessions.redeem(&mine, now).is_some());
        assert!(
            sessions.redeem(&links[0], now).is_none(),
            "the oldest gave way"
        );
        let flood =
            (0..=SIGN_IN_LINKS_MAX).filter(|one| sessions.link(holder(*one), now).is_some());
        assert!(flood.count() <= SIGN_IN_LINKS_MAX);
    }
}
