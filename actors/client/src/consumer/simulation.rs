//! The consumer's core against an engine that loses, repeats and delays, fails over, and has another consumer.
//!
//! Shows invariant 3's consumer part (an acknowledgement that was reported committed is, and every message is settled
//! in the end) and that no failover brings the user a message twice while the consumer lives; and, of invariant 5, that
//! messages are given in the order in which the engine delivers them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use baton_domain::{Epoch, Message, MessageId, QueueName};
use proptest::prelude::*;

use super::state::{Effect, Input, State};
use crate::peers::CallError;
use crate::protocol::{Delivery, EngineError, EngineReply, Limits, PlacementNews};

const CREDIT: u32 = 5;
/// The argument of [`World::serve`] with which nothing goes wrong.
const SERVES: u8 = 255;

/// A step of a run.
#[derive(Debug, Clone, Copy)]
struct Action {
    what: u8,
    argument: u8,
    /// It may go wrong.
    fault: bool,
}

/// Runs in which much goes wrong, little, or nothing.
fn actions() -> impl Strategy<Value = Vec<Action>> {
    prop_oneof![Just(0.0), 0.01..0.05, 0.05..0.3, Just(1.0)].prop_flat_map(|rate| {
        let action = (any::<u8>(), any::<u8>(), prop::bool::weighted(rate));
        prop::collection::vec(action.prop_map(|(what, argument, fault)| Action { what, argument, fault }), 0..600)
    })
}

#[derive(Debug, Clone)]
enum Request {
    Attach { attempt: u64, credit: u32, unsettled: Vec<MessageId> },
    Settle { attempt: u64, request: u64, acknowledged: Vec<MessageId>, refused: Vec<MessageId> },
    Credit { attempt: u64, credit: u32 },
    Detach { attempt: u64, untouched: Vec<MessageId> },
}

impl Request {
    fn answered(&self, answer: Result<EngineReply, CallError>) -> Input<u64> {
        match *self {
            Self::Attach { attempt, .. } => Input::Attached { attempt, answer },
            Self::Settle { attempt, request, .. } => Input::Settled { attempt, request, answer },
            Self::Credit { attempt, .. } => Input::Credited { attempt, answer },
            Self::Detach { attempt, .. } => Input::Detached { attempt, answer },
        }
    }
}

/// The user's knowledge of a message.
#[derive(Debug, Default, Clone)]
struct Seen {
    given: u32,
    refused: u32,
}

struct World {
    core: State<u64>,
    epoch: u64,
    link: u64,
    /// Messages in the store, and how often each was handed back.
    store: BTreeMap<MessageId, u32>,
    next_index: u64,
    /// Messages above were never delivered to anybody.
    dispatched: MessageId,
    /// The consumer at the engine: its credit and what it holds; `None` is not attached.
    attached: Option<(u32, BTreeSet<MessageId>)>,
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
    wire: VecDeque<Request>,
    stray: Vec<Request>,
    answers: Vec<Input<u64>>,
    /// Deliveries in flight, of this engine or an earlier one.
    deliveries: VecDeque<(u64, Vec<Delivery>)>,
}

impl World {
    fn new(refuses: bool) -> Self {
        let mut world = Self {
            core: State::new(QueueName::new("q").unwrap(), CREDIT, 1_000),
            epoch: 1,
            link: 1,
            store: BTreeMap::new(),
            next_index: 1,
            dispatched: MessageId::default(),
            attached: None,
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
            wire: VecDeque::new(),
            stray: Vec::new(),
            answers: Vec::new(),
            deliveries: VecDeque::new(),
        };
        world.tell_engine();
        world
    }

    fn step(&mut self, input: Input<u64>) {
        for effect in self.core.step(input) {
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
                    self.wire.push_back(Request::Attach { attempt, credit, unsettled });
                }
                Effect::Settle { attempt, request, acknowledged, refused, rejected, released } => {
                    assert!(rejected.is_empty() && released.is_empty(), "nobody rejects or releases here");
                    self.wire.push_back(Request::Settle { attempt, request, acknowledged, refused });
                }
                Effect::Credit { attempt, credit } => self.wire.push_back(Request::Credit { attempt, credit }),
                Effect::Detach { attempt, untouched } => self.wire.push_back(Request::Detach { attempt, untouched }),
                Effect::Flushed { outcome: Err(why), .. } => assert!(self.closed, "a flush failed: {why}"),
                Effect::Flushed { ticket, outcome: Ok(()) } => {
                    let before = self.flushes.remove(&ticket).unwrap();
                    assert!(before.iter().all(|id| !self.store.contains_key(id)), "flushed what is not committed");
                }
                Effect::Settled { messages } => {
                    let open = |id: &MessageId| self.acknowledged.contains(id) && self.store.contains_key(id);
                    assert!(!messages.iter().any(open), "an acknowledgement was reported that is not committed");
                }
                Effect::Connected { .. } | Effect::Disconnected | Effect::Works { .. } => {}
                Effect::Fail { why } => assert!(self.closed, "failed: {why}"),
                Effect::Trouble { .. } => self.troubled = true,
                Effect::WakeAfter { attempt, .. } => self.wakes.push(attempt),
                Effect::Stop => self.stopped = true,
            }
        }
    }

    fn tell_engine(&mut self) {
        self.troubled = false;
        self.step(Input::EngineAt { epoch: Epoch { generation: 0, index: self.epoch }, link: self.link });
    }

    /// The engine delivers what the consumer has credit for, lowest first.
    fn deliver(&mut self, most: usize) {
        let Some((credit, held)) = &mut self.attached else { return };
        let room = (*credit as usize).saturating_sub(held.len()).min(most);
        let ready: Vec<_> = self.store.iter().filter(|(id, _)| !held.contains(id)).take(room).collect();
        let deliveries: Vec<_> = ready
            .into_iter()
            .map(|(id, redeliveries)| Delivery {
                id: *id,
                redeliveries: *redeliveries,
                redelivered: *redeliveries > 0 || *id <= self.dispatched,
                message: Message::default(),
            })
            .collect();
        if let Some(last) = deliveries.last() {
            self.dispatched = self.dispatched.max(last.id);
            held.extend(deliveries.iter().map(|delivery| delivery.id));
            self.deliveries.push_back((self.epoch, deliveries));
        }
    }

    /// Performs a request.
    fn apply(&mut self, request: Request) -> EngineReply {
        let unknown = EngineReply::Error(EngineError::ConsumerUnknown);
        match (request, &mut self.attached) {
            (Request::Attach { credit, unsettled, .. }, attached) => {
                let held = unsettled.into_iter().filter(|id| self.store.contains_key(id)).collect();
                *attached = Some((credit, held));
                let limits = Limits {
                    message_bytes: 1,
                    consumer_credit: CREDIT,
                    frame_min_bytes: 64 << 10,
                    frame_max_bytes: 256 << 10,
                };
                EngineReply::Attached { epoch: Epoch { generation: 0, index: self.epoch }, limits }
            }
            (Request::Credit { credit, .. }, Some((now, _))) => {
                *now = credit;
                EngineReply::Done
            }
            (Request::Settle { acknowledged, refused, .. }, Some((_, held))) => {
                for id in acknowledged {
                    held.remove(&id);
                    self.store.remove(&id);
                }
                for id in refused {
                    if held.remove(&id) {
                        self.store.entry(id).and_modify(|redeliveries| *redeliveries += 1);
                    }
                }
                EngineReply::Done
            }
            (Request::Detach { untouched, .. }, attached @ Some(_)) => {
                for id in attached.take().into_iter().flat_map(|(_, held)| held) {
                    if !untouched.contains(&id) {
                        self.store.entry(id).and_modify(|redeliveries| *redeliveries += 1);
                    }
                }
                EngineReply::Done
            }
            (_, None) => unknown,
        }
    }

    fn serve(&mut self, fault: u8) {
        let Some(request) = self.wire.pop_front() else { return };
        let refusal = match fault % 16 {
            0 => Some(EngineError::Busy),
            1 => Some(EngineError::NotStarted { news: PlacementNews::default() }),
            2 => Some(EngineError::Unknown),
            3 if !self.refuses => {
                self.apply(request.clone());
                Some(EngineError::Unknown)
            }
            _ => None,
        };
        let reply = match refusal {
            Some(error) => EngineReply::Error(error),
            None => self.apply(request.clone()),
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

    fn acknowledge(&mut self, id: MessageId) {
        self.holding.remove(&id);
        self.acknowledged.insert(id);
        self.step(Input::Acknowledge { id });
    }

    fn act(&mut self, Action { what, argument, fault }: Action) {
        let pick = |len: usize| usize::from(argument) % len.max(1);
        match what % 20 {
            0 | 1 => {
                let id = MessageId { generation: 0, index: self.next_index, position: 0 };
                self.next_index += 1;
                self.store.insert(id, 0);
            }
            2 | 3 => self.deliver(1 + pick(3)),
            4..=6 => {
                if let Some((epoch, deliveries)) = self.deliveries.pop_front() {
                    if fault && argument < 128 {
                        // The engine hears no answer in time and delivers once more.
                        self.deliveries.push_back((epoch, deliveries.clone()));
                    }
                    self.step(Input::Deliver { epoch: Epoch { generation: 0, index: epoch }, deliveries });
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
            14 | 15 if !self.answers.is_empty() => {
                let answer = self.answers.remove(pick(self.answers.len()));
                self.step(answer);
            }
            16 if fault => self.break_something(argument),
            17 if !self.stray.is_empty() => {
                // A late attach would undo a newer one; the engine drops what comes from a link that is gone.
                let request = self.stray.remove(pick(self.stray.len()));
                if matches!(request, Request::Settle { .. }) {
                    self.apply(request);
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
            _ => {
                // Another consumer takes one that nobody had yet.
                let fresh = self.store.keys().find(|id| **id > self.dispatched).copied();
                if let Some(id) = fresh {
                    self.dispatched = id;
                    self.store.remove(&id);
                }
            }
        }
    }

    /// With refusals, the engine hears each settlement once: one that is repeated could hand back what came again.
    fn break_something(&mut self, argument: u8) {
        match argument % 8 {
            0..=2 if !self.answers.is_empty() && !self.refuses => {
                let lost = self.answers.remove(usize::from(argument / 8) % self.answers.len());
                let answer = Err(CallError::Timeout(Duration::ZERO));
                self.step(match lost {
                    Input::Attached { attempt, .. } => Input::Attached { attempt, answer },
                    Input::Settled { attempt, request, .. } => Input::Settled { attempt, request, answer },
                    Input::Credited { attempt, .. } => Input::Credited { attempt, answer },
                    other => other,
                });
            }
            3 | 4 => {
                // Another activation: the previous engine performs and delivers nothing more, but deliveries are in
                // flight.
                self.break_link(0);
                self.stray.clear();
                self.epoch += 1;
                self.attached = None;
                if argument & 8 == 0 {
                    self.step(Input::EngineGone);
                }
                self.tell_engine();
            }
            5 | 6 if !self.refuses => {
                self.break_link(argument);
                self.step(Input::EngineGone);
                self.tell_engine();
            }
            7 if !self.refuses => {
                // The engine gives the consumer up; nobody else takes what it held.
                self.attached = None;
            }
            _ => {}
        }
    }

    /// From here on nothing goes wrong, and the user acknowledges all that it gets, unless it went away.
    fn calm(&mut self) {
        for _ in 0..100_000 {
            self.deliver(usize::MAX);
            if std::mem::take(&mut self.pump) {
                self.step(Input::Pump);
            } else if let Some((epoch, deliveries)) = self.deliveries.pop_front() {
                self.step(Input::Deliver { epoch: Epoch { generation: 0, index: epoch }, deliveries });
            } else if let Some(id) = self.holding.first().copied().filter(|_| !self.closed) {
                self.acknowledge(id);
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
        panic!("the consumer does not come to rest");
    }
}

fn run(refuses: bool, actions: Vec<Action>) -> World {
    let mut world = World::new(refuses);
    for action in actions {
        world.act(action);
        let held = world.holding.len();
        assert!(held <= 2 * CREDIT as usize, "the user holds {held}");
    }
    world
}

fn settles_all(mut world: World) -> Result<(), TestCaseError> {
    world.step(Input::Pause(false));
    world.calm();
    world.step(Input::KeepAlive);
    world.step(Input::KeepAlive);
    world.calm();
    prop_assert!(world.store.is_empty(), "never settled: {:?}", world.store);
    prop_assert!(world.flushes.is_empty(), "a flush never ended");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, ..ProptestConfig::default() })]

    #[test]
    fn whatever_fails_each_message_is_given_once_and_settled(actions in actions()) {
        settles_all(run(false, actions))?;
    }

    #[test]
    fn a_refused_message_comes_again_and_no_other_does(actions in actions()) {
        settles_all(run(true, actions))?;
    }

    #[test]
    fn a_consumer_that_goes_away_commits_what_was_settled_and_hands_back_the_rest(
        actions in actions(), untouched in 0..4_usize, after in actions(),
    ) {
        let mut world = run(false, actions);
        let untouched: Vec<_> = world.holding.iter().rev().take(untouched).copied().collect();
        world.closed = true;
        world.step(Input::Close { untouched: untouched.clone() });
        for action in after {
            world.act(action);
        }
        world.calm();
        prop_assert!(world.stopped, "a closed consumer does not stop");
        for id in &world.acknowledged {
            prop_assert!(!world.store.contains_key(id), "{id} was acknowledged and is there again");
        }
        for id in untouched {
            prop_assert_eq!(world.store.get(&id), Some(&0), "untouched: no redelivery is counted");
        }
    }
}
