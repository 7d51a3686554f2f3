//! Random selectors and messages. A failure prints the input, and proptest keeps its seed.

use proptest::prelude::*;

use super::super::{SelectorError, TEXT_MAX, Value, parse};
use super::{Message, Selector, verdict};

/// Values that meet all the ways of comparing.
fn a_value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        prop::sample::select(vec!["", "a", "ab", "2", "-1.5", "true", "FALSE"])
            .prop_map(|text| Value::Text(text.into())),
        prop::sample::select(vec![-1.5, 0.0, 2.0, f64::NAN, f64::INFINITY]).prop_map(Value::Number),
        any::<bool>().prop_map(Value::Bool),
    ]
}

/// Any of the fields `a`, `b` and `c`, each of which may be missing.
fn a_message() -> impl Strategy<Value = Message> {
    let field = |name: &'static str| prop::option::of(a_value().prop_map(move |value| (name, value)));
    (field("a"), field("b"), field("c")).prop_map(|(a, b, c)| Message([a, b, c].into_iter().flatten().collect()))
}

fn an_operand() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["a", "b", "c", "2", "-1.5", "0"]).prop_map(String::from);
    leaf.prop_recursive(3, 8, 2, |inner| {
        (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/"]), inner)
            .prop_map(|(left, operator, right)| format!("({left} {operator} {right})"))
    })
}

fn a_condition() -> impl Strategy<Value = String> {
    let field = || prop::sample::select(vec!["a", "b", "c"]);
    let not = || prop::sample::select(vec!["", " NOT"]);
    let comparison = prop::sample::select(vec!["=", "<>", "<", "<=", ">", ">="]);
    let leaf = prop_oneof![
        (an_operand(), comparison, prop_oneof![an_operand(), Just("'ab'".to_owned()), Just("TRUE".to_owned())])
            .prop_map(|(left, comparison, right)| format!("{left} {comparison} {right}")),
        (an_operand(), not(), an_operand(), an_operand())
            .prop_map(|(value, not, low, high)| format!("{value}{not} BETWEEN {low} AND {high}")),
        (field(), not()).prop_map(|(field, not)| format!("{field}{not} IN ('a', 2, -1.5)")),
        (field(), not()).prop_map(|(field, not)| format!("{field}{not} LIKE 'a%' ESCAPE '!'")),
        (field(), not()).prop_map(|(field, not)| format!("{field} IS{not} NULL")),
        prop::sample::select(vec!["a", "b", "TRUE", "FALSE"]).prop_map(String::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone(), inner.clone()).prop_map(|(x, y, z)| format!("({x} AND {y} AND {z})")),
            (inner.clone(), inner.clone()).prop_map(|(x, y)| format!("({x} OR {y})")),
            inner.prop_map(|x| format!("NOT ({x})")),
        ]
    })
}

/// Pieces of selectors in any order, most of them nonsense.
fn nonsense() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", "\"b-ü\"", "'x'", "''", "'", "\"", "5", "1e", ".", "-", "+", "*", "/", "(", "(", ")", ",", "=", "<>", "<",
        ">=", "!", "NOT", "AND", "OR", "BETWEEN", "IN", "LIKE", "ESCAPE", "IS", "NULL", "TRUE", "ü", "\0",
    ]);
    (prop::collection::vec(piece, 0..40), prop::sample::select(vec!["", " "]))
        .prop_map(|(pieces, gap)| pieces.join(gap))
}

/// What holds of any text: it is taken and reads again as the same, or is refused at a place within it.
fn read(text: &str) -> Result<(), TestCaseError> {
    match Selector::parse(text) {
        Ok(selector) => {
            let again = Selector::parse(selector.text()).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&again, &selector);
            prop_assert_eq!(again.condition, selector.condition);
        }
        Err(SelectorError::TooLong { bytes }) => prop_assert!(bytes == text.len() && bytes > TEXT_MAX),
        Err(SelectorError::TooDeep { column } | SelectorError::Expected { column, .. }) => {
            prop_assert!((1..=text.chars().count() + 1).contains(&column), "column {}", column);
        }
    }
    Ok(())
}

/// The obvious matcher, by recursion and in exponential time. The pattern escapes well.
fn naive_like(pattern: &[char], escape: Option<char>, text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [first, literal, rest @ ..] if Some(*first) == escape => {
            text.first() == Some(literal) && naive_like(rest, escape, &text[1..])
        }
        ['%', rest @ ..] => (0..=text.len()).any(|taken| naive_like(rest, escape, &text[taken..])),
        ['_', rest @ ..] => !text.is_empty() && naive_like(rest, escape, &text[1..]),
        [literal, rest @ ..] => text.first() == Some(literal) && naive_like(rest, escape, &text[1..]),
    }
}

/// Whether each escape character stands before one that needs it.
fn escapes_well(pattern: &[char], escape: Option<char>) -> bool {
    match pattern {
        [] => true,
        [first, rest @ ..] if Some(*first) == escape => match rest {
            [next, rest @ ..] => (matches!(next, '%' | '_') || Some(*next) == escape) && escapes_well(rest, escape),
            [] => false,
        },
        [_, rest @ ..] => escapes_well(rest, escape),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_parser_panic(any_text in any::<String>(), nonsense in nonsense()) {
        read(&any_text)?;
        read(&nonsense)?;
    }

    #[test]
    fn a_selector_cut_anywhere_does_not_make_the_parser_panic(
        text in a_condition(), at in any::<prop::sample::Index>(),
    ) {
        let cut = at.index(text.len() + 1);
        read(&text[..cut])?;
        read(&text[cut..])?;
    }

    #[test]
    fn spaces_and_the_case_of_keywords_change_nothing(text in a_condition()) {
        prop_assume!(text.len() <= TEXT_MAX / 3);
        read(&text)?;
        // Names and texts are lower-case here, keywords upper-case, and no text has a space in it.
        let spaced = text.replace(' ', " \t\n").replace('(', "( ").replace(')', " )");
        let condition = parse::condition(&text).unwrap();
        prop_assert_eq!(&parse::condition(&spaced).unwrap(), &condition);
        prop_assert_eq!(&parse::condition(&text.to_lowercase()).unwrap(), &condition);
    }

    #[test]
    fn de_morgan_holds_in_three_values(x in a_condition(), y in a_condition(), message in a_message()) {
        prop_assume!(x.len() + y.len() < TEXT_MAX / 2);
        let pairs = [
            (format!("NOT (({x}) AND ({y}))"), format!("NOT ({x}) OR NOT ({y})")),
            (format!("NOT (({x}) OR ({y}))"), format!("NOT ({x}) AND NOT ({y})")),
        ];
        for (left, right) in pairs {
            prop_assert_eq!(verdict(&left, &message), verdict(&right, &message), "{} and {}", left, right);
        }
    }

    #[test]
    fn between_and_in_are_what_they_stand_for(
        value in an_operand(), low in an_operand(), high in an_operand(), message in a_message(),
    ) {
        prop_assume!(value.len() + low.len() + high.len() < TEXT_MAX / 4);
        let short = verdict(&format!("{value} BETWEEN {low} AND {high}"), &message);
        prop_assert_eq!(short, verdict(&format!("{value} >= {low} AND {value} <= {high}"), &message));
        let short = verdict("a NOT IN ('ab', 2, -1.5)", &message);
        prop_assert_eq!(short, verdict("a <> 'ab' AND a <> 2 AND a <> -1.5", &message));
    }

    #[test]
    fn like_does_as_the_obvious_matcher(
        pattern in "[ab!%_ü]{0,7}", text in "[ab!%_ü]{0,9}",
        escape in prop::option::of(prop::sample::select(vec!['!', '%', '_', 'a'])),
    ) {
        let ending = escape.map_or(String::new(), |escape| format!(" ESCAPE '{escape}'"));
        let selector = format!("a LIKE '{pattern}'{ending}");
        let (pattern, characters): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
        if escapes_well(&pattern, escape) {
            let message = Message(vec![("a", Value::Text(text.into()))]);
            prop_assert_eq!(verdict(&selector, &message), Some(naive_like(&pattern, escape, &characters)));
        } else {
            prop_assert!(Selector::parse(&selector).is_err());
        }
    }
}
