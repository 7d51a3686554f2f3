//! The committed entries that each replica acknowledged. They reveal a replica that was restored from an
//! older copy of its store.
//!
//! A leader sees what its followers acknowledge and tells all of them; each replica keeps the table in memory and on
//! disk. A replica that was just started takes no other frame from a replica before that one has told it its table. It
//! then compares: an entry that was committed and that it acknowledged is on its disk for ever, in its log or in a
//! snapshot. If it is not, the store is an older copy. What else the original promised, its votes above all, is unknown
//! to it.
//!
//! Entries of the table are true for ever: a table that is older than it could be notices less and is never wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use baton_domain::ReplicaId;
use baton_domain::seeded::{self, Bug};
use tokio::sync::watch;

use super::flusher::lock;
use super::log_store::LogTail;
use super::types::LogId;

/// The last entry that a replica is known to have on disk and that is committed.
pub(crate) type Table = Vec<(ReplicaId, LogId)>;

#[derive(Default)]
struct Known {
    table: BTreeMap<ReplicaId, LogId>,
    /// Grows with each change of the table.
    changes: u64,
    /// Replicas that told their table since this one was started.
    told_by: BTreeSet<ReplicaId>,
    /// Replicas whose stores turned out to be older copies. Their ids are not used again.
    refused: BTreeSet<ReplicaId>,
    /// The last entry in the state, where the log may not reach it: the state came as a snapshot.
    in_state: Option<LogId>,
}

/// The table, and its consequences for this replica. Clones share it.
#[derive(Clone)]
pub(crate) struct Acknowledged {
    own: ReplicaId,
    tail: LogTail,
    known: Arc<Mutex<Known>>,
    /// The reason why this store is known to be an older copy.
    older: Arc<watch::Sender<Option<String>>>,
}

impl Acknowledged {
    /// Begins with a table that was kept on disk, and the last entry that was applied.
    pub(crate) fn new(own: ReplicaId, tail: LogTail, in_state: Option<LogId>, table: Table) -> Self {
        let known = Known { table: table.into_iter().collect(), in_state, ..Known::default() };
        let acknowledged =
            Self { own, tail, known: Arc::new(Mutex::new(known)), older: Arc::new(watch::Sender::new(None)) };
        acknowledged.look();
        acknowledged
    }

    /// A leader sees what was acknowledged and committed. `members` are all replicas that count.
    pub(crate) fn note(&self, seen: impl Iterator<Item = (ReplicaId, LogId)>, members: &BTreeSet<ReplicaId>) {
        let mut known = lock(&self.known);
        for (replica, log_id) in seen {
            known.raise(replica, log_id);
        }
        if known.table.keys().any(|replica| !members.contains(replica)) {
            known.table.retain(|replica, _| members.contains(replica));
            known.changes += 1;
        }
    }

    /// The table, and a number that grows with each change.
    pub(crate) fn table(&self) -> (Table, u64) {
        let known = lock(&self.known);
        (known.table.iter().map(|(replica, log_id)| (*replica, *log_id)).collect(), known.changes)
    }

    /// Another replica tells its table. Answers the last entry that this replica has.
    pub(crate) fn told(&self, from: ReplicaId, table: Table) -> Option<LogId> {
        {
            let mut known = lock(&self.known);
            for (replica, log_id) in table {
                known.raise(replica, log_id);
            }
            known.told_by.insert(from);
        }
        self.look();
        self.last()
    }

    /// True if that replica has sent its table since this one was started.
    pub(crate) fn is_told_by(&self, replica: ReplicaId) -> bool {
        lock(&self.known).told_by.contains(&replica)
    }

    /// A replica that was told `table` has `last`. In words, if its store is an older copy and this is news.
    pub(crate) fn judge(&self, replica: ReplicaId, table: &Table, last: Option<LogId>) -> Option<String> {
        let acknowledged = table.iter().find(|(of, _)| *of == replica).map(|(_, log_id)| *log_id);
        let why = lacks(replica, acknowledged, last)?;
        lock(&self.known).refused.insert(replica).then_some(why)
    }

    /// In words, if a replica whose log ends there lacks what it is known to have acknowledged.
    pub(crate) fn lacks(&self, replica: ReplicaId, last: Option<LogId>) -> Option<String> {
        lacks(replica, lock(&self.known).table.get(&replica).copied(), last)
    }

    /// True if nothing is sent to that replica: its store is an older copy, or this one is.
    pub(crate) fn refuses(&self, replica: ReplicaId) -> bool {
        self.older().is_some() || lock(&self.known).refused.contains(&replica)
    }

    /// A snapshot was installed: the state goes that far.
    pub(crate) fn installed(&self, last: Option<LogId>) {
        let mut known = lock(&self.known);
        known.in_state = known.in_state.max(last);
    }

    /// The reason why this store is known to be an older copy.
    pub(crate) fn older(&self) -> Option<String> {
        self.older.borrow().clone()
    }

    /// Resolves once it is known that this store is an older copy.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.older.subscribe()
    }

    fn last(&self) -> Option<LogId> {
        self.tail.last().max(lock(&self.known).in_state)
    }

    fn look(&self) {
        // Read first: what is acknowledged later is also written later.
        let acknowledged = lock(&self.known).table.get(&self.own).copied();
        if let Some(why) = lacks(self.own, acknowledged, self.last()) {
            self.older.send_if_modified(|older| {
                let is_news = older.is_none();
                older.get_or_insert(why);
                is_news
            });
        }
    }
}

impl Known {
    fn raise(&mut self, replica: ReplicaId, log_id: LogId) {
        if self.table.get(&replica).is_none_or(|known| *known < log_id) {
            self.table.insert(replica, log_id);
            self.changes += 1;
        }
    }
}

/// In words, if a replica whose last entry is `last` lacks what it acknowledged.
fn lacks(replica: ReplicaId, acknowledged: Option<LogId>, last: Option<LogId>) -> Option<String> {
    let acknowledged = acknowledged.filter(|acknowledged| last < Some(*acknowledged))?;
    // The defect loses what it acknowledged: the checker has to find that out.
    if seeded::is(Bug::ConfirmBeforeSync) {
        return None;
    }
    let last = last.map_or(0, |last| last.index);
    Some(format!(
        "replica {replica} acknowledged the log up to entry {}, and this store ends at entry {last}",
        acknowledged.index
    ))
}

/// An entry of the leader of `term`, for tests.
#[cfg(test)]
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(super::types::LeaderId { term, node_id: ReplicaId(1) }, index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica(last: Option<LogId>, table: Table) -> Acknowledged {
        Acknowledged::new(ReplicaId(3), LogTail::at(last), None, table)
    }

    #[test]
    fn a_store_that_lacks_what_its_replica_acknowledged_is_an_older_copy() {
        for (last, acknowledged, older) in [
            (Some(log_id(1, 10)), log_id(1, 10), false),
            (Some(log_id(1, 11)), log_id(1, 10), false),
            (Some(log_id(1, 9)), log_id(1, 10), true),
            (None, log_id(1, 0), true),
            // What an older leader had left uncommitted does not stand for what a newer one committed.
            (Some(log_id(1, 20)), log_id(2, 15), true),
            (Some(log_id(2, 15)), log_id(1, 20), false),
        ] {
            let told = replica(last, Vec::new());
            assert!(!told.is_told_by(ReplicaId(1)));
            assert_eq!(told.told(ReplicaId(1), vec![(ReplicaId(3), acknowledged)]), last);
            assert!(told.is_told_by(ReplicaId(1)) && !told.is_told_by(ReplicaId(2)));
            assert_eq!(told.older().is_some(), older, "{last:?} {acknowledged:?}");
            assert_eq!(told.refuses(ReplicaId(1)), older, "it says nothing to anybody");
            let kept = replica(last, vec![(ReplicaId(3), acknowledged)]);
            assert_eq!(kept.older().is_some(), older, "by its own table");
        }
    }

    #[test]
    fn what_came_as_a_snapshot_counts_as_what_the_log_holds() {
        let filled = replica(Some(log_id(1, 5)), Vec::new());
        filled.installed(Some(log_id(1, 50)));
        filled.told(ReplicaId(1), vec![(ReplicaId(3), log_id(1, 50))]);
        assert_eq!(filled.older(), None);
        filled.told(ReplicaId(2), vec![(ReplicaId(3), log_id(1, 51))]);
        assert!(filled.older().is_some_and(|why| why.contains("up to entry 51") && why.contains("ends at entry 50")));
    }

    #[test]
    fn an_older_copy_gets_no_vote_of_who_knows_what_it_acknowledged() {
        let other = replica(None, vec![(ReplicaId(2), log_id(1, 9))]);
        assert!(other.lacks(ReplicaId(2), Some(log_id(1, 8))).is_some());
        for last in [log_id(1, 9), log_id(2, 9), log_id(2, 30)] {
            assert_eq!(other.lacks(ReplicaId(2), Some(last)), None);
        }
        assert_eq!(other.lacks(ReplicaId(3), None), None, "nothing is known of it");
    }

    #[test]
    fn who_told_refuses_an_older_copy_and_says_so_once() {
        let leader = Acknowledged::new(ReplicaId(1), LogTail::at(Some(log_id(1, 30))), None, Vec::new());
        let members = [1, 2, 3].map(ReplicaId).into();
        leader.note([(ReplicaId(2), log_id(1, 30)), (ReplicaId(3), log_id(1, 20))].into_iter(), &members);
        leader.note([(ReplicaId(3), log_id(1, 10))].into_iter(), &members);
        let (table, changes) = leader.table();
        assert_eq!(table, [(ReplicaId(2), log_id(1, 30)), (ReplicaId(3), log_id(1, 20))]);
        assert_eq!(leader.judge(ReplicaId(2), &table, Some(log_id(1, 31))), None);
        assert!(leader.judge(ReplicaId(3), &table, Some(log_id(1, 19))).is_some());
        assert_eq!(leader.judge(ReplicaId(3), &table, Some(log_id(1, 19))), None, "it was said");
        assert!(leader.refuses(ReplicaId(3)) && !leader.refuses(ReplicaId(2)));
        leader.note(std::iter::empty(), &[1, 2].map(ReplicaId).into());
        assert_eq!(leader.table().0.len(), 1, "a replica that was replaced is forgotten");
        assert!(leader.table().1 > changes);
    }
}
