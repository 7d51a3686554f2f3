//! Waits until a server that is being rebuilt holds what the others hold.

use std::time::Duration;

use baton::client::Client;
use baton_domain::ServerName;
use baton_domain::clock::BootTime;

use crate::verify::{Answer, hash_at};
use crate::{Failure, output, session, stderr};

/// A server that lags by no more can be compared.
const NEAR: u64 = 1_000;
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Whether the server is level within the time. Says meanwhile how far it is.
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

/// What is missing; nothing, if its running hash is that of another server that is up.
async fn missing(client: &Client, name: &ServerName) -> Result<Option<String>, Failure> {
    let status = session::status(client).await?;
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
        return Ok(Some(format!("no other server than {name} is up")));
    };
    let index = session::mark(client).await?;
    let (own, theirs) = tokio::join!(hash_at(client, name, index), hash_at(client, &other.name, index));
    Ok(match (own, theirs) {
        (Answer::Hash(own), Answer::Hash(theirs)) if own == theirs => None,
        (Answer::Hash(_), Answer::Hash(_)) => Some(format!("{name} and {} hold different bytes", other.name)),
        _ => Some(format!("{name} and {} cannot be compared yet", other.name)),
    })
}
