//! The client on servers that say what the test tells them, in one process and without links.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton_client::peers::{Peer, PeerInfo, PeerKind, Peers};
use baton_client::protocol::{
    EngineError, EngineReply, EngineRequest, EngineStatus, PlacementNews, QuorumStatus, decode, encode,
};
use baton_client::wire::{Handler, LocalTransport, Service};
use baton_domain::Epoch;
use serde::{Serialize, de::DeserializeOwned};

use super::*;

/// Longer than anything here takes that works.
const DEADLINE: Duration = Duration::from_secs(20);
/// Shorter than anybody wants to wait for what does not work.
const SHORT: Duration = Duration::from_millis(300);

fn queue() -> QueueName {
    QueueName::new("orders").unwrap()
}

fn server(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn handler<Q: DeserializeOwned, A: Serialize>(answer: impl Fn(Q) -> A + Send + Sync + 'static) -> Handler {
    Handler::cast(move |inbound| {
        inbound.reply.send(encode(&answer(decode(&inbound.payload).unwrap())));
    })
}

/// A client with servers of these names.
async fn client(deadline: Duration, servers: Vec<(&str, HashMap<Service, Handler>)>) -> (Client, Peers) {
    let peers = Peers::default();
    let client = Client::local().await.unwrap().start(peers.clone(), deadline);
    for (connection, (name, handlers)) in (1..).zip(servers) {
        let kind = PeerKind::Server;
        let info = PeerInfo { name: name.into(), kind, incarnation: 1, replica: None, token: [0; 32], connection };
        peers.insert(Peer::new(info, LocalTransport { handlers }, "client".into(), [0; 32]));
    }
    (client, peers)
}

fn directory(answer: impl Fn(DirectoryRequest) -> DirectoryReply + Send + Sync + 'static) -> HashMap<Service, Handler> {
    HashMap::from([(Service::Directory, handler(answer))])
}

fn status(up: u32, state: &str) -> DirectoryReply {
    let (server, epoch, since, reason) = (None, None, None, String::new());
    let engine = EngineStatus { state: state.to_owned(), server, epoch, since, reason };
    let quorum = QuorumStatus { needed: 2, up };
    DirectoryReply::Status(Status { engine, policy: Policy::default(), servers: Vec::new(), quorum, database: None })
}

#[tokio::test]
async fn a_request_for_the_leader_goes_where_servers_say() {
    let (asked, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (seen, did) = (asked.clone(), done.clone());
    let elsewhere = |at: &'static str| directory(move |_| DirectoryReply::Elsewhere(Some(server(at))));
    let leader = directory(move |request| match request {
        // At first it does not know yet that it leads.
        DirectoryRequest::Mark if seen.fetch_add(1, Ordering::SeqCst) == 0 => DirectoryReply::Elsewhere(None),
        DirectoryRequest::Mark => DirectoryReply::Marked { index: did.fetch_add(1, Ordering::SeqCst) as u64 },
        _ => DirectoryReply::News(PlacementNews::default()),
    });
    let (client, _) = client(DEADLINE, vec![("a", elsewhere("b")), ("b", elsewhere("c")), ("c", leader)]).await;
    assert_eq!(client.admin(DirectoryRequest::Mark).await.unwrap(), DirectoryReply::Marked { index: 0 });
    assert_eq!(done.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_a_leader_or_a_server_a_request_ends_with_its_deadline() {
    let nobody = || directory(|_| DirectoryReply::Elsewhere(None));
    let (leaderless, _) = client(SHORT, vec![("a", nobody()), ("b", nobody())]).await;
    let error = leaderless.admin(DirectoryRequest::Mark).await.unwrap_err();
    assert!(matches!(error, ClientError::NoLeader { .. }), "{error}");

    let (alone, _) = client(SHORT, vec![]).await;
    let error = alone.admin(DirectoryRequest::Mark).await.unwrap_err();
    assert!(matches!(error, ClientError::NoServer { .. }), "{error}");
    let error = alone.status().await.unwrap_err();
    assert!(matches!(error, ClientError::NoServer { .. }), "{error}");
    let error = alone.queues().await.unwrap_err();
    assert!(matches!(error, ClientError::NoEngine { .. }), "{error}");
    let error = alone.ask(&server("a"), DirectoryRequest::Report).await.unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer { .. }), "{error}");
}

#[tokio::test]
async fn the_status_of_the_server_that_sees_most_counts_and_a_silent_one_is_not_waited_for() {
    let cut_off = directory(|_| status(1, "unknown"));
    let healthy = directory(|_| status(3, "started"));
    // One that takes a request and never answers.
    let held = Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = Handler::cast(move |inbound| held.lock().unwrap().push(inbound.reply));
    let frozen = HashMap::from([(Service::Directory, keep)]);
    let (client, _) = client(DEADLINE, vec![("a", cut_off), ("b", healthy), ("c", frozen)]).await;
    let status = tokio::time::timeout(DEADLINE / 4, client.status()).await.unwrap().unwrap();
    assert_eq!((status.quorum.up, status.engine.state.as_str()), (3, "started"));
}

#[tokio::test]
async fn requests_for_the_engine_follow_it() {
    let news = |index, host: Option<&str>| PlacementNews {
        epoch: Epoch { generation: 0, index },
        host: host.map(server),
        address: None,
        servers: Vec::new(),
    };
    // `a` has not heard yet that the engine is on `b`, which is busy at first, and then loses an answer.
    let mut a = directory(move |_| DirectoryReply::News(news(1, Some("a"))));
    let engine = move |_: EngineRequest| EngineReply::Error(EngineError::NotStarted { news: news(2, Some("b")) });
    a.insert(Service::Engine, handler(engine));
    let mut b = directory(move |_| DirectoryReply::News(news(2, Some("b"))));
    let turns = AtomicUsize::new(0);
    let changes = std::sync::Mutex::new(Vec::new());
    let engine = move |request: EngineRequest| {
        let turn = turns.fetch_add(1, Ordering::SeqCst);
        let EngineRequest::Once { change, again, request } = request else { return EngineReply::Queues(Vec::new()) };
        changes.lock().unwrap().push(change);
        assert_eq!(again, turn == 2, "the store is asked only if there may be an answer");
        match (turn, *request) {
            (0, _) => EngineReply::Error(EngineError::Busy),
            (1, _) => EngineReply::Error(EngineError::Unknown),
            (2, EngineRequest::DeleteQueue { .. }) => {
                let changes = changes.lock().unwrap();
                assert!(changes.iter().all(|change| *change == changes[0]), "one change, however often it is sent");
                EngineReply::Done
            }
            (_, EngineRequest::CreateQueue { .. }) => EngineReply::Created { created: true },
            (_, EngineRequest::DeleteQueue { name }) => EngineReply::Error(EngineError::NoSuchQueue(name)),
            (_, other) => panic!("{other:?}"),
        }
    };
    b.insert(Service::Engine, handler(engine));
    let (client, _) = client(DEADLINE, vec![("a", a), ("b", b)]).await;
    client.delete_queue(&queue()).await.unwrap();
    assert!(client.create_queue(&queue()).await.unwrap());
    assert_eq!(client.queues().await.unwrap(), []);
    let error = client.delete_queue(&queue()).await.unwrap_err();
    assert!(matches!(error, ClientError::Engine(EngineError::NoSuchQueue(_))), "{error}");
}

#[tokio::test]
async fn one_server_is_asked_once_it_is_linked() {
    let (late, peers) = client(DEADLINE, vec![]).await;
    let (_other, servers) = client(DEADLINE, vec![("a", directory(|_| DirectoryReply::Hash(Some(7))))]).await;
    let asked = tokio::spawn(async move { late.ask(&server("a"), DirectoryRequest::HashAt { index: 1 }).await });
    peers.insert(servers.get("a").unwrap());
    assert_eq!(asked.await.unwrap().unwrap(), DirectoryReply::Hash(Some(7)));
}

#[tokio::test]
async fn workers_report_their_end_once_however_they_end() {
    let (client, _) = client(DEADLINE, vec![]).await;
    for killed in [false, true] {
        let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
        let options = WorkerOptions::default().events(Arc::new(move |event| drop(sender.send(event))));
        let workers = client.message_workers("orders", options, |_| async {}).await.unwrap();
        let expected = if killed { Err(ConsumerFailure::Closed) } else { Ok(()) };
        if killed {
            workers.actor().kill();
        }
        let closed = tokio::time::timeout(DEADLINE, workers.close()).await;
        assert_eq!(closed.expect("workers end"), expected);
        assert_eq!(events.recv().await, Some(WorkersEvent::Closed(expected)));
        assert_eq!(events.recv().await, None, "nothing comes after it");
    }
}
