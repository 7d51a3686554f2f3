//! The place and the state of the engine, as clients, engine and directory exchange them.

use baton_domain::{ClusterState, Epoch, ServerName};
use serde::{Deserialize, Serialize};

/// The state of an engine instance; every server has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineState {
    /// Ready to be activated.
    Standby,
    /// Activated, reading its queues.
    Starting,
    /// Serving.
    Started,
    /// Draining before a planned stop.
    Stopping,
}

/// The engine's location as a server knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementNews {
    /// The newest activation that this server has applied.
    pub epoch: Epoch,
    /// Its host, if it was not stopped since.
    pub host: Option<ServerName>,
    /// The host's address, `host:port`.
    pub address: Option<String>,
    /// All members' names and addresses, in the order they joined, so that a client can dial them.
    pub servers: Vec<(ServerName, String)>,
}

impl PlacementNews {
    /// The engine's place by the replicated state that a server has applied.
    #[must_use]
    pub fn of(cluster: &ClusterState) -> Self {
        let running = cluster.placement.as_ref().filter(|_| cluster.stopped.is_none());
        let host = running.map(|placement| placement.host.clone());
        let address = host.as_ref().and_then(|host| cluster.member(host)).map(|member| member.address.clone());
        let servers = cluster.members.iter().map(|member| (member.name.clone(), member.address.clone())).collect();
        Self { epoch: cluster.epoch(), host, address, servers }
    }
}
