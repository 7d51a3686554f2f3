//! An engine and its store.

use std::collections::{BTreeMap, BTreeSet};

use baton_domain::{Epoch, QueueName, Reliability};

use crate::outbox::Answer;
use crate::producer::core::Input;
use crate::protocol::{EngineError, EngineReply, Limits};
use crate::simulation;

/// A request of the producer, with the numbers of its messages.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Open { id: u64, attempt: u64, known: bool },
    Send { id: u64, attempt: u64, request: u64, first: u64, messages: Vec<u64> },
    Post { attempt: u64, level: Reliability, messages: Vec<u64> },
    Close,
}

impl simulation::Request for Request {
    type Input = Input<u64>;

    fn answered(&self, answer: Answer) -> Input<u64> {
        match *self {
            Self::Open { attempt, .. } => Input::Opened { attempt, answer },
            Self::Send { attempt, request, .. } => Input::Sent { attempt, request, answer },
            Self::Post { attempt, .. } => Input::Posted { attempt, answer },
            Self::Close => Input::Closed,
        }
    }
}

#[derive(Debug)]
pub(super) struct Engine {
    pub(super) epoch: u64,
    /// The level of messages that state none.
    pub(super) default_level: Reliability,
    /// The queue was deleted: every request is refused.
    pub(super) deleted: bool,
    /// Stored messages with numbers.
    pub(super) numbered: Vec<u64>,
    /// The last number under each id that the store knows.
    pub(super) last: BTreeMap<u64, u64>,
    /// Messages without numbers, of requests whose link was up.
    pub(super) posts: BTreeSet<u64>,
    /// Messages without numbers, of requests that arrived after their link broke.
    late_posts: BTreeSet<u64>,
}

impl Engine {
    pub(super) fn new(default_level: Reliability) -> Self {
        Self {
            epoch: 1,
            default_level,
            deleted: false,
            numbered: Vec::new(),
            last: BTreeMap::new(),
            posts: BTreeSet::new(),
            late_posts: BTreeSet::new(),
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch { generation: 0, index: self.epoch }
    }

    /// True if the message was taken at least once.
    pub(super) fn has(&self, message: u64) -> bool {
        self.numbered.contains(&message) || self.posts.contains(&message) || self.late_posts.contains(&message)
    }

    /// Performs a request. `in_time` is false for one whose link broke.
    pub(super) fn apply(&mut self, request: &Request, in_time: bool) -> EngineReply {
        match request {
            _ if self.deleted => EngineReply::Error(EngineError::NoSuchQueue(QueueName::new("q").unwrap())),
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
                let mut reply = EngineReply::new_producer(self.epoch(), next, limits);
                if let EngineReply::Producer { reliability, .. } = &mut reply {
                    *reliability = self.default_level;
                }
                reply
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
                self.numbered.extend(fresh);
                self.last.insert(*id, last.max(through));
                EngineReply::Sent { through }
            }
            Request::Post { level, messages, .. } => {
                messages.iter().for_each(|message| self.take_post(*level, *message, in_time));
                EngineReply::Posted
            }
            Request::Close => EngineReply::Done,
        }
    }

    fn take_post(&mut self, level: Reliability, message: u64, in_time: bool) {
        assert!(level.is_sent_again() || !self.has(message), "message {message} was resent");
        if in_time {
            let last = self.posts.last().copied().unwrap_or_default();
            assert!(self.posts.contains(&message) || message > last, "message {message} comes after {last}");
            self.posts.insert(message);
        } else {
            self.late_posts.insert(message);
        }
    }
}
