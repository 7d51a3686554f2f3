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
use super::failure::with_causes;
use super::rebuild;
use super::signals::StopSignals;

/// The server was removed from the cluster: restarting it changes nothing.
const EXIT_REMOVED: u8 = 4;
/// Exit code of a server whose store is damaged: it is to be rebuilt.
const EXIT_DAMAGED: u8 = 5;

/// Options of `baton server`.
#[derive(Debug, Clone, Args)]
pub(super) struct ServeArgs {
    /// Server file, for example server1.toml
    file: PathBuf,
    /// If the store is damaged, set it aside and rebuild it, as `baton rebuild` does; for service managers
    #[arg(long)]
    rebuild: bool,
    /// End when the parent process ends, for whatever reason
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
    // Registered before the start: a signal during the start also stops the server in order.
    let mut signals = StopSignals::listen()?;
    let mut starting: BoxFuture<'_, _> = Box::pin(start(&config, args.rebuild));
    loop {
        let started = tokio::select! {
            started = starting => started,
            // No engine runs yet: nothing to hand over.
            _ = signals.next() => return Ok(()),
        };
        match Box::pin(serve(&config, started?, &mut signals)).await? {
            ServerEnd::Stopped => return Ok(()),
            ServerEnd::NoSpace => starting = Box::pin(start_again(&config)),
            ServerEnd::OlderCopy => starting = Box::pin(start(&config, args.rebuild)),
        }
    }
}

/// Starts a server again that ended because its disk was full.
async fn start_again(config: &ServerConfig) -> Result<Server, Failure> {
    tracing::error!(server = %config.name, "the disk is full: the server starts again once there is space");
    Server::start_again(config.clone()).await.map_err(|error| ended(config, &with_causes(&error)))
}

/// Ends of a server that are not failures.
enum ServerEnd {
    /// On request.
    Stopped,
    /// Disk full: once started again, it waits for space.
    NoSpace,
    /// The store is an older copy: once started again, it waits until it is rebuilt.
    OlderCopy,
}

/// Waits for the server's end.
async fn serve(config: &ServerConfig, server: Server, signals: &mut StopSignals) -> Result<ServerEnd, Failure> {
    let failed = tokio::select! {
        error = server.failed() => Some(error),
        _ = signals.next() => None,
    };
    // Checked before shutdown: that may free some space.
    let no_space = failed.is_some() && Server::lacks_space(config) && damage(&config.dir).is_none();
    tracing::info!(server = %config.name, "shutting down");
    tokio::select! {
        () = Box::pin(server.shutdown()) => {}
        // A second signal: do not wait for the hand-over.
        code = signals.next() => return Err(Failure::quiet(code)),
    }
    match failed {
        None => Ok(ServerEnd::Stopped),
        Some(ServerError::Removed(why)) => Err(Failure::with_code(why, EXIT_REMOVED)),
        Some(_) if no_space => Ok(ServerEnd::NoSpace),
        Some(_) if older_copy(&config.dir).is_some() => Ok(ServerEnd::OlderCopy),
        Some(error) => Err(ended(config, &format!("{} cannot go on: {}", config.name, with_causes(&error)))),
    }
}

/// Starts the server; if allowed, rebuilds a damaged store first, also when the damage shows only on opening.
async fn start(config: &ServerConfig, rebuild: bool) -> Result<Server, Failure> {
    if rebuild {
        rebuild::if_damaged(config).await?;
    }
    match Server::start(config.clone()).await {
        Err(_) if rebuild && damage(&config.dir).is_some() => rebuild::if_damaged(config).await?,
        // It stays up and reports it.
        Err(_) if older_copy(&config.dir).is_some() => {}
        started => return started.map_err(|error| ended(config, &with_causes(&error))),
    }
    Server::start(config.clone()).await.map_err(|error| ended(config, &with_causes(&error)))
}

/// The failure for the end of the server, with the command to run if there is one.
fn ended(config: &ServerConfig, why: &str) -> Failure {
    if damage(&config.dir).is_none() {
        return Failure::new(why);
    }
    Failure::with_code(format!("{why}; run: baton rebuild {}", config.place()), EXIT_DAMAGED)
}

/// One line per event, on stderr; `RUST_LOG` is the filter, else `otherwise`. Without either nothing is logged.
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
        .map_err(|error| Failure::new(format!("--with-parent does not work on this system: {error}")))?;
    // The parent may have ended before the call.
    if getppid() != before { Err(Failure::quiet(1)) } else { Ok(()) }
}
