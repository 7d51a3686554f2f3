//! `baton move`: moves the engine to a server.

use std::time::Duration;

use baton_domain::ServerName;
use clap::Args;

use super::target::Target;
use super::{Failure, output, requests};

/// Deadline of a move: the servers wait up to 30 s for the new host to catch up, and their answer must still arrive.
const MOVE: Duration = Duration::from_secs(33);

/// Options of `baton move`.
#[derive(Debug, Clone, Args)]
pub(super) struct MoveArgs {
    #[command(flatten)]
    target: Target,
    /// Target server
    server: ServerName,
}

pub(super) async fn run(args: MoveArgs) -> Result<(), Failure> {
    let client = requests::connect(&args.target, MOVE).await?;
    client.move_engine(&args.server).await?;
    output::print(&format!("the engine is started on {}\n", args.server))?;
    client.close().await;
    Ok(())
}
