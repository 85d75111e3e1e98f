//! Text to typed tree, and back: the grammar, the tables of names, the errors.
//!
//! Not for a worker: parsing allocates, and rules are parsed when they change.

pub(crate) mod ast;
mod comparison;
pub(crate) mod error;
pub(crate) mod expression;
pub(crate) mod field;
pub(crate) mod function;
pub(crate) mod lexer;
pub(crate) mod list;
pub(crate) mod literal;
pub(crate) mod operand;
mod operator;
mod parentheses;
pub(crate) mod parser;
pub(crate) mod print;
pub(crate) mod types;
