//! Connections on which nothing is sent.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use baton_domain::clock::BootTime;

use crate::driver::{Node, client, server};
use crate::node::Settings;

#[test]
fn silent_connections_are_dropped_at_the_deadline_and_hold_nobody_up() {
    let one = Node::start(&Settings { handshake_deadline_ms: 1_000, ..server("server1") });
    let began = BootTime::now();
    let silent: Vec<_> = (0..20).map(|_| TcpStream::connect(&one.address).unwrap()).collect();
    let mut shop = Node::start(&client("shop"));
    shop.dial(&one.address);
    shop.up("server1");
    for mut stream in silent {
        assert_closed(&mut stream);
    }
    let took = BootTime::now().since(began);
    assert!(took >= Duration::from_millis(950), "closed after {took:?}, before the deadline");
    shop.call("server1", 10, 1);
}

/// Waits for the end of a connection that is silent.
fn assert_closed(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    match stream.read(&mut [0; 64]) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn too_many_silent_connections_push_the_oldest_out_and_lock_nobody_out() {
    let limit = 4;
    let deadline = 60_000;
    let settings = Settings { max_unauthenticated: limit, handshake_deadline_ms: deadline, ..server("server1") };
    let one = Node::start(&settings);
    let mut silent: Vec<_> = (0..10).map(|_| TcpStream::connect(&one.address).unwrap()).collect();
    for stream in &mut silent[..10 - limit] {
        assert_closed(stream);
    }
    for stream in &mut silent[10 - limit..] {
        stream.set_nonblocking(true).unwrap();
        let open = stream.read(&mut [0; 1]).expect_err("open");
        assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock);
    }
    let mut shop = Node::start(&client("shop"));
    shop.dial(&one.address);
    shop.up("server1");
}
