//! Changes of destinations that are applied at most once, however often a client repeats them: an answer that is lost in a
//! failover is asked for again, and meanwhile another operator may have made a later change.

use baton_client::protocol::{EngineError, EngineReply, EngineRequest};
use baton_domain::{ChangeId, EngineOp, OpResult, QueueName};

use super::Running;
use crate::engine::context::Context;
use crate::engine::message::RequestId;
use crate::engine::parts::purpose::{Purpose, Resolved};

impl Running {
    /// Accepts a change. If it is repeated, the store is asked for its answer first: the destination may have changed since.
    pub(in crate::engine) fn once(
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
            return self.control(EngineOp::Recall { change }, Purpose::Recall { request, change, asked });
        }
        let before = self.proposals.control_len();
        // None of them needs to know where it came from.
        self.request(request, String::new(), None, *asked, cx);
        self.proposals.once(before, change);
    }

    /// The store said whether it knows a change.
    pub(in crate::engine) fn recalled(
        &mut self,
        request: RequestId,
        change: ChangeId,
        asked: EngineRequest,
        result: OpResult,
        cx: &mut Context<'_>,
    ) -> Resolved {
        let answer = match result {
            // An existing destination is compared with the request again, as in the first attempt.
            OpResult::Repeated(answer) if matches!(*answer, OpResult::Queue { created: false, .. }) => None,
            OpResult::Repeated(answer) => Some(*answer),
            OpResult::Done => None,
            other => return Err(other.into()),
        };
        match (answer, asked) {
            (None, asked) => {
                self.pending -= 1;
                self.once(request, change, false, Box::new(asked), cx);
            }
            (
                Some(answer),
                EngineRequest::CreateQueue { name }
                | EngineRequest::DeleteQueue { name }
                | EngineRequest::Delete { name, .. }
                | EngineRequest::Create { name, .. }
                | EngineRequest::Configure { name, .. },
            ) => self.answer(request, repeated(name, answer), cx),
            (Some(_), _) => self.answer(request, misused(), cx),
        }
        Ok(())
    }
}

/// The reply to a change that was made before, with that answer. Nothing follows from it for this engine: it began after
/// the change, or has taken its outcome.
pub(in crate::engine) fn repeated(queue: QueueName, answer: OpResult) -> EngineReply {
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
