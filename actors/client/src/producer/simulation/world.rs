//! One producer, its user, and the link to an engine.

use std::collections::{BTreeMap, BTreeSet};

use baton_domain::clock::BootTime;
use baton_domain::{Message, QueueName, Reliability};
use bytes::Bytes;

use super::engine::{Engine, Request};
use crate::producer::core::{Bounds, Effect, Input, ProducerCore, Wake};
use crate::producer::{ProducerFailure, Refusal};
use crate::simulation::{Action, Link, SERVES};

/// So large that a few messages fill a request, and several requests are in flight.
static BODY: [u8; 100 * 1024] = [0; 100 * 1024];

pub(super) struct World {
    core: ProducerCore<u64>,
    engine: Engine,
    link: Link<Request>,
    id: u64,
    next_message: u64,
    /// The level of each message, in the order of sending.
    levels: BTreeMap<u64, Reliability>,
    /// Messages of the assured level, in the order of sending.
    assured: Vec<u64>,
    confirmed: usize,
    /// Messages without an outcome.
    waiting: BTreeSet<u64>,
    /// Flushes without an outcome, each with the number of the last message before it.
    flushes: Vec<u64>,
    pump: bool,
    wakes: Vec<Wake>,
    troubled: bool,
    closed: bool,
    failed: bool,
    stopped: bool,
}

fn number(message: &Message) -> u64 {
    message.headers[0].1.parse().unwrap()
}

impl World {
    pub(super) fn new(default_level: Reliability) -> Self {
        let bounds = Bounds { window_messages: 10_000, window_bytes: usize::MAX, give_up: None };
        let mut world = Self {
            core: ProducerCore::new(QueueName::new("q").unwrap(), bounds, None),
            engine: Engine::new(default_level),
            link: Link::new(),
            id: 0,
            next_message: 1,
            levels: BTreeMap::new(),
            assured: Vec::new(),
            confirmed: 0,
            waiting: BTreeSet::new(),
            flushes: Vec::new(),
            pump: false,
            wakes: Vec::new(),
            troubled: false,
            closed: false,
            failed: false,
            stopped: false,
        };
        world.tell_engine();
        world
    }

    pub(super) fn confirmed(&self) -> usize {
        self.confirmed
    }

    pub(super) fn numbered(&self) -> usize {
        self.assured.len()
    }

    pub(super) fn nobody_waits(&self) -> bool {
        self.waiting.is_empty() && self.flushes.is_empty()
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.stopped
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
        self.step(Input::Close);
    }

    pub(super) fn delete_queue(&mut self) {
        self.engine.deleted = true;
    }

    fn has_outcome(&mut self, ticket: u64) {
        assert!(self.waiting.remove(&ticket), "message {ticket} has a second outcome");
    }

    pub(super) fn step(&mut self, input: Input<u64>) {
        for effect in self.core.step(input, BootTime(0)) {
            self.perform(effect);
        }
        let stored = &self.engine.numbered;
        assert!(stored.iter().eq(self.assured.iter().take(stored.len())), "not stored once and in order: {stored:?}");
        assert!(self.confirmed <= stored.len(), "a message is confirmed that is not stored");
    }

    fn perform(&mut self, effect: Effect<u64>) {
        match effect {
            Effect::PumpSoon => self.pump = true,
            Effect::Open { attempt, known } => self.link.send(Request::Open { id: self.id, attempt, known }),
            Effect::Renew => self.id += 1,
            Effect::Send { attempt, request, first, messages } => {
                let messages = messages.iter().map(number).collect();
                self.link.send(Request::Send { id: self.id, attempt, request, first, messages });
            }
            Effect::Post { attempt, level, messages } => {
                let messages: Vec<_> = messages.iter().map(number).collect();
                assert!(messages.iter().all(|message| self.levels[message] == level), "{messages:?} at {level}");
                self.link.send(Request::Post { attempt, level, messages });
            }
            Effect::CloseProducer => self.link.send(Request::Close),
            Effect::Confirm { number: Some(number), ticket } => {
                let expected = (self.confirmed as u64 + 1, self.assured[self.confirmed]);
                assert_eq!((number, ticket), expected, "confirmed in the order sent");
                self.confirmed += 1;
                self.has_outcome(ticket);
            }
            Effect::Confirm { number: None, ticket } => {
                assert!(self.engine.posts.contains(&ticket), "message {ticket} is confirmed and was not taken");
                self.has_outcome(ticket);
            }
            Effect::LinkLost { message, ticket } => {
                assert_eq!(number(&message), ticket);
                assert!(!self.levels[&ticket].is_sent_again(), "message {ticket} is not resent");
                self.has_outcome(ticket);
            }
            Effect::Confirmed { through } => assert_eq!(through, self.confirmed as u64),
            Effect::Flushed { ticket, outcome } => {
                assert_eq!(outcome.is_err(), self.failed, "a flush fails with the producer");
                let open = self.waiting.first().is_some_and(|first| *first <= ticket);
                assert!(!open || self.failed, "flushed before message {:?}", self.waiting.first());
                let position = self.flushes.iter().position(|flush| *flush == ticket);
                self.flushes.remove(position.expect("a flush has two outcomes"));
            }
            Effect::Refuse { message, ticket, why } => {
                assert_eq!(number(&message), ticket);
                match why {
                    Refusal::Closed => assert!(self.closed),
                    Refusal::Failed(_) => assert!(self.failed),
                    why @ (Refusal::WindowFull | Refusal::MessageTooLarge { .. } | Refusal::BadTopic(_)) => {
                        panic!("refused: {why}");
                    }
                }
                self.assured.retain(|message| *message != ticket);
                self.has_outcome(ticket);
            }
            Effect::Fail { why, unconfirmed } => {
                let is_expected = self.engine.deleted && matches!(why, ProducerFailure::NoSuchQueue(_));
                assert!(is_expected && !self.failed, "failed: {why}");
                self.failed = true;
                for (back, ticket) in unconfirmed {
                    assert!(back.in_doubt || !self.engine.has(ticket), "message {ticket} is stored and not in doubt");
                    self.has_outcome(ticket);
                }
            }
            Effect::Trouble { .. } => self.troubled = true,
            Effect::WakeAfter { wake, .. } => self.wakes.push(wake),
            Effect::Connected { .. } | Effect::Disconnected | Effect::Resent { .. } | Effect::Works { .. } => {}
            Effect::Stop => self.stopped = true,
            Effect::CheckAgeAfter(_) => panic!("no message is given up here"),
        }
    }

    fn tell_engine(&mut self) {
        self.troubled = false;
        self.step(Input::EngineAt { epoch: self.engine.epoch(), link: self.link.number });
    }

    /// The next message, and its ticket. One in two states its level.
    fn message(&mut self, argument: u8) -> (Message, u64) {
        let ticket = self.next_message;
        self.next_message += 1;
        let stated = match argument % 6 {
            0..=2 => None,
            3 => Some(Reliability::AssuredPersistent),
            4 => Some(Reliability::ReliableNonpersistent),
            _ => Some(Reliability::ExpressNonpersistent),
        };
        let level = stated.unwrap_or(self.engine.default_level);
        let assured = level == Reliability::AssuredPersistent;
        let body = if assured { Bytes::from_static(&BODY) } else { Bytes::new() };
        let message = Message::new(body).with_header("n", ticket.to_string());
        self.levels.insert(ticket, level);
        self.waiting.insert(ticket);
        if assured {
            self.assured.push(ticket);
        }
        (stated.into_iter().fold(message, Message::with_reliability), ticket)
    }

    /// Sends one message of the destination's level.
    pub(super) fn send(&mut self) {
        let (message, ticket) = self.message(0);
        self.step(Input::Send { message, ticket });
    }

    fn serve(&mut self, fault: u8) {
        self.link.serve(fault, true, |request| self.engine.apply(request, true));
    }

    pub(super) fn act(&mut self, Action { what, argument, fault }: Action) {
        let pick = |len: usize| usize::from(argument) % len.max(1);
        match what % 16 {
            0 | 1 => {
                let (message, ticket) = self.message(argument);
                self.step(Input::Send { message, ticket });
            }
            2 => {
                let sends = (0..argument % 4).map(|more| self.message((argument / 4).wrapping_add(more))).collect();
                self.step(Input::SendAll(sends));
            }
            3 | 4 if self.pump => {
                self.pump = false;
                self.step(Input::Pump);
            }
            9..=11 if self.link.has_answers() => {
                let answer = self.link.take_answer(argument);
                self.step(answer);
            }
            12 if fault => self.break_something(argument),
            13 if self.link.has_strays() => {
                let request = self.link.take_stray(argument);
                self.engine.apply(&request, false);
            }
            14 if !self.wakes.is_empty() => {
                let wake = self.wakes.remove(pick(self.wakes.len()));
                self.step(Input::Wake(wake));
            }
            15 if self.troubled => self.tell_engine(),
            15 if argument < 64 => {
                let ticket = self.next_message - 1;
                self.flushes.push(ticket);
                self.step(Input::Flush { ticket });
            }
            15 if argument < 128 => self.idle(),
            _ => self.serve(if fault { argument } else { SERVES }),
        }
    }

    fn break_something(&mut self, argument: u8) {
        match argument % 4 {
            0 | 1 if self.link.has_answers() => {
                let lost = self.link.lose_answer(argument / 4);
                self.step(lost);
            }
            2 => {
                // Another activation.
                self.link.lose_engine();
                self.engine.epoch += 1;
                if argument & 4 == 0 {
                    self.step(Input::EngineGone);
                }
                self.tell_engine();
            }
            _ => {
                self.link.break_off(argument);
                self.step(Input::EngineGone);
                self.tell_engine();
            }
        }
    }

    /// A long time passes.
    fn idle(&mut self) {
        let busy = self.link.has_requests() || self.link.has_strays() || self.link.has_answers();
        if !busy && self.confirmed == self.assured.len() {
            // So long, and with nothing in doubt, that the engine forgot the producer.
            self.engine.last.clear();
        }
        self.step(Input::KeepAlive);
        self.step(Input::KeepAlive);
    }

    /// From here on nothing goes wrong.
    pub(super) fn calm(&mut self) {
        for _ in 0..100_000 {
            if std::mem::take(&mut self.pump) {
                self.step(Input::Pump);
            } else if self.link.has_requests() {
                self.serve(SERVES);
            } else if self.link.has_answers() {
                let answer = self.link.take_answer(0);
                self.step(answer);
            } else if let Some(wake) = self.wakes.pop() {
                self.step(Input::Wake(wake));
            } else if self.troubled {
                self.tell_engine();
            } else {
                return;
            }
        }
        panic!("the producer does not come to rest");
    }
}
