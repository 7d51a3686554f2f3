//! Invariants of a started engine. The simulations check them at each step.

use baton_domain::Destinations;

use super::Running;
use crate::engine::parts::queue::Queue;
use crate::engine::parts::window::Window;

impl Running {
    pub(in crate::engine) fn assert_invariants(&self) {
        self.deliveries.assert_invariants();
        let settlements = || self.queues.iter().flat_map(|(_, queue)| &queue.settlements);
        self.proposals.assert_invariants(settlements().map(|settlement| settlement.len()).sum());
        let waiting = self.proposals.requests_len() + settlements().count() + self.browsing.len();
        assert_eq!(self.pending, waiting, "requests without an answer");
        let memory = |queue: &Queue| queue.ready_bytes() + queue.reserved_bytes();
        let ready: usize = self.queues.iter().map(|(_, queue)| memory(queue)).sum();
        assert_eq!(self.ready_memory.bytes(), ready, "bytes of ready messages");
        let nonpersistent: usize = self.queues.iter().map(|(_, queue)| queue.nonpersistent.bytes()).sum();
        assert_eq!(
            self.memory.bytes(),
            nonpersistent + self.memory.delayed_bytes(),
            "bytes of messages in memory alone"
        );
        for (id, consumer) in self.consumers.iter() {
            let held = self.held_by(id, consumer.queue).len();
            assert_eq!(consumer.held as usize, held, "messages that {id} holds");
            assert!(consumer.received <= consumer.handed, "{id} received what it was not handed");
            let queue = self.queues.get(consumer.queue).expect("a consumer's queue exists");
            assert_eq!(queue.consumers.iter().filter(|other| **other == id).count(), 1, "{id} has one turn");
        }
        for (id, queue) in self.queues.iter() {
            assert_eq!(self.queues.id(&queue.name), Some(id), "the name of {id:?}");
            assert!(queue.consumers.iter().all(|consumer| self.consumers.queue(*consumer) == Some(id)));
            queue.windows().for_each(Window::assert_invariants);
        }
    }
}
