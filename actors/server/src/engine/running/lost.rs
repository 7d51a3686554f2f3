//! Failed deliveries of consumers that are gone without a word, and dead letters that wait because no exception destination
//! takes them.
//!
//! A consumer that dies has messages that its user never saw. Of those that the user received, as far as the consumer
//! said so, each has one failed delivery more; if none of these is left, the first one that it was handed has. So a
//! message that kills whoever gets it is found after as many deaths as its queue allows, and those behind it are not set
//! aside for it. See docs/decisions/0023.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use baton_domain::{
    ConsumerId, EngineOp, ExceptionDestination, Kept, MessageId, MoveTo, OpResult, QueueId, TimerKind, exception_header,
};

use super::Running;
use crate::engine::context::Context;
use crate::engine::message::Now;
use crate::engine::parts::consumers::Awaited;
use crate::engine::parts::dead_letters::DeadLetters;
use crate::engine::parts::kept::{Retry, WhyKept};
use crate::engine::parts::proposals::{ID_BYTES, OP_BYTES};
use crate::engine::parts::purpose::{Purpose, Resolved};
use crate::engine::parts::window::Window;

/// Time for which an exception destination that was full counts as full, and after which a dead letter is tried again.
const FULL_FOR: Duration = Duration::from_millis(500);
/// The same for expired messages. Nobody else waits for that.
const EXPIRED_WAITS: Duration = Duration::from_secs(5);
/// Maximum number of messages that one operation moves.
const MOVED_AT_ONCE: usize = 512;

impl Running {
    /// A consumer is gone without a word.
    pub(in crate::engine) fn detach_lost(&mut self, consumer: ConsumerId, now: Now) {
        let Some(state) = self.consumers.get(consumer) else { return };
        let held = self.held_by(consumer, state.queue);
        let received = |order: u64| order <= state.received;
        let through = match held.iter().any(|(_, order)| received(*order)) {
            true => state.received,
            false => held.iter().map(|(_, order)| *order).min().unwrap_or(0),
        };
        let untouched: BTreeSet<MessageId> =
            held.into_iter().filter(|(_, order)| *order > through).map(|(message, _)| message).collect();
        self.detach(consumer, &untouched, true, None, now);
    }

    /// Gives up consumers that an earlier engine knew and that did not come back in time: of the messages that each of them
    /// may have had, the first one is counted.
    pub(in crate::engine) fn give_up_awaited(&mut self, now: Now) {
        let mut lost: BTreeMap<QueueId, Vec<ConsumerId>> = BTreeMap::new();
        for (consumer, Awaited { queue, .. }) in self.consumers.give_up_awaited(now.boot) {
            lost.entry(queue).or_default().push(consumer);
        }
        for (id, consumers) in lost {
            let Some(queue) = self.queues.get_mut(id) else { continue };
            let through: Vec<_> = queue.windows().filter_map(Window::delivered_before).collect();
            if through.is_empty() {
                queue.awaited.clear();
                self.queues.wake(id);
            } else {
                // Of an exclusive queue one alone had messages.
                let most = if queue.settings.exclusive { 1 } else { u32::MAX };
                let count = u32::try_from(consumers.len()).unwrap_or(u32::MAX).min(most);
                let reaches = |id: &MessageId| through.iter().any(|last| last.lane() == id.lane() && id <= last);
                let except: Vec<_> = queue.windows().flat_map(Window::held).filter(reaches).collect();
                let bytes = OP_BYTES + except.len() * ID_BYTES;
                let op = EngineOp::CountLost { queue: id, through, except, consumers: count };
                self.proposals.control_of(op, Purpose::CountLost { queue: id }, bytes);
            }
            for consumer in consumers {
                self.proposals.control(EngineOp::Detach { consumer }, Purpose::Detach { request: None });
            }
        }
    }

    /// Failed deliveries of consumers that did not come back are counted: their queue goes on.
    pub(in crate::engine) fn lost_counted(&mut self, id: QueueId, result: OpResult, cx: &Context<'_>) -> Resolved {
        match result {
            OpResult::Changed(changes) => {
                self.changed(changes, cx);
                if let Some(queue) = self.queues.wake_mut(id) {
                    queue.awaited.clear();
                }
                Ok(())
            }
            OpResult::NoSuchQueue => Ok(()),
            other => Err(other.into()),
        }
    }

    /// Messages stay that were to go to an exception destination.
    pub(in crate::engine) fn keep(&mut self, kept: Vec<Kept>, why: &WhyKept<'_>, cx: &Context<'_>) {
        if kept.is_empty() {
            return;
        }
        let timers = if let WhyKept::Expired(timers) = why { *timers } else { &[] };
        let timers = timers.iter().filter(|timer| timer.kind == TimerKind::Expire);
        let timers: HashMap<_, _> = timers.map(|timer| ((timer.queue, timer.message), *timer)).collect();
        for Kept { queue, message, failed } in kept {
            let Some(state) = self.queues.wake_mut(queue) else { continue };
            self.ready_memory.freed(state.window(message).keep(message, failed));
            state.groups.let_go(message);
            let full = state.settings.exception != ExceptionDestination::None;
            if full {
                state.dead_letters_wait = Some(cx.now.boot + FULL_FOR);
            }
            let retry = match why {
                WhyKept::Expired(_) => {
                    timers.get(&(queue, message)).map_or(Retry::Deliver, |timer| Retry::Fire(*timer))
                }
                WhyKept::Rejected(reason) if full => Retry::Move(reason.clone()),
                WhyKept::Failed if full => Retry::Move(exception_header::deliveries_failed(failed)),
                WhyKept::Rejected(_) | WhyKept::Failed => Retry::Deliver,
            };
            let wait = match retry {
                Retry::Deliver => Duration::from_millis(state.settings.kept_ms(failed)),
                Retry::Fire(_) => EXPIRED_WAITS,
                Retry::Move(_) => FULL_FOR,
            };
            state.kept_len += 1;
            self.kept.wait(cx.now.boot + wait, queue, message, retry);
        }
    }

    /// Tries messages again that waited long enough: they go to their exception destination, or where there is none to
    /// consumers.
    pub(in crate::engine) fn tick_kept(&mut self, cx: &Context<'_>) {
        let mut timers = Vec::new();
        let mut moves: BTreeMap<(QueueId, String), Vec<MessageId>> = BTreeMap::new();
        // Asked once for each queue: a hundred thousand messages may wait.
        let mut letters_of = BTreeMap::new();
        while let Some((queue, message, mut retry)) = self.kept.next_due(cx.now.boot) {
            let letters = *letters_of.entry(queue).or_insert_with(|| self.queues.dead_letters(queue, cx.now));
            let waits = match &retry {
                Retry::Fire(_) => self.queues.expires_to_exception(queue),
                Retry::Move(_) => true,
                Retry::Deliver => false,
            };
            if waits && letters == DeadLetters::Wait {
                let wait = if matches!(retry, Retry::Fire(_)) { EXPIRED_WAITS } else { FULL_FOR };
                self.kept.wait(cx.now.boot + wait, queue, message, retry);
                continue;
            }
            if letters == DeadLetters::Stay && matches!(retry, Retry::Move(_)) {
                retry = Retry::Deliver;
            }
            let Some(state) = self.queues.wake_mut(queue) else { continue };
            state.kept_len = state.kept_len.saturating_sub(1);
            let window = state.window(message);
            match retry {
                Retry::Move(reason) if window.is_kept(message) => {
                    window.leaving(message);
                    moves.entry((queue, reason)).or_default().push(message);
                }
                Retry::Move(_) => {}
                Retry::Deliver => drop(window.kept_long_enough(message)),
                // One that nobody holds any more may have a timer all the same: it finds nothing if the message is gone.
                Retry::Fire(timer) => {
                    if window.kept_long_enough(message) || !window.is_held(message) {
                        timers.push(timer);
                    }
                }
            }
        }
        self.fire(timers);
        for ((queue, reason), messages) in moves {
            for part in messages.chunks(MOVED_AT_ONCE) {
                let (messages, to) = (part.to_vec(), MoveTo::Exception { reason: reason.clone() });
                let op = EngineOp::Move { queue, messages: messages.clone(), to };
                let bytes = OP_BYTES + part.len() * ID_BYTES + reason.len();
                let purpose = Purpose::Reject { queue, messages, reason: reason.clone() };
                self.proposals.control_of(op, purpose, bytes);
            }
        }
    }
}
