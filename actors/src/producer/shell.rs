//! The producer's actor: performs what its core returned.

use std::sync::Arc;
use std::time::Duration;

use baton_storage::clock::BootTime;
use baton_storage::{Message, ProducerId, QueueName};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster::RactorMessage;

use super::handle::{Inbox, Permit, Sending};
use super::state::{Bounds, Effect, Input, State};
use super::{ProducerEvent, ProducerFailure, ProducerOptions, SendError};
use crate::peers::Peer;
use crate::protocol::EngineRequest;
use crate::session::{Answer, EngineNews, Session, Sink, call_in_order, jitter};

/// What a producer is told.
#[derive(RactorMessage)]
pub enum ProducerMessage {
    /// Send a message.
    Send {
        /// The message.
        message: Message,
        /// Its room in the window, if the sender keeps to it; given back once the message's fate is known.
        permit: Option<Permit>,
        /// Told once the message is confirmed, or never will be. The number counts from 1.
        reply: Option<RpcReplyPort<Result<u64, SendError>>>,
    },
    /// Messages lie in the inbox of [`ProducerArguments`].
    Inbox,
    /// Answered when all that was sent before is confirmed.
    Flush(RpcReplyPort<Result<(), ProducerFailure>>),
    /// Send no more; stop when all is confirmed.
    Close,
    /// Of its own: the messages in the mailbox were taken in.
    Pump,
    /// Of its own: where the engine is.
    Engine(EngineNews),
    /// Of its own: an answer came.
    Answered(Answered),
    /// Of its own: a delay is over.
    Wake {
        /// The attempt that it belongs to.
        attempt: u64,
    },
    /// Of its own: look for messages to give up.
    CheckAge,
    /// Of its own: tell the engine that the producer is there.
    KeepAlive,
}

/// An answer of the engine.
#[derive(Debug)]
pub struct Answered(Input<Ticket>);

/// What a producer is spawned with.
pub struct ProducerArguments {
    /// This process's session.
    pub session: Session,
    /// The queue.
    pub queue: QueueName,
    /// How it works.
    pub options: ProducerOptions,
    /// Takes what it reports.
    pub events: Option<Sink<ProducerEvent>>,
    /// Where a [`super::Producer`] puts messages; `None` if they come as [`ProducerMessage::Send`] alone.
    pub inbox: Option<Arc<Inbox>>,
}

/// The actor's end of the inbox: however it ends, nobody waits in vain.
struct Taking(Option<Arc<Inbox>>);

impl Drop for Taking {
    fn drop(&mut self) {
        if let Some(inbox) = &self.0 {
            inbox.close();
        }
    }
}

/// Who waits for the core.
#[derive(Debug)]
enum Ticket {
    Send { reply: Option<RpcReplyPort<Result<u64, SendError>>>, _permit: Option<Permit> },
    Flush(RpcReplyPort<Result<(), ProducerFailure>>),
}

impl Ticket {
    /// Somebody who does not wait any more is no error.
    fn sent(self, outcome: Result<u64, SendError>) {
        match self {
            Self::Send { reply: Some(reply), .. } => drop(reply.send(outcome)),
            Self::Send { reply: None, .. } | Self::Flush(_) => {}
        }
    }

    fn flushed(self, outcome: Result<(), ProducerFailure>) {
        match self {
            Self::Flush(reply) => drop(reply.send(outcome)),
            Self::Send { .. } => {}
        }
    }
}

/// What the shell keeps beside the core.
pub struct Shell {
    core: State<Ticket>,
    producer: ProducerId,
    session: Session,
    peer: Option<Peer>,
    call_timeout: Duration,
    events: Option<Sink<ProducerEvent>>,
    inbox: Taking,
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
        let inbox = Taking(inbox);
        let producer = match options.resumed {
            Some(resumed) => resumed.producer,
            None => draw()?,
        };
        let actor = myself.clone();
        session.subscribe(myself.get_id(), Arc::new(move |news| actor.cast(ProducerMessage::Engine(news)).is_ok()));
        myself.send_interval(options.keep_alive.max(Duration::from_millis(100)), || ProducerMessage::KeepAlive);
        let bounds = Bounds {
            window_messages: options.window_messages,
            window_bytes: options.window_bytes,
            give_up: options.give_up,
        };
        Ok(Shell {
            core: State::new(queue, bounds, options.resumed.map(|resumed| resumed.next)),
            producer,
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
                Input::Send { message, ticket: Ticket::Send { reply, _permit: permit }, now: BootTime::now() }
            }
            ProducerMessage::Inbox => Input::SendAll { sends: shell.take_inbox(), now: BootTime::now() },
            ProducerMessage::Flush(reply) => Input::Flush { ticket: Ticket::Flush(reply) },
            ProducerMessage::Close => Input::Close,
            ProducerMessage::Pump => Input::Pump,
            ProducerMessage::Engine(EngineNews::At(at)) => {
                let input = Input::EngineAt { epoch: at.epoch, link: at.peer.info().connection };
                shell.peer = Some(at.peer);
                input
            }
            ProducerMessage::Engine(EngineNews::Gone) => {
                shell.peer = None;
                Input::EngineGone
            }
            ProducerMessage::Engine(EngineNews::Ended) => {
                // Whoever waits hears it by the ports that are dropped.
                myself.stop(None);
                return Ok(());
            }
            ProducerMessage::Answered(Answered(input)) => input,
            ProducerMessage::Wake { attempt } => Input::Wake { attempt },
            ProducerMessage::CheckAge => Input::CheckAge { now: BootTime::now() },
            ProducerMessage::KeepAlive => Input::KeepAlive,
        };
        for effect in shell.core.step(input) {
            shell.perform(&myself, effect);
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<ProducerMessage>, shell: &mut Shell) -> Result<(), ActorProcessingErr> {
        shell.session.unsubscribe(myself.get_id());
        Ok(())
    }
}

fn draw() -> Result<ProducerId, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    Ok(ProducerId(id))
}

impl Shell {
    /// What comes from now on finds the inbox empty and makes the next request.
    fn take_inbox(&self) -> Vec<(Message, Ticket)> {
        let sent = self.inbox.0.as_ref().map(|inbox| inbox.take()).unwrap_or_default();
        let send = |Sending { message, permit, reply }| {
            (message, Ticket::Send { reply: Some(reply.into()), _permit: Some(permit) })
        };
        sent.into_iter().map(send).collect()
    }

    fn perform(&mut self, myself: &ActorRef<ProducerMessage>, effect: Effect<Ticket>) {
        match effect {
            // An actor that stops wants no more of its own messages.
            Effect::PumpSoon => drop(myself.cast(ProducerMessage::Pump)),
            Effect::Open { attempt, known } => {
                let queue = self.core.queue().clone();
                let request = EngineRequest::OpenProducer { producer: self.producer, queue, known };
                self.call(myself, &request, move |answer| Input::Opened { attempt, answer });
            }
            Effect::Renew => match draw() {
                Ok(id) => self.producer = id,
                Err(error) => myself.stop(Some(format!("no randomness for another id: {error}"))),
            },
            Effect::Send { attempt, request, first, messages } => {
                let send = EngineRequest::Send { producer: self.producer, first, messages };
                self.call(myself, &send, move |answer| Input::Sent { attempt, request, answer });
            }
            Effect::CloseProducer => {
                let request = EngineRequest::CloseProducer { producer: self.producer };
                self.call(myself, &request, |_| Input::Closed);
            }
            Effect::Confirm { number, ticket } => ticket.sent(Ok(number)),
            Effect::Flushed { ticket } => ticket.flushed(Ok(())),
            Effect::Refuse { message, ticket, why } => {
                self.tell(|| ProducerEvent::Refused { message: message.clone(), why: why.clone() });
                ticket.sent(Err(SendError::Refused { message, why }));
            }
            Effect::Fail { why, unconfirmed, flushes } => {
                tracing::debug!(producer = %self.producer, %why, unconfirmed = unconfirmed.len(), "a producer ended");
                self.tell(|| {
                    let unconfirmed = unconfirmed.iter().map(|(message, _)| message.clone()).collect();
                    ProducerEvent::Failed { why: why.clone(), unconfirmed }
                });
                for (unconfirmed, ticket) in unconfirmed {
                    ticket.sent(Err(SendError::Failed { unconfirmed, why: why.clone() }));
                }
                for ticket in flushes {
                    ticket.flushed(Err(why.clone()));
                }
            }
            Effect::Connected { epoch } => {
                let server = self.peer.as_ref().map(|peer| peer.info().name.clone()).unwrap_or_default();
                self.tell(|| ProducerEvent::Connected { server, epoch });
            }
            Effect::Disconnected => self.tell(|| ProducerEvent::Disconnected),
            Effect::Confirmed { through } => self.tell(|| ProducerEvent::Confirmed { through }),
            Effect::Resent { from, through } => self.tell(|| ProducerEvent::Resent { from, through }),
            Effect::Trouble { epoch, news } => self.session.trouble(epoch, news),
            Effect::Works { epoch } => self.session.works(epoch),
            Effect::WakeAfter { delay, attempt } => {
                drop(myself.send_after(jitter(delay), move || ProducerMessage::Wake { attempt }));
            }
            Effect::CheckAgeAfter(delay) => drop(myself.send_after(delay, || ProducerMessage::CheckAge)),
            Effect::Stop => myself.stop(None),
        }
    }

    fn tell(&self, event: impl FnOnce() -> ProducerEvent) {
        if let Some(events) = &self.events {
            events(event());
        }
    }

    fn call(
        &self,
        myself: &ActorRef<ProducerMessage>,
        request: &EngineRequest,
        input: impl FnOnce(Answer) -> Input<Ticket> + Send + 'static,
    ) {
        let myself = myself.clone();
        let done = move |answer| drop(myself.cast(ProducerMessage::Answered(Answered(input(answer)))));
        match &self.peer {
            Some(peer) => call_in_order(peer, request, self.call_timeout, done),
            None => done(Err(crate::peers::CallError::Disconnected)),
        }
    }
}
