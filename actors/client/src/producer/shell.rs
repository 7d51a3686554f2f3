//! The producer's actor: performs what its core returned.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use baton_domain::clock::BootTime;
use baton_domain::{Message, ProducerId, QueueName, Reliability};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use ractor_cluster_derive::RactorMessage;

use super::inbox::{Inbox, Permit, Sending};
use super::posts::{self, Posts};
use super::state::{Bounds, Effect, Input, State};
use super::{Confirmed, ProducerEvent, ProducerFailure, ProducerOptions, Refusal, SendError};
use crate::outbox::Answer;
use crate::peers::Peer;
use crate::protocol::{EngineReply, EngineRequest, Opening};
use crate::session::{EngineNews, Session, Sink, call_in_order, jitter};

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
        reply: Option<RpcReplyPort<Result<Confirmed, SendError>>>,
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
    /// Of its own: look for messages without numbers to give up.
    CheckPosts,
    /// Of its own: tell the engine that the producer is there.
    KeepAlive,
}

/// An answer of the engine.
#[derive(Debug)]
pub struct Answered(Of);

#[derive(Debug)]
enum Of {
    Core(Input<Ticket>),
    Posts(posts::Input<Ticket>),
}

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
    Send { reply: Option<RpcReplyPort<Result<Confirmed, SendError>>>, _permit: Option<Permit> },
    Flush(RpcReplyPort<Result<(), ProducerFailure>>),
}

impl Ticket {
    /// Somebody who does not wait any more is no error.
    fn sent(self, outcome: Result<Confirmed, SendError>) {
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

/// What waits for the engine to say what level the destination's messages have.
#[derive(Debug)]
enum Unrouted {
    Send(Message, Ticket),
    Flush(Ticket),
}

/// What the shell keeps beside the core.
pub struct Shell {
    core: State<Ticket>,
    /// The messages without numbers.
    posts: Posts<Ticket>,
    /// The level of messages that do not say it themselves, once known.
    reliability: Option<Reliability>,
    unrouted: VecDeque<Unrouted>,
    /// Who waits until so many messages without numbers are done, and then for the core.
    flushes: VecDeque<(u64, Ticket)>,
    closing: bool,
    give_up: Option<Duration>,
    checks_posts: bool,
    window_messages: usize,
    producer: ProducerId,
    /// Which taking over of its name it works under; 0: it has none.
    registration: u64,
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
            posts: Posts::new(bounds.clone()),
            core: State::new(queue, bounds, options.resumed.map(|resumed| resumed.next)),
            reliability: None,
            unrouted: VecDeque::new(),
            flushes: VecDeque::new(),
            closing: false,
            give_up: options.give_up,
            checks_posts: false,
            window_messages: options.window_messages,
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
        match message {
            ProducerMessage::Send { message, permit, reply } => {
                let ticket = Ticket::Send { reply, _permit: permit };
                if let Some((message, ticket)) = shell.route(&myself, message, ticket) {
                    shell.step(&myself, Input::Send { message, ticket, now: BootTime::now() });
                }
                shell.step_posts(&myself, posts::Input::Pump);
            }
            ProducerMessage::Inbox => {
                let sent = shell.take_inbox();
                let numbered = |(message, ticket)| shell.route(&myself, message, ticket);
                let sends: Vec<_> = sent.into_iter().filter_map(numbered).collect();
                if !sends.is_empty() {
                    shell.step(&myself, Input::SendAll { sends, now: BootTime::now() });
                }
                shell.step_posts(&myself, posts::Input::Pump);
            }
            ProducerMessage::Flush(reply) => shell.flush(&myself, Ticket::Flush(reply)),
            ProducerMessage::Close => shell.closing = true,
            ProducerMessage::Pump => shell.step(&myself, Input::Pump),
            ProducerMessage::Engine(EngineNews::At(at)) => {
                let (epoch, link) = (at.epoch, at.peer.info().connection);
                shell.peer = Some(at.peer);
                shell.step(&myself, Input::EngineAt { epoch, link });
                shell.step_posts(&myself, posts::Input::EngineAt { epoch, link });
            }
            ProducerMessage::Engine(EngineNews::Gone) => {
                shell.peer = None;
                shell.step(&myself, Input::EngineGone);
                shell.step_posts(&myself, posts::Input::EngineGone);
            }
            ProducerMessage::Engine(EngineNews::Ended) => {
                // Whoever waits hears it by the ports that are dropped.
                myself.stop(None);
                return Ok(());
            }
            ProducerMessage::Answered(Answered(Of::Core(input))) => {
                let told = match &input {
                    Input::Opened { answer: Ok(EngineReply::Producer { reliability, .. }), .. } => Some(*reliability),
                    _ => None,
                };
                shell.step(&myself, input);
                if let Some(reliability) = told {
                    shell.reliability = Some(reliability);
                    shell.route_all(&myself);
                }
            }
            ProducerMessage::Answered(Answered(Of::Posts(input))) => shell.step_posts(&myself, input),
            ProducerMessage::Wake { attempt } => shell.step(&myself, Input::Wake { attempt }),
            ProducerMessage::CheckAge => shell.step(&myself, Input::CheckAge { now: BootTime::now() }),
            ProducerMessage::CheckPosts => {
                shell.checks_posts = false;
                shell.step_posts(&myself, posts::Input::CheckAge { now: BootTime::now() });
                shell.check_posts(&myself);
            }
            ProducerMessage::KeepAlive => shell.step(&myself, Input::KeepAlive),
        }
        shell.pass_on(&myself);
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

    fn step(&mut self, myself: &ActorRef<ProducerMessage>, input: Input<Ticket>) {
        for effect in self.core.step(input) {
            self.perform(myself, effect);
        }
    }

    fn step_posts(&mut self, myself: &ActorRef<ProducerMessage>, input: posts::Input<Ticket>) {
        for effect in self.posts.step(input) {
            self.perform_post(myself, effect);
        }
    }

    /// Puts a message where its level says; answers it if it is one with a number.
    fn route(
        &mut self,
        myself: &ActorRef<ProducerMessage>,
        message: Message,
        ticket: Ticket,
    ) -> Option<(Message, Ticket)> {
        if self.closing {
            ticket.sent(Err(SendError::Refused { message, why: Refusal::Closed }));
            return None;
        }
        match message.reliability().or(self.reliability) {
            Some(Reliability::AssuredPersistent) => return Some((message, ticket)),
            Some(level) => {
                let now = BootTime::now();
                self.step_posts(myself, posts::Input::Post { message, level, ticket, now });
            }
            // The core is the one to say why not.
            None if self.core.has_failed() => return Some((message, ticket)),
            None if self.unrouted.len() >= self.window_messages => {
                ticket.sent(Err(SendError::Refused { message, why: Refusal::WindowFull }));
            }
            None => self.unrouted.push_back(Unrouted::Send(message, ticket)),
        }
        self.check_posts(myself);
        None
    }

    /// The destination's level is known, or the producer ended.
    fn route_all(&mut self, myself: &ActorRef<ProducerMessage>) {
        for waiting in std::mem::take(&mut self.unrouted) {
            match waiting {
                Unrouted::Send(message, ticket) => {
                    let closing = std::mem::take(&mut self.closing);
                    if let Some((message, ticket)) = self.route(myself, message, ticket) {
                        self.step(myself, Input::Send { message, ticket, now: BootTime::now() });
                    }
                    self.closing = closing;
                }
                Unrouted::Flush(ticket) => self.flush(myself, ticket),
            }
        }
        self.step_posts(myself, posts::Input::Pump);
    }

    /// A flush waits for the messages without numbers first.
    fn flush(&mut self, myself: &ActorRef<ProducerMessage>, ticket: Ticket) {
        if !self.unrouted.is_empty() {
            self.unrouted.push_back(Unrouted::Flush(ticket));
        } else if self.posts.done < self.posts.taken {
            self.flushes.push_back((self.posts.taken, ticket));
        } else {
            self.step(myself, Input::Flush { ticket });
        }
    }

    /// Tells the core what waited for the messages without numbers.
    fn pass_on(&mut self, myself: &ActorRef<ProducerMessage>) {
        while let Some((_, ticket)) = self.flushes.pop_front_if(|(taken, _)| *taken <= self.posts.done) {
            self.step(myself, Input::Flush { ticket });
        }
        if self.closing && self.posts.is_empty() && self.unrouted.is_empty() {
            self.step(myself, Input::Close);
        }
    }

    /// Looks from time to time whether messages without numbers are too old.
    fn check_posts(&mut self, myself: &ActorRef<ProducerMessage>) {
        if let Some(give_up) = self.give_up
            && !self.checks_posts
            && !self.posts.is_empty()
        {
            self.checks_posts = true;
            drop(myself.send_after(give_up / 4, || ProducerMessage::CheckPosts));
        }
    }

    fn perform_post(&mut self, myself: &ActorRef<ProducerMessage>, effect: posts::Effect<Ticket>) {
        match effect {
            posts::Effect::Post { attempt, level, messages } => {
                let request = EngineRequest::Post {
                    queue: self.core.queue().clone(),
                    reliability: level,
                    messages: messages.into(),
                };
                self.call(myself, request, move |answer| Of::Posts(posts::Input::Posted { attempt, answer }));
            }
            posts::Effect::Confirm { ticket } => ticket.sent(Ok(Confirmed { number: None })),
            posts::Effect::Refuse { message, ticket, why } => self.refuse(message, ticket, why),
            posts::Effect::HandBack { unconfirmed, ticket, why } => {
                ticket.sent(Err(SendError::Failed { unconfirmed, why }));
            }
            posts::Effect::Trouble { epoch, news } => self.session.trouble(epoch, news),
            posts::Effect::Works { epoch } => self.session.works(epoch),
            posts::Effect::WakeAfter { delay, attempt } => {
                let wake = move || ProducerMessage::Answered(Answered(Of::Posts(posts::Input::Wake { attempt })));
                drop(myself.send_after(jitter(delay), wake));
            }
            posts::Effect::Fail { why } => self.step(myself, Input::Fail { why }),
        }
    }

    fn refuse(&self, message: Message, ticket: Ticket, why: Refusal) {
        self.tell(|| ProducerEvent::Refused { message: message.clone(), why: why.clone() });
        ticket.sent(Err(SendError::Refused { message, why }));
    }

    fn perform(&mut self, myself: &ActorRef<ProducerMessage>, effect: Effect<Ticket>) {
        match effect {
            // An actor that stops wants no more of its own messages.
            Effect::PumpSoon => drop(myself.cast(ProducerMessage::Pump)),
            Effect::Open { attempt, known } => {
                let queue = self.core.queue().clone();
                let opening = match known {
                    true => Opening::Again { registration: self.registration },
                    false => Opening::First,
                };
                let request = EngineRequest::OpenProducer { producer: self.producer, queue, opening };
                self.call(myself, request, move |answer| Of::Core(Input::Opened { attempt, answer }));
            }
            Effect::Renew => match draw() {
                Ok(id) => self.producer = id,
                Err(error) => myself.stop(Some(format!("cannot read random bytes for another id: {error}"))),
            },
            Effect::Send { attempt, request, first, messages } => {
                let (producer, registration, messages) = (self.producer, self.registration, messages.into());
                let send = EngineRequest::Send { producer, registration, first, messages };
                self.call(myself, send, move |answer| Of::Core(Input::Sent { attempt, request, answer }));
            }
            Effect::CloseProducer => {
                let request = EngineRequest::CloseProducer { producer: self.producer };
                self.call(myself, request, |_| Of::Core(Input::Closed));
            }
            Effect::Confirm { number, ticket } => ticket.sent(Ok(Confirmed { number: Some(number) })),
            Effect::Flushed { ticket } => ticket.flushed(Ok(())),
            Effect::Refuse { message, ticket, why } => self.refuse(message, ticket, why),
            Effect::Fail { why, unconfirmed, flushes } => {
                tracing::debug!(producer = %self.producer, %why, unconfirmed = unconfirmed.len(), "producer ended");
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
                self.step_posts(myself, posts::Input::End { why });
                self.route_all(myself);
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
        request: EngineRequest,
        input: impl FnOnce(Answer) -> Of + Send + 'static,
    ) {
        let myself = myself.clone();
        let done = move |answer| drop(myself.cast(ProducerMessage::Answered(Answered(input(answer)))));
        match &self.peer {
            Some(peer) => call_in_order(peer, request, self.call_timeout, done),
            None => done(Err(crate::peers::CallError::Disconnected)),
        }
    }
}
