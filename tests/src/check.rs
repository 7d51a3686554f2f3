//! The checker of received lines against sent ones.

use std::collections::HashMap;
use std::fmt;

/// Differences between the received lines and the sent ones. Positions count from 0 in the sent lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Sent and never received.
    pub lost: Vec<String>,
    /// Received more than once, named as often as it came too much.
    pub duplicates: Vec<String>,
    /// Received for the first time after something that was sent later.
    pub reordered: Vec<String>,
    /// Received and never sent.
    pub foreign: Vec<String>,
}

impl Difference {
    /// True if there is no difference.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("lost", &self.lost),
            ("duplicates", &self.duplicates),
            ("reordered", &self.reordered),
            ("foreign", &self.foreign),
        ];
        for (kind, messages) in kinds.iter().filter(|(_, messages)| !messages.is_empty()) {
            let first: Vec<&str> = messages.iter().take(8).map(String::as_str).collect();
            let more = if messages.len() > first.len() { ", ..." } else { "" };
            write!(f, "{} {kind} ({}{more}) ", messages.len(), first.join(", "))?;
        }
        Ok(())
    }
}

/// Compares the lines that one producer sent with the lines that left its queue.
///
/// # Panics
/// If two of `sent` are equal: a copy of one could then not be told from the other.
#[must_use]
pub fn compare<S: AsRef<str>, R: AsRef<str>>(sent: &[S], received: &[R]) -> Difference {
    let mut position_of = HashMap::with_capacity(sent.len());
    for (position, message) in sent.iter().enumerate() {
        let old = position_of.insert(message.as_ref(), position);
        assert!(old.is_none(), "two messages are alike: {:?}", message.as_ref());
    }
    let mut difference = Difference::default();
    let mut seen = vec![false; sent.len()];
    let mut newest = None;
    for message in received.iter().map(AsRef::as_ref) {
        match position_of.get(message) {
            None => difference.foreign.push(message.to_owned()),
            Some(&position) if seen[position] => difference.duplicates.push(message.to_owned()),
            Some(&position) => {
                seen[position] = true;
                if newest.is_some_and(|newest| position < newest) {
                    difference.reordered.push(message.to_owned());
                }
                newest = newest.max(Some(position));
            }
        }
    }
    let lost = sent.iter().zip(&seen).filter(|(_, seen)| !**seen);
    difference.lost = lost.map(|(message, _)| message.as_ref().to_owned()).collect();
    difference
}

/// Fails unless all that was sent was received, once and in order.
///
/// # Panics
/// If they differ, with the differences.
#[track_caller]
pub fn assert_same<S: AsRef<str>, R: AsRef<str>>(sent: &[S], received: &[R]) {
    let difference = compare(sent, received);
    assert!(difference.is_none(), "of {} sent, {} received: {difference}", sent.len(), received.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Always sent: a b c d e. A row has the received lines, and the words that the checker must report.
    #[test]
    fn every_loss_duplicate_reorder_and_foreign_message_is_named() {
        let table: [(&str, &str, &str, &str, &str); 12] = [
            // received, lost, duplicates, reordered, foreign
            ("abcde", "", "", "", ""),
            ("", "abcde", "", "", ""),
            ("abde", "c", "", "", ""),
            ("bcde", "a", "", "", ""),
            ("abcd", "e", "", "", ""),
            ("abccde", "", "c", "", ""),
            ("abcdea", "", "a", "", ""),
            ("aaabcde", "", "aa", "", ""),
            ("abdce", "", "", "c", ""),
            ("eabcd", "", "", "abcd", ""),
            ("abxcde", "", "", "", "x"),
            ("acbbx", "de", "b", "b", "x"),
        ];
        let letters = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        for (received, lost, duplicates, reordered, foreign) in table {
            let expected = Difference {
                lost: letters(lost),
                duplicates: letters(duplicates),
                reordered: letters(reordered),
                foreign: letters(foreign),
            };
            assert_eq!(compare(&letters("abcde"), &letters(received)), expected, "received {received:?}");
        }
    }

    #[test]
    #[should_panic(expected = "1 lost (b)")]
    fn a_difference_fails_the_scenario() {
        assert_same(&["a", "b", "c"], &["a", "c"]);
    }

    #[test]
    #[should_panic(expected = "two messages are alike")]
    fn messages_that_cannot_be_told_apart_are_refused() {
        let _ = compare(&["a", "a"], &["a"]);
    }
}
