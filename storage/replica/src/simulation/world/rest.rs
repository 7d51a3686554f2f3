//! What is looked at when all is whole again and nothing more is written.

use baton_domain::MessageId;

use super::*;
use crate::simulation::clients::{queue_name, read_body};

impl World {
    /// Who thinks what, for a failure's words.
    pub(super) fn words(&self) -> String {
        let words = self.network.stores().into_iter().map(|(replica, store)| {
            let status = store.status().borrow().clone();
            format!(
                "[{replica}: leads {}, leader {:?}, term {}, last {}, applied {}, failed {:?}]",
                status.leads, status.leader, status.term, status.last_index, status.applied, status.failed
            )
        });
        words.collect()
    }

    /// Compares the replicas, now that nothing more is written.
    pub(super) async fn compare(&self) {
        let (index, hash) = loop {
            if let Some((_, leader)) = self.leader()
                && let Ok(committed) = leader.commit(Command::Marker { nonce: 2 }).await
                && let Applied::Marked { hash } = committed.applied
            {
                break (committed.index, hash);
            }
            sleep(Duration::from_millis(10)).await;
        };
        for (_, store) in self.network.stores() {
            while store.status().borrow().applied < index {
                sleep(Duration::from_millis(10)).await;
            }
        }
        let markers: Vec<(u64, u128)> = self.markers.lock().unwrap().iter().copied().chain([(index, hash)]).collect();
        for (index, hash) in markers {
            let stores = self.network.stores().into_iter();
            let found: Vec<_> = stores.map(|(replica, store)| (replica, store.hash_at(index).unwrap())).collect();
            let mut told = self.clients.told.lock().unwrap();
            told.violations.extend(check::hashes(index, hash, &found));
        }
        for (replica, store) in self.network.stores() {
            if store.hash_at(index).unwrap() != Some(hash) {
                self.clients.violation(format!("replica {replica} does not know the last marker"));
            }
            let queue = store.queues().unwrap().into_iter().find(|queue| queue.name == queue_name());
            let Some(queue) = queue else { continue };
            let page = store.page(queue.id, MessageId::default(), usize::MAX, usize::MAX).unwrap();
            let held: Vec<_> = page.iter().map(|(_, stored)| read_body(&stored.message.body)).collect();
            let mut told = self.clients.told.lock().unwrap();
            let broken = check::contents(replica, &held, &told.settled, &told.confirmed);
            told.violations.extend(broken);
        }
    }

    pub(super) fn report(&self, traces: &Traces, simulated: Duration) -> Report {
        let told = self.clients.told.lock().unwrap();
        let mut broken = told.violations.clone();
        broken.extend(check::fencing(traces));
        Report {
            broken,
            applied: traces.applied,
            confirmed: told.confirmed.values().sum(),
            activations: told.epochs.len() as u64,
            lives: self.lives,
            snapshots: self.network.snapshots(),
            simulated,
        }
    }
}
