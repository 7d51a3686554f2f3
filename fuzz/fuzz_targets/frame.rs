//! Frames, as they arrive on a link.

#![no_main]

use baton_client::wire::Frame;
use baton_test_support::holds;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let encode = |frame: &Frame| Frame::encode(frame.service, &frame.from, &frame.token, &frame.payload);
    holds(bytes, |bytes| Frame::decode(bytes.to_vec()), encode);
});
