//! Acknowledgements of `baton receive --count N`, which takes N messages and never one more.
//!
//! An engine delivers as long as fewer messages than the consumer's credit are unsettled, so each acknowledgement
//! invites another delivery. With `a` acknowledged and credit `c`, at most `a + c` messages ever come: the limit lets
//! `N - c` acknowledgements through and holds the last `c` back until all N messages are here and the credit is 0.

/// Decides which acknowledgements may be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct AckLimit {
    count: Option<u64>,
    credit: u32,
    received: u64,
}

impl AckLimit {
    /// A limit for `count` messages (`None`: unlimited), with at most `window` unsettled.
    pub(super) fn new(count: Option<u64>, window: u32) -> Self {
        let credit = count.map_or(window, |count| u32::try_from(count).unwrap_or(u32::MAX).min(window));
        Self { count, credit, received: 0 }
    }

    /// The credit to request.
    pub(super) fn credit(&self) -> u32 {
        self.credit
    }

    /// Counts a printed message. True: acknowledge it now; false: hold the acknowledgement back.
    pub(super) fn received(&mut self) -> bool {
        self.received += 1;
        self.count.is_none_or(|count| self.received + u64::from(self.credit) <= count)
    }

    /// True once all requested messages are here.
    pub(super) fn complete(&self) -> bool {
        self.count.is_some_and(|count| self.received >= count)
    }

    /// Maximum number of messages still wanted.
    pub(super) fn wanted(&self) -> u64 {
        self.count.map_or(u64::MAX, |count| count.saturating_sub(self.received))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An engine that delivers all it may: how many it delivered until all were received or nothing moved.
    fn deliver(count: u64, window: u32, depth: u64) -> (u64, u64) {
        let mut limit = AckLimit::new(Some(count), window);
        let (mut delivered, mut acknowledged) = (0_u64, 0_u64);
        loop {
            let may = (acknowledged + u64::from(limit.credit())).min(depth);
            if delivered >= may || limit.complete() {
                return (delivered, limit.received);
            }
            while delivered < may {
                delivered += 1;
                acknowledged += u64::from(limit.received());
            }
        }
    }

    proptest! {
        #[test]
        fn exactly_the_count_is_delivered_and_never_one_more(count in 1_u64..2_000, window in 1_u32..300, depth in 0_u64..3_000) {
            let (delivered, received) = deliver(count, window, depth);
            prop_assert_eq!(delivered, count.min(depth));
            prop_assert_eq!(received, count.min(depth));
        }
    }

    #[test]
    fn without_a_count_nothing_is_held_back() {
        let mut limit = AckLimit::new(None, 5);
        assert!((0..100).all(|_| limit.received()) && !limit.complete());
        assert_eq!((limit.credit(), limit.wanted()), (5, u64::MAX));
    }
}
