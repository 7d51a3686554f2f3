//! The shell: one real actor over the store's model, with a client behind a local link.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_client::peers::{Peer, PeerInfo, PeerKind, Peers};
use baton_client::protocol::{
    ClientReply, ClientRequest, Delivery, EngineError, EngineReply, EngineRequest, EngineState, Opening, decode, encode,
};
use baton_client::wire::{Handler, Inbound, LocalTransport, Service};
use baton_domain::clock::BootTime;
use baton_domain::{
    Command, Committed, ConsumerId, Epoch, Message, MessageId, ProducerId, QueueId, StoredMessage, Timer,
};
use baton_replica::{CommitError, QueueRecord, StoreError, StoreStatus};
use futures::future::{BoxFuture, FutureExt};
use ractor::concurrency::oneshot;
use ractor::{Actor, ActorRef};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::bench::{consumer, producer, queue};
use super::model::Model;
use crate::engine::{Engine, EngineArguments, EngineConfig, EngineMessage, EngineStore, EngineView, Quarantine};

const DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct MemoryStore {
    model: Arc<Mutex<Model>>,
    status: watch::Sender<StoreStatus>,
}

impl EngineStore for MemoryStore {
    fn commit(&self, command: Command) -> BoxFuture<'static, Result<Committed, CommitError>> {
        let committed = self.model.lock().unwrap().apply(&command);
        async move { Ok(committed) }.boxed()
    }

    fn queues(&self) -> Result<Vec<QueueRecord>, StoreError> {
        Ok(self.model.lock().unwrap().recorded().queues)
    }

    fn consumers(&self) -> Result<Vec<(ConsumerId, QueueId)>, StoreError> {
        Ok(self.model.lock().unwrap().recorded().consumers)
    }

    fn page(
        &self,
        queue: QueueId,
        from: MessageId,
        max_messages: usize,
        max_bytes: usize,
    ) -> Result<Vec<(MessageId, StoredMessage)>, StoreError> {
        Ok(self.model.lock().unwrap().page(queue, from, max_messages, max_bytes))
    }

    fn in_doubt(&self) -> Result<Vec<baton_domain::InDoubt>, StoreError> {
        Ok(self.model.lock().unwrap().recorded().in_doubt)
    }

    fn idle_producers(&self, _: u64, _: usize) -> Result<Vec<ProducerId>, StoreError> {
        Ok(Vec::new())
    }

    fn timers(&self, after: Option<Timer>, until_ms: u64, _: usize) -> Result<(Vec<Timer>, Option<u64>), StoreError> {
        Ok(self.model.lock().unwrap().timers(after, until_ms))
    }

    fn lease_until(&self, _: u64) -> BootTime {
        BootTime::now() + Duration::from_millis(300)
    }

    fn status(&self) -> watch::Receiver<StoreStatus> {
        self.status.subscribe()
    }
}

struct Bed {
    store: MemoryStore,
    engine: ActorRef<EngineMessage>,
    view: watch::Receiver<EngineView>,
    peers: Peers,
    delivered: mpsc::UnboundedReceiver<Vec<Delivery>>,
    actor: JoinHandle<()>,
}

impl Bed {
    async fn new() -> Self {
        let status = watch::Sender::new(StoreStatus { leads: true, ..StoreStatus::default() });
        let store = MemoryStore { model: Arc::default(), status };
        let (sender, delivered) = mpsc::unbounded_channel();
        let client = Handler::cast(move |inbound: Inbound| {
            let Ok(ClientRequest::Deliver { deliveries, .. }) = decode(&inbound.payload) else { panic!("no delivery") };
            sender.send(deliveries).unwrap();
            inbound.reply.send(encode(&ClientReply::Done));
        });
        let lane = LocalTransport { handlers: HashMap::from([(Service::Client, client)]) };
        let peers = Peers::default();
        let (name, token, replica) = ("client".to_owned(), [0; 32], None);
        let info = PeerInfo { name, kind: PeerKind::Client, incarnation: 1, replica, token, connection: 1 };
        peers.insert(Peer::new(info, lane, "server1".into(), token));
        let (view, receiver) = watch::channel(EngineView::default());
        let (config, totals) = (EngineConfig::default(), watch::Sender::default());
        let arguments = EngineArguments {
            store: store.clone(),
            peers: peers.clone(),
            config,
            view,
            totals,
            quarantine: Quarantine::default(),
        };
        let (engine, actor) = Actor::spawn(None, Engine::<MemoryStore>::default(), arguments).await.unwrap();
        Self { store, engine, view: receiver, peers, delivered, actor }
    }

    async fn start(&self, epoch: Epoch) -> Result<(), String> {
        let (sender, answer) = oneshot();
        self.engine.cast(EngineMessage::Start { epoch, reply: sender.into() }).unwrap();
        timeout(DEADLINE, answer).await.unwrap().unwrap()
    }

    async fn stop(&self, drain: bool) {
        let (sender, answer) = oneshot();
        let stop = EngineMessage::Stop { drain, why: "told to".to_owned(), reply: sender.into() };
        self.engine.cast(stop).unwrap();
        timeout(DEADLINE, answer).await.unwrap().unwrap();
    }

    async fn frame(&self, payload: Vec<u8>) -> EngineReply {
        let (sender, answer) = oneshot();
        let (from, token, payload) = ("client".to_owned(), [0; 32], payload.into());
        self.engine.cast(EngineMessage::Inbound(Inbound { from, token, payload, reply: sender.into() })).unwrap();
        decode(&timeout(DEADLINE, answer).await.unwrap().unwrap()).unwrap()
    }

    async fn ask(&self, request: EngineRequest) -> EngineReply {
        self.frame(encode(&request)).await
    }

    async fn end(self) {
        self.engine.stop(None);
        drop(self.peers);
        timeout(DEADLINE, self.actor).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_started_engine_stores_delivers_settles_and_drains() {
    let mut bed = Bed::new().await;
    let list = EngineRequest::ListQueues;
    assert!(matches!(bed.ask(list.clone()).await, EngineReply::Error(EngineError::NotStarted { .. })));
    let epoch = bed.store.model.lock().unwrap().activate();
    bed.start(epoch).await.unwrap();
    assert_eq!((bed.view.borrow().state, bed.view.borrow().epoch), (EngineState::Started, Some(epoch)));

    assert_eq!(bed.ask(EngineRequest::CreateQueue { name: queue("q") }).await, EngineReply::Created { created: true });
    let open = EngineRequest::OpenProducer { producer: producer(1), queue: queue("q"), opening: Opening::First };
    assert!(matches!(bed.ask(open).await, EngineReply::Producer { next: 1, .. }));
    let messages: Vec<_> = (1..=1_000).map(|number| Message::new(format!("{number}"))).collect();
    let send =
        EngineRequest::Send { producer: producer(1), registration: 0, first: 1, messages: messages.clone().into() };
    assert_eq!(bed.ask(send).await, EngineReply::Sent { through: 1_000 });
    let attach = EngineRequest::Attach {
        consumer: consumer(1),
        queue: queue("q"),
        credit: 100,
        unsettled: Vec::new(),
        received: 0,
        groups: Vec::new(),
        selector: String::new(),
        temporary: None,
    };
    assert!(matches!(bed.ask(attach).await, EngineReply::Attached { .. }));
    let mut received = Vec::new();
    while received.len() < messages.len() {
        let deliveries = timeout(DEADLINE, bed.delivered.recv()).await.unwrap().unwrap();
        let acknowledged = deliveries.iter().map(|one| one.id).collect();
        received.extend(deliveries.into_iter().map(|one| one.message));
        let settle = EngineRequest::Settle {
            consumer: consumer(1),
            acknowledged,
            refused: Vec::new(),
            rejected: Vec::new(),
            released: Vec::new(),
            received: None,
        };
        assert_eq!(bed.ask(settle).await, EngineReply::Done);
    }
    assert_eq!(received, messages);
    let EngineReply::Queues(queues) = bed.ask(list.clone()).await else { panic!("no list") };
    assert_eq!((queues[0].depth, queues[0].in_flight), (0, 0));

    bed.stop(true).await;
    assert_eq!(bed.view.borrow().state, EngineState::Standby);
    assert!(bed.start(epoch).await.is_err(), "an epoch that was stopped is never started again");
    assert!(matches!(bed.ask(list).await, EngineReply::Error(EngineError::NotStarted { .. })));
    bed.end().await;
}

#[tokio::test]
async fn requests_that_share_a_frame_are_taken_each_for_itself_and_answered_together() {
    let bed = Bed::new().await;
    let epoch = bed.store.model.lock().unwrap().activate();
    bed.start(epoch).await.unwrap();
    bed.ask(EngineRequest::CreateQueue { name: queue("q") }).await;
    for number in 1..=3 {
        bed.ask(EngineRequest::OpenProducer { producer: producer(number), queue: queue("q"), opening: Opening::First })
            .await;
    }
    let send = |number, first| EngineRequest::Send {
        producer: producer(number),
        registration: 0,
        first,
        messages: vec![Message::new("one"), Message::new("two")].into(),
    };
    let inner = EngineRequest::Several(vec![send(1, 5)]);
    let requests = vec![send(1, 1), send(2, 9), inner, send(1, 3), send(4, 1), EngineRequest::ListQueues];
    let EngineReply::Several(replies) = bed.ask(EngineRequest::Several(requests)).await else { panic!("no answers") };
    let [first, gap, nested, next, unknown, EngineReply::Queues(_)] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!([first, next], [&EngineReply::Sent { through: 2 }, &EngineReply::Sent { through: 4 }]);
    assert_eq!(*gap, EngineReply::Error(EngineError::Gap { expected: 1 }));
    assert!(matches!(nested, EngineReply::Error(EngineError::BadRequest(_))), "{nested:?}");
    assert_eq!(*unknown, EngineReply::Error(EngineError::ProducerUnknown));
    assert_eq!(bed.ask(EngineRequest::Several(Vec::new())).await, EngineReply::Several(Vec::new()));
    bed.end().await;
}

#[tokio::test]
async fn what_cannot_be_read_is_answered() {
    let bed = Bed::new().await;
    for payload in [vec![], vec![99], vec![1, 0xc1]] {
        assert!(matches!(bed.frame(payload).await, EngineReply::Error(EngineError::BadRequest(_))));
    }
    bed.end().await;
}

#[tokio::test]
async fn the_loss_of_leadership_stops_the_engine_also_if_it_was_won_again_meanwhile() {
    let won_again = |status: &mut StoreStatus| status.term += 2;
    for change in [|status: &mut StoreStatus| status.leads = false, won_again] {
        let mut bed = Bed::new().await;
        let epoch = bed.store.model.lock().unwrap().activate();
        bed.start(epoch).await.unwrap();
        bed.store.status.send_modify(change);
        let stopped = bed.view.wait_for(|view| view.state == EngineState::Standby);
        let why = timeout(DEADLINE, stopped).await.unwrap().unwrap().why.clone();
        assert!(why.contains("no longer leads"), "{why}");
        bed.end().await;
    }
}

#[tokio::test]
async fn a_write_that_is_fenced_off_stops_the_engine() {
    let mut bed = Bed::new().await;
    let epoch = bed.store.model.lock().unwrap().activate();
    bed.start(epoch).await.unwrap();
    bed.store.model.lock().unwrap().activate();
    let answer = bed.ask(EngineRequest::CreateQueue { name: queue("q") }).await;
    assert!(matches!(answer, EngineReply::Error(EngineError::NotStarted { .. })), "{answer:?}");
    let stopped = bed.view.wait_for(|view| view.state == EngineState::Standby);
    timeout(DEADLINE, stopped).await.unwrap().unwrap();
    bed.end().await;
}
