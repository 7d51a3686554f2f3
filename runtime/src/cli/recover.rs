//! `baton recover --accept-data-loss`: begins a new generation from one store when the quorum is gone for good.

use std::path::{Path, PathBuf};

use baton_storage::StoreHeader;
use clap::Args;

use crate::config::ServerConfig;

use super::{Failure, output};

/// Options of `baton recover`.
#[derive(Debug, Clone, Args)]
pub(super) struct RecoverArgs {
    /// The file of the server whose store is kept; the server must be stopped
    file: PathBuf,
    /// Say that what this store does not have is lost
    #[arg(long)]
    accept_data_loss: bool,
}

pub(super) fn run(args: &RecoverArgs) -> Result<(), Failure> {
    let config = ServerConfig::load(&args.file)?;
    let before = header(&config.dir)?;
    if !args.accept_data_loss {
        output::print(&plan(&config, &before))?;
        return Err(Failure::new("nothing was done: say --accept-data-loss to go on"));
    }
    output::print(&plan(&config, &before))?;
    recover(&config.dir)?;
    let after = header(&config.dir)?;
    output::print(&account(&config, &before, &after))
}

fn header(dir: &Path) -> Result<StoreHeader, Failure> {
    baton_storage::inspect(dir)
        .map_err(|error| Failure::new(error.to_string()))?
        .ok_or_else(|| Failure::new(format!("there is no store at {}: nothing to recover from", dir.display())))
}

/// SHIM: `baton_storage::recover` is being written.
fn recover(_dir: &Path) -> Result<(), Failure> {
    Err(Failure::new("the store cannot be recovered by this version"))
}

/// What is going to be done, and what it may cost.
fn plan(config: &ServerConfig, before: &StoreHeader) -> String {
    let dir = config.dir.display();
    format!(
        "store       {dir} of {}, replica {}, cluster {}, generation {}\n\
         what is done  {} becomes the only voter, and generation {} begins.\n\
         what is lost  every message, acknowledgement and policy change that this store does not have, also such as\n\
         \x20             were confirmed; messages whose acknowledgement is lost are delivered again.\n\
         the others    keep their stores as they are until this is done; then they are refused until they are wiped,\n\
         \x20             and rebuild their replicas from this one. If a majority of the servers can still be started,\n\
         \x20             start them instead: nothing is lost then.\n",
        before.server,
        before.replica,
        before.cluster,
        before.generation,
        config.name,
        before.generation + 1
    )
}

/// What was done, and what comes next.
fn account(config: &ServerConfig, before: &StoreHeader, after: &StoreHeader) -> String {
    let others: Vec<&str> =
        config.members.iter().map(|member| member.name.as_str()).filter(|name| *name != config.name.as_str()).collect();
    let mut text = format!(
        "\ndone          generation {} became {}, replica {} became {}\nnext          start {}: `baton server {}`\n",
        before.generation,
        after.generation,
        before.replica,
        after.replica,
        config.name,
        config.file.display()
    );
    if !others.is_empty() {
        text += &format!(
            "              then move the stores of {} away and start them: they join again\n",
            others.join(", ")
        );
    }
    text
}
