//! The parentheses that an expression is printed with.
//!
//! Adds those that readers want, unless the parser would refuse the result: each is a level of
//! nesting and two characters. Without them an expression that was accepted never becomes deeper.

use std::fmt::{self, Write};

use super::ast::{Argument, Array, Call, Condition, Scalar};
use super::print::Styled;
use crate::limits;

impl Condition {
    /// Binding strength: what is weaker than its surroundings needs parentheses.
    pub(crate) fn strength(&self) -> u8 {
        match self {
            Self::Or(_) => 0,
            Self::Xor(_) => 1,
            Self::And(_) => 2,
            _ => 3,
        }
    }
}

/// Which parentheses are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Around all that is joined inside of something else.
    Clear,
    /// Only those without which it would be something else.
    Sparing,
}

impl Style {
    /// The clear one, unless what it writes would be refused for its depth or its length: whatever
    /// was accepted is, with the fewest parentheses, no deeper than it was.
    pub(crate) fn of(condition: &Condition) -> Self {
        let mut length = Length(0);
        let written = write!(length, "{}", Styled(condition, Self::Clear));
        let fits = written.is_ok()
            && length.0 <= limits::EXPRESSION_CHARACTERS_MAX
            && nesting(condition, Self::Clear) <= limits::EXPRESSION_NESTING_MAX;
        if fits { Self::Clear } else { Self::Sparing }
    }

    /// Whether a part gets parentheses inside of something with that strength.
    pub(crate) fn encloses(self, part: &Condition, strength: u8) -> bool {
        match self {
            Self::Clear => part.strength() < 3,
            Self::Sparing => part.strength() <= strength && part.strength() < 3,
        }
    }
}

/// Counts characters.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.chars().count();
        Ok(())
    }
}

/// How deep the parser will go into what is printed: `not`, parentheses and calls are levels.
fn nesting(condition: &Condition, style: Style) -> usize {
    let strength = condition.strength();
    let part =
        |part: &Condition| nesting(part, style) + usize::from(style.encloses(part, strength));
    match condition {
        Condition::Constant(_) => 0,
        Condition::Not(inner) => 1 + part(inner),
        Condition::And(parts) | Condition::Xor(parts) | Condition::Or(parts) => {
            parts.iter().map(part).max().unwrap_or_default()
        }
        Condition::Truth(value) | Condition::Compare(value, _) => of_scalar(value),
        // Wherever an element is used, the array is written.
        Condition::Quantified(_, array, inner) => 1 + nesting(inner, style) + of_array(array),
    }
}

fn of_scalar(scalar: &Scalar) -> usize {
    match scalar {
        Scalar::Field(_) | Scalar::Element(_) => 0,
        Scalar::At(array, _) => of_array(array),
        Scalar::Call(call) => of_call(call),
    }
}

fn of_array(array: &Array) -> usize {
    match array {
        Array::Field(_) | Array::Entry(..) => 0,
        Array::Call(call) => of_call(call),
        Array::Each(root, call) => of_array(root) + of_call(call),
    }
}

fn of_call(call: &Call) -> usize {
    let arguments = call.arguments.iter().map(|argument| match argument {
        Argument::Scalar(value) => of_scalar(value),
        Argument::Array(array) => of_array(array),
        _ => 0,
    });
    1 + arguments.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::check;
    use crate::limits;

    #[test]
    fn what_was_accepted_is_accepted_as_it_is_printed() {
        let nots = limits::EXPRESSION_NESTING_MAX - 1;
        let lowers = "lower(".repeat(nots - 1);
        let closed = ")".repeat(nots - 1);
        let name = "http.request.headers.names";
        for text in [
            format!("{}(ssl and ssl or ssl)", "not ".repeat(nots)),
            format!(
                "{}(ssl or ssl xor ssl and not ssl)",
                "not ".repeat(nots - 1)
            ),
            format!("({lowers}http.host{closed} eq \"a\" and ssl or ssl)"),
            format!(
                "{}any({name}[*] eq \"a\" and {name}[*] eq \"b\" or {name}[*] eq \"c\")",
                "not ".repeat(nots)
            ),
            format!(
                "any({}({name}[*] eq \"a\" and {name}[*] eq \"b\" or {name}[*] eq \"c\"))",
                "not ".repeat(nots - 1)
            ),
            ["ssl&&ssl"; 260].join(" or "),
        ] {
            let read = check(&text).unwrap();
            let printed = read.to_string();
            assert_eq!(check(&printed), Ok(read), "{printed}");
        }
        // Where there is room, an `and` inside of an `or` is told apart.
        let read = check("ssl and ssl or ssl").unwrap();
        assert_eq!(read.to_string(), "(ssl and ssl) or ssl");
        let sparing = check(&format!("{}(ssl and ssl or ssl)", "not ".repeat(nots))).unwrap();
        assert!(sparing.to_string().ends_with("not (ssl and ssl or ssl)"));
    }
}
