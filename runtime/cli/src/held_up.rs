//! Reasons why a queue with messages delivers none to this consumer, or accepts none: no command waits in silence.

use std::future::Future;
use std::time::Duration;

use baton::client::{Client, Consumer};
use baton_domain::QueueName;

use super::{Failure, requests, stderr};

/// Time without a delivery, with messages in the queue, before the reason is printed: longer than a new engine waits for
/// former consumers.
const NOTHING_COMES: Duration = Duration::from_secs(30);

/// Time without progress before a destination is asked for the reason.
const NOTHING_GOES: Duration = Duration::from_secs(2);

/// Runs `work`, which sends to `queue`. If `done` stays the same for some time, the reason is printed to stderr, once.
pub(super) async fn saying_why_nothing_goes<T>(
    client: &Client,
    queue: &QueueName,
    done: impl Fn() -> u64,
    work: impl Future<Output = T>,
) -> T {
    let watch = async {
        let (mut before, mut said) = (None, None);
        loop {
            tokio::time::sleep(NOTHING_GOES).await;
            let now = done();
            if before.replace(now) != Some(now) {
                said = None;
                continue;
            }
            let why = why_nothing_goes(client, queue).await;
            if let Some(why) = why.filter(|why| said.as_ref() != Some(why)) {
                stderr::say(&format!("baton: {why}; waiting"));
                said = Some(why);
            }
        }
    };
    tokio::select! {
        result = work => result,
        () = watch => unreachable!("this loop has no end"),
    }
}

async fn why_nothing_goes(client: &Client, queue: &QueueName) -> Option<String> {
    let status = match requests::queue(client, queue).await {
        Ok(status) => status,
        Err(failure) => return Some(failure.to_string()),
    };
    let max = status.settings.max_messages;
    if status.settings.send_paused {
        return Some(format!("queue {queue} is paused for senders: run `baton queue resume {queue}`"));
    }
    (max > 0 && status.depth >= max).then(|| {
        format!(
            "queue {queue} is full with {max} messages: consume some, or raise the limit with `baton queue set {queue} \
             --max-messages N`"
        )
    })
}

/// Watches a queue that delivers nothing.
#[derive(Debug, Default)]
pub(super) struct HeldUp {
    /// True if the reason was printed since the last delivery.
    said: bool,
    /// Time with messages in the queue and no delivery.
    quiet: Duration,
}

impl HeldUp {
    /// Records a delivery.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }

    /// Adds time without a delivery although there are messages.
    pub(super) fn add_quiet(&mut self, quiet: Duration) {
        self.quiet += quiet;
    }

    /// Looks for a reason. If there is one: an error with its own exit code, or, for commands that go on anyway, a line on
    /// stderr, once.
    pub(super) async fn look(
        &mut self,
        client: &Client,
        consumer: &Consumer,
        queue: &QueueName,
        goes_on: bool,
    ) -> Result<(), Failure> {
        let why = match self.why(client, consumer, queue).await {
            Ok(Some(why)) => why,
            Ok(None) => return Ok(()),
            // A command that goes on waits for the engine, and for a queue that is created again.
            Err(_) if goes_on => return Ok(()),
            Err(failure) => return Err(failure),
        };
        if !goes_on {
            return Err(Failure::with_code(why, Failure::HELD_UP));
        }
        if !std::mem::replace(&mut self.said, true) {
            stderr::say(&format!("baton: {why}; waiting"));
        }
        Ok(())
    }

    async fn why(&self, client: &Client, consumer: &Consumer, queue: &QueueName) -> Result<Option<String>, Failure> {
        let status = requests::queue(client, queue).await?;
        if status.settings.receive_paused {
            let why = format!("queue {queue} is paused for consumers: run `baton queue resume {queue}`");
            return Ok(Some(why));
        }
        if status.settings.exclusive {
            let consumers = client.consumers(Some(queue)).await?;
            if let Some(served) = consumers.first().filter(|served| served.consumer != consumer.id()) {
                let why = format!("queue {queue} is exclusive, and a consumer of client {} holds it", served.client);
                return Ok(Some(why));
            }
        }
        let why = format!(
            "queue {queue} has messages, but none for this consumer: other consumers hold their groups, or messages of a \
             higher priority wait"
        );
        Ok((self.quiet >= NOTHING_COMES).then_some(why))
    }
}
