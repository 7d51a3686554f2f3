//! Stores that cannot go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use baton_domain::{Applied, ClusterId, Policy, Role, ServerName};
use futures::FutureExt;
use tempfile::TempDir;

use super::*;
use crate::format::format;
use crate::header::Genesis;
use crate::machine::POISON;
use crate::replicated::{EncodedCommand, Runtime};
use crate::{SkipError, TransportError, entry_to_skip, skip_entry, skipped_entries, stop_skipping};

/// Time within which everything must happen that a test waits for.
const DEADLINE: Duration = Duration::from_secs(20);

/// The replicas that are open, linked to each other.
#[derive(Default)]
struct Links(Mutex<BTreeMap<ReplicaId, Store>>);

struct Port {
    own: ReplicaId,
    links: Arc<Links>,
}

impl Transport for Port {
    fn call(
        &self,
        to: ReplicaId,
        frame: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        let (own, peer) = (self.own, self.links.0.lock().unwrap().get(&to).cloned());
        async move {
            let peer = peer.ok_or(TransportError::Unreachable)?;
            let answer = tokio::time::timeout(timeout, peer.receive(own, Bytes::from(frame))).await;
            answer.map_err(|_| TransportError::Timeout(timeout))
        }
        .boxed()
    }
}

/// A cluster of some replicas, numbered from 1.
struct Cluster {
    links: Arc<Links>,
    dirs: TempDir,
    count: u64,
}

impl Cluster {
    fn formatted(count: u64) -> Self {
        let cluster = Self { links: Arc::default(), dirs: tempfile::tempdir().unwrap(), count };
        let name = |number| ServerName::new(format!("server{number}")).unwrap();
        let member = |number| Member {
            name: name(number),
            role: Role::Server,
            address: format!("server{number}:1"),
            replica: ReplicaId(number),
        };
        let members: Vec<Member> = (1..=count).map(member).collect();
        for number in 1..=count {
            let genesis = Some(Genesis { members: members.clone(), policy: Policy::default() });
            let (replica, server) = (ReplicaId(number), name(number));
            let header = StoreHeader { cluster: ClusterId([1; 16]), generation: 0, replica, server, genesis };
            format(&cluster.dir(number), &header).unwrap();
        }
        cluster
    }

    fn numbers(&self) -> std::ops::RangeInclusive<u64> {
        1..=self.count
    }

    fn dir(&self, number: u64) -> std::path::PathBuf {
        self.dirs.path().join(number.to_string())
    }

    fn config(&self, number: u64) -> StoreConfig {
        StoreConfig {
            dir: self.dir(number),
            heartbeat_ms: 50,
            election_min_ms: 150,
            election_max_ms: 300,
            lease_margin_ms: 30,
            frame_bytes: 256 << 10,
            in_flight_bytes: 1 << 20,
            memory_budget_bytes: 16 << 20,
            open_files: 64,
            snapshot_log_bytes: 1 << 20,
            reserve_bytes: 1 << 20,
            scrub_interval_ms: 0,
        }
    }

    fn port(&self, number: u64) -> Arc<dyn Transport> {
        Arc::new(Port { own: ReplicaId(number), links: self.links.clone() })
    }

    async fn open(&self, number: u64) -> Result<Store, StoreError> {
        let own = ReplicaId(number);
        let store = Store::open(self.config(number), self.port(number)).await?;
        self.links.0.lock().unwrap().insert(own, store.clone());
        Ok(store)
    }

    async fn open_all(&self) -> Vec<Store> {
        let mut stores = Vec::new();
        for number in self.numbers() {
            stores.push(self.open(number).await.unwrap());
        }
        stores
    }

    async fn stop_all(&self, stores: Vec<Store>) {
        self.links.0.lock().unwrap().clear();
        for store in stores {
            store.shutdown().await;
        }
    }
}

async fn until(store: &Store, condition: impl FnMut(&StoreStatus) -> bool) -> StoreStatus {
    let mut status = store.status();
    let found = tokio::time::timeout(DEADLINE, status.wait_for(condition)).await;
    found.expect("in time").expect("it is open").clone()
}

/// Polls until there is something.
async fn found<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(value) = look() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(DEADLINE, polling).await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Commits a command at the leader of `stores`.
async fn propose(stores: &[Store], command: Command) -> Result<Committed, CommitError> {
    loop {
        let leader = found("a leader", || stores.iter().find(|store| store.status().borrow().leads)).await;
        match leader.commit(command.clone()).await {
            Err(CommitError::NotLeader { .. }) => tokio::time::sleep(Duration::from_millis(2)).await,
            outcome => return outcome,
        }
    }
}

/// Commits a marker, and returns its index once all of `stores` have its hash.
async fn mark(stores: &[Store]) -> u64 {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let (index, hash) = loop {
        match propose(stores, Command::Marker { nonce: 1 }).await {
            Ok(Committed { index, applied: Applied::Marked { hash } }) => break (index, hash),
            // The cluster has not begun, or its leader changes.
            other => assert!(tokio::time::Instant::now() < deadline, "{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    for store in stores {
        let own = found("the marker", || store.hash_at(index).unwrap()).await;
        assert_eq!(own, hash, "replica {} holds other bytes", store.header().replica);
    }
    index
}

/// An entry of a newer program is in the log of an older one: it halts, says so, and goes on saying so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_go_on_says_why_and_serves_no_more() {
    Box::pin(Runtime::scope(1, halt_on_an_unknown_entry())).await;
}

async fn halt_on_an_unknown_entry() {
    let cluster = Cluster::formatted(1);
    let keeper = Arc::new(Box::pin(open(cluster.config(1), cluster.port(1))).await.unwrap());
    let store = Store::replicated(keeper.clone());
    until(&store, |status| status.leads && status.applied >= 2).await;
    let from_the_future = EncodedCommand(Bytes::from_static(&[250, 1, 2]));
    keeper.raft.client_write(from_the_future).await.unwrap_err();
    let failed = until(&store, |status| status.failed.is_some()).await;
    assert!(failed.failed.unwrap().contains("newer baton"));
    assert!(!failed.leads);
    assert!(!store.lease().holds(crate::clock::boot_time()));
    let refused = store.commit(Command::Marker { nonce: 1 }).await;
    assert!(matches!(refused, Err(CommitError::Failed(why)) if why.contains("newer baton")));
    store.shutdown().await;
    drop((store, keeper));
    let again = cluster.open(1).await.err().expect("it must not open").to_string();
    assert!(again.contains("newer baton"), "{again}");
    assert_eq!(crate::damage(&cluster.dir(1)), None, "a newer program can go on with it");
}

/// An entry at which every replica stops must not be the end of the cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_no_replica_can_apply_is_skipped_by_all_of_them() {
    Box::pin(Runtime::scope(2, skip_what_no_replica_can_apply())).await;
}

async fn skip_what_no_replica_can_apply() {
    let cluster = Cluster::formatted(3);
    let stores = cluster.open_all().await;
    let before = mark(&stores).await;
    // The successor commits what its leader left behind, and stops at it as well: then there is no majority any more.
    let failed = || stores.iter().filter_map(|store| store.status().borrow().failed.clone()).collect::<Vec<_>>();
    let two_failed = found("a majority to stop", || Some(failed()).filter(|failed| failed.len() >= 2));
    let (outcome, words) = tokio::join!(propose(&stores, Command::Marker { nonce: POISON }), two_failed);
    assert!(outcome.is_err(), "{outcome:?}");
    let at = |words: &str| words.split("`--entry ").nth(1)?.split('`').next()?.parse::<u64>().ok();
    let entry = at(&words[0]).unwrap_or_else(|| panic!("no entry is named: {}", words[0]));
    assert!(entry > before, "{entry}");
    for words in &words {
        assert_eq!(at(words), Some(entry), "{words}");
        assert!(words.contains("a seeded defect") && words.contains("`baton skip`"), "{words}");
    }
    cluster.stop_all(stores).await;

    for number in cluster.numbers() {
        skip_at_a_stopped_store(&cluster.dir(number), before, entry);
    }
    let stores = cluster.open_all().await;
    let after = mark(&stores).await;
    assert!(after > entry);
    for store in &stores {
        assert_eq!(store.hash_at(entry).unwrap(), None, "nothing of the entry is done");
    }
    cluster.stop_all(stores).await;
    let passed = skip_entry(&cluster.dir(1), entry);
    assert!(matches!(passed, Err(SkipError::Applied { entry: of, .. }) if of == entry), "{passed:?}");
}

fn skip_at_a_stopped_store(dir: &Path, applied: u64, entry: u64) {
    let early = entry_to_skip(dir, applied);
    assert!(matches!(early, Err(SkipError::Applied { .. })), "{early:?}");
    let late = skip_entry(dir, entry + 1_000);
    assert!(matches!(late, Err(SkipError::NotInLog { .. })), "{late:?}");
    let looked = entry_to_skip(dir, entry).unwrap();
    assert_eq!((looked.entry.index, looked.content.as_str()), (entry, "Marker"));
    assert!(skipped_entries(dir).unwrap().is_empty(), "a look changes nothing");
    assert_eq!(skip_entry(dir, entry).unwrap(), looked);
    assert_eq!(skipped_entries(dir).unwrap(), [looked.entry]);
    assert!(stop_skipping(dir, entry).unwrap() && !stop_skipping(dir, entry).unwrap());
    skip_entry(dir, entry).unwrap();
}
