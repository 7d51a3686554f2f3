//! Strangers, who reach a server's port without a secret, end no server, learn nothing, and block nobody.

use std::time::Duration;

use baton_tests::stranger::{Claim, HELLO, REFUSED, Stranger};
use baton_tests::{Cluster, Workload, get, wait};

const LIMIT: Duration = Duration::from_secs(5);
/// As many reasons to refuse as there are, and some that there are not.
const REASONS: std::ops::Range<u8> = 0..24;

fn cluster_id(cluster: &Cluster) -> [u8; 16] {
    let text = std::fs::read_to_string(cluster.file()).expect("init wrote it");
    let hex = text.lines().find_map(|line| line.strip_prefix("cluster = \"")).expect("it names the cluster");
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal digits");
    std::array::from_fn(byte)
}

/// All that can be said without a secret, to the member of that name.
fn harass(cluster: &Cluster, name: &str, others: &[String]) {
    let (address, id) = (cluster.address(name), cluster_id(cluster));
    let words = format!("wipe the store of {name} and start it again");
    for reason in REASONS {
        let mut first = Stranger::connect(&address);
        first.refuse(reason, &words);
        for other in others {
            for server in [true, false] {
                let claim =
                    Claim { server, name: other, cluster: id, replica: Some(9).filter(|_| server), generation: 9 };
                let mut instead_of_a_proof = Stranger::connect(&address);
                instead_of_a_proof.claim(&claim);
                if instead_of_a_proof.hear().is_some_and(|(kind, _)| kind == HELLO) {
                    instead_of_a_proof.refuse(reason, &words);
                }
            }
        }
    }
    for other in others {
        let mut liar = Stranger::connect(&address);
        liar.claim(&Claim { server: true, name: other, cluster: id, replica: Some(9), generation: 9 });
        assert!(liar.hear().is_some_and(|(kind, _)| kind == HELLO));
        liar.prove_wrongly();
        let (kind, said) = liar.hear().expect("it is told why");
        assert!(kind == REFUSED && String::from_utf8_lossy(&said).contains("wrong cookie"), "{said:?}");
    }
}

#[test]
fn a_stranger_ends_no_server_and_disturbs_nobody() {
    let cluster = Cluster::start(3, 0);
    let mut workload = Workload::start(&cluster, "orders");
    let names = cluster.names();
    let pids: Vec<u32> = names.iter().map(|name| cluster.pid(name)).collect();
    for name in &names {
        harass(&cluster, name, &names);
    }
    cluster.stays("it serves", Duration::from_secs(1), |status| status.started_on("server1") && status.all_caught_up());
    for (name, pid) in names.iter().zip(pids) {
        assert!(cluster.runs(name), "{name} was ended by a stranger");
        assert_eq!(cluster.pid(name), pid);
    }
    workload.flows();
    workload.finish(&cluster);
}

#[test]
fn a_stranger_is_not_told_the_clusters_id_nor_whom_it_reached() {
    let cluster = Cluster::start(1, 0);
    let id: String = cluster_id(&cluster).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut stranger = Stranger::connect(&cluster.address("server1"));
    stranger.claim(&Claim { server: false, name: "x1", cluster: [0; 16], replica: None, generation: 0 });
    let (kind, said) = stranger.hear().expect("it is told why");
    let said = String::from_utf8_lossy(&said);
    assert!(kind == REFUSED && said.contains("other cluster"), "{said}");
    assert!(!said.contains(&id) && !said.contains("server1"), "{said}");
}

/// Every start, every partition and every restart of all: no other server is linked, and strangers call themselves by
/// the names of all of them.
#[test]
fn a_server_alone_among_strangers_goes_on_and_says_what_to_check() {
    let mut cluster = Cluster::init(3, 0);
    let others = ["server1".to_owned(), "server2".to_owned()];
    cluster.restart("server3");
    let http = cluster.http("server3");
    let asks = |path: &str| get(&http, path, LIMIT).unwrap_or_default();
    wait("server3 answers", || asks("/health").0 == 200);
    harass(&cluster, "server3", &others);
    wait("server3 says that nobody proved itself", || asks("/ready").1.contains("no other server has proved itself"));
    let (code, said) = asks("/ready");
    assert!(code == 503 && said.contains("wrong cookie") && said.contains("check the cookie"), "{said}");
    let (code, said) = asks("/health");
    assert!(code == 200 && said.starts_with("live; no other server has proved itself"), "{said}");
    assert!(cluster.runs("server3"), "it was ended by a stranger");
    // And the real ones are let in.
    cluster.start_all();
    cluster.wait("all are up", |status| status.started_on("server1") && status.all_caught_up());
    assert_eq!(asks("/health").1, "live\n");
}

/// The only voter has no link and serves: nothing that strangers send makes it less ready.
#[test]
fn a_server_that_serves_is_not_isolated() {
    let cluster = Cluster::start(1, 0);
    cluster.ok(&["member", "add", "server2", "--address", "127.0.0.1:1"]);
    let http = cluster.http("server1");
    let until = Duration::from_secs(4);
    let claims = std::cell::Cell::new(0);
    cluster.stays("it is ready", until, |status| {
        claims.set(claims.get() + 1);
        let id = if claims.get() % 2 == 0 { cluster_id(&cluster) } else { [0; 16] };
        let mut liar = Stranger::connect(&cluster.address("server1"));
        liar.claim(&Claim { server: true, name: "server2", cluster: id, replica: Some(9), generation: 9 });
        liar.prove_wrongly();
        status.started_on("server1") && get(&http, "/ready", LIMIT).is_some_and(|(code, _)| code == 200)
    });
    assert_eq!(get(&http, "/health", LIMIT).unwrap_or_default().1, "live\n");
}

/// A lost member is replaced with the help of the healthy ones: neither a misconfigured member nor a stranger prevents
/// it.
#[test]
fn a_wiped_server_joins_beside_a_member_that_refuses_it() {
    let mut cluster = Cluster::start(3, 2);
    cluster.kill("server1");
    cluster.wait_engine_on("server2");
    cluster.kill("server3");
    // Another cluster's server at server3's address.
    let mut foreign = Cluster::init(1, 0);
    let (ours, theirs) = (cluster.address("server3"), foreign.address("server1"));
    foreign.configure("server1", |old| old.replace(&theirs, &ours));
    let members = std::fs::read_to_string(foreign.file()).expect("init wrote it");
    std::fs::write(foreign.file(), members.replace(&theirs, &ours)).expect("it can be written");
    foreign.restart("server1");
    cluster.wipe("server1");
    cluster.restart("server1");
    cluster.wait("server1 has joined", |status| status.server("server1").is_some_and(|server| server.caught_up()));
    drop(foreign);
    cluster.restart("server3");
    cluster.wait("all are back", |status| status.all_caught_up());
    cluster.verify();
}
