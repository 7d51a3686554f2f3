//! `baton verify`: compares the replicas of the store.
//!
//! Commits a marker, and asks every server for the running hash of its log up to there.

use std::time::Duration;

use baton::client::Client;
use baton_client::protocol::{DirectoryReply, DirectoryRequest};
use baton_domain::ServerName;
use baton_domain::clock::BootTime;
use clap::Args;

use super::target::Target;
use super::{Failure, output, requests};

/// Time for a server to apply the marker.
const CATCH_UP: Duration = Duration::from_secs(10);
/// Time for a server to answer that is reported as down.
const DOWN: Duration = Duration::from_secs(2);
/// Interval between two requests.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Options of `baton verify`.
#[derive(Debug, Clone, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    target: Target,
}

/// The answer of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its hash at the marker.
    Hash(u128),
    /// It has not applied the marker.
    Behind,
    /// No answer, with the reason.
    Unreachable(String),
}

pub(super) async fn run(args: VerifyArgs) -> Result<(), Failure> {
    let client = requests::connect(&args.target, requests::SOON).await?;
    let servers = requests::status(&client).await?.servers;
    let index = requests::mark(&client).await?;
    let asked = servers.iter().map(|server| async {
        // A server that the others cannot reach is asked too, briefly.
        let limit = if server.up { CATCH_UP } else { DOWN };
        let silent = |_| Answer::Unreachable(format!("no answer within {limit:?}"));
        let answer = tokio::time::timeout(limit, hash_at(&client, &server.name, index)).await.unwrap_or_else(silent);
        (server.name.clone(), answer)
    });
    let answers = futures::future::join_all(asked).await;
    output::print(&told(index, &answers))?;
    client.close().await;
    judge(&answers).map_err(Failure::new)
}

/// A server's running hash at a marker, once it has applied that.
pub(super) async fn hash_at(client: &Client, server: &ServerName, index: u64) -> Answer {
    // Returns before the caller's timeout, which would report the server as silent.
    let deadline = BootTime::now() + CATCH_UP / 2;
    loop {
        match requests::ask(client, server, DirectoryRequest::HashAt { index }).await {
            Ok(DirectoryReply::Hash(Some(hash))) => return Answer::Hash(hash),
            Ok(DirectoryReply::Hash(None)) if BootTime::now() >= deadline => return Answer::Behind,
            Ok(DirectoryReply::Hash(None)) => tokio::time::sleep(ASK_AGAIN).await,
            Ok(other) => return Answer::Unreachable(requests::unexpected(&other).to_string()),
            Err(failure) => return Answer::Unreachable(failure.to_string()),
        }
    }
}

fn told(index: u64, answers: &[(ServerName, Answer)]) -> String {
    let rows: Vec<Vec<String>> = answers
        .iter()
        .map(|(name, answer)| {
            let said = match answer {
                Answer::Hash(hash) => format!("{hash:032x}"),
                Answer::Behind => "has not caught up".to_owned(),
                Answer::Unreachable(why) => format!("unreachable: {why}"),
            };
            vec![name.to_string(), index.to_string(), said]
        })
        .collect();
    output::table(&["SERVER", ">INDEX", "HASH"], &rows)
}

/// Success if all servers hold the same.
fn judge(answers: &[(ServerName, Answer)]) -> Result<(), String> {
    let mut hashes: Vec<u128> = Vec::new();
    let mut silent = Vec::new();
    for (name, answer) in answers {
        match answer {
            Answer::Hash(hash) => hashes.push(*hash),
            Answer::Behind | Answer::Unreachable(_) => silent.push(name.as_str()),
        }
    }
    if hashes.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err("the replicas differ: do not change the stores, and report this as a bug".to_owned());
    }
    if !silent.is_empty() {
        return Err(format!("not compared: {}", silent.join(", ")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_must_all_answer_and_agree() {
        let name = |name: &str| ServerName::new(name).unwrap();
        let (a, b) = (name("server1"), name("server2"));
        let hash = Answer::Hash;
        let down = Answer::Unreachable("no link".to_owned());
        assert_eq!(judge(&[(a.clone(), hash(7)), (b.clone(), hash(7))]), Ok(()));
        for (answers, expected) in [
            ([(a.clone(), hash(7)), (b.clone(), hash(8))], "differ"),
            ([(a.clone(), hash(7)), (b.clone(), Answer::Behind)], "not compared: server2"),
            ([(a.clone(), down.clone()), (b.clone(), hash(7))], "not compared: server1"),
        ] {
            assert!(judge(&answers).unwrap_err().contains(expected), "{expected}");
        }
        let text = told(12, &[(a, hash(7)), (b, down)]);
        assert!(text.contains("server1     12  00000000000000000000000000000007"), "{text}");
        assert!(text.contains("server2     12  unreachable: no link"), "{text}");
    }
}
