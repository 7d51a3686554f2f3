//! Client calls shared by several commands.

use std::time::Duration;

use baton::client::{Client, ClientConfig, ClientError};
use baton_client::protocol::{DirectoryReply, DirectoryRequest, EngineError, QueueStatus, Status};
use baton_domain::{QueueName, ServerName};

use super::Failure;
use super::target::Target;

/// Deadline for connecting, and for requests that are answered at once.
pub(super) const SOON: Duration = Duration::from_secs(8);
/// Deadline for requests that may have to wait for a failover.
pub(super) const FAIL_OVER: Duration = Duration::from_secs(20);

/// Connects to the cluster that the command names; `deadline` bounds this and each request.
pub(super) async fn connect(target: &Target, deadline: Duration) -> Result<Client, Failure> {
    match Client::connect(target.client_config(deadline)?).await {
        Ok(client) => Ok(client),
        Err(ClientError::WrongCookie(why)) => Err(Failure::new(format!("{why}; check {}", target.cookie_source()))),
        Err(error) => Err(error.into()),
    }
}

/// Connects with this configuration.
pub(super) async fn connect_with(config: ClientConfig) -> Result<Client, Failure> {
    Ok(Client::connect(config).await?)
}

/// The engine, the policy, the servers.
pub(super) async fn status(client: &Client) -> Result<Status, Failure> {
    Ok(client.status().await?)
}

/// Sends a request that only the leader can do.
pub(super) async fn admin(client: &Client, request: DirectoryRequest) -> Result<DirectoryReply, Failure> {
    done(client.admin(request).await?)
}

/// Commits a marker; returns its log index.
pub(super) async fn mark(client: &Client) -> Result<u64, Failure> {
    match admin(client, DirectoryRequest::Mark).await? {
        DirectoryReply::Marked { index } => Ok(index),
        other => Err(unexpected(&other)),
    }
}

/// Sends a request to one server, leader or not.
pub(super) async fn ask(
    client: &Client,
    server: &ServerName,
    request: DirectoryRequest,
) -> Result<DirectoryReply, Failure> {
    done(client.ask(server, request).await?)
}

/// Turns a refusal into a failure.
fn done(reply: DirectoryReply) -> Result<DirectoryReply, Failure> {
    match reply {
        DirectoryReply::Refused(why) => Err(Failure::new(why)),
        DirectoryReply::Elsewhere(_) => {
            Err(Failure::new("the store has no leader now: a majority of the servers must be up"))
        }
        reply @ (DirectoryReply::News(_)
        | DirectoryReply::Report(_)
        | DirectoryReply::Status(_)
        | DirectoryReply::Done
        | DirectoryReply::Admitted { .. }
        | DirectoryReply::Marked { .. }
        | DirectoryReply::Hash(_)
        | DirectoryReply::Policy(_)
        | DirectoryReply::ReplicaOf(_)
        | DirectoryReply::Standing(_)) => Ok(reply),
    }
}

/// The queue's status; a failure if there is no queue of that name.
pub(super) async fn queue(client: &Client, name: &QueueName) -> Result<QueueStatus, Failure> {
    let queues = client.queues().await?;
    let found = queues.into_iter().find(|status| status.name == *name);
    // The engine's message.
    found.ok_or_else(|| Failure::new(EngineError::NoSuchQueue(name.clone()).to_string()))
}

/// A reply that does not match the request: a bug, or another version.
pub(super) fn unexpected(reply: &DirectoryReply) -> Failure {
    Failure::new(format!("unexpected reply: the server may run another version: {reply:?}"))
}
