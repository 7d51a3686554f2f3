//! The bounds of selectors, and why a text is none.

/// The longest selector, in bytes.
pub const TEXT_MAX: usize = 1024;
/// The deepest selector, in levels: a parenthesis, a `NOT` and a sign `-` open one each.
pub const NESTING_MAX: usize = 64;

/// Why a text is not a selector. Columns count characters, from 1; the one after the last means the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// It is too long.
    #[error("a selector has at most {max} bytes, but this one has {bytes}", max = TEXT_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It is nested too deep.
    #[error(
        "column {column}: expected at most {max} levels, where a parenthesis, a NOT and a sign - count as one each",
        max = NESTING_MAX
    )]
    TooDeep {
        /// Where the level opens that is one too many.
        column: usize,
    },
    /// Something else stands where only certain things may.
    #[error("column {column}: expected {expected}")]
    Expected {
        /// Where.
        column: usize,
        /// What may stand there, in words.
        expected: &'static str,
    },
}
