//! Produces numbered messages under a name, from the number that the engine tells.

use std::time::Duration;

use baton::client::Confirmation;
use baton::{Client, Message, ProducerOptions, QueueName};
use baton_tools::torture::{Event, numbered_line};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;

use crate::{DEADLINE, Failure, argument, ended, number};

pub(crate) async fn run(client: &Client, arguments: &[String], end: &mut Signal) -> Result<(), Failure> {
    let queue = QueueName::new(argument(arguments, 0)?)?;
    let name = argument(arguments, 1)?;
    let every = Duration::from_millis(number(arguments, 2)?);
    let (at_once, size): (usize, usize) = (number(arguments, 3)?, number(arguments, 4)?);
    let delay: u64 = if arguments.len() > 5 { number(arguments, 5)? } else { 0 };
    let live: u64 = if arguments.len() > 6 { number(arguments, 6)? } else { 0 };
    let options = ProducerOptions::default().give_up(DEADLINE);
    Event::Opening.print();
    let (producer, next) = client.named_producer(&queue, name, options).await?;
    Event::Opened { next }.print();
    // As many wait for their confirms as the channel holds, and one more.
    let (pass, confirmations) = mpsc::channel(at_once);
    let counter = tokio::spawn(count(confirmations));
    for number in next.. {
        let mut body = numbered_line(name, number - 1);
        let length = body.len();
        body.extend(std::iter::repeat_n(' ', size.saturating_sub(length)));
        let mut message = Message::new(body);
        if delay > 0 {
            message = message.with_delay(Duration::from_millis(delay));
        }
        if live > 0 {
            message = message.with_time_to_live(Duration::from_millis(live));
        }
        Event::Sending { number }.print();
        let confirmation = producer.send(message).await?;
        if pass.send((number, confirmation)).await.is_err() {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = ended(end) => break,
        }
    }
    drop(pass);
    counter.await??;
    Ok(producer.close().await?)
}

async fn count(mut confirmations: mpsc::Receiver<(u64, Confirmation)>) -> Result<(), Failure> {
    while let Some((number, confirmation)) = confirmations.recv().await {
        confirmation.await?;
        Event::Confirmed { number }.print();
    }
    Ok(())
}
