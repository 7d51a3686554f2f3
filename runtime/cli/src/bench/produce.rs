//! Measured producers, and the consumers that run at the same time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use baton::client::Client;
use baton_domain::clock::BootTime;
use tokio::task::JoinSet;

use crate::Failure;

use super::consume::{self, Goal};
use super::figures::Measured;
use super::meter::{Meter, Silence};
use super::queues::Queues;
use super::schedule::Schedule;
use super::sender::{Body, Sender};
use super::{BenchArgs, GIVE_UP, all, pace};

/// Measures producers; they start together once the engine knows all of them and the consumers.
pub(super) async fn measure(client: &Client, queues: &Queues, args: &BenchArgs) -> Result<Measured, Failure> {
    let connect = async {
        let consumers = consume::attach(client, queues, args.consumers as usize).await?;
        Ok::<_, Failure>((consumers, connect(client, queues, args).await?))
    };
    let (consumers, senders) = tokio::time::timeout(GIVE_UP, connect).await.unwrap_or_else(|_| {
        Err(Failure::new(format!("the engine did not accept all clients within {GIVE_UP:?}: see `baton status`")))
    })?;

    let started = BootTime::now();
    let goal = Arc::new(Goal::open());
    let mut receiving = JoinSet::new();
    for consumer in consumers {
        receiving.spawn(consume::receive(consumer, args.stamped(), Arc::clone(&goal), Meter::new(started)));
    }
    let silence = Arc::new(Silence::default());
    let confirmed = match args.rate {
        None => all(as_fast_as_possible(senders, args, started, &silence)).await,
        Some(rate) => {
            let schedule = Schedule::new(started, rate, args.secs, senders.len() as u64);
            pace::measure(senders, args, schedule, &silence).await
        }
    }?;
    let ended = BootTime::now();
    goal.reach();
    Ok(Measured {
        produced: Meter::sum(started, &confirmed),
        consumed: Meter::sum(started, &all(receiving).await?),
        delivery: args.stamped(),
        elapsed: ended.since(started),
        silence: silence.longest(ended),
    })
}

async fn connect(client: &Client, queues: &Queues, args: &BenchArgs) -> Result<Vec<Sender>, Failure> {
    let body = Body::new(args.size as usize, args.stamped());
    let mut senders = Vec::new();
    for number in 0..args.producers as usize {
        senders.push(Sender::spawn(client, queues.of(number), args.window as usize, body.clone()).await?);
    }
    for sender in &mut senders {
        sender.connected().await?;
    }
    Ok(senders)
}

fn as_fast_as_possible(
    senders: Vec<Sender>,
    args: &BenchArgs,
    started: BootTime,
    silence: &Arc<Silence>,
) -> JoinSet<Result<Meter, Failure>> {
    let (window, until) = (args.window as usize, started + Duration::from_secs(args.secs));
    let mut tasks = JoinSet::new();
    for sender in senders {
        let (silence, mut meter) = (Arc::clone(silence), Meter::new(started));
        tasks.spawn(async move {
            let confirmed = |sent: &mut dyn Iterator<Item = BootTime>, now| {
                let mut count = 0;
                sent.for_each(|sent_at| {
                    meter.latency(sent_at, now);
                    count += 1;
                });
                meter.count(count, now);
                silence.broken(now);
            };
            send(sender, window, |now| now < until, confirmed).await?;
            Ok(meter)
        });
    }
    tasks
}

/// Sends as fast as the window allows while there is `more`, and waits until all messages are confirmed. `confirmed` is
/// called with the send times of each confirm's messages, and the time.
pub(super) async fn send(
    mut sender: Sender,
    window: usize,
    mut more: impl FnMut(BootTime) -> bool,
    mut confirmed: impl FnMut(&mut dyn Iterator<Item = BootTime>, BootTime),
) -> Result<(), Failure> {
    let mut unconfirmed = VecDeque::with_capacity(window);
    let mut before = 0;
    loop {
        while unconfirmed.len() < window {
            let now = BootTime::now();
            if !more(now) {
                break;
            }
            if !sender.outlet().send(now) {
                return Err(sender.why_gone().await);
            }
            unconfirmed.push_back(now);
        }
        if unconfirmed.is_empty() {
            return Ok(());
        }
        let through = sender.confirmed().await?;
        let count = usize::try_from(through - before).unwrap_or(usize::MAX).min(unconfirmed.len());
        before = through;
        confirmed(&mut unconfirmed.drain(..count), BootTime::now());
    }
}
