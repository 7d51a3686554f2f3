//! Appends of a holder that leads: entries get their index, up to two statements are in flight.

use std::sync::Arc;

use baton_domain::clock::BootTime;

use super::super::log::{Append, LogEntry, LogError, Position};
use super::super::recent::Recent;
use super::{AGAIN, Effect, Flight, Given, Holder, NO_ROOM, Phase, Proposal, Trouble, Why};

/// Appends in flight: the log works on one while the network carries the answer to the other.
const FLIGHTS: usize = 2;
/// Bytes of one append.
pub(super) const APPEND_BYTES: usize = 4 * 1024 * 1024;

/// The first of `entries` that go into one append.
pub(super) fn one_append(entries: &[LogEntry]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&LogEntry| {
        bytes += entry.body.len();
        bytes <= APPEND_BYTES
    };
    entries.iter().take_while(fits).count().max(entries.len().min(1))
}

impl Holder {
    pub(super) fn send(&mut self, own: &Recent, now: BootTime, effects: &mut Vec<Effect>) {
        while self.flights.len() < FLIGHTS {
            let sent: usize = self.flights.iter().map(|flight| flight.count).sum();
            let mut bytes: usize = self.given.range(sent..).map(|given| given.entry.body.len()).sum();
            while bytes < APPEND_BYTES
                && let Some(Proposal { id, body }) = self.waiting.pop_front()
            {
                bytes += body.len();
                let behind = self.given.back().map_or(own.position(), |given| given.entry.position());
                self.given.push_back(Given { entry: behind.entry(self.term, body), proposal: id });
            }
            let entries: Vec<LogEntry> = self.given.range(sent..).map(|given| given.entry.clone()).collect();
            let count = one_append(&entries);
            if count == 0 {
                return;
            }
            let last = sent.checked_sub(1).and_then(|last| self.given.get(last));
            let behind = last.map_or(own.position(), |given| given.entry.position());
            effects.push(Effect::Append(behind, Arc::from(&entries[..count])));
            self.flights.push_back(Flight { count, sent: now });
        }
    }

    pub(super) fn on_appended(
        &mut self,
        own: &mut Recent,
        appended: Result<Append, LogError>,
        now: BootTime,
        effects: &mut Vec<Effect>,
    ) {
        let count = self.flights.pop_front().map_or(0, |flight| flight.count);
        // None: the log may lack what it had.
        let pause = match appended {
            Ok(Append::Written) => return self.on_written(own, count, now, effects),
            // What was given away is not written; it is answered when the lease is gone.
            Ok(Append::Deposed(_)) if matches!(self.phase, Phase::Giving(..)) => None,
            Ok(Append::Deposed(_)) => return self.end(Why::Deposed, effects),
            Ok(Append::Mismatch { .. }) => None,
            Err(LogError::Again(_)) => Some(AGAIN),
            Err(error @ LogError::NoRoom(_)) => {
                self.trouble = Some(Trouble::Log(error));
                Some(NO_ROOM)
            }
            Err(error) => return self.broke(error, now, effects),
        };
        let from = pause.map_or(BootTime(0), |pause| now + pause);
        match &mut self.phase {
            Phase::Leading | Phase::Healing(..) => self.resolve(from, effects),
            // The append before it failed, so this one does not follow.
            Phase::Resolving(resolve) => resolve.from = resolve.from.max(from),
            Phase::Giving(_, _, in_order) => *in_order = false,
            Phase::Broken(_) | Phase::Waiting(_) | Phase::Ended => {}
        }
    }

    fn on_written(&mut self, own: &mut Recent, count: usize, now: BootTime, effects: &mut Vec<Effect>) {
        match &mut self.phase {
            Phase::Leading | Phase::Giving(_, _, true) => {
                if matches!(self.trouble, Some(Trouble::Log(_))) {
                    self.trouble = None;
                }
                let entries = self.given.range(..count).map(|given| given.entry.clone()).collect();
                self.absorb(own, entries, effects);
            }
            Phase::Healing(_, behind, rest) => {
                let (behind, rest) = (*behind, std::mem::take(rest));
                self.heal(behind, rest, now, effects);
            }
            // The log is read: what was written is found there.
            Phase::Resolving(_) | Phase::Broken(_) | Phase::Waiting(_) | Phase::Giving(..) | Phase::Ended => {}
        }
    }

    /// Puts entries back that the log lost, one append after the other; then the log is read again.
    pub(super) fn heal(&mut self, from: Position, mut lost: Vec<LogEntry>, now: BootTime, effects: &mut Vec<Effect>) {
        let rest = lost.split_off(one_append(&lost));
        let Some(last) = lost.last() else { return self.resolve(BootTime(0), effects) };
        self.phase = Phase::Healing(now, last.position(), rest);
        effects.push(Effect::Append(from, lost.into()));
    }
}
