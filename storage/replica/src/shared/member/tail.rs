//! The candidate's part: looks at the lease, and reads what the log has behind this server's position.

use std::sync::Arc;
use std::time::Duration;

use baton_domain::clock::BootTime;
use futures::FutureExt;

use super::super::candidate::{self, Effect};
use super::super::log::{LogError, Position, Read, SharedLog};
use super::super::message::Message;
use super::super::recent::Discord;
use super::super::regress::{Comparison, compare};
use super::appender::READ_BYTES;
use super::session::Event;
use super::{Member, Work};

/// Interval between reads while nobody tells of new entries.
const UNTOLD: Duration = Duration::from_millis(100);
/// The same while the holder tells.
const TOLD: Duration = Duration::from_secs(1);
/// A server that reads more at once is not level.
const LEVEL_BYTES: usize = READ_BYTES / 2;
/// Entries that may wait to be applied before more are read.
const UNAPPLIED: u64 = 20_000;

/// Reading, between two steps.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// A read is not answered.
    busy: bool,
    /// A snapshot is being loaded.
    loading: bool,
    /// The last read brought little or nothing.
    level: bool,
    /// Not before, unless there is news.
    next: BootTime,
    /// The last entry that the holder told, and when.
    told: u64,
    heard: BootTime,
}

impl Reading {
    pub(super) fn interrupted(&mut self) {
        self.busy = false;
    }

    pub(super) fn loaded(&mut self) {
        self.loading = false;
    }

    /// True if this server has about all that the log has.
    pub(super) fn is_level(&self) -> bool {
        self.level && !self.loading
    }

    pub(super) fn is_loading(&self) -> bool {
        self.loading
    }
}

impl Member {
    pub(super) fn candidate_input(&mut self, input: candidate::Input) {
        let now = self.now();
        for effect in self.candidate.step(input, now) {
            match effect {
                Effect::Look => {
                    let look = |log: Arc<dyn SharedLog>| async move { log.look().await }.boxed();
                    self.session.send(now, look, Event::Looked);
                }
                Effect::Acquire { term, beat, above, takes_over } => {
                    let acquire = move |log: Arc<dyn SharedLog>| {
                        async move { log.acquire(term, beat, above, takes_over).await }.boxed()
                    };
                    self.session.send(now, acquire, Event::Acquired);
                }
                Effect::Hold(term, sent) => self.hold(term, sent),
                Effect::AskSessions(of) => {
                    let ask = move |log: Arc<dyn SharedLog>| async move { log.sessions_of(of).await }.boxed();
                    self.session.send(now, ask, move |sessions| Event::Sessions(of, sessions));
                }
                Effect::AskOthers(of) => self.ask_verdicts(of),
                Effect::Evict(of) => {
                    let evict = move |log: Arc<dyn SharedLog>| async move { log.evict(of).await }.boxed();
                    self.session.send(now, evict, Event::Done);
                }
            }
        }
    }

    /// The holder has committed the log up to there.
    pub(super) fn told_tail(&mut self, index: u64) {
        self.reading.told = self.reading.told.max(index);
        self.reading.heard = self.now();
    }

    /// True if nothing stands against a read.
    fn may_read(&self) -> bool {
        let unapplied = self.recent.position().index.saturating_sub(*self.applied.borrow());
        let Reading { busy, loading, .. } = self.reading;
        self.holder.is_none() && !busy && !loading && unapplied <= UNAPPLIED && self.session.log.is_some()
    }

    /// The time of the next read.
    pub(super) fn next_read(&self, now: BootTime) -> BootTime {
        if self.may_read() { self.reading.next } else { now + TOLD }
    }

    /// Reads on, if there is or may be more.
    pub(super) fn read_on(&mut self, now: BootTime) {
        let index = self.recent.position().index;
        if !self.may_read() || (self.reading.told <= index && now < self.reading.next) {
            return;
        }
        // What is told and is not there is not asked for again and again.
        self.reading.told = index;
        let told_lately = now.since(self.reading.heard) < 5 * UNTOLD;
        self.reading.next = now + if told_lately { TOLD } else { UNTOLD };
        self.reading.busy = true;
        let after = self.recent.position();
        let read = move |log: Arc<dyn SharedLog>| async move { log.read(after, READ_BYTES).await }.boxed();
        self.session.send(now, read, Event::Read);
    }

    pub(super) fn read(&mut self, read: Result<Read, LogError>) {
        if !std::mem::take(&mut self.reading.busy) || self.holder.is_some() {
            return;
        }
        let Ok(read) = read else { return };
        let level = match &read {
            Read::Entries(entries) => entries.iter().map(|entry| entry.body.len()).sum::<usize>() < LEVEL_BYTES,
            // What is behind its position is not here.
            Read::Trimmed { .. } => false,
            Read::Elsewhere { .. } => true,
        };
        if self.reading.level != level {
            self.reading.level = level;
            self.place();
        }
        match compare(&self.recent, read) {
            Comparison::Normal(entries) => {
                if self.regressed.take().is_some() {
                    self.place();
                }
                if entries.is_empty() {
                    return;
                }
                // Perhaps there is more.
                self.reading.next = BootTime(0);
                match self.recent.extend(entries) {
                    Ok(new) => {
                        self.apply(Work::Apply(new, Vec::new()));
                        self.candidate_input(candidate::Input::Term(self.recent.term()));
                    }
                    Err(Discord::Other { index }) => self.set_aside(index),
                    Err(Discord::Damaged { index }) => {
                        self.reading.next = self.now() + TOLD;
                        self.trouble = Some(format!("entry {index} of the log does not follow the one before it"));
                    }
                }
            }
            Comparison::Trimmed => self.load(),
            // The holder learns that this server is ahead, and leaves the lease to it.
            Comparison::LostTail { .. } if self.heals => {}
            Comparison::LostTail { from, .. } | Comparison::OlderLog { tail: from } => self.older_log(from),
            Comparison::OtherHistory { index } => self.set_aside(index),
        }
    }

    /// The log no longer has the next entry.
    pub(super) fn load(&mut self) {
        if std::mem::replace(&mut self.reading.loading, true) {
            return;
        }
        self.reading.level = false;
        self.apply(Work::Load);
        self.place();
    }

    /// The log ends before entries that this server has applied and cannot put back.
    pub(super) fn older_log(&mut self, tail: Position) {
        let (ends, applied) = (tail.index, self.recent.position().index);
        self.regressed = Some(format!(
            "the log ends at entry {ends} and this server has applied entry {applied}: the log was restored from a backup, or \
             lost commits"
        ));
        self.place();
    }

    /// The log has other entries than this server.
    pub(super) fn set_aside(&mut self, index: u64) {
        self.recent.clear();
        self.regressed = None;
        self.reading.level = false;
        self.reading.next = BootTime(0);
        self.apply(Work::SetAside(index));
        self.place();
    }

    pub(super) fn says_tail(&mut self, message: &Message) {
        if let Message::Tail { term, index, timeline, leased } = message {
            self.candidate_input(candidate::Input::Term(*term));
            if *leased && self.session.log.is_some() && self.timeline == Some(*timeline) {
                self.candidate_input(candidate::Input::Certain);
            }
            self.told_tail(*index);
        }
    }
}
