//! Deliveries of a queue where not every message is for every consumer: consumers have selectors, or messages are in
//! groups.
//!
//! Looks at the messages in memory in their order, and gives each to the consumer that has the turn among those that
//! select it and have room; one of a group only to the consumer that holds messages of that group. What waits for one
//! consumer does not stand in the way of what is for others, as far as the memory reaches. What no consumer selects leaves
//! the memory, and is read again when other consumers come (see [`super::window::Window::skip`]).

use std::collections::HashMap;

use baton_client::protocol::Delivery;
use baton_domain::{ConsumerId, MessageId, QueueId, Selector};

use super::groups::Turn;
use super::running::{Context, Running};
use super::window::Ready;

/// A consumer while messages are chosen for it.
struct Taker<'a> {
    consumer: ConsumerId,
    selector: Option<&'a Selector>,
    /// How many messages it takes before it settles some.
    credit: usize,
    /// How many of them now, in one delivery.
    room: usize,
    bytes: usize,
}

impl Taker<'_> {
    fn selects(&self, ready: &Ready) -> bool {
        self.selector.is_none_or(|selector| selector.selects(&ready.message))
    }
}

#[derive(Default)]
struct Choice {
    taken: Vec<(MessageId, ConsumerId)>,
    skipped: Vec<MessageId>,
    expired: Vec<(MessageId, u64)>,
    /// Whether a message waits for a consumer that has no room.
    passed_over: bool,
    /// Whether to choose again at once.
    again: bool,
}

impl Running {
    /// Hands messages of a queue to the consumers that want them.
    pub(super) fn deliver_chosen(&mut self, id: QueueId, cx: &mut Context<'_>) {
        loop {
            if self.call_bytes >= cx.config.deliver_total_bytes {
                self.active.insert(id);
                return;
            }
            let choice = self.choose(id, cx);
            let nothing = choice.taken.is_empty();
            if let Some(queue) = self.queues.get_mut(&id) {
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
        let Some(queue) = self.queues.get(&id) else { return choice };
        let only = self.only_consumer(queue);
        let states = queue.consumers.iter().filter(|consumer| only.is_none_or(|only| only == **consumer));
        let states = states.filter_map(|consumer| Some((*consumer, self.consumers.get(consumer)?)));
        let mut takers: Vec<Taker<'_>> = states
            .map(|(consumer, state)| {
                let credit = if state.can_take(cx.config) { (state.credit - state.held) as usize } else { 0 };
                let room = credit.min(cx.config.deliver_messages.max(1));
                let selector = state.selector.as_ref();
                Taker { consumer, selector, credit, room, bytes: 0 }
            })
            .collect();
        let mut new_groups: HashMap<&str, ConsumerId> = HashMap::new();
        for (message, ready) in queue.candidates(cx.config.ready_messages) {
            if takers.iter().all(|taker| taker.room == 0) {
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
            let may = |taker: &Taker<'_>| match turn {
                Turn::Anybody => taker.selects(ready),
                Turn::Only(consumer) => consumer == taker.consumer && taker.selects(ready),
                Turn::Nobody => false,
            };
            let Some(at) = takers.iter().position(|taker| taker.room > 0 && may(taker)) else {
                // While a group is with a consumer that does not select it, the others wait: it may be theirs then.
                if turn == Turn::Anybody && !takers.iter().any(may) && !message.is_nonpersistent() {
                    choice.skipped.push(message);
                } else {
                    choice.passed_over = true;
                }
                continue;
            };
            let mut taker = takers.remove(at);
            taker.bytes += ready.bytes();
            taker.credit -= 1;
            taker.room = if taker.bytes >= cx.config.deliver_bytes { 0 } else { taker.room - 1 };
            choice.again |= taker.room == 0 && taker.credit > 0;
            if !group.is_empty() {
                new_groups.insert(group, taker.consumer);
            }
            choice.taken.push((message, taker.consumer));
            takers.push(taker);
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
        let Some(queue) = self.queues.get_mut(&id) else { return };
        for message in skipped {
            self.ready_bytes -= queue.window(*message).skip(*message);
        }
        let mut batches: Vec<(ConsumerId, Vec<Delivery>, usize)> = Vec::new();
        for (message, consumer) in taken {
            let Some(state) = self.consumers.get_mut(&consumer) else { continue };
            let Some(ready) = queue.take(message, consumer, state.next_place()) else { continue };
            queue.groups.hold(message, ready.message.group(), consumer);
            if !message.is_nonpersistent() {
                self.ready_bytes -= ready.bytes();
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
