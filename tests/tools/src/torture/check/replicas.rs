//! Invariant 7: replicas that applied the same index hold the same bytes: `baton verify` says so at the end.

use super::Outcome;
use crate::torture::history::History;

pub(super) fn check(history: &History) -> Outcome {
    let ending = &history.ending;
    match ending.verify_code {
        Some(0) => Outcome::Held,
        code => Outcome::Violated(vec![format!("baton verify ended with {code:?}: {}", ending.verify_said.trim())]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exit_code_0_is_good() {
        let mut history = History::default();
        assert!(matches!(check(&history), Outcome::Violated(_)), "it was never asked");
        history.ending.verify_code = Some(1);
        history.ending.verify_said = "the replicas differ".to_owned();
        assert!(matches!(check(&history), Outcome::Violated(how) if how[0].contains("differ")));
        history.ending.verify_code = Some(0);
        assert_eq!(check(&history), Outcome::Held);
    }
}
