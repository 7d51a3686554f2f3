//! The holder of the lease: a pure core. It appends what is proposed, renews its lease, and finds out after each break
//! what the log has.
//!
//! An index that was given to a content in a term is never given to another content in that term. So an append whose
//! outcome is unknown is no loss: the log is read, and what it lacks is appended again, byte for byte. An outcome stays
//! unknown only if the term was lost meanwhile.
//!
//! The lease runs from the sending of an answered renewal of the session that is open. It ends when the session breaks,
//! and for good before any other server is told that it may lead. A log that may have lost commits may have forgotten a
//! later holder: a holder whose lease has run out waits until that one's has, too.
//!
//! Before it leads, a holder has read the log to its end in a statement behind the one that took the lease, and has
//! compared its end with all servers that it has links to: entries that the log lost are put back first.

mod absorb;
mod effect;
mod input;
mod send;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use baton_domain::ServerName;
use baton_domain::clock::BootTime;

use super::log::{LogEntry, LogError, Nominee, Position};
use super::recent::Recent;
use super::seeded::{Bug, is};
use super::timing::SharedTiming;

pub(crate) use effect::{Effect, Trouble, Why};
pub(crate) use input::{Answer, Input, Proposal, Standing};

/// Pause before a statement that met a conflict is sent again.
const AGAIN: Duration = Duration::from_millis(5);
/// Pause before a log without room is asked again.
const NO_ROOM: Duration = Duration::from_secs(1);
/// Interval at which a server that is ahead of the log is asked again.
const AHEAD: Duration = Duration::from_millis(100);
/// Interval at which a suspect log is looked at again.
const SUSPECT: Duration = Duration::from_millis(20);

/// An entry that has its place in the log and is not known to be durable.
#[derive(Debug)]
struct Given {
    entry: LogEntry,
    proposal: u64,
}

/// An append that is not answered.
#[derive(Debug)]
struct Flight {
    count: usize,
    sent: BootTime,
}

/// The way to find out what the log has.
#[derive(Debug, Default)]
struct Resolve {
    /// Not before.
    from: BootTime,
    /// The lease goes on meanwhile: the log only refused to write.
    holds: bool,
    /// A read is unanswered: when it was sent, and whether the others' positions were known then.
    reading: Option<(BootTime, bool)>,
    /// This server has all of the log; as of a read that was sent when the others' positions were known, or earlier.
    at_end: Option<bool>,
    others: Option<Vec<(ServerName, Standing)>>,
}

#[derive(Debug)]
enum Phase {
    /// There is no session since then.
    Broken(BootTime),
    Resolving(Resolve),
    /// Puts lost entries back: one append is in flight, sent then, up to a position; and the rest of them.
    Healing(BootTime, Position, Vec<LogEntry>),
    /// A linked server is ahead; until then.
    Waiting(BootTime),
    Leading,
    /// Gives the lease up, since then, and why. Appends in flight are in order if true.
    Giving(BootTime, Why, bool),
    Ended,
}

/// A holder of the lease, in one term.
#[derive(Debug)]
pub(crate) struct Holder {
    timing: SharedTiming,
    term: u64,
    /// It puts entries back that the log lost.
    heals: bool,
    phase: Phase,
    /// It has led.
    led: bool,
    /// The lease, as it was announced last.
    lease: Option<BootTime>,
    /// The sending of the newest renewal that was answered in this session.
    renewed: Option<BootTime>,
    /// Until then no other server can have acquired the lease, in whatever session it was renewed.
    alone_until: BootTime,
    /// From then on no holder that the log forgot has a lease.
    certain_from: BootTime,
    /// The sending of the renewal that is not answered.
    renewing: Option<BootTime>,
    next_renewal: BootTime,
    /// The sending of the last request that the log answered.
    alive: BootTime,
    next_probe: BootTime,
    /// Since then another server is known to reach the log, while this one does not.
    overtaken: Option<BootTime>,
    /// Without an index.
    waiting: VecDeque<Proposal>,
    /// With an index, in order behind the last entry that is known to be durable.
    given: VecDeque<Given>,
    /// Of the first entries of `given`.
    flights: VecDeque<Flight>,
    others: BTreeMap<ServerName, Standing>,
    trouble: Option<Trouble>,
}

impl Holder {
    /// Begins with the lease of `term`, which was acquired by a statement sent at `acquired`. Begin with the effects.
    pub(crate) fn new(timing: SharedTiming, heals: bool, term: u64, acquired: BootTime) -> (Self, Vec<Effect>) {
        let holder = Self {
            timing,
            term,
            heals,
            phase: Phase::Resolving(Resolve::default()),
            led: false,
            lease: None,
            renewed: Some(acquired),
            alone_until: acquired + timing.held(),
            certain_from: BootTime(0),
            overtaken: None,
            renewing: None,
            next_renewal: acquired + timing.renew,
            alive: acquired,
            next_probe: BootTime(0),
            waiting: VecDeque::new(),
            given: VecDeque::new(),
            flights: VecDeque::new(),
            others: BTreeMap::new(),
            trouble: None,
        };
        (holder, vec![Effect::AskStandings])
    }

    /// The term of its lease.
    pub(crate) fn term(&self) -> u64 {
        self.term
    }

    /// True once it has led, and while it may lead again in its term.
    pub(crate) fn leads(&self) -> bool {
        self.led && !matches!(self.phase, Phase::Ended | Phase::Giving(..))
    }

    /// The problem that it has.
    pub(crate) fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// The sending of the oldest statement that is not answered, or the time since which there is no session.
    pub(crate) fn unanswered(&self) -> Option<BootTime> {
        let phase = match &self.phase {
            Phase::Broken(since) | Phase::Healing(since, ..) | Phase::Giving(since, ..) => Some(*since),
            Phase::Resolving(resolve) => resolve.reading.map(|(sent, _)| sent),
            Phase::Waiting(_) | Phase::Leading | Phase::Ended => None,
        };
        [phase, self.renewing, self.flights.front().map(|flight| flight.sent)].into_iter().flatten().min()
    }

    /// It puts entries back that the log lost.
    pub(crate) fn is_healing(&self) -> bool {
        matches!(self.phase, Phase::Healing(..))
    }

    /// The time of the next [`Input::Tick`].
    pub(crate) fn wake(&self, now: BootTime) -> BootTime {
        let phase = match &self.phase {
            Phase::Resolving(resolve) if resolve.from > now => Some(resolve.from),
            Phase::Waiting(until) => Some(*until),
            Phase::Broken(_)
            | Phase::Resolving(_)
            | Phase::Healing(..)
            | Phase::Leading
            | Phase::Giving(..)
            | Phase::Ended => None,
        };
        let renewal = self.renews().then_some(self.next_renewal);
        let suspect = self.unanswered().map(|since| (since + self.timing.suspect / 3).max(now + SUSPECT));
        let certain = (now < self.certain_from).then_some(self.certain_from);
        [phase, renewal, suspect, certain].into_iter().flatten().min().unwrap_or(now + self.timing.renew)
    }

    fn renews(&self) -> bool {
        self.renewing.is_none() && !matches!(self.phase, Phase::Broken(_) | Phase::Giving(..) | Phase::Ended)
    }

    /// Takes what happened, and returns what to do now. `own` are the entries of this server.
    pub(crate) fn step(&mut self, own: &mut Recent, input: Input, now: BootTime) -> Vec<Effect> {
        let mut effects = Vec::new();
        if matches!(self.phase, Phase::Ended) {
            return match input {
                Input::Propose(proposal) => vec![Effect::NotLeader(vec![proposal.id])],
                _ => effects,
            };
        }
        match input {
            Input::Propose(proposal) if self.leads() => self.waiting.push_back(proposal),
            Input::Propose(proposal) => effects.push(Effect::NotLeader(vec![proposal.id])),
            Input::Answered(answer) => self.answered(own, answer, now, &mut effects),
            Input::Broke(error) => self.broke(error, now, &mut effects),
            Input::Opened(may_have_lost) => self.opened(may_have_lost, now, &mut effects),
            Input::NotOpened(error) => self.trouble = Some(Trouble::Log(error)),
            Input::Standings(others) => {
                if let Phase::Resolving(resolve) = &mut self.phase {
                    resolve.others = Some(others);
                }
            }
            Input::Heard(server, standing) => self.heard(own, server, standing, &mut effects),
            Input::Unlinked(server) => {
                self.others.remove(&server);
                // A server that has proof of a death looks at the lease: it must not see an old one.
                self.next_renewal = now;
            }
            Input::Give(to) if matches!(self.phase, Phase::Leading) => {
                self.phase = Phase::Giving(now, Why::Gave(to.clone()), true);
                effects.push(Effect::Give(to));
            }
            Input::Alive(sent) => self.alive = self.alive.max(sent),
            Input::Give(_) | Input::Tick => {}
        }
        self.advance(own, now, &mut effects);
        self.announce(now, &mut effects);
        effects
    }

    fn answered(&mut self, own: &mut Recent, answer: Answer, now: BootTime, effects: &mut Vec<Effect>) {
        match answer {
            Answer::Renewed(renewed) => self.on_renewed(renewed, now, effects),
            Answer::Appended(appended) => self.on_appended(own, appended, now, effects),
            Answer::Read(read) => self.on_read(own, read, now, effects),
            Answer::Gave(gave) => {
                if let Phase::Giving(_, why, _) = &self.phase {
                    let why = if gave == Ok(false) { Why::Deposed } else { why.clone() };
                    self.end(why, effects);
                }
            }
        }
    }

    fn on_renewed(&mut self, renewed: Result<Option<u64>, LogError>, now: BootTime, effects: &mut Vec<Effect>) {
        let Some(sent) = self.renewing.take() else { return };
        match renewed {
            Ok(Some(_)) => {
                let from = if is(Bug::LeaseFromTheAnswer) { now } else { sent };
                (self.renewed, self.alone_until) = (Some(from), from + self.timing.held());
                if matches!(self.trouble, Some(Trouble::Log(_))) && matches!(self.phase, Phase::Leading) {
                    self.trouble = None;
                }
            }
            // While it gives the lease up, nothing can be renewed.
            Ok(None) if matches!(self.phase, Phase::Giving(..)) => {}
            Ok(None) => self.end(Why::Deposed, effects),
            Err(LogError::Again(_)) => self.next_renewal = now + 4 * AGAIN,
            Err(error @ LogError::NoRoom(_)) => self.trouble = Some(Trouble::Log(error)),
            Err(error) => self.broke(error, now, effects),
        }
    }

    fn opened(&mut self, may_have_lost: bool, now: BootTime, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Broken(_)) {
            // While this server's own lease runs, no other one can have been acquired.
            if may_have_lost && self.alone_until <= now {
                self.certain_from = now + self.timing.silence();
            }
            self.next_renewal = now;
            self.resolve(BootTime(0), effects);
        }
    }

    fn heard(&mut self, own: &Recent, server: ServerName, standing: Standing, effects: &mut Vec<Effect>) {
        // Entries that have an index may be read by others before their append is answered here.
        let last = self.given.back().map_or(own.position(), |given| given.entry.position());
        if standing.position.index > last.index && standing.heals && matches!(self.phase, Phase::Leading) {
            self.resolve(BootTime(0), effects);
        }
        self.others.insert(server, standing);
    }

    /// Begins to find out what the log has.
    fn resolve(&mut self, from: BootTime, effects: &mut Vec<Effect>) {
        let holds = from > BootTime(0) && self.led;
        self.phase = Phase::Resolving(Resolve { from, holds, ..Resolve::default() });
        effects.push(Effect::AskStandings);
    }

    /// The session is of no use any more.
    fn broke(&mut self, error: LogError, now: BootTime, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Broken(_)) {
            return;
        }
        let since = self.unanswered().unwrap_or(now);
        if let Phase::Giving(_, why, _) = &self.phase {
            // It is not known whether it was given; the lease has ended in any case.
            return self.end(why.clone(), effects);
        }
        if matches!(error, LogError::Damaged(_) | LogError::Foreign(_)) {
            return self.end(Why::Failed(error), effects);
        }
        (self.renewed, self.renewing) = (None, None);
        self.flights.clear();
        self.trouble = Some(Trouble::Log(error));
        self.phase = Phase::Broken(since);
        effects.push(Effect::Reopen);
    }

    /// Gives the lease up, so that another server can have it at once.
    fn give_up(&mut self, to: Nominee, why: Why, now: BootTime, effects: &mut Vec<Effect>) {
        self.phase = Phase::Giving(now, why, false);
        effects.push(Effect::Give(to));
    }

    fn end(&mut self, why: Why, effects: &mut Vec<Effect>) {
        self.phase = Phase::Ended;
        self.flights.clear();
        let unknown: Vec<u64> = self.given.drain(..).map(|given| given.proposal).collect();
        let unwritten: Vec<u64> = self.waiting.drain(..).map(|proposal| proposal.id).collect();
        if !unknown.is_empty() {
            effects.push(Effect::Unknown(unknown));
        }
        if !unwritten.is_empty() {
            effects.push(Effect::NotLeader(unwritten));
        }
        match &why {
            Why::Gave(Nominee::Server(to)) | Why::Unreached(to) => effects.push(Effect::Release(Some(to.clone()))),
            Why::Gave(Nominee::None | Nominee::Anybody)
            | Why::Behind
            | Why::OlderLog(_)
            | Why::OtherHistory(_)
            | Why::Failed(_) => {
                effects.push(Effect::Release(None));
            }
            Why::Deposed => {}
        }
        effects.push(Effect::StepDown(why));
    }

    /// Does what can be done now.
    fn advance(&mut self, own: &mut Recent, now: BootTime, effects: &mut Vec<Effect>) {
        if let Some(to) = self.reached_by_another(now) {
            return self.end(Why::Unreached(to), effects);
        }
        let doubtful = self.unanswered().is_some_and(|since| now.since(since) >= self.timing.suspect / 3);
        if doubtful && now >= self.next_probe && !matches!(self.phase, Phase::Broken(_)) {
            // A log that cannot commit for anybody still answers.
            self.next_probe = now + self.timing.suspect / 3;
            effects.push(Effect::Probe);
        }
        if self.renews() && now >= self.next_renewal {
            self.renewing = Some(now);
            self.next_renewal = now + self.timing.renew;
            effects.push(Effect::Renew);
        }
        if let Phase::Waiting(until) = self.phase
            && now >= until
        {
            self.resolve(BootTime(0), effects);
        }
        self.look(own, now, effects);
        if matches!(self.phase, Phase::Leading) {
            self.send(own, now, effects);
        }
    }

    /// The best of the servers that reach the log, if this one does not and had time enough to try: after an outage that
    /// all servers noticed, any of them may be the first to reach it again.
    fn reached_by_another(&mut self, now: BootTime) -> Option<ServerName> {
        let best = self.unanswered().and_then(|since| {
            let since = since.max(self.alive) + self.timing.suspect / 2;
            let reaches = |standing: &Standing| standing.reached.is_some_and(|at| at > since);
            let others = self.others.iter().filter(|(_, standing)| reaches(standing));
            others.min_by_key(|(_, standing)| standing.rank).map(|(server, _)| server.clone())
        });
        if best.is_none() {
            self.overtaken = None;
            return None;
        }
        let since = *self.overtaken.get_or_insert(now);
        best.filter(|_| now.since(since) >= self.timing.suspect)
    }

    /// Announces the lease, first of all if it has ended.
    fn announce(&mut self, now: BootTime, effects: &mut Vec<Effect>) {
        let lease = match &self.phase {
            _ if now < self.certain_from => None,
            Phase::Leading | Phase::Resolving(Resolve { holds: true, .. }) => {
                self.renewed.map(|sent| sent + self.timing.held())
            }
            Phase::Broken(_)
            | Phase::Resolving(_)
            | Phase::Healing(..)
            | Phase::Waiting(_)
            | Phase::Giving(..)
            | Phase::Ended => None,
        };
        match lease {
            None if self.lease.is_some() => effects.insert(0, Effect::EndLease),
            Some(until) if self.lease != lease => effects.push(Effect::Lease(until)),
            None | Some(_) => {}
        }
        self.lease = lease;
    }
}
