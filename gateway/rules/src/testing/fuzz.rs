//! The checks behind the fuzz targets of `tests/fuzz`; ordinary tests replay their corpora.
//!
//! Each function takes any bytes and panics when a promise is broken. Compiled for fuzzing and
//! tests only.

#![expect(
    clippy::panic,
    reason = "a broken promise is reported to the fuzzer as a panic"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use http1::Headers;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

use super::oracle::Oracle;
use crate::eval::json;
use crate::eval::value::{Scratch, Value};
use crate::geo::{Database, Geo};
use crate::limits;
use crate::lint;
use crate::syntax::ast::Argument;
use crate::syntax::lexer;
use crate::{
    Action, BlockResponse, ConnectionFacts, ConnectionState, Decision, Lists, check, decide,
    decide_on,
};
use crate::{Allowance, Form, List, Program, RequestFacts, RoundTrip, Rule, Skip};
use vocabulary::client_auth::ClientAuth;
use vocabulary::verdict::{Reason, Verdict};

/// Lexer: no panic; it ends; spans lie in the text, one after the other, between characters.
pub fn lex(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut end = 0;
    for (_, span) in lexer::tokens(text) {
        assert!(
            end <= span.start && span.start <= span.end && text.get(span.start..span.end).is_some()
        );
        end = span.end;
    }
}

/// Parser: no panic; what is printed is parsed to the same; a form that is shown is the expression.
pub fn parse(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match check(text) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(expression) => {
            let printed = expression.to_string();
            let again = crate::syntax::parser::parse_any_length(&printed, None);
            assert_eq!(again.as_ref(), Ok(&expression.0), "{printed}");
            if printed.chars().count() <= limits::EXPRESSION_CHARACTERS_MAX {
                assert_eq!(check(&printed).as_ref(), Ok(&expression), "{printed}");
            }
            if let Some(form) = Form::from_expression(&expression) {
                assert_eq!(form.to_expression().as_ref(), Ok(&expression));
            }
        }
    }
}

/// Compiler: a list of rules compiles when each of them checks, and linting does no harm.
pub fn compile(data: &[u8]) {
    let rules = rules(data);
    let lists = lists();
    let good = rules
        .iter()
        .all(|rule| crate::check_with(&rule.expression, &lists).is_ok());
    match Program::compile_with(&rules, &lists) {
        Ok(_) => assert!(good),
        Err(error) => assert!(!good && error.index < rules.len()),
    }
    let _lints = lint(&rules, &[], &lists, false);
}

/// Compiler and evaluator: the program decides as the plain evaluator does, with and without
/// memory, before and after a change. The first line is the request, the others are rules.
pub fn decide_as_evaluated(data: &[u8]) {
    let at = data
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(data.len());
    let (request, text) = data.split_at(at);
    let lists = lists();
    let mut rules = rules(text);
    rules.retain(|rule| crate::check_with(&rule.expression, &lists).is_ok());
    let made = Made::new(request);
    let state = ConnectionState::default();
    let Ok(program) = Program::compile_with(&rules, &lists) else {
        panic!("each rule checks")
    };
    made.compare(&program, &rules, &lists, &state);
    if rules.len() > 1 {
        let moved = rules.remove(0);
        rules.push(moved);
        let Ok(changed) = program.recompile(Rule::shared(&rules), &lists) else {
            panic!("each rule checks")
        };
        made.compare(&changed, &rules, &lists, &state);
    }
}

/// JSON look-up: no panic, and what it finds is what a library finds. The first line is the path,
/// its steps between slashes, a number being a place in an array; the rest is the text.
pub fn json(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n');
    let (path, text) = data.split_at(at.unwrap_or(data.len()));
    let steps = path
        .split(|byte| *byte == b'/')
        .filter(|step| !step.is_empty());
    let step = |step: &[u8]| match std::str::from_utf8(step).map(str::parse::<i64>) {
        Ok(Ok(place)) => Argument::Int(place),
        _ => Argument::Bytes(step.into()),
    };
    let path: Vec<Argument> = steps.map(step).collect();
    as_a_library_says(text.get(1..).unwrap_or_default(), &path);
}

/// Compares both functions with `serde_json`, on a text that is borrowed and on one that was made.
///
/// Three kinds of texts are JSON by its grammar and refused by the library: deep ones, numbers
/// beyond a float, and halves of surrogate pairs. Of those nothing is expected. Nor is an integer of
/// a negative zero, which the library reads as a float however it is written.
pub(crate) fn as_a_library_says(text: &[u8], path: &[Argument]) {
    let expected = match serde_json::from_slice::<Json>(text) {
        Ok(value) => at(&value, path).cloned(),
        Err(_) if serde_json::from_slice::<IgnoredAny>(text).is_err() => None,
        Err(_) => return,
    };
    let mut scratch = Scratch::default();
    scratch.push(text);
    for source in [Value::Bytes(text), scratch.made(0)] {
        let found = json::string(source, path, &mut scratch);
        let found = scratch.bytes(found);
        let wanted = expected.as_ref().and_then(Json::as_str);
        assert_eq!(found, wanted.map(str::as_bytes), "{text:?} {path:?}");
        let found = match json::integer(source, path, &mut scratch) {
            Value::Int(value) => Some(value),
            _ => None,
        };
        let number = expected.as_ref().filter(|value| value.is_f64());
        let is_negative_zero = number
            .and_then(Json::as_f64)
            .is_some_and(|value| value == 0.0 && value.is_sign_negative());
        let wanted = match is_negative_zero {
            true => found.filter(|value| *value == 0),
            false => expected.as_ref().and_then(Json::as_i64),
        };
        assert_eq!(found, wanted, "{text:?} {path:?}");
    }
}

/// What a document has at a path.
fn at<'j>(document: &'j Json, path: &[Argument]) -> Option<&'j Json> {
    path.iter().try_fold(document, |value, step| match step {
        Argument::Bytes(name) => value.get(std::str::from_utf8(name).ok()?),
        Argument::Int(place) => value.get(usize::try_from(*place).ok()?),
        _ => None,
    })
}

/// GeoIP database: no panic; it is refused, or what it says of an address is never empty.
pub fn geo(data: &[u8]) {
    let database = Database {
        path: "fuzzed.mmdb".into(),
        bytes: data.to_vec(),
    };
    let Ok(Some(geo)) = Geo::new([database]) else {
        return;
    };
    for address in [
        IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
        IpAddr::V4(Ipv4Addr::BROADCAST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    ] {
        let place = geo.place(address);
        let texts = [
            &place.country,
            &place.continent,
            &place.region,
            &place.region_code,
            &place.city,
            &place.subdivision_1,
            &place.subdivision_2,
        ];
        let mut texts = texts.into_iter().flatten();
        assert!(texts.all(|text| !text.is_empty()), "{place:?}");
    }
}

/// Lists that rules can name: `$ips`, `$hosts`, `$asns`.
pub(crate) fn lists() -> Lists {
    let mut lists = Lists::default();
    for (name, list) in [
        ("ips", List::ip(["203.0.113.0/24", "2001:db8::/32"])),
        ("hosts", List::hostname(["a.example", "*.b.example.com"])),
        ("asns", List::asn(["64496"])),
    ] {
        let inserted = list.and_then(|list| lists.insert(name, list));
        assert!(inserted.is_ok());
    }
    lists
}

/// One rule a line; its first character chooses the action.
fn rules(data: &[u8]) -> Vec<Rule> {
    let text = String::from_utf8_lossy(data);
    let lines = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .take(200);
    lines
        .enumerate()
        .map(|(at, line)| {
            let skip = |current_ruleset| {
                Action::Skip(Skip {
                    current_ruleset,
                    logging: true,
                    ..Skip::default()
                })
            };
            let (action, expression) = match line.split_at_checked(1) {
                Some(("!", rest)) => (Action::Log, rest),
                Some((">", rest)) => (skip(true), rest),
                Some(("+", rest)) => (skip(false), rest),
                _ => (Action::Block(BlockResponse::default()), line),
            };
            Rule {
                id: format!("r{at}").into(),
                expression: expression.into(),
                action,
                enabled: true,
            }
        })
        .collect()
}

/// A request read from one line: `method host path query name=value …`, a digit for the
/// certificate first.
struct Made {
    connection: ConnectionFacts,
    words: Vec<String>,
    headers: Headers,
}

impl Made {
    fn new(line: &[u8]) -> Self {
        let words: Vec<String> = String::from_utf8_lossy(line)
            .split(' ')
            .map(str::to_owned)
            .collect();
        let digit = words
            .first()
            .and_then(|word| word.bytes().next())
            .unwrap_or(b'0');
        let mut client = ClientAuth::none();
        let presented = digit > b'0';
        client.verdict = Verdict {
            presented,
            verified: digit > b'1',
            revoked: digit > b'2',
            reason: if presented {
                Reason::Other
            } else {
                Reason::NotPresented
            },
        };
        if presented {
            client.serial = "0A".into();
            client.not_after_sec = Some(1);
            client.san_dns = vec!["a.example".into()];
        }
        let mut headers = Headers::new();
        for word in words.iter().skip(5) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let name = HeaderName::from_bytes(name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
                assert_eq!(headers.try_append(name, value), Ok(()));
            }
        }
        let connection = ConnectionFacts {
            source: ([203, 0, 113, digit], 1).into(),
            local: ([198, 51, 100, 1], 443).into(),
            sni: "a.example".into(),
            tls_version: "TLSv1.3",
            tls_cipher: "AEAD-AES128-GCM-SHA256",
            client_hello: line.to_vec().into(),
            geo: None,
            client: Arc::new(client),
        };
        Self {
            connection,
            words,
            headers,
        }
    }

    fn request(&self) -> RequestFacts<'_> {
        let word = |at: usize| self.words.get(at).map_or("", String::as_str);
        RequestFacts {
            method: word(1),
            version: "HTTP/1.1",
            host: word(2),
            path: word(3),
            raw_path: word(3),
            query: word(4),
            authority: None,
            headers: &self.headers,
            received_msec: 1_700_000_000_123,
            ray_id: "8f00b204e9800998",
            allowance: Allowance::default(),
            round_trip: RoundTrip::default(),
        }
    }

    fn compare(&self, program: &Program, rules: &[Rule], lists: &Lists, state: &ConnectionState) {
        let Ok(oracle) = Oracle::compile(rules, lists) else {
            panic!("each rule checks")
        };
        let request = self.request();
        let mut expected_log = Vec::new();
        let expected = oracle.decide(&self.connection, &request, &mut |id| {
            expected_log.push(id.to_owned())
        });
        for remembers in [false, true, true] {
            let mut log = Vec::new();
            let mut logged = |id: &str| log.push(id.to_owned());
            let decision = if remembers {
                decide_on(program, &self.connection, state, &request, &mut logged)
            } else {
                decide(program, &self.connection, &request, &mut logged)
            };
            let found = match decision {
                Decision::Permit(_) => None,
                Decision::Block { rule_id, .. } => Some(rule_id),
                Decision::TooLarge => panic!("a small request is evaluated"),
            };
            assert_eq!((found, &log), (expected, &expected_log), "{rules:?}");
        }
    }
}

/// A ClientHello without its header: no panic, and fingerprints are whole or absent.
pub fn hello(data: &[u8]) {
    let found = crate::eval::client_hello::Hello::read(data);
    assert_eq!(found.length, i64::try_from(data.len()).unwrap_or(i64::MAX));
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(found.ja3.is_empty() || found.ja3.len() == 32 && is_hex(&found.ja3));
    let parts: Vec<usize> = found.ja4.split('_').map(str::len).collect();
    assert!(
        found.ja4.is_empty() || parts == [10, 12, 12],
        "{}",
        found.ja4
    );
    assert_eq!(found.ja3.is_empty(), found.ja4.is_empty());
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::testing::random::Random;

    /// What expressions are made of.
    const PIECES: &[&str] = &[
        "and",
        "or",
        "xor",
        "not",
        "(",
        ")",
        "{",
        "}",
        "[*]",
        "[0]",
        "\"",
        "\\",
        "*",
        "$",
        "#",
        "r#\"",
        "any(",
        "all(",
        "in",
        "eq",
        "ne",
        "matches",
        "contains",
        "wildcard",
        "strict",
        "lower(",
        "len(",
        "http.host",
        "ssl",
        "ip.src",
        "http.request.headers[\"x\"][*]",
        "ip.src.asnum",
        "$ips",
        "$asns",
        "10.0.0.0/8",
        "..",
        "-1",
        "9223372036854775807",
        "\u{e9}",
        "\n",
        " ",
        "(?i)",
        "|",
        "{2}",
    ];

    /// Something like one of the files, with a piece of another one in it.
    fn mutated(files: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
        let mut data = files[random.below(files.len())].clone();
        for _ in 0..=random.below(4) {
            let at = random.below(data.len() + 1);
            let end = (at + random.below(12)).min(data.len());
            match random.below(5) {
                0 if at < data.len() => data[at] = u8::try_from(random.below(256)).unwrap(),
                1 => drop(data.drain(at..end)),
                2 => {
                    let other = &files[random.below(files.len())];
                    let from = random.below(other.len());
                    let to = (from + random.below(40)).min(other.len());
                    data.splice(at..end, other[from..to].iter().copied());
                }
                3 => {
                    let again = data[at..end].to_vec();
                    data.splice(at..at, again);
                }
                _ => {
                    let piece = PIECES[random.below(PIECES.len())];
                    data.splice(at..at, piece.bytes());
                }
            }
        }
        data
    }

    /// Mutations of a corpus in an ordinary run; `POSTERN_FUZZ_ROUNDS` asks for more.
    fn rounds() -> usize {
        let rounds = std::env::var("POSTERN_FUZZ_ROUNDS").ok();
        rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(500)
    }

    /// Every prefix of every file, and every byte of it changed in three ways.
    fn sweep(target: &str, check: fn(&[u8])) {
        for mut data in corpus(target) {
            for end in 0..data.len() {
                check(&data[..end]);
            }
            for at in 0..data.len() {
                for change in [0x01, 0x80, 0xff] {
                    data[at] ^= change;
                    check(&data);
                    data[at] ^= change;
                }
            }
        }
    }

    /// The files of a corpus, always in the same order.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fuzz/corpus")
            .join(target);
        let files = std::fs::read_dir(&corpus).unwrap();
        let mut files: Vec<Vec<u8>> = files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect();
        assert!(!files.is_empty(), "no corpus in {}", corpus.display());
        files.sort_unstable();
        files
    }

    fn replay(target: &str, check: fn(&[u8])) {
        let files = corpus(target);
        for data in &files {
            check(data);
            // Cut anywhere: half a file is a file too.
            for end in (0..data.len()).step_by(data.len() / 20 + 1) {
                check(&data[..end]);
            }
        }
        let mut random = Random(7);
        for _ in 0..rounds() {
            check(&mutated(&files, &mut random));
        }
    }

    #[test]
    fn the_lexer_keeps_its_promises() {
        replay("rules_lex", super::lex);
    }

    #[test]
    fn the_parser_keeps_its_promises() {
        replay("rules_parse", super::parse);
    }

    #[test]
    fn the_compiler_keeps_its_promises() {
        replay("rules_compile", super::compile);
    }

    #[test]
    fn the_program_keeps_its_promises() {
        replay("rules_decide", super::decide_as_evaluated);
    }

    #[test]
    fn json_look_up_keeps_its_promises() {
        replay("rules_json", super::json);
        sweep("rules_json", super::json);
    }

    #[test]
    fn hellos_keep_their_promises() {
        replay("rules_hello", super::hello);
        sweep("rules_hello", super::hello);
    }

    #[test]
    fn databases_keep_their_promises() {
        replay("rules_geo", super::geo);
        sweep("rules_geo", super::geo);
    }
}
