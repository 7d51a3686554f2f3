//! Baton: a highly available messaging engine for actor services.

pub mod cli;
pub mod client;
pub mod config;
pub mod http;
pub mod links;
pub mod server;
