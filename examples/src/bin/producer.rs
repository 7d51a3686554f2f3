//! A producer actor below an actor of the service: an order every 100 ms, and its progress as messages.
//!
//! Kill the server that hosts the engine meanwhile: orders wait, then go on, and each is stored once.

use std::error::Error;
use std::time::Duration;

use baton::client::{
    Client, Message, ProducerActor, ProducerArguments, ProducerEvent, ProducerMessage, ProducerOptions, QueueName,
    to_actor,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};

/// Takes orders and passes them on to the queue.
struct Shop;

enum ShopMessage {
    /// A customer ordered.
    Order(u64),
    /// The producer reports.
    Progress(ProducerEvent),
}

impl ractor::Message for ShopMessage {}

impl Actor for Shop {
    type Msg = ShopMessage;
    type State = ActorRef<ProducerMessage>;
    type Arguments = (Client, QueueName);

    async fn pre_start(
        &self,
        myself: ActorRef<ShopMessage>,
        (client, queue): Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        let arguments = ProducerArguments {
            inbox: None,
            session: client.session().clone(),
            queue,
            options: ProducerOptions::default(),
            events: Some(to_actor(myself.clone(), ShopMessage::Progress)),
        };
        // Linked: if the producer ends, so does the shop, unless it handles the supervision event.
        let (producer, _) = Actor::spawn_linked(None, ProducerActor, arguments, myself.get_cell()).await?;
        myself.cast(ShopMessage::Order(1))?;
        Ok(producer)
    }

    async fn handle(
        &self,
        myself: ActorRef<ShopMessage>,
        message: ShopMessage,
        producer: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ShopMessage::Order(number) => {
                let message = Message::new(format!("order {number}"));
                producer.cast(ProducerMessage::Send { message, permit: None, reply: None })?;
                myself.send_after(Duration::from_millis(100), move || ShopMessage::Order(number + 1));
            }
            ShopMessage::Progress(ProducerEvent::Connected { server, epoch }) => {
                println!("the engine is on {server} (epoch {epoch})");
            }
            ShopMessage::Progress(ProducerEvent::Disconnected) => println!("the engine is gone; orders wait"),
            ShopMessage::Progress(ProducerEvent::Confirmed { through }) => println!("confirmed through {through}"),
            ShopMessage::Progress(ProducerEvent::Resent { from, through }) => println!("resent {from} to {through}"),
            ShopMessage::Progress(ProducerEvent::LinkLost { .. }) => println!("an order may be lost"),
            ShopMessage::Progress(ProducerEvent::Refused { why, .. }) => println!("refused: {why}"),
            ShopMessage::Progress(ProducerEvent::Failed { why, unconfirmed }) => {
                println!("{why}; {} orders are unconfirmed", unconfirmed.len());
                myself.stop(None);
            }
            ShopMessage::Progress(_) => {}
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = QueueName::new("orders")?;
    let client = baton_examples::connect(&queue).await?;
    let (shop, running) = Actor::spawn(None, Shop, (client.clone(), queue)).await?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => shop.stop(None),
        _ = running => {}
    }
    client.close().await;
    Ok(())
}
