//! Ownership of a store, and joining without one: the server asks the others for a replica id and formats an empty
//! store, which never starts a cluster and never votes before it has caught up.

use std::error::Error;
use std::time::Duration;

use baton_client::peers::PeerKind;
use baton_client::protocol::{DirectoryReply, DirectoryRequest};
use baton_links::Links;
use baton_replica::{StoreError, StoreHeader, format};
use ractor::SpawnErr;
use tracing::{info, warn};

use super::ServerError;
use crate::config::ServerConfig;

/// Status text of a server that has no store yet.
pub(super) const JOINING: &str = "this server has no store yet and waits for the other servers to admit it";
/// Time limit of an answer before the next server is asked.
const ASK_TIMEOUT: Duration = Duration::from_secs(15);
/// Delay before all servers are asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Refuses a store of another server or cluster.
pub(super) fn check_owner(header: &StoreHeader, config: &ServerConfig) -> Result<(), ServerError> {
    if header.server == config.name && header.cluster == config.cluster {
        return Ok(());
    }
    Err(ServerError::Foreign {
        dir: config.dir.display().to_string(),
        owner: format!("server {} of cluster {}", header.server, header.cluster),
        expected: format!("server {} of cluster {}", config.name, config.cluster),
    })
}

/// Why an actor did not start: the error of the store, if that is what it was.
pub(super) fn start_error(error: SpawnErr) -> ServerError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<StoreError>() {
            return ServerError::Store(error.clone());
        }
        cause = error.source();
    }
    ServerError::Start(error)
}

/// Joins: asks until the storage leader gives a replica id, then formats the store.
pub(super) async fn join(config: &ServerConfig, links: &Links) -> Result<(), ServerError> {
    info!(dir = %config.dir.display(), "no store here: joining the cluster");
    let request =
        DirectoryRequest::Join { name: config.name.clone(), role: config.role, address: config.advertise.clone() };
    let mut said = String::new();
    loop {
        for peer in links.peers().all() {
            if peer.info().kind != PeerKind::Server || peer.info().name == config.name.as_str() {
                continue;
            }
            match peer.ask_directory(&request, ASK_TIMEOUT).await {
                Ok(DirectoryReply::Admitted { replica, cluster, generation }) => {
                    let header =
                        StoreHeader { cluster, generation, replica, server: config.name.clone(), genesis: None };
                    format(&config.dir, &header)?;
                    links.set_generation(generation);
                    links.set_replica(Some(replica));
                    info!(%replica, "admitted: the replica is filled from its peers");
                    return Ok(());
                }
                Ok(DirectoryReply::Refused(why)) if why != said => {
                    warn!(from = peer.info().name, %why, "not admitted yet");
                    said = why;
                }
                Ok(_) | Err(_) => {}
            }
        }
        // A refusal proves nothing: a misconfigured member or a stranger must not keep this server from joining through the
        // others.
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
