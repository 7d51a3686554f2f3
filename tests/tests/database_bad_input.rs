//! A database that cannot be used, and how `init` and a server say so: one line each that says what to do. Nothing is
//! created before all of it is checked.

use std::path::Path;
use std::time::Duration;

use baton_test_postgres::{Postgres, Stop, skipped};
use baton_tests::{Cluster, Output, run};

const LIMIT: Duration = Duration::from_secs(60);
const SCHEMAS: &str = "SELECT count(*) FROM pg_namespace WHERE nspname = 'baton'";

/// A part of a URL, its replacement, and the words of the refusal.
type Row<'a> = (&'a str, &'a str, &'a [&'a str]);

#[track_caller]
fn assert_refused(what: &str, output: &Output, words: &[&str]) {
    assert!(output.code.is_some_and(|code| code != 0), "{what} was to be refused: {}", output.stderr);
    assert!(!output.stderr.contains("panicked"), "{what}: {}", output.stderr);
    for word in words {
        assert!(output.last_word().contains(word), "{what}: the last line says {word:?}: {}", output.stderr);
    }
}

#[track_caller]
fn init_refuses(dir: &Path, url: &str, words: &[&str]) {
    let output = run(&["init", dir.to_str().expect("a path in UTF-8"), "--database", url], "", LIMIT);
    assert_refused(url, &output, words);
    assert_eq!(output.stderr.trim().lines().count(), 1, "one line: {}", output.stderr);
    assert_eq!(std::fs::read_dir(dir).into_iter().flatten().count(), 0, "after an error the directory is empty");
}

#[test]
fn init_refuses_a_database_that_it_cannot_use_and_says_what_to_do() {
    let Some(mut server) = Postgres::start() else { return skipped("refusals of baton init") };
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = temp.path().join("cluster");
    server.sql("CREATE ROLE poor LOGIN; ALTER ROLE poor SET synchronous_commit = on");
    let port = format!(":{}/", server.port());
    let nobody = format!(":{}/", server.other_port());
    let table: [Row<'_>; 6] = [
        ("postgresql:", "mysql:", &["URL", "postgresql://"]),
        ("127.0.0.1", "192.0.2.1", &["192.0.2.1", "not on this machine", "sslrootcert"]),
        (&port, &nobody, &["127.0.0.1", "refused"]),
        ("postgres@", "nobody@", &["nobody", "does not exist"]),
        ("/postgres", "/missing", &["missing", "does not exist"]),
        ("postgres@", "poor@", &["baton init --sql"]),
    ];
    for (part, other, words) in table {
        init_refuses(&dir, &server.tcp_url().replacen(part, other, 1), words);
    }
    let standby = server.standby("standby1");
    init_refuses(&dir, &standby.tcp_url(), &["takes no writes"]);
    server.stop(Stop::Fast);
    for setting in ["fsync", "full_page_writes"] {
        server.set(&format!("{setting}=off"));
        server.start_again();
        init_refuses(&dir, &server.tcp_url(), &[setting, "is off", "postgresql.conf"]);
        server.stop(Stop::Fast);
        server.set(&format!("{setting}=on"));
    }
    server.start_again();
    assert_eq!(server.sql(SCHEMAS), "0", "nothing was created");

    let _first = Cluster::init_over(&server.tcp_url());
    init_refuses(&dir, &server.tcp_url(), &["the schema baton belongs to the cluster"]);
}

/// Errors that last until somebody acts: the server ends with them.
#[test]
fn a_server_refuses_a_database_that_it_cannot_use_and_says_what_to_do() {
    let Some(mut server) = Postgres::start() else { return skipped("refusals of baton server") };
    server.sql("CREATE ROLE poor LOGIN");
    let cluster = Cluster::init_over(&server.tcp_url());
    let other = server.tcp_url();
    let temp = tempfile::tempdir().expect("a temporary directory");
    let dir = temp.path().join("other");
    let made = ["init", dir.to_str().expect("a path in UTF-8"), "--database", &other, "--schema", "other"];
    assert_eq!(run(&made, "", LIMIT).code, Some(0));

    let table: [Row<'_>; 7] = [
        ("postgresql:", "mysql:", &["server1.toml:", "postgresql://"]),
        ("schema = \"baton\"", "schema = \"A\"", &["server1.toml:", "no name for a schema"]),
        ("schema = \"baton\"", "schema = \"shop\"", &["no schema shop", "check `schema`"]),
        ("schema = \"baton\"", "schema = \"other\"", &["the schema other belongs to the cluster"]),
        ("postgres@", "nobody@", &["nobody", "does not exist"]),
        ("postgres@", "poor@", &["permission denied"]),
        ("/postgres\"", "/missing\"", &["missing", "does not exist"]),
    ];
    let file = cluster.config("server1");
    let good = std::fs::read_to_string(&file).expect("init wrote it");
    for (part, other, words) in table {
        assert!(good.contains(part), "{good}");
        std::fs::write(&file, good.replacen(part, other, 1)).expect("it can be written");
        assert_refused(other, &run(&["server", file.to_str().expect("a path in UTF-8")], "", LIMIT), words);
    }
    std::fs::write(&file, &good).expect("it can be written");
    server.stop(Stop::Fast);
    server.set("fsync=off");
    server.start_again();
    assert_refused(
        "fsync",
        &run(&["server", file.to_str().expect("a path in UTF-8")], "", LIMIT),
        &["fsync is off", "postgresql.conf"],
    );
    assert_eq!(server.sql("SELECT term, holder FROM baton.lease"), "0|", "nobody took the lease");
}

#[test]
fn a_server_waits_for_a_database_that_is_down_or_a_standby() {
    let Some(mut server) = Postgres::start() else { return skipped("a server before its database") };
    let standby = server.standby("standby1");
    let mut cluster = Cluster::init_over(&server.tcp_url_or(standby.port()));
    server.stop(Stop::Fast);
    cluster.start_all();
    // The standby is there and takes no writes.
    std::thread::sleep(Duration::from_secs(2));
    for name in cluster.names() {
        assert!(cluster.runs(&name), "{name} waits: {}", cluster.log(&name));
        assert!(cluster.log(&name).contains("takes no writes"), "and says for what: {}", cluster.log(&name));
    }
    server.start_again();
    cluster.wait_engine_on("server1");
}

#[test]
fn a_schema_that_is_gone_is_said_and_costs_no_server() {
    let Some(server) = Postgres::start() else { return skipped("a schema that is gone") };
    let cluster = Cluster::over(&server.tcp_url());
    cluster.create_queue("orders");
    server.sql("ALTER SCHEMA baton RENAME TO hidden");
    let status = cluster.wait("no engine", |status| status.host().is_none());
    assert!(!status.engine.reason.is_empty(), "{status:#?}");
    for name in cluster.names() {
        assert!(cluster.runs(&name), "{name} stays up: {}", cluster.log(&name));
    }
    server.sql("ALTER SCHEMA hidden RENAME TO baton");
    cluster.wait("a started engine", |status| status.host().is_some());
    cluster.send_lines("orders", &["one"]);
}
