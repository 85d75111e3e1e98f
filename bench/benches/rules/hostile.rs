//! Requests made to cost more than they weigh, with rules that let them: how long each takes until
//! it is evaluated, or refused because evaluating it is too much.

use std::hint::black_box;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use http1::{Head, Limits, Scan};
use rules::{ConnectionState, Decision, Lists, Program, Rule, decide_on};

use super::{Case, Random, block, cpu_time, rule};

/// Each is evaluated so often: the first time states of regular expressions are made, later ones are
/// what a flood costs.
const TIMES: usize = 9;

fn noise(of: &[u8], length: usize) -> Vec<u8> {
    let mut random = Random(1);
    let byte = || of.get(random.below(of.len())).copied().unwrap_or_default();
    std::iter::repeat_with(byte).take(length).collect()
}

fn with_query(query: &[u8]) -> Case {
    Case::new("a.example.com", "/", &String::from_utf8_lossy(query))
}

fn with_header(value: &[u8]) -> Case {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_bytes(value).expect("it has no control characters");
    headers.insert(HeaderName::from_static("x-a"), value);
    Case {
        headers: headers.into(),
        ..Case::new("a.example.com", "/", "")
    }
}

/// As HTTP/1.1 brings them.
fn with_names(count: usize) -> Case {
    let line = |number| format!("x-nam-{number:04}: 1\r\n");
    let text: String = (0..count).map(line).collect();
    let text = format!("GET / HTTP/1.1\r\n{text}\r\n");
    let mut head = Head::default();
    let size = Scan::default().request(text.as_bytes(), &Limits::default(), &mut head);
    assert_eq!(size, Ok(Some(text.len())));
    let mut case = Case::new("a.example.com", "/", "");
    case.headers.take_over(&mut head, text.as_bytes().into());
    case
}

fn cases() -> Vec<(&'static str, Case, Vec<Rule>)> {
    let rules = |count: usize, text: &dyn Fn(usize) -> String| -> Vec<Rule> {
        (0..count)
            .map(|number| rule(number, text(number), block()))
            .collect()
    };
    let one = |text: &str| rules(1, &|_| text.to_owned());
    let accents = "\u{e9}\u{e8} a".repeat(10_000);
    let removed: String = ["x", "y", "z"].concat().repeat(1_300);
    vec![
        (
            "2,000 states, header of 60 kB",
            with_header(&noise(b"ab", 60_000)),
            one(r#"any(http.request.headers["x-a"][*] matches "a[ab]{2000}[c-z]")"#),
        ),
        (
            "regex_replace for each argument, query of 8 kB",
            with_query(&noise(b"ab&", 8_192)),
            one(
                r#"any(starts_with(http.request.uri.args.names[*], regex_replace(http.request.uri.query, "a[ab&]{200}[c-z]", ""))[*])"#,
            ),
        ),
        (
            "remove_bytes of 3,900 for each argument, query of 8 kB",
            with_query(&noise(b"ab&", 8_192)),
            one(&format!(
                r#"any(starts_with(http.request.uri.args.names[*], remove_bytes(http.request.uri.query, "{removed}"))[*])"#
            )),
        ),
        (
            "1,000 keys of arguments, query of 30 kB",
            with_query("a&".repeat(15_000).as_bytes()),
            rules(1_000, &|number| {
                format!(r#"any(http.request.uri.args["k{number}"][*] eq "x")"#)
            }),
        ),
        (
            "1,000 keys of headers, 98 headers with names as long",
            with_names(98),
            rules(1_000, &|number| {
                format!(r#"any(http.request.headers["x-key-{number:04}"][*] eq "x")"#)
            }),
        ),
        (
            "200 expressions of Unicode words, header of 60 kB",
            with_header(accents.as_bytes()),
            rules(200, &|number| {
                format!(
                    r#"any(http.request.headers["x-a"][*] matches "(?u)\b\w{{{}}}\W[^{}]$")"#,
                    number % 10 + 1,
                    char::from(b'a' + u8::try_from(number / 10).unwrap_or_default())
                )
            }),
        ),
    ]
}

/// Prints what each case takes.
pub(super) fn figures() {
    println!("hostile | answer | first | median | most (CPU time)");
    for (name, case, rules) in cases() {
        let program = Program::compile_with(&rules, &Lists::default())
            .expect("what is made for this compiles");
        let mut answer = "";
        let mut evaluate = || -> Duration {
            let (request, state) = (case.request(), ConnectionState::default());
            let start = cpu_time();
            let decision = decide_on(&program, &case.connection, &state, &request, &mut |_| {});
            let taken = cpu_time().saturating_sub(start);
            answer = match black_box(decision) {
                Decision::Permit(_) => "permitted",
                Decision::Block { .. } => "blocked",
                Decision::TooLarge => "431",
            };
            taken
        };
        let first = evaluate();
        let mut later: Vec<Duration> = std::iter::repeat_with(&mut evaluate).take(TIMES).collect();
        later.sort_unstable();
        let milliseconds =
            |time: Option<&Duration>| time.copied().unwrap_or_default().as_secs_f64() * 1e3;
        println!(
            "{name} | {answer} | {:.1} ms | {:.1} ms | {:.1} ms",
            milliseconds(Some(&first)),
            milliseconds(later.get(TIMES / 2)),
            milliseconds(later.last()),
        );
    }
    println!();
}
