//! The log in a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use baton_domain::ClusterId;
use baton_postgres::{Database, PostgresLogs, Schema, create};
use baton_replica::shared::SharedLogs;
use baton_test_postgres::{Postgres, skipped};

mod api {
    pub(crate) use baton_domain::{ClusterId, ServerName};
    pub(crate) use baton_replica::shared::*;
    pub(crate) use bytes::Bytes;
}

mod outcomes;
mod proxy;
mod refusals;
#[path = "../../../replica/src/shared/contract.rs"]
mod rules;

const CLUSTER: ClusterId = ClusterId([7; 16]);
const GENESIS: &[u8] = &[1, 2, 0xff];

/// A new log in a schema of its own.
struct NewLog(PostgresLogs);

impl NewLog {
    async fn make(url: &str, schema: &str) -> Self {
        let database = Database::parse(url).unwrap().with_schema(Schema::parse(schema).unwrap());
        create(&database, CLUSTER, GENESIS).await.unwrap();
        // Small tables of entries, so that all eight are used.
        Self(PostgresLogs::new(database).with_segment_bytes(100_000))
    }
}

impl rules::Subject for NewLog {
    fn logs(&self) -> &dyn SharedLogs {
        &self.0
    }

    fn cluster(&self) -> ClusterId {
        CLUSTER
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_of_a_shared_log_holds() {
    let Some(server) = Postgres::start() else { return skipped("the contract in PostgreSQL") };
    let mut count = 0;
    macro_rules! run {
        ($rule:ident) => {
            eprintln!(stringify!($rule));
            count += 1;
            rules::$rule(&NewLog::make(&server.socket_url(), &format!("rule_{count}")).await).await;
        };
    }
    rules::for_each_rule!(run);
    assert!(count > 10);
}
