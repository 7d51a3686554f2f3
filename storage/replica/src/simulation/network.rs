//! The network between the replicas: frames of one replica to another arrive in order, late, twice or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baton_domain::ReplicaId;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::dice::Dice;
use crate::{Store, Transport, TransportError};

/// The kind of a frame that ends a snapshot.
const SNAPSHOT_END: u8 = 7;

/// A frame on its way.
struct Packet {
    frame: Vec<u8>,
    arrives: Instant,
    twice: bool,
    answer: oneshot::Sender<Result<Vec<u8>, TransportError>>,
}

/// A directed pair of replicas.
type Pair = (u64, u64);

struct State {
    dice: Dice,
    /// The lives that are lived now: others send nothing any more.
    lives: BTreeMap<u64, u64>,
    /// Who is up.
    up: BTreeMap<u64, Store>,
    cut: BTreeSet<Pair>,
    delay_ms: u64,
    lost: u64,
    twice: u64,
    /// Snapshots that arrived whole.
    snapshots: u64,
    /// Frames in order, one line a pair.
    lines: BTreeMap<Pair, (mpsc::UnboundedSender<Packet>, Instant)>,
}

/// The network. Clones are the same one.
#[derive(Clone)]
pub(super) struct Network(Arc<Mutex<State>>);

impl Network {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice: Dice::new(seed),
            lives: BTreeMap::new(),
            up: BTreeMap::new(),
            cut: BTreeSet::new(),
            delay_ms: 1,
            lost: 0,
            twice: 0,
            snapshots: 0,
            lines: BTreeMap::new(),
        })))
    }

    /// The end of the network of a life that begins.
    pub(super) fn port(&self, own: u64, life: u64) -> Arc<dyn Transport> {
        self.0.lock().unwrap().lives.insert(own, life);
        Arc::new(Port { own, life, network: self.clone() })
    }

    pub(super) fn up(&self, replica: u64, store: Store) {
        self.0.lock().unwrap().up.insert(replica, store);
    }

    pub(super) fn down(&self, replica: u64) -> Option<Store> {
        let mut state = self.0.lock().unwrap();
        state.lives.remove(&replica);
        state.up.remove(&replica)
    }

    pub(super) fn store(&self, replica: u64) -> Option<Store> {
        self.0.lock().unwrap().up.get(&replica).cloned()
    }

    pub(super) fn stores(&self) -> Vec<(u64, Store)> {
        self.0.lock().unwrap().up.iter().map(|(replica, store)| (*replica, store.clone())).collect()
    }

    pub(super) fn snapshots(&self) -> u64 {
        self.0.lock().unwrap().snapshots
    }

    pub(super) fn cut(&self, pairs: impl IntoIterator<Item = Pair>) {
        self.0.lock().unwrap().cut.extend(pairs);
    }

    pub(super) fn heal(&self) {
        self.0.lock().unwrap().cut.clear();
    }

    pub(super) fn set(&self, delay_ms: u64, lost: u64, twice: u64) {
        let mut state = self.0.lock().unwrap();
        (state.delay_ms, state.lost, state.twice) = (delay_ms, lost, twice);
    }

    /// Puts a frame in line; `None` if it will never arrive.
    fn send(
        &self,
        pair: Pair,
        life: u64,
        frame: Vec<u8>,
    ) -> Option<oneshot::Receiver<Result<Vec<u8>, TransportError>>> {
        let mut state = self.0.lock().unwrap();
        let alive = state.lives.get(&pair.0) == Some(&life);
        let lost = state.lost;
        if !alive || state.cut.contains(&pair) || state.dice.chance(lost) {
            return None;
        }
        let now = Instant::now();
        let delay = Duration::from_micros(state.delay());
        let twice = state.twice;
        let twice = state.dice.chance(twice);
        let (line, last) = state.lines.entry(pair).or_insert_with(|| (self.line(pair), now));
        let arrives = (now + delay).max(*last);
        *last = arrives;
        let (answer, answered) = oneshot::channel();
        let _ = line.send(Packet { frame, arrives, twice, answer });
        Some(answered)
    }

    /// Starts what takes the frames of one pair to their end, one after the other.
    fn line(&self, (from, to): Pair) -> mpsc::UnboundedSender<Packet> {
        let (sender, mut packets) = mpsc::unbounded_channel::<Packet>();
        let network = self.clone();
        tokio::spawn(async move {
            while let Some(packet) = packets.recv().await {
                tokio::time::sleep_until(packet.arrives).await;
                if network.is_cut((from, to)) {
                    continue;
                }
                let Some(store) = network.store(to) else {
                    let _ = packet.answer.send(Err(TransportError::Unreachable));
                    continue;
                };
                // The second byte is a frame's kind.
                network.0.lock().unwrap().snapshots += u64::from(packet.frame.get(1) == Some(&SNAPSHOT_END));
                let frame = Bytes::from(packet.frame);
                let answered = store.receive(ReplicaId(from), frame.clone());
                if packet.twice {
                    tokio::spawn(store.receive(ReplicaId(from), frame));
                }
                drop(store);
                let (network, answer) = (network.clone(), packet.answer);
                tokio::spawn(async move {
                    let frame = answered.await;
                    if let Some(delay) = network.way_back((to, from)) {
                        tokio::time::sleep(delay).await;
                        let _ = answer.send(Ok(frame));
                    }
                });
            }
        });
        sender
    }

    fn is_cut(&self, pair: Pair) -> bool {
        self.0.lock().unwrap().cut.contains(&pair)
    }

    /// How long an answer takes; `None` if it is lost.
    fn way_back(&self, pair: Pair) -> Option<Duration> {
        let mut state = self.0.lock().unwrap();
        let lost = state.lost;
        let arrives = !state.cut.contains(&pair) && !state.dice.chance(lost);
        arrives.then(|| Duration::from_micros(state.delay()))
    }
}

impl State {
    /// Of one frame, in microseconds.
    fn delay(&mut self) -> u64 {
        50 + self.dice.below(self.delay_ms * 1_000)
    }
}

/// One life of one replica at the network.
struct Port {
    own: u64,
    life: u64,
    network: Network,
}

impl Transport for Port {
    fn call(
        &self,
        to: ReplicaId,
        frame: Vec<u8>,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        let (network, pair, life) = (self.network.clone(), (self.own, to.0), self.life);
        async move {
            let until = Instant::now() + timeout;
            if let Some(answered) = network.send(pair, life, frame)
                && let Ok(Ok(answer)) = tokio::time::timeout_at(until, answered).await
            {
                return answer;
            }
            // Nothing comes back from a frame or an answer that is lost.
            tokio::time::sleep_until(until).await;
            Err(TransportError::Timeout(timeout))
        }
        .boxed()
    }
}
