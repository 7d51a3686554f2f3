//! Reading the state.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io;

use baton_domain::{
    ConsumerId, DestinationKind, InDoubt, MessageId, Prepared, ProducerId, QueueId, StoredMessage, Subscription, Timer,
};
use rocksdb::{Direction, IteratorMode};

use super::shared_state::SharedState;
use crate::damage::io_error;
use crate::disk::{StateDb, rocks, seek_holding, within_entry};
use crate::error::StoreError;
use crate::machine::{
    ConsumerRecord, Family, MessageHead, Pack, PackRemainder, QueueSettings, QueueState, Tables, decode,
    decode_message, decode_redeliveries, is_pack, is_share, lane_end, message_key, message_key_id, name_of,
    producer_idle_since, queue_key,
};
use crate::queue::QueueRecord;

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a {what} that cannot be read"))
}

/// All queues, by name.
pub(crate) fn read_queues(db: &StateDb) -> io::Result<Vec<QueueRecord>> {
    let mut settings = HashMap::new();
    for (key, value) in db.scan(Family::Settings)? {
        settings.insert(key, decode::<QueueSettings>(&value)?);
    }
    let mut queues = Vec::new();
    for (key, value) in db.scan(Family::Queues)? {
        let QueueState { id, name, bytes, redelivered: _, delayed, lanes } = decode(&value)?;
        let QueueSettings { kind, settings, owner, version } = settings.remove(&key).unwrap_or_default();
        queues.push(QueueRecord { id, name, bytes, delayed, lanes, kind, settings, version, owner });
    }
    queues.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(queues)
}

/// The topic space of a subscription.
fn space(db: &StateDb, subscription: QueueId) -> io::Result<QueueId> {
    let record = db.get(Family::Settings, &queue_key(subscription))?;
    match record.as_deref().map(decode::<QueueSettings>).transpose()?.map(|record| record.kind) {
        Some(DestinationKind::Subscription(Subscription { space, .. })) => Ok(space),
        Some(DestinationKind::Queue | DestinationKind::TopicSpace) | None => Err(damaged("subscription")),
    }
}

/// Messages of one lane of a queue, from `from` on.
fn read_page(
    db: &StateDb,
    queue: QueueId,
    from: MessageId,
    max_messages: usize,
    max_bytes: usize,
) -> io::Result<Vec<(MessageId, StoredMessage)>> {
    let Some(state) = db.get(Family::Queues, &queue_key(queue))? else { return Ok(Vec::new()) };
    let state: QueueState = decode(&state)?;
    // Never before the head: there are only tombstones, and many.
    let head = state.lanes.get(&from.lane()).map_or(from, |lane| lane.head);
    let start = from.max(head);
    let snapshot = db.db().snapshot();
    let mut options = within_entry(queue, start);
    options.set_iterate_upper_bound(lane_end(queue, from.lane()));
    let get = |family, key: &[u8]| snapshot.get_pinned_cf(db.family(family), key).map_err(rocks);
    let mut page = Vec::new();
    let mut bytes = 0;
    // Returns true if the page is full.
    let mut add = |id: MessageId, mut message: StoredMessage| -> io::Result<bool> {
        if state.redelivered > 0
            && let Some(count) = get(Family::Redeliveries, &message_key(queue, id))?
        {
            message.redeliveries = decode_redeliveries(&count)?;
        }
        bytes += message.message.size();
        if bytes > max_bytes && !page.is_empty() {
            return Ok(true);
        }
        page.push((id, message));
        Ok(page.len() == max_messages)
    };
    let mut walk = snapshot.raw_iterator_cf_opt(db.family(Family::Messages), options);
    // A pack that begins before may hold more.
    seek_holding(&mut walk, &message_key(queue, start))?;
    'all: while let Some((key, value)) = walk.item().filter(|_| max_messages > 0) {
        let id = message_key_id(key)?;
        if is_pack(value) {
            let pack = Pack::read(value)?;
            let left = get(Family::Packs, key)?.ok_or_else(|| damaged("pack of messages"))?;
            let left = PackRemainder::read(&left)?;
            let from = pack.place(id, start).unwrap_or(if id < start { pack.len() } else { 0 });
            for message in pack.messages(from, &left) {
                let (at, message) = message?;
                if add(id.after(u32::try_from(at).unwrap_or(u32::MAX), id.lane()), message)? {
                    break 'all;
                }
            }
        } else if id >= start {
            let message = match is_share(value) {
                false => decode_message(value, None)?,
                true => {
                    let whole = get(Family::Messages, &message_key(space(db, queue)?, id))?;
                    let whole = whole.ok_or_else(|| damaged("share in a message"))?;
                    // The count and the time are the subscription's, not the message's.
                    let (MessageHead { expires_ms, .. }, _) = MessageHead::read(value)?;
                    StoredMessage { expires_ms, ..decode_message(&whole, Some(0))? }
                }
            };
            if add(id, message)? {
                break 'all;
            }
        }
        walk.next();
    }
    // A read error also ends an iteration.
    walk.status().map_err(rocks)?;
    Ok(page)
}

impl SharedState {
    fn reading<T>(&self, read: io::Result<T>) -> Result<T, StoreError> {
        read.map_err(|error| match error.kind() {
            // A damaged replica never serves: not here, and not when the engine comes back.
            io::ErrorKind::InvalidData => self.damaged(&error.to_string()),
            _ => io_error(self.dir(), &error),
        })
    }

    pub(crate) fn queues(&self) -> Result<Vec<QueueRecord>, StoreError> {
        self.reading(self.db().and_then(|db| read_queues(&db)))
    }

    pub(crate) fn timers(
        &self,
        after: Option<Timer>,
        until_ms: u64,
        limit: usize,
    ) -> Result<(Vec<Timer>, Option<u64>), StoreError> {
        let read = || -> io::Result<(Vec<Timer>, Option<u64>)> {
            let db = self.db()?;
            let from = after.map_or_else(Vec::new, |after| after.key().to_vec());
            let mut due = Vec::new();
            for entry in db.db().iterator_cf(db.family(Family::Timers), IteratorMode::From(&from, Direction::Forward)) {
                let (key, _) = entry.map_err(rocks)?;
                let timer = Timer::from_key(&key).ok_or_else(|| damaged("timer"))?;
                if Some(timer) == after {
                    continue;
                }
                if timer.due_ms > until_ms || due.len() >= limit {
                    return Ok((due, Some(timer.due_ms)));
                }
                due.push(timer);
            }
            Ok((due, None))
        };
        self.reading(read())
    }

    pub(crate) fn page(
        &self,
        queue: QueueId,
        from: MessageId,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<Vec<(MessageId, StoredMessage)>, StoreError> {
        self.reading(self.db().and_then(|db| read_page(&db, queue, from, max_messages, max_bytes)))
    }

    pub(crate) fn consumers(&self) -> Result<Vec<(ConsumerId, QueueId)>, StoreError> {
        let read = || -> io::Result<Vec<(ConsumerId, QueueId)>> {
            let mut consumers = Vec::new();
            for (key, value) in self.db()?.scan(Family::Consumers)? {
                let id = key.try_into().map(ConsumerId).map_err(|_| damaged("consumer"))?;
                consumers.push((ConsumerRecord::read(&value)?, id));
            }
            consumers.sort_by_key(|(record, _)| record.order);
            Ok(consumers.into_iter().map(|(record, id)| (id, record.queue)).collect())
        };
        self.reading(read())
    }

    pub(crate) fn in_doubt(&self) -> Result<Vec<InDoubt>, StoreError> {
        let read = || -> io::Result<Vec<InDoubt>> {
            let all = self.db()?.scan(Family::InDoubt)?;
            let one = |(key, value): &(Vec<u8>, Vec<u8>)| Ok(InDoubt::of(name_of(key)?, &decode::<Prepared>(value)?));
            all.iter().map(one).collect()
        };
        self.reading(read())
    }

    pub(crate) fn idle_producers(&self, before_ms: u64, limit: usize) -> Result<Vec<ProducerId>, StoreError> {
        let read = || -> io::Result<Vec<ProducerId>> {
            let db = self.db()?;
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

    pub(crate) fn hash_at(&self, index: u64) -> Result<Option<u128>, StoreError> {
        let read = || -> io::Result<Option<u128>> {
            match self.db()?.get(Family::Markers, &index.to_be_bytes())? {
                Some(hash) => {
                    hash.try_into().map(|hash| Some(u128::from_be_bytes(hash))).map_err(|_| damaged("marker"))
                }
                None => Ok(None),
            }
        };
        self.reading(read())
    }
}
