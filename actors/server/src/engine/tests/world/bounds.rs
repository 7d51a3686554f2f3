//! The memory of an engine and the counts of its parts, checked after each step.

use super::*;

impl World {
    pub(super) fn check_bounds(&self) {
        let Some(running) = self.state.running() else { return };
        // One page may be a message over, and a message's own memory is not counted by the store.
        let slack = 4 * (100 + 96);
        assert!(
            running.ready_memory.bytes() <= self.config.ready_total_bytes + slack,
            "{} bytes ready",
            running.ready_memory.bytes()
        );
        let mut held_by_consumers = 0;
        for queue in running.queues.by_name() {
            let (ready, returned, held) = queue.sizes();
            assert!(ready <= self.config.ready_messages + self.config.page_messages, "{ready} ready");
            assert!(returned + held <= 200, "{returned} returned, {held} held");
            held_by_consumers += queue.in_flight();
        }
        running.assert_invariants();
        let counted: u64 = running.consumers.iter().map(|(_, consumer)| u64::from(consumer.held)).sum();
        assert_eq!(counted, held_by_consumers, "credit is counted right");
        self.check_groups();
        assert!(running.deliveries.len() <= 2 * running.consumers.len() + 8 && running.pending <= 16);
    }

    /// One consumer has the messages of a group that the engine handed out. Two may say that they hold some, because an
    /// earlier engine gave one of them up.
    fn check_groups(&self) {
        let Some(running) = self.state.running() else { return };
        let mut holders = BTreeMap::new();
        for (consumer, known) in running.consumers.iter() {
            let stored = &self.model.queues[&known.queue];
            for (id, _) in running.held_by(consumer, known.queue) {
                let message = stored.messages.get(&(id.lane(), id)).map(|stored| &stored.message);
                if let Some(message) = message.filter(|message| !message.group().is_empty())
                    && !self.claimed.contains(&id)
                {
                    let holder = holders.entry((known.queue, message.group().to_owned())).or_insert(consumer);
                    assert_eq!(*holder, consumer, "group {} is with two consumers", message.group());
                }
            }
        }
    }
}
