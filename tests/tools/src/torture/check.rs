//! The checker: pure functions over the history, one file per invariant of the design or other promise. Each is tested
//! with a history that it must reject.

mod confirmed;
mod fencing;
mod healthy;
mod linearizable;
mod numbers;
mod once;
mod one_engine;
mod order;
mod placement;
mod registers;
mod replicas;
mod set_aside;
mod settled;
mod times;
mod transactions;
mod twice;
mod words;

use serde::{Deserialize, Serialize};

use super::history::History;

pub use confirmed::lost;
pub use one_engine::overlaps;
pub use placement::activations;
pub use twice::{at_competitors, duplicates};

/// Violations that a report names; the rest are counted.
const NAMED: usize = 6;

/// Findings of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The invariant held.
    Held,
    /// There was nothing to check: the servers wrote no trace.
    NoTrace,
    /// It was violated, in these words.
    Violated(Vec<String>),
}

impl Outcome {
    fn of(violations: Vec<String>) -> Self {
        if violations.is_empty() { Self::Held } else { Self::Violated(violations) }
    }
}

/// A check: a pure function.
type Check = fn(&History) -> Outcome;

/// A check and its finding.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verdict {
    /// The invariant.
    pub name: String,
    /// The finding.
    pub outcome: Outcome,
}

impl Verdict {
    /// True if it fails the run.
    #[must_use]
    pub fn fails(&self, tolerate_no_trace: bool) -> bool {
        match self.outcome {
            Outcome::Held => false,
            Outcome::NoTrace => !tolerate_no_trace,
            Outcome::Violated(_) => true,
        }
    }

    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        match &self.outcome {
            Outcome::Held => format!("held      {}", self.name),
            Outcome::NoTrace => format!("no trace  {}", self.name),
            Outcome::Violated(how) => {
                let mut text = format!("VIOLATED  {} ({} times)", self.name, how.len());
                for one in how.iter().take(NAMED) {
                    text.push_str("\n            ");
                    text.push_str(one);
                }
                text
            }
        }
    }
}

/// Checks everything.
#[must_use]
pub fn check(history: &History) -> Vec<Verdict> {
    let checks: [(&str, Check); 16] = [
        ("1 no write of an older epoch is accepted after a newer activation", fencing::check),
        ("2 at no moment do two engines serve", one_engine::check),
        ("3 every confirmed message was received", confirmed::check),
        ("4 no consumer that lived received a message twice", twice::check),
        ("5 messages of a producer come in order", order::check),
        ("6 the engine is where the policy says, and does not flap", placement::check),
        ("7 replicas hold the same bytes", replicas::check),
        ("8 the cluster is healthy soon after the faults", healthy::check),
        ("9 status says what is wrong", words::check),
        ("10 each message is stored once", once::check),
        ("11 nothing is delivered after its acknowledgement was committed", settled::check),
        ("12 a transaction is done as a whole and once, or not at all", transactions::check),
        ("13 settings and policy are linearizable", registers::check),
        ("14 a producer that resumes is told the right number", numbers::check),
        ("15 only messages that failed often enough are set aside", set_aside::check),
        ("16 delays and deadlines are kept", times::check),
    ];
    checks.map(|(name, check)| Verdict { name: name.to_owned(), outcome: check(history) }).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_trace_fails_unless_it_is_tolerated() {
        let verdict = |outcome| Verdict { name: String::new(), outcome };
        assert!(verdict(Outcome::NoTrace).fails(false));
        assert!(!verdict(Outcome::NoTrace).fails(true));
        assert!(verdict(Outcome::Violated(vec![String::new()])).fails(true));
    }

    #[test]
    fn an_empty_history_passes_for_nothing() {
        let failing = check(&History::default()).iter().filter(|verdict| verdict.fails(false)).count();
        // Without clients, traces or an ending, only the checks of single events apply.
        assert!(failing >= 6, "{:#?}", check(&History::default()));
    }
}
