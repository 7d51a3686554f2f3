//! Deliveries of a queue where not every message is for every consumer: consumers have selectors, or messages are in
//! groups.
//!
//! Looks at the messages in memory in their order, and gives each to the consumer that has the turn among those that
//! select it and have room; one of a group only to the consumer that holds messages of that group. Messages reserved for a
//! busy consumer do not block those for others, within the messages in memory. A message that no consumer selects leaves the
//! memory, and is read again when other consumers come (see [`super::window::Window::skip`]).

use std::collections::HashMap;

use baton_client::protocol::Delivery;
use baton_domain::{ConsumerId, MessageId, QueueId, Selector};

use super::Running;
use crate::engine::context::Context;
use crate::engine::parts::groups::Turn;
use crate::engine::parts::ready::Ready;

/// A consumer while messages are chosen for it.
struct Candidate<'a> {
    consumer: ConsumerId,
    selector: Option<&'a Selector>,
    /// Number of messages that it takes before it settles some.
    credit: usize,
    /// Number of them now, in one delivery.
    room: usize,
    bytes: usize,
}

impl Candidate<'_> {
    fn selects(&self, ready: &Ready) -> bool {
        self.selector.is_none_or(|selector| selector.selects(&ready.message))
    }
}

#[derive(Default)]
struct Choice {
    taken: Vec<(MessageId, ConsumerId)>,
    skipped: Vec<MessageId>,
    expired: Vec<(MessageId, u64)>,
    /// True if a message waits for a consumer that has no room.
    passed_over: bool,
    /// True if more can be chosen at once.
    again: bool,
}

impl Running {
    /// Hands messages of a queue to the consumers that want them.
    pub(in crate::engine) fn deliver_chosen(&mut self, id: QueueId, cx: &mut Context<'_>) {
        loop {
            if self.deliveries.bytes() >= cx.config.deliver_total_bytes {
                self.queues.wake(id);
                return;
            }
            let choice = self.choose(id, cx);
            let nothing = choice.taken.is_empty();
            if let Some(queue) = self.queues.get_mut(id) {
                queue.stuck = nothing && (choice.passed_over || queue.stuck);
            }
            self.perform_choice(id, choice.taken, &choice.skipped, cx);
            let mut timers = Vec::new();
            for (message, due_ms) in choice.expired {
                self.expire_now(id, message, due_ms, &mut timers);
            }
            self.fire(timers);
            if nothing || !choice.again {
                return;
            }
        }
    }

    fn choose(&self, id: QueueId, cx: &Context<'_>) -> Choice {
        let mut choice = Choice::default();
        let Some(queue) = self.queues.get(id) else { return choice };
        let only = self.only_consumer(queue);
        let states = queue.consumers.iter().filter(|consumer| only.is_none_or(|only| only == **consumer));
        let states = states.filter_map(|consumer| Some((*consumer, self.consumers.get(*consumer)?)));
        let mut candidates: Vec<Candidate<'_>> = states
            .map(|(consumer, state)| {
                let credit = if state.can_take(cx.config) { (state.credit - state.held) as usize } else { 0 };
                let room = credit.min(cx.config.deliver_messages.max(1));
                let selector = state.selector.as_ref();
                Candidate { consumer, selector, credit, room, bytes: 0 }
            })
            .collect();
        let mut new_groups: HashMap<&str, ConsumerId> = HashMap::new();
        for (message, ready) in queue.candidates(cx.config.ready_messages) {
            if candidates.iter().all(|candidate| candidate.room == 0) {
                break;
            }
            if ready.expires_ms != 0 && ready.expires_ms <= cx.now.unix_ms {
                choice.expired.push((message, ready.expires_ms));
                continue;
            }
            let group = ready.message.group();
            let turn = match new_groups.get(group) {
                Some(consumer) => Turn::Only(*consumer),
                None if group.is_empty() => Turn::Anybody,
                None => queue.groups.turn(group),
            };
            let may = |candidate: &Candidate<'_>| match turn {
                Turn::Anybody => candidate.selects(ready),
                Turn::Only(consumer) => consumer == candidate.consumer && candidate.selects(ready),
                Turn::Nobody => false,
            };
            let Some(at) = candidates.iter().position(|candidate| candidate.room > 0 && may(candidate)) else {
                // While a group is with a consumer that does not select it, the others wait: it may be theirs then.
                if turn == Turn::Anybody && !candidates.iter().any(may) && !message.is_nonpersistent() {
                    choice.skipped.push(message);
                } else {
                    choice.passed_over = true;
                }
                continue;
            };
            let mut candidate = candidates.remove(at);
            candidate.bytes += ready.bytes();
            candidate.credit -= 1;
            candidate.room = if candidate.bytes >= cx.config.deliver_bytes { 0 } else { candidate.room - 1 };
            choice.again |= candidate.room == 0 && candidate.credit > 0;
            if !group.is_empty() {
                new_groups.insert(group, candidate.consumer);
            }
            choice.taken.push((message, candidate.consumer));
            candidates.push(candidate);
        }
        choice
    }

    fn perform_choice(
        &mut self,
        id: QueueId,
        taken: Vec<(MessageId, ConsumerId)>,
        skipped: &[MessageId],
        cx: &mut Context<'_>,
    ) {
        let Some(queue) = self.queues.get_mut(id) else { return };
        for message in skipped {
            self.ready_memory.freed(queue.window(*message).skip(*message));
        }
        let mut batches: Vec<(ConsumerId, Vec<Delivery>, usize)> = Vec::new();
        for (message, consumer) in taken {
            let Some(state) = self.consumers.get_mut(consumer) else { continue };
            let Some(ready) = queue.take(message, consumer, state.next_place()) else { continue };
            queue.groups.hold(message, ready.message.group(), consumer);
            if !message.is_nonpersistent() {
                self.ready_memory.freed(ready.bytes());
            }
            // The next in turn is another one.
            queue.consumers.retain(|other| *other != consumer);
            queue.consumers.push_back(consumer);
            let bytes = ready.bytes();
            let delivery = ready.delivery(message);
            match batches.iter_mut().find(|(known, ..)| *known == consumer) {
                Some((_, deliveries, sum)) => {
                    deliveries.push(delivery);
                    *sum += bytes;
                }
                None => batches.push((consumer, vec![delivery], bytes)),
            }
        }
        for (consumer, deliveries, bytes) in batches {
            self.hand_out(consumer, deliveries, bytes, cx);
        }
    }
}
