//! The consumer's actor: turns messages into inputs of the core, and performs its effects.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use baton_domain::{ConsumerId, Epoch, MessageId, QueueName};
use futures::future::BoxFuture;
use ractor::{Actor, ActorProcessingErr, ActorRef, MessagingErr, RpcReplyPort};
use ractor_cluster_derive::RactorMessage;

use super::settling::{Settle, Verdict};
use super::state::{Effect, Input, State};
use super::{ConsumerEvent, ConsumerFailure, ConsumerOptions, Inbox, Received};
use crate::outbox::Answer;
use crate::peers::{CallError, Peer};
use crate::protocol::{ClientReply, EngineRequest, Kind};
use crate::session::{Deliveries, DeliverySink, EngineNews, Session, Sink, answer, call_in_order, jitter};

/// Messages for a consumer.
#[derive(RactorMessage)]
pub enum ConsumerMessage {
    /// The message is processed: remove it from the queue.
    Acknowledge(MessageId),
    /// Requeue the message, with one failed delivery more.
    Refuse(MessageId),
    /// A transaction settled these messages.
    SettledElsewhere(Vec<MessageId>),
    /// Requeue the message as if it had not been delivered.
    Release(MessageId),
    /// Move the message to the dead letters of its queue, with this reason.
    Reject(MessageId, String),
    /// Answered when all earlier settlements are committed.
    Flush(RpcReplyPort<Result<(), ConsumerFailure>>),
    /// Receive no more messages for now (true), or again (false). Messages in flight still arrive.
    Pause(bool),
    /// Commit the settlements, hand back the other messages, and stop.
    Close,
    /// A message of the consumer to itself.
    Own(ConsumerOwn),
}

impl ConsumerMessage {
    /// The inbox of [`Output::Inbox`] has settlements.
    pub(super) fn inbox() -> Self {
        Own::Inbox.into()
    }
}

/// A message of the consumer to itself; only the consumer can construct one.
#[derive(Debug)]
pub struct ConsumerOwn(Own);

#[derive(Debug)]
enum Own {
    /// The inbox has settlements.
    Inbox,
    /// The engine delivers.
    Deliveries(Deliveries),
    /// The location of the engine.
    Engine(EngineNews),
    /// An answer, or a delay that is over.
    Input(Input<Ticket>),
}

impl From<Own> for ConsumerMessage {
    fn from(own: Own) -> Self {
        Self::Own(ConsumerOwn(own))
    }
}

impl From<Input<Ticket>> for ConsumerMessage {
    fn from(input: Input<Ticket>) -> Self {
        Own::Input(input).into()
    }
}

/// The destination of received messages. The credit bounds the unsettled ones in either case.
#[derive(Clone)]
pub enum Output {
    /// They wait until the user takes them. Messages that nobody took when the consumer closes count as never
    /// delivered.
    Inbox(Arc<Inbox>),
    /// They are passed on at once, for example as messages to an actor.
    Sink(Sink<Received>),
}

/// Arguments of a consumer actor.
pub struct ConsumerArguments {
    /// Its id, unique among consumers; `None` draws one.
    pub id: Option<ConsumerId>,
    /// This process's session.
    pub session: Session,
    /// The queue.
    pub queue: QueueName,
    /// Its options.
    pub options: ConsumerOptions,
    /// Receives the messages.
    pub output: Output,
    /// Receives its events.
    pub events: Option<Sink<ConsumerEvent>>,
}

/// Deliveries as messages to the actor.
fn deliveries_to(actor: ActorRef<ConsumerMessage>) -> DeliverySink {
    Arc::new(move |deliveries| match actor.cast(Own::Deliveries(deliveries).into()) {
        Err(MessagingErr::SendErr(ConsumerMessage::Own(ConsumerOwn(Own::Deliveries(unsent))))) => Err(unsent.reply),
        // An actor that ends takes no more, and the engine gets no answer.
        Ok(()) | Err(_) => Ok(()),
    })
}

impl Settle for ActorRef<ConsumerMessage> {
    fn settle(&self, id: MessageId, verdict: Verdict) -> Result<(), ConsumerFailure> {
        let message = match verdict {
            Verdict::Acknowledged => ConsumerMessage::Acknowledge(id),
            Verdict::Requeued => ConsumerMessage::Refuse(id),
            Verdict::Rejected(reason) => ConsumerMessage::Reject(id, reason),
            Verdict::Released => ConsumerMessage::Release(id),
        };
        self.cast(message).map_err(|_| ConsumerFailure::Closed)
    }

    fn flush(&self) -> BoxFuture<'static, Result<(), ConsumerFailure>> {
        let (sender, receiver) = ractor::concurrency::oneshot();
        let told = self.cast(ConsumerMessage::Flush(sender.into()));
        Box::pin(async move {
            told.map_err(|_| ConsumerFailure::Closed)?;
            receiver.await.unwrap_or(Err(ConsumerFailure::Closed))
        })
    }
}

/// The caller of a flush. One that no longer waits is no error.
type Ticket = RpcReplyPort<Result<(), ConsumerFailure>>;

/// The state of the actor.
pub struct Shell {
    core: State<Ticket>,
    consumer: ConsumerId,
    session: Session,
    peer: Option<Peer>,
    call_timeout: Duration,
    temporary: Option<Kind>,
    selector: String,
    output: Output,
    /// Settles messages that went to a sink: this actor.
    settles: Arc<dyn Settle>,
    events: Option<Sink<ConsumerEvent>>,
    /// The last event was reported.
    ended: bool,
}

/// The consumer's actor. Spawn it linked to a supervisor of your own, or use [`super::Consumer::spawn`].
pub struct ConsumerActor;

impl Actor for ConsumerActor {
    type Msg = ConsumerMessage;
    type State = Shell;
    type Arguments = ConsumerArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ConsumerMessage>,
        arguments: ConsumerArguments,
    ) -> Result<Shell, ActorProcessingErr> {
        let ConsumerArguments { id, session, queue, options, output, events } = arguments;
        let consumer = id.unwrap_or_else(ConsumerId::random);
        // Before the subscription: deliveries may follow the first attach at once.
        session.register(consumer, deliveries_to(myself.clone()));
        let actor = myself.clone();
        session.subscribe(myself.get_id(), Arc::new(move |news| actor.cast(Own::Engine(news).into()).is_ok()));
        myself.send_interval(options.keep_alive.max(Duration::from_millis(100)), || Input::KeepAlive.into());
        Ok(Shell {
            core: State::new(queue, options.credit.max(1), options.remember).with_deleted_grace(options.deleted_grace),
            consumer,
            session,
            peer: None,
            call_timeout: options.call_timeout,
            temporary: options.temporary,
            selector: options.selector,
            output,
            settles: Arc::new(myself),
            events,
            ended: false,
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ConsumerMessage>,
        message: ConsumerMessage,
        shell: &mut Shell,
    ) -> Result<(), ActorProcessingErr> {
        let input = match message {
            ConsumerMessage::Acknowledge(id) => Input::Acknowledge { id },
            ConsumerMessage::Refuse(id) => Input::Refuse { id },
            ConsumerMessage::Release(id) => Input::Release { id },
            ConsumerMessage::SettledElsewhere(messages) => Input::SettledElsewhere { messages },
            ConsumerMessage::Reject(id, reason) => Input::Reject { id, reason },
            ConsumerMessage::Flush(ticket) => Input::Flush { ticket },
            ConsumerMessage::Pause(paused) => Input::Pause(paused),
            ConsumerMessage::Close => Input::Close { untouched: shell.take_untouched() },
            ConsumerMessage::Own(ConsumerOwn(Own::Inbox)) => Input::SettleAll(shell.take_settled()),
            ConsumerMessage::Own(ConsumerOwn(Own::Deliveries(Deliveries { epoch, messages, reply }))) => {
                // Answered before the messages are taken in: they are kept in any case.
                answer(reply, shell.judge(epoch));
                Input::Deliver { epoch, deliveries: messages }
            }
            ConsumerMessage::Own(ConsumerOwn(Own::Engine(news))) => match shell.locate_engine(news) {
                Some(input) => input,
                None => {
                    // Its session ended. Callers that wait notice that their ports are dropped.
                    myself.stop(None);
                    return Ok(());
                }
            },
            ConsumerMessage::Own(ConsumerOwn(Own::Input(input))) => input,
        };
        for effect in shell.core.step(input) {
            shell.perform(&myself, effect);
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<ConsumerMessage>, shell: &mut Shell) -> Result<(), ActorProcessingErr> {
        shell.session.unsubscribe(myself.get_id());
        shell.session.unregister(shell.consumer);
        shell.end_inbox(ConsumerFailure::Closed);
        // Its session ended first.
        shell.report_end(ConsumerFailure::Closed);
        Ok(())
    }
}

impl Shell {
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

    /// Settlements that come later make the next request.
    fn take_settled(&self) -> Vec<(MessageId, bool)> {
        match &self.output {
            Output::Inbox(inbox) => inbox.take_settled(),
            Output::Sink(_) => Vec::new(),
        }
    }

    /// The last message that the user received. Messages that a sink took may wait in a mailbox: nobody knows.
    fn received(&self) -> Option<MessageId> {
        match &self.output {
            Output::Inbox(inbox) => inbox.received(),
            Output::Sink(_) => None,
        }
    }

    /// The unsettled messages, first those that the user received; and their number.
    fn received_first(&self, unsettled: Vec<MessageId>) -> (Vec<MessageId>, u32) {
        let Output::Inbox(inbox) = &self.output else { return (unsettled, 0) };
        let waiting = inbox.waiting();
        let known: HashSet<MessageId> = waiting.iter().copied().collect();
        let (behind, mut all): (Vec<_>, Vec<_>) = unsettled.into_iter().partition(|id| known.contains(id));
        let received = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let behind: HashSet<MessageId> = behind.into_iter().collect();
        all.extend(waiting.into_iter().filter(|id| behind.contains(id)));
        (all, received)
    }

    /// The answer to a delivery.
    fn judge(&self, epoch: Epoch) -> ClientReply {
        if self.core.has_ended() {
            ClientReply::ConsumerUnknown
        } else if self.core.accepts(epoch) {
            ClientReply::Done
        } else {
            ClientReply::Stale
        }
    }

    fn end_inbox(&self, why: ConsumerFailure) -> Vec<Received> {
        match &self.output {
            Output::Inbox(inbox) => inbox.end(why),
            Output::Sink(_) => Vec::new(),
        }
    }

    fn take_untouched(&self) -> Vec<MessageId> {
        self.end_inbox(ConsumerFailure::Closed).into_iter().map(|message| message.id).collect()
    }

    fn perform(&mut self, myself: &ActorRef<ConsumerMessage>, effect: Effect<Ticket>) {
        match effect {
            Effect::Give(message) => match &self.output {
                Output::Inbox(inbox) => inbox.push(message),
                Output::Sink(sink) => sink(message.settled_by(Arc::clone(&self.settles))),
            },
            // An actor that stops needs no more of its own messages.
            Effect::PumpSoon => drop(myself.cast(Input::Pump.into())),
            Effect::Attach { attempt, credit, unsettled, groups } => {
                let queue = self.core.queue().clone();
                let (consumer, temporary, selector) =
                    (self.consumer, self.temporary.clone().map(Box::new), self.selector.clone());
                let (unsettled, received) = self.received_first(unsettled);
                let request =
                    EngineRequest::Attach { consumer, queue, credit, unsettled, received, groups, selector, temporary };
                self.call(myself, request, move |answer| Input::Attached { attempt, answer });
            }
            Effect::Settle { attempt, request, acknowledged, refused, rejected, released } => {
                let (consumer, received) = (self.consumer, self.received());
                let settle = EngineRequest::Settle { consumer, acknowledged, refused, rejected, released, received };
                self.call(myself, settle, move |answer| Input::Settled { attempt, request, answer });
            }
            Effect::Credit { attempt, credit } => {
                let request = EngineRequest::Credit { consumer: self.consumer, credit, received: self.received() };
                self.call(myself, request, move |answer| Input::Credited { attempt, answer });
            }
            Effect::Detach { attempt, untouched } => {
                let request = EngineRequest::Detach { consumer: self.consumer, untouched };
                self.call(myself, request, move |answer| Input::Detached { attempt, answer });
            }
            Effect::Flushed { ticket, outcome } => drop(ticket.send(outcome)),
            Effect::Connected { epoch } => {
                let server = self.peer.as_ref().map(|peer| peer.info().name.clone()).unwrap_or_default();
                self.report(|| ConsumerEvent::Connected { server, epoch });
            }
            Effect::Disconnected => self.report(|| ConsumerEvent::Disconnected),
            Effect::Settled { messages } => self.report(|| ConsumerEvent::Settled { messages }),
            Effect::Fail { why } => {
                tracing::debug!(consumer = %self.consumer, %why, "consumer ended");
                self.end_inbox(why.clone());
                self.report_end(why);
            }
            Effect::Trouble { epoch, news } => self.session.trouble(epoch, news),
            Effect::Works { epoch } => self.session.works(epoch),
            Effect::WakeAfter { delay, attempt } => {
                drop(myself.send_after(jitter(delay), move || Input::Wake { attempt }.into()));
            }
            Effect::Stop => myself.stop(None),
        }
    }

    /// Reports the end, once.
    fn report_end(&mut self, why: ConsumerFailure) {
        if !std::mem::replace(&mut self.ended, true) {
            self.report(|| match why {
                ConsumerFailure::Closed => ConsumerEvent::Closed,
                why @ (ConsumerFailure::NoSuchQueue(_)
                | ConsumerFailure::QueueDeleted(_)
                | ConsumerFailure::Protocol(_)) => ConsumerEvent::Failed(why),
            });
        }
    }

    fn report(&self, event: impl FnOnce() -> ConsumerEvent) {
        if let Some(events) = &self.events {
            events(event());
        }
    }

    fn call(
        &self,
        myself: &ActorRef<ConsumerMessage>,
        request: EngineRequest,
        input: impl FnOnce(Answer) -> Input<Ticket> + Send + 'static,
    ) {
        let myself = myself.clone();
        let done = move |answer| drop(myself.cast(input(answer).into()));
        match &self.peer {
            Some(peer) => call_in_order(peer, request, self.call_timeout, done),
            None => done(Err(CallError::Disconnected)),
        }
    }
}
