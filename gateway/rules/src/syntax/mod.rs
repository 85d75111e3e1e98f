//! Syntax: text to typed tree and back, the tables of names, the errors.
//!
//! Not for a worker: parsing and printing allocate, and happen when rules change. What a worker
//! reads of it is the tree, the tables of fields and functions, and the lists.

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
