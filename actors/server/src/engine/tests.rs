//! The engine against a store in memory.

mod actor;
mod bench;
mod model;
mod properties;
mod tables;
mod world;
