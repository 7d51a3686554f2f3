//! Where this server is dialed, by its own word: what its file says goes into the store, which tells all others.

use std::time::Duration;

use baton_client::peers::Peers;
use baton_client::protocol::{DirectoryReply, DirectoryRequest};
use baton_domain::{ClusterState, ServerName};
use baton_replica::Store;
use tracing::{info, warn};

use super::birth::ask;

/// How long the request may take, and how long to wait before it is made again.
const ASK_TIMEOUT: Duration = Duration::from_secs(15);
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Makes the store say `address` for server `me`, whenever it says something else. Ends with the store.
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
        // By way of its own directory, which knows who leads.
        if let Some(myself) = peers.get(me.as_str()) {
            let request = DirectoryRequest::SetAddress { name: me.clone(), address: address.clone() };
            match ask(&myself, &request, ASK_TIMEOUT).await {
                Ok(DirectoryReply::Done) => info!(address, "the other servers know where this one is dialed now"),
                Ok(DirectoryReply::Refused(why)) if why != said => {
                    warn!(address, %why, "the address of this server is not taken yet");
                    said = why;
                }
                // Nobody leads yet.
                Ok(_) | Err(_) => {}
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
