//! The writes of one command, and their share of the running hash.

use baton_domain::QueueId;
use xxhash_rust::xxh3::Xxh3;

use super::{Family, Sink};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const DELETE_RANGE: u8 = 3;

/// Passes writes on and chains them: the hash after a command covers the hash before it and each write of the
/// command. Commands that write nothing leave it as it is.
pub(super) struct Writer<'a> {
    before: u128,
    chain: Option<Box<Xxh3>>,
    changed_queues: Vec<QueueId>,
    wrote_messages: bool,
    sink: &'a mut dyn Sink,
}

impl<'a> Writer<'a> {
    pub(super) fn new(before: u128, sink: &'a mut dyn Sink) -> Self {
        Self { before, chain: None, changed_queues: Vec::new(), wrote_messages: false, sink }
    }

    pub(super) fn put(&mut self, family: Family, key: &[u8], value: &[u8]) {
        self.wrote_messages |= matches!(family, Family::Messages | Family::Redeliveries | Family::Packs);
        self.chain(PUT, family, key, value);
        self.sink.put(family, key, value);
    }

    pub(super) fn delete(&mut self, family: Family, key: &[u8]) {
        self.chain(DELETE, family, key, &[]);
        self.sink.delete(family, key);
    }

    pub(super) fn delete_range(&mut self, family: Family, from: &[u8], to: &[u8]) {
        self.chain(DELETE_RANGE, family, from, to);
        self.sink.delete_range(family, from, to);
    }

    /// True if this command stored messages: reads do not find them before the batch is written.
    pub(super) fn wrote_messages(&self) -> bool {
        self.wrote_messages
    }

    /// Marks a queue's record to be written once, at the end of the command.
    pub(super) fn queue_changed(&mut self, queue: QueueId) {
        if self.changed_queues.last() != Some(&queue) {
            self.changed_queues.push(queue);
        }
    }

    /// The queues whose records must be written, sorted.
    pub(super) fn changed_queues(&mut self) -> Vec<QueueId> {
        let mut queues = std::mem::take(&mut self.changed_queues);
        queues.sort_unstable();
        queues.dedup();
        queues
    }

    pub(super) fn hash_so_far(&self) -> u128 {
        self.chain.as_ref().map_or(self.before, |chain| chain.digest128())
    }

    pub(super) fn finish(self) -> u128 {
        self.hash_so_far()
    }

    fn chain(&mut self, op: u8, family: Family, key: &[u8], value: &[u8]) {
        let before = self.before;
        let chain = self.chain.get_or_insert_with(|| {
            let mut chain = Box::new(Xxh3::new());
            chain.update(&before.to_be_bytes());
            chain
        });
        let mut head = [0; 10];
        head[0] = op;
        head[1] = family as u8;
        head[2..6].copy_from_slice(&length(key));
        head[6..].copy_from_slice(&length(value));
        chain.update(&head);
        chain.update(key);
        chain.update(value);
    }
}

/// Lengths go into the chain so that the border between a key and a value cannot shift unseen.
fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes()
}
