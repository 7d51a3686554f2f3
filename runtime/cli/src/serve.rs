//! `baton server`: runs one server.

use std::path::PathBuf;

use baton::config::{ServerConfig, defaults};
use baton::server::{Server, ServerError};
use baton_links::descriptors;
use baton_replica::{damage, older_copy};
use clap::Args;
use futures::future::BoxFuture;
use tracing_subscriber::EnvFilter;

use super::Failure;
use super::rebuild;
use super::signals::StopSignals;

/// The server was removed from the cluster: to start it again changes nothing.
const EXIT_REMOVED: u8 = 4;

/// Options of `baton server`.
#[derive(Debug, Clone, Args)]
pub(super) struct ServeArgs {
    /// The server's file, for example server1.toml
    file: PathBuf,
    /// If its store is damaged, set it aside and rebuild it, as `baton rebuild` does; for service managers
    #[arg(long)]
    rebuild: bool,
    /// End with the process that started this one, however that one ends
    #[arg(long, hide = true)]
    with_parent: bool,
}

pub(super) async fn run(args: ServeArgs) -> Result<(), Failure> {
    if args.with_parent {
        end_with_parent()?;
    }
    log_to_stderr(Some(defaults::LOG_FILTER))?;
    let config = ServerConfig::load(&args.file)?;
    descriptors::raise_limit();
    // Listened for before the start: a signal during it stops the server in order, too.
    let mut signals = StopSignals::listen()?;
    let mut starting: BoxFuture<'_, _> = Box::pin(start(&config, args.rebuild));
    loop {
        let started = tokio::select! {
            started = starting => started,
            // Nothing serves yet: there is nothing to hand over.
            _ = signals.next() => return Ok(()),
        };
        match Box::pin(serve(&config, started?, &mut signals)).await? {
            Ended::Stopped => return Ok(()),
            Ended::NoSpace => starting = Box::pin(start_again(&config)),
            Ended::OlderCopy => starting = Box::pin(start(&config, args.rebuild)),
        }
    }
}

/// Starts the server again whose disk was full.
async fn start_again(config: &ServerConfig) -> Result<Server, Failure> {
    tracing::error!(server = %config.name, "the disk was full: starting again once there is space");
    Server::start_again(config.clone()).await.map_err(|error| ended(config, &error.to_string()))
}

/// How a server ended that is to say nothing about it.
enum Ended {
    /// As it was told.
    Stopped,
    /// Its disk was full: started again, it waits for space.
    NoSpace,
    /// Its store is an older copy: started again, it waits until it is rebuilt.
    OlderCopy,
}

/// Waits for the server's end.
async fn serve(config: &ServerConfig, server: Server, signals: &mut StopSignals) -> Result<Ended, Failure> {
    let failed = tokio::select! {
        error = server.failed() => Some(error),
        _ = signals.next() => None,
    };
    // Looked at before the end gives some back.
    let no_space = failed.is_some() && Server::lacks_space(config) && damage(&config.dir).is_none();
    tracing::info!(server = %config.name, "shutting down");
    tokio::select! {
        () = Box::pin(server.shutdown()) => {}
        // A second signal: whoever sent it does not want to wait for the hand-over.
        code = signals.next() => return Err(Failure::quiet(code)),
    }
    match failed {
        None => Ok(Ended::Stopped),
        Some(ServerError::Removed(why)) => Err(Failure::with_code(why, EXIT_REMOVED)),
        Some(_) if no_space => Ok(Ended::NoSpace),
        Some(_) if older_copy(&config.dir).is_some() => Ok(Ended::OlderCopy),
        Some(error) => Err(ended(config, &format!("{} cannot go on: {error}", config.name))),
    }
}

/// Starts the server; where it may, it rebuilds a damaged store first, also one whose damage shows as it is opened.
async fn start(config: &ServerConfig, rebuild: bool) -> Result<Server, Failure> {
    if rebuild {
        rebuild::if_damaged(config).await?;
    }
    match Server::start(config.clone()).await {
        Err(_) if rebuild && damage(&config.dir).is_some() => rebuild::if_damaged(config).await?,
        // It stays up and says so.
        Err(_) if older_copy(&config.dir).is_some() => {}
        started => return started.map_err(|error| ended(config, &error.to_string())),
    }
    Server::start(config.clone()).await.map_err(|error| ended(config, &error.to_string()))
}

/// Why the server ended, and the command to run where that is known.
fn ended(config: &ServerConfig, why: &str) -> Failure {
    if damage(&config.dir).is_none() {
        return Failure::new(why);
    }
    Failure::new(format!("{why}; run: baton rebuild {}", config.file.display()))
}

/// One line an event, on stderr; `RUST_LOG` chooses which, or `otherwise`. Without either nothing is logged.
pub(super) fn log_to_stderr(otherwise: Option<&str>) -> Result<(), Failure> {
    let wanted = std::env::var(EnvFilter::DEFAULT_ENV).ok().or_else(|| otherwise.map(str::to_owned));
    let Some(wanted) = wanted else { return Ok(()) };
    let filter = EnvFilter::try_new(&wanted).map_err(|error| Failure::new(format!("RUST_LOG: {error}")))?;
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    Ok(())
}

/// Asks the system to kill this process when the thread that started it ends.
fn end_with_parent() -> Result<(), Failure> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    let before = getppid();
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| Failure::new(format!("--with-parent is not possible here: {error}")))?;
    // It may have ended before the system was asked.
    if getppid() != before { Err(Failure::quiet(1)) } else { Ok(()) }
}
