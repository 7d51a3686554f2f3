//! Why a queue that has messages delivers none of them here, or takes none: nobody waits in silence.

use std::future::Future;
use std::time::Duration;

use baton::client::{Client, Consumer};
use baton_domain::QueueName;

use super::{Failure, session, stderr};

/// So long a queue may have messages for nobody here before that is said: longer than a new engine waits for consumers.
const NOTHING_COMES: Duration = Duration::from_secs(30);

/// A destination that took nothing for so long is asked why.
const NOTHING_GOES: Duration = Duration::from_secs(2);

/// Does `work`, which sends to `queue`. Where `done` stays the same for some time, the reason is said on stderr, once.
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
        () = watch => unreachable!("it has no end"),
    }
}

async fn why_nothing_goes(client: &Client, queue: &QueueName) -> Option<String> {
    let status = match session::queue(client, queue).await {
        Ok(status) => status,
        Err(failure) => return Some(failure.to_string()),
    };
    let max = status.settings.max_messages;
    if status.settings.send_paused {
        return Some(format!(
            "the queue {queue} is paused and takes no messages: `baton queue resume {queue}` lets it"
        ));
    }
    (max > 0 && status.depth >= max).then(|| {
        format!(
            "the queue {queue} is full with {max} messages: consumers have to take some, or `baton queue set {queue} \
             --max-messages N` makes room"
        )
    })
}

/// Watches a queue from which nothing comes.
#[derive(Debug, Default)]
pub(super) struct HeldUp {
    /// Whether it was said since the last message came.
    said: bool,
    /// For how long messages have been there and none came.
    quiet: Duration,
}

impl HeldUp {
    /// A message came.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }

    /// Nothing came for so long, though there are messages.
    pub(super) fn add_quiet(&mut self, quiet: Duration) {
        self.quiet += quiet;
    }

    /// Looks why nothing comes. An error with an exit code of its own if there is a reason; for those who go on all the
    /// same it is said once.
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
            // Whoever goes on waits for the engine, and for a queue that is created again.
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
        let status = session::queue(client, queue).await?;
        if status.settings.receive_paused {
            let why = format!("the queue {queue} is paused and delivers nothing: `baton queue resume {queue}` lets it");
            return Ok(Some(why));
        }
        if status.settings.exclusive {
            let consumers = client.consumers(Some(queue)).await?;
            if let Some(served) = consumers.first().filter(|served| served.consumer != consumer.id()) {
                let why = format!("the queue {queue} is exclusive, and a consumer of {} has it", served.client);
                return Ok(Some(why));
            }
        }
        let why = format!(
            "the queue {queue} has messages, and none for this consumer: their groups are with others, or messages of a \
             higher priority wait"
        );
        Ok((self.quiet >= NOTHING_COMES).then_some(why))
    }
}
