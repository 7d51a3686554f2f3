//! Who leads, what is committed, and what a failure leaves.

use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::*;

use crate::sim::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_begins_elects_commits_and_all_replicas_hold_the_same() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    let writes: Vec<_> = (0..50).map(|batch| leader.commit(engine(epoch, vec![send(batch * 10 + 1, 10)]))).collect();
    let mut last = 0;
    for write in writes {
        let committed = write.await.unwrap();
        assert!(committed.index > last, "commits keep the order of the calls");
        last = committed.index;
        let Applied::Engine { results } = &committed.applied else { panic!("{committed:?}") };
        assert!(matches!(results[0], OpResult::Sent { duplicates: 0, accepted: 10, .. }), "{results:?}");
    }
    cluster.same_everywhere().await;
    for store in cluster.stores() {
        assert_eq!(bodies(&store), numbers(500));
    }
}

/// Invariant 3, the store's part: what was committed is there after the leader is gone, and a majority goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_survives_the_leader() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    cluster.commit(engine(epoch, vec![send(1, 100)])).await;
    let gone = leader.header().replica.0;
    cluster.stop(gone).await;
    let next = cluster.leader().await;
    assert_ne!(next.header().replica.0, gone);
    assert_eq!(bodies(&next), numbers(100));
    let epoch = cluster.activate(&next).await;
    cluster.commit(engine(epoch, vec![send(101, 100)])).await;
    cluster.open(gone).await;
    cluster.same_everywhere().await;
    assert_eq!(bodies(&cluster.store(gone)), numbers(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_voter_leads_keeps_its_lease_and_commits() {
    let cluster = Cluster::start(1).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    // Longer than a lease: time alone renews it.
    let until = BootTime::now() + Duration::from_secs(1);
    while BootTime::now() < until {
        assert!(leader.lease().holds(BootTime::now()), "the only voter lost its lease");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cluster.commit(engine(epoch, vec![send(1, 10)])).await;
    assert_eq!(bodies(&leader), numbers(10));
}
