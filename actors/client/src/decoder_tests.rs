//! All decoders of bytes from a link, given bytes that are not what was sent.

use std::fmt::Debug;

use baton_test_support::{Damage, Verdict, damaged, damages, holds, noise};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};

use crate::protocol::*;
use crate::sample_values::{client_replies, parts};
use crate::wire::{Frame, Service};

fn check<N, T>(values: Vec<(N, T)>, harm: &[Damage], noise: &[u8])
where
    T: Serialize + DeserializeOwned + Debug + PartialEq,
{
    for (_, value) in values {
        let bytes = encode(&value);
        assert_eq!(decode::<T>(&bytes).unwrap(), value);
        assert_eq!(holds(&bytes, decode::<T>, encode), Verdict::Taken);
        holds(&damaged(&bytes, harm), decode::<T>, encode);
    }
    holds(noise, decode::<T>, encode);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn what_crosses_a_link(parts in parts(), harm in damages(), noise in noise()) {
        check(parts.engine_requests(), &harm, &noise);
        check(parts.inner_requests(), &harm, &noise);
        check(parts.engine_replies(), &harm, &noise);
        check(parts.engine_errors(), &harm, &noise);
        check(parts.client_requests(), &harm, &noise);
        check(client_replies(), &harm, &noise);
        check(parts.directory_requests(), &harm, &noise);
        check(parts.directory_replies(), &harm, &noise);
        check(parts.inner_replies(), &harm, &noise);
    }

    #[test]
    fn the_frame_around_it(parts in parts(), service in 0..5_usize, harm in damages(), noise in noise()) {
        let service = [Service::Ping, Service::Storage, Service::Engine, Service::Directory, Service::Client][service];
        let from = parts.server.as_str();
        let bytes = Frame::encode(service, from, &[9; 32], &parts.message.body);
        let frame = Frame::decode(bytes.clone()).unwrap();
        let expected = Frame { service, from: from.to_owned(), token: [9; 32], payload: parts.message.body.clone() };
        prop_assert_eq!(frame, expected);
        for bytes in [bytes.clone(), damaged(&bytes, &harm), noise] {
            let again = |frame: &Frame| Frame::encode(frame.service, &frame.from, &frame.token, &frame.payload);
            holds(&bytes, |bytes| Frame::decode(bytes.to_vec()), again);
        }
    }
}
