//! Explanations: why an expression holds or does not, with the value that each part looked at.
//!
//! Three-valued: a part that depends on an unknown value is unknown, never guessed. Decides
//! nothing; where all facts are known it agrees with [`crate::decide()`], and a property test holds
//! that.

use std::ops::ControlFlow;

use crate::eval::field_values::Facts;
use crate::eval::value::{Scratch, Value};
use crate::facts::{ConnectionFacts, RequestFacts};
use crate::limits::{TRACE_ELEMENTS_MAX, TRACE_TEXT_CHARACTERS_MAX};
use crate::program::ConnectionState;
use crate::syntax::ast::{Array, Condition, Part, Scalar};
use crate::syntax::expression::Expression;
use crate::syntax::field::Field;
use crate::syntax::print;
use crate::syntax::types::Type;

/// Some of the fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FieldSet(u128);

const _: () = assert!(Field::ALL.len() <= 128);

impl FieldSet {
    fn bit(field: Field) -> u128 {
        1 << (field as u32)
    }

    /// The fields whose names `wanted` picks.
    #[must_use]
    pub fn named(mut wanted: impl FnMut(&'static str) -> bool) -> Self {
        let picked = Field::ALL.iter().filter(|field| wanted(field.name()));
        Self(picked.fold(0, |set, field| set | Self::bit(*field)))
    }

    /// Those of either.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of this that are not in the other.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether some field is in both.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names of those in both, in the order of the table.
    pub fn common(self, other: Self) -> impl Iterator<Item = &'static str> {
        let both = self.0 & other.0;
        let fields = Field::ALL.iter();
        let fields = fields.filter(move |field| both & Self::bit(**field) != 0);
        fields.map(|field| field.name())
    }

    fn has(self, field: Field) -> bool {
        self.0 & Self::bit(field) != 0
    }

    fn of(condition: &Condition) -> Self {
        let mut set = 0;
        condition.walk(&mut |part| {
            if let Part::Field(field) = part {
                set |= Self::bit(field);
            }
        });
        Self(set)
    }
}

/// A request on a connection, and what is not known of them.
#[derive(Debug, Clone, Copy)]
pub struct Case<'a> {
    /// The connection.
    pub connection: &'a ConnectionFacts,
    /// What is worked out once for it.
    pub state: &'a ConnectionState,
    /// The request.
    pub request: &'a RequestFacts<'a>,
    /// Fields whose values in the facts mean nothing.
    pub unknown: FieldSet,
}

/// What a part of an expression looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operand {
    /// As it is written in the expression.
    pub text: String,
    /// What it is.
    pub value: Seen,
}

/// A value as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It is not known.
    Unknown,
    /// There is none; comparisons with it are false.
    Missing,
    /// In the notation of the language, cut when it is long.
    Value(String),
}

/// A part of an expression and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Its canonical text, cut when it is long.
    pub text: String,
    /// Whether it holds; `None` when that depends on what is not known.
    pub holds: Option<bool>,
    /// What it looked at, when it is a comparison.
    pub operands: Vec<Operand>,
    /// The parts that `and`, `or`, `xor` or `not` joins.
    pub parts: Vec<Self>,
}

impl Expression {
    /// The fields that it reads.
    #[must_use]
    pub fn field_set(&self) -> FieldSet {
        FieldSet::of(&self.0)
    }

    /// Whether it holds; `None` when that depends on what is not known.
    #[must_use]
    pub fn holds(&self, case: &Case<'_>) -> Option<bool> {
        holds(&self.0, case)
    }

    /// Every part with its values. All parts are looked at, those too that a decision skips
    /// because it knows the answer already.
    #[must_use]
    pub fn trace(&self, case: &Case<'_>) -> Trace {
        trace(&self.0, &facts(case), case.unknown, &mut Scratch::default())
    }
}

/// As [`Expression::holds`].
pub(crate) fn holds(condition: &Condition, case: &Case<'_>) -> Option<bool> {
    truth(
        condition,
        &facts(case),
        case.unknown,
        &mut Scratch::default(),
    )
}

fn facts<'a>(case: &Case<'a>) -> Facts<'a> {
    Facts {
        connection: case.connection,
        request: case.request,
        values: &case.state.values,
    }
}

/// Kleene's three-valued logic over comparisons.
fn truth<'a>(
    condition: &'a Condition,
    facts: &Facts<'a>,
    unknown: FieldSet,
    scratch: &mut Scratch,
) -> Option<bool> {
    let parts = |parts: &'a [Condition], scratch: &mut Scratch| {
        let one = |part| truth(part, facts, unknown, scratch);
        parts.iter().map(one).collect::<Vec<_>>()
    };
    match condition {
        Condition::Not(inner) => negation(truth(inner, facts, unknown, scratch)),
        Condition::And(all) => conjunction(parts(all, scratch)),
        Condition::Or(all) => disjunction(parts(all, scratch)),
        Condition::Xor(all) => parity(parts(all, scratch)),
        Condition::Constant(_)
        | Condition::Truth(_)
        | Condition::Compare(..)
        | Condition::Quantified(..) => {
            let known = !FieldSet::of(condition).meets(unknown);
            // Each is evaluated as if alone: what all of them cost together bounds decisions only.
            scratch.begin_decision();
            known.then(|| condition.holds(facts, scratch))
        }
    }
}

fn negation(holds: Option<bool>) -> Option<bool> {
    holds.map(|holds| !holds)
}

fn conjunction(parts: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    negation(disjunction(parts.into_iter().map(negation)))
}

fn disjunction(parts: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut all = Some(false);
    for part in parts {
        match part {
            Some(true) => return Some(true),
            Some(false) => {}
            None => all = None,
        }
    }
    all
}

fn parity(parts: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut parts = parts.into_iter();
    parts.try_fold(false, |odd, part| Some(odd ^ part?))
}

fn trace<'a>(
    condition: &'a Condition,
    facts: &Facts<'a>,
    unknown: FieldSet,
    scratch: &mut Scratch,
) -> Trace {
    let joined: &[Condition] = match condition {
        Condition::Not(inner) => std::slice::from_ref(&**inner),
        Condition::And(parts) | Condition::Or(parts) | Condition::Xor(parts) => parts,
        _ => &[],
    };
    let parts: Vec<Trace> = joined
        .iter()
        .map(|part| trace(part, facts, unknown, scratch))
        .collect();
    let held = || parts.iter().map(|part| part.holds);
    let holds = match condition {
        Condition::Not(_) => negation(held().next().flatten()),
        Condition::And(_) => conjunction(held()),
        Condition::Or(_) => disjunction(held()),
        Condition::Xor(_) => parity(held()),
        leaf => truth(leaf, facts, unknown, scratch),
    };
    Trace {
        text: cut(&condition.to_string()),
        holds,
        operands: operands(condition, facts, unknown, scratch),
        parts,
    }
}

/// What a comparison looks at: its left side, and the fields inside when that is a function.
fn operands<'a>(
    leaf: &'a Condition,
    facts: &Facts<'a>,
    unknown: FieldSet,
    scratch: &mut Scratch,
) -> Vec<Operand> {
    scratch.begin_decision();
    let mut found = Vec::new();
    let mut add = |text: String, value: Seen| {
        let text = cut(&text);
        if found.iter().all(|operand: &Operand| operand.text != text) {
            found.push(Operand { text, value });
        }
    };
    let mut sources = Vec::new();
    match leaf {
        Condition::Truth(value) | Condition::Compare(value, _) => {
            if matches!(leaf, Condition::Compare(..)) {
                let mark = scratch.mark();
                let mut reads = FieldSet::default();
                value.walk(&mut |part| {
                    if let Part::Field(field) = part {
                        reads.0 |= FieldSet::bit(field);
                    }
                });
                let seen = if reads.meets(unknown) {
                    Seen::Unknown
                } else {
                    let value = value.value(facts, scratch, Value::Missing);
                    seen(value, scratch)
                };
                scratch.forget(mark);
                add(value.to_string(), seen);
            }
            sources_of_scalar(value, &mut sources);
        }
        Condition::Quantified(_, array, _) => sources_of_array(array, &mut sources),
        _ => {}
    }
    for source in sources {
        let mark = scratch.mark();
        let seen = match source {
            Source::Single(field) if unknown.has(field) => Seen::Unknown,
            Source::Single(field) => seen(facts.value(field, scratch), scratch),
            Source::Several(array) => several(array, facts, unknown, scratch),
        };
        scratch.forget(mark);
        let text = match source {
            Source::Single(field) => field.name().to_owned(),
            Source::Several(array) => array.to_string(),
        };
        add(text, seen);
    }
    found
}

/// Where values come from.
#[derive(Clone, Copy)]
enum Source<'e> {
    Single(Field),
    /// An array field, or the values of a map's key.
    Several(&'e Array),
}

fn sources_of_scalar<'e>(value: &'e Scalar, sources: &mut Vec<Source<'e>>) {
    match value {
        Scalar::Field(field) => sources.push(Source::Single(*field)),
        Scalar::Element(_) => {}
        Scalar::At(array, _) => sources_of_array(array, sources),
        Scalar::Call(call) => sources_of_call(call, sources),
    }
}

fn sources_of_array<'e>(array: &'e Array, sources: &mut Vec<Source<'e>>) {
    match array {
        Array::Field(_) | Array::Entry(..) => sources.push(Source::Several(array)),
        Array::Call(call) => sources_of_call(call, sources),
        Array::Each(root, call) => {
            sources_of_array(root, sources);
            sources_of_call(call, sources);
        }
    }
}

fn sources_of_call<'e>(call: &'e crate::syntax::ast::Call, sources: &mut Vec<Source<'e>>) {
    for argument in &call.arguments {
        match argument {
            crate::syntax::ast::Argument::Scalar(value) => sources_of_scalar(value, sources),
            crate::syntax::ast::Argument::Array(array) => sources_of_array(array, sources),
            _ => {}
        }
    }
}

fn several<'a>(
    array: &'a Array,
    facts: &Facts<'a>,
    unknown: FieldSet,
    scratch: &mut Scratch,
) -> Seen {
    let (Array::Field(field) | Array::Entry(field, _)) = array else {
        return Seen::Missing;
    };
    if unknown.has(*field) {
        return Seen::Unknown;
    }
    debug_assert!(!matches!(field.of_type(), Type::Single(_)));
    let mut shown = Vec::new();
    let mut more = 0_usize;
    let there = array.elements(facts, scratch, Value::Missing, &mut |scratch, element| {
        if shown.len() < TRACE_ELEMENTS_MAX {
            if let Seen::Value(text) = seen(element, scratch) {
                shown.push(text);
            }
        } else {
            more += 1;
        }
        ControlFlow::Continue(())
    });
    if !there {
        return Seen::Missing;
    }
    if more > 0 {
        shown.push(format!("… {more} more"));
    }
    Seen::Value(format!("[{}]", shown.join(" ")))
}

/// A value in the language's notation.
fn seen(value: Value<'_>, scratch: &Scratch) -> Seen {
    Seen::Value(match value {
        Value::Missing => return Seen::Missing,
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Ip(address) => address.to_string(),
        Value::Bytes(_) | Value::Made(..) => {
            let bytes = scratch.bytes(value).unwrap_or_default();
            // A character has four bytes at most, and what is cut off need not be printed first.
            let (shown, is_cut) = match bytes.get(..TRACE_TEXT_CHARACTERS_MAX * 4) {
                Some(part) => (part, true),
                None => (bytes, false),
            };
            let text = cut(&Quoted(shown).to_string());
            if is_cut && !text.ends_with('…') {
                format!("{text}…")
            } else {
                text
            }
        }
    })
}

struct Quoted<'b>(&'b [u8]);

impl std::fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        print::string(f, self.0)
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TRACE_TEXT_CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::tests::{Certificate, World};

    fn case<'a>(
        world: &'a World,
        state: &'a ConnectionState,
        request: &'a RequestFacts<'a>,
        unknown: FieldSet,
    ) -> Case<'a> {
        Case {
            connection: &world.connection,
            state,
            request,
            unknown,
        }
    }

    /// A trace as lines of text.
    fn lines(trace: &Trace, indent: usize, out: &mut Vec<String>) {
        let operands = trace.operands.iter().map(|operand| {
            let value = match &operand.value {
                Seen::Unknown => "?",
                Seen::Missing => "missing",
                Seen::Value(text) => text,
            };
            format!(" [{} = {value}]", operand.text)
        });
        let holds = trace
            .holds
            .map_or_else(|| "?".to_owned(), |holds| holds.to_string());
        let operands: String = operands.collect();
        out.push(format!(
            "{}{holds} {}{operands}",
            "  ".repeat(indent),
            trace.text
        ));
        for part in &trace.parts {
            lines(part, indent + 1, out);
        }
    }

    #[test]
    fn parts_and_values() {
        let world = World::new(Certificate::Valid, "a.example", "/admin?x=1&y=2")
            .header("user-agent", "curl")
            .header("x", "1")
            .header("x", "\"2");
        let (state, request) = (ConnectionState::default(), world.request());
        let nothing = FieldSet::default();
        let headers = FieldSet::named(|name| {
            name.starts_with("http.request.headers") || name == "http.user_agent"
        });
        for (expression, unknown, expected) in [
            (
                "not cf.tls_client_auth.cert_verified and http.request.uri.path in {\"/admin\"}",
                nothing,
                &[
                    "false not cf.tls_client_auth.cert_verified and http.request.uri.path in {\"/admin\"}",
                    "  false not cf.tls_client_auth.cert_verified",
                    "    true cf.tls_client_auth.cert_verified [cf.tls_client_auth.cert_verified = true]",
                    "  true http.request.uri.path in {\"/admin\"} [http.request.uri.path = \"/admin\"]",
                ][..],
            ),
            (
                "lower(http.host) eq \"b\" or any(http.request.headers[\"x\"][*] eq \"1\")",
                nothing,
                &[
                    "true lower(http.host) eq \"b\" or any(http.request.headers[\"x\"][*] eq \"1\")",
                    "  false lower(http.host) eq \"b\" [lower(http.host) = \"a.example\"] [http.host = \"a.example\"]",
                    "  true any(http.request.headers[\"x\"][*] eq \"1\") [http.request.headers[\"x\"] = [\"1\" \"\\\"2\"]]",
                ],
            ),
            (
                "http.request.headers[\"none\"][0] eq \"1\" xor http.request.uri.args.names[7] eq \"q\"",
                nothing,
                &[
                    "false http.request.headers[\"none\"][0] eq \"1\" xor http.request.uri.args.names[7] eq \"q\"",
                    "  false http.request.headers[\"none\"][0] eq \"1\" [http.request.headers[\"none\"][0] = missing] [http.request.headers[\"none\"] = missing]",
                    "  false http.request.uri.args.names[7] eq \"q\" [http.request.uri.args.names[7] = missing] [http.request.uri.args.names = [\"x\" \"y\"]]",
                ],
            ),
            (
                "http.user_agent eq \"curl\" and ssl",
                headers,
                &[
                    "? http.user_agent eq \"curl\" and ssl",
                    "  ? http.user_agent eq \"curl\" [http.user_agent = ?]",
                    "  true ssl [ssl = true]",
                ],
            ),
            (
                "http.user_agent eq \"curl\" or ssl",
                headers,
                &[
                    "true http.user_agent eq \"curl\" or ssl",
                    "  ? http.user_agent eq \"curl\" [http.user_agent = ?]",
                    "  true ssl [ssl = true]",
                ],
            ),
            (
                "len(http.request.headers.names) gt 3",
                headers,
                &[
                    "? len(http.request.headers.names) gt 3 [len(http.request.headers.names) = ?] [http.request.headers.names = ?]",
                ],
            ),
        ] {
            let read = check(expression).unwrap();
            let case = case(&world, &state, &request, unknown);
            let trace = read.trace(&case);
            let mut found = Vec::new();
            lines(&trace, 0, &mut found);
            assert_eq!(found, expected, "{expression}");
            assert_eq!(read.holds(&case), trace.holds, "{expression}");
        }
    }

    #[test]
    fn long_texts_are_cut() {
        let world = World::new(
            Certificate::None,
            "a.example",
            &format!("/{}", "é".repeat(5_000)),
        );
        let (state, request) = (ConnectionState::default(), world.request());
        let read = check(&format!(
            "http.request.uri.path eq \"{}\"",
            "x".repeat(4_000)
        ))
        .unwrap();
        let trace = read.trace(&case(&world, &state, &request, FieldSet::default()));
        assert_eq!(trace.text.chars().count(), TRACE_TEXT_CHARACTERS_MAX + 1);
        let Seen::Value(value) = &trace.operands[0].value else {
            panic!("{trace:?}");
        };
        assert_eq!(value.chars().count(), TRACE_TEXT_CHARACTERS_MAX + 1);
    }

    proptest::proptest! {
        /// What is known decides as a decision does, and what is unknown makes no difference to
        /// an answer that is given.
        #[test]
        fn traces_agree_with_decisions(
            condition in crate::tests::generate::condition(),
            world in crate::tests::generate::world(),
            hidden in proptest::prelude::any::<u128>(),
        ) {
            let lists = crate::testing::fuzz::lists();
            let text = condition.to_string();
            let read = crate::syntax::expression::check_with(&text, &lists).unwrap();
            let (state, request) = (ConnectionState::default(), world.request());
            let known = case(&world, &state, &request, FieldSet::default());
            let rule = crate::tests::block("a", &text);
            let program = crate::program::Program::compile_with(&[rule], &lists).unwrap();
            let expected = match world.decide(&program).0.as_deref() {
                // Work is bounded on the data path, and nothing is decided beyond it.
                Some("too large") => return Ok(()),
                blocked => blocked.is_some(),
            };
            proptest::prop_assert_eq!(read.holds(&known), Some(expected));
            proptest::prop_assert_eq!(read.trace(&known).holds, Some(expected));
            // Fields of the request only, as a log lacks them.
            let mut hidden = FieldSet(hidden);
            for field in Field::ALL {
                if field.lifetime() == crate::syntax::field::Lifetime::Connection {
                    hidden = hidden.without(FieldSet(FieldSet::bit(*field)));
                }
            }
            let partly = case(&world, &state, &request, hidden);
            proptest::prop_assert_eq!(read.trace(&partly).holds, read.holds(&partly));
            if let Some(answer) = read.holds(&partly) {
                proptest::prop_assert_eq!(answer, expected);
            }
            if read.field_set().without(hidden) == read.field_set() {
                proptest::prop_assert!(read.holds(&partly).is_some());
            }
        }
    }
}
