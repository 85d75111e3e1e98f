//! Tokens of the admin API: created here, shown once, kept as a digest.
//!
//! A token is 256 random bits, so its SHA-256 needs no salt and no slow hash: there is nothing to
//! guess. What a token may do is in [`token`](crate::model::token); does not see requests.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use boring::hash::{MessageDigest, hash};

use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::limits::{DESCRIPTION_BYTES_MAX, TOKEN_DAYS_MAX, TOKENS_MAX};
use crate::model::hex::hex;
use crate::model::id::Id;
use crate::model::moment::Moment;
use crate::model::secret::Secret;
use crate::model::token::{Scope, Token};
use crate::pki::x509::X509Error;

/// What begins every token, so that scanners for leaked secrets can know it.
const PREFIX: &str = "postern_";

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// The zones it is for; empty for all.
    pub zones: BTreeSet<Id>,
    /// How long it lives.
    pub days: u32,
}

fn digest(secret: &str) -> Result<String, X509Error> {
    Ok(hex(&hash(MessageDigest::sha256(), secret.as_bytes())?))
}

impl<A: Changes> Control<A> {
    /// Makes a token. The secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// No scope, an unknown zone, or a life that is too long.
    pub fn create_token(&self, new: NewToken) -> Result<(Arc<Token>, Secret), ChangeError> {
        if new.scopes.is_empty() {
            let why = "at least one of read, certificates, rules, all is needed";
            return Err(ChangeError::invalid("scopes", why));
        }
        if new.name.trim().is_empty() || new.name.len() > DESCRIPTION_BYTES_MAX {
            let why = format!("it must have 1 to {DESCRIPTION_BYTES_MAX} bytes");
            return Err(ChangeError::invalid("name", why));
        }
        if !(1..=TOKEN_DAYS_MAX).contains(&new.days) {
            let why = format!("{} is not between 1 and {TOKEN_DAYS_MAX}", new.days);
            return Err(ChangeError::invalid("days", why));
        }
        let mut bytes = [0; 32];
        boring::rand::rand_bytes(&mut bytes).map_err(X509Error::from)?;
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes));
        let digest = digest(&secret)?;
        let token = self.change(|draft| {
            for zone in &new.zones {
                if !draft.model.zones.contains_key(zone) {
                    return Err(ChangeError::not_found(Noun::Zone, zone));
                }
            }
            if draft.model.tokens.len() >= TOKENS_MAX {
                return Err(ChangeError::Full {
                    what: "tokens",
                    max: TOKENS_MAX,
                });
            }
            let token = Arc::new(Token {
                id: Id::random(),
                name: new.name,
                digest,
                scopes: new.scopes,
                zones: new.zones,
                expires: draft.now.seconds() + i64::from(new.days) * 86_400,
                created_on: draft.now,
            });
            draft.put_token(token.clone());
            Ok(token)
        })?;
        Ok((token, Secret::new(secret.into_bytes())))
    }

    /// Ends a token.
    ///
    /// # Errors
    /// There is none of this id.
    pub fn delete_token(&self, id: Id) -> Result<(), ChangeError> {
        self.change(|draft| {
            let found = draft
                .model
                .tokens
                .values()
                .find(|token| token.id == id)
                .cloned();
            let token = found.ok_or_else(|| ChangeError::not_found(Noun::Token, id))?;
            draft.remove_token(&token);
            Ok(())
        })
    }
}

impl<A: Reads> Control<A> {
    /// The living token with this secret. Digests are compared, of secrets that no caller
    /// can choose, so the time that it takes tells nothing.
    #[must_use]
    pub fn token(&self, secret: &str) -> Option<Arc<Token>> {
        let digest = digest(secret).ok()?;
        let model = self.model();
        let token = model.tokens.get(&digest)?;
        (token.expires > Moment::now().seconds()).then(|| token.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::draft::Draft;
    use crate::change::intent::{Grant, Intent};
    use crate::document::{ApplyOptions, Document};
    use crate::model::id::Uuid;
    use fixtures::Directory;

    #[test]
    fn made_shown_once_and_ended() {
        let directory = Directory::new();
        let path = directory.path().join("store");
        let control = Control::open(&path, Arc::default()).unwrap();
        let zone = control.create_zone("example.test").unwrap().id;
        let new = NewToken {
            name: "ci".into(),
            scopes: BTreeSet::from([Scope::Certificates]),
            zones: BTreeSet::from([zone]),
            days: 1,
        };
        let (token, secret) = control.create_token(new.clone()).unwrap();
        drop(control);
        let control = Control::open(&path, Arc::default()).unwrap();
        assert_eq!(control.token(secret.reveal_text()), Some(token.clone()));
        assert_eq!(control.token(&secret.reveal_text().replace('_', "-")), None);
        assert_eq!(control.token(""), None);
        assert!(!format!("{:?}", control.model()).contains(secret.reveal_text()));
        for (scope, place, allowed) in [
            (Scope::Read, Some(zone), true),
            (Scope::Certificates, Some(zone), true),
            (Scope::Rules, Some(zone), false),
            (Scope::All, Some(zone), false),
            (Scope::Read, None, false),
            (Scope::Certificates, Some(Id::random()), false),
        ] {
            assert_eq!(token.allows(scope, place), allowed, "{scope:?} {place:?}");
        }
        // One second ago is over; nobody has to remove it.
        for (left, is_living) in [(60, true), (-1, false)] {
            let ended = Token {
                expires: Moment::now().seconds() + left,
                ..(*token).clone()
            };
            let put = |draft: &mut Draft<'_>| {
                draft.put_token(Arc::new(ended));
                Ok(())
            };
            control.change(put).unwrap();
            let found = control.token(secret.reveal_text());
            assert_eq!(found.is_some(), is_living, "{left}");
        }
        control.delete_token(token.id).unwrap();
        assert_eq!(control.token(secret.reveal_text()), None);
        for bad in [
            NewToken {
                scopes: BTreeSet::new(),
                ..new.clone()
            },
            NewToken {
                days: 0,
                ..new.clone()
            },
            NewToken {
                name: " ".into(),
                ..new.clone()
            },
            NewToken {
                zones: BTreeSet::from([Id::random()]),
                ..new
            },
        ] {
            assert!(control.create_token(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_change_is_made_by_what_the_token_may_do_when_it_is_made() {
        let directory = Directory::new();
        let control = Control::open(&directory.path().join("store"), Arc::default()).unwrap();
        let zone = control.create_zone("example.test").unwrap().id;
        let new = NewToken {
            name: "ci".into(),
            scopes: BTreeSet::from([Scope::All]),
            zones: BTreeSet::new(),
            days: 1,
        };
        let (token, _) = control.create_token(new).unwrap();
        let put = |token: Token| {
            let put = |draft: &mut Draft<'_>| {
                draft.put_token(Arc::new(token));
                Ok(())
            };
            control.change(put).unwrap();
        };
        let change = |scope, place, tenant| {
            let handle = control.changer(Intent {
                grant: Some(Grant::of(&token, scope, place)),
                tenant,
                ..Intent::default()
            });
            let of_the_store = handle.create_zone(&format!("{}.test", Uuid::random()));
            let beside = handle.beside_the_store(|| ());
            let tried = handle.acting(Intent {
                dry_run: true,
                grant: Some(Grant::of(&token, scope, place)),
                tenant,
                ..Intent::default()
            });
            let tried = tried.create_zone("tried.test");
            let batch = handle.apply(
                &Document {
                    postern: 1,
                    lists: None,
                    authorities: None,
                    zones: None,
                },
                ApplyOptions::default(),
            );
            let all = [
                of_the_store.is_ok(),
                beside.is_ok(),
                tried.is_ok(),
                batch.is_ok(),
            ];
            assert!(all.iter().all(|made| *made == all[0]), "{all:?}");
            all[0]
        };
        let now = Moment::now().seconds();
        let narrowed = |scopes: &[Scope], zones: &[Id], left| Token {
            scopes: scopes.iter().copied().collect(),
            zones: zones.iter().copied().collect(),
            expires: now + left,
            ..(*token).clone()
        };
        for (what, token, scope, place, tenant, is_made) in [
            ("as it was", (*token).clone(), Scope::All, None, false, true),
            (
                "it has ended",
                narrowed(&[Scope::All], &[], -1),
                Scope::All,
                None,
                false,
                false,
            ),
            (
                "fewer scopes",
                narrowed(&[Scope::Rules], &[], 60),
                Scope::All,
                None,
                false,
                false,
            ),
            (
                "enough scopes",
                narrowed(&[Scope::Rules], &[], 60),
                Scope::Rules,
                None,
                false,
                true,
            ),
            (
                "of a zone",
                narrowed(&[Scope::All], &[zone], 60),
                Scope::All,
                None,
                true,
                false,
            ),
            // What was judged as no tenant's must not be made as one's that is.
            (
                "confined",
                narrowed(&[Scope::All], &[zone], 60),
                Scope::All,
                Some(zone),
                false,
                false,
            ),
            (
                "its zone",
                narrowed(&[Scope::All], &[zone], 60),
                Scope::All,
                Some(zone),
                true,
                true,
            ),
        ] {
            put(token);
            assert_eq!(change(scope, place, tenant), is_made, "{what}");
        }
        control.delete_token(token.id).unwrap();
        assert!(!change(Scope::Read, None, false), "it is gone");
    }
}
