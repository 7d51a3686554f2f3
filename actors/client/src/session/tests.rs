//! The actors on a cluster in one process.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use baton_domain::{Message, QueueName, Reliability};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::Sink;
use super::fake::{Cluster, MESSAGE_BYTES, queue};
use crate::consumer::{Consumer, ConsumerEvent, ConsumerFailure, ConsumerMessage, ConsumerOptions, Received};
use crate::producer::{Confirmed, Producer, ProducerEvent, ProducerFailure, ProducerOptions, Refusal, SendError};

fn numbered(number: u64) -> Result<Confirmed, SendError> {
    Ok(Confirmed { number: Some(number) })
}

/// Fails if the work takes too long.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("it takes too long")
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert!(condition(), "{what}");
}

async fn producer(cluster: &Cluster) -> Producer {
    Producer::spawn(&cluster.session, queue(), ProducerOptions::default(), None).await.unwrap()
}

async fn consumer(cluster: &Cluster, credit: u32) -> Consumer {
    let options = ConsumerOptions { credit, ..ConsumerOptions::default() };
    Consumer::spawn(&cluster.session, queue(), options, None).await.unwrap()
}

fn body(received: &Received) -> u64 {
    std::str::from_utf8(&received.message.body).unwrap().parse().unwrap()
}

fn message(number: u64) -> Message {
    Message::new(Bytes::from(number.to_string()))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_once_and_in_order_through_failovers() {
    const COUNT: u64 = 3_000;
    let cluster = Cluster::new().await;
    let (producer, consumer) = (producer(&cluster).await, consumer(&cluster, 50).await);
    let sending = tokio::spawn(async move {
        let mut confirmations = Vec::new();
        for number in 1..=COUNT {
            confirmations.push((number, soon(producer.send(message(number))).await.unwrap()));
        }
        for (number, confirmation) in confirmations {
            assert_eq!(soon(confirmation).await, numbered(number));
        }
        soon(producer.close()).await.unwrap();
    });
    // One that kills the link to the host, one that kills the engine alone, one that moves, one that cuts for a while.
    cluster.activate("a");
    for number in 1..=COUNT {
        let received = soon(consumer.recv()).await.unwrap();
        assert_eq!(body(&received), number, "in order, nothing twice");
        consumer.acknowledge(received.id).unwrap();
        match number {
            500 => {
                cluster.crash();
                cluster.cut("a");
                cluster.activate("b");
            }
            1_000 => {
                cluster.crash();
                cluster.link("a");
                cluster.activate("c");
            }
            1_500 => cluster.activate("a"),
            2_000 => {
                cluster.cut("a");
                cluster.link("a");
            }
            _ => {}
        }
    }
    soon(consumer.flush()).await.unwrap();
    assert_eq!(cluster.stored(), [], "all acknowledgements are committed");
    soon(sending).await.unwrap();
    soon(consumer.close()).await.unwrap();
    assert_eq!(cluster.known(), (0, 0), "closed producers and consumers are forgotten");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_lower_levels_are_confirmed_without_a_number() {
    let cluster = Cluster::new().await;
    cluster.activate("a");
    let producer = producer(&cluster).await;
    let express = message(1).with_reliability(Reliability::ExpressNonpersistent);
    let (first, second) = (producer.send(express).await.unwrap(), producer.send(message(2)).await.unwrap());
    soon(producer.flush()).await.unwrap();
    assert_eq!(soon(first).await, Ok(Confirmed { number: None }));
    assert_eq!(soon(second).await, numbered(1));
    soon(producer.close()).await.unwrap();
    assert_eq!(cluster.stored().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_no_server_reports_is_found() {
    let cluster = Cluster::new().await;
    cluster.activate("a");
    let producer = producer(&cluster).await;
    assert_eq!(soon(producer.send(message(1)).await.unwrap()).await, numbered(1));
    cluster.crash();
    let second = producer.send(message(2)).await.unwrap();
    let engine = cluster.session.engine();
    until("the session knows of none", || engine.borrow().is_none()).await;
    cluster.activate_silently("b");
    assert_eq!(soon(second).await, numbered(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_window_makes_senders_wait_and_a_late_engine_lets_them_go_on() {
    let cluster = Cluster::new().await;
    let options = ProducerOptions { window_messages: 2, ..ProducerOptions::default() };
    let producer = Producer::spawn(&cluster.session, queue(), options, None).await.unwrap();
    let first = producer.try_send(message(1)).unwrap();
    let second = producer.try_send(message(2)).unwrap();
    let full = SendError::Refused { message: message(3), why: Refusal::WindowFull };
    assert_eq!(producer.try_send(message(3)).unwrap_err(), full);
    let waits = producer.send(message(3));
    cluster.activate("b");
    let third = soon(waits).await.unwrap();
    assert_eq!((soon(first).await, soon(second).await, soon(third).await), (numbered(1), numbered(2), numbered(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_sent_is_handed_back() {
    let cluster = Cluster::new().await;
    cluster.activate("a");
    let (sender, mut events) = mpsc::unbounded_channel();
    let sink: Sink<ProducerEvent> = std::sync::Arc::new(move |event| drop(sender.send(event)));
    let options = ProducerOptions::default;
    let one = Producer::spawn(&cluster.session, queue(), options(), Some(sink)).await.unwrap();
    let large = Message::new(vec![0; 10_001]);
    let why = Refusal::MessageTooLarge { size: 10_001, limit: MESSAGE_BYTES };
    let refused = soon(one.send(large.clone()).await.unwrap()).await;
    assert_eq!(refused, Err(SendError::Refused { message: large.clone(), why: why.clone() }));
    assert_eq!(soon(one.send(message(1)).await.unwrap()).await, numbered(1), "the next has the first number");
    soon(one.close()).await.unwrap();
    let mut told = Vec::new();
    while let Some(event) = soon(events.recv()).await {
        told.push(event);
    }
    assert!(matches!(&told[0], ProducerEvent::Connected { server, .. } if server == "a"), "{told:?}");
    assert_eq!(told[1..], [ProducerEvent::Refused { message: large, why }, ProducerEvent::Confirmed { through: 1 }]);

    let nowhere = QueueName::new("nowhere").unwrap();
    let why = ProducerFailure::NoSuchQueue(nowhere.clone());
    let lost = Producer::spawn(&cluster.session, nowhere.clone(), options(), None).await.unwrap();
    let error = soon(async { lost.send(message(1)).await.unwrap().await }).await.unwrap_err();
    let back = match error {
        SendError::Failed { unconfirmed, why: failure } if failure == why => unconfirmed.message,
        SendError::Refused { message, why: Refusal::Failed(failure) } if failure == why => message,
        other => panic!("{other}"),
    };
    assert_eq!(back, message(1));
    assert_eq!(soon(lost.close()).await, Err(why));
    let lost = Consumer::spawn(&cluster.session, nowhere.clone(), ConsumerOptions::default(), None).await.unwrap();
    assert_eq!(soon(lost.recv()).await, Err(ConsumerFailure::NoSuchQueue(nowhere)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_closes_hands_back_and_only_what_it_received_counts() {
    let cluster = Cluster::new().await;
    cluster.activate("a");
    let producer = producer(&cluster).await;
    // No more than its credit: a message that the first acknowledgement makes room for may be in flight when the
    // consumer closes, and then counts as delivered.
    for number in 1..=4 {
        producer.send(message(number)).await.unwrap();
    }
    soon(producer.flush()).await.unwrap();
    let consumer = consumer(&cluster, 4).await;
    let first = soon(consumer.recv()).await.unwrap();
    let second = soon(consumer.recv()).await.unwrap();
    consumer.acknowledge(first.id).unwrap();
    soon(consumer.close()).await.unwrap();
    let expected = [(2, 1), (3, 0), (4, 0)].map(|(number, times)| (message(number).body, times));
    assert_eq!(cluster.stored(), expected);
    assert_eq!(body(&second), 2);
    assert_eq!(soon(consumer.recv()).await, Err(ConsumerFailure::Closed));
}

/// Workers that close wait for this event, and must not take it for a failure.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_event_of_a_consumer_that_closes_is_closed() {
    let cluster = Cluster::new().await;
    cluster.activate("a");
    // Closed while it is linked; closed by its session.
    for by_session in [false, true] {
        let (sink, mut events) = mpsc::unbounded_channel();
        let sink: Sink<ConsumerEvent> = Arc::new(move |event| drop(sink.send(event)));
        let spawned = Consumer::spawn(&cluster.session, queue(), ConsumerOptions::default(), Some(sink));
        let consumer = spawned.await.unwrap();
        assert!(matches!(soon(events.recv()).await, Some(ConsumerEvent::Connected { .. })));
        if by_session {
            soon(cluster.session.stop()).await;
        } else {
            consumer.actor().cast(ConsumerMessage::Close).unwrap();
        }
        let mut told = Vec::new();
        while let Some(event) = soon(events.recv()).await {
            told.push(event);
        }
        told.retain(|event| *event != ConsumerEvent::Disconnected);
        assert_eq!(told, [ConsumerEvent::Closed], "by its session: {by_session}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_comes_again() {
    let cluster = Cluster::new().await;
    cluster.activate("a");
    let (producer, consumer) = (producer(&cluster).await, consumer(&cluster, 1).await);
    producer.send(message(1)).await.unwrap();
    let received = soon(consumer.recv()).await.unwrap();
    assert_eq!((received.redelivered, received.redeliveries), (false, 0));
    consumer.refuse(received.id).unwrap();
    let received = soon(consumer.recv()).await.unwrap();
    assert_eq!((received.redelivered, received.redeliveries), (true, 1));
    consumer.acknowledge(received.id).unwrap();
    soon(consumer.flush()).await.unwrap();
    assert_eq!(cluster.stored(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_handles_close_by_themselves() {
    let cluster = Cluster::new().await;
    cluster.activate("a");
    let (producer, consumer) = (producer(&cluster).await, consumer(&cluster, 1).await);
    soon(producer.send(message(1)).await.unwrap()).await.unwrap();
    soon(consumer.recv()).await.unwrap();
    assert_eq!(cluster.known(), (1, 1));
    drop((producer, consumer));
    until("forgotten", || cluster.known() == (0, 0)).await;
    assert_eq!(cluster.stored(), [(message(1).body, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_stops_leaves_nobody_waiting() {
    let cluster = Cluster::new().await;
    let (producer, consumer) = (producer(&cluster).await, consumer(&cluster, 1).await);
    let confirmation = producer.send(message(1)).await.unwrap();
    soon(cluster.session.stop()).await;
    assert_eq!(soon(confirmation).await, Err(SendError::Stopped));
    assert_eq!(soon(consumer.recv()).await, Err(ConsumerFailure::Closed));
    let late = SendError::Refused { message: message(2), why: Refusal::Closed };
    until("the actor is gone", || producer.try_send(message(2)).is_err_and(|error| error == late)).await;
}
