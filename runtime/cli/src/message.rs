//! Messages as `baton receive`, `baton browse` and `baton exception list` print them: in JSON, or their bodies as text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use baton::client::{CONTENT_TYPE, MESSAGE_PACK, Received};
use baton_client::protocol::Delivery;
use baton_domain::{Message, MessageId, Reliability, msgpack};
use serde::Serialize;
use serde_json::Value;

/// The JSON form of a message. Absent properties are left out.
#[derive(Debug, Serialize)]
pub(super) struct MessageInJson<'a> {
    id: String,
    /// The epoch of the engine that delivered it; `None` if it was browsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redelivered: Option<bool>,
    redeliveries: u32,
    priority: u8,
    #[serde(skip_serializing_if = "str::is_empty")]
    topic: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reply_to: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reliability: Option<Reliability>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'a str, &'a str>,
    body: Body<'a>,
    /// The value of a typed message, if JSON can express it.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
}

/// The value in the body of a typed message; `None` if the message has none, or JSON cannot express it.
fn value_of(message: &Message) -> Option<Value> {
    let is_typed = message.header(CONTENT_TYPE) == Some(MESSAGE_PACK);
    is_typed.then(|| msgpack::read_user(&message.body).ok()).flatten()
}

/// A body for people: the value of a typed message as JSON, else the bytes as they are.
pub(super) fn body_to_show(message: &Message) -> Cow<'_, [u8]> {
    match value_of(message) {
        Some(value) => Cow::Owned(value.to_string().into_bytes()),
        None => Cow::Borrowed(&message.body),
    }
}

/// A string if the body is UTF-8, else a list of its bytes.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl<'a> MessageInJson<'a> {
    fn new(id: MessageId, redeliveries: u32, message: &'a Message) -> Self {
        let bytes: &[u8] = &message.body;
        Self {
            id: id.to_string(),
            epoch: None,
            redelivered: None,
            redeliveries,
            priority: message.priority(),
            topic: message.topic(),
            correlation_id: message.correlation_id(),
            reply_to: message.reply_to(),
            group: message.group(),
            reliability: message.reliability(),
            headers: message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            body: std::str::from_utf8(bytes).map_or(Body::Bytes(bytes), Body::Text),
            value: value_of(message),
        }
    }

    /// The JSON form of a received message.
    pub(super) fn of_received(received: &'a Received) -> Self {
        Self {
            epoch: Some(received.epoch.to_string()),
            redelivered: Some(received.redelivered),
            ..Self::new(received.id, received.redeliveries, &received.message)
        }
    }

    /// The JSON form of a browsed message.
    pub(super) fn of_delivery(delivery: &'a Delivery) -> Self {
        Self::new(delivery.id, delivery.redeliveries, &delivery.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_in_json_names_its_epoch_and_keeps_every_byte() {
        let received = |body: &'static [u8]| {
            let id = MessageId { generation: 0, index: 42, position: 3 };
            let message = Message::new(body).with_header("k", "v").with_priority(7);
            let delivery = Delivery { id, redeliveries: 0, redelivered: true, message };
            Received::new(baton_domain::Epoch { generation: 1, index: 17 }, delivery)
        };
        let line = |body| serde_json::to_value(MessageInJson::of_received(&received(body))).unwrap();
        let text = line(b"say \"hello\"");
        assert_eq!((&text["epoch"], &text["body"]), (&"1.17".into(), &"say \"hello\"".into()));
        assert_eq!((&text["redelivered"], text["id"].is_string()), (&true.into(), true));
        assert_eq!((&text["headers"]["k"], &text["priority"]), (&"v".into(), &7.into()));
        assert!(text.get("reply_to").is_none());
        assert_eq!(line(&[0xff, 0])["body"], serde_json::json!([255, 0]));
        assert!(line(b"1").get("value").is_none(), "it is not typed");
    }

    #[test]
    fn the_value_of_a_typed_message_is_decoded_and_its_bytes_stay() {
        // {"item": "lamp"} and {1: 2}, whose key JSON cannot express.
        let (lamp, number) = (&b"\x81\xa4item\xa4lamp"[..], &b"\x81\x01\x02"[..]);
        let typed = |body: &'static [u8]| Message::new(body).with_header(CONTENT_TYPE, MESSAGE_PACK);
        let line = |message: &Message| {
            let id = MessageId { generation: 0, index: 42, position: 3 };
            serde_json::to_value(MessageInJson::new(id, 0, message)).unwrap()
        };
        let json = line(&typed(lamp));
        assert_eq!((&json["value"]["item"], &json["body"][0]), (&"lamp".into(), &0x81.into()));
        assert!(line(&typed(number)).get("value").is_none());
        assert_eq!(&*body_to_show(&typed(lamp)), br#"{"item":"lamp"}"#);
        assert_eq!(&*body_to_show(&typed(number)), number);
        assert_eq!(&*body_to_show(&Message::new(lamp)), lamp, "nothing says that it is a value");
    }
}
