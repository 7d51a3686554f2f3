//! Configuration files of servers and clients.
//!
//! A server file ([`ServerConfig`]) configures one server: its addresses, its store and its secrets. A cluster file
//! ([`ClusterConfig`]) lists all members, for clients and servers. Both are TOML. Unknown keys are errors, and an error is
//! one line with the file, the line and the allowed values. Paths are relative to the file that contains them. [`defaults`]
//! lists the defaults. An embedded server needs no files: [`ServerConfig::new`].

mod cluster_file;
mod database;
#[cfg(test)]
mod decoder_tests;
pub mod defaults;
mod error;
mod members;
mod secrets;
mod server_config;
mod server_file;
mod source;
mod tuning;
mod write;

pub use baton_domain::address::{InvalidAddress, bracketed, check_address, port_of, split_address};
pub use cluster_file::ClusterConfig;
pub use database::{DatabaseConfig, LostTail};
pub use error::{ConfigError, InvalidClusterId, InvalidCookie};
pub use members::MemberConfig;
pub use secrets::{Cookie, Secret, Secrets, parse_id};
pub use server_config::ServerConfig;
pub use tuning::{Limits, Timing};
pub use write::{cluster_file_text, database_text, member_text, secrets_file_text, server_file_text};
