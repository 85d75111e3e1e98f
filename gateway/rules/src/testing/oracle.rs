//! The oracle: a plain evaluator that takes every rule in order and walks every tree.
//!
//! A [`crate::Program`] has to agree with it. Tests and benchmarks use it; the gateway does not.

use std::sync::Arc;

use crate::eval::connection_values::ConnectionValues;
use crate::eval::field_values::Facts;
use crate::eval::value::Scratch;
use crate::facts::{ConnectionFacts, RequestFacts};
use crate::syntax::ast::Condition;
use crate::syntax::parser;
use crate::{Action, Lists, Overworked, Rule, RuleError};

/// Enabled rules with their conditions.
#[derive(Debug, Default)]
pub struct Oracle {
    rules: Vec<(Arc<str>, Condition, Action)>,
}

impl Oracle {
    /// Parses rules.
    ///
    /// # Errors
    /// The first rule that does not parse or type-check.
    pub fn compile(rules: &[Rule], lists: &Lists) -> Result<Self, RuleError> {
        let mut oracle = Self::default();
        for (index, rule) in rules.iter().enumerate() {
            let condition =
                parser::parse(&rule.expression, Some(lists)).map_err(|error| RuleError {
                    index,
                    message: error.to_string(),
                })?;
            if rule.enabled {
                oracle
                    .rules
                    .push((rule.id.clone(), condition, rule.action.clone()));
            }
        }
        Ok(oracle)
    }

    /// The blocking rule's id; tells `logged` what is reported on the way. For requests that are
    /// not too much work.
    pub fn decide(
        &self,
        connection: &ConnectionFacts,
        request: &RequestFacts<'_>,
        logged: &mut dyn FnMut(&str),
    ) -> Option<&str> {
        self.evaluate(connection, request, logged)
            .unwrap_or_default()
    }

    /// As [`Self::decide`].
    ///
    /// # Errors
    /// It is too much work, counted as for a program.
    pub fn evaluate(
        &self,
        connection: &ConnectionFacts,
        request: &RequestFacts<'_>,
        logged: &mut dyn FnMut(&str),
    ) -> Result<Option<&str>, Overworked> {
        let values = ConnectionValues::default();
        let facts = Facts {
            connection,
            request,
            values: &values,
        };
        let mut scratch = Scratch::default();
        for (id, condition, action) in &self.rules {
            let holds = condition.holds(&facts, &mut scratch);
            if scratch.is_spent() {
                return Err(Overworked);
            }
            if !holds {
                continue;
            }
            match action {
                Action::Block(_) => return Ok(Some(id)),
                Action::Log => logged(id),
                Action::Skip(skip) => {
                    if skip.logging {
                        logged(id);
                    }
                    if skip.current_ruleset {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }
}
