//! `baton transfer FROM TO`: moves messages, each exactly once.

use std::time::Duration;

use baton::client::{
    Client, Consumer, ConsumerFailure, ConsumerOptions, Received, RollBackReason, TransactionError, Transactions,
};
use baton_client::protocol::EngineError;
use baton_domain::{MessageId, QueueName};
use clap::Args;

use super::failure::with_causes;
use super::held_up::{HeldUp, saying_why_nothing_goes};
use super::signals::StopSignals;
use super::target::Target;
use super::{Failure, output, requests, stderr};

/// Max messages per transaction.
const AT_ONCE: usize = 100;
/// Max bytes of a transaction with more than one message: the engine's limit is higher.
const BYTES_AT_ONCE: usize = 4 << 20;
/// Time without a message after which the queue is asked for more.
const QUIET: Duration = Duration::from_millis(500);
/// Delay before a transaction is retried that could not be done for now.
const PAUSE: Duration = Duration::from_millis(200);

/// Options of `baton transfer`.
#[derive(Debug, Clone, Args)]
pub(super) struct TransferArgs {
    #[command(flatten)]
    target: Target,
    /// Source: a queue or a subscription
    from: QueueName,
    /// Destination
    to: QueueName,
    /// Go on until a signal; default: stop after the messages that were there at the start
    #[arg(long)]
    follow: bool,
    /// Print the result in JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: TransferArgs) -> Result<(), Failure> {
    let (from, to) = (&args.from, &args.to);
    if from == to {
        return Err(Failure::new(format!("{from} and {to} are the same: name another destination")));
    }
    let mut signals = StopSignals::listen()?;
    let client = requests::connect(&args.target, requests::FAIL_OVER).await?;
    let source = requests::queue(&client, from).await?;
    if requests::queue(&client, to).await?.settings.forward_to.contains(from) {
        let words = format!("{to} forwards to {from}: moved messages would come back");
        return Err(Failure::new(words));
    }
    let options = ConsumerOptions::default().credit(2 * AT_ONCE as u32);
    let consumer = client.consumer(from, options).await?;
    let mut mover = Mover {
        client: &client,
        consumer: &consumer,
        transactions: client.transactions(),
        to,
        follow: args.follow,
        left_to_move: if args.follow { u64::MAX } else { source.depth },
        moved: 0,
        holding: Vec::new(),
        stuck: Vec::new(),
        why: None,
    };
    let outcome = tokio::select! {
        outcome = mover.transfer(from) => outcome,
        code = signals.next() => if args.follow { Ok(()) } else { Err(Failure::quiet(code)) },
    };
    let Mover { moved, holding, stuck, why, .. } = mover;
    for message in holding.iter().chain(&stuck) {
        // Messages that were not moved go back unchanged. A consumer that is gone holds nothing any more.
        let _ = consumer.release(*message);
    }
    let _ = tokio::time::timeout(requests::SOON, consumer.close()).await;
    let left = stuck.len() as u64;
    if args.json {
        output::print_json(&serde_json::json!({ "moved": moved, "left": left }))?;
    } else {
        output::print(&format!("{} moved\n", output::counted(moved, "message")))?;
    }
    client.close().await;
    outcome?;
    match why {
        Some(why) if left > 0 => {
            let words = format!("{} could not be moved and stayed in {from}: {why}", output::counted(left, "message"));
            Err(Failure::with_code(words, Failure::PARTLY))
        }
        Some(_) | None => Ok(()),
    }
}

/// Moves messages from one queue to another.
struct Mover<'a> {
    client: &'a Client,
    consumer: &'a Consumer,
    transactions: Transactions,
    to: &'a QueueName,
    follow: bool,
    /// Messages moved, of those that were there at the beginning.
    left_to_move: u64,
    moved: u64,
    /// Messages of a transaction whose outcome is unknown.
    holding: Vec<MessageId>,
    /// Messages that cannot be moved, not even alone.
    stuck: Vec<MessageId>,
    /// The reason for the first of these.
    why: Option<EngineError>,
}

/// A consumer that ended.
fn ended(error: ConsumerFailure) -> Failure {
    Failure::new(error.to_string())
}

impl Mover<'_> {
    async fn transfer(&mut self, from: &QueueName) -> Result<(), Failure> {
        let mut held_up = HeldUp::default();
        while self.left_to_move > 0 && self.stuck.len() < AT_ONCE {
            let first = match tokio::time::timeout(QUIET, self.consumer.recv()).await {
                Ok(first) => first.map_err(ended)?,
                Err(_) => {
                    held_up.look(self.client, self.consumer, from, self.follow).await?;
                    let status = requests::queue(self.client, from).await?;
                    if status.depth > status.in_flight + status.kept {
                        held_up.add_quiet(QUIET);
                    } else if !self.follow {
                        let elsewhere = (status.in_flight + status.kept).saturating_sub(self.stuck.len() as u64);
                        if elsewhere > 0 {
                            let words = format!(
                                "{} stayed in {from}: other consumers hold them, or they wait for an exception destination",
                                output::counted(elsewhere, "message")
                            );
                            return Err(Failure::with_code(words, Failure::PARTLY));
                        }
                        return Ok(());
                    }
                    continue;
                }
            };
            held_up.over();
            let mut bytes = first.message.size();
            let mut taken = vec![first];
            while taken.len() < AT_ONCE
                && (taken.len() as u64) < self.left_to_move
                && bytes < BYTES_AT_ONCE
                && let Some(next) = self.consumer.try_recv().map_err(ended)?
            {
                bytes += next.message.size();
                taken.push(next);
            }
            self.holding = taken.iter().map(|received| received.id).collect();
            self.move_all(taken).await?;
            self.holding.clear();
        }
        Ok(())
    }

    /// Moves these messages: together, or if that fails in parts, so that no message stays because of another one.
    async fn move_all(&mut self, taken: Vec<Received>) -> Result<(), Failure> {
        let mut parts = vec![taken];
        while let Some(mut part) = parts.pop() {
            let Err(why) = self.commit(&part).await else {
                self.moved += part.len() as u64;
                self.done(&part);
                continue;
            };
            match why {
                RollBackReason::Engine(
                    why @ (EngineError::TransactionTooLarge { .. }
                    | EngineError::MessageTooLarge { .. }
                    | EngineError::MessageGone { .. }
                    | EngineError::BadTopic(_)
                    | EngineError::Refused(_)),
                ) => match &part[..] {
                    [one] => self.cannot_move(one, why)?,
                    _ => {
                        let half = part.split_off(part.len() / 2);
                        parts.extend([half, part]);
                    }
                },
                // Temporary: nothing is wrong with the messages.
                why if self.follow => {
                    stderr::say(&format!("baton: {why}; retrying"));
                    tokio::time::sleep(PAUSE).await;
                    parts.push(part);
                }
                why => {
                    let words = format!("the other messages stayed in the source: {why}");
                    return Err(Failure::with_code(words, Failure::PARTLY));
                }
            }
        }
        Ok(())
    }

    fn done(&mut self, part: &[Received]) {
        self.left_to_move = self.left_to_move.saturating_sub(part.len() as u64);
        let done = |id: &MessageId| part.iter().any(|received| received.id == *id);
        self.holding.retain(|id| !done(id));
    }

    /// A message that cannot be moved, not even alone.
    fn cannot_move(&mut self, received: &Received, why: EngineError) -> Result<(), Failure> {
        self.done(std::slice::from_ref(received));
        if matches!(why, EngineError::MessageGone { .. }) {
            // It expired, or another consumer settled it first. The engine is told that this consumer does not hold it.
            return self.consumer.acknowledge(received.id).map_err(ended);
        }
        stderr::say(&format!("baton: message {}: {why}", received.id));
        self.why.get_or_insert(why);
        if self.follow {
            // It would come back at once: its queue's failed-delivery limit decides when it becomes a dead letter.
            return self.consumer.refuse(received.id).map_err(ended);
        }
        self.stuck.push(received.id);
        Ok(())
    }

    async fn commit(&mut self, taken: &[Received]) -> Result<(), RollBackReason> {
        let mut transaction = self.transactions.begin();
        for received in taken {
            transaction.send(self.to, received.message.clone());
            transaction.acknowledge(self.consumer, received.id);
        }
        loop {
            match saying_why_nothing_goes(self.client, self.to, || 0, transaction.commit()).await {
                Ok(()) => return Ok(()),
                // Asked again, the engine reports the outcome.
                Err(error @ TransactionError::InDoubt(_)) => {
                    stderr::say(&format!("baton: {}", with_causes(&error)));
                    tokio::time::sleep(PAUSE).await;
                }
                Err(TransactionError::RolledBack(why)) => return Err(why),
            }
        }
    }
}
