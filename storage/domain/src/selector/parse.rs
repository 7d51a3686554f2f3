//! Reads a text as a condition, by recursive descent: one function a rule of the grammar in [`super`].
//!
//! Promises to end, and to take a bounded stack: whatever recurses goes through [`Cursor::deeper`].

use super::condition::{Arithmetic, Comparison, Condition, Literal, Operand};
use super::cursor::{Cursor, Result};
use super::error::SelectorError;
use super::like::Pattern;
use super::read::Read;
use super::token::{Keyword, Token};

const VALUE: &str = "a field's name, a text in single quotes, a number, TRUE, FALSE or (";

/// The condition that the text is.
pub(super) fn condition(text: &str) -> Result<Condition> {
    let mut cursor = Cursor::over(text)?;
    let read = any(&mut cursor)?;
    cursor.require(&Token::End, read.followed_by("AND, OR or the end"))?;
    Ok(*read.condition(&cursor)?)
}

fn any(cursor: &mut Cursor) -> Result<Read> {
    joined(cursor, Keyword::Or, all, Condition::Any)
}

fn all(cursor: &mut Cursor) -> Result<Read> {
    joined(cursor, Keyword::And, negation, Condition::All)
}

fn joined(
    cursor: &mut Cursor,
    keyword: Keyword,
    part: fn(&mut Cursor) -> Result<Read>,
    join: fn(Vec<Condition>) -> Condition,
) -> Result<Read> {
    let first = part(cursor)?;
    if *cursor.peek() != Token::Keyword(keyword) {
        return Ok(first);
    }
    let mut conditions = vec![*first.condition(cursor)?];
    while cursor.take(&Token::Keyword(keyword)) {
        conditions.push(*part(cursor)?.condition(cursor)?);
    }
    Ok(Read::Condition(Box::new(join(conditions))))
}

fn negation(cursor: &mut Cursor) -> Result<Read> {
    if *cursor.peek() != Token::Keyword(Keyword::Not) {
        return predicate(cursor);
    }
    cursor.deeper(|cursor| Ok(Read::Condition(Box::new(Condition::Not(negation(cursor)?.condition(cursor)?)))))
}

fn predicate(cursor: &mut Cursor) -> Result<Read> {
    let column = cursor.column();
    let left = sum(cursor)?;
    compared(cursor, left, column)
}

/// What the predicate says of its left side, which was read from that column on. Apart from [`predicate`], for the
/// stack of what nests on the left.
fn compared(cursor: &mut Cursor, left: Read, column: usize) -> Result<Read> {
    let not = cursor.take(&Token::Keyword(Keyword::Not));
    let condition = match *cursor.peek() {
        Token::Compare(comparison) if !not => comparison_with(cursor, left.operand(column)?, comparison)?,
        Token::Keyword(Keyword::Is) if !not => null(cursor, left.field(column)?)?,
        Token::Keyword(Keyword::Between) => between(cursor, left.operand(column)?)?,
        Token::Keyword(Keyword::In) => list(cursor, left.field(column)?)?,
        Token::Keyword(Keyword::Like) => like(cursor, left.field(column)?)?,
        Token::Keyword(_)
        | Token::Name(_)
        | Token::Text(_)
        | Token::Number(_)
        | Token::Compare(_)
        | Token::Calculate(_)
        | Token::Open
        | Token::Close
        | Token::Comma
        | Token::End => {
            // Whoever asked for it knows whether it may stand alone.
            return if not { Err(cursor.expected("BETWEEN, IN or LIKE after NOT")) } else { Ok(left) };
        }
    };
    Ok(Read::Condition(if not { Box::new(Condition::Not(condition)) } else { condition }))
}

fn comparison_with(cursor: &mut Cursor, left: Operand, comparison: Comparison) -> Result<Box<Condition>> {
    cursor.advance();
    Ok(Box::new(Condition::Compare { left, comparison, right: operand(cursor)? }))
}

fn null(cursor: &mut Cursor, field: Box<str>) -> Result<Box<Condition>> {
    cursor.advance();
    let not = cursor.take(&Token::Keyword(Keyword::Not));
    cursor.require(&Token::Keyword(Keyword::Null), "NULL or NOT NULL")?;
    let null = Box::new(Condition::Null { field });
    Ok(if not { Box::new(Condition::Not(null)) } else { null })
}

fn between(cursor: &mut Cursor, value: Operand) -> Result<Box<Condition>> {
    cursor.advance();
    let low = operand(cursor)?;
    cursor.require(&Token::Keyword(Keyword::And), "AND and the upper bound, as in `size BETWEEN 1 AND 5`")?;
    Ok(Box::new(Condition::Between { value, low, high: operand(cursor)? }))
}

fn list(cursor: &mut Cursor, field: Box<str>) -> Result<Box<Condition>> {
    cursor.advance();
    cursor.require(&Token::Open, "( and a list, as in `kind IN ('a', 'b')`")?;
    let mut literals = Vec::new();
    loop {
        let minus = cursor.take(&Token::Calculate(Arithmetic::Minus));
        let expected = if minus { "a number after -" } else { "a text in single quotes or a number" };
        literals.push(match literal(cursor.peek()) {
            Some(Literal::Number(number)) if minus => Literal::Number(-number),
            Some(literal) if !minus => literal,
            Some(_) | None => return Err(cursor.expected(expected)),
        });
        cursor.advance();
        if !cursor.take(&Token::Comma) {
            cursor.require(&Token::Close, ", or )")?;
            return Ok(Box::new(Condition::In { field, literals }));
        }
    }
}

fn like(cursor: &mut Cursor, field: Box<str>) -> Result<Box<Condition>> {
    cursor.advance();
    let column = cursor.column();
    let text = cursor.text("a pattern in single quotes, as in `kind LIKE 'order-%'`")?;
    let escape = if cursor.take(&Token::Keyword(Keyword::Escape)) { Some(escape(cursor)?) } else { None };
    let expected = "a pattern with %, _ or the escape character after each escape character";
    let pattern = Pattern::read(&text, escape).ok_or(SelectorError::Expected { column, expected })?;
    Ok(Box::new(Condition::Like { field, pattern }))
}

fn escape(cursor: &mut Cursor) -> Result<char> {
    let wanted = "one character in single quotes, as in `ESCAPE '!'`";
    let wrong = cursor.expected(wanted);
    let text = cursor.text(wanted)?;
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) => Ok(only),
        (None | Some(_), _) => Err(wrong),
    }
}

fn operand(cursor: &mut Cursor) -> Result<Operand> {
    let column = cursor.column();
    sum(cursor)?.operand(column)
}

fn sum(cursor: &mut Cursor) -> Result<Read> {
    calculation(cursor, [Arithmetic::Plus, Arithmetic::Minus], product)
}

fn product(cursor: &mut Cursor) -> Result<Read> {
    calculation(cursor, [Arithmetic::Times, Arithmetic::Divided], value)
}

fn calculation(cursor: &mut Cursor, operators: [Arithmetic; 2], part: fn(&mut Cursor) -> Result<Read>) -> Result<Read> {
    let column = cursor.column();
    let mut result = part(cursor)?;
    let mut rest = Vec::new();
    while let Token::Calculate(operator) = *cursor.peek()
        && operators.contains(&operator)
    {
        // Before the next operand is read, so that the error that stands first is the one reported.
        result = Read::Operand(result.number(column)?);
        cursor.advance();
        let column = cursor.column();
        rest.push((operator, part(cursor)?.number(column)?));
    }
    if rest.is_empty() {
        return Ok(result);
    }
    Ok(Read::Operand(Operand::Calculation { first: Box::new(result.number(column)?), rest }))
}

fn value(cursor: &mut Cursor) -> Result<Read> {
    let operand = match cursor.peek() {
        Token::Open => return cursor.deeper(parenthesised),
        Token::Calculate(Arithmetic::Minus) => return cursor.deeper(negative),
        Token::Name(name) => Operand::Field(name.clone()),
        // `literal` names every token: a new one breaks the build there.
        other => Operand::Literal(literal(other).ok_or_else(|| cursor.expected(VALUE))?),
    };
    cursor.advance();
    Ok(Read::Operand(operand))
}

fn parenthesised(cursor: &mut Cursor) -> Result<Read> {
    let read = any(cursor)?;
    cursor.require(&Token::Close, read.followed_by("AND, OR or )"))?;
    Ok(read)
}

fn negative(cursor: &mut Cursor) -> Result<Read> {
    let column = cursor.column();
    Ok(Read::Operand(match value(cursor)?.number(column)? {
        Operand::Literal(Literal::Number(number)) => Operand::Literal(Literal::Number(-number)),
        operand @ (Operand::Field(_) | Operand::Literal(_) | Operand::Negative(_) | Operand::Calculation { .. }) => {
            Operand::Negative(Box::new(operand))
        }
    }))
}

fn literal(token: &Token) -> Option<Literal> {
    match token {
        Token::Text(text) => Some(Literal::Text(text.clone())),
        Token::Number(number) => Some(Literal::Number(*number)),
        Token::Keyword(Keyword::True) => Some(Literal::Bool(true)),
        Token::Keyword(Keyword::False) => Some(Literal::Bool(false)),
        Token::Keyword(_)
        | Token::Name(_)
        | Token::Compare(_)
        | Token::Calculate(_)
        | Token::Open
        | Token::Close
        | Token::Comma
        | Token::End => None,
    }
}
