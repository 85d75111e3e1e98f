//! Random typed expressions and requests from a small vocabulary, so that matches are common.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::{Certificate, World};
use crate::matcher::regex::{MatchDetail, Pattern};
use crate::matcher::wildcard::Wildcard;
use crate::syntax::ast::{
    Argument, Array, Call, Comparison, Condition, IpItem, ListReference, Literal, Part, Quantifier,
    Relation, Scalar, Set,
};
use crate::syntax::field::Field;
use crate::syntax::function::Function;
use crate::syntax::parser;
use crate::syntax::types::{Kind, Type};

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
    LONG,
    "example.com",
    "b.example.com",
    "YQ==",
    "{\"a\":\"x\",\"b\":[1,-2]}",
    "TLSv1.3",
    "verified",
];

/// Longer than what an index looks for.
const LONG: &str = "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\
    aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/b";
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
        // The front, the end and the middle of the long one.
        1 => select(vec![
            &LONG[..280], &LONG[1..], &LONG[20..], &LONG[LONG.len() - 5..], &LONG[3..270], &LONG[..3],
        ])
        .prop_map(|part| part.as_bytes().into()),
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
            "192.0.2.77",
            "198.51.100.1",
            "0.0.0.0",
            "::",
            // Almost one that stands for an IPv4 address.
            "::fffe:203.0.113.9",
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
            "203.0.113.9/32",
            "192.0.0.0/3",
            "::/96",
        ])
        .prop_map(|text| {
            let (address, bits) = text.split_once('/').unwrap();
            IpItem::Network(address.parse().unwrap(), bits.parse().unwrap())
        }),
        select(vec![
            ("203.0.113.1", "203.0.113.9"),
            ("0.0.0.0", "255.255.255.255"),
            ("203.0.113.10", "255.255.255.255"),
            ("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe"),
            ("2001:db8::", "2001:db8::9"),
        ])
        .prop_map(|(first, last)| { IpItem::Range(first.parse().unwrap(), last.parse().unwrap()) }),
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

/// `in $name`; the lists are `fuzz::lists`.
fn listed(name: &str) -> Comparison {
    Comparison::Listed(ListReference {
        name: name.into(),
        list: None,
    })
}

fn test(kind: Kind) -> BoxedStrategy<Comparison> {
    match kind {
        Kind::Integer => {
            let int = || {
                select(vec![
                    0, 1, 2, 443, 444, -1, 64_496, 857, 1_679_405_700, i64::MIN, i64::MIN + 1,
                    i64::MAX - 1, i64::MAX,
                ])
            };
            prop_oneof![
                4 => (relation(kind), int()).prop_map(|(relation, int)| Comparison::Order(relation, Literal::Int(int))),
                4 => vec((int(), int()).prop_map(|(a, b)| (a.min(b), a.max(b))), 1..4)
                    .prop_map(|items| Comparison::In(Set::Ints(items))),
                1 => Just(listed("asns")),
            ]
            .boxed()
        }
        Kind::Ip | Kind::Boolean => prop_oneof![
            Just(listed("ips")),
            (relation(Kind::Ip), ip_item())
                .prop_map(|(relation, item)| Comparison::Order(relation, Literal::Ip(item.bounds().0))),
            vec(ip_item(), 1..4).prop_map(|items| Comparison::In(Set::Ips(items))),
        ]
        .boxed(),
        Kind::String => prop_oneof![
            4 => (relation(kind), bytes()).prop_map(|(relation, bytes)| Comparison::Order(relation, Literal::Bytes(bytes))),
            2 => vec(bytes(), 1..4).prop_map(|items| Comparison::In(Set::Bytes(items))),
            2 => bytes().prop_map(Comparison::Contains),
            1 => select(PATTERNS)
                .prop_map(|source| Comparison::Matches(Pattern::new(source, MatchDetail::Match).unwrap())),
            1 => Just(listed("hosts")),
            1 => (select(WILDCARDS), any::<bool>())
                .prop_map(|(source, strict)| Comparison::Wildcard(Wildcard::new(source.as_bytes(), strict).unwrap())),
        ]
        .boxed(),
    }
}

/// Every field of that type.
fn fields(of_type: Type) -> Vec<Field> {
    let fields = Field::ALL.iter().copied();
    fields.filter(|field| field.of_type() == of_type).collect()
}

fn array() -> BoxedStrategy<Array> {
    let plain = prop_oneof![
        select(fields(Type::Array(Kind::String))).prop_map(Array::Field),
        (select(fields(Type::Map)), select(vec!["x", "ab", "none"]))
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
    let functions = select(vec![
        Function::Lower,
        Function::Upper,
        Function::DecodeBase64,
        Function::UrlDecode,
    ]);
    let each = (simple.clone(), functions).prop_map(|(root, function)| {
        let call = Call {
            function,
            arguments: vec![Argument::Scalar(Scalar::Element(Kind::String))],
        };
        Array::Each(Box::new(root), Box::new(call))
    });
    prop_oneof![6 => simple, 1 => joined, 1 => each].boxed()
}

fn string_field() -> BoxedStrategy<Scalar> {
    let common = select(vec![
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
    ]);
    let every = select(fields(Type::Single(Kind::String)));
    prop_oneof![3 => common, 1 => every]
        .prop_map(Scalar::Field)
        .boxed()
}

/// A string from what is none, or from several.
fn made() -> BoxedStrategy<Scalar> {
    let call = |function, arguments| {
        Scalar::Call(Box::new(Call {
            function,
            arguments,
        }))
    };
    let single = [Kind::Integer, Kind::Boolean, Kind::Ip]
        .map(|kind| fields(Type::Single(kind)))
        .concat();
    let separator = prop_oneof![
        bytes().prop_map(Argument::Bytes),
        string_field().prop_map(Argument::Scalar),
    ];
    let part = prop_oneof![
        bytes().prop_map(Argument::Bytes),
        string_field().prop_map(Argument::Scalar),
        (array(), 0..2_u32)
            .prop_map(|(array, index)| Argument::Scalar(Scalar::At(Box::new(array), index))),
    ];
    prop_oneof![
        select(single).prop_map(move |field| {
            call(
                Function::ToString,
                vec![Argument::Scalar(Scalar::Field(field))],
            )
        }),
        (array(), separator).prop_map(move |(array, separator)| {
            call(Function::Join, vec![Argument::Array(array), separator])
        }),
        vec(part, 1..4).prop_map(move |parts| call(Function::Concat, parts)),
        (string_field(), select(PATTERNS)).prop_map(move |(source, pattern)| {
            let pattern = Pattern::new(pattern, MatchDetail::Groups).unwrap();
            let arguments = vec![
                Argument::Scalar(source),
                Argument::Pattern(pattern),
                Argument::Bytes((*b"${0}x${1}").into()),
            ];
            call(Function::RegexReplace, arguments)
        }),
        (string_field(), select(WILDCARDS), any::<bool>()).prop_map(
            move |(source, pattern, strict)| {
                let wildcard = Wildcard::new(pattern.as_bytes(), strict).unwrap();
                let mut arguments = vec![
                    Argument::Scalar(source),
                    Argument::Wildcard(wildcard),
                    Argument::Bytes((*b"${1}$$${2}").into()),
                ];
                arguments.extend(strict.then(|| Argument::Bytes((*b"s").into())));
                call(Function::WildcardReplace, arguments)
            }
        ),
    ]
    .boxed()
}

/// An address and what is made of one.
fn ip(inner: Scalar) -> BoxedStrategy<Scalar> {
    let network = {
        let inner = inner.clone();
        (1..33_i64, 1..129_i64).prop_map(move |(v4, v6)| {
            let arguments = vec![
                Argument::Scalar(inner.clone()),
                Argument::Int(v4),
                Argument::Int(v6),
            ];
            Scalar::Call(Box::new(Call {
                function: Function::Cidr,
                arguments,
            }))
        })
    };
    let other = {
        let inner = inner.clone();
        (1..129_i64).prop_map(move |v6| {
            let arguments = vec![Argument::Scalar(inner.clone()), Argument::Int(v6)];
            Scalar::Call(Box::new(Call {
                function: Function::Cidr6,
                arguments,
            }))
        })
    };
    prop_oneof![4 => Just(inner), 1 => network, 1 => other].boxed()
}

/// `lookup_json_integer` of a string.
fn looked_up(source: BoxedStrategy<Scalar>) -> BoxedStrategy<Scalar> {
    let path = prop_oneof![
        Just(vec![Argument::Bytes((*b"b").into()), Argument::Int(0)]),
        Just(vec![Argument::Bytes((*b"b").into()), Argument::Int(1)]),
        Just(vec![Argument::Bytes((*b"a").into())]),
    ];
    (source, path)
        .prop_map(|(source, mut path)| {
            path.insert(0, Argument::Scalar(source));
            Scalar::Call(Box::new(Call {
                function: Function::LookupJsonInteger,
                arguments: path,
            }))
        })
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
        (inner.clone(), select(vec!["", "r", "u", "ur"])).prop_map(move |(s, options)| {
            let mut arguments = vec![Argument::Scalar(s)];
            if !options.is_empty() {
                arguments.push(Argument::Bytes(options.as_bytes().into()));
            }
            call(Function::UrlDecode, arguments)
        }),
        (
            inner.clone(),
            select(vec![
                Function::Upper,
                Function::DecodeBase64,
                Function::LookupJsonString
            ])
        )
            .prop_map(move |(s, function)| {
                let mut arguments = vec![Argument::Scalar(s)];
                if function == Function::LookupJsonString {
                    arguments.push(Argument::Bytes((*b"a").into()));
                }
                call(function, arguments)
            }),
        (inner.clone(), -4..4_i64, -4..6_i64).prop_map(move |(s, start, end)| call(
            Function::Substring,
            vec![
                Argument::Scalar(s),
                Argument::Int(start),
                Argument::Int(end)
            ]
        )),
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
    let number = looked_up(string.clone());
    let part = prop_oneof![
        4 => bytes().prop_map(Argument::Bytes),
        1 => string_field().prop_map(Argument::Scalar),
    ];
    let starts = (string.clone(), part, any::<bool>()).prop_map(|(value, part, start)| {
        let function = if start {
            Function::StartsWith
        } else {
            Function::EndsWith
        };
        let arguments = vec![Argument::Scalar(value), part];
        Condition::Truth(Scalar::Call(Box::new(Call {
            function,
            arguments,
        })))
    });
    prop_oneof![
        4 => (string, test(Kind::String)).prop_map(|(value, test)| Condition::Compare(value, test)),
        1 => (number, test(Kind::Integer)).prop_map(|(value, test)| Condition::Compare(value, test)),
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
    let integer = select(fields(Type::Single(Kind::Integer))).prop_map(Scalar::Field);
    let count = array().prop_map(|array| {
        Scalar::Call(Box::new(Call {
            function: Function::Len,
            arguments: vec![Argument::Array(array)],
        }))
    });
    let boolean = prop_oneof![
        select(vec![Field::CertVerified, Field::CertRevoked]),
        select(fields(Type::Single(Kind::Boolean))),
    ];
    let address = select(fields(Type::Single(Kind::Ip))).prop_map(Scalar::Field);
    let address = address.prop_flat_map(ip);
    let sans = {
        let element = ip(Scalar::Element(Kind::Ip));
        let one =
            (element, test(Kind::Ip)).prop_map(|(value, test)| Condition::Compare(value, test));
        (any::<bool>(), joined(one.boxed(), 2)).prop_map(|(every, inner)| {
            let quantifier = if every {
                Quantifier::All
            } else {
                Quantifier::Any
            };
            Condition::Quantified(quantifier, Array::Field(Field::SanIp), Box::new(inner))
        })
    };
    let each = joined(about(Just(Scalar::Element(Kind::String)).boxed()), 2);
    let leaf = prop_oneof![
        6 => about(string_field()),
        2 => about(at.boxed()),
        1 => (integer, test(Kind::Integer)).prop_map(|(value, test)| Condition::Compare(value, test)),
        1 => (count, test(Kind::Integer)).prop_map(|(value, test)| Condition::Compare(value, test)),
        2 => (address, test(Kind::Ip)).prop_map(|(value, test)| Condition::Compare(value, test)),
        1 => sans,
        2 => about(made()),
        3 => boolean.prop_map(|field| Condition::Truth(Scalar::Field(field))),
        2 => (any::<bool>(), array(), each).prop_map(|(every, array, inner)| {
            // What `[*]` unpacks is never itself unpacked: the parser takes the innermost array.
            let (array, inner) = unwrap_each(array, inner);
            let quantifier = if every { Quantifier::All } else { Quantifier::Any };
            Condition::Quantified(quantifier, array, Box::new(inner))
        }),
    ];
    joined(leaf.boxed(), 4)
        .prop_filter("a function that is used too often", replaces_once)
        .boxed()
}

/// `regex_replace` and `wildcard_replace` stand in an expression once.
fn replaces_once(condition: &Condition) -> bool {
    let mut counts = [0, 0];
    condition.walk(&mut |part| {
        let [regex, wildcard] = &mut counts;
        match part {
            Part::Function(Function::RegexReplace) => *regex += 1,
            Part::Function(Function::WildcardReplace) => *wildcard += 1,
            _ => {}
        }
    });
    counts.iter().all(|count| *count <= 1)
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
        select(vec![
            "x",
            "ab",
            "user-agent",
            "cookie",
            "accept-language",
            "referer",
            "x-forwarded-for",
        ]),
        select(vec![
            "x",
            "a",
            "/a/b",
            "ab=x; x=a",
            "",
            "YQ==",
            "%2561+%u2601",
            "X",
            "de, ab;q=0.5, *",
            "{\"a\":\"x\",\"b\":[1,-2]}",
            LONG,
        ]),
    );
    (
        certificate,
        select(vec!["a.example", "b.example", "x", "q.b.example.com"]),
        (
            select(vec![
                "/",
                "/a",
                "/a/b",
                "/A",
                "/x.ab",
                "ab",
                "",
                LONG,
                &LONG[..281],
            ]),
            select(vec!["/", "/%61", "//a/b", "/A.AB"]),
        ),
        select(vec![
            "",
            "x=ab",
            "x=a&x=/a&ab",
            "%61=x",
            "x=%2F&x=+",
            "ab=x&ab=x&ab=x",
        ]),
        select(vec!["GET", "x"]),
        vec(header, 0..4),
        select(vec![
            "203.0.113.9:1",
            "[::ffff:203.0.113.9]:1",
            "203.0.113.200:1",
            "[2001:db8::9]:1",
            "10.9.9.9:1",
        ]),
        any::<bool>(),
    )
        .prop_map(
            |(certificate, host, (path, raw), query, method, headers, source, has_geo)| {
                let mut world = World::new(certificate, host, path);
                world.raw_path = raw.into();
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
