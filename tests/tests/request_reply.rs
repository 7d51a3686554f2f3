//! Requests and their answers, across failovers. The example `request_reply` asks for the squares of 1 to 5, answers
//! itself, and deletes the queue of the requests when it is done.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use baton_tests::{Background, Cluster, LIMIT, Queue, wait};

const REQUESTS: &str = "example/squares";
/// Time that an engine waits for clients that wait for answers; longer than any machine takes to come back.
const PATIENT: &str = "\n[timing]\nreattach_grace_ms = 60000\n";

/// Waits for the example's end: each request has its own answer, and none is missing.
#[track_caller]
fn answered(asks: Background) {
    let output = asks.wait(LIMIT);
    let squares: Vec<String> = (1..=5).map(|number| format!("{number} squared is {}", number * number)).collect();
    assert_eq!((output.code, output.lines), (Some(0), squares), "{}", output.stderr);
}

/// The queue that was made for the answers.
fn answers(cluster: &Cluster) -> Option<Queue> {
    cluster.queues().into_iter().find(|queue| queue.name.starts_with("answers."))
}

#[test]
fn a_request_that_waits_and_an_answer_that_waits_outlive_the_engines_host() {
    let mut cluster = Cluster::start_with(3, 0, PATIENT);
    for (answer_waits, host, next) in [(false, "server1", "server2"), (true, "server2", "server1")] {
        cluster.create_queue(REQUESTS);
        cluster.ok(&["queue", "pause", REQUESTS, "--receive"]);
        let asks = Background::example("request_reply", &[&cluster.file()]);
        wait("the first request is there", || cluster.queue(REQUESTS).depth == 1);
        let place = answers(&cluster).expect("a place for the answers").name;
        if answer_waits {
            cluster.ok(&["queue", "pause", &place, "--receive"]);
            cluster.ok(&["queue", "resume", REQUESTS]);
            wait("the first answer is there", || cluster.queue(&place).depth == 1);
        }
        cluster.kill(host);
        cluster.wait_engine_on(next);
        assert_eq!(answers(&cluster).map(|queue| queue.name), Some(place.clone()), "the place lives on");
        cluster.ok(&["queue", "resume", if answer_waits { &place } else { REQUESTS }]);
        answered(asks);
        wait("all goes with who made it", || cluster.queues().is_empty());
        cluster.restart(host);
        cluster.wait_caught_up(host);
    }
    cluster.verify();
}

#[test]
fn who_goes_on_asking_gets_every_answer_while_the_engines_host_is_killed() {
    let mut cluster = Cluster::start(3, 0);
    let file = cluster.file();
    let (done, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let more = |what: &str| {
        let before = done.load(Ordering::Acquire);
        wait(what, || done.load(Ordering::Acquire) >= before + 2);
    };
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                answered(Background::example("request_reply", &[&file]));
                done.fetch_add(1, Ordering::Release);
            }
        });
        more("requests are answered");
        cluster.kill("server1");
        cluster.wait_engine_on("server2");
        more("requests are answered by the next engine");
        stop.store(true, Ordering::Release);
        asking.join().expect("each request is answered");
    });
    wait("nothing is left", || cluster.queues().is_empty());
}
