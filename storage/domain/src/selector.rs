//! Which messages a consumer wants, in a small subset of SQL-92, as JMS has it: `kind = 'order' AND amount > 100`.
//!
//! Owns the language: its words, its bounds and what it makes of a message's fields. Promises that the same selector
//! and the same fields give the same answer on every server, that parsing and evaluating are bounded, and that
//! evaluating allocates nothing itself.
//!
//! ```text
//! condition  = all { OR all }
//! all        = negation { AND negation }
//! negation   = NOT negation | predicate
//! predicate  = sum ( = | <> | < | <= | > | >= ) sum | sum [NOT] BETWEEN sum AND sum
//!            | name [NOT] IN ( literal { , literal } ) | name [NOT] LIKE text [ESCAPE text] | name IS [NOT] NULL
//!            | name | TRUE | FALSE | ( condition )
//! sum        = product { ( + | - ) product }
//! product    = value { ( * | / ) value }
//! value      = name | literal | - value | ( sum )
//! literal    = text | [-] number | TRUE | FALSE
//! ```
//!
//! * A name is ASCII letters, digits, `_` and `.`, the first a letter or `_`; any other name, and a keyword as a name,
//!   goes into double quotes: `"baton-exception-from"` (`""` is one double quote). Names are case-sensitive, keywords
//!   are not. Without the quotes `order-id` is `order` less `id`.
//! * A text goes into single quotes (`''` is one), a number is written `5`, `0.5` or `5e3`.
//! * Logic has three values, as in SQL: whatever needs a missing field is unknown, and so is its `NOT`. Only
//!   `IS NULL` is always known. A message is selected when the whole is true, not when it is unknown.
//! * Numbers are 64-bit floating point: whole ones beyond 2^53 blur, so compare long ids as texts. A calculation that
//!   leaves their range or divides by zero is unknown.
//! * Texts compare by their code points, with all six comparisons (JMS has only `=` and `<>`): ISO dates sort.
//! * A text beside a number is read as a number, beside a boolean as a boolean, and where it reads as none the
//!   comparison is unknown. Two texts compare as texts, even if both look like numbers: write `a + 0 < b` for numbers.
//! * `LIKE` has `%` for any characters and `_` for one. It and `IN`, `IS NULL` ask about a field by its name.
//!
//! Source: Jakarta Messaging 3.1, section 3.8.1. Left out: a sign `+`, hexadecimal and suffixed numbers, and an empty
//! text for "all messages" (that is no selector at all). Added: order of texts and booleans, numbers in `IN`.

mod condition;
mod cursor;
mod error;
mod evaluate;
mod like;
mod parse;
mod read;
#[cfg(test)]
mod tests;
mod token;
mod value;

use condition::Condition;
pub use error::{NESTING_MAX, SelectorError, TEXT_MAX};
pub use value::{Fields, Value};

/// A condition on a message's fields. Two selectors are equal when their texts are, to the byte.
#[derive(Debug, Clone)]
pub struct Selector {
    text: Box<str>,
    condition: Condition,
}

impl Selector {
    /// Reads a selector of at most [`TEXT_MAX`] bytes, at most [`NESTING_MAX`] levels deep.
    ///
    /// # Errors
    /// [`SelectorError`] says in which column what was expected. An empty text is an error, too.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > TEXT_MAX {
            return Err(SelectorError::TooLong { bytes: text.len() });
        }
        Ok(Self { text: text.into(), condition: parse::condition(text)? })
    }

    /// The text that it was read from, to the byte: how it is stored and sent.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a message of those fields is selected: unknown counts as not selected.
    ///
    /// Asks for a field each time that the selector names it, and not for those that cannot change the answer.
    #[must_use]
    pub fn selects(&self, fields: &(impl Fields + ?Sized)) -> bool {
        self.condition.holds(fields) == Some(true)
    }
}

// By the text alone: it determines the condition, and conditions hold floating point numbers, which have no `Eq`.
impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Selector {}
