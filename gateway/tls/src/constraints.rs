//! Name constraints (RFC 5280 §4.2.1.10) of every type that a client's certificate has.
//!
//! BoringSSL checks directory names, DNS names, addresses of mail and URIs, and stops at an IP
//! address. Where one is constrained this file checks all of them, so that a name behind the
//! address is not left out. What is not understood is a violation.
//!
//! BoringSSL also refuses, below any constraint, a leaf without alternative names whose common name
//! could be a host's, such as `device-1`. That is meant for servers. Here such a name is a host's
//! when it has a period, as in OpenSSL, and is held to the constraints of DNS names.

use boring::x509::X509Ref;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::{OID_PKCS9_EMAIL_ADDRESS, OID_X509_COMMON_NAME};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::der::canonical_name;

/// Whether every name of a path (leaf first) is one that its issuers permit.
pub(super) fn all_permitted(path: &[&X509Ref]) -> bool {
    let ders: Option<Vec<Vec<u8>>> = path.iter().map(|one| one.to_der().ok()).collect();
    let Some(ders) = ders else { return false };
    let parsed: Option<Vec<X509Certificate<'_>>> = ders
        .iter()
        .map(|der| Some(X509Certificate::from_der(der).ok()?.1))
        .collect();
    let Some(parsed) = parsed else { return false };
    parsed.iter().enumerate().all(|(place, holder)| {
        // A CA's certificate to itself, as for a new key, is not asked, unless it is the leaf.
        let is_self_issued = holder.subject().as_raw() == holder.issuer().as_raw();
        if place > 0 && is_self_issued {
            return true;
        }
        let mut issuers = parsed.iter().skip(place + 1);
        issuers.all(|issuer| permits(issuer, holder))
    })
}

fn permits(issuer: &X509Certificate<'_>, holder: &X509Certificate<'_>) -> bool {
    let constraints = match issuer.name_constraints() {
        Ok(None) => return true,
        Ok(Some(found)) => found.value,
        Err(_unreadable) => return false,
    };
    let permitted = constraints
        .permitted_subtrees
        .as_deref()
        .unwrap_or_default();
    let excluded = constraints.excluded_subtrees.as_deref().unwrap_or_default();
    let Some(names) = names(holder) else {
        return false;
    };
    names.iter().all(|name| {
        let mut asked = permitted
            .iter()
            .filter(|tree| same_type(&tree.base, name))
            .peekable();
        let is_permitted = asked.peek().is_none()
            || asked.any(|tree| within(name, &tree.base, false) == Some(true));
        let is_excluded = excluded
            .iter()
            .filter(|tree| same_type(&tree.base, name))
            .any(|tree| within(name, &tree.base, true) != Some(false));
        is_permitted && !is_excluded
    })
}

/// Every name that constraints are about: the subject, addresses of mail in it, and alternatives.
fn names<'c>(holder: &'c X509Certificate<'c>) -> Option<Vec<GeneralName<'c>>> {
    let subject = holder.subject();
    let mut names = Vec::new();
    if subject.iter().next().is_some() {
        names.push(GeneralName::DirectoryName(subject.clone()));
    }
    for address in subject.iter_by_oid(&OID_PKCS9_EMAIL_ADDRESS) {
        names.push(GeneralName::RFC822Name(address.as_str().ok()?));
    }
    let mut has_alternatives = false;
    for extension in holder.extensions() {
        if let ParsedExtension::SubjectAlternativeName(found) = extension.parsed_extension() {
            has_alternatives = true;
            names.extend(found.general_names.iter().cloned());
        }
    }
    if !has_alternatives {
        for common_name in subject.iter_by_oid(&OID_X509_COMMON_NAME) {
            let common_name = common_name.as_str().ok()?;
            if is_host(common_name) {
                names.push(GeneralName::DNSName(common_name));
            }
        }
    }
    Some(names)
}

/// Whether a common name is a host's: labels with periods between them.
fn is_host(common_name: &str) -> bool {
    let is_label = |label: &str| {
        let is_of_hosts = |byte: u8| byte.is_ascii_alphanumeric() || b"-_*:".contains(&byte);
        !label.is_empty() && label.bytes().all(is_of_hosts)
    };
    let name = common_name.strip_suffix('.').unwrap_or(common_name);
    name.contains('.') && name.split('.').all(is_label)
}

fn same_type(one: &GeneralName<'_>, other: &GeneralName<'_>) -> bool {
    std::mem::discriminant(one) == std::mem::discriminant(other)
}

/// Whether a name is in a subtree of its type; `None` when that cannot be said.
fn within(name: &GeneralName<'_>, base: &GeneralName<'_>, excluding: bool) -> Option<bool> {
    match (name, base) {
        (GeneralName::DNSName(name), GeneralName::DNSName(base)) => {
            Some(dns_within(name, base, excluding))
        }
        (GeneralName::RFC822Name(name), GeneralName::RFC822Name(base)) => {
            mail_within(name, base, excluding)
        }
        (GeneralName::URI(name), GeneralName::URI(base)) => Some(host_within(host_of(name)?, base)),
        (GeneralName::DirectoryName(name), GeneralName::DirectoryName(base)) => {
            let name = canonical_name(name.as_raw()).ok()?;
            // Each part has its length in front, so that a beginning is one of whole parts.
            Some(name.starts_with(&canonical_name(base.as_raw()).ok()?))
        }
        (GeneralName::IPAddress(name), GeneralName::IPAddress(base)) => address_within(name, base),
        _ => None,
    }
}

fn dns_within(name: &str, base: &str, excluding: bool) -> bool {
    let lower = |text: &str| text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let (name, base) = (lower(name), lower(base));
    if base.is_empty() {
        return true;
    }
    // A wildcard may stand for the very name that is excluded.
    let stands_for = name.strip_prefix("*.").is_some_and(|parent| {
        base.split_once('.')
            .is_some_and(|(_, above)| above == parent)
    });
    if excluding && stands_for {
        return true;
    }
    match name.strip_suffix(base.as_str()) {
        Some(rest) => rest.is_empty() || rest.ends_with('.') || base.starts_with('.'),
        None => false,
    }
}

/// A host, or with a leading period every host below it.
fn host_within(host: &str, base: &str) -> bool {
    let lower = |text: &str| text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let (host, base) = (lower(host), lower(base));
    if base.starts_with('.') {
        host.ends_with(&base)
    } else {
        host == base
    }
}

fn mail_within(name: &str, base: &str, excluding: bool) -> Option<bool> {
    let (mailbox, host) = name.split_once('@')?;
    if mailbox.is_empty() || host.is_empty() || host.contains('@') {
        return None;
    }
    Some(match base.split_once('@') {
        // A mailbox's case may mean something to its host, or not: each time what permits less.
        Some((box_base, host_base)) => {
            let same_box = if excluding {
                mailbox.eq_ignore_ascii_case(box_base)
            } else {
                mailbox == box_base
            };
            same_box && host.eq_ignore_ascii_case(host_base)
        }
        None => host_within(host, base),
    })
}

/// The host in a URI, which must be a name.
fn host_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let (authority, _) = rest.split_once(['/', '?', '#']).unwrap_or((rest, ""));
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
        && host.parse::<std::net::Ipv4Addr>().is_err();
    (is_port && is_name).then_some(host)
}

/// An address in a range, which is an address and a mask of its length.
fn address_within(name: &[u8], base: &[u8]) -> Option<bool> {
    if !matches!(name.len(), 4 | 16) || !matches!(base.len(), 8 | 32) {
        return None;
    }
    let (range, mask) = base.split_at(base.len() / 2);
    // An address of one family is in no range of the other.
    Some(
        range.len() == name.len()
            && name
                .iter()
                .zip(range)
                .zip(mask)
                .all(|((a, b), mask)| a & mask == b & mask),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_within_their_subtrees() {
        use GeneralName::{DNSName, IPAddress, RFC822Name, URI};
        let ten = IPAddress(&[10, 0, 0, 0, 255, 0, 0, 0]);
        for (name, base, excluding, expected) in [
            (IPAddress(&[10, 1, 2, 3]), ten.clone(), false, Some(true)),
            (IPAddress(&[11, 1, 2, 3]), ten.clone(), false, Some(false)),
            (IPAddress(&[0; 16]), ten.clone(), false, Some(false)),
            (IPAddress(&[10, 1, 2]), ten, false, None),
            (
                IPAddress(&[10, 1, 2, 3]),
                IPAddress(&[10, 0, 0, 0]),
                false,
                None,
            ),
            (DNSName("a.test"), DNSName("test"), false, Some(true)),
            (DNSName("A.Test."), DNSName("a.test"), false, Some(true)),
            (DNSName("xa.test"), DNSName("a.test"), false, Some(false)),
            (DNSName("b.a.test"), DNSName(".a.test"), false, Some(true)),
            (DNSName("a.test"), DNSName(".a.test"), false, Some(false)),
            (DNSName("*.test"), DNSName("a.test"), true, Some(true)),
            (DNSName("*.test"), DNSName("a.test"), false, Some(false)),
            (DNSName("any"), DNSName(""), false, Some(true)),
            (
                RFC822Name("me@a.test"),
                RFC822Name("a.test"),
                false,
                Some(true),
            ),
            (
                RFC822Name("me@b.a.test"),
                RFC822Name("a.test"),
                false,
                Some(false),
            ),
            (
                RFC822Name("me@b.a.test"),
                RFC822Name(".a.test"),
                false,
                Some(true),
            ),
            (
                RFC822Name("me@a.test"),
                RFC822Name("you@a.test"),
                false,
                Some(false),
            ),
            (
                RFC822Name("Me@a.test"),
                RFC822Name("me@A.test"),
                false,
                Some(false),
            ),
            (
                RFC822Name("Me@a.test"),
                RFC822Name("me@A.test"),
                true,
                Some(true),
            ),
            (RFC822Name("a.test"), RFC822Name("a.test"), false, None),
            (URI("spiffe://a.test/x"), URI("a.test"), false, Some(true)),
            (
                URI("https://a.test:443/x"),
                URI("a.test"),
                false,
                Some(true),
            ),
            (URI("https://b.a.test"), URI(".a.test"), false, Some(true)),
            (URI("https://10.0.0.1/"), URI("a.test"), false, None),
            (URI("https://me@a.test/"), URI("a.test"), false, None),
            (URI("urn:a"), URI("a.test"), false, None),
        ] {
            let found = within(&name, &base, excluding);
            assert_eq!(
                found, expected,
                "{name:?} in {base:?}, excluding {excluding}"
            );
        }
    }
}
