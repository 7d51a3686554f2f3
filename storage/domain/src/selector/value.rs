//! The values of a message's fields, how texts are read as other values, and how values compare.

use std::borrow::Cow;
use std::cmp::Ordering;

/// Fields that a selector can ask for, by name.
pub trait Fields {
    /// The field of that name; `None`: the message has none. Names are case-sensitive. While a message is evaluated,
    /// the same name must have the same value.
    fn field(&self, name: &str) -> Option<Value<'_>>;
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A text, as all headers are.
    Text(Cow<'a, str>),
    /// A number; not-a-number compares as unknown.
    Number(f64),
    /// True or false.
    Bool(bool),
}

impl Value<'_> {
    /// The number that it is or reads as.
    // Headers are texts, whatever the producer put into them: without this `amount > 100` could never be true of one.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Self::Text(text) => number_in(text),
            Self::Number(number) => Some(*number),
            Self::Bool(_) => None,
        }
    }

    /// The boolean that it is or reads as; a text does as `true` or `false`, in any case, like the keywords.
    pub(super) fn truth(&self) -> Option<bool> {
        match self {
            Self::Text(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Self::Text(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Self::Text(_) | Self::Number(_) => None,
            Self::Bool(truth) => Some(*truth),
        }
    }

    /// The order of the two; `None`: unknown, for they cannot be compared.
    ///
    /// Texts order by code points, and false before true. A text beside another kind is read as that kind: only the
    /// other side tells what its author meant by it. Two texts stay texts, so that `'007'` and `'7'` differ.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Bool(_), _) | (_, Self::Bool(_)) => Some(self.truth()?.cmp(&other.truth()?)),
            (Self::Number(_), _) | (_, Self::Number(_)) => self.number()?.partial_cmp(&other.number()?),
        }
    }
}

/// The number that the whole text is; spaces, a unit or a second point make it none.
pub(super) fn number_in(text: &str) -> Option<f64> {
    // `f64` also reads words such as `inf` and `NaN`, which nobody means who compares with a number.
    let digits_only = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if !digits_only {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite())
}
