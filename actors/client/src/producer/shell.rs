//! The producer's actor: turns messages into inputs of the core, and performs its effects.

use std::sync::Arc;
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Message, ProducerId, QueueName};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster_derive::RactorMessage;

use super::core::{Bounds, Effect, Input, ProducerCore};
use super::inbox::{Inbox, Permit, Sending};
use super::{Confirmed, ProducerEvent, ProducerFailure, ProducerOptions, SendError};
use crate::outbox::Answer;
use crate::peers::{CallError, Peer};
use crate::protocol::{EngineRequest, Opening};
use crate::session::{EngineNews, Session, Sink, call_in_order, jitter};

/// Messages for a producer.
#[derive(RactorMessage)]
pub enum ProducerMessage {
    /// Send a message.
    Send {
        /// The message.
        message: Message,
        /// Its room in the window, released once its outcome is known; `None` if the sender leaves the window to the
        /// producer, which refuses messages when it is full.
        permit: Option<Permit>,
        /// Answered once the message is confirmed, or never will be.
        reply: Option<RpcReplyPort<Result<Confirmed, SendError>>>,
    },
    /// Answered when all earlier messages are confirmed.
    Flush(RpcReplyPort<Result<(), ProducerFailure>>),
    /// Send no more; stop when all messages are confirmed.
    Close,
    /// A message of the producer to itself.
    Own(ProducerOwn),
}

impl ProducerMessage {
    /// The inbox of [`ProducerArguments`] has messages.
    pub(super) fn inbox() -> Self {
        Own::Inbox.into()
    }
}

/// A message of the producer to itself; only the producer can construct one.
#[derive(Debug)]
pub struct ProducerOwn(Own);

#[derive(Debug)]
enum Own {
    /// The inbox has messages.
    Inbox,
    /// The location of the engine.
    Engine(EngineNews),
    /// An answer, or a delay that is over.
    Input(Input<Ticket>),
}

impl From<Own> for ProducerMessage {
    fn from(own: Own) -> Self {
        Self::Own(ProducerOwn(own))
    }
}

impl From<Input<Ticket>> for ProducerMessage {
    fn from(input: Input<Ticket>) -> Self {
        Own::Input(input).into()
    }
}

/// Arguments of a producer actor.
pub struct ProducerArguments {
    /// This process's session.
    pub session: Session,
    /// The queue.
    pub queue: QueueName,
    /// Its options.
    pub options: ProducerOptions,
    /// Receives its events.
    pub events: Option<Sink<ProducerEvent>>,
    /// The inbox that a [`super::Producer`] fills; `None` if messages come as [`ProducerMessage::Send`] only.
    pub inbox: Option<Arc<Inbox>>,
}

/// The actor's end of the inbox. It closes the inbox however the actor ends, so that every sender gets an answer.
struct InboxGuard(Option<Arc<Inbox>>);

impl Drop for InboxGuard {
    fn drop(&mut self) {
        if let Some(inbox) = &self.0 {
            inbox.close();
        }
    }
}

/// The caller of a send or a flush. One that no longer waits is no error.
#[derive(Debug)]
enum Ticket {
    Send { reply: Option<RpcReplyPort<Result<Confirmed, SendError>>>, _permit: Option<Permit> },
    Flush(RpcReplyPort<Result<(), ProducerFailure>>),
}

impl Ticket {
    fn answer_send(self, outcome: Result<Confirmed, SendError>) {
        match self {
            Self::Send { reply: Some(reply), .. } => drop(reply.send(outcome)),
            Self::Send { reply: None, .. } | Self::Flush(_) => {}
        }
    }

    fn answer_flush(self, outcome: Result<(), ProducerFailure>) {
        match self {
            Self::Flush(reply) => drop(reply.send(outcome)),
            Self::Send { .. } => {}
        }
    }
}

/// The state of the actor.
pub struct Shell {
    myself: ActorRef<ProducerMessage>,
    core: ProducerCore<Ticket>,
    producer: ProducerId,
    /// Registration of its name; 0 without a name.
    registration: u64,
    session: Session,
    peer: Option<Peer>,
    call_timeout: Duration,
    events: Option<Sink<ProducerEvent>>,
    inbox: InboxGuard,
}

/// The producer's actor. Spawn it linked to a supervisor of your own, or use [`super::Producer::spawn`].
pub struct ProducerActor;

impl Actor for ProducerActor {
    type Msg = ProducerMessage;
    type State = Shell;
    type Arguments = ProducerArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ProducerMessage>,
        arguments: ProducerArguments,
    ) -> Result<Shell, ActorProcessingErr> {
        let ProducerArguments { session, queue, options, events, inbox } = arguments;
        let inbox = InboxGuard(inbox);
        let producer = options.resumed.map_or_else(ProducerId::random, |resumed| resumed.producer);
        let actor = myself.clone();
        session.subscribe(myself.get_id(), Arc::new(move |news| actor.cast(Own::Engine(news).into()).is_ok()));
        myself.send_interval(options.keep_alive.max(Duration::from_millis(100)), || Input::KeepAlive.into());
        let bounds = Bounds {
            window_messages: options.window_messages,
            window_bytes: options.window_bytes,
            give_up: options.give_up,
        };
        Ok(Shell {
            myself,
            core: ProducerCore::new(queue, bounds, options.resumed.map(|resumed| resumed.next)),
            producer,
            registration: options.resumed.map_or(0, |resumed| resumed.registration),
            session,
            peer: None,
            call_timeout: options.call_timeout,
            events,
            inbox,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ProducerMessage>,
        message: ProducerMessage,
        shell: &mut Shell,
    ) -> Result<(), ActorProcessingErr> {
        let input = match message {
            ProducerMessage::Send { message, permit, reply } => {
                Input::Send { message, ticket: Ticket::Send { reply, _permit: permit } }
            }
            ProducerMessage::Flush(reply) => Input::Flush { ticket: Ticket::Flush(reply) },
            ProducerMessage::Close => Input::Close,
            ProducerMessage::Own(ProducerOwn(Own::Inbox)) => Input::SendAll(shell.take_inbox()),
            ProducerMessage::Own(ProducerOwn(Own::Engine(news))) => match shell.locate_engine(news) {
                Some(input) => input,
                None => {
                    // Its session ended. Callers that wait notice that their ports are dropped.
                    myself.stop(None);
                    return Ok(());
                }
            },
            ProducerMessage::Own(ProducerOwn(Own::Input(input))) => input,
        };
        for effect in shell.core.step(input, BootTime::now()) {
            shell.perform(effect);
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<ProducerMessage>, shell: &mut Shell) -> Result<(), ActorProcessingErr> {
        shell.session.unsubscribe(myself.get_id());
        Ok(())
    }
}

impl Shell {
    /// Messages that come later find the inbox empty and make the next request.
    fn take_inbox(&self) -> Vec<(Message, Ticket)> {
        let sent = self.inbox.0.as_ref().map(|inbox| inbox.take()).unwrap_or_default();
        let send = |Sending { message, permit, reply }| {
            (message, Ticket::Send { reply: Some(reply.into()), _permit: Some(permit) })
        };
        sent.into_iter().map(send).collect()
    }

    fn locate_engine(&mut self, news: EngineNews) -> Option<Input<Ticket>> {
        match news {
            EngineNews::At(at) => {
                let input = Input::EngineAt { epoch: at.epoch, link: at.peer.info().connection };
                self.peer = Some(at.peer);
                Some(input)
            }
            EngineNews::Gone => {
                self.peer = None;
                Some(Input::EngineGone)
            }
            EngineNews::Ended => None,
        }
    }

    fn perform(&mut self, effect: Effect<Ticket>) {
        match effect {
            // An actor that stops needs no more of its own messages.
            Effect::PumpSoon => drop(self.myself.cast(Input::Pump.into())),
            Effect::Open { attempt, known } => {
                let opening = match known {
                    true => Opening::Again { registration: self.registration },
                    false => Opening::First,
                };
                let queue = self.core.queue().clone();
                let request = EngineRequest::OpenProducer { producer: self.producer, queue, opening };
                self.call(request, move |answer| Input::Opened { attempt, answer });
            }
            Effect::Renew => self.producer = ProducerId::random(),
            Effect::Send { attempt, request, first, messages } => {
                let (producer, registration, messages) = (self.producer, self.registration, messages.into());
                let send = EngineRequest::Send { producer, registration, first, messages };
                self.call(send, move |answer| Input::Sent { attempt, request, answer });
            }
            Effect::Post { attempt, level: reliability, messages } => {
                let (queue, messages) = (self.core.queue().clone(), messages.into());
                let post = EngineRequest::Post { queue, reliability, messages };
                self.call(post, move |answer| Input::Posted { attempt, answer });
            }
            Effect::CloseProducer => {
                self.call(EngineRequest::CloseProducer { producer: self.producer }, |_| Input::Closed);
            }
            Effect::Confirm { number, ticket } => ticket.answer_send(Ok(Confirmed { number })),
            Effect::Flushed { ticket, outcome } => ticket.answer_flush(outcome),
            Effect::Refuse { message, ticket, why } => {
                self.report(|| ProducerEvent::Refused { message: message.clone(), why: why.clone() });
                ticket.answer_send(Err(SendError::Refused { message, why }));
            }
            Effect::LinkLost { message, ticket } => {
                self.report(|| ProducerEvent::LinkLost { message: message.clone() });
                ticket.answer_send(Err(SendError::LinkLost { message }));
            }
            Effect::Fail { why, unconfirmed } => {
                tracing::debug!(producer = %self.producer, %why, unconfirmed = unconfirmed.len(), "producer ended");
                self.report(|| {
                    let unconfirmed = unconfirmed.iter().map(|(message, _)| message.clone()).collect();
                    ProducerEvent::Failed { why: why.clone(), unconfirmed }
                });
                for (unconfirmed, ticket) in unconfirmed {
                    ticket.answer_send(Err(SendError::Failed { unconfirmed, why: why.clone() }));
                }
            }
            Effect::Connected { epoch } => {
                let server = self.peer.as_ref().map(|peer| peer.info().name.clone()).unwrap_or_default();
                self.report(|| ProducerEvent::Connected { server, epoch });
            }
            Effect::Disconnected => self.report(|| ProducerEvent::Disconnected),
            Effect::Confirmed { through } => self.report(|| ProducerEvent::Confirmed { through }),
            Effect::Resent { from, through } => self.report(|| ProducerEvent::Resent { from, through }),
            Effect::Trouble { epoch, news } => self.session.trouble(epoch, news),
            Effect::Works { epoch } => self.session.works(epoch),
            Effect::WakeAfter { delay, wake } => {
                drop(self.myself.send_after(jitter(delay), move || Input::Wake(wake).into()));
            }
            Effect::CheckAgeAfter(delay) => drop(self.myself.send_after(delay, || Input::CheckAge.into())),
            Effect::Stop => self.myself.stop(None),
        }
    }

    fn report(&self, event: impl FnOnce() -> ProducerEvent) {
        if let Some(events) = &self.events {
            events(event());
        }
    }

    fn call(&self, request: EngineRequest, input: impl FnOnce(Answer) -> Input<Ticket> + Send + 'static) {
        let myself = self.myself.clone();
        let done = move |answer| drop(myself.cast(input(answer).into()));
        match &self.peer {
            Some(peer) => call_in_order(peer, request, self.call_timeout, done),
            None => done(Err(CallError::Disconnected)),
        }
    }
}
