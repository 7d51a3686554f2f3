//! Who waits for which answer.

use std::collections::HashMap;

use baton_client::protocol::{EngineReply, encode};
use baton_client::wire::ReplyPort;

use crate::engine::RequestId;

/// Where the answers go.
#[derive(Default)]
pub(super) struct Ports {
    requests: u64,
    waiting: HashMap<RequestId, Port>,
    /// By their first request.
    frames: HashMap<RequestId, Frame>,
}

enum Port {
    Own(ReplyPort),
    /// It came with others in a frame, which is answered with the last of them.
    Part {
        frame: RequestId,
        at: usize,
    },
}

struct Frame {
    replies: Vec<Option<EngineReply>>,
    missing: usize,
    port: ReplyPort,
}

impl Ports {
    fn name(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// A frame with one request came.
    pub(super) fn came(&mut self, port: ReplyPort) -> RequestId {
        let request = self.name();
        self.waiting.insert(request, Port::Own(port));
        request
    }

    /// A frame with so many requests came.
    pub(super) fn came_together(&mut self, count: usize, port: ReplyPort) -> Vec<RequestId> {
        let requests: Vec<_> = (0..count).map(|_| self.name()).collect();
        let Some(frame) = requests.first().copied() else {
            send(port, &EngineReply::Several(Vec::new()));
            return requests;
        };
        self.frames.insert(frame, Frame { replies: vec![None; count], missing: count, port });
        let parts = requests.iter().enumerate().map(|(at, request)| (*request, Port::Part { frame, at }));
        self.waiting.extend(parts);
        requests
    }

    pub(super) fn answer(&mut self, request: RequestId, reply: EngineReply) {
        match self.waiting.remove(&request) {
            Some(Port::Own(port)) => send(port, &reply),
            Some(Port::Part { frame, at }) => self.answer_part(frame, at, reply),
            None => {}
        }
    }

    fn answer_part(&mut self, id: RequestId, at: usize, reply: EngineReply) {
        let Some(frame) = self.frames.get_mut(&id) else { return };
        frame.replies[at] = Some(reply);
        frame.missing -= 1;
        if frame.missing == 0
            && let Some(Frame { replies, port, .. }) = self.frames.remove(&id)
        {
            send(port, &EngineReply::Several(replies.into_iter().flatten().collect()));
        }
    }
}

/// A client that gave up waiting asks again.
pub(super) fn send(port: ReplyPort, reply: &EngineReply) {
    port.send(encode(reply));
}
