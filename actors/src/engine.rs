//! Placeholder.
use crate::peers::Peers;
use crate::protocol::*;
use crate::wire::Inbound;
use baton_storage::*;
use ractor::*;
use ractor_cluster::RactorMessage;
use tokio::sync::watch;
#[derive(Clone, Debug, PartialEq)]
pub struct EngineView {
    pub state: EngineState,
    pub epoch: Option<Epoch>,
    pub why: String,
}
impl Default for EngineView {
    fn default() -> Self {
        Self { state: EngineState::Standby, epoch: None, why: String::new() }
    }
}
#[derive(Clone, Debug, Default)]
pub struct EngineConfig;
#[derive(RactorMessage)]
pub enum EngineMessage {
    Start { epoch: Epoch, reply: RpcReplyPort<Result<(), String>> },
    Stop { drain: bool, reply: RpcReplyPort<()> },
    Frame(Inbound),
}
pub struct EngineArguments {
    pub store: Store,
    pub peers: Peers,
    pub config: EngineConfig,
    pub view: watch::Sender<EngineView>,
}
pub struct Engine;
impl Actor for Engine {
    type Msg = EngineMessage;
    type State = ();
    type Arguments = EngineArguments;
    async fn pre_start(&self, _: ActorRef<EngineMessage>, _: EngineArguments) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}
