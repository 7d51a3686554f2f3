//! Messages on their way to a consumer, in answers of the engine and in frames that it sends on its own.

use baton_domain::{Message, MessageId};

/// One message on its way to a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Id for its settlement.
    pub id: MessageId,
    /// The number of times that it was returned to its queue.
    pub redeliveries: u32,
    /// See [`Received::redelivered`](crate::consumer::Received::redelivered); false if it was browsed.
    pub redelivered: bool,
    /// The message.
    pub message: Message,
}

/// Deliveries on the wire: the small fields of each, and all messages as one run of bytes.
pub(super) mod deliveries {
    use baton_domain::{MessageId, message_batch};
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Delivery;

    #[derive(Serialize, Deserialize)]
    struct Batch<B> {
        heads: Vec<(MessageId, u32, bool)>,
        messages: B,
    }

    pub(in crate::protocol) fn serialize<S: Serializer>(
        deliveries: &[Delivery],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let head = |delivery: &Delivery| (delivery.id, delivery.redeliveries, delivery.redelivered);
        let messages = message_batch::write(deliveries.iter().map(|delivery| &delivery.message));
        let heads = deliveries.iter().map(head).collect();
        Batch { heads, messages: serde_bytes::ByteBuf::from(messages) }.serialize(serializer)
    }

    pub(in crate::protocol) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Delivery>, D::Error> {
        let batch = Batch::<&serde_bytes::Bytes>::deserialize(deserializer)?;
        let messages = message_batch::read(batch.messages).map_err(D::Error::custom)?;
        if messages.len() != batch.heads.len() {
            return Err(D::Error::custom("not as many messages as ids"));
        }
        let pairs = batch.heads.into_iter().zip(messages);
        Ok(pairs
            .map(|((id, redeliveries, redelivered), message)| Delivery { id, redeliveries, redelivered, message })
            .collect())
    }
}
