//! A connection to the database with the task that drives it, and the reason why its session ended.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use baton_replica::shared::LogError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{AsyncMessage, Client, Connection, Error};

use crate::errors::{Effect, is_warning, log_error, text};

/// The reason why a session ended, if it did. All its connections end with the first one that does.
pub(crate) type Fate = watch::Sender<Option<LogError>>;

/// A connection. It is closed when this is dropped.
pub(crate) struct Link {
    client: Client,
    /// From when on a warning ends the session: those that greet a new connection mean no statement.
    trusted: Arc<AtomicBool>,
    ended: watch::Receiver<Option<LogError>>,
    driver: JoinHandle<()>,
}

impl Link {
    /// Starts the task that drives a connection.
    pub(crate) fn drive<S, T>(client: Client, connection: Connection<S, T>, fate: &Fate) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let trusted = Arc::new(AtomicBool::new(false));
        let driver = tokio::spawn(drive(connection, trusted.clone(), fate.clone()));
        Self { client, trusted, ended: fate.subscribe(), driver }
    }

    /// From now on a warning means that an answer is doubtful.
    pub(crate) fn trust(&self) {
        self.trusted.store(true, Ordering::Release);
    }

    /// The client, unless the session has ended. Nothing was sent then.
    pub(crate) fn client(&self) -> Result<&Client, LogError> {
        match &*self.ended.borrow() {
            Some(LogError::Unknown(why)) => Err(LogError::Unreachable(why.clone())),
            Some(why) => Err(why.clone()),
            None => Ok(&self.client),
        }
    }

    /// The error of a call, with the reason why the session ended, if it did.
    pub(crate) fn error(&self, error: &Error, effect: Effect) -> LogError {
        match (log_error(error, effect), self.client()) {
            (LogError::Unknown(_), Err(LogError::Unreachable(why))) if error.is_closed() => LogError::Unknown(why),
            (LogError::Unreachable(_), Err(why)) if error.is_closed() => why,
            (error, _) => error,
        }
    }

    /// Resolves when the session has ended.
    pub(crate) async fn ended(&self) -> LogError {
        let mut ended = self.ended.clone();
        let why = ended.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        why.unwrap_or_else(|| LogError::Unreachable("its tasks ended".to_owned()))
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn drive<S, T>(mut connection: Connection<S, T>, trusted: Arc<AtomicBool>, fate: Fate)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut ended = fate.subscribe();
    let why = tokio::select! {
        why = end(&mut connection, &trusted) => why,
        // Another connection of the session ended.
        _ = ended.wait_for(Option::is_some) => LogError::Unreachable("the session ended".to_owned()),
    };
    // First the reason, then the answers in flight: a call that fails finds out why.
    fate.send_if_modified(|first| {
        let is_first = first.is_none();
        first.get_or_insert(why);
        is_first
    });
    drop(connection);
}

/// Drives a connection until it ends, or until its answers are doubtful.
async fn end<S, T>(connection: &mut Connection<S, T>, trusted: &AtomicBool) -> LogError
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notice(notice))) if is_warning(&notice) && trusted.load(Ordering::Acquire) => {
                // Not polled again: the answer behind the warning is never delivered, nor is any later one.
                return LogError::Unknown(text(&notice));
            }
            Some(Ok(AsyncMessage::Notice(notice))) => tracing::debug!("the database says: {}", text(&notice)),
            Some(Ok(_)) => {}
            Some(Err(error)) => return log_error(&error, Effect::None),
            None => return LogError::Unreachable("the connection was closed".to_owned()),
        }
    }
}
