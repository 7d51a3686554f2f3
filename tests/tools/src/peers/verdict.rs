//! The verdict on a goal.

use serde::Serialize;

use crate::bound::{figure, outcome};

/// How a goal came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// The figure.
    pub figure: String,
    /// The goal.
    pub goal: String,
    /// What is held against its bound: the figure or a ratio; `None` if one of the parts was not measured.
    pub value: Option<f64>,
    /// Whether it keeps to it.
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
