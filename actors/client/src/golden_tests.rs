//! Golden bytes of what crosses a link.

use std::fmt::Debug;
use std::path::Path;

use baton_test_support::golden::Golden;
use baton_test_support::one_of_each;
use serde::{Serialize, de::DeserializeOwned};

use crate::protocol::{decode, encode};
use crate::sample_values::{Parts, client_replies};
use crate::wire::{Frame, Service};

fn add<N: AsRef<str>, T>(golden: &mut Golden, of: &str, values: Vec<(N, T)>)
where
    T: Serialize + DeserializeOwned + Debug + PartialEq,
{
    for (name, value) in values {
        let name = format!("{of}/{}", name.as_ref());
        golden.add((name, "PROTOCOL_VERSION in protocol.rs"), &value, encode, decode::<T>);
    }
}

#[test]
fn requests_and_replies_between_processes() {
    let parts = Parts::fixed();
    let mut golden = Golden::default();
    add(&mut golden, "EngineRequest", parts.engine_requests());
    add(&mut golden, "EngineRequest", parts.inner_requests());
    add(&mut golden, "EngineReply", parts.engine_replies());
    add(&mut golden, "EngineError", parts.engine_errors());
    add(&mut golden, "ClientRequest", parts.client_requests());
    add(&mut golden, "ClientReply", client_replies());
    add(&mut golden, "DirectoryRequest", parts.directory_requests());
    add(&mut golden, "DirectoryReply", parts.directory_replies());
    add(&mut golden, "DirectoryReply", parts.inner_replies());
    let services = one_of_each!(Service { Ping {}, Storage {}, Engine {}, Directory {}, Client {} });
    for (name, service) in services {
        let (from, token, payload) = ("server1".to_owned(), [9; 32], "payload".into());
        let frame = Frame { service, from, token, payload };
        let encode = |frame: &Frame| Frame::encode(frame.service, &frame.from, &frame.token, &frame.payload);
        let decode = |bytes: &[u8]| Frame::decode(bytes.to_vec());
        golden.add((format!("Frame/{name}"), "WIRE_VERSION in wire.rs"), &frame, encode, decode);
    }
    golden.compare(&Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/protocol.txt"));
}
