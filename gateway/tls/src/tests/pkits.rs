//! NIST's Public Key Interoperability Test Suite, with its lists: no certificate verifies that it
//! calls invalid.
//!
//! Its certificates are not part of this tree. `PKITS` names the folder that has `certs` and `crls`,
//! such as `cryptography_vectors/x509/PKITS_data` of the PyPI package `cryptography_vectors`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boring::x509::X509;

use super::pki::NOW;
use crate::{Anchor, Chain, CrlPolicy, CrlSet, Trust, read_lists, verify};
use vocabulary::verdict::Reason;

/// Why valid certificates are refused, by what their tests' names contain. The page on testing says
/// the same.
const REFUSED_THOUGH_VALID: [(&str, &str); 9] = [
    ("DSA", "DSA keys are not believed"),
    (
        "BasicSelfIssued",
        "a list by another key than the certificate's issuer's",
    ),
    (
        "SeparateCertificateandCRLKeys",
        "a list by another key than the certificate's issuer's",
    ),
    (
        "SelfIssued",
        "a list by another key than the certificate's issuer's",
    ),
    (
        "DNnameConstraintsTest19",
        "a list by another key than the certificate's issuer's",
    ),
    (
        "indirectCRL",
        "a list by another CA than the certificate's issuer",
    ),
    (
        "cRLIssuer",
        "a list by another CA than the certificate's issuer",
    ),
    (
        "distributionPoint",
        "lists of parts of a CA's certificates, or of some reasons",
    ),
    (
        "onlySomeReasons",
        "lists of parts of a CA's certificates, or of some reasons",
    ),
];

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        (name, std::fs::read(path).unwrap())
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn pkits_finds_no_false_accept() {
    let Some(folder) = std::env::var_os("PKITS").map(PathBuf::from) else {
        println!("skipped: needs PKITS=<folder with its certs and crls>");
        return;
    };
    let certificates: Vec<(String, X509)> = files(&folder.join("certs"))
        .into_iter()
        .filter_map(|(name, der)| Some((name, X509::from_der(&der).ok()?)))
        .collect();
    let root = &certificates
        .iter()
        .find(|(name, _)| name == "TrustAnchorRootCertificate");
    let (_, root) = root.expect("the anchor of PKITS");
    let issuers: Vec<X509> = certificates
        .iter()
        .filter(|(name, _)| !name.contains("EE"))
        .map(|(_, one)| one.clone())
        .collect();
    let lists = files(&folder.join("crls"));
    let lists = lists.into_iter().filter_map(|(name, der)| {
        let read = read_lists(&[der], std::slice::from_ref(root), &issuers);
        let read = read
            .map_err(|error| println!("list {name}: {error}"))
            .ok()?;
        read.into_iter().next().map(Arc::new)
    });
    let anchor = Anchor {
        id: "pkits".into(),
        der: root.to_der().unwrap(),
        revoked: Arc::default(),
        lists: Some(Arc::new(CrlSet {
            policy: CrlPolicy::Hard,
            lists: lists.collect(),
        })),
        denied: Arc::default(),
        responder: None,
    };
    let trust = Trust::build(vec![anchor]).unwrap();
    let (mut false_accepts, mut false_rejects) = (Vec::new(), BTreeMap::new());
    let mut right = 0;
    for (name, leaf) in certificates.iter().filter(|(name, _)| name.contains("EE")) {
        let valid = match name {
            name if name.starts_with("Valid") => true,
            name if name.starts_with("Invalid") => false,
            // Its outcome depends on policies that the verifier begins with.
            _ => continue,
        };
        // What a client would send: every certificate that may have issued it, and so on.
        let mut sent = vec![leaf.clone()];
        let mut place = 0;
        while place < sent.len() {
            for issuer in &issuers {
                let known = sent
                    .iter()
                    .any(|one| one.to_der().unwrap() == issuer.to_der().unwrap());
                if !known && issuer.issued(&sent[place]).is_ok() {
                    sent.push(issuer.clone());
                }
            }
            place += 1;
        }
        let found = verify(&Chain::of_x509(&sent).unwrap(), &trust, NOW).verdict;
        match (found.is_good(), valid) {
            (true, false) => false_accepts.push(name.clone()),
            (false, true) => {
                false_rejects.insert(name.clone(), found.reason);
            }
            _ => right += 1,
        }
    }
    println!("PKITS: {right} right; refused although valid: {false_rejects:#?}");
    assert_eq!(false_accepts, Vec::<String>::new());
    let unexplained: Vec<_> = false_rejects
        .iter()
        .filter(|(name, reason)| {
            let explained = |(part, _): &(&str, &str)| name.contains(part);
            matches!(reason, Reason::Other) || !REFUSED_THOUGH_VALID.iter().any(explained)
        })
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}
