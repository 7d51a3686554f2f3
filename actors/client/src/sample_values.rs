//! Values of each variant of what crosses a link, for tests.

use baton_domain::{
    Assistance, ChangeId, ClusterId, ConsumerId, Epoch, Message, MessageId, Policy, PolicyChange, ProducerId,
    Properties, QueueName, Reliability, ReplicaId, Role, ServerName, SessionId, Settings, SettingsPatch, Standing,
    TransactionName, TransactionSend, Written,
};
use baton_test_support::one_of_each;
use proptest::prelude::*;

use crate::protocol::*;

/// Material for values.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) number: u64,
    pub(crate) flag: bool,
    pub(crate) text: String,
    pub(crate) server: ServerName,
    pub(crate) queue: QueueName,
    pub(crate) message: Message,
}

/// Any material.
pub(crate) fn parts() -> impl Strategy<Value = Parts> {
    let message = (prop::collection::vec((".{0,9}", ".{0,9}"), 0..3), prop::collection::vec(any::<u8>(), 0..40))
        .prop_map(|(headers, body)| Message { headers, properties: None, body: body.into() });
    (any::<u64>(), any::<bool>(), ".{0,20}", "[a-z0-9._-]{1,63}", "[a-z0-9._/-]{1,255}", message).prop_map(
        |(number, flag, text, server, queue, message)| Parts {
            number,
            flag,
            text,
            server: ServerName::new(server).unwrap(),
            queue: QueueName::new(queue).unwrap(),
            message,
        },
    )
}

impl Parts {
    /// Always the same material.
    pub(crate) fn fixed() -> Self {
        let properties = Some(Box::new(Properties { priority: 7, group: "g".to_owned(), ..Properties::default() }));
        Self {
            number: 0x0102_0304_0506_0703,
            flag: true,
            text: "text".to_owned(),
            server: ServerName::new("server1").unwrap(),
            queue: QueueName::new("orders/new").unwrap(),
            message: Message { headers: vec![("a".to_owned(), "b".to_owned())], properties, body: "body".into() },
        }
    }

    fn epoch(&self) -> Epoch {
        Epoch { generation: 2, index: self.number }
    }

    fn ids(&self) -> Vec<MessageId> {
        (0..self.number % 5).map(|at| MessageId { generation: 0, index: self.number - at, position: 7 }).collect()
    }

    fn consumer(&self) -> ConsumerId {
        ConsumerId([self.number as u8; 16])
    }

    fn producer(&self) -> ProducerId {
        ProducerId([self.number as u8; 16])
    }

    fn policy(&self) -> Policy {
        Policy {
            assistance: Assistance::None,
            preferred: vec![self.server.clone()],
            fail_back: self.flag,
            ..Policy::default()
        }
    }

    fn news(&self) -> PlacementNews {
        PlacementNews {
            epoch: self.epoch(),
            host: self.flag.then(|| self.server.clone()),
            address: self.flag.then(|| self.text.clone()),
            servers: vec![(self.server.clone(), self.text.clone()); 2],
        }
    }

    pub(crate) fn engine_requests(&self) -> Vec<(&'static str, EngineRequest)> {
        let (number, flag, ids) = (self.number, self.flag, self.ids());
        let (producer, consumer, queue, text) =
            (self.producer(), self.consumer(), self.queue.clone(), self.text.clone());
        let (name, session) = (queue.clone(), SessionId([number as u8; 16]));
        let transaction = || TransactionName::new("transfer/1").unwrap();
        let messages = || vec![self.message.clone(); 3].into();
        let sends = || vec![TransactionSend { queue: self.queue.clone(), messages: messages() }];
        let acknowledged = || vec![(self.consumer(), self.ids())];
        let settings = Box::new(SettingsPatch::from(self.settings()));
        let id = MessageId { generation: 1, index: number, position: 7 };
        one_of_each!(EngineRequest {
            CreateQueue { name: name.clone() },
            DeleteQueue { name: name.clone() },
            ListQueues {},
            OpenProducer { producer, queue: queue.clone(), opening: Opening::First },
            Send { producer, registration: number, first: number, messages: messages() },
            Post { queue: queue.clone(), reliability: Reliability::ExpressNonpersistent, messages: messages() },
            CloseProducer { producer },
            Attach {
                consumer,
                queue: queue.clone(),
                credit: number as u32,
                unsettled: ids.clone(),
                received: 1,
                groups: vec![(id, text.clone())],
                selector: text.clone(),
                temporary: flag.then(|| Box::new(Kind::Queue)),
            },
            Credit { consumer, credit: number as u32, received: flag.then_some(id) },
            Settle {
                consumer,
                acknowledged: ids.clone(),
                refused: ids.clone(),
                rejected: vec![(id, text.clone())],
                released: ids.clone(),
                received: flag.then_some(id),
            },
            Detach { consumer, untouched: ids.clone() },
            Create { name: name.clone(), kind: Kind::TopicSpace, settings: settings.clone() },
            Configure { name: name.clone(), patch: settings, if_version: flag.then_some(number) },
            Browse { queue: queue.clone(), from: flag.then_some(id), limit: 9 },
            Replay { queue: queue.clone(), messages: ids },
            OpenSession { session },
            Transact { session, number, sends: sends(), acknowledged: acknowledged() },
            Prepare { name: transaction(), session, number, sends: sends(), acknowledged: acknowledged() },
            Resolve { name: transaction(), commit: flag },
            ListInDoubt {},
            Purge { queue: queue.clone(), through: id },
            ListConsumers { queue: flag.then(|| queue.clone()) },
            Several(vec![EngineRequest::ListQueues, EngineRequest::ListInDoubt]),
            Delete { name: name.clone(), if_empty: flag, if_unused: !flag },
            Once {
                change: ChangeId([7; 16]),
                again: flag,
                request: Box::new(EngineRequest::CreateQueue { name }),
            },
        })
    }

    /// Requests for the enums within requests.
    pub(crate) fn inner_requests(&self) -> Vec<(String, EngineRequest)> {
        let opening =
            |opening| EngineRequest::OpenProducer { producer: self.producer(), queue: self.queue.clone(), opening };
        let seen = Some(Written { last: self.number, digest: self.number });
        let openings = one_of_each!(Opening { First {}, Again { registration: self.number }, Claim { seen } });
        let (space, topic, selector) = (self.queue.clone(), self.text.clone(), self.text.clone());
        let kinds = one_of_each!(Kind { Queue {}, TopicSpace {}, Subscription { space, topic, selector } });
        let create = |kind| EngineRequest::Create {
            name: self.queue.clone(),
            kind,
            settings: Box::new(SettingsPatch::default()),
        };
        let openings = openings.into_iter().map(|(name, value)| (format!("Opening/{name}"), opening(value)));
        let kinds = kinds.into_iter().map(|(name, value)| (format!("Kind/{name}"), create(value)));
        openings.chain(kinds).collect()
    }

    fn settings(&self) -> Settings {
        Settings { max_messages: self.number, send_paused: self.flag, ..Settings::default() }
    }

    fn limits(&self) -> Limits {
        let number = self.number;
        Limits { message_bytes: number, consumer_credit: 9, frame_min_bytes: number, frame_max_bytes: number }
    }

    fn deliveries(&self) -> Vec<Delivery> {
        let delivery = |id| Delivery { id, redeliveries: 3, redelivered: self.flag, message: self.message.clone() };
        self.ids().into_iter().map(delivery).collect()
    }

    fn queue_status(&self) -> QueueStatus {
        QueueStatus {
            name: self.queue.clone(),
            depth: self.number,
            nonpersistent: 0,
            dropped: 0,
            in_flight: 1,
            delayed: 3,
            kept: 1,
            version: self.number,
            consumers: 2,
            slow_consumers: 1,
            kind: Kind::Queue,
            settings: self.settings(),
            temporary: true,
        }
    }

    fn consumer_status(&self) -> ConsumerStatus {
        ConsumerStatus {
            consumer: self.consumer(),
            queue: self.queue.clone(),
            client: self.text.clone(),
            credit: 9,
            held: 3,
            acknowledged: self.number,
            unsettled_ms: self.number,
            lost: self.flag,
            slow: !self.flag,
        }
    }

    pub(crate) fn engine_errors(&self) -> Vec<(&'static str, EngineError)> {
        let (number, text) = (self.number, self.text.clone());
        let queue = || self.queue.clone();
        one_of_each!(EngineError {
            NotStarted { news: self.news() },
            Busy {},
            StoreFull { free_bytes: number, reserve_bytes: 1 },
            MessageTooLarge { size: number, limit: 1 },
            NoSuchQueue(queue()),
            ProducerUnknown {},
            Gap { expected: number },
            ConsumerUnknown {},
            Unknown {},
            BadRequest(text.clone()),
            QueueFull { queue: queue(), limit: number },
            SendPaused(queue()),
            QueueExists(queue()),
            Refused(text.clone()),
            Fenced {},
            QueueDiffers { queue: queue(), differences: vec![text.clone(); 2] },
            OtherVersion { queue: queue(), version: number },
            MessageGone { message: MessageId { generation: 1, index: number, position: 7 } },
            TransactionTooLarge { bytes: number, limit: 1 },
            BadTopic(text),
            QueueNotEmpty { queue: queue(), messages: number },
            QueueInUse { queue: queue(), consumers: number },
        })
    }

    pub(crate) fn engine_replies(&self) -> Vec<(&'static str, EngineReply)> {
        let (number, flag, epoch, limits) = (self.number, self.flag, self.epoch(), self.limits());
        let newest = MessageId { generation: 1, index: number, position: 7 };
        let in_doubt = InDoubtStatus {
            name: TransactionName::new("transfer/1").unwrap(),
            at_ms: number,
            sends: vec![(self.queue.clone(), number)],
            acknowledges: vec![(self.queue.clone(), 2)],
        };
        one_of_each!(EngineReply {
            Done {},
            Created { created: flag },
            Queues(vec![self.queue_status(); 2]),
            Producer {
                epoch,
                next: number,
                limits,
                reliability: Reliability::default(),
                publishes: flag,
                registration: number,
                digest: number,
                claimed: flag,
            },
            Sent { through: number },
            Posted {},
            Attached { epoch, limits },
            Error(EngineError::Busy),
            Resolved { found: flag },
            InDoubt(vec![in_doubt]),
            Moved { messages: number },
            Messages { messages: self.deliveries(), next: flag.then_some(newest), newest },
            Consumers(vec![self.consumer_status(); 2]),
            Several(vec![EngineReply::Done, EngineReply::Error(EngineError::Fenced)]),
            Configured { version: number },
            Deleted { messages: number, consumers: 2 },
        })
    }

    pub(crate) fn client_requests(&self) -> Vec<(&'static str, ClientRequest)> {
        one_of_each!(ClientRequest {
            Deliver { consumer: self.consumer(), epoch: self.epoch(), deliveries: self.deliveries() },
            News(self.news()),
        })
    }

    pub(crate) fn directory_requests(&self) -> Vec<(&'static str, DirectoryRequest)> {
        let name = || self.server.clone();
        let address = || self.text.clone();
        let change = PolicyChange { preferred: Some(vec![name()]), manual: Some(self.flag), ..PolicyChange::default() };
        let request = Box::new(DirectoryRequest::ChangePolicy(change.clone()));
        one_of_each!(DirectoryRequest {
            Where {},
            Report {},
            Status {},
            SetPolicy(self.policy()),
            Move { server: name() },
            AddMember { name: name(), role: Role::Witness, address: address() },
            RemoveMember { name: name() },
            Join { name: name(), role: Role::Server, address: address() },
            Mark {},
            HashAt { index: self.number },
            ChangePolicy(change),
            Release { server: name() },
            ReplicaOf { name: name() },
            StandingOf { name: name(), replica: ReplicaId(self.number) },
            SetAddress { name: name(), address: address() },
            Once { change: ChangeId([7; 16]), request },
        })
    }

    fn wait(&self) -> FailBackWait {
        FailBackWait { server: self.server.clone(), losses: 3, until_ms: self.number }
    }

    fn database(&self) -> DatabaseStatus {
        DatabaseStatus {
            name: self.text.clone(),
            reached: self.flag,
            commit_us: Some(self.number),
            standby: self.text.clone(),
            timeline: 3,
            log_bytes: Some(self.number),
            snapshot: None,
            regressed: Some(self.text.clone()),
        }
    }

    fn status(&self) -> Status {
        let server = ServerStatus {
            name: self.server.clone(),
            role: Role::Server,
            up: self.flag,
            engine: self.text.clone(),
            leader: self.flag,
            lag: Some(self.number),
            preference: None,
            trouble: Some(self.text.clone()),
            fail_back: Some(self.wait()),
        };
        Status { servers: vec![server; 3], policy: self.policy(), ..Status::unknown(&self.text) }
    }

    pub(crate) fn directory_replies(&self) -> Vec<(&'static str, DirectoryReply)> {
        let report = ServerReport {
            name: self.server.clone(),
            role: Role::Witness,
            replica: Some(ReplicaId(self.number)),
            engine: EngineState::Stopping,
            epoch: Some(self.epoch()),
            leads: self.flag,
            applied: self.number,
            reaches: vec![self.server.clone(); 2],
            free_bytes: self.number,
            trouble: None,
            at_need: self.flag,
            why: self.text.clone(),
            filling: Some((self.number, 9)),
            election_max_ms: self.number,
            leaving: self.flag,
            waits: vec![self.wait(); 2],
            database: Some(self.database()),
        };
        one_of_each!(DirectoryReply {
            News(self.news()),
            Report(report),
            Status(self.status()),
            Done {},
            Admitted { replica: ReplicaId(self.number), cluster: ClusterId([3; 16]), generation: 1 },
            Marked { index: self.number },
            Hash(Some(u128::from(self.number) << 64)),
            Elsewhere(Some(self.server.clone())),
            Refused(self.text.clone()),
            Policy(self.policy()),
            ReplicaOf(self.flag.then_some(ReplicaId(self.number))),
            Standing(Standing::Replaced { by: ReplicaId(self.number) }),
        })
    }

    /// Replies for the enums within replies.
    pub(crate) fn inner_replies(&self) -> Vec<(String, DirectoryReply)> {
        let by = ReplicaId(self.number);
        let standings = one_of_each!(Standing { Member {}, Replaced { by }, Removed {} });
        let states = one_of_each!(EngineState { Standby {}, Starting {}, Started {}, Stopping {} });
        let report = |engine| {
            DirectoryReply::Report(ServerReport {
                engine,
                ..ServerReport::of_no_store(self.server.clone(), Role::Server, 9)
            })
        };
        let standings =
            standings.into_iter().map(|(name, value)| (format!("Standing/{name}"), DirectoryReply::Standing(value)));
        let states = states.into_iter().map(|(name, value)| (format!("EngineState/{name}"), report(value)));
        standings.chain(states).collect()
    }
}

pub(crate) fn client_replies() -> Vec<(&'static str, ClientReply)> {
    one_of_each!(ClientReply { Done {}, ConsumerUnknown {}, Stale {} })
}
