use super::*;

const MS: u64 = 1_000_000;
/// The incarnation of the holder's process.
const HOLDER: u64 = 9;

fn at(ms: u64) -> BootTime {
    BootTime(1_000_000 * MS + ms * MS)
}

fn name(name: &str) -> ServerName {
    ServerName::new(name).unwrap()
}

fn names(all: &[&str]) -> Vec<ServerName> {
    all.iter().map(|one| name(one)).collect()
}

/// Held by `a`.
fn row(term: u64, beat: u64) -> LeaseRow {
    LeaseRow { term, holder: Some(name("a")), incarnation: HOLDER, beat, nominee: Nominee::None }
}

/// Server `own` of `a`, `b`, `c`, linked to the others.
struct Test(Candidate);

impl Test {
    fn new(own: &str) -> Self {
        let claimant = Claimant { server: name(own), incarnation: 20 };
        let mut candidate = Candidate::new(SharedTiming::default(), claimant, Some(10));
        let order = names(&["a", "b", "c"]);
        let linked = order.iter().filter(|server| **server != name(own)).cloned().collect();
        assert_eq!(candidate.step(Input::Place(order, true), at(0)), [Effect::Look]);
        assert_eq!(candidate.step(Input::Linked(linked), at(0)), []);
        Self(candidate)
    }

    fn step(&mut self, ms: u64, input: Input) -> Vec<Effect> {
        self.0.step(input, at(ms))
    }

    fn looked(&mut self, ms: u64, row: &LeaseRow) -> Vec<Effect> {
        self.step(ms, Input::Looked(Ok(row.clone())))
    }

    /// Sees `row` from `from` on at each look, and returns the time of its first attempt and what it attempts.
    fn first_attempt(&mut self, row: &LeaseRow, from: u64, until: u64) -> Option<(u64, Effect)> {
        for ms in from..until {
            let mut effects = self.step(ms, Input::Tick);
            let mut looks = ms == from || effects.contains(&Effect::Look);
            while looks {
                let more = self.looked(ms, row);
                looks = more.contains(&Effect::Look);
                effects.extend(more);
            }
            if let Some(effect) = effects.into_iter().find(|effect| matches!(effect, Effect::Acquire { .. })) {
                return Some((ms, effect));
            }
        }
        None
    }
}

fn acquire(term: u64, beat: u64, takes_over: bool) -> Effect {
    Effect::Acquire { term, beat, above: term, takes_over }
}

/// Invariant 2: the holder's lease has ended, whatever its clock says.
#[test]
fn the_lease_of_a_silent_holder_is_taken_after_a_lease_and_the_margin() {
    // The server that is next has no other before it but the holder.
    assert_eq!(Test::new("b").first_attempt(&row(3, 7), 5, 4_000), Some((2_105, acquire(3, 7, true))));
    assert_eq!(Test::new("c").first_attempt(&row(3, 7), 5, 4_000), Some((2_155, acquire(3, 7, true))), "staggered");
    let mut alone = Test::new("c");
    alone.step(1, Input::Linked(BTreeSet::new()));
    assert_eq!(alone.first_attempt(&row(3, 7), 5, 4_000), Some((2_105, acquire(3, 7, true))), "others are not linked");
}

#[test]
fn each_beat_begins_the_observation_again() {
    for changed in [row(3, 8), row(4, 7), LeaseRow { incarnation: 11, ..row(4, 8) }] {
        let mut test = Test::new("b");
        assert_eq!(test.first_attempt(&row(3, 7), 5, 2_000), None);
        assert_eq!(test.first_attempt(&changed, 2_000, 6_000).map(|(ms, _)| ms), Some(4_100), "{changed:?}");
    }
}

/// After an outage of the log the holder goes on, and not the quickest candidate.
#[test]
fn an_interrupted_observation_begins_again() {
    let mut test = Test::new("b");
    assert_eq!(test.first_attempt(&row(3, 7), 0, 1_500), None);
    // 1,001 ms after the look at 1,400 ms.
    let failed = Err(LogError::Unreachable("x".to_owned()));
    assert_eq!(test.step(2_401, Input::Looked(failed)), [Effect::Look], "the observation is too old to act on");
    assert_eq!(test.looked(2_402, &row(3, 7)), [], "more than a lease after it was first seen");
    assert_eq!(test.first_attempt(&row(3, 7), 2_403, 6_000).map(|(ms, _)| ms), Some(4_502));

    let mut short = Test::new("b");
    assert_eq!(short.first_attempt(&row(3, 7), 0, 1_500), None);
    assert_eq!(short.looked(2_300, &row(3, 7)), [acquire(3, 7, true), Effect::Look], "900 ms are no interruption");
}

#[test]
fn an_observation_of_another_session_does_not_count() {
    let mut test = Test::new("b");
    assert_eq!(test.first_attempt(&row(3, 7), 0, 2_000), None);
    assert_eq!(test.step(2_000, Input::Reconnected), [Effect::Look]);
    assert_eq!(test.first_attempt(&row(3, 7), 2_001, 6_000).map(|(ms, _)| ms), Some(4_101));
}

#[test]
fn a_server_that_is_not_ready_never_takes_the_lease() {
    let mut test = Test::new("b");
    test.step(1, Input::Place(names(&["a", "b", "c"]), false));
    assert_eq!(test.first_attempt(&row(3, 7), 5, 6_000), None);
    let effects = test.step(6_000, Input::Place(names(&["a", "b", "c"]), true));
    assert!(effects.contains(&acquire(3, 7, true)));
}

/// Section 7.1 of the rules: each reason to take the lease, with its time and what it asserts.
#[test]
fn each_reason_to_take_the_lease_has_its_time() {
    let nobody = LeaseRow { term: 0, holder: None, incarnation: 0, beat: 0, nominee: Nominee::None };
    let given = |nominee| LeaseRow { nominee, ..row(3, 7) };
    let held_by = |server: &str, incarnation| LeaseRow { holder: Some(name(server)), incarnation, ..row(3, 7) };
    for (what, own, row, expected) in [
        ("nobody ever held it", "a", nobody.clone(), (5, acquire(0, 0, true))),
        ("nobody ever held it, and another comes first", "c", nobody, (605, acquire(0, 0, true))),
        ("given to this server", "c", given(Nominee::Server(name("c"))), (5, acquire(3, 7, false))),
        ("given to anybody", "b", given(Nominee::Anybody), (5, acquire(3, 7, false))),
        ("given to anybody, and another comes first", "c", given(Nominee::Anybody), (25, acquire(3, 7, false))),
        (
            "given to a server that does not take it",
            "b",
            given(Nominee::Server(name("c"))),
            (1_005, acquire(3, 7, true)),
        ),
        ("its own, from before its restart", "c", held_by("c", 10), (5, acquire(3, 7, true))),
        ("its own, by an attempt whose answer was lost", "c", held_by("c", 20), (5, acquire(3, 7, true))),
        ("its own, of an older process", "c", held_by("c", 8), (2_205, acquire(3, 7, true))),
        ("another's, with an incarnation like its own", "b", held_by("a", 10), (2_105, acquire(3, 7, true))),
    ] {
        assert_eq!(Test::new(own).first_attempt(&row, 5, 4_000), Some(expected), "{what}");
    }
}

/// A promoted standby may not know of the newest holder, who still has a lease.
#[test]
fn a_log_that_may_have_lost_commits_gives_no_reason_but_silence() {
    let given = LeaseRow { nominee: Nominee::Server(name("b")), ..row(3, 7) };
    let own = LeaseRow { holder: Some(name("b")), incarnation: 10, ..row(3, 7) };
    for row in [given, own, row(3, 7)] {
        let mut test = Test::new("b");
        test.step(5, Input::MayHaveLost);
        test.step(5, Input::Released(3));
        assert_eq!(test.first_attempt(&row, 5, 4_000).map(|(ms, _)| ms), Some(2_105), "{row:?}");
        assert_eq!(Test::new("b").first_attempt(&row, 5, 1_000).is_some(), row != super::tests::row(3, 7));
    }
    let mut dead = Test::new("b");
    dead.step(5, Input::MayHaveLost);
    dead.looked(6, &row(3, 7));
    dead.step(10, Input::Died(HOLDER));
    dead.looked(11, &row(3, 7));
    dead.step(11, Input::Testified(name("c"), HOLDER, Verdict::Dead));
    assert_eq!(dead.step(12, Input::Sessions(HOLDER, Ok(Sessions::Gone))), []);
    assert_eq!(dead.step(13, Input::Certain), [acquire(3, 7, true)], "the holder had a lease in this log");
}

#[test]
fn a_released_term_is_taken_at_once_and_no_later_one() {
    let mut test = Test::new("c");
    test.looked(5, &row(3, 7));
    assert_eq!(test.step(6, Input::Released(2)), [Effect::Look]);
    assert_eq!(test.looked(7, &row(3, 7)), []);
    let effects = test.step(8, Input::Released(3));
    assert_eq!(effects, [acquire(3, 7, true), Effect::Look]);
    let mut later = Test::new("c");
    later.step(5, Input::Released(3));
    assert_eq!(later.first_attempt(&row(4, 7), 6, 2_000), None);
}

#[test]
fn a_server_that_stepped_down_leaves_the_lease_to_others_for_a_while() {
    let own = LeaseRow { holder: Some(name("b")), incarnation: 20, ..row(3, 7) };
    for (what, row) in
        [("its own row", own.clone()), ("given to anybody", LeaseRow { nominee: Nominee::Anybody, ..own })]
    {
        let mut test = Test::new("b");
        test.step(5, Input::SteppedDown);
        // One of the others, which is linked, is better placed.
        let first = test.first_attempt(&row, 6, 4_000).map(|(ms, _)| ms);
        assert!(first.is_some_and(|ms| (1_005..1_060).contains(&ms)), "{what}: {first:?}");
    }
}

/// Section 7.2: all three parts of the proof, and nothing less.
#[test]
fn a_death_is_proven_by_the_log_and_by_all_that_are_linked() {
    use Sessions::{Busy, Gone, Unseen, WaitsForClient, WaitsForStandby};
    use Verdict::{Alive, Dead, Unknown};
    for (what, sessions, other, proven) in [
        ("no session, no objection", Gone, Some(Unknown), true),
        ("no session, and proof of its own", Gone, Some(Dead), true),
        ("another server has a live link to it", Gone, Some(Alive), false),
        ("another server that is linked says nothing", Gone, None, false),
        ("a session works on something", Busy, Some(Dead), false),
        ("a session waits for its client", WaitsForClient, Some(Dead), false),
        ("a session waits for the standby", WaitsForStandby, Some(Dead), false),
        ("sessions are not seen, but two have proof", Unseen, Some(Dead), true),
        ("sessions are not seen, and the other has no proof", Unseen, Some(Unknown), false),
    ] {
        let mut test = Test::new("b");
        test.looked(5, &row(3, 7));
        let asked = test.step(10, Input::Died(HOLDER));
        assert_eq!(asked, [Effect::AskOthers(HOLDER), Effect::Look, Effect::AskSessions(HOLDER)], "{what}");
        // The row as it was before the log was asked for sessions.
        test.looked(11, &row(3, 8));
        let mut effects = Vec::new();
        if let Some(verdict) = other {
            effects.extend(test.step(11, Input::Testified(name("c"), HOLDER, verdict)));
        }
        effects.extend(test.step(12, Input::Sessions(HOLDER, Ok(sessions))));
        assert_eq!(effects.contains(&acquire(3, 8, true)), proven, "{what}: {effects:?}");
        assert!(!effects.contains(&Effect::Evict(HOLDER)), "{what}: then its end would prove nothing");
        assert_eq!(test.0.standby_is_missing(), sessions == WaitsForStandby, "{what}");
    }
}

#[test]
fn a_server_of_lower_rank_leaves_the_dead_holders_lease_to_the_better_one_for_a_moment() {
    let mut test = Test::new("c");
    test.looked(5, &row(3, 7));
    test.step(10, Input::Died(HOLDER));
    test.looked(11, &row(3, 7));
    test.step(11, Input::Testified(name("b"), HOLDER, Verdict::Dead));
    assert_eq!(test.step(12, Input::Sessions(HOLDER, Ok(Sessions::Gone))), []);
    assert_eq!(test.0.wake(at(12)), at(32));
    assert_eq!(test.step(32, Input::Tick), [acquire(3, 7, true)]);
}

/// A beat that changes after the log saw no session is that of a process that lives.
#[test]
fn a_renewal_after_the_log_saw_no_session_voids_the_proof() {
    let mut test = Test::new("c");
    test.looked(5, &row(3, 7));
    test.step(10, Input::Died(HOLDER));
    test.looked(11, &row(3, 7));
    test.step(11, Input::Testified(name("b"), HOLDER, Verdict::Dead));
    test.step(12, Input::Sessions(HOLDER, Ok(Sessions::Gone)));
    let again = test.looked(20, &row(3, 8));
    assert!(again.contains(&Effect::AskSessions(HOLDER)) && !again.contains(&acquire(3, 8, true)), "{again:?}");
    assert_eq!(test.step(40, Input::Tick), []);
}

#[test]
fn sessions_that_end_are_asked_for_again_soon_and_later_less_often() {
    let mut test = Test::new("b");
    test.looked(0, &row(3, 7));
    test.step(0, Input::Died(HOLDER));
    let mut asked = Vec::new();
    for ms in 1..400 {
        let effects = test.step(ms, Input::Tick);
        if effects.contains(&Effect::Look) {
            test.looked(ms, &row(3, 7));
        }
        if effects.contains(&Effect::AskSessions(HOLDER)) {
            asked.push(ms);
        }
        if ms == 1 || effects.contains(&Effect::AskSessions(HOLDER)) {
            test.step(ms, Input::Sessions(HOLDER, Ok(Sessions::Busy)));
        }
    }
    assert_eq!(asked[..3], [6, 11, 16]);
    assert!(asked.windows(2).filter(|pair| pair[0] > 200).all(|pair| pair[1] - pair[0] == 50), "{asked:?}");
}

#[test]
fn the_death_of_another_process_proves_nothing() {
    for dead in [8, 10, 20] {
        let mut test = Test::new("b");
        test.looked(5, &row(3, 7));
        assert_eq!(test.step(6, Input::Died(dead)), []);
        // One that died before it was seen as the holder is looked into when it is.
        assert_eq!(test.step(7, Input::Testified(name("c"), dead, Verdict::Dead)), []);
        let effects = test.looked(8, &LeaseRow { incarnation: dead, ..row(4, 9) });
        assert!(effects.contains(&Effect::AskSessions(dead)), "{effects:?}");
    }
}

/// The row went back with a promoted standby: a term is never given out twice.
#[test]
fn an_attempt_names_the_highest_term_that_is_known() {
    let mut test = Test::new("b");
    test.looked(5, &row(7, 1));
    assert_eq!(test.step(6, Input::Term(9)), [Effect::Look], "there is a newer holder");
    let expected = Effect::Acquire { term: 6, beat: 1, above: 9, takes_over: true };
    assert_eq!(test.first_attempt(&row(6, 1), 7, 4_000).map(|(_, effect)| effect), Some(expected));
}

#[test]
fn the_lease_that_was_acquired_runs_from_the_sending_of_the_attempt() {
    let mut test = Test::new("b");
    test.first_attempt(&row(3, 7), 5, 4_000);
    assert_eq!(test.step(2_106, Input::Tick), [], "one attempt at a time");
    let held = LeaseRow { term: 4, holder: Some(name("b")), incarnation: 20, beat: 8, nominee: Nominee::None };
    let acquired = test.step(2_140, Input::Acquired(Ok(Some(held))));
    assert_eq!(acquired, [Effect::Hold(4, at(2_105))]);
    assert_eq!(test.step(9_000, Input::Tick), [], "it holds it");
    assert_eq!(test.step(9_001, Input::SteppedDown), [Effect::Look]);
}

#[test]
fn a_row_that_is_another_by_now_is_looked_at_again() {
    for answer in [Ok(None), Err(LogError::Again("lock timeout".to_owned())), Err(LogError::Unknown("x".to_owned()))] {
        let mut test = Test::new("b");
        test.first_attempt(&row(3, 7), 5, 4_000);
        let effects = test.step(2_110, Input::Acquired(answer.clone()));
        assert!(effects.contains(&Effect::Look), "{answer:?}: {effects:?}");
    }
}

#[test]
fn an_attempt_that_waits_ends_the_sessions_of_the_holder_once() {
    let mut test = Test::new("b");
    test.first_attempt(&row(3, 7), 5, 4_000);
    let evictions = (2_106..2_300).filter(|ms| {
        let effects = test.step(*ms, Input::Tick);
        if effects.contains(&Effect::Look) {
            test.looked(*ms, &row(3, 7));
        }
        effects.contains(&Effect::Evict(HOLDER))
    });
    assert_eq!(evictions.collect::<Vec<_>>(), [2_155]);
}

#[test]
fn a_server_says_what_it_knows_of_a_process() {
    let mut test = Test::new("b");
    let verdict = |test: &Test| test.0.verdict(&name("a"), HOLDER);
    assert_eq!(verdict(&test), Verdict::Alive);
    test.step(1, Input::Linked(BTreeSet::from([name("c")])));
    assert_eq!(verdict(&test), Verdict::Unknown);
    test.step(2, Input::Died(HOLDER));
    assert_eq!(verdict(&test), Verdict::Dead);
}
