//! A server that does not hold the lease: a pure core. It observes the lease row and takes the lease when the holder's has
//! certainly ended.
//!
//! It notes when it first saw a term and a beat, on its own clock. If both are unchanged for a lease and the margin, the
//! holder's lease has ended: the holder counts from the sending of a renewal, which was before anybody saw its beat. The
//! lease is taken by compare and set on that very term and beat, so that a renewal that was not seen makes it fail.
//! An observation that was interrupted begins again: waiting longer is always safe, and after an outage of the log the
//! holder goes on.
//!
//! It need not wait if the holder has given the lease up, or is proven dead ([`super::inquest`]). But if the log may have
//! lost commits, the row may have had a later holder: then nothing but a lease and the margin is certain. The rank of a
//! server staggers the candidates, and never decides about safety.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use baton_domain::ServerName;
use baton_domain::clock::BootTime;

use super::inquest::{Inquest, Step, Verdict};
use super::log::{Claimant, LeaseRow, LogError, Nominee, Sessions};
use super::timing::SharedTiming;

/// Stagger of the candidates for a lease that nobody ever had.
const FIRST: Duration = Duration::from_millis(300);
/// Stagger after proof of death, or if the lease was given to anybody.
const PROVEN: Duration = Duration::from_millis(20);
/// Stagger after silence.
const SILENT: Duration = Duration::from_millis(50);
/// Time for which the lease is left to the server that it was given to.
const NOMINEE: Duration = Duration::from_secs(1);
/// An attempt that is unanswered for this long waits for the holder's session, which is ended then.
const BLOCKED: Duration = Duration::from_millis(50);

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// The lease row was looked at.
    Looked(Result<LeaseRow, LogError>),
    /// The answer to an attempt to acquire the lease.
    Acquired(Result<Option<LeaseRow>, LogError>),
    /// A session broke or was opened: what was observed in an earlier one may have been another log.
    Reconnected,
    /// The log that was opened may lack commits that it had, or this server does not know if it does.
    MayHaveLost,
    /// The holder in this very log has a lease, so that no holder that the log forgot has one.
    Certain,
    /// The servers that may hold the lease, best first; and if this one is ready to.
    Place(Vec<ServerName>, bool),
    /// All servers to which there are links.
    Linked(BTreeSet<ServerName>),
    /// There is proof that the process with this incarnation died.
    Died(u64),
    /// The sessions of that process.
    Sessions(u64, Result<Sessions, LogError>),
    /// Another server's verdict about that process.
    Testified(ServerName, u64, Verdict),
    /// The holder ended its lease of that term for good.
    Released(u64),
    /// There is, or was, a holder in that term.
    Term(u64),
    /// This server held the lease and stepped down.
    SteppedDown,
    /// Time passed.
    Tick,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Look at the lease row.
    Look,
    /// Acquire the lease.
    Acquire {
        /// The term that was seen.
        term: u64,
        /// The beat that was seen.
        beat: u64,
        /// The highest term that is known.
        above: u64,
        /// The holder's lease has ended.
        takes_over: bool,
    },
    /// This server holds the lease of that term, acquired by a statement sent at that time.
    Hold(u64, BootTime),
    /// Ask the log for the sessions of that process.
    AskSessions(u64),
    /// Ask all linked servers what they know about that process.
    AskOthers(u64),
    /// End the sessions of that process.
    Evict(u64),
}

/// The lease row as it is observed.
#[derive(Debug)]
struct Seen {
    row: LeaseRow,
    /// The time at which this term and beat were first seen.
    first: BootTime,
    /// The time at which this holder and nominee were first seen.
    place: BootTime,
}

/// A reason to acquire the lease.
#[derive(Debug, Clone, Copy)]
struct Claim {
    from: BootTime,
    takes_over: bool,
}

/// A server that observes the lease.
#[derive(Debug)]
pub(crate) struct Candidate {
    timing: SharedTiming,
    own: Claimant,
    /// The incarnation of the last process of this server before this one: its directory was locked until it ended.
    before: Option<u64>,
    seen: Option<Seen>,
    /// The last time at which a look was answered.
    looked: Option<BootTime>,
    looking: bool,
    next_look: BootTime,
    /// The sending of the attempt that is not answered.
    acquiring: Option<BootTime>,
    /// The holder's sessions were ended, for it to be answered.
    evicted: bool,
    /// The highest term that is known.
    highest: u64,
    /// From then on no holder that the log forgot has a lease.
    certain_from: BootTime,
    /// The highest term whose holder ended its lease for good, other than this server.
    released: u64,
    order: Vec<ServerName>,
    ready: bool,
    linked: BTreeSet<ServerName>,
    /// Processes that are proven dead.
    dead: BTreeSet<u64>,
    inquest: Option<Inquest>,
    /// This server stepped down and leaves the lease to others for a while.
    stepped_down: Option<BootTime>,
    /// This server holds the lease.
    holds: bool,
}

impl Candidate {
    /// Begins to observe; `before` is the incarnation of this server's last process, if it is known.
    pub(crate) fn new(timing: SharedTiming, own: Claimant, before: Option<u64>) -> Self {
        Self {
            timing,
            own,
            before,
            seen: None,
            looked: None,
            looking: false,
            next_look: BootTime(0),
            acquiring: None,
            evicted: false,
            highest: 0,
            certain_from: BootTime(0),
            released: 0,
            order: Vec::new(),
            ready: false,
            linked: BTreeSet::new(),
            dead: BTreeSet::new(),
            inquest: None,
            stepped_down: None,
            holds: false,
        }
    }

    /// The row that was seen last.
    pub(crate) fn row(&self) -> Option<&LeaseRow> {
        self.seen.as_ref().map(|seen| &seen.row)
    }

    /// The highest term that is known.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// What this server knows of a process.
    pub(crate) fn verdict(&self, server: &ServerName, incarnation: u64) -> Verdict {
        if self.dead.contains(&incarnation) {
            Verdict::Dead
        } else if self.linked.contains(server) {
            Verdict::Alive
        } else {
            Verdict::Unknown
        }
    }

    /// True if the log waits for its synchronous standby, as far as this server asked.
    pub(crate) fn standby_is_missing(&self) -> bool {
        self.inquest.as_ref().is_some_and(Inquest::standby_is_missing)
    }

    /// The time of the next [`Input::Tick`].
    pub(crate) fn wake(&self, now: BootTime) -> BootTime {
        let claim = self.claim().filter(|_| self.acquiring.is_none()).map(|claim| claim.from);
        let inquest = self.inquest.as_ref().and_then(Inquest::wake);
        let look = (!self.looking).then_some(self.next_look);
        let blocked = self.acquiring.filter(|_| !self.evicted).map(|sent| sent + BLOCKED);
        let next = [claim.filter(|from| *from > now), inquest.filter(|at| *at > now), look, blocked];
        let next = next.into_iter().flatten().min();
        next.unwrap_or(now + self.timing.look)
    }

    /// Takes what happened, and returns what to do now.
    pub(crate) fn step(&mut self, input: Input, now: BootTime) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Looked(row) => {
                self.looking = false;
                if let Ok(row) = row {
                    self.observe(row, now);
                }
            }
            Input::Acquired(acquired) => {
                if let Some(hold) = self.on_acquired(acquired) {
                    return vec![hold];
                }
                self.next_look = now;
            }
            Input::Reconnected => {
                (self.seen, self.looked, self.looking, self.acquiring) = (None, None, false, None);
                self.next_look = now;
                if let Some(inquest) = &mut self.inquest {
                    inquest.begin_again();
                }
            }
            Input::MayHaveLost => self.certain_from = now + self.timing.silence(),
            Input::Certain => self.certain_from = BootTime(0),
            Input::Place(order, ready) => (self.order, self.ready) = (order, ready),
            Input::Linked(linked) => self.linked = linked,
            Input::Died(incarnation) => {
                self.dead.insert(incarnation);
            }
            Input::Sessions(incarnation, sessions) => {
                if let Some(inquest) = self.inquest.as_mut().filter(|inquest| inquest.of() == incarnation) {
                    inquest.sessions(sessions.ok(), now);
                }
            }
            Input::Testified(from, incarnation, verdict) => {
                if let Some(inquest) = self.inquest.as_mut().filter(|inquest| inquest.of() == incarnation) {
                    inquest.testified(from, verdict);
                }
            }
            Input::Released(term) => {
                self.released = self.released.max(term);
                self.next_look = now;
            }
            Input::Term(term) if term > self.highest => {
                self.highest = term;
                self.next_look = now;
            }
            Input::Term(_) => {}
            Input::SteppedDown => {
                (self.seen, self.stepped_down, self.holds) = (None, Some(now), false);
                self.next_look = now;
            }
            Input::Tick => {}
        }
        if !self.holds {
            self.investigate(now, &mut effects);
            self.advance(now, &mut effects);
        }
        effects
    }

    fn observe(&mut self, row: LeaseRow, now: BootTime) {
        self.highest = self.highest.max(row.term);
        let interrupted = self.looked.is_none_or(|looked| now.since(looked) > self.timing.lease / 2);
        self.looked = Some(now);
        let first = match &self.seen {
            Some(seen) if !interrupted && (seen.row.term, seen.row.beat) == (row.term, row.beat) => seen.first,
            Some(_) | None => now,
        };
        let place = match &self.seen {
            Some(seen)
                if (seen.row.term, &seen.row.nominee) == (row.term, &row.nominee)
                    && seen.row.incarnation == row.incarnation =>
            {
                seen.place
            }
            Some(_) | None => now,
        };
        match &mut self.inquest {
            Some(inquest) if inquest.of() != row.incarnation => self.inquest = None,
            Some(inquest) if first == now => inquest.beat_changed(),
            Some(_) | None => {}
        }
        self.seen = Some(Seen { row, first, place });
    }

    fn on_acquired(&mut self, acquired: Result<Option<LeaseRow>, LogError>) -> Option<Effect> {
        let sent = self.acquiring.take()?;
        // A row that went back, or another server was faster: it is looked at again. So it is if the answer was lost.
        let row = acquired.ok()??;
        self.highest = self.highest.max(row.term);
        (self.seen, self.inquest, self.stepped_down, self.holds) = (None, None, None, true);
        Some(Effect::Hold(row.term, sent))
    }

    /// Looks into the death of the holder.
    fn investigate(&mut self, now: BootTime, effects: &mut Vec<Effect>) {
        let Some(seen) = &self.seen else { return };
        let (incarnation, holder) = (seen.row.incarnation, &seen.row.holder);
        let own = holder.as_ref() == Some(&self.own.server);
        if self.inquest.is_none() && self.dead.contains(&incarnation) && holder.is_some() && !own {
            self.inquest = Some(Inquest::new(incarnation));
        }
        let Some(inquest) = &mut self.inquest else { return };
        let others = self.linked.iter().filter(|server| holder.as_ref() != Some(server));
        for step in inquest.step(others, now) {
            match step {
                Step::AskSessions => {
                    // The beat before: a renewal after the log found no session makes the compare and set fail.
                    if !std::mem::replace(&mut self.looking, true) {
                        self.next_look = now + self.timing.look;
                        effects.push(Effect::Look);
                    }
                    effects.push(Effect::AskSessions(incarnation));
                }
                Step::AskOthers => effects.push(Effect::AskOthers(incarnation)),
            }
        }
    }

    fn advance(&mut self, now: BootTime, effects: &mut Vec<Effect>) {
        let fresh = self.looked.is_some_and(|looked| now.since(looked) <= self.timing.lease / 2);
        if let (Some(seen), Some(claim)) = (&self.seen, self.claim())
            && fresh
            && self.ready
            && self.acquiring.is_none()
            && claim.from <= now
        {
            let LeaseRow { term, beat, .. } = seen.row;
            effects.push(Effect::Acquire { term, beat, above: self.highest, takes_over: claim.takes_over });
            (self.acquiring, self.evicted) = (Some(now), false);
        }
        if let (Some(seen), Some(sent)) = (&self.seen, self.acquiring)
            && now >= sent + BLOCKED
            && seen.row.incarnation != self.own.incarnation
            && !std::mem::replace(&mut self.evicted, true)
        {
            effects.push(Effect::Evict(seen.row.incarnation));
        }
        if !self.looking && now >= self.next_look {
            self.looking = true;
            self.next_look = now + self.timing.look;
            effects.push(Effect::Look);
        }
    }

    /// The number of servers that are better placed, of all or of those that are linked and not the holder.
    fn rank(&self, all: bool) -> u32 {
        let holder = self.row().and_then(|row| row.holder.as_ref());
        let better = self.order.iter().take_while(|server| **server != self.own.server);
        let counts = |server: &&ServerName| all || (self.linked.contains(*server) && holder != Some(*server));
        u32::try_from(better.filter(counts).count()).unwrap_or(u32::MAX)
    }

    /// The first reason to acquire the lease as it was seen.
    fn claim(&self) -> Option<Claim> {
        let seen = self.seen.as_ref()?;
        let LeaseRow { term, holder, incarnation, nominee, .. } = &seen.row;
        let claim = |from, takes_over| Some(Claim { from, takes_over });
        let rank = self.rank(false);
        let silent = seen.first + self.timing.silence() + SILENT * rank;
        let Some(holder) = holder else { return claim(seen.first + FIRST * self.rank(true), true) };
        // Its lease has ended, and the other one that it was for did not come.
        let left_over = seen.place + NOMINEE + SILENT * rank;
        let early = match nominee {
            Nominee::Server(server) if *server == self.own.server => claim(seen.first, false),
            Nominee::Anybody => {
                let from = self.stepped_down.map_or(seen.place, |at| seen.place.max(at + NOMINEE));
                claim(from + PROVEN * rank, false)
            }
            Nominee::Server(_) => claim(left_over, true),
            Nominee::None if *holder == self.own.server && *incarnation == self.own.incarnation => {
                // An answer that was lost; or others should have it.
                let from = self.stepped_down.map_or(seen.first, |at| at + NOMINEE);
                claim(from, true)
            }
            Nominee::None if *holder == self.own.server && Some(*incarnation) == self.before => claim(seen.first, true),
            // Not of a later term: then the log lost that one, and this holder may lead again.
            Nominee::None if self.released == *term => claim(seen.first, true),
            Nominee::None => {
                let proven = self.inquest.as_ref().and_then(Inquest::proven);
                proven.and_then(|at| claim(at + PROVEN * rank, true))
            }
        };
        let early = early.map(|early| Claim { from: early.from.max(self.certain_from), ..early });
        early.into_iter().chain(claim(silent, true)).min_by_key(|claim| claim.from)
    }
}
