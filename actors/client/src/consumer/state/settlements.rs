//! Settlements that are not known to be committed, and the last ones that are.
//!
//! A settled message is *in doubt* until the engine answers that the settlement is committed; if it was acknowledged,
//! it is *recent* from then on. A settlement is pending, or in a request of this attempt.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use baton_domain::MessageId;
use rustc_hash::FxHashMap;

use super::Effect;
use crate::consumer::recent::Recent;
use crate::consumer::settling::Verdict;

/// Maximum ids per request.
const REQUEST_IDS: usize = 4_096;
/// Maximum bytes of reasons per request; a single reason may be larger.
const REQUEST_REASON_BYTES: usize = 256 * 1024;
/// Maximum requests in flight.
const REQUESTS: usize = 2;

#[derive(Debug, Clone, Copy)]
struct Settlement {
    /// The position in the order in which the user settled.
    sequence: u64,
    id: MessageId,
}

/// A verdict without the reason of a rejection.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    Acknowledged,
    Requeued,
    Rejected,
    Released,
}

/// The newest settlement of a message in doubt. Small, because each message that is settled has one for a moment.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    sequence: u64,
    outcome: Outcome,
    /// It was in a request.
    sent: bool,
}

/// The settlements of a consumer. `T` is the ticket of a flush.
#[derive(Debug)]
pub(super) struct Settlements<T> {
    doubts: FxHashMap<MessageId, Doubt>,
    /// The reasons of those in doubt that are rejected.
    reasons: FxHashMap<MessageId, String>,
    recent: Recent,
    /// Settlements in no request, in order.
    pending: VecDeque<Settlement>,
    /// Settlements in requests of this attempt, each in order.
    requests: BTreeMap<u64, Vec<Settlement>>,
    next_request: u64,
    next_sequence: u64,
    /// Flushes, each with the sequence of the first settlement after it.
    flushes: VecDeque<(u64, T)>,
}

impl<T> Settlements<T> {
    /// No settlements; `remember` acknowledged messages will be remembered.
    pub(super) fn new(remember: usize) -> Self {
        Self {
            doubts: FxHashMap::default(),
            reasons: FxHashMap::default(),
            recent: Recent::new(remember),
            pending: VecDeque::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            next_sequence: 0,
            flushes: VecDeque::new(),
        }
    }

    /// The messages in doubt.
    pub(super) fn in_doubt(&self) -> impl ExactSizeIterator<Item = &MessageId> {
        self.doubts.keys()
    }

    /// True if a message is in doubt.
    pub(super) fn has_doubts(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// True if this message is in doubt.
    pub(super) fn is_in_doubt(&self, id: &MessageId) -> bool {
        self.doubts.contains_key(id)
    }

    /// True if no settlement is pending or in a request.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.requests.is_empty()
    }

    /// The number of settlements so far.
    pub(super) fn count(&self) -> u64 {
        self.next_sequence
    }

    /// The user settled a message.
    pub(super) fn add(&mut self, id: MessageId, verdict: Verdict) {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let outcome = match verdict {
            Verdict::Acknowledged => Outcome::Acknowledged,
            Verdict::Requeued => Outcome::Requeued,
            Verdict::Rejected(reason) => {
                self.reasons.insert(id, reason);
                Outcome::Rejected
            }
            Verdict::Released => Outcome::Released,
        };
        self.doubts.insert(id, Doubt { sequence, outcome, sent: false });
        self.pending.push_back(Settlement { sequence, id });
    }

    /// A message is settled for good.
    pub(super) fn remember(&mut self, id: MessageId) {
        self.recent.insert(id);
    }

    /// The engine delivered a message that the user does not hold. False for a copy of a settled one, which is
    /// acknowledged again if the engine needs that.
    pub(super) fn is_for_user(&mut self, id: MessageId) -> bool {
        match self.doubts.get(&id) {
            // Its settlement is in flight, or will be.
            Some(Doubt { outcome: Outcome::Acknowledged | Outcome::Rejected, .. }) => return false,
            // A second copy of a message that was handed back a moment ago: the engine does not know that yet.
            Some(Doubt { outcome: Outcome::Requeued | Outcome::Released, sent: false, .. }) => return false,
            // The engine knows that it was handed back, else it would not deliver it again. Handing it back once more,
            // after a failover, would take it from the user.
            Some(Doubt { outcome: Outcome::Requeued | Outcome::Released, sent: true, .. }) => self.forget(&id),
            None => {}
        }
        let is_copy = self.recent.contains(&id);
        if is_copy {
            // Settled and committed: the engine that delivered it needs the acknowledgement again.
            self.add(id, Verdict::Acknowledged);
        }
        !is_copy
    }

    fn forget(&mut self, id: &MessageId) {
        self.doubts.remove(id);
        self.pending.retain(|settlement| settlement.id != *id);
        for settlements in self.requests.values_mut() {
            settlements.retain(|settlement| settlement.id != *id);
        }
    }

    /// Makes the next request of pending settlements; `None` if there are none, or too many requests are in flight.
    pub(super) fn next_request(&mut self, attempt: u64) -> Option<Effect<T>> {
        if self.pending.is_empty() || self.requests.len() >= REQUESTS {
            return None;
        }
        let (mut acknowledged, mut refused, mut rejected, mut released) = (vec![], vec![], vec![], vec![]);
        let mut settlements = Vec::with_capacity(self.pending.len().min(REQUEST_IDS));
        let mut reason_bytes = 0;
        while settlements.len() < REQUEST_IDS
            && let Some(Settlement { sequence, id }) = self.pending.front().copied()
        {
            if let Some(doubt) = self.doubts.get_mut(&id) {
                match doubt.outcome {
                    Outcome::Acknowledged => acknowledged.push(id),
                    Outcome::Requeued => refused.push(id),
                    Outcome::Rejected => {
                        let reason = self.reasons.get(&id).cloned().unwrap_or_default();
                        if reason_bytes > 0 && reason_bytes + reason.len() > REQUEST_REASON_BYTES {
                            break;
                        }
                        reason_bytes += reason.len();
                        rejected.push((id, reason));
                    }
                    Outcome::Released => released.push(id),
                }
                doubt.sent = true;
            }
            settlements.push(Settlement { sequence, id });
            self.pending.pop_front();
        }
        let request = self.next_request;
        self.next_request += 1;
        self.requests.insert(request, settlements);
        Some(Effect::Settle { attempt, request, acknowledged, refused, rejected, released })
    }

    /// A request is committed: returns the messages that are settled for good.
    pub(super) fn commit(&mut self, request: u64) -> Vec<MessageId> {
        let mut messages = Vec::new();
        for Settlement { sequence, id } in self.requests.remove(&request).unwrap_or_default() {
            let Entry::Occupied(doubt) = self.doubts.entry(id) else { continue };
            if doubt.get().sequence != sequence {
                continue;
            }
            match doubt.remove().outcome {
                Outcome::Acknowledged => self.recent.insert(id),
                // A rejected message may have been with another consumer: a copy is for the user again.
                Outcome::Rejected => drop(self.reasons.remove(&id)),
                Outcome::Requeued | Outcome::Released => {}
            }
            messages.push(id);
        }
        messages
    }

    /// Starts another attempt: the settlements in requests are pending again, in their order.
    pub(super) fn restart(&mut self) {
        let mut settlements: Vec<_> = std::mem::take(&mut self.requests).into_values().flatten().collect();
        settlements.sort_by_key(|settlement| settlement.sequence);
        for settlement in settlements.into_iter().rev() {
            self.pending.push_front(settlement);
        }
    }

    /// Adds a flush, which waits for all settlements so far.
    pub(super) fn flush(&mut self, ticket: T) {
        self.flushes.push_back((self.next_sequence, ticket));
    }

    /// The next flush whose settlements are all committed.
    pub(super) fn next_flushed(&mut self) -> Option<T> {
        let (next, _) = self.flushes.front()?;
        let in_requests = self.requests.values().filter_map(|settlements| settlements.first());
        let lowest = in_requests.chain(self.pending.front()).map(|settlement| settlement.sequence).min();
        let is_done = lowest.is_none_or(|lowest| *next <= lowest);
        if is_done { self.flushes.pop_front().map(|(_, ticket)| ticket) } else { None }
    }

    /// Ends: nothing more is settled. Returns the flushes.
    pub(super) fn end(&mut self) -> Vec<T> {
        self.requests.clear();
        self.pending.clear();
        self.doubts.clear();
        self.reasons.clear();
        self.flushes.drain(..).map(|(_, ticket)| ticket).collect()
    }

    #[cfg(test)]
    pub(super) fn first_request(&self) -> u64 {
        *self.requests.keys().next().unwrap()
    }
}
