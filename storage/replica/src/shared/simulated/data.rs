//! The content of a log.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::log::{
    Append, Claimant, LeaseRow, LogEntry, LogSnapshot, Nominee, Position, Read, SNAPSHOT_PART_BYTES, ServerRow,
};
use super::end_of;

/// Commits that a promotion may lose.
const UNDO: usize = 64;

/// A log's tables.
#[derive(Debug, Clone)]
pub(super) struct Data {
    pub(super) row: LeaseRow,
    /// Before the first entry.
    base: Position,
    entries: Vec<LogEntry>,
    /// The row and the number of entries before each of the last commits.
    undo: Vec<(LeaseRow, u64)>,
    pub(super) servers: Vec<ServerRow>,
    snapshots: Vec<(LogSnapshot, bool)>,
    parts: BTreeMap<(u128, u32), Bytes>,
}

impl Data {
    pub(super) fn new() -> Self {
        Self {
            row: LeaseRow { term: 0, holder: None, incarnation: 0, beat: 0, nominee: Nominee::None },
            base: Position::default(),
            entries: Vec::new(),
            undo: Vec::new(),
            servers: Vec::new(),
            snapshots: Vec::new(),
            parts: BTreeMap::new(),
        }
    }

    /// A standby that lacks the last `lost` commits.
    pub(super) fn promoted(&self, lost: usize) -> Self {
        let mut promoted = self.clone();
        let lost = lost.min(self.undo.len());
        if let Some((row, last)) = self.undo.get(self.undo.len() - lost).filter(|_| lost > 0) {
            promoted.row = row.clone();
            promoted.entries.retain(|entry| entry.index <= *last);
            promoted.undo.truncate(self.undo.len() - lost);
        }
        promoted
    }

    pub(super) fn entries(&self) -> &[LogEntry] {
        &self.entries
    }

    fn commit(&mut self) {
        self.undo.push((self.row.clone(), self.tail().index));
        if self.undo.len() > UNDO {
            self.undo.remove(0);
        }
    }

    fn is_held(&self, term: u64, by: &Claimant) -> bool {
        let LeaseRow { holder, incarnation, .. } = &self.row;
        self.row.term == term && holder.as_ref() == Some(&by.server) && *incarnation == by.incarnation
    }

    pub(super) fn acquire(
        &mut self,
        (term, beat, above): (u64, u64, u64),
        takes_over: bool,
        by: &Claimant,
    ) -> Option<LeaseRow> {
        let given = self.row.nominee == Nominee::Anybody || self.row.nominee == Nominee::Server(by.server.clone());
        if (self.row.term, self.row.beat) != (term, beat) || !(takes_over || given) {
            return None;
        }
        self.commit();
        self.row = LeaseRow {
            term: term.max(above) + 1,
            holder: Some(by.server.clone()),
            incarnation: by.incarnation,
            beat: beat + 1,
            nominee: Nominee::None,
        };
        Some(self.row.clone())
    }

    pub(super) fn renew(&mut self, term: u64, by: &Claimant) -> Option<u64> {
        if !self.is_held(term, by) || self.row.nominee != Nominee::None {
            return None;
        }
        self.commit();
        self.row.beat += 1;
        Some(self.row.beat)
    }

    pub(super) fn give(&mut self, term: u64, to: Nominee, by: &Claimant) -> bool {
        let held = self.is_held(term, by) && to != Nominee::None;
        if held {
            self.commit();
            (self.row.nominee, self.row.beat) = (to, self.row.beat + 1);
        }
        held
    }

    pub(super) fn append(&mut self, term: u64, after: Position, entries: &[LogEntry], by: &Claimant) -> Append {
        if !self.is_held(term, by) || self.row.nominee != Nominee::None {
            return Append::Deposed(self.row.clone());
        }
        if self.tail() != after {
            return Append::Mismatch { tail: self.tail() };
        }
        self.commit();
        self.entries.extend_from_slice(entries);
        Append::Written
    }

    pub(super) fn tail(&self) -> Position {
        end_of(self.base, &self.entries)
    }

    fn at(&self, index: u64) -> Option<Position> {
        if index == self.base.index {
            return Some(self.base);
        }
        let at = usize::try_from(index.checked_sub(self.base.index + 1)?).ok()?;
        self.entries.get(at).map(LogEntry::position)
    }

    pub(super) fn read(&self, after: Position, bytes: usize) -> Read {
        if after.index < self.base.index {
            return Read::Trimmed { from: self.base };
        }
        let at = self.at(after.index).map(|at| at.chain);
        if at != Some(after.chain) {
            return Read::Elsewhere { tail: self.tail(), at };
        }
        let mut read = Vec::new();
        let mut total = 0;
        for entry in &self.entries[usize::try_from(after.index - self.base.index).unwrap()..] {
            total += entry.body.len();
            if total > bytes && !read.is_empty() {
                break;
            }
            read.push(entry.clone());
        }
        Read::Entries(read)
    }

    pub(super) fn report(&mut self, mine: ServerRow) -> Vec<ServerRow> {
        self.servers.retain(|row| row.server != mine.server);
        self.servers.push(mine);
        self.servers.sort_by(|one, other| one.server.cmp(&other.server));
        self.servers.clone()
    }

    pub(super) fn bytes(&self) -> (u64, u64) {
        let entries: usize = self.entries.iter().map(|entry| entry.body.len()).sum();
        let parts: usize = self.parts.values().map(Bytes::len).sum();
        (entries as u64, (entries + parts) as u64)
    }

    pub(super) fn newest_snapshot(&self) -> Option<LogSnapshot> {
        let complete = self.snapshots.iter().filter(|(_, complete)| *complete).map(|(snapshot, _)| snapshot);
        complete.max_by_key(|snapshot| (snapshot.generation, snapshot.position.index)).cloned()
    }

    fn has(&self, digest: u128, bytes: u64) -> bool {
        let parts = u32::try_from(bytes.div_ceil(SNAPSHOT_PART_BYTES as u64)).unwrap();
        (0..parts).all(|number| self.parts.contains_key(&(digest, number)))
    }

    pub(super) fn begin_snapshot(&mut self, snapshot: LogSnapshot) -> Vec<u128> {
        let missing = snapshot.files.iter().filter(|file| !self.has(file.digest, file.bytes)).map(|file| file.digest);
        let missing = missing.collect();
        self.snapshots.push((snapshot, false));
        missing
    }

    pub(super) fn put_part(&mut self, digest: u128, number: u32, part: Bytes) {
        self.parts.insert((digest, number), part);
    }

    pub(super) fn get_parts(&self, digest: u128, from: u32, bytes: usize) -> Vec<Bytes> {
        let mut total = 0;
        let before = |part: &Bytes| {
            total += part.len();
            total - part.len() < bytes
        };
        let parts = self.parts.range((digest, from)..=(digest, u32::MAX)).map(|(_, part)| part.clone());
        parts.take_while(before).collect()
    }

    pub(super) fn complete_snapshot(&mut self, id: u64) -> bool {
        let Some(at) = self.snapshots.iter().position(|(snapshot, _)| snapshot.id == id) else { return false };
        let whole = self.snapshots[at].0.files.iter().all(|file| self.has(file.digest, file.bytes));
        self.snapshots[at].1 |= whole;
        whole
    }

    pub(super) fn trim(&mut self, term: u64, by: &Claimant) -> bool {
        let Some(snapshot) = self.newest_snapshot().filter(|_| self.is_held(term, by)) else { return false };
        if let Some(at) = self.at(snapshot.position.index) {
            self.entries.retain(|entry| entry.index > at.index);
            self.base = at;
        }
        // Somebody may be reading the one before it.
        let mut complete = 0;
        let number = self.snapshots.iter().filter(|(_, complete)| *complete).count();
        self.snapshots.retain(|(_, is_complete)| {
            complete += usize::from(*is_complete);
            !is_complete || complete + 1 >= number
        });
        let kept: Vec<u128> =
            self.snapshots.iter().flat_map(|(kept, _)| kept.files.iter().map(|file| file.digest)).collect();
        self.parts.retain(|(digest, _), _| kept.contains(digest));
        false
    }
}
