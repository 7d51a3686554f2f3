//! Bad input is reported in one clear line, with a non-zero exit code.

use std::net::TcpListener;
use std::time::Duration;

use baton_tests::{Cluster, Output, get, run, wait};

const LIMIT: Duration = Duration::from_secs(30);

/// Fails unless a server refused to start: its last line contains each of `words`, and it did not panic.
#[track_caller]
fn assert_refused(output: &Output, words: &[&str]) {
    assert!(output.code.is_some_and(|code| code != 0), "it was to be refused: {}", output.stderr);
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    for word in words {
        assert!(output.last_word().contains(word), "the last line says {word:?}: {}", output.stderr);
    }
}

#[track_caller]
fn server_refuses(cluster: &Cluster, name: &str, words: &[&str]) {
    let file = cluster.config(name);
    assert_refused(&run(&["server", file.to_str().expect("a path in UTF-8")], "", LIMIT), words);
}

/// A change to server1's file, and the words that its error must contain.
type Row = (&'static str, fn(&str) -> String, &'static [&'static str]);

#[test]
fn a_server_refuses_a_file_that_makes_no_sense_and_names_the_line() {
    let table: [Row; 5] = [
        ("an unknown key", |old| format!("colour = \"blue\"\n{old}"), &["server1.toml:1:", "colour"]),
        (
            "an unknown key in a table",
            |old| format!("{old}\n[timing]\nheartbeet_ms = 80\n"),
            &["server1.toml:", "heartbeet_ms"],
        ),
        ("no TOML", |old| format!("name = \n{old}"), &["server1.toml:1:"]),
        (
            "a value out of range",
            |old| format!("{old}\n[timing]\nheartbeat_ms = 0\n"),
            &["server1.toml:", "heartbeat_ms"],
        ),
        ("another role", |old| old.replace("role = \"server\"", "role = \"wittness\""), &["server1.toml:", "witness"]),
    ];
    for (what, change, words) in table {
        println!("{what}");
        let cluster = Cluster::init(1, 0);
        cluster.configure("server1", change);
        server_refuses(&cluster, "server1", words);
    }
}

#[test]
fn two_members_of_one_name_are_refused() {
    let cluster = Cluster::init(3, 0);
    let file = cluster.file();
    let text = std::fs::read_to_string(&file).expect("init wrote it");
    std::fs::write(&file, text.replace("name = \"server2\"", "name = \"server1\"")).expect("it can be written");
    server_refuses(&cluster, "server1", &["cluster.toml:", "server1"]);
    cluster.refused(&["status"], &["cluster.toml:", "server1"]);
}

#[test]
fn a_port_that_is_in_use_is_named() {
    let cluster = Cluster::init(1, 0);
    for address in [cluster.address("server1"), cluster.http("server1")] {
        let _taken = TcpListener::bind(&address).expect("the port was free");
        server_refuses(&cluster, "server1", &[&address]);
    }
}

#[test]
fn a_server_that_is_started_twice_says_that_it_runs() {
    let cluster = Cluster::start(1, 0);
    server_refuses(&cluster, "server1", &["server1 is already running", &cluster.address("server1")]);
    assert!(cluster.status().started_on("server1"), "the one that runs is not harmed");
}

#[test]
fn a_store_that_is_in_use_is_named() {
    let mut cluster = Cluster::start(1, 0);
    // The same server once more, on other ports.
    let old = std::fs::read_to_string(cluster.config("server1")).expect("init wrote it");
    let ports = [("listen", cluster.address("server1")), ("http", cluster.http("server1"))];
    let address = cluster.new_server("copy");
    let new = [address, cluster.http("copy")];
    let text = ports.iter().zip(new).fold(old, |text, ((key, old), new)| {
        text.replace(&format!("{key} = \"{old}\""), &format!("{key} = \"{new}\""))
    });
    cluster.configure("copy", |_| text);
    server_refuses(&cluster, "copy", &["in use", "server1"]);
    assert!(cluster.status().started_on("server1"), "the one that runs is not harmed");
}

#[test]
fn a_wrong_cookie_is_refused() {
    let mut cluster = Cluster::start(3, 0);
    let wrong = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    let secrets = std::fs::read_to_string(cluster.dir().join("server.secrets")).expect("init wrote it");
    let cookie = secrets.lines().find_map(|line| line.strip_prefix("cookie = ")).expect("it holds the cookie");

    // A server whose cookie differs from the others': it stays up and serves nothing, because a process that refuses it
    // has proved nothing either. Log, readiness, health and status say what to check.
    cluster.terminate("server3");
    write_secret(&cluster, "wrong.secrets", &secrets.replace(cookie, &format!("\"{wrong}\"")));
    cluster.configure("server3", |old| old.replace("server.secrets", "wrong.secrets"));
    cluster.restart("server3");
    let http = cluster.http("server3");
    let asks = |path: &str| get(&http, path, LIMIT).unwrap_or_default();
    wait("server3 says so", || asks("/ready").1.contains("no other server has proved itself"));
    for (code, said) in [asks("/ready"), asks("/health")] {
        assert!(said.contains("wrong cookie") && said.contains("server1") && said.contains("check"), "{code} {said}");
    }
    assert_eq!((asks("/ready").0, asks("/health").0), (503, 200));
    assert!(cluster.runs("server3"));
    write_secret(&cluster, "wrong.cookie", wrong);
    let (address, file) = (cluster.address("server3"), cluster.dir().join("wrong.cookie").display().to_string());
    let id = std::fs::read_to_string(cluster.file()).expect("init wrote it");
    let id = id.lines().find_map(|line| line.strip_prefix("cluster = \"")).expect("it has an id").trim_matches('"');
    write_secret(&cluster, "wrong.cookie", &format!("{id}.{wrong}"));
    let status = run(&["status", "--servers", &address, "--cookie-file", &file], "", LIMIT);
    assert!(status.text().contains("no other server has proved itself"), "{}{}", status.text(), status.stderr);
    let log = cluster.log("server3");
    // Clients with the right cookie, which it turns away, are another matter.
    let is_it = |line: &&str| line.contains("WARN") && line.contains("wrong cookie") && !line.contains("client-");
    let said: Vec<&str> = log.lines().filter(is_it).collect();
    assert!(said.len() == 1 && said[0].contains("wrong.secrets"), "once, with the file to look at: {said:?}");
    cluster.stays("the others serve", Duration::from_secs(1), |status| status.started_on("server1"));
    // With the right one it takes part again.
    cluster.terminate("server3");
    cluster.configure("server3", |old| old.replace("wrong.secrets", "server.secrets"));
    cluster.restart("server3");
    cluster.wait("server3 is back", |status| status.all_caught_up());

    // A client with another one.
    write_secret(&cluster, "cookie", wrong);
    cluster.refused(&["status"], &["wrong cookie", "the cookie file named in", "cluster.toml"]);
    cluster.refused(&["queue", "list"], &["cookie"]);
}

#[test]
fn a_client_with_a_wrong_cookie_harms_no_server() {
    let mut cluster = Cluster::init(1, 0);
    cluster.restart("server1");
    cluster.wait_engine_on("server1");
    write_secret(&cluster, "wrong", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    let file = cluster.dir().join("cluster.toml");
    let text = std::fs::read_to_string(&file).expect("init wrote it");
    let wrong = text.replace("\"cookie\"", "\"wrong\"");
    assert_ne!(text, wrong, "the file names its cookie file");
    std::fs::write(cluster.dir().join("wrong.toml"), wrong).expect("it can be written");
    let wrong = cluster.dir().join("wrong.toml").display().to_string();
    for _ in 0..3 {
        assert_refused(&run(&["status", "--cluster", &wrong], "", LIMIT), &["cookie"]);
    }
    cluster.stays("it serves", Duration::from_secs(1), |status| status.started_on("server1"));
}

#[test]
fn an_old_store_whose_replica_was_replaced_is_refused() {
    let mut cluster = Cluster::start(3, 0);
    cluster.terminate("server3");
    let store = cluster.dir().join("server3");
    let (old, new) = (cluster.dir().join("server3.old"), cluster.dir().join("server3.new"));
    std::fs::rename(&store, &old).expect("a store that is not in use can be moved");
    cluster.restart("server3");
    cluster.wait("server3 rebuilt", |status| status.all_caught_up() && status.quorum.up == 3);
    cluster.terminate("server3");
    std::fs::rename(&store, &new).expect("a store that is not in use can be moved");
    std::fs::rename(&old, &store).expect("a store that is not in use can be moved");
    server_refuses(&cluster, "server3", &["replaced", "baton rebuild"]);
}

fn write_secret(cluster: &Cluster, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = cluster.dir().join(name);
    std::fs::write(&path, text).expect("it can be written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
}

#[test]
fn policies_queues_and_commands_that_make_no_sense_are_refused() {
    let cluster = Cluster::start(3, 1);
    let table: [(&[&str], &[&str]); 7] = [
        (&["policy", "set", "--assistance", "none", "--preferred", "server1,server9"], &["server9", "server3"]),
        (&["policy", "set", "--assistance", "none", "--preferred", "server1,witness1"], &["witness1"]),
        (&["policy", "set", "--assistance", "none", "--preferred", "server1,server1"], &["server1", "twice"]),
        (&["policy", "set", "--assistance", "none", "--preferred-only", "true"], &["preferred"]),
        (&["policy", "set", "--fail-back", "true"], &["fail-back"]),
        (&["receive", "nowhere"], &["nowhere"]),
        (&["queue", "create", "no spaces"], &["no spaces"]),
    ];
    let before = cluster.status().policy;
    for (arguments, words) in table {
        cluster.refused(arguments, words);
    }
    assert_eq!(cluster.status().policy, before, "nothing of a refused policy is taken");

    let output = cluster.run_with(&["send", "nowhere"], "one\n");
    assert!(output.code.is_some_and(|code| code != 0), "{output:?}");
    let said: Vec<&str> = output.stderr.lines().collect();
    assert!(said.len() == 2 && said[0].contains("nowhere"), "one line, before the count: {said:?}");
    assert_eq!(said[1], "confirmed 0");
}

#[test]
fn init_touches_no_directory_that_holds_something() {
    let cluster = Cluster::init(1, 0);
    let before = std::fs::read_to_string(cluster.file()).expect("init wrote it");
    let output = run(&["init", cluster.dir().to_str().expect("a path in UTF-8")], "", LIMIT);
    assert_refused(&output, &[]);
    assert_eq!(std::fs::read_to_string(cluster.file()).expect("it is still there"), before);
}

#[test]
fn init_says_how_many_failures_the_layout_survives() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let table = [
        ("3", "2", "any 2 failures, also at once"),
        ("3", "1", "any 1 failure at once, and any 2 failures one after the other"),
        ("3", "0", "any 1 failure"),
        ("1", "0", "no failure"),
    ];
    for (servers, witnesses, failures) in table {
        let dir = temp.path().join(format!("{servers}-{witnesses}"));
        let dir = dir.to_str().expect("a path in UTF-8");
        let output = run(&["init", dir, "--servers", servers, "--witnesses", witnesses], "", LIMIT);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        assert!(output.text().contains(failures), "{servers}+{witnesses}: {}", output.text());
    }
}
