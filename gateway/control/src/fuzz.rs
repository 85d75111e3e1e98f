//! What the fuzz targets in `tests/fuzz-native` check; ordinary tests replay their corpora.
//!
//! Each function takes any bytes, as a client's requester, an operator or a CA might send them, and
//! panics when a promise is broken. Not part of the gateway: compiled for fuzzing and tests only.

use crate::compile::origin::origins;
use crate::document::Document;
use crate::model::OriginSpec;
use crate::model::id::{Id, Uuid};
use crate::model::moment::Moment;
use crate::model::source_url::SourceUrl;
use crate::operations::authorities::bundle;
use crate::pki::chain::ServerChain;
use crate::pki::csr::Request;
use tls::pem;

/// The time at which certificates are looked at: 2027-01-15, so that a corpus does not grow old.
const NOW_SEC: i64 = 1_800_000_000;

/// A certificate signing request in DER: no panic; one that is taken has a subject, and is read
/// the same again.
pub fn csr(der: &[u8]) {
    let Ok(request) = Request::parse(&pem::write("CERTIFICATE REQUEST", der)) else {
        return;
    };
    assert!(request.subject().entries().next().is_some());
    let Ok(written) = request.to_der() else {
        return;
    };
    let again = Request::parse(&pem::write("CERTIFICATE REQUEST", &written));
    assert!(again.is_ok_and(|again| again.names == request.names));
}

/// PEM texts, the second one after a NUL: a request, a bundle of CAs, a chain with its key, a
/// revocation list. No panic; a chain that is taken is read the same again.
pub fn pems(data: &[u8]) {
    drop(pem::lists(data));
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    drop(Request::parse(text));
    let now = Moment::from_seconds(NOW_SEC);
    drop(bundle(text, now));
    let (chain, key) = text.split_once('\0').unwrap_or((text, text));
    if let Ok(found) = ServerChain::parse(chain, key, now) {
        let again = ServerChain::parse(&found.chain_pem, found.key_pem.reveal_text(), now);
        assert!(again.is_ok_and(|again| again.chain_pem == found.chain_pem));
    }
}

/// A document in JSON: no panic; what is taken is written, and read to the same.
pub fn document(data: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Document>(data) else {
        return;
    };
    let written = serde_json::to_vec(&document).unwrap_or_default();
    let again = serde_json::from_slice::<Document>(&written);
    assert!(again.is_ok_and(|again| again == document));
}

/// One line of text as each of the small things that requests name: URLs, origins, times, ids. No
/// panic; a URL that is taken goes into a request as it is.
pub fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(url) = SourceUrl::parse(text) {
        let fits = |text: &str| text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
        assert!(url.target().starts_with('/') && fits(&url.target()));
        assert!(!url.authority().is_empty() && fits(url.authority()));
        assert_eq!(url.redirected(text).as_ref(), Ok(&url));
    }
    let spec = OriginSpec {
        url: text.into(),
        host_header: Some(text.into()),
        // An empty bundle is refused, and the system's is not read.
        ca_pem: text.starts_with("https").then(String::new),
        ..OriginSpec::default()
    };
    drop(origins(&spec, &std::sync::Arc::default(), None));
    if let Some(moment) = Moment::parse(text) {
        assert_eq!(Moment::parse(&moment.to_string()), Some(moment));
    }
    if let Ok(id) = text.parse::<Id>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(id) = text.parse::<Uuid>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use boring::hash::MessageDigest;
    use boring::x509::{X509Name, X509Req};

    use super::*;
    use crate::pki::x509::generate_key;
    use fixtures::pki::{Identity, Spec};

    /// A request, and its DER.
    fn request() -> Vec<u8> {
        let key = generate_key().unwrap();
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_text("CN", "device").unwrap();
        let mut builder = X509Req::builder().unwrap();
        builder.set_subject_name(&name.build()).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        builder.build().to_der().unwrap()
    }

    /// Every prefix, and every byte with each of its bits turned.
    fn sweep(data: &[u8], check: impl Fn(&[u8])) {
        for end in 0..data.len() {
            check(&data[..end]);
        }
        for place in 0..data.len() {
            for bit in 0..8 {
                let mut changed = data.to_vec();
                changed[place] ^= 1 << bit;
                check(&changed);
            }
        }
    }

    fn replay(target: &str, check: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fuzz-native/corpus")
            .join(target);
        let mut seen = 0;
        for file in std::fs::read_dir(&corpus).unwrap() {
            let data = std::fs::read(file.unwrap().path()).unwrap();
            check(&data);
            // Cut anywhere: half a file is a file too.
            for end in (0..data.len()).step_by(data.len() / 50 + 1) {
                check(&data[..end]);
            }
            seen += 1;
        }
        assert!(seen > 0, "no corpus in {}", corpus.display());
    }

    #[test]
    fn the_corpora_keep_their_promises() {
        replay("control_csr", csr);
        replay("control_pems", pems);
        replay("control_document", document);
        replay("control_words", words);
    }

    #[test]
    fn a_request_with_one_bit_turned_or_its_end_cut_is_refused() {
        let der = request();
        let taken = |der: &[u8]| Request::parse(&pem::write("CERTIFICATE REQUEST", der)).is_ok();
        assert!(taken(&der));
        sweep(&der, |changed| {
            assert!(!taken(changed), "{changed:02x?}");
            csr(changed);
        });
    }

    #[test]
    fn a_pem_request_with_one_byte_changed_is_refused_or_the_same_request() {
        let der = request();
        let text = pem::write("CERTIFICATE REQUEST", &der);
        sweep(text.as_bytes(), |changed| {
            pems(changed);
            let read = std::str::from_utf8(changed).ok();
            let read = read.and_then(|text| Request::parse(text).ok());
            if let Some(read) = read {
                assert_eq!(read.to_der().unwrap(), der);
            }
        });
    }

    #[test]
    fn no_change_of_a_chain_its_key_or_a_list_does_any_harm() {
        let leaf = Identity::issued(&Spec::server(&["a.test"]).at(NOW_SEC), None);
        let now = Moment::from_seconds(NOW_SEC);
        assert!(ServerChain::parse(&leaf.chain_pem(), &leaf.key_pem(), now).is_ok());
        let text = format!("{}\0{}", leaf.chain_pem(), leaf.key_pem());
        pems(text.as_bytes());
        sweep(text.as_bytes(), pems);
    }

    #[test]
    fn a_document_that_is_cut_is_refused_and_no_changed_byte_does_any_harm() {
        let text = include_bytes!("../../../tests/fuzz-native/corpus/control_document/whole");
        let whole = text.trim_ascii_end();
        assert!(serde_json::from_slice::<Document>(whole).is_ok());
        for end in 0..whole.len() {
            let cut = serde_json::from_slice::<Document>(&whole[..end]);
            assert!(cut.is_err(), "{end}");
        }
        sweep(whole, document);
    }

    #[test]
    fn no_change_of_a_url_a_time_or_an_id_does_any_harm() {
        for text in [
            "http://crl.test:8080/a?b",
            "https://[::1]:443",
            "2022-11-22T17:32:30.5Z",
            "00000000000000000000000000000001",
            "00000000-0000-4000-8000-000000000001",
        ] {
            sweep(text.as_bytes(), words);
        }
    }
}
