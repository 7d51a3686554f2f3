//! The effect of each operation of an engine.

use baton_domain::{
    Changes, EngineOp, ExceptionDestination, Kept, MessageId, MoveTo, OpResult, Prepared, ProducerId, QueueId,
    SessionId, TimerKind,
};

use super::{Model, ModelQueue};

/// Sessions are among the producers.
fn key(session: SessionId) -> ProducerId {
    ProducerId(session.0)
}

fn opened(queue: QueueId, last: u64) -> OpResult {
    OpResult::Producer { queue, next: last + 1, registration: 0, digest: 0, claimed: false }
}

impl Model {
    pub(super) fn op(&mut self, op: &EngineOp, at_ms: u64, position: &mut u32) -> OpResult {
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

    fn leave(&mut self, messages: impl Iterator<Item = (QueueId, MessageId)>) -> OpResult {
        let removed = messages.filter(|(queue, id)| self.queues.get_mut(queue).unwrap().take(*id).is_some()).collect();
        OpResult::Changed(Changes { removed, ..Changes::default() })
    }
}
