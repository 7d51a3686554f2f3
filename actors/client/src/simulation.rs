//! Shared by the simulations of producer and consumer: the steps of a run, and a link to the engine that
//! loses, delays and repeats.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use crate::outbox::Answer;
use crate::peers::CallError;
use crate::protocol::{EngineError, EngineReply, PlacementNews};

/// The argument of [`Link::serve`] with which nothing goes wrong.
pub(crate) const SERVES: u8 = 255;

/// A step of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Action {
    pub(crate) what: u8,
    pub(crate) argument: u8,
    /// It may go wrong.
    pub(crate) fault: bool,
}

/// Runs in which much goes wrong, little, or nothing.
pub(crate) fn actions() -> impl Strategy<Value = Vec<Action>> {
    prop_oneof![Just(0.0), 0.01..0.05, 0.05..0.3, Just(1.0)].prop_flat_map(|rate| {
        let action = (any::<u8>(), any::<u8>(), prop::bool::weighted(rate));
        prop::collection::vec(action.prop_map(|(what, argument, fault)| Action { what, argument, fault }), 0..600)
    })
}

/// A request of a core to the engine.
pub(crate) trait Request: Clone {
    /// The core's input.
    type Input;

    fn answered(&self, answer: Answer) -> Self::Input;
}

/// The link to the engine.
pub(crate) struct Link<R> {
    /// Its number: each break makes another link.
    pub(crate) number: u64,
    /// Requests in flight, in order.
    requests: VecDeque<R>,
    /// Requests that the engine took from a link that is gone: performed late or never, and nobody gets the answer.
    stray: Vec<R>,
    /// Answers in flight, in any order.
    answers: Vec<(R, Answer)>,
}

impl<R: Request> Link<R> {
    pub(crate) fn new() -> Self {
        Self { number: 1, requests: VecDeque::new(), stray: Vec::new(), answers: Vec::new() }
    }

    pub(crate) fn send(&mut self, request: R) {
        self.requests.push_back(request);
    }

    pub(crate) fn has_requests(&self) -> bool {
        !self.requests.is_empty()
    }

    pub(crate) fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    pub(crate) fn has_strays(&self) -> bool {
        !self.stray.is_empty()
    }

    /// The engine takes the next request, and `apply` performs it unless `fault` says that it is refused.
    /// `may_lose_outcome` allows a request that is performed and answered as if the engine had not known.
    pub(crate) fn serve(&mut self, fault: u8, may_lose_outcome: bool, mut apply: impl FnMut(&R) -> EngineReply) {
        let Some(request) = self.requests.pop_front() else { return };
        let refusal = match fault % 16 {
            0 => Some(EngineError::Busy),
            1 => Some(EngineError::StoreFull { free_bytes: 0, reserve_bytes: 1 }),
            2 => Some(EngineError::NotStarted { news: PlacementNews::default() }),
            3 => Some(EngineError::Unknown),
            4 if may_lose_outcome => {
                // Performed, and the engine stopped before it knew.
                apply(&request);
                Some(EngineError::Unknown)
            }
            _ => None,
        };
        let reply = refusal.map_or_else(|| apply(&request), EngineReply::Error);
        self.answers.push((request, Ok(reply)));
    }

    /// An answer arrives.
    pub(crate) fn take_answer(&mut self, pick: u8) -> R::Input {
        let (request, answer) = self.answers.remove(usize::from(pick) % self.answers.len());
        request.answered(answer)
    }

    /// An answer is lost.
    pub(crate) fn lose_answer(&mut self, pick: u8) -> R::Input {
        let (request, _) = self.answers.remove(usize::from(pick) % self.answers.len());
        request.answered(Err(CallError::Timeout(Duration::ZERO)))
    }

    /// The engine takes a request of an earlier link.
    pub(crate) fn take_stray(&mut self, pick: u8) -> R {
        self.stray.remove(usize::from(pick) % self.stray.len())
    }

    /// The link breaks, and the engine took those of its requests whose bit is set in `taken`.
    pub(crate) fn break_off(&mut self, taken: u8) {
        for (position, request) in std::mem::take(&mut self.requests).into_iter().enumerate() {
            if taken >> (position % 8) & 1 == 1 {
                self.stray.push(request.clone());
            }
            self.answers.push((request, Err(CallError::Disconnected)));
        }
        self.number += 1;
    }

    /// The link breaks because the engine stopped, which performs nothing more.
    pub(crate) fn lose_engine(&mut self) {
        self.break_off(0);
        self.stray.clear();
    }
}
