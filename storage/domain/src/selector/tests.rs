//! What selectors make of messages, as tables. A row is a selector and what it makes of the message: true, false or
//! unknown, told apart by asking for the opposite, too.

use super::{Fields, Selector, Value};

mod random;
mod refusals;

/// Fields by name; the first of a name counts.
#[derive(Debug, Clone, Default)]
pub(super) struct Message(pub(super) Vec<(&'static str, Value<'static>)>);

impl Fields for Message {
    fn field(&self, name: &str) -> Option<Value<'_>> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }
}

const TRUE: Option<bool> = Some(true);
const FALSE: Option<bool> = Some(false);
const UNKNOWN: Option<bool> = None;

fn order() -> Message {
    Message(vec![
        ("kind", Value::Text("order".into())),
        ("amount", Value::Text("150.5".into())),
        ("code", Value::Text("007".into())),
        ("day", Value::Text("2026-11-24".into())),
        ("note", Value::Text("it's 100% fine_ünd ok".into())),
        ("empty", Value::Text("".into())),
        ("urgent", Value::Text("True".into())),
        ("priority", Value::Number(4.0)),
        ("redelivered", Value::Bool(false)),
        ("broken", Value::Number(f64::NAN)),
        ("baton-exception-from", Value::Text("a queue".into())),
        ("order.line_2", Value::Number(2.0)),
        ("say \"hi\"", Value::Text("hi".into())),
        ("NULL", Value::Text("a keyword".into())),
    ])
}

/// True, false or unknown.
pub(super) fn verdict(selector: &str, message: &Message) -> Option<bool> {
    let parse = |text: &str| Selector::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let (itself, opposite) = (parse(selector).selects(message), parse(&format!("NOT ({selector})")).selects(message));
    assert!(!(itself && opposite), "both `{selector}` and its opposite");
    if itself || opposite { Some(itself) } else { None }
}

fn check(rows: &[(&str, Option<bool>)]) {
    for (selector, expected) in rows {
        assert_eq!(verdict(selector, &order()), *expected, "{selector}");
    }
}

#[test]
fn texts_compare_by_code_points() {
    check(&[
        ("kind = 'order'", TRUE),
        ("kind = 'Order'", FALSE),
        ("kind <> 'order'", FALSE),
        ("'order' = kind", TRUE),
        ("empty = ''", TRUE),
        ("empty < 'a'", TRUE),
        ("day >= '2026-11-01'", TRUE),
        ("day < '2026-11-24'", FALSE),
        ("day <= '2026-11-24'", TRUE),
        ("day > '2026-11-24'", FALSE),
        ("note = 'it''s 100% fine_ünd ok'", TRUE),
        ("'a' = 'a'", TRUE),
    ]);
}

#[test]
fn a_text_beside_a_number_is_a_number_or_unknown() {
    check(&[
        ("amount > 100", TRUE),
        ("amount = 1505e-1", TRUE),
        ("amount = 150.50", TRUE),
        ("amount < 1.5E+2", FALSE),
        ("code = 7", TRUE),
        ("code = '7'", FALSE),
        ("kind = 1", UNKNOWN),
        ("kind <> 1", UNKNOWN),
        ("empty = 0", UNKNOWN),
        ("day > 2000", UNKNOWN),
        ("priority = '4'", TRUE),
        ("priority < code", TRUE),
        // Two texts are texts, although both look like numbers.
        ("code < amount", TRUE),
        ("amount < code", FALSE),
        ("code + 0 < amount + 0", TRUE),
        ("'10' < '9'", TRUE),
        ("10 < '9'", FALSE),
        ("1 = 'NaN' OR 1 < 'inf' OR 1 > '-infinity'", UNKNOWN),
        ("1 = ' 1' OR 1 = '1 ' OR 1 = '1_0' OR 1 < '1e999'", UNKNOWN),
        ("broken = broken", UNKNOWN),
        ("-0 = 0", TRUE),
    ]);
}

#[test]
fn booleans_stand_alone_and_texts_read_as_them() {
    check(&[
        ("TRUE", TRUE),
        ("false", FALSE),
        ("urgent", TRUE),
        ("NOT urgent", FALSE),
        ("urgent = TRUE AND redelivered = FALSE", TRUE),
        ("redelivered", FALSE),
        ("redelivered <> TRUE", TRUE),
        ("redelivered < TRUE", TRUE),
        ("redelivered = 'false'", TRUE),
        ("kind", UNKNOWN),
        ("kind = TRUE", UNKNOWN),
        ("priority", UNKNOWN),
        ("priority = TRUE", UNKNOWN),
        ("missing", UNKNOWN),
    ]);
}

#[test]
fn and_or_and_not_have_three_values() {
    // Source: the truth tables of SQL-92, section 8.12.
    let words = [("TRUE", TRUE), ("FALSE", FALSE), ("missing", UNKNOWN)];
    let and = [[TRUE, FALSE, UNKNOWN], [FALSE, FALSE, FALSE], [UNKNOWN, FALSE, UNKNOWN]];
    let or = [[TRUE, TRUE, TRUE], [TRUE, FALSE, UNKNOWN], [TRUE, UNKNOWN, UNKNOWN]];
    for (row, (left, truth)) in words.into_iter().enumerate() {
        assert_eq!(verdict(&format!("NOT {left}"), &order()), truth.map(|truth| !truth), "NOT {left}");
        for (column, (right, _)) in words.into_iter().enumerate() {
            check(&[
                (&format!("{left} AND {right}"), and[row][column]),
                (&format!("{left} OR {right}"), or[row][column]),
            ]);
        }
    }
}

#[test]
fn not_binds_closer_than_and_which_binds_closer_than_or() {
    check(&[
        ("TRUE OR TRUE AND FALSE", TRUE),
        ("(TRUE OR TRUE) AND FALSE", FALSE),
        ("NOT FALSE AND FALSE", FALSE),
        ("NOT (FALSE AND FALSE)", TRUE),
        ("NOT FALSE OR TRUE", TRUE),
        ("NOT kind = 'order'", FALSE),
        ("NOT NOT kind = 'order'", TRUE),
        ("FALSE AND FALSE OR TRUE", TRUE),
        ("((kind = ('order')))", TRUE),
    ]);
}

#[test]
fn arithmetic_has_the_usual_precedence_from_left_to_right() {
    check(&[
        ("2 + 3 * 4 = 14", TRUE),
        ("(2 + 3) * 4 = 20", TRUE),
        ("10 - 4 - 3 = 3", TRUE),
        ("16 / 4 / 2 = 2", TRUE),
        ("2 - -3 = 5", TRUE),
        ("2--3=5", TRUE),
        ("-priority + 1 = -3", TRUE),
        ("-(priority - 1) * 2 = -6", TRUE),
        ("- - priority = 4", TRUE),
        ("amount * 2 = 301", TRUE),
        ("1 / 4 = .25 AND 1. = 1", TRUE),
        ("priority / 0 = 1", UNKNOWN),
        ("1 / 0 > 5", UNKNOWN),
        ("1e308 * 10 > 5", UNKNOWN),
        ("1e308 * 10 - 1e308 * 10 = 0", UNKNOWN),
        ("kind + 1 > 0", UNKNOWN),
        ("redelivered + 1 > 0", UNKNOWN),
        ("-kind < 0", UNKNOWN),
        ("missing + 1 > 0", UNKNOWN),
    ]);
}

#[test]
fn between_holds_both_its_bounds() {
    check(&[
        ("priority BETWEEN 4 AND 5", TRUE),
        ("priority BETWEEN 3 AND 4", TRUE),
        ("priority between 5 and 9", FALSE),
        ("priority NOT BETWEEN 5 AND 9", TRUE),
        ("priority BETWEEN 5 AND 3", FALSE),
        ("priority BETWEEN 2 + 1 AND 2 * 3 AND TRUE", TRUE),
        ("amount BETWEEN 100 AND 200", TRUE),
        ("day BETWEEN '2026-01-01' AND '2026-12-31'", TRUE),
        ("kind BETWEEN 1 AND 2", UNKNOWN),
        ("missing NOT BETWEEN 1 AND 2", UNKNOWN),
        ("priority BETWEEN missing AND 3", FALSE),
        ("priority BETWEEN missing AND 5", UNKNOWN),
        ("priority BETWEEN 5 AND missing", FALSE),
    ]);
}

#[test]
fn in_is_a_chain_of_equalities() {
    check(&[
        ("kind IN ('order', 'offer')", TRUE),
        ("kind IN ('offer')", FALSE),
        ("kind NOT IN ('offer')", TRUE),
        ("kind NOT IN ('order')", FALSE),
        ("priority IN ('3', '4')", TRUE),
        ("priority IN (-4, 4)", TRUE),
        ("priority IN (-4, 3)", FALSE),
        ("code IN (7)", TRUE),
        ("kind IN (1, 'order')", TRUE),
        ("kind IN (1, 'offer')", UNKNOWN),
        ("missing IN ('order')", UNKNOWN),
        ("missing NOT IN ('order')", UNKNOWN),
    ]);
}

#[test]
fn like_matches_the_whole_text() {
    check(&[
        ("kind LIKE 'order'", TRUE),
        ("kind LIKE 'ord'", FALSE),
        ("kind LIKE 'ord%'", TRUE),
        ("kind LIKE '%der'", TRUE),
        ("kind LIKE '%r%r%'", TRUE),
        ("kind LIKE '%r%r%r%'", FALSE),
        ("kind LIKE '_rde_'", TRUE),
        ("kind LIKE '_____'", TRUE),
        ("kind LIKE '______'", FALSE),
        ("kind LIKE '______%'", FALSE),
        ("kind LIKE 'ORDER'", FALSE),
        ("kind NOT LIKE 'of%'", TRUE),
        ("empty LIKE ''", TRUE),
        ("empty LIKE '%'", TRUE),
        ("empty LIKE '_'", FALSE),
        ("kind LIKE ''", FALSE),
        ("note LIKE 'it''s 100!% fine!__nd%' ESCAPE '!'", TRUE),
        ("kind LIKE 'orde!_' ESCAPE '!'", FALSE),
        // The escape character comes first: this is a text that is `%`.
        ("kind LIKE '%%' ESCAPE '%'", FALSE),
        ("missing LIKE '%'", UNKNOWN),
        ("missing NOT LIKE '%'", UNKNOWN),
        ("priority LIKE '4'", UNKNOWN),
    ]);
}

#[test]
fn a_missing_field_is_null_and_an_empty_one_is_not() {
    check(&[
        ("missing IS NULL", TRUE),
        ("missing IS NOT NULL", FALSE),
        ("kind IS NULL", FALSE),
        ("kind is not null", TRUE),
        ("empty IS NULL", FALSE),
        ("broken IS NULL", FALSE),
        ("missing = missing", UNKNOWN),
        ("missing <> 'order'", UNKNOWN),
        ("missing IS NULL OR missing > 5", TRUE),
    ]);
}

#[test]
fn names_are_case_sensitive_and_double_quotes_take_any_name() {
    check(&[
        ("\"baton-exception-from\" = 'a queue'", TRUE),
        ("\"kind\" = 'order'", TRUE),
        ("order.line_2 = 2", TRUE),
        ("\"say \"\"hi\"\"\" = 'hi'", TRUE),
        ("\"NULL\" = 'a keyword'", TRUE),
        ("Kind = 'order'", UNKNOWN),
        ("KIND IS NULL", TRUE),
        // Without the quotes it is a calculation with fields that are not there.
        ("baton-exception-sender = 'a queue'", UNKNOWN),
    ]);
}
