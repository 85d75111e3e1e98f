//! Required literals of a regular expression: strings that every match contains.
//!
//! They join the automaton of `contains`, so that only those regular expressions run whose literals
//! occur. A filter and nothing more: the expression itself has the last word. An expression without
//! a literal of two bytes (`^[0-9]+$`) runs by itself, once per value and decision.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Hir, HirKind};

use crate::limits::{REGEX_NESTING_MAX, REGEX_TEXTS_MAX};

/// Shorter texts are in too many values to be worth a look.
const LENGTH_MIN: usize = 2;
/// Longer texts tell no more.
const LENGTH_MAX: usize = 64;
/// Bytes of a class that each make texts of their own: both cases of a letter.
const CLASS_MAX: usize = 3;
/// Places of one sequence at which a text is looked for.
const STARTS_MAX: usize = 16;

/// Texts of which every match contains one.
type Texts = Vec<Box<[u8]>>;

/// The texts of a pattern as the language compiles it; `None` when it needs none.
pub(super) fn required(source: &str) -> Option<Texts> {
    let parsed = ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .nest_limit(REGEX_NESTING_MAX)
        .build()
        .parse(source);
    best(&parsed.ok()?)
}

/// The most telling texts of a part of a pattern.
fn best(hir: &Hir) -> Option<Texts> {
    let ends = [
        extract(ExtractKind::Prefix, hir),
        extract(ExtractKind::Suffix, hir),
    ];
    let inner: Vec<Option<Texts>> = match hir.kind() {
        HirKind::Concat(parts) => {
            let tails = (1..parts.len()).take(STARTS_MAX);
            let tails = tails.filter_map(|at| parts.get(at..));
            let tails = tails.map(|tail| {
                let tail = Hir::concat(tail.to_vec());
                extract(ExtractKind::Prefix, &tail)
            });
            let nested = parts
                .iter()
                .filter(|part| !matches!(part.kind(), HirKind::Literal(_)));
            tails.chain(nested.map(best)).collect()
        }
        HirKind::Capture(capture) => vec![best(&capture.sub)],
        HirKind::Repetition(repetition) if repetition.min > 0 => vec![best(&repetition.sub)],
        HirKind::Alternation(parts) => {
            let all: Option<Vec<Texts>> = parts.iter().map(best).collect();
            let all = all.map(|all| all.concat());
            vec![all.filter(|texts| texts.len() <= REGEX_TEXTS_MAX)]
        }
        _ => Vec::new(),
    };
    ends.into_iter()
        .chain(inner)
        .flatten()
        .max_by_key(|texts| (shortest(texts).min(8), usize::MAX - texts.len()))
}

fn shortest(texts: &Texts) -> usize {
    texts
        .iter()
        .map(|text| text.len())
        .min()
        .unwrap_or_default()
}

/// What every match begins or ends with.
fn extract(kind: ExtractKind, hir: &Hir) -> Option<Texts> {
    let mut extractor = Extractor::new();
    extractor
        .kind(kind)
        .limit_class(CLASS_MAX)
        .limit_literal_len(LENGTH_MAX)
        .limit_total(REGEX_TEXTS_MAX);
    let found = extractor.extract(hir);
    let texts: Texts = found
        .literals()?
        .iter()
        .map(|text| text.as_bytes().into())
        .collect();
    let telling = (1..=REGEX_TEXTS_MAX).contains(&texts.len()) && shortest(&texts) >= LENGTH_MIN;
    telling.then_some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::budget::Work;
    use crate::matcher::regex::{MatchDetail, Pattern};

    #[test]
    fn texts_of_patterns() {
        for (source, expected) in [
            ("abc", Some("abc")),
            ("^abc[0-9]+$", Some("abc")),
            ("[a-z]+\\.php$", Some(".php")),
            ("[a-z]+wp-login[a-z]+", Some("wp-login")),
            ("foo|barbaz", Some("barbaz foo")),
            ("(foo|bar)+qu", Some("barqu fooqu")),
            ("x*(?:hello)+y?", Some("hello")),
            ("(?i)ab", Some("AB Ab aB ab")),
            ("a.b", None),
            ("^[0-9]+$", None),
            ("", None),
            ("foo|", None),
            ("(foo)?", None),
            ("[", None),
        ] {
            let found = required(source).map(|mut texts| {
                texts.sort_unstable();
                let texts = texts.iter().map(|text| String::from_utf8_lossy(text));
                texts.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(found.as_deref(), expected, "{source}");
        }
    }

    #[test]
    fn every_match_contains_one() {
        let values = [
            "abc",
            "xabcx",
            "foo",
            "barbaz",
            "barqu",
            "fooqu",
            "foobarqu",
            "HELLOhello",
            "a.php",
            "ab",
            "aB",
            "wp-login",
            "awp-loginb",
            "hello",
            "\u{e4}",
            "",
            "/a/b",
            "/A/B",
        ];
        for source in [
            "abc",
            "b.?c",
            "[a-z]+\\.php$",
            "(foo|bar)+qu",
            "x*(?:hello)+y?",
            "(?i)aB",
            "(?i)hello",
            "o{2}|a{2,}",
            "^(?:foo|barbaz)$",
            "\\bab\\b",
            "(?:a|b)(?:b|c)",
            "(?i)/a/(b|c)",
            "[a-z]+wp-login[a-z]+",
            "(?:fo*o|qu)",
        ] {
            let regex = Pattern::new(source, MatchDetail::Match).unwrap();
            let Some(texts) = required(source) else {
                continue;
            };
            for value in values
                .iter()
                .filter(|value| regex.is_match(value.as_bytes(), &mut Work::default()))
            {
                let found = texts
                    .iter()
                    .any(|text| memchr::memmem::find(value.as_bytes(), text).is_some());
                assert!(
                    found,
                    "{source} matches {value}, which has none of {texts:?}"
                );
            }
        }
    }
}
