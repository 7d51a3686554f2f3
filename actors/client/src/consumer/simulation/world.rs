//! One consumer, its user, and the link to an engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use baton_domain::{Epoch, MessageId, QueueName};

use super::engine::{CREDIT, Engine, Request};
use crate::consumer::state::{Effect, Input, State};
use crate::protocol::Delivery;
use crate::simulation::{Action, Link, SERVES};

/// The user's knowledge of a message.
#[derive(Debug, Default, Clone)]
struct Seen {
    given: u32,
    refused: u32,
}

pub(super) struct World {
    core: State<u64>,
    engine: Engine,
    link: Link<Request>,
    /// The user.
    seen: BTreeMap<MessageId, Seen>,
    holding: BTreeSet<MessageId>,
    acknowledged: BTreeSet<MessageId>,
    /// Acknowledged before each flush.
    flushes: BTreeMap<u64, BTreeSet<MessageId>>,
    next_flush: u64,
    refuses: bool,
    closed: bool,
    stopped: bool,
    pump: bool,
    wakes: Vec<u64>,
    troubled: bool,
    /// Deliveries in flight, of this engine or an earlier one.
    deliveries: VecDeque<(Epoch, Vec<Delivery>)>,
}

impl World {
    pub(super) fn new(refuses: bool) -> Self {
        let mut world = Self {
            core: State::new(QueueName::new("q").unwrap(), CREDIT, 1_000),
            engine: Engine::new(),
            link: Link::new(),
            seen: BTreeMap::new(),
            holding: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            flushes: BTreeMap::new(),
            next_flush: 0,
            refuses,
            closed: false,
            stopped: false,
            pump: false,
            wakes: Vec::new(),
            troubled: false,
            deliveries: VecDeque::new(),
        };
        world.tell_engine();
        world
    }

    /// Messages that the user holds.
    pub(super) fn holding(&self) -> &BTreeSet<MessageId> {
        &self.holding
    }

    pub(super) fn acknowledged(&self) -> &BTreeSet<MessageId> {
        &self.acknowledged
    }

    /// Messages in the store, and how often each was handed back.
    pub(super) fn store(&self) -> &BTreeMap<MessageId, u32> {
        &self.engine.store
    }

    pub(super) fn nobody_waits(&self) -> bool {
        self.flushes.is_empty()
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn close(&mut self, untouched: Vec<MessageId>) {
        self.closed = true;
        self.step(Input::Close { untouched });
    }

    pub(super) fn step(&mut self, input: Input<u64>) {
        for effect in self.core.step(input) {
            self.perform(effect);
        }
    }

    fn perform(&mut self, effect: Effect<u64>) {
        match effect {
            Effect::Give(message) => {
                let seen = self.seen.entry(message.id).or_default();
                seen.given += 1;
                assert!(seen.given <= 1 + seen.refused, "{} was given twice", message.id);
                assert!(self.holding.insert(message.id), "{} is at the user already", message.id);
                assert!(!self.closed, "{} was given to a user that went away", message.id);
            }
            Effect::PumpSoon => self.pump = true,
            Effect::Attach { attempt, credit, unsettled, groups: _ } => {
                self.link.send(Request::Attach { attempt, credit, unsettled });
            }
            Effect::Settle { attempt, request, acknowledged, refused, rejected, released } => {
                assert!(rejected.is_empty() && released.is_empty(), "nobody rejects or releases here");
                self.link.send(Request::Settle { attempt, request, acknowledged, refused });
            }
            Effect::Credit { attempt, credit } => self.link.send(Request::Credit { attempt, credit }),
            Effect::Detach { attempt, untouched } => self.link.send(Request::Detach { attempt, untouched }),
            Effect::Flushed { outcome: Err(why), .. } => assert!(self.closed, "a flush failed: {why}"),
            Effect::Flushed { ticket, outcome: Ok(()) } => {
                let before = self.flushes.remove(&ticket).unwrap();
                assert!(before.iter().all(|id| !self.store().contains_key(id)), "flushed what is not committed");
            }
            Effect::Settled { messages } => {
                let open = |id: &MessageId| self.acknowledged.contains(id) && self.store().contains_key(id);
                assert!(!messages.iter().any(open), "an acknowledgement was reported that is not committed");
            }
            Effect::Connected { .. } | Effect::Disconnected | Effect::Works { .. } => {}
            Effect::Fail { why } => assert!(self.closed, "failed: {why}"),
            Effect::Trouble { .. } => self.troubled = true,
            Effect::WakeAfter { attempt, .. } => self.wakes.push(attempt),
            Effect::Stop => self.stopped = true,
        }
    }

    fn tell_engine(&mut self) {
        self.troubled = false;
        self.step(Input::EngineAt { epoch: self.engine.epoch(), link: self.link.number });
    }

    fn deliver(&mut self, most: usize) {
        let deliveries = self.engine.deliver(most);
        if !deliveries.is_empty() {
            self.deliveries.push_back((self.engine.epoch(), deliveries));
        }
    }

    fn serve(&mut self, fault: u8) {
        let may_lose_outcome = !self.refuses;
        self.link.serve(fault, may_lose_outcome, |request| self.engine.apply(request));
    }

    fn acknowledge(&mut self, id: MessageId) {
        self.holding.remove(&id);
        self.acknowledged.insert(id);
        self.step(Input::Acknowledge { id });
    }

    pub(super) fn act(&mut self, Action { what, argument, fault }: Action) {
        let pick = |len: usize| usize::from(argument) % len.max(1);
        match what % 20 {
            0 | 1 => self.engine.store_message(),
            2 | 3 => self.deliver(1 + pick(3)),
            4..=6 => {
                if let Some((epoch, deliveries)) = self.deliveries.pop_front() {
                    if fault && argument < 128 {
                        // The engine hears no answer in time and delivers once more.
                        self.deliveries.push_back((epoch, deliveries.clone()));
                    }
                    self.step(Input::Deliver { epoch, deliveries });
                }
            }
            7 | 8 if !self.holding.is_empty() && !self.closed => {
                let id = *self.holding.iter().nth(pick(self.holding.len())).unwrap();
                self.acknowledge(id);
            }
            9 if self.refuses && !self.holding.is_empty() && !self.closed => {
                let id = *self.holding.iter().nth(pick(self.holding.len())).unwrap();
                self.holding.remove(&id);
                self.seen.entry(id).or_default().refused += 1;
                self.step(Input::Refuse { id });
            }
            10 | 11 if self.pump => {
                self.pump = false;
                self.step(Input::Pump);
            }
            14 | 15 if self.link.has_answers() => {
                let answer = self.link.take_answer(argument);
                self.step(answer);
            }
            16 if fault => self.break_something(argument),
            17 if self.link.has_strays() => {
                // A late attach would undo a newer one; the engine drops what comes from a link that is gone.
                let request = self.link.take_stray(argument);
                if matches!(request, Request::Settle { .. }) {
                    self.engine.apply(&request);
                }
            }
            18 if !self.closed => self.use_otherwise(argument),
            19 if !self.wakes.is_empty() => {
                let attempt = self.wakes.remove(pick(self.wakes.len()));
                self.step(Input::Wake { attempt });
            }
            19 if self.troubled => self.tell_engine(),
            _ => self.serve(if fault { argument } else { SERVES }),
        }
    }

    fn use_otherwise(&mut self, argument: u8) {
        match argument % 4 {
            0 => {
                let ticket = self.next_flush;
                self.next_flush += 1;
                self.flushes.insert(ticket, self.acknowledged.clone());
                self.step(Input::Flush { ticket });
            }
            1 => self.step(Input::Pause(argument < 64)),
            2 => self.step(Input::KeepAlive),
            _ => self.engine.serve_another(),
        }
    }

    /// With refusals, the engine hears each settlement once: one that is repeated could hand back what came again.
    fn break_something(&mut self, argument: u8) {
        match argument % 8 {
            0..=2 if self.link.has_answers() && !self.refuses => {
                let lost = self.link.lose_answer(argument / 8);
                self.step(lost);
            }
            3 | 4 => {
                self.link.lose_engine();
                self.engine.fail_over();
                if argument & 8 == 0 {
                    self.step(Input::EngineGone);
                }
                self.tell_engine();
            }
            5 | 6 if !self.refuses => {
                self.link.break_off(argument);
                self.step(Input::EngineGone);
                self.tell_engine();
            }
            7 if !self.refuses => self.engine.forget_consumer(),
            _ => {}
        }
    }

    /// From here on nothing goes wrong, and the user acknowledges all that it gets, unless it went away.
    pub(super) fn calm(&mut self) {
        for _ in 0..100_000 {
            self.deliver(usize::MAX);
            if std::mem::take(&mut self.pump) {
                self.step(Input::Pump);
            } else if let Some((epoch, deliveries)) = self.deliveries.pop_front() {
                self.step(Input::Deliver { epoch, deliveries });
            } else if let Some(id) = self.holding.first().copied().filter(|_| !self.closed) {
                self.acknowledge(id);
            } else if self.link.has_requests() {
                self.serve(SERVES);
            } else if self.link.has_answers() {
                let answer = self.link.take_answer(0);
                self.step(answer);
            } else if let Some(attempt) = self.wakes.pop() {
                self.step(Input::Wake { attempt });
            } else if self.troubled {
                self.tell_engine();
            } else {
                return;
            }
        }
        panic!("the consumer does not come to rest");
    }
}
