//! `baton skip`: goes on without a log entry that no server can apply.
//!
//! The state machine is deterministic, so an entry that stops one server stops all of them, at each start. The entry is
//! then answered as refused, on the word of an operator.

use std::path::{Path, PathBuf};

use baton::config::ServerConfig;
use baton_domain::clock::BootTime;
use baton_replica::{
    SkipError, SkipReport, SkippedEntry, StoreError, entry_to_skip, inspect, skip_entry, skipped_entries, stop_skipping,
};
use clap::Args;
use serde_json::{Value, json};

use super::recover::check_owner;
use super::{Failure, output};

/// This server has applied the entry.
const EXIT_APPLIED: u8 = 2;
/// The log of this server does not hold the entry.
const EXIT_NOT_IN_LOG: u8 = 3;

/// Options of `baton skip`.
#[derive(Debug, Clone, Args)]
pub(super) struct SkipArgs {
    /// File of the server; the server must be stopped, or fail at each start
    file: PathBuf,
    /// Log index of the entry, as the error of the server names it
    #[arg(long, value_name = "INDEX", required_unless_present_any = ["list", "remove"])]
    entry: Option<u64>,
    /// Accept the loss of everything that the entry was to do
    #[arg(long, conflicts_with_all = ["list", "remove"])]
    accept_data_loss: bool,
    /// List the entries that this server skips
    #[arg(long, conflicts_with_all = ["entry", "remove"])]
    list: bool,
    /// Apply the entry again: for an index that was given by mistake, before the server is started
    #[arg(long, value_name = "INDEX", conflicts_with = "entry")]
    remove: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: SkipArgs) -> Result<(), Failure> {
    let config = ServerConfig::load(&args.file)?;
    if config.database.is_some() {
        return Err(Failure::new("the log of this cluster is in a database: its entries cannot be skipped"));
    }
    let header = inspect(&config.dir).map_err(|error| Failure::new(error.to_string()))?;
    let none = || Failure::new(format!("there is no store at {}", config.dir.display()));
    check_owner(&config, &header.ok_or_else(none)?)?;
    match (args.entry, args.remove) {
        (Some(index), _) => skip(&config, &args, index).await,
        (None, Some(index)) => remove(&config, &args, index).await,
        (None, None) => list(&config, args.json),
    }
}

async fn skip(config: &ServerConfig, args: &SkipArgs, index: u64) -> Result<(), Failure> {
    let report = when_stopped(|| entry_to_skip(&config.dir, index)).await?;
    if !args.json {
        output::print(&plan(config, &report))?;
    }
    if !args.accept_data_loss {
        return Err(Failure::new("nothing was changed: use --accept-data-loss to go on"));
    }
    let report = when_stopped(|| skip_entry(&config.dir, index)).await?;
    if args.json {
        let SkipReport { server, entry, content, damage } = report;
        let SkippedEntry { index, term, .. } = entry;
        return output::print_json(&json!({
            "server": server, "entry": index, "term": term, "content": content, "forgotten_damage": damage,
        }));
    }
    output::print(&account(&args.file, &report))
}

async fn remove(config: &ServerConfig, args: &SkipArgs, index: u64) -> Result<(), Failure> {
    let removed = when_stopped(|| stop_skipping(&config.dir, index).map_err(SkipError::from)).await?;
    if !removed {
        return Err(Failure::new(format!("{} does not skip entry {index}", config.name)));
    }
    if args.json {
        return output::print_json(&json!({ "server": config.name, "removed": index }));
    }
    output::print(&format!("{} no longer skips entry {index}\n", config.name))
}

fn list(config: &ServerConfig, json: bool) -> Result<(), Failure> {
    let entries = skipped_entries(&config.dir).map_err(|error| Failure::new(error.to_string()))?;
    if json {
        let entries: Vec<Value> =
            entries.iter().map(|entry| json!({ "entry": entry.index, "term": entry.term })).collect();
        return output::print_json(&json!({ "server": config.name, "skipped": entries }));
    }
    if entries.is_empty() {
        return output::print(&format!("{} skips no entry\n", config.name));
    }
    let rows: Vec<Vec<String>> =
        entries.iter().map(|entry| vec![entry.index.to_string(), entry.term.to_string()]).collect();
    output::print(&output::table(&[">ENTRY", ">TERM"], &rows))
}

/// Tries until the store is not in use, for some seconds: a service manager that restarts a server in a loop opens the
/// store for a moment each time.
async fn when_stopped<T>(mut attempt: impl FnMut() -> Result<T, SkipError>) -> Result<T, Failure> {
    let deadline = BootTime::now() + super::rebuild::IN_USE;
    loop {
        match attempt() {
            Err(SkipError::Store(StoreError::InUse { .. })) if BootTime::now() < deadline => {
                tokio::time::sleep(super::rebuild::LOOK_AGAIN).await;
            }
            Ok(value) => return Ok(value),
            Err(error) => {
                let code = match &error {
                    SkipError::Applied { .. } => EXIT_APPLIED,
                    SkipError::NotInLog { .. } => EXIT_NOT_IN_LOG,
                    SkipError::Store(_) | SkipError::NotACommand { .. } => 1,
                };
                return Err(Failure::with_code(format!("nothing was changed: {error}"), code));
            }
        }
    }
}

/// The plan and its risks.
fn plan(config: &ServerConfig, report: &SkipReport) -> String {
    let SkipReport { server, entry, content, damage } = report;
    let index = entry.index;
    let mut text = format!(
        "the store   {} of {server}\n\
         the entry   {index} of term {}: {content}\n\
         lost        everything that the entry was to do; a producer that lives sends its unconfirmed messages again, and\n\
         \x20           messages whose acknowledgement is lost are delivered again\n\
         the others  must skip the same entry: a replica that applies it differs from the others for good, which `baton\n\
         \x20           verify` shows, and must be rebuilt\n\
         instead     if a newer program can apply the entry, start all servers with it: then nothing is lost\n",
        config.dir.display(),
        entry.term,
    );
    if let Some(damage) = damage {
        text +=
            &format!("forgotten   damage of this store: {damage}\n            (a server finds real damage again)\n");
    }
    text
}

/// The result and the next steps.
fn account(file: &Path, report: &SkipReport) -> String {
    format!(
        "\ndone        {} skips entry {}\n\
         next        run `baton skip --entry {1}` for every other server, then start them: baton server {}\n\
         \x20           when all of them have passed the entry: baton verify\n",
        report.server,
        report.entry.index,
        file.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_domain::ReplicaId;

    fn cluster() -> (tempfile::TempDir, ServerConfig) {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("c");
        let layout = baton::layout::Layout::loopback(2, &[7100, 7101], &[7200, 7201]).unwrap();
        layout.write(&dir).unwrap();
        let config = ServerConfig::load(&dir.join("server1.toml")).unwrap();
        (temp, config)
    }

    fn args(config: &ServerConfig) -> SkipArgs {
        let file = config.file.clone().unwrap();
        SkipArgs { file, entry: None, accept_data_loss: false, list: false, remove: None, json: false }
    }

    #[test]
    fn plan_and_account_say_what_is_lost_and_what_comes_next() {
        let (_temp, config) = cluster();
        let entry = SkippedEntry { index: 4711, term: 3, leader: ReplicaId(1) };
        let (server, content) = (config.name.clone(), "SetPolicy".to_owned());
        let report = SkipReport { server, entry, content, damage: Some("a bad block".to_owned()) };
        let text = plan(&config, &report);
        for word in
            ["4711 of term 3: SetPolicy", "must skip the same entry", "baton\n", "damage of this store: a bad block"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!plan(&config, &SkipReport { damage: None, ..report.clone() }).contains("forgotten"));
        let text = account(config.file.as_ref().unwrap(), &report);
        for word in ["server1 skips entry 4711", "`baton skip --entry 4711` for every other server", "server1.toml"] {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[tokio::test]
    async fn an_entry_that_is_not_there_is_not_skipped() {
        let (_temp, config) = cluster();
        for (index, code) in [(0, EXIT_APPLIED), (7, EXIT_NOT_IN_LOG)] {
            let failure =
                run(SkipArgs { entry: Some(index), accept_data_loss: true, ..args(&config) }).await.unwrap_err();
            assert_eq!(failure.code(), code, "{failure}");
        }
        let failure = run(SkipArgs { remove: Some(7), ..args(&config) }).await.unwrap_err();
        assert!(failure.to_string().contains("does not skip entry 7"), "{failure}");
        run(SkipArgs { list: true, ..args(&config) }).await.unwrap();
        assert!(skipped_entries(&config.dir).unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_store_of_another_server_is_left_alone() {
        let (_temp, config) = cluster();
        let text = std::fs::read_to_string(config.file.as_ref().unwrap()).unwrap();
        std::fs::write(config.file.as_ref().unwrap(), text.replace("dir = \"server1\"", "dir = \"server2\"")).unwrap();
        let failure = run(SkipArgs { list: true, ..args(&config) }).await.unwrap_err();
        assert!(failure.to_string().contains("belongs to server2"), "{failure}");
    }
}
