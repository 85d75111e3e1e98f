//! Origins of zones: what hosts and origin rules name, so that several can share it.
//!
//! Owns their names and that none goes that is still named. What an origin may be is decided where
//! origins are compiled.

use std::sync::Arc;

use crate::change::draft::Draft;
use crate::change::error::{ChangeError, Noun};
use crate::change::{Changes, Control, Reads};
use crate::compile::origin::{check_reach, key_of_certificate, origins};
use crate::limits::{ORIGIN_NAME_BYTES_MAX, ORIGINS_MAX};
use crate::model::id::Id;
use crate::model::secret::Secret;
use crate::model::{BroughtKey, Model, OriginCertificate, OriginPatch, OriginRecord, OriginSpec};
use crate::operations::hosts::zone_of;
use crate::pki::origin_chain::{OriginChain, name_of, read_key};
use crate::pki::x509::{Details, X509Error};
use crate::store::seal::origin_certificate_purpose;
use tls::pem;

/// Checks an origin that is about to be set in a zone. What a tenant sets is confined from then on.
pub(crate) fn new_origin(
    draft: &Draft<'_>,
    zone: Id,
    before: Option<&OriginSpec>,
    mut spec: OriginSpec,
) -> Result<OriginSpec, ChangeError> {
    if let Some(name) = &spec.name {
        let alone = OriginSpec {
            name: spec.name.clone(),
            confined: spec.confined,
            ..OriginSpec::default()
        };
        if spec != alone {
            let why = format!(
                "the origin `{name}` of the zone says everything else; change it there, or say `url` \
                 or `addresses` here"
            );
            return Err(ChangeError::invalid("origin", why));
        }
        if draft.model.origin(zone, name).is_none() {
            let why = format!("the zone has no origin `{}`", name.escape_debug());
            return Err(ChangeError::invalid("origin", why));
        }
        return Ok(alone);
    }
    spec.confined |= draft.intent().tenant;
    let refuse = |why: String| ChangeError::invalid("origin", why);
    // Whoever is shown a certificate may let in who it is of: a tenant has to have its key for that.
    let moves = before.is_some_and(|before| !spec.is_where(before));
    let certificate = spec.client_certificate.as_ref();
    if draft.intent().tenant && moves && certificate.is_some_and(|one| one.brought.is_none()) {
        let why = "the origin moves, and its client certificate would be shown to another server: bring it \
                   again with its key, or take it away (`null`)";
        return Err(ChangeError::invalid("origin.client_certificate", why));
    }
    let reach = draft.shared().reach.load_full();
    if let Some(brought) = spec.client_certificate.take() {
        spec.client_certificate = Some(settled(draft, zone, brought)?);
    }
    let key =
        key_of_certificate(&spec, zone, draft.seal()).map_err(|why| refuse(why.to_string()))?;
    let made = origins(&spec, &reach, key.as_ref()).map_err(|why| refuse(why.to_string()))?;
    for one in &made {
        check_reach(one).map_err(|why| refuse(why.to_string()))?;
    }
    Ok(spec)
}

impl OriginCertificate {
    /// What people want to know of it.
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub fn details(&self) -> Result<Details, X509Error> {
        let leaf = pem::certificate(self.certificate.as_bytes())?;
        Details::of(&leaf)
    }
}

/// What is said of an origin, without the key of a certificate that it has both of: to bring them again changes
/// nothing.
pub(crate) fn without_known_key(mut said: OriginPatch, present: &OriginSpec) -> OriginPatch {
    let shown = said.client_certificate.as_mut().and_then(Option::as_mut);
    if let (Some(shown), Some(known)) = (shown, &present.client_certificate) {
        let is_known = |brought: &BroughtKey| {
            let name = read_key(brought.text()).and_then(|key| name_of(&key));
            name.is_ok_and(|name| name == known.public_key)
        };
        if shown.certificate == known.certificate {
            shown.private_key.take_if(|brought| is_known(brought));
        }
    }
    said
}

/// A certificate for an origin with its key sealed. One that the origin has already is not sealed again.
fn settled(
    draft: &Draft<'_>,
    zone: Id,
    one: OriginCertificate,
) -> Result<OriginCertificate, ChangeError> {
    let refuse = |why: String| ChangeError::invalid("origin.client_certificate", why);
    let (key, brought) = (&one.key, &one.brought);
    if key.is_some() && brought.is_none() && one.not_after != 0 {
        // Another part of the origin changes: this stays, even when it has expired.
        return Ok(one);
    }
    let known = match key {
        None => None,
        Some(sealed) => {
            let purpose = origin_certificate_purpose(zone, &one.public_key);
            Some((sealed, draft.seal().open_sealed(&purpose, sealed)?))
        }
    };
    let known_text = known.as_ref().map(|(_, key)| key.reveal_text());
    let text = match (brought, known_text) {
        (Some(brought), _) => brought.text(),
        (None, Some(known)) => known,
        (None, None) => {
            let why = "its private key is needed, since the origin does not have it: say `private_key` too";
            return Err(refuse(why.to_owned()));
        }
    };
    let private = read_key(text).map_err(|why| refuse(why.to_string()))?;
    let chain = OriginChain::parse(&one.certificate, &private, draft.now).map_err(|error| {
        let why = error.to_string();
        match brought {
            // It may be that the key was just forgotten.
            None => refuse(format!(
                "{why}; the key is the one that the origin has: for another one, say `private_key` too"
            )),
            Some(_) => refuse(why),
        }
    })?;
    let key = match known {
        Some((sealed, _)) if chain.public_key == one.public_key => sealed.clone(),
        _ => {
            let purpose = origin_certificate_purpose(zone, &chain.public_key);
            let text = private
                .private_key_to_pem_pkcs8()
                .map_err(X509Error::from)?;
            draft.seal().seal(&purpose, Secret::new(text).reveal())?
        }
    };
    Ok(OriginCertificate {
        certificate: chain.chain_pem,
        not_after: chain.details.not_after,
        public_key: chain.public_key,
        key: Some(key),
        brought: None,
    })
}

fn check_name(name: &str) -> Result<(), ChangeError> {
    let fits =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    // Neither a dot nor a colon: a name is told from a host and from a URL.
    if name.is_empty() || name.len() > ORIGIN_NAME_BYTES_MAX || !name.bytes().all(fits) {
        let why = format!(
            "`{}` is no name for an origin: 1 to {ORIGIN_NAME_BYTES_MAX} of a-z, 0-9, - and _",
            name.escape_debug()
        );
        return Err(ChangeError::invalid("name", why));
    }
    Ok(())
}

fn find<'m>(model: &'m Model, zone: Id, name: &str) -> Result<&'m Arc<OriginRecord>, ChangeError> {
    zone_of(model, zone)?;
    let found = model.origin(zone, name);
    found.ok_or_else(|| ChangeError::not_found(Noun::Origin, name.escape_debug()))
}

impl<A: Reads> Control<A> {
    /// An origin of a zone.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn origin(&self, zone: Id, name: &str) -> Result<Arc<OriginRecord>, ChangeError> {
        find(&self.model(), zone, name).cloned()
    }
}

impl<A: Changes> Control<A> {
    /// Makes an origin.
    ///
    /// # Errors
    /// The name is taken or none, or a part of it is not acceptable.
    pub fn create_origin(
        &self,
        zone: Id,
        name: &str,
        origin: OriginSpec,
    ) -> Result<Arc<OriginRecord>, ChangeError> {
        check_name(name)?;
        self.change(|draft| {
            zone_of(&draft.model, zone)?;
            if draft.model.origin(zone, name).is_some() {
                return Err(ChangeError::Exists {
                    noun: Noun::Origin,
                    key: name.into(),
                });
            }
            if draft.model.origins.len() >= ORIGINS_MAX {
                return Err(ChangeError::Full {
                    what: "origins",
                    max: ORIGINS_MAX,
                });
            }
            let made = Arc::new(OriginRecord {
                zone,
                name: name.into(),
                origin: addressed(draft, zone, None, origin)?,
                created_on: draft.now,
                modified_on: draft.now,
            });
            draft.put_origin(made.clone());
            Ok(made)
        })
    }

    /// Changes an origin, for all that name it.
    ///
    /// # Errors
    /// There is none of this name, or a part of the change is not acceptable.
    pub fn update_origin(
        &self,
        zone: Id,
        name: &str,
        patch: OriginPatch,
    ) -> Result<Arc<OriginRecord>, ChangeError> {
        self.change(|draft| {
            let found = find(&draft.model, zone, name)?.clone();
            let origin = patch.apply(&found.origin);
            if origin == found.origin {
                return Ok(found);
            }
            let origin = addressed(draft, zone, Some(&found.origin), origin)?;
            if origin == found.origin {
                // A key that the origin has already.
                return Ok(found);
            }
            let changed = Arc::new(OriginRecord {
                origin,
                modified_on: draft.now,
                ..(*found).clone()
            });
            draft.put_origin(changed.clone());
            Ok(changed)
        })
    }

    /// Removes an origin.
    ///
    /// # Errors
    /// There is none of this name, or hosts or rules name it.
    pub fn delete_origin(&self, zone: Id, name: &str) -> Result<(), ChangeError> {
        self.change(|draft| {
            let found = find(&draft.model, zone, name)?.clone();
            let users = found.used_by(&draft.model);
            if let [first, others @ ..] = users.as_slice() {
                let more = match others.len() {
                    0 => String::new(),
                    1 => format!(" and {}", others.concat()),
                    more => format!(" and {more} more"),
                };
                return Err(ChangeError::InUse {
                    noun: Noun::Origin,
                    key: found.name.clone(),
                    by: format!("requests of {first}{more} go to it; change that first"),
                });
            }
            draft.remove_origin(&found);
            Ok(())
        })
    }
}

/// What an origin of a zone is: none that stands for another one.
fn addressed(
    draft: &Draft<'_>,
    zone: Id,
    before: Option<&OriginSpec>,
    spec: OriginSpec,
) -> Result<OriginSpec, ChangeError> {
    if spec.name.is_some() {
        let why = "an origin of a zone has addresses of its own: say `url` or `addresses`";
        return Err(ChangeError::invalid("origin", why));
    }
    new_origin(draft, zone, before, spec)
}
