//! Topics and the patterns that subscriptions choose them by.
//!
//! A topic is a path of levels, `sport/tennis/results`. In a pattern `*` stands for one level and `#` for any number of
//! them, none included, wherever it stands: as in AMQP 0-9-1, with the slash that queue names have too. MQTT's `+` would
//! be an arithmetic sign in shells' eyes and its `#` only ever the last level; the double slash of older products says
//! nothing at the end of a line.

use std::collections::{BTreeMap, HashSet};

use super::QueueId;

/// The longest topic or pattern, in bytes.
const TOPIC_MAX: usize = 255;
/// The most levels: bounds what matching costs.
const LEVELS_MAX: usize = 32;
const ONE: &str = "*";
const MANY: &str = "#";

/// A topic or a pattern that breaks the rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} {text:?} is not allowed: use 1 to 32 levels with slashes between them, 255 bytes in all, of visible characters{extra}"
)]
pub struct TopicError {
    what: &'static str,
    text: String,
    extra: &'static str,
}

/// Checks a topic: what a message is published under.
///
/// # Errors
/// [`TopicError`] says what is allowed.
pub fn check_topic(topic: &str) -> Result<(), TopicError> {
    let extra = "; * and # stand only in the patterns of subscriptions";
    check("the topic", topic, extra, |level| !level.contains(['*', '#']))
}

/// Checks a pattern: what a subscription asks for.
///
/// # Errors
/// [`TopicError`] says what is allowed.
pub fn check_pattern(pattern: &str) -> Result<(), TopicError> {
    let extra = "; * for one level and # for any number of them stand alone in their level";
    check("the pattern", pattern, extra, |level| level == ONE || level == MANY || !level.contains(['*', '#']))
}

fn check(what: &'static str, text: &str, extra: &'static str, level: impl Fn(&str) -> bool) -> Result<(), TopicError> {
    let visible = |text: &str| !text.is_empty() && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    let fits = text.len() <= TOPIC_MAX && text.split('/').count() <= LEVELS_MAX;
    if fits && text.split('/').all(|part| visible(part) && level(part)) {
        return Ok(());
    }
    Err(TopicError { what, text: text.to_owned(), extra })
}

/// Which subscriptions want a topic. Finds them without looking at the others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicTree {
    children: BTreeMap<String, TopicTree>,
    /// Subscriptions whose pattern ends here.
    here: Vec<QueueId>,
}

impl TopicTree {
    /// Adds a subscription.
    pub fn insert(&mut self, pattern: &str, subscription: QueueId) {
        let mut node = self;
        for level in pattern.split('/') {
            node = node.children.entry(level.to_owned()).or_default();
        }
        if !node.here.contains(&subscription) {
            node.here.push(subscription);
        }
    }

    /// Takes a subscription out.
    pub fn remove(&mut self, pattern: &str, subscription: QueueId) {
        match pattern.split_once('/') {
            Some((level, rest)) => self.remove_below(level, |node| node.remove(rest, subscription)),
            None => self.remove_below(pattern, |node| node.here.retain(|other| *other != subscription)),
        }
    }

    fn remove_below(&mut self, level: &str, remove: impl FnOnce(&mut Self)) {
        if let Some(node) = self.children.get_mut(level) {
            remove(node);
            if *node == Self::default() {
                self.children.remove(level);
            }
        }
    }

    /// Whether there is no subscription.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The subscriptions that want this topic, in order, each once.
    #[must_use]
    pub fn matches(&self, topic: &str) -> Vec<QueueId> {
        let mut places = Places::default();
        places.enter(self, false);
        for level in topic.split('/') {
            let mut next = Places::default();
            for (node, is_many) in places.found {
                if is_many {
                    next.enter(node, true);
                }
                for child in [node.children.get(level), node.children.get(ONE)].into_iter().flatten() {
                    next.enter(child, false);
                }
            }
            places = next;
        }
        let mut found: Vec<QueueId> = places.found.iter().flat_map(|(node, _)| node.here.iter().copied()).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Where the levels so far lead: each place once, however many ways lead there.
#[derive(Default)]
struct Places<'a> {
    /// With whether it is behind a `#`, which takes further levels.
    found: Vec<(&'a TopicTree, bool)>,
    known: HashSet<*const TopicTree>,
}

impl<'a> Places<'a> {
    fn enter(&mut self, node: &'a TopicTree, is_many: bool) {
        if !self.known.insert(node) {
            return;
        }
        self.found.push((node, is_many));
        // A `#` may take no level at all.
        if let Some(many) = node.children.get(MANY) {
            self.enter(many, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_and_patterns_say_what_is_allowed() {
        for topic in ["a", "sport/tennis/results", "ü/x.y-z_1"] {
            assert_eq!((check_topic(topic), check_pattern(topic)), (Ok(()), Ok(())));
        }
        for bad in ["", "/", "a//b", "/a", "a/", "a b", "a/\n", &"x".repeat(256), &["x"; 33].join("/")] {
            assert!(check_topic(bad).unwrap_err().to_string().contains("1 to 32 levels"), "{bad:?}");
            assert!(check_pattern(bad).is_err(), "{bad:?}");
        }
        for wild in ["*", "#", "a/*/b", "#/a/#"] {
            assert!(check_topic(wild).is_err() && check_pattern(wild).is_ok(), "{wild}");
        }
        assert!(check_pattern("a*").is_err() && check_pattern("a/##").is_err());
    }

    /// The rules, told once more.
    fn wants(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern.split_first(), topic.split_first()) {
            (None, None) => true,
            (Some((&MANY, rest)), None) => wants(rest, topic),
            (Some((&MANY, rest)), Some((_, later))) => wants(rest, topic) || wants(pattern, later),
            (Some((&ONE, rest)), Some((_, later))) => wants(rest, later),
            (Some((level, rest)), Some((first, later))) => level == first && wants(rest, later),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    #[test]
    fn one_star_is_one_level_and_a_hash_is_any_number() {
        for (pattern, yes, no) in [
            ("a/b", vec!["a/b"], vec!["a", "a/b/c", "b/a"]),
            ("a/*", vec!["a/b", "a/x"], vec!["a", "a/b/c"]),
            ("a/#", vec!["a", "a/b", "a/b/c"], vec!["b", "b/a"]),
            ("#/z", vec!["z", "a/z", "a/b/z"], vec!["a", "z/a"]),
            ("#", vec!["a", "a/b/c"], vec![]),
            ("a/#/*/c", vec!["a/b/c", "a/x/y/c"], vec!["a/c", "a/b/d"]),
        ] {
            let mut tree = TopicTree::default();
            tree.insert(pattern, QueueId(7));
            for topic in yes {
                assert_eq!(tree.matches(topic), [QueueId(7)], "{pattern} {topic}");
            }
            for topic in no {
                assert_eq!(tree.matches(topic), [], "{pattern} {topic}");
            }
        }
    }

    fn levels(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
        proptest::collection::vec(proptest::sample::select(of), 1..6)
    }

    proptest! {
        #[test]
        fn the_tree_finds_what_the_rules_say(
            patterns in proptest::collection::vec(levels(&["a", "b", "*", "#"]), 1..12),
            gone in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
            topics in proptest::collection::vec(levels(&["a", "b", "c"]), 1..8),
        ) {
            let mut tree = TopicTree::default();
            let mut left: BTreeMap<u32, Vec<&str>> = (0..).zip(patterns.clone()).collect();
            for (number, pattern) in &left {
                tree.insert(&pattern.join("/"), QueueId(*number));
            }
            for index in gone {
                let number = index.index(patterns.len());
                tree.remove(&patterns[number].join("/"), QueueId(number as u32));
                left.remove(&(number as u32));
            }
            for topic in topics {
                let expected: Vec<QueueId> =
                    left.iter().filter(|(_, pattern)| wants(pattern, &topic)).map(|(number, _)| QueueId(*number)).collect();
                prop_assert_eq!(tree.matches(&topic.join("/")), expected);
            }
            for (number, pattern) in &left {
                tree.remove(&pattern.join("/"), QueueId(*number));
            }
            prop_assert!(tree.is_empty(), "nothing is left behind");
        }
    }
}
