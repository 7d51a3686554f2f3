//! A cluster under a schedule: what each step does, and what is looked at when all is whole again.

mod rest;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_domain::{Applied, ClusterId, Command, Member, Policy, ReplicaId, Role, ServerName};
use openraft::rt::deterministic_rng::DeterministicRng;
use openraft::{AsyncRuntime, TokioRuntime};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::check;
use super::clients::{Clients, PRODUCERS};
use super::clock::Simulated;
use super::dice::Dice;
use super::disk::{self, Disk};
use super::network::Network;
use super::schedule::{Fault, Schedule, Step};
use super::trace::{Collector, Traces};
use crate::{Genesis, Store, StoreConfig, StoreHeader, format};

/// What comes after a schedule, when all is whole, has to come within this simulated time.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run showed.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Promises that were broken, in words.
    pub(super) broken: Vec<String>,
    /// Entries that some replica applied, messages that were confirmed, activations that were answered, ...
    pub(super) applied: u64,
    pub(super) confirmed: u64,
    pub(super) activations: u64,
    /// ... lives of replicas, snapshots that a replica was sent, and simulated time.
    pub(super) lives: u64,
    pub(super) snapshots: u64,
    pub(super) simulated: Duration,
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        self.applied += other.applied;
        self.confirmed += other.confirmed;
        self.activations += other.activations;
        self.lives += other.lives;
        self.snapshots += other.snapshots;
        self.simulated += other.simulated;
    }
}

/// Runs a schedule to its end.
pub(super) fn run(schedule: &Schedule) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let collector = Collector::default();
    let traces = collector.0.clone();
    let subscribed = tracing::subscriber::set_default(collector);
    let life = DeterministicRng::<TokioRuntime>::scope(schedule.dice, async {
        let _simulated = Simulated::begin();
        Box::pin(World::start(schedule).await.live(schedule, &traces)).await
    });
    let report = runtime.block_on(life);
    drop(subscribed);
    report
}

/// Spawns with dice of its own: what consensus draws in a task must come from the schedule's seed too.
fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    DeterministicRng::<TokioRuntime>::spawn(future)
}

/// A replica that is up.
struct Life {
    disk: Arc<Disk>,
    host: JoinHandle<()>,
}

struct World {
    root: TempDir,
    replicas: u64,
    snapshot_bytes: u64,
    dice: Dice,
    network: Network,
    clients: Clients,
    up: BTreeMap<u64, Life>,
    /// What those that are down left on disk.
    down: BTreeMap<u64, Arc<Disk>>,
    lives: u64,
    /// Processes that are dying.
    dying: Vec<JoinHandle<()>>,
    /// Hashes at markers that were answered.
    markers: Arc<Mutex<Vec<(u64, u128)>>>,
}

/// In memory where that is to be had: what is simulated must not wait for a real disk.
fn root() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn member(number: u64) -> Member {
    Member {
        name: ServerName::new(format!("server{number}")).unwrap(),
        role: Role::Server,
        address: format!("server{number}:7100"),
        replica: ReplicaId(number),
    }
}

impl World {
    async fn start(schedule: &Schedule) -> Self {
        let mut dice = Dice::new(schedule.dice);
        let network = Network::new(dice.next());
        let mut world = Self {
            root: root(),
            replicas: schedule.replicas,
            snapshot_bytes: schedule.snapshot_bytes,
            dice,
            clients: Clients::new(network.clone()),
            network,
            up: BTreeMap::new(),
            down: BTreeMap::new(),
            lives: 0,
            dying: Vec::new(),
            markers: Arc::default(),
        };
        let members: Vec<Member> = (1..=schedule.replicas).map(member).collect();
        for own in &members {
            let genesis = Some(Genesis { members: members.clone(), policy: Policy::default() });
            let header = StoreHeader {
                cluster: ClusterId([7; 16]),
                generation: 0,
                replica: own.replica,
                server: own.name.clone(),
                genesis,
            };
            let dir = world.new_dir(own.replica.0);
            format(&dir, &header).unwrap();
            let disk = Disk::put_under(&dir, world.dice.next());
            world.down.insert(own.replica.0, disk);
        }
        world.restart().await;
        world
    }

    fn new_dir(&mut self, replica: u64) -> PathBuf {
        self.lives += 1;
        self.root.path().join(format!("{replica}.{}", self.lives))
    }

    fn config(&self, replica: u64, dir: &Path) -> StoreConfig {
        StoreConfig {
            dir: dir.to_owned(),
            heartbeat_ms: 60,
            election_min_ms: 200 + 20 * replica,
            election_max_ms: 340,
            // All clocks are one here: what the margin would hide is to be seen.
            lease_margin_ms: 2,
            frame_bytes: 2 << 10,
            in_flight_bytes: 8 << 10,
            memory_budget_bytes: 16 << 20,
            open_files: 64,
            snapshot_log_bytes: self.snapshot_bytes,
            reserve_bytes: 0,
            scrub_interval_ms: 0,
        }
    }

    /// Starts all that are down.
    async fn restart(&mut self) {
        for (replica, disk) in std::mem::take(&mut self.down) {
            self.lives += 1;
            let port = self.network.port(replica, self.lives);
            match Store::open(self.config(replica, disk.dir()), port).await {
                Ok(store) => {
                    self.network.up(replica, store.clone());
                    let host = spawn(self.clients.clone().host(replica, store));
                    self.up.insert(replica, Life { disk, host });
                }
                Err(error) => self.clients.violation(format!("replica {replica} does not open: {error}")),
            }
        }
    }

    /// Kills a replica's process; what its disk holds then is what it starts with again.
    fn crash(&mut self, replica: u64, power_lost: bool) {
        let Some(life) = self.up.remove(&replica) else { return };
        let store = self.network.down(replica);
        life.host.abort();
        self.clients.host_died(replica);
        let dir = self.new_dir(replica);
        life.disk.crash(&dir, power_lost);
        self.down.insert(replica, Disk::put_under(&dir, self.dice.next()));
        // Nobody hears it any more. It ends when it ends.
        if let Some(store) = store {
            self.dying.push(spawn(async move {
                store.shutdown().await;
                drop(store);
                disk::remove(&life.disk);
            }));
        }
    }

    fn leader(&self) -> Option<(u64, Store)> {
        let leads = |store: &Store| store.status().borrow().leads && store.lease().holds(crate::clock::boot_time());
        self.network.stores().into_iter().find(|(_, store)| leads(store))
    }

    fn number(&self, of: u8) -> u64 {
        1 + u64::from(of) % self.replicas
    }

    async fn fault(&mut self, fault: &Fault) {
        let pairs = |one: &[u64], other: &[u64]| -> Vec<(u64, u64)> {
            one.iter().flat_map(|a| other.iter().flat_map(move |b| [(*a, *b), (*b, *a)])).collect()
        };
        match fault {
            Fault::Calm => {}
            Fault::Partition(mask) => {
                let (one, other): (Vec<u64>, Vec<u64>) =
                    (1..=self.replicas).partition(|replica| mask >> replica & 1 == 1);
                self.network.cut(pairs(&one, &other));
            }
            Fault::OneWay(from, to) => self.network.cut([(self.number(*from), self.number(*to))]),
            Fault::LeaderUnheard(by) => {
                if let Some((leader, _)) = self.leader() {
                    self.network.cut([(leader, self.number(*by))]);
                }
            }
            Fault::IsolateLeader => {
                if let Some((leader, _)) = self.leader() {
                    let others: Vec<u64> = (1..=self.replicas).filter(|replica| *replica != leader).collect();
                    self.network.cut(pairs(&[leader], &others));
                }
            }
            Fault::Heal => self.network.heal(),
            Fault::Crash(replica, power_lost) => self.crash(self.number(*replica), *power_lost),
            Fault::CrashLeader(power_lost) => {
                if let Some((leader, _)) = self.leader() {
                    self.crash(leader, *power_lost);
                }
            }
            Fault::CrashAll(power_lost) => (1..=self.replicas).for_each(|replica| self.crash(replica, *power_lost)),
            Fault::Bounce(replica, power_lost) => {
                self.crash(self.number(*replica), *power_lost);
                self.restart().await;
            }
            Fault::Restart => self.restart().await,
            Fault::HandOver(to) => {
                if let Some((_, store)) = self.leader() {
                    let to = ReplicaId(self.number(*to));
                    spawn(async move { store.hand_over(to).await });
                }
            }
            Fault::Network { delay_ms, lost, twice } => self.network.set(*delay_ms, *lost, *twice),
            Fault::SlowDisk(replica, slowest_ms) => {
                if let Some(life) = self.up.get(&self.number(*replica)) {
                    life.disk.slow_down(Duration::from_millis(*slowest_ms));
                }
            }
            Fault::LateWrite => {
                let clients = self.clients.clone();
                spawn(async move { clients.write_late().await });
            }
            Fault::Marker => {
                let markers = self.markers.clone();
                for (_, store) in self.network.stores() {
                    let markers = markers.clone();
                    spawn(async move {
                        if let Ok(committed) = store.commit(Command::Marker { nonce: 1 }).await
                            && let Applied::Marked { hash } = committed.applied
                        {
                            markers.lock().unwrap().push((committed.index, hash));
                        }
                    });
                }
            }
        }
    }

    /// Looks at all leases at each millisecond.
    fn watch_leases(&self) -> JoinHandle<()> {
        let (network, clients) = (self.network.clone(), self.clients.clone());
        spawn(async move {
            loop {
                let now = crate::clock::boot_time();
                let stores = network.stores().into_iter();
                let holders: Vec<u64> =
                    stores.filter(|(_, store)| store.lease().holds(now)).map(|(replica, _)| replica).collect();
                if let Some(broken) = check::leases(&holders) {
                    return clients.violation(format!("{broken}, {now:?}"));
                }
                sleep(Duration::from_millis(1)).await;
            }
        })
    }

    async fn live(mut self, schedule: &Schedule, traces: &Mutex<Traces>) -> Report {
        let began = Instant::now();
        let watch = self.watch_leases();
        let mut producers = Vec::new();
        for producer in 0..PRODUCERS {
            let dice = Dice::new(self.dice.next());
            producers.push(spawn(self.clients.clone().produce(producer, self.replicas, dice)));
        }
        for Step { fault, then_ms } in &schedule.steps {
            self.fault(fault).await;
            sleep(Duration::from_millis(*then_ms)).await;
        }

        self.network.heal();
        self.network.set(1, 0, 0);
        self.up.values().for_each(|life| life.disk.slow_down(Duration::from_millis(2)));
        self.restart().await;
        self.clients.stop();
        let clients = self.clients.clone();
        let producing = async {
            for producer in &mut producers {
                if let Err(error) = producer.await {
                    clients.violation(format!("a producer ended: {error}"));
                }
            }
        };
        if timeout(PATIENCE, producing).await.is_err() {
            self.clients.violation(format!("all is whole and messages are not confirmed: {}", self.words()));
        } else if timeout(PATIENCE, self.compare()).await.is_err() {
            self.clients.violation(format!("all is whole and replicas do not catch up: {}", self.words()));
        }
        watch.abort();
        producers.iter().for_each(JoinHandle::abort);
        let simulated = began.elapsed();
        for replica in 1..=self.replicas {
            self.crash(replica, false);
        }
        for dying in std::mem::take(&mut self.dying) {
            let _ = dying.await;
        }
        std::mem::take(&mut self.down).values().for_each(disk::remove);
        self.report(&traces.lock().unwrap(), simulated)
    }
}
