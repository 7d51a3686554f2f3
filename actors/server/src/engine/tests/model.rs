//! The store in memory: what `apply` does with an engine's writes, with assertions where a write may not contradict it.

use std::collections::{BTreeMap, BTreeSet};

use baton_domain::topic::TopicTree;
use baton_domain::{
    Applied, Arrival, ChangeId, Changes, Command, Committed, ConsumerId, DestinationKind, EngineOp, Epoch,
    ExceptionDestination, InDoubt, Kept, Lane, Message, MessageId, MoveTo, OpResult, Prepared, ProducerId, QueueId,
    QueueName, SessionId, Settings, StoredMessage, Timer, TimerKind, TransactionName, TransactionSend,
};
use baton_replica::{LaneRecord, QueueRecord};

use crate::engine::Recorded;

#[derive(Debug, Clone)]
pub(super) struct ModelQueue {
    pub(super) name: QueueName,
    pub(super) kind: DestinationKind,
    pub(super) settings: Settings,
    version: u64,
    owner: Option<ConsumerId>,
    /// By lane, then by id.
    pub(super) messages: BTreeMap<(Lane, MessageId), StoredMessage>,
    pub(super) heads: BTreeMap<Lane, MessageId>,
    pub(super) dispatched: BTreeMap<Lane, MessageId>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) epoch: Epoch,
    pub(super) index: u64,
    pub(super) queues: BTreeMap<QueueId, ModelQueue>,
    pub(super) producers: BTreeMap<ProducerId, (QueueId, u64, u64)>,
    pub(super) consumers: BTreeMap<ConsumerId, QueueId>,
    queues_made: u32,
    changes: BTreeMap<ChangeId, OpResult>,
    pub(super) in_doubt: BTreeMap<TransactionName, Prepared>,
    /// What went to an exception destination without having been in the store: the reason and the body.
    pub(super) set_aside: Vec<(String, String)>,
}

/// Sessions are among the producers.
fn key(session: SessionId) -> ProducerId {
    ProducerId(session.0)
}

fn opened(queue: QueueId, last: u64) -> OpResult {
    OpResult::Producer { queue, next: last + 1, registration: 0, digest: 0, claimed: false }
}

impl Model {
    pub(super) fn activate(&mut self) -> Epoch {
        self.index += 1;
        self.epoch = Epoch { generation: 0, index: self.index };
        self.epoch
    }

    pub(super) fn recorded(&self) -> Recorded {
        let queues = self.queues.iter().map(|(id, queue)| {
            let mut record = QueueRecord::new(*id, queue.name.clone());
            record.settings = queue.settings.clone();
            (record.kind, record.owner) = (queue.kind.clone(), queue.owner);
            let lanes: BTreeSet<Lane> = queue.messages.keys().map(|(lane, _)| *lane).chain([Lane(0)]).collect();
            record.lanes = lanes.into_iter().map(|lane| (lane, queue.lane(lane))).collect();
            record
        });
        Recorded {
            queues: queues.collect(),
            consumers: self.consumers.iter().map(|(consumer, queue)| (*consumer, *queue)).collect(),
            in_doubt: self.in_doubt.iter().map(|(name, prepared)| InDoubt::of(name.clone(), prepared)).collect(),
        }
    }

    pub(super) fn page(
        &self,
        queue: QueueId,
        from: MessageId,
        max_messages: usize,
        max_bytes: usize,
    ) -> Vec<(MessageId, StoredMessage)> {
        let (mut page, mut bytes) = (Vec::new(), 0);
        let Some(queue) = self.queues.get(&queue) else { return page };
        let lane = from.lane();
        for ((_, id), stored) in
            queue.messages.range((lane, from)..(Lane(lane.0 + 1), MessageId::default())).take(max_messages)
        {
            bytes += stored.message.size();
            if !page.is_empty() && bytes > max_bytes {
                break;
            }
            page.push((*id, stored.clone()));
        }
        page
    }

    pub(super) fn apply(&mut self, command: &Command) -> Committed {
        self.index += 1;
        let Command::Engine { epoch, at_ms, ops } = command else { panic!("an engine proposes only its writes") };
        let applied = if *epoch == self.epoch {
            let mut position = 0;
            Applied::Engine { results: ops.iter().map(|op| self.op(op, *at_ms, &mut position)).collect() }
        } else {
            Applied::Fenced { current: self.epoch }
        };
        Committed { index: self.index, applied }
    }

    pub(super) fn timers(&self, after: Option<Timer>, until_ms: u64) -> (Vec<Timer>, Option<u64>) {
        let all = self.queues.iter().flat_map(|(queue, state)| {
            let expires = state.messages.iter().filter(|(_, stored)| stored.expires_ms > 0);
            expires.map(|((_, message), stored)| Timer {
                due_ms: stored.expires_ms,
                kind: TimerKind::Expire,
                queue: *queue,
                message: *message,
            })
        });
        let mut all: Vec<Timer> = all.filter(|timer| Some(*timer) > after).collect();
        all.sort();
        let due = all.partition_point(|timer| timer.due_ms <= until_ms);
        let next = all.get(due).map(|timer| timer.due_ms);
        all.truncate(due);
        (all, next)
    }

    fn named(&self, name: &QueueName) -> Option<QueueId> {
        self.queues.iter().find(|(_, queue)| queue.name == *name).map(|(id, _)| *id)
    }

    fn op(&mut self, op: &EngineOp, at_ms: u64, position: &mut u32) -> OpResult {
        match op {
            EngineOp::CreateQueue { name } => {
                if let Some(queue) = self.named(name) {
                    return OpResult::Queue { queue, created: false };
                }
                self.queues_made += 1;
                let id = QueueId(self.queues_made);
                self.queues.insert(id, ModelQueue::new(name));
                OpResult::Queue { queue: id, created: true }
            }
            EngineOp::DeleteQueue { name } => {
                let Some(id) = self.named(name) else { return OpResult::NoSuchQueue };
                self.queues.remove(&id);
                self.producers.retain(|_, (queue, ..)| *queue != id);
                self.consumers.retain(|_, queue| *queue != id);
                OpResult::Done
            }
            EngineOp::Delete { name, if_empty, if_unused } => {
                let Some(id) = self.named(name) else { return OpResult::NoSuchQueue };
                let messages = self.queues[&id].messages.len() as u64;
                let consumers = self.consumers.values().filter(|queue| **queue == id).count() as u64;
                if *if_empty && messages > 0 {
                    return OpResult::NotEmpty { messages };
                }
                if *if_unused && consumers > 0 {
                    return OpResult::InUse { consumers };
                }
                self.op(&EngineOp::DeleteQueue { name: name.clone() }, at_ms, position);
                OpResult::Deleted { messages, consumers }
            }
            EngineOp::OpenProducer { producer, queue } => {
                let Some(id) = self.named(queue) else { return OpResult::NoSuchQueue };
                let (queue, last, _) = *self.producers.entry(*producer).or_insert((id, 0, at_ms));
                opened(queue, last)
            }
            EngineOp::TouchProducer { producer, .. } => match self.producers.get_mut(producer) {
                Some((queue, last, used)) => {
                    *used = at_ms;
                    opened(*queue, *last)
                }
                None => OpResult::ProducerUnknown,
            },
            EngineOp::ForgetProducers { producers } => {
                self.producers.retain(|producer, _| !producers.contains(producer));
                OpResult::Done
            }
            EngineOp::Send { producer, first, messages, dispatch, .. } => {
                let Some((queue, last, used)) = self.producers.get_mut(producer) else {
                    return OpResult::ProducerUnknown;
                };
                if *first > *last + 1 {
                    return OpResult::Gap { expected: *last + 1 };
                }
                *used = at_ms;
                let duplicates = (*last + 1 - first).min(messages.len() as u64) as usize;
                *last += (messages.len() - duplicates) as u64;
                let queue = *queue;
                self.take_in(queue, &messages.read(), duplicates, *dispatch, at_ms, position)
            }
            EngineOp::Post { queue, messages, dispatch } => {
                self.take_in(*queue, &messages.read(), 0, *dispatch, at_ms, position)
            }
            EngineOp::SetAside { reason, messages, .. } => {
                let bodies = messages.iter().map(|sent| String::from_utf8(sent.message().body.to_vec()).unwrap());
                self.set_aside.extend(bodies.map(|body| (reason.clone(), body)));
                OpResult::Changed(Changes::default())
            }
            EngineOp::Dispatch { queue, through } => {
                let Some(queue) = self.queues.get_mut(queue) else { return OpResult::NoSuchQueue };
                let dispatched = queue.dispatched.entry(through.lane()).or_insert(*through);
                *dispatched = (*dispatched).max(*through);
                OpResult::Done
            }
            EngineOp::Settle { queue, messages, heads } => {
                let Some(queue) = self.queues.get_mut(queue) else { return OpResult::NoSuchQueue };
                let settled = messages.iter().filter(|id| queue.take(**id).is_some()).count() as u32;
                for head in heads {
                    let known = queue.heads.entry(head.lane()).or_insert(*head);
                    *known = (*known).max(*head);
                    let lowest = queue.messages.keys().find(|(lane, _)| *lane == head.lane());
                    assert!(lowest.is_none_or(|(_, lowest)| *known <= *lowest), "head {known} is above a live message");
                }
                OpResult::Settled { settled }
            }
            EngineOp::Requeue { queue, messages } => {
                let Some(queue) = self.queues.get_mut(queue) else { return OpResult::NoSuchQueue };
                for id in messages {
                    queue.messages.entry((id.lane(), *id)).and_modify(|stored| stored.redeliveries += 1);
                }
                OpResult::Changed(Changes::default())
            }
            EngineOp::Attach { queue, consumer } => {
                let Some(id) = self.named(queue) else { return OpResult::NoSuchQueue };
                self.consumers.insert(*consumer, id);
                OpResult::Queue { queue: id, created: false }
            }
            EngineOp::Detach { consumer } => {
                self.consumers.remove(consumer);
                let own = self.queues.iter().filter(|(_, queue)| queue.owner == Some(*consumer)).map(|(id, _)| *id);
                let deleted: Vec<QueueId> = own.collect();
                self.queues.retain(|id, _| !deleted.contains(id));
                OpResult::Detached { deleted }
            }
            EngineOp::Create { name, kind, settings, owner } => {
                let created = self.op(&EngineOp::CreateQueue { name: name.clone() }, at_ms, position);
                let queue = self.named(name).and_then(|id| self.queues.get_mut(&id)).unwrap();
                (queue.kind, queue.settings, queue.owner) = (kind.clone(), settings.clone(), *owner);
                self.consumers.extend(owner.zip(self.named(name)));
                created
            }
            EngineOp::Configure { name, patch, if_version } => {
                let Some(queue) = self.named(name) else { return OpResult::NoSuchQueue };
                let state = self.queues.get_mut(&queue).unwrap();
                if if_version.is_some_and(|asked| asked != state.version) {
                    return OpResult::OtherVersion { version: state.version };
                }
                (state.settings, state.version) = (patch.applied_to(&state.settings), state.version + 1);
                let (settings, version) = (Box::new(state.settings.clone()), state.version);
                OpResult::Configured { queue, settings, version }
            }
            EngineOp::ClaimProducer { .. } => panic!("no client has a name here"),
            EngineOp::Once { change, op } => match self.changes.get(change) {
                Some(answer) => OpResult::Repeated(Box::new(answer.clone())),
                None => {
                    let result = self.op(op, at_ms, position);
                    self.changes.insert(*change, result.clone());
                    result
                }
            },
            EngineOp::Recall { change } => match self.changes.get(change) {
                Some(answer) => OpResult::Repeated(Box::new(answer.clone())),
                None => OpResult::Done,
            },
            EngineOp::CountLost { queue, through, except, consumers } => {
                let Some(queue_state) = self.queues.get_mut(queue) else { return OpResult::NoSuchQueue };
                let mut changes = Changes::default();
                let mut lanes = through.clone();
                lanes.sort_by_key(|last| std::cmp::Reverse(last.lane().priority()));
                for last in lanes {
                    for ((lane, id), stored) in &mut queue_state.messages {
                        let lost = *lane == last.lane() && *id <= last && !except.contains(id);
                        if lost && changes.counted.len() < *consumers as usize {
                            stored.redeliveries += 1;
                            changes.counted.push((*queue, *id, stored.redeliveries));
                        }
                    }
                }
                OpResult::Changed(changes)
            }
            EngineOp::OpenSession { session } => {
                let (queue, last, _) = *self.producers.entry(key(*session)).or_insert((QueueId(0), 0, at_ms));
                opened(queue, last)
            }
            EngineOp::Transact { session, number, sends, settles } => {
                let last = self.producers[&key(*session)].1;
                if *number <= last {
                    return OpResult::Done;
                }
                let settled = || settles.iter().flat_map(|(queue, ids)| ids.iter().map(|id| (*queue, *id)));
                let there =
                    |(queue, id): (QueueId, MessageId)| self.queues[&queue].messages.contains_key(&(id.lane(), id));
                if !settled().all(there) || !sends.iter().all(|send| self.named(&send.queue).is_some()) {
                    return OpResult::Refused { why: "it cannot be done".to_owned() };
                }
                self.producers.get_mut(&key(*session)).unwrap().1 = *number;
                let OpResult::Changed(mut changes) = self.leave(settled()) else { unreachable!() };
                self.arrive(sends, at_ms, position, &mut changes);
                OpResult::Changed(changes)
            }
            EngineOp::Prepare { name, session, number, sends, settles } => {
                let last = self.producers[&key(*session)].1;
                if *number <= last {
                    return OpResult::Done;
                }
                let gone = |(queue, ids): &(QueueId, Vec<MessageId>)| {
                    ids.iter().any(|id| !self.queues[queue].messages.contains_key(&(id.lane(), *id)))
                };
                if settles.iter().any(gone) || sends.iter().any(|send| self.named(&send.queue).is_none()) {
                    return OpResult::Refused { why: "it cannot be done".to_owned() };
                }
                self.producers.get_mut(&key(*session)).unwrap().1 = *number;
                let (session, number) = (*session, *number);
                let prepared = Prepared { session, number, at_ms, sends: sends.clone(), settles: settles.clone() };
                self.in_doubt.insert(name.clone(), prepared);
                OpResult::Done
            }
            EngineOp::Resolve { name, commit } => {
                let Some(Prepared { sends, settles, .. }) = self.in_doubt.remove(name) else {
                    return OpResult::NoSuchTransaction;
                };
                if !commit {
                    return OpResult::Done;
                }
                let settled = settles.iter().flat_map(|(queue, ids)| ids.iter().map(|id| (*queue, *id)));
                let all = settled.clone().count();
                let OpResult::Changed(mut changes) = self.leave(settled) else { unreachable!() };
                assert_eq!(changes.removed.len(), all, "what is in doubt is there");
                self.arrive(&sends, at_ms, position, &mut changes);
                OpResult::Changed(changes)
            }
            // Away, wherever to: that is the real store's to show.
            EngineOp::Move { queue, messages, to } => {
                let stays = |state: &ModelQueue| state.settings.exception == ExceptionDestination::None;
                match self.queues.get_mut(queue).filter(|state| stays(state)) {
                    Some(state) if matches!(to, MoveTo::Exception { .. }) => {
                        let mut changes = Changes::default();
                        for id in messages {
                            if let Some(stored) = state.messages.get_mut(&(id.lane(), *id)) {
                                stored.redeliveries += 1;
                                let (queue, message, failed) = (*queue, *id, stored.redeliveries);
                                changes.kept.push(Kept { queue, message, failed });
                            }
                        }
                        OpResult::Changed(changes)
                    }
                    Some(_) | None => self.leave(messages.iter().map(|id| (*queue, *id))),
                }
            }
            EngineOp::Fire { timers } => {
                assert!(timers.iter().all(|timer| timer.kind == TimerKind::Expire));
                self.leave(timers.iter().map(|timer| (timer.queue, timer.message)))
            }
            EngineOp::Purge { queue, through, limit } => {
                let Some(state) = self.queues.get(queue) else { return OpResult::NoSuchQueue };
                let of = state.messages.keys().filter(|(lane, id)| *lane == through.lane() && id <= through);
                let of: Vec<_> = of.map(|(_, id)| (*queue, *id)).take(*limit as usize).collect();
                let more = of.len() == *limit as usize;
                let OpResult::Changed(changes) = self.leave(of.into_iter()) else { unreachable!() };
                OpResult::Changed(Changes { more, ..changes })
            }
        }
    }

    fn arrive(&mut self, sends: &[TransactionSend], at_ms: u64, position: &mut u32, changes: &mut Changes) {
        for send in sends {
            let queue = self.named(&send.queue).unwrap();
            let first = MessageId { generation: 0, index: self.index, position: *position };
            for (at, message) in (0..).zip(send.messages.read()) {
                let last = first.after(at, Lane(0));
                let stored = StoredMessage { message, at_ms, expires_ms: 0, redeliveries: 0 };
                let state = self.queues.get_mut(&queue).unwrap();
                state.messages.insert((Lane(0), last), stored);
                changes.arrived.push(Arrival { queue, name: send.queue.clone(), messages: 1, last });
                *position += 1;
            }
        }
    }

    fn take_in(
        &mut self,
        queue: QueueId,
        messages: &[Message],
        duplicates: usize,
        dispatch: bool,
        at_ms: u64,
        position: &mut u32,
    ) -> OpResult {
        let first = MessageId { generation: 0, index: self.index, position: *position };
        let Some(state) = self.queues.get_mut(&queue) else { return OpResult::NoSuchQueue };
        if state.kind == DestinationKind::TopicSpace {
            return self.publish(queue, first, duplicates, messages, at_ms, position);
        }
        let queue = match self.forwarded(queue)[..] {
            [] => queue,
            [target] => target,
            ref targets => return self.forward(targets, first, duplicates, messages, at_ms, position),
        };
        let Some(state) = self.queues.get_mut(&queue) else { return OpResult::NoSuchQueue };
        let mut due_ms = 0;
        for (at, message) in (0..).zip(&messages[duplicates..]) {
            let lane = Lane::of_priority(message.priority());
            let id = first.after(at, lane);
            let live_ms = message.properties.as_ref().map_or(0, |asks| asks.time_to_live_ms);
            let expires_ms = if live_ms == 0 { 0 } else { at_ms + live_ms };
            due_ms = if due_ms == 0 { expires_ms } else { due_ms.min(expires_ms) };
            let stored = StoredMessage { message: message.clone(), at_ms, expires_ms, redeliveries: 0 };
            state.messages.insert((lane, id), stored);
            *position += 1;
            if dispatch {
                state.dispatched.insert(lane, id);
            }
        }
        let accepted = (messages.len() - duplicates) as u32;
        OpResult::Sent { queue, duplicates: duplicates as u32, accepted, first, due_ms }
    }

    fn publish(
        &mut self,
        space: QueueId,
        first: MessageId,
        duplicates: usize,
        messages: &[Message],
        at_ms: u64,
        position: &mut u32,
    ) -> OpResult {
        let mut matched = Vec::new();
        for (id, queue) in &mut self.queues {
            let DestinationKind::Subscription(subscription) = &queue.kind else { continue };
            let mut tree = TopicTree::default();
            tree.insert(&subscription.topic, *id);
            let mut places = Vec::new();
            for (at, message) in (0..).zip(&messages[duplicates..]) {
                if subscription.space == space && !tree.matches(message.topic()).is_empty() {
                    let lane = Lane::of_priority(message.priority());
                    let stored = StoredMessage { message: message.clone(), at_ms, expires_ms: 0, redeliveries: 0 };
                    queue.messages.insert((lane, first.after(at, lane)), stored);
                    places.push(at);
                }
            }
            if !places.is_empty() {
                matched.push((*id, places));
            }
        }
        let accepted = (messages.len() - duplicates) as u32;
        *position += accepted;
        OpResult::Published { duplicates: duplicates as u32, accepted, first, due_ms: 0, matched }
    }

    fn forwarded(&self, queue: QueueId) -> Vec<QueueId> {
        self.queues[&queue].settings.forward_to.iter().filter_map(|name| self.named(name)).collect()
    }

    fn forward(
        &mut self,
        targets: &[QueueId],
        first: MessageId,
        duplicates: usize,
        messages: &[Message],
        at_ms: u64,
        position: &mut u32,
    ) -> OpResult {
        let fresh = &messages[duplicates..];
        for target in targets {
            let queue = self.queues.get_mut(target).unwrap();
            for (at, message) in (0..).zip(fresh) {
                let lane = Lane::of_priority(message.priority());
                let stored = StoredMessage { message: message.clone(), at_ms, expires_ms: 0, redeliveries: 0 };
                queue.messages.insert((lane, first.after(at, lane)), stored);
            }
        }
        let accepted = fresh.len() as u32;
        *position += accepted;
        let matched = targets.iter().map(|target| (*target, (0..accepted).collect())).collect();
        OpResult::Published { duplicates: duplicates as u32, accepted, first, due_ms: 0, matched }
    }

    fn leave(&mut self, messages: impl Iterator<Item = (QueueId, MessageId)>) -> OpResult {
        let removed = messages.filter(|(queue, id)| self.queues.get_mut(queue).unwrap().take(*id).is_some()).collect();
        OpResult::Changed(Changes { removed, ..Changes::default() })
    }
}

impl ModelQueue {
    fn new(name: &QueueName) -> Self {
        Self {
            name: name.clone(),
            kind: DestinationKind::Queue,
            settings: Settings::default(),
            version: 0,
            owner: None,
            messages: BTreeMap::new(),
            heads: BTreeMap::new(),
            dispatched: BTreeMap::new(),
        }
    }

    fn take(&mut self, id: MessageId) -> Option<StoredMessage> {
        self.messages.remove(&(id.lane(), id))
    }

    /// Of the lane of that message, what may have been delivered.
    pub(super) fn dispatched(&self, id: MessageId) -> MessageId {
        self.dispatched.get(&id.lane()).copied().unwrap_or(id.lane().start())
    }

    fn lane(&self, lane: Lane) -> LaneRecord {
        let of = |known: &BTreeMap<Lane, MessageId>| known.get(&lane).copied().unwrap_or(lane.start());
        let depth = self.messages.keys().filter(|(of, _)| *of == lane).count() as u64;
        LaneRecord { depth, head: of(&self.heads), dispatched: of(&self.dispatched) }
    }
}
