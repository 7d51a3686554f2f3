//! `baton receive`: prints the bodies of messages, one per line, and acknowledges printed messages.

use std::collections::HashSet;
use std::time::Duration;

use baton::client::{Client, Consumer, ConsumerFailure, ConsumerOptions, Received};
use baton_client::protocol::QueueStatus;
use baton_domain::{MessageId, QueueName};
use clap::Args;
use tokio::io::AsyncWriteExt;

use super::ack_limit::AckLimit;
use super::held_up::HeldUp;
use super::message::{MessageInJson, body_to_show};
use super::send::seconds;
use super::signals::StopSignals;
use super::target::Target;
use super::{Failure, requests};

/// Max unsettled messages.
const WINDOW: u32 = 1_000;
/// Max messages printed before they are acknowledged.
const PRINT_AT_ONCE: u64 = 500;
/// Bytes after which no further message is added to a batch.
const PRINT_BYTES: usize = 64 * 1024;
/// Without options: time without a message after which the queue is asked for more.
const DRAIN_QUIET: Duration = Duration::from_millis(500);
/// With --follow or --count: time without a message after which the queue is asked for the reason.
const LOOK_AFTER: Duration = Duration::from_secs(2);

/// Options of `baton receive`.
#[derive(Debug, Clone, Args)]
pub(super) struct ReceiveArgs {
    #[command(flatten)]
    target: Target,
    /// Queue or subscription; with --topic, the topic space
    queue: QueueName,
    /// Receive messages published from now on under these topics; `*`: one level, `#`: any number of levels
    #[arg(long, value_name = "PATTERN")]
    topic: Option<String>,
    /// Receive only matching messages, for example `kind = 'order' AND size > 10`; ends by a signal, --count or --wait
    #[arg(long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Stop after N messages; no further message is taken
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop after SECONDS without a message, with exit code 3
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "follow")]
    wait: Option<f64>,
    /// Go on until a signal
    #[arg(long)]
    follow: bool,
    /// Print one JSON object per message
    #[arg(long)]
    json: bool,
    /// Reject printed messages, for this reason: they become dead letters, each message once
    #[arg(long, value_name = "REASON")]
    reject: Option<String>,
}

/// The condition that ends the command when no message arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Nothing.
    Endless,
    /// This time without a message.
    For(Duration),
    /// The queue has nothing more for this consumer.
    UntilDrained,
}

/// The reason for stopping.
#[derive(Debug, Clone, PartialEq, Eq)]
enum StopReason {
    /// All requested messages are here, or none is left.
    Done,
    /// No message within the time.
    Waited,
    /// A signal, with the shell's exit code.
    Signal(u8),
    /// The output was closed, or the consumer failed.
    Failed(Failure),
}

impl ReceiveArgs {
    fn settle(&self, consumer: &Consumer, received: &Received) -> Result<(), ConsumerFailure> {
        match &self.reject {
            None => consumer.acknowledge(received.id),
            Some(reason) => consumer.reject(received.id, reason.clone()),
        }
    }

    fn patience(&self) -> Patience {
        // A temporary subscription gets future messages, and messages not selected hide the end of the queue.
        let endless = self.follow || self.topic.is_some() || !self.selector.is_empty();
        match (self.wait, endless, self.count) {
            (Some(wait), _, _) => Patience::For(Duration::from_secs_f64(wait)),
            (None, false, None) => Patience::UntilDrained,
            (None, true, _) | (None, false, Some(_)) => Patience::Endless,
        }
    }
}

pub(super) async fn run(args: ReceiveArgs) -> Result<(), Failure> {
    let mut signals = StopSignals::listen()?;
    tokio::select! {
        client = requests::connect(&args.target, requests::FAIL_OVER) => Box::pin(receive(client?, &args, &mut signals)).await,
        code = signals.next() => Err(Failure::quiet(code)),
    }
}

async fn receive(client: Client, args: &ReceiveArgs, signals: &mut StopSignals) -> Result<(), Failure> {
    let mut limit = AckLimit::new(args.count, WINDOW);
    if limit.complete() {
        return Ok(());
    }
    let options = ConsumerOptions::default().credit(limit.credit());
    let consumer = match &args.topic {
        None => client.consumer(&args.queue, options.selector(&args.selector)).await?,
        Some(topic) => client.subscriber(&args.queue, topic, &args.selector, options).await?,
    };
    let mut held = Vec::new();
    let (end, again, stayed) = {
        let once = HashSet::new();
        let mut printer = Printer { client: &client, consumer: &consumer, args, held: &mut held, once, again: 0 };
        let end = tokio::select! {
            end = printer.print_all(&mut limit) => end,
            code = signals.next() => StopReason::Signal(code),
        };
        let looks = args.reject.is_some() && end == StopReason::Done && !limit.complete();
        let stayed = if looks { printer.stayed().await } else { 0 };
        (end, printer.again, stayed)
    };
    let settled = tokio::select! {
        settled = settle(&consumer, args, &held) => settled,
        // A second signal: do not wait for the engine.
        code = signals.next() => Err(Failure::with_code("stopped before the acknowledgements were committed", code)),
    };
    let stayed = match (&args.reject, &end) {
        (Some(_), StopReason::Done) => {
            let kept = requests::queue(&client, &args.queue).await.map_or(0, |status| status.kept);
            stayed.max(kept + u64::from(again))
        }
        _ => 0,
    };
    client.close().await;
    settled?;
    if stayed > 0 {
        let words = format!(
            "{} stayed in {}: no exception destination accepts them now",
            super::output::counted(stayed, "message"),
            args.queue
        );
        return Err(Failure::with_code(words, Failure::PARTLY));
    }
    match end {
        StopReason::Done => Ok(()),
        StopReason::Waited => Err(Failure::quiet(Failure::WAITED)),
        // The regular end of `--follow`.
        StopReason::Signal(_) if args.follow => Ok(()),
        StopReason::Signal(code) => Err(Failure::quiet(code)),
        StopReason::Failed(failure) => Err(failure),
    }
}

/// Prints the messages of a consumer.
struct Printer<'a> {
    client: &'a Client,
    consumer: &'a Consumer,
    args: &'a ReceiveArgs,
    /// Messages printed and not acknowledged.
    held: &'a mut Vec<Received>,
    /// Rejected messages: one that stayed in its queue is not rejected again.
    once: HashSet<MessageId>,
    /// Number of these that were redelivered.
    again: u32,
}

impl Printer<'_> {
    /// Prints and acknowledges until there is a reason to stop.
    async fn print_all(&mut self, limit: &mut AckLimit) -> StopReason {
        let failed = |error: &dyn std::fmt::Display| StopReason::Failed(Failure::new(error.to_string()));
        while !limit.complete() && self.again < WINDOW {
            let first = match self.next().await {
                Ok(first) => first,
                Err(end) => return end,
            };
            let mut bytes = first.message.size();
            let mut batch = vec![first];
            while (batch.len() as u64) < limit.wanted().min(PRINT_AT_ONCE) && bytes < PRINT_BYTES {
                match self.consumer.try_recv() {
                    Ok(Some(received)) => {
                        bytes += received.message.size();
                        batch.push(received);
                    }
                    Ok(None) => break,
                    Err(error) => return failed(&error),
                }
            }
            let before = batch.len();
            // Held until the end, so that it is not delivered once more; then released unchanged.
            batch.retain(|received| !self.once.contains(&received.id));
            self.again += u32::try_from(before - batch.len()).unwrap_or(u32::MAX);
            if let Err(error) = print(&batch, self.args.json).await {
                for received in batch {
                    // Not printed. A consumer that ended holds nothing any more.
                    let _ = self.consumer.release(received.id);
                }
                return failed(&format!("cannot write to stdout: {error}; messages not printed are not acknowledged"));
            }
            for received in batch {
                if self.args.reject.is_some() && !self.args.follow {
                    self.once.insert(received.id);
                }
                if !limit.received() {
                    self.held.push(received);
                } else if let Err(error) = self.args.settle(self.consumer, &received) {
                    return failed(&error);
                }
            }
        }
        StopReason::Done
    }

    /// Number of rejected messages that are still in the queue. One whose redelivery delay is over may be in flight to this
    /// consumer: it is waited for.
    async fn stayed(&mut self) -> u64 {
        loop {
            let again = u64::from(self.again);
            let Ok(status) = requests::queue(self.client, &self.args.queue).await else { return again };
            if status.kept > 0 || status.depth <= again {
                return status.kept + again;
            }
            match tokio::time::timeout(DRAIN_QUIET, self.consumer.recv()).await {
                Ok(Ok(received)) if self.once.contains(&received.id) => self.again += 1,
                Ok(_) | Err(_) => return again,
            }
        }
    }

    /// The next message, or the reason to stop waiting.
    async fn next(&self) -> Result<Received, StopReason> {
        let patience = self.args.patience();
        // With a selector or a topic, messages that are not delivered are normal.
        let looks = self.args.topic.is_none() && self.args.selector.is_empty();
        let goes_on = self.args.follow;
        let (mut looked_empty, mut held_up) = (false, HeldUp::default());
        loop {
            let quiet = match patience {
                Patience::Endless if looks => LOOK_AFTER,
                Patience::Endless => Duration::MAX,
                Patience::For(wait) => wait,
                Patience::UntilDrained => DRAIN_QUIET,
            };
            match tokio::time::timeout(quiet, self.consumer.recv()).await {
                Ok(Ok(received)) => return Ok(received),
                Ok(Err(error)) => return Err(StopReason::Failed(Failure::new(error.to_string()))),
                Err(_) => match patience {
                    Patience::Endless => self.look(&mut held_up, goes_on).await?,
                    Patience::For(_) => {
                        // Print the reason, if it is known at once.
                        let look = tokio::time::timeout(LOOK_AFTER, self.look(&mut held_up, false));
                        if looks && let Ok(Err(StopReason::Failed(why))) = look.await {
                            why.say();
                        }
                        return Err(StopReason::Waited);
                    }
                    Patience::UntilDrained => {
                        match queue_content(self.client, self.consumer, &self.args.queue)
                            .await
                            .map_err(StopReason::Failed)?
                        {
                            QueueContent::Nothing => return Err(StopReason::Done),
                            // Messages in flight may be for this consumer: wait once more.
                            QueueContent::InFlight if looked_empty => {
                                self.look(&mut held_up, goes_on).await?;
                                return Err(StopReason::Done);
                            }
                            QueueContent::InFlight => looked_empty = true,
                            QueueContent::More => {
                                looked_empty = false;
                                held_up.add_quiet(quiet);
                                self.look(&mut held_up, goes_on).await?;
                            }
                        }
                    }
                },
            }
        }
    }

    async fn look(&self, held_up: &mut HeldUp, goes_on: bool) -> Result<(), StopReason> {
        held_up.look(self.client, self.consumer, &self.args.queue, goes_on).await.map_err(StopReason::Failed)
    }
}

/// The content of a queue for a consumer that has settled everything it received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum QueueContent {
    /// Empty.
    Nothing,
    /// All messages are in flight.
    InFlight,
    /// There are messages to deliver.
    More,
}

impl QueueContent {
    fn of(status: &QueueStatus) -> Self {
        // Messages kept because no exception destination accepts them are not delivered for a while.
        match (status.depth, status.in_flight + status.kept) {
            (0, _) => Self::Nothing,
            (depth, in_flight) if depth <= in_flight => Self::InFlight,
            (_, _) => Self::More,
        }
    }
}

async fn queue_content(client: &Client, consumer: &Consumer, queue: &QueueName) -> Result<QueueContent, Failure> {
    // Ask the engine first: without an engine this fails, while waiting for the acknowledgements would never end.
    let before = requests::queue(client, queue).await?;
    if QueueContent::of(&before) == QueueContent::More {
        return Ok(QueueContent::More);
    }
    consumer.flush().await.map_err(|error| Failure::new(error.to_string()))?;
    Ok(QueueContent::of(&requests::queue(client, queue).await?))
}

/// Writes one line per message, and returns once the system has them.
async fn print(batch: &[Received], json: bool) -> std::io::Result<()> {
    let mut text = Vec::with_capacity(batch.iter().map(|received| received.message.body.len() + 1).sum());
    for received in batch {
        if json {
            serde_json::to_writer(&mut text, &MessageInJson::of_received(received))?;
        } else {
            text.extend_from_slice(&body_to_show(&received.message));
        }
        text.push(b'\n');
    }
    let mut stdout = tokio::io::stdout();
    stdout.write_all(&text).await?;
    stdout.flush().await
}

/// Sends the acknowledgements held back, without granting new credit, and waits until all are committed. Messages that
/// arrived and were not printed go back as if they had not been delivered.
async fn settle(consumer: &Consumer, args: &ReceiveArgs, held: &[Received]) -> Result<(), Failure> {
    let failed = |error: ConsumerFailure| Failure::new(error.to_string());
    consumer.pause().map_err(failed)?;
    for received in held {
        args.settle(consumer, received).map_err(failed)?;
    }
    consumer.close().await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(count: Option<u64>, wait: Option<f64>, follow: bool) -> ReceiveArgs {
        ReceiveArgs {
            target: Target::default(),
            topic: None,
            selector: String::new(),
            queue: QueueName::new("q").unwrap(),
            count,
            wait,
            follow,
            json: false,
            reject: None,
        }
    }

    #[test]
    fn a_queue_is_drained_when_all_it_holds_is_with_others() {
        let queue = |depth, in_flight| QueueStatus {
            nonpersistent: 0,
            dropped: 0,
            name: QueueName::new("q").unwrap(),
            depth,
            in_flight,
            delayed: 0,
            kept: 0,
            version: 0,
            consumers: 1,
            slow_consumers: 0,
            kind: baton_client::protocol::Kind::Queue,
            settings: baton_domain::Settings::default(),
            temporary: false,
        };
        for (depth, in_flight, expected) in [
            (0, 0, QueueContent::Nothing),
            (3, 3, QueueContent::InFlight),
            (3, 2, QueueContent::More),
            (1, 0, QueueContent::More),
            (2, 3, QueueContent::InFlight),
        ] {
            assert_eq!(QueueContent::of(&queue(depth, in_flight)), expected);
        }
    }

    #[test]
    fn the_options_say_when_to_stop() {
        let second = Patience::For(Duration::from_secs(1));
        for (args, expected) in [
            (args(None, None, false), Patience::UntilDrained),
            (args(None, None, true), Patience::Endless),
            (args(Some(3), None, false), Patience::Endless),
            (args(Some(3), None, true), Patience::Endless),
            (args(Some(3), Some(1.0), false), second),
            (args(None, Some(1.0), false), second),
        ] {
            assert_eq!(args.patience(), expected, "{args:?}");
        }
    }
}
