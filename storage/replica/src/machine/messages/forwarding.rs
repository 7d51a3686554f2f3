//! Forwarding: messages go into their destination, or into each one that it forwards to.

use baton_domain::message_batch::Iter;
use baton_domain::{DestinationKind, Destinations, QueueId};

use super::super::Machine;
use super::super::apply::{Apply, earlier};
use super::super::topics::Published;

impl Machine {
    /// Stores new messages in each of these destinations, under the same ids: copies of one message never meet in a
    /// queue, for what moves gets a new id.
    pub(in crate::machine) fn send_to_all(
        &mut self,
        apply: &mut Apply<'_>,
        targets: &[QueueId],
        messages: Iter<'_>,
    ) -> Published {
        let mut all = Published::default();
        let first = apply.next;
        for target in targets {
            apply.next = first;
            let due_ms = if self.kind(*target) == Some(&DestinationKind::TopicSpace) {
                let published = self.publish(apply, *target, messages.clone());
                all.matched.extend(published.matched);
                published.due_ms
            } else {
                let due_ms = self.store(apply, *target, messages.clone(), false, None);
                all.matched.push((*target, (0..).zip(messages.clone()).map(|(at, _)| at).collect()));
                due_ms
            };
            all.due_ms = earlier(all.due_ms, due_ms);
        }
        all
    }
}
