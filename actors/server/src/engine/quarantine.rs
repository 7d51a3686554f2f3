//! Requests on which the engine panicked. A client sends a request again until it is answered: without this, one that meets
//! a defect would end each new instance of the engine, on each server.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use baton_client::protocol::{EngineRequest, decode, encode};
use tracing::error;

/// Number of panics after which a request is refused.
const PANICS: u32 = 2;

/// What is remembered of them, for as long as the server runs. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Quarantine(Arc<Mutex<HashMap<u64, u32>>>);

impl Quarantine {
    /// True if the engine panicked twice on this request.
    pub(super) fn refuses(&self, request: &EngineRequest) -> bool {
        let panics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nearly always empty: requests are not encoded for nothing.
        !panics.is_empty() && panics.get(&digest(request)).is_some_and(|panics| *panics >= PANICS)
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
        let panics = panics.entry(digest(&request)).or_default();
        *panics += 1;
        error!(
            panics,
            request = request.name(),
            "the engine panicked on a request, which is a defect: it is refused after {PANICS} times"
        );
    }
}

fn digest(request: &EngineRequest) -> u64 {
    let mut hasher = DefaultHasher::new();
    encode(request).hash(&mut hasher);
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

    use super::*;

    #[test]
    fn a_request_is_refused_after_two_panics_and_no_other_one() {
        let quarantine = Quarantine::default();
        let list = EngineRequest::ListQueues;
        let bad = EngineRequest::ListInDoubt;
        let frame = encode(&EngineRequest::Several(vec![list.clone(), bad.clone()]));
        for panics in 0..3 {
            assert_eq!(quarantine.refuses(&bad), panics >= 2, "{panics}");
            assert!(!quarantine.refuses(&list));
            quarantine.watch(&frame, 0, || ());
            let panic = catch_unwind(AssertUnwindSafe(|| quarantine.watch(&frame, 1, || panic!("a defect"))));
            assert!(panic.is_err());
        }
        // However it is sent.
        let alone = encode(&bad);
        let again = Quarantine::default();
        for _ in 0..2 {
            let _ = catch_unwind(AssertUnwindSafe(|| again.watch(&alone, 0, || panic!("a defect"))));
        }
        assert!(again.refuses(&bad) && quarantine.clone().refuses(&bad));
    }
}
