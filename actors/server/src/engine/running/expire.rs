//! Messages that are due: those that expire, and delayed ones that enter their queues.

use baton_domain::{EngineOp, MessageId, OpResult, QueueId, Timer, TimerKind};

use super::Running;
use crate::engine::context::{Context, Halt};
use crate::engine::parts::kept::WhyKept;
use crate::engine::parts::proposals::OP_BYTES;
use crate::engine::parts::purpose::{Purpose, Resolved};
use crate::engine::parts::queue::Queue;
use crate::engine::parts::timers::TIMERS;

/// Approximate bytes of a timer in an entry.
const TIMER_BYTES: usize = 32;

impl Running {
    /// Timers were found.
    pub(in crate::engine) fn timers_found(
        &mut self,
        due: Result<Vec<Timer>, String>,
        next_ms: Option<u64>,
        cx: &mut Context<'_>,
    ) -> Result<(), Halt> {
        let mut due = due.map_err(|why| Halt { why: format!("cannot read the store: {why}") })?;
        let (last, found) = (due.last().copied(), due.len());
        // Messages that expire into a destination that is full stay, and cost nothing meanwhile.
        due.retain(|timer| timer.kind != TimerKind::Expire || !self.queues.expiry_waits(timer.queue, cx.now));
        self.timers.found(last, due.len() < found, next_ms, cx.now);
        let (enter, mut expire): (Vec<Timer>, Vec<Timer>) =
            due.into_iter().partition(|timer| timer.kind == TimerKind::Enter);
        // A message that a consumer has is delivered in time: if it comes back, it is seen then.
        expire.retain(|timer| {
            self.queues.get_mut(timer.queue).is_none_or(|queue| {
                let window = queue.window(timer.message);
                !window.is_with_consumer(timer.message) && !window.is_in_doubt(timer.message)
            })
        });
        self.fire(enter);
        self.fire(expire);
        Ok(())
    }

    /// Proposes timers of one kind that are due. Messages that expire are not delivered any more.
    pub(in crate::engine) fn fire(&mut self, timers: Vec<Timer>) {
        if timers.is_empty() {
            return;
        }
        for timer in timers.iter().filter(|timer| timer.kind == TimerKind::Expire) {
            if let Some(queue) = self.queues.get_mut(timer.queue) {
                self.ready_memory.freed(queue.window(timer.message).leaving(timer.message));
            }
        }
        for part in timers.chunks(TIMERS) {
            let (op, purpose) = (EngineOp::Fire { timers: part.to_vec() }, Purpose::Fire { timers: part.to_vec() });
            self.proposals.control_of(op, purpose, OP_BYTES + part.len() * TIMER_BYTES);
        }
    }

    /// Takes expired messages out of the way of deliveries.
    pub(in crate::engine) fn expire(&mut self, id: QueueId, cx: &Context<'_>) {
        let mut timers = Vec::new();
        while let Some((message, ready)) = self.queues.get(id).and_then(Queue::peek)
            && ready.expires_ms != 0
            && ready.expires_ms <= cx.now.unix_ms
        {
            let due_ms = ready.expires_ms;
            self.expire_now(id, message, due_ms, &mut timers);
        }
        self.fire(timers);
    }

    /// Takes one expired message out of the way; it is proposed with the `timers`.
    pub(in crate::engine) fn expire_now(
        &mut self,
        id: QueueId,
        message: MessageId,
        due_ms: u64,
        timers: &mut Vec<Timer>,
    ) {
        if message.is_nonpersistent() {
            return self.expire_in_memory(id, message);
        }
        let Some(queue) = self.queues.get_mut(id) else { return };
        timers.push(Timer { due_ms, kind: TimerKind::Expire, queue: id, message });
        self.ready_memory.freed(queue.window(message).leaving(message));
    }

    /// Timers that were due are done.
    pub(in crate::engine) fn fired(&mut self, timers: &[Timer], result: OpResult, cx: &Context<'_>) -> Resolved {
        let OpResult::Changed(changes) = result else { return Err(result.into()) };
        self.changed_by(changes, &WhyKept::Expired(timers), cx);
        for timer in timers.iter().filter(|timer| timer.kind == TimerKind::Expire) {
            self.left_behind(timer.queue, &[timer.message]);
        }
        Ok(())
    }
}
