//! Random typed expressions and requests from a small vocabulary, so that matches are common.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Certificate, World};
use crate::rules::ast::{
    Argument, Array, Call, Condition, IpItem, Literal, Quantifier, Relation, Scalar, Set, Test,
};
use crate::rules::error::Span;
use crate::rules::field::Field;
use crate::rules::function::Function;
use crate::rules::parser;
use crate::rules::pattern::{Pattern, Wanted};
use crate::rules::types::Kind;
use crate::rules::wildcard::Wildcard;

/// Values that requests have and expressions speak of.
const WORDS: &[&str] = &[
    "/",
    "/a",
    "/a/b",
    "/A",
    "a.example",
    "b.example",
    "GET",
    "x",
    "",
    "ab",
    "\"",
    "\\",
    "é",
    "a*",
];
const PATTERNS: &[&str] = &[
    "a",
    "^/a",
    "b$",
    "^$",
    "[ab]+\\.",
    "a\"b",
    "(?i)get",
    "\\\\",
    "[a-z]\\.exam.*",
    "(?i)/A|xA",
    "(/a)+/?b",
    "^/a|/b$",
    "^(?:/|/a/b)$",
];
const WILDCARDS: &[&str] = &[
    "*",
    "*a*",
    "*/a*b*",
    "/a*",
    "*b",
    "/*/b",
    "a\\*",
    "",
    "get",
    "*.example",
];

fn bytes() -> impl Strategy<Value = Box<[u8]>> {
    prop_oneof![
        8 => select(WORDS).prop_map(|word| word.as_bytes().into()),
        1 => vec(any::<u8>(), 0..4).prop_map(Into::into),
    ]
}

fn ip_item() -> impl Strategy<Value = IpItem> {
    let address = || {
        select(vec![
            "203.0.113.9",
            "203.0.113.10",
            "2001:db8::9",
            "10.0.0.1",
        ])
    };
    let parsed = move || address().prop_map(|text| text.parse().unwrap());
    prop_oneof![
        parsed().prop_map(IpItem::Address),
        select(vec![
            "203.0.113.0/24",
            "0.0.0.0/0",
            "2001:db8::/32",
            "::/0",
            "203.0.113.9/32"
        ])
        .prop_map(|text| {
            let (address, bits) = text.split_once('/').unwrap();
            IpItem::Network(address.parse().unwrap(), bits.parse().unwrap())
        }),
        Just(IpItem::Range(
            "203.0.113.1".parse().unwrap(),
            "203.0.113.9".parse().unwrap()
        )),
    ]
}

fn relation(kind: Kind) -> impl Strategy<Value = Relation> {
    use Relation as R;
    match kind {
        Kind::Ip => select(vec![R::Equal, R::NotEqual]).boxed(),
        _ => select(vec![
            R::Equal,
            R::Equal,
            R::NotEqual,
            R::Less,
            R::LessOrEqual,
            R::Greater,
            R::GreaterOrEqual,
        ])
        .boxed(),
    }
}

fn test(kind: Kind) -> BoxedStrategy<Test> {
    match kind {
        Kind::Integer => {
            let int = || select(vec![0, 1, 2, 443, 444, -1]);
            prop_oneof![
                (relation(kind), int()).prop_map(|(relation, int)| Test::Order(relation, Literal::Int(int))),
                vec((int(), 0..3_i64).prop_map(|(first, more)| (first, first + more)), 1..4)
                    .prop_map(|items| Test::In(Set::Ints(items))),
            ]
            .boxed()
        }
        Kind::Ip | Kind::Boolean => prop_oneof![
            (relation(Kind::Ip), ip_item())
                .prop_map(|(relation, item)| Test::Order(relation, Literal::Ip(item.bounds().0))),
            vec(ip_item(), 1..4).prop_map(|items| Test::In(Set::Ips(items))),
        ]
        .boxed(),
        Kind::String => prop_oneof![
            4 => (relation(kind), bytes()).prop_map(|(relation, bytes)| Test::Order(relation, Literal::Bytes(bytes))),
            2 => vec(bytes(), 1..4).prop_map(|items| Test::In(Set::Bytes(items))),
            2 => bytes().prop_map(Test::Contains),
            1 => select(PATTERNS)
                .prop_map(|source| Test::Matches(Pattern::new(source, Span::default(), Wanted::Match).unwrap())),
            1 => (select(WILDCARDS), any::<bool>())
                .prop_map(|(source, strict)| Test::Wildcard(Wildcard::new(source.as_bytes(), strict).unwrap())),
        ]
        .boxed(),
    }
}

fn array() -> BoxedStrategy<Array> {
    let plain = prop_oneof![
        select(vec![
            Field::HeadersNames,
            Field::HeadersValues,
            Field::ArgsNames,
            Field::ArgsValues,
            Field::SanDns
        ])
        .prop_map(Array::Field),
        (
            select(vec![Field::Headers, Field::Args, Field::Cookies]),
            select(vec!["x", "ab", "none"])
        )
            .prop_map(|(map, key)| Array::Entry(map, key.as_bytes().into())),
    ];
    let split = string_field().prop_map(|source| {
        let arguments = vec![
            Argument::Scalar(source),
            Argument::Bytes((*b"/").into()),
            Argument::Int(3),
        ];
        Array::Call(Box::new(Call {
            function: Function::Split,
            arguments,
        }))
    });
    let simple = prop_oneof![4 => plain, 1 => split].boxed();
    let joined = vec(simple.clone(), 1..3).prop_map(|arrays| {
        let arguments = arrays.into_iter().map(Argument::Array).collect();
        Array::Call(Box::new(Call {
            function: Function::Concat,
            arguments,
        }))
    });
    let each = simple.clone().prop_map(|root| {
        let call = Call {
            function: Function::Lower,
            arguments: vec![Argument::Scalar(Scalar::Element(Kind::String))],
        };
        Array::Each(Box::new(root), Box::new(call))
    });
    prop_oneof![6 => simple, 1 => joined, 1 => each].boxed()
}

fn string_field() -> BoxedStrategy<Scalar> {
    select(vec![
        Field::Host,
        Field::Path,
        Field::Method,
        Field::Query,
        Field::UserAgent,
        Field::CertSerial,
        Field::Uri,
        Field::RawPath,
        Field::TlsVersion,
        Field::Country,
        Field::City,
        Field::Subdivision1,
        Field::PathExtension,
    ])
    .prop_map(Scalar::Field)
    .boxed()
}

/// A string from a string, element or field.
fn transformed(inner: BoxedStrategy<Scalar>) -> BoxedStrategy<Scalar> {
    let call = |function, arguments| {
        Scalar::Call(Box::new(Call {
            function,
            arguments,
        }))
    };
    prop_oneof![
        inner
            .clone()
            .prop_map(move |s| call(Function::Lower, vec![Argument::Scalar(s)])),
        inner
            .clone()
            .prop_map(move |s| call(Function::UrlDecode, vec![Argument::Scalar(s)])),
        inner.clone().prop_map(move |s| call(
            Function::Substring,
            vec![Argument::Scalar(s), Argument::Int(-2)]
        )),
        (inner.clone(), bytes()).prop_map(move |(s, b)| call(
            Function::Concat,
            vec![Argument::Scalar(s), Argument::Bytes(b)]
        )),
        (inner, bytes()).prop_map(move |(s, b)| call(
            Function::RemoveBytes,
            vec![Argument::Scalar(s), Argument::Bytes(b)]
        )),
    ]
    .boxed()
}

/// A comparison or Boolean of a value that is given, or one made from it.
fn about(value: BoxedStrategy<Scalar>) -> BoxedStrategy<Condition> {
    let string = prop_oneof![3 => value.clone(), 1 => transformed(value.clone())].boxed();
    let length = string.clone().prop_map(|value| {
        let arguments = vec![Argument::Scalar(value)];
        Scalar::Call(Box::new(Call {
            function: Function::Len,
            arguments,
        }))
    });
    let starts = (string.clone(), bytes(), any::<bool>()).prop_map(|(value, part, start)| {
        let function = if start {
            Function::StartsWith
        } else {
            Function::EndsWith
        };
        let arguments = vec![Argument::Scalar(value), Argument::Bytes(part)];
        Condition::Truth(Scalar::Call(Box::new(Call {
            function,
            arguments,
        })))
    });
    prop_oneof![
        4 => (string, test(Kind::String)).prop_map(|(value, test)| Condition::Compare(value, test)),
        1 => (length, test(Kind::Integer)).prop_map(|(value, test)| Condition::Compare(value, test)),
        2 => starts,
    ]
    .boxed()
}

fn joined(leaf: BoxedStrategy<Condition>, depth: u32) -> BoxedStrategy<Condition> {
    leaf.prop_recursive(depth, 16, 3, |inner| {
        prop_oneof![
            2 => inner.clone().prop_map(|inner| Condition::Not(Box::new(inner))),
            3 => vec(inner.clone(), 2..4).prop_map(Condition::and),
            3 => vec(inner.clone(), 2..4).prop_map(Condition::or),
            1 => vec(inner, 2..4).prop_map(Condition::xor),
        ]
    })
    .boxed()
}

/// Any expression that the parser could have made.
pub(crate) fn condition() -> BoxedStrategy<Condition> {
    let at = (array(), 0..3_u32).prop_map(|(array, index)| Scalar::At(Box::new(array), index));
    let integer = select(vec![
        Field::Asnum,
        Field::ServerPort,
        Field::CertNotAfterSec,
        Field::TimestampMsec,
    ])
    .prop_map(Scalar::Field);
    let count = array().prop_map(|array| {
        Scalar::Call(Box::new(Call {
            function: Function::Len,
            arguments: vec![Argument::Array(array)],
        }))
    });
    let boolean = select(vec![
        Field::Ssl,
        Field::CertVerified,
        Field::CertRevoked,
        Field::HeadersTruncated,
        Field::InEuropeanUnion,
    ]);
    let each = joined(about(Just(Scalar::Element(Kind::String)).boxed()), 2);
    let leaf = prop_oneof![
        6 => about(string_field()),
        2 => about(at.boxed()),
        1 => (integer, test(Kind::Integer)).prop_map(|(value, test)| Condition::Compare(value, test)),
        1 => (count, test(Kind::Integer)).prop_map(|(value, test)| Condition::Compare(value, test)),
        2 => test(Kind::Ip).prop_map(|test| Condition::Compare(Scalar::Field(Field::IpSrc), test)),
        3 => boolean.prop_map(|field| Condition::Truth(Scalar::Field(field))),
        2 => (any::<bool>(), array(), each).prop_map(|(every, array, inner)| {
            // What `[*]` unpacks is never itself unpacked: the parser takes the innermost array.
            let (array, inner) = unwrap_each(array, inner);
            let quantifier = if every { Quantifier::All } else { Quantifier::Any };
            Condition::Quantified(quantifier, array, Box::new(inner))
        }),
    ];
    joined(leaf.boxed(), 4)
}

fn unwrap_each(array: Array, inner: Condition) -> (Array, Condition) {
    match array {
        Array::Each(root, _) => (*root, inner),
        array => (array, inner),
    }
}

/// Any request from the same vocabulary.
pub(crate) fn world() -> impl Strategy<Value = World> {
    let certificate = select(Certificate::ALL.to_vec());
    let header = (
        select(vec!["x", "ab", "user-agent", "cookie"]),
        select(vec!["x", "a", "/a/b", "ab=x; x=a", ""]),
    );
    (
        certificate,
        select(vec!["a.example", "b.example", "x"]),
        select(vec!["/", "/a", "/a/b", "/A", "/x.ab", "ab", ""]),
        select(vec!["", "x=ab", "x=a&x=/a&ab", "%61=x"]),
        select(vec!["GET", "x"]),
        vec(header, 0..4),
        select(vec![
            "203.0.113.9:1",
            "203.0.113.200:1",
            "[2001:db8::9]:1",
            "10.9.9.9:1",
        ]),
        any::<bool>(),
    )
        .prop_map(
            |(certificate, host, path, query, method, headers, source, has_geo)| {
                let mut world = World::new(certificate, host, path);
                world.query = query.into();
                world.method = method.into();
                world.connection.source = source.parse().unwrap();
                world.connection.geo = has_geo.then(super::geo::database);
                headers
                    .into_iter()
                    .fold(world, |world, (name, value)| world.header(name, value))
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn printing_and_parsing_is_the_identity(condition in condition()) {
        let text = condition.to_string();
        match parser::parse_any_length(&text, None) {
            Ok(parsed) => prop_assert_eq!(&parsed, &condition, "{}", text),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn any_text_is_parsed_without_panic(text in "\\PC{0,60}") {
        let _parsed = parser::parse(&text, None);
    }

    #[test]
    fn token_soup_is_parsed_without_panic(
        words in vec(select(vec!["ssl", "not", "any(", "(", ")", "[*]", "[0]", "http.host", "eq", "\"a\"", "in", "{", "}",
            "1..2", "lower(", ",", "http.request.headers", "[\"a\"]", "and", "$a", "1.1.1.1/8", "matches", "true"]), 0..24)
    ) {
        let text = words.join(" ");
        if let Ok(condition) = parser::parse(&text, None) {
            prop_assert_eq!(parser::parse_any_length(&condition.to_string(), None).ok(), Some(condition));
        }
    }
}
