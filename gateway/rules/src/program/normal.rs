//! Disjunctive normal form: a rule matches when one of its terms does, a term when all its literals
//! do.
//!
//! Bounded: a condition that would multiply into too many terms stays one opaque literal, which is
//! evaluated by walking its tree, and only when the rest of its term holds.

use crate::limits;
use crate::syntax::ast::Condition;

/// A condition that is not taken apart further, or its opposite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) condition: Condition,
    pub(super) negative: bool,
}

/// The terms of a condition, at most `limits::RULE_TERMS_MAX`. None: it is never true. An empty
/// term is always true.
pub(super) fn terms(condition: &Condition) -> Vec<Vec<Literal>> {
    normal(condition, false)
}

fn normal(condition: &Condition, negative: bool) -> Vec<Vec<Literal>> {
    let opaque = || {
        vec![vec![Literal {
            condition: condition.clone(),
            negative,
        }]]
    };
    match (condition, negative) {
        (Condition::Constant(value), _) if *value == negative => Vec::new(),
        (Condition::Constant(_), _) => vec![Vec::new()],
        (Condition::Not(inner), _) => normal(inner, !negative),
        (Condition::And(parts), false) | (Condition::Or(parts), true) => product(parts, negative),
        (Condition::Or(parts), false) | (Condition::And(parts), true) => {
            let mut terms = Vec::new();
            for part in parts {
                terms.extend(normal(part, negative));
                if terms.len() > limits::RULE_TERMS_MAX {
                    return opaque();
                }
            }
            terms
        }
        _ => opaque(),
    }
}

/// All parts at once.
fn product(parts: &[Condition], negative: bool) -> Vec<Vec<Literal>> {
    let mut terms = vec![Vec::new()];
    for part in parts {
        let mut choices = normal(part, negative);
        if terms.len() * choices.len() > limits::RULE_TERMS_MAX {
            choices = vec![vec![Literal {
                condition: part.clone(),
                negative,
            }]];
        }
        match choices.as_slice() {
            [only] => terms
                .iter_mut()
                .for_each(|term| term.extend_from_slice(only)),
            choices => {
                let combined = terms.iter().flat_map(|term| {
                    choices
                        .iter()
                        .map(move |choice| [term.as_slice(), choice.as_slice()].concat())
                });
                terms = combined.collect();
            }
        }
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parser::parse;

    fn check(text: &str, expected: &[&[&str]]) {
        let terms = terms(&parse(text, None).unwrap());
        let shown: Vec<Vec<String>> = terms
            .iter()
            .map(|term| {
                term.iter()
                    .map(|l| format!("{}{}", if l.negative { "!" } else { "" }, l.condition))
                    .collect()
            })
            .collect();
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn small_ones_are_taken_apart() {
        check("true", &[&[]]);
        check("false", &[]);
        check("ssl", &[&["ssl"]]);
        check("not not ssl", &[&["ssl"]]);
        check(
            "not (ssl and cf.edge.client_tcp)",
            &[&["!ssl"], &["!cf.edge.client_tcp"]],
        );
        check(
            "not (ssl or cf.edge.client_tcp)",
            &[&["!ssl", "!cf.edge.client_tcp"]],
        );
        check(
            "ssl and (cf.edge.client_tcp or not http.request.headers.truncated)",
            &[
                &["ssl", "cf.edge.client_tcp"],
                &["ssl", "!http.request.headers.truncated"],
            ],
        );
        check(
            "ssl xor cf.edge.client_tcp",
            &[&["ssl xor cf.edge.client_tcp"]],
        );
    }

    #[test]
    fn large_ones_stay_opaque() {
        let pair = "(ssl or cf.edge.client_tcp)";
        let text = vec![pair; 20].join(" and ");
        let terms = terms(&parse(&text, None).unwrap());
        assert!(terms.len() <= limits::RULE_TERMS_MAX, "{}", terms.len());
        let opaque = terms[0]
            .iter()
            .filter(|l| matches!(l.condition, Condition::Or(_)))
            .count();
        assert_eq!(
            opaque, 15,
            "five pairs multiply to 32 terms, the rest stays"
        );
    }
}
