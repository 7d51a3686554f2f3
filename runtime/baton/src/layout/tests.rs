use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::config::{ClusterConfig, ServerConfig};

fn fake_format(dir: &Path, header: &StoreHeader) -> Result<(), StoreError> {
    std::fs::create_dir(dir).unwrap();
    std::fs::write(dir.join("header"), serde_json::to_string(header).unwrap()).unwrap();
    Ok(())
}

fn failing_format(dir: &Path, _: &StoreHeader) -> Result<(), StoreError> {
    std::fs::create_dir(dir).unwrap();
    Err(StoreError::Io { dir: dir.to_owned(), why: "no space".to_owned() })
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn every_file_that_init_writes_can_be_used() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("new");
    let layout = Layout::plan(3, 2).layout().unwrap();
    write_with(&dir, &layout.clone().with_tls(true), fake_format).unwrap();

    let client = ClusterConfig::load(&dir.join("cluster.toml")).unwrap();
    assert_eq!(client.members, layout.config());
    assert_eq!(client.tls.as_ref().unwrap().certificate, dir.join("tls/client.pem"));
    for (replica, planned) in (1..).zip(&layout.members) {
        let config = ServerConfig::load(&dir.join(format!("{}.toml", planned.name))).unwrap();
        assert_eq!((config.name, config.role, config.cluster), (planned.name.clone(), planned.role, client.cluster));
        assert_eq!((&config.listen, &config.http), (&planned.listen, &planned.http_listen));
        assert_eq!(config.secrets.cookie, client.cookie);
        assert_eq!(config.tls.unwrap().key, dir.join(format!("tls/{}.key", planned.name)));
        let header: StoreHeader =
            serde_json::from_str(&std::fs::read_to_string(config.dir.join("header")).unwrap()).unwrap();
        assert_eq!(
            (header.replica, header.server, header.cluster),
            (ReplicaId(replica), planned.name.clone(), client.cluster)
        );
        let genesis = header.genesis.unwrap();
        assert_eq!(genesis.members.iter().map(|m| m.replica.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(genesis.policy, Policy::default());
    }
    for secret in ["cookie", "server.secrets", "tls/ca.key", "tls/server1.key", "tls/client.key"] {
        assert_eq!(mode(&dir.join(secret)), 0o600, "{secret}");
    }
    let open = std::fs::read_to_string(dir.join("cluster.toml")).unwrap()
        + &std::fs::read_to_string(dir.join("server1.toml")).unwrap();
    assert!(!open.contains(&client.cookie.to_hex()), "no secret stands in a file that others can read");
}

#[test]
fn a_server_without_files_has_the_configuration_that_the_files_describe() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::plan(2, 1).hosts(["a.example", "10.0.0.2", "::1"]).layout().unwrap();
    write_with(temp.path(), &layout, fake_format).unwrap();
    for name in ["server1", "server2", "witness1"] {
        let loaded = ServerConfig::load(&temp.path().join(format!("{name}.toml"))).unwrap();
        let made = layout.server_config(name, temp.path().join(name), loaded.cluster, loaded.secrets.clone()).unwrap();
        assert_eq!(made.check(), Ok(()));
        assert_eq!(made, ServerConfig { file: None, secrets_file: None, ..loaded });
    }
    let none = layout.server_config("server3", "dir", ClusterId([7; 16]), Secrets::random().unwrap());
    assert!(matches!(none, Err(LayoutError::NoMember { name }) if name == "server3"));
}

#[test]
fn the_store_of_a_member_is_formatted_once() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::plan(2, 0).layout().unwrap();
    let (dir, secrets) = (temp.path().join("store"), Secrets::random().unwrap());
    let config = layout.server_config("server2", &dir, ClusterId([7; 16]), secrets).unwrap();
    layout.format(&config).unwrap();
    let header = baton_replica::inspect(&dir).unwrap().unwrap();
    assert_eq!((header.replica, header.server, header.cluster), (ReplicaId(2), config.name.clone(), config.cluster));
    assert_eq!(header.genesis.unwrap().members.len(), 2);
    assert!(matches!(layout.format(&config), Err(LayoutError::Store(StoreError::Exists { .. }))));
}

#[test]
fn two_clusters_share_no_secret() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::plan(1, 0).layout().unwrap();
    let load = |name: &str| {
        let dir = temp.path().join(name);
        write_with(&dir, &layout, fake_format).unwrap();
        ServerConfig::load(&dir.join("server1.toml")).unwrap()
    };
    let (a, b) = (load("a"), load("b"));
    assert_ne!(a.cluster, b.cluster);
    assert_ne!(a.secrets.cookie, b.secrets.cookie);
    assert_ne!(a.secrets.server_key, b.secrets.server_key);
}

#[test]
fn a_certificate_is_made_out_to_its_member_by_the_clusters_authority() {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::plan(1, 0).layout().unwrap();
    write_with(temp.path(), &layout.with_tls(true), fake_format).unwrap();
    let der = |name: &str| {
        let pem = std::fs::read(temp.path().join("tls").join(name)).unwrap();
        x509_parser::pem::parse_x509_pem(&pem).unwrap().1.contents
    };
    let (ca, server) = (der("ca.pem"), der("server1.pem"));
    let (_, ca) = X509Certificate::from_der(&ca).unwrap();
    let (_, server) = X509Certificate::from_der(&server).unwrap();
    assert_eq!(server.issuer(), ca.subject());
    let san = server.subject_alternative_name().unwrap().unwrap();
    assert_eq!(san.value.general_names, [GeneralName::DNSName("server1")]);
    assert!(ca.is_ca() && !server.is_ca());
}

#[test]
fn a_directory_that_is_in_use_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    std::fs::write(temp.path().join("precious"), "x").unwrap();
    let layout = Layout::plan(1, 0).layout().unwrap();
    let failure = write_with(temp.path(), &layout, fake_format).unwrap_err();
    assert!(failure.to_string().contains("is not empty"), "{failure:?}");
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
}

#[test]
fn a_failure_leaves_the_directory_empty() {
    let temp = tempfile::tempdir().unwrap();
    let layout = Layout::plan(1, 0).layout().unwrap();
    let failure = write_with(temp.path(), &layout.with_tls(true), failing_format).unwrap_err();
    assert!(failure.to_string().contains("no space"), "{failure:?}");
    assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
}
