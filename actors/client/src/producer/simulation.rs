//! The producer's core against a store that judges numbers as `apply` does, over links that lose, delay and repeat.
//!
//! Shows invariant 4 (a resend makes no second message and hides no first one), invariant 5 (messages are stored in the
//! order in which they were sent) and of invariant 3 the producer's part (what was confirmed is stored).

use std::collections::{BTreeMap, VecDeque};

use baton_domain::clock::BootTime;
use baton_domain::{Epoch, Message, QueueName};
use bytes::Bytes;
use proptest::prelude::*;

use super::state::{Bounds, Effect, Input, State};
use crate::peers::CallError;
use crate::protocol::{EngineError, EngineReply, Limits, PlacementNews};

/// So large that a few messages fill a request, and several requests are on their way.
static BODY: [u8; 100 * 1024] = [0; 100 * 1024];

/// The argument of [`World::serve`] with which nothing goes wrong.
const SERVES: u8 = 255;

/// Something that happens.
#[derive(Debug, Clone, Copy)]
struct Action {
    what: u8,
    argument: u8,
    /// Whether it may go wrong.
    fault: bool,
}

/// Runs in which much goes wrong, little, or nothing.
fn actions() -> impl Strategy<Value = Vec<Action>> {
    prop_oneof![Just(0.0), 0.01..0.05, 0.05..0.3, Just(1.0)].prop_flat_map(|rate| {
        let action = (any::<u8>(), any::<u8>(), prop::bool::weighted(rate));
        prop::collection::vec(action.prop_map(|(what, argument, fault)| Action { what, argument, fault }), 0..600)
    })
}

#[derive(Debug)]
enum Request {
    Open { id: u64, attempt: u64, known: bool },
    Send { id: u64, attempt: u64, request: u64, first: u64, messages: Vec<u64> },
    Close,
}

impl Request {
    fn answered(&self, answer: Result<EngineReply, CallError>) -> Input<u64> {
        match *self {
            Self::Open { attempt, .. } => Input::Opened { attempt, answer },
            Self::Send { attempt, request, .. } => Input::Sent { attempt, request, answer },
            Self::Close => Input::Closed,
        }
    }
}

struct World {
    core: State<u64>,
    epoch: u64,
    link: u64,
    /// What the store holds, and the last number that it took under each id that it knows.
    stored: Vec<u64>,
    last: BTreeMap<u64, u64>,
    id: u64,
    next_message: u64,
    confirmed: u64,
    pump: bool,
    wakes: Vec<u64>,
    troubled: bool,
    stopped: bool,
    /// Requests on the link, in order.
    wire: VecDeque<Request>,
    /// Requests that the engine took from a link that is gone: done late or never, and nobody hears.
    stray: Vec<Request>,
    /// Answers on their way, in any order.
    answers: Vec<Input<u64>>,
}

impl World {
    fn new() -> Self {
        let bounds = Bounds { window_messages: 10_000, window_bytes: usize::MAX, give_up: None };
        let mut world = Self {
            core: State::new(QueueName::new("q").unwrap(), bounds, None),
            epoch: 1,
            link: 1,
            stored: Vec::new(),
            last: BTreeMap::new(),
            id: 0,
            next_message: 1,
            confirmed: 0,
            pump: false,
            wakes: Vec::new(),
            troubled: false,
            stopped: false,
            wire: VecDeque::new(),
            stray: Vec::new(),
            answers: Vec::new(),
        };
        world.tell_engine();
        world
    }

    fn epoch(&self) -> Epoch {
        Epoch { generation: 0, index: self.epoch }
    }

    fn step(&mut self, input: Input<u64>) {
        for effect in self.core.step(input) {
            match effect {
                Effect::PumpSoon => self.pump = true,
                Effect::Open { attempt, known } => self.wire.push_back(Request::Open { id: self.id, attempt, known }),
                Effect::Renew => self.id += 1,
                Effect::Send { attempt, request, first, messages } => {
                    let number = |message: &Message| message.headers[0].1.parse().unwrap();
                    let messages = messages.iter().map(number).collect();
                    self.wire.push_back(Request::Send { id: self.id, attempt, request, first, messages });
                }
                Effect::CloseProducer => self.wire.push_back(Request::Close),
                Effect::Confirm { number, ticket } => {
                    assert_eq!((number, ticket), (self.confirmed + 1, number), "confirmed in the order sent");
                    self.confirmed = number;
                }
                Effect::Confirmed { through } => assert_eq!(through, self.confirmed),
                Effect::Flushed { ticket } => assert!(ticket <= self.confirmed, "flushed before its confirms"),
                Effect::Trouble { .. } => self.troubled = true,
                Effect::WakeAfter { attempt, .. } => self.wakes.push(attempt),
                Effect::Connected { .. } | Effect::Disconnected | Effect::Resent { .. } | Effect::Works { .. } => {}
                Effect::Stop => self.stopped = true,
                Effect::Refuse { why, .. } => panic!("refused: {why}"),
                Effect::Fail { why, .. } => panic!("failed: {why}"),
                Effect::CheckAgeAfter(_) => panic!("no message is given up here"),
            }
        }
        let in_order: Vec<u64> = (1..=self.stored.len() as u64).collect();
        assert_eq!(self.stored, in_order, "stored once each, in the order sent");
        assert!(self.confirmed <= self.stored.len() as u64, "confirmed what is not stored");
    }

    fn tell_engine(&mut self) {
        self.troubled = false;
        self.step(Input::EngineAt { epoch: self.epoch(), link: self.link });
    }

    /// What the store does with a request.
    fn apply(&mut self, request: &Request) -> EngineReply {
        match request {
            Request::Open { known: true, id, .. } if !self.last.contains_key(id) => {
                EngineReply::Error(EngineError::ProducerUnknown)
            }
            Request::Open { id, .. } => {
                let next = *self.last.entry(*id).or_insert(0) + 1;
                let limits = Limits {
                    message_bytes: 1 << 20,
                    consumer_credit: 1,
                    frame_min_bytes: 64 << 10,
                    frame_max_bytes: 256 << 10,
                };
                EngineReply::new_producer(self.epoch(), next, limits)
            }
            Request::Send { id, first, messages, .. } => {
                let Some(last) = self.last.get(id).copied() else {
                    return EngineReply::Error(EngineError::ProducerUnknown);
                };
                if *first > last + 1 {
                    return EngineReply::Error(EngineError::Gap { expected: last + 1 });
                }
                let through = first + messages.len() as u64 - 1;
                let fresh = messages.iter().skip(usize::try_from(last + 1 - first).unwrap());
                self.stored.extend(fresh);
                self.last.insert(*id, last.max(through));
                EngineReply::Sent { through }
            }
            Request::Close => EngineReply::Done,
        }
    }

    /// The engine takes the next request off the link.
    fn serve(&mut self, fault: u8) {
        let Some(request) = self.wire.pop_front() else { return };
        let refusal = match fault % 16 {
            0 => Some(EngineError::Busy),
            1 => Some(EngineError::StoreFull { free_bytes: 0, reserve_bytes: 1 }),
            2 => Some(EngineError::NotStarted { news: PlacementNews::default() }),
            3 => Some(EngineError::Unknown),
            4 => {
                // Done, and the engine stopped before it knew.
                self.apply(&request);
                Some(EngineError::Unknown)
            }
            _ => None,
        };
        let reply = match refusal {
            Some(error) => EngineReply::Error(error),
            None => self.apply(&request),
        };
        self.answers.push(request.answered(Ok(reply)));
    }

    fn break_link(&mut self, fault: u8) {
        for (position, request) in std::mem::take(&mut self.wire).into_iter().enumerate() {
            self.answers.push(request.answered(Err(CallError::Disconnected)));
            if fault >> (position % 8) & 1 == 1 {
                self.stray.push(request);
            }
        }
        self.link += 1;
    }

    fn act(&mut self, Action { what, argument, fault }: Action) {
        let pick = |len: usize| usize::from(argument) % len.max(1);
        match what % 16 {
            0..=2 => {
                let headers = vec![("n".to_owned(), self.next_message.to_string())];
                let message = Message { headers, properties: None, body: Bytes::from_static(&BODY) };
                let ticket = self.next_message;
                self.next_message += 1;
                self.step(Input::Send { message, ticket, now: BootTime(0) });
            }
            3 | 4 if self.pump => {
                self.pump = false;
                self.step(Input::Pump);
            }
            9..=11 if !self.answers.is_empty() => {
                let answer = self.answers.remove(pick(self.answers.len()));
                self.step(answer);
            }
            12 if fault => self.break_something(argument),
            13 if !self.stray.is_empty() => {
                let request = self.stray.remove(pick(self.stray.len()));
                self.apply(&request);
            }
            14 if !self.wakes.is_empty() => {
                let attempt = self.wakes.remove(pick(self.wakes.len()));
                self.step(Input::Wake { attempt });
            }
            15 if self.troubled => self.tell_engine(),
            15 if argument < 64 => self.step(Input::Flush { ticket: self.next_message - 1 }),
            15 if argument < 128 => self.idle(),
            _ => self.serve(if fault { argument } else { SERVES }),
        }
    }

    fn break_something(&mut self, argument: u8) {
        match argument % 4 {
            0 | 1 if !self.answers.is_empty() => {
                let lost = self.answers.remove(usize::from(argument / 4) % self.answers.len());
                let answer = Err(CallError::Timeout(std::time::Duration::ZERO));
                self.step(match lost {
                    Input::Opened { attempt, .. } => Input::Opened { attempt, answer },
                    Input::Sent { attempt, request, .. } => Input::Sent { attempt, request, answer },
                    other => other,
                });
            }
            2 => {
                // Another activation; nothing of the engine before is done any more.
                self.break_link(0);
                self.stray.clear();
                self.epoch += 1;
                if argument & 4 == 0 {
                    self.step(Input::EngineGone);
                }
                self.tell_engine();
            }
            _ => {
                self.break_link(argument);
                self.step(Input::EngineGone);
                self.tell_engine();
            }
        }
    }

    /// A long while passes.
    fn idle(&mut self) {
        let idle = self.wire.is_empty() && self.stray.is_empty() && self.answers.is_empty();
        if idle && self.confirmed == self.next_message - 1 {
            // So long, and with nothing in doubt, that the engine forgot the producer.
            self.last.clear();
        }
        self.step(Input::KeepAlive);
        self.step(Input::KeepAlive);
    }

    /// From here on nothing goes wrong.
    fn calm(&mut self) {
        for _ in 0..100_000 {
            if std::mem::take(&mut self.pump) {
                self.step(Input::Pump);
            } else if !self.wire.is_empty() {
                self.serve(SERVES);
            } else if let Some(answer) = self.answers.pop() {
                self.step(answer);
            } else if let Some(attempt) = self.wakes.pop() {
                self.step(Input::Wake { attempt });
            } else if self.troubled {
                self.tell_engine();
            } else {
                return;
            }
        }
        panic!("the producer does not come to rest");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_each_message_is_stored_once_in_order_and_confirmed(actions in actions()) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
        }
        world.calm();
        prop_assert_eq!(world.confirmed, world.next_message - 1, "not all is confirmed");
        world.step(Input::Close);
        world.calm();
        prop_assert!(world.stopped, "a closed producer does not stop");
    }
}
