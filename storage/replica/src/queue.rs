//! Queues, as the store knows them.

use std::collections::BTreeMap;

use baton_domain::{ConsumerId, DestinationKind, Lane, MessageId, QueueId, QueueName, Settings};
use serde::{Deserialize, Serialize};

/// A queue as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRecord {
    /// Its number.
    pub id: QueueId,
    /// Its name.
    pub name: QueueName,
    /// Bytes that its messages have together.
    pub bytes: u64,
    /// Delayed messages, which are not in it yet.
    pub delayed: u64,
    /// Its messages, by priority.
    pub lanes: BTreeMap<Lane, LaneRecord>,
    /// Kind.
    pub kind: DestinationKind,
    /// Settings.
    pub settings: Settings,
    /// Number of changes of its settings.
    pub version: u64,
    /// It goes when this consumer goes.
    pub owner: Option<ConsumerId>,
}

impl QueueRecord {
    /// An empty queue.
    #[must_use]
    pub fn new(id: QueueId, name: QueueName) -> Self {
        let (lanes, kind, settings) = (BTreeMap::new(), DestinationKind::Queue, Settings::default());
        Self { id, name, bytes: 0, delayed: 0, lanes, kind, settings, version: 0, owner: None }
    }

    /// Messages that it holds.
    #[must_use]
    pub fn depth(&self) -> u64 {
        self.lanes.values().map(|lane| lane.depth).sum()
    }
}

/// The messages of one priority in a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneRecord {
    /// Number of messages.
    pub depth: u64,
    /// None below this one is left.
    pub head: MessageId,
    /// Those after this one were never delivered.
    pub dispatched: MessageId,
}
