//! What every word of the logs means, and how to mend it: for `postern explain`, the API, and the
//! tables of `docs/troubleshooting.md`.
//!
//! Owns the list of all words. The texts are in `texts`.

mod texts;

use datapath::connection::Stop;
use tls::Refusal;
use vocabulary::request_error::RequestError;
use vocabulary::side::Side;
use vocabulary::verdict::Reason;

/// A word, where it stands, what it means, how to mend it.
#[derive(Debug, Clone, Copy)]
pub struct Explained {
    /// The word: `crl_expired`.
    pub word: &'static str,
    /// What has it: a client certificate, a handshake, a connection, an answer.
    pub place: &'static str,
    /// The status of an answer that has it; empty for the others.
    pub status: &'static str,
    /// Whose fault it is, if it is a fault.
    pub side: Option<Side>,
    /// Markdown.
    pub means: &'static str,
    /// Markdown.
    pub mend: &'static str,
}

/// Handshakes that are refused for something else than the client's certificate.
const REFUSALS: [Refusal; 13] = [
    Refusal::UnknownHost,
    Refusal::NoSni,
    Refusal::PlainHttp,
    Refusal::ProxyProtocol,
    Refusal::NotTls,
    Refusal::PeerAlert,
    Refusal::Closed,
    Refusal::Version,
    Refusal::Group,
    Refusal::Cipher,
    Refusal::SignatureAlgorithm,
    Refusal::CaUnsupported,
    Refusal::Protocol,
];

/// Every end of a connection.
const STOPS: [Stop; 17] = [
    Stop::Closed,
    Stop::Handshake(Refusal::Protocol),
    Stop::HandshakeTimeout,
    Stop::HeaderTimeout,
    Stop::IdleTimeout,
    Stop::SlowReader,
    Stop::Flood,
    Stop::BadHttp,
    Stop::Broken,
    Stop::Drained,
    Stop::CertificateLost,
    Stop::Tunnel,
    Stop::ClientShare,
    Stop::Shed,
    Stop::ProxyHeader,
    Stop::AcmeChallenge,
    Stop::TooMany,
];

/// Every word, in the order of the page.
#[must_use]
pub fn all() -> Vec<Explained> {
    let explained = |word, place, (means, mend)| Explained {
        word,
        place,
        status: "",
        side: None,
        means,
        mend,
    };
    let reasons = Reason::ALL
        .into_iter()
        .map(|one| explained(one.as_str(), "client certificate", texts::reason(one)));
    let refusals = REFUSALS
        .into_iter()
        .map(|one| explained(one.as_str(), "handshake", texts::refusal(one)));
    let stops = STOPS.into_iter().map(|one| Explained {
        side: one.side(),
        ..explained(one.as_str(), "connection", texts::stop(one))
    });
    let answers = RequestError::ALL.into_iter().flat_map(|one| {
        let texts = texts::answer(one).iter();
        texts.map(move |(status, means, mend)| Explained {
            status,
            ..explained(one.as_str(), "answer", (*means, *mend))
        })
    });
    reasons
        .chain(refusals)
        .chain(stops)
        .chain(answers)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// A page's block between its markers.
    fn block(page: &str, name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs")
            .join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        let start = format!("<!-- generated: {name} -->\n");
        let (_, rest) = text.split_once(&start).expect("the block is there");
        let (block, _) = rest.split_once("<!-- end -->").expect("it ends");
        block.to_owned()
    }

    fn rows<'a>(all: impl Iterator<Item = (&'a str, (&'a str, &'a str))>) -> String {
        all.map(|(word, (means, mend))| format!("| `{word}` | {means} | {mend} |\n"))
            .collect()
    }

    /// A variant that is new does not compile before it has a place here, and then is missed.
    #[test]
    fn every_refusal_and_every_stop_is_listed() {
        let of_refusal = |one: Refusal| match one {
            Refusal::UnknownHost => 0,
            Refusal::NoSni => 1,
            Refusal::PlainHttp => 2,
            Refusal::ProxyProtocol => 3,
            Refusal::NotTls => 4,
            Refusal::PeerAlert => 5,
            Refusal::Closed => 6,
            Refusal::Version => 7,
            Refusal::Group => 8,
            Refusal::Cipher => 9,
            Refusal::SignatureAlgorithm => 10,
            Refusal::CaUnsupported => 11,
            Refusal::Protocol => 12,
            Refusal::ClientCertificate(_) => unreachable!("Reason::ALL has these"),
        };
        let of_stop = |one: Stop| match one {
            Stop::Closed => 0,
            Stop::Handshake(_) => 1,
            Stop::HandshakeTimeout => 2,
            Stop::HeaderTimeout => 3,
            Stop::IdleTimeout => 4,
            Stop::SlowReader => 5,
            Stop::Flood => 6,
            Stop::BadHttp => 7,
            Stop::Broken => 8,
            Stop::Drained => 9,
            Stop::CertificateLost => 10,
            Stop::Tunnel => 11,
            Stop::ClientShare => 12,
            Stop::Shed => 13,
            Stop::ProxyHeader => 14,
            Stop::AcmeChallenge => 15,
            Stop::TooMany => 16,
        };
        assert!(REFUSALS.iter().map(|one| of_refusal(*one)).eq(0..13));
        assert!(STOPS.iter().map(|one| of_stop(*one)).eq(0..17));
    }

    /// What a page says of words is what the command says.
    #[test]
    fn the_page_of_reasons_is_as_the_texts_are() {
        let reasons = rows(
            Reason::ALL
                .into_iter()
                .map(|one| (one.as_str(), texts::reason(one))),
        );
        let stops = rows(
            STOPS
                .into_iter()
                .map(|one| (one.as_str(), texts::stop(one))),
        );
        let mut refusals = rows(
            REFUSALS
                .into_iter()
                .map(|one| (one.as_str(), texts::refusal(one))),
        );
        let late = Stop::HandshakeTimeout.as_str();
        let shown = block("troubleshooting.md", "refusals");
        let last = shown.lines().last().unwrap();
        assert!(last.starts_with(&format!("| `{late}` |")), "{last}");
        refusals.push_str(last);
        refusals.push('\n');
        let answers: String = RequestError::ALL
            .into_iter()
            .flat_map(|one| texts::answer(one).iter().map(move |text| (one, text)))
            .map(|(word, (status, means, mend))| {
                format!("| `{word}` | {status} | {means} | {mend} |\n")
            })
            .collect();
        for (name, expected) in [
            ("reasons", reasons),
            ("refusals", refusals),
            ("stops", stops),
            ("answers", answers),
        ] {
            let shown = block("troubleshooting.md", name);
            let body: String = shown
                .lines()
                .skip(2)
                .map(|line| format!("{line}\n"))
                .collect();
            assert_eq!(
                body, expected,
                "{name}: docs/troubleshooting.md should have:\n{expected}"
            );
        }
    }

    /// The names in a block's first column.
    fn names(page: &str, name: &str) -> BTreeSet<String> {
        let block = block(page, name);
        let first = block.lines().filter_map(|line| line.split('`').nth(1));
        first
            .map(|text| text.split('(').next().unwrap_or(text).to_owned())
            .collect()
    }

    #[test]
    fn the_pages_of_rules_and_keys_name_what_there_is() {
        let fields: BTreeSet<String> = rules::fields().map(|one| one.name.to_owned()).collect();
        assert_eq!(names("rules.md", "fields"), fields);
        let functions: BTreeSet<String> =
            rules::functions().map(|one| one.name.to_owned()).collect();
        assert_eq!(names("rules.md", "functions"), functions);
        let keys: BTreeSet<String> = config::KEYS.iter().map(|key| key.name.to_owned()).collect();
        assert_eq!(names("configuration.md", "keys"), keys);
    }
}
