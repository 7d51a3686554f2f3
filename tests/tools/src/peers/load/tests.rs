//! The load on a queue in memory.

use std::sync::Mutex;

use super::*;
use crate::peers::workload::Workload;

/// A queue in memory that notes the most messages that were unconfirmed at once.
#[derive(Default)]
struct FakePeer {
    queue: Arc<Mutex<Vec<()>>>,
    open: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
    refuses: bool,
}

struct Handle {
    queue: Arc<Mutex<Vec<()>>>,
    open: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
    refuses: bool,
}

impl FakePeer {
    fn handle(&self) -> Handle {
        let Self { queue, open, most_open, refuses } = self;
        Handle { queue: Arc::clone(queue), open: Arc::clone(open), most_open: Arc::clone(most_open), refuses: *refuses }
    }
}

impl Peer for FakePeer {
    type Producer = Handle;
    type Consumer = Handle;

    async fn create(&self, _: &Load) -> Result<(), String> {
        Ok(())
    }
    async fn producer(&self) -> Result<Handle, String> {
        Ok(self.handle())
    }
    async fn consumer(&self, _: &Load) -> Result<Handle, String> {
        Ok(self.handle())
    }
    async fn delete(&self) -> Result<(), String> {
        self.queue.lock().unwrap().clear();
        Ok(())
    }
}

impl Producer for Handle {
    async fn send(&self, _: &Bytes) -> Result<Confirm, String> {
        if self.refuses {
            return Err("full".to_owned());
        }
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_open.fetch_max(open, Ordering::SeqCst);
        let (queue, open) = (Arc::clone(&self.queue), Arc::clone(&self.open));
        Ok(Box::pin(async move {
            tokio::task::yield_now().await;
            queue.lock().unwrap().push(());
            open.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }))
    }
}

impl Consumer for Handle {
    async fn consume(&mut self) -> Result<(), String> {
        while self.queue.lock().unwrap().pop().is_none() {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_window_is_used_up_and_not_exceeded() {
    for (workload, window) in [(Workload::OneAtATime, 1), (Workload::Produce1MiB, 16)] {
        let peer = FakePeer::default();
        let load = Load { size: 1, ..workload.load(1) };
        let sample = run(&peer, &load).await.unwrap();
        assert_eq!(peer.most_open.load(Ordering::SeqCst), window, "{workload:?}");
        assert!(sample.produced_per_s > 0.0 && sample.consumed_per_s == 0.0);
    }
}

#[tokio::test]
async fn a_backlog_is_drained_to_its_last_message() {
    let peer = FakePeer::default();
    let sample = run(&peer, &Load { backlog: 1_000, ..Workload::Consume.load(1) }).await.unwrap();
    assert!(sample.consumed_per_s > 0.0);
    assert!(peer.queue.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_message_is_the_result() {
    let peer = FakePeer { refuses: true, ..FakePeer::default() };
    assert_eq!(run(&peer, &Workload::Produce.load(1)).await, Err("full".to_owned()));
}

#[test]
fn rates_are_by_time_and_latencies_by_message() {
    let sample = sample((1..=100).map(|ms| ms * 1_000).collect(), 50, 2.0);
    let Sample { produced_per_s, consumed_per_s, confirm_p50_ms, confirm_p99_ms } = sample;
    assert_eq!((produced_per_s, consumed_per_s, confirm_p50_ms, confirm_p99_ms), (50.0, 25.0, 50.0, 99.0));
}
