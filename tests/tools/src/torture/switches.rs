//! Promises that the checker knows and the engine does not keep yet. Each is switched on here, in one place, once it is
//! kept: then the workload has its queues, the schedule its faults, and the checks judge it.

/// A transfer keeps the deadlines of messages, and applies no delay a second time.
pub(crate) const TRANSFERS_KEEP_TIMES: bool = true;
/// An exception destination that is full takes no more: messages stay in their source.
pub(crate) const EXCEPTION_QUEUES_ARE_BOUNDED: bool = true;
/// A server that is started on an old copy of its store refuses, and says how it is rebuilt, or does no harm.
pub(crate) const OLD_COPIES_ARE_RECOGNISED: bool = true;
/// Of two changes of the policy at the same time, which name different fields, none is lost.
pub(crate) const POLICY_CHANGES_ARE_ATOMIC: bool = true;
/// A member's address can be changed: `baton member set-address NAME HOST:PORT`.
pub(crate) const ADDRESSES_CHANGE: bool = true;
