//! Reading the state.

use std::io;
use std::path::Path;

use rocksdb::{Direction, IteratorMode, ReadOptions};

use super::damage;
use super::open::Inner;
use super::{QueueRecord, StoreError};
use crate::machine::{
    Family, QueueState, Tables, decode, decode_message, decode_redeliveries, message_key, producer_idle_since,
    queue_bounds, queue_key,
};
use crate::raft::rocks;
use crate::{ConsumerId, MessageId, ProducerId, QueueId, StoredMessage};

/// Free bytes of the file system that `dir` is on, for us; none if it cannot be told.
pub(crate) fn free_bytes(dir: &Path) -> u64 {
    rustix::fs::statvfs(dir).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a {what} that cannot be read"))
}

impl Inner {
    fn reading<T>(&self, read: io::Result<T>) -> Result<T, StoreError> {
        read.map_err(|error| {
            let (dir, why) = (self.dir.clone(), error.to_string());
            if error.kind() != io::ErrorKind::InvalidData {
                return StoreError::Io { dir, why };
            }
            // A damaged replica never serves: not here, and not when the engine comes back.
            damage::found(&dir, &why, &self.proposer.failure)
        })
    }

    pub(super) fn queues(&self) -> Result<Vec<QueueRecord>, StoreError> {
        let read = || -> io::Result<Vec<QueueRecord>> {
            let queues = self.state.db()?.scan(Family::Queues)?.into_iter();
            let mut queues: Vec<QueueRecord> = queues
                .map(|(_, value)| decode::<QueueState>(&value).map(|queue| queue.record))
                .collect::<io::Result<_>>()?;
            queues.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(queues)
        };
        self.reading(read())
    }

    pub(super) fn page(
        &self,
        queue: QueueId,
        from: MessageId,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<Vec<(MessageId, StoredMessage)>, StoreError> {
        self.reading(self.read_page(queue, from, max_messages, max_bytes))
    }

    fn read_page(
        &self,
        queue: QueueId,
        from: MessageId,
        max_messages: usize,
        max_bytes: usize,
    ) -> io::Result<Vec<(MessageId, StoredMessage)>> {
        let db = self.state.db()?;
        let Some(state) = db.get(Family::Queues, &queue_key(queue))? else { return Ok(Vec::new()) };
        let state: QueueState = decode(&state)?;
        // Never before the head: what lies there was deleted, and is a long way to walk.
        let start = message_key(queue, from.max(state.record.head));
        let snapshot = db.db().snapshot();
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(start);
        options.set_iterate_upper_bound(queue_bounds(queue).1);
        let messages = db.family(Family::Messages);
        let redeliveries = db.family(Family::Redeliveries);
        let mut page = Vec::new();
        let mut bytes = 0;
        for entry in snapshot.iterator_cf_opt(messages, options, IteratorMode::From(&start, Direction::Forward)) {
            if page.len() >= max_messages {
                break;
            }
            let (key, value) = entry.map_err(rocks)?;
            let id = key.get(4..).and_then(|id| id.try_into().ok()).map(MessageId::from_bytes);
            let count = match state.redelivered {
                0 => None,
                _ => snapshot.get_cf(redeliveries, &key).map_err(rocks)?,
            };
            let count = count.as_deref().map(decode_redeliveries).transpose()?.unwrap_or(0);
            let message = decode_message(&value, count)?;
            bytes += message.message.size();
            if bytes > max_bytes && !page.is_empty() {
                break;
            }
            page.push((id.ok_or_else(|| damaged("message id"))?, message));
        }
        Ok(page)
    }

    pub(super) fn consumers(&self) -> Result<Vec<(ConsumerId, QueueId)>, StoreError> {
        let read = || -> io::Result<Vec<(ConsumerId, QueueId)>> {
            let consumers = self.state.db()?.scan(Family::Consumers)?.into_iter();
            let consumer = |(key, value): (Vec<u8>, Vec<u8>)| {
                let id = key.try_into().map(ConsumerId).map_err(|_| damaged("consumer"))?;
                let queue = value.try_into().map(u32::from_be_bytes).map_err(|_| damaged("consumer"))?;
                Ok((id, QueueId(queue)))
            };
            consumers.map(consumer).collect()
        };
        self.reading(read())
    }

    pub(super) fn idle_producers(&self, before_ms: u64, limit: usize) -> Result<Vec<ProducerId>, StoreError> {
        let read = || -> io::Result<Vec<ProducerId>> {
            let db = self.state.db()?;
            let mut idle = Vec::new();
            for entry in db.db().iterator_cf(db.family(Family::Producers), IteratorMode::Start) {
                if idle.len() >= limit {
                    break;
                }
                let (key, value) = entry.map_err(rocks)?;
                if producer_idle_since(&value)? < before_ms {
                    idle.push(ProducerId(key.as_ref().try_into().map_err(|_| damaged("producer"))?));
                }
            }
            Ok(idle)
        };
        self.reading(read())
    }

    pub(super) fn hash_at(&self, index: u64) -> Result<Option<u128>, StoreError> {
        let read = || -> io::Result<Option<u128>> {
            match self.state.db()?.get(Family::Markers, &index.to_be_bytes())? {
                Some(hash) => {
                    hash.try_into().map(|hash| Some(u128::from_be_bytes(hash))).map_err(|_| damaged("marker"))
                }
                None => Ok(None),
            }
        };
        self.reading(read())
    }
}
