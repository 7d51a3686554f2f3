//! Which way imports point, between crates and among the modules of each.
//!
//! Sources are read without a compiler: `mod`, `use` and inline paths, comments and strings left out. That is an
//! approximation: names that macros make are not seen. Code for tests is left out too, for a test may import anything.

mod circles;
mod crates;
mod imports;
mod modules;
mod packages;
mod tokens;
mod words;

pub use circles::{Circle, circles};
pub use packages::{Dependency, Package, Target, Workspace, cargo, forbidden};
pub use words::uses;
