//! The command line itself.

use clap::CommandFactory;
use proptest::prelude::*;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_commands_of_the_contract_are_understood() {
    for line in [
        "baton init DIR",
        "baton init DIR --servers 3 --witnesses 2 --base-port 7100 --hosts a,b,c,d,e --tls",
        "baton server server1.toml",
        "baton status --cluster DIR/cluster.toml --json",
        "baton status --servers a:1,b:2",
        "baton status --servers a:1 --cookie-file cookie",
        "baton status --cluster c --servers a:1",
        "baton policy show --cluster c",
        "baton policy --cluster c show",
        "baton policy set --cluster c --assistance high-availability",
        "baton policy set --assistance none --preferred a,b --fail-back true --preferred-only false --manual true --cluster c",
        "baton move server2 --cluster c",
        "baton move --cluster c server2",
        "baton queue create q --cluster c",
        "baton queue delete q --cluster c",
        "baton queue list --json --cluster c",
        "baton member add server4 --cluster c",
        "baton member add w3 --role witness --address h:1 --cluster c",
        "baton member remove server4 --cluster c",
        "baton send q --cluster c",
        "baton send q --timeout 30 --cluster c",
        "baton receive q --cluster c",
        "baton receive q --count 10 --wait 5 --cluster c",
        "baton receive q --follow --cluster c",
        "baton receive q --json --cluster c",
        "baton bench --cluster c --producers 4 --consumers 0 --window 256 --size 256 --secs 5 --json",
        "baton bench --cluster c --producers 0 --consumers 8 --queues 8 --backlog 1000000 --plot p.svg",
        "baton bench --cluster c --rate 5000",
        "baton verify --cluster c",
        "baton demo --json",
        "baton server server1.toml --rebuild",
        "baton rebuild server1.toml",
        "baton rebuild server1.toml --wait 600 --discard --json",
        "baton recover --accept-data-loss server1.toml",
        "baton recover server1.toml --accept-data-loss",
        "baton skip server1.toml --entry 4711 --accept-data-loss --json",
        "baton skip server1.toml --list --json",
        "baton skip server1.toml --remove 4711",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn wrong_usage_is_one_line() {
    for (line, expected) in [
        (
            "baton move --cluster c",
            "the following required arguments were not provided: <SERVER> (see `baton move --help`)",
        ),
        ("baton status --colour", "unexpected argument '--colour' found"),
        ("baton server --config x", "unexpected argument '--config' found (see `baton server --help`)"),
        (
            "baton queue create q --max-message 3",
            "'--max-message' found; did you mean '--max-messages'? (see `baton queue",
        ),
        ("baton --cluster c member rm x", "'--cluster' found; it belongs after `baton member` (see `baton"),
        ("baton member rm x --cluster c", "subcommand 'rm'; did you mean 'remove'? (see `baton member --help`)"),
        (
            "baton status --cluster",
            "a value is required for '--cluster <FILE>' but none was supplied (see `baton status",
        ),
        ("baton receive q --count x", "invalid value 'x' for '--count <N>': use a whole number of 0 or more (see"),
        ("baton bench --rate 99999999999999999999", "'--rate <RATE>': the number is too large (see"),
        ("baton queue create a|b --cluster c", "queue name \"a|b\" is not allowed: use 1 to 255"),
        ("baton policy set --assistance some --cluster c", "possible values: high-availability, none"),
        ("baton policy set --fail-back maybe --cluster c", "possible values: true, false"),
        ("baton receive q --wait 0 --cluster c", "a number of seconds above 0"),
        ("baton receive q --wait 1 --follow --cluster c", "cannot be used with"),
        ("baton bench --producers 1001", "1001 is not in 0..=1000"),
        ("baton bench --rate 0", "0 is not in 1..=10000000"),
        ("baton rebuild server1.toml --discard", "--wait <SECONDS>"),
        ("baton skip server1.toml", "--entry <INDEX>"),
        ("baton skip server1.toml --list --accept-data-loss", "cannot be used with"),
        ("baton frobnicate", "unrecognized subcommand 'frobnicate'"),
    ] {
        let error = parse(line).expect_err(line);
        let said = usage::line(error, line.split_whitespace().skip(1).map(str::to_owned));
        assert!(said.contains(expected) && !said.contains('\n'), "{line}: {said}");
    }
}

#[test]
fn help_is_there_as_a_word_too() {
    for (line, expected) in [
        ("baton help", "Create the files of a new cluster"),
        ("baton help member", "Add or remove a server"),
        ("baton member help add", "member add"),
        ("baton queue delete --help", "--if-empty"),
    ] {
        let error = parse(line).expect_err(line);
        assert_eq!(error.kind(), clap::error::ErrorKind::DisplayHelp, "{line}");
        assert!(error.to_string().contains(expected), "{line}: {error}");
    }
}

#[test]
fn the_defaults_are_those_of_the_contract() {
    let Ok(Cli { command: Command::Init(init) }) = parse("baton init DIR") else { panic!("init") };
    let init = format!("{init:?}");
    for default in ["servers: 3", "witnesses: None", "base_port: 7100", "hosts: None", "tls: false"] {
        assert!(init.contains(default), "{init}");
    }
    let Ok(Cli { command: Command::Bench(bench) }) = parse("baton bench --cluster c") else { panic!("bench") };
    let bench = format!("{bench:?}");
    for default in [
        "producers: 4",
        "consumers: 0",
        "queues: 1",
        "window: 256",
        "size: 256",
        "secs: 5",
        "rate: None",
        "json: false",
    ] {
        assert!(bench.contains(default), "{bench}");
    }
    let Ok(Cli { command: Command::Send(send) }) = parse("baton send q --cluster c") else { panic!("send") };
    assert!(format!("{send:?}").contains("timeout: 30.0"));
}

/// Words that commands are made of, and words that they are not.
fn words() -> impl Strategy<Value = Vec<String>> {
    let known = "init server status policy show set move queue create delete list member add remove send receive bench \
        verify demo recover --cluster --servers --cookie-file --json --timeout --count --wait --follow --hosts --tls \
        --assistance none --preferred a,b --fail-back true --preferred-only --manual --role witness --address h:1 \
        --producers --window --size --secs 0 5 18446744073709551616 -1 1e309 nan c q --accept-data-loss --help";
    let known: Vec<String> = known.split_whitespace().map(str::to_owned).collect();
    prop::collection::vec(prop_oneof![9 => prop::sample::select(known), 1 => ".{0,12}"], 0..9)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, ..ProptestConfig::default() })]

    #[test]
    fn any_words_are_a_command_or_one_line(words in words()) {
        let line = std::iter::once("baton".to_owned()).chain(words.clone());
        if let Err(error) = Cli::try_parse_from(line) {
            let said = usage::line(error, words.into_iter());
            prop_assert!(!said.contains('\n'), "{}", said);
        }
    }
}
