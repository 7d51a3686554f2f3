//! The arguments of the directory, and the report of its server.

use std::time::Duration;

use baton_client::peers::{PeerKind, Peers};
use baton_client::protocol::{DatabaseStatus, EngineState, PlacementNews, ServerReport};
use baton_domain::clock::BootTime;
use baton_domain::{Role, ServerName};
use baton_replica::{Keeping, Store};
use tokio::sync::watch;

use crate::engine::EngineView;
use crate::policy::PolicyNews;

/// A lease that ran out so shortly ago is likely renewed in a moment.
const LEASE_GRACE: Duration = Duration::from_millis(300);

/// What the directory works with.
#[derive(Clone)]
pub struct DirectoryArguments {
    /// This server.
    pub me: ServerName,
    /// What it does.
    pub role: Role,
    /// The store.
    pub store: Store,
    /// The live links.
    pub peers: Peers,
    /// The state of the engine instance.
    pub engine: watch::Receiver<EngineView>,
    /// What the policy says.
    pub policy: watch::Receiver<PolicyNews>,
    /// Why no other server has proved itself to this one, in words, where that is so.
    pub isolation: watch::Receiver<Option<String>>,
}

impl DirectoryArguments {
    /// What this server says of itself.
    #[must_use]
    pub fn report(&self) -> ServerReport {
        let status = self.store.status().borrow().clone();
        let mut engine = self.engine.borrow().clone();
        let policy = self.policy.borrow().clone();
        // One that was frozen, or is cut off, does not know yet that another one may have taken over; it serves nothing.
        let left_behind = BootTime::now().since(self.store.lease().until()) > LEASE_GRACE;
        if left_behind && engine.state == EngineState::Started {
            engine = EngineView::default();
        }
        let servers = self.peers.all().into_iter().filter(|peer| peer.info().kind == PeerKind::Server);
        ServerReport {
            name: self.me.clone(),
            role: self.role,
            replica: Some(self.store.header().replica),
            engine: engine.state,
            epoch: engine.epoch.filter(|_| engine.state != EngineState::Standby),
            leads: status.leads && !left_behind,
            applied: status.applied,
            reaches: servers
                .filter_map(|peer| ServerName::new(&peer.info().name).ok())
                .filter(|name| *name != self.me)
                .collect(),
            free_bytes: self.store.free_bytes(),
            at_need: status.failed.is_none() && policy.hosts_at_need,
            trouble: status
                .failed
                .or_else(|| self.isolation.borrow().clone())
                .or(policy.own_trouble)
                .or_else(|| log_trouble(&status.keeping)),
            database: database(&status.keeping),
            why: policy.why,
            filling: self.store.filling(),
            election_max_ms: self.store.lease_ms(),
            leaving: policy.leaving,
            waits: policy.waits,
        }
    }

    /// What this server knows of the engine's place.
    #[must_use]
    pub fn news(&self) -> PlacementNews {
        PlacementNews::of(&self.store.cluster().borrow())
    }
}

/// The reason why this server cannot lead a store whose log all servers reach, as text.
#[must_use]
pub fn log_trouble(keeping: &Keeping) -> Option<String> {
    match keeping {
        Keeping::Replicas { .. } => None,
        Keeping::Log(log) if !log.reached => Some("it does not reach the database".to_owned()),
        Keeping::Log(log) => log.regressed.clone(),
    }
}

/// The database as this server sees it.
pub(super) fn database(keeping: &Keeping) -> Option<DatabaseStatus> {
    let Keeping::Log(log) = keeping else { return None };
    Some(DatabaseStatus {
        name: log.name.clone(),
        reached: log.reached,
        commit_us: None,
        standby: log.standby.clone(),
        timeline: log.timeline,
        log_bytes: None,
        snapshot: None,
        regressed: log.regressed.clone(),
    })
}
