//! Requests on which the engine panicked. A client sends a request again until it is answered: without this, one that meets
//! a defect would end each new instance of the engine, on each server.
//!
//! Covers the handling of a request when it arrives, not the outcome of its operations.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use baton_client::protocol::{EngineRequest, decode, encode};
use baton_domain::clock::BootTime;
use tracing::error;

/// Number of panics within [`WINDOW`] after which a request is refused.
const PANICS: usize = 2;
/// A request is tried again when its panics are older: they may have been due to a state that is gone.
const WINDOW: Duration = Duration::from_secs(600);

/// A request that panicked: its kind, the digest of its content, and when.
#[derive(Debug, Clone, Copy)]
struct Panicked {
    name: &'static str,
    digest: u64,
    at: BootTime,
}

/// The latest of them. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Quarantine(Arc<Mutex<Vec<Panicked>>>);

impl Quarantine {
    /// True if the engine panicked twice on this request lately.
    pub(super) fn refuses(&self, request: &EngineRequest, now: BootTime) -> bool {
        let mut panics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        panics.retain(|panicked| now.since(panicked.at) < WINDOW);
        let name = changed(request).name();
        // Requests are not encoded for nothing.
        if panics.iter().filter(|panicked| panicked.name == name).count() < PANICS {
            return false;
        }
        let digest = digest(request);
        panics.iter().filter(|panicked| panicked.digest == digest).count() >= PANICS
    }

    /// Does something with the request at place `at` of a frame; counts it if that panics.
    pub(super) fn watch<T>(&self, frame: &[u8], at: usize, work: impl FnOnce() -> T) -> T {
        let watched = Watched { quarantine: self, frame, at };
        let done = work();
        std::mem::forget(watched);
        done
    }

    fn panicked(&self, frame: &[u8], at: usize) {
        let request = match decode(frame) {
            Ok(EngineRequest::Several(requests)) => requests.into_iter().nth(at),
            Ok(request) => Some(request),
            Err(_) => None,
        };
        let Some(request) = request else { return };
        let mut panics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, digest) = (changed(&request).name(), digest(&request));
        panics.push(Panicked { name, digest, at: BootTime::now() });
        error!(
            request = name,
            "the engine panicked on a request, which is a defect: it is refused after {PANICS} times"
        );
    }
}

/// The change itself: each attempt and each call carries it with other words around.
fn changed(request: &EngineRequest) -> &EngineRequest {
    match request {
        EngineRequest::Once { request, .. } => request,
        request => request,
    }
}

fn digest(request: &EngineRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    encode(changed(request)).hash(&mut hasher);
    hasher.finish()
}

/// Dropped by a panic alone.
struct Watched<'a> {
    quarantine: &'a Quarantine,
    frame: &'a [u8],
    at: usize,
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.quarantine.panicked(self.frame, self.at);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use baton_domain::{ChangeId, QueueName};

    use super::*;

    fn panic_on(quarantine: &Quarantine, frame: &[u8], at: usize) {
        let panic = catch_unwind(AssertUnwindSafe(|| quarantine.watch(frame, at, || panic!("a defect"))));
        assert!(panic.is_err());
    }

    #[test]
    fn a_request_is_refused_after_two_panics_and_no_other_one() {
        let quarantine = Quarantine::default();
        let (list, bad) = (EngineRequest::ListQueues, EngineRequest::ListInDoubt);
        let frame = encode(&EngineRequest::Several(vec![list.clone(), bad.clone()]));
        for panics in 0..3 {
            assert_eq!(quarantine.refuses(&bad, BootTime::now()), panics >= 2, "{panics}");
            assert!(!quarantine.refuses(&list, BootTime::now()));
            quarantine.watch(&frame, 0, || ());
            panic_on(&quarantine, &frame, 1);
        }
        assert!(!quarantine.refuses(&bad, BootTime::now() + WINDOW), "it is tried again after a while");
    }

    /// Each call draws an id, and each repetition says that it is one.
    #[test]
    fn a_change_is_known_however_often_it_is_repeated() {
        let once = |number, again| {
            let request = EngineRequest::CreateQueue { name: QueueName::new("q").unwrap() };
            EngineRequest::Once { change: ChangeId([number; 16]), again, request: Box::new(request) }
        };
        let quarantine = Quarantine::default();
        panic_on(&quarantine, &encode(&once(1, false)), 0);
        panic_on(&quarantine, &encode(&once(2, false)), 0);
        assert!(
            quarantine.refuses(&once(2, true), BootTime::now()) && quarantine.refuses(&once(3, false), BootTime::now())
        );
    }
}
