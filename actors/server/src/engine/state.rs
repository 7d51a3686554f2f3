//! The life of an engine instance: standby, starting, started, stopping, and back. One step an input.

use std::time::Duration;

use baton_client::protocol::{EngineError, EngineReply, EngineState, PlacementNews};
use baton_domain::Epoch;
use baton_domain::clock::BootTime;

use super::EngineConfig;
use super::context::{Context, Halt, Ids};
use super::gate::Gate;
use super::message::{Effect, EngineView, Input, Now, Release, RequestId, Totals};
use super::running::Running;

#[derive(Debug)]
enum Phase {
    Standby,
    Starting(Epoch),
    Running(Box<Running>),
}

/// An engine instance. Pure: [`State::step`] takes what happened and gives what to do.
#[derive(Debug)]
pub struct State {
    config: EngineConfig,
    phase: Phase,
    /// The newest epoch that was started here: it is never started again, nor an older one.
    newest: Epoch,
    news: PlacementNews,
    free_bytes: u64,
    ids: Ids,
    gate: Gate,
    view: EngineView,
}

impl State {
    /// An instance on standby.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        Self {
            config,
            phase: Phase::Standby,
            newest: Epoch::default(),
            news: PlacementNews::default(),
            free_bytes: u64::MAX,
            ids: Ids::default(),
            gate: Gate::default(),
            view: EngineView::default(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn view(&self) -> &EngineView {
        &self.view
    }

    /// What the running activation did so far; nothing on standby.
    #[must_use]
    pub fn totals(&self) -> Totals {
        match &self.phase {
            Phase::Running(running) => running.totals,
            Phase::Standby | Phase::Starting(_) => Totals::default(),
        }
    }

    /// Takes what happened; pushes what to do onto `effects`. What depends on the lease comes out of
    /// [`State::release`] afterwards.
    pub fn step(&mut self, input: Input, now: Now, effects: &mut Vec<Effect>) {
        let mut unwritten = Vec::new();
        if let Err(halt) = self.take(input, now, effects, &mut unwritten) {
            self.halt(&halt.why, &unwritten, effects);
        }
    }

    /// The next answer or delivery that may leave now, under the lease as it is now. Ask with a fresh time for each,
    /// send it at once, and ask until there is none: what was decided before a pause stays here after it, unless the
    /// lease was renewed since.
    pub fn release(&mut self, now: BootTime, lease_until: BootTime) -> Option<Release> {
        self.gate.pop(now, lease_until, &self.config)
    }

    /// When to step with [`Input::Tick`]; `None`: nothing waits on time.
    #[must_use]
    pub fn deadline(&self) -> Option<BootTime> {
        let running = match &self.phase {
            Phase::Running(running) => Some(running.deadline()),
            Phase::Standby | Phase::Starting(_) => None,
        };
        [running, self.gate.deadline()].into_iter().flatten().min()
    }

    fn take(
        &mut self,
        input: Input,
        now: Now,
        effects: &mut Vec<Effect>,
        unwritten: &mut Vec<RequestId>,
    ) -> Result<(), Halt> {
        let Self { config, phase, ids, gate, free_bytes, .. } = self;
        let running = match phase {
            Phase::Running(running) => Some(running.as_mut()),
            Phase::Standby | Phase::Starting(_) => None,
        };
        let cx = &mut Context { config, now, ids, gate, effects, free_bytes: *free_bytes };
        match (input, running) {
            (Input::Start { epoch }, _) => self.start(epoch, effects),
            (Input::Opened { epoch, recorded }, _) => {
                if matches!(self.phase, Phase::Starting(starting) if starting == epoch) {
                    let why = |why| Halt { why: format!("cannot read the store: {why}") };
                    let running = Running::new(epoch, recorded.map_err(why)?, cx);
                    self.phase = Phase::Running(Box::new(running));
                    self.show(EngineState::Started, Some(epoch), String::new(), effects);
                }
            }
            (Input::Stop { drain, why }, running) => match running {
                Some(running) if drain => {
                    if running.stopping.is_none() {
                        running.stopping = Some(now.boot + Duration::from_millis(config.drain_ms));
                        gate.drop_deliveries();
                        let epoch = running.epoch;
                        let unproposed = running.take_unproposed();
                        self.refuse_all(unproposed, effects);
                        self.show(EngineState::Stopping, Some(epoch), why, effects);
                    }
                }
                Some(_) => return Err(Halt { why }),
                None => self.stand_by(why, effects),
            },
            (Input::LeadershipLost { epoch, why }, Some(running)) => {
                if running.epoch == epoch {
                    return Err(Halt { why });
                }
            }
            (Input::LeadershipLost { epoch, why }, None) => {
                if matches!(self.phase, Phase::Starting(starting) if starting == epoch) {
                    self.stand_by(why, effects);
                }
            }
            (Input::News(news), _) => self.news = news,
            (Input::Space { free_bytes }, _) => self.free_bytes = free_bytes,
            (Input::Request { request, from, connection, body }, Some(running)) if running.stopping.is_none() => {
                running.request(request, from, connection, body, cx);
            }
            (Input::Request { request, .. }, _) => self.refuse_all(vec![request], effects),
            (Input::Committed { entry, result }, Some(running)) => running.committed(entry, result, unwritten, cx)?,
            (Input::Page { read, queue, result }, Some(running)) => running.page(read, queue, result, cx)?,
            (Input::Queues { request, queues }, Some(running)) => running.listed(request, queues, cx)?,
            (Input::Timers { due, next_ms }, Some(running)) => running.timers_found(due, next_ms, cx)?,
            (Input::IdleProducers { producers, before_ms }, Some(running)) => {
                if running.stopping.is_none() {
                    running.forget_idle(producers, before_ms);
                }
            }
            (Input::Delivered { call, answer }, Some(running)) => running.delivered(call, answer, cx),
            (Input::PeerUp { name, connection }, Some(running)) => running.peer_up(&name, connection),
            (Input::PeerDown { name, connection }, Some(running)) => {
                running.peers_down(|client, link| client == name && link == connection, cx);
            }
            (Input::Links(links), Some(running)) => {
                running.peers_down(|client, link| links.get(client) != Some(&link), cx);
                links.iter().for_each(|(name, connection)| running.peer_up(name, *connection));
            }
            (Input::Tick, Some(running)) => {
                if cx.gate.shut_for_good(now.boot, cx.config) {
                    return Err(Halt { why: "the lease expired and was not renewed".to_owned() });
                }
                if running.stopping.is_some_and(|until| now.boot >= until) {
                    return Err(Halt { why: "draining timed out".to_owned() });
                }
                running.tick(cx);
            }
            (Input::Flush, Some(running)) => {
                if running.stopping.is_some() && running.proposals.all_landed() && cx.gate.len() == 0 {
                    return Err(Halt { why: self.view.why.clone() });
                }
                running.flush(cx);
            }
            // Late answers to an activation that ended, and news that only a started engine needs.
            (
                Input::Committed { .. }
                | Input::Page { .. }
                | Input::Timers { .. }
                | Input::Queues { .. }
                | Input::IdleProducers { .. }
                | Input::Delivered { .. }
                | Input::PeerUp { .. }
                | Input::PeerDown { .. }
                | Input::Links(_)
                | Input::Tick
                | Input::Flush,
                None,
            ) => {}
        }
        Ok(())
    }

    fn start(&mut self, epoch: Epoch, effects: &mut Vec<Effect>) {
        if epoch <= self.newest {
            // Started already, or stopped since: only a new activation starts it again.
            effects.push(Effect::View(self.view.clone()));
            return;
        }
        if !matches!(self.phase, Phase::Standby) {
            self.halt("a newer activation started here", &[], effects);
        }
        self.newest = epoch;
        self.phase = Phase::Starting(epoch);
        self.show(EngineState::Starting, Some(epoch), String::new(), effects);
        effects.push(Effect::Open { epoch });
    }

    /// Ends an activation at once: nothing more is released. Requests that were not proposed, or are known to be
    /// unwritten, can go elsewhere; of the others nobody knows.
    fn halt(&mut self, why: &str, unwritten: &[RequestId], effects: &mut Vec<Effect>) {
        if let Phase::Running(mut running) = std::mem::replace(&mut self.phase, Phase::Standby) {
            let mut refused = unwritten.to_vec();
            refused.extend(running.take_unproposed());
            self.refuse_all(refused, effects);
            let unknown = running.proposals.take_in_flight();
            let held_back = self.gate.shut().filter_map(|release| match release {
                Release::Reply { request, .. } => Some(request),
                Release::Deliver { .. } => None,
            });
            let reply = EngineReply::Error(EngineError::Unknown);
            let answer = |request| Effect::Refuse { request, reply: reply.clone() };
            effects.extend(unknown.into_iter().chain(held_back).map(answer));
        }
        self.stand_by(why.to_owned(), effects);
    }

    fn stand_by(&mut self, why: String, effects: &mut Vec<Effect>) {
        self.phase = Phase::Standby;
        self.show(EngineState::Standby, None, why, effects);
    }

    fn refuse_all(&self, requests: Vec<RequestId>, effects: &mut Vec<Effect>) {
        let reply = EngineReply::Error(EngineError::NotStarted { news: self.news.clone() });
        effects.extend(requests.into_iter().map(|request| Effect::Refuse { request, reply: reply.clone() }));
    }

    fn show(&mut self, state: EngineState, epoch: Option<Epoch>, why: String, effects: &mut Vec<Effect>) {
        self.view = EngineView { state, epoch, why };
        effects.push(Effect::View(self.view.clone()));
    }

    #[cfg(test)]
    pub(super) fn running(&self) -> Option<&Running> {
        match &self.phase {
            Phase::Running(running) => Some(running),
            Phase::Standby | Phase::Starting(_) => None,
        }
    }
}
