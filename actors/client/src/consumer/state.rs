//! The consumer's core: where the engine is, which messages the user holds, and what is settled.
//!
//! A message is *held* from its delivery until the user settles it, and *in doubt* until its settlement is committed
//! ([`Settlements`]). Attaching names all messages that are held or in doubt, so that the next engine delivers none of
//! them; those in doubt are settled again at once.

mod answers;
mod boundary;
mod settlements;

use std::collections::BTreeSet;
use std::time::Duration;

use baton_domain::seeded::{self, Bug};
use baton_domain::{Epoch, MessageId, QueueName, exception_header};
use rustc_hash::FxHashMap;

use self::settlements::Settlements;
use super::settling::Verdict;
use super::{ConsumerFailure, Received};
use crate::protocol::Delivery;
use crate::session::Backoff;

pub(crate) use self::boundary::{Effect, Input};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No engine, or one that did not serve.
    Away,
    /// Attaching to the queue.
    Attaching,
    /// Attached: settlements go out.
    Attached,
    /// Refused: backs off before it goes on, or attaches again.
    Waiting { attached: bool },
    /// All settlements are committed, and the consumer detaches.
    Leaving,
    /// Closed or failed.
    Ended,
}

/// The state of a consumer. `T` is the ticket of a flush: the shell answers it when an effect returns it.
#[derive(Debug)]
pub(crate) struct State<T> {
    queue: QueueName,
    credit: u32,
    paused: bool,
    phase: Phase,
    attempt: u64,
    engine: Option<(Epoch, u64)>,
    connected: Option<Epoch>,
    /// An engine may know this consumer.
    introduced: bool,
    /// The same before the attach that is in flight.
    introduced_before: bool,
    /// An engine delivered from the queue before.
    was_attached: bool,
    /// The time for which the queue may be missing.
    deleted_grace: Duration,
    /// The time for which it has been missing: the sum of the delays.
    absent: Duration,
    /// The newest epoch seen.
    newest: Epoch,
    held: BTreeSet<MessageId>,
    settlements: Settlements<T>,
    /// The groups of messages that are held or in doubt, and of some that were.
    groups: FxHashMap<MessageId, String>,
    /// The engine does not know the credit yet.
    credit_due: bool,
    /// A [`Effect::Credit`] is not answered yet.
    credit_asked: bool,
    backoff: Backoff,
    /// The engine delivered or settled since the last [`Input::KeepAlive`].
    active: bool,
    /// More settlements are expected before the next request is made.
    gathering: bool,
    /// Set once closed: the messages that the user never received.
    untouched: Option<BTreeSet<MessageId>>,
    failure: Option<ConsumerFailure>,
}

impl<T> State<T> {
    /// A consumer that has received nothing.
    pub(crate) fn new(queue: QueueName, credit: u32, remember: usize) -> Self {
        Self {
            queue,
            credit,
            paused: false,
            phase: Phase::Away,
            attempt: 0,
            engine: None,
            connected: None,
            introduced: false,
            introduced_before: false,
            was_attached: false,
            deleted_grace: Duration::ZERO,
            absent: Duration::ZERO,
            newest: Epoch::default(),
            held: BTreeSet::new(),
            settlements: Settlements::new(remember),
            groups: FxHashMap::default(),
            credit_due: false,
            credit_asked: false,
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(250)),
            active: false,
            gathering: false,
            untouched: None,
            failure: None,
        }
    }

    /// Sets the time for which it waits for its queue if that is deleted.
    pub(crate) fn with_deleted_grace(self, deleted_grace: Duration) -> Self {
        Self { deleted_grace, ..self }
    }

    /// True if a delivery of that epoch is not outdated.
    pub(crate) fn accepts(&self, epoch: Epoch) -> bool {
        epoch >= self.newest || seeded::is(Bug::FencingOff)
    }

    /// True once the consumer takes no more deliveries.
    pub(crate) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The queue.
    pub(crate) fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Takes one input; the effects are to be performed in order.
    pub(crate) fn step(&mut self, input: Input<T>) -> Vec<Effect<T>> {
        let mut effects = Vec::new();
        match input {
            Input::Deliver { epoch, deliveries } => self.deliver(epoch, deliveries, &mut effects),
            Input::Acknowledge { id } => self.settle(id, Verdict::Acknowledged, &mut effects),
            Input::Refuse { id } => self.settle(id, Verdict::Requeued, &mut effects),
            Input::Release { id } => self.settle(id, Verdict::Released, &mut effects),
            Input::Reject { id, reason } => {
                let reason = exception_header::cut_reason(&reason).to_owned();
                self.settle(id, Verdict::Rejected(reason), &mut effects);
            }
            Input::SettledElsewhere { messages } => {
                for id in messages {
                    if self.held.remove(&id) {
                        self.settlements.remember(id);
                    }
                }
            }
            Input::SettleAll(settled) => {
                self.gathering = true;
                for (id, acknowledged) in settled {
                    let verdict = if acknowledged { Verdict::Acknowledged } else { Verdict::Requeued };
                    self.settle(id, verdict, &mut effects);
                }
                self.gathering = false;
            }
            Input::Flush { ticket } => self.flush(ticket, &mut effects),
            Input::Pause(paused) => {
                self.credit_due |= self.paused != paused;
                self.paused = paused;
            }
            Input::Close { untouched } => {
                self.credit_due |= !self.paused;
                self.paused = true;
                self.untouched
                    .get_or_insert_default()
                    .extend(untouched.into_iter().filter(|id| self.held.contains(id)));
            }
            Input::Pump => self.gathering = false,
            Input::EngineAt { epoch, link } => self.engine_at(epoch, link, &mut effects),
            Input::EngineGone => self.engine_gone(&mut effects),
            Input::Attached { attempt, answer } => {
                if attempt == self.attempt {
                    self.attached(answer, &mut effects);
                }
            }
            Input::Settled { attempt, request, answer } => {
                if attempt == self.attempt {
                    self.settled(request, answer, &mut effects);
                }
            }
            Input::Credited { attempt, answer } => {
                if attempt == self.attempt {
                    self.credited(answer, &mut effects);
                }
            }
            Input::Detached { attempt, answer } => {
                if attempt == self.attempt {
                    self.detached(answer, &mut effects);
                }
            }
            Input::Wake { attempt } => self.wake(attempt, &mut effects),
            // An engine that gave the consumer up, as it does when a delivery gets no answer, refuses its credit; else
            // the same credit changes nothing.
            Input::KeepAlive => self.credit_due |= !std::mem::take(&mut self.active),
        }
        while let Some(ticket) = self.settlements.next_flushed() {
            effects.push(Effect::Flushed { ticket, outcome: Ok(()) });
        }
        self.pump(&mut effects);
        self.leave(&mut effects);
        effects
    }

    fn deliver(&mut self, epoch: Epoch, deliveries: Vec<Delivery>, effects: &mut Vec<Effect<T>>) {
        if !self.accepts(epoch) || self.phase == Phase::Ended {
            return;
        }
        self.newest = epoch;
        self.active = true;
        let settled = self.settlements.count();
        for delivery in deliveries {
            let id = delivery.id;
            if self.held.contains(&id) || !self.settlements.is_for_user(id) {
                continue;
            }
            self.held.insert(id);
            self.note_group(id, delivery.message.group());
            match &mut self.untouched {
                Some(untouched) => drop(untouched.insert(id)),
                None => effects.push(Effect::Give(Received::new(epoch, delivery))),
            }
        }
        if self.settlements.count() > settled {
            self.gather(effects);
        }
    }

    fn note_group(&mut self, id: MessageId, group: &str) {
        if !group.is_empty() {
            if self.groups.len() > 2 * (self.held.len() + self.settlements.in_doubt().len()) {
                self.forget_groups();
            }
            self.groups.insert(id, group.to_owned());
        }
    }

    fn forget_groups(&mut self) {
        let (held, settlements) = (&self.held, &self.settlements);
        self.groups.retain(|id, _| held.contains(id) || settlements.is_in_doubt(id));
    }

    fn settle(&mut self, id: MessageId, verdict: Verdict, effects: &mut Vec<Effect<T>>) {
        // A message that is not held was settled before.
        if self.held.remove(&id) {
            if let Some(untouched) = &mut self.untouched {
                untouched.remove(&id);
            }
            self.settlements.add(id, verdict);
            self.gather(effects);
        }
    }

    /// Makes no request until the mailbox was taken in.
    fn gather(&mut self, effects: &mut Vec<Effect<T>>) {
        if !self.gathering {
            self.gathering = true;
            effects.push(Effect::PumpSoon);
        }
    }

    fn flush(&mut self, ticket: T, effects: &mut Vec<Effect<T>>) {
        match &self.failure {
            Some(why) => effects.push(Effect::Flushed { ticket, outcome: Err(why.clone()) }),
            None => self.settlements.flush(ticket),
        }
    }

    fn engine_at(&mut self, epoch: Epoch, link: u64, effects: &mut Vec<Effect<T>>) {
        let same = self.engine == Some((epoch, link));
        self.engine = Some((epoch, link));
        self.newest = self.newest.max(epoch);
        match self.phase {
            Phase::Ended => {}
            // Reported again because another producer or consumer had trouble.
            Phase::Attaching | Phase::Attached | Phase::Waiting { .. } | Phase::Leaving if same => {}
            Phase::Away => self.attach(effects),
            Phase::Attaching | Phase::Attached | Phase::Waiting { .. } | Phase::Leaving => {
                self.disconnect(effects);
                self.attach(effects);
            }
        }
    }

    fn engine_gone(&mut self, effects: &mut Vec<Effect<T>>) {
        self.engine = None;
        match self.phase {
            Phase::Away | Phase::Ended => {}
            Phase::Attaching | Phase::Attached | Phase::Waiting { .. } | Phase::Leaving => {
                self.disconnect(effects);
                self.restart(Phase::Away);
            }
        }
    }

    fn disconnect(&mut self, effects: &mut Vec<Effect<T>>) {
        if self.connected.take().is_some() {
            effects.push(Effect::Disconnected);
        }
    }

    /// Starts another attempt.
    fn restart(&mut self, phase: Phase) {
        self.attempt += 1;
        self.phase = phase;
        self.credit_asked = false;
        self.settlements.restart();
    }

    fn attach(&mut self, effects: &mut Vec<Effect<T>>) {
        self.restart(Phase::Attaching);
        self.introduced_before = std::mem::replace(&mut self.introduced, true);
        self.credit_due = false;
        let mut unsettled: Vec<_> = self.held.iter().chain(self.settlements.in_doubt()).copied().collect();
        unsettled.sort_unstable();
        self.forget_groups();
        let groups = self.groups.iter().map(|(id, group)| (*id, group.clone())).collect();
        effects.push(Effect::Attach { attempt: self.attempt, credit: self.credit_now(), unsettled, groups });
    }

    fn credit_now(&self) -> u32 {
        if self.paused { 0 } else { self.credit }
    }

    fn wake(&mut self, attempt: u64, effects: &mut Vec<Effect<T>>) {
        match self.phase {
            Phase::Waiting { attached } if attempt == self.attempt => {
                if attached {
                    self.phase = Phase::Attached;
                } else {
                    self.attach(effects);
                }
            }
            Phase::Away
            | Phase::Attaching
            | Phase::Attached
            | Phase::Waiting { .. }
            | Phase::Leaving
            | Phase::Ended => {}
        }
    }

    /// Makes requests of pending settlements: the first at once, later ones grow while others are in flight.
    fn pump(&mut self, effects: &mut Vec<Effect<T>>) {
        if self.phase != Phase::Attached {
            return;
        }
        if self.credit_due && !self.credit_asked {
            (self.credit_due, self.credit_asked) = (false, true);
            effects.push(Effect::Credit { attempt: self.attempt, credit: self.credit_now() });
        }
        while !self.gathering
            && let Some(request) = self.settlements.next_request(self.attempt)
        {
            effects.push(request);
        }
    }

    /// Once closed, and when all settlements are committed, the consumer detaches.
    fn leave(&mut self, effects: &mut Vec<Effect<T>>) {
        let Some(untouched) = &self.untouched else { return };
        match self.phase {
            Phase::Leaving => {}
            Phase::Ended => self.end(effects),
            Phase::Attached => {
                if self.settlements.is_empty() && !self.credit_asked {
                    let untouched = untouched.iter().copied().collect();
                    self.restart(Phase::Leaving);
                    effects.push(Effect::Detach { attempt: self.attempt, untouched });
                }
            }
            Phase::Away | Phase::Attaching | Phase::Waiting { .. } => {
                // With nothing to hand back, an engine that still knows the consumer notices by itself.
                if !self.introduced || (self.held.is_empty() && !self.settlements.has_doubts()) {
                    self.end(effects);
                }
            }
        }
    }

    fn fail(&mut self, why: ConsumerFailure, effects: &mut Vec<Effect<T>>) {
        self.failure = Some(why.clone());
        self.restart(Phase::Ended);
        effects.push(Effect::Fail { why: why.clone() });
        let flushes = self.settlements.end().into_iter();
        effects.extend(flushes.map(|ticket| Effect::Flushed { ticket, outcome: Err(why.clone()) }));
    }

    fn end(&mut self, effects: &mut Vec<Effect<T>>) {
        self.untouched = None;
        if self.failure.is_none() {
            self.fail(ConsumerFailure::Closed, effects);
        }
        self.phase = Phase::Ended;
        effects.push(Effect::Stop);
    }
}

#[cfg(test)]
mod tests;
