//! A log that all servers reach, with faults, on paused time.
//!
//! Statements of a session arrive in order, late, and are done one at a time; their answers take their time, too. The
//! log can be restarted, frozen, and replaced by a standby that has lost the last commits; ways to it can be cut in each
//! direction; a statement may be done after its session broke.

mod data;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use baton_domain::{ClusterId, ServerName};
use futures::FutureExt;
use tokio::sync::watch;

use super::log::{Answer, Chain, Claimant, LogEntry, LogError, LogIdentity, Position, Sessions, SharedLog, SharedLogs};
use crate::simulation::dice::Dice;
use data::Data;
use session::Session;

/// Unanswered data ends a connection after this long.
const TCP_TIMEOUT: Duration = Duration::from_secs(5);

/// The cluster of the log.
pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);

/// A way between a server and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From the server to the log.
    To,
    /// From the log to the server.
    From,
}

/// A session as the log sees it.
#[derive(Debug)]
struct Connection {
    claimant: Claimant,
    /// The log that it is connected to.
    data: usize,
    /// The server has not noticed that it broke.
    client: watch::Sender<bool>,
    /// The log has not noticed.
    server: bool,
    /// Statements that are on their way or being done.
    statements: usize,
    /// Its next commit waits for its client, and holds its lock.
    sticks: bool,
    /// It holds a lock.
    locks: bool,
}

struct State {
    dice: Dice,
    /// The log, and those that it replaced.
    logs: Vec<Data>,
    connections: BTreeMap<u64, Connection>,
    next: u64,
    cut: BTreeSet<(ServerName, Way)>,
    /// Servers that still reach a log that was replaced.
    astray: BTreeSet<ServerName>,
    down: bool,
    frozen: bool,
    delay_us: u64,
    /// Of a thousand commits so many are answered with a warning: it is not known if they are durable.
    warned: u64,
    /// The content that was given to each index in each term, when it was sent.
    given: BTreeMap<(u64, u64), Chain>,
    broken: Vec<String>,
}

/// The log. Clones are the same one.
#[derive(Clone)]
pub(crate) struct SimulatedLog(Arc<Mutex<State>>);

/// Whether a statement is done now.
enum Gate {
    Open,
    Closed,
    /// It will never be done.
    Gone,
}

impl SimulatedLog {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: Dice::new(seed),
            logs: vec![Data::new()],
            connections: BTreeMap::new(),
            next: 0,
            cut: BTreeSet::new(),
            astray: BTreeSet::new(),
            down: false,
            frozen: false,
            delay_us: 300,
            warned: 0,
            given: BTreeMap::new(),
            broken: Vec::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Answers take up to so many microseconds each way.
    pub(crate) fn set_delay(&self, delay_us: u64) {
        self.state().delay_us = delay_us;
    }

    pub(crate) fn set_warned(&self, per_mille: u64) {
        self.state().warned = per_mille;
    }

    pub(crate) fn freeze(&self, frozen: bool) {
        self.state().frozen = frozen;
    }

    pub(crate) fn cut(&self, server: &ServerName, way: Way) {
        self.state().cut.insert((server.clone(), way));
    }

    pub(crate) fn mend(&self) {
        let mut state = self.state();
        state.cut.clear();
        state.astray.clear();
        (state.frozen, state.warned) = (false, 0);
        // The last replaced log is stopped.
        let newest = state.logs.len() - 1;
        self.break_all(&mut state, |connection| connection.data < newest);
    }

    /// Stops the log: what is on its way is not done, and nobody knows.
    pub(crate) fn stop(&self) {
        let mut state = self.state();
        state.down = true;
        self.break_all(&mut state, |_| true);
    }

    pub(crate) fn start(&self) {
        self.state().down = false;
    }

    /// Ends sessions of a server, as an administrator may.
    pub(crate) fn end_sessions(&self, server: &ServerName) {
        let mut state = self.state();
        self.break_all(&mut state, |connection| connection.claimant.server == *server);
    }

    /// A standby takes over that lacks the last `lost` commits. Servers `astray` go on with the old one.
    pub(crate) fn promote(&self, lost: usize, astray: BTreeSet<ServerName>) {
        let mut state = self.state();
        let promoted = state.logs.last().expect("there is one").promoted(lost);
        state.logs.push(promoted);
        state.down = false;
        self.break_all(&mut state, |connection| !astray.contains(&connection.claimant.server));
        state.astray = astray;
    }

    /// The process of a server ends: its kernel closes its connections. What it sent may still be done.
    pub(crate) fn killed(&self, incarnation: u64) {
        let mut state = self.state();
        let ids = state.connections.iter().filter(|(_, connection)| connection.claimant.incarnation == incarnation);
        for id in ids.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.leave(&mut state, id);
        }
    }

    /// The client's end of a session closes; the log notices soon, if the way is open, or after a while.
    fn leave(&self, state: &mut State, id: u64) {
        let Some(connection) = state.connections.get_mut(&id) else { return };
        connection.client.send_replace(false);
        (connection.sticks, connection.locks) = (false, false);
        let cut = state.cut.contains(&(connection.claimant.server.clone(), Way::To));
        let after = if cut { TCP_TIMEOUT } else { Duration::from_millis(3 + state.dice.below(10)) };
        let log = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            log.state().connections.remove(&id);
        });
    }

    fn break_all(&self, state: &mut State, which: impl Fn(&Connection) -> bool) {
        for connection in state.connections.values_mut().filter(|connection| which(connection)) {
            connection.client.send_replace(false);
            connection.server = false;
        }
    }

    /// The entries of the log as it is now.
    pub(crate) fn entries(&self) -> Vec<LogEntry> {
        self.state().logs.last().expect("there is one").entries().to_vec()
    }

    /// Contradictions: an index that was given to two contents in one term.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.state().broken.clone()
    }

    /// Terms may be given out again after a loss that nobody alive saw.
    pub(crate) fn forget_given(&self) {
        self.state().given.clear();
    }

    /// The next commit of each session of that process waits for its client after it is done, and holds its lock.
    pub(crate) fn stick(&self, incarnation: u64) {
        let mut state = self.state();
        for connection in state.connections.values_mut() {
            connection.sticks |= connection.claimant.incarnation == incarnation;
        }
    }

    fn gate(&self, id: u64, commits: bool) -> Gate {
        let mut state = self.state();
        let locks = |(of, other): (&u64, &Connection)| *of != id && other.locks && other.server;
        let locked = commits && state.connections.iter().any(locks);
        let State { connections, cut, frozen, logs, .. } = &mut *state;
        let Some(connection) = connections.get_mut(&id).filter(|connection| connection.server) else {
            return Gate::Gone;
        };
        let cut = cut.contains(&(connection.claimant.server.clone(), Way::To));
        // A log that was replaced waits for its standby at each commit.
        let replaced = commits && connection.data + 1 < logs.len();
        // A lock that it holds is held until its client goes on: it does not.
        if *frozen || replaced || locked || connection.locks || (cut && *connection.client.borrow()) {
            return Gate::Closed;
        }
        connection.locks = commits && connection.sticks;
        Gate::Open
    }

    fn is_locked_by(&self, id: u64) -> bool {
        self.state().connections.get(&id).is_some_and(|connection| connection.locks)
    }

    fn way_back_is_cut(&self, server: &ServerName) -> bool {
        self.state().cut.contains(&(server.clone(), Way::From))
    }

    fn delay(&self) -> Duration {
        let mut state = self.state();
        let most = state.delay_us;
        Duration::from_micros(20 + state.dice.below(most))
    }

    /// Notes which content an index is given.
    fn note_sent(&self, term: u64, entries: &[LogEntry]) {
        let mut state = self.state();
        for entry in entries.iter().filter(|entry| entry.term == term) {
            let known = *state.given.entry((term, entry.index)).or_insert(entry.chain);
            if known != entry.chain {
                let (index, body) = (entry.index, &entry.body);
                state.broken.push(format!("index {index} was given to another content in term {term}: {body:?}"));
            }
        }
    }
}

impl State {
    fn data(&mut self, id: u64) -> Option<&mut Data> {
        let data = self.connections.get(&id)?.data;
        self.logs.get_mut(data)
    }

    fn sessions_of(&self, incarnation: u64) -> Sessions {
        let newest = self.logs.len() - 1;
        let of = |connection: &&Connection| {
            connection.claimant.incarnation == incarnation && connection.server && connection.data == newest
        };
        let mut sessions = self.connections.values().filter(of).peekable();
        if sessions.peek().is_none() {
            Sessions::Gone
        } else if sessions.clone().any(|connection| connection.statements > 0) {
            Sessions::Busy
        } else {
            Sessions::WaitsForClient
        }
    }
}

impl SharedLogs for SimulatedLog {
    fn open(&self, claimant: Claimant, cluster: ClusterId) -> Answer<'_, (Arc<dyn SharedLog>, LogIdentity)> {
        async move {
            tokio::time::sleep(self.delay() + self.delay()).await;
            if cluster != CLUSTER {
                return Err(LogError::Foreign("it belongs to another cluster".to_owned()));
            }
            let mut state = self.state();
            let cut = [Way::To, Way::From].map(|way| state.cut.contains(&(claimant.server.clone(), way)));
            if state.down || cut.contains(&true) {
                return Err(LogError::Unreachable("connection refused".to_owned()));
            }
            if state.frozen {
                return Err(LogError::Unreachable("connection timed out".to_owned()));
            }
            let newest = state.logs.len() - 1;
            let data = if state.astray.contains(&claimant.server) { newest.saturating_sub(1) } else { newest };
            let identity = LogIdentity {
                cluster,
                generation: 0,
                name: "a simulated log".to_owned(),
                system: 1,
                timeline: u32::try_from(data).unwrap() + 1,
                standby: String::new(),
            };
            self.break_all(&mut state, |connection| connection.claimant == claimant);
            state.next += 1;
            let id = state.next;
            let (client, open) = watch::channel(true);
            let connection = Connection {
                claimant: claimant.clone(),
                data,
                client,
                server: true,
                statements: 0,
                sticks: false,
                locks: false,
            };
            state.connections.insert(id, connection);
            drop(state);
            let session: Arc<dyn SharedLog> = Arc::new(Session::new(self.clone(), id, claimant, open));
            Ok((session, identity))
        }
        .boxed()
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// Behind the last of some entries.
fn end_of(base: Position, entries: &[LogEntry]) -> Position {
    entries.last().map_or(base, LogEntry::position)
}
