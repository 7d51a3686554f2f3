//! Destinations that forward: where what is sent to them goes, as far as the engine has to know before the store says it.

use baton_domain::{DestinationKind, FORWARDS_MAX, QueueId, QueueName, Settings};

use super::running::Running;

impl Running {
    /// Where the store puts what is sent to a destination: into each one of its list that there is, else into itself.
    pub(super) fn forwarded(&self, queue: QueueId) -> Vec<QueueId> {
        let mut targets = Vec::new();
        let names = self.queues.get(&queue).into_iter().flat_map(|state| &state.settings.forward_to);
        for target in names.filter_map(|name| self.names.get(name)) {
            let takes = self.queues.get(target).is_some_and(|state| !is_subscription(&state.kind));
            if takes && !targets.contains(target) {
                targets.push(*target);
            }
        }
        if targets.is_empty() {
            targets.push(queue);
        }
        targets
    }

    /// Why a destination of that kind cannot forward as these settings say.
    pub(super) fn cannot_forward(
        &self,
        name: &QueueName,
        kind: &DestinationKind,
        settings: &Settings,
    ) -> Option<String> {
        let to = &settings.forward_to;
        if to.is_empty() {
            return None;
        }
        if is_subscription(kind) {
            return Some(format!("{name} is a subscription: subscriptions cannot forward"));
        }
        if to.len() > FORWARDS_MAX {
            return Some(format!("{name} would forward to {} destinations: use at most {FORWARDS_MAX}", to.len()));
        }
        let of = |name: &&QueueName| self.names.get(*name).and_then(|queue| self.queues.get(queue));
        let subscription = to.iter().find(|name| of(name).is_some_and(|state| is_subscription(&state.kind)))?;
        Some(format!("{subscription} is a subscription: forward to its topic space"))
    }
}

fn is_subscription(kind: &DestinationKind) -> bool {
    matches!(kind, DestinationKind::Subscription(_))
}
