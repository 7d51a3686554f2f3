//! The consumer's core: what is held, what is settled and not committed, and where the engine is.
//!
//! A message is *held* from its delivery until the user settles it, then *in doubt* until the engine answers that the
//! settlement is committed, then (if acknowledged) *recent*. Attaching names all that is held or in doubt, so that the
//! next engine delivers none of it; what is in doubt is settled again at once.

mod answers;
mod boundary;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use baton_domain::seeded::{self, Bug};
use baton_domain::{Epoch, MessageId, QueueName, exception_header};
use rustc_hash::FxHashMap;

use super::recent::Recent;
use super::{ConsumerFailure, Received};
use crate::protocol::Delivery;
use crate::session::Backoff;

pub(crate) use boundary::{Effect, Input};

/// The most ids in one request.
const SETTLE_IDS: usize = 4_096;
/// A request takes no further rejection beyond so many bytes of reasons.
const SETTLE_REASON_BYTES: usize = 256 * 1024;
/// The most requests that settle on their way.
const SETTLES: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No engine, or one that did not serve.
    Away,
    /// Taking up the queue.
    Attaching,
    /// Attached: settlements go out.
    Attached,
    /// Refused: waits before it goes on, or attaches again.
    Waiting { attached: bool },
    /// All is settled, and the engine is told that the consumer goes.
    Leaving,
    /// Closed or failed.
    Ended,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Acknowledged,
    Refused,
    Rejected,
    Released,
}

#[derive(Debug, Clone, Copy)]
struct Settlement {
    /// In the order in which the user settled.
    sequence: u64,
    id: MessageId,
}

/// A settlement that is not known to be committed.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    sequence: u64,
    kind: Kind,
    /// Whether it ever was in a request.
    sent: bool,
}

/// What a consumer knows.
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
    /// The same before the attach that is on its way.
    introduced_before: bool,
    /// Whether an engine ever delivered from the queue.
    was_attached: bool,
    /// For how long the queue may be gone.
    deleted_grace: Duration,
    /// For how long it has been, about: what was waited for it.
    absent: Duration,
    /// The newest epoch seen.
    newest: Epoch,
    held: BTreeSet<MessageId>,
    doubts: FxHashMap<MessageId, Doubt>,
    /// The groups of what is held or in doubt, and of some that was.
    groups: FxHashMap<MessageId, String>,
    /// Why messages in doubt were rejected.
    reasons: FxHashMap<MessageId, String>,
    /// Settlements in no request, in order.
    pending: VecDeque<Settlement>,
    /// Settlements in requests of this attempt, in order.
    requests: BTreeMap<u64, Vec<Settlement>>,
    next_request: u64,
    next_sequence: u64,
    recent: Recent,
    /// The credit is to be told.
    credit_due: bool,
    /// An answer about credit is awaited.
    credit_asked: bool,
    backoff: Backoff,
    /// The engine delivered or settled since the last [`Input::KeepAlive`].
    active: bool,
    pump_soon: bool,
    /// Set once closed: what the user never got.
    untouched: Option<BTreeSet<MessageId>>,
    failure: Option<ConsumerFailure>,
    /// Who waits for which settlement, and all before.
    flushes: VecDeque<(u64, T)>,
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
            doubts: FxHashMap::default(),
            groups: FxHashMap::default(),
            reasons: FxHashMap::default(),
            pending: VecDeque::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            next_sequence: 0,
            recent: Recent::new(remember),
            credit_due: false,
            credit_asked: false,
            backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(250)),
            active: false,
            pump_soon: false,
            untouched: None,
            failure: None,
            flushes: VecDeque::new(),
        }
    }

    /// The same, and how long it waits for its queue to come back if that is deleted.
    pub(crate) fn with_deleted_grace(self, deleted_grace: Duration) -> Self {
        Self { deleted_grace, ..self }
    }

    /// Whether a delivery of that epoch is still to be taken.
    pub(crate) fn accepts(&self, epoch: Epoch) -> bool {
        epoch >= self.newest || seeded::is(Bug::FencingOff)
    }

    /// Whether the consumer ended: it takes no more deliveries.
    pub(crate) fn has_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The queue.
    pub(crate) fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// Takes one input in and says what to do, in order.
    pub(crate) fn step(&mut self, input: Input<T>) -> Vec<Effect<T>> {
        let mut effects = Vec::new();
        match input {
            Input::Deliver { epoch, deliveries } => self.deliver(epoch, deliveries, &mut effects),
            Input::Acknowledge { id } => self.settle(id, Kind::Acknowledged, &mut effects),
            Input::Refuse { id } => self.settle(id, Kind::Refused, &mut effects),
            Input::Release { id } => self.settle(id, Kind::Released, &mut effects),
            Input::SettledElsewhere { messages } => {
                for id in messages {
                    if self.held.remove(&id) {
                        self.recent.insert(id);
                    }
                }
            }
            Input::Reject { id, reason } => {
                if self.held.contains(&id) {
                    self.reasons.insert(id, exception_header::cut_reason(&reason).to_owned());
                }
                self.settle(id, Kind::Rejected, &mut effects);
            }
            Input::SettleAll(settled) => {
                // Nobody has to come back for them.
                self.pump_soon = true;
                for (id, acknowledged) in settled {
                    let kind = if acknowledged { Kind::Acknowledged } else { Kind::Refused };
                    self.settle(id, kind, &mut effects);
                }
                self.pump_soon = false;
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
            Input::Pump => self.pump_soon = false,
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
            // A word about credit changes nothing and is refused if the engine gave the consumer up: it does so when a
            // delivery gets no answer, and the consumer would wait in vain.
            Input::KeepAlive => self.credit_due |= !std::mem::take(&mut self.active),
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
        for delivery in deliveries {
            let id = delivery.id;
            if self.held.contains(&id) {
                continue;
            }
            match self.doubts.get(&id) {
                // Its acknowledgement is on its way, or will be.
                Some(Doubt { kind: Kind::Acknowledged | Kind::Rejected, .. }) => continue,
                // A second copy of what was handed back a moment ago and not told yet.
                Some(Doubt { kind: Kind::Refused | Kind::Released, sent: false, .. }) => continue,
                // The engine knows that it was handed back, else it would not deliver it again: to hand it back once
                // more, after a failover, would take it from the user.
                Some(Doubt { kind: Kind::Refused | Kind::Released, sent: true, .. }) => {
                    self.forget_refusal(&id, effects);
                }
                None => {}
            }
            if self.recent.contains(&id) {
                // Settled and committed: the engine has to hear it again.
                self.doubt(id, Kind::Acknowledged, effects);
                continue;
            }
            self.held.insert(id);
            self.note_group(id, delivery.message.group());
            match &mut self.untouched {
                Some(untouched) => drop(untouched.insert(id)),
                None => effects.push(Effect::Give(Received::new(epoch, delivery))),
            }
        }
    }

    fn note_group(&mut self, id: MessageId, group: &str) {
        if !group.is_empty() {
            if self.groups.len() > 2 * (self.held.len() + self.doubts.len()) {
                self.forget_groups();
            }
            self.groups.insert(id, group.to_owned());
        }
    }

    fn forget_groups(&mut self) {
        let (held, doubts) = (&self.held, &self.doubts);
        self.groups.retain(|id, _| held.contains(id) || doubts.contains_key(id));
    }

    fn forget_refusal(&mut self, id: &MessageId, effects: &mut Vec<Effect<T>>) {
        self.doubts.remove(id);
        self.pending.retain(|settlement| settlement.id != *id);
        for settlements in self.requests.values_mut() {
            settlements.retain(|settlement| settlement.id != *id);
        }
        self.complete_flushes(effects);
    }

    fn settle(&mut self, id: MessageId, kind: Kind, effects: &mut Vec<Effect<T>>) {
        // What is not held was settled before.
        if self.held.remove(&id) {
            if let Some(untouched) = &mut self.untouched {
                untouched.remove(&id);
            }
            self.doubt(id, kind, effects);
        }
    }

    fn doubt(&mut self, id: MessageId, kind: Kind, effects: &mut Vec<Effect<T>>) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.doubts.insert(id, Doubt { sequence, kind, sent: false });
        self.pending.push_back(Settlement { sequence, id });
        if !self.pump_soon {
            self.pump_soon = true;
            effects.push(Effect::PumpSoon);
        }
    }

    fn flush(&mut self, ticket: T, effects: &mut Vec<Effect<T>>) {
        if let Some(why) = &self.failure {
            effects.push(Effect::Fail { why: why.clone(), flushes: vec![ticket] });
        } else {
            self.flushes.push_back((self.next_sequence, ticket));
            self.complete_flushes(effects);
        }
    }

    fn complete_flushes(&mut self, effects: &mut Vec<Effect<T>>) {
        let in_requests = self.requests.values().filter_map(|settlements| settlements.first());
        let lowest = in_requests.chain(self.pending.front()).map(|settlement| settlement.sequence).min();
        let done = lowest.unwrap_or(self.next_sequence);
        while let Some((_, ticket)) = self.flushes.pop_front_if(|(until, _)| *until <= done) {
            effects.push(Effect::Flushed { ticket });
        }
    }

    fn engine_at(&mut self, epoch: Epoch, link: u64, effects: &mut Vec<Effect<T>>) {
        let same = self.engine == Some((epoch, link));
        self.engine = Some((epoch, link));
        self.newest = self.newest.max(epoch);
        match self.phase {
            Phase::Ended => {}
            // Told again because somebody else had trouble.
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

    /// Starts another attempt: what requests of this one settle is pending again, in its order.
    fn restart(&mut self, phase: Phase) {
        self.attempt += 1;
        self.phase = phase;
        self.credit_asked = false;
        let mut settlements: Vec<_> = std::mem::take(&mut self.requests).into_values().flatten().collect();
        settlements.sort_by_key(|settlement| settlement.sequence);
        for settlement in settlements.into_iter().rev() {
            self.pending.push_front(settlement);
        }
    }

    fn attach(&mut self, effects: &mut Vec<Effect<T>>) {
        self.restart(Phase::Attaching);
        self.introduced_before = std::mem::replace(&mut self.introduced, true);
        self.credit_due = false;
        let mut unsettled: Vec<_> = self.held.iter().chain(self.doubts.keys()).copied().collect();
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

    /// Makes requests out of what is pending: the first at once, later ones grow while others are on their way.
    fn pump(&mut self, effects: &mut Vec<Effect<T>>) {
        if self.phase != Phase::Attached {
            return;
        }
        if self.credit_due && !self.credit_asked {
            (self.credit_due, self.credit_asked) = (false, true);
            effects.push(Effect::Credit { attempt: self.attempt, credit: self.credit_now() });
        }
        while !self.pump_soon && !self.pending.is_empty() && self.requests.len() < SETTLES {
            let mut reasons = 0;
            let reason = |settlement: &Settlement| self.reasons.get(&settlement.id).map_or(0, String::len);
            let fits = |settlement: &&Settlement| {
                let before = reasons;
                reasons += reason(settlement);
                before == 0 || reasons <= SETTLE_REASON_BYTES
            };
            let count = self.pending.iter().take(SETTLE_IDS).take_while(fits).count();
            let settlements: Vec<_> = self.pending.drain(..count).collect();
            let (mut acknowledged, mut refused, mut rejected) = (Vec::new(), Vec::new(), Vec::new());
            let mut released = Vec::new();
            for Settlement { id, .. } in &settlements {
                if let Some(doubt) = self.doubts.get_mut(id) {
                    doubt.sent = true;
                    match doubt.kind {
                        Kind::Acknowledged => acknowledged.push(*id),
                        Kind::Refused => refused.push(*id),
                        Kind::Rejected => rejected.push((*id, self.reasons.get(id).cloned().unwrap_or_default())),
                        Kind::Released => released.push(*id),
                    }
                }
            }
            let request = self.next_request;
            self.next_request += 1;
            self.requests.insert(request, settlements);
            let attempt = self.attempt;
            effects.push(Effect::Settle { attempt, request, acknowledged, refused, rejected, released });
        }
    }

    /// Once closed, and when all that was settled is committed, the engine is told that the consumer goes.
    fn leave(&mut self, effects: &mut Vec<Effect<T>>) {
        let Some(untouched) = &self.untouched else { return };
        match self.phase {
            Phase::Leaving => {}
            Phase::Ended => self.end(effects),
            Phase::Attached => {
                let settled = self.pending.is_empty() && self.requests.is_empty();
                if settled && !self.credit_asked {
                    let untouched = untouched.iter().copied().collect();
                    self.restart(Phase::Leaving);
                    effects.push(Effect::Detach { attempt: self.attempt, untouched });
                }
            }
            Phase::Away | Phase::Attaching | Phase::Waiting { .. } => {
                // With nothing to hand back, an engine that still knows the consumer finds out by itself.
                if !self.introduced || (self.held.is_empty() && self.doubts.is_empty()) {
                    self.end(effects);
                }
            }
        }
    }

    fn fail(&mut self, why: ConsumerFailure, effects: &mut Vec<Effect<T>>) {
        self.failure = Some(why.clone());
        self.restart(Phase::Ended);
        self.pending.clear();
        self.doubts.clear();
        self.reasons.clear();
        let flushes = self.flushes.drain(..).map(|(_, ticket)| ticket).collect();
        effects.push(Effect::Fail { why, flushes });
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
