//! `baton demo`: failover and failback on real server processes.
//!
//! Three servers and two witnesses run as processes of their own, or three servers over a database. Producers and consumers run all the time; the
//! engine's host is killed twice, both hosts come back, and the engine is told to fail back. At the end every message
//! is accounted for.

mod board;
mod logs;
mod outage;
mod postgres;
mod processes;
mod screen;
mod story;
mod traffic;

use std::io::IsTerminal;
use std::sync::Arc;

use clap::Args;

use super::account::Account;
use super::init::DatabaseUrl;
use super::signals::StopSignals;
use super::{Failure, output, stderr};

use board::{Board, Telling};
use processes::Processes;

/// Options of `baton demo`.
#[derive(Debug, Clone, Args)]
pub(super) struct DemoArgs {
    /// Print the result as JSON; progress goes to stderr
    #[arg(long)]
    json: bool,
    /// Keep the servers' files and logs
    #[arg(long)]
    keep: bool,
    /// Run three servers and nothing else, with their log in PostgreSQL; without a URL, in a temporary one
    #[arg(long, value_name = "URL")]
    database: Option<Option<DatabaseUrl>>,
}

pub(super) async fn run(args: DemoArgs) -> Result<(), Failure> {
    let mut signals = StopSignals::listen()?;
    let telling = match (args.json, std::io::stdout().is_terminal()) {
        (true, _) => Telling::LinesOnStderr,
        (false, false) => Telling::LinesOnStdout,
        (false, true) => Telling::Screen,
    };
    let board = Arc::new(Board::new(telling));
    let mut processes = tokio::select! {
        processes = Box::pin(Processes::lay_out(args.keep, args.database)) => processes?,
        code = signals.next() => return Err(Failure::with_code("stopped by a signal", code)),
    };
    let screen = (telling == Telling::Screen).then(|| screen::show(Arc::clone(&board)));
    let outcome = tokio::select! {
        outcome = Box::pin(story::play(&mut processes, &board)) => outcome,
        code = signals.next() => Err(Failure::with_code("stopped by a signal", code)),
    };
    // The screen gives the terminal back before anything else is printed.
    if let Some(screen) = screen {
        screen.end().await;
    }
    let kept = processes.end().await;
    if let Some(kept) = kept {
        stderr::say(&format!("the servers' files and logs are in {}", kept.display()));
    }
    let account = outcome?;
    if args.json {
        output::print_json(&account.as_json())?;
    } else {
        output::print(&told(&account))?;
    }
    account.verdict().map_err(Failure::new)
}

/// The text output.
fn told(account: &Account) -> String {
    let totals = &account.totals;
    let mut text = String::from("\n");
    for (what, count) in [
        ("sent", totals.sent),
        ("confirmed", totals.confirmed),
        ("received", totals.received),
        ("lost", totals.lost),
        ("duplicates", totals.duplicates),
        ("out of order", totals.out_of_order),
    ] {
        text += &format!("{what:<14}{:>10}\n", output::thousands(count));
    }
    let rows: Vec<Vec<String>> = account
        .placements
        .iter()
        .map(|seen| vec![seen.server.clone(), seen.epoch.clone(), output::utc(seen.at_ms), seen.reason.clone()])
        .collect();
    text += &format!("\n{}\n", output::table(&["ENGINE ON", "EPOCH", "SINCE", "WHY"], &rows));
    let rows: Vec<Vec<String>> =
        account.outages.iter().map(|(what, ms)| vec![what.clone(), format!("{ms:.0} ms")]).collect();
    text + &output::table(&["OUTAGE", ">WITHOUT A CONFIRM"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{PlacementSeen, Totals};

    #[test]
    fn the_account_is_told_to_people() {
        let account = Account {
            totals: Totals { sent: 12_345, confirmed: 12_345, received: 12_345, ..Totals::default() },
            placements: vec![PlacementSeen {
                server: "server2".to_owned(),
                epoch: "0.5".to_owned(),
                at_ms: 0,
                reason: "fail-over".to_owned(),
            }],
            outages: vec![("kill -9 server1".to_owned(), 412.4)],
        };
        let text = told(&account);
        assert!(text.contains("sent              12,345\n") && text.contains("lost                   0\n"), "{text}");
        assert!(text.contains("kill -9 server1             412 ms"), "{text}");
        assert!(text.contains("server2    0.5    1970-01-01 00:00:00 UTC  fail-over"), "{text}");
    }
}
