//! Who uses the store: an engine at whoever leads, and producers that number their messages and resend.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{
    ActivationReason, Applied, Command, EngineOp, Epoch, Message, MessageId, OpResult, ProducerId, QueueName,
};

use super::dice::Dice;
use super::network::Network;
use crate::{Lease, Store};

/// How many producers there are.
pub(super) const PRODUCERS: u8 = 3;

pub(super) fn queue_name() -> QueueName {
    QueueName::new("orders").unwrap()
}

pub(super) fn producer_id(producer: u8) -> ProducerId {
    ProducerId([producer; 16])
}

/// What a message says: whose it is, and its number.
pub(super) fn body(producer: u8, number: u64) -> Vec<u8> {
    format!("{producer}:{number}").into_bytes()
}

pub(super) fn read_body(body: &[u8]) -> (u8, u64) {
    let text = std::str::from_utf8(body).unwrap();
    let (producer, number) = text.split_once(':').unwrap();
    (producer.parse().unwrap(), number.parse().unwrap())
}

/// What clients were told, and what went wrong as they saw it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// All numbers of a producer up to this one are confirmed.
    pub(super) confirmed: BTreeMap<u8, u64>,
    /// Messages that somebody asked to take off the queue.
    pub(super) settled: BTreeSet<(u8, u64)>,
    /// The epochs of all activations that were answered.
    pub(super) epochs: Vec<Epoch>,
    pub(super) violations: Vec<String>,
}

/// Shared by all that use a cluster.
#[derive(Clone)]
pub(super) struct Clients {
    pub(super) network: Network,
    pub(super) told: Arc<Mutex<Told>>,
    /// The epoch of the engine at a replica, while it is started.
    engines: Arc<Mutex<BTreeMap<u64, Epoch>>>,
    stopping: Arc<AtomicBool>,
}

/// What became of a request to an engine.
enum Reply {
    Results(Vec<OpResult>),
    /// Not done, or nobody knows.
    Again,
}

fn now() -> BootTime {
    crate::clock::boot_time()
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

impl Clients {
    pub(super) fn new(network: Network) -> Self {
        Self { network, told: Arc::default(), engines: Arc::default(), stopping: Arc::default() }
    }

    /// Producers end when what they are at is confirmed.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn violation(&self, what: String) {
        self.told.lock().unwrap().violations.push(what);
    }

    /// Runs the engine of one life of a replica: it activates under a lease, and stops when the lease is over.
    pub(super) async fn host(self, replica: u64, store: Store) {
        let lease = store.lease();
        loop {
            let begun = store.cluster().borrow().cluster.is_some();
            if !begun || !store.status().borrow().leads || !lease.holds(now()) {
                pause(5).await;
                continue;
            }
            let host = store.header().server.clone();
            let activate = Command::Activate { host, reason: ActivationReason::FailOver, at_ms: 1 };
            let epoch = match store.commit(activate).await {
                Ok(committed) => match committed.applied {
                    Applied::Activated { epoch } => epoch,
                    other => return self.violation(format!("an activation was answered with {other:?}")),
                },
                Err(_) => {
                    pause(5).await;
                    continue;
                }
            };
            self.told.lock().unwrap().epochs.push(epoch);
            self.engines.lock().unwrap().insert(replica, epoch);
            while lease.holds(now()) && self.engines.lock().unwrap().get(&replica) == Some(&epoch) {
                pause(2).await;
            }
            self.engines.lock().unwrap().remove(&replica);
        }
    }

    /// The engine of a replica died with it.
    pub(super) fn host_died(&self, replica: u64) {
        self.engines.lock().unwrap().remove(&replica);
    }

    /// What the engine at a replica makes of `requests`, all of them on their way at once; none if it is not started.
    async fn ask(&self, replica: u64, requests: Vec<Vec<EngineOp>>) -> Vec<Reply> {
        let epoch = self.engines.lock().unwrap().get(&replica).copied();
        let (Some(store), Some(epoch)) = (self.network.store(replica), epoch) else { return Vec::new() };
        let lease: Lease = store.lease();
        if !lease.holds(now()) {
            return Vec::new();
        }
        // In line now, one behind the other.
        let commits: Vec<_> =
            requests.into_iter().map(|ops| store.commit(Command::Engine { epoch, at_ms: 1, ops })).collect();
        drop(store);
        let mut replies = Vec::new();
        for commit in commits {
            replies.push(match commit.await.map(|committed| committed.applied) {
                // Confirmed by an engine whose lease holds still, or by none.
                Ok(Applied::Engine { results }) if lease.holds(now()) => Reply::Results(results),
                Ok(Applied::Fenced { .. }) => {
                    self.engines.lock().unwrap().retain(|_, started| *started != epoch);
                    Reply::Again
                }
                Ok(_) | Err(_) => Reply::Again,
            });
        }
        replies
    }

    /// Sends messages in batches, several at once, from whichever engine takes them, until it is told to stop.
    pub(super) async fn produce(self, producer: u8, replicas: u64, mut dice: Dice) {
        let open = || {
            vec![
                EngineOp::CreateQueue { name: queue_name() },
                EngineOp::OpenProducer { producer: producer_id(producer), queue: queue_name() },
            ]
        };
        let mut at = 1 + dice.below(replicas);
        // The next number, once an engine said it.
        let mut next = None;
        let mut made = 0;
        loop {
            let confirmed = self.told.lock().unwrap().confirmed.get(&producer).copied().unwrap_or(0);
            if self.stopping.load(Ordering::Relaxed) && confirmed >= made {
                return;
            }
            let Some(first) = next else {
                let replies = self.ask(at, vec![open()]).await;
                match replies.first() {
                    Some(Reply::Results(results)) => next = self.opened(producer, confirmed, &results[1]),
                    Some(Reply::Again) | None => {
                        at = 1 + dice.below(replicas);
                        pause(1 + dice.below(20)).await;
                    }
                }
                continue;
            };
            let mut batches = Vec::new();
            let mut number = first;
            for _ in 0..1 + dice.below(3) {
                let count = 1 + dice.below(4);
                let messages = (number..number + count).map(|number| Message::new(body(producer, number))).collect();
                let send = EngineOp::Send {
                    registration: 0,
                    producer: producer_id(producer),
                    first: number,
                    messages,
                    dispatch: false,
                };
                batches.push(vec![send]);
                number += count;
            }
            made = made.max(number - 1);
            let firsts: Vec<u64> = batches
                .iter()
                .map(|batch| match &batch[0] {
                    EngineOp::Send { first, .. } => *first,
                    _ => unreachable!("a batch is a send"),
                })
                .collect();
            let ends: Vec<u64> = firsts.iter().skip(1).copied().chain([number]).collect();
            let replies = self.ask(at, batches).await;
            let whole = replies.len() == ends.len();
            next = whole.then_some(first);
            for (reply, end) in replies.iter().zip(ends) {
                next = match reply {
                    Reply::Results(results) => self.sent(producer, end, &results[0], next),
                    Reply::Again => None,
                };
                if next.is_none() {
                    break;
                }
            }
            if next.is_none() {
                // Half of the time without a question: the same numbers again, wherever the engine is now.
                let confirmed = self.told.lock().unwrap().confirmed.get(&producer).copied();
                next = confirmed.filter(|_| dice.chance(500)).map(|confirmed| confirmed + 1);
                at = 1 + dice.below(replicas);
            }
            if dice.chance(100) {
                self.settle(at, &mut dice).await;
            }
            pause(dice.below(40)).await;
        }
    }

    fn confirm(&self, producer: u8, through: u64) {
        let mut told = self.told.lock().unwrap();
        let confirmed = told.confirmed.entry(producer).or_insert(0);
        *confirmed = through.max(*confirmed);
    }

    /// What a producer learns when it opens.
    fn opened(&self, producer: u8, confirmed: u64, result: &OpResult) -> Option<u64> {
        match result {
            OpResult::Producer { next, .. } if *next > confirmed => {
                // All before are stored.
                self.confirm(producer, next - 1);
                Some(*next)
            }
            other => {
                self.violation(format!("producer {producer} has {confirmed} confirmed and opened with {other:?}"));
                None
            }
        }
    }

    /// What a producer learns from the answer to a send that ended before `end`.
    fn sent(&self, producer: u8, end: u64, result: &OpResult, next: Option<u64>) -> Option<u64> {
        match result {
            OpResult::Sent { .. } => {
                self.confirm(producer, end - 1);
                Some(end)
            }
            // It skipped one that did not get through: from there again.
            OpResult::Gap { expected } if Some(*expected) >= next.map(|next| next.min(end)) => None,
            other => {
                self.violation(format!("producer {producer} sent up to {end}, had {next:?} next and got {other:?}"));
                None
            }
        }
    }

    /// Takes some messages off the front of the queue.
    async fn settle(&self, at: u64, dice: &mut Dice) {
        let Some(store) = self.network.store(at) else { return };
        let Ok(queues) = store.queues() else { return };
        let Some(queue) = queues.first().map(|queue| queue.id) else { return };
        let count = 1 + dice.below(6) as usize;
        let Ok(page) = store.page(queue, MessageId::default(), count, usize::MAX) else { return };
        drop(store);
        let settled = page.iter().map(|(_, stored)| read_body(&stored.message.body));
        self.told.lock().unwrap().settled.extend(settled);
        let messages = page.into_iter().map(|(id, _)| id).collect();
        self.ask(at, vec![vec![EngineOp::Settle { queue, messages, heads: Vec::new() }]]).await;
    }

    /// An engine that is over writes through whoever leads now.
    pub(super) async fn write_late(&self) {
        let newest = {
            let told = self.told.lock().unwrap();
            told.epochs.iter().max().copied()
        };
        let old = self.told.lock().unwrap().epochs.iter().copied().find(|epoch| Some(*epoch) < newest);
        let Some(epoch) = old else { return };
        for (_, store) in self.network.stores() {
            let ops = vec![EngineOp::OpenProducer { producer: producer_id(200), queue: queue_name() }];
            if let Ok(committed) = store.commit(Command::Engine { epoch, at_ms: 1, ops }).await
                && !matches!(committed.applied, Applied::Fenced { .. })
            {
                self.violation(format!("a write of the old epoch {epoch} was answered with {:?}", committed.applied));
            }
        }
    }
}
