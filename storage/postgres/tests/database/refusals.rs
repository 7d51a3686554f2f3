//! Databases that must not be used, and roles with few rights that must do.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use baton_domain::{ClusterId, ServerName};
use baton_postgres::{Database, Password, PostgresLogs, Schema, create, sql};
use baton_replica::shared::{Append, Claimant, LogError, Position, Sessions, SharedLogs as _};
use baton_test_postgres::{Postgres, Stop, skipped};

use crate::{CLUSTER, GENESIS};

async fn open(database: &Database) -> Result<String, LogError> {
    let claimant = Claimant { server: ServerName::new("server1").unwrap(), incarnation: 1 };
    let logs = PostgresLogs::new(database.clone());
    logs.open(claimant, CLUSTER).await.map(|(_, identity)| identity.name)
}

/// What the refusal says; it must be one that somebody has to act on.
fn refused<T>(outcome: Result<T, LogError>) -> String {
    match outcome {
        Err(LogError::Refused(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it is accepted"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_would_lose_commits_is_refused_before_anything_is_created() {
    let Some(mut server) = Postgres::start_with(&["fsync=off"]) else { return skipped("unsafe settings") };
    let database = Database::parse(&server.socket_url()).unwrap();
    assert!(refused(create(&database, CLUSTER, GENESIS).await).contains("fsync"));
    assert_eq!(server.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'baton'"), "0");
    server.stop(Stop::Fast);

    let server = Postgres::start_with(&["full_page_writes=off"]).unwrap();
    let database = Database::parse(&server.socket_url()).unwrap();
    assert!(refused(create(&database, CLUSTER, GENESIS).await).contains("full_page_writes"));
    server.sql("ALTER SYSTEM SET synchronous_commit = off; SELECT pg_reload_conf()");
    drop(server);

    let server = Postgres::start().unwrap();
    let database = Database::parse(&server.socket_url()).unwrap();
    create(&database, CLUSTER, GENESIS).await.unwrap();
    for unsafe_setting in ["off", "local"] {
        server.sql(&format!("ALTER ROLE postgres SET synchronous_commit = {unsafe_setting}"));
        assert!(refused(open(&database).await).contains("synchronous_commit"));
    }
    server.sql("ALTER ROLE postgres SET synchronous_commit = remote_apply; ALTER ROLE postgres SET client_min_messages = error");
    open(&database).await.expect("warnings are asked for, whatever the role says");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_and_a_missing_schema_or_database_are_named() {
    let Some(server) = Postgres::start() else { return skipped("wrong databases") };
    let database = Database::parse(&server.socket_url()).unwrap();
    assert!(refused(open(&database).await).contains("no schema baton"));
    let name = create(&database, CLUSTER, GENESIS).await.unwrap().name;
    assert!(name.starts_with("PostgreSQL 1"), "{name}");
    let name = open(&database).await.unwrap();
    assert!(name.ends_with(", schema baton"), "{name}");
    for again in [CLUSTER, ClusterId([8; 16])] {
        match create(&database, again, GENESIS).await {
            Err(LogError::Foreign(why)) => assert!(why.contains("0707"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let other = database.clone().with_schema(Schema::parse("other").unwrap());
    assert!(refused(open(&other).await).contains("no schema other"));
    create(&other, ClusterId([8; 16]), GENESIS).await.unwrap();
    assert!(matches!(open(&other).await, Err(LogError::Foreign(_))));
    server.sql("UPDATE baton.cluster SET format = 99");
    match open(&database).await {
        Err(LogError::Foreign(why)) => assert!(why.contains("layout 99"), "{why}"),
        other => panic!("{other:?}"),
    }
    let missing = server.socket_url().replace("/postgres", "/missing");
    refused(open(&Database::parse(&missing).unwrap()).await);
    server.sql("DROP SCHEMA baton CASCADE");
    assert!(refused(open(&database).await).contains("no schema baton"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_role_can_do_everything() {
    let Some(server) = Postgres::start() else { return skipped("an ordinary role") };
    server.sql("CREATE ROLE app LOGIN; CREATE ROLE \"we\"\"ird\" LOGIN");
    let as_app = |schema: &str| {
        let url = server.socket_url().replace("postgresql://postgres@", "postgresql://app@");
        Database::parse(&url).unwrap().with_schema(Schema::parse(schema).unwrap())
    };
    assert!(refused(create(&as_app("baton"), CLUSTER, GENESIS).await).contains("--sql"));
    server.sql(&sql(&Schema::parse("baton").unwrap(), "app"));
    assert!(refused(open(&as_app("baton")).await).contains("is empty"));
    create(&as_app("baton"), CLUSTER, GENESIS).await.expect("the tables are there already");
    server.sql(&sql(&Schema::parse("quoted").unwrap(), "we\"ird"));

    let claimant = |number| Claimant { server: ServerName::new("server1").unwrap(), incarnation: number };
    let logs = PostgresLogs::new(as_app("baton")).with_segment_bytes(1);
    let (log, identity) = logs.open(claimant(1), CLUSTER).await.unwrap();
    assert_ne!(identity.system, 0);
    let row = log.look().await.unwrap();
    let term = log.acquire(row.term, row.beat, 0, true).await.unwrap().unwrap().term;
    let mut tail = Position::default();
    for _ in 0..20 {
        let entry = tail.entry(term, vec![1; 10].into());
        let next = entry.position();
        assert_eq!(log.append(term, tail, [entry].into()).await, Ok(Append::Written));
        tail = next;
    }
    assert_eq!(server.sql("SELECT count(*) FROM baton.segment"), "8", "the last one takes the rest");
    log.size().await.unwrap();
    assert_eq!(log.genesis().await.unwrap(), GENESIS);
    let (other, _) = logs.open(claimant(2), CLUSTER).await.unwrap();
    assert_ne!(other.sessions_of(1).await, Ok(Sessions::Unseen));
    assert_eq!(other.trim(term).await, Ok(false));
    other.evict(1).await.unwrap();
    log.ended().await;
    let shown = server.sql("SET ROLE app; SELECT count(*) FROM baton.status");
    assert_eq!(shown, "0", "no server has a row yet, and the role may read it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_and_never_repeated() {
    let Some(server) = Postgres::start() else { return skipped("passwords") };
    server.sql("ALTER ROLE postgres PASSWORD 'right-one'");
    let rules = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
    server.sql("SELECT pg_reload_conf()");
    let url = |password: &str| server.tcp_url().replace("postgres@", &format!("postgres:{password}@"));
    create(&Database::parse(&url("right-one")).unwrap(), CLUSTER, GENESIS).await.unwrap();
    let database = Database::parse(&url("wrong-one")).unwrap();
    let why = refused(open(&database).await);
    assert!(
        why.contains("28P01") && !why.contains("wrong-one") && !format!("{database:?}").contains("wrong-one"),
        "{why}"
    );

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("password");
    let mut database = Database::parse(&url("right-one")).unwrap();
    fs::write(&file, database.take_password().as_ref().map(Password::text).unwrap()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let database = Database::parse(database.url()).unwrap().with_password_file(&file);
    open(&database).await.expect("the password of the file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(open(&database).await).contains("chmod 600"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_must_be_from_the_ca_and_for_the_name() {
    let Some(mut server) = Postgres::start_with(&["ssl=off"]) else { return skipped("TLS") };
    server.stop(Stop::Fast);
    let files = tempfile::tempdir().unwrap();
    let ca = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let file = files.path().join(name);
        let certificate = parameters.self_signed(&key).unwrap();
        fs::write(&file, certificate.pem()).unwrap();
        (file, rcgen::Issuer::new(parameters, key))
    };
    let (trusted, issuer) = ca("ca.pem");
    let (foreign, _) = ca("other.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    let owner = fs::metadata(server.data()).unwrap();
    for (name, text) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let file = server.data().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let (user, group) = (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
        chown(&file, Some(user), Some(group)).unwrap();
    }
    fs::write(server.data().join("postgresql.auto.conf"), "").unwrap();
    server.set("ssl=on");
    server.start_again();
    fs::write(server.data().join("pg_hba.conf"), "local all all trust\nhostssl all all all trust\n").unwrap();
    server.sql("SELECT pg_reload_conf()");

    let at = |host: &str, ca: &std::path::Path| {
        let url = server.tcp_url().replace("127.0.0.1", host);
        Database::parse(&format!("{url}?sslmode=verify-full&sslrootcert={}", ca.display())).unwrap()
    };
    create(&at("localhost", &trusted), CLUSTER, GENESIS).await.unwrap();
    open(&at("localhost", &trusted)).await.expect("the right CA and name");
    refused(open(&at("localhost", &foreign)).await);
    refused(open(&at("127.0.0.1", &trusted)).await);
    let missing = at("localhost", &files.path().join("missing.pem"));
    assert!(refused(open(&missing).await).contains("missing.pem"));
    let plain = Database::parse(&server.tcp_url()).unwrap();
    refused(open(&plain).await);
}
