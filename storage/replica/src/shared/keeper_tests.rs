//! Whole stores over the simulated log, in simulated time: real state machines, real RocksDB, real frames.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_domain::{
    ActivationReason, Applied, Command, EngineOp, Epoch, Member, Policy, ProducerId, QueueName, ReplicaId, Role,
    ServerName,
};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use super::open::SharedConfig;
use super::simulated::{CLUSTER, SimulatedLog};
use super::timing::SharedTiming;
use crate::simulation::clock::Simulated;
use crate::{Genesis, Store, StoreConfig, StoreHeader, Transport, TransportError, format};

/// Time within which everything here happens.
const DEADLINE: Duration = Duration::from_secs(20);

/// The stores that are up, and the links between them.
#[derive(Clone, Default)]
struct Net(Arc<Mutex<BTreeMap<u64, Store>>>);

struct Port(u64, Net);

impl Transport for Port {
    fn call(
        &self,
        to: ReplicaId,
        frame: Vec<u8>,
        patience: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        let (own, net) = (self.0, self.1.clone());
        async move {
            sleep(Duration::from_micros(100)).await;
            let store = net.0.lock().unwrap().get(&to.0).cloned().ok_or(TransportError::Unreachable)?;
            let answer = store.receive(ReplicaId(own), Bytes::from(frame));
            timeout(patience, answer).await.map_err(|_| TransportError::Timeout(patience))
        }
        .boxed()
    }
}

fn member(number: u64) -> Member {
    Member {
        name: ServerName::new(format!("server{number}")).unwrap(),
        role: Role::Server,
        address: format!("server{number}:7100"),
        replica: ReplicaId(number),
    }
}

/// Three servers and a log.
struct Cluster {
    root: TempDir,
    log: SimulatedLog,
    net: Net,
    lives: u64,
    incarnations: BTreeMap<u64, u64>,
    snapshot_log_bytes: u64,
    _simulated: Simulated,
}

impl Cluster {
    async fn start() -> Self {
        Self::with_snapshots_after(1 << 30).await
    }

    async fn with_snapshots_after(snapshot_log_bytes: u64) -> Self {
        let mut cluster = Self {
            root: tempfile::tempdir().unwrap(),
            log: SimulatedLog::new(7),
            net: Net::default(),
            lives: 0,
            incarnations: BTreeMap::new(),
            snapshot_log_bytes,
            _simulated: Simulated::begin(),
        };
        for number in 1..=3 {
            cluster.format(number);
            cluster.open(number).await;
        }
        cluster
    }

    fn format(&self, number: u64) {
        let members = (1..=3).map(member).collect();
        let header = StoreHeader {
            cluster: CLUSTER,
            generation: 0,
            replica: ReplicaId(number),
            server: member(number).name,
            genesis: Some(Genesis { members, policy: Policy::default() }),
        };
        format(&self.dir(number), &header).unwrap();
    }

    fn dir(&self, number: u64) -> PathBuf {
        self.root.path().join(number.to_string())
    }

    fn config(&self, dir: &Path) -> StoreConfig {
        StoreConfig {
            dir: dir.to_owned(),
            heartbeat_ms: 60,
            election_min_ms: 200,
            election_max_ms: 340,
            lease_margin_ms: 30,
            frame_bytes: 1 << 20,
            in_flight_bytes: 4 << 20,
            memory_budget_bytes: 16 << 20,
            open_files: 64,
            snapshot_log_bytes: self.snapshot_log_bytes,
            reserve_bytes: 0,
            scrub_interval_ms: 0,
        }
    }

    async fn open(&mut self, number: u64) {
        self.lives += 1;
        let incarnation = 100 + self.lives;
        self.incarnations.insert(number, incarnation);
        let shared = SharedConfig { incarnation, timing: SharedTiming::default(), heals: true, max_bytes: 0 };
        let port = Arc::new(Port(number, self.net.clone()));
        let config = self.config(&self.dir(number));
        let store = Store::open_shared(config, shared, Arc::new(self.log.clone()), port).await.unwrap();
        self.net.0.lock().unwrap().insert(number, store);
        self.link();
    }

    /// Tells all who is linked.
    fn link(&self) {
        let stores = self.net.0.lock().unwrap().clone();
        for (number, store) in &stores {
            store.linked(stores.keys().filter(|other| *other != number).map(|other| ReplicaId(*other)).collect());
        }
    }

    fn store(&self, number: u64) -> Store {
        self.net.0.lock().unwrap()[&number].clone()
    }

    /// Ends a process as a kill does. Its directory can be opened again.
    async fn kill(&self, number: u64, proof: bool) {
        let store = self.net.0.lock().unwrap().remove(&number).unwrap();
        let incarnation = self.incarnations[&number];
        self.log.killed(incarnation);
        self.link();
        if proof {
            let others = self.net.0.lock().unwrap().clone();
            others.values().for_each(|other| other.died(ReplicaId(number), incarnation));
        }
        drop(store);
        // Until its tasks have ended.
        sleep(Duration::from_millis(2)).await;
    }

    /// The server that leads under a lease.
    async fn leader(&self) -> u64 {
        let led = async {
            loop {
                let stores = self.net.0.lock().unwrap().clone();
                let leads = |store: &Store| {
                    let status = store.status().borrow().clone();
                    let begun = store.cluster().borrow().cluster.is_some();
                    begun && status.leads && store.lease().until_in(status.term) > crate::clock::boot_time()
                };
                if let Some((number, _)) = stores.iter().find(|(_, store)| leads(store)) {
                    return *number;
                }
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(DEADLINE, led).await.expect("a server leads")
    }

    async fn activate(&self, number: u64) -> Epoch {
        let host = member(number).name;
        let activate = Command::Activate { host, reason: ActivationReason::FailOver, at_ms: 1 };
        match self.store(number).commit(activate).await.unwrap().applied {
            Applied::Activated { epoch } => epoch,
            other => panic!("{other:?}"),
        }
    }

    async fn engine(&self, number: u64, epoch: Epoch, ops: Vec<EngineOp>) -> Applied {
        self.store(number).commit(Command::Engine { epoch, at_ms: 1, ops }).await.unwrap().applied
    }

    /// Messages of the queue at a server, which has as much as the leader first.
    async fn depth(&self, number: u64) -> usize {
        let leader = self.leader().await;
        let index = self.store(leader).commit(Command::Marker { nonce: 1 }).await.unwrap().index;
        let store = self.store(number);
        let mut status = store.status();
        timeout(DEADLINE, status.wait_for(|status| status.applied >= index)).await.expect("it catches up").unwrap();
        let hashes: BTreeSet<Option<u128>> =
            [number, leader].into_iter().map(|number| self.store(number).hash_at(index).unwrap()).collect();
        assert!(hashes.len() == 1 && !hashes.contains(&None), "{hashes:?}");
        let queue = store.queues().unwrap().into_iter().find(|queue| queue.name == queue_name()).unwrap();
        store.page(queue.id, Default::default(), usize::MAX, usize::MAX).unwrap().len()
    }

    async fn close(&self) {
        let stores = std::mem::take(&mut *self.net.0.lock().unwrap());
        for store in stores.into_values() {
            store.shutdown().await;
        }
    }
}

fn queue_name() -> QueueName {
    QueueName::new("orders").unwrap()
}

fn open_queue() -> Vec<EngineOp> {
    let producer = ProducerId([1; 16]);
    vec![EngineOp::CreateQueue { name: queue_name() }, EngineOp::OpenProducer { producer, queue: queue_name() }]
}

fn send(first: u64, count: u64) -> Vec<EngineOp> {
    let messages = (first..first + count).map(|number| baton_domain::Message::new(number.to_string().into_bytes()));
    vec![EngineOp::Send {
        registration: 0,
        producer: ProducerId([1; 16]),
        first,
        messages: messages.collect(),
        dispatch: false,
    }]
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test);
}

#[test]
fn commands_are_committed_and_all_servers_hold_the_same() {
    run(async {
        let cluster = Cluster::start().await;
        let leader = cluster.leader().await;
        assert_eq!(leader, 1, "the first one in the list");
        let epoch = cluster.activate(leader).await;
        cluster.engine(leader, epoch, open_queue()).await;
        cluster.engine(leader, epoch, send(1, 50)).await;
        for number in 1..=3 {
            assert_eq!(cluster.depth(number).await, 50);
        }
        let follower = cluster.store(2);
        let refused = follower.commit(Command::Marker { nonce: 1 }).await;
        assert_eq!(refused, Err(crate::CommitError::NotLeader { leader: Some(ReplicaId(1)) }));
        let status = cluster.store(1).status().borrow().clone();
        assert!(
            status.may_lead(ReplicaId(2)) && status.may_lead(ReplicaId(3)) && status.votes().is_none(),
            "{status:?}"
        );
        cluster.close().await;
    });
}

#[test]
fn a_killed_holder_has_a_successor_which_fences_it() {
    run(async {
        for (proof, most) in [(true, Duration::from_millis(60)), (false, Duration::from_millis(2_300))] {
            let mut cluster = Cluster::start().await;
            let first = cluster.leader().await;
            let epoch = cluster.activate(first).await;
            cluster.engine(first, epoch, open_queue()).await;
            cluster.engine(first, epoch, send(1, 10)).await;
            let killed = Instant::now();
            cluster.kill(first, proof).await;
            let second = cluster.leader().await;
            assert!(second != first && killed.elapsed() < most, "{second} after {:?}", killed.elapsed());
            let newer = cluster.activate(second).await;
            let fenced = cluster.engine(second, epoch, send(11, 1)).await;
            assert_eq!(fenced, Applied::Fenced { current: newer });
            cluster.engine(second, newer, send(11, 5)).await;
            cluster.open(first).await;
            for number in 1..=3 {
                assert_eq!(cluster.depth(number).await, 15);
            }
            cluster.close().await;
        }
    });
}

#[test]
fn the_lease_is_handed_over_to_a_server_that_is_level() {
    run(async {
        let cluster = Cluster::start().await;
        let first = cluster.leader().await;
        let epoch = cluster.activate(first).await;
        cluster.engine(first, epoch, open_queue()).await;
        assert_eq!(cluster.depth(3).await, 0);
        // Until its answers say so.
        sleep(Duration::from_millis(200)).await;
        let began = Instant::now();
        cluster.store(first).hand_over(ReplicaId(3)).await.unwrap();
        assert_eq!(cluster.leader().await, 3);
        assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
        let refused = cluster.store(first).hand_over(ReplicaId(2)).await;
        assert_eq!(refused, Err(crate::HandOverError::NotLeader));
        cluster.close().await;
    });
}

#[test]
fn a_restart_of_all_servers_goes_on_at_once_with_the_last_holder() {
    run(async {
        let mut cluster = Cluster::start().await;
        let first = cluster.leader().await;
        let epoch = cluster.activate(first).await;
        cluster.engine(first, epoch, open_queue()).await;
        cluster.engine(first, epoch, send(1, 20)).await;
        for number in 1..=3 {
            cluster.kill(number, false).await;
        }
        let began = Instant::now();
        for number in 1..=3 {
            cluster.open(number).await;
        }
        assert_eq!(cluster.leader().await, first);
        assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
        for number in 1..=3 {
            assert_eq!(cluster.depth(number).await, 20);
        }
        cluster.close().await;
    });
}

#[test]
fn a_restart_of_the_log_is_a_pause_in_the_same_term() {
    run(async {
        let cluster = Cluster::start().await;
        let first = cluster.leader().await;
        let epoch = cluster.activate(first).await;
        cluster.engine(first, epoch, open_queue()).await;
        let term = cluster.store(first).status().borrow().term;
        cluster.log.stop();
        let sent = tokio::spawn({
            let store = cluster.store(first);
            async move { store.commit(Command::Engine { epoch, at_ms: 1, ops: send(1, 5) }).await }
        });
        sleep(Duration::from_secs(3)).await;
        assert!(cluster.store(first).lease().until() == baton_domain::clock::BootTime(0));
        cluster.log.start();
        assert!(matches!(sent.await.unwrap().unwrap().applied, Applied::Engine { .. }), "no outcome is unknown");
        assert_eq!((cluster.leader().await, cluster.store(first).status().borrow().term), (first, term));
        assert_eq!(cluster.depth(2).await, 5);
        cluster.close().await;
    });
}

#[test]
fn a_log_that_lost_its_tail_gets_it_back_whole() {
    run(async {
        let cluster = Cluster::start().await;
        let first = cluster.leader().await;
        let epoch = cluster.activate(first).await;
        cluster.engine(first, epoch, open_queue()).await;
        for number in 0..10 {
            cluster.engine(first, epoch, send(1 + 5 * number, 5)).await;
        }
        let before = cluster.log.entries();
        cluster.log.promote(8, BTreeSet::new());
        assert!(cluster.log.entries().len() < before.len());
        assert_eq!(cluster.depth(2).await, 50);
        assert_eq!(cluster.log.entries()[..before.len()], before);
        let more = cluster.engine(first, epoch, send(51, 1)).await;
        assert!(matches!(more, Applied::Engine { .. }), "the same engine goes on: {more:?}");
        cluster.close().await;
    });
}

/// A server that was down while the log lost what only it had begins again from the log.
#[test]
fn a_server_with_another_history_takes_that_of_the_log() {
    run(async {
        let mut cluster = Cluster::start().await;
        let first = cluster.leader().await;
        let epoch = cluster.activate(first).await;
        cluster.engine(first, epoch, open_queue()).await;
        cluster.engine(first, epoch, send(1, 5)).await;
        for number in 1..=3 {
            cluster.depth(number).await;
        }
        let others: Vec<u64> = (1..=3).filter(|number| *number != first).collect();
        for number in &others {
            cluster.kill(*number, false).await;
        }
        for number in 1..=10 {
            cluster.engine(first, epoch, send(5 + number, 1)).await;
        }
        let store = cluster.store(first);
        cluster.net.0.lock().unwrap().remove(&first);
        store.shutdown().await;
        cluster.log.promote(8, BTreeSet::new());
        for number in &others {
            cluster.open(*number).await;
        }
        let second = cluster.leader().await;
        let epoch = cluster.activate(second).await;
        for number in 1..=10 {
            let name = QueueName::new(format!("queue{number}")).unwrap();
            cluster.engine(second, epoch, vec![EngineOp::CreateQueue { name }]).await;
        }
        cluster.open(first).await;
        let depth = cluster.depth(second).await;
        assert_eq!(cluster.depth(first).await, depth);
        cluster.close().await;
    });
}

#[test]
fn a_log_is_kept_short_and_a_server_that_lost_its_directory_is_filled_from_it() {
    run(async {
        let mut cluster = Cluster::with_snapshots_after(20_000).await;
        let first = cluster.leader().await;
        let epoch = cluster.activate(first).await;
        cluster.engine(first, epoch, open_queue()).await;
        for number in 0..200 {
            cluster.engine(first, epoch, send(1 + 20 * number, 20)).await;
        }
        let before = cluster.log.entries().len();
        let shorter = async {
            while cluster.log.entries().len() > before / 2 {
                sleep(Duration::from_millis(100)).await;
            }
        };
        timeout(DEADLINE, shorter).await.expect("a snapshot is put into the log, and entries are freed");
        for wiped in [2, first] {
            cluster.kill(wiped, false).await;
            std::fs::remove_dir_all(cluster.dir(wiped)).unwrap();
            cluster.format(wiped);
            cluster.open(wiped).await;
            assert_eq!(cluster.depth(wiped).await, 4_000);
        }
        cluster.close().await;
    });
}
