//! The proof that the holder's process died, with the log as the second witness. Pure.
//!
//! The links gave the first part: the watch connection beside the link was closed in order, and the port refuses. The
//! second: no server that is linked here has a live link to that process. The third: the log has no session of it any
//! more: the system closes those of a process that ends. They are never ended here, for then their end would prove nothing.
//! A holder whose session ended has no lease from the moment at which it notices, so that all three together
//! could be wrong only if both kinds of connections were cut in order, unnoticed by the holder.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_domain::ServerName;
use baton_domain::clock::BootTime;
use serde::{Deserialize, Serialize};

use super::log::Sessions;

/// Interval at which the log is asked again while a session of the process ends ...
const SOON: Duration = Duration::from_millis(5);
/// ... for this long, ...
const PATIENCE: Duration = Duration::from_millis(200);
/// ... and after that.
const LATER: Duration = Duration::from_millis(50);

/// What a server knows about another process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Verdict {
    /// It has a live link to it.
    Alive,
    /// It has proof that it died.
    Dead,
    /// It has neither.
    Unknown,
}

/// Something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask the log for the sessions of the process.
    AskSessions,
    /// Ask all linked servers.
    AskOthers,
}

/// An inquest into one death.
#[derive(Debug)]
pub(crate) struct Inquest {
    of: u64,
    began: Option<BootTime>,
    next: Option<BootTime>,
    sessions: Option<Sessions>,
    others: BTreeMap<ServerName, Verdict>,
    /// The time at which all was proven.
    proven: Option<BootTime>,
}

impl Inquest {
    /// Into the death of the process with that incarnation.
    pub(crate) fn new(of: u64) -> Self {
        Self { of, began: None, next: None, sessions: None, others: BTreeMap::new(), proven: None }
    }

    /// The incarnation of the process.
    pub(crate) fn of(&self) -> u64 {
        self.of
    }

    /// The time at which the death was proven.
    pub(crate) fn proven(&self) -> Option<BootTime> {
        self.proven
    }

    /// True if the process' sessions wait for the log's standby: nobody can commit, and nobody is evicted.
    pub(crate) fn standby_is_missing(&self) -> bool {
        self.sessions == Some(Sessions::WaitsForStandby)
    }

    /// The time of the next question.
    pub(crate) fn wake(&self) -> Option<BootTime> {
        self.next.filter(|_| self.proven.is_none())
    }

    /// What the log said may have been another log.
    pub(crate) fn begin_again(&mut self) {
        *self = Self::new(self.of);
    }

    /// The holder's beat is another than it was: it was alive after the log was asked, perhaps.
    pub(crate) fn beat_changed(&mut self) {
        if self.sessions.take().is_some() {
            (self.proven, self.next) = (None, self.began);
        }
    }

    /// The log answered, or did not.
    pub(crate) fn sessions(&mut self, sessions: Option<Sessions>, now: BootTime) {
        let patient = self.began.is_some_and(|began| now.since(began) < PATIENCE);
        self.sessions = sessions;
        let ends = matches!(sessions, Some(Sessions::Busy | Sessions::WaitsForClient));
        self.next = Some(now + if ends && patient { SOON } else { LATER });
    }

    /// Another server said what it knows.
    pub(crate) fn testified(&mut self, from: ServerName, verdict: Verdict) {
        self.others.insert(from, verdict);
    }

    /// Goes on; `others` are all linked servers but that of the process.
    pub(crate) fn step<'a>(&mut self, others: impl Iterator<Item = &'a ServerName>, now: BootTime) -> Vec<Step> {
        if self.proven.is_some() {
            return Vec::new();
        }
        let verdicts: Vec<Option<Verdict>> = others.map(|server| self.others.get(server).copied()).collect();
        let objection = verdicts.iter().any(|verdict| matches!(verdict, None | Some(Verdict::Alive)));
        let second = verdicts.contains(&Some(Verdict::Dead));
        let closed = match self.sessions {
            Some(Sessions::Gone) => true,
            // The log cannot tell: another server must have proof of its own.
            Some(Sessions::Unseen) => second,
            Some(Sessions::Busy | Sessions::WaitsForClient | Sessions::WaitsForStandby) | None => false,
        };
        if closed && !objection {
            self.proven = Some(now);
            return Vec::new();
        }
        let mut steps = Vec::new();
        if self.next.is_none_or(|next| now >= next) {
            // A server that still objects may have a link that is about to be noticed as down.
            steps.extend(objection.then_some(Step::AskOthers));
            steps.push(Step::AskSessions);
            self.began.get_or_insert(now);
            self.next = Some(now + LATER);
        }
        steps
    }
}
