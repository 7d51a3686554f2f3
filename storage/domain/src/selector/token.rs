//! Cuts a selector's text into tokens, each with its column.
//!
//! One pass, without recursion. Letters and spaces are ASCII's: the tables of Unicode change with the compiler, and two
//! servers must agree on what a selector says.

use super::condition::{Arithmetic, Comparison};
use super::error::SelectorError;
use super::value::number_in;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Keyword(Keyword),
    Name(Box<str>),
    Text(Box<str>),
    Number(f64),
    Compare(Comparison),
    Calculate(Arithmetic),
    Open,
    Close,
    Comma,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keyword {
    And,
    Between,
    Escape,
    False,
    In,
    Is,
    Like,
    Not,
    Null,
    Or,
    True,
}

const KEYWORDS: [(&str, Keyword); 11] = [
    ("AND", Keyword::And),
    ("BETWEEN", Keyword::Between),
    ("ESCAPE", Keyword::Escape),
    ("FALSE", Keyword::False),
    ("IN", Keyword::In),
    ("IS", Keyword::Is),
    ("LIKE", Keyword::Like),
    ("NOT", Keyword::Not),
    ("NULL", Keyword::Null),
    ("OR", Keyword::Or),
    ("TRUE", Keyword::True),
];

/// A token, and the column that it starts in: characters, from 1.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) token: Token,
    pub(super) column: usize,
}

/// All tokens of the text; the last is [`Token::End`], and it alone is.
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, SelectorError> {
    let mut cutter = Cutter { rest: text, column: 1 };
    let mut tokens = Vec::new();
    loop {
        cutter.take_while(|next| next.is_ascii_whitespace());
        let column = cutter.column;
        let token = cutter.token()?;
        let ended = token == Token::End;
        tokens.push(Placed { token, column });
        if ended {
            return Ok(tokens);
        }
    }
}

struct Cutter<'a> {
    rest: &'a str,
    column: usize,
}

impl<'a> Cutter<'a> {
    fn token(&mut self) -> Result<Token, SelectorError> {
        match self.peek() {
            None => Ok(Token::End),
            Some('\'') => self.quoted('\'', "a single quote where the text ends; inside it a quote is written ''"),
            Some('"') => self.quoted('"', "a double quote where the name ends; a text goes into single quotes"),
            Some('0'..='9' | '.') => self.number(),
            Some('a'..='z' | 'A'..='Z' | '_') => Ok(self.word()),
            Some(_) => self.symbol(),
        }
    }

    fn symbol(&mut self) -> Result<Token, SelectorError> {
        // Longer ones first.
        let symbols = [
            ("<>", Token::Compare(Comparison::Unequal)),
            ("<=", Token::Compare(Comparison::AtMost)),
            (">=", Token::Compare(Comparison::AtLeast)),
            ("<", Token::Compare(Comparison::Less)),
            (">", Token::Compare(Comparison::More)),
            ("=", Token::Compare(Comparison::Equal)),
            ("+", Token::Calculate(Arithmetic::Plus)),
            ("-", Token::Calculate(Arithmetic::Minus)),
            ("*", Token::Calculate(Arithmetic::Times)),
            ("/", Token::Calculate(Arithmetic::Divided)),
            ("(", Token::Open),
            (")", Token::Close),
            (",", Token::Comma),
        ];
        for (symbol, token) in symbols {
            if let Some(rest) = self.rest.strip_prefix(symbol) {
                self.rest = rest;
                self.column += symbol.len();
                return Ok(token);
            }
        }
        Err(self
            .expected("one of = <> < <= > >= + - * / ( ) or a name; names of other characters go into double quotes"))
    }

    /// A keyword or a name.
    fn word(&mut self) -> Token {
        let word = self.take_while(is_in_name);
        match KEYWORDS.iter().find(|(keyword, _)| keyword.eq_ignore_ascii_case(word)) {
            Some((_, keyword)) => Token::Keyword(*keyword),
            None => Token::Name(word.into()),
        }
    }

    fn number(&mut self) -> Result<Token, SelectorError> {
        let wrong = self.expected("a number such as 5, 0.5 or 5e3, and at most 1.7e308");
        let from = self.rest;
        let mut before = self.take_while(is_in_name);
        // The one sign inside a number is its exponent's.
        if before.ends_with(['e', 'E']) && matches!(self.peek(), Some('+' | '-')) {
            self.next();
            self.take_while(is_in_name);
            before = &from[..from.len() - self.rest.len()];
        }
        number_in(before).map(Token::Number).ok_or(wrong)
    }

    /// A text or a name in quotes of that kind, which stand doubled for one.
    fn quoted(&mut self, quote: char, unended: &'static str) -> Result<Token, SelectorError> {
        let unended = self.expected(unended);
        self.next();
        let mut inside = String::new();
        loop {
            match self.next() {
                None => return Err(unended),
                Some(found) if found != quote => inside.push(found),
                Some(_) if self.peek() == Some(quote) => inside.extend(self.next()),
                Some(_) if quote == '\'' => return Ok(Token::Text(inside.into())),
                Some(_) => return Ok(Token::Name(inside.into())),
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        self.column += 1;
        Some(next)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let from = self.rest;
        while self.peek().is_some_and(&wanted) {
            self.next();
        }
        &from[..from.len() - self.rest.len()]
    }

    fn expected(&self, expected: &'static str) -> SelectorError {
        SelectorError::Expected { column: self.column, expected }
    }
}

fn is_in_name(next: char) -> bool {
    next.is_ascii_alphanumeric() || matches!(next, '_' | '.')
}
