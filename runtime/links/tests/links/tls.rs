//! Links with mutual TLS.

use std::path::PathBuf;

use crate::driver::{Node, client, mesh, server};
use crate::node::{NodeReport, Settings};

/// A CA, and certificates that it signs.
struct Authority {
    directory: tempfile::TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(directory.path().join("ca.pem"), certificate.pem()).unwrap();
        Self { directory, issuer: rcgen::Issuer::new(params, key) }
    }

    /// CA, certificate and key for that name.
    fn sign(&self, name: &str) -> [PathBuf; 3] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |kind: &str| self.directory.path().join(format!("{name}{kind}"));
        std::fs::write(path(".pem"), certificate.pem()).unwrap();
        std::fs::write(path(".key"), key.serialize_pem()).unwrap();
        [self.directory.path().join("ca.pem"), path(".pem"), path(".key")]
    }
}

#[test]
fn mutual_tls_lets_in_whom_the_certificates_name_and_nobody_else() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let with = |settings: Settings, tls| Settings { tls: Some(tls), ..settings };
    let mut nodes = [
        Node::start(&with(server("server1"), ours.sign("server1"))),
        Node::start(&with(server("server2"), ours.sign("server2"))),
    ];
    mesh(&mut nodes);
    let [one, two] = &mut nodes;
    one.call("server2", 64 * 1024, 100);
    two.call("server1", 64 * 1024, 100);
    let mut shop = Node::start(&with(client("shop"), ours.sign("clients")));
    shop.ensure(&[&*one]);
    shop.up("server1");
    shop.call("server1", 1_000, 3);

    for (settings, words) in [
        (with(server("server0"), ours.sign("server9")), "it is for server9 and not for the server server0"),
        (
            with(client("thief"), theirs.sign("clients")),
            "certificate: the other side's certificate is not from this cluster's CA",
        ),
        (client("plain"), "one side speaks TLS and the other does not"),
    ] {
        let mut node = Node::start(&settings);
        node.ensure(&[&*one]);
        let text = node.refused();
        assert!(text.contains(words), "{}: {text}", settings.name);
    }
    // A certificate that the server does not accept, shown by one that accepts the server's.
    let mut mixed = theirs.sign("mixed");
    mixed[0] = ours.directory.path().join("ca.pem");
    let mut node = Node::start(&with(client("mixed"), mixed));
    node.ensure(&[&*one]);
    let text = node.refused();
    assert!(text.contains("does not accept this process's certificate"), "{text}");
    // A server whose certificate names another one.
    let false_one = Node::start(&with(server("server5"), ours.sign("server6")));
    let mut bank = Node::start(&with(client("bank"), ours.sign("clients")));
    bank.dial(&false_one.address);
    let text = bank.refused();
    assert!(text.contains("it is for server6 and not for the server server5"), "{text}");
    // TLS toward a server that speaks none.
    let plain = Node::start(&server("server8"));
    bank.dial(&plain.address);
    let (_, ()) = bank.until("TLS mismatch", |report| match report {
        NodeReport::Refused(text) => text.contains("one side speaks TLS").then_some(()),
        _ => None,
    });
}
