//! A text file goes through a queue, one message per line, while the engine's host is killed twice.

use std::io::Write;
use std::process::ChildStdin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use baton_tests::{Cluster, Deadline, LIMIT, Stdout};

/// Shortest time of feeding the file: long enough for both kills to hit a producer at work.
const FEED: Duration = Duration::from_secs(12);
const CHUNKS: usize = 600;

/// Text with lines of all lengths, empty ones and some that are alike, as a real file has them.
fn text(lines: usize) -> Vec<String> {
    let words =
        ["", "the messaging engine", "is activated", "on the next server", "in the preferred list", "Ärger; ", "\ttab"];
    let line = |number: usize| match number % 13 {
        0 => String::new(),
        1 => "alike".to_owned(),
        rest => format!("{number} {}", words[number % words.len()].repeat(1 + rest % 5)),
    };
    (0..lines).map(line).collect()
}

fn feed(mut stdin: ChildStdin, lines: &[String], fed: &AtomicUsize) {
    for chunk in lines.chunks(lines.len().div_ceil(CHUNKS)) {
        let text: String = chunk.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        if stdin.write_all(text.as_bytes()).is_err() {
            // The producer ended; its exit code gives the reason.
            return;
        }
        fed.fetch_add(chunk.len(), Ordering::Release);
        std::thread::sleep(FEED / u32::try_from(CHUNKS).expect("a small number"));
    }
}

fn a_file_goes_through_two_kills(count: usize) {
    let mut cluster = Cluster::start(3, 2);
    cluster.create_queue("file");
    let lines = Arc::new(text(count));
    let mut producer = cluster.spawn(&["send", "file", "--timeout", "120"], Stdout::Collect);
    let consumer = cluster.spawn(&["receive", "file", "--count", &count.to_string(), "--wait", "60"], Stdout::Collect);
    let fed = Arc::new(AtomicUsize::new(0));
    let feeder = {
        let (stdin, lines, fed) = (producer.stdin(), Arc::clone(&lines), Arc::clone(&fed));
        std::thread::spawn(move || feed(stdin, &lines, &fed))
    };
    for (part, victim) in [(1, "server1"), (2, "server2")] {
        let reached =
            Deadline::within(LIMIT).poll(Duration::from_millis(1), || fed.load(Ordering::Acquire) >= count * part / 4);
        assert!(reached, "the producer takes what it is fed: {}", producer.stderr());
        cluster.wait_engine_on(victim);
        cluster.kill(victim);
        assert!(fed.load(Ordering::Acquire) < count, "{victim} was to be killed while the producer works");
    }
    cluster.wait_engine_on("server3");

    let producer = producer.wait(3 * LIMIT);
    feeder.join().expect("the feeder does not panic");
    assert_eq!((producer.code, producer.last_word()), (Some(0), format!("confirmed {count}").as_str()));
    let consumer = consumer.wait(3 * LIMIT);
    assert_eq!(consumer.code, Some(0), "{}", consumer.stderr);
    let first_difference = lines.iter().zip(&consumer.lines).position(|(sent, received)| sent != received);
    assert_eq!((consumer.lines.len(), first_difference), (count, None), "what was received is the file");
    assert_eq!(cluster.drain("file"), Vec::<String>::new(), "nothing is left over");
}

#[test]
fn a_file_of_20_000_lines_is_identical_after_two_kills() {
    a_file_goes_through_two_kills(20_000);
}

#[test]
#[ignore = "takes long: make test-long"]
fn a_file_of_200_000_lines_is_identical_after_two_kills() {
    a_file_goes_through_two_kills(200_000);
}

/// Exactly once from a file: the sender is killed in the middle, the engine's host too, and the same command is given
/// again.
#[test]
fn a_sender_with_a_name_that_is_killed_goes_on_where_it_ended() {
    let mut cluster = Cluster::start(3, 0);
    cluster.create_queue("file");
    let lines = text(6_000);
    let send = ["send", "file", "--producer", "import", "--timeout", "60"];
    for (part, victim) in [(1, Some("server1")), (2, None)] {
        let mut sender = cluster.spawn(&send, Stdout::Collect);
        let mut stdin = sender.stdin();
        // From the beginning each time, like a reader of a file.
        let until = lines.len() * part / 4;
        let fed: String = lines[..until].iter().flat_map(|line| [line.as_str(), "\n"]).collect();
        stdin.write_all(fed.as_bytes()).expect("the sender reads");
        let least = lines.len() as u64 * (part as u64 - 1) / 4;
        let some = Deadline::within(LIMIT).poll(Duration::from_millis(1), || cluster.queue("file").depth > least);
        assert!(some, "the sender sends: {}", sender.stderr());
        drop(sender.kill());
        if let Some(victim) = victim {
            cluster.kill(victim);
            cluster.wait_engine_away_from(victim);
        }
    }
    let all: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    let output = cluster.run_with(&send, &all);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let received = cluster.drain("file");
    let first_difference = lines.iter().zip(&received).position(|(sent, received)| sent != received);
    assert_eq!((received.len(), first_difference), (lines.len(), None), "what was received is the file");
    let again = cluster.run_with(&send, &all);
    assert_eq!((again.code, again.last_word()), (Some(0), "confirmed 0"), "all of it was there");
}
