//! The log that all servers reach, in `PostgreSQL`.
//!
//! Owns the statements, the tables and the connections. Promises what [`SharedLog`](baton_replica::shared::SharedLog)
//! says: a call is reported as done only when the database is ready for the next one, which is after its commit, and no
//! warning came before that. A password is in no error, no log and no `Debug` text.

mod config;
mod connect;
mod create;
mod entries;
mod errors;
mod lease;
mod link;
mod log;
mod rows;
mod schema;
mod snapshots;
mod statements;
mod tls;
mod url;

pub use config::{Database, DatabaseError, Password, Schema};
pub use connect::Created;
pub use create::create;
pub use log::PostgresLogs;
pub use schema::sql;
