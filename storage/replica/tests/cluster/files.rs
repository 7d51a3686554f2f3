//! What a store says of files that are not as they should be.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use baton_domain::*;
use baton_replica::*;

use crate::sim::*;

fn header(dir: &Path) -> StoreHeader {
    let genesis = Genesis { members: vec![member(1, 1)], policy: Policy::default() };
    let header =
        StoreHeader { cluster: CLUSTER, generation: 0, replica: ReplicaId(1), server: name(1), genesis: Some(genesis) };
    format(dir, &header).unwrap();
    header
}

async fn error(cluster: &Cluster) -> StoreError {
    let nobody = Arc::new(Nobody);
    Store::open(cluster.config(1), nobody).await.err().expect("it must not open")
}

pub(crate) struct Nobody;

impl Transport for Nobody {
    fn call(
        &self,
        _: ReplicaId,
        _: Vec<u8>,
        _: std::time::Duration,
    ) -> futures::future::BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        Box::pin(async { Err(TransportError::Unreachable) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_formatted_once_and_says_what_it_is() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("deep/inside");
    assert_eq!(inspect(&dir).unwrap(), None);
    let written = header(&dir);
    assert_eq!(inspect(&dir).unwrap(), Some(written.clone()));
    assert!(matches!(format(&dir, &written), Err(StoreError::Exists { .. })));
    fs::create_dir(root.path().join("other")).unwrap();
    assert_eq!(inspect(&root.path().join("other")).unwrap(), None);
    fs::write(root.path().join("other/notes.txt"), "mine").unwrap();
    let foreign = inspect(&root.path().join("other")).unwrap_err();
    assert!(foreign.to_string().contains("holds other files: notes.txt"), "{foreign}");
    assert!(matches!(format(&root.path().join("other"), &written), Err(StoreError::Foreign { .. })));
    // What a new file system holds is nobody's.
    fs::create_dir_all(root.path().join("volume/lost+found")).unwrap();
    assert_eq!(inspect(&root.path().join("volume")).unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_thing_that_is_wrong_with_a_store_has_its_own_error() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm, fn(&StoreError) -> bool); 9] = [
        ("no store", |dir| fs::remove_dir_all(dir).unwrap(), |error| matches!(error, StoreError::Missing { .. })),
        (
            "a newer format",
            |dir| bend(&dir.join("format"), 11, |byte| byte + 1),
            |error| matches!(error, StoreError::Newer { found: 9, known: 8, .. }),
        ),
        (
            "an older format",
            |dir| bend(&dir.join("format"), 11, |byte| byte - 1),
            |error| matches!(error, StoreError::Older { found: 7, known: 8, .. }),
        ),
        ("a header with a flipped bit", |dir| bend(&dir.join("format"), 30, |byte| byte ^ 4), is_damaged),
        ("a header that is cut off", |dir| fs::write(dir.join("format"), b"baton-st\0\0").unwrap(), is_damaged),
        ("no log", |dir| fs::remove_dir_all(dir.join("log")).unwrap(), is_damaged),
        ("no state", |dir| fs::remove_file(dir.join("state")).unwrap(), is_damaged),
        ("a log without its segments", |dir| remove(&dir.join("log"), "0"), is_damaged),
        ("a state without its manifest", |dir| remove(&state(dir), "MANIFEST"), is_damaged),
    ];
    for (what, harm, expected) in harms {
        let cluster = Cluster::empty();
        let dir = cluster.dir(1);
        header(&dir);
        cluster.open(1).await;
        cluster.leader().await;
        cluster.stop(1).await;
        harm(&dir);
        let error = error(&cluster).await;
        assert!(expected(&error), "{what}: {error:?}");
        assert!(error.to_string().contains(dir.to_str().unwrap()), "{what}: {error}");
    }
}

fn is_damaged(error: &StoreError) -> bool {
    matches!(error, StoreError::Damaged { .. })
}

fn state(dir: &Path) -> std::path::PathBuf {
    dir.join(fs::read_to_string(dir.join("state")).unwrap())
}

fn bend(file: &Path, at: usize, how: fn(u8) -> u8) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] = how(bytes[at]);
    fs::write(file, bytes).unwrap();
}

fn remove(dir: &Path, prefix: &str) {
    for file in fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_file(file.path()).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_open_is_not_opened_twice() {
    let cluster = Cluster::empty();
    header(&cluster.dir(1));
    cluster.open(1).await;
    assert!(matches!(error(&cluster).await, StoreError::InUse { .. }));
    assert_eq!(inspect(&cluster.dir(1)).unwrap().unwrap().replica, ReplicaId(1));
    cluster.stop(1).await;
    cluster.open(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_closed_answers_with_errors() {
    let cluster = Cluster::empty();
    header(&cluster.dir(1));
    let store = cluster.open(1).await;
    cluster.leader().await;
    assert!(store.free_bytes() > 0);
    cluster.stop(1).await;
    assert!(matches!(store.queues(), Err(StoreError::Io { .. })));
    assert!(matches!(store.commit(Command::Marker { nonce: 1 }).await, Err(CommitError::Failed(_))));
    assert!(!store.lease().holds(baton_domain::clock::BootTime::now()));
}
