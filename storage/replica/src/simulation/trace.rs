//! What the replicas applied, as they trace it: nothing else tells about entries whose proposer never heard.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What an entry was, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trace {
    /// An activation; the entry's index is the epoch.
    Activated,
    /// An engine's write of that epoch's index, and whether it was accepted.
    Wrote { epoch: u64, accepted: bool },
}

/// All entries that any replica applied, by index.
#[derive(Debug, Default)]
pub(super) struct Traces {
    pub(super) entries: BTreeMap<u64, Trace>,
    /// Replicas that do not agree what an entry was.
    pub(super) contradictions: Vec<String>,
    pub(super) applied: u64,
}

/// Collects the traces of its thread.
#[derive(Debug, Clone, Default)]
pub(super) struct Collector(pub(super) Arc<Mutex<Traces>>);

#[derive(Default)]
struct Fields {
    index: u64,
    epoch: u64,
    accepted: Option<bool>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "epoch" {
            // generation.index
            let text = format!("{value:?}");
            self.epoch = text.split_once('.').and_then(|(_, index)| index.parse().ok()).expect("an epoch");
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "index" {
            self.index = value;
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "accepted" {
            self.accepted = Some(value);
        }
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "baton::applied"
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let trace = match fields.accepted {
            Some(accepted) => Trace::Wrote { epoch: fields.epoch, accepted },
            None => Trace::Activated,
        };
        let mut traces = self.0.lock().unwrap();
        traces.applied += 1;
        let known = traces.entries.entry(fields.index).or_insert_with(|| trace.clone()).clone();
        if known != trace {
            traces
                .contradictions
                .push(format!("entry {} was {known:?} at one replica and {trace:?} at another", fields.index));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
