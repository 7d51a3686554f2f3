//! A request to take up a queue.

use baton_client::protocol::Kind;
use baton_domain::{ConsumerId, MessageId, QueueName};

#[derive(Debug)]
pub(in crate::engine) struct Attach {
    pub(in crate::engine) client: String,
    pub(in crate::engine) connection: Option<u64>,
    pub(in crate::engine) consumer: ConsumerId,
    pub(in crate::engine) queue: QueueName,
    pub(in crate::engine) credit: u32,
    pub(in crate::engine) unsettled: Vec<MessageId>,
    pub(in crate::engine) received: u32,
    pub(in crate::engine) groups: Vec<(MessageId, String)>,
    pub(in crate::engine) selector: String,
    pub(in crate::engine) temporary: Option<Box<Kind>>,
}
