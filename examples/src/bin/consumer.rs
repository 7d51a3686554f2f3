//! A consumer actor below an actor of the service: orders arrive as messages, and each is acknowledged once it is done.
//!
//! Kill the server that hosts the engine meanwhile: orders stop for a moment, then go on, and none comes twice.

use std::error::Error;

use baton::client::{
    Client, ConsumerActor, ConsumerArguments, ConsumerEvent, ConsumerMessage, ConsumerOptions, Output, QueueName,
    Received, to_actor,
};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

/// Prepares what was ordered.
struct Kitchen;

enum KitchenMessage {
    /// An order arrived.
    Order(Received),
    /// The consumer reports.
    Progress(ConsumerEvent),
    /// Go home.
    Close,
}

impl ractor::Message for KitchenMessage {}

impl Actor for Kitchen {
    type Msg = KitchenMessage;
    type State = ActorRef<ConsumerMessage>;
    type Arguments = (Client, QueueName);

    async fn pre_start(
        &self,
        myself: ActorRef<KitchenMessage>,
        (client, queue): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let arguments = ConsumerArguments {
            id: None,
            session: client.session().clone(),
            queue,
            // No more than ten orders wait in the mailbox.
            options: ConsumerOptions::default().credit(10),
            output: Output::Sink(to_actor(myself.clone(), KitchenMessage::Order)),
            events: Some(to_actor(myself.clone(), KitchenMessage::Progress)),
        };
        let (consumer, _) = Actor::spawn_linked(None, ConsumerActor, arguments, myself.get_cell()).await?;
        Ok(consumer)
    }

    async fn handle(
        &self,
        _: ActorRef<KitchenMessage>,
        message: KitchenMessage,
        consumer: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            KitchenMessage::Order(received) => {
                let again = if received.redelivered { " (once more)" } else { "" };
                println!("{}{again}", String::from_utf8_lossy(&received.message.body));
                received.ack().await?;
            }
            KitchenMessage::Progress(ConsumerEvent::Connected { server, epoch }) => {
                println!("the engine is on {server} (epoch {epoch})");
            }
            KitchenMessage::Progress(ConsumerEvent::Disconnected) => println!("the engine is gone"),
            KitchenMessage::Progress(ConsumerEvent::Settled { messages }) => {
                println!("{} acknowledged for good", messages.len());
            }
            KitchenMessage::Progress(ConsumerEvent::Failed(why)) => println!("the consumer ended: {why}"),
            KitchenMessage::Progress(ConsumerEvent::Closed) => println!("the consumer is closed"),
            KitchenMessage::Progress(_) => {}
            // It commits what was acknowledged and hands back the rest before it stops.
            KitchenMessage::Close => consumer.cast(ConsumerMessage::Close)?,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<KitchenMessage>,
        event: SupervisionEvent,
        _: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(event, SupervisionEvent::ActorTerminated(..) | SupervisionEvent::ActorFailed(..)) {
            myself.stop(None);
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = QueueName::new("orders")?;
    let client = baton_examples::connect(&queue).await?;
    let (kitchen, mut running) = Actor::spawn(None, Kitchen, (client.clone(), queue)).await?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {
            kitchen.cast(KitchenMessage::Close)?;
            running.await?;
        }
        _ = &mut running => {}
    }
    client.close().await;
    Ok(())
}
