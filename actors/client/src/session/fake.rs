//! A cluster in one process, for tests of the actors: services without links, and a minimal engine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use baton_domain::{ConsumerId, Epoch, Message, MessageId, ProducerId, QueueName, ServerName};
use bytes::Bytes;
use ractor::concurrency::oneshot;

use super::Session;
use crate::peers::{Peer, PeerInfo, PeerKind, Peers};
use crate::protocol::{
    ClientReply, ClientRequest, Delivery, DirectoryReply, EngineError, EngineReply, EngineRequest, Limits, Opening,
    PlacementNews, decode, encode,
};
use crate::wire::{Handler, Inbound, LocalTransport, Service};

/// The largest message of this engine.
pub(crate) const MESSAGE_BYTES: u64 = 10_000;

pub(crate) fn queue() -> QueueName {
    QueueName::new("orders").unwrap()
}

/// A cluster, and a session that is linked to it.
#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) session: Session,
    pub(crate) peers: Peers,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    transports: HashMap<String, LocalTransport>,
    connections: u64,
    host: Option<String>,
    epoch: u64,
    producers: HashMap<ProducerId, u64>,
    store: BTreeMap<MessageId, (Message, u32)>,
    next_index: u64,
    consumers: HashMap<ConsumerId, (u32, BTreeSet<MessageId>)>,
    client: Option<Handler>,
}

impl Cluster {
    /// Servers `a`, `b` and `c`, all linked; the engine is nowhere.
    pub(crate) async fn new() -> Self {
        let session = Session::spawn().await.unwrap();
        let cluster = Self { session, peers: Peers::default(), inner: Arc::default() };
        cluster.lock().client = Some(cluster.session.handler());
        for name in ["a", "b", "c"] {
            let (engine, directory) = (cluster.clone(), cluster.clone());
            let handlers: [(Service, Handler); 2] = [
                (Service::Engine, Handler::cast(move |inbound| engine.engine(name, inbound))),
                (Service::Directory, Handler::cast(move |inbound| directory.directory(inbound))),
            ];
            cluster.lock().transports.insert(name.to_owned(), LocalTransport { handlers: HashMap::from(handlers) });
            cluster.link(name);
        }
        // A server in the same process may be faster.
        cluster.tell();
        cluster.session.start(cluster.peers.clone(), Arc::new(|_| {}));
        cluster
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Links a server, or links it again.
    pub(crate) fn link(&self, name: &str) {
        let mut inner = self.lock();
        inner.connections += 1;
        let info = PeerInfo {
            name: name.to_owned(),
            kind: PeerKind::Server,
            incarnation: 1,
            replica: None,
            token: [0; 32],
            connection: inner.connections,
        };
        let peer = Peer::new(info, inner.transports[name].clone(), "client".into(), [0; 32]);
        drop(inner);
        self.peers.insert(peer);
    }

    /// Cuts the link to a server.
    pub(crate) fn cut(&self, name: &str) {
        let connection = self.peers.get(name).unwrap().info().connection;
        self.peers.remove(name, connection);
    }

    /// Starts the engine on that server, under a new epoch, and tells the client.
    pub(crate) fn activate(&self, host: &str) {
        self.activate_silently(host);
        self.tell();
    }

    /// The same without the report.
    pub(crate) fn activate_silently(&self, host: &str) {
        let mut inner = self.lock();
        inner.epoch += 1;
        inner.host = Some(host.to_owned());
        inner.consumers.clear();
    }

    fn tell(&self) {
        let inner = self.lock();
        let news = inner.news();
        inner.push(&ClientRequest::News(news));
    }

    /// Stops the engine without a report, as a crash does.
    pub(crate) fn crash(&self) {
        self.lock().host = None;
    }

    /// The bodies of the stored messages, and the redeliveries of each.
    pub(crate) fn stored(&self) -> Vec<(Bytes, u32)> {
        self.lock().store.values().map(|(message, redeliveries)| (message.body.clone(), *redeliveries)).collect()
    }

    /// The numbers of producers and consumers that the engine knows.
    pub(crate) fn known(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.producers.len(), inner.consumers.len())
    }

    fn engine(&self, server: &str, inbound: Inbound) {
        let mut inner = self.lock();
        let reply = if inner.host.as_deref() == Some(server) {
            let reply = inner.apply(decode(&inbound.payload).unwrap());
            inner.deliver();
            reply
        } else {
            EngineReply::Error(EngineError::NotStarted { news: inner.news() })
        };
        drop(inner);
        inbound.reply.send(encode(&reply));
    }

    fn directory(&self, inbound: Inbound) {
        let news = self.lock().news();
        inbound.reply.send(encode(&DirectoryReply::News(news)));
    }
}

impl Inner {
    fn epoch(&self) -> Epoch {
        Epoch { generation: 0, index: self.epoch }
    }

    fn news(&self) -> PlacementNews {
        let host = self.host.as_ref().map(|host| ServerName::new(host).unwrap());
        PlacementNews { epoch: self.epoch(), host, address: None, servers: Vec::new() }
    }

    fn push(&self, request: &ClientRequest) {
        let (sender, receiver) = oneshot();
        let payload = Bytes::from(encode(request));
        let inbound = Inbound { from: "server".to_owned(), token: [0; 32], payload, reply: sender.into() };
        let Some(Handler::Cast(take)) = &self.client else { panic!("a session's handler casts") };
        take(inbound);
        tokio::spawn(async move {
            if let Ok(bytes) = receiver.await {
                assert_ne!(decode::<ClientReply>(&bytes).unwrap(), ClientReply::Stale);
            }
        });
    }

    fn deliver(&mut self) {
        let taken: BTreeSet<MessageId> = self.consumers.values().flat_map(|(_, held)| held.iter().copied()).collect();
        let mut ready: Vec<_> = self.store.iter().filter(|(id, _)| !taken.contains(id)).rev().collect();
        let mut pushes = Vec::new();
        let epoch = Epoch { generation: 0, index: self.epoch };
        for (consumer, (credit, held)) in &mut self.consumers {
            let mut deliveries = Vec::new();
            while held.len() < *credit as usize
                && let Some((id, (message, redeliveries))) = ready.pop()
            {
                held.insert(*id);
                let (redelivered, message) = (*redeliveries > 0, message.clone());
                deliveries.push(Delivery { id: *id, redeliveries: *redeliveries, redelivered, message });
            }
            if !deliveries.is_empty() {
                pushes.push(ClientRequest::Deliver { consumer: *consumer, epoch, deliveries });
            }
        }
        for push in &pushes {
            self.push(push);
        }
    }

    fn put(&mut self, messages: impl Iterator<Item = Message>) {
        self.next_index += 1;
        for (message, position) in messages.zip(0..) {
            let id = MessageId { generation: 0, index: self.next_index, position };
            self.store.insert(id, (message, 0));
        }
    }

    fn apply(&mut self, request: EngineRequest) -> EngineReply {
        let limits = Limits {
            message_bytes: MESSAGE_BYTES,
            consumer_credit: 1_000,
            frame_min_bytes: 64 << 10,
            frame_max_bytes: 256 << 10,
        };
        let epoch = self.epoch();
        match request {
            EngineRequest::OpenProducer { queue: name, .. } | EngineRequest::Attach { queue: name, .. }
                if name != queue() =>
            {
                EngineReply::Error(EngineError::NoSuchQueue(name))
            }
            EngineRequest::OpenProducer { producer, opening, .. } => {
                if matches!(opening, Opening::Again { .. }) && !self.producers.contains_key(&producer) {
                    return EngineReply::Error(EngineError::ProducerUnknown);
                }
                let next = *self.producers.entry(producer).or_insert(0) + 1;
                EngineReply::new_producer(epoch, next, limits)
            }
            EngineRequest::Send { producer, first, messages, .. } => {
                let Some(last) = self.producers.get_mut(&producer) else {
                    return EngineReply::Error(EngineError::ProducerUnknown);
                };
                if first > *last + 1 {
                    return EngineReply::Error(EngineError::Gap { expected: *last + 1 });
                }
                let through = first + messages.len() as u64 - 1;
                let duplicates = usize::try_from(*last + 1 - first).unwrap();
                *last = through.max(*last);
                self.put(messages.read().into_iter().skip(duplicates));
                EngineReply::Sent { through }
            }
            EngineRequest::Post { messages, .. } => {
                self.put(messages.read().into_iter());
                EngineReply::Posted
            }
            EngineRequest::CloseProducer { producer } => {
                self.producers.remove(&producer);
                EngineReply::Done
            }
            EngineRequest::Attach { consumer, credit, unsettled, .. } => {
                self.consumers.insert(consumer, (credit, unsettled.into_iter().collect()));
                EngineReply::Attached { epoch, limits }
            }
            EngineRequest::Credit { consumer, credit, .. } => match self.consumers.get_mut(&consumer) {
                Some(known) => {
                    known.0 = credit;
                    EngineReply::Done
                }
                None => EngineReply::Error(EngineError::ConsumerUnknown),
            },
            EngineRequest::Settle { consumer, acknowledged, refused, .. } => {
                let Some((_, held)) = self.consumers.get_mut(&consumer) else {
                    return EngineReply::Error(EngineError::ConsumerUnknown);
                };
                for id in acknowledged {
                    held.remove(&id);
                    self.store.remove(&id);
                }
                for id in refused {
                    held.remove(&id);
                    self.store.entry(id).and_modify(|message| message.1 += 1);
                }
                EngineReply::Done
            }
            EngineRequest::Detach { consumer, untouched } => {
                for id in self.consumers.remove(&consumer).into_iter().flat_map(|(_, held)| held) {
                    if !untouched.contains(&id) {
                        self.store.entry(id).and_modify(|message| message.1 += 1);
                    }
                }
                EngineReply::Done
            }
            EngineRequest::Several(requests) => {
                EngineReply::Several(requests.into_iter().map(|request| self.apply(request)).collect())
            }
            EngineRequest::CreateQueue { .. }
            | EngineRequest::DeleteQueue { .. }
            | EngineRequest::Delete { .. }
            | EngineRequest::ListQueues
            | EngineRequest::ListConsumers { .. }
            | EngineRequest::Create { .. }
            | EngineRequest::Configure { .. }
            | EngineRequest::OpenSession { .. }
            | EngineRequest::Transact { .. }
            | EngineRequest::Prepare { .. }
            | EngineRequest::Resolve { .. }
            | EngineRequest::ListInDoubt
            | EngineRequest::Browse { .. }
            | EngineRequest::Replay { .. }
            | EngineRequest::Once { .. }
            | EngineRequest::Purge { .. } => EngineReply::Error(EngineError::BadRequest("not here".to_owned())),
        }
    }
}
