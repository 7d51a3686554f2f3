//! Keeps links to the members in the store, at the addresses in the store.

use std::collections::BTreeMap;
use std::time::Duration;

use baton_domain::ClusterState;
use baton_links::Links;
use baton_replica::Store;

use crate::config::{MemberConfig, ServerConfig};

/// Time for which the link to a removed server stays.
const FORGET_AFTER: Duration = Duration::from_secs(3);

/// Closes the link to a removed server: not at once, because it may carry the answer to the removal.
async fn forget_later(store: Store, links: Links, name: String) {
    tokio::time::sleep(FORGET_AFTER).await;
    if !store.cluster().borrow().members.iter().any(|member| member.name.as_str() == name) {
        links.forget(&name);
    }
}

/// Servers to dial and their addresses: the store's address, and while nothing newer arrived, the file's as well. It is
/// unknown which of the two is newer.
fn targets(
    cluster: &ClusterState,
    at_first: &BTreeMap<String, String>,
    config: &ServerConfig,
) -> BTreeMap<String, Vec<String>> {
    let addresses = |stored: &str, name: &str| {
        let listed = config.members.iter().find(|member| member.name.as_str() == name);
        let listed = listed.filter(|_| at_first.get(name).is_some_and(|first| first == stored));
        let more = listed.map(|MemberConfig { address, .. }| address).filter(|address| *address != stored);
        [stored.to_owned()].into_iter().chain(more.cloned()).collect()
    };
    let others = cluster.members.iter().filter(|member| member.name != config.name);
    others.map(|member| (member.name.to_string(), addresses(&member.address, member.name.as_str()))).collect()
}

/// Runs until the store is closed.
pub(super) async fn keep_links(store: Store, links: Links, config: ServerConfig) {
    let mut cluster = store.cluster();
    let stored = |cluster: &ClusterState| {
        cluster.members.iter().map(|member| (member.name.to_string(), member.address.clone())).collect()
    };
    let at_first: BTreeMap<String, String> = stored(&cluster.borrow());
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    loop {
        let members = targets(&cluster.borrow_and_update(), &at_first, &config);
        for name in known.keys().filter(|name| !members.contains_key(*name)) {
            tokio::spawn(forget_later(store.clone(), links.clone(), name.clone()));
        }
        let changed = members.iter().filter(|(name, addresses)| known.get(*name) != Some(*addresses));
        let each =
            changed.flat_map(|(name, addresses)| addresses.iter().map(|address| (Some(name.clone()), address.clone())));
        links.ensure(each.collect());
        known = members;
        if cluster.changed().await.is_err() {
            return;
        }
    }
}
