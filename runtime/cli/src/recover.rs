//! `baton recover --accept-data-loss`: starts a new generation from one store after the quorum is lost for good.

use std::path::{Path, PathBuf};

use baton::config::ServerConfig;
use baton_domain::ServerName;
use baton_replica::{RecoveryReport, StoreHeader};
use clap::Args;

use super::{Failure, output};

/// Options of `baton recover`.
#[derive(Debug, Clone, Args)]
pub(super) struct RecoverArgs {
    /// File of the server whose store is kept; the server must be stopped
    file: PathBuf,
    /// Accept the loss of everything that this store does not have
    #[arg(long)]
    accept_data_loss: bool,
}

pub(super) fn run(args: &RecoverArgs) -> Result<(), Failure> {
    let config = ServerConfig::load(&args.file)?;
    if config.database.is_some() {
        return Err(Failure::new(
            "the log of this cluster is in a database, which no server's store replaces: start any one server, or restore \
             the database",
        ));
    }
    let before = header(&config.dir)?;
    check_owner(&config, &before)?;
    output::print(&plan(&config, &before))?;
    if !args.accept_data_loss {
        return Err(Failure::new("nothing was changed: use --accept-data-loss to go on"));
    }
    let report = baton_replica::recover(&config.dir).map_err(|error| Failure::new(error.to_string()))?;
    output::print(&account(&config, &before, &report))
}

/// Refuses a store that does not belong to that server file.
pub(super) fn check_owner(config: &ServerConfig, header: &StoreHeader) -> Result<(), Failure> {
    if header.server == config.name && header.cluster == config.cluster {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the store at {} belongs to {} of cluster {}, but {} is for {} of cluster {}",
        config.dir.display(),
        header.server,
        header.cluster,
        config.place(),
        config.name,
        config.cluster
    )))
}

fn header(dir: &Path) -> Result<StoreHeader, Failure> {
    baton_replica::inspect(dir)
        .map_err(|error| Failure::new(error.to_string()))?
        .ok_or_else(|| Failure::new(format!("there is no store at {}: nothing to recover from", dir.display())))
}

/// The plan and its risks.
fn plan(config: &ServerConfig, before: &StoreHeader) -> String {
    format!(
        "the store   {} of {}: replica {}, generation {}, cluster {}\n\
         will be     the only voter of generation {}\n\
         lost        every message, acknowledgement and policy change that only other stores have, confirmed or not;\n\
         \x20           messages whose acknowledgement is lost are delivered again\n\
         the others  are refused from then on until their stores are wiped: then they join again and copy this store\n\
         instead     if a majority of the members can still be started, start them: then nothing is lost\n\
         choose      the last host of the engine, or the server with the newest store; recover only one: two recovered\n\
         \x20           servers are two clusters\n",
        config.dir.display(),
        before.server,
        before.replica,
        before.generation,
        before.cluster,
        before.generation + 1,
    )
}

/// The result and the next steps.
fn account(config: &ServerConfig, before: &StoreHeader, report: &RecoveryReport) -> String {
    let mut text = format!(
        "\ndone        generation {} became {}, replica {} became {}; the log is kept up to index {}\n",
        before.generation, report.generation, before.replica, report.replica, report.last_index
    );
    if report.queues.is_empty() {
        text += "kept        no queue\n";
    } else {
        let rows: Vec<Vec<String>> =
            report.queues.iter().map(|queue| vec![queue.name.to_string(), queue.depth().to_string()]).collect();
        text += &format!("kept\n{}", output::table(&["QUEUE", ">MESSAGES"], &rows));
    }
    text += &format!("next        start {}: baton server {}\n", report.server, config.place());
    if !report.voided.is_empty() {
        let names = report.voided.iter().map(ServerName::as_str).collect::<Vec<_>>().join(", ");
        text += &format!("            then wipe the stores of {names} and start them: they join again\n");
    }
    if !report.hosts {
        text += "            it is a witness: the engine starts once a server has joined\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::{Lane, QueueId, QueueName, ReplicaId};
    use baton_replica::{LaneRecord, QueueRecord};

    #[test]
    fn plan_and_account_say_what_is_lost_and_what_comes_next() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("c");
        let layout = baton::layout::Layout::loopback(2, &[7100, 7101], &[7200, 7201]).unwrap();
        layout.write(&dir).unwrap();
        let config = ServerConfig::load(&dir.join("server1.toml")).unwrap();
        let before = header(&config.dir).unwrap();
        let plan = plan(&config, &before);
        assert!(plan.contains("replica 1, generation 0") && plan.contains("the only voter of generation 1"), "{plan}");
        assert!(plan.contains("confirmed or not"), "{plan}");

        let mut queue = QueueRecord::new(QueueId(1), QueueName::new("orders").unwrap());
        queue.lanes.insert(Lane(0), LaneRecord { depth: 17, ..LaneRecord::default() });
        let report = RecoveryReport {
            server: config.name.clone(),
            generation: 1,
            replica: ReplicaId(6),
            last_index: 99,
            queues: vec![queue],
            voided: vec![ServerName::new("server2").unwrap()],
            hosts: true,
        };
        let text = account(&config, &before, &report);
        assert!(text.contains("generation 0 became 1, replica 1 became 6") && text.contains("index 99"), "{text}");
        assert!(text.contains("orders        17") && text.contains("wipe the stores of server2"), "{text}");
        assert!(!text.contains("witness"), "{text}");
    }

    #[test]
    fn nothing_is_done_without_the_word_or_with_another_servers_store() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("c");
        let layout = baton::layout::Layout::loopback(2, &[7100, 7101], &[7200, 7201]).unwrap();
        layout.write(&dir).unwrap();
        let file = dir.join("server1.toml");
        let failure = run(&RecoverArgs { file: file.clone(), accept_data_loss: false }).unwrap_err();
        assert!(failure.to_string().contains("--accept-data-loss"), "{failure}");
        assert_eq!(header(&dir.join("server1")).unwrap().generation, 0);

        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace("dir = \"server1\"", "dir = \"server2\"")).unwrap();
        let failure = run(&RecoverArgs { file, accept_data_loss: true }).unwrap_err();
        assert!(failure.to_string().contains("belongs to server2"), "{failure}");
    }
}
