//! Every use of the client's calls that more than one command makes.

use std::time::Duration;

use baton::client::{Client, ClientConfig, ClientError};
use baton_client::protocol::{DirectoryReply, DirectoryRequest, EngineError, QueueStatus, Status};
use baton_domain::{QueueName, ServerName};

use super::Failure;
use super::target::Target;

/// How long connecting and a request may take whose work takes no time of its own.
pub(super) const SOON: Duration = Duration::from_secs(8);
/// The same where a fail over may have to be waited for.
pub(super) const FAIL_OVER: Duration = Duration::from_secs(20);

/// Connects to the cluster that the command names; `deadline` bounds this and each request.
pub(super) async fn connect(target: &Target, deadline: Duration) -> Result<Client, Failure> {
    match Client::connect(target.client_config(deadline)?).await {
        Ok(client) => Ok(client),
        Err(ClientError::WrongCookie(why)) => Err(Failure::new(format!("{why}; check {}", target.cookie_source()))),
        Err(error) => Err(error.into()),
    }
}

/// Connects with what is known.
pub(super) async fn connect_with(config: ClientConfig) -> Result<Client, Failure> {
    Ok(Client::connect(config).await?)
}

/// The engine, the policy, the servers.
pub(super) async fn status(client: &Client) -> Result<Status, Failure> {
    Ok(client.status().await?)
}

/// Asks the cluster for something that only its leader does.
pub(super) async fn admin(client: &Client, request: DirectoryRequest) -> Result<DirectoryReply, Failure> {
    done(client.admin(request).await?)
}

/// Has the cluster commit a marker; answers its log index.
pub(super) async fn mark(client: &Client) -> Result<u64, Failure> {
    match admin(client, DirectoryRequest::Mark).await? {
        DirectoryReply::Marked { index } => Ok(index),
        other => Err(unexpected(&other)),
    }
}

/// Asks one server, whoever leads.
pub(super) async fn ask(
    client: &Client,
    server: &ServerName,
    request: DirectoryRequest,
) -> Result<DirectoryReply, Failure> {
    done(client.ask(server, request).await?)
}

/// A refusal is a failure.
fn done(reply: DirectoryReply) -> Result<DirectoryReply, Failure> {
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
        | DirectoryReply::Hash(_)
        | DirectoryReply::Policy(_)
        | DirectoryReply::ReplicaOf(_)
        | DirectoryReply::Standing(_)) => Ok(reply),
    }
}

/// The queue in numbers; a failure if there is none of that name.
pub(super) async fn queue(client: &Client, name: &QueueName) -> Result<QueueStatus, Failure> {
    let queues = client.queues().await?;
    let found = queues.into_iter().find(|status| status.name == *name);
    // The same words as the engine's.
    found.ok_or_else(|| Failure::new(EngineError::NoSuchQueue(name.clone()).to_string()))
}

/// A reply that does not fit the request: a bug, or another version.
pub(super) fn unexpected(reply: &DirectoryReply) -> Failure {
    Failure::new(format!("the server gave an answer that this program does not understand: {reply:?}"))
}
