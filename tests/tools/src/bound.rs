//! Bounds that figures are to keep to, and figures for people.

/// The bound that a figure, or a ratio, keeps to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    /// True if a value is within it.
    pub(crate) fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    /// Its sign and its value.
    pub(crate) fn parts(self) -> (&'static str, f64) {
        match self {
            Self::AtLeast(least) => ("≥", least),
            Self::AtMost(most) => ("≤", most),
        }
    }
}

/// A verdict on a bound, for a cell of a table.
#[must_use]
pub(crate) fn outcome(reached: bool) -> &'static str {
    if reached { "reached" } else { "**missed**" }
}

/// A figure for people: the larger, the fewer decimals.
#[must_use]
pub(crate) fn figure(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = if value < 0.0 { "-".to_owned() } else { String::new() };
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        let table = [(0.0, "0.00"), (9.876, "9.88"), (45.67, "45.7"), (999.6, "1,000"), (1_234_567.0, "1,234,567")];
        for (value, text) in table {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn a_bound_holds_up_to_its_value() {
        assert_eq!([0.79, 0.8, 1.2].map(|value| Bound::AtLeast(0.8).holds(value)), [false, true, true]);
        assert_eq!([0.79, 0.8, 1.2].map(|value| Bound::AtMost(0.8).holds(value)), [true, true, false]);
    }
}
