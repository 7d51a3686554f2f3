//! A map that forgets everything when it is full: the store remains the authority.

use std::collections::HashMap;
use std::hash::Hash;

#[derive(Debug)]
pub(in crate::engine) struct Cache<K, V>(HashMap<K, V>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash, V> Cache<K, V> {
    pub(in crate::engine) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    pub(in crate::engine) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key)
    }

    /// Remembers a value; a cache of `most` others is cleared first.
    pub(in crate::engine) fn insert(&mut self, key: K, value: V, most: usize) {
        if self.0.len() >= most && !self.0.contains_key(&key) {
            self.0.clear();
        }
        self.0.insert(key, value);
    }

    pub(in crate::engine) fn remove(&mut self, key: &K) {
        self.0.remove(key);
    }

    pub(in crate::engine) fn retain(&mut self, keep: impl Fn(&V) -> bool) {
        self.0.retain(|_, value| keep(value));
    }

    #[cfg(test)]
    pub(in crate::engine) fn len(&self) -> usize {
        self.0.len()
    }
}
