//! `baton receive`: prints the bodies of messages, one a line, and acknowledges what was printed.

use std::time::Duration;

use baton_actors::protocol::QueueStatus;
use baton_storage::QueueName;
use clap::Args;
use tokio::io::AsyncWriteExt;

use crate::client::{Client, Consumer, ConsumerFailure, ConsumerOptions, Received};

use super::gate::AckGate;
use super::message::MessageInJson;
use super::send::seconds;
use super::signals::StopSignals;
use super::target::Target;
use super::{Failure, session};

/// The most messages held unsettled.
const WINDOW: u32 = 1_000;
/// The most messages printed before they are acknowledged.
const PRINT_AT_ONCE: u64 = 500;
/// Without options: after so long without a message the queue is asked whether there is more.
const DRAIN_QUIET: Duration = Duration::from_millis(500);
/// SECONDS passed without a message.
const EXIT_WAITED: u8 = 3;

/// Options of `baton receive`.
#[derive(Debug, Clone, Args)]
pub(super) struct ReceiveArgs {
    #[command(flatten)]
    target: Target,
    /// The queue or subscription; with --topic, the topic space
    queue: QueueName,
    /// Take what is published from now on under these topics, `*` for one level and `#` for any number
    #[arg(long, value_name = "PATTERN")]
    topic: Option<String>,
    /// Only messages that it selects, for example `kind = 'order' AND size > 10`, until stopped, by --count, or by --wait
    #[arg(long, value_name = "SELECTOR", default_value = "")]
    selector: String,
    /// Stop after N messages, and never take more
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Stop after SECONDS without a message, with exit code 3
    #[arg(long, value_name = "SECONDS", value_parser = seconds, conflicts_with = "follow")]
    wait: Option<f64>,
    /// Go on until a signal stops it
    #[arg(long)]
    follow: bool,
    /// Print an object in JSON for each message
    #[arg(long)]
    json: bool,
    /// Send what was printed to the exception destination, for that reason
    #[arg(long, value_name = "REASON")]
    reject: Option<String>,
}

/// What ends the command when no message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Nothing.
    Endless,
    /// So long without a message.
    For(Duration),
    /// The queue has nothing more for this consumer.
    UntilDrained,
}

/// Why it stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    /// All that was wanted is here, or nothing is left.
    Done,
    /// No message for long enough.
    Waited,
    /// A signal, with the shell's exit code.
    Signal(u8),
    /// The output went away, or the consumer failed.
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
        // A subscription of its own has what comes from now on; of what a selector leaves, nobody knows the end.
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
        client = session::connect(&args.target, session::FAIL_OVER) => Box::pin(receive(client?, &args, &mut signals)).await,
        code = signals.next() => Err(Failure::quiet(code)),
    }
}

async fn receive(client: Client, args: &ReceiveArgs, signals: &mut StopSignals) -> Result<(), Failure> {
    let mut gate = AckGate::new(args.count, WINDOW);
    if gate.complete() {
        return Ok(());
    }
    let options = ConsumerOptions { credit: gate.credit(), ..ConsumerOptions::default() };
    let consumer = match &args.topic {
        None => {
            let selector = args.selector.clone();
            client.consumer(&args.queue, ConsumerOptions { selector, ..options }).await?
        }
        Some(topic) => client.subscriber(&args.queue, topic, &args.selector, options).await?,
    };
    let mut held = Vec::new();
    let end = tokio::select! {
        end = print_all(&client, &consumer, args, &mut gate, &mut held) => end,
        code = signals.next() => End::Signal(code),
    };
    let settled = tokio::select! {
        settled = settle(&consumer, args, &held) => settled,
        // A second signal: whoever sent it does not want to wait for the engine.
        code = signals.next() => Err(Failure::with_code("stopped before the acknowledgements were committed", code)),
    };
    client.close().await;
    settled?;
    match end {
        End::Done => Ok(()),
        End::Waited => Err(Failure::quiet(EXIT_WAITED)),
        // That is how a consumer that goes on is meant to end.
        End::Signal(_) if args.follow => Ok(()),
        End::Signal(code) => Err(Failure::quiet(code)),
        End::Failed(failure) => Err(failure),
    }
}

/// Prints and acknowledges until there is a reason to stop. `held` are those that are printed and not acknowledged.
async fn print_all(
    client: &Client,
    consumer: &Consumer,
    args: &ReceiveArgs,
    gate: &mut AckGate,
    held: &mut Vec<Received>,
) -> End {
    let failed = |error: &dyn std::fmt::Display| End::Failed(Failure::new(error.to_string()));
    while !gate.complete() {
        let first = match next(client, consumer, args).await {
            Ok(first) => first,
            Err(end) => return end,
        };
        let mut batch = vec![first];
        while (batch.len() as u64) < gate.wanted().min(PRINT_AT_ONCE) {
            match consumer.try_recv() {
                Ok(Some(received)) => batch.push(received),
                Ok(None) => break,
                Err(error) => return failed(&error),
            }
        }
        if let Err(error) = print(&batch, args.json).await {
            return failed(&format!("stdout: {error}; what was not printed is not acknowledged"));
        }
        for received in batch {
            if !gate.received() {
                held.push(received);
            } else if let Err(error) = args.settle(consumer, &received) {
                return failed(&error);
            }
        }
    }
    End::Done
}

/// The next message, or why none is waited for any longer.
async fn next(client: &Client, consumer: &Consumer, args: &ReceiveArgs) -> Result<Received, End> {
    let patience = args.patience();
    let mut looked_empty = false;
    loop {
        let quiet = match patience {
            Patience::Endless => Duration::MAX,
            Patience::For(wait) => wait,
            Patience::UntilDrained => DRAIN_QUIET,
        };
        match tokio::time::timeout(quiet, consumer.recv()).await {
            Ok(Ok(received)) => return Ok(received),
            Ok(Err(error)) => return Err(End::Failed(Failure::new(error.to_string()))),
            Err(_) => match patience {
                Patience::Endless => {}
                Patience::For(_) => return Err(End::Waited),
                Patience::UntilDrained => match left(client, consumer, &args.queue).await.map_err(End::Failed)? {
                    Left::Nothing => return Err(End::Done),
                    // What is in flight may be on its way to this consumer: one more quiet time tells.
                    Left::InFlight if looked_empty => return Err(End::Done),
                    Left::InFlight => looked_empty = true,
                    Left::More => looked_empty = false,
                },
            },
        }
    }
}

/// What a queue holds for a consumer that has settled all it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// It is empty.
    Nothing,
    /// All that it holds is in flight.
    InFlight,
    /// There are messages to be delivered.
    More,
}

impl Left {
    fn of(status: &QueueStatus) -> Self {
        match (status.depth, status.in_flight) {
            (0, _) => Self::Nothing,
            (depth, in_flight) if depth <= in_flight => Self::InFlight,
            (_, _) => Self::More,
        }
    }
}

async fn left(client: &Client, consumer: &Consumer, queue: &QueueName) -> Result<Left, Failure> {
    // The engine first: if there is none, this says so, where waiting for the acknowledgements would have no end.
    let before = session::queue(client, queue).await?;
    if Left::of(&before) == Left::More {
        return Ok(Left::More);
    }
    consumer.flush().await.map_err(|error| Failure::new(error.to_string()))?;
    Ok(Left::of(&session::queue(client, queue).await?))
}

/// Writes a line a message, and returns when the system has them.
async fn print(batch: &[Received], json: bool) -> std::io::Result<()> {
    let mut text = Vec::with_capacity(batch.iter().map(|received| received.message.body.len() + 1).sum());
    for received in batch {
        if json {
            serde_json::to_writer(&mut text, &MessageInJson::of_received(received))?;
        } else {
            text.extend_from_slice(&received.message.body);
        }
        text.push(b'\n');
    }
    let mut stdout = tokio::io::stdout();
    stdout.write_all(&text).await?;
    stdout.flush().await
}

/// Acknowledges what was held back, without inviting more, and waits until all acknowledgements are committed. What
/// came and was never printed goes back as if it had not been delivered.
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
            consumers: 1,
            slow_consumers: 0,
            kind: baton_actors::protocol::Kind::Queue,
            settings: baton_storage::Settings::default(),
            temporary: false,
        };
        for (depth, in_flight, expected) in [
            (0, 0, Left::Nothing),
            (3, 3, Left::InFlight),
            (3, 2, Left::More),
            (1, 0, Left::More),
            (2, 3, Left::InFlight),
        ] {
            assert_eq!(Left::of(&queue(depth, in_flight)), expected);
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
