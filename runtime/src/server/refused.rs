//! A server that the others refuse for good must not go on as if it were merely alone.

use std::collections::{BTreeMap, BTreeSet};

use baton_actors::peers::PeerKind;
use tokio::sync::watch;

use crate::links::{Links, Refusal, RefusalReason};

/// Why the server cannot go on, if that is so.
///
/// Its store is of an older generation: one refusal that says so is enough, for it is never let in. Otherwise most
/// of the `others` must refuse it while none has a link: a single one may be the one that is set up wrongly.
fn verdict(me: &str, others: usize, linked: bool, refusals: &BTreeMap<String, Refusal>) -> Option<String> {
    let older = refusals.values().find(|refusal| {
        refusal.reason == RefusalReason::OlderGeneration && refusal.text.contains(&format!("wipe the store of {me}"))
    });
    if let Some(older) = older {
        return Some(older.to_string());
    }
    let refusing: BTreeSet<_> =
        refusals.values().map(|refusal| refusal.name.as_ref().unwrap_or(&refusal.address)).collect();
    (!linked && refusing.len() * 2 > others).then(|| refusals.values().next().map(ToString::to_string)).flatten()
}

/// Resolves when the server cannot go on, and says why.
pub(super) async fn refused_for_good(links: Links, me: String, others: usize) -> String {
    let mut refusals: watch::Receiver<BTreeMap<String, Refusal>> = links.watch_refusals();
    loop {
        let is_other =
            |peer: &baton_actors::peers::Peer| peer.info().kind == PeerKind::Server && peer.info().name != me;
        let linked = links.peers().all().iter().any(is_other);
        if let Some(why) = verdict(&me, others, linked, &refusals.borrow_and_update()) {
            return why;
        }
        if refusals.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusals(list: &[(&str, RefusalReason, &str)]) -> BTreeMap<String, Refusal> {
        let refusal = |(name, reason, text): &(&str, RefusalReason, &str)| {
            let refusal = Refusal {
                name: Some((*name).to_owned()),
                address: "h:1".to_owned(),
                reason: *reason,
                text: (*text).to_owned(),
            };
            ((*name).to_owned(), refusal)
        };
        list.iter().map(refusal).collect()
    }

    #[test]
    fn one_refusal_may_be_the_others_fault_and_most_are_ours() {
        let one = refusals(&[("server1", RefusalReason::WrongCookie, "wrong cookie")]);
        assert_eq!(verdict("server3", 2, false, &one), None);
        let both = refusals(&[
            ("server1", RefusalReason::WrongCookie, "wrong cookie"),
            ("server2", RefusalReason::WrongCookie, "wrong cookie"),
        ]);
        assert!(verdict("server3", 2, false, &both).is_some_and(|why| why.contains("cookie")));
        assert_eq!(verdict("server3", 2, true, &both), None);
    }

    #[test]
    fn an_older_store_goes_on_nowhere_and_a_newer_one_does() {
        let text = "wipe the store of server2 and start it again, and it joins anew";
        let older = refusals(&[("server1", RefusalReason::OlderGeneration, text)]);
        assert!(verdict("server2", 4, true, &older).is_some());
        assert_eq!(verdict("server1", 4, true, &older), None);
    }
}
