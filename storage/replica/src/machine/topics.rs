//! Topic spaces: a message is stored once, under the space, and each subscription that wants it has a share in it under
//! the same id. The last share deletes the message.

use std::io;

use baton_domain::message_batch::Iter;
use baton_domain::{
    ConsumerId, DestinationKind, Destinations, Lane, MessageId, OpResult, QueueId, QueueName, Selector, SelectorError,
    Settings, Subscription, Subscriptions, Timer, TimerKind, topic,
};

use super::apply::{Apply, earlier};
use super::records::{
    MessageHead, QueueSettings, counted_bytes, encode, encode_message, encode_share, message_key, queue_bounds,
    queue_key, raise,
};
use super::{Family, Machine, Writer};

/// The selector of a subscription; none if it wants all.
fn selector_of(text: &str) -> Option<Result<Selector, SelectorError>> {
    (!text.is_empty()).then(|| Selector::parse(text))
}

/// Number of records that are read at once when a subscription is deleted.
const AT_ONCE: usize = 4_096;

/// Position in the publication, id and head of a new message.
type Share = (u32, MessageId, MessageHead);

/// Result of a publication.
#[derive(Default)]
pub(super) struct Published {
    pub(super) due_ms: u64,
    pub(super) matched: Vec<(QueueId, Vec<u32>)>,
}

impl Machine {
    /// Creates a destination. Its owner, if it has one, is recorded in the same step: a destination without its owner
    /// would stay for ever, since it is deleted with the owner.
    pub(super) fn create(
        &mut self,
        name: &QueueName,
        kind: &DestinationKind,
        settings: &Settings,
        owner: Option<(ConsumerId, u64)>,
        writer: &mut Writer<'_>,
    ) -> OpResult {
        if let DestinationKind::Subscription(Subscription { space, topic, selector }) = kind {
            if self.kind(*space) != Some(&DestinationKind::TopicSpace) {
                return OpResult::Refused { why: "there is no such topic space".to_owned() };
            }
            if let Err(error) = topic::check_pattern(topic) {
                return OpResult::Refused { why: error.to_string() };
            }
            if let Err(error) = selector_of(selector).transpose() {
                return OpResult::Refused { why: error.to_string() };
            }
        }
        let result = self.create_queue(name, writer);
        if let OpResult::Queue { queue, created: true } = result {
            let by = owner.map(|(consumer, _)| consumer);
            let record = QueueSettings { kind: kind.clone(), settings: settings.clone(), owner: by, version: 0 };
            writer.put(Family::Settings, &queue_key(queue), &encode(&record));
            self.subscribe(queue, kind);
            self.settings.insert(queue, record);
            if let Some((consumer, order)) = owner {
                self.attach(name, consumer, order, writer);
            }
        }
        result
    }

    /// Adds a subscription to its topic space; other kinds have none.
    pub(super) fn subscribe(&mut self, queue: QueueId, kind: &DestinationKind) {
        if let DestinationKind::Subscription(subscription) = kind {
            self.topics.entry(subscription.space).or_default().insert(queue, subscription);
        }
    }

    /// True if a topic space has subscriptions.
    pub(super) fn has_subscriptions(&self, space: QueueId) -> bool {
        self.topics.get(&space).is_some_and(|topics| !topics.is_empty())
    }

    /// Removes a subscription and its shares from its topic space.
    pub(super) fn unsubscribe(
        &mut self,
        apply: &mut Apply<'_>,
        queue: QueueId,
        subscription: &Subscription,
    ) -> io::Result<()> {
        if let Some(topics) = self.topics.get_mut(&subscription.space) {
            topics.remove(queue, subscription);
        }
        let (from, end) = queue_bounds(queue);
        let mut from = from.to_vec();
        while from < end {
            for id in self.next_ids(queue, &mut from, &end, AT_ONCE, apply.tables)? {
                self.leave(apply, queue, id)?;
            }
        }
        Ok(())
    }

    /// Stores new messages of a topic space for the subscriptions that match.
    pub(super) fn publish(&mut self, apply: &mut Apply<'_>, space: QueueId, messages: Iter<'_>) -> Published {
        self.write_pack(&mut apply.writer);
        let mut published = Published::default();
        let default_ms = self.time_to_live_ms(space);
        let empty = Subscriptions::default();
        let topics = self.topics.get(&space).unwrap_or(&empty);
        let mut shares: Vec<(QueueId, Vec<Share>)> = Vec::new();
        let Some(state) = self.queues.get_mut(&space) else { return published };
        let mut stored = false;
        for (at, encoded) in (0..).zip(messages) {
            let message = encoded.message();
            let id = apply.take_id().in_lane(Lane::of_priority(message.priority()));
            let wanted = topics.matches(&message);
            let Some(count) = u32::try_from(wanted.len()).ok().filter(|count| *count > 0) else { continue };
            let expires_ms = message.expires_ms(apply.at_ms, default_ms);
            let head =
                MessageHead { size: counted_bytes(message.size()), at_ms: apply.at_ms, expires_ms, redeliveries: 0 };
            let of_its_own = |queue: QueueId| match self.settings.get(&queue).map(|of| of.settings.time_to_live_ms) {
                None | Some(0) => head,
                Some(own_ms) => MessageHead { expires_ms: message.expires_ms(apply.at_ms, own_ms), ..head },
            };
            let key = message_key(space, id);
            encode_message(encoded.tail(), head, &mut apply.buffer);
            apply.writer.put(Family::Messages, &key, &apply.buffer);
            if count > 1 {
                apply.writer.put(Family::Shares, &key, &count.to_be_bytes());
            }
            self.shares.set(key, count);
            raise(&mut state.lane(id.lane()).depth, 1);
            raise(&mut state.bytes, u64::from(head.size));
            stored = true;
            for queue in wanted {
                match shares.iter_mut().find(|(known, _)| *known == queue) {
                    Some((_, known)) => known.push((at, id, of_its_own(queue))),
                    None => shares.push((queue, vec![(at, id, of_its_own(queue))])),
                }
            }
        }
        if stored {
            apply.writer.queue_changed(state.id);
        }
        for (queue, taken) in shares {
            let Some(state) = self.queues.get_mut(&queue) else { continue };
            for (_, id, head) in &taken {
                encode_share(*head, &mut apply.buffer);
                apply.writer.put(Family::Messages, &message_key(queue, *id), &apply.buffer);
                self.messages.stored(queue, *id, head.size, head.expires_ms, true);
                if head.expires_ms != 0 {
                    let timer = Timer { due_ms: head.expires_ms, kind: TimerKind::Expire, queue, message: *id };
                    apply.writer.put(Family::Timers, &timer.key(), &[]);
                    published.due_ms = earlier(published.due_ms, head.expires_ms);
                }
                raise(&mut state.lane(id.lane()).depth, 1);
                raise(&mut state.bytes, u64::from(head.size));
            }
            apply.writer.queue_changed(state.id);
            published.matched.push((queue, taken.into_iter().map(|(at, ..)| at).collect()));
        }
        published
    }

    /// Gives up a subscription's share in a message; the last share deletes the message.
    pub(super) fn give_up_share(
        &mut self,
        apply: &mut Apply<'_>,
        space: QueueId,
        id: MessageId,
        size: u32,
    ) -> io::Result<()> {
        let key = message_key(space, id);
        let count = self.shares.get(&key, apply.tables)?;
        if count > 2 {
            apply.writer.put(Family::Shares, &key, &count.saturating_sub(1).to_be_bytes());
        } else if count == 2 {
            apply.writer.delete(Family::Shares, &key);
        } else {
            apply.writer.delete(Family::Messages, &key);
            if let Some(state) = self.queues.get_mut(&space) {
                let lane = state.lane(id.lane());
                lane.depth = lane.depth.saturating_sub(1);
                state.bytes = state.bytes.saturating_sub(u64::from(size));
                apply.writer.queue_changed(state.id);
            }
        }
        self.shares.set(key, count.saturating_sub(1));
        Ok(())
    }
}

impl Destinations for Machine {
    fn id(&self, name: &QueueName) -> Option<QueueId> {
        self.names.get(name).copied()
    }

    fn kind(&self, id: QueueId) -> Option<&DestinationKind> {
        const QUEUE: &DestinationKind = &DestinationKind::Queue;
        self.queues.contains_key(&id).then(|| self.settings.get(&id).map_or(QUEUE, |record| &record.kind))
    }

    fn settings(&self, id: QueueId) -> Option<&Settings> {
        self.settings.get(&id).map(|record| &record.settings)
    }
}
