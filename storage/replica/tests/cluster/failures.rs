//! Cuts, hand-overs, restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::*;
use baton_replica::*;
use futures::FutureExt;

use crate::sim::*;

/// Watches all leases all the time; says at the end whether two ever held at once.
struct LeaseWatch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Result<u64, String>>,
}

impl LeaseWatch {
    fn start(leases: impl Fn() -> Vec<(u64, Lease)> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut looks = 0;
            while !stopped.load(Ordering::Relaxed) {
                let until: Vec<_> = leases().into_iter().map(|(replica, lease)| (replica, lease.until())).collect();
                // Read last: whoever's lease reaches beyond this moment holds it at this moment.
                let now = BootTime::now();
                let holders: Vec<_> = until.iter().filter(|(_, until)| *until > now).collect();
                if holders.len() > 1 {
                    return Err(format!("two leases at {now:?}: {holders:?}"));
                }
                looks += 1;
                std::thread::sleep(Duration::from_micros(200));
            }
            Ok(looks)
        });
        Self { stop, thread }
    }

    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let looks = self.thread.join().unwrap().unwrap();
        assert!(looks > 50, "it hardly looked");
    }
}

fn watch(cluster: &Cluster) -> LeaseWatch {
    let network = cluster.network.clone();
    LeaseWatch::start(move || network.leases())
}

/// Invariant 2, the store's part: a leader that is cut off loses its lease before anybody else has one, refuses what
/// it is asked, and follows again when the cut heals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_loses_its_lease_first_and_refuses_writes() {
    let cluster = Cluster::start(3).await;
    let old = cluster.leader().await;
    let epoch = cluster.activate(&old).await;
    cluster.commit(engine(epoch, prepare())).await;
    cluster.commit(engine(epoch, vec![send(1, 10)])).await;
    let watch = watch(&cluster);
    let cut_off = old.header().replica.0;
    let rest: Vec<u64> = (1..=3).filter(|replica| *replica != cut_off).collect();
    cluster.network.isolate(ReplicaId(cut_off));
    // In flight when the link went: nobody knows.
    let hanging = old.commit(engine(epoch, vec![send(11, 1)]));
    let new = cluster.leader_among(&rest).await;
    assert!(!old.lease().holds(BootTime::now()));
    assert_eq!(hanging.await, Err(CommitError::Unknown));
    assert!(matches!(old.commit(engine(epoch, vec![send(12, 1)])).await, Err(CommitError::NotLeader { .. })));
    let next = cluster.activate_among(&new, &rest).await;
    let written = new.commit(engine(next, vec![send(11, 10)])).await.unwrap();
    cluster.network.heal();
    until("the old leader to follow", || (old.status().borrow().applied >= written.index).then_some(())).await;
    cluster.same_everywhere().await;
    assert_eq!(bodies(&old), numbers(20));
    watch.finish();
}

/// Invariant 1: what an old engine sends through whoever leads now is fenced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_engines_write_is_fenced() {
    let cluster = Cluster::start(3).await;
    let first = cluster.leader().await;
    let old = cluster.activate(&first).await;
    cluster.commit(engine(old, prepare())).await;
    let to = if first.header().replica == ReplicaId(2) { 3 } else { 2 };
    first.hand_over(ReplicaId(to)).await.unwrap();
    let second = cluster.leader_among(&[to]).await;
    let new = cluster.activate(&second).await;
    assert!(new > old);
    let late = second.commit(engine(old, vec![send(1, 1)])).await.unwrap();
    assert_eq!(late.applied, Applied::Fenced { current: new });
    cluster.commit(engine(new, vec![send(1, 1)])).await;
    cluster.same_everywhere().await;
    assert_eq!(bodies(&second), numbers(1));
}

/// Invariant 2: leadership moves without two leases at any moment, and every write that was answered stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_around_under_load() {
    let cluster = Cluster::start(3).await;
    let first = cluster.leader().await;
    let epoch = cluster.activate(&first).await;
    cluster.commit(engine(epoch, prepare())).await;
    let watch = watch(&cluster);
    let mut sent = 0;
    for round in 0..6 {
        let leader = cluster.leader().await;
        let epoch = cluster.activate(&leader).await;
        let writes: Vec<_> = (0..20).map(|at| leader.commit(engine(epoch, vec![send(sent + at + 1, 1)]))).collect();
        for write in writes {
            write.await.unwrap();
        }
        sent += 20;
        let to = ReplicaId(1 + (leader.header().replica.0 + round) % 3);
        if to == leader.header().replica {
            assert_eq!(leader.hand_over(to).await, Err(HandOverError::AlreadyLeader));
            continue;
        }
        let started = BootTime::now();
        leader.hand_over(to).await.unwrap();
        assert!(!leader.lease().holds(BootTime::now()), "a lease that was given away holds on");
        let taken = BootTime::now().since(started);
        cluster.leader_among(&[to.0]).await;
        eprintln!("handed over in {taken:?}");
    }
    watch.finish();
    cluster.same_everywhere().await;
    assert_eq!(bodies(&cluster.leader().await), numbers(sent));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_not_handed_to_who_cannot_take_it() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let own = leader.header().replica;
    assert_eq!(leader.hand_over(ReplicaId(9)).await, Err(HandOverError::MayNotLead { replica: ReplicaId(9) }));
    let (gone, other) = match own.0 {
        1 => (2, 3),
        2 => (3, 1),
        _ => (1, 2),
    };
    assert_eq!(cluster.store(other).hand_over(own).await, Err(HandOverError::NotLeader));
    // Just gone: still believed to be there.
    cluster.network.isolate(ReplicaId(gone));
    let started = BootTime::now();
    let error = leader.hand_over(ReplicaId(gone)).await.unwrap_err();
    assert!(BootTime::now().since(started) < Duration::from_millis(1_500), "{error}");
    let next = cluster.leader_among(&[own.0, other]).await;
    let silent = HandOverError::Silent { replica: ReplicaId(gone) };
    until("it to be missed", || (next.hand_over(ReplicaId(gone)).now_or_never()? == Err(silent.clone())).then_some(()))
        .await;
    assert!(next.lease().holds(BootTime::now()) || !next.status().borrow().leads);
}

/// Invariant 2: a replica that was restarted gives no vote while a lease that it may have acknowledged holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_replica_does_not_vote_against_a_lease_it_acknowledged() {
    let cluster = Cluster::start(3).await;
    let watch = watch(&cluster);
    for _ in 0..4 {
        let leader = cluster.leader().await;
        let own = leader.header().replica;
        let (deaf, restarted) = match own.0 {
            1 => (2, 3),
            2 => (3, 1),
            _ => (1, 2),
        };
        // Deaf to the leader for long, it would stand for election at once if somebody voted for it.
        cluster.network.cut_one_way(own, ReplicaId(deaf));
        tokio::time::sleep(Duration::from_millis(700)).await;
        cluster.stop(restarted).await;
        cluster.network.isolate(own);
        cluster.open(restarted).await;
        cluster.leader_among(&[deaf, restarted]).await;
        cluster.network.heal();
        until("all to follow", || {
            let leaders: Vec<_> = cluster.stores().iter().map(|store| store.status().borrow().leader).collect();
            leaders.iter().all(|leader| leader.is_some() && *leader == leaders[0]).then_some(())
        })
        .await;
    }
    watch.finish();
}

/// Invariant 3: all replicas go down and come up again; nothing that was committed is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_was_stopped_comes_back_with_all_it_had() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    for batch in 0..10 {
        cluster.commit(engine(epoch, vec![send(batch * 100 + 1, 100)])).await;
    }
    let marker = cluster.same_everywhere().await;
    let hash = leader.hash_at(marker).unwrap();
    drop(leader);
    for replica in 1..=3 {
        cluster.stop(replica).await;
    }
    for replica in 1..=3 {
        cluster.open(replica).await;
    }
    let leader = cluster.leader().await;
    assert_eq!(leader.hash_at(marker).unwrap(), hash);
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, vec![send(1_001, 1)])).await;
    cluster.same_everywhere().await;
    for store in cluster.stores() {
        assert_eq!(bodies(&store), numbers(1_001));
    }
}

/// Figure 3 with five voters: two are lost at once, and the rest goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_replicas_survive_the_loss_of_two_at_once() {
    let cluster = Cluster::start(5).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    cluster.commit(engine(epoch, vec![send(1, 50)])).await;
    let gone = leader.header().replica.0;
    let also = 1 + gone % 5;
    drop(leader);
    cluster.stop(gone).await;
    cluster.stop(also).await;
    let next = cluster.leader().await;
    let epoch = cluster.activate(&next).await;
    cluster.commit(engine(epoch, vec![send(51, 50)])).await;
    cluster.same_everywhere().await;
    assert_eq!(bodies(&next), numbers(100));
}
