//! What producers and consumers do that keep the protocol.

use baton_domain::Message;

use super::*;

impl World {
    pub(super) fn replied(&mut self, request: RequestId, reply: EngineReply) {
        let ask = self.waiting.remove(&request).expect("a request is answered once");
        let ok = !matches!(reply, EngineReply::Error(_));
        match (ask, reply) {
            (Ask::Open(at), EngineReply::Producer { next, .. }) => {
                let producer = &mut self.producers[at];
                assert!(next > producer.confirmed, "a confirmed message is numbered in the store (invariant 3)");
                (producer.open, producer.opening, producer.known) = (true, false, true);
                (producer.next, producer.confirmed) = (next, next - 1);
            }
            (Ask::Open(at), EngineReply::Error(error)) => {
                assert_ne!(error, EngineError::ProducerUnknown, "nobody forgot it (invariant 4)");
                self.producers[at].opening = false;
            }
            (Ask::Send { producer }, EngineReply::Sent { through }) => {
                let producer = &mut self.producers[producer];
                producer.confirmed = producer.confirmed.max(through);
            }
            (Ask::Send { producer }, EngineReply::Error(error)) => {
                let producer = &mut self.producers[producer];
                match error {
                    EngineError::Gap { expected } => producer.next = expected,
                    EngineError::Busy | EngineError::StoreFull { .. } => producer.next = producer.confirmed + 1,
                    EngineError::NotStarted { .. } | EngineError::Unknown => producer.open = false,
                    other => panic!("{other:?} to a send"),
                }
            }
            (Ask::Attach(id), _) => {
                if let Some(consumer) = self.consumers.iter_mut().find(|consumer| consumer.id == id) {
                    consumer.attached &= ok;
                }
            }
            (Ask::Settle { consumer, connection, acknowledged, refused }, _) => {
                let Some(consumer) = self.consumers.iter_mut().find(|other| other.id == consumer) else { return };
                for id in acknowledged {
                    consumer.acking.remove(&id);
                    // An answer does not outlive its link. When it attached again it said that it has these.
                    if !ok || connection != consumer.connection {
                        consumer.holding.insert(id);
                    }
                }
                for id in refused {
                    consumer.refusing.remove(&id);
                    if !ok {
                        consumer.holding.insert(id);
                    }
                }
            }
            (Ask::Detach { client, connection }, _) => {
                if !ok {
                    self.news.push_back(Input::PeerDown { name: client, connection });
                }
            }
            (Ask::Other, _) => {}
            (ask, reply) => panic!("{reply:?} to {ask:?}"),
        }
    }

    pub(super) fn answer(&mut self, call: Option<CallId>, answer: Option<ClientReply>) {
        if let Some(call) = call {
            self.step(Input::Delivered { call, answer });
        }
    }

    /// A consumer takes the next frame of its link.
    pub(super) fn frame(&mut self, at: usize) {
        let id = self.consumers[at].id;
        let Some(place) = self.frames.iter().position(|frame| frame.consumer == id) else { return };
        let Some(frame) = self.frames.remove(place) else { return };
        let consumer = &mut self.consumers[at];
        if frame.connection != consumer.connection {
            return self.answer(frame.call, None);
        }
        if frame.epoch < consumer.epoch {
            return self.answer(frame.call, Some(ClientReply::Stale));
        }
        for delivery in frame.deliveries {
            let account =
                self.accounts.entry(delivery.id).or_insert(Account { taken: 0, allowed: 1, must_flag: false });
            account.taken += 1;
            assert!(account.taken <= account.allowed, "{} came twice to living consumers (invariant 3)", delivery.id);
            assert!(delivery.redelivered || !account.must_flag, "{} was delivered before", delivery.id);
            account.must_flag = true;
            assert!(consumer.holding.insert(delivery.id), "{} is held already", delivery.id);
        }
        self.answer(frame.call, Some(ClientReply::Done));
    }

    /// Frames to consumers that are no more.
    pub(super) fn stray_frames(&mut self) {
        let alive: Vec<_> = self.consumers.iter().map(|consumer| consumer.id).collect();
        let (kept, stray): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.frames).into_iter().partition(|frame| alive.contains(&frame.consumer));
        self.frames = kept.into();
        for frame in stray {
            self.answer(frame.call, Some(ClientReply::ConsumerUnknown));
        }
    }

    pub(super) fn attach(&mut self, at: usize) {
        let Some(epoch) = self.state.view().epoch else { return };
        let consumer = &mut self.consumers[at];
        if consumer.attached {
            return;
        }
        if consumer.epoch < epoch {
            // Handing back was not answered: the new engine may not know of it.
            consumer.holding.append(&mut consumer.refusing);
        }
        // From here on it drops what an older engine sent.
        (consumer.attached, consumer.epoch) = (true, epoch);
        let unsettled: Vec<MessageId> = consumer.holding.union(&consumer.acking).copied().collect();
        let of = |id: &MessageId| {
            let producer = self.bodies[id].split_once(':').unwrap().0.parse().unwrap();
            Some((*id, group(producer, consumer.queue))).filter(|(_, group)| !group.is_empty())
        };
        let groups = unsettled.iter().filter_map(of).collect();
        self.claimed.extend(&unsettled);
        let (id, client, connection) = (consumer.id, consumer.client.clone(), consumer.connection);
        let (queue, credit) = (queue(QUEUES[consumer.queue]), consumer.credit);
        self.ask_from(
            client,
            connection,
            EngineRequest::Attach {
                consumer: id,
                queue,
                credit,
                unsettled,
                received: 0,
                groups,
                selector: String::new(),
                temporary: None,
            },
            Ask::Attach(id),
        );
    }

    pub(super) fn settle(&mut self, at: usize, most: usize, refuse: bool) {
        let consumer = &mut self.consumers[at];
        let ids: Vec<_> = consumer.holding.iter().take(most).copied().collect();
        consumer.holding.retain(|id| !ids.contains(id));
        let (acknowledged, refused) = if refuse { (Vec::new(), ids) } else { (ids, Vec::new()) };
        consumer.acking.extend(&acknowledged);
        consumer.refusing.extend(&refused);
        for id in &refused {
            self.accounts.get_mut(id).unwrap().allowed += 1;
        }
        self.acknowledged.extend(acknowledged.iter().map(|id| self.bodies[id].clone()));
        let (id, client, connection) = (consumer.id, consumer.client.clone(), consumer.connection);
        let ask =
            Ask::Settle { consumer: id, connection, acknowledged: acknowledged.clone(), refused: refused.clone() };
        self.ask_from(
            client,
            connection,
            EngineRequest::Settle {
                consumer: id,
                acknowledged,
                refused,
                rejected: Vec::new(),
                released: Vec::new(),
                received: None,
            },
            ask,
        );
    }

    /// The consumer of a slot is gone, and another one takes its place.
    pub(super) fn replace(&mut self, at: usize) -> Consumer {
        let fresh = self.new_consumer(at);
        let old = std::mem::replace(&mut self.consumers[at], fresh);
        for id in old.holding.iter().chain(&old.acking).chain(&old.refusing) {
            self.accounts.get_mut(id).unwrap().allowed += 1;
        }
        old
    }

    pub(super) fn send(&mut self, at: usize, count: u64) {
        let producer = &mut self.producers[at];
        let (id, name) = (producer.id, queue(QUEUES[producer.queue]));
        if !producer.open {
            if !std::mem::replace(&mut producer.opening, true) {
                let opening = match producer.known {
                    true => baton_client::protocol::Opening::Again { registration: 0 },
                    false => baton_client::protocol::Opening::First,
                };
                self.ask(EngineRequest::OpenProducer { producer: id, queue: name, opening }, Ask::Open(at));
            }
            return;
        }
        let count = count.min((producer.confirmed + 12).saturating_sub(producer.next - 1));
        if count == 0 {
            return;
        }
        let first = producer.next;
        producer.next += count;
        let group = group(at, producer.queue);
        let message = |number| {
            let message = Message::new(format!("{at}:{number}")).with_priority(priority(number));
            if group.is_empty() { message } else { message.with_group(&group) }
        };
        let messages = (first..first + count).map(message).collect();
        self.ask(EngineRequest::Send { producer: id, registration: 0, first, messages }, Ask::Send { producer: at });
    }
}
