//! Administrative requests that a client sends twice, because the answer to the first attempt was lost.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;

use baton::client::{Client, DirectoryReply, DirectoryRequest, PolicyChange, Role, ServerName};
use baton::config::Secrets;
use baton::layout::Layout;
use baton::{ClusterId, Server};
use baton_domain::ChangeId;

async fn once(client: &Client, number: u8, request: DirectoryRequest) -> DirectoryReply {
    client.admin(DirectoryRequest::Once { change: ChangeId([number; 16]), request: Box::new(request) }).await.unwrap()
}

fn manual(value: bool) -> DirectoryRequest {
    DirectoryRequest::ChangePolicy(PolicyChange { manual: Some(value), ..PolicyChange::default() })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_is_answered_as_done_and_not_done_again() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let layout = Layout::plan(1, 0).base_port(port).layout().unwrap();
    let secrets = Secrets::random().unwrap();
    let config = layout.server_config("server1", dir.path().join("store"), ClusterId([7; 16]), secrets).unwrap();
    layout.format(&config).unwrap();
    let server = Server::start(config).await.unwrap();
    let client = server.client();

    let name = ServerName::new("w9").unwrap();
    let add = DirectoryRequest::AddMember { name: name.clone(), role: Role::Witness, address: "h:1".to_owned() };
    for _ in 0..2 {
        assert_eq!(once(&client, 1, add.clone()).await, DirectoryReply::Done);
    }
    assert!(matches!(once(&client, 2, add.clone()).await, DirectoryReply::Refused(_)), "another one is too late");
    let remove = DirectoryRequest::RemoveMember { name };
    for _ in 0..2 {
        assert_eq!(once(&client, 3, remove.clone()).await, DirectoryReply::Done);
    }
    assert_eq!(once(&client, 1, add).await, DirectoryReply::Done, "it stays removed all the same");

    let DirectoryReply::Policy(first) = once(&client, 4, manual(false)).await else { panic!() };
    assert!(matches!(once(&client, 5, manual(true)).await, DirectoryReply::Policy(_)));
    assert_eq!(once(&client, 4, manual(false)).await, DirectoryReply::Policy(first));
    let status = client.status().await.unwrap();
    assert!(status.policy.manual, "the later change holds");
    assert_eq!(status.servers.len(), 1);
    server.shutdown().await;
}
