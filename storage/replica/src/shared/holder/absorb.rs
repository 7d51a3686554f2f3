//! What the log has: reads behind this server's position until there is no more, and the comparison with the others.

use baton_domain::ServerName;
use baton_domain::clock::BootTime;

use super::super::log::{LogEntry, LogError, Nominee, Read};
use super::super::recent::{Discord, Recent};
use super::super::regress::{Comparison, compare};
use super::super::seeded::{Bug, is};
use super::{AGAIN, AHEAD, Effect, Given, Holder, Phase, Proposal, Standing, Trouble, Why};

impl Holder {
    /// Reads on, if the session is known to be good and nothing is in flight; leads, if all is known.
    pub(super) fn look(&mut self, own: &Recent, now: BootTime, effects: &mut Vec<Effect>) {
        if is(Bug::LeadBeforeTail) && matches!(self.phase, Phase::Resolving(_)) && !self.led {
            return self.lead(effects);
        }
        let ready = self.renewed.is_some() && self.flights.is_empty();
        let Phase::Resolving(resolve) = &mut self.phase else { return };
        if !ready || now < resolve.from || resolve.reading.is_some() {
            return;
        }
        let (Some(with_others), Some(others)) = (resolve.at_end, &resolve.others) else {
            if resolve.at_end.is_none() {
                resolve.reading = Some((now, resolve.others.is_some()));
                effects.push(Effect::Read(own.position()));
            }
            return;
        };
        let ahead = others.iter().filter(|(_, standing)| standing.position.index > own.position().index);
        let ahead = ahead.max_by_key(|(_, standing)| standing.position.index).cloned();
        match ahead.filter(|_| !is(Bug::HealOff)) {
            None => self.lead(effects),
            // Read again, behind the others' answers: the log may have got more since the last read.
            Some(_) if !with_others => {
                resolve.reading = Some((now, true));
                effects.push(Effect::Read(own.position()));
            }
            Some((server, standing)) => self.leave_to(server, standing, now, effects),
        }
    }

    /// Another server has entries that the log lost: it puts them back as the next holder.
    fn leave_to(&mut self, server: ServerName, standing: Standing, now: BootTime, effects: &mut Vec<Effect>) {
        if standing.heals && standing.reached.is_some_and(|reached| now.since(reached) < self.timing.lease / 2) {
            let to = Nominee::Server(server);
            return self.give_up(to.clone(), Why::Gave(to), now, effects);
        }
        self.trouble = Some(Trouble::Ahead(server, standing.position));
        self.phase = Phase::Waiting(now + AHEAD);
    }

    fn lead(&mut self, effects: &mut Vec<Effect>) {
        self.trouble = None;
        self.phase = Phase::Leading;
        if is(Bug::ResendWithoutLooking) {
            // Under fresh indexes.
            for Given { entry, proposal } in self.given.drain(..).rev() {
                self.waiting.push_front(Proposal { id: proposal, body: entry.body });
            }
        }
        if !std::mem::replace(&mut self.led, true) {
            effects.push(Effect::Lead);
        }
    }

    pub(super) fn on_read(
        &mut self,
        own: &mut Recent,
        read: Result<Read, LogError>,
        now: BootTime,
        effects: &mut Vec<Effect>,
    ) {
        let Phase::Resolving(resolve) = &mut self.phase else { return };
        let Some((_, with_others)) = resolve.reading.take() else { return };
        let read = match read {
            Ok(read) => read,
            Err(LogError::Again(_)) => {
                resolve.from = now + AGAIN;
                return;
            }
            Err(error) => return self.broke(error, now, effects),
        };
        match compare(own, read) {
            Comparison::Normal(entries) if entries.is_empty() => resolve.at_end = Some(with_others),
            Comparison::Normal(entries) => self.absorb(own, entries, effects),
            Comparison::Trimmed => self.give_up(Nominee::Anybody, Why::Behind, now, effects),
            Comparison::LostTail { from, lost } if self.heals && !is(Bug::HealOff) => {
                self.heal(from, lost, now, effects)
            }
            Comparison::LostTail { from, .. } if is(Bug::HealOff) => {
                self.give_up(Nominee::Anybody, Why::OtherHistory(from.index), now, effects);
            }
            Comparison::LostTail { from, .. } | Comparison::OlderLog { tail: from } => {
                self.give_up(Nominee::Anybody, Why::OlderLog(from), now, effects);
            }
            Comparison::OtherHistory { index } => {
                self.give_up(Nominee::Anybody, Why::OtherHistory(index), now, effects);
            }
        }
    }

    /// Takes entries that are durable. Those that this holder gave their index are answered.
    pub(super) fn absorb(&mut self, own: &mut Recent, entries: Vec<LogEntry>, effects: &mut Vec<Effect>) {
        let new = match own.extend(entries) {
            Ok(new) => new,
            Err(Discord::Other { index }) => return self.end(Why::OtherHistory(index), effects),
            Err(Discord::Damaged { index }) => {
                let error = LogError::Damaged(format!("entry {index} of the log does not follow the one before it"));
                return self.end(Why::Failed(error), effects);
            }
        };
        let mut answers = Vec::new();
        let mut foreign = false;
        for entry in &new {
            if is(Bug::ResendWithoutLooking) && matches!(self.phase, Phase::Resolving(_)) {
                break;
            }
            match self.given.front() {
                Some(given) if given.entry == *entry => {
                    answers.extend(self.given.pop_front().map(|given| (entry.index, given.proposal)));
                }
                Some(given) if given.entry.index == entry.index => foreign = true,
                Some(_) | None => {}
            }
        }
        effects.push(Effect::Apply(new, answers));
        if foreign {
            // Only a later holder writes there.
            self.end(Why::Deposed, effects);
        }
    }
}
