//! What a selector says, once it is read: a tree of conditions over operands.
//!
//! The types keep apart what is true or false from what has a value, so that evaluating meets no senseless tree. Chains
//! of one operator are lists, not ladders: the depth of a tree follows the nesting of its text, which is bounded, and
//! so walking or dropping one takes little stack.

use std::cmp::Ordering;

use super::like::Pattern;

/// What is true, false or unknown of a message.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// The operand itself is true.
    Truth(Operand),
    Not(Box<Condition>),
    /// Joined by `AND`; at least two.
    All(Vec<Condition>),
    /// Joined by `OR`; at least two.
    Any(Vec<Condition>),
    Compare {
        left: Operand,
        comparison: Comparison,
        right: Operand,
    },
    /// Both bounds belong to the range.
    Between {
        value: Operand,
        low: Operand,
        high: Operand,
    },
    In {
        field: Box<str>,
        literals: Vec<Literal>,
    },
    Like {
        field: Box<str>,
        pattern: Pattern,
    },
    Null {
        field: Box<str>,
    },
}

/// What has a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Operand {
    Field(Box<str>),
    Literal(Literal),
    Negative(Box<Operand>),
    /// Calculated from left to right: operators of one precedence.
    Calculation {
        first: Box<Operand>,
        rest: Vec<(Arithmetic, Operand)>,
    },
}

/// A value that stands in the selector itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Text(Box<str>),
    Number(f64),
    Bool(bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Plus,
    Minus,
    Times,
    Divided,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    AtMost,
    More,
    AtLeast,
}

impl Comparison {
    /// Whether it holds for two values in that order.
    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Unequal => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::More => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}
