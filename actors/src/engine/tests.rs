//! The engine against a store in memory.

mod bench;
mod model;
mod properties;
mod tables;
mod world;
