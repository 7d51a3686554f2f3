//! A standby of PostgreSQL is promoted. A synchronous one has everything; an asynchronous one may lack the last commits,
//! which the servers put back, or refuse to go on without.

use baton_test_postgres::{Postgres, Stop, skipped};
use baton_tests::check::assert_same;
use baton_tests::{Cluster, Workload, numbered};

/// Entries of the log.
const ENTRIES: &str = "SELECT sum(count) FROM (SELECT count(*) FROM baton.entries_0 \
    UNION ALL SELECT count(*) FROM baton.entries_1) AS sizes(count)";

/// A primary, its asynchronous standby, and a cluster that knows both.
fn with_standby(lines: &str) -> Option<(Postgres, Postgres, Cluster)> {
    let primary = Postgres::start()?;
    let standby = primary.standby("standby1");
    let url = primary.tcp_url_or(standby.port());
    let cluster = if lines.is_empty() { Cluster::over(&url) } else { Cluster::over_with(&url, lines) };
    Some((primary, standby, cluster))
}

/// Confirms messages that the standby does not get, and promotes it.
fn lose_a_tail(primary: &mut Postgres, standby: &Postgres, cluster: &Cluster) -> Vec<String> {
    cluster.create_queue("kept");
    let lines = numbered(0, 2000);
    cluster.send_lines("kept", &lines[..1000]);
    standby.stop_following();
    cluster.send_lines("kept", &lines[1000..]);
    let number = |server: &Postgres| server.sql(ENTRIES).parse::<u64>().expect("a number of entries");
    assert!(number(primary) > number(standby), "the standby lacks entries that were confirmed");
    primary.kill();
    standby.promote();
    lines
}

#[test]
fn the_tail_that_a_promoted_standby_lacks_is_put_back() {
    let Some((mut primary, standby, mut cluster)) = with_standby("") else { return skipped("a lost tail") };
    let lines = lose_a_tail(&mut primary, &standby, &cluster);
    let status = cluster.wait("the promoted standby reached", |status| {
        status.host().is_some() && status.store.reached == Some(true) && status.store.timeline == Some(2)
    });
    assert_eq!(status.store.regressed, None, "{status:#?}");
    // New messages come behind the ones that were put back.
    Workload::start(&cluster, "orders").finish(&cluster);
    assert_same(&lines[..500], &cluster.receive_lines("kept", 500));
    let logs: String = cluster.names().iter().map(|name| cluster.log(name)).collect();
    assert!(logs.contains("put back"), "what was lost and put back is said: {logs}");
    cluster.verify();
    // The database has it: a server that has nothing of its own serves the rest.
    cluster.kill_all(&["server1", "server2", "server3"]);
    cluster.wipe("server3");
    cluster.restart("server3");
    cluster.wait_engine_on("server3");
    assert_same(&lines[500..], &cluster.drain("kept"));
}

#[test]
fn with_lost_tail_refuse_the_engine_stays_stopped_and_says_why() {
    let setting = "lost_tail = \"refuse\"";
    let Some((mut primary, standby, cluster)) = with_standby(setting) else { return skipped("lost_tail = refuse") };
    let _lines = lose_a_tail(&mut primary, &standby, &cluster);
    let before = standby.sql(ENTRIES);
    let status = cluster.wait("the loss in words", |status| status.store.regressed.is_some());
    let words = status.store.regressed.unwrap_or_default();
    assert!(words.contains("lost"), "{words}");
    cluster.stays("no engine", std::time::Duration::from_secs(5), |status| status.host().is_none());
    assert_eq!(standby.sql(ENTRIES), before, "nobody writes to a log that lost entries");
    let shown = cluster.run(&["status"]);
    assert!(shown.text().contains("lost"), "{}", shown.text());
}

#[test]
#[ignore = "make test-database"]
fn a_synchronous_standby_that_is_promoted_lost_nothing() {
    let Some((mut primary, standby, cluster)) = with_standby("") else { return skipped("a synchronous standby") };
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby1'");
    primary.sql("SELECT pg_reload_conf()");
    let epoch = cluster.status().epoch();
    let mut workload = Workload::start(&cluster, "orders");
    primary.stop(Stop::Immediate);
    standby.promote();
    workload.flows();
    workload.finish(&cluster);
    let status = cluster.wait("timeline 2", |status| status.store.timeline == Some(2));
    assert_eq!(status.epoch(), epoch, "a database that moved is no activation: {status:#?}");
    let logs: String = cluster.names().iter().map(|name| cluster.log(name)).collect();
    assert!(!logs.contains("put back"), "nothing was lost: {logs}");
    cluster.verify();
}

#[test]
#[ignore = "make test-database"]
fn while_the_synchronous_standby_is_gone_nothing_is_confirmed_and_nobody_takes_over() {
    let Some((primary, mut standby, cluster)) = with_standby("") else { return skipped("a standby that is gone") };
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby1'");
    primary.sql("SELECT pg_reload_conf()");
    let epoch = cluster.status().epoch();
    let mut workload = Workload::start(&cluster, "orders");
    standby.stop(Stop::Fast);
    std::thread::sleep(std::time::Duration::from_secs(4));
    standby.start_again();
    workload.flows();
    workload.finish(&cluster);
    assert_eq!(cluster.wait_engine_on("server1").epoch(), epoch);
}

#[test]
#[ignore = "make test-database"]
fn a_database_that_was_restored_from_a_backup_is_refused_until_somebody_decides() {
    let Some(mut primary) = Postgres::start() else { return skipped("a restored backup") };
    let mut cluster = Cluster::init_over(&primary.tcp_url());
    // Whatever follows this moment is not in the backup.
    let backup = primary.standby("backup");
    backup.stop_following();
    for name in cluster.names() {
        let (old, new) = (primary.port().to_string(), primary.tcp_url_or(backup.port()));
        cluster.configure(&name, |text| text.replace(&format!("postgresql://postgres@127.0.0.1:{old}/postgres"), &new));
    }
    cluster.start_all();
    cluster.wait_engine_on("server1");
    cluster.create_queue("kept");
    cluster.send_lines("kept", &numbered(0, 1000));
    // Servers that start again have the state and not the entries.
    cluster.terminate_all(&["server1", "server2", "server3"]);
    primary.kill();
    backup.promote();
    cluster.start_all();
    let status = cluster.wait("the loss in words", |status| status.store.regressed.is_some());
    let words = status.store.regressed.unwrap_or_default();
    assert!(words.contains("backup") && words.contains("baton recover"), "{words}");
    cluster.stays("no engine", std::time::Duration::from_secs(5), |status| status.host().is_none());
}
