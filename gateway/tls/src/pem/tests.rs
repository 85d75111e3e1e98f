//! Every form that people's files have, every prefix and every byte of one.

use boring::x509::{X509, X509Req};
use proptest::prelude::*;

use super::*;
use crate::tests::pki::{Identity, ListWish, Wish, issue, list};

fn made(name: &str) -> Identity {
    issue(&Wish::ca(name), None)
}

fn ca(name: &str) -> X509 {
    made(name).x509
}

fn common_name(one: &X509) -> String {
    let name = subject(one);
    name.split(',').next().unwrap().to_owned()
}

/// Certificates of a text by their common names.
fn names(text: &[u8]) -> Result<Vec<String>, PemError> {
    certificates(text, Use::Clients).map(|all| all.iter().map(common_name).collect())
}

fn message(text: &[u8]) -> String {
    names(text).unwrap_err().to_string()
}

fn two() -> (String, String) {
    let text = |name| String::from_utf8(ca(name).to_pem().unwrap()).unwrap();
    (text("a"), text("b"))
}

#[test]
fn what_differs_in_form_only_is_taken() {
    let (a, b) = two();
    let both = format!("{a}{b}");
    let relabelled = |label: &str| both.replace("CERTIFICATE", label);
    let indented: String = both.lines().map(|line| format!("  \t{line}  \n")).collect();
    let one_line = both.replace('\n', " ");
    let aux = "Bag Attributes\n    friendlyName: M\u{fc}ller\n    localKeyID: 01 02 \nKey Attributes: <No Attributes>\nsubject=CN = a -- front-end certificate\n";
    for (what, text) in [
        ("as it is", both.clone()),
        ("a byte order mark", format!("\u{feff}{both}")),
        (
            "two joined files with one each",
            format!("\u{feff}{a}\u{feff}{b}"),
        ),
        ("CRLF", both.replace('\n', "\r\n")),
        ("CR", both.replace('\n', "\r")),
        (
            "comments",
            format!("# the CA\n{a}# another\n\n{b}# the end of KEYs\n"),
        ),
        ("bag attributes", format!("{aux}{a}{aux}{b}{aux}")),
        ("indented", indented),
        ("one line", one_line),
        ("empty lines inside", both.replace('\n', "\n\n")),
        ("no line end between", format!("{}{b}", a.trim_end())),
        ("no line end at all", both.replace('\n', "")),
        ("an old label", relabelled("X509 CERTIFICATE")),
        (
            "OpenSSL's label without settings",
            relabelled("TRUSTED CERTIFICATE"),
        ),
        (
            "headers",
            a.replacen('\n', "\nX-Name: 1\n more\n\n", 1) + &b,
        ),
    ] {
        assert_eq!(
            names(text.as_bytes()).as_deref(),
            Ok(&["CN=a".into(), "CN=b".into()][..]),
            "{what}"
        );
    }
    let latin1 = [b"friendlyName: M\xfcller\n".as_slice(), both.as_bytes()].concat();
    assert_eq!(names(&latin1).unwrap().len(), 2);
    let all = certificates(both.as_bytes(), Use::Clients).unwrap();
    let rest = "O=Test\\, Inc.,C=US";
    let expected = format!("2 certificates: CN=a,{rest}; CN=b,{rest}");
    assert_eq!(subjects(&all), expected);
    assert_eq!(subjects(&all[..1]), format!("1 certificate: CN=a,{rest}"));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let (a, b) = two();
    let both = format!("{a}{b}");
    let line = a.lines().count() + 1;
    let second = |change: &dyn Fn(&str) -> String| format!("{a}{}", change(&b));
    let begin = "-----BEGIN CERTIFICATE-----";
    let end = "-----END CERTIFICATE-----";
    let body: String = b.lines().filter(|line| !line.starts_with('-')).collect();
    for (text, said) in [
        (String::new(), "it is empty".to_owned()),
        (
            " \r\n\u{feff}".trim_end_matches('\u{feff}').into(),
            "it is empty".into(),
        ),
        ("hello".into(), "no line `-----BEGIN".into()),
        (
            second(&|b| b.replacen('-', "", 1)),
            format!("line {line}: `----BEGIN CERTIFICATE-----` is no marker"),
        ),
        (
            second(&|b| b.replace(begin, "-----BEGIN CERTIFICATE----")),
            format!("line {line}: `-----BEGIN CERTIFICATE----` is no marker"),
        ),
        (
            second(&|b| b.replace(begin, "-----begin certificate-----")),
            format!("line {line}: `-----begin certificate"),
        ),
        (
            second(&|b| b.replace(begin, "\u{2014}BEGIN CERTIFICATE\u{2014}")),
            format!("line {line}: "),
        ),
        (
            second(&|b| b.replace(end, "----END CERTIFICATE-----")),
            "is no marker".into(),
        ),
        (
            second(&|b| b.replace(end, "")),
            format!("line {line}, block 2 (`CERTIFICATE`): its `-----END"),
        ),
        (
            second(&|b| b.replace(end, "-----END X509 CRL-----")),
            "it ends with `-----END X509 CRL-----`".into(),
        ),
        (second(&|b| b.replace(begin, "")), "ends nothing".into()),
        (
            second(&|b| b.replacen("\nM", "\n>M", 1)),
            format!(
                "line {}, block 2 (`CERTIFICATE`): '>' is no digit",
                line + 1
            ),
        ),
        (
            second(&|b| b.replacen("\nM", "\n\u{a0}M", 1)),
            "is no digit".into(),
        ),
        (both.replace('\n', "\\n"), "`printf '%b'".into()),
        (
            second(&|b| b.replacen(&body[64..68], "", 1)),
            "block 2".into(),
        ),
        (format!("{begin}\nAAAA\n{end}\n"), "no DER".into()),
        (format!("{begin}\nAAA\n{end}\n"), "base64 is damaged".into()),
        (format!("{begin}\n{end}\n"), "no DER".into()),
        (
            write("CERTIFICATE", &[0x30, 0, 1, 2]),
            "2 bytes follow".into(),
        ),
        (
            write("CERTIFICATE", &[0x30, 0]),
            "a certificate that cannot be read".into(),
        ),
        (
            write("ATTRIBUTE CERTIFICATE", &[0x30, 0]),
            "(`ATTRIBUTE CERTIFICATE`): blocks of this kind".into(),
        ),
        (
            write("PKCS7", &[0x30, 0]),
            "openssl pkcs7 -print_certs".into(),
        ),
        (
            write("OPENSSH PRIVATE KEY", &[0x30, 0]),
            "ssh-keygen -p -m PKCS8".into(),
        ),
        (
            write("X509 CRL", &[0x30, 0]),
            "it is a revocation list, and a certificate is expected".into(),
        ),
        (
            write("TRUSTED CERTIFICATE", &[0x30, 0, 5, 0]),
            "trust settings".into(),
        ),
    ] {
        let found = message(text.as_bytes());
        assert!(found.contains(&said), "{said}: {found}");
    }
    let utf16: Vec<u8> = [0xfeff]
        .into_iter()
        .chain(both.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    assert!(message(&utf16).contains("UTF-16"));
}

#[test]
fn other_things_than_pem_are_named_with_the_command_that_mends_it() {
    let made = made("a");
    let certificate = made.x509.to_der().unwrap();
    let key = made.key.private_key_to_der_pkcs8().unwrap();
    let public = made.key.public_key_to_der().unwrap();
    let mut request = X509Req::builder().unwrap();
    request.set_pubkey(&made.key).unwrap();
    request
        .sign(&made.key, boring::hash::MessageDigest::sha256())
        .unwrap();
    let request = request.build().to_der().unwrap();
    let list = list(&ListWish::default(), &made);
    let pkcs12 = [0x30, 8, 2, 1, 3, 0x30, 3, 6, 1, 0];
    let pkcs7 = [0x30, 11, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    for (der, form, command) in [
        (
            certificate.as_slice(),
            Form::Certificate,
            "openssl x509 -inform DER",
        ),
        (&key, Form::PrivateKey, "openssl pkey -inform DER"),
        (&public, Form::PublicKey, "-pubin"),
        (&request, Form::Request, "openssl req -inform DER"),
        (&list, Form::List, "openssl crl -inform DER"),
        (&pkcs12, Form::Pkcs12, "openssl pkcs12 -nodes"),
        (&pkcs7, Form::Pkcs7, "openssl pkcs7 -inform DER"),
    ] {
        assert_eq!(form_of(der), Some(form));
        let found = message(der);
        assert!(
            found.contains(command) && found.contains(form.name()),
            "{found}"
        );
        // Under the label of another thing.
        if form != Form::Certificate {
            let found = message(write("CERTIFICATE", der).as_bytes());
            assert!(found.contains("its label says a certificate"), "{found}");
        }
    }
}

#[test]
fn openssl_s_trust_settings_are_heeded() {
    let der = ca("a").to_der().unwrap();
    let purpose = |last: u8| [6, 8, 0x2b, 6, 1, 5, 5, 7, 3, last];
    let (clients, servers) = (purpose(2), purpose(1));
    let element = |tag: u8, content: &[u8]| crate::der::element(tag, content);
    let settings = |allowed: &[u8], rejected: &[u8]| {
        let mut content = Vec::new();
        for (tag, list) in [(0x30, allowed), (0xa0, rejected)] {
            if !list.is_empty() {
                content.extend(element(tag, list));
            }
        }
        content.extend(element(0x0c, b"an alias"));
        [der.clone(), element(0x30, &content)].concat()
    };
    for (allowed, rejected, for_clients, for_servers) in [
        (&[][..], &[][..], true, true),
        (&clients, &[], true, false),
        (&servers, &[], false, true),
        (&[], &clients, false, true),
        (&[], &[6, 4, 0x55, 0x1d, 0x25, 0], false, false),
        (&[6, 4, 0x55, 0x1d, 0x25, 0], &[], true, true),
    ] {
        let text = write("TRUSTED CERTIFICATE", &settings(allowed, rejected));
        for (of, taken) in [(Use::Clients, for_clients), (Use::Origins, for_servers)] {
            let found = certificates(text.as_bytes(), of);
            assert_eq!(found.is_ok(), taken, "{allowed:?} {rejected:?} {of:?}");
            if let Err(error) = found {
                assert!(error.to_string().contains("do not allow"), "{error}");
            }
        }
        assert!(certificates(text.as_bytes(), Use::Chain).is_ok());
    }
}

#[test]
fn keys_are_known_by_their_structure() {
    let ca = made("a");
    let plain = String::from_utf8(ca.key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let certificate = String::from_utf8(ca.x509.to_pem().unwrap()).unwrap();
    let encrypted = |label: &str| {
        let inner = [
            0x30, 0x0b, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 5, 0x0d,
        ];
        let der = crate::der::element(0x30, &[&inner[..], &[4, 2, 1, 2]].concat());
        write(label, &der)
    };
    let of_kind = |object: &[u8]| {
        let identifier = crate::der::element(0x30, &crate::der::element(6, object));
        let content = [&[2, 1, 0][..], &identifier, &[4, 2, 1, 2]].concat();
        write("PRIVATE KEY", &crate::der::element(0x30, &content))
    };
    let taken = [
        plain.clone(),
        format!("# ENCRYPTED backup is in the safe\n{plain}"),
        format!("\u{feff}{plain}"),
        format!("{certificate}{plain}"),
        format!("{plain}{certificate}"),
        format!(
            "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{plain}"
        ),
        plain.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
        plain
            .lines()
            .map(|line| format!("    {line}\r\n"))
            .collect(),
    ];
    for text in taken {
        let key = private_key(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert!(key.public_eq(&ca.key), "{text}");
    }
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,0011\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    for (text, said) in [
        (
            encrypted("ENCRYPTED PRIVATE KEY"),
            "encrypted with a passphrase",
        ),
        (encrypted("PRIVATE KEY"), "openssl pkey -in FILE"),
        (legacy.into(), "encrypted with a passphrase"),
        (
            of_kind(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10]),
            "an RSA-PSS key",
        ),
        (of_kind(&[0x2b, 0x65, 0x71]), "an Ed448 key"),
        (of_kind(&[0x2b, 0x65, 0x6e]), "an X25519 key"),
        (
            of_kind(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]),
            "a private key that cannot be read",
        ),
        (format!("{plain}{plain}"), "the second private key"),
        (certificate.clone(), "there is no private key in it"),
        (
            write("PUBLIC KEY", &ca.key.public_key_to_der().unwrap()),
            "it is a public key, and a private key",
        ),
        (plain.replace("-----END PRIVATE KEY-----", ""), "is missing"),
    ] {
        let error = private_key(text.as_bytes())
            .map(drop)
            .unwrap_err()
            .to_string();
        assert!(error.contains(said), "{said}: {error}");
    }
    let with_key = format!("{certificate}{plain}");
    assert!(message(with_key.as_bytes()).contains("keep the key where it is"));
    assert_eq!(
        certificates(with_key.as_bytes(), Use::Chain).unwrap().len(),
        1
    );
}

#[test]
fn every_prefix_and_every_changed_byte_is_an_error_or_the_same_certificates() {
    let (a, b) = two();
    let text = format!("{a}{b}");
    let (first, whole) = (
        names(a.as_bytes()).unwrap(),
        names(text.as_bytes()).unwrap(),
    );
    for end in 0..text.len() {
        // Cut behind the first block it is a whole text; else it names the block that is cut.
        match names(&text.as_bytes()[..end]) {
            Ok(found) => assert!(
                found == first && end + 1 >= a.len() && end <= a.len() + 9 || found == whole,
                "{end}: {found:?}"
            ),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let ders =
        |text: &[u8]| read(text).map(|all| all.into_iter().map(|one| one.der).collect::<Vec<_>>());
    let good = ders(text.as_bytes()).unwrap();
    for place in 0..text.len() {
        for change in [1, 2, 4, 8, 16, 32, 64, 128, 0x2d] {
            let mut bent = text.clone().into_bytes();
            bent[place] ^= change;
            if let Ok(found) = ders(&bent) {
                assert_eq!(
                    found.len(),
                    good.len(),
                    "{place} ^ {change}: a block vanished"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_whatever_stands_around_it(
        content in prop::collection::vec(any::<u8>(), 0..200),
        comment in "[ -,.-~\u{e4}\n]{0,40}",
        blanks in "[ \t]{0,5}",
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
    ) {
        let der = crate::der::element(0x30, &content);
        let text = write("CERTIFICATE", &der);
        let body: String = text.lines().map(|line| format!("{blanks}{line}{blanks}{end}")).collect();
        let text = format!("{}{end}{body}", comment.replace('\n', end));
        match read(text.as_bytes()) {
            Ok(blocks) => {
                prop_assert_eq!(blocks.len(), 1);
                prop_assert_eq!(&blocks[0].der, &der);
                prop_assert_eq!(read(blocks[0].to_text().as_bytes()).unwrap()[0].der.clone(), der);
            }
            // Random content may be of another form.
            Err(error) => prop_assert!(matches!(error.problem, Problem::Mislabelled { .. }), "{}", error),
        }
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "[-BEGINDCRT 0-9A-Za-z:=\n\r\\\\#]{0,200}") {
        drop(read(text.as_bytes()));
        drop(lists(text.as_bytes()));
        drop(private_key(text.as_bytes()));
    }
}
