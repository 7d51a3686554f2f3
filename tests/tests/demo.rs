//! `baton demo`: the figures in one command, with an account at the end.

use std::time::Duration;

use baton_tests::run;
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Account {
    sent: u64,
    confirmed: u64,
    received: u64,
    lost: u64,
    duplicates: u64,
    placements: Vec<Placement>,
    outages_ms: Vec<f64>,
}

#[derive(Debug, Deserialize)]
struct Placement {
    server: String,
}

#[test]
fn the_demo_shows_the_figures_and_accounts_for_every_message() {
    let output = run(&["demo", "--json"], "", Duration::from_secs(180));
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    let account: Account =
        serde_json::from_str(&output.text()).unwrap_or_else(|error| panic!("{error} in {}", output.text()));
    assert!(account.sent > 0 && account.confirmed == account.sent, "{account:?}");
    assert_eq!((account.received, account.lost, account.duplicates), (account.confirmed, 0, 0), "{account:?}");
    let servers: Vec<&str> = account.placements.iter().map(|placement| placement.server.as_str()).collect();
    assert_eq!(servers, ["server1", "server2", "server3", "server1"], "figures 1, 2 and 3, then fail back");
    assert!(account.outages_ms.len() >= 2, "one for each kill: {account:?}");
}
