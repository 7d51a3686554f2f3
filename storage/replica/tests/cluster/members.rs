//! Replicas that lag, are wiped, join, leave, or go on alone.

use std::collections::BTreeSet;
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::*;
use baton_replica::*;

use crate::sim::*;

fn ids(replicas: &[u64]) -> BTreeSet<ReplicaId> {
    replicas.iter().copied().map(ReplicaId).collect()
}

fn voters(store: &Store) -> BTreeSet<ReplicaId> {
    store.status().borrow().votes().expect("replicas vote").0.clone()
}

/// Writes messages from `first` on until every replica took two snapshots and purged its log behind the first; returns
/// the last number.
pub(crate) async fn write_until_snapshots(cluster: &Cluster, epoch: Epoch, first: u64) -> u64 {
    let mut next = first;
    let deadline = BootTime::now() + DEADLINE;
    let begun = cluster.snapshots_taken();
    while cluster.snapshots_taken() < begun + 2 * cluster.stores().len() as u64 {
        assert!(BootTime::now() < deadline, "no snapshots were taken");
        let leader = cluster.leader().await;
        let writes: Vec<_> = (0..20).map(|at| leader.commit(engine(epoch, vec![send(next + at * 50, 50)]))).collect();
        for write in writes {
            write.await.unwrap();
        }
        next += 1_000;
    }
    // The purge follows within a round of housekeeping.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    next - 1
}

/// Invariant 7: a replica that was away while the log moved on is sent a snapshot and holds the same bytes after it,
/// also when some of what it is sent is damaged on the way; readers go on while the state is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_lags_is_caught_up_by_snapshot() {
    let cluster = Cluster::start_with(3, 64 << 10).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    cluster.commit(engine(epoch, vec![send(1, 10)])).await;
    cluster.same_everywhere().await;
    let away = if leader.header().replica == ReplicaId(3) { 2 } else { 3 };
    // It keeps running and serves reads; it hears nothing.
    let lagging = cluster.store(away);
    cluster.network.isolate(ReplicaId(away));
    let sent = write_until_snapshots(&cluster, epoch, 11).await;
    assert_eq!(bodies(&lagging), numbers(10));
    cluster.network.corrupt_every(5);
    cluster.network.heal();
    until("the snapshot", || (cluster.network.snapshots_ended() > 0).then_some(())).await;
    until("it to catch up", || (bodies(&lagging).len() as u64 == sent).then_some(())).await;
    cluster.network.corrupt_every(0);
    cluster.same_everywhere().await;
    assert_eq!(bodies(&lagging), numbers(sent));
    // What was installed is what comes back.
    drop(lagging);
    cluster.stop(away).await;
    let again = cluster.open(away).await;
    cluster.same_everywhere().await;
    assert_eq!(bodies(&again), numbers(sent));
}

/// A snapshot that takes long under load: the log is kept from it on, so that the replica needs no second one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_sent_a_snapshot_is_not_outrun_by_the_purge() {
    let cluster = Cluster::start_with(3, 64 << 10).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    let away = if leader.header().replica == ReplicaId(3) { 2 } else { 3 };
    let lagging = cluster.store(away);
    cluster.network.isolate(ReplicaId(away));
    let mut sent = write_until_snapshots(&cluster, epoch, 1).await;
    cluster.network.delay_snapshots(Duration::from_millis(700));
    cluster.network.heal();
    let taken = cluster.snapshots_taken();
    let deadline = BootTime::now() + 2 * DEADLINE;
    while cluster.network.snapshots_ended() == 0 {
        assert!(BootTime::now() < deadline, "the snapshot does not arrive");
        let writes: Vec<_> =
            (0..20).map(|at| leader.commit(engine(epoch, vec![send(sent + 1 + at * 50, 50)]))).collect();
        for write in writes {
            write.await.unwrap();
        }
        sent += 1_000;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(cluster.snapshots_taken() >= taken + 6, "the log must have been purged several times meanwhile");
    until("it to catch up", || (bodies(&lagging).len() as u64 == sent).then_some(())).await;
    assert_eq!(cluster.network.snapshots_ended(), 1, "the log moved on without it");
    cluster.same_everywhere().await;
    // It is level: the log is not kept for it any more.
    write_until_snapshots(&cluster, epoch, sent + 1).await;
}

/// Birth, joining and rebirth: a server whose disk was wiped joins under a new replica id, and the old id is out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_server_comes_back_under_a_new_replica_id() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    cluster.commit(engine(epoch, vec![send(1, 100)])).await;
    let wiped = if leader.header().replica == ReplicaId(3) { 2 } else { 3 };
    let stays: Vec<u64> = (1..=3).filter(|replica| *replica != wiped).collect();
    cluster.stop(wiped).await;
    std::fs::remove_dir_all(cluster.dir(wiped)).unwrap();
    let admit = Command::Admit { name: name(wiped), role: Role::Server, address: "127.0.0.1:9".into() };
    let admitted = cluster.commit(admit).await.applied;
    assert_eq!(admitted, Applied::Admitted { replica: ReplicaId(4) });
    let header =
        StoreHeader { cluster: CLUSTER, generation: 0, replica: ReplicaId(4), server: name(wiped), genesis: None };
    format(&cluster.dir(4), &header).unwrap();
    let reborn = cluster.open(4).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(voters(&reborn), BTreeSet::new(), "it begins nothing by itself");

    let leader = cluster.leader_among(&stays).await;
    let error = leader.change_voters(ids(&[stays[0], stays[1], 4]), BTreeSet::new()).await.unwrap_err();
    assert_eq!(error, VotingError::Stranger { replica: ReplicaId(4) });
    let joining = leader.cluster().borrow().member(&name(wiped)).unwrap().clone();
    leader.add_learner(&joining).await.unwrap();
    assert_eq!(voters(&leader), ids(&[1, 2, 3]));
    until("it to catch up", || {
        let status = leader.status().borrow().clone();
        let follower = status.followers.get(&ReplicaId(4))?;
        let (_, learners) = status.votes()?;
        (*learners == ids(&[4]) && follower.matched == status.last_index).then_some(())
    })
    .await;
    leader.change_voters(ids(&[stays[0], stays[1], 4]), BTreeSet::new()).await.unwrap();
    until("the new membership", || {
        let status = leader.status().borrow().clone();
        let (voters, learners) = status.votes()?;
        (*voters == ids(&[stays[0], stays[1], 4]) && learners.is_empty()).then_some(())
    })
    .await;
    cluster.same_everywhere().await;
    assert_eq!(bodies(&reborn), numbers(100));
    // It votes: with it, one other replica is a majority.
    drop(leader);
    cluster.stop(stays[0]).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, vec![send(101, 1)])).await;
    cluster.same_everywhere().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_voters_without_a_majority_gives_up_in_words() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    assert_eq!(leader.change_voters(BTreeSet::new(), BTreeSet::new()).await, Err(VotingError::NoVoter));
    cluster.network.isolate(leader.header().replica);
    let error = leader.change_voters(ids(&[1, 2]), BTreeSet::new()).await.unwrap_err();
    let gave_up = matches!(error, VotingError::Timeout(_) | VotingError::NotLeader { .. } | VotingError::Refused(_));
    assert!(gave_up, "{error}");
}

/// A majority is gone for good: one replica goes on alone with all it has, and the others' stores are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_goes_on_alone_after_a_forced_recovery() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let old = cluster.activate(&leader).await;
    cluster.commit(engine(old, prepare())).await;
    cluster.commit(engine(old, vec![send(1, 100)])).await;
    cluster.same_everywhere().await;
    let survivor = leader.header().replica.0;
    let other = 1 + survivor % 3;
    assert!(matches!(recover(&cluster.dir(survivor)), Err(StoreError::InUse { .. })));
    // Written here and never known to be committed: it is kept too.
    cluster.network.isolate(ReplicaId(survivor));
    let last = leader.status().borrow().last_index;
    let unconfirmed = leader.commit(engine(old, vec![send(101, 5)]));
    until("it to be in the log", || (leader.status().borrow().last_index > last).then_some(())).await;
    drop((leader, unconfirmed));
    for replica in 1..=3 {
        cluster.stop(replica).await;
    }
    cluster.network.heal();

    let report = recover(&cluster.dir(survivor)).unwrap();
    assert_eq!((report.generation, report.replica, report.hosts), (1, ReplicaId(4), true));
    assert_eq!(report.voided.len(), 2);
    assert_eq!(report.queues[0].depth(), 105);
    assert_eq!(inspect(&cluster.dir(survivor)).unwrap().unwrap().generation, 1);

    std::fs::rename(cluster.dir(survivor), cluster.dir(4)).unwrap();
    let alone = cluster.open(4).await;
    let leader = cluster.leader_among(&[4]).await;
    assert_eq!(voters(&leader), ids(&[4]));
    assert_eq!(bodies(&alone), numbers(105));
    let new = cluster.activate_among(&alone, &[4]).await;
    assert!(new > old && new.generation == 1);
    alone.commit(engine(new, vec![send(106, 5)])).await.unwrap();
    assert_eq!(bodies(&alone), numbers(110));
    // A replica of the generation before is heard by nobody.
    let refused = cluster.open(other).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(!refused.status().borrow().leads);
    assert_eq!(alone.status().borrow().leader, Some(ReplicaId(4)));
    // The others join anew, from what is there now.
    cluster.stop(other).await;
    let admit = Command::Admit { name: name(other), role: Role::Server, address: "127.0.0.1:9".into() };
    let applied = alone.commit(admit).await.unwrap().applied;
    assert_eq!(applied, Applied::Admitted { replica: ReplicaId(5) });
    let header =
        StoreHeader { cluster: CLUSTER, generation: 1, replica: ReplicaId(5), server: name(other), genesis: None };
    format(&cluster.dir(5), &header).unwrap();
    let joined = cluster.open(5).await;
    let member = alone.cluster().borrow().member(&name(other)).unwrap().clone();
    alone.add_learner(&member).await.unwrap();
    until("it to catch up", || (bodies(&joined).len() == 110).then_some(())).await;
    cluster.same_everywhere().await;
}
