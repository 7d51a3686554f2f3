//! Queue names as text.

use baton_domain::{NameError, QueueName};

/// The name of a queue, topic space or subscription: a [`QueueName`], or text that is checked when it is used.
///
/// ```
/// use baton::client::ToQueueName;
///
/// assert_eq!("orders".to_queue_name().unwrap().as_str(), "orders");
/// assert!("two words".to_queue_name().is_err());
/// ```
pub trait ToQueueName {
    /// Checks the name.
    ///
    /// # Errors
    /// [`NameError`] if it is empty, too long, or has a character that is not allowed.
    fn to_queue_name(self) -> Result<QueueName, NameError>;
}

impl ToQueueName for QueueName {
    fn to_queue_name(self) -> Result<QueueName, NameError> {
        Ok(self)
    }
}

impl ToQueueName for &QueueName {
    fn to_queue_name(self) -> Result<QueueName, NameError> {
        Ok(self.clone())
    }
}

impl ToQueueName for &str {
    fn to_queue_name(self) -> Result<QueueName, NameError> {
        QueueName::new(self)
    }
}

impl ToQueueName for &String {
    fn to_queue_name(self) -> Result<QueueName, NameError> {
        QueueName::new(self)
    }
}
