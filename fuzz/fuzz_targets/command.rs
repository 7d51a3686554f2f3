//! Commands, as a replica reads them from the log and from other replicas.

#![no_main]

use baton_replica::parts::{decode, encode};
use baton_test_support::holds;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    holds(bytes, |bytes| decode(&Bytes::copy_from_slice(bytes)), |command| encode(command).to_vec());
});
