//! A minimal HTTP client for health and readiness.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Asks `address` for `path`: the status code and the body. `None` if there is no answer within `limit`.
#[must_use]
pub fn get(address: &str, path: &str, limit: Duration) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}
