//! The encoding of messages, which requests, commands and the records of a store share.

#![no_main]

use baton_domain::MessageBatch;
use baton_domain::message_batch::{read_tail, tail, write};
use baton_test_support::holds;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let batch = |bytes: &[u8]| MessageBatch::new(Bytes::copy_from_slice(bytes)).map(|batch| batch.read());
    holds(bytes, batch, |messages| write(messages.iter()));
    holds(bytes, |bytes| read_tail(&Bytes::copy_from_slice(bytes)), tail);
});
