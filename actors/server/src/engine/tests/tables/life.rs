//! How an activation ends, and what leaves it until then.

use super::*;

/// Invariant 2.
#[test]
fn nothing_leaves_while_the_lease_does_not_hold() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    bench.lease_until = bench.now;
    let request = bench.send(1, 1);
    bench.settle_down();
    assert!(bench.deliveries.is_empty() && !bench.replies.contains_key(&request));
    bench.now = bench.now + Duration::from_millis(100);
    bench.lease_until = bench.now + Duration::from_millis(100);
    bench.step(Input::Tick);
    assert_eq!((bench.deliveries.len(), bench.replies.contains_key(&request)), (1, true));
}

/// Invariant 2.
#[test]
fn what_was_decided_before_a_pause_leaves_only_under_a_renewed_lease() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    bench.lease_until = bench.now + Duration::from_secs(10);
    bench.paused = true;
    bench.send(1, 1);
    bench.settle_down();
    bench.paused = false;
    bench.now = bench.now + Duration::from_millis(EngineConfig::default().pause_ms + 1);
    bench.release();
    assert!(bench.deliveries.is_empty(), "the lease still holds by the clock, but nobody renewed it since");
    bench.lease_until = bench.lease_until + Duration::from_millis(1);
    bench.release();
    assert_eq!(bench.deliveries.len(), 1);
}

/// Invariant 2.
#[test]
fn a_lease_that_does_not_come_back_stops_the_engine_at_once() {
    let mut bench = started();
    bench.attach(1, "q", 9, &[]);
    bench.lease_until = bench.now;
    let committed = bench.send(1, 1);
    bench.settle_down();
    let on_the_way = bench.send(2, 1);
    bench.step(Input::Flush);
    bench.advance(EngineConfig::default().lease_wait_ms);
    assert_eq!(bench.state.view().state, EngineState::Standby);
    for request in [committed, on_the_way] {
        assert_eq!(bench.error_of(request), Some(EngineError::Unknown));
    }
    bench.lease_until = baton_domain::clock::BootTime(u64::MAX);
    bench.settle_down();
    assert!(bench.deliveries.is_empty(), "nothing leaves after the stop");
}

/// Invariants 1 and 2.
#[test]
fn a_fenced_write_stops_the_engine_and_only_a_newer_activation_starts_it() {
    let mut bench = started();
    let epoch = bench.model.epoch;
    let newer = bench.model.activate();
    let request = bench.send(1, 1);
    bench.settle_down();
    assert!(is_not_started(bench.error_of(request)), "nothing was written");
    for old in [epoch, epoch] {
        bench.step(Input::Start { epoch: old });
        assert_eq!(bench.state.view().state, EngineState::Standby);
    }
    bench.step(Input::Start { epoch: newer });
    assert_eq!(bench.state.view().state, EngineState::Starting);
}

#[test]
fn a_failed_commit_answers_what_is_known() {
    let failures = [
        (CommitError::NotLeader { leader: None }, true),
        (CommitError::Unknown, false),
        (CommitError::Failed("disk".to_owned()), false),
    ];
    for (error, nothing_written) in failures {
        let mut bench = Bench::new(EngineConfig { entries_in_flight: 2, ..EngineConfig::default() });
        bench.open("q");
        let requests: Vec<RequestId> = (1..=3)
            .map(|first| {
                let request = bench.send(first, 1);
                bench.step(Input::Flush);
                request
            })
            .collect();
        bench.fail_one(error);
        assert_eq!(bench.state.view().state, EngineState::Standby);
        assert_eq!(is_not_started(bench.error_of(requests[0])), nothing_written);
        assert_eq!(bench.error_of(requests[1]), Some(EngineError::Unknown));
        assert!(is_not_started(bench.error_of(requests[2])), "it was not proposed");
        bench.commit_one();
        assert_eq!(bench.error_of(requests[1]), Some(EngineError::Unknown), "a late commit changes nothing");
    }
}

#[test]
fn a_drain_confirms_what_is_on_its_way_and_turns_away_the_rest() {
    let mut bench = Bench::new(EngineConfig { entries_in_flight: 1, ..EngineConfig::default() });
    bench.open("q");
    bench.attach(1, "q", 9, &[]);
    let on_the_way = bench.send(1, 1);
    bench.step(Input::Flush);
    let waiting = bench.send(2, 1);
    bench.step(Input::Stop { drain: true, why: "moved".to_owned() });
    assert_eq!(bench.state.view().state, EngineState::Stopping);
    let late = bench.send(3, 1);
    assert!(is_not_started(bench.error_of(waiting)) && is_not_started(bench.error_of(late)));
    bench.step(Input::Flush);
    assert_eq!(bench.state.view().state, EngineState::Stopping);
    bench.commit_one();
    bench.step(Input::Flush);
    assert_eq!(bench.replies.get(&on_the_way), Some(&EngineReply::Sent { through: 1 }));
    assert_eq!((bench.state.view().state, bench.state.view().why.as_str()), (EngineState::Standby, "moved"));
    assert!(bench.deliveries.is_empty());
}

#[test]
fn a_drain_ends_after_its_time() {
    let mut bench = started();
    let request = bench.send(1, 1);
    bench.step(Input::Flush);
    bench.step(Input::Stop { drain: true, why: "moved".to_owned() });
    assert!(bench.state.deadline().is_some());
    bench.advance(EngineConfig::default().drain_ms);
    assert_eq!(bench.state.view().state, EngineState::Standby);
    assert_eq!(bench.error_of(request), Some(EngineError::Unknown));
}

#[test]
fn a_standby_instance_says_where_the_engine_is() {
    let mut bench = started();
    bench.step(Input::Stop { drain: false, why: "lost".to_owned() });
    let news = baton_client::protocol::PlacementNews { address: Some("there:1".to_owned()), ..Default::default() };
    bench.step(Input::News(news.clone()));
    assert_eq!(bench.call(EngineRequest::ListQueues), EngineReply::Error(EngineError::NotStarted { news }));
    assert_eq!(bench.state.deadline(), None, "nothing waits on time");
}

#[test]
fn the_loss_of_leadership_stops_only_the_activation_that_it_concerns() {
    let mut bench = started();
    let epoch = bench.model.epoch;
    let earlier = baton_domain::Epoch { index: epoch.index - 1, ..epoch };
    bench.step(Input::LeadershipLost { epoch: earlier, why: "lost".to_owned() });
    assert_eq!(bench.state.view().state, EngineState::Started);
    bench.step(Input::LeadershipLost { epoch, why: "lost".to_owned() });
    assert_eq!(bench.state.view().state, EngineState::Standby);
}
