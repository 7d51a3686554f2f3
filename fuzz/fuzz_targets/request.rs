//! Payloads of frames: requests and replies of clients, engines and directories.

#![no_main]

use baton_client::protocol::{
    ClientReply, ClientRequest, DirectoryReply, DirectoryRequest, EngineReply, EngineRequest, decode, encode,
};
use baton_test_support::holds;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    holds(bytes, decode::<ClientRequest>, encode);
    holds(bytes, decode::<ClientReply>, encode);
    holds(bytes, decode::<EngineRequest>, encode);
    holds(bytes, decode::<EngineReply>, encode);
    holds(bytes, decode::<DirectoryRequest>, encode);
    holds(bytes, decode::<DirectoryReply>, encode);
});
