//! The steps of the demo.

use std::sync::Arc;
use std::time::Duration;

use baton::client::{Client, ClientConfig};
use baton_client::protocol::{DirectoryRequest, Status};
use baton_domain::clock::BootTime;
use baton_domain::{Assistance, Policy, Role, ServerName};

use crate::account::Account;
use crate::{Failure, requests, status, target};

use super::board::Board;
use super::processes::{Processes, SERVERS};
use super::traffic::Traffic;

/// Time limit of a step.
const STEP: Duration = Duration::from_secs(60);
/// Pause between two steps.
const STEADY: Duration = Duration::from_secs(3);
/// Interval between two status requests: short enough to see every placement.
const LOOK: Duration = Duration::from_millis(50);
/// Maximum lag of a server that counts as caught up: under load the newest entries are always in flight.
const CAUGHT_UP: u64 = 100;
/// Time limit of one status request.
const QUESTION: Duration = Duration::from_secs(1);

/// Runs the demo and returns its account.
pub(super) async fn play(processes: &mut Processes, board: &Arc<Board>) -> Result<Account, Failure> {
    let names = processes.names();
    board.tell(match names.len() - usize::from(SERVERS) {
        0 => format!("starting {SERVERS} servers, and nothing else: their log is in PostgreSQL"),
        witnesses => format!("starting {SERVERS} servers and {witnesses} witnesses"),
    });
    for name in &names {
        processes.start(name)?;
        board.runs(name, true);
    }
    let client = connect(processes, target::from_cluster(processes.cluster()?)).await?;
    let looking = tokio::spawn(look(client.clone(), Arc::clone(board)));
    let outcome = Stage { processes, board, client: &client, traffic: None, outages: Vec::new() }.play().await;
    looking.abort();
    client.close().await;
    outcome
}

/// Connects as soon as the first server listens. An attempt is never cancelled: a process has one set of links.
async fn connect(processes: &mut Processes, mut config: ClientConfig) -> Result<Client, Failure> {
    config.deadline = STEP;
    let mut connecting = Box::pin(requests::connect_with(config));
    loop {
        tokio::select! {
            connected = &mut connecting => return connected,
            () = tokio::time::sleep(LOOK) => processes.check()?,
        }
    }
}

/// Keeps the board up to date.
async fn look(client: Client, board: Arc<Board>) {
    loop {
        if let Ok(Ok(status)) = tokio::time::timeout(QUESTION, client.status()).await {
            board.status(status);
        }
        tokio::time::sleep(LOOK).await;
    }
}

struct Stage<'a> {
    processes: &'a mut Processes,
    board: &'a Arc<Board>,
    client: &'a Client,
    traffic: Option<Traffic>,
    outages: Vec<(String, f64)>,
}

impl Stage<'_> {
    async fn play(mut self) -> Result<Account, Failure> {
        self.until("the engine to start on server1", |status| started_on(status, "server1")).await?;
        self.traffic = Some(Traffic::start(self.client, self.board).await?);
        self.board.tell("figure 1: the engine runs on server1; 4 producers and 2 consumers at work");
        self.steady(STEADY).await?;
        self.fail_over("server1", "server2", "figure 2: server1 failed, the engine runs on server2").await?;
        self.fail_over("server2", "server3", "figure 3: server1 and server2 failed, the engine runs on server3")
            .await?;
        self.restart(&["server1", "server2"]).await?;
        self.fail_back("server1").await?;
        self.board.tell("the producers stop; waiting for the last messages");
        if let Some(traffic) = self.traffic.take() {
            traffic.end(self.client, self.board, STEP).await?;
        }
        let shown = self.board.look();
        Ok(Account { totals: shown.ledger.totals(), placements: shown.placements.clone(), outages: self.outages })
    }

    /// Kills the engine's host, and waits until another server hosts the engine.
    async fn fail_over(&mut self, host: &str, next: &str, figure: &str) -> Result<(), Failure> {
        self.board.look().silence.begin(BootTime::now());
        self.board.tell(format!("kill -9 {host}"));
        self.board.runs(host, false);
        self.processes.kill(host).await?;
        self.until(&format!("the engine to start on {next}"), |status| started_on(status, next)).await?;
        self.outage(&format!("kill -9 {host}"), figure).await
    }

    /// Starts killed servers again, and waits until they have caught up.
    async fn restart(&mut self, names: &[&str]) -> Result<(), Failure> {
        for name in names {
            self.board.tell(format!("starting {name} again"));
            self.processes.start(name)?;
            self.board.runs(name, true);
        }
        self.until("the servers to catch up", |status| names.iter().all(|name| caught_up(status, name))).await?;
        self.board.tell("both are back and caught up; the engine stays where it is");
        self.steady(STEADY).await
    }

    /// Enables failback, and waits until the engine is back.
    async fn fail_back(&mut self, home: &str) -> Result<(), Failure> {
        self.board.look().silence.begin(BootTime::now());
        self.board.tell("policy: assistance none, preferred server1, server2, server3, failback on");
        requests::admin(self.client, DirectoryRequest::SetPolicy(self.preferring())).await?;
        self.until(&format!("the engine to fail back to {home}"), |status| started_on(status, home)).await?;
        self.outage(&format!("failback to {home}"), "figure 1 again: the engine is back on server1").await
    }

    /// All servers in their order, with failback.
    fn preferring(&self) -> Policy {
        let shown = self.board.look();
        let servers = shown.status.iter().flat_map(|status| &status.servers);
        let preferred =
            servers.filter(|server| server.role == Role::Server).map(|server| server.name.clone()).collect();
        Policy { assistance: Assistance::None, preferred, fail_back: true, ..Policy::default() }
    }

    /// Lets everything run, and records how long confirms had stopped.
    async fn outage(&mut self, what: &str, figure: &str) -> Result<(), Failure> {
        let started = BootTime::now();
        self.watch("messages to be confirmed again", |board| board.look().silence.last() > started).await?;
        self.board.tell(figure);
        self.steady(STEADY).await?;
        let ms = self.board.look().silence.longest_ms(BootTime::now());
        self.board.tell(format!("no confirm for {ms:.0} ms ({what})"));
        self.outages.push((what.to_owned(), ms));
        Ok(())
    }

    async fn until(&mut self, what: &str, condition: impl Fn(&Status) -> bool) -> Result<(), Failure> {
        self.watch(what, |board| board.look().status.as_ref().is_some_and(&condition)).await
    }

    /// Waits for a condition, and checks meanwhile that nothing breaks.
    async fn watch(&mut self, what: &str, condition: impl Fn(&Board) -> bool) -> Result<(), Failure> {
        let deadline = BootTime::now() + STEP;
        while !condition(self.board) {
            self.check()?;
            if BootTime::now() >= deadline {
                let said = self.board.look().status.as_ref().map(|status| status.engine.reason.clone());
                let said = said.filter(|said| !said.is_empty()).unwrap_or_else(|| "no server says why".to_owned());
                return Err(Failure::new(format!("waited {} s for {what}: {said}", STEP.as_secs())));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    /// Lets everything run for a while: this is for the viewer, no step depends on it.
    async fn steady(&mut self, during: Duration) -> Result<(), Failure> {
        let end = BootTime::now() + during;
        while BootTime::now() < end {
            self.check()?;
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), Failure> {
        self.processes.check()?;
        self.traffic.as_mut().map_or(Ok(()), Traffic::check)
    }
}

fn started_on(status: &Status, name: &str) -> bool {
    status::is_started(status) && status.engine.server.as_ref().map(ServerName::as_str) == Some(name)
}

fn caught_up(status: &Status, name: &str) -> bool {
    status
        .servers
        .iter()
        .any(|server| server.name.as_str() == name && server.up && server.lag.is_some_and(|lag| lag < CAUGHT_UP))
}
