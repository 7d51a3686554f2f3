//! Patterns of `LIKE`: `%` stands for any characters, `_` for exactly one.
//!
//! Promises that matching takes time of at most text length by pattern length and allocates nothing.

use std::str::Chars;

/// A pattern, ready to match.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pattern {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// Any characters, or none.
    Any,
    One,
    Exactly(char),
}

impl Pattern {
    /// Reads a pattern; the character after `escape` stands for itself. `None`: an escape character is followed by what
    /// needs none, or by nothing, which SQL-92 forbids since it is a slip more often than a wish.
    pub(super) fn read(text: &str, escape: Option<char>) -> Option<Self> {
        let mut pieces = Vec::new();
        let mut rest = text.chars();
        while let Some(next) = rest.next() {
            pieces.push(match next {
                // First, for the escape character may be `%` or `_` itself.
                _ if Some(next) == escape => {
                    let literal = rest.next().filter(|found| matches!(found, '%' | '_') || Some(*found) == escape);
                    Piece::Exactly(literal?)
                }
                '%' => Piece::Any,
                '_' => Piece::One,
                _ => Piece::Exactly(next),
            });
        }
        Some(Self { pieces })
    }

    /// Whether the whole text is of this pattern.
    // On a mismatch it is enough to let the last `%` swallow one more character: what came before that `%` matched as
    // early as it could, so an earlier one swallowing more leaves the rest no text that this one does not leave it.
    pub(super) fn matches(&self, text: &str) -> bool {
        let mut rest = text.chars();
        let mut at = 0;
        // The piece behind the last `%`, and the text that was left to it.
        let mut retry: Option<(usize, Chars<'_>)> = None;
        loop {
            let matched = match self.pieces.get(at) {
                None if rest.as_str().is_empty() => return true,
                None => false,
                Some(Piece::Any) => {
                    retry = Some((at + 1, rest.clone()));
                    true
                }
                // Out of text, and every retry would have less.
                Some(Piece::One | Piece::Exactly(_)) if rest.as_str().is_empty() => return false,
                Some(Piece::One) => rest.next().is_some(),
                Some(Piece::Exactly(wanted)) => rest.next() == Some(*wanted),
            };
            if matched {
                at += 1;
            } else if let Some((behind, left)) = &mut retry {
                left.next();
                rest = left.clone();
                at = *behind;
            } else {
                return false;
            }
        }
    }
}
