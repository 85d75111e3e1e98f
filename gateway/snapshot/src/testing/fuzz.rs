//! Promises about what strangers send: each function takes any bytes, and panics when a promise is
//! broken.
//!
//! The targets are in `tests/fuzz-native`. The tests here replay their corpora: every file whole,
//! every prefix of it, and with every byte changed.

use std::net::IpAddr;

use ::http::header::{HeaderMap, HeaderName, HeaderValue};
use ::http::{Method, Request, Uri, Version};

use crate::checks::{self, Selected};
use crate::http::request_head::RequestHead;
use crate::http::{authority, headers, names, path};

/// An authority is refused, or has one canonical form.
pub fn http_authority(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(name) = authority::canonical(text) else {
        return;
    };
    assert_eq!(
        authority::canonical(&name).as_deref(),
        Ok(&*name),
        "{text:?}"
    );
    assert!(!name.is_empty() && name.is_ascii(), "{text:?}");
    assert_eq!(name.to_ascii_lowercase(), *name, "{text:?}");
    let suspicious = |byte: u8| byte <= b' ' || b"/\\@?#,\"'".contains(&byte);
    assert!(!name.bytes().any(suspicious), "{text:?} as {name:?}");
}

/// A path is refused, or has one normalised form, and the origin's target says the same.
pub fn http_path(data: &[u8]) {
    let Ok(uri) = Uri::try_from(data) else { return };
    let Ok(normal) = path::normalise(uri.path()) else {
        return;
    };
    assert_eq!(path::normalise(&normal).as_deref(), Ok(&*normal), "{uri}");
    if *normal == *"*" {
        return;
    }
    assert!(normal.starts_with('/') && normal.is_ascii(), "{uri}");
    assert!(!normal.contains("//") && !normal.contains('\\'), "{uri}");
    assert!(
        !normal.split('/').any(|part| part == "." || part == ".."),
        "{uri}"
    );
    if let Ok(target) = path::target(&normal, &uri) {
        assert_eq!(target.path(), normal, "{uri}");
        assert_eq!(target.query(), uri.query(), "{uri}");
    }
}

/// A whole head, one line each: `METHOD TARGET HTTP/1.1`, then `name: value`. What is admitted has
/// the same meaning to rules and origin, and nothing that only the gateway may say.
pub fn http_head(data: &[u8]) {
    const COUNT_MAX: usize = 20;
    let Some(request) = read(data) else { return };
    let (parts, ()) = request.into_parts();
    let mut parts = RequestHead::from(parts);
    let sni = "api.example.test".into();
    let select = |name: &std::sync::Arc<str>| {
        Some(Selected {
            host: (),
            known_as: name.clone(),
        })
    };
    let head = match checks::admit(&parts, &sni, COUNT_MAX, select) {
        Ok(head) => head,
        Err(refused) => {
            assert!(refused.refusal.status().is_client_error() || refused.refusal.status() == 501);
            assert!(!refused.refusal.to_string().is_empty());
            return;
        }
    };
    assert!(!matches!(parts.method, Method::CONNECT | Method::TRACE));
    assert_eq!(
        authority::canonical(&head.authority).as_deref(),
        Ok(&*head.authority)
    );
    assert_eq!(head.target.path(), head.path);
    assert_eq!(head.target.query(), parts.uri.query());
    assert!(*head.path != *"*" || parts.method == Method::OPTIONS);
    let said = headers::OriginMetadata {
        client: IpAddr::from([192, 0, 2, 1]),
        client_address: &HeaderValue::from_static("192.0.2.1"),
        host: &head.authority,
        host_value: &HeaderValue::from_str(&head.authority).unwrap(),
        request_id: &HeaderValue::from_static("ours"),
        certificate: None,
        x_forwarded: true,
        forwarded: true,
    };
    headers::for_origin(&mut parts.headers, &said, "1.1 postern");
    for (name, value) in &parts.headers {
        let name = HeaderName::from_bytes(name).unwrap();
        let count = parts.headers.get_all(&name).count();
        match name.as_str() {
            "x-request-id" => assert_eq!((count, value), (1, &b"ours"[..])),
            "x-forwarded-for" => assert_eq!((count, value), (1, &b"192.0.2.1"[..])),
            "x-forwarded-host" | "x-forwarded-proto" | "forwarded" => assert_eq!(count, 1),
            "te" => assert_eq!((count, value), (1, &b"trailers"[..])),
            "host" | "content-length" | "trailer" | "via" => {}
            _ => assert!(!names::is_ours(&name), "{name} goes to the origin"),
        }
    }
}

fn read(data: &[u8]) -> Option<Request<()>> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.splitn(3, |byte| *byte == b' ');
    let (method, target, version) = (first.next()?, first.next()?, first.next()?);
    let version = match version {
        b"HTTP/1.0" => Version::HTTP_10,
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/2" => Version::HTTP_2,
        _ => return None,
    };
    let mut map = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at_checked(colon)?;
        let mut value = value.strip_prefix(b":")?;
        if version != Version::HTTP_2 {
            value = value.trim_ascii();
        }
        let name = HeaderName::from_bytes(name).ok()?;
        map.append(name, HeaderValue::from_bytes(value).ok()?);
    }
    let request = Request::builder()
        .method(method)
        .uri(target)
        .version(version);
    let mut request = request.body(()).ok()?;
    *request.headers_mut() = map;
    Some(request)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Every file of a corpus, every prefix of it, and every byte of it changed in ways that matter
    /// to a parser.
    fn sweep(target: &str, check: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fuzz-native/corpus")
            .join(target);
        let mut files = 0;
        for file in std::fs::read_dir(&corpus).unwrap() {
            let data = std::fs::read(file.unwrap().path()).unwrap();
            for end in 0..=data.len() {
                check(&data[..end]);
            }
            let mut changed = data.clone();
            for at in 0..data.len() {
                for bit in 0..8 {
                    changed[at] = data[at] ^ (1 << bit);
                    check(&changed);
                }
                for byte in *b"\0 %./\\;:@*?#,[\xff" {
                    changed[at] = byte;
                    check(&changed);
                }
                changed[at] = data[at];
            }
            files += 1;
        }
        assert!(files > 0, "no corpus in {}", corpus.display());
    }

    #[test]
    fn authorities_keep_their_promises() {
        sweep("http_authority", super::http_authority);
    }

    #[test]
    fn paths_keep_their_promises() {
        sweep("http_path", super::http_path);
    }

    #[test]
    fn heads_keep_their_promises() {
        sweep("http_head", super::http_head);
    }
}
