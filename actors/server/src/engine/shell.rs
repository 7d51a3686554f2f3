//! The engine's ractor shell: it reads clocks, decodes and encodes, starts what the core asked for, and chooses nothing.

mod mailbox;
mod ports;
mod reports;

use std::marker::PhantomData;
use std::time::Duration;

use baton_client::peers::Peers;
use baton_client::protocol::{ClientReply, EngineError, EngineReply, EngineRequest, EngineState, decode, encode};
use baton_client::wire::{Handler, Inbound, Service};
use baton_domain::clock::{BootTime, unix_ms};
use baton_domain::seeded::{self, Bug};
use baton_domain::{Committed, Epoch};
use baton_replica::{CommitError, Store, StoreError, StoreStatus};
use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use self::mailbox::Own;
pub use self::mailbox::{EngineArguments, EngineMessage, EngineOwn};
use self::ports::{Ports, send};
use self::reports::{report_commits, report_links};
use super::store::EngineStore;
use super::{Effect, EngineView, EntryId, Input, Now, Quarantine, Recorded, Release, RequestId, State, Totals};

/// How long a client may take to answer a delivery. A frozen one loses its link long before: this is the last resort.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// Timers are not set shorter than this.
const TIMER_MIN: Duration = Duration::from_millis(5);

/// The messaging engine actor: one a server.
pub struct Engine<S = Store>(PhantomData<fn() -> S>);

impl<S> Default for Engine<S> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<S> Engine<S> {
    /// The endpoint's handler of [`Service::Engine`].
    #[must_use]
    pub fn handler(engine: ActorRef<EngineMessage>) -> Handler {
        // An engine that is gone drops the frame: the client times out and asks elsewhere.
        Handler::cast(move |inbound| drop(engine.cast(EngineMessage::Inbound(inbound))))
    }
}

/// The shell's state.
pub struct Shell<S> {
    myself: ActorRef<EngineMessage>,
    core: State,
    store: S,
    peers: Peers,
    view: watch::Sender<EngineView>,
    totals: watch::Sender<Totals>,
    quarantine: Quarantine,
    effects: Vec<Effect>,
    ports: Ports,
    commits: mpsc::UnboundedSender<(EntryId, BoxFuture<'static, Result<Committed, CommitError>>)>,
    flush_sent: bool,
    timer: Option<(BootTime, JoinHandle<()>)>,
    starts: Vec<(Epoch, RpcReplyPort<Result<(), String>>)>,
    stops: Vec<RpcReplyPort<()>>,
    /// The term in which the engine began to start, of which alone it heeds the lease.
    term: u64,
    leadership: Option<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl<S: EngineStore> Actor for Engine<S> {
    type Msg = EngineMessage;
    type State = Shell<S>;
    type Arguments = EngineArguments<S>;

    async fn pre_start(
        &self,
        myself: ActorRef<EngineMessage>,
        arguments: EngineArguments<S>,
    ) -> Result<Shell<S>, ActorProcessingErr> {
        let EngineArguments { store, peers, config, view, totals, quarantine } = arguments;
        // As many as the core has entries in flight.
        let (commits, receiver) = mpsc::unbounded_channel();
        let tasks = vec![
            tokio::spawn(report_commits(myself.clone(), receiver)),
            tokio::spawn(report_links(myself.clone(), peers.clone(), peers.subscribe())),
        ];
        let core = State::new(config);
        view.send_replace(core.view().clone());
        Ok(Shell {
            myself,
            core,
            store,
            peers,
            view,
            totals,
            quarantine,
            effects: Vec::new(),
            ports: Ports::default(),
            commits,
            flush_sent: false,
            timer: None,
            starts: Vec::new(),
            stops: Vec::new(),
            term: 0,
            leadership: None,
            tasks,
        })
    }

    async fn handle(
        &self,
        _: ActorRef<EngineMessage>,
        message: EngineMessage,
        shell: &mut Shell<S>,
    ) -> Result<(), ActorProcessingErr> {
        let flushed = matches!(message, EngineMessage::Own(EngineOwn(Own::Flush)));
        shell.take(message).await;
        // The core proposes and delivers when the mailbox that it found is empty: so batches grow with the load.
        if !flushed && !shell.flush_sent {
            shell.flush_sent = true;
            shell.tell_myself(Own::Flush);
        }
        shell.set_timer();
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<EngineMessage>, shell: &mut Shell<S>) -> Result<(), ActorProcessingErr> {
        shell.step(Input::Stop { drain: false, why: "the engine actor stopped".to_owned() }).await;
        shell.tasks.drain(..).chain(shell.leadership.take()).for_each(|task| task.abort());
        if let Some((_, timer)) = shell.timer.take() {
            timer.abort();
        }
        Ok(())
    }
}

impl<S: EngineStore> Shell<S> {
    fn tell_myself(&self, own: Own) {
        // It fails only when this actor is stopping.
        let _ = self.myself.cast(EngineMessage::Own(EngineOwn(own)));
    }

    async fn take(&mut self, message: EngineMessage) {
        let input = match message {
            EngineMessage::Inbound(inbound) => return self.take_in(inbound).await,
            EngineMessage::Start { epoch, reply } => {
                self.starts.push((epoch, reply));
                Input::Start { epoch }
            }
            EngineMessage::Stop { drain, why, reply } => {
                self.stops.push(reply);
                Input::Stop { drain, why }
            }
            EngineMessage::News(news) => Input::News(news),
            EngineMessage::Space { free_bytes } => Input::Space { free_bytes },
            EngineMessage::Own(EngineOwn(Own::Input(input))) => input,
            EngineMessage::Own(EngineOwn(Own::Flush)) => {
                self.flush_sent = false;
                Input::Flush
            }
            EngineMessage::Own(EngineOwn(Own::Timer)) => {
                self.timer = None;
                Input::Tick
            }
        };
        self.step(input).await;
    }

    async fn take_in(&mut self, inbound: Inbound) {
        let Inbound { from, payload, reply, .. } = inbound;
        let connection = self.peers.get(&from).map(|peer| peer.info().connection);
        match decode(&payload) {
            Ok(EngineRequest::Several(bodies)) => {
                let requests = self.ports.came_together(bodies.len(), reply).into_iter().zip(bodies);
                for (at, (request, body)) in requests.enumerate() {
                    let input = self.checked(request, from.clone(), connection, body);
                    self.step_watched(input, &payload, at).await;
                }
            }
            Ok(body) => {
                let request = self.ports.came(reply);
                let input = self.checked(request, from, connection, body);
                self.step_watched(input, &payload, 0).await;
            }
            Err(error) => send(reply, &EngineReply::Error(EngineError::BadRequest(error.to_string()))),
        }
    }

    /// A request, unless it is in quarantine: then it is refused.
    fn checked(
        &mut self,
        request: RequestId,
        from: String,
        connection: Option<u64>,
        body: EngineRequest,
    ) -> Option<Input> {
        // On standby it is not handled: the client is told where the engine is.
        let started = self.core.view().state == EngineState::Started;
        if started && self.quarantine.refuses(&body, BootTime::now()) {
            let words = "the engine on this server panicked twice on this request, and does not try it again: report it \
                         with the server's log";
            let reply = EngineReply::Error(EngineError::Refused(words.to_owned()));
            self.perform(Effect::Refuse { request, reply });
            return None;
        }
        Some(Input::Request { request, from, connection, body })
    }

    /// A step with a request of a frame.
    async fn step_watched(&mut self, input: Option<Input>, frame: &[u8], at: usize) {
        let Some(input) = input else { return };
        let now = self.now();
        let mut effects = std::mem::take(&mut self.effects);
        self.quarantine.watch(frame, at, || self.core.step(input, now, &mut effects));
        self.follow(effects).await;
    }

    async fn step(&mut self, input: Input) {
        let now = self.now();
        let mut effects = std::mem::take(&mut self.effects);
        self.core.step(input, now, &mut effects);
        self.follow(effects).await;
    }

    fn now(&self) -> Now {
        Now { boot: BootTime::now(), unix_ms: unix_ms(), lease_until: self.store.lease_until(self.term) }
    }

    /// Performs what a step asked for.
    async fn follow(&mut self, mut effects: Vec<Effect>) {
        effects.drain(..).for_each(|effect| self.perform(effect));
        self.effects = effects;
        // A fresh look at clock and lease for each thing that leaves.
        loop {
            let looked = BootTime::now();
            let Some(release) = self.core.release(looked, self.store.lease_until(self.term)) else { break };
            let what = if matches!(release, Release::Deliver { .. }) { "deliver" } else { "reply" };
            self.release(release).await;
            if let Some(epoch) = self.core.view().epoch {
                // What the fault tests check invariant 2 by: the time of the look. A process that is frozen between the
                // look and the socket delivers late, which no server can prevent: the epoch that deliveries carry does.
                tracing::trace!(target: "baton::release", boot_ns = looked.0, %epoch, what, "released");
            }
        }
        let totals = self.core.totals();
        self.totals.send_if_modified(|known| std::mem::replace(known, totals) != totals);
        self.settle_callers();
    }

    /// Reads the store where blocking is allowed. A read that panics is a read that failed.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&S) -> Result<T, StoreError> + Send + 'static,
        came: impl FnOnce(Result<T, String>) -> Input + Send + 'static,
    ) {
        let (myself, store) = (self.myself.clone(), self.store.clone());
        tokio::spawn(async move {
            let result = match spawn_blocking(move || read(&store)).await {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(panic) => Err(panic.to_string()),
            };
            drop(myself.cast(EngineMessage::Own(EngineOwn(Own::Input(came(result))))));
        });
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Open { epoch } => {
                self.term = self.store.status().borrow().term;
                self.watch_leadership(epoch);
                self.read(
                    |store| {
                        let (queues, consumers) = (store.queues()?, store.consumers()?);
                        Ok(Recorded { queues, consumers, in_doubt: store.in_doubt()? })
                    },
                    move |recorded| Input::Opened { epoch, recorded },
                );
            }
            Effect::Commit { entry, command } => {
                if self.commits.send((entry, self.store.commit(command))).is_err() {
                    let result = Err(CommitError::Failed("the commit task ended".to_owned()));
                    self.tell_myself(Own::Input(Input::Committed { entry, result }));
                }
            }
            Effect::ReadPage { read, queue, from, max_messages, max_bytes } => self.read(
                move |store| store.page(queue, from, max_messages, max_bytes),
                move |result| Input::Page { read, queue, result },
            ),
            Effect::FindIdleProducers { before_ms, limit } => self.read(
                move |store| store.idle_producers(before_ms, limit),
                move |found| {
                    let producers = found.unwrap_or_else(|error| {
                        tracing::warn!(error, "cannot look for idle producers");
                        Vec::new()
                    });
                    Input::IdleProducers { producers, before_ms }
                },
            ),
            Effect::ReadQueues { request } => {
                self.read(|store| store.queues(), move |queues| Input::Queues { request, queues });
            }
            Effect::FindTimers { after, until_ms, limit } => self.read(
                move |store| store.timers(after, until_ms, limit),
                |found| match found {
                    Ok((due, next_ms)) => Input::Timers { due: Ok(due), next_ms },
                    Err(why) => Input::Timers { due: Err(why), next_ms: None },
                },
            ),
            Effect::Refuse { request, reply } => self.ports.answer(request, reply),
            Effect::TransactionTimedOut { name, at_ms } => {
                let seconds = unix_ms().saturating_sub(at_ms) / 1_000;
                tracing::warn!(
                    transaction = %name,
                    prepared_seconds_ago = seconds,
                    "rolling back a prepared transaction that was not decided within in_doubt_timeout_ms"
                );
            }
            Effect::View(view) => {
                tracing::info!(state = ?view.state, epoch = ?view.epoch, why = view.why, "engine");
                if view.state == EngineState::Standby
                    && let Some(watcher) = self.leadership.take()
                {
                    watcher.abort();
                }
                self.view.send_replace(view);
            }
        }
    }

    async fn release(&mut self, release: Release) {
        match release {
            Release::Reply { request, reply } => self.ports.answer(request, reply),
            Release::Deliver { call, client, connection, request } => {
                let Some(peer) = self.peers.get(&client).filter(|peer| peer.info().connection == connection) else {
                    return self.tell_myself(Own::Input(Input::Delivered { call, answer: None }));
                };
                // Past tokio's budget: a poll that yields for it would lose the place in line.
                let mut exchange = Box::pin(tokio::task::coop::unconstrained(async move {
                    let answer = peer.call(Service::Client, encode(&request), DELIVERY_TIMEOUT).await;
                    answer.ok().and_then(|bytes| decode::<ClientReply>(&bytes).ok())
                }));
                // The first poll takes the delivery's place in line; the task only waits for its answer.
                match futures::poll!(exchange.as_mut()) {
                    std::task::Poll::Ready(answer) => {
                        self.tell_myself(Own::Input(Input::Delivered { call, answer }));
                    }
                    std::task::Poll::Pending => {
                        let myself = self.myself.clone();
                        tokio::spawn(async move {
                            let came = Own::Input(Input::Delivered { call, answer: exchange.await });
                            drop(myself.cast(EngineMessage::Own(EngineOwn(came))));
                        });
                    }
                }
            }
        }
    }

    /// Answers those who wait for a start or a stop, by where the instance stands now.
    fn settle_callers(&mut self) {
        let view = self.core.view().clone();
        match view.state {
            EngineState::Starting | EngineState::Stopping => {}
            EngineState::Started => {
                for (epoch, port) in self.starts.drain(..) {
                    let started = view.epoch == Some(epoch);
                    let _ = port.send(if started { Ok(()) } else { Err("another activation is started".to_owned()) });
                }
            }
            EngineState::Standby => {
                for (_, port) in self.starts.drain(..) {
                    let _ = port.send(Err(view.why.clone()));
                }
                for port in self.stops.drain(..) {
                    let _ = port.send(());
                }
            }
        }
    }

    /// The loss of leadership stops the engine at once, whoever sees it first.
    fn watch_leadership(&mut self, epoch: Epoch) {
        if seeded::is(Bug::FencingOff) {
            return;
        }
        // Leadership that was lost and won again between two looks shows in its term.
        let (mut status, myself, term) = (self.store.status(), self.myself.clone(), self.term);
        let lost = move |status: &StoreStatus| !status.leads || status.term != term || status.failed.is_some();
        let watcher = tokio::spawn(async move {
            let why = match status.wait_for(lost).await {
                Ok(status) => match &status.failed {
                    Some(why) => format!("the store failed: {why}"),
                    None => "this server no longer leads the store".to_owned(),
                },
                Err(_) => "the store is closed".to_owned(),
            };
            let came = Own::Input(Input::LeadershipLost { epoch, why });
            drop(myself.cast(EngineMessage::Own(EngineOwn(came))));
        });
        if let Some(before) = self.leadership.replace(watcher) {
            before.abort();
        }
    }

    /// One timer, for the first thing that waits on time; none if nothing does.
    fn set_timer(&mut self) {
        let Some(due) = self.core.deadline() else { return };
        if self.timer.as_ref().is_some_and(|(set, _)| *set <= due) {
            return;
        }
        let wait = due.since(BootTime::now()).max(TIMER_MIN);
        let myself = self.myself.clone();
        let timer = tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            drop(myself.cast(EngineMessage::Own(EngineOwn(Own::Timer))));
        });
        if let Some((_, before)) = self.timer.replace((due, timer)) {
            before.abort();
        }
    }
}
