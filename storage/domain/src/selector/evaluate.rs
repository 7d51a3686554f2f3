//! What a condition makes of a message's fields: true, false or unknown.
//!
//! `None` is unknown throughout, so `?` is SQL's rule that what depends on an unknown is unknown. Nothing here reads
//! anything but the fields, and the arithmetic is IEEE 754's basic operations: every server comes to the same answer.

use super::condition::{Arithmetic, Comparison, Condition, Literal, Operand};
use super::value::{Fields, Value};

impl Condition {
    /// Whether it holds for a message of those fields.
    pub(super) fn holds<F: Fields + ?Sized>(&self, fields: &F) -> Option<bool> {
        match self {
            Self::Truth(operand) => operand.value(fields)?.truth(),
            Self::Not(condition) => Some(!condition.holds(fields)?),
            Self::All(conditions) => join(false, conditions.iter().map(|condition| condition.holds(fields))),
            Self::Any(conditions) => join(true, conditions.iter().map(|condition| condition.holds(fields))),
            Self::Compare { left, comparison, right } => {
                compare(&left.value(fields)?, *comparison, &right.value(fields)?)
            }
            Self::Between { value, low, high } => {
                let value = value.value(fields)?;
                // One bound may decide it though the other is unknown, as SQL has it.
                let bound = |operand: &Operand, comparison| compare(&value, comparison, &operand.value(fields)?);
                join(false, [bound(low, Comparison::AtLeast), bound(high, Comparison::AtMost)].into_iter())
            }
            Self::In { field, literals } => {
                let value = fields.field(field)?;
                join(true, literals.iter().map(|literal| compare(&value, Comparison::Equal, &literal.value())))
            }
            Self::Like { field, pattern } => match fields.field(field)? {
                Value::Text(text) => Some(pattern.matches(&text)),
                Value::Number(_) | Value::Bool(_) => None,
            },
            Self::Null { field } => Some(fields.field(field).is_none()),
        }
    }
}

impl Operand {
    fn value<'a, F: Fields + ?Sized>(&'a self, fields: &'a F) -> Option<Value<'a>> {
        match self {
            Self::Field(name) => fields.field(name),
            Self::Literal(literal) => Some(literal.value()),
            Self::Negative(operand) => Some(Value::Number(-operand.value(fields)?.number()?)),
            Self::Calculation { first, rest } => {
                let mut result = first.value(fields)?.number()?;
                for (arithmetic, operand) in rest {
                    result = arithmetic.of(result, operand.value(fields)?.number()?)?;
                }
                Some(Value::Number(result))
            }
        }
    }
}

impl Literal {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Text((&**text).into()),
            Self::Number(number) => Value::Number(*number),
            Self::Bool(truth) => Value::Bool(*truth),
        }
    }
}

impl Arithmetic {
    fn of(self, left: f64, right: f64) -> Option<f64> {
        let result = match self {
            Self::Plus => left + right,
            Self::Minus => left - right,
            Self::Times => left * right,
            Self::Divided => left / right,
        };
        // An infinity would compare as if it were known; SQL would refuse the calculation.
        result.is_finite().then_some(result)
    }
}

fn compare(left: &Value<'_>, comparison: Comparison, right: &Value<'_>) -> Option<bool> {
    Some(comparison.holds(left.order(right)?))
}

/// `AND` where false decides, `OR` where true does: one that decides is the result, whatever the others are; else one
/// unknown makes it unknown.
fn join(deciding: bool, truths: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(!deciding);
    for truth in truths {
        match truth {
            Some(truth) if truth == deciding => return Some(deciding),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}
