//! A store that cannot go on.

use baton_domain::{ClusterId, Policy, Role, ServerName};
use futures::FutureExt;

use super::*;
use crate::TransportError;
use crate::format::format;
use crate::header::Genesis;
use crate::replicated::{EncodedCommand, Runtime};

struct Nobody;

impl Transport for Nobody {
    fn call(&self, _: ReplicaId, _: Vec<u8>, _: Duration) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        async { Err(TransportError::Unreachable) }.boxed()
    }
}

async fn until(store: &Store, condition: impl FnMut(&StoreStatus) -> bool) -> StoreStatus {
    let mut status = store.status();
    let found = tokio::time::timeout(Duration::from_secs(20), status.wait_for(condition)).await;
    found.expect("in time").expect("it is open").clone()
}

/// An entry of a newer program is in the log of an older one: it halts, says so, and goes on saying so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_go_on_says_why_and_serves_no_more() {
    Box::pin(Runtime::scope(1, halt_on_an_unknown_entry())).await;
}

async fn halt_on_an_unknown_entry() {
    let dir = tempfile::tempdir().unwrap();
    let server = ServerName::new("a").unwrap();
    let own = Member { name: server.clone(), role: Role::Server, address: "a:1".into(), replica: ReplicaId(1) };
    let genesis = Some(Genesis { members: vec![own], policy: Policy::default() });
    let header = StoreHeader { cluster: ClusterId([1; 16]), generation: 0, replica: ReplicaId(1), server, genesis };
    format(dir.path(), &header).unwrap();
    let config = StoreConfig {
        dir: dir.path().to_owned(),
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
    };
    let store = Store::open(config.clone(), Arc::new(Nobody)).await.unwrap();
    until(&store, |status| status.leads && status.applied >= 2).await;
    let from_the_future = EncodedCommand(Bytes::from_static(&[250, 1, 2]));
    store.inner.raft.client_write(from_the_future).await.unwrap_err();
    let failed = until(&store, |status| status.failed.is_some()).await;
    assert!(failed.failed.unwrap().contains("newer baton"));
    assert!(!failed.leads);
    assert!(!store.lease().holds(crate::clock::boot_time()));
    let refused = store.commit(Command::Marker { nonce: 1 }).await;
    assert!(matches!(refused, Err(CommitError::Failed(why)) if why.contains("newer baton")));
    store.shutdown().await;
    let again = Store::open(config, Arc::new(Nobody)).await.err().expect("it must not open").to_string();
    assert!(again.contains("newer baton"), "{again}");
}
