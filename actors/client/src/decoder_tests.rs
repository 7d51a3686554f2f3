//! All decoders of bytes from a link, given bytes that are not what was sent.

use std::fmt::Debug;

use baton_domain::{
    Assistance, ChangeId, ClusterId, ConsumerId, Epoch, Message, MessageId, Policy, PolicyChange, ProducerId,
    QueueName, Reliability, ReplicaId, Role, ServerName, Settings, Standing,
};
use baton_test_support::{Damage, Verdict, damaged, damages, holds, noise};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use crate::protocol::*;
use crate::wire::{Frame, Service};

/// Ingredients of the values.
#[derive(Debug, Clone)]
struct Parts {
    number: u64,
    flag: bool,
    text: String,
    server: ServerName,
    queue: QueueName,
    message: Message,
}

fn parts() -> impl Strategy<Value = Parts> {
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

    fn engine_requests(&self) -> Vec<EngineRequest> {
        let (producer, consumer, queue, name) =
            (self.producer(), self.consumer(), self.queue.clone(), self.queue.clone());
        vec![
            EngineRequest::CreateQueue { name: name.clone() },
            EngineRequest::DeleteQueue { name: name.clone() },
            EngineRequest::Delete { name, if_empty: self.flag, if_unused: !self.flag },
            EngineRequest::ListQueues,
            EngineRequest::Once {
                change: ChangeId([7; 16]),
                again: self.flag,
                request: Box::new(EngineRequest::CreateQueue { name: queue.clone() }),
            },
            EngineRequest::Purge { queue: queue.clone(), through: MessageId::default() },
            EngineRequest::OpenProducer {
                producer,
                queue: queue.clone(),
                opening: Opening::Claim {
                    seen: Some(baton_domain::Written { last: self.number, digest: self.number }),
                },
            },
            EngineRequest::Send {
                producer,
                registration: self.number,
                first: self.number,
                messages: vec![self.message.clone(); 3].into(),
            },
            EngineRequest::Post {
                queue: queue.clone(),
                reliability: Reliability::ExpressNonpersistent,
                messages: vec![self.message.clone(); 2].into(),
            },
            EngineRequest::CloseProducer { producer },
            EngineRequest::Attach {
                consumer,
                queue,
                credit: self.number as u32,
                unsettled: self.ids(),
                received: 1,
                groups: Vec::new(),
                selector: String::new(),
                temporary: None,
            },
            EngineRequest::Credit { consumer, credit: self.number as u32, received: None },
            EngineRequest::Settle {
                consumer,
                acknowledged: self.ids(),
                refused: self.ids(),
                rejected: Vec::new(),
                released: Vec::new(),
                received: None,
            },
            EngineRequest::Detach { consumer, untouched: self.ids() },
            EngineRequest::ListConsumers { queue: self.flag.then(|| self.queue.clone()) },
            EngineRequest::Several(vec![EngineRequest::ListQueues, EngineRequest::ListInDoubt]),
        ]
    }

    fn engine_replies(&self) -> Vec<EngineReply> {
        let (number, epoch) = (self.number, self.epoch());
        let limits =
            Limits { message_bytes: number, consumer_credit: 9, frame_min_bytes: number, frame_max_bytes: number };
        let settings = Settings::default();
        let status = QueueStatus {
            name: self.queue.clone(),
            depth: number,
            nonpersistent: 0,
            dropped: 0,
            in_flight: 1,
            delayed: 3,
            kept: 1,
            version: number,
            consumers: 2,
            slow_consumers: 1,
            kind: Kind::Queue,
            settings,
            temporary: true,
        };
        let consumer = ConsumerStatus {
            consumer: self.consumer(),
            queue: self.queue.clone(),
            client: self.text.clone(),
            credit: 9,
            held: 3,
            acknowledged: number,
            unsettled_ms: number,
            lost: self.flag,
            slow: !self.flag,
        };
        let errors = [
            EngineError::NotStarted { news: self.news() },
            EngineError::Busy,
            EngineError::StoreFull { free_bytes: number, reserve_bytes: 1 },
            EngineError::MessageTooLarge { size: number, limit: 1 },
            EngineError::NoSuchQueue(self.queue.clone()),
            EngineError::ProducerUnknown,
            EngineError::Gap { expected: number },
            EngineError::ConsumerUnknown,
            EngineError::Unknown,
            EngineError::BadRequest(self.text.clone()),
            EngineError::QueueNotEmpty { queue: self.queue.clone(), messages: number },
            EngineError::QueueInUse { queue: self.queue.clone(), consumers: number },
        ];
        let mut replies = vec![
            EngineReply::Done,
            EngineReply::Created { created: self.flag },
            EngineReply::Queues(vec![status; 2]),
            EngineReply::Producer {
                epoch,
                next: number,
                limits,
                reliability: Default::default(),
                publishes: self.flag,
                registration: number,
                digest: number,
                claimed: self.flag,
            },
            EngineReply::Consumers(vec![consumer; 2]),
            EngineReply::Sent { through: number },
            EngineReply::Posted,
            EngineReply::Attached { epoch, limits },
            EngineReply::Deleted { messages: number, consumers: 2 },
        ];
        replies.extend(errors.map(EngineReply::Error));
        replies
    }

    fn client_requests(&self) -> Vec<ClientRequest> {
        let delivery = |id| Delivery { id, redeliveries: 3, redelivered: self.flag, message: self.message.clone() };
        let deliveries = self.ids().into_iter().map(delivery).collect();
        vec![
            ClientRequest::Deliver { consumer: self.consumer(), epoch: self.epoch(), deliveries },
            ClientRequest::News(self.news()),
        ]
    }

    fn directory_requests(&self) -> Vec<DirectoryRequest> {
        let name = || self.server.clone();
        let change = PolicyChange { preferred: Some(vec![name()]), manual: Some(self.flag), ..PolicyChange::default() };
        vec![
            DirectoryRequest::Where,
            DirectoryRequest::Report,
            DirectoryRequest::Status,
            DirectoryRequest::SetPolicy(self.policy()),
            DirectoryRequest::Move { server: name() },
            DirectoryRequest::AddMember { name: name(), role: Role::Witness, address: self.text.clone() },
            DirectoryRequest::RemoveMember { name: name() },
            DirectoryRequest::Join { name: name(), role: Role::Server, address: self.text.clone() },
            DirectoryRequest::Mark,
            DirectoryRequest::HashAt { index: self.number },
            DirectoryRequest::ChangePolicy(change.clone()),
            DirectoryRequest::Once {
                change: ChangeId([7; 16]),
                request: Box::new(DirectoryRequest::ChangePolicy(change)),
            },
            DirectoryRequest::Release { server: name() },
            DirectoryRequest::ReplicaOf { name: name() },
            DirectoryRequest::StandingOf { name: name(), replica: ReplicaId(self.number) },
            DirectoryRequest::SetAddress { name: name(), address: self.text.clone() },
        ]
    }

    fn wait(&self) -> FailBackWait {
        FailBackWait { server: self.server.clone(), losses: 3, until_ms: self.number }
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

    fn directory_replies(&self) -> Vec<DirectoryReply> {
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
        };
        vec![
            DirectoryReply::News(self.news()),
            DirectoryReply::Report(report),
            DirectoryReply::Status(self.status()),
            DirectoryReply::Done,
            DirectoryReply::Admitted { replica: ReplicaId(self.number), cluster: ClusterId([3; 16]), generation: 1 },
            DirectoryReply::Marked { index: self.number },
            DirectoryReply::Hash(Some(u128::from(self.number) << 64)),
            DirectoryReply::Elsewhere(Some(self.server.clone())),
            DirectoryReply::Refused(self.text.clone()),
            DirectoryReply::Policy(self.policy()),
            DirectoryReply::ReplicaOf(None),
            DirectoryReply::Standing(Standing::Replaced { by: ReplicaId(self.number) }),
        ]
    }
}

fn check<T>(values: &[T], harm: &[Damage], noise: &[u8])
where
    T: Serialize + DeserializeOwned + Debug + PartialEq,
{
    for value in values {
        let bytes = encode(value);
        assert_eq!(&decode::<T>(&bytes).unwrap(), value);
        assert_eq!(holds(&bytes, decode::<T>, encode), Verdict::Taken);
        holds(&damaged(&bytes, harm), decode::<T>, encode);
    }
    holds(noise, decode::<T>, encode);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_crosses_a_link(parts in parts(), harm in damages(), noise in noise()) {
        check(&parts.engine_requests(), &harm, &noise);
        check(&parts.engine_replies(), &harm, &noise);
        check(&parts.client_requests(), &harm, &noise);
        check(&[ClientReply::Done, ClientReply::ConsumerUnknown, ClientReply::Stale], &harm, &noise);
        check(&parts.directory_requests(), &harm, &noise);
        check(&parts.directory_replies(), &harm, &noise);
    }

    #[test]
    fn the_frame_around_it(parts in parts(), service in 0..5_usize, harm in damages(), noise in noise()) {
        let service = [Service::Ping, Service::Storage, Service::Engine, Service::Directory, Service::Client][service];
        let from = parts.server.as_str();
        let bytes = Frame::encode(service, from, &[9; 32], &parts.message.body);
        let frame = Frame::decode(bytes.clone()).unwrap();
        let expected = Frame { service, from: from.to_owned(), token: [9; 32], payload: parts.message.body.clone() };
        prop_assert_eq!(frame, expected);
        for bytes in [bytes.clone(), damaged(&bytes, &harm), noise] {
            let again = |frame: &Frame| Frame::encode(frame.service, &frame.from, &frame.token, &frame.payload);
            holds(&bytes, |bytes| Frame::decode(bytes.to_vec()), again);
        }
    }
}
