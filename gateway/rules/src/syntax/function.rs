//! The table of functions: name, parameters, result.
//!
//! Follows <https://developers.cloudflare.com/ruleset-engine/rules-language/functions/>. `any` and
//! `all` are quantifiers and belong to the parser; `eval::functions` has what functions do.

use super::ast::{Argument, Array, Call, Scalar};
use super::error::{Problem, Span};
use super::types::{Kind, Type};
use crate::limits;
use crate::matcher::regex::{MatchDetail, Pattern};
use crate::matcher::wildcard::Wildcard;

macro_rules! functions {
    ($($function:ident $name:literal $signature:literal)*) => {
        /// A function of the language.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Function { $($function),* }

        impl Function {
            /// Every function.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$function),*];

            /// As it is written.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$function => $name),* }
            }

            /// How it is called.
            pub(crate) fn signature(self) -> &'static str {
                match self { $(Self::$function => $signature),* }
            }
        }
    };
}

functions! {
    Cidr "cidr" "cidr(address, ipv4_bits 1–32, ipv6_bits 1–128)"
    Cidr6 "cidr6" "cidr6(address, ipv6_bits 1–128)"
    Concat "concat" "concat(string or array, …)"
    DecodeBase64 "decode_base64" "decode_base64(string field)"
    EndsWith "ends_with" "ends_with(string field, \"suffix\")"
    Join "join" "join(array, \"separator\")"
    Len "len" "len(string or array)"
    LookupJsonInteger "lookup_json_integer" "lookup_json_integer(string field, key, …)"
    LookupJsonString "lookup_json_string" "lookup_json_string(string field, key, …)"
    Lower "lower" "lower(string)"
    RegexReplace "regex_replace" "regex_replace(string, \"regex\", \"replacement\")"
    RemoveBytes "remove_bytes" "remove_bytes(string, \"bytes\")"
    Split "split" "split(string, \"separator\", limit 1–128)"
    StartsWith "starts_with" "starts_with(string field, \"prefix\")"
    Substring "substring" "substring(string field, start, end?)"
    ToString "to_string" "to_string(Integer, Boolean or IP address)"
    Upper "upper" "upper(string)"
    UrlDecode "url_decode" "url_decode(string field, \"r\", \"u\" or \"ur\"?)"
    WildcardReplace "wildcard_replace" "wildcard_replace(string field, \"pattern\", \"replacement\", \"s\"?)"
}

impl Function {
    /// The function of that name.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|function| function.name() == name)
            .copied()
    }

    /// What it gives; `concat` gives an array when it is given arrays.
    pub(crate) fn result(self) -> Type {
        match self {
            Self::Cidr | Self::Cidr6 => Type::Single(Kind::Ip),
            Self::EndsWith | Self::StartsWith => Type::Single(Kind::Boolean),
            Self::Len | Self::LookupJsonInteger => Type::Single(Kind::Integer),
            Self::Split => Type::Array(Kind::String),
            _ => Type::Single(Kind::String),
        }
    }
}

/// Why a name that Cloudflare knows is not a function here.
pub(crate) fn absence(name: &str) -> Option<&'static str> {
    match name {
        "uuidv4" | "remove_query_args" => {
            Some("Cloudflare has it for rewriting requests, not for deciding on them")
        }
        "bit_slice" => Some("Cloudflare has it for packets; rules here evaluate requests"),
        "is_timed_hmac_valid_v0" => {
            Some("rules keep no secrets here; let the origin check such tokens")
        }
        _ => None,
    }
}

impl Call {
    /// The type of the result.
    pub(crate) fn result(&self) -> Type {
        match (self.function, self.arguments.first()) {
            (Function::Concat, Some(Argument::Array(array))) => Type::Array(array.kind()),
            (function, _) => function.result(),
        }
    }
}

/// An argument as it was parsed, before the function has had its say.
pub(crate) struct ParsedArgument {
    pub(crate) value: ParsedValue,
    pub(crate) span: Span,
}

/// See [`ParsedArgument`].
pub(crate) enum ParsedValue {
    Scalar(Scalar),
    Array(Array),
    Map,
    Bytes(Box<[u8]>),
    Int(i64),
}

impl ParsedValue {
    fn describe(&self) -> String {
        match self {
            Self::Scalar(scalar) => scalar.kind().to_string(),
            Self::Array(array) => Type::Array(array.kind()).to_string(),
            Self::Map => Type::Map.to_string(),
            Self::Bytes(_) => "a literal string".into(),
            Self::Int(_) => "a literal integer".into(),
        }
    }
}

/// Arguments being taken one after the other.
struct Taking {
    function: Function,
    span: Span,
    given: std::vec::IntoIter<ParsedArgument>,
    taken: Vec<Argument>,
}

impl Taking {
    fn wrong(&self, given: &ParsedArgument, expected: &str) -> Problem {
        let hint = match &given.value {
            ParsedValue::Array(_) => format!(
                "; apply it to each element with `[*]`: `{}`",
                self.function.signature()
            ),
            _ => format!(": `{}`", self.function.signature()),
        };
        let message = format!(
            "`{}` cannot take {} here",
            self.function.name(),
            given.value.describe()
        );
        Problem::new(given.span, message, format!("expected {expected}{hint}"))
    }

    fn next(&mut self) -> Result<ParsedArgument, Problem> {
        self.given.next().ok_or_else(|| {
            let message = format!("`{}` has too few arguments", self.function.name());
            Problem::new(
                self.span,
                message,
                format!("expected `{}`", self.function.signature()),
            )
        })
    }

    /// A value of that kind, not a literal.
    fn field(&mut self, kind: Kind) -> Result<(), Problem> {
        let given = self.next()?;
        match given.value {
            ParsedValue::Scalar(scalar) if scalar.kind() == kind => {
                self.taken.push(Argument::Scalar(scalar))
            }
            _ => return Err(self.wrong(&given, &format!("a field of type {kind}"))),
        }
        Ok(())
    }

    /// A string, literal or not.
    fn string(&mut self) -> Result<(), Problem> {
        let given = self.next()?;
        match given.value {
            ParsedValue::Scalar(scalar) if scalar.kind() == Kind::String => {
                self.taken.push(Argument::Scalar(scalar))
            }
            ParsedValue::Bytes(bytes) => self.taken.push(Argument::Bytes(bytes)),
            _ => return Err(self.wrong(&given, "a string")),
        }
        Ok(())
    }

    fn literal(&mut self) -> Result<(Box<[u8]>, Span), Problem> {
        let given = self.next()?;
        match given.value {
            ParsedValue::Bytes(bytes) => Ok((bytes, given.span)),
            _ => Err(self.wrong(&given, "a literal string")),
        }
    }

    fn int(&mut self, least: i64, most: i64) -> Result<(), Problem> {
        let given = self.next()?;
        match given.value {
            ParsedValue::Int(value) if (least..=most).contains(&value) => {
                self.taken.push(Argument::Int(value))
            }
            ParsedValue::Int(_) => {
                let message = format!("`{}` takes {least} to {most} here", self.function.name());
                return Err(Problem::new(given.span, message, ""));
            }
            _ => return Err(self.wrong(&given, "a literal integer")),
        }
        Ok(())
    }

    fn more(&self) -> bool {
        self.given.len() > 0
    }
}

/// Checks arguments against the function's signature.
pub(crate) fn call(
    function: Function,
    given: Vec<ParsedArgument>,
    span: Span,
) -> Result<Call, Problem> {
    let mut take = Taking {
        function,
        span,
        given: given.into_iter(),
        taken: Vec::new(),
    };
    match function {
        Function::Cidr => {
            take.field(Kind::Ip)?;
            take.int(1, 32)?;
            take.int(1, 128)?;
        }
        Function::Cidr6 => {
            take.field(Kind::Ip)?;
            take.int(1, 128)?;
        }
        Function::Concat => concat(&mut take)?,
        Function::DecodeBase64 => take.field(Kind::String)?,
        Function::EndsWith | Function::StartsWith => {
            take.field(Kind::String)?;
            take.string()?;
        }
        Function::Join => {
            let given = take.next()?;
            match given.value {
                ParsedValue::Array(array) if array.kind() == Kind::String => {
                    take.taken.push(Argument::Array(array))
                }
                _ => return Err(take.wrong(&given, "an array of strings")),
            }
            take.string()?;
        }
        Function::Len => {
            let given = take.next()?;
            match given.value {
                ParsedValue::Array(array) => take.taken.push(Argument::Array(array)),
                ParsedValue::Scalar(scalar) if scalar.kind() == Kind::String => {
                    take.taken.push(Argument::Scalar(scalar));
                }
                _ => return Err(take.wrong(&given, "a string field or an array")),
            }
        }
        Function::LookupJsonInteger | Function::LookupJsonString => {
            take.field(Kind::String)?;
            loop {
                let given = take.next()?;
                match given.value {
                    ParsedValue::Bytes(bytes) => take.taken.push(Argument::Bytes(bytes)),
                    ParsedValue::Int(index) if index >= 0 => take.taken.push(Argument::Int(index)),
                    _ => return Err(take.wrong(&given, "an attribute's name or a position from 0")),
                }
                if !take.more() {
                    break;
                }
            }
        }
        Function::Lower | Function::Upper => take.field(Kind::String)?,
        Function::RegexReplace => {
            take.string()?;
            let (source, at) = take.literal()?;
            let source = std::str::from_utf8(&source).map_err(|_not_utf8| {
                Problem::new(
                    at,
                    "a regular expression must be UTF-8",
                    "use `\\x` inside a raw string",
                )
            })?;
            let pattern = Pattern::new(source, MatchDetail::Groups)
                .map_err(|error| Problem::regex(at, error))?;
            take.taken.push(Argument::Pattern(pattern));
            replacement(&mut take)?;
        }
        Function::RemoveBytes => {
            take.field(Kind::String)?;
            let (bytes, _) = take.literal()?;
            take.taken.push(Argument::Bytes(bytes));
        }
        Function::Split => {
            take.field(Kind::String)?;
            let (separator, at) = take.literal()?;
            if separator.is_empty() {
                return Err(Problem::new(
                    at,
                    "the separator of `split` must not be empty",
                    "",
                ));
            }
            take.taken.push(Argument::Bytes(separator));
            take.int(1, 128)?;
        }
        Function::Substring => {
            take.field(Kind::String)?;
            take.int(i64::MIN, i64::MAX)?;
            if take.more() {
                take.int(i64::MIN, i64::MAX)?;
            }
        }
        Function::ToString => {
            let given = take.next()?;
            match given.value {
                ParsedValue::Scalar(scalar) if scalar.kind() != Kind::String => {
                    take.taken.push(Argument::Scalar(scalar));
                }
                _ => {
                    return Err(
                        take.wrong(&given, "a field of type Integer, Boolean or IP address")
                    );
                }
            }
        }
        Function::UrlDecode => {
            take.field(Kind::String)?;
            if take.more() {
                let (options, at) = take.literal()?;
                if !matches!(&*options, b"" | b"r" | b"u" | b"ru" | b"ur") {
                    let hint = "expected \"r\" (recursive), \"u\" (%uXXXX) or both";
                    return Err(Problem::new(at, "unknown option of `url_decode`", hint));
                }
                take.taken.push(Argument::Bytes(options));
            }
        }
        Function::WildcardReplace => wildcard_replace(&mut take)?,
    }
    if let Some(extra) = take.given.next() {
        let message = format!("`{}` has too many arguments", function.name());
        return Err(Problem::new(
            extra.span,
            message,
            format!("expected `{}`", function.signature()),
        ));
    }
    Ok(Call {
        function,
        arguments: take.taken,
    })
}

fn concat(take: &mut Taking) -> Result<(), Problem> {
    let first = take.next()?;
    let ParsedValue::Array(array) = first.value else {
        match first.value {
            ParsedValue::Scalar(scalar) if scalar.kind() == Kind::String => {
                take.taken.push(Argument::Scalar(scalar))
            }
            ParsedValue::Bytes(bytes) => take.taken.push(Argument::Bytes(bytes)),
            _ => return Err(take.wrong(&first, "strings, or arrays of one type")),
        }
        while take.more() {
            take.string()?;
        }
        return Ok(());
    };
    let kind = array.kind();
    take.taken.push(Argument::Array(array));
    while take.more() {
        let given = take.next()?;
        match given.value {
            ParsedValue::Array(array) if array.kind() == kind => {
                take.taken.push(Argument::Array(array))
            }
            _ => return Err(take.wrong(&given, &format!("another {}", Type::Array(kind)))),
        }
    }
    Ok(())
}

fn wildcard_replace(take: &mut Taking) -> Result<(), Problem> {
    take.field(Kind::String)?;
    let (source, at) = take.literal()?;
    let slot = take.taken.len();
    take.taken.push(Argument::Bytes(source.clone()));
    replacement(take)?;
    let mut strict = false;
    let mut flags = None;
    if take.more() {
        let (given, at) = take.literal()?;
        if &*given != b"s" {
            return Err(Problem::new(
                at,
                "unknown flag of `wildcard_replace`",
                "expected \"s\" (case-sensitive)",
            ));
        }
        strict = true;
        flags = Some(Argument::Bytes(given));
    }
    let wildcard =
        Wildcard::bounded(&source, strict).map_err(|error| Problem::wildcard(at, error))?;
    if let Some(argument) = take.taken.get_mut(slot) {
        *argument = Argument::Wildcard(wildcard);
    }
    take.taken.extend(flags);
    Ok(())
}

/// `${1}` … at most eight of them, `$$` for a dollar sign.
fn replacement(take: &mut Taking) -> Result<(), Problem> {
    let (text, at) = take.literal()?;
    let mut references = 0;
    let mut rest: &[u8] = &text;
    while let Some(found) = rest.iter().position(|b| *b == b'$') {
        rest = rest.get(found + 1..).unwrap_or_default();
        let length = match rest.first() {
            Some(b'$') => 1,
            Some(b'{') => {
                references += 1;
                let digits = rest
                    .iter()
                    .skip(1)
                    .take_while(|b| b.is_ascii_digit())
                    .count();
                if digits == 0 || digits > 2 || rest.get(1 + digits) != Some(&b'}') {
                    return Err(Problem::new(
                        at,
                        "a reference is `${1}`",
                        "write `$$` for a dollar sign",
                    ));
                }
                digits + 2
            }
            _ => {
                return Err(Problem::new(
                    at,
                    "`$` starts a reference such as `${1}`",
                    "write `$$` for a dollar sign",
                ));
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    if references > limits::REPLACEMENT_REFERENCES_MAX {
        return Err(Problem::new(
            at,
            "a replacement has at most eight references",
            "",
        ));
    }
    take.taken.push(Argument::Bytes(text));
    Ok(())
}
