use std::fs;
use std::os::unix::fs::PermissionsExt;

use baton_domain::ServerName;

use super::*;
use crate::config::{Cookie, Limits, Secret, Timing, cluster_file_text, secrets_file_text, server_file_text};

fn member(name: &str, role: Role, port: u16) -> MemberConfig {
    MemberConfig {
        name: ServerName::new(name).unwrap(),
        role,
        address: format!("127.0.0.1:{port}"),
        http: Some(format!("127.0.0.1:{}", port + 100)),
    }
}

fn members() -> Vec<MemberConfig> {
    vec![
        member("server1", Role::Server, 7100),
        member("server2", Role::Server, 7101),
        member("witness1", Role::Witness, 7102),
    ]
}

fn secrets() -> Secrets {
    Secrets { cookie: Secret::new([1; 32]), server_key: Secret::new([2; 32]) }
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A directory as `init` writes it, without stores.
fn written() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    fs::write(path.join("cluster.toml"), cluster_file_text(ClusterId([7; 16]), &members(), None)).unwrap();
    private(&path.join("cookie"), &Cookie { cluster: Some(ClusterId([7; 16])), secret: secrets().cookie }.to_text());
    private(&path.join("server.secrets"), &secrets_file_text(&secrets()));
    for member in members() {
        let text = server_file_text(&member, &member.address, member.http.as_ref().unwrap(), None);
        fs::write(path.join(format!("{}.toml", member.name)), text).unwrap();
    }
    dir
}

#[test]
fn what_init_writes_is_read_back() {
    let dir = written();
    let config = ServerConfig::load(&dir.path().join("witness1.toml")).unwrap();
    assert_eq!((config.name.as_str(), config.role), ("witness1", Role::Witness));
    assert_eq!((config.listen.as_str(), config.http.as_str()), ("127.0.0.1:7102", "127.0.0.1:7202"));
    assert_eq!(config.dir, dir.path().join("witness1"));
    assert_eq!((config.cluster, config.members), (ClusterId([7; 16]), members()));
    assert_eq!((config.secrets, config.tls), (secrets(), None));
    assert_eq!((config.timing, config.limits), (Timing::default(), Limits::default()));

    let client = ClusterConfig::load(&dir.path().join("cluster.toml")).unwrap();
    assert_eq!((client.cluster, client.cookie), (ClusterId([7; 16]), secrets().cookie));
    assert_eq!(client.addresses(), ["127.0.0.1:7100", "127.0.0.1:7101", "127.0.0.1:7102"]);
}

#[test]
fn timing_and_limits_are_read() {
    let dir = written();
    let file = dir.path().join("server1.toml");
    let text = fs::read_to_string(&file).unwrap();
    let timing = "[timing]\nheartbeat_ms = 50\nin_doubt_timeout_ms = 60000\n";
    let limits = "[limits]\nmessage_bytes = 2048\nconsumer_credit = 5000\nmax_connections = 4000\nmax_queues = 20000\n";
    fs::write(&file, text + timing + limits).unwrap();
    let config = ServerConfig::load(&file).unwrap();
    assert_eq!(config.timing, Timing { heartbeat_ms: 50, in_doubt_timeout_ms: 60_000, ..Timing::default() });
    let (message_bytes, consumer_credit, max_connections, max_queues) = (2048, 5_000, 4_000, 20_000);
    assert_eq!(
        config.limits,
        Limits { message_bytes, consumer_credit, max_connections, max_queues, ..Limits::default() }
    );
}

#[test]
fn members_can_stand_in_the_server_file() {
    let dir = written();
    let file = dir.path().join("server1.toml");
    let list = cluster_file_text(ClusterId([7; 16]), &members(), None);
    let list = &list[list.find("[[member]]").unwrap()..];
    let id = ClusterId([7; 16]);
    let text =
        fs::read_to_string(&file).unwrap().replace("cluster = \"cluster.toml\"", &format!("cluster_id = \"{id}\""));
    fs::write(&file, text + list).unwrap();
    assert_eq!(ServerConfig::load(&file).unwrap().members, members());
}

#[test]
fn a_server_that_is_not_in_the_list_may_join() {
    let dir = written();
    let file = dir.path().join("server9.toml");
    let text = fs::read_to_string(dir.path().join("server1.toml")).unwrap();
    fs::write(&file, text.replace("server1", "server9").replace(":7100", ":7109")).unwrap();
    let config = ServerConfig::load(&file).unwrap();
    assert_eq!((config.name.as_str(), config.advertise.as_str()), ("server9", "127.0.0.1:7109"));
    assert_eq!(config.members, members());
}

/// Each bad edit of server1.toml (a piece of it, what stands there instead) and what the error says.
#[test]
fn a_bad_server_file_gives_one_line_with_the_place_and_what_is_allowed() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "role = \"server\"",
            "role = \"boss\"",
            "server1.toml:3: unknown variant `boss`, expected `server` or `witness`",
        ),
        (
            "role = \"server\"",
            "role = \"witness\"",
            "server1.toml:3: role = \"witness\" contradicts the list of members, where server1 is a server",
        ),
        (
            "name = \"server1\"",
            "name = \"server 1\"",
            "server1.toml:2: server name \"server 1\" is not allowed: use 1 to 63",
        ),
        (
            "name = \"server1\"",
            "nom = \"server1\"",
            "server1.toml:2: unknown field `nom`, expected one of `name`, `role`",
        ),
        (
            "listen = \"127.0.0.1:7100\"",
            "listen = \"127.0.0.1\"",
            "server1.toml:5: \"127.0.0.1\" is not an address: write host:port",
        ),
        (
            "listen = \"127.0.0.1:7100\"",
            "listen = \"127.0.0.1:99999\"",
            "server1.toml:5: \"127.0.0.1:99999\" has no valid port",
        ),
        (
            "advertise = \"127.0.0.1:7100\"",
            "advertise = \"127.0.0.1:7199\"",
            "server1.toml:6: 127.0.0.1:7199 contradicts the list of members",
        ),
        (
            "advertise = \"127.0.0.1:7100\"",
            "advertise = \"0.0.0.0:7100\"",
            "server1.toml:6: \"0.0.0.0:7100\" is not an address that others can dial",
        ),
        (
            "http = \"127.0.0.1:7200\"",
            "http = \"127.0.0.1:7100\"",
            "server1.toml:8: http and listen are both 127.0.0.1:7100",
        ),
        ("http = \"127.0.0.1:7200\"", "http = 7200", "server1.toml:8: invalid type: integer `7200`, expected a string"),
        ("dir = \"server1\"", "dir = \"\"", "server1.toml:10: dir is empty"),
        ("cluster = \"cluster.toml\"", "cluster = \"none.toml\"", "server1.toml:12: "),
        ("cluster = \"cluster.toml\"", "", "server1.toml:1: the members are missing"),
        ("cluster = \"cluster.toml\"", "cluster_id = \"xyz\"", "server1.toml:12: \"xyz\" is not a cluster id"),
        ("secrets = \"server.secrets\"", "secrets = \"no.secrets\"", "no.secrets cannot be read: No such file"),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"cluster.toml\"",
            "holds a secret and is readable by others (mode 0644): run `chmod 600",
        ),
        ("secrets = \"server.secrets\"", "secrets = server.secrets", "server1.toml:13: "),
        ("secrets = \"server.secrets\"", "", "server1.toml:1: missing field `secrets`"),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[timing]\nheartbeat = 80",
            "server1.toml:15: unknown field `heartbeat`, expected one of `heartbeat_ms`",
        ),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[timing]\nheartbeat_ms = 5",
            "server1.toml:15: heartbeat_ms = 5 is out of range: use 10 to 10000",
        ),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[timing]\nheartbeat_ms = -5",
            "server1.toml:15: ",
        ),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[timing]\nheartbeat_ms = 200",
            "server1.toml:15: election_min_ms = 240 is too short for heartbeat_ms = 200",
        ),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[timing]\nelection_max_ms = 240",
            "server1.toml:15: election_max_ms = 240 must be longer",
        ),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[timing]\nlease_margin_ms = 300",
            "server1.toml:15: lease_margin_ms = 300 leaves no lease",
        ),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[limits]\nmessage_bytes = 99000000",
            "server1.toml:15: message_bytes = 99000000 is out of range: use 1024 to 8388608",
        ),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[limits]\nmax_connections = 0",
            "server1.toml:15: max_connections = 0 is out of range: use 1 to 1000000",
        ),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[limits]\nframe_max_bytes = 4096",
            "server1.toml:15: frame_max_bytes = 4096 must not be less",
        ),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[tls]\nca = \"a\"\ncert = \"b\"",
            "server1.toml:14: missing field `key`",
        ),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[tls]\nca = \"a\"\ncert = \"b\"\nkey = \"c\"",
            "server1.toml:15: ",
        ),
        (
            "secrets = \"server.secrets\"",
            "secrets = \"server.secrets\"\n[policy]\nmanual = true",
            "server1.toml:14: unknown field `policy`",
        ),
    ];
    for (piece, instead, expected) in cases {
        let dir = written();
        let file = dir.path().join("server1.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(piece), "{piece}");
        fs::write(&file, text.replacen(piece, instead, 1)).unwrap();
        let error = ServerConfig::load(&file).expect_err(instead).to_string();
        assert!(error.contains(expected), "{instead}\n gives {error}\n  not {expected}");
        assert!(!error.contains('\n'), "{error}");
        assert!(error.starts_with(dir.path().to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_bad_list_of_members_gives_one_line_with_the_place() {
    let cases: &[(&str, &str, &str)] = &[
        ("name = \"server2\"", "name = \"server1\"", "cluster.toml:13: two members are named server1"),
        ("7101", "7100", "cluster.toml:15: server1 and server2 have the same address 127.0.0.1:7100"),
        (
            "role = \"server\"",
            "role = \"host\"",
            "cluster.toml:8: unknown variant `host`, expected `server` or `witness`",
        ),
        ("address = \"127.0.0.1:7101\"", "address = \"7101\"", "cluster.toml:15: \"7101\" is not an address"),
        (
            "address = \"127.0.0.1:7101\"",
            "adress = \"127.0.0.1:7101\"",
            "cluster.toml:15: unknown field `adress`, expected one of `name`",
        ),
        ("cluster = \"07", "cluster = \"zz", "cluster.toml:2: "),
    ];
    for (piece, instead, expected) in cases {
        let dir = written();
        let file = dir.path().join("cluster.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(piece), "{piece}");
        fs::write(&file, text.replacen(piece, instead, 1)).unwrap();
        for error in [
            ClusterConfig::load(&file).expect_err(instead),
            ServerConfig::load(&dir.path().join("server1.toml")).expect_err(instead),
        ] {
            let error = error.to_string();
            assert!(error.contains(expected), "{instead}\n gives {error}\n  not {expected}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
    let dir = written();
    let file = dir.path().join("cluster.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("role = \"server\"", "role = \"witness\"")).unwrap();
    let error = ClusterConfig::load(&file).unwrap_err().to_string();
    assert!(error.contains("no member has role = \"server\""), "{error}");
}

#[test]
fn a_secret_that_others_can_read_is_refused_and_never_shown() {
    let dir = written();
    for (secret, file) in [("server.secrets", "server1.toml"), ("cookie", "cluster.toml")] {
        let path = dir.path().join(secret);
        let load = |file: &std::path::Path| match secret {
            "cookie" => ClusterConfig::load(file).map(drop),
            _ => ServerConfig::load(file).map(drop),
        };
        // The group of a file that this process made is its own.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        load(&dir.path().join(file)).expect("the server's own group may read it");
        for mode in [0o644, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load(&dir.path().join(file)).unwrap_err();
            assert_eq!(error, ConfigError::Exposed { file: path.clone(), mode });
        }
        private(&path, "cookie = \"secretsecret\"\nserver_key = \"00\"\n");
        let error = load(&dir.path().join(file)).unwrap_err();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        let form = if secret == "cookie" { "CLUSTER.SECRET" } else { "64 hexadecimal digits" };
        assert!(error.to_string().contains(form), "{error}");
        assert!(!error.to_string().contains("secretsecret"), "{error}");
    }
    private(
        &dir.path().join("server.secrets"),
        &secrets_file_text(&Secrets { server_key: secrets().cookie, ..secrets() }),
    );
    let error = ServerConfig::load(&dir.path().join("server1.toml")).unwrap_err().to_string();
    assert!(error.contains("server.secrets:3: server_key equals the cookie"), "{error}");
    assert!(!format!("{:?}", secrets()).contains("01"), "secrets are not printed");
}

#[test]
fn a_cookie_names_its_cluster_or_not() {
    let (cluster, secret) = (ClusterId([7; 16]), secrets().cookie);
    for cookie in [Cookie { cluster: Some(cluster), secret }, Cookie { cluster: None, secret }] {
        assert_eq!(Cookie::parse(&cookie.to_text()), Ok(cookie));
    }
    for bad in ["", "12", "zz.", &format!("07.{}", secret.to_hex()), &format!("{cluster}.")] {
        assert!(Cookie::parse(bad).is_err(), "{bad}");
    }
    let dir = written();
    private(&dir.path().join("cookie"), &Cookie { cluster: Some(ClusterId([8; 16])), secret }.to_text());
    let error = ClusterConfig::load(&dir.path().join("cluster.toml")).unwrap_err().to_string();
    assert!(error.contains("cluster.toml:4: the cookie belongs to another cluster"), "{error}");
}
