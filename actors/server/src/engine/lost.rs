//! What is counted when consumers are gone without a word, and what waits because no exception destination takes it.
//!
//! A consumer that dies has messages that its user never saw. Of those that the user received, as far as the consumer
//! said so, each has one failed delivery more; if none of these is left, the first one that it was handed has. So a
//! message that kills whoever gets it is found after as many deaths as its queue allows, and those behind it are not set
//! aside for it. See docs/decisions/0023.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use baton_domain::{
    ConsumerId, DeadLetterOverflow, DestinationKind, EngineOp, ExceptionDestination, Expired, Kept, MessageId, MoveTo,
    QueueId, QueueName, SYSTEM_EXCEPTION_QUEUE, Timer, TimerKind, exception_header,
};

use super::message::Now;
use super::running::{Awaited, Context, Running};
use super::writer::{ID_BYTES, OP_BYTES, Then, Write};

/// So long an exception destination that was full counts as full, and a dead letter waits for it before it is tried again.
const FULL_FOR: Duration = Duration::from_millis(500);

/// So long what expired waits for it. Nobody else waits for that.
const EXPIRED_WAITS: Duration = Duration::from_secs(5);
/// So many messages one op moves at most.
const MOVED_AT_ONCE: usize = 512;

/// Why messages were to go to an exception destination that stayed.
pub(super) enum WhyKept<'a> {
    /// Their time to live is over; these are their timers.
    Expired(&'a [Timer]),
    /// A consumer rejected them, for that reason.
    Rejected(String),
    /// Too many deliveries failed.
    Failed,
}

/// What is done with a message that waited because no exception destination took it.
#[derive(Debug, Clone)]
pub(super) enum Retry {
    /// It is delivered: its queue has no exception destination.
    Deliver,
    /// It expires.
    Fire(Timer),
    /// It goes to the exception destination, for that reason.
    Move(String),
}

/// How an exception destination takes a dead letter, as far as the engine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeadLetters {
    Taken,
    /// It is full.
    Wait,
    /// There is none.
    Stay,
}

impl Running {
    /// A consumer said which message its user received last.
    pub(super) fn note_received(&mut self, consumer: ConsumerId, received: Option<MessageId>) {
        let Some(received) = received else { return };
        let Some(state) = self.consumers.get_mut(&consumer) else { return };
        let Some(queue) = self.queues.get_mut(&state.queue) else { return };
        if let Some(order) = queue.order_of(received, consumer) {
            state.received = state.received.max(order);
        }
    }

    /// A consumer is gone without a word.
    pub(super) fn detach_lost(&mut self, consumer: ConsumerId, now: Now) {
        let Some(state) = self.consumers.get(&consumer) else { return };
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

    /// Consumers that an earlier engine knew did not come back: what each of them may have had first is counted.
    pub(super) fn give_up_awaited(&mut self) {
        let mut lost: BTreeMap<QueueId, Vec<ConsumerId>> = BTreeMap::new();
        for (consumer, Awaited { queue, .. }) in std::mem::take(&mut self.awaited) {
            lost.entry(queue).or_default().push(consumer);
        }
        for (id, consumers) in lost {
            let Some(queue) = self.queues.get_mut(&id) else { continue };
            let through: Vec<_> = queue.windows().filter_map(super::window::Window::delivered_before).collect();
            if through.is_empty() {
                queue.awaited.clear();
                self.active.insert(id);
            } else {
                // Of an exclusive queue one alone had messages.
                let most = if queue.settings.exclusive { 1 } else { u32::MAX };
                let count = u32::try_from(consumers.len()).unwrap_or(u32::MAX).min(most);
                let reaches = |id: &MessageId| through.iter().any(|last| last.lane() == id.lane() && id <= last);
                let except: Vec<_> = queue.windows().flat_map(super::window::Window::held).filter(reaches).collect();
                let bytes = OP_BYTES + except.len() * ID_BYTES;
                let op = EngineOp::CountLost { queue: id, through, except, consumers: count };
                self.writer.control.push_back(Write { op, then: Then::CountLost { queue: id }, bytes });
            }
            for consumer in consumers {
                self.writer.control(EngineOp::Detach { consumer }, Then::Detach { request: None });
            }
        }
    }

    /// Messages stay that were to go to an exception destination.
    pub(super) fn keep(&mut self, kept: Vec<Kept>, why: &WhyKept<'_>, cx: &Context<'_>) {
        if kept.is_empty() {
            return;
        }
        let timers = if let WhyKept::Expired(timers) = why { *timers } else { &[] };
        let timers = timers.iter().filter(|timer| timer.kind == TimerKind::Expire);
        let timers: HashMap<_, _> = timers.map(|timer| ((timer.queue, timer.message), *timer)).collect();
        for Kept { queue, message, failed } in kept {
            let Some(state) = self.queues.get_mut(&queue) else { continue };
            self.ready_bytes -= state.window(message).keep(message, failed);
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
            self.kept.insert((cx.now.boot + wait, queue, message), retry);
            state.kept_len += 1;
            self.active.insert(queue);
        }
    }

    /// Whether what expires in a queue stays for now: it would go to an exception destination that is full.
    pub(super) fn expiry_waits(&self, queue: QueueId, now: Now) -> bool {
        self.expires_to_exception(queue) && self.dead_letters(queue, now) == DeadLetters::Wait
    }

    fn expires_to_exception(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(|state| state.settings.expired == Expired::Exception)
    }

    /// What waited long enough is tried again: it goes to its exception destination, or where it has none to consumers.
    pub(super) fn tick_kept(&mut self, cx: &Context<'_>) {
        let mut timers = Vec::new();
        let mut moves: BTreeMap<(QueueId, String), Vec<MessageId>> = BTreeMap::new();
        // Asked once for each queue: a hundred thousand messages may wait.
        let mut letters_of = BTreeMap::new();
        while let Some(entry) = self.kept.first_entry()
            && entry.key().0 <= cx.now.boot
        {
            let ((_, queue, message), mut retry) = entry.remove_entry();
            let letters = *letters_of.entry(queue).or_insert_with(|| self.dead_letters(queue, cx.now));
            let waits = match &retry {
                Retry::Fire(_) => self.expires_to_exception(queue),
                Retry::Move(_) => true,
                Retry::Deliver => false,
            };
            if waits && letters == DeadLetters::Wait {
                let wait = if matches!(retry, Retry::Fire(_)) { EXPIRED_WAITS } else { FULL_FOR };
                self.kept.insert((cx.now.boot + wait, queue, message), retry);
                continue;
            }
            if letters == DeadLetters::Stay && matches!(retry, Retry::Move(_)) {
                retry = Retry::Deliver;
            }
            let Some(state) = self.queues.get_mut(&queue) else { continue };
            state.kept_len = state.kept_len.saturating_sub(1);
            self.active.insert(queue);
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
                let then = Then::Reject { queue, messages, reason: reason.clone() };
                self.writer.control.push_back(Write { op, then, bytes });
            }
        }
    }

    /// What becomes of dead letters of a queue that are in no store: their place is to be known before they leave it.
    pub(super) fn dead_letters(&self, of: QueueId, now: Now) -> DeadLetters {
        let Some(state) = self.queues.get(&of) else { return DeadLetters::Stay };
        // The store alone knows how many bytes are there: its last word counts for a while.
        if state.dead_letters_wait.is_some_and(|until| now.boot < until) {
            return DeadLetters::Wait;
        }
        let named = match &state.settings.exception {
            ExceptionDestination::None => return DeadLetters::Stay,
            ExceptionDestination::Queue(name) => self.names.get(name),
            ExceptionDestination::System => None,
        };
        let is_queue = |id: &&QueueId| self.queues.get(id).is_some_and(|state| state.kind == DestinationKind::Queue);
        let system = || self.names.get(&QueueName::new(SYSTEM_EXCEPTION_QUEUE).ok()?);
        // The system's is made when it is first needed.
        let Some(target) = named.filter(is_queue).or_else(system) else { return DeadLetters::Taken };
        let Some(into) = self.queues.get(target).filter(|_| *target != of) else { return DeadLetters::Stay };
        let most = into.settings.max_messages;
        let full = most > 0 && into.all_messages() >= most;
        match into.settings.dead_letter_overflow {
            DeadLetterOverflow::Wait if full => DeadLetters::Wait,
            DeadLetterOverflow::Wait | DeadLetterOverflow::DropOldest => DeadLetters::Taken,
        }
    }
}
