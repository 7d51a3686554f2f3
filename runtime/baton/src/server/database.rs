//! A server whose log is in a database. Without a store it needs no other server: the log has the cluster's members, and
//! the store is filled from there.

use std::sync::Arc;
use std::time::Duration;

use baton_client::peers::PeerKind;
use baton_client::protocol::{DirectoryReply, DirectoryRequest};
use baton_domain::ReplicaId;
use baton_links::Links;
use baton_postgres::PostgresLogs;
use baton_replica::shared::{Claimant, LogError, LogIdentity, Read, SharedConfig, SharedLog, SharedLogs, SharedTiming};
use baton_replica::{Genesis, StoreHeader};
use baton_server::engine::EngineConfig;
use baton_server::shared_storage::StoreKind;
use tracing::{info, warn};

use super::ServerError;
use super::waiting::Waiting;
use crate::config::{LostTail, ServerConfig};

/// Delay before the database is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(500);
/// Time limit of another server's answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for links to the servers that are up.
const LINKS: Duration = Duration::from_secs(1);

/// The log of a server that keeps it in a database.
pub(super) fn logs(config: &ServerConfig) -> Result<Option<Arc<dyn SharedLogs>>, ServerError> {
    let Some(database) = &config.database else { return Ok(None) };
    let refused = |error: baton_postgres::DatabaseError| ServerError::Database(LogError::Refused(error.to_string()));
    Ok(Some(Arc::new(PostgresLogs::new(database.database().map_err(refused)?))))
}

/// The kind of a server's store.
pub(super) fn kind(config: &ServerConfig, logs: Option<Arc<dyn SharedLogs>>, links: &Links) -> StoreKind {
    let (Some(database), Some(logs)) = (&config.database, logs) else { return StoreKind::Replicated };
    let ms = Duration::from_millis;
    let timing = SharedTiming {
        lease: ms(database.lease_ms),
        margin: ms(database.margin_ms),
        renew: ms(database.renew_ms),
        suspect: ms(database.suspect_ms),
        ..SharedTiming::default()
    };
    let heals = database.lost_tail == LostTail::Heal;
    StoreKind::Log { config: SharedConfig { incarnation: links.incarnation(), timing, heals }, logs }
}

/// Time for which nobody takes the lead from a leader that was heard.
pub(super) fn lease_ms(config: &ServerConfig) -> u64 {
    config.database.as_ref().map_or(config.timing.election_max_ms, |database| database.lease_ms)
}

/// Time for which the engine holds back while its lease does not hold, in milliseconds. Then it stops.
pub(super) fn lease_wait_ms(config: &ServerConfig) -> u64 {
    config.database.as_ref().map_or(EngineConfig::default().lease_wait_ms, |database| database.patience_ms)
}

fn claimant(config: &ServerConfig, links: &Links) -> Claimant {
    Claimant { server: config.name.clone(), incarnation: links.incarnation() }
}

/// True if nothing but a change by somebody helps.
fn is_final(error: &LogError) -> bool {
    matches!(error, LogError::Refused(_) | LogError::Foreign(_) | LogError::Damaged(_))
}

/// Ends a server at its start, with the cause, if the database refuses it. A database that does not answer is waited for
/// later.
pub(super) async fn check(config: &ServerConfig, logs: &Arc<dyn SharedLogs>, links: &Links) -> Result<(), ServerError> {
    match logs.open(claimant(config, links), config.cluster).await {
        Err(error) if is_final(&error) => Err(ServerError::Database(error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Reads the log of a server's cluster through, from the newest snapshot to its end; the index of its last entry. Proves
/// that the server's own store is not needed.
///
/// # Errors
/// [`ServerError::Database`] if the log is not reached, or something in it is missing or damaged.
pub async fn read_through(config: &ServerConfig) -> Result<u64, ServerError> {
    /// Bytes that are read at once.
    const BYTES: usize = 4 * 1024 * 1024;
    let damaged = |why: String| ServerError::Database(LogError::Damaged(why));
    let Some(logs) = logs(config)? else { return Err(damaged("this server has no database".to_owned())) };
    let incarnation = baton_domain::random::number();
    let claimant = Claimant { server: config.name.clone(), incarnation };
    let (log, _) = logs.open(claimant, config.cluster).await.map_err(ServerError::Database)?;
    let snapshot = log.newest_snapshot().await.map_err(ServerError::Database)?;
    let mut after = snapshot.map(|snapshot| snapshot.position).unwrap_or_default();
    loop {
        match log.read(after, BYTES).await.map_err(ServerError::Database)? {
            Read::Entries(entries) if entries.is_empty() => return Ok(after.index),
            Read::Entries(entries) => {
                for entry in entries {
                    if after.entry(entry.term, entry.body.clone()) != entry {
                        return Err(damaged(format!(
                            "entry {} of its log does not follow the one before it",
                            entry.index
                        )));
                    }
                    after = entry.position();
                }
            }
            Read::Trimmed { from } => {
                let from = from.index + 1;
                return Err(damaged(format!("its log begins at entry {from}, and no snapshot has those before it")));
            }
            Read::Elsewhere { .. } => {
                return Err(damaged("its newest snapshot does not belong to its log".to_owned()));
            }
        }
    }
}

/// Formats the store of a server that has none, with the replica id that the cluster gave it.
pub(super) async fn format(
    config: &ServerConfig,
    logs: &Arc<dyn SharedLogs>,
    links: &Links,
    waiting: &Waiting,
) -> Result<(), ServerError> {
    // The others must not wait for its answers meanwhile.
    waiting.waits_for("this server has no store yet and reads the beginning of the cluster in the database");
    let (log, identity) = open(config, logs, links, waiting).await?;
    let bytes = log.genesis().await.map_err(ServerError::Database)?;
    let genesis = Genesis::from_bytes(&bytes).map_err(|error| ServerError::Genesis(error.to_string()))?;
    drop(log);
    let replica = replica(config, links, &genesis, waiting).await;
    let LogIdentity { cluster, generation, name, .. } = identity;
    let header = StoreHeader { cluster, generation, replica, server: config.name.clone(), genesis: Some(genesis) };
    baton_replica::format(&config.dir, &header)?;
    links.set_generation(generation);
    links.set_replica(Some(replica));
    info!(%replica, log = name, "the store is new: it is filled from the log");
    Ok(())
}

/// Opens a session with the log, as soon as the database answers.
async fn open(
    config: &ServerConfig,
    logs: &Arc<dyn SharedLogs>,
    links: &Links,
    waiting: &Waiting,
) -> Result<(Arc<dyn SharedLog>, LogIdentity), ServerError> {
    let mut said = String::new();
    loop {
        match logs.open(claimant(config, links), config.cluster).await {
            Ok(opened) => return Ok(opened),
            Err(error) if is_final(&error) => return Err(ServerError::Database(error)),
            Err(error) => {
                let why = format!("this server has no store yet and waits for the database: {error}");
                if why != said {
                    warn!("{why}");
                    waiting.waits_for(&why);
                    said = why;
                }
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// This server's replica: as the other servers know it, else as the cluster began. A member that was added later waits
/// for the others, whose answer it needs.
async fn replica(config: &ServerConfig, links: &Links, genesis: &Genesis, waiting: &Waiting) -> ReplicaId {
    let first = genesis.members.iter().find(|member| member.name == config.name).map(|member| member.replica);
    let others = genesis.members.iter().filter(|member| member.name != config.name).count();
    let linked = async {
        let is_other =
            |info: &baton_client::peers::PeerInfo| info.kind == PeerKind::Server && info.name != config.name.as_str();
        while links.peers().all().iter().filter(|peer| is_other(peer.info())).count() < others {
            tokio::time::sleep(ASK_AGAIN / 10).await;
        }
    };
    // The servers that are down do not hold up the others.
    let _ = tokio::time::timeout(LINKS, linked).await;
    loop {
        for peer in links.peers().all() {
            if peer.info().kind != PeerKind::Server || peer.info().name == config.name.as_str() {
                continue;
            }
            let request = DirectoryRequest::ReplicaOf { name: config.name.clone() };
            if let Ok(DirectoryReply::ReplicaOf(Some(replica))) = peer.ask_directory(&request, ASK_TIMEOUT).await {
                return replica;
            }
        }
        if let Some(replica) = first {
            return replica;
        }
        waiting.waits_for(
            "this server has no store yet and waits for the others to know it as a member: start one, or run `baton member \
             add`",
        );
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
