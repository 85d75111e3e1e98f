//! From literals to index keys: the value that a literal is about, and the keys of it that satisfy
//! it.

use super::block::{blocks_of_int, blocks_of_ip};
use super::normal::Literal;
use super::required::required;
use crate::limits;
use crate::matcher::regex::Pattern;
use crate::matcher::wildcard::Wildcard;
use crate::syntax::ast::{
    Argument, Array, Call, Comparison, Condition, IpItem, Literal as Constant, Quantifier,
    Relation, Scalar, Set,
};
use crate::syntax::field::{Field, Lifetime};
use crate::syntax::function::Function;
use crate::syntax::types::Kind;

/// What is looked up: evaluated at most once per decision, or once per connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// One value.
    Scalar(Scalar),
    /// Every element of an array: what holds for any of them.
    Any(Array),
    /// Whether a condition holds: its keys are [`FALSE`] and [`TRUE`].
    Condition(Condition),
}

/// How keys of a subject are found; what is found sooner comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Class {
    /// The key is the value.
    Exact,
    /// The value starts with the key.
    Prefix,
    /// The value ends with the key.
    Suffix,
    /// The key is somewhere in the value.
    Contains,
    /// The key is a block of integers or addresses that the value is in.
    Block,
}

/// The key of what is false.
pub(super) const FALSE: &[u8] = &[0];
/// The key of what is true.
pub(super) const TRUE: &[u8] = &[1];

/// A literal as a question to an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) subject: Subject,
    pub(super) class: Class,
    /// Any of them satisfies the literal.
    pub(super) keys: Vec<Box<[u8]>>,
    /// None of them does.
    pub(super) negative: bool,
    /// `false`: the literal has to be checked all the same.
    pub(super) exact: bool,
}

impl Subject {
    /// Whether it is the same for all requests of a connection.
    pub(super) fn lifetime(&self) -> Lifetime {
        match self {
            Self::Scalar(scalar) => Condition::Truth(scalar.clone()).lifetime(),
            Self::Any(array) => Condition::Truth(Scalar::At(Box::new(array.clone()), 0)).lifetime(),
            Self::Condition(condition) => condition.lifetime(),
        }
    }
}

/// The question that a literal is; `None` when only its tree can be walked.
pub(super) fn question(literal: &Literal) -> Option<Question> {
    indexed(literal).or_else(|| connection_condition(literal))
}

fn indexed(literal: &Literal) -> Option<Question> {
    let (mut question, flipped) = match &literal.condition {
        Condition::Truth(scalar) => truth(scalar, Subject::Scalar)?,
        Condition::Compare(scalar, test) => {
            compare(scalar, test, Subject::Scalar, !may_be_missing(scalar))?
        }
        Condition::Quantified(Quantifier::Any, array, inner) => {
            let subject = |scalar: Scalar| match scalar {
                Scalar::Call(call) => Subject::Any(Array::Each(Box::new(array.clone()), call)),
                _ => Subject::Any(array.clone()),
            };
            let found = match &**inner {
                Condition::Truth(scalar) => truth(scalar, subject),
                Condition::Compare(scalar, test) => compare(scalar, test, subject, false),
                _ => None,
            }?;
            // "Any is not" is not the opposite of "any is".
            (!found.1).then_some(found)?
        }
        _ => return None,
    };
    shorten(&mut question);
    question.negative = literal.negative != flipped;
    if question.negative && !question.exact {
        return None;
    }
    // A Boolean that is always there is true or false: "not true" is "false".
    let always = matches!(&question.subject, Subject::Scalar(scalar) if !may_be_missing(scalar));
    if question.negative
        && always
        && question.class == Class::Exact
        && question.keys == [TRUE.into()]
    {
        let boolean =
            matches!(&question.subject, Subject::Scalar(scalar) if scalar.kind() == Kind::Boolean);
        if boolean {
            question.keys = vec![FALSE.into()];
            question.negative = false;
        }
    }
    Some(question)
}

/// Cuts the keys that would be looked for byte by byte in every value.
fn shorten(question: &mut Question) {
    let most = limits::INDEX_TEXT_BYTES_MAX;
    let cut = |key: &[u8]| match question.class {
        Class::Prefix | Class::Contains => key.get(..most).map(Into::into),
        Class::Suffix => key
            .len()
            .checked_sub(most)
            .and_then(|start| key.get(start..))
            .map(Into::into),
        Class::Exact | Class::Block => None,
    };
    for key in &mut question.keys {
        if key.len() > most
            && let Some(part) = cut(key)
        {
            *key = part;
            question.exact = false;
        }
    }
}

/// What cannot be looked up but is the same for the whole connection is evaluated once for it.
fn connection_condition(literal: &Literal) -> Option<Question> {
    if literal.condition.lifetime() == Lifetime::Request {
        return None;
    }
    let key = if literal.negative { FALSE } else { TRUE };
    Some(Question {
        subject: Subject::Condition(literal.condition.clone()),
        class: Class::Exact,
        keys: vec![key.into()],
        negative: false,
        exact: true,
    })
}

fn found(subject: Subject, class: Class, keys: Vec<Box<[u8]>>) -> (Question, bool) {
    (
        Question {
            subject,
            class,
            keys,
            negative: false,
            exact: true,
        },
        false,
    )
}

fn truth(scalar: &Scalar, subject: impl Fn(Scalar) -> Subject) -> Option<(Question, bool)> {
    if let Scalar::Call(call) = scalar
        && let (class, [Argument::Scalar(source), Argument::Bytes(part)]) = (
            match call.function {
                Function::StartsWith => Class::Prefix,
                Function::EndsWith => Class::Suffix,
                _ => {
                    return Some(found(
                        subject(scalar.clone()),
                        Class::Exact,
                        vec![TRUE.into()],
                    ));
                }
            },
            call.arguments.as_slice(),
        )
    {
        return Some(found(subject(source.clone()), class, vec![part.clone()]));
    }
    Some(found(
        subject(scalar.clone()),
        Class::Exact,
        vec![TRUE.into()],
    ))
}

/// The question, and whether the literal is its opposite.
fn compare(
    scalar: &Scalar,
    test: &Comparison,
    subject: impl Fn(Scalar) -> Subject,
    always_there: bool,
) -> Option<(Question, bool)> {
    let of = |class, keys| Some(found(subject(scalar.clone()), class, keys));
    match test {
        // A missing value is neither equal nor unequal.
        Comparison::Order(Relation::NotEqual, constant) if always_there => {
            let equal = Comparison::Order(Relation::Equal, constant.clone());
            compare(scalar, &equal, subject, always_there).map(|(question, _)| (question, true))
        }
        Comparison::Order(Relation::Equal, Constant::Bytes(bytes)) => {
            of(Class::Exact, vec![bytes.clone()])
        }
        Comparison::Order(Relation::Equal, Constant::Ip(address)) => {
            of(Class::Block, blocks_of_ip(*address, *address))
        }
        Comparison::Order(relation, Constant::Int(value)) => {
            let (first, last) = match relation {
                Relation::Equal => (*value, *value),
                Relation::Less => (i64::MIN, value.checked_sub(1)?),
                Relation::LessOrEqual => (i64::MIN, *value),
                Relation::Greater => (value.checked_add(1)?, i64::MAX),
                Relation::GreaterOrEqual => (*value, i64::MAX),
                Relation::NotEqual => return None,
            };
            of(Class::Block, blocks_of_int(first, last))
        }
        Comparison::Order(..) => None,
        Comparison::In(Set::Bytes(items)) => of(Class::Exact, items.clone()),
        Comparison::In(Set::Ints(items)) => {
            let items = items.iter();
            let keys = few(items.map(|(first, last)| blocks_of_int(*first, *last)))?;
            of(Class::Block, keys)
        }
        Comparison::In(Set::Ips(items)) => {
            let bounds = items.iter().copied().map(IpItem::bounds);
            let keys = few(bounds.map(|(first, last)| blocks_of_ip(first, last)))?;
            of(Class::Block, keys)
        }
        Comparison::Contains(part) if part.is_empty() => of(Class::Prefix, vec![part.clone()]),
        Comparison::Contains(part) => of(Class::Contains, vec![part.clone()]),
        Comparison::Wildcard(wildcard) => wildcard_question(scalar, wildcard, subject),
        Comparison::Matches(pattern) => {
            let (class, keys) = match regex_prefix(pattern) {
                Some(prefix) => (Class::Prefix, vec![prefix.into()]),
                None => (Class::Contains, required(&pattern.source)?),
            };
            let (question, flipped) = found(subject(scalar.clone()), class, keys);
            Some((
                Question {
                    exact: false,
                    ..question
                },
                flipped,
            ))
        }
        Comparison::Listed(_) => {
            let Subject::Scalar(scalar) = subject(scalar.clone()) else {
                return None;
            };
            let condition = Condition::Compare(scalar, test.clone());
            Some(found(
                Subject::Condition(condition),
                Class::Exact,
                vec![TRUE.into()],
            ))
        }
    }
}

/// All keys of the items of a set, unless they are too many.
fn few(items: impl Iterator<Item = Vec<Box<[u8]>>>) -> Option<Vec<Box<[u8]>>> {
    let mut keys = Vec::new();
    for item in items {
        keys.extend(item);
        if keys.len() > limits::LITERAL_KEYS_MAX {
            return None;
        }
    }
    Some(keys)
}

fn wildcard_question(
    scalar: &Scalar,
    wildcard: &Wildcard,
    subject: impl Fn(Scalar) -> Subject,
) -> Option<(Question, bool)> {
    let (class, part) = match (wildcard.prefix(), wildcard.suffix()) {
        ([], []) => (Class::Contains, wildcard.middle()?),
        ([], suffix) => (Class::Suffix, suffix),
        (prefix, _) => (Class::Prefix, prefix),
    };
    let scalar = if wildcard.strict {
        scalar.clone()
    } else {
        let call = Call {
            function: Function::Lower,
            arguments: vec![Argument::Scalar(scalar.clone())],
        };
        Scalar::Call(Box::new(call))
    };
    let (question, flipped) = found(subject(scalar), class, vec![part.into()]);
    Some((
        Question {
            exact: false,
            ..question
        },
        flipped,
    ))
}

/// The text that everything a pattern matches starts with; `None` when there is none or the
/// pattern is not plainly of that form.
fn regex_prefix(pattern: &Pattern) -> Option<Vec<u8>> {
    let source = pattern.source.strip_prefix('^')?;
    if source.contains('|') {
        return None;
    }
    let mut prefix = Vec::new();
    let mut characters = source.chars().peekable();
    while let Some(character) = characters.next() {
        let literal = match character {
            c if c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-') => c,
            '\\' => match characters.next() {
                Some(escaped @ ('.' | '/' | '-')) => escaped,
                _ => break,
            },
            _ => break,
        };
        // The character before `*`, `?` or `{` need not be there.
        if matches!(characters.peek(), Some('*' | '?' | '{')) {
            break;
        }
        prefix.push(u8::try_from(literal).ok()?);
    }
    (!prefix.is_empty()).then_some(prefix)
}

/// Whether there can be no value.
fn may_be_missing(scalar: &Scalar) -> bool {
    match scalar {
        Scalar::Field(field) => match field {
            Field::CertNotBeforeSec | Field::CertNotAfterSec => true,
            field => field.is_geographic(),
        },
        Scalar::Element(_) | Scalar::At(..) => true,
        Scalar::Call(call) => {
            matches!(
                call.function,
                Function::LookupJsonInteger | Function::LookupJsonString | Function::DecodeBase64
            ) || call.arguments.iter().any(|argument| match argument {
                Argument::Scalar(scalar) => may_be_missing(scalar),
                Argument::Array(_) => true,
                _ => false,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parser::parse;

    fn ask(text: &str) -> Option<(Class, usize, bool, bool)> {
        let literal = match parse(text, None).unwrap() {
            Condition::Not(inner) => Literal {
                condition: *inner,
                negative: true,
            },
            condition => Literal {
                condition,
                negative: false,
            },
        };
        question(&literal).map(|q| (q.class, q.keys.len(), q.negative, q.exact))
    }

    #[test]
    fn questions() {
        for (text, expected) in [
            ("http.host eq \"a\"", Some((Class::Exact, 1, false, true))),
            (
                "not http.host eq \"a\"",
                Some((Class::Exact, 1, true, true)),
            ),
            ("http.host ne \"a\"", Some((Class::Exact, 1, true, true))),
            (
                "not http.host ne \"a\"",
                Some((Class::Exact, 1, false, true)),
            ),
            ("http.request.headers[\"x\"][0] ne \"a\"", None),
            (
                "http.host in {\"a\" \"b\"}",
                Some((Class::Exact, 2, false, true)),
            ),
            ("http.host lt \"a\"", None),
            ("not ssl", Some((Class::Exact, 1, false, true))),
            (
                "not ip.src.is_in_european_union",
                Some((Class::Exact, 1, true, true)),
            ),
            (
                "http.host contains \"a\"",
                Some((Class::Contains, 1, false, true)),
            ),
            (
                "starts_with(http.host, \"a\")",
                Some((Class::Prefix, 1, false, true)),
            ),
            (
                "http.host wildcard \"*.a\"",
                Some((Class::Suffix, 1, false, false)),
            ),
            ("not http.host wildcard \"*.a\"", None),
            (
                "http.host matches \"^ab?\"",
                Some((Class::Prefix, 1, false, false)),
            ),
            ("http.host matches \"^a|b\"", None),
            (
                "http.host matches \"^ab|bc\"",
                Some((Class::Contains, 2, false, false)),
            ),
            (
                "http.host matches \"[a-z]+\\.example$\"",
                Some((Class::Contains, 1, false, false)),
            ),
            ("not http.host matches \"[a-z]+\\.example$\"", None),
            (
                "http.host wildcard \"*a*bc*\"",
                Some((Class::Contains, 1, false, false)),
            ),
            ("http.host wildcard \"*\"", None),
            (
                "cf.edge.server_port in {80 443}",
                Some((Class::Block, 2, false, true)),
            ),
            (
                "cf.edge.server_port lt -9223372036854775808",
                Some((Class::Exact, 1, false, true)),
            ),
            (
                "ip.src in {10.0.0.0/8 10.0.0.1..10.0.0.2}",
                Some((Class::Block, 3, false, true)),
            ),
            (
                "any(http.request.headers[\"x\"][*] eq \"a\")",
                Some((Class::Exact, 1, false, true)),
            ),
            ("any(http.request.headers[\"x\"][*] ne \"a\")", None),
            (
                "any(lower(http.request.headers[\"x\"][*])[*] eq \"a\")",
                Some((Class::Exact, 1, false, true)),
            ),
            ("all(http.request.headers[\"x\"][*] eq \"a\")", None),
            (
                "all(postern.tls_client_auth.cert_eku[*] eq \"a\")",
                Some((Class::Exact, 1, false, true)),
            ),
        ] {
            assert_eq!(ask(text), expected, "{text}");
        }
    }
}
