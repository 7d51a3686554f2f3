//! Succession by proof of death: at once with a majority's proof, never with less.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::*;
use baton_replica::*;

use crate::sim::*;

/// Far longer than a succession takes: whoever leads before the old leader's lease is over was not elected by timeout.
const LONG: u64 = 3_000;

async fn patient(count: u64) -> (Cluster, Store) {
    let cluster = Cluster { election_max_ms: LONG, ..Cluster::empty() }.started(count).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    cluster.commit(engine(epoch, vec![send(1, 100)])).await;
    (cluster, leader)
}

fn others(cluster: &Cluster, leader: &Store) -> Vec<Store> {
    let mut others = cluster.stores();
    others.retain(|store| store.header().replica != leader.header().replica);
    others
}

/// The most preferred of those that are level leads next, and holds everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_proof_at_a_majority_the_next_preferred_leads_long_before_the_lease_is_over() {
    for count in [3, 5] {
        let (cluster, leader) = patient(count).await;
        // A majority confirms: the others may not be level yet, and only those that are level count.
        cluster.same_everywhere().await;
        let (dead, lease) = (leader.header().replica, leader.lease().until());
        cluster.stop(dead.0).await;
        let survivors = others(&cluster, &leader);
        survivors.iter().for_each(|store| store.died(dead, 0));
        let next = cluster.leader().await;
        assert!(BootTime::now() < lease, "of {count}: it took the lease's end to elect");
        assert_ne!(next.header().replica, dead);
        let first = survivors.iter().map(|store| store.header().replica).min();
        assert_eq!(
            Some(next.header().replica),
            first,
            "of {count}: the servers are preferred in the order they joined"
        );
        assert_eq!(bodies(&next), numbers(100));
        let epoch = cluster.activate(&next).await;
        cluster.commit(engine(epoch, vec![send(101, 100)])).await;
        cluster.same_everywhere().await;
    }
}

/// What reached only one survivor may be committed: that one leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longer_log_goes_before_the_preference() {
    let (cluster, leader) = patient(3).await;
    let (dead, survivors) = (leader.header().replica, others(&cluster, &leader));
    let [preferred, longer] = &survivors[..] else { panic!("three replicas") };
    cluster.network.cut(dead, preferred.header().replica);
    let committed = cluster.commit(Command::Marker { nonce: 7 }).await;
    assert!(preferred.status().borrow().last_index < committed.index);
    cluster.stop(dead.0).await;
    cluster.network.heal();
    survivors.iter().for_each(|store| store.died(dead, 0));
    assert_eq!(cluster.leader().await.header().replica, longer.header().replica);
    cluster.same_everywhere().await;
}

/// A minority's proof, true or false, changes nothing: the leader keeps its place and its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_proof_at_a_majority_nobody_is_elected() {
    let (cluster, leader) = patient(5).await;
    let (replica, term) = (leader.header().replica, leader.status().borrow().term);
    for store in others(&cluster, &leader).iter().take(2) {
        store.died(replica, 0);
    }
    // Longer than the survivors try.
    let until = BootTime::now() + Duration::from_millis(600);
    while BootTime::now() < until {
        assert!(leader.lease().holds(BootTime::now()));
        assert_eq!(leader.status().borrow().term, term);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Of somebody who does not lead it is no news at all.
    let follower = others(&cluster, &leader)[0].header().replica;
    cluster.stores().iter().for_each(|store| store.died(follower, 0));
    cluster.commit(Command::Marker { nonce: 1 }).await;
    assert_eq!(leader.status().borrow().term, term);
}

/// Invariant 2: even if all proof was false, no two leases hold at one time, because a leader without links to a
/// majority ends its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_links_to_a_majority_has_no_lease_whatever_was_acknowledged() {
    let (cluster, leader) = patient(3).await;
    let (own, survivors) = (leader.header().replica, others(&cluster, &leader));
    leader.linked(survivors.iter().map(|store| store.header().replica).collect());
    assert!(leader.lease().holds(BootTime::now()));
    leader.linked(BTreeSet::from([own]));
    assert!(!leader.lease().holds(BootTime::now()), "at once");
    // Frames still flow here, so it goes on hearing acknowledgements.
    survivors.iter().for_each(|store| store.died(own, 0));
    let next = cluster.leader().await;
    assert_ne!(next.header().replica, own);
    for _ in 0..100 {
        let now = BootTime::now();
        let holding: Vec<u64> =
            cluster.network.leases().into_iter().filter(|(_, lease)| lease.holds(now)).map(|(id, _)| id).collect();
        assert_eq!(holding, [next.header().replica.0]);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
