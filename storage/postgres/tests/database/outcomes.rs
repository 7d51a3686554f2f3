//! Calls whose outcome is not known, and sessions that hold others up.

use std::sync::Arc;
use std::time::Duration;

use baton_postgres::PostgresLogs;
use baton_replica::shared::{Answer, Append, LogError, Nominee, Position, Read, Sessions, SharedLog, SharedLogs as _};
use baton_test_postgres::{Postgres, Stop, skipped};
use tokio::time::timeout;

use crate::api::{Claimant, LogEntry, ServerName};
use crate::proxy::{Fault, Proxy};
use crate::{CLUSTER, NewLog};

const DEADLINE: Duration = Duration::from_secs(20);

async fn open(logs: &PostgresLogs, number: u64) -> Arc<dyn SharedLog> {
    let server = ServerName::new(format!("server{number}")).unwrap();
    logs.open(Claimant { server, incarnation: number }, CLUSTER).await.unwrap().0
}

async fn take(log: &Arc<dyn SharedLog>) -> u64 {
    let row = log.look().await.unwrap();
    log.acquire(row.term, row.beat, 0, true).await.unwrap().unwrap().term
}

fn batch(after: Position, term: u64) -> Arc<[LogEntry]> {
    [after.entry(term, vec![1; 100].into())].into()
}

/// A log, a session through a proxy that holds the lease, and one without.
struct Pair {
    direct: Arc<dyn SharedLog>,
    through: Arc<dyn SharedLog>,
    proxy: Proxy,
    term: u64,
    /// Made the sessions through the proxy.
    logs: PostgresLogs,
    _server: Postgres,
}

async fn pair() -> Option<Pair> {
    let server = Postgres::start()?;
    let new = NewLog::make(&server.tcp_url(), "baton").await;
    let proxy = Proxy::start(server.port()).await;
    let logs = PostgresLogs::new(baton_postgres::Database::parse(&proxy.url()).unwrap());
    let through = open(&logs, 1).await;
    let term = take(&through).await;
    let start = Position::default();
    assert_eq!(through.append(term, start, batch(start, term)).await, Ok(Append::Written));
    Some(Pair { direct: open(&new.0, 2).await, through, proxy, term, logs, _server: server })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_between_completion_and_commit_confirms_nothing() {
    let Some(pair) = pair().await else { return skipped("a death before the commit") };
    let tail = pair.direct.tail().await.unwrap();
    pair.proxy.arm(Fault::DieBeforeCommit);
    let lost = batch(tail, pair.term);
    match pair.through.append(pair.term, tail, lost.clone()).await {
        Err(LogError::Unknown(_)) => {}
        other => panic!("{other:?}"),
    }
    timeout(DEADLINE, pair.through.ended()).await.expect("the session ends");
    assert!(matches!(pair.through.renew(pair.term).await, Err(LogError::Unreachable(_))));
    assert_eq!(pair.direct.tail().await, Ok(tail), "it was not committed");
    let again = open(&pair.logs, 1).await;
    assert!(again.renew(pair.term).await.unwrap().is_some());
    assert_eq!(again.append(pair.term, tail, lost).await, Ok(Append::Written));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_before_the_answer_confirms_nothing() {
    let Some(pair) = pair().await else { return skipped("a warning before the answer") };
    let tail = pair.direct.tail().await.unwrap();
    pair.proxy.arm(Fault::Warning);
    let doubtful = batch(tail, pair.term);
    let end = doubtful[0].position();
    let behind = batch(end, pair.term);
    let first = pair.through.append(pair.term, tail, doubtful.clone());
    let second = pair.through.append(pair.term, end, behind);
    for answer in [first.await, second.await] {
        match answer {
            Err(LogError::Unknown(why) | LogError::Unreachable(why)) => assert!(why.contains("01000"), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(pair.through.ended().await, LogError::Unknown(_)));
    assert!(matches!(pair.through.look().await, Err(LogError::Unreachable(_))), "the whole session ended");
    assert_eq!(pair.direct.tail().await, Ok(end), "here it was committed all the same");
    let again = open(&pair.logs, 1).await;
    let found = again.append(pair.term, tail, doubtful).await;
    assert_eq!(found, Ok(Append::Mismatch { tail: end }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_stopped_before_its_commit_delays_a_take_over_by_less_than_a_second() {
    let Some(pair) = pair().await else { return skipped("a stop before the commit") };
    let tail = pair.direct.tail().await.unwrap();
    pair.proxy.arm(Fault::StopBeforeCommit);
    let stuck = pair.through.append(pair.term, tail, batch(tail, pair.term));
    let take_over = async {
        let seen = loop {
            if pair.direct.sessions_of(1).await.unwrap() == Sessions::WaitsForClient
                && matches!(timeout(Duration::from_millis(50), pair.direct.look()).await, Ok(Ok(_)))
            {
                break pair.direct.look().await.unwrap();
            }
        };
        let take = || pair.direct.acquire(seen.term, seen.beat, 0, true);
        let start = tokio::time::Instant::now();
        // The statement may not have come yet, or it holds the row.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(matches!(take().await, Err(LogError::Again(_))), "the row is locked");
        pair.direct.evict(1).await.unwrap();
        let row = take().await.unwrap().expect("nobody renewed it");
        assert!(start.elapsed() < Duration::from_secs(1));
        row
    };
    let (stuck, row) = tokio::join!(stuck, timeout(DEADLINE, take_over));
    assert!(matches!(stuck, Err(LogError::Unknown(_))), "{stuck:?}");
    assert!(row.unwrap().term > pair.term);
    assert_eq!(pair.direct.tail().await, Ok(tail));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_standby_is_shown_left_alone_and_confirms_nothing_when_it_is_cancelled() {
    let Some(server) = Postgres::start() else { return skipped("a wait for the standby") };
    let new = NewLog::make(&server.socket_url(), "baton").await;
    let (one, two) = (open(&new.0, 1).await, open(&new.0, 2).await);
    let term = take(&one).await;
    let start = Position::default();
    server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'; SELECT pg_reload_conf()");
    let waits = async || {
        while two.sessions_of(1).await.unwrap() != Sessions::WaitsForStandby {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };

    let first = batch(start, term);
    let end = first[0].position();
    let cancel = async {
        waits().await;
        assert_eq!(two.tail().await, Ok(start), "it is not visible before the standby has it");
        server.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'");
    };
    let (answer, cancelled) = tokio::join!(one.append(term, start, first), timeout(DEADLINE, cancel));
    cancelled.expect("it waits");
    match answer {
        Err(LogError::Unknown(why)) => assert!(why.contains("01000"), "{why}"),
        other => panic!("PostgreSQL reports it as done, with a warning: {other:?}"),
    }
    assert_eq!(two.tail().await, Ok(end), "it is visible, and the standby does not have it");

    let one = open(&new.0, 1).await;
    let evict = async {
        waits().await;
        two.evict(1).await.unwrap();
        one.ended().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(two.sessions_of(1).await, Ok(Sessions::WaitsForStandby), "the session that waits is not ended");
        assert_eq!(two.tail().await, Ok(end));
    };
    let (answer, evicted) = tokio::join!(one.append(term, end, batch(end, term)), timeout(DEADLINE, evict));
    evicted.expect("it waits");
    assert!(matches!(answer, Err(LogError::Unknown(_))), "{answer:?}");
    server.sql("ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()");
    let done = async {
        while two.tail().await.unwrap() == end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, done).await.expect("it commits when nothing waits for a standby any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_and_a_move_end_sessions_and_keep_the_log() {
    let Some(mut server) = Postgres::start() else { return skipped("restarts of PostgreSQL") };
    let mut new = NewLog::make(&server.tcp_url(), "baton").await;
    let mut tail = Position::default();
    let mut term = 0;
    for round in 0..4 {
        let log = open(&new.0, 1).await;
        if round == 0 {
            term = take(&log).await;
        }
        assert!(log.renew(term).await.unwrap().is_some(), "the lease outlives the database's restart");
        assert_eq!(log.tail().await, Ok(tail));
        let entry = batch(tail, term);
        assert_eq!(log.append(term, tail, entry.clone()).await, Ok(Append::Written));
        tail = entry[0].position();
        match round {
            0 => server.stop(Stop::Fast),
            1 => server.stop(Stop::Immediate),
            _ => server.kill(),
        }
        timeout(DEADLINE, log.ended()).await.expect("the session notices");
        assert!(matches!(log.look().await, Err(LogError::Unreachable(_))));
        server.start_elsewhere();
        new = NewLog(PostgresLogs::new(baton_postgres::Database::parse(&server.tcp_url()).unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_database_answers_later_and_is_not_opened() {
    let Some(server) = Postgres::start() else { return skipped("a frozen PostgreSQL") };
    let new = NewLog::make(&server.tcp_url(), "baton").await;
    let other = Postgres::start().unwrap();
    NewLog::make(&other.tcp_url(), "baton").await;
    let log = open(&new.0, 1).await;
    let term = take(&log).await;
    server.freeze();
    let both = format!("{},127.0.0.1:{}/postgres", server.tcp_url().trim_end_matches("/postgres"), other.port());
    let both = PostgresLogs::new(baton_postgres::Database::parse(&both).unwrap());
    let start = tokio::time::Instant::now();
    open(&both, 1).await;
    assert!(start.elapsed() < Duration::from_secs(2), "a silent host does not hold up the next one");
    let late: Answer<'_, Option<u64>> = log.renew(term);
    let claimant = Claimant { server: ServerName::new("server2").unwrap(), incarnation: 2 };
    let opened = timeout(DEADLINE, new.0.open(claimant, CLUSTER)).await.expect("an answer");
    assert!(matches!(opened.err(), Some(LogError::Unreachable(_))));
    server.thaw();
    assert!(timeout(DEADLINE, late).await.expect("it answers").unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_standby_has_the_log_and_another_timeline() {
    let Some(mut primary) = Postgres::start() else { return skipped("a standby") };
    let new = NewLog::make(&primary.tcp_url(), "baton").await;
    let standby = primary.standby("second");
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'second'; SELECT pg_reload_conf()");
    let claimant = |number: u64| Claimant { server: ServerName::new("server1").unwrap(), incarnation: number };
    let both = format!("{},127.0.0.1:{}/postgres", standby.tcp_url().trim_end_matches("/postgres"), primary.port());
    let logs = PostgresLogs::new(baton_postgres::Database::parse(&both).unwrap());
    let (log, before) = logs.open(claimant(1), CLUSTER).await.expect("the primary is found behind the standby");
    assert_eq!(before.standby, "second");
    let term = take(&log).await;
    let start = Position::default();
    let written = batch(start, term);
    assert_eq!(log.append(term, start, written.clone()).await, Ok(Append::Written));
    primary.kill();
    standby.promote();
    let (log, after) = logs.open(claimant(1), CLUSTER).await.expect("the new primary");
    assert_eq!((after.system, after.timeline), (before.system, before.timeline + 1));
    assert_eq!(log.read(start, 1000).await, Ok(Read::Entries(written.to_vec())));
    assert!(log.renew(term).await.unwrap().is_some());
    assert_eq!(log.look().await.unwrap().nominee, Nominee::None);
    drop(new);
}
