//! The source of a server's HTTP answers.

use std::future::ready;
use std::sync::OnceLock;
use std::time::Duration;

use baton_client::peers::PeerKind;
use baton_client::protocol::{
    EngineReply, EngineRequest, EngineState, InDoubtStatus, QueueStatus, Status, decode, encode,
};
use baton_client::wire::Service;
use baton_domain::ServerName;
use baton_domain::clock::{BootTime, unix_ms};
use baton_replica::Keeping;
use baton_server::directory::{DirectoryArguments, gather_status, log_trouble};
use baton_server::engine::Totals;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use super::isolation::Isolation;
use super::waiting::Waiting;
use crate::http::{DatabaseMetrics, HttpSource, LinkMetrics, Metrics, QueueMetrics};

/// Time limit for the engine's list of queues.
const QUEUES_TIMEOUT: Duration = Duration::from_secs(2);

/// Status text of a server that opens its store.
const OPENING: &str = "this server is opening its store";

/// Reads the same data as the directory, once the server has a store.
pub(super) struct ServerSource {
    me: ServerName,
    with: OnceLock<DirectoryArguments>,
    totals: watch::Receiver<Totals>,
    isolation: Isolation,
    /// The condition that it waits for before it has a store.
    waiting: Waiting,
}

impl ServerSource {
    pub(super) fn new(me: ServerName, totals: watch::Receiver<Totals>, isolation: Isolation, waiting: Waiting) -> Self {
        Self { me, with: OnceLock::new(), totals, isolation, waiting }
    }

    /// The reason why there is no data yet.
    fn waiting(&self) -> String {
        let waits_for = self.waiting.why().unwrap_or_else(|| OPENING.to_owned());
        match &*self.isolation.borrow() {
            Some(why) => format!("{waits_for}; {why}"),
            None => waits_for,
        }
    }

    /// The data, unless the server waits for something or was removed.
    fn served(&self) -> Option<&DirectoryArguments> {
        self.with.get().filter(|_| self.waiting.why().is_none())
    }

    /// Sets the data.
    pub(super) fn know(&self, with: DirectoryArguments) {
        // A server starts once.
        let _ = self.with.set(with);
    }

    /// The answer of this server's own engine, if it comes in time.
    async fn ask(with: &DirectoryArguments, request: EngineRequest) -> Option<EngineReply> {
        let own = with.peers.get(with.me.as_str())?;
        let reply = own.call(Service::Engine, encode(&request), QUEUES_TIMEOUT).await;
        reply.ok().and_then(|bytes| decode(&bytes).ok())
    }

    async fn queues(with: &DirectoryArguments) -> Vec<QueueStatus> {
        match Self::ask(with, EngineRequest::ListQueues).await {
            Some(EngineReply::Queues(queues)) => queues,
            Some(_) | None => Vec::new(),
        }
    }

    async fn in_doubt(with: &DirectoryArguments) -> Vec<InDoubtStatus> {
        match Self::ask(with, EngineRequest::ListInDoubt).await {
            Some(EngineReply::InDoubt(transactions)) => transactions,
            Some(_) | None => Vec::new(),
        }
    }

    async fn gather_metrics(&self) -> Metrics {
        let Some(with) = self.with.get() else { return Metrics::new(self.me.clone()) };
        let totals = *self.totals.borrow();
        let (engine, status, cluster) =
            (with.engine.borrow().state, with.store.status().borrow().clone(), with.store.cluster().borrow().clone());
        let others = cluster.members.iter().filter(|member| member.name != with.me);
        let (queues, in_doubt) = match engine {
            EngineState::Started => tokio::join!(Self::queues(with), Self::in_doubt(with)),
            EngineState::Standby | EngineState::Starting | EngineState::Stopping => (Vec::new(), Vec::new()),
        };
        let oldest_ms = in_doubt.iter().map(|transaction| transaction.at_ms).min();
        Metrics {
            engine,
            epoch: cluster.epoch(),
            leads: status.leads,
            term: status.term,
            last_index: status.last_index,
            applied_index: status.applied,
            lag: others
                .clone()
                .filter_map(|member| {
                    let follower = status.followers.get(&member.replica)?;
                    Some((member.name.clone(), status.last_index.saturating_sub(follower.matched)))
                })
                .collect(),
            peers: others
                .map(|member| LinkMetrics {
                    server: member.name.clone(),
                    up: with.peers.server(member.name.as_str()).is_some(),
                })
                .collect(),
            clients: with.peers.all().iter().filter(|peer| peer.info().kind == PeerKind::Client).count() as u64,
            free_bytes: with.store.free_bytes(),
            queues: queues
                .into_iter()
                .map(|queue| QueueMetrics {
                    name: queue.name,
                    depth: queue.depth,
                    in_flight: queue.in_flight,
                    consumers: queue.consumers,
                    nonpersistent: queue.nonpersistent,
                    dropped: queue.dropped,
                    kept: queue.kept,
                    slow_consumers: queue.slow_consumers,
                    temporary: queue.temporary,
                })
                .collect(),
            in_doubt: in_doubt.len() as u64,
            in_doubt_oldest_seconds: oldest_ms.map_or(0, |at_ms| unix_ms().saturating_sub(at_ms) / 1_000),
            database: match status.keeping {
                Keeping::Replicas { .. } => None,
                Keeping::Log(log) => Some(DatabaseMetrics {
                    reached: log.reached,
                    timeline: log.timeline,
                    regressed: log.regressed.is_some(),
                    lease: with.store.lease().until().since(BootTime::now()),
                }),
            },
            confirmed: totals.confirmed,
            delivered: totals.delivered,
            acknowledged: totals.acknowledged,
            server: with.me.clone(),
        }
    }
}

impl HttpSource for ServerSource {
    fn trouble(&self) -> Option<String> {
        match self.served() {
            None => Some(self.waiting()),
            Some(with) => {
                let policy = || with.policy.borrow().own_trouble.clone();
                let log = || log_trouble(&with.store.status().borrow().keeping);
                self.isolation.borrow().clone().or_else(policy).or_else(log)
            }
        }
    }

    fn ready(&self) -> Result<(), String> {
        let with = self.served().ok_or_else(|| self.waiting())?;
        if let Some(why) = self.isolation.borrow().clone() {
            return Err(why);
        }
        let engine = with.engine.borrow();
        match engine.state {
            EngineState::Started if with.store.lease().holds(BootTime::now()) => Ok(()),
            EngineState::Started => {
                let silent = match with.store.status().borrow().keeping {
                    Keeping::Replicas { .. } => "a majority of the voters",
                    Keeping::Log(_) => "the database",
                };
                Err(format!("the engine is not serving: {silent} does not answer"))
            }
            EngineState::Standby | EngineState::Starting | EngineState::Stopping => {
                Err(format!("the engine is not started here: {:?}, {}", engine.state, engine.why).to_lowercase())
            }
        }
    }

    fn metrics(&self) -> BoxFuture<'_, Metrics> {
        self.gather_metrics().boxed()
    }

    fn status(&self) -> BoxFuture<'_, Status> {
        match self.served() {
            Some(with) => gather_status(with).boxed(),
            None => ready(Status::unknown(&self.waiting())).boxed(),
        }
    }
}
