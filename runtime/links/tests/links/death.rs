//! Proof that a server's process died, and events that prove nothing.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::Signal;

use crate::driver::{Node, mesh, server};
use crate::node::{NodeCommand, NodeReport, Settings};

/// Longer than a proof is sought.
const SEARCH: Duration = Duration::from_millis(400);

fn pair() -> [Node; 2] {
    let mut nodes = [Node::start(&server("server1")), Node::start(&server("server2"))];
    mesh(&mut nodes);
    // The watch is dialed once the link is up, and no report says so.
    std::thread::sleep(Duration::from_millis(200));
    nodes
}

fn is_dead(name: &str) -> impl Fn(&NodeReport) -> Option<()> {
    move |report| matches!(report, NodeReport::Dead { name: dead } if dead == name).then_some(())
}

/// Passes over reports until a link with that process is up; none of them may be a death.
fn up_and_nobody_died(node: &Node, name: &str) {
    node.until(&format!("up {name}"), |report| match report {
        NodeReport::Dead { name } => panic!("{name} lives"),
        NodeReport::Up { name: up, .. } if up == name => Some(()),
        _ => None,
    });
}

/// Checks that a node reports no death for a while.
fn nobody_died(node: &mut Node) {
    std::thread::sleep(SEARCH);
    node.tell(&NodeCommand::Report);
    node.until("report", |report| match report {
        NodeReport::Dead { name } => panic!("{name} lives"),
        NodeReport::Report { .. } => Some(()),
        _ => None,
    });
}

#[test]
fn a_killed_server_is_proven_dead_on_both_sides_of_the_link() {
    for killed in [0, 1] {
        let nodes = pair();
        nodes[killed].signal(Signal::KILL);
        let names = ["server1", "server2"];
        nodes[1 - killed].until("dead", is_dead(names[killed]));
    }
}

#[test]
fn a_server_that_is_back_at_once_is_proven_dead_by_its_newer_process() {
    let mut nodes = pair();
    let again = Settings { listen: Some(nodes[1].address.clone()), ..nodes[1].settings.clone() };
    nodes[1].settings = again;
    nodes[1].tell(&NodeCommand::Stop);
    nodes[1].start_again();
    nodes[0].until("dead", is_dead("server2"));
}

#[test]
fn a_frozen_server_is_not_proven_dead() {
    for frozen in [0, 1] {
        let nodes = pair();
        let names = ["server1", "server2"];
        nodes[frozen].signal(Signal::STOP);
        nodes[1 - frozen].until("down", |report| match report {
            NodeReport::Dead { name } => panic!("{name} lives"),
            NodeReport::Down { .. } => Some(()),
            _ => None,
        });
        nodes[frozen].signal(Signal::CONT);
        up_and_nobody_died(&nodes[1 - frozen], names[frozen]);
    }
}

/// A proxy between two servers: passes bytes on, and can cut all connections, in order or by resets.
struct Proxy {
    address: SocketAddr,
    open: Arc<Mutex<Vec<Arc<TcpStream>>>>,
    resetting: Arc<AtomicBool>,
    refusing: Arc<AtomicBool>,
}

impl Proxy {
    fn before(node: &Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let middle = Self { address, open: Arc::default(), resetting: Arc::default(), refusing: Arc::default() };
        let (to, open) = (node.address.clone(), middle.open.clone());
        let (resetting, refusing) = (middle.resetting.clone(), middle.refusing.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if refusing.load(Ordering::SeqCst) {
                    // Ends the listener: from now on the port refuses.
                    return;
                }
                let (near, far) = (Arc::new(stream.unwrap()), Arc::new(TcpStream::connect(&to).unwrap()));
                for (from, into) in [(near.clone(), far.clone()), (far.clone(), near.clone())] {
                    let resetting = resetting.clone();
                    std::thread::spawn(move || {
                        // However it ends: the other way goes with it.
                        let _ = std::io::copy(&mut &*from, &mut &*into);
                        if !resetting.load(Ordering::SeqCst) {
                            let _ = into.shutdown(Shutdown::Both);
                        }
                    });
                }
                open.lock().unwrap().extend([near, far]);
            }
        });
        middle
    }

    /// Stops listening.
    fn refuse(&self) {
        self.refusing.store(true, Ordering::SeqCst);
        while TcpStream::connect(self.address).is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn cut(&self, by_reset: bool) {
        self.resetting.store(by_reset, Ordering::SeqCst);
        for stream in self.open.lock().unwrap().drain(..) {
            if by_reset {
                // Closed with nothing to linger for, a connection is reset; to stop reading lets go of it.
                socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap();
                stream.shutdown(Shutdown::Read).unwrap();
            } else {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// server1, which dials server2 through something in the middle.
fn pair_with_a_middle() -> (Node, Node, Proxy) {
    let (mut one, mut two) = (Node::start(&server("server1")), Node::start(&server("server2")));
    let middle = Proxy::before(&two);
    two.ensure(&[&one]);
    one.tell(&NodeCommand::Ensure(vec![(Some("server2".to_owned()), middle.address.to_string())]));
    one.up("server2");
    two.up("server1");
    while middle.open.lock().unwrap().len() < 4 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Both ends of link and watch are there; the watch's handshake takes a moment more.
    std::thread::sleep(Duration::from_millis(200));
    (one, two, middle)
}

/// A firewall that resets connections and refuses new ones.
#[test]
fn connections_that_are_reset_prove_nothing_though_the_port_refuses() {
    let (mut one, mut two, middle) = pair_with_a_middle();
    middle.refuse();
    middle.cut(true);
    one.down("server2");
    two.down("server1");
    nobody_died(&mut one);
    nobody_died(&mut two);
}

/// A proxy that restarts: an orderly end, and then somebody who answers.
#[test]
fn connections_that_end_in_order_prove_nothing_while_the_server_answers() {
    let (mut one, mut two, middle) = pair_with_a_middle();
    for _ in 0..2 {
        middle.cut(false);
        up_and_nobody_died(&one, "server2");
        up_and_nobody_died(&two, "server1");
        nobody_died(&mut one);
        nobody_died(&mut two);
        // The watch is dialed again, a second after it broke.
        while middle.open.lock().unwrap().len() < 4 {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}
