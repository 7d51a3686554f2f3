//! A harness that runs real server processes of the `baton` program and drives them through its command line alone,
//! and the checker that says whether every message came out, once and in order.
//!
//! The scenarios are in `tests/tests`, one topic a file. The program is `$BATON_BIN`, or the `baton` that was built
//! beside the test (`make test` builds it first). A scenario that fails prints the tail of each server's log and
//! leaves its directory behind; everything else is removed, and processes are ended by their id.

mod bound;
pub mod check;
mod clock;
mod cluster;
pub mod failover;
pub mod growth;
mod http;
mod measuring;
mod paper;
pub mod peers;
mod ports;
mod process;
mod program;
pub mod soak;
mod spread;
mod status;
pub mod stranger;
pub mod torture;
mod workload;

pub use clock::{Deadline, boot_ns, now};
pub use cluster::{Cluster, LIMIT, wait};
pub use http::get;
pub use measuring::{Options, measuring, number, number_up_to};
pub use paper::{machine, print_report, write_beside, write_between};
pub use ports::PortBlock;
pub use process::cpu_time;
pub use program::{Background, Output, Stdout, program, run};
pub use status::{Engine, FailBackWait, Policy, Queue, Quorum, Server, Status};
pub use workload::{Account, Feed, Workload, numbered};
