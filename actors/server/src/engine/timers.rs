//! What is due: messages that expire, and delayed ones that enter their queues.
//!
//! The store keeps the timers in order of their times; the engine looks for those that are due and proposes to do them.
//! It remembers one time, that of the next look, and how far it looked: so the number of timers costs no memory.

use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Changes, EngineOp, MessageId, QueueId, Timer, TimerKind};

use super::lost::WhyKept;
use super::message::{Effect, Now};
use super::queue::Queue;
use super::running::{Context, Halt, Running};
use super::writer::{OP_BYTES, Then, Write};

/// How many timers are looked for, and done by one op, at a time.
const TIMERS: usize = 512;
/// What a timer takes in an entry, about.
const TIMER_BYTES: usize = 32;
/// So long after an exception destination was full, what expired is looked for again.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// When to look for timers, and from which on.
#[derive(Debug)]
pub(super) struct Timers {
    due: Option<BootTime>,
    /// All up to this one were found.
    found: Option<Timer>,
    /// Some of these were left out, for they could not be done.
    left_out: bool,
    looking: bool,
}

impl Timers {
    /// Of an engine that just started: it knows nothing.
    pub(super) fn new(now: Now) -> Self {
        Self { due: Some(now.boot), found: None, left_out: false, looking: false }
    }

    pub(super) fn deadline(&self) -> Option<BootTime> {
        self.due.filter(|_| !self.looking)
    }

    /// The store has a new timer; 0: it has none.
    pub(super) fn note(&mut self, due_ms: u64, now: Now) {
        if due_ms == 0 {
            return;
        }
        if self.found.is_some_and(|found| found.due_ms >= due_ms) {
            self.found = None;
        }
        self.set(due_ms, now);
    }

    fn set(&mut self, due_ms: u64, now: Now) {
        let due = now.boot + Duration::from_millis(due_ms.saturating_sub(now.unix_ms));
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    /// What is due could not be done: it is looked for again from the beginning, after a while.
    pub(super) fn look_again(&mut self, now: Now) {
        (self.found, self.left_out) = (None, false);
        let due = now.boot + LOOK_AGAIN;
        self.due = Some(self.due.map_or(due, |known| known.min(due)));
    }

    /// Looks, if it is time.
    pub(super) fn look(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.deadline().is_some_and(|due| due <= now.boot) {
            (self.looking, self.due) = (true, None);
            effects.push(Effect::FindTimers { after: self.found, until_ms: now.unix_ms, limit: TIMERS });
        }
    }
}

impl Running {
    /// What a look brought.
    pub(super) fn timers_found(
        &mut self,
        due: Result<Vec<Timer>, String>,
        next_ms: Option<u64>,
        cx: &mut Context<'_>,
    ) -> Result<(), Halt> {
        let mut due = due.map_err(|why| Halt { why: format!("cannot read the store: {why}") })?;
        self.timers.looking = false;
        if let Some(last) = due.last() {
            self.timers.found = Some(*last);
        }
        // What expires into a destination that is full stays, and costs nothing meanwhile.
        let before = due.len();
        due.retain(|timer| timer.kind != TimerKind::Expire || !self.expiry_waits(timer.queue, cx.now));
        self.timers.left_out |= due.len() < before;
        if self.timers.left_out && next_ms.is_none_or(|next_ms| next_ms > cx.now.unix_ms) {
            self.timers.look_again(cx.now);
        }
        next_ms.into_iter().for_each(|next_ms| self.timers.set(next_ms, cx.now));
        let (enter, expire): (Vec<Timer>, Vec<Timer>) =
            due.into_iter().partition(|timer| timer.kind == TimerKind::Enter);
        // What a consumer has is delivered in time: if it comes back, it is seen then.
        let expire = expire.into_iter().filter(|timer| {
            let queue = self.queues.get_mut(&timer.queue);
            !queue.is_some_and(|queue| {
                let window = queue.window(timer.message);
                window.is_with_consumer(timer.message) || window.is_in_doubt(timer.message)
            })
        });
        let expire = expire.collect();
        self.fire(enter);
        self.fire(expire);
        Ok(())
    }

    /// Proposes what is due. What expires is not delivered any more. Timers of one kind.
    pub(super) fn fire(&mut self, timers: Vec<Timer>) {
        if timers.is_empty() {
            return;
        }
        for timer in timers.iter().filter(|timer| timer.kind == TimerKind::Expire) {
            if let Some(queue) = self.queues.get_mut(&timer.queue) {
                self.ready_bytes -= queue.window(timer.message).leaving(timer.message);
            }
        }
        for part in timers.chunks(TIMERS) {
            let (op, then) = (EngineOp::Fire { timers: part.to_vec() }, Then::Fire { timers: part.to_vec() });
            let bytes = OP_BYTES + part.len() * TIMER_BYTES;
            self.writer.control.push_back(Write { op, then, bytes });
        }
    }

    /// Takes what expired out of the way of deliveries.
    pub(super) fn expire(&mut self, id: QueueId, cx: &Context<'_>) {
        let mut timers = Vec::new();
        while let Some((message, ready)) = self.queues.get(&id).and_then(Queue::peek)
            && ready.expires_ms != 0
            && ready.expires_ms <= cx.now.unix_ms
        {
            let due_ms = ready.expires_ms;
            self.expire_now(id, message, due_ms, &mut timers);
        }
        self.fire(timers);
    }

    /// Takes one message that expired out of the way; it is proposed with the `timers`.
    pub(super) fn expire_now(&mut self, id: QueueId, message: MessageId, due_ms: u64, timers: &mut Vec<Timer>) {
        if message.is_nonpersistent() {
            return self.expire_in_memory(id, message);
        }
        let Some(queue) = self.queues.get_mut(&id) else { return };
        timers.push(Timer { due_ms, kind: TimerKind::Expire, queue: id, message });
        self.ready_bytes -= queue.window(message).leaving(message);
    }

    /// What was due is done.
    pub(super) fn fired(&mut self, timers: &[Timer], changes: Changes, cx: &Context<'_>) {
        self.changed_by(changes, &WhyKept::Expired(timers), cx);
        for timer in timers.iter().filter(|timer| timer.kind == TimerKind::Expire) {
            self.left_behind(timer.queue, &[timer.message]);
        }
    }
}
