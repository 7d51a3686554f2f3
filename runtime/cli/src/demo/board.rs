//! The state that the demo shows: place of the engine, events, number of messages.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton_client::protocol::Status;
use baton_domain::clock::BootTime;

use crate::account::{Ledger, PlacementSeen};

use super::outage::Silence;

/// The output mode of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// A live view on the terminal.
    Screen,
    /// One line per event.
    LinesOnStdout,
    /// The same on stderr, because stdout is for JSON.
    LinesOnStderr,
}

/// The state of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct NodeView {
    /// True while the process runs.
    pub(super) runs: bool,
    /// True if the others reach it.
    pub(super) up: bool,
    /// The state of its engine instance.
    pub(super) engine: String,
}

/// The content of the view.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) nodes: BTreeMap<String, NodeView>,
    /// The newest status that any server gave.
    pub(super) status: Option<Status>,
    pub(super) placements: Vec<PlacementSeen>,
    pub(super) timeline: Vec<(Duration, String)>,
    pub(super) ledger: Ledger,
    pub(super) silence: Silence,
    pub(super) confirmed: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// The board; shared by the story, the traffic and the screen.
#[derive(Debug)]
pub(super) struct Board {
    started: BootTime,
    telling: Telling,
    shown: Mutex<Shown>,
}

impl Board {
    /// An empty board.
    pub(super) fn new(telling: Telling) -> Self {
        let shown = Shown {
            nodes: BTreeMap::new(),
            status: None,
            placements: Vec::new(),
            timeline: Vec::new(),
            ledger: Ledger::default(),
            silence: Silence::default(),
            sent: 0,
            confirmed: 0,
            received: 0,
        };
        Self { started: BootTime::now(), telling, shown: Mutex::new(shown) }
    }

    /// The content.
    pub(super) fn look(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the start of the demo.
    pub(super) fn age(&self) -> Duration {
        BootTime::now().since(self.started)
    }

    /// Adds an event.
    pub(super) fn tell(&self, what: impl Into<String>) {
        let (age, what) = (self.age(), what.into());
        match self.telling {
            Telling::Screen => {}
            Telling::LinesOnStdout => {
                // A closed output must not leave processes behind: the demo ends in order.
                let _ = crate::output::print(&line(age, &what));
            }
            Telling::LinesOnStderr => crate::stderr::say(line(age, &what).trim_end()),
        }
        self.look().timeline.push((age, what));
    }

    /// Records that a process was started or killed.
    pub(super) fn runs(&self, name: &str, runs: bool) {
        let mut shown = self.look();
        let node = shown.nodes.entry(name.to_owned()).or_default();
        *node = NodeView { runs, ..NodeView::default() };
    }

    /// Takes in a server's status. Reports a new placement.
    pub(super) fn status(&self, status: Status) {
        let mut shown = self.look();
        for server in &status.servers {
            let node = shown.nodes.entry(server.name.to_string()).or_default();
            node.up = server.up;
            node.engine.clone_from(&server.engine);
        }
        let seen = placement(&status).filter(|seen| shown.placements.iter().all(|known| known.epoch != seen.epoch));
        shown.placements.extend(seen.clone());
        shown.status = Some(status);
        drop(shown);
        if let Some(seen) = seen {
            self.tell(format!("the engine started on {} (epoch {}): {}", seen.server, seen.epoch, seen.reason));
        }
    }
}

/// A line of the timeline.
pub(super) fn line(age: Duration, what: &str) -> String {
    format!("{:>6.1} s  {what}\n", age.as_secs_f64())
}

/// The server on which a status reports the engine as started.
fn placement(status: &Status) -> Option<PlacementSeen> {
    if !crate::status::is_started(status) {
        return None;
    }
    let engine = &status.engine;
    Some(PlacementSeen {
        server: engine.server.as_ref()?.to_string(),
        epoch: engine.epoch.clone()?,
        // A server that knows of the activation, but has not applied it yet, does not count.
        at_ms: engine.since?,
        reason: engine.reason.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_client::protocol::{EngineStatus, QuorumStatus};
    use baton_domain::{Policy, ServerName};

    fn status(state: &str, server: &str, epoch: &str) -> Status {
        Status {
            engine: EngineStatus {
                state: state.to_owned(),
                server: Some(ServerName::new(server).unwrap()),
                epoch: Some(epoch.to_owned()),
                since: Some(5),
                reason: "start".to_owned(),
            },
            policy: Policy::default(),
            servers: vec![],
            quorum: QuorumStatus { needed: 1, up: 1 },
            database: None,
        }
    }

    #[test]
    fn each_placement_is_seen_once_and_when_it_is_started() {
        let board = Board::new(Telling::Screen);
        for (state, server, epoch) in [
            ("starting", "server1", "0.3"),
            ("started", "server1", "0.3"),
            ("started", "server1", "0.3"),
            ("unwritten", "server1", "0.5"),
            ("stopped", "server1", "0.3"),
            ("started", "server2", "0.9"),
        ] {
            let mut said = status(state, server, epoch);
            if state == "unwritten" {
                (said.engine.state, said.engine.since) = ("started".to_owned(), None);
            }
            board.status(said);
        }
        let shown = board.look();
        let seen: Vec<(&str, &str)> =
            shown.placements.iter().map(|seen| (seen.server.as_str(), seen.epoch.as_str())).collect();
        assert_eq!(seen, [("server1", "0.3"), ("server2", "0.9")]);
        assert_eq!(shown.timeline.len(), 2);
    }
}
