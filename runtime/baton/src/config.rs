//! The files that a server and a client are started with.
//!
//! A server file ([`ServerConfig`]) names one server, its addresses, its store and its secrets; a cluster file
//! ([`ClusterConfig`]) names all members, for clients and for the servers themselves. Both are TOML; unknown keys are
//! refused, and an error is one line with the file, the line and what is allowed there. Paths are relative to the
//! file that they stand in. Every default stands in [`defaults`].

mod cluster_file;
#[cfg(test)]
mod decoder_tests;
pub mod defaults;
mod error;
mod members;
mod secrets;
mod server_file;
mod source;
mod tuning;
mod write;

pub use baton_domain::address::{bracketed, check_address, port_of, split_address};
pub use cluster_file::ClusterConfig;
pub use error::ConfigError;
pub use members::MemberConfig;
pub use secrets::{Cookie, Secret, Secrets, parse_id};
pub use server_file::ServerConfig;
pub use tuning::{Limits, Timing};
pub use write::{cluster_file_text, member_text, secrets_file_text, server_file_text};
