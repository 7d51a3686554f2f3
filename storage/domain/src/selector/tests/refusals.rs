//! Texts that are no selectors, what is said of them, and the bounds.

use super::super::{NESTING_MAX, SelectorError, TEXT_MAX, Value};
use super::{Message, Selector, verdict};

/// Where the error is, and what it says.
fn refusal(text: &str) -> String {
    match Selector::parse(text) {
        Ok(selector) => panic!("`{text}` was taken: {selector:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_error_names_the_column_and_what_is_allowed_there() {
    let value = "expected a field's name, a text in single quotes, a number, TRUE, FALSE or (";
    let comparison = "expected a comparison, for example `kind = 'order'`";
    let name = "expected a field's name before IN, LIKE and IS NULL";
    let calculate = "expected a number or a field's name to calculate with";
    let one_escape = "expected one character in single quotes, as in `ESCAPE '!'`";
    let escaped = "expected a pattern with %, _ or the escape character after each escape character";
    let number = "expected a number such as 5, 0.5 or 5e3, and at most 1.7e308";
    let symbol =
        "expected one of = <> < <= > >= + - * / ( ) or a name; names of other characters go into double quotes";
    let rows = [
        ("", 1, value),
        ("   ", 4, value),
        ("kind =", 7, value),
        ("kind == 'a'", 7, value),
        ("kind = NOT TRUE", 8, value),
        ("= 'a'", 1, value),
        ("a = 1 AND", 10, value),
        ("()", 2, value),
        ("a = +5", 5, value),
        ("null = 5", 1, value),
        ("5", 2, comparison),
        ("'order'", 8, comparison),
        ("amount + 1", 11, comparison),
        ("(amount + 1) AND TRUE", 14, comparison),
        ("kind 'order'", 6, comparison),
        ("(kind 'order')", 7, comparison),
        ("NOT 5", 6, comparison),
        ("kind = 'ü' \"x\"", 12, "expected AND, OR or the end"),
        ("a = 1 = 1", 7, "expected AND, OR or the end"),
        ("a = 1)", 6, "expected AND, OR or the end"),
        ("(a = 1", 7, "expected AND, OR or )"),
        ("(a = 1) = TRUE", 1, "expected a value to compare, not a condition in parentheses"),
        ("2 < (a = 1)", 5, "expected a value to compare, not a condition in parentheses"),
        ("a NOT = 1", 7, "expected BETWEEN, IN or LIKE after NOT"),
        ("a NOT", 6, "expected BETWEEN, IN or LIKE after NOT"),
        ("a BETWEEN 1 OR 2", 13, "expected AND and the upper bound, as in `size BETWEEN 1 AND 5`"),
        ("a IS 5", 6, "expected NULL or NOT NULL"),
        ("1 IS NULL", 1, name),
        ("a + 1 IN (2)", 1, name),
        ("TRUE AND 'b' LIKE 'b'", 10, name),
        ("a IN 'b'", 6, "expected ( and a list, as in `kind IN ('a', 'b')`"),
        ("a IN ()", 7, "expected a text in single quotes or a number"),
        ("a IN ('b', c)", 12, "expected a text in single quotes or a number"),
        ("a IN (-'b')", 8, "expected a number after -"),
        ("a IN ('b' 'c')", 11, "expected , or )"),
        ("a LIKE b", 8, "expected a pattern in single quotes, as in `kind LIKE 'order-%'`"),
        ("a LIKE 'b' ESCAPE 'cd'", 19, one_escape),
        ("a LIKE 'b' ESCAPE ''", 19, one_escape),
        ("a LIKE 'b' ESCAPE 5", 19, one_escape),
        ("a LIKE '!b' ESCAPE '!'", 8, escaped),
        ("a LIKE 'b!' ESCAPE '!'", 8, escaped),
        ("a + 'b' = 1", 5, calculate),
        ("TRUE * 2 = 1", 1, calculate),
        ("a = -'b'", 6, calculate),
        ("a = 5x", 5, number),
        ("a = 1.2.3", 5, number),
        ("a = 5e", 5, number),
        ("a = 5e+", 5, number),
        ("a = .", 5, number),
        ("a = 1e999", 5, number),
        ("a = 0x1F", 5, number),
        ("a != 1", 3, symbol),
        ("größe = 1", 3, symbol),
        ("a = 1; b", 6, symbol),
        ("ü = 'it''s", 1, symbol),
        ("a = 'it''s", 5, "expected a single quote where the text ends; inside it a quote is written ''"),
        ("\"a = 5", 1, "expected a double quote where the name ends; a text goes into single quotes"),
    ];
    for (text, column, said) in rows {
        assert_eq!(refusal(text), format!("column {column}: {said}"), "of `{text}`");
    }
}

#[test]
fn a_selector_is_as_long_as_the_bound_and_no_longer() {
    let of_length = |bytes: usize| format!("kind = '{}'", "x".repeat(bytes - "kind = ''".len()));
    assert_eq!(Selector::parse(&of_length(TEXT_MAX)).unwrap().text().len(), TEXT_MAX);
    assert_eq!(Selector::parse(&of_length(TEXT_MAX + 1)), Err(SelectorError::TooLong { bytes: TEXT_MAX + 1 }));
    assert_eq!(refusal(&of_length(TEXT_MAX + 1)), "a selector has at most 1024 bytes, but this one has 1025");
}

#[test]
fn a_selector_is_as_deep_as_the_bound_and_no_deeper() {
    // How a level opens, what stands innermost, how a level closes.
    let nests = [
        ("(", "a = 1", ")"),
        ("(", "a", ")"),
        ("NOT ", "a", ""),
        ("NOT (", "a", ")"),
        ("-", "a", " < 0"),
        ("-(", "a", ") < 0"),
    ];
    for (open, inside, close) in nests {
        let levels_each = if open.len() > 1 && open.ends_with('(') { 2 } else { 1 };
        let text = |times: usize| {
            let ends = if close.ends_with('0') {
                close.replace(" < 0", "").repeat(times) + " < 0"
            } else {
                close.repeat(times)
            };
            format!("{}{inside}{ends}", open.repeat(times))
        };
        let most = NESTING_MAX / levels_each;
        Selector::parse(&text(most)).unwrap_or_else(|error| panic!("{most} times `{open}`: {error}"));
        let column = open.len() * most + 1;
        assert_eq!(Selector::parse(&text(most + 1)), Err(SelectorError::TooDeep { column }), "`{open}`");
    }
    assert_eq!(
        refusal(&"(".repeat(TEXT_MAX)),
        "column 65: expected at most 64 levels, where a parenthesis, a NOT and a sign - count as one each"
    );
}

#[test]
fn the_largest_selectors_take_little_stack() {
    let deepest = format!("{}a{}", "NOT (".repeat(NESTING_MAX / 2), ")".repeat(NESTING_MAX / 2));
    let chains = [
        deepest,
        format!("0{} > 0", "+1".repeat(500)),
        format!("0{} > 0", "*1".repeat(500)),
        format!("a{}", " OR a".repeat(200)),
        format!("a{}", " AND a".repeat(170)),
        format!("a IN (0{})", ",0".repeat(500)),
        "(".repeat(TEXT_MAX),
        "a=(".repeat(TEXT_MAX / 3),
        "a+(".repeat(TEXT_MAX / 3),
        "a BETWEEN 1 AND (".repeat(NESTING_MAX - 4),
        "a AND NOT (".repeat(TEXT_MAX / 11),
        "-".repeat(TEXT_MAX),
        "NOT ".repeat(TEXT_MAX / 4),
    ];
    // Half of what a thread of a runtime has. An optimised build needs 160 KiB, any other some 700.
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(move || {
        let message = Message(vec![("a", Value::Bool(true))]);
        chains.iter().filter_map(|text| Selector::parse(text).ok()).filter(|chain| chain.selects(&message)).count()
    });
    assert_eq!(thread.unwrap().join().unwrap(), 4, "of NOT an even number, +, OR and AND");
}

#[test]
fn like_takes_no_exponential_time() {
    // With backtracking into every `%` this would not end.
    let selector = format!("a LIKE '{}b'", "%a".repeat(400));
    let message = Message(vec![("a", Value::Text("a".repeat(10_000).into()))]);
    assert_eq!(verdict(&selector, &message), Some(false));
}

#[test]
fn selectors_are_equal_by_their_text() {
    let parse = |text| Selector::parse(text).unwrap();
    assert_eq!(parse("a = 1"), parse("a = 1"));
    assert_ne!(parse("a = 1"), parse("a  = 1"));
}
