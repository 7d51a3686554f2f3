//! What this server says to the others, and what they say.

use std::time::Duration;

use baton_domain::ServerName;
use baton_domain::clock::BootTime;
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};

use super::super::holder::{self, Standing};
use super::super::log::{Chain, Position};
use super::super::message::{Message, Reply};
use super::{Member, OtherServer, candidate};

/// Interval at which the holder tells the others where the log ends.
const TELL: Duration = Duration::from_millis(80);
/// Minimum interval.
const NEWS: Duration = Duration::from_millis(2);
/// Time for an answer.
const PATIENCE: Duration = Duration::from_millis(500);
/// Time for the answers of all: a server that is silent for longer counts as cut off.
const ALL: Duration = Duration::from_millis(100);

/// The answers to a question.
#[derive(Debug)]
pub(super) enum Heard {
    /// Of one server, which was asked then.
    Standing(ServerName, BootTime, Option<Reply>),
    /// Of all servers, for the holder of that term.
    Standings(u64, BootTime, Vec<(ServerName, Option<Reply>)>),
    /// About a process.
    Verdict(ServerName, u64, Option<Reply>),
    /// None is expected.
    Nothing,
}

/// A question that is not answered.
pub(super) type Asked = BoxFuture<'static, Heard>;

/// News for a server.
#[derive(Debug, Default)]
pub(super) struct Tell {
    busy: bool,
    news: bool,
    last: BootTime,
}

impl Tell {
    fn due(&self) -> Option<BootTime> {
        (!self.busy).then(|| self.last + if self.news { NEWS } else { TELL })
    }
}

impl Member {
    /// Answers a message.
    pub(super) fn told(&mut self, message: Message) -> Reply {
        self.says_tail(&message);
        match message {
            Message::Tail { .. } | Message::Standing => {
                let position = self.recent.position();
                let now = self.now();
                let age = self.reached.map(|reached| u64::try_from(now.since(reached).as_millis()).unwrap_or(u64::MAX));
                Reply::Standing {
                    index: position.index,
                    chain: position.chain.0,
                    applied: *self.applied.borrow(),
                    heals: self.heals && self.regressed.is_none() && !self.reading.is_loading(),
                    reached_ms: age,
                }
            }
            Message::Verdict { server, incarnation } => Reply::Verdict(self.candidate.verdict(&server, incarnation)),
            Message::Released { term } => {
                self.candidate_input(candidate::Input::Released(term));
                Reply::Noted
            }
        }
    }

    /// Sends a message to which no answer is expected.
    pub(super) fn say(&mut self, to: ServerName, message: Message) {
        let answer = self.others.ask(&to, message, PATIENCE);
        self.asked.push(answer.map(|_| Heard::Nothing).boxed());
    }

    pub(super) fn ask_standings(&mut self, now: BootTime) {
        let term = self.holder.as_ref().map_or(0, super::Holder::term);
        let asked = self.linked.iter().map(|server| {
            let answer = self.others.ask(server, Message::Standing, ALL);
            let server = server.clone();
            async move { (server, answer.await) }
        });
        let asked = asked.collect::<Vec<_>>();
        self.asked.push(join_all(asked).map(move |answers| Heard::Standings(term, now, answers)).boxed());
    }

    pub(super) fn ask_verdicts(&mut self, incarnation: u64) {
        let Some(server) = self.candidate.row().and_then(|row| row.holder.clone()) else { return };
        for other in self.linked.iter().filter(|other| **other != server) {
            let (other, message) = (other.clone(), Message::Verdict { server: server.clone(), incarnation });
            let answer = self.others.ask(&other, message, ALL);
            self.asked.push(answer.map(move |answer| Heard::Verdict(other, incarnation, answer)).boxed());
        }
    }

    /// A server as it described itself when it was asked.
    fn standing(&self, of: &ServerName, asked: BootTime, reply: &Reply) -> Option<Standing> {
        let Reply::Standing { index, chain, heals, reached_ms, .. } = reply else { return None };
        let rank = self.order.iter().position(|server| server == of).unwrap_or(usize::MAX);
        // From before it was asked: its answer took a while.
        let reached = reached_ms.map(|age| asked - Duration::from_millis(age));
        let position = Position { index: *index, chain: Chain(*chain) };
        Some(Standing { position, heals: *heals, reached, rank })
    }

    pub(super) fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Standing(of, asked, reply) => {
                if let Some(tell) = self.tells.get_mut(&of) {
                    tell.busy = false;
                }
                let Some(reply) = reply else { return };
                let Some(standing) = self.standing(&of, asked, &reply) else { return };
                if let Reply::Standing { index, .. } = reply
                    && self.linked.contains(&of)
                {
                    let reached = standing.reached.is_some_and(|at| asked.since(at) < self.timing.lease / 2);
                    self.known
                        .insert(of.clone(), OtherServer { index, heard: asked, may_lead: standing.heals && reached });
                    self.holder_input(holder::Input::Heard(of, standing));
                }
            }
            Heard::Standings(term, asked, replies) => {
                if self.holder.as_ref().is_some_and(|holder| holder.term() == term) {
                    let replies = replies.into_iter();
                    let standings = replies.filter_map(|(of, reply)| {
                        let standing = self.standing(&of, asked, reply.as_ref()?)?;
                        Some((of, standing))
                    });
                    let standings = standings.collect();
                    self.holder_input(holder::Input::Standings(standings));
                }
            }
            Heard::Verdict(from, incarnation, Some(Reply::Verdict(verdict))) => {
                self.candidate_input(candidate::Input::Testified(from, incarnation, verdict));
            }
            Heard::Verdict(_, _, Some(Reply::Standing { .. } | Reply::Noted) | None) | Heard::Nothing => {}
        }
    }

    /// There are entries that the others may not know.
    pub(super) fn news(&mut self) {
        self.tells.values_mut().for_each(|tell| tell.news = true);
    }

    /// The time of the next message to the others.
    pub(super) fn next_tell(&self, now: BootTime) -> BootTime {
        let far = now + TELL;
        if self.holder.is_none() {
            return far;
        }
        self.tells.values().filter_map(Tell::due).min().unwrap_or(far)
    }

    /// Tells the others where the log ends.
    pub(super) fn tell(&mut self, now: BootTime) {
        let Some(holder) = &self.holder else { return };
        let message = Message::Tail {
            term: holder.term(),
            index: self.recent.position().index,
            timeline: self.timeline.unwrap_or_default(),
            leased: self.lease.until() > now,
        };
        for server in self.linked.iter().cloned().collect::<Vec<_>>() {
            let tell = self.tells.entry(server.clone()).or_default();
            if tell.due().is_none_or(|due| due > now) {
                continue;
            }
            *tell = Tell { busy: true, news: false, last: now };
            let answer = self.others.ask(&server, message.clone(), PATIENCE);
            self.asked.push(answer.map(move |answer| Heard::Standing(server, now, answer)).boxed());
        }
    }
}
