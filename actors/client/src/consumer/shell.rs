//! The consumer's actor: performs what its core returned.

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
use crate::protocol::{ClientReply, Delivery, EngineRequest, Kind};
use crate::session::{Deliveries, DeliverySink, EngineNews, Session, Sink, answer, call_in_order, jitter};
use crate::wire::ReplyPort;

/// What a consumer is told.
#[derive(RactorMessage)]
pub enum ConsumerMessage {
    /// The user is done with a message: take it off the queue.
    Acknowledge(MessageId),
    /// The user hands a message back: it goes to the queue again, its redelivery count one higher.
    Refuse(MessageId),
    /// These were settled by a transaction: the consumer is done with them.
    SettledElsewhere(Vec<MessageId>),
    /// The user hands a message back as if it had not been delivered.
    Release(MessageId),
    /// The message goes to the exception destination, for that reason.
    Reject(MessageId, String),
    /// What became of messages lies in the inbox of [`Output::Inbox`].
    Settled,
    /// Answered when all that was settled before is committed.
    Flush(RpcReplyPort<Result<(), ConsumerFailure>>),
    /// Take no more for now (true), or go on (false). What is on its way still comes.
    Pause(bool),
    /// Commit what was settled, hand back the rest, and stop.
    Close,
    /// Of its own: the engine delivers.
    Deliver {
        /// The engine's epoch.
        epoch: Epoch,
        /// The messages.
        deliveries: Vec<Delivery>,
        /// Where the answer goes.
        reply: ReplyPort,
    },
    /// Of its own: what the mailbox held was taken in.
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
    /// Of its own: time passed.
    KeepAlive,
}

/// An answer of the engine.
#[derive(Debug)]
pub struct Answered(Input<Waiting>);

/// Where messages go. Either way never more than the credit are unsettled.
#[derive(Clone)]
pub enum Output {
    /// Wait until they are taken. What nobody took when the consumer closes counts as untouched.
    Inbox(Arc<Inbox>),
    /// Handed on at once, for example as messages to an actor.
    Sink(Sink<Received>),
}

/// What a consumer is spawned with.
pub struct ConsumerArguments {
    /// Its id, which no other consumer has; `None` draws one.
    pub id: Option<ConsumerId>,
    /// This process's session.
    pub session: Session,
    /// The queue.
    pub queue: QueueName,
    /// How it works.
    pub options: ConsumerOptions,
    /// Where messages go.
    pub output: Output,
    /// Takes what it reports.
    pub events: Option<Sink<ConsumerEvent>>,
}

/// An id that no other consumer draws.
pub(super) fn draw_id() -> Result<ConsumerId, getrandom::Error> {
    let mut id = [0; 16];
    getrandom::fill(&mut id)?;
    Ok(ConsumerId(id))
}

/// Deliveries as messages to the actor.
fn deliveries_to(actor: ActorRef<ConsumerMessage>) -> DeliverySink {
    Arc::new(move |Deliveries { epoch, messages, reply }| {
        match actor.cast(ConsumerMessage::Deliver { epoch, deliveries: messages, reply }) {
            Err(MessagingErr::SendErr(ConsumerMessage::Deliver { reply, .. })) => Err(reply),
            // An actor that ends takes no more, and the engine sees a call without an answer.
            Ok(()) | Err(_) => Ok(()),
        }
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

/// Who waits for a flush.
type Waiting = RpcReplyPort<Result<(), ConsumerFailure>>;

/// What the shell keeps beside the core.
pub struct Shell {
    core: State<Waiting>,
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
    /// Whether the last event was told.
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
        let consumer = match id {
            Some(id) => id,
            None => draw_id()?,
        };
        // Before the subscription: deliveries may follow the first attach at once.
        session.register(consumer, deliveries_to(myself.clone()));
        let actor = myself.clone();
        session.subscribe(myself.get_id(), Arc::new(move |news| actor.cast(ConsumerMessage::Engine(news)).is_ok()));
        myself.send_interval(options.keep_alive.max(Duration::from_millis(100)), || ConsumerMessage::KeepAlive);
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
            ConsumerMessage::Settled => Input::SettleAll(shell.take_settled()),
            ConsumerMessage::Flush(ticket) => Input::Flush { ticket },
            ConsumerMessage::Pause(paused) => Input::Pause(paused),
            ConsumerMessage::Close => Input::Close { untouched: shell.take_untouched() },
            ConsumerMessage::Deliver { epoch, deliveries, reply } => {
                answer(reply, shell.judge(epoch));
                Input::Deliver { epoch, deliveries }
            }
            ConsumerMessage::Pump => Input::Pump,
            ConsumerMessage::Engine(EngineNews::At(at)) => {
                let input = Input::EngineAt { epoch: at.epoch, link: at.peer.info().connection };
                shell.peer = Some(at.peer);
                input
            }
            ConsumerMessage::Engine(EngineNews::Gone) => {
                shell.peer = None;
                Input::EngineGone
            }
            ConsumerMessage::Engine(EngineNews::Ended) => {
                // Whoever waits hears it by the ports that are dropped.
                myself.stop(None);
                return Ok(());
            }
            ConsumerMessage::Answered(Answered(input)) => input,
            ConsumerMessage::Wake { attempt } => Input::Wake { attempt },
            ConsumerMessage::KeepAlive => Input::KeepAlive,
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
        shell.tell_end(ConsumerFailure::Closed);
        Ok(())
    }
}

impl Shell {
    /// What comes from now on makes the next request.
    fn take_settled(&self) -> Vec<(MessageId, bool)> {
        match &self.output {
            Output::Inbox(inbox) => inbox.take_settled(),
            Output::Sink(_) => Vec::new(),
        }
    }

    /// The last message that the user received. What a sink takes may wait in a mailbox: nobody knows.
    fn received(&self) -> Option<MessageId> {
        match &self.output {
            Output::Inbox(inbox) => inbox.received(),
            Output::Sink(_) => None,
        }
    }

    /// What is unsettled, first what the user received; and how many that is.
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

    /// The answer to a delivery. It can be given before the messages are taken in: they are kept in any case.
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

    fn perform(&mut self, myself: &ActorRef<ConsumerMessage>, effect: Effect<Waiting>) {
        match effect {
            Effect::Give(message) => match &self.output {
                Output::Inbox(inbox) => inbox.push(message),
                Output::Sink(sink) => sink(message.settled_by(Arc::clone(&self.settles))),
            },
            // An actor that stops wants no more of its own messages.
            Effect::PumpSoon => drop(myself.cast(ConsumerMessage::Pump)),
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
            // Somebody who does not wait any more is no error.
            Effect::Flushed { ticket } => drop(ticket.send(Ok(()))),
            Effect::Connected { epoch } => {
                let server = self.peer.as_ref().map(|peer| peer.info().name.clone()).unwrap_or_default();
                self.tell(|| ConsumerEvent::Connected { server, epoch });
            }
            Effect::Disconnected => self.tell(|| ConsumerEvent::Disconnected),
            Effect::Settled { messages } => self.tell(|| ConsumerEvent::Settled { messages }),
            Effect::Fail { why, flushes } => {
                tracing::debug!(consumer = %self.consumer, %why, "consumer ended");
                self.end_inbox(why.clone());
                self.tell_end(why.clone());
                for ticket in flushes {
                    let _ = ticket.send(Err(why.clone()));
                }
            }
            Effect::Trouble { epoch, news } => self.session.trouble(epoch, news),
            Effect::Works { epoch } => self.session.works(epoch),
            Effect::WakeAfter { delay, attempt } => {
                drop(myself.send_after(jitter(delay), move || ConsumerMessage::Wake { attempt }));
            }
            Effect::Stop => myself.stop(None),
        }
    }

    /// Tells the end, once.
    fn tell_end(&mut self, why: ConsumerFailure) {
        if !std::mem::replace(&mut self.ended, true) {
            self.tell(|| match why {
                ConsumerFailure::Closed => ConsumerEvent::Closed,
                why @ (ConsumerFailure::NoSuchQueue(_)
                | ConsumerFailure::QueueDeleted(_)
                | ConsumerFailure::Protocol(_)) => ConsumerEvent::Failed(why),
            });
        }
    }

    fn tell(&self, event: impl FnOnce() -> ConsumerEvent) {
        if let Some(events) = &self.events {
            events(event());
        }
    }

    fn call(
        &self,
        myself: &ActorRef<ConsumerMessage>,
        request: EngineRequest,
        input: impl FnOnce(Answer) -> Input<Waiting> + Send + 'static,
    ) {
        let myself = myself.clone();
        let done = move |answer| drop(myself.cast(ConsumerMessage::Answered(Answered(input(answer)))));
        match &self.peer {
            Some(peer) => call_in_order(peer, request, self.call_timeout, done),
            None => done(Err(CallError::Disconnected)),
        }
    }
}
