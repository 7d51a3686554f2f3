//! An engine and its store, as the consumer meets them.

use std::collections::{BTreeMap, BTreeSet};

use baton_domain::{Epoch, Message, MessageId};

use crate::consumer::state::Input;
use crate::outbox::Answer;
use crate::protocol::{Delivery, EngineError, EngineReply, Limits};
use crate::simulation;

pub(super) const CREDIT: u32 = 5;

/// A request of the consumer.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Attach { attempt: u64, credit: u32, unsettled: Vec<MessageId> },
    Settle { attempt: u64, request: u64, acknowledged: Vec<MessageId>, refused: Vec<MessageId> },
    Credit { attempt: u64, credit: u32 },
    Detach { attempt: u64, untouched: Vec<MessageId> },
}

impl simulation::Request for Request {
    type Input = Input<u64>;

    fn answered(&self, answer: Answer) -> Input<u64> {
        match *self {
            Self::Attach { attempt, .. } => Input::Attached { attempt, answer },
            Self::Settle { attempt, request, .. } => Input::Settled { attempt, request, answer },
            Self::Credit { attempt, .. } => Input::Credited { attempt, answer },
            Self::Detach { attempt, .. } => Input::Detached { attempt, answer },
        }
    }
}

#[derive(Debug)]
pub(super) struct Engine {
    epoch: u64,
    /// Messages in the store, and how often each was handed back.
    pub(super) store: BTreeMap<MessageId, u32>,
    next_index: u64,
    /// Messages above were never delivered to anybody.
    dispatched: MessageId,
    /// The credit of the consumer and what it holds; `None` is not attached.
    attached: Option<(u32, BTreeSet<MessageId>)>,
}

impl Engine {
    pub(super) fn new() -> Self {
        Self { epoch: 1, store: BTreeMap::new(), next_index: 1, dispatched: MessageId::default(), attached: None }
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch { generation: 0, index: self.epoch }
    }

    /// Another activation. Deliveries of the one before stay in flight.
    pub(super) fn fail_over(&mut self) {
        self.epoch += 1;
        self.attached = None;
    }

    /// Gives the consumer up; nobody else takes what it held.
    pub(super) fn forget_consumer(&mut self) {
        self.attached = None;
    }

    /// A message arrives.
    pub(super) fn store_message(&mut self) {
        self.store.insert(MessageId { generation: 0, index: self.next_index, position: 0 }, 0);
        self.next_index += 1;
    }

    /// Another consumer takes a message that nobody had yet.
    pub(super) fn serve_another(&mut self) {
        let fresh = self.store.keys().find(|id| **id > self.dispatched).copied();
        if let Some(id) = fresh {
            self.dispatched = id;
            self.store.remove(&id);
        }
    }

    /// Delivers what the consumer has credit for, lowest first.
    pub(super) fn deliver(&mut self, most: usize) -> Vec<Delivery> {
        let Some((credit, held)) = &mut self.attached else { return Vec::new() };
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
        }
        deliveries
    }

    /// Performs a request.
    pub(super) fn apply(&mut self, request: &Request) -> EngineReply {
        match (request, &mut self.attached) {
            (Request::Attach { credit, unsettled, .. }, attached) => {
                let held = unsettled.iter().filter(|id| self.store.contains_key(id)).copied().collect();
                *attached = Some((*credit, held));
                let limits = Limits {
                    message_bytes: 1,
                    consumer_credit: CREDIT,
                    frame_min_bytes: 64 << 10,
                    frame_max_bytes: 256 << 10,
                };
                EngineReply::Attached { epoch: self.epoch(), limits }
            }
            (Request::Credit { credit, .. }, Some((now, _))) => {
                *now = *credit;
                EngineReply::Done
            }
            (Request::Settle { acknowledged, refused, .. }, Some((_, held))) => {
                for id in acknowledged {
                    held.remove(id);
                    self.store.remove(id);
                }
                for id in refused {
                    if held.remove(id) {
                        self.store.entry(*id).and_modify(|redeliveries| *redeliveries += 1);
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
            (_, None) => EngineReply::Error(EngineError::ConsumerUnknown),
        }
    }
}
