//! Links between real processes, over real sockets on this machine.
//!
//! ractor's process groups are global to a process, so every node is a process of its own: this test binary, run
//! again with its settings in the environment.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "links/death.rs"]
mod death;
#[path = "links/driver.rs"]
mod driver;
#[path = "links/node.rs"]
mod node;
#[path = "links/silent.rs"]
mod silent;
#[path = "links/tls.rs"]
mod tls;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use baton_client::peers::LINK_CREDIT_BYTES;
use baton_domain::clock::BootTime;
use driver::{Node, client, mesh, server};
use node::{NodeCommand, NodeReport, Settings};
use rustix::process::Signal;

#[test]
#[ignore = "the other processes of these tests"]
fn a_process_of_the_tests() {
    let settings = std::env::var(node::SETTINGS).expect("run by the other tests");
    node::run(&serde_json::from_str(&settings).unwrap());
}

#[test]
fn two_servers_link_and_calls_flow_both_ways() {
    let mut nodes = [Node::start(&server("server1")), Node::start(&server("server2"))];
    mesh(&mut nodes);
    let [one, two] = &mut nodes;
    one.call("server2", 100, 10);
    two.call("server1", 100, 10);
    two.call("server2", 100, 10);
    for (from, to) in [(0, "server2"), (1, "server1"), (1, "server2")] {
        nodes[from].tell(&NodeCommand::Token { peer: to.to_owned() });
        nodes[from].says(&NodeReport::Token { good: true, zeros: false });
    }
}

#[test]
fn a_client_reaches_its_servers_and_never_sees_a_token() {
    let (mut one, mut shop) = (Node::start(&server("server1")), Node::start(&client("shop")));
    shop.dial(&one.address);
    one.up("shop");
    let (_, token) = shop.until("up", |report| match report {
        NodeReport::Up { server: true, token, .. } => Some(*token),
        _ => None,
    });
    assert!(!token, "a client cannot make a server's token");
    shop.call("server1", 1_000, 5);
    one.call("shop", 1_000, 5);
}

/// Whatever a client puts into its frames: its link is a client's.
#[test]
fn a_client_speaks_for_no_replica_and_tells_no_session_where_the_engine_is() {
    let mut nodes = [Node::start(&server("server1")), Node::start(&server("server2"))];
    mesh(&mut nodes);
    let [one, two] = &mut nodes;
    let ask = |peer: &str| NodeCommand::AskAsServer { peer: peer.to_owned() };
    let answered = |answers| NodeReport::AskedAsServer { storage: answers, session: answers };
    one.tell(&ask("server2"));
    one.says(&answered(true));
    two.tell(&ask("server2"));
    two.says(&answered(true));
    let mut shop = Node::start(&client("shop"));
    shop.dial(&one.address);
    shop.up("server1");
    shop.tell(&ask("server1"));
    shop.says(&answered(false));
    shop.call("server1", 1_000, 1);
    // And one that says in its hello that it holds a replica is none either.
    let mut liar = Node::start(&Settings { replica: Some(1), ..client("liar") });
    liar.dial(&one.address);
    let text = liar.refused();
    assert!(text.contains("says that it holds a replica"), "{text}");
}

/// A server that held two would be out of descriptors with half of its clients.
#[test]
fn a_link_holds_one_descriptor() {
    let mut one = Node::start(&server("server1"));
    let [before, ..] = one.report();
    let clients: Vec<_> = ["a", "b", "c", "d", "e"]
        .map(|name| {
            let mut node = Node::start(&client(name));
            node.dial(&one.address);
            one.up(name);
            node
        })
        .into();
    let [linked, _, sessions, _] = one.report();
    assert_eq!(linked - before, clients.len());
    assert_eq!(sessions, 1, "its own: a client has no session of ractor_cluster, in which it could say another name");
}

/// A service that sends back whatever it gets sends back our own hello: that must not pass for "you dialed yourself".
#[test]
fn an_echo_at_a_servers_address_does_not_end_the_dialing() {
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = echo.local_addr().unwrap().to_string();
    for mut node in [Node::start(&server("server1")), Node::start(&client("shop"))] {
        node.tell(&NodeCommand::Ensure(vec![(Some("server2".to_owned()), address.clone())]));
        for _ in 0..2 {
            let (mut stream, _) = echo.accept().unwrap();
            let mut hello = [0; 1_024];
            let length = stream.read(&mut hello).unwrap();
            stream.write_all(&hello[..length]).unwrap();
        }
        let text = node.refused();
        assert!(text.contains("unexpected name") || text.contains("is not a server"), "{text}");
    }
    drop(echo);
    let two = Node::start(&Settings { listen: Some(address.clone()), ..server("server2") });
    let mut one = Node::start(&server("server1"));
    one.tell(&NodeCommand::Ensure(vec![(Some("server2".to_owned()), address)]));
    one.up("server2");
    two.up("server1");
}

/// A server may learn late that a name is another server's; a client that has it by then gives way.
#[test]
fn a_client_in_a_servers_name_keeps_no_server_out() {
    let mut one = Node::start(&server("server1"));
    let mut squatter = Node::start(&client("server2"));
    squatter.dial(&one.address);
    squatter.up("server1");
    one.until("the squatter", |report| matches!(report, NodeReport::Up { server: false, .. }).then_some(()));
    let two = Node::start(&server("server2"));
    one.ensure(&[&two]);
    one.until("the server", |report| matches!(report, NodeReport::Up { server: true, .. }).then_some(()));
    let text = squatter.refused();
    assert!(text.contains("server2 is the name of a server"), "{text}");
}

/// With the cookie, at a server's address, under that server's name.
#[test]
fn nobody_is_linked_under_a_servers_name_without_the_servers_key() {
    let impostor = Node::start(&Settings { listen: Some("127.0.0.1:0".to_owned()), ..client("server2") });
    let address = impostor.address.clone();
    for settings in [server("server1"), client("shop")] {
        let mut node = Node::start(&settings);
        node.tell(&NodeCommand::Ensure(vec![(Some("server2".to_owned()), address.clone())]));
        let text = node.refused();
        assert!(text.contains("is not a server"), "{text}");
    }
    let keyless = Node::start(&Settings { server_key: Some(9), ..server("server2") });
    let mut one = Node::start(&server("server1"));
    one.tell(&NodeCommand::Ensure(vec![(Some("server2".to_owned()), keyless.address.clone())]));
    let text = one.refused();
    assert!(text.contains("wrong server key"), "{text}");
}

#[test]
fn who_does_not_belong_is_told_why() {
    let mut one = Node::start(&Settings { generation: 3, max_connections: 2, ..server("server1") });
    let mut zero = Node::start(&Settings { generation: 3, ..server("server0") });
    zero.ensure(&[&one]);
    one.up("server0");
    one.tell(&NodeCommand::Ensure(vec![(Some("server7".to_owned()), "127.0.0.1:1".to_owned())]));
    let clients: Vec<_> = ["shop", "bank"]
        .map(|name| {
            let mut node = Node::start(&client(name));
            node.dial(&one.address);
            node.up("server1");
            node
        })
        .into();
    for (settings, words) in [
        (Settings { cookie: 9, ..client("thief") }, "wrong cookie: server1 and thief were not set up by the same"),
        (Settings { server_key: Some(9), ..server("server00") }, "wrong server key: server00 says that it is a server"),
        (Settings { cluster: 9, ..client("stranger") }, "other cluster: stranger and the process that answers"),
        (Settings { generation: 2, ..server("server00") }, "wipe the store of server00"),
        (Settings { generation: 4, ..server("server00") }, "wipe the store of server1"),
        (Settings { generation: 3, ..server("server0") }, "name in use: another live process of this cluster"),
        (client("shop"), "name in use: another live process of this cluster is called shop"),
        (client("server7"), "server7 is the name of a server"),
        (client("third"), "raise max_connections"),
    ] {
        let mut node = Node::start(&settings);
        node.dial(&one.address);
        let text = node.refused();
        assert!(text.contains(words), "{}: {text}", settings.name);
        assert!(!text.contains("01010101"), "the cluster's id is not told: {text}");
        assert!(text.starts_with("no link with ") && text.contains(&one.address), "{text}");
        assert!(!text.contains('\n'));
    }
    // The one with the old store, which did not dial, hears of it as well.
    one.until("that its store is old", |report| match report {
        NodeReport::Refused(text) => text.contains("wipe the store of server1").then_some(()),
        _ => None,
    });
    // And nobody who belongs was disturbed.
    zero.call("server1", 10, 1);
    for mut node in clients {
        node.call("server1", 10, 1);
    }
    let mut lost = Node::start(&Settings { generation: 3, ..server("server00") });
    lost.tell(&NodeCommand::Ensure(vec![(Some("server2".to_owned()), one.address.clone())]));
    let text = lost.refused();
    assert!(text.contains("unexpected name") && text.contains("answers as server1 and not as server2"), "{text}");
}

#[test]
fn an_unknown_version_is_refused_in_words() {
    let one = Node::start(&server("server1"));
    let mut stream = TcpStream::connect(&one.address).unwrap();
    stream.write_all(b"BTON\x09\x01\x00\x02hi").unwrap();
    let mut answer = Vec::new();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("BTON") && text.contains("this program speaks version 5"), "{text}");
}

#[test]
fn a_killed_peer_is_down_at_once_and_up_again_when_it_restarts() {
    let mut nodes = vec![Node::start(&server("server1")), Node::start(&server("server2"))];
    mesh(&mut nodes);
    let mut two = nodes.pop().unwrap();
    let mut one = nodes.pop().unwrap();
    for _ in 0..5 {
        let killed = two.signal(Signal::KILL);
        let took = one.down("server2").since(killed);
        assert!(took < Duration::from_millis(100), "down after {took:?}");
        let before = two.incarnation;
        two = Node::start(&Settings { listen: Some(two.address.clone()), ..two.settings.clone() });
        two.ensure(&[&one]);
        assert_eq!(one.up("server2"), two.incarnation);
        assert!(two.incarnation > before);
        assert_eq!(two.up("server1"), one.incarnation);
        one.call("server2", 10, 1);
    }
    // And the dialing one.
    let killed = one.signal(Signal::KILL);
    let took = two.down("server1").since(killed);
    assert!(took < Duration::from_millis(100), "down after {took:?}");
    let mut again = Node::start(&Settings { listen: Some(one.address.clone()), ..one.settings.clone() });
    again.ensure(&[&two]);
    assert_eq!(two.up("server1"), again.incarnation);
    two.call("server1", 10, 1);
}

#[test]
fn a_frozen_peer_is_dropped_and_comes_back() {
    let mut nodes = [Node::start(&server("server1")), Node::start(&server("server2"))];
    mesh(&mut nodes);
    for frozen in [1, 0] {
        let names = ["server1", "server2"];
        let stopped = nodes[frozen].signal(Signal::STOP);
        let took = nodes[1 - frozen].down(names[frozen]).since(stopped);
        // The timeout, a tick until the silence begins and one until it is seen, and a busy machine.
        assert!((300..1_000).contains(&took.as_millis()), "{} down after {took:?}", names[frozen]);
        nodes[frozen].signal(Signal::CONT);
        assert_eq!(nodes[1 - frozen].up(names[frozen]), nodes[frozen].incarnation);
        nodes[frozen].up(names[1 - frozen]);
        nodes[1 - frozen].call(names[frozen], 10, 1);
        nodes[frozen].call(names[1 - frozen], 10, 1);
    }
}

#[test]
fn calls_to_a_frozen_peer_fail_with_its_link_and_leave_nothing_behind() {
    let mut nodes = [Node::start(&server("server1")), Node::start(&server("server2"))];
    mesh(&mut nodes);
    let [one, two] = &mut nodes;
    let before = one.report();
    two.signal(Signal::STOP);
    // Far more than the credit: most wait for credit, some for answers, and their own timeout is ten seconds.
    one.tell(&NodeCommand::Call { peer: "server2".to_owned(), bytes: 64 * 1024, count: 1_000 });
    let down = one.down("server2");
    let failed = one.says(&NodeReport::Called { answers: 0, failed: 1_000 });
    let took = failed.since(down);
    assert!(took < Duration::from_secs(1), "failed {took:?} after the link was down");
    two.signal(Signal::CONT);
    one.up("server2");
    one.call("server2", 10, 1);
    settles(before, || one.report());
}

/// Waits until descriptors, tasks and endpoints are about as many as before.
fn settles(before: [usize; 4], mut report: impl FnMut() -> [usize; 4]) {
    let deadline = BootTime::now() + Duration::from_secs(10);
    loop {
        let after = report();
        if (0..3).all(|what| after[what] <= before[what] + 5) {
            return;
        }
        assert!(BootTime::now() < deadline, "descriptors, tasks, endpoints: {before:?} before, {after:?} after");
    }
}

#[test]
fn a_client_whose_first_address_is_frozen_links_to_the_next_in_time() {
    // The kernel takes connections for it; nobody answers.
    let frozen = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = Node::start(&server("server1"));
    let mut shop = Node::start(&client("shop"));
    let began = BootTime::now();
    let addresses = [frozen.local_addr().unwrap().to_string(), one.address.clone()];
    shop.tell(&NodeCommand::Ensure(addresses.map(|address| (None, address)).into()));
    let (when, ()) = shop.until("up", |report| matches!(report, NodeReport::Up { .. }).then_some(()));
    let took = when.since(began);
    assert!((90..600).contains(&took.as_millis()), "linked after {took:?}");
}

#[test]
fn a_new_replica_is_known_to_the_other_servers() {
    let mut nodes = [Node::start(&server("server1")), Node::start(&Settings { replica: None, ..server("server2") })];
    mesh(&mut nodes);
    nodes[1].tell(&NodeCommand::SetReplica(42));
    let forty_two = |report: &NodeReport| matches!(report, NodeReport::Up { replica: Some(42), .. }).then_some(());
    nodes[0].until("up with replica 42", forty_two);
    nodes[1].up("server1");
    nodes[1].call("server1", 10, 1);
}

#[test]
fn a_service_that_panics_costs_a_reconnection_and_no_more() {
    let mut nodes = [Node::start(&server("server1")), Node::start(&server("server2"))];
    mesh(&mut nodes);
    let [one, two] = &mut nodes;
    one.tell(&NodeCommand::Panic { peer: "server2".to_owned() });
    one.down("server2");
    assert_eq!(one.up("server2"), two.incarnation);
    one.call("server2", 10, 1);
    two.down("server1");
    two.up("server1");
    two.call("server1", 10, 1);
    two.call("server2", 10, 1);
}

#[test]
fn stopping_frees_the_port_and_tells_the_peers() {
    let mut nodes = [Node::start(&server("server1")), Node::start(&server("server2"))];
    mesh(&mut nodes);
    let [one, two] = &mut nodes;
    let taken = Node::fail(&Settings { listen: Some(one.address.clone()), ..server("server3") });
    assert!(taken.contains(&one.address) && taken.contains("the port is in use"), "{taken}");
    for _ in 0..3 {
        one.tell(&NodeCommand::Stop);
        one.says(&NodeReport::Stopped);
        drop(TcpListener::bind(&one.address).expect("the port is free"));
        two.down("server1");
        // Again, in the same process.
        one.start_again();
        one.ensure(&[&*two]);
        assert_eq!(two.up("server1"), one.incarnation);
        two.call("server1", 10, 1);
    }
}

#[test]
fn what_cannot_start_says_why_in_one_line() {
    let missing: [PathBuf; 3] = ["/nowhere/ca.pem", "/nowhere/cert.pem", "/nowhere/key.pem"].map(Into::into);
    for (settings, words) in [
        (Settings { listen: Some("7100".to_owned()), ..server("s") }, "write host:port"),
        (Settings { listen: Some("192.0.2.1:7100".to_owned()), ..server("s") }, "cannot listen on 192.0.2.1:7100"),
        (Settings { server_key: None, ..server("s") }, "s is a server and has no server key"),
        (Settings { tls: Some(missing), ..server("s") }, "cannot use the CA file /nowhere/ca.pem"),
        (server(""), "the name \"\" cannot be used"),
    ] {
        let line = Node::fail(&settings);
        assert!(line.contains(words) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn frames_of_64_kib_flow_within_the_credit() {
    let mut nodes = [Node::start(&server("server1")), Node::start(&server("server2"))];
    mesh(&mut nodes);
    let [one, two] = &mut nodes;
    one.call("server2", 64 * 1024, 1_000);
    let [.., most] = two.report();
    assert!((512 * 1024..=LINK_CREDIT_BYTES).contains(&most), "{most} bytes were unanswered at once");
}

#[test]
fn a_thousand_reconnections_leave_nothing_behind() {
    let mut nodes = [Node::start(&server("server1")), Node::start(&server("server2"))];
    mesh(&mut nodes);
    let [one, two] = &mut nodes;
    let reconnect = |node: &mut Node, address: &str, times| {
        node.tell(&NodeCommand::Reconnect { peer: "server2".to_owned(), address: address.to_owned(), times });
        node.says(&NodeReport::Reconnected);
    };
    reconnect(one, &two.address, 20);
    let before = [one.report(), two.report()];
    for _ in 0..10 {
        reconnect(one, &two.address, 100);
    }
    one.call("server2", 10, 1);
    two.call("server1", 10, 1);
    settles(before[0], || one.report());
    settles(before[1], || two.report());
}

#[test]
fn an_idle_server_with_four_peers_costs_next_to_nothing() {
    let mut nodes: Vec<_> = (1..=5).map(|number| Node::start(&server(&format!("server{number}")))).collect();
    mesh(&mut nodes);
    let window = Duration::from_secs(5);
    let before: Vec<_> = nodes.iter().map(Node::cpu_ticks).collect();
    std::thread::sleep(window); // what is measured is this time
    for (node, before) in nodes.iter().zip(before) {
        let used = Duration::from_millis(10 * (node.cpu_ticks() - before));
        let share = used.as_secs_f64() / window.as_secs_f64();
        println!("{} used {:.2} % of a core", node.settings.name, share * 100.0);
        assert!(share < 0.01, "{} used {:.1} % of a core", node.settings.name, share * 100.0);
    }
}
