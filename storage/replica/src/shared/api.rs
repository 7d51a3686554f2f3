//! What the contract of a shared log names.

pub(super) use baton_domain::{ClusterId, ServerName};
pub(super) use bytes::Bytes;

pub(super) use super::log::*;
