//! Where an actor that can be restarted is found: the supervisor fills the slot, everybody else reads it.

use ractor::{ActorRef, Message};
use tokio::sync::watch;

/// Finds the actor that runs now. Cheap to clone.
#[derive(Debug)]
pub struct Slot<M: Message>(watch::Receiver<Option<ActorRef<M>>>);

impl<M: Message> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Fills a [`Slot`].
#[derive(Debug)]
pub struct SlotOwner<M: Message>(watch::Sender<Option<ActorRef<M>>>);

impl<M: Message> Default for SlotOwner<M> {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl<M: Message> SlotOwner<M> {
    /// The reader's side.
    #[must_use]
    pub fn slot(&self) -> Slot<M> {
        Slot(self.0.subscribe())
    }

    /// Puts the running actor in, or takes it out.
    pub fn set(&self, actor: Option<ActorRef<M>>) {
        self.0.send_replace(actor);
    }
}

impl<M: Message> Slot<M> {
    /// The actor that runs now; `None` while it is being restarted.
    #[must_use]
    pub fn get(&self) -> Option<ActorRef<M>> {
        self.0.borrow().clone()
    }

    /// Waits until an actor runs.
    ///
    /// # Errors
    /// In words, if none will.
    pub async fn filled(&mut self) -> Result<(), &'static str> {
        self.0.wait_for(Option::is_some).await.map(|_| ()).map_err(|_| "the server ended")
    }

    /// Sends to the actor that runs now.
    ///
    /// # Errors
    /// The message, if none runs.
    pub fn cast(&self, message: M) -> Result<(), M> {
        match self.get() {
            Some(actor) => actor.cast(message).map_err(|error| match error {
                ractor::MessagingErr::SendErr(message) => message,
                other => panic!("a local send fails only with its message: {other}"),
            }),
            None => Err(message),
        }
    }
}
