//! `baton init --database`: files without stores, tables in PostgreSQL, and no password but in its own file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use baton_test_postgres::{Postgres, skipped};
use baton_tests::{Output, run};

const LIMIT: Duration = Duration::from_secs(60);

fn init(dir: &Path, more: &[&str]) -> Output {
    let dir = dir.to_str().expect("a path in UTF-8");
    run(&[&["init", dir], more].concat(), "", LIMIT)
}

#[track_caller]
fn assert_refused(output: &Output, dir: &Path, word: &str) {
    assert!(output.code.is_some_and(|code| code != 0) && output.last_word().contains(word), "{output:?}");
    let left = fs::read_dir(dir).into_iter().flatten().count();
    assert_eq!(left, 0, "after an error the directory is empty");
}

#[test]
fn init_writes_files_and_tables_and_a_password_only_to_its_own_file() {
    let Some(server) = Postgres::start() else { return skipped("baton init --database") };
    server.sql("ALTER ROLE postgres PASSWORD 's3cr3t'");
    let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(server.data().join("pg_hba.conf"), rules).expect("the server's rules");
    server.sql("SELECT pg_reload_conf()");
    let url = server.tcp_url().replace("postgres@", "postgres:s3cr3t@");
    let wrong = server.tcp_url().replace("postgres@", "postgres:wr0ng@");
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("cluster");

    let refused = init(&dir, &["--database", &wrong]);
    assert_refused(&refused, &dir, "password authentication failed");
    assert!(!refused.stderr.contains("wr0ng"), "{}", refused.stderr);
    assert_refused(&init(&dir, &["--database", &url, "--witnesses", "1"]), &dir, "no witnesses");
    assert_refused(
        &init(&dir, &["--database", "postgresql://a:s3cr3t@db1/x"]),
        &dir,
        "db1:5432 is not on this machine",
    );
    assert_refused(&init(&dir, &["--database", &url, "--schema", "A"]), &dir, "no name for a schema");
    assert_eq!(server.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'baton'"), "0");

    let done = init(&dir, &["--database", &url, "--servers", "2"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.text().contains("log in PostgreSQL 1"), "{}", done.text());
    assert!(done.text().contains("survives the failure of any 1 server"), "{}", done.text());
    assert!(done.text().contains("no synchronous standby"), "{}", done.text());
    assert!(!done.text().contains("s3cr3t") && !done.stderr.contains("s3cr3t"));
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).expect("the directory").flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        let text = fs::read_to_string(entry.path()).expect("a file");
        assert_eq!(text.contains("s3cr3t"), name == "database.password", "{name}");
        names.push(name);
    }
    names.sort_unstable();
    let expected = ["cluster.toml", "cookie", "database.password", "server.secrets", "server1.toml", "server2.toml"];
    assert_eq!(names, expected, "no stores, no witnesses");
    let mode = fs::metadata(dir.join("database.password")).expect("the password").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let cluster = fs::read_to_string(dir.join("cluster.toml")).expect("the cluster's file");
    let id = server.sql("SELECT encode(cluster, 'hex') FROM baton.cluster");
    assert!(cluster.contains(&format!("cluster = \"{id}\"")), "{cluster}");
    assert_eq!(server.sql("SELECT term, holder, segment FROM baton.lease"), "0||0");

    let again = home.path().join("again");
    assert_refused(&init(&again, &["--database", &url]), &again, "belongs to the cluster");
    let second = init(&again, &["--database", &url, "--schema", "shop"]);
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    let file = fs::read_to_string(again.join("server3.toml")).expect("three servers by default");
    assert!(file.contains("[database]") && file.contains("schema = \"shop\""), "{file}");
}

#[test]
fn an_administrator_creates_the_tables_with_the_statements_that_init_prints() {
    let Some(server) = Postgres::start() else { return skipped("baton init --sql") };
    server.sql("CREATE ROLE shop LOGIN");
    let url = server.socket_url().replace("postgres@", "shop@");
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("cluster");
    assert_refused(&init(&dir, &["--database", &url]), &dir, "baton init --sql");
    let dir = home.path().join("after");
    let printed = init(&dir, &["--database", &url, "--sql"]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    assert!(!dir.exists(), "it does nothing else");
    server.sql(&printed.text());
    let done = init(&dir, &["--database", &url]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(!dir.join("database.password").exists(), "there is no password");
    assert!(!fs::read_to_string(dir.join("server1.toml")).expect("a file").contains("password_file"));
}
