//! A harness that runs real server processes of the `baton` program and drives them through its command line alone,
//! and the checker of messages: each arrives, once and in order.
//!
//! The scenarios are in `tests/tests`, one topic per file. The program is `$BATON_BIN`, or the `baton` that was built
//! next to the test (`make test` builds it first). A scenario that fails prints the tail of each server's log and
//! leaves its directory behind; everything else is removed, and processes are ended by their id.

pub mod arrows;
pub mod check;
pub mod clock;
pub mod cluster;
pub mod http;
pub mod kept_dir;
pub mod ports;
pub mod process;
pub mod program;
pub mod relay;
pub mod status;
pub mod stranger;
pub mod workload;

pub use clock::{Deadline, boot_ns, now};
pub use cluster::{Cluster, LIMIT, wait};
pub use http::get;
pub use ports::PortBlock;
pub use process::cpu_time;
pub use program::{Background, Output, Stdout, program, run};
pub use relay::Relay;
pub use status::{Engine, FailBackWait, Policy, Queue, Quorum, Server, Status, Store};
pub use workload::{Account, Feed, Workload, numbered};
