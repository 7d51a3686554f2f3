//! The torture test: a cluster of real server processes in network namespaces, a workload, a seeded nemesis, and a
//! checker.
//!
//! `lab` is the cluster, `network` and `store` are the tools of its faults, `load` is the workload. `schedule` is the
//! plan of faults, a pure function of a seed, and `nemesis` performs it. A `history` records the run, with the
//! `operation`s of clients (each an `event` when it is requested and when it is answered) and the servers' `trace`;
//! `check` judges it, one file per invariant, and `report` and `picture` show it. `run` combines all of these.
//! `seeded` tests the checker: programs with one defect each, which it has to find.
//!
//! A run creates namespaces, mounts and processes, which end with it, also when it panics.

mod access;
pub mod check;
mod dice;
mod event;
mod history;
mod kind;
mod lab;
mod leftovers;
mod load;
mod nemesis;
mod network;
mod operation;
mod picture;
mod power;
mod queues;
mod received;
mod report;
mod run;
mod sampler;
mod schedule;
mod seeded;
mod shim;
mod store;
mod system;
mod trace;

pub(crate) use access::Access;
pub use dice::Dice;
pub use event::{Event, Line};
pub use history::{History, line as numbered_line};
pub use kind::Kind;
pub(crate) use lab::{Lab, Tuning, members};
pub use operation::{Answer, Operation, Request};
pub use picture::picture;
pub use report::{Report, Row};
pub(crate) use run::perform;
pub use run::{Options, Run, torture};
pub use schedule::{Episode, Fault, Schedule, Victims, schedule};
pub use seeded::{Hunt, SEEDED_BUGS, SeededBug, SeededRun, seeded_table};
pub use store::SmallDisk;
pub use system::why_not_here;
