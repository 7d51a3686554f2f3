//! Damage on disk, snapshots that cannot be made, and stores that are set aside.

use std::sync::Arc;

use baton_domain::*;
use baton_replica::*;

use crate::members::write_until_snapshots;
use crate::sim::*;

/// Messages of 1 KiB each.
fn large(first: u64, count: u64) -> EngineOp {
    let messages = (first..first + count).map(|number| Message::new(vec![number as u8; 1024])).collect();
    EngineOp::Send { registration: 0, producer: PRODUCER, first, messages, dispatch: false }
}

/// Invariant 3: what rots where nobody looks is found while others still have it, and no restart makes it served again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotten_block_ends_the_replica_until_its_store_is_set_aside() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    cluster.commit(engine(epoch, vec![large(1, 500)])).await;
    cluster.same_everywhere().await;
    let rotten = if leader.header().replica == ReplicaId(3) { 2 } else { 3 };
    let dir = cluster.dir(rotten);
    assert!(matches!(StoppedStore::take(&dir), Err(StoreError::InUse { .. })));
    cluster.stop(rotten).await;
    cluster.damage(rotten);
    assert_eq!(damage(&dir), None, "nobody has looked");

    cluster.scrub_interval_ms = 200;
    let store = cluster.open(rotten).await;
    let why = until("the damage to be found", || store.status().borrow().failed.clone()).await;
    assert!(why.contains("is damaged") && why.contains("baton rebuild"), "{why}");
    drop(store);
    cluster.stop(rotten).await;
    assert!(damage(&dir).is_some());
    let again = Store::open(cluster.config(rotten), Arc::new(crate::files::Nobody)).await.err();
    assert!(matches!(again, Some(StoreError::Damaged { .. })), "a restart must not make it serve again: {again:?}");

    let store = StoppedStore::take(&dir).unwrap();
    assert_eq!(store.header().map(|header| header.replica), Some(ReplicaId(rotten)));
    assert!(store.bytes().unwrap() > 500 * 1024, "{:?}", store.bytes());
    let aside = store.set_aside("2026").unwrap();
    assert!(aside.join("format").exists() && aside.join("log").is_dir());
    assert_eq!((inspect(&dir).unwrap(), damage(&dir)), (None, None));
    assert!(matches!(StoppedStore::take(&dir), Err(StoreError::Missing { .. })));
    let header =
        StoreHeader { cluster: CLUSTER, generation: 0, replica: ReplicaId(4), server: name(rotten), genesis: None };
    format(&dir, &header).unwrap();
    assert_eq!(inspect(&dir).unwrap(), Some(header));
}

/// Setting aside touches nothing that is not the store's, and finishes what an interruption left half done.
#[test]
fn only_the_store_is_set_aside_and_half_of_one_too() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path();
    std::fs::write(dir.join("notes.txt"), "mine").unwrap();
    assert!(matches!(StoppedStore::take(dir), Err(StoreError::Missing { .. })));
    std::fs::create_dir(dir.join("state-7")).unwrap();
    std::fs::write(dir.join("state.new"), "state-7").unwrap();
    std::fs::write(dir.join("skip"), "a list").unwrap();
    std::fs::write(dir.join("format"), "no header").unwrap();
    let store = StoppedStore::take(dir).unwrap();
    assert_eq!(store.header(), None);
    let aside = store.set_aside("x").unwrap();
    for piece in ["state-7", "state.new", "skip", "format"] {
        assert!(aside.join(piece).exists() && !dir.join(piece).exists(), "{piece}");
    }
    assert!(dir.join("notes.txt").exists());
}

/// Invariant 7: damage at one replica does not travel to another in a snapshot, and who sent it finds it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_is_installed_nowhere_and_its_sender_learns_of_it() {
    let cluster = Cluster::start_with(3, 64 << 10).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    let sender = leader.header().replica.0;
    let away = if sender == 3 { 2 } else { 3 };
    let lagging = cluster.store(away);
    cluster.network.isolate(ReplicaId(away));
    let sent = write_until_snapshots(&cluster, epoch, 1).await;
    cluster.damage(sender);
    cluster.network.heal();
    let why = until("the sender to find the damage", || leader.status().borrow().failed.clone()).await;
    assert!(why.contains("is damaged"), "{why}");
    drop(leader);
    cluster.stop(sender).await;
    until("it to catch up", || (bodies(&lagging).len() as u64 == sent).then_some(())).await;
    cluster.same_everywhere().await;
    assert_eq!(bodies(&lagging), numbers(sent));
}

/// A snapshot that cannot be made (as on a full disk) costs a retry and not the replica.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_fails_is_tried_again_and_stops_nothing() {
    let cluster = Cluster::start_with(1, 64 << 10).await;
    let leader = cluster.leader().await;
    let epoch = cluster.activate(&leader).await;
    cluster.commit(engine(epoch, prepare())).await;
    // Where the first two would be.
    for number in [2, 3] {
        std::fs::create_dir(cluster.dir(1).join(format!("snapshot-{number}"))).unwrap();
    }
    cluster.commit(engine(epoch, vec![large(1, 200)])).await;
    until("a snapshot", || cluster.dir(1).join("snapshot-4/CURRENT").exists().then_some(())).await;
    assert_eq!(leader.status().borrow().failed, None);
    cluster.commit(engine(epoch, vec![large(201, 1)])).await;
}
