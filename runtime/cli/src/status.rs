//! `baton status`: the engine's host and the state of the servers.

use std::time::Duration;

use baton_client::protocol::{DatabaseStatus, FailBackWait, ServerStatus, Status};
use baton_domain::clock::unix_ms;
use baton_domain::{Assistance, Policy, Role, ServerName};
use clap::Args;
use serde_json::{Value, json};

use super::target::Target;
use super::{Failure, output, requests, stderr};

/// Time limit for the first server's answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Exit code: the engine is not started.
const EXIT_NOT_STARTED: u8 = 2;

/// Options of `baton status`.
#[derive(Debug, Clone, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    target: Target,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Time for links to other servers.
const OTHERS: Duration = Duration::from_millis(300);

pub(super) async fn run(args: StatusArgs) -> Result<(), Failure> {
    let client = requests::connect(&args.target, ANSWER).await?;
    let mut status = requests::status(&client).await?;
    if !is_started(&status) {
        // The first server linked may be cut off from the others: ask again once the others are linked, too.
        tokio::time::sleep(OTHERS).await;
        status = requests::status(&client).await?;
    }
    if args.json {
        output::print_json(&as_json(&status))?;
    } else {
        output::print(&as_text(&status, unix_ms()))?;
    }
    client.close().await;
    if is_started(&status) { Ok(()) } else { Err(Failure::quiet(EXIT_NOT_STARTED)) }
}

/// True if the cluster's engine is started.
pub(super) fn is_started(status: &Status) -> bool {
    status.engine.state == "started"
}

/// The JSON output: a contract for scripts. Spelled out here, so that changes of the protocol types do not change it.
pub(super) fn as_json(status: &Status) -> Value {
    let engine = &status.engine;
    let servers: Vec<Value> = status
        .servers
        .iter()
        .map(|server| {
            json!({
                "name": server.name, "role": server.role, "up": server.up, "engine": server.engine,
                "leader": server.leader, "lag": server.lag, "preference": server.preference,
                "trouble": server.trouble, "fail_back": server.fail_back.as_ref().map(fail_back_json),
            })
        })
        .collect();
    let quorum = json!({ "needed": status.quorum.needed, "up": status.quorum.up });
    let (store, quorum) = match &status.database {
        None => (json!({ "kind": "replicated", "quorum": quorum }), quorum),
        Some(database) => (database_json(database), Value::Null),
    };
    json!({
        "engine": {
            "state": engine.state, "server": engine.server, "epoch": engine.epoch, "since": engine.since,
            "reason": engine.reason,
        },
        "policy": policy_json(&status.policy),
        "servers": servers,
        "quorum": quorum,
        "store": store,
    })
}

/// A store whose log is in a database, as JSON.
fn database_json(database: &DatabaseStatus) -> Value {
    let commit_ms = database.commit_us.map(|us| Duration::from_micros(us).as_secs_f64() * 1_000.0);
    json!({
        "kind": "database", "name": database.name, "reached": database.reached, "commit_ms": commit_ms,
        "standby": database.standby, "timeline": database.timeline, "log_bytes": database.log_bytes,
        "snapshot": database.snapshot, "regressed": database.regressed,
    })
}

/// The failback delay of a server, as JSON.
fn fail_back_json(wait: &FailBackWait) -> Value {
    json!({ "losses": wait.losses, "waits_until": wait.until_ms })
}

/// A policy, as JSON.
pub(super) fn policy_json(policy: &Policy) -> Value {
    json!({
        "assistance": policy.assistance, "preferred": policy.preferred, "fail_back": policy.fail_back,
        "preferred_only": policy.preferred_only, "manual": policy.manual,
    })
}

/// The text output.
fn as_text(status: &Status, now_ms: u64) -> String {
    let engine = &status.engine;
    let on = |name: &Option<ServerName>| name.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
    let mut text = format!("engine  {}{}", engine.state, on(&engine.server));
    if let Some(since) = engine.since {
        text += &format!(" since {} ({})", output::utc(since), output::age(now_ms.saturating_sub(since)));
    }
    if let Some(epoch) = &engine.epoch {
        text += &format!(", epoch {epoch}");
    }
    if !engine.reason.is_empty() {
        text += &format!("\n        {}", stderr::printable(&engine.reason));
    }
    let quorum = &status.quorum;
    text += &format!("\npolicy  {}\n", policy_words(&status.policy));
    text += &match &status.database {
        None => format!("quorum  {} of the voters needed, {} up\n\n", quorum.needed, quorum.up),
        Some(database) => format!("store   {}\n\n", stderr::printable(&database.words())),
    };
    let rows: Vec<Vec<String>> = status.servers.iter().map(|server| row(server, now_ms)).collect();
    text + &output::table(&["SERVER", "ROLE", "UP", "ENGINE", "LEADER", ">LAG", ">PREFERENCE", "TROUBLE"], &rows)
}

fn row(server: &ServerStatus, now_ms: u64) -> Vec<String> {
    let yes = |value: bool| if value { "yes" } else { "no" }.to_owned();
    vec![
        server.name.to_string(),
        role_word(server.role).to_owned(),
        yes(server.up),
        server.engine.clone(),
        if server.leader { "leader".to_owned() } else { String::new() },
        server.lag.map_or_else(|| "unknown".to_owned(), output::thousands),
        server.preference.map(|place| place.to_string()).unwrap_or_default(),
        server.remark(now_ms).unwrap_or_default(),
    ]
}

/// The role, in one word.
pub(super) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Server => "server",
        Role::Witness => "witness",
    }
}

/// A policy in one line.
pub(super) fn policy_words(policy: &Policy) -> String {
    let mut words = match policy.assistance {
        Assistance::HighAvailability => "high-availability: servers in the order they joined, no failback".to_owned(),
        Assistance::None if policy.preferred.is_empty() => "none: any available server".to_owned(),
        Assistance::None => {
            let names = policy.preferred.iter().map(ServerName::as_str).collect::<Vec<_>>().join(", ");
            let back = if policy.fail_back { "failback" } else { "no failback" };
            let only = if policy.preferred_only { ", preferred servers only" } else { "" };
            format!("none: preferred {names}, {back}{only}")
        }
    };
    if policy.manual {
        words += ", moves only on request (manual)";
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use baton_client::protocol::{EngineStatus, QuorumStatus};

    fn name(name: &str) -> ServerName {
        ServerName::new(name).unwrap()
    }

    fn status() -> Status {
        let server = |at: u32, up: bool| ServerStatus {
            name: name(&format!("server{at}")),
            role: Role::Server,
            up,
            engine: if up { "started" } else { "unknown" }.to_owned(),
            leader: up,
            lag: up.then_some(0),
            preference: Some(at),
            trouble: None,
            fail_back: (!up).then(|| FailBackWait {
                server: name(&format!("server{at}")),
                losses: 3,
                until_ms: 1_795_474_955_000,
            }),
        };
        Status {
            engine: EngineStatus {
                state: "started".to_owned(),
                server: Some(name("server1")),
                epoch: Some("0.17".to_owned()),
                since: Some(1_795_474_923_000),
                reason: "the cluster started".to_owned(),
            },
            policy: Policy {
                assistance: Assistance::None,
                preferred: vec![name("server1")],
                fail_back: true,
                ..Policy::default()
            },
            servers: vec![server(1, true), server(2, false)],
            quorum: QuorumStatus { needed: 2, up: 1 },
            database: None,
        }
    }

    #[test]
    fn the_json_is_the_contract() {
        let expected = json!({
            "engine": {"state": "started", "server": "server1", "epoch": "0.17", "since": 1_795_474_923_000_u64, "reason": "the cluster started"},
            "policy": {"assistance": "none", "preferred": ["server1"], "fail_back": true, "preferred_only": false, "manual": false},
            "servers": [
                {"name": "server1", "role": "server", "up": true, "engine": "started", "leader": true, "lag": 0, "preference": 1, "trouble": null, "fail_back": null},
                {"name": "server2", "role": "server", "up": false, "engine": "unknown", "leader": false, "lag": null, "preference": 2, "trouble": null,
                 "fail_back": {"losses": 3, "waits_until": 1_795_474_955_000_u64}},
            ],
            "quorum": {"needed": 2, "up": 1},
            "store": {"kind": "replicated", "quorum": {"needed": 2, "up": 1}},
        });
        assert_eq!(as_json(&status()), expected);
        let assisted = policy_json(&Policy::default());
        assert_eq!(assisted["assistance"], "high-availability");
    }

    #[test]
    fn a_database_is_shown_in_place_of_the_quorum() {
        let mut status = status();
        status.database = Some(DatabaseStatus {
            name: "PostgreSQL 15.18 at db1:5432, schema baton".to_owned(),
            reached: true,
            commit_us: Some(1_250),
            standby: String::new(),
            timeline: 2,
            log_bytes: None,
            snapshot: Some(17),
            regressed: None,
        });
        let json = as_json(&status);
        assert_eq!(json["quorum"], Value::Null);
        assert_eq!(
            json["store"],
            json!({
                "kind": "database", "name": "PostgreSQL 15.18 at db1:5432, schema baton", "reached": true,
                "commit_ms": 1.25, "standby": "", "timeline": 2, "log_bytes": null, "snapshot": 17, "regressed": null,
            })
        );
        let line = "\nstore   PostgreSQL 15.18 at db1:5432, schema baton, timeline 2, 1.2 ms per commit, no synchronous standby, \
                    snapshot at 17\n";
        assert!(as_text(&status, 0).contains(line), "{}", as_text(&status, 0));
    }

    #[test]
    fn people_read_the_same() {
        let text = as_text(&status(), 1_795_474_935_000);
        let expected = "\
engine  started on server1 since 2026-11-23 23:02:03 UTC (12 s), epoch 0.17
        the cluster started
policy  none: preferred server1, failback
quorum  2 of the voters needed, 1 up

SERVER   ROLE    UP   ENGINE   LEADER      LAG  PREFERENCE  TROUBLE
server1  server  yes  started  leader        0           1
server2  server  no   unknown          unknown           2  lost 3 times in a row soon after it took the engine: failback to it waits 20 s
";
        assert_eq!(text, expected);
    }
}
