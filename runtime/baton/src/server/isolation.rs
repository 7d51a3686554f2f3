//! Isolation: a server to which no other server has authenticated goes on, serves nothing, and says what to check.
//!
//! A server that holds the lease is not isolated, even if others refuse it: the only voter of its cluster has no links and
//! serves.
//!
//! Isolation never ends a server. Its peers so far are unauthenticated, so that otherwise any stranger could end it with
//! the right words.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use baton_client::peers::{Peer, PeerKind};
use baton_domain::clock::BootTime;
use baton_links::{Links, Refusal, RefusalReason};
use baton_replica::Store;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::ServerConfig;

/// Grace period: a server that just started, or just lost its links, is not isolated yet.
const GRACE: Duration = Duration::from_secs(2);
/// Interval of the check without news of links or refusals.
const LOOK: Duration = Duration::from_millis(250);
/// Maximum number of refusals reported.
const TOLD: usize = 3;
/// Age above which a refusal is outdated: servers dial each other once per second.
const RECENT: Duration = Duration::from_secs(30);

/// Reason why no other server has authenticated; `None` while one is linked, or while there was no attempt.
pub(super) type Isolation = watch::Receiver<Option<String>>;

/// The files to check.
fn what_to_check(config: &ServerConfig) -> String {
    let secrets = config.secrets_file.as_ref().map_or_else(|| config.place(), |file| file.display().to_string());
    format!("check the cookie and the server key in {secrets}, [tls] and the addresses in {}", config.place())
}

/// The text, given the refusals so far.
fn describe(refusals: &BTreeMap<String, Refusal>, check: &str, now: BootTime) -> Option<String> {
    // Of two stores of different generations this one is the newer: a server with the older one ends. The other side has
    // authenticated.
    let counts =
        |refusal: &&Refusal| refusal.reason != RefusalReason::OlderGeneration && now.since(refusal.at) < RECENT;
    // One per name: the same server may also be known by its address.
    let mut told: Vec<&Refusal> = Vec::new();
    for refusal in refusals.values().filter(counts) {
        if told.iter().all(|other| other.name.is_none() || other.name != refusal.name) {
            told.push(refusal);
        }
    }
    let more = told.len().saturating_sub(TOLD);
    let lines: Vec<String> = told.iter().take(TOLD).map(ToString::to_string).collect();
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    (!lines.is_empty()).then(|| format!("no other server has proved itself: {}{more}; {check}", lines.join("; ")))
}

/// Follows the links of the server of that configuration until the task is aborted; `store` is set once it is open.
pub(super) fn follow(links: Links, config: &ServerConfig, store: Arc<OnceLock<Store>>) -> (Isolation, JoinHandle<()>) {
    let (sender, isolation) = watch::channel(None);
    let (me, check) = (config.name.to_string(), what_to_check(config));
    let task = tokio::spawn(async move {
        let (mut refusals, mut events) = (links.watch_refusals(), links.peers().subscribe());
        let mut alone_since = BootTime::now();
        loop {
            let is_other = |peer: &Peer| peer.info().kind == PeerKind::Server && peer.info().name != me;
            let now = BootTime::now();
            let serves = store.get().is_some_and(|store| store.lease().holds(now));
            if serves || links.peers().all().iter().any(is_other) {
                alone_since = now;
            }
            let alone = now.since(alone_since) >= GRACE;
            let why = alone.then(|| describe(&refusals.borrow_and_update(), &check, now)).flatten();
            sender.send_if_modified(|told| {
                match (&told, &why) {
                    (None, Some(why)) => tracing::warn!("{why}"),
                    (Some(_), None) => tracing::info!("another server has proved itself"),
                    (None, None) | (Some(_), Some(_)) => {}
                }
                let news = *told != why;
                told.clone_from(&why);
                news
            });
            let moment = async {
                tokio::select! {
                    // Closed: the links are gone, which is reported elsewhere.
                    _ = refusals.changed() => {}
                    _ = events.recv() => {}
                }
                // Refusals caused at will must not keep this task busy.
                tokio::time::sleep(LOOK).await;
            };
            let _ = tokio::time::timeout(LOOK, moment).await;
        }
    });
    (isolation, task)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: &str = "check server.secrets";
    const NOW: BootTime = BootTime(100_000_000_000);

    fn refusal(name: Option<&str>, address: &str) -> Refusal {
        let (name, address) = (name.map(str::to_owned), address.to_owned());
        Refusal { name, address, reason: RefusalReason::WrongCookie, text: "wrong cookie".to_owned(), at: NOW }
    }

    #[test]
    fn each_server_is_told_once_and_what_to_check() {
        assert_eq!(describe(&BTreeMap::new(), CHECK, NOW), None);
        let by_key = |list: &[(&str, Refusal)]| list.iter().map(|(key, it)| ((*key).to_owned(), it.clone())).collect();
        let one = refusal(Some("server1"), "h:1");
        let text =
            describe(&by_key(&[("h:1", one.clone()), ("server1", refusal(Some("server1"), "h:40000"))]), CHECK, NOW);
        assert_eq!(
            text.as_deref(),
            Some(
                "no other server has proved itself: no link with server1 at h:1: wrong cookie; check \
                 server.secrets"
            )
        );
        let many: Vec<(String, Refusal)> =
            (0..9).map(|number| (format!("h:{number}"), refusal(None, &format!("h:{number}")))).collect();
        let text = describe(&many.into_iter().collect(), CHECK, NOW).expect("some refused");
        assert!(text.contains("; and 6 more; check"), "{text}");
    }
    #[test]
    fn what_is_old_or_says_that_the_other_store_is_older_is_no_isolation() {
        let told = |refusal: Refusal| describe(&BTreeMap::from([("h:1".to_owned(), refusal)]), CHECK, NOW).is_some();
        let fresh = refusal(Some("server1"), "h:1");
        assert!(told(fresh.clone()));
        assert!(!told(Refusal { at: NOW - RECENT, ..fresh.clone() }));
        assert!(!told(Refusal { reason: RefusalReason::OlderGeneration, ..fresh }));
    }
}
