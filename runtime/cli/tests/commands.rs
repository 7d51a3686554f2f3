//! The client commands against a server without a store: what they print, how they exit, what they take.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "commands/fake.rs"]
mod fake;

use std::process::{Output, Stdio};
use std::time::Duration;

use baton_client::protocol::DirectoryRequest;
use baton_domain::{Assistance, Role, ServerName};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use fake::Fake;

/// Far above what a command takes.
const LIMIT: Duration = Duration::from_secs(40);

fn command(fake: &Fake, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
    command.args(line.split_whitespace()).args(["--cluster", &fake.path("cluster.toml")]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

async fn output(child: Child) -> Output {
    tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("the command ends in time").unwrap()
}

async fn run_with(fake: &Fake, line: &str, input: &[u8]) -> Output {
    let mut child = command(fake, line).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that fails early does not read it all.
    let _ = stdin.write_all(input).await;
    drop(stdin);
    output(child).await
}

async fn run(fake: &Fake, line: &str) -> Output {
    run_with(fake, line, b"").await
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Failed in one line, with a word in it, and nothing on stdout.
#[track_caller]
fn assert_refused(output: &Output, word: &str) {
    assert_code(output, 1);
    let said = text(&output.stderr);
    assert!(said.starts_with("baton: ") && said.lines().count() == 1 && said.contains(word), "{said}");
    assert!(output.stdout.is_empty());
}

fn numbered(count: u64) -> String {
    (1..=count).map(|number| format!("line {number}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_any_bytes_come_out_as_they_went_in() {
    let fake = Fake::start().await;
    fake.state().create("q");
    let input = b"one\r\n\n\xff\xfe not text\nlast without newline";
    let sent = run_with(&fake, "send q", input).await;
    assert_code(&sent, 0);
    assert_eq!(text(&sent.stderr), "confirmed 4\n");
    let received = run(&fake, "receive q").await;
    assert_code(&received, 0);
    assert_eq!(received.stdout, [input, &b"\n"[..]].concat());
    assert_eq!(fake.state().depth("q"), 0, "all is acknowledged when the command ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_file_goes_through_in_order() {
    let fake = Fake::start().await;
    fake.state().create("q");
    let input = numbered(50_000);
    let sent = run_with(&fake, "send q", input.as_bytes()).await;
    assert_eq!(text(&sent.stderr), "confirmed 50000\n");
    let received = run(&fake, "receive q --count 50000").await;
    assert_code(&received, 0);
    assert!(text(&received.stdout) == input, "the same lines in the same order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_sent_as_soon_as_it_is_read() {
    let fake = Fake::start().await;
    fake.state().create("q");
    let mut receiver = command(&fake, "receive q --follow").spawn().unwrap();
    let mut lines = BufReader::new(receiver.stdout.take().unwrap()).lines();
    let mut sender = command(&fake, "send q").spawn().unwrap();
    let mut stdin = sender.stdin.take().unwrap();
    for line in ["first", "second"] {
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let came = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("while the input stays open").unwrap();
        assert_eq!(came.as_deref(), Some(line));
    }
    drop(stdin);
    assert_eq!(text(&output(sender).await.stderr), "confirmed 2\n");
    let pid = rustix::process::Pid::from_raw(receiver.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_code(&output(receiver).await, 0);
    assert_eq!(fake.state().depth("q"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn count_never_takes_one_message_more() {
    for (there, count) in [(10, 3), (5_000, 2_345), (3, 3)] {
        let fake = Fake::start().await;
        fake.state().create("q");
        fake.state().put("q", (1..=there).map(|number| format!("line {number}")));
        let received = run(&fake, &format!("receive q --count {count} --wait 20")).await;
        assert_code(&received, 0);
        assert_eq!(text(&received.stdout), numbered(count));
        assert_eq!(fake.state().delivered, count, "no other message was even delivered");
        assert_eq!(fake.state().depth("q"), there - count);
        fake.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_with_code_3_and_keeps_what_it_acknowledged() {
    let fake = Fake::start().await;
    fake.state().create("q");
    fake.state().put("q", ["only".to_owned()]);
    let received = run(&fake, "receive q --count 2 --wait 0.5").await;
    assert_code(&received, 3);
    assert_eq!((text(&received.stdout), text(&received.stderr)), ("only\n", ""));
    assert_eq!(fake.state().depth("q"), 0);
    assert_code(&run(&fake, "receive q --wait 0.2").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_printed_is_not_acknowledged() {
    let fake = Fake::start().await;
    fake.state().create("q");
    fake.state().put("q", (1..=10).map(|number| format!("line {number}")));
    let mut child = command(&fake, "receive q").spawn().unwrap();
    drop(child.stdout.take());
    let ended = output(child).await;
    assert_code(&ended, 1);
    assert!(text(&ended.stderr).contains("stdout"), "{}", text(&ended.stderr));
    assert_eq!(fake.state().depth("q"), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_slow_keeps_the_rest_on_the_queue() {
    let fake = Fake::start().await;
    fake.state().create("q");
    // More than a pipe holds.
    fake.state().put("q", (0..3_000).map(|_| "x".repeat(1_000)));
    let mut child = command(&fake, "receive q --follow").spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 1_001];
    tokio::time::timeout(LIMIT, stdout.read_exact(&mut some)).await.expect("the first message comes").unwrap();
    child.kill().await.unwrap();
    assert!(fake.state().depth("q") > 1_000, "what is not printed is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_is_said_in_one_line() {
    let fake = Fake::start().await;
    assert_refused(&run(&fake, "receive nowhere").await, "nowhere");
    assert_refused(&run(&fake, "queue delete nowhere").await, "nowhere");
    for input in [&b""[..], b"one\n"] {
        let sent = run_with(&fake, "send nowhere", input).await;
        assert_code(&sent, 1);
        let lines: Vec<&str> = text(&sent.stderr).lines().collect();
        assert!(lines.len() == 2 && lines[0].contains("nowhere") && lines[1] == "confirmed 0", "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_given_up_makes_send_fail() {
    let fake = Fake::start().await;
    fake.state().create("q");
    fake.state().deaf = true;
    let mut child = command(&fake, "send q --timeout 1").spawn().unwrap();
    // The input stays open: the age of the message ends the command, not the end of the input.
    child.stdin.as_mut().unwrap().write_all(b"one\n").await.unwrap();
    let stdin = child.stdin.take();
    let sent = output(child).await;
    drop(stdin);
    assert_code(&sent, 1);
    let said: Vec<&str> = text(&sent.stderr).lines().collect();
    assert!(said.len() == 2 && said[0].contains("1 message") && said[1] == "confirmed 0", "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_created_listed_and_deleted() {
    let fake = Fake::start().await;
    assert_eq!(text(&run(&fake, "queue create a/b").await.stdout), "a/b created\n");
    assert_eq!(text(&run(&fake, "queue create a/b").await.stdout), "a/b already exists\n");
    let listed: Value = serde_json::from_slice(&run(&fake, "queue list --json").await.stdout).unwrap();
    let (queue, all) = (&listed[0], listed.as_array().unwrap().len());
    assert_eq!((all, &queue["name"], &queue["depth"]), (1, &Value::from("a/b"), &Value::from(0)));
    assert_eq!((&queue["kind"], &queue["settings"]["exception"]), (&Value::from("queue"), &Value::from("system")));
    assert_eq!(text(&run(&fake, "queue delete a/b --if-empty --if-unused").await.stdout), "a/b deleted\n");
    assert!(fake.state().queue_names().is_empty());
}

/// Without a terminal nothing is asked: scripts go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_says_what_went_with_it_and_one_with_messages_can_be_kept() {
    let fake = Fake::start().await;
    for _ in 0..2 {
        fake.state().create("q");
        fake.state().put("q", ["a".to_owned(), "b".to_owned()]);
        assert_refused(&run(&fake, "queue delete q --if-empty").await, "q is not empty: it has 2 messages");
        assert_refused(&run(&fake, "subscription delete q --yes").await, "q is not a subscription");
        let json = run(&fake, "queue delete q --yes --json").await;
        let json: Value = serde_json::from_slice(&json.stdout).unwrap();
        assert_eq!((&json["deleted"], &json["messages"]), (&Value::from("q"), &Value::from(2)));
        fake.state().create("q");
        fake.state().put("q", ["a".to_owned()]);
        assert_eq!(text(&run(&fake, "queue delete q").await.stdout), "q deleted, and 1 message with it\n");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_exits_0_started_2_not_started_1_no_answer() {
    let fake = Fake::start().await;
    let status = run(&fake, "status --json").await;
    assert_code(&status, 0);
    let json: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((&json["engine"]["state"], &json["quorum"]["needed"]), (&Value::from("started"), &Value::from(1)));
    fake.state().stopped = true;
    for line in ["status", "status --json"] {
        let status = run(&fake, line).await;
        assert_code(&status, 2);
        assert!(text(&status.stdout).contains("stopped") && text(&status.stdout).contains("a reason"));
    }
    fake.stop().await;
    assert_refused(&run(&fake, "status").await, "no server answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_a_cookie_do_without_a_cluster_file() {
    let fake = Fake::start().await;
    let ask = |cookie: Option<&str>, file: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_baton"));
        command.args(["status", "--servers", &fake.address()]).env_remove("BATON_COOKIE").kill_on_drop(true);
        command.envs(cookie.map(|cookie| ("BATON_COOKIE", cookie)));
        command.args(file.iter().flat_map(|file| ["--cookie-file", file]));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let cookie = std::fs::read_to_string(fake.path("cookie")).unwrap();
    assert_code(&output(ask(Some(&cookie), None)).await, 0);
    assert_code(&output(ask(None, Some(&fake.path("cookie")))).await, 0);
    assert_refused(&output(ask(None, None)).await, "BATON_COOKIE");
    let wrong = cookie.replace(&"09".repeat(32), &"07".repeat(32));
    assert_refused(&output(ask(Some(&wrong), None)).await, "cookie");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_fails_on_a_difference_and_on_silence() {
    let fake = Fake::start().await;
    let verified = run(&fake, "verify").await;
    assert_code(&verified, 0);
    assert!(text(&verified.stdout).contains("server1     17  00000000000000000000000000000001"));
    fake.state().with_a_dead_server = true;
    let verified = run(&fake, "verify").await;
    assert_code(&verified, 1);
    assert!(text(&verified.stderr).contains("not compared: server2"), "{}", text(&verified.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_commands_ask_for_what_they_say() {
    let fake = Fake::start().await;
    assert_code(&run(&fake, "policy set --assistance none --preferred server1 --fail-back true").await, 0);
    {
        let state = fake.state();
        assert_eq!((state.policy.assistance, state.policy.fail_back), (Assistance::None, true));
    }
    let shown = run(&fake, "policy show").await;
    assert!(text(&shown.stdout).contains("preferred       server1\n"), "{}", text(&shown.stdout));
    assert_refused(&run(&fake, "policy set --preferred server1,server7").await, "server7");
    assert_eq!(text(&run(&fake, "move server1").await.stdout), "the engine is started on server1\n");
    assert_refused(&run(&fake, "move server9").await, "there is no server9");
    assert_code(&run(&fake, "member add w3 --role witness --address h:1").await, 0);
    let name = ServerName::new("w3").unwrap();
    let asked = DirectoryRequest::AddMember { name, role: Role::Witness, address: "h:1".to_owned() };
    // Where the engine is, is asked by every client at any time.
    assert!(fake.state().asked.contains(&asked), "{:?}", fake.state().asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_of_a_member_are_written_later_too_and_a_removal_names_them() {
    let fake = Fake::start().await;
    let (list, own) = (fake.path("cluster.toml"), fake.path("w3.toml"));
    std::fs::write(fake.path("server.secrets"), "").unwrap();
    assert_code(&run(&fake, "member add w3 --role witness --address 127.0.0.1:9").await, 0);
    assert_refused(&run(&fake, "member add w3 --address 127.0.0.1:9").await, "already a member, as a witness");
    assert_refused(&run(&fake, "member add w3 --address 127.0.0.1:8 --write").await, "the address 127.0.0.1:9; `baton");
    assert!(!std::path::Path::new(&own).exists());
    // Role and address are those that the cluster has.
    assert_code(&run(&fake, "member add w3 --write").await, 0);
    assert!(std::fs::read_to_string(&own).unwrap().contains("role = \"witness\""));
    assert!(std::fs::read_to_string(&list).unwrap().contains("address = \"127.0.0.1:9\""));
    let removed = run(&fake, "member remove w3 --yes").await;
    assert!(text(&removed.stdout).contains(&format!("still named in {list} and {own}. ")), "{}", text(&removed.stdout));
}

/// Runs a bench on the fake, which must be left without a queue; what it found.
async fn bench(fake: &Fake, options: &str) -> Value {
    let bench = run(fake, &format!("bench --json {options}")).await;
    assert_code(&bench, 0);
    assert!(fake.state().queue_names().is_empty());
    serde_json::from_slice(&bench.stdout).unwrap()
}

#[track_caller]
fn assert_positive(json: &Value, keys: &[&str]) {
    for key in keys {
        assert!(json[key].as_f64().is_some_and(|value| value > 0.0), "{key} in {json}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_leaves_no_queue_behind() {
    let fake = Fake::start().await;
    let json = bench(&fake, "--producers 2 --consumers 1 --secs 1").await;
    assert_positive(&json, &["produced_per_s", "confirm_p50_ms", "confirm_p99_ms", "consumed_per_s"]);
    assert_positive(&json, &["longest_silence_ms", "delivery_p50_ms", "delivery_max_ms"]);
    assert!(json["confirm_p50_ms"].as_f64() <= json["confirm_max_ms"].as_f64(), "{json}");
    // Consumers that find no time in the body, and none at all: latency from sending to receipt is unknown.
    for options in ["--producers 2 --consumers 2 --size 7 --secs 1", "--producers 3 --queues 3 --secs 1"] {
        let json = bench(&fake, options).await;
        assert!(json.get("delivery_p50_ms").is_none(), "{options}: {json}");
        assert_positive(&json, &["produced_per_s", "confirm_p999_ms"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_drains_a_backlog_that_it_sent_and_leaves_one_alone_that_it_produces_upon() {
    let fake = Fake::start().await;
    let json = bench(&fake, "--producers 0 --consumers 6 --queues 3 --backlog 20002").await;
    assert_eq!(fake.state().delivered, 20_002);
    assert_positive(&json, &["consumed_per_s"]);
    assert_eq!((&json["produced_per_s"], &json["confirm_histogram"]), (&Value::from(0.0), &serde_json::json!([])));
    let json = bench(&fake, "--producers 1 --secs 1 --backlog 5000").await;
    assert_eq!(fake.state().delivered, 20_002, "nobody consumed");
    assert_positive(&json, &["produced_per_s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_at_a_steady_rate_sends_what_is_due_and_no_more() {
    let fake = Fake::start().await;
    let json = bench(&fake, "--producers 3 --rate 1000 --secs 2").await;
    let counts = json["confirm_histogram"].as_array().unwrap().iter().map(|bucket| bucket[1].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 2_000);
    let rate = json["produced_per_s"].as_f64().unwrap();
    assert!((900.0..=1_001.0).contains(&rate), "{json}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_draws_what_it_measured() {
    let fake = Fake::start().await;
    let picture = fake.path("bench.svg");
    let drawn = run(&fake, &format!("bench --producers 1 --secs 1 --plot {picture}")).await;
    assert_code(&drawn, 0);
    assert!(text(&drawn.stdout).contains("confirm p99.9"), "{}", text(&drawn.stdout));
    assert!(std::fs::read_to_string(&picture).unwrap().contains("<polyline"));
    let lost = run(&fake, "bench --producers 1 --secs 1 --plot /nowhere/bench.svg").await;
    assert_code(&lost, 1);
    assert!(text(&lost.stdout).contains("confirm p99.9") && text(&lost.stderr).contains("/nowhere/bench.svg"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bench_that_cannot_go_on_says_why_and_leaves_no_queue_behind() {
    let fake = Fake::start().await;
    let large = run(&fake, "bench --producers 1 --secs 1 --size 2000000").await;
    assert_refused(&large, "the limit is 1048576");
    assert!(fake.state().queue_names().is_empty());
    let senseless = run(&fake, "bench --producers 0 --consumers 1").await;
    assert_code(&senseless, 64);
    assert!(text(&senseless.stderr).contains("--backlog N"), "{}", text(&senseless.stderr));
}
