//! The address of this server: the one in its file goes into the store, which tells all others.

use std::time::Duration;

use baton_client::peers::Peers;
use baton_client::protocol::{DirectoryReply, DirectoryRequest};
use baton_domain::{ClusterState, ServerName};
use baton_replica::Store;
use tracing::{info, warn};

/// Time limit of the request, and its retry delay.
const ASK_TIMEOUT: Duration = Duration::from_secs(15);
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Makes the store hold `address` for server `me` whenever it holds another one. Ends with the store.
pub(super) async fn announce(store: Store, peers: Peers, me: ServerName, address: String) {
    let own = store.header().replica;
    let mut cluster = store.cluster();
    let outdated = |cluster: &ClusterState| {
        cluster.member(&me).is_some_and(|member| member.replica == own && member.address != address)
    };
    let mut said = String::new();
    loop {
        if cluster.wait_for(|cluster| outdated(cluster)).await.is_err() {
            return;
        }
        // Through its own directory, which knows the leader.
        if let Some(myself) = peers.get(me.as_str()) {
            let request = DirectoryRequest::SetAddress { name: me.clone(), address: address.clone() };
            match myself.ask_directory(&request, ASK_TIMEOUT).await {
                Ok(DirectoryReply::Done) => info!(address, "the address of this server is updated in the store"),
                Ok(DirectoryReply::Refused(why)) if why != said => {
                    warn!(address, %why, "the address of this server is not updated in the store yet");
                    said = why;
                }
                // No leader yet.
                Ok(_) | Err(_) => {}
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
