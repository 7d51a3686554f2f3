//! `baton rebuild`: sets a stopped server's store aside, so that it is restored from its peers.
//!
//! A server without a store joins automatically when it starts, so a rebuild only has to move the store out of the way.
//! The one danger is that it is the last good copy. The other servers prove that it is not: they commit an entry without
//! this server, and a majority that can do so holds every confirmed message. Where the log is in a database, it is read
//! through instead.

mod level;

use std::path::{Path, PathBuf};
use std::time::Duration;

use baton::client::{Client, ClientConfig};
use baton::config::ServerConfig;
use baton_client::protocol::{DirectoryReply, DirectoryRequest};
use baton_domain::clock::{BootTime, unix_ms};
use baton_replica::{StoppedStore, StoreError, damage};
use clap::Args;
use serde_json::json;

use super::failure::with_causes;
use super::recover::check_owner;
use super::{Failure, output, requests};

/// The other servers do not hold a quorum without this one.
const EXIT_NO_QUORUM: u8 = 2;
/// The server did not catch up in time.
const EXIT_NOT_LEVEL: u8 = 3;
/// Time for which a store may be in use before its server counts as running: a service manager that restarts a server
/// in a loop opens it for a moment each time.
pub(super) const IN_USE: Duration = Duration::from_secs(10);
/// Interval between two checks.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Interval between two requests of a server that may rebuild itself.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Options of `baton rebuild`.
#[derive(Debug, Clone, Args)]
pub(super) struct RebuildArgs {
    /// File of the server whose store is damaged; the server must be stopped, or fail at each start
    file: PathBuf,
    /// Wait up to this time until the server, once started, has caught up
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    /// Delete the old store once the server has caught up
    #[arg(long, requires = "wait")]
    discard: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SetAside {
    /// The path of the old store and its size in bytes; `None` if there was none.
    aside: Option<(PathBuf, u64)>,
    /// The log index that the others committed without this server.
    index: u64,
}

pub(super) async fn run(args: RebuildArgs) -> Result<(), Failure> {
    let config = ServerConfig::load(&args.file)?;
    let others = if config.database.is_some() { None } else { Some(connect_to_others(&config).await?) };
    let done = set_aside(&config, others.as_ref(), false).await?;
    let mut level = None;
    if !args.json {
        output::print(&summary(&config, &done))?;
    }
    let others = match others {
        None if args.wait.is_some() => Some(connect_to_others(&config).await?),
        others => others,
    };
    if let (Some(seconds), Some(client)) = (args.wait, &others) {
        level = Some(level::wait(client, &config.name, Duration::from_secs(seconds)).await);
    }
    if let Some(client) = others {
        client.close().await;
    }
    let discarded = match &done.aside {
        Some((old, _)) if args.discard && level == Some(true) => {
            std::fs::remove_dir_all(old)
                .map_err(|error| Failure::new(format!("cannot delete {}: {error}", old.display())))?;
            true
        }
        _ => false,
    };
    if args.json {
        let aside = done.aside.as_ref();
        output::print_json(&json!({
            "server": config.name, "set_aside": aside.map(|(old, _)| old), "bytes": aside.map(|(_, bytes)| bytes),
            "committed_without_it": done.index, "level": level, "discarded": discarded,
        }))?;
    } else if level == Some(true) {
        let old = if discarded { "; the old store is deleted" } else { "" };
        output::print(&format!("done        {} has caught up with the others{old}\n", config.name))?;
    }
    if level == Some(false) {
        let kept = if args.discard { "; the old store is kept" } else { "" };
        let why = format!("{} did not catch up with the others in time{kept}: see `baton status`", config.name);
        return Err(Failure::with_code(why, EXIT_NOT_LEVEL));
    }
    Ok(())
}

/// For a server that may rebuild itself: if the store is damaged, waits until the others can do without it, then sets it
/// aside.
pub(super) async fn if_damaged(config: &ServerConfig) -> Result<(), Failure> {
    let mut said = String::new();
    while let Some(why) = damage(&config.dir) {
        let outcome = match &config.database {
            Some(_) => set_aside(config, None, true).await,
            None => match connect_to_others(config).await {
                Ok(client) => {
                    let outcome = set_aside(config, Some(&client), true).await;
                    client.close().await;
                    outcome
                }
                Err(failure) => Err(failure),
            },
        };
        match outcome {
            Ok(SetAside { aside, .. }) => {
                let aside = aside.map(|(old, _)| old.display().to_string()).unwrap_or_default();
                tracing::warn!(%why, aside, "the store was damaged: it is set aside, and the replica is rebuilt");
                return Ok(());
            }
            // The others may be starting, too.
            Err(failure) if failure.code() == EXIT_NO_QUORUM => {
                let told = failure.to_string();
                if told != said {
                    tracing::warn!(%why, not_yet = told, "the store is damaged");
                    said = told;
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

fn no_quorum(config: &ServerConfig, why: &str) -> Failure {
    let message = format!(
        "nothing was changed: the store of {} may be the last copy of some messages, because the other servers do not \
         hold a quorum without it ({why}); start them first, or see `baton recover --help` if they are lost for good",
        config.name
    );
    Failure::with_code(message, EXIT_NO_QUORUM)
}

async fn connect_to_others(config: &ServerConfig) -> Result<Client, Failure> {
    let others = config.members.iter().filter(|member| member.name != config.name);
    let others: Vec<String> = others.map(|member| member.address.clone()).collect();
    if others.is_empty() {
        return Err(no_quorum(config, "there are no other servers"));
    }
    let mut others = ClientConfig::new(others, config.cluster, *config.secrets.cookie.bytes());
    others.tls.clone_from(&config.tls);
    others.deadline = requests::SOON;
    requests::connect_with(others).await.map_err(|failure| no_quorum(config, &failure.to_string()))
}

/// Sets the store aside, unless something forbids it. A server does this automatically only once: a disk that damages
/// its store again needs an operator, and stores that are set aside take space. `others` is a client of the other servers;
/// none where the log is in a database.
async fn set_aside(config: &ServerConfig, others: Option<&Client>, by_itself: bool) -> Result<SetAside, Failure> {
    // From here on the server cannot start, so the others commit without it.
    let store = match take(&config.dir).await {
        Ok(store) => Some(store),
        Err(StoreError::Missing { .. }) => None,
        Err(StoreError::InUse { .. }) => {
            return Err(Failure::new(format!(
                "{} runs: its store at {} is in use; stop it first, or leave it alone if it works",
                config.name,
                config.dir.display()
            )));
        }
        Err(error) => return Err(Failure::new(error.to_string())),
    };
    if let Some(header) = store.as_ref().and_then(StoppedStore::header) {
        check_owner(config, header)?;
    }
    if let Some(earlier) = store.as_ref().and_then(|store| store.earlier().into_iter().next()).filter(|_| by_itself) {
        return Err(Failure::new(format!(
            "the store at {} is damaged again after {} was set aside: look at the disk, then run `baton rebuild {}` or \
             delete the store that was set aside",
            config.dir.display(),
            earlier.display(),
            config.place()
        )));
    }
    let index = match others {
        Some(client) => committed_without(config, client).await?,
        None => baton::server::read_through(config).await.map_err(|error| {
            let message = format!(
                "nothing was changed: the store of {} may be the last copy of some messages, because the log does not \
                 prove that it has all ({})",
                config.name,
                with_causes(&error)
            );
            Failure::with_code(message, EXIT_NO_QUORUM)
        })?,
    };
    let Some(store) = store else { return Ok(SetAside { aside: None, index }) };
    let words = |error: StoreError| Failure::new(error.to_string());
    let bytes = store.bytes().map_err(words)?;
    let old = store.set_aside(&label(unix_ms())).map_err(words)?;
    Ok(SetAside { aside: Some((old, bytes)), index })
}

/// The log index that the other servers commit without this one.
async fn committed_without(config: &ServerConfig, client: &Client) -> Result<u64, Failure> {
    let index = match requests::admin(client, DirectoryRequest::Mark).await {
        Ok(DirectoryReply::Marked { index }) => index,
        Ok(other) => return Err(requests::unexpected(&other)),
        Err(failure) => return Err(no_quorum(config, &failure.to_string())),
    };
    let status = requests::status(client).await?;
    if !status.servers.iter().any(|server| server.name == config.name) {
        return Err(Failure::new(format!(
            "nothing was changed: {0} is no longer a member of the cluster and could not join again; run `baton member \
             add {0}` first",
            config.name
        )));
    }
    Ok(index)
}

async fn take(dir: &Path) -> Result<StoppedStore, StoreError> {
    let deadline = BootTime::now() + IN_USE;
    loop {
        match StoppedStore::take(dir) {
            Err(StoreError::InUse { .. }) if BootTime::now() < deadline => tokio::time::sleep(LOOK_AGAIN).await,
            outcome => return outcome,
        }
    }
}

/// A time as part of a file name.
fn label(now_ms: u64) -> String {
    output::utc(now_ms).replace(" UTC", "Z").replace(' ', "T").replace(':', "-")
}

fn summary(config: &ServerConfig, done: &SetAside) -> String {
    let name = &config.name;
    let mut text = match &done.aside {
        Some((old, bytes)) => format!(
            "set aside   {} ({} MiB): delete it when {name} has caught up\n",
            old.display(),
            output::thousands(bytes.div_ceil(1024 * 1024))
        ),
        None => format!("set aside   nothing: there is no store at {}\n", config.dir.display()),
    };
    let index = output::thousands(done.index);
    if config.database.is_some() {
        text += &format!("the log     reads through without {name}, to entry {index}\n");
        let place = config.place();
        return text
            + &format!("next        start {name}: baton server {place}\n            it is filled from the log\n");
    }
    text += &format!("the others  hold a quorum without {name}: they committed entry {index}\n");
    text + &format!(
        "next        start {name} (or let the service manager do it): baton server {}\n\
         \x20           it joins automatically and is restored from its peers; `baton status` shows its lag\n",
        config.place()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_and_what_comes_next_is_said() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("c");
        let layout = baton::layout::Layout::loopback(3, &[7100, 7101, 7102], &[7200, 7201, 7202]).unwrap();
        layout.write(&dir).unwrap();
        let config = ServerConfig::load(&dir.join("server1.toml")).unwrap();
        assert_eq!(label(1_795_474_923_000), "2026-11-23T23-02-03Z");
        let done = SetAside { aside: Some((config.dir.join("set-aside-x"), 3 << 20)), index: 1_234 };
        let text = summary(&config, &done);
        for word in ["set-aside-x (3 MiB)", "committed entry 1,234", "baton server", "server1.toml"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let text = summary(&config, &SetAside { aside: None, index: 1 });
        assert!(text.contains("there is no store at"), "{text}");
        assert!(no_quorum(&config, "why").to_string().contains("baton recover"));
    }
}
