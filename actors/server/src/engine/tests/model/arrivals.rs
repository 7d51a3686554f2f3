//! Messages that come in: into a queue, a topic space, or what a queue forwards to.

use baton_domain::topic::TopicTree;
use baton_domain::{
    Arrival, Changes, DestinationKind, Lane, Message, MessageId, OpResult, QueueId, StoredMessage, TransactionSend,
};

use super::Model;

impl Model {
    pub(super) fn arrive(&mut self, sends: &[TransactionSend], at_ms: u64, position: &mut u32, changes: &mut Changes) {
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

    pub(super) fn take_in(
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
}
