use super::*;

fn at(ms: u64) -> BootTime {
    BootTime(1_000_000_000) + Duration::from_millis(ms)
}

#[test]
fn silence_counts_from_the_first_confirm_over_all_producers() {
    let silence = Silence::default();
    assert_eq!(silence.longest(at(9_000)), Duration::ZERO, "without a confirm there is no silence");
    // The third is another producer's that was timed a little earlier.
    for confirm in [500, 510, 509, 810] {
        silence.broken(at(confirm));
    }
    assert_eq!(silence.longest(at(1_000)), Duration::from_millis(300));
    assert_eq!(silence.longest(at(2_000)), Duration::from_millis(1_190), "silent until the end");
}

#[test]
fn percentiles_are_those_of_all_meters_together() {
    let mut meters = [Meter::new(at(0)), Meter::new(at(0))];
    for ms in 1..=1_000 {
        meters[usize::from(ms % 2 == 0)].latency(at(0), at(ms));
    }
    let sum = Meter::sum(at(0), &meters);
    for (part, expected) in [(0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1_000.0)] {
        let found = sum.quantile_ms(part);
        assert!((found - expected).abs() <= expected / 1_000.0, "{part}: {found}");
    }
    assert_eq!(sum.max_ms(), sum.quantile_ms(1.0));
    assert_eq!(Meter::new(at(0)).quantile_ms(0.5), 0.0, "without a message there is no latency");
}

#[test]
fn a_latency_of_any_length_is_recorded() {
    let mut meter = Meter::new(at(0));
    for until in [at(0), at(1), at(100_000_000), BootTime(0)] {
        meter.latency(at(0), until);
    }
    assert_eq!(meter.buckets().iter().map(|(_, count)| count).sum::<u64>(), 4);
    assert!(meter.max_ms() >= 600_000.0);
}

#[test]
fn buckets_are_ten_to_an_order_of_magnitude_and_none_is_empty() {
    let mut meter = Meter::new(at(0));
    let bounds = [1.0, 1.258_925, 1.584_893, 10.0, 1_000.0];
    for (count, us) in [(1, 1_000), (2, 1_258), (3, 1_259), (4, 10_000), (5, 999_000)] {
        for _ in 0..count {
            meter.latency(BootTime(0), BootTime(us * 1_000));
        }
    }
    assert_eq!(meter.buckets(), bounds.into_iter().zip(1..).collect::<Vec<_>>());
}

#[test]
fn the_rate_keeps_every_message_however_long_it_takes() {
    let mut rate = Rate::default();
    rate.add(Duration::from_millis(50), 1);
    rate.add(Duration::from_millis(150), 2);
    assert_eq!(rate.counts, [1, 2]);
    assert_eq!(rate.per_second(Duration::from_millis(399)), [(0.1, 10.0), (0.2, 20.0), (0.3, 0.0)]);
    let mut long = Rate::default();
    long.add(Duration::from_millis(250), 3);
    long.add(Duration::from_secs(86_400), 4);
    assert!(long.counts.len() <= SLOTS && long.slot > SLOT);
    for (one, other) in [(&rate, &long), (&long, &rate)] {
        let mut merged = one.clone();
        merged.merge(other);
        assert_eq!((merged.slot, merged.counts[0], merged.counts.iter().sum()), (long.slot, 6, 10));
    }
}
