//! The one place where a client uses the links.

use std::sync::Arc;
use std::time::Duration;

use baton_client::peers::PeerKind;
use baton_client::session::Session;
use baton_client::wire::Service;
use baton_domain::random;
use baton_links::{Links, LinksConfig, RefusalReason};

use super::{Client, ClientConfig, ClientError, Inner, spawned};

/// Interval of the check that all addresses failed.
const LOOK: Duration = Duration::from_millis(50);

pub(super) async fn connect(config: ClientConfig) -> Result<Client, ClientError> {
    let ClientConfig { servers, cluster, cookie, tls, name, deadline } = config;
    let name = name.unwrap_or_else(|| format!("client-{:016x}", random::number()));
    let session = spawned(Session::spawn().await)?;
    let mut links = LinksConfig::new(name, PeerKind::Client, cluster, cookie);
    links.tls = tls;
    links.handlers.insert(Service::Client, session.handler());
    let links = match Links::start(links).await {
        Ok(links) => links,
        Err(error) => {
            session.stop().await;
            return Err(error.into());
        }
    };
    let keep = links.clone();
    let ensure = move |targets: Vec<(String, String)>| {
        keep.ensure(targets.into_iter().map(|(name, address)| (Some(name), address)).collect());
    };
    session.start(links.peers(), Arc::new(ensure));
    links.ensure(servers.iter().map(|address| (None, address.clone())).collect());

    let first = tokio::time::timeout(deadline, first_link(&links, &servers)).await;
    let peers = links.peers();
    let client = Client { inner: Arc::new(Inner { session, peers, links: Some(links.clone()), deadline }) };
    match first {
        Ok(Ok(())) => Ok(client),
        Ok(Err(error)) => {
            client.close().await;
            Err(error)
        }
        Err(_) => {
            let why = troubles(&links);
            client.close().await;
            Err(ClientError::NoServer { within: deadline, why })
        }
    }
}

/// Waits for a link to a server; ends early when all addresses failed and one of them refused this client, because only
/// an operator can change that.
async fn first_link(links: &Links, servers: &[String]) -> Result<(), ClientError> {
    let peers = links.peers();
    let mut events = peers.subscribe();
    loop {
        if peers.all().iter().any(|peer| peer.info().kind == PeerKind::Server) {
            return Ok(());
        }
        let (refusals, failures) = (links.refusals(), links.failures());
        let failed = |address: &String| {
            refusals.iter().any(|refusal| refusal.address == *address) || failures.contains_key(address)
        };
        if let Some(refusal) = refusals.first()
            && servers.iter().all(failed)
        {
            let wrong_cookie = refusal.reason == RefusalReason::WrongCookie;
            let as_error = if wrong_cookie { ClientError::WrongCookie } else { ClientError::Refused };
            return Err(as_error(refusal.clone()));
        }
        // A new link or the end of the interval: check everything again.
        let _ = tokio::time::timeout(LOOK, events.recv()).await;
    }
}

/// The state of the addresses that do not answer, to append to an error.
pub(super) fn troubles(links: &Links) -> String {
    let refusals = links.refusals().into_iter().map(|refusal| refusal.to_string());
    let failures = links.failures().into_iter().map(|(address, why)| format!("{address}: {why}"));
    let all = refusals.chain(failures).collect::<Vec<_>>().join("; ");
    if all.is_empty() { all } else { format!(" ({all})") }
}
