//! Files and words of an operator that are not what `init` wrote.

use std::os::unix::fs::PermissionsExt;
use std::{fs, path::Path};

use baton_domain::{ClusterId, Role, ServerName};
use baton_test_support::{damaged, damages, noise, read};
use proptest::prelude::*;

use super::*;

fn members() -> Vec<MemberConfig> {
    let member = |number: u16| MemberConfig {
        name: ServerName::new(format!("server{number}")).unwrap(),
        role: Role::Server,
        address: format!("127.0.0.1:{}", 7100 + number),
        http: Some(format!("[::1]:{}", 7200 + number)),
    };
    (1..=3).map(member).collect()
}

const CLUSTER: ClusterId = ClusterId([7; 16]);

/// Files as `init` writes them, and one that names every setting.
fn files() -> [(&'static str, String); 5] {
    let member = &members()[0];
    let secrets = Secrets { cookie: Secret::new([1; 32]), server_key: Secret::new([2; 32]) };
    let server = server_file_text(member, &member.address, "127.0.0.1:7201", None);
    let tuned = format!(
        "{server}\n[timing]\nheartbeat_ms = 60\nelection_ms = 340\n[limits]\nmessage_bytes = 1048576\n\
         [tls]\nca = \"ca.pem\"\ncert = \"cert.pem\"\nkey = \"key.pem\"\n"
    );
    [
        ("cluster.toml", cluster_file_text(CLUSTER, &members(), None)),
        ("server1.toml", server),
        ("tuned.toml", tuned),
        ("server.secrets", secrets_file_text(&secrets)),
        ("cookie", Cookie { cluster: Some(CLUSTER), secret: secrets.cookie }.to_text()),
    ]
}

fn write(dir: &Path, name: &str, bytes: &[u8]) {
    fs::write(dir.join(name), bytes).unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o600)).unwrap();
}

/// Loads everything; an error is one line of words.
fn load(dir: &Path, weight: &[u8]) {
    let errors = read(weight, |_| {
        [
            ClusterConfig::load(&dir.join("cluster.toml")).err(),
            ServerConfig::load(&dir.join("server1.toml")).err(),
            ServerConfig::load(&dir.join("tuned.toml")).err(),
            Secrets::load(&dir.join("server.secrets")).err(),
            Cookie::load(&dir.join("cookie")).err(),
        ]
    });
    for error in errors.into_iter().flatten() {
        let words = error.to_string();
        assert!(!words.is_empty() && !words.contains('\n'), "{words:?}");
    }
}

proptest! {
    // Each case writes and reads files.
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn files_of_an_operator(broken in 0..5_usize, text in "[a-z\\[\\]=\"'.\\n\\\\#0-9\u{e9} ]{0,60}", harm in damages(), noise in noise()) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files() {
            write(dir.path(), name, text.as_bytes());
        }
        load(dir.path(), &[]);
        prop_assert!(ServerConfig::load(&dir.path().join("server1.toml")).is_ok());
        let files = files();
        let (name, sound) = &files[broken];
        let with_text = format!("{sound}\n{text}");
        for bytes in [damaged(sound.as_bytes(), &harm), with_text.into_bytes(), text.into_bytes(), noise] {
            write(dir.path(), name, &bytes);
            load(dir.path(), &bytes);
        }
    }

    #[test]
    fn words_of_an_operator(text in ".{0,80}", id in any::<[u8; 16]>(), secret in any::<[u8; 32]>(), harm in damages()) {
        let cookie = Cookie { cluster: Some(ClusterId(id)), secret: Secret::new(secret) };
        prop_assert_eq!(Cookie::parse(&cookie.to_text()), Ok(cookie));
        prop_assert_eq!(parse_id(&ClusterId(id).to_string()), Ok(ClusterId(id)));
        let harmed = damaged(cookie.to_text().as_bytes(), &harm);
        for text in [text, String::from_utf8_lossy(&harmed).into_owned()] {
            let words = text.as_bytes();
            if let Ok(cookie) = read(words, |_| Cookie::parse(&text)) {
                prop_assert_eq!(Cookie::parse(&cookie.to_text()), Ok(cookie));
            }
            let _ = read(words, |_| parse_id(&text));
            if let Ok((host, port)) = read(words, |_| split_address(&text)) {
                let again = format!("{host}:{port}");
                prop_assert_eq!(split_address(&again), Ok((host, port)));
            }
        }
    }
}
