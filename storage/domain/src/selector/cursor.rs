//! Walks over a selector's tokens, and bounds how deep its reader may descend.

use super::error::{NESTING_MAX, SelectorError};
use super::token::{Placed, Token, tokens};

pub(super) type Result<T> = std::result::Result<T, SelectorError>;

/// Where reading stands: before the next token, so many levels deep.
pub(super) struct Cursor {
    tokens: Vec<Placed>,
    /// Never beyond the last token, which is the end.
    at: usize,
    depth: usize,
}

impl Cursor {
    /// Before the first token of the text.
    pub(super) fn over(text: &str) -> Result<Self> {
        Ok(Self { tokens: tokens(text)?, at: 0, depth: 0 })
    }

    /// The next token.
    pub(super) fn peek(&self) -> &Token {
        &self.tokens[self.at].token
    }

    /// Where the next token starts.
    pub(super) fn column(&self) -> usize {
        self.tokens[self.at].column
    }

    /// Passes the next token; the end stays the next.
    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    /// Passes that token if it is the next.
    pub(super) fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == token;
        if found {
            self.advance();
        }
        found
    }

    /// Passes that token, which must be the next.
    pub(super) fn require(&mut self, token: &Token, expected: &'static str) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(self.expected(expected)) }
    }

    /// Passes a text, which must be the next token.
    pub(super) fn text(&mut self, expected: &'static str) -> Result<Box<str>> {
        let Token::Text(text) = self.peek() else { return Err(self.expected(expected)) };
        let text = text.clone();
        self.advance();
        Ok(text)
    }

    /// Passes the next token and reads what it opens, one level deeper. All recursion goes through here, which is what
    /// bounds the stack.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == NESTING_MAX {
            return Err(SelectorError::TooDeep { column: self.column() });
        }
        self.advance();
        self.depth += 1;
        let inside = read(self);
        self.depth -= 1;
        inside
    }

    /// The error that something else was expected instead of the next token.
    pub(super) fn expected(&self, expected: &'static str) -> SelectorError {
        SelectorError::Expected { column: self.column(), expected }
    }
}
