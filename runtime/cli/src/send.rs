//! `baton send`: one message per line of stdin.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use baton::client::Named;
use baton::client::{Client, Confirmation, Producer, ProducerOptions, Refusal, SendError};
use baton_domain::topic::check_topic;
use baton_domain::{Message, QueueName, Reliability, Written};
use bytes::Bytes;
use clap::Args;
use tokio::sync::{mpsc, oneshot};

use super::held_up::saying_why_nothing_goes;
use super::lines::LineSplitter;
use super::settings::millis;
use super::signals::StopSignals;
use super::target::Target;
use super::{Failure, output, requests, stderr};

/// Bytes per read from stdin.
const READ_BYTES: usize = 64 * 1024;
/// Reads that wait to be sent: bounds memory while the engine is away.
const READS_WAITING: usize = 4;
/// Confirmations that wait to be counted; the producer's window is the tighter bound.
const CONFIRMS_WAITING: usize = 16 * 1024;
/// The longest line; the engine's own limit is lower.
const LINE_BYTES: usize = 16 * 1024 * 1024;

/// Options of `baton send`.
#[derive(Debug, Clone, Args)]
pub(super) struct SendArgs {
    #[command(flatten)]
    target: Target,
    /// Queue or topic space
    queue: QueueName,
    /// Give up a message that stays unconfirmed for this time, in seconds, and exit non-zero
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, value_parser = seconds)]
    timeout: f64,
    /// Producer name: a new `send` of the same name skips the lines that are already confirmed, if they are the same, and
    /// fences one that still runs
    #[arg(long, value_name = "NAME")]
    producer: Option<String>,
    /// Priority from 0 to 9; higher is delivered first
    #[arg(long, value_name = "N", default_value_t = baton_domain::PRIORITY_DEFAULT, value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: u8,
    /// Time to live: messages expire after this time
    #[arg(long, value_name = "SECONDS", value_parser = millis)]
    time_to_live: Option<u64>,
    /// Delay: messages are not delivered before this time
    #[arg(long, value_name = "SECONDS", value_parser = millis)]
    delay: Option<u64>,
    /// Topic; required if the destination is a topic space
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Reliability level, for example `express-nonpersistent` (default: the destination's)
    #[arg(long, value_name = "LEVEL")]
    reliability: Option<Reliability>,
    /// Message group: all its messages go to one consumer at a time
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Header of each message; repeatable
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, for example kind=order")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl SendArgs {
    /// The properties that all messages share; each message gets its own body.
    fn template(&self) -> Message {
        let mut message = Message { headers: self.headers.clone(), ..Message::default() };
        if self.priority != baton_domain::PRIORITY_DEFAULT {
            message = message.with_priority(self.priority);
        }
        if let Some(topic) = &self.topic {
            message = message.with_topic(topic);
        }
        if let Some(live_ms) = self.time_to_live {
            message = message.with_time_to_live(Duration::from_millis(live_ms));
        }
        if let Some(delay_ms) = self.delay {
            message = message.with_delay(Duration::from_millis(delay_ms));
        }
        if let Some(reliability) = self.reliability {
            message = message.with_reliability(reliability);
        }
        if let Some(group) = &self.group {
            message = message.with_group(group);
        }
        message
    }
}

/// A time in seconds, above 0 and at most a year.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 31_536_000.0 => Ok(seconds),
        Ok(_) | Err(_) => Err("expected a number of seconds above 0, for example 30".to_owned()),
    }
}

/// Outcome of the messages.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Tally {
    confirmed: u64,
    unconfirmed: u64,
    /// The reason why the first one is not confirmed.
    why: Option<String>,
}

pub(super) async fn run(args: SendArgs) -> Result<(), Failure> {
    let mut signals = StopSignals::listen()?;
    let limit = Duration::from_secs_f64(args.timeout);
    let client = tokio::select! {
        client = requests::connect(&args.target, limit) => client,
        code = signals.next() => Err(Failure::with_code("stopped by a signal", code)),
    };
    let (tally, outcome) = match &client {
        Ok(client) => send_all(client, &args, limit, &mut signals).await,
        Err(failure) => (Tally::default(), Err(failure.clone())),
    };
    // An error first: the last line is always the count.
    if let Err(failure) = &outcome {
        failure.say();
    }
    stderr::say(&format!("confirmed {}", tally.confirmed));
    if let Ok(client) = client {
        client.close().await;
    }
    outcome.map_err(|failure| Failure::quiet(failure.code()))
}

async fn send_all(
    client: &Client,
    args: &SendArgs,
    limit: Duration,
    signals: &mut StopSignals,
) -> (Tally, Result<(), Failure>) {
    let mut lines = Lines { reads: read_lines(), rest: VecDeque::new() };
    let opened = tokio::select! {
        opened = open(client, args, limit, &mut lines) => opened,
        code = signals.next() => Err(Failure::with_code("stopped by a signal", code)),
    };
    let producer = match opened {
        Ok(producer) => producer,
        Err(failure) => return (Tally::default(), Err(failure)),
    };
    let tally = Arc::new(Mutex::new(Tally::default()));
    let (pass, confirmations) = mpsc::channel(CONFIRMS_WAITING);
    let (tell, mut trouble) = oneshot::channel();
    let mut sender = tokio::spawn(send_lines(producer.clone(), args.template(), lines, pass));
    let mut counter = tokio::spawn(count(confirmations, Arc::clone(&tally), tell));
    let work = async {
        // A missing queue is reported even if no message is sent.
        let there = requests::queue(client, &args.queue);
        let sent = async {
            let sent = tokio::select! {
                sent = &mut sender => sent.unwrap_or_else(|error| Err(Failure::new(format!("the sending task ended unexpectedly: {error}")))),
                // Reported from the tally below.
                Ok(()) = &mut trouble => Ok(()),
            };
            sender.abort();
            // With the sender gone, the counter ends once each message that was sent is confirmed or given up.
            let _ = (&mut counter).await;
            sent
        };
        tokio::try_join!(there, sent).map(|_| ())
    };
    let confirmed = || lock(&tally).confirmed;
    let outcome = tokio::select! {
        outcome = saying_why_nothing_goes(client, &args.queue, confirmed, work) => outcome,
        code = signals.next() => Err(Failure::with_code("stopped by a signal", code)),
    };
    sender.abort();
    counter.abort();
    let tally = lock(&tally).clone();
    let outcome = outcome.and_then(|()| judge(&tally));
    if outcome.is_ok() {
        // All messages are confirmed; the engine may or may not have forgotten the producer yet.
        let _ = tokio::time::timeout(requests::SOON, producer.close()).await;
    }
    (tally, outcome)
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A producer, after the lines it sent before are skipped.
async fn open(client: &Client, args: &SendArgs, limit: Duration, lines: &mut Lines) -> Result<Producer, Failure> {
    let options = ProducerOptions::default().give_up(limit);
    match &args.producer {
        Some(name) => claim(client, args, name, options, lines).await,
        None => Ok(client.producer(&args.queue, options).await?),
    }
}

/// Takes over a producer's name, if these lines begin with the messages sent under it. Lines that another process sends
/// under the name at the same time are skipped as it sends them.
async fn claim(
    client: &Client,
    args: &SendArgs,
    name: &str,
    options: ProducerOptions,
    lines: &mut Lines,
) -> Result<Producer, Failure> {
    let queue = &args.queue;
    let Named { mut written, message_bytes, publishes, reliability, .. } = client.look_up_name(queue, name).await?;
    let reliability = args.reliability.unwrap_or(reliability);
    if reliability != Reliability::AssuredPersistent {
        let words = format!(
            "{reliability} messages are not numbered, so those that {name} sent earlier cannot be recognized: \
             --producer needs --reliability assured-persistent"
        );
        return Err(Failure::new(words));
    }
    let template = args.template();
    let room = message_bytes.saturating_sub(template.limited_size() as u64);
    // A refused message has no number.
    let refused = |line: &Bytes| line.len() as u64 > room || (publishes && check_topic(template.topic()).is_err());
    let mut seen = Written::default();
    loop {
        while seen.last < written.last
            && let Some(line) = lines.next().await?
        {
            if !refused(&line) {
                seen = seen.and(&line);
            }
        }
        if seen != written {
            let words = format!(
                "producer {name} has sent {} messages to {queue}, and this input does not begin with them: use another \
                 name for another input",
                written.last
            );
            return Err(Failure::new(words));
        }
        match client.claim_producer(queue, name, seen, options.clone()).await? {
            Ok(producer) => return Ok(producer),
            Err(now) => written = now,
        }
    }
}

/// The lines of stdin, as they arrive.
struct Lines {
    reads: mpsc::Receiver<Result<Vec<Bytes>, String>>,
    rest: VecDeque<Bytes>,
}

impl Lines {
    /// The next line; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        while self.rest.is_empty() {
            let Some(read) = self.reads.recv().await else { return Ok(None) };
            self.rest.extend(read.map_err(Failure::new)?);
        }
        Ok(self.rest.pop_front())
    }
}

/// Sends lines as they arrive; waits when the producer's window is full.
async fn send_lines(
    producer: Producer,
    template: Message,
    mut lines: Lines,
    pass: mpsc::Sender<Confirmation>,
) -> Result<(), Failure> {
    while let Some(body) = lines.next().await? {
        let message = Message { body, ..template.clone() };
        let confirmation = producer.send(message).await.map_err(|error| Failure::new(error.to_string()))?;
        if pass.send(confirmation).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Counts confirms, which arrive in the order of the messages, until the last one; reports the first failure.
async fn count(mut confirmations: mpsc::Receiver<Confirmation>, tally: Arc<Mutex<Tally>>, tell: oneshot::Sender<()>) {
    let mut tell = Some(tell);
    while let Some(confirmation) = confirmations.recv().await {
        match confirmation.await {
            Ok(_) => lock(&tally).confirmed += 1,
            Err(error) => {
                let mut tally = lock(&tally);
                tally.unconfirmed += 1;
                tally.why.get_or_insert_with(|| error.to_string());
                // Only that message may be lost: the others go on.
                let alone = matches!(
                    error,
                    SendError::LinkLost { .. }
                        | SendError::Refused { why: Refusal::BadTopic(_) | Refusal::MessageTooLarge { .. }, .. }
                );
                if !alone && let Some(tell) = tell.take() {
                    // The receiver is gone: the command is ending.
                    let _ = tell.send(());
                }
            }
        }
    }
}

/// Reads stdin on its own thread, because the read cannot be interrupted; ends with the input or with the receiver.
fn read_lines() -> mpsc::Receiver<Result<Vec<Bytes>, String>> {
    let (pass, lines) = mpsc::channel(READS_WAITING);
    std::thread::spawn(move || {
        let mut splitter = LineSplitter::new(LINE_BYTES);
        let mut buffer = vec![0; READ_BYTES];
        let mut stdin = std::io::stdin().lock();
        loop {
            let read = match stdin.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => splitter
                    .push(&buffer[..read])
                    .map_err(|error| format!("a line is longer than {} bytes", error.limit)),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => Err(format!("cannot read stdin: {error}")),
            };
            let broken = read.is_err();
            if pass.blocking_send(read).is_err() || broken {
                return;
            }
        }
        if let Some(last) = splitter.finish() {
            // The receiver is gone: the command is ending.
            let _ = pass.blocking_send(Ok(vec![last]));
        }
    });
    lines
}

/// Success if all messages are confirmed.
fn judge(tally: &Tally) -> Result<(), Failure> {
    match &tally.why {
        None => Ok(()),
        Some(why) => {
            let messages = output::counted(tally.unconfirmed, "message");
            Err(Failure::new(format!("{messages} not confirmed: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_confirmed_is_said_with_the_first_reason() {
        assert!(judge(&Tally { confirmed: 5, ..Tally::default() }).is_ok());
        let failed = Tally { confirmed: 5, unconfirmed: 2, why: Some("given up".to_owned()) };
        assert_eq!(judge(&failed), Err(Failure::new("2 messages not confirmed: given up")));
    }

    #[test]
    fn a_timeout_is_a_number_of_seconds_above_none() {
        assert_eq!((seconds("30"), seconds("0.5")), (Ok(30.0), Ok(0.5)));
        for bad in ["0", "-1", "x", "NaN", "inf", "1e300"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
