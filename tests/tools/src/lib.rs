//! Torture test, benchmarks and soak test: one module and one program each.

mod bound;
pub mod database_limits;
pub mod failover;
pub mod growth;
mod measuring;
pub mod peers;
mod report_file;
pub mod soak;
mod spread;
pub mod torture;

pub use measuring::{Options, measuring, number, number_up_to};
pub use report_file::{machine, print_report, write_beside, write_between};
