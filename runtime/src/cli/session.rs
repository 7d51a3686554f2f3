//! Every use of the client's calls that more than one command makes.

use std::time::Duration;

use baton_actors::protocol::{DirectoryReply, DirectoryRequest, QueueStatus, Status};
use baton_storage::{QueueName, ServerName};

use crate::client::{Client, ClientConfig};

use super::Failure;
use super::target::Target;

/// How long a command waits for the first server that answers.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a request may take whose work takes no time of its own.
pub(super) const REQUEST: Duration = Duration::from_secs(10);

/// Connects to the cluster that the command names.
pub(super) async fn connect(target: &Target) -> Result<Client, Failure> {
    connect_with(target.client_config()?).await
}

/// Connects with what is known.
pub(super) async fn connect_with(config: ClientConfig) -> Result<Client, Failure> {
    let asked = config.servers.join(", ");
    within(CONNECT, async { Ok(Client::connect(config).await?) }).await.unwrap_or_else(|| {
        Err(Failure::new(format!("no server answered within {} s; asked were {asked}", CONNECT.as_secs())))
    })
}

/// The future's output, or nothing after `limit`.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, work).await.ok()
}

/// The engine, the policy, the servers.
pub(super) async fn status(client: &Client) -> Result<Status, Failure> {
    within(REQUEST, async { Ok(client.status().await?) })
        .await
        .unwrap_or_else(|| Err(Failure::new("no server answered")))
}

/// Asks the cluster for something that only its leader does.
pub(super) async fn admin(
    client: &Client,
    request: DirectoryRequest,
    limit: Duration,
) -> Result<DirectoryReply, Failure> {
    let reply = within(limit, async { Ok(client.admin(request).await?) })
        .await
        .unwrap_or_else(|| Err(Failure::new(format!("it was not done within {} s", limit.as_secs()))))?;
    match reply {
        DirectoryReply::Refused(why) => Err(Failure::new(why)),
        DirectoryReply::Elsewhere(_) => {
            Err(Failure::new("no server leads the store now: a majority of the servers must be up"))
        }
        reply @ (DirectoryReply::News(_)
        | DirectoryReply::Report(_)
        | DirectoryReply::Status(_)
        | DirectoryReply::Done
        | DirectoryReply::Admitted { .. }
        | DirectoryReply::Marked { .. }
        | DirectoryReply::Hash(_)) => Ok(reply),
    }
}

/// Asks one server, whoever leads.
pub(super) async fn ask(
    client: &Client,
    server: &ServerName,
    request: DirectoryRequest,
    limit: Duration,
) -> Result<DirectoryReply, Failure> {
    within(limit, async { Ok(client.ask(server, request).await?) })
        .await
        .unwrap_or_else(|| Err(Failure::new(format!("{server} did not answer within {} s", limit.as_secs()))))
}

/// The queues.
pub(super) async fn queues(client: &Client) -> Result<Vec<QueueStatus>, Failure> {
    engine(async { Ok(client.queues().await?) }).await
}

/// Creates a queue; false if it was there.
pub(super) async fn create_queue(client: &Client, queue: &QueueName) -> Result<bool, Failure> {
    engine(async { Ok(client.create_queue(queue).await?) }).await
}

/// Deletes a queue with all that it holds.
pub(super) async fn delete_queue(client: &Client, queue: &QueueName) -> Result<(), Failure> {
    engine(async { Ok(client.delete_queue(queue).await?) }).await
}

/// Waits for the engine, through a fail over too.
pub(super) async fn engine<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    const ENGINE: Duration = Duration::from_secs(30);
    within(ENGINE, work).await.unwrap_or_else(|| {
        Err(Failure::new(format!("the engine did not answer within {} s: see `baton status`", ENGINE.as_secs())))
    })
}

/// A reply that does not fit the request: a bug, or another version.
pub(super) fn unexpected(reply: &DirectoryReply) -> Failure {
    Failure::new(format!("the server gave an answer that this program does not understand: {reply:?}"))
}
