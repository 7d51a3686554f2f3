//! The verdict on a goal.

use serde::Serialize;

use crate::bound::{figure, outcome};

/// The verdict on a goal.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The figure.
    pub figure: String,
    /// The goal.
    pub goal: String,
    /// The figure or ratio that is compared with its bound; `None` if one of the parts was not measured.
    pub value: Option<f64>,
    /// True if it is within it.
    pub reached: Option<bool>,
}

impl Verdict {
    /// For a cell of the table.
    #[must_use]
    pub(super) fn words(&self) -> String {
        let words = match (self.reached, self.value) {
            (Some(reached), Some(value)) => format!("{} ({})", outcome(reached), figure(value)),
            _ => "not measured".to_owned(),
        };
        format!("{}: {words}", self.goal)
    }
}
