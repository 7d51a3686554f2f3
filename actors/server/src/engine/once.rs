//! Changes of destinations that are applied at most once, however often a client repeats them: an answer that is lost in a
//! failover is asked for again, and meanwhile another operator may have made a later change.

use baton_client::protocol::{EngineError, EngineReply, EngineRequest};
use baton_domain::{ChangeId, EngineOp, OpResult, QueueName};

use super::message::RequestId;
use super::running::{Context, Running};
use super::writer::Then;

impl Running {
    /// Takes a change on. If it is repeated, the store is asked for its answer first: the destination may have changed since.
    pub(super) fn once(
        &mut self,
        request: RequestId,
        change: ChangeId,
        again: bool,
        asked: Box<EngineRequest>,
        cx: &mut Context<'_>,
    ) {
        if !asked.is_change() {
            let words = "only requests that create, delete or configure a destination can be made once".to_owned();
            return cx.refuse(request, EngineError::BadRequest(words));
        }
        if again {
            return self.control(EngineOp::Recall { change }, Then::Recall { request, change, asked });
        }
        let before = self.writer.control.len();
        // None of them needs to know where it came from.
        self.request(request, String::new(), None, *asked, cx);
        self.writer.once(before, change);
    }

    /// The store said whether it knows a change.
    pub(super) fn recalled(
        &mut self,
        request: RequestId,
        change: ChangeId,
        asked: EngineRequest,
        result: OpResult,
        cx: &mut Context<'_>,
    ) {
        match (result, asked) {
            // What is there is compared with what was asked for, as in the first attempt.
            (OpResult::Repeated(answer), asked) if !matches!(*answer, OpResult::Queue { created: false, .. }) => {
                let reply = match asked {
                    EngineRequest::CreateQueue { name }
                    | EngineRequest::DeleteQueue { name }
                    | EngineRequest::Delete { name, .. }
                    | EngineRequest::Create { name, .. }
                    | EngineRequest::Configure { name, .. } => repeated(name, *answer),
                    _ => misused(),
                };
                self.answer(request, reply, cx);
            }
            (_, asked) => {
                self.pending -= 1;
                self.once(request, change, false, Box::new(asked), cx);
            }
        }
    }
}

/// The reply to a change that was made before, with that answer. Nothing follows from it for this engine: it began after
/// the change, or has taken its outcome.
pub(super) fn repeated(queue: QueueName, answer: OpResult) -> EngineReply {
    EngineReply::Error(match answer {
        OpResult::Queue { created, .. } => return EngineReply::Created { created },
        OpResult::Done => return EngineReply::Done,
        OpResult::Deleted { messages, consumers } => return EngineReply::Deleted { messages, consumers },
        OpResult::Configured { version, .. } => return EngineReply::Configured { version },
        OpResult::OtherVersion { version } => EngineError::OtherVersion { queue, version },
        OpResult::NoSuchQueue => EngineError::NoSuchQueue(queue),
        OpResult::NotEmpty { messages } => EngineError::QueueNotEmpty { queue, messages },
        OpResult::InUse { consumers } => EngineError::QueueInUse { queue, consumers },
        OpResult::Refused { why } => EngineError::Refused(why),
        _ => return misused(),
    })
}

fn misused() -> EngineReply {
    EngineReply::Error(EngineError::BadRequest("this change id was used for another kind of change".to_owned()))
}
