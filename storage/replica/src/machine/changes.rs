//! The latest changes of clients and their answers, so that a change whose answer was lost is not applied twice.

use std::collections::{HashMap, VecDeque};
use std::io;

use baton_domain::{Applied, ChangeId};
use serde::{Deserialize, Serialize};

use super::records::{decode, encode};
use super::{Family, Tables, Writer};

/// Number of changes that are remembered, a power of two: more than operators make while a client repeats one (40 s by
/// default).
const KEPT: usize = LAST_SLOT as usize + 1;
/// The slots of the ring are 0 up to this one.
const LAST_SLOT: u64 = 0xfff;

/// A change and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ChangeRecord {
    /// Counted over all changes.
    pub(super) number: u64,
    pub(super) change: ChangeId,
    pub(super) answer: Applied,
}

/// The remembered changes, in memory and on disk.
#[derive(Default)]
pub(super) struct Changes {
    answers: HashMap<ChangeId, Applied>,
    /// The oldest first.
    order: VecDeque<ChangeId>,
    next: u64,
}

impl Changes {
    pub(super) fn load(tables: &dyn Tables) -> io::Result<Self> {
        let records = tables.scan(Family::Changes)?;
        let records: io::Result<Vec<ChangeRecord>> = records.iter().map(|(_, value)| decode(value)).collect();
        let mut records = records?;
        records.sort_by_key(|record| record.number);
        let next = records.last().map_or(0, |record| record.number.saturating_add(1));
        let order = records.iter().map(|record| record.change).collect();
        let answers = records.into_iter().map(|record| (record.change, record.answer)).collect();
        Ok(Self { answers, order, next })
    }

    /// The answer to a change that was applied before.
    pub(super) fn answer(&self, change: ChangeId) -> Option<&Applied> {
        self.answers.get(&change)
    }

    pub(super) fn remember(&mut self, change: ChangeId, answer: Applied, writer: &mut Writer<'_>) {
        let slot = self.next & LAST_SLOT;
        let record = ChangeRecord { number: self.next, change, answer };
        writer.put(Family::Changes, &slot.to_be_bytes(), &encode(&record));
        self.next = self.next.saturating_add(1);
        self.answers.insert(change, record.answer);
        self.order.push_back(change);
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }
}
