//! A server's part in a shared log: the shell around the cores. One task owns them, the session with the log, and the
//! order of the entries that this server has.

mod appender;
mod session;
mod tail;
mod talk;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{ClusterId, Committed, ServerName};
use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot, watch};

use super::candidate::{self, Candidate};
use super::holder::{self, Holder, Proposal, Trouble};
use super::log::{Claimant, LogEntry, LogIdentity, Nominee, SharedLog, SharedLogs};
use super::message::{Message, Others, Reply};
use super::recent::Recent;
use super::timing::SharedTiming;
use crate::error::CommitError;
use crate::lease::Lease;
use session::{Event, Session};

/// The clock of this server.
pub(crate) type Clock = Arc<dyn Fn() -> BootTime + Send + Sync>;

/// Takes the answer to a proposal.
pub(crate) type Answerer = oneshot::Sender<Result<Committed, CommitError>>;

/// What a member is made of.
pub(crate) struct Parts {
    /// This process.
    pub(crate) own: Claimant,
    /// Where others reach it, for people.
    pub(crate) address: String,
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// This server's last process.
    pub(crate) before: Option<Before>,
    /// The log.
    pub(crate) logs: Arc<dyn SharedLogs>,
    /// The other servers.
    pub(crate) others: Arc<dyn Others>,
    /// Durations.
    pub(crate) timing: SharedTiming,
    /// It puts entries back that the log lost.
    pub(crate) heals: bool,
    /// The clock.
    pub(crate) clock: Clock,
    /// What this server has of the log.
    pub(crate) recent: Recent,
    /// Work for the state, in order.
    pub(crate) work: mpsc::UnboundedSender<Work>,
    /// The last entry that was applied.
    pub(crate) applied: watch::Receiver<u64>,
    /// Takes the sending of the oldest statement that is not answered; 0 if there is none.
    pub(crate) unanswered: Arc<AtomicU64>,
    /// Takes the session with the log, while there is one.
    pub(crate) session: watch::Sender<Option<Arc<dyn SharedLog>>>,
}

/// What is known of the last process of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Before {
    /// Its incarnation.
    pub(crate) incarnation: u64,
    /// The timeline of the log as it was opened last.
    pub(crate) timeline: u32,
}

/// Work for the state.
pub(crate) enum Work {
    /// Apply entries, and answer those that were proposed here, by their index.
    Apply(Vec<LogEntry>, Vec<(u64, Answerer)>),
    /// The log no longer has the next entry: load a snapshot, and say [`Command::Loaded`].
    Load,
    /// The log has other entries from about this index on: set the state aside, and begin again with an empty one.
    SetAside(u64),
}

/// A request to a member.
pub(crate) enum Command {
    /// Commit a command.
    Propose(Bytes, Answerer),
    /// Give the lease to a server, or to whoever comes first.
    Give(Option<ServerName>),
    /// The servers that may hold the lease, best first.
    Order(Vec<ServerName>),
    /// All servers to which there are links.
    Linked(BTreeSet<ServerName>),
    /// There is proof that the process with this incarnation died.
    Died(u64),
    /// A server says something.
    Told(Message, oneshot::Sender<Reply>),
    /// A snapshot was loaded.
    Loaded(Recent),
}

/// Another server, as the holder knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OtherServer {
    /// The last entry that it has.
    pub(crate) index: u64,
    /// The time at which the last message was sent that it answered.
    pub(crate) heard: BootTime,
    /// It reaches the log, and could lead.
    pub(crate) may_lead: bool,
}

/// A member as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemberStatus {
    /// It leads.
    pub(crate) leads: bool,
    /// The holder of the lease, if it is known.
    pub(crate) holder: Option<ServerName>,
    /// The highest term that is known; its own if it leads.
    pub(crate) term: u64,
    /// The last entry that it has.
    pub(crate) index: u64,
    /// The other servers, if it leads.
    pub(crate) others: BTreeMap<ServerName, OtherServer>,
    /// The log answers.
    pub(crate) reached: bool,
    /// The log, as it was opened last.
    pub(crate) identity: Option<LogIdentity>,
    /// The log does not have what this server has, in words.
    pub(crate) regressed: Option<String>,
    /// A problem, in words.
    pub(crate) trouble: Option<String>,
}

/// The task's end of a member.
pub(crate) struct Member {
    own: Claimant,
    address: String,
    cluster: ClusterId,
    logs: Arc<dyn SharedLogs>,
    others: Arc<dyn Others>,
    timing: SharedTiming,
    heals: bool,
    clock: Clock,
    recent: Recent,
    work: mpsc::UnboundedSender<Work>,
    applied: watch::Receiver<u64>,
    unanswered: Arc<AtomicU64>,
    commands: mpsc::UnboundedReceiver<Command>,
    lease: Lease,
    status: watch::Sender<MemberStatus>,

    candidate: Candidate,
    holder: Option<Holder>,
    /// The last entry that must be applied before this server leads.
    leads_from: Option<u64>,
    order: Vec<ServerName>,
    linked: BTreeSet<ServerName>,

    session: Session,
    open_session: watch::Sender<Option<Arc<dyn SharedLog>>>,
    identity: Option<LogIdentity>,
    /// The newest timeline of the log that this server knows.
    timeline: Option<u32>,
    /// The sending of the last request that the log answered.
    reached: Option<BootTime>,
    asked: FuturesUnordered<talk::Asked>,
    probed: BootTime,

    /// Proposals that are not answered, by their number.
    proposals: BTreeMap<u64, Answerer>,
    next_proposal: u64,

    reading: tail::Reading,
    regressed: Option<String>,
    trouble: Option<String>,
    tells: BTreeMap<ServerName, talk::Tell>,
    known: BTreeMap<ServerName, OtherServer>,
}

/// The trouble of a log that nobody can write.
const STANDBY: &str = "the log waits for its synchronous standby";
/// Interval at which the session is tried.
const PROBE: Duration = Duration::from_secs(1);

impl Member {
    /// Prepares a member; [`Self::run`] it.
    pub(crate) fn new(
        parts: Parts,
        commands: mpsc::UnboundedReceiver<Command>,
        lease: Lease,
        status: watch::Sender<MemberStatus>,
    ) -> Self {
        let Parts {
            own,
            address,
            cluster,
            before,
            logs,
            others,
            timing,
            heals,
            clock,
            recent,
            work,
            applied,
            unanswered,
            session,
        } = parts;
        let candidate = Candidate::new(timing, own.clone(), before.map(|before| before.incarnation));
        Self {
            own,
            address,
            cluster,
            logs,
            others,
            timing,
            heals,
            clock,
            recent,
            work,
            applied,
            unanswered,
            commands,
            lease,
            status,
            candidate,
            holder: None,
            leads_from: None,
            order: Vec::new(),
            linked: BTreeSet::new(),
            session: Session::default(),
            open_session: session,
            identity: None,
            timeline: before.map(|before| before.timeline),
            reached: None,
            asked: FuturesUnordered::new(),
            probed: BootTime(0),
            proposals: BTreeMap::new(),
            next_proposal: 0,
            reading: tail::Reading::default(),
            regressed: None,
            trouble: None,
            tells: BTreeMap::new(),
            known: BTreeMap::new(),
        }
    }

    /// Takes part until the other end of the commands is gone.
    pub(crate) async fn run(mut self) {
        self.candidate_input(candidate::Input::Term(self.recent.term()));
        self.reopen(Duration::ZERO);
        loop {
            let now = self.now();
            let sleep = tokio::time::sleep(self.wake(now).since(now));
            tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => break,
                },
                Some((sent, event)) = self.session.calls.next() => self.event(sent, event),
                Some(opened) = self.session.opening.next() => self.opened(opened),
                Some(heard) = self.asked.next() => self.heard(heard),
                changed = self.applied.changed() => if changed.is_err() { break },
                () = sleep => self.tick(),
            }
            let now = self.now();
            self.read_on(now);
            self.probe(now);
            self.tell(now);
            self.publish(now);
        }
        self.lease.end();
        self.status.send_modify(|status| status.leads = false);
    }

    fn now(&self) -> BootTime {
        (self.clock)()
    }

    fn wake(&self, now: BootTime) -> BootTime {
        let core = match &self.holder {
            Some(holder) => holder.wake(now),
            None => self.candidate.wake(now),
        };
        core.min(self.next_read(now))
            .min(self.probed + PROBE)
            .min(self.next_tell(now))
            .max(now + Duration::from_micros(100))
    }

    fn tick(&mut self) {
        match self.holder {
            Some(_) => self.holder_input(holder::Input::Tick),
            None => self.candidate_input(candidate::Input::Tick),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Propose(body, answer) => {
                self.next_proposal += 1;
                let id = self.next_proposal;
                self.proposals.insert(id, answer);
                match self.holder {
                    Some(_) => self.holder_input(holder::Input::Propose(Proposal { id, body })),
                    None => self.answer(vec![id], &CommitError::NotLeader { leader: None }),
                }
            }
            Command::Give(to) => {
                let to = to.map_or(Nominee::Anybody, Nominee::Server);
                self.holder_input(holder::Input::Give(to));
            }
            Command::Order(order) => {
                self.order = order;
                self.place();
            }
            Command::Linked(linked) => {
                let gone: Vec<ServerName> = self.linked.difference(&linked).cloned().collect();
                self.linked.clone_from(&linked);
                self.candidate_input(candidate::Input::Linked(linked));
                for server in gone {
                    self.known.remove(&server);
                    self.tells.remove(&server);
                    self.holder_input(holder::Input::Unlinked(server));
                }
            }
            Command::Died(incarnation) => self.candidate_input(candidate::Input::Died(incarnation)),
            Command::Told(message, reply) => {
                let answer = self.told(message);
                // The link may be gone.
                let _ = reply.send(answer);
            }
            Command::Loaded(recent) => {
                if recent.position().index >= self.recent.position().index {
                    self.recent = recent;
                }
                self.reading.loaded();
                self.place();
            }
        }
    }

    /// Takes the answer to a statement that was sent then.
    fn event(&mut self, sent: BootTime, event: Event) {
        let error = event.error();
        if error.is_none() {
            self.reached = self.reached.max(Some(sent));
            self.holder_input(holder::Input::Alive(sent));
        }
        let broken = error.filter(|error| session::is_broken(error)).cloned();
        let term = self.holder.as_ref().map(Holder::term);
        match event {
            Event::Holder(of, answer) if term == Some(of) => self.holder_input(holder::Input::Answered(answer)),
            Event::Acquired(acquired) => self.candidate_input(candidate::Input::Acquired(acquired)),
            Event::Looked(row) => self.candidate_input(candidate::Input::Looked(row)),
            Event::Sessions(of, sessions) => self.candidate_input(candidate::Input::Sessions(of, sessions)),
            Event::Read(read) => self.read(read),
            Event::Holder(..) | Event::Done(_) | Event::Ended(_) => {}
        }
        // If there is none, it is being opened.
        if let Some(error) = broken.filter(|_| self.session.log.is_some()) {
            self.trouble = Some(error.to_string());
            self.holder_input(holder::Input::Broke(error));
            if self.session.log.is_some() {
                self.reopen(Duration::ZERO);
            }
        }
    }

    /// Tells the candidate if this server is ready to lead.
    fn place(&mut self) {
        let ready = self.session.log.is_some() && self.regressed.is_none() && self.reading.is_level();
        self.candidate_input(candidate::Input::Place(self.order.clone(), ready));
    }

    fn answer(&mut self, ids: Vec<u64>, error: &CommitError) {
        for id in ids {
            if let Some(answer) = self.proposals.remove(&id) {
                // Its proposer may have left.
                let _ = answer.send(Err(error.clone()));
            }
        }
    }

    fn publish(&mut self, now: BootTime) {
        let unanswered = self.holder.as_ref().and_then(Holder::unanswered);
        self.unanswered.store(unanswered.map_or(0, |since| since.0), Ordering::Relaxed);
        let ahead =
            self.holder.as_ref().and_then(Holder::trouble).filter(|trouble| matches!(trouble, Trouble::Ahead(..)));
        let applied = *self.applied.borrow();
        let leads =
            self.holder.as_ref().is_some_and(Holder::leads) && self.leads_from.is_some_and(|from| applied >= from);
        let status = MemberStatus {
            leads,
            holder: match &self.holder {
                Some(_) => Some(self.own.server.clone()),
                None => self.candidate.row().and_then(|row| row.holder.clone()),
            },
            term: self.holder.as_ref().map_or(self.candidate.highest(), Holder::term),
            index: self.recent.position().index,
            others: if leads { self.known.clone() } else { BTreeMap::new() },
            reached: self.reached.is_some_and(|reached| now.since(reached) < self.timing.lease),
            identity: self.identity.clone(),
            regressed: self.regressed.clone().or_else(|| ahead.and(self.trouble.clone())),
            trouble: self.trouble.clone().or_else(|| self.candidate.standby_is_missing().then(|| STANDBY.to_owned())),
        };
        self.status.send_if_modified(|known| {
            let changed = *known != status;
            if changed {
                *known = status;
            }
            changed
        });
    }
}
