use super::super::cases::{entries, forked};
use super::super::log::{Append, LeaseRow, Read};
use super::*;

const MS: u64 = 1_000_000;

fn at(ms: u64) -> BootTime {
    BootTime(1_000_000 * MS + ms * MS)
}

fn name(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

/// A holder of term 5, whose lease was acquired at 0 ms, and what its server has.
struct Test {
    holder: Holder,
    own: Recent,
}

impl Test {
    fn new(own: &[LogEntry]) -> Self {
        let mut recent = Recent::new(Position::default(), 0, 1 << 20);
        recent.extend(own.to_vec()).unwrap();
        let (holder, effects) = Holder::new(SharedTiming::default(), true, 5, at(0));
        assert_eq!(effects, [Effect::AskStandings]);
        Self { holder, own: recent }
    }

    /// One that leads since 2 ms with five entries of term 4.
    fn leading() -> (Self, Vec<LogEntry>) {
        let five = entries(4, 1..=5);
        let mut test = Self::new(&five);
        assert_eq!(test.step(1, Input::Standings(Vec::new())), [Effect::Read(five[4].position())]);
        assert_eq!(test.read(2, &[]), [Effect::Lead, Effect::Lease(at(1_900))]);
        (test, five)
    }

    fn step(&mut self, ms: u64, input: Input) -> Vec<Effect> {
        self.holder.step(&mut self.own, input, at(ms))
    }

    fn read(&mut self, ms: u64, entries: &[LogEntry]) -> Vec<Effect> {
        self.step(ms, Input::Answered(Answer::Read(Ok(Read::Entries(entries.to_vec())))))
    }

    fn renewed(&mut self, ms: u64, renewed: Result<Option<u64>, LogError>) -> Vec<Effect> {
        self.step(ms, Input::Answered(Answer::Renewed(renewed)))
    }

    fn appended(&mut self, ms: u64, appended: Result<Append, LogError>) -> Vec<Effect> {
        self.step(ms, Input::Answered(Answer::Appended(appended)))
    }

    fn propose(&mut self, ms: u64, id: u64) -> Vec<Effect> {
        self.step(ms, Input::Propose(Proposal { id, body: format!("p{id}").into() }))
    }
}

/// The entries that a holder of term 5 gives these proposals, behind others.
fn given(behind: &[LogEntry], ids: std::ops::RangeInclusive<u64>) -> Vec<LogEntry> {
    let mut all = behind.to_vec();
    for id in ids {
        let at = all.last().map(LogEntry::position).unwrap_or_default();
        all.push(at.entry(5, format!("p{id}").into()));
    }
    all.split_off(behind.len())
}

fn append(behind: &LogEntry, entries: &[LogEntry]) -> Effect {
    Effect::Append(behind.position(), entries.into())
}

fn broke() -> LogError {
    LogError::Unknown("the connection broke".to_owned())
}

fn ends(tail: &LogEntry) -> Read {
    Read::Elsewhere { tail: tail.position(), at: None }
}

fn standing(position: Position, heals: bool, reached: Option<BootTime>) -> Standing {
    Standing { position, heals, reached, rank: 1 }
}

fn row(term: u64) -> LeaseRow {
    LeaseRow { term, holder: Some(name("b")), incarnation: 9, beat: 70, nominee: Nominee::None }
}

/// Invariant 3: it has all entries of the terms before it leads.
#[test]
fn it_leads_once_it_has_read_the_log_to_its_end_and_the_others_are_not_ahead() {
    let all = entries(4, 1..=9);
    let mut test = Test::new(&all[..3]);
    assert_eq!(test.step(1, Input::Tick), [Effect::Read(all[2].position())]);
    assert_eq!(test.propose(1, 1), [Effect::NotLeader(vec![1])], "it does not lead yet");
    let more = test.read(2, &all[3..]);
    assert_eq!(more, [Effect::Apply(all[3..].to_vec(), Vec::new()), Effect::Read(all[8].position())]);
    assert_eq!(test.read(3, &[]), [], "the others did not answer yet");
    assert!(!test.holder.leads());
    let others = vec![(name("b"), standing(all[8].position(), true, None))];
    assert_eq!(test.step(4, Input::Standings(others)), [Effect::Lead, Effect::Lease(at(1_900))]);
    assert!(test.holder.leads());
}

/// Invariant 2: the lease runs from the sending of an answered renewal, less the margin.
#[test]
fn the_lease_runs_from_the_sending_of_an_answered_renewal() {
    let (mut test, _) = Test::leading();
    assert_eq!(test.holder.wake(at(10)), at(250));
    assert_eq!(test.step(249, Input::Tick), []);
    assert_eq!(test.step(250, Input::Tick), [Effect::Renew]);
    assert_eq!(test.step(550, Input::Tick), [Effect::Probe], "one at a time");
    assert_eq!(test.renewed(560, Ok(Some(8))), [Effect::Renew, Effect::Lease(at(2_150))], "sent at 250");
    let conflict = LogError::Again("deadlock".to_owned());
    assert_eq!(test.renewed(570, Err(conflict)), [], "no renewal");
    assert_eq!(test.step(589, Input::Tick), []);
    assert_eq!(test.step(590, Input::Tick), [Effect::Renew]);
    assert_eq!(
        test.renewed(3_000, Ok(Some(9))),
        [Effect::Renew, Effect::Lease(at(2_490))],
        "an answer that is too late"
    );
    assert_eq!(test.renewed(3_001, Ok(None)), [Effect::EndLease, Effect::StepDown(Why::Deposed)]);
    assert!(!test.holder.leads());
    assert_eq!(test.propose(3_002, 1), [Effect::NotLeader(vec![1])]);
}

#[test]
fn a_lost_link_renews_the_lease_at_once() {
    let (mut test, _) = Test::leading();
    assert_eq!(test.step(20, Input::Unlinked(name("b"))), [Effect::Renew]);
    assert_eq!(test.step(21, Input::Unlinked(name("c"))), [], "one at a time");
}

#[test]
fn two_appends_are_in_flight_and_the_rest_waits_for_its_index() {
    let (mut test, five) = Test::leading();
    let new = given(&five, 1..=4);
    assert_eq!(test.propose(10, 1), [append(&five[4], &new[..1])]);
    assert_eq!(test.propose(11, 2), [append(&new[0], &new[1..2])], "behind the first one");
    assert_eq!(test.propose(12, 3), []);
    assert_eq!(test.propose(13, 4), []);
    let first = test.appended(14, Ok(Append::Written));
    assert_eq!(first, [Effect::Apply(new[..1].to_vec(), vec![(6, 1)]), append(&new[1], &new[2..])]);
    assert_eq!(test.appended(15, Ok(Append::Written)), [Effect::Apply(new[1..2].to_vec(), vec![(7, 2)])]);
    let last = test.appended(16, Ok(Append::Written));
    assert_eq!(last, [Effect::Apply(new[2..].to_vec(), vec![(8, 3), (9, 4)])]);
    assert_eq!(test.own.position(), new[3].position());
}

/// Invariant 4: what is in the log is not appended again, what is not is appended as it was.
#[test]
fn after_a_break_the_log_says_what_was_written_and_the_rest_is_sent_again_byte_for_byte() {
    for written in 0..=3_usize {
        let (mut test, five) = Test::leading();
        let new = given(&five, 1..=3);
        test.propose(10, 1);
        test.propose(10, 2);
        test.propose(10, 3);
        assert_eq!(test.appended(20, Err(broke())), [Effect::EndLease, Effect::Reopen]);
        assert_eq!(test.propose(21, 4), [], "it waits");
        assert!(test.holder.leads(), "its term is not lost");
        assert_eq!(test.holder.trouble(), Some(&Trouble::Log(broke())));
        assert_eq!(test.step(400, Input::Opened(false)), [Effect::AskStandings, Effect::Renew]);
        assert_eq!(test.step(401, Input::Standings(Vec::new())), [], "not before it is known that the term is its own");
        assert_eq!(test.renewed(402, Ok(Some(9))), [Effect::Read(five[4].position())]);
        // The first two were in flight; perhaps both were done, or one of an older attempt. The third one has no index.
        let found = written.min(2);
        let mut effects = Vec::new();
        if found > 0 {
            effects = test.read(403, &new[..found]);
            let answers = (1..=found as u64).map(|id| (5 + id, id)).collect();
            assert_eq!(effects[0], Effect::Apply(new[..found].to_vec(), answers));
        }
        effects.extend(test.read(404, &[]));
        let rest = given(&five, 1..=4).split_off(found);
        let last = new[..found].last().unwrap_or(&five[4]);
        assert_eq!(effects[effects.len() - 2..], [append(last, &rest), Effect::Lease(at(2_300))], "{written} written");
        assert!(!effects.contains(&Effect::Lead), "it led before");
    }
}

/// A standby was promoted that forgot a take-over: the other holder still has a lease.
#[test]
fn a_holder_of_a_log_that_may_have_lost_commits_waits_if_its_lease_has_run_out() {
    for (opened, quiet) in [(1_899, false), (1_900, true)] {
        let (mut test, _) = Test::leading();
        assert_eq!(test.step(500, Input::Broke(broke())), [Effect::EndLease, Effect::Reopen]);
        test.step(opened, Input::Opened(true));
        test.step(opened, Input::Standings(Vec::new()));
        test.renewed(opened + 1, Ok(Some(9)));
        let lease = Effect::Lease(at(opened + 1_900));
        let found = test.read(opened + 2, &[]);
        assert_eq!(found, if quiet { vec![] } else { vec![lease] });
        if quiet {
            assert!(test.step(opened + 2_099, Input::Tick).iter().all(|effect| *effect == Effect::Renew));
            test.renewed(opened + 2_099, Ok(Some(10)));
            let certain = test.step(opened + 2_100, Input::Tick);
            assert_eq!(certain, [Effect::Lease(at(opened + 2_099 + 1_900))]);
        }
    }
}

#[test]
fn a_term_that_was_lost_during_a_break_leaves_what_was_sent_unknown() {
    let (mut test, _) = Test::leading();
    (1..=3).for_each(|id| drop(test.propose(10, id)));
    test.appended(11, Err(broke()));
    assert_eq!(test.step(20, Input::Opened(false)), [Effect::AskStandings, Effect::Renew]);
    let expected = [Effect::Unknown(vec![1, 2]), Effect::NotLeader(vec![3]), Effect::StepDown(Why::Deposed)];
    assert_eq!(test.renewed(21, Ok(None)), expected);
}

#[test]
fn an_append_that_another_term_prevented_ends_the_lease_first() {
    let (mut test, _) = Test::leading();
    test.propose(10, 1);
    let expected = [Effect::EndLease, Effect::Unknown(vec![1]), Effect::StepDown(Why::Deposed)];
    assert_eq!(test.appended(11, Ok(Append::Deposed(row(6)))), expected);
}

/// An append of an older session that came first; the one behind it may have been written.
#[test]
fn an_append_that_met_its_own_double_is_found_in_the_log() {
    let (mut test, five) = Test::leading();
    let new = given(&five, 1..=2);
    test.propose(10, 1);
    test.propose(10, 2);
    let mismatch = Append::Mismatch { tail: new[0].position() };
    assert_eq!(test.appended(11, Ok(mismatch)), [Effect::EndLease, Effect::AskStandings]);
    assert_eq!(test.appended(12, Ok(Append::Written)), [Effect::Read(five[4].position())], "nothing is in flight");
    let both = test.read(13, &new);
    assert_eq!(both, [Effect::Apply(new.clone(), vec![(6, 1), (7, 2)]), Effect::Read(new[1].position())]);
    test.step(14, Input::Standings(Vec::new()));
    assert_eq!(test.read(15, &[]), [Effect::Lease(at(1_900))]);
}

#[test]
fn a_log_without_room_is_asked_again_and_the_lease_goes_on() {
    let (mut test, five) = Test::leading();
    let new = given(&five, 1..=1);
    test.propose(10, 1);
    let full = LogError::NoRoom("the disk is full".to_owned());
    assert_eq!(test.appended(20, Err(full.clone())), [Effect::AskStandings]);
    assert_eq!(test.holder.trouble(), Some(&Trouble::Log(full)));
    test.step(21, Input::Standings(Vec::new()));
    assert_eq!(test.step(250, Input::Tick), [Effect::Renew]);
    assert_eq!(test.renewed(251, Ok(Some(8))), [Effect::Lease(at(2_150))]);
    assert_eq!(test.holder.wake(at(300)), at(500));
    test.step(1_019, Input::Tick);
    assert!(test.step(1_020, Input::Tick).contains(&Effect::Read(five[4].position())));
    assert_eq!(test.read(1_021, &[]), [append(&five[4], &new)]);
}

/// Invariant 3: a log that lost its tail gets it back as it was, before anything else.
#[test]
fn a_lost_tail_is_put_back_with_its_own_terms() {
    let all = entries(4, 1..=9);
    let mut test = Test::new(&all);
    test.step(1, Input::Standings(Vec::new()));
    let healed = test.step(2, Input::Answered(Answer::Read(Ok(ends(&all[5])))));
    assert_eq!(healed, [append(&all[5], &all[6..])]);
    assert!(!test.holder.leads());
    assert_eq!(test.appended(3, Ok(Append::Written)), [Effect::AskStandings, Effect::Read(all[8].position())]);
    test.read(4, &[]);
    assert_eq!(test.step(5, Input::Standings(Vec::new())), [Effect::Lead, Effect::Lease(at(1_900))]);
}

#[test]
fn entries_in_flight_when_the_log_lost_its_tail_follow_what_is_put_back() {
    let (mut test, five) = Test::leading();
    let new = given(&five, 1..=1);
    test.propose(10, 1);
    test.appended(11, Err(broke()));
    test.step(12, Input::Opened(false));
    test.step(12, Input::Standings(Vec::new()));
    test.renewed(13, Ok(Some(8)));
    let healed = test.step(14, Input::Answered(Answer::Read(Ok(ends(&five[2])))));
    assert_eq!(healed, [append(&five[2], &five[3..])]);
    test.appended(15, Ok(Append::Written));
    test.step(16, Input::Standings(Vec::new()));
    assert_eq!(test.read(17, &[]), [append(&five[4], &new), Effect::Lease(at(1_912))]);
}

#[test]
fn a_log_that_cannot_be_made_whole_is_left_to_others() {
    let all = entries(4, 1..=9);
    let gone = forked(&all, 5, 3);
    for (what, heals, read, why) in [
        ("lost, and it must not heal", false, ends(&all[5]), Why::OlderLog(all[5].position())),
        ("written anew", true, ends(&gone[6]), Why::OtherHistory(7)),
        ("trimmed", true, Read::Trimmed { from: all[8].position() }, Why::Behind),
    ] {
        let mut test = Test::new(&all);
        test.holder.heals = heals;
        test.step(1, Input::Standings(Vec::new()));
        let effects = test.step(2, Input::Answered(Answer::Read(Ok(read))));
        assert_eq!(effects, [Effect::Give(Nominee::Anybody)], "{what}");
        let effects = test.step(3, Input::Answered(Answer::Gave(Ok(true))));
        assert_eq!(effects, [Effect::Release(None), Effect::StepDown(why)], "{what}");
    }
}

/// Invariant 3: entries that only another server has are put back by that one.
#[test]
fn a_server_that_is_ahead_of_the_log_gets_the_lease_to_heal_it() {
    let all = entries(4, 1..=9);
    let ahead = |heals, reached| vec![(name("b"), standing(all[8].position(), heals, reached))];
    let gives = [Effect::Give(Nominee::Server(name("b")))];
    for (what, others, expected) in [
        ("it can", ahead(true, Some(at(1))), &gives[..]),
        ("it does not reach the log", ahead(true, None), &[]),
        ("it has lost the entries from its memory", ahead(false, Some(at(1))), &[]),
    ] {
        let mut test = Test::new(&all[..5]);
        test.step(1, Input::Tick);
        test.read(2, &[]);
        let again = test.step(3, Input::Standings(others.clone()));
        assert_eq!(
            again,
            [Effect::Read(all[4].position())],
            "{what}: the log may have got more since the read was sent"
        );
        assert_eq!(test.read(4, &[]), expected, "{what}");
        assert!(!test.holder.leads());
        if expected.is_empty() {
            assert_eq!(test.holder.trouble(), Some(&Trouble::Ahead(name("b"), all[8].position())));
            assert_eq!(test.holder.wake(at(4)), at(104));
            assert_eq!(test.step(104, Input::Tick), [Effect::AskStandings, Effect::Read(all[4].position())]);
            test.step(105, Input::Standings(Vec::new()));
            assert_eq!(test.read(106, &[]), [Effect::Lead, Effect::Lease(at(1_900))], "it is gone");
        }
    }
}

#[test]
fn a_server_that_turns_out_to_be_ahead_stops_a_holder_that_leads() {
    let (mut test, five) = Test::leading();
    let new = given(&five, 1..=2);
    test.propose(10, 1);
    let heard = |position, heals| Input::Heard(name("b"), standing(position, heals, None));
    assert_eq!(test.step(11, heard(new[0].position(), true)), [], "it read what was appended before its answer came");
    assert_eq!(test.step(12, heard(new[1].position(), false)), [], "it cannot put anything back");
    assert_eq!(test.step(13, heard(new[1].position(), true)), [Effect::EndLease, Effect::AskStandings]);
}

/// Invariant 2: the lease has ended before the row says so.
#[test]
fn a_lease_is_given_after_it_has_ended() {
    let (mut test, five) = Test::leading();
    let new = given(&five, 1..=3);
    (1..=3).for_each(|id| drop(test.propose(10, id)));
    let to = Nominee::Server(name("c"));
    assert_eq!(test.step(11, Input::Give(to.clone())), [Effect::EndLease, Effect::Give(to.clone())]);
    assert_eq!(test.appended(12, Ok(Append::Written)), [Effect::Apply(new[..1].to_vec(), vec![(6, 1)])]);
    assert_eq!(test.step(900, Input::Tick), [Effect::Probe], "nothing is renewed");
    let expected = [
        Effect::Unknown(vec![2]),
        Effect::NotLeader(vec![3]),
        Effect::Release(Some(name("c"))),
        Effect::StepDown(Why::Gave(to)),
    ];
    assert_eq!(test.step(901, Input::Answered(Answer::Gave(Ok(true)))), expected);
}

#[test]
fn a_lease_whose_giving_is_not_known_has_ended_all_the_same() {
    for (answer, why) in [
        (Answer::Gave(Err(broke())), Why::Gave(Nominee::Server(name("c")))),
        (Answer::Renewed(Err(broke())), Why::Gave(Nominee::Server(name("c")))),
        (Answer::Gave(Ok(false)), Why::Deposed),
    ] {
        let (mut test, _) = Test::leading();
        test.step(250, Input::Tick);
        test.step(251, Input::Give(Nominee::Server(name("c"))));
        let effects = test.step(252, Input::Answered(answer));
        assert_eq!(effects.last(), Some(&Effect::StepDown(why)));
        assert!(!effects.contains(&Effect::Reopen));
    }
}

/// Only this host lost the log: a server that reaches it takes over, and nobody waits for the lease.
#[test]
fn a_holder_without_the_log_steps_down_for_a_server_that_reaches_it() {
    let reached = |ms: Option<u64>| standing(Position::default(), true, ms.map(at));
    for (what, others, expected) in [
        ("nobody reaches it", vec![("b", None), ("c", None)], None),
        ("before this server lost it", vec![("b", Some(90))], None),
        ("about when this server lost it", vec![("b", Some(200))], None),
        ("after this server lost it", vec![("b", Some(260))], Some("b")),
        ("two of them", vec![("c", Some(260)), ("b", Some(260))], Some("b")),
    ] {
        let (mut test, _) = Test::leading();
        for (number, (server, ms)) in others.into_iter().enumerate() {
            let standing = Standing { rank: if server == "b" { 1 } else { 2 + number }, ..reached(ms) };
            test.step(50, Input::Heard(name(server), standing));
        }
        test.propose(100, 1);
        assert_eq!(test.holder.wake(at(101)), at(200));
        assert_eq!(test.step(200, Input::Tick), [Effect::Probe]);
        assert_eq!(test.step(250, Input::Tick), [Effect::Renew]);
        assert_eq!(test.step(499, Input::Tick), [Effect::Probe]);
        let expected = expected.map_or(Vec::new(), |to| {
            let step_down = Effect::StepDown(Why::Unreached(name(to)));
            vec![Effect::EndLease, Effect::Unknown(vec![1]), Effect::Release(Some(name(to))), step_down]
        });
        let effects = test.step(500, Input::Tick);
        assert_eq!(effects, expected, "{what}");
    }
}

/// After an outage for all, another server may be the first to reach the log: this one goes on if it does so soon after.
#[test]
fn a_holder_that_reaches_the_log_soon_after_another_goes_on() {
    let (mut test, _) = Test::leading();
    test.propose(100, 1);
    let reached = |ms| Standing { rank: 1, ..standing(Position::default(), true, Some(at(ms))) };
    for ms in [400, 700, 5_000] {
        test.step(ms, Input::Tick);
    }
    test.step(5_010, Input::Heard(name("b"), reached(5_005)));
    test.step(5_300, Input::Tick);
    let effects = test.step(5_305, Input::Alive(at(5_301)));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::StepDown(_))), "{effects:?}");
    test.step(5_306, Input::Heard(name("b"), reached(5_304)));
    let effects = test.step(5_320, Input::Tick);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::StepDown(_))), "{effects:?}");
}

/// A log that waits for its standby answers reads: it is not this server that lost it.
#[test]
fn a_holder_whose_reads_are_answered_does_not_step_down() {
    let (mut test, _) = Test::leading();
    test.propose(100, 1);
    for ms in (200..5_000).step_by(100) {
        let effects = test.step(ms, Input::Tick);
        assert!(
            effects.contains(&Effect::Probe) && !effects.iter().any(|effect| matches!(effect, Effect::StepDown(_)))
        );
        test.step(ms + 1, Input::Alive(at(ms)));
        let other = Standing { rank: 1, ..standing(Position::default(), true, Some(at(ms))) };
        test.step(ms + 2, Input::Heard(name("b"), other));
    }
}

#[test]
fn a_damaged_or_foreign_log_ends_the_term() {
    for error in [LogError::Damaged("x".to_owned()), LogError::Foreign("x".to_owned())] {
        let (mut test, _) = Test::leading();
        let effects = test.step(1, Input::Answered(Answer::Renewed(Ok(Some(1)))));
        assert_eq!(effects, [], "nothing was asked");
        test.propose(2, 1);
        let effects = test.appended(3, Err(error.clone()));
        assert_eq!(effects.last(), Some(&Effect::StepDown(Why::Failed(error))));
    }
    let (mut test, five) = Test::leading();
    test.propose(10, 1);
    test.appended(11, Ok(Append::Mismatch { tail: five[4].position() }));
    let mut wrong = five[4].position().entry(5, "p1".into());
    wrong.body = "x".into();
    let effects = test.read(12, &[wrong]);
    assert!(matches!(effects.last(), Some(Effect::StepDown(Why::Failed(LogError::Damaged(_))))), "{effects:?}");
}

#[test]
fn appends_are_cut_at_four_mib() {
    let (mut test, _) = Test::leading();
    let big = |id| Input::Propose(Proposal { id, body: vec![7; 3 << 20].into() });
    let count = |effects: &[Effect]| -> Vec<usize> {
        let counts = effects.iter().filter_map(|effect| match effect {
            Effect::Append(_, entries) => Some(entries.len()),
            _ => None,
        });
        counts.collect()
    };
    assert_eq!(count(&test.step(10, big(1))), [1]);
    assert_eq!(count(&test.step(10, big(2))), [1]);
    for id in 3..=5 {
        assert_eq!(count(&test.step(10, big(id))), [0; 0]);
    }
    assert_eq!(count(&test.appended(11, Ok(Append::Written))), [1], "two of them are too many");
}
