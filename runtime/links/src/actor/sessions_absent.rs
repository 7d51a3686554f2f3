//! In the place of ractor_cluster's part, in a build for clients: their links have no sessions.

use ractor::{ActorId, ActorProcessingErr, ActorRef};
use tokio::io::DuplexStream;

use crate::actor::RestartedPart;
use crate::message::Message;
use crate::shared::Shared;
use crate::table::ConnectionId;

/// There is none.
pub(in crate::actor) enum Cluster {}

impl Cluster {
    pub(in crate::actor) async fn start(_: &ActorRef<Message>, _: &Shared) -> Result<Self, ActorProcessingErr> {
        std::future::ready(Err("this build of baton cannot run a server: enable the feature `server`".into())).await
    }

    pub(in crate::actor) fn open(&self, _: DuplexStream, _: ConnectionId, _: bool) {
        match *self {}
    }

    pub(in crate::actor) async fn restart(
        &mut self,
        _: ActorId,
        _: &str,
        _: &ActorRef<Message>,
        _: &Shared,
    ) -> Result<RestartedPart, ActorProcessingErr> {
        match *self {}
    }

    pub(in crate::actor) async fn stop(&self) {
        match *self {}
    }
}
