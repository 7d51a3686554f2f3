//! Waits until a server that is being rebuilt has caught up with the others.

use std::time::Duration;

use baton::client::Client;
use baton_domain::ServerName;
use baton_domain::clock::BootTime;

use crate::verify::{Answer, hash_at};
use crate::{Failure, output, requests, stderr};

/// Maximum lag in entries at which hashes are compared.
const NEAR: u64 = 1_000;
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// True if the server catches up in time. Prints its progress meanwhile.
pub(super) async fn wait(client: &Client, name: &ServerName, within: Duration) -> bool {
    let deadline = BootTime::now() + within;
    let mut said = String::new();
    loop {
        let told = match missing(client, name).await {
            Ok(None) => return true,
            Ok(Some(missing)) => missing,
            Err(failure) => failure.to_string(),
        };
        if told != said {
            stderr::say(&told);
            said = told;
        }
        if BootTime::now() >= deadline {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Reason why it is not level yet; `None` if its running hash equals that of another server that is up.
async fn missing(client: &Client, name: &ServerName) -> Result<Option<String>, Failure> {
    let status = requests::status(client).await?;
    let own = status.servers.iter().find(|server| server.name == *name);
    let Some(own) = own.filter(|own| own.up) else { return Ok(Some(format!("{name} is not up yet"))) };
    match own.lag {
        Some(lag) if lag <= NEAR => {}
        lag => {
            let behind = lag.map_or_else(|| "an unknown number of".to_owned(), output::thousands);
            let busy = own.trouble.as_ref().map(|trouble| format!(" ({trouble})")).unwrap_or_default();
            return Ok(Some(format!("{name} is {behind} entries behind{busy}")));
        }
    }
    let Some(other) = status.servers.iter().find(|server| server.up && server.name != *name) else {
        return Ok(Some(format!("no server other than {name} is up")));
    };
    let index = requests::mark(client).await?;
    let (own, theirs) = tokio::join!(hash_at(client, name, index), hash_at(client, &other.name, index));
    Ok(match (own, theirs) {
        (Answer::Hash(own), Answer::Hash(theirs)) if own == theirs => None,
        (Answer::Hash(_), Answer::Hash(_)) => Some(format!("{name} and {} hold different bytes", other.name)),
        _ => Some(format!("{name} and {} cannot be compared yet", other.name)),
    })
}
