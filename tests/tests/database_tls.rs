//! PostgreSQL proves itself by its certificate (`sslmode=verify-full`), and so does each server to the others.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use baton_test_postgres::{Postgres, Stop, skipped};
use baton_tests::{Cluster, Workload, run};

#[track_caller]
fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(dir).output().expect("openssl starts");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A CA, and a certificate of it for `localhost`.
fn certificates(dir: &Path) {
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(dir, &format!("{new} -keyout ca.key -out ca.pem -subj /CN=ca"));
    openssl(dir, &format!("{new} -keyout other.key -out other.pem -subj /CN=other"));
    let leaf = "-addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE";
    openssl(dir, &format!("{new} -CA ca.pem -CAkey ca.key -keyout server.key -out server.crt -subj /CN=db {leaf}"));
}

/// Turns a server to TLS alone.
fn over_tls(server: &mut Postgres, files: &Path) {
    server.stop(Stop::Fast);
    let owner = fs::metadata(server.data()).expect("its data");
    for name in ["server.crt", "server.key"] {
        let file = server.data().join(name);
        fs::copy(files.join(name), &file).expect("its certificate");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("it is ours");
        chown(&file, Some(owner.uid()), Some(owner.gid())).expect("it becomes the server's");
    }
    let rules = "local all all trust\nhostssl all all all trust\n";
    fs::write(server.data().join("pg_hba.conf"), rules).expect("its rules");
    server.set("ssl=on");
    server.start_again();
}

#[test]
fn figure_2_over_tls_and_a_certificate_of_another_ca_is_refused() {
    let Some(mut server) = Postgres::start() else { return skipped("TLS to PostgreSQL") };
    let files = tempfile::tempdir().expect("a temporary directory");
    certificates(files.path());
    over_tls(&mut server, files.path());
    let url = |host: &str, ca: &str| {
        let (url, ca) = (server.tcp_url().replace("127.0.0.1", host), files.path().join(ca));
        format!("{url}?sslmode=verify-full&sslrootcert={}", ca.display())
    };
    let dir = files.path().join("refused");
    let dir = dir.to_str().expect("a path in UTF-8");
    for (wrong, words) in [
        (url("localhost", "other.pem"), "certificate"),
        (url("127.0.0.1", "ca.pem"), "certificate"),
        (url("localhost", "missing.pem"), "missing.pem"),
        (server.tcp_url(), "no encryption"),
    ] {
        let output = run(&["init", dir, "--database", &wrong], "", std::time::Duration::from_secs(30));
        assert_ne!(output.code, Some(0), "{wrong}");
        assert_eq!(output.stderr.trim().lines().count(), 1, "one line: {}", output.stderr);
        assert!(output.stderr.contains(words), "{wrong}: {}", output.stderr);
    }

    let mut cluster = Cluster::over(&url("localhost", "ca.pem"));
    let plain = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE application_name LIKE 'baton-%' AND NOT ssl";
    assert_eq!(server.sql(plain), "0", "no session is in the clear");
    let mut workload = Workload::start(&cluster, "orders");
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    workload.flows();
    workload.finish(&cluster);
}
