//! State that all tasks of the links share: configuration, secrets, and the hello of this process.

use std::sync::{PoisonError, RwLock};

use baton_client::peers::PeerKind;
use baton_domain::{ReplicaId, random};

use super::config::LinksConfig;
use super::preamble::{Hello, Secrets};
use super::tls::Tls;

/// The part of the hello that can change while the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HelloState {
    pub(super) generation: u32,
    pub(super) replica: Option<ReplicaId>,
    /// The number of the endpoint actor.
    pub(super) endpoint: u64,
}

/// State that all tasks of the links share.
pub(super) struct Shared {
    pub(super) config: LinksConfig,
    pub(super) incarnation: u64,
    pub(super) secrets: Secrets,
    pub(super) tls: Option<Tls>,
    pub(super) hello_state: RwLock<HelloState>,
}

impl Shared {
    pub(super) fn hello_state(&self) -> HelloState {
        *self.hello_state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut HelloState)) {
        change(&mut self.hello_state.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// This process's current hello, with a fresh nonce.
    pub(super) fn hello(&self) -> Hello {
        let HelloState { generation, replica, endpoint } = self.hello_state();
        Hello {
            server: self.config.kind == PeerKind::Server,
            name: self.config.name.clone(),
            cluster: self.config.cluster,
            generation,
            replica,
            incarnation: self.incarnation,
            endpoint,
            nonce: random::bytes(),
            watch: false,
        }
    }
}
