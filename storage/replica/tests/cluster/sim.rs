//! A network of replicas in one process, with links that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::*;
use baton_replica::*;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tempfile::TempDir;

/// Everything that a test waits for has to come within this.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Who hears whom, and who is there.
#[derive(Default)]
pub(crate) struct SimNetwork {
    stores: Mutex<BTreeMap<ReplicaId, Store>>,
    /// Directed links that carry nothing.
    cut: Mutex<BTreeSet<(ReplicaId, ReplicaId)>>,
    /// Flip a bit in every so-many-th large frame; 0: none.
    corrupt_every: AtomicU64,
    frames: AtomicU64,
    /// How long each piece of a snapshot is on its way, in milliseconds.
    snapshot_delay_ms: AtomicU64,
    /// Frames that ended a snapshot.
    snapshots_ended: AtomicU64,
}

/// The kind of frame that ends a snapshot.
const SNAPSHOT_END: u8 = 7;
/// The kind of frame that carries a piece of one.
const SNAPSHOT_CHUNK: u8 = 6;

impl SimNetwork {
    pub(crate) fn cut(&self, a: ReplicaId, b: ReplicaId) {
        self.cut.lock().unwrap().extend([(a, b), (b, a)]);
    }

    pub(crate) fn cut_one_way(&self, from: ReplicaId, to: ReplicaId) {
        self.cut.lock().unwrap().insert((from, to));
    }

    pub(crate) fn isolate(&self, one: ReplicaId) {
        for other in 1..=20 {
            self.cut(one, ReplicaId(other));
        }
    }

    pub(crate) fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }

    pub(crate) fn corrupt_every(&self, frames: u64) {
        self.corrupt_every.store(frames, Ordering::Relaxed);
    }

    pub(crate) fn delay_snapshots(&self, delay: Duration) {
        self.snapshot_delay_ms.store(delay.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    pub(crate) fn leases(&self) -> Vec<(u64, Lease)> {
        let stores = self.stores.lock().unwrap();
        stores.iter().map(|(replica, store)| (replica.0, store.lease())).collect()
    }

    pub(crate) fn snapshots_ended(&self) -> u64 {
        self.snapshots_ended.load(Ordering::Relaxed)
    }

    fn is_cut(&self, from: ReplicaId, to: ReplicaId) -> bool {
        self.cut.lock().unwrap().contains(&(from, to))
    }
}

/// One replica's end of the network.
struct Port {
    own: ReplicaId,
    network: Arc<SimNetwork>,
}

impl Transport for Port {
    fn call(
        &self,
        to: ReplicaId,
        mut frame: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        let (own, network) = (self.own, self.network.clone());
        async move {
            let silence = || async move {
                tokio::time::sleep(timeout).await;
                Err(TransportError::Timeout(timeout))
            };
            if network.is_cut(own, to) {
                return silence().await;
            }
            let Some(store) = network.stores.lock().unwrap().get(&to).cloned() else {
                return Err(TransportError::Unreachable);
            };
            let every = network.corrupt_every.load(Ordering::Relaxed);
            if every > 0 && frame.len() > 1000 && network.frames.fetch_add(1, Ordering::Relaxed) % every == every - 1 {
                let middle = frame.len() / 2;
                frame[middle] ^= 1;
            }
            if frame[1] == SNAPSHOT_CHUNK {
                tokio::time::sleep(Duration::from_millis(network.snapshot_delay_ms.load(Ordering::Relaxed))).await;
            }
            let ends_snapshot = frame[1] == SNAPSHOT_END;
            let answered = store.receive(own, Bytes::from(frame));
            drop(store);
            let answer = tokio::time::timeout(timeout, answered).await;
            if ends_snapshot && answer.is_ok() {
                network.snapshots_ended.fetch_add(1, Ordering::Relaxed);
            }
            match answer {
                Ok(_) if network.is_cut(to, own) => silence().await,
                Ok(answer) => Ok(answer),
                Err(_) => Err(TransportError::Timeout(timeout)),
            }
        }
        .boxed()
    }
}

pub(crate) fn name(number: u64) -> ServerName {
    ServerName::new(format!("server{number}")).unwrap()
}

pub(crate) fn member(number: u64, replica: u64) -> Member {
    Member {
        name: name(number),
        role: Role::Server,
        address: format!("127.0.0.1:{}", 7100 + number),
        replica: ReplicaId(replica),
    }
}

pub(crate) const CLUSTER: ClusterId = ClusterId([7; 16]);

/// A cluster: directories, and the replicas that run.
pub(crate) struct Cluster {
    pub(crate) network: Arc<SimNetwork>,
    pub(crate) dirs: TempDir,
    pub(crate) snapshot_log_bytes: u64,
    pub(crate) election_max_ms: u64,
    pub(crate) scrub_interval_ms: u64,
}

impl Cluster {
    /// Formats the stores of servers 1 to `count` and starts them.
    pub(crate) async fn start(count: u64) -> Self {
        Self::start_with(count, 64 << 20).await
    }

    pub(crate) async fn start_with(count: u64, snapshot_log_bytes: u64) -> Self {
        Self { snapshot_log_bytes, ..Self::empty() }.started(count).await
    }

    /// Formats the stores of servers 1 to `count` and starts them.
    pub(crate) async fn started(self, count: u64) -> Self {
        let cluster = self;
        let members: Vec<Member> = (1..=count).map(|number| member(number, number)).collect();
        for own in &members {
            let genesis = Genesis { members: members.clone(), policy: Policy::default() };
            let header = StoreHeader {
                cluster: CLUSTER,
                generation: 0,
                replica: own.replica,
                server: own.name.clone(),
                genesis: Some(genesis),
            };
            format(&cluster.dir(own.replica.0), &header).unwrap();
        }
        for own in &members {
            cluster.open(own.replica.0).await;
        }
        cluster
    }

    /// Directories and a network, and nothing in them.
    pub(crate) fn empty() -> Self {
        Self {
            network: Arc::default(),
            dirs: tempfile::tempdir().unwrap(),
            snapshot_log_bytes: 64 << 20,
            election_max_ms: 340,
            scrub_interval_ms: 0,
        }
    }

    pub(crate) fn dir(&self, replica: u64) -> PathBuf {
        self.dirs.path().join(replica.to_string())
    }

    pub(crate) fn config(&self, replica: u64) -> StoreConfig {
        StoreConfig {
            dir: self.dir(replica),
            heartbeat_ms: 60,
            election_min_ms: 200 + 20 * replica.min(4),
            election_max_ms: self.election_max_ms,
            lease_margin_ms: 40,
            frame_bytes: 256 << 10,
            in_flight_bytes: 1 << 20,
            memory_budget_bytes: 32 << 20,
            open_files: 64,
            snapshot_log_bytes: self.snapshot_log_bytes,
            reserve_bytes: 1 << 20,
            scrub_interval_ms: self.scrub_interval_ms,
        }
    }

    pub(crate) async fn open(&self, replica: u64) -> Store {
        let port = Port { own: ReplicaId(replica), network: self.network.clone() };
        let store = Store::open(self.config(replica), Arc::new(port)).await.unwrap();
        self.network.stores.lock().unwrap().insert(ReplicaId(replica), store.clone());
        store
    }

    /// Flips a bit in the middle of each larger table file of a replica, in its state and in its snapshots; what it has
    /// in memory it does not notice.
    pub(crate) fn damage(&self, replica: u64) {
        use std::os::unix::fs::{FileExt, MetadataExt};
        let mut done = BTreeSet::new();
        for dir in std::fs::read_dir(self.dir(replica)).unwrap().map(|dir| dir.unwrap().path()) {
            let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
            if !dir.is_dir() || !(name.starts_with("state-") || name.starts_with("snapshot-")) {
                continue;
            }
            for path in std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()) {
                let metadata = std::fs::metadata(&path).unwrap();
                let is_table = path.extension().is_some_and(|extension| extension == "sst");
                // A file of both is flipped once.
                if is_table && metadata.len() > 16 << 10 && done.insert(metadata.ino()) {
                    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, metadata.len() / 2).unwrap();
                    file.write_all_at(&[byte[0] ^ 4], metadata.len() / 2).unwrap();
                }
            }
        }
        assert!(!done.is_empty(), "nothing to damage");
    }

    pub(crate) async fn stop(&self, replica: u64) {
        let store = self.network.stores.lock().unwrap().remove(&ReplicaId(replica)).expect("it runs");
        store.shutdown().await;
    }

    pub(crate) fn store(&self, replica: u64) -> Store {
        self.network.stores.lock().unwrap()[&ReplicaId(replica)].clone()
    }

    pub(crate) fn stores(&self) -> Vec<Store> {
        self.network.stores.lock().unwrap().values().cloned().collect()
    }

    /// Waits until one of `among` leads under a lease with the cluster begun, and returns it.
    pub(crate) async fn leader_among(&self, among: &[u64]) -> Store {
        until("a leader", || {
            among.iter().map(|replica| self.store(*replica)).find(|store| {
                store.status().borrow().leads
                    && store.lease().holds(BootTime::now())
                    && store.cluster().borrow().cluster.is_some()
            })
        })
        .await
    }

    pub(crate) async fn leader(&self) -> Store {
        let running: Vec<u64> = self.network.stores.lock().unwrap().keys().map(|replica| replica.0).collect();
        self.leader_among(&running).await
    }

    /// Commits at whoever leads, trying again where nothing was written.
    pub(crate) async fn commit(&self, command: Command) -> Committed {
        let deadline = BootTime::now() + DEADLINE;
        loop {
            match self.leader().await.commit(command.clone()).await {
                Ok(committed) => return committed,
                Err(CommitError::NotLeader { .. }) if BootTime::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Activates the engine at `leader`'s server.
    pub(crate) async fn activate(&self, leader: &Store) -> Epoch {
        let command =
            Command::Activate { host: leader.header().server.clone(), reason: ActivationReason::Start, at_ms: 1 };
        match self.commit(command).await.applied {
            Applied::Activated { epoch } => epoch,
            other => panic!("{other:?}"),
        }
    }

    /// The same where others do not hear it.
    pub(crate) async fn activate_among(&self, leader: &Store, among: &[u64]) -> Epoch {
        self.leader_among(among).await;
        let host = leader.header().server.clone();
        let command = Command::Activate { host, reason: ActivationReason::FailOver, at_ms: 1 };
        match leader.commit(command).await.unwrap().applied {
            Applied::Activated { epoch } => epoch,
            other => panic!("{other:?}"),
        }
    }

    /// How many snapshots the replicas have, counted by their directories: a new one has a greater number.
    pub(crate) fn snapshots_taken(&self) -> u64 {
        let of = |store: &Store| {
            let files = std::fs::read_dir(self.dir(store.header().replica.0)).unwrap();
            let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
            names.filter_map(|name| name.strip_prefix("snapshot-")?.parse::<u64>().ok()).max().unwrap_or(0)
        };
        self.stores().iter().map(of).sum()
    }

    /// Waits until all replicas that run have applied `index`, and checks that their hashes at a new marker agree.
    pub(crate) async fn same_everywhere(&self) -> u64 {
        let marker = self.commit(Command::Marker { nonce: 1 }).await;
        let Applied::Marked { hash } = marker.applied else { panic!("{:?}", marker.applied) };
        for store in self.stores() {
            let found = until("the marker", || store.hash_at(marker.index).unwrap()).await;
            assert_eq!(found, hash, "replica {} holds other bytes", store.header().replica);
        }
        marker.index
    }
}

/// Waits for a condition, and fails loudly if it does not come.
pub(crate) async fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = BootTime::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(BootTime::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn engine(epoch: Epoch, ops: Vec<EngineOp>) -> Command {
    Command::Engine { epoch, at_ms: 5, ops }
}

pub(crate) fn queue_name() -> QueueName {
    QueueName::new("orders").unwrap()
}

pub(crate) const PRODUCER: ProducerId = ProducerId([1; 16]);

/// Commands that make the queue and register the producer.
pub(crate) fn prepare() -> Vec<EngineOp> {
    vec![
        EngineOp::CreateQueue { name: queue_name() },
        EngineOp::OpenProducer { producer: PRODUCER, queue: queue_name() },
    ]
}

/// Messages numbered from `first`, whose bodies are their numbers.
pub(crate) fn send(first: u64, count: u64) -> EngineOp {
    let messages = (first..first + count).map(|number| Message::new(number.to_string().into_bytes())).collect();
    EngineOp::Send { registration: 0, producer: PRODUCER, first, messages, dispatch: false }
}

/// The bodies of all messages of the queue at a store.
pub(crate) fn bodies(store: &Store) -> Vec<String> {
    let Some(queue) = store.queues().unwrap().into_iter().find(|queue| queue.name == queue_name()) else {
        return Vec::new();
    };
    let page = store.page(queue.id, MessageId::default(), usize::MAX, usize::MAX).unwrap();
    page.into_iter().map(|(_, stored)| String::from_utf8(stored.message.body.to_vec()).unwrap()).collect()
}

pub(crate) fn numbers(through: u64) -> Vec<String> {
    (1..=through).map(|number| number.to_string()).collect()
}
