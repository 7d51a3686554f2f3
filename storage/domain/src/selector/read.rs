//! What a rule of the grammar has read, and what it may stand for.
//!
//! What a parenthesis holds shows only behind it, so rules hand up a condition or an operand, and whoever needs one of
//! the two asks for it here.

use super::condition::{Condition, Literal, Operand};
use super::cursor::{Cursor, Result};
use super::error::SelectorError;

const COMPARISON: &str = "a comparison, for example `kind = 'order'`";

pub(super) enum Read {
    /// Boxed, for every level of recursion has several on the stack.
    Condition(Box<Condition>),
    Operand(Operand),
}

impl Read {
    /// As a condition, which a field and TRUE and FALSE are by themselves. The cursor is still behind what was read:
    /// there a comparison is missing, if it is none.
    pub(super) fn condition(self, cursor: &Cursor) -> Result<Box<Condition>> {
        match self {
            Self::Condition(condition) => Ok(condition),
            Self::Operand(operand @ (Operand::Field(_) | Operand::Literal(Literal::Bool(_)))) => {
                Ok(Box::new(Condition::Truth(operand)))
            }
            Self::Operand(Operand::Literal(_) | Operand::Negative(_) | Operand::Calculation { .. }) => {
                Err(cursor.expected(COMPARISON))
            }
        }
    }

    /// As something that has a value; it starts in that column.
    pub(super) fn operand(self, column: usize) -> Result<Operand> {
        match self {
            Self::Operand(operand) => Ok(operand),
            Self::Condition(_) => {
                Err(SelectorError::Expected { column, expected: "a value to compare, not a condition in parentheses" })
            }
        }
    }

    /// As something that may be a number.
    pub(super) fn number(self, column: usize) -> Result<Operand> {
        match self.operand(column)? {
            Operand::Literal(Literal::Text(_) | Literal::Bool(_)) => {
                Err(SelectorError::Expected { column, expected: "a number or a field's name to calculate with" })
            }
            number @ (Operand::Field(_)
            | Operand::Literal(Literal::Number(_))
            | Operand::Negative(_)
            | Operand::Calculation { .. }) => Ok(number),
        }
    }

    /// As a field's name.
    pub(super) fn field(self, column: usize) -> Result<Box<str>> {
        match self {
            Self::Operand(Operand::Field(name)) => Ok(name),
            Self::Operand(Operand::Literal(_) | Operand::Negative(_) | Operand::Calculation { .. })
            | Self::Condition(_) => {
                Err(SelectorError::Expected { column, expected: "a field's name before IN, LIKE and IS NULL" })
            }
        }
    }

    /// What to expect behind it: after a condition that, after a lone value first of all a comparison.
    pub(super) fn followed_by(&self, expected: &'static str) -> &'static str {
        match self {
            Self::Condition(_) => expected,
            Self::Operand(_) => COMPARISON,
        }
    }
}
